"""How the rows of a matrix are cut into strips of channels and read along the edges."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from graphlth.sparse.graph import Rows
from graphlth.sparse.kernels._arrays import MOVE, Array, numpy_array, share_range, strided_array
from graphlth.sparse.kernels._memory import (
    HELD,
    NEAR,
    REUSED,
    WIDE,
    lanes_of,
    new_empty,
    prefetch_levels,
)

FAR = 1 << 21  # numbers of often read rows, from which each strip is laid out on its own
PART = 8  # edges of a row from which it pays to take it up again for a part of its columns


def _move(out: Array, x: Array) -> None:
    """Fill `out` with `x`, without torch's threads: they would go on waiting in a loop."""
    share_range(
        len(x), 1, MOVE * x.size, lambda first, last: np.copyto(out[first:last], x[first:last])
    )


def _cut(rows: Rows, x: Tensor, readings: float) -> tuple[int, bool, int]:
    """Lanes of a strip of `x`, whether any has fewer, and in how many parts its edges are read.

    Where rows have many edges, those of a part read no more than the second cache holds.
    """

    def parts(size: int) -> int:  # of which each edge reads so many bytes
        count = max(1, -(-x.size(0) * size // NEAR))
        return count if rows.count >= PART * count * (rows.offsets.numel() - 1) else 1

    d, item = x.size(1), x.element_size()
    lanes, some = lanes_of(d, x, HELD)
    if d * item <= WIDE:  # one strip, where two cost more
        count = parts(d * item)
        if count > 1 or (some and readings < REUSED):
            return *lanes_of(d, x, WIDE), count
    return lanes, some, parts(lanes * item)


def readings_per_row(rows: Rows, x: Tensor) -> float:
    """How often a row of `x` is read, in the mean."""
    return rows.count / max(1, x.size(0))


class Strip(NamedTuple):
    """Some channels of a matrix, as many at a time as a vector has lanes."""

    lanes: int
    some: bool  # whether there are fewer than `lanes`
    far: int  # to how many caches they are fetched ahead
    edges: tuple[Array, int, Array]  # offsets; in how many parts they are read; columns
    place: tuple[Array, int, int, int, int, int]  # array, stride, start; channels, the first, end


def cut_strips(rows: Rows, *matrices: Tensor) -> Iterator[tuple[Any, ...]]:
    """Strips, and the matrices of each: first that of the sums, then that of what is summed.

    All whole strips of a row go in turn, but those of large dense graphs one by one, each laid out
    on its own: rows that lie far apart share cache sets and pages. Where edges are read in parts,
    that holds for all `matrices`, padded with zeros.
    """
    out, x = matrices[:2]
    n, d = x.shape
    readings = readings_per_row(rows, x)
    lanes, some, parts = _cut(rows, x, readings)
    offsets, columns = rows.arrays
    edges = (offsets if parts == 1 else rows.cut(parts, n).numpy()), parts, columns
    if parts > 1 and (some or d > lanes):
        strips = tuple(new_empty(m, m.size(0), lanes) for m in matrices)
        into, *near = map(numpy_array, strips)
        strip = Strip(lanes, False, 0, edges, (near[0].ravel(), lanes, 0, lanes, 0, lanes))
        for first in range(0, d, lanes):
            width = min(lanes, d - first)
            for one, m in zip(near, matrices[1:], strict=True):
                one[:, width:] = 0
                _move(one[:, :width], numpy_array(m)[:, first : first + width])
            yield strip, *strips
            _move(numpy_array(out)[:, first : first + width], into[:, :width])
        return
    dense = n * d >= FAR and readings >= REUSED and d > lanes
    (flat, stride), whole = strided_array(x), 0 if dense else d - d % lanes
    size = n * (lanes if dense else whole or d) * x.element_size()
    far = prefetch_levels(size, readings) if parts == 1 else 0
    if dense:
        one = numpy_array(new_empty(x, n, lanes))
        for first in range(0, d, lanes):
            width = min(lanes, d - first)
            _move(one[:, :width], numpy_array(x)[:, first : first + width])
            place = one.ravel(), lanes, 0, d, first, first + width
            yield Strip(*lanes_of(width, x), far, edges, place), *matrices
        return
    if whole:
        yield Strip(lanes, False, far, edges, (flat, stride, 0, d, 0, whole)), *matrices
    if whole < d:
        place = flat, stride, whole, d, whole, d
        yield Strip(*lanes_of(d - whole, x), far, edges, place), *matrices
