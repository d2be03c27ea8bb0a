"""Compiled loops of inference: a strip of channels is made and used up while it lies in the cache.

For each strip of a layer, sparse features times the strip of its weights; then, over the result,
the weighted sum along the edges, ReLU and the product with a narrow next matrix in one pass: the
hidden matrix N × d is never written. A strip has no more channels than the registers hold;
matrices are padded with zeros to whole strips. With `torch.set_num_threads` above 1 the rows of
every strip are shared out.
"""

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from threading import local
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphlth.sparse.graph import Graph
from graphlth.sparse.kernels import _narrow
from graphlth.sparse.kernels._arithmetic import add, add_dots, add_dots_of_two, axpy, relu
from graphlth.sparse.kernels._compiled import compiled
from graphlth.sparse.kernels._memory import LINE, REGISTERS, STRIP, WIDE, prefetch_levels
from graphlth.sparse.kernels._threads import SHARED, run_together
from graphlth.sparse.kernels._vector import entry, fetch, load, store, zeros

WIDTHS = (STRIP, 32, 16)  # channels of a strip
WINDOW = 128  # rows, which lie near each other in memory
ROWS = 2 if WIDE == REGISTERS else 1  # so many rows' products fit in the registers
NARROW = 16  # columns of a next matrix up to which it is multiplied in the same pass

Array = np.ndarray[Any, Any]


@cache
def lanes(width: int) -> int:
    """The channels of a strip of a matrix with `width` columns: the most that pad little."""
    return next((w for w in WIDTHS if -(-width // w) * w <= 1.5 * width), WIDTHS[-1])


def count(width: int) -> int:
    """The strips of a matrix with `width` columns."""
    return -(-width // lanes(width))


def strips(w: Tensor) -> Tensor:
    """`w` [R, C] as [strips, R, lanes], padded with zeros; may be a view."""
    r, c = w.shape
    missing = count(c) * lanes(c) - c
    wide = torch.nn.functional.pad(w, (0, missing)) if missing else w
    return wide.reshape(r, count(c), lanes(c)).transpose(0, 1)


def padded_zeros(like: Tensor) -> Tensor:
    """Zeros shaped like `like` [R, C], whose strips can be read where they lie.

    Rows are whole strips and a cache line: those of a strip then do not share cache sets.
    """
    shape = like.size(0), _stride(like)
    return torch.zeros(shape, dtype=like.dtype, device=like.device)[:, : like.size(1)]


def _stride(w: Tensor) -> int:
    return count(w.size(1)) * lanes(w.size(1)) + LINE // w.element_size()


def strips_after(w: Tensor) -> Array:
    """A narrow next matrix `w` [R, C], as `convolve` takes it: [strips, C, lanes]."""
    found: Array = _narrow.columns(w, lanes(w.size(0)), group=1).numpy()
    return found


class Edges(NamedTuple):
    """A sparse matrix as compressed sparse rows."""

    offsets: Array  # [R + 1]
    columns: Array  # [E]
    values: Array  # [E]


def edges(graph: Graph, values: Tensor) -> Edges:
    """The weighted edges into each node."""
    return Edges(*graph.by_target.arrays, graph.by_target.arrange(values).numpy())


class Product(NamedTuple):
    """Sparse features and the strips that they are to be multiplied with, all of W and then of V.

    All strips have the same features (`step` 0), or each its own, with rows in an order of its own.
    """

    x: Edges  # of every strip, one after the other
    rows: Array  # [strips · N] where features differ, which row each of theirs is
    step: int  # from the offsets of one strip to those of the next
    weights: Array
    starts: Array  # [strips] where each strip begins in `weights`
    stride: int  # from one row of a strip to the next


def by_length(x: Edges) -> tuple[Edges, Array]:
    """`x` with the rows of each `WINDOW` by their length, and which rows these are.

    A processor foresees how long a row is if it is as long as the last one.
    """
    counts = np.diff(x.offsets)
    rows = np.lexsort((counts, np.arange(counts.size) // WINDOW))
    offsets = np.concatenate([[0], counts[rows].cumsum()])
    at = np.repeat(x.offsets[rows] - offsets[:-1], counts[rows]) + np.arange(x.columns.size)
    return Edges(offsets, x.columns[at], x.values[at]), rows.astype(np.int32)


def product_of(parts: list[Edges], strips: list[Array]) -> Product:
    """Features, one or as many as there are `strips`, times those."""
    own = map(by_length, parts) if len(parts) > 1 else [(parts[0], parts[0].columns)]  # not read
    x, rows = zip(*own, strict=True)
    firsts = np.cumsum([0, *(each.columns.size for each in x[:-1])])
    offsets = np.concatenate([each.offsets + a for each, a in zip(x, firsts, strict=True)])
    joined = Edges(
        offsets.astype(np.int64),
        np.concatenate([each.columns for each in x]),
        np.concatenate([each.values for each in x]),
    )
    starts = np.cumsum([0, *(w.size for w in strips[:-1])])
    step = x[0].offsets.size if len(x) > 1 else 0
    flat = [torch.from_numpy(w).flatten() for w in strips]
    weights = torch.cat([torch.from_numpy(joined.values[:0]), *flat])  # from a cache line on
    stride = strips[0].shape[1] if strips else 0
    return Product(joined, np.concatenate(rows), step, weights.numpy(), starts, stride)


def product_with(x: Edges, w: Tensor) -> Product:
    """`x` and the strips of `w` [F, d]: where they lie if `padded_zeros` made it, else copied."""
    number, width, size = count(w.size(1)), lanes(w.size(1)), w.size(0) * _stride(w)
    room = w.untyped_storage().nbytes() == size * w.element_size() and not w.storage_offset()
    if room and w.stride() == (_stride(w), 1):
        whole = w.as_strided((size,), (1,))
        return Product(x, x.columns, 0, whole.numpy(), np.arange(number) * width, w.stride(0))
    flat = scratch("weights", w, w.size(0) * number * width)
    torch.from_numpy(flat).view(number, -1, width).copy_(strips(w))
    return Product(x, x.columns, 0, flat, np.arange(number) * w.size(0) * width, width)


class Kept(NamedTuple):
    """Some rows of a matrix."""

    place: Array  # [N] which row of `array` each row goes to, or −1
    array: Array  # [rows, strips · lanes]


class Matrix(NamedTuple):
    """Where strips lie: row r of strip s at `r * stride + s * step`, V's `own` further on."""

    array: Array
    stride: int
    step: int
    own: int


def convolve(
    a: Edges,
    h: Product | Matrix,
    d: int,
    like: Tensor,
    *,
    own: bool,
    following: Array | None = None,
    positive: bool = True,
    turn: int = 0,
    made: Kept | None = None,
    keep: Kept | None = None,
) -> Array:
    """`relu(A (x W) + x V)` [N, strips · lanes] of `d` channels; in memory that is used again.

    Without a V, A may have more columns than rows.

    Args:
        a: the edges.
        h: x with the strips of W and V, or the strips of x W and x V.
        d: channels.
        like: a tensor of the type of the result.
        own: whether there is a V.
        following: [strips, C, lanes] with C up to `NARROW`; what comes back is then the product
            with its transpose, [N, NARROW].
        positive: whether to apply ReLU.
        turn: the result lies elsewhere than that of another turn, which may be `h`.
        made: rows of x W that are to be written too.
        keep: the same of the result before ReLU.
    """
    n, width, number, sources, reads = a.offsets.size - 1, lanes(d), count(d), 0, 0
    features, apart = isinstance(h, Product), isinstance(h, Product) and h.step > 0
    if isinstance(h, Product):
        sources = (h.step or h.x.offsets.size) - 1
        reads = h.x.columns.size // (number if apart else 1)  # for a strip
        strip = scratch("strip", like, sources * width * (1 + own))
        x, matrix = (*h.x, *h[1:]), Matrix(strip, width, 0, sources * width)
    else:
        x, matrix = (*a, a.columns, 0, h.array, a.offsets, 0), h  # not read
    narrow = following is not None
    columns = NARROW if narrow else number * width
    out = scratch(f"sums {turn}" if narrow else "hidden", like, (n + 1) * columns)
    if narrow:
        out.fill(0)  # the row after the last, too: a V beside its W is read beyond its columns
    out = out[: n * columns]
    far = prefetch_levels(matrix.array.nbytes, a.columns.size / max(1, n, sources))
    weights, c, kept = matrix.array, 0, (made is not None, keep is not None)
    nothing = Kept(a.columns, weights)  # not read
    if following is not None:
        weights, c = following.reshape(-1), following.shape[1]
    loop = partial(
        _loop(
            width, features, apart, own, positive, narrow, c, *kept, far, ROWS if narrow else 1
        ),
        *a, *x, number, *matrix, weights, *(made or nothing), *(keep or nothing), out, columns,
    )  # fmt: skip
    threads = torch.get_num_threads()
    if threads == 1 or (a.columns.size + reads) * width < SHARED:
        loop(0, number, 0, sources, 0, n)
        return out.reshape(n, columns)
    cuts, made_at = ([m * i // threads for i in range(threads + 1)] for m in (n, sources))
    for s in range(number):
        makes = [partial(loop, s, s + 1, i, j, 0, 0) for i, j in pairwise(made_at)]
        uses = [partial(loop, s, s + 1, 0, 0, i, j) for i, j in pairwise(cuts)]
        run_together(makes)
        run_together(uses)
    return out.reshape(n, columns)


def scratch(name: str, like: Tensor, size: int) -> Array:
    """`size` numbers, not cleared: each thread's own, and the same memory for the same name."""
    held = vars(_LOCAL).setdefault("held", {})
    known = held.get((name, like.dtype))
    if known is None or known.size < size:
        known = held[name, like.dtype] = like.new_empty(size).numpy()
    found: Array = known[:size]
    return found


def copy_columns(x: Array, like: Tensor, d: int) -> Tensor:
    """The first `d` columns of `x` [N, 16s] as a tensor, in memory of their own."""
    out = like.new_empty(x.shape[0] * d + 8)
    _copy(x, d, out.numpy())
    return out[: x.shape[0] * d].view(x.shape[0], d)


@compiled
def _copy(x, d, out):  # type: ignore[no-untyped-def]
    """What is too much of a row is written over by the next."""
    flat = x.reshape(-1)
    for r in range(x.shape[0]):
        for first in range(0, d, 8):
            store(out, r * d + first, 8, load(flat, r * x.shape[1] + first, 8, 8))


_LOCAL = local()  # fresh memory costs as much as the loops: every page of it faults


@cache
def _loop(
    width: int, features: bool, apart: bool, own: bool, positive: bool, narrow: bool, c: int,
    early: bool, keeps: bool, far: int, rows: int,
) -> Callable[..., None]:  # fmt: skip
    """The next matrix, if it is `narrow`, has `c` columns; `rows` are multiplied at a time.

    Rows of x W are written too if `early`, and of the sums if it `keeps` them.
    """
    whole, rest = c // 8, c % 8
    sums = 2 if keeps or early else 1  # two where what is kept must be as `numba` adds it up

    @compiled
    def loop(  # type: ignore[no-untyped-def]
        offsets, columns, values, x_offsets, x_columns, x_values, x_rows, x_step, w, starts, across,
        number, h, stride, step, own_at, following, early_place, early_kept, place, kept, out,
        out_stride, strip, end, make_first, make_last, first, last,
    ):  # fmt: skip
        for s in range(strip, end):
            if features:
                for m in range(2 if own else 1):
                    part, base = s + m * number, entry(starts, s + m * number)
                    at, order = part * x_step, part * max(0, x_step - 1)
                    for i in range(make_first, make_last):
                        even = odd = zeros(h, width)
                        a, b = entry(x_offsets, at + i), entry(x_offsets, at + i + 1)
                        for e in range(a, b - sums + 1, sums):
                            row = load(w, base + entry(x_columns, e) * across, width, width)
                            even = axpy(entry(x_values, e), row, even)
                            if sums == 2:
                                row = load(w, base + entry(x_columns, e + 1) * across, width, width)
                                odd = axpy(entry(x_values, e + 1), row, odd)
                        if (b - a) % sums:
                            row = load(w, base + entry(x_columns, b - 1) * across, width, width)
                            even = axpy(entry(x_values, b - 1), row, even)
                        z = add(even, odd) if sums == 2 else even
                        r = entry(x_rows, order + i) if apart else i
                        if early and early_place[r] >= 0:
                            store(early_kept, (early_place[r] * number + s) * width, width, z)
                        store(h, m * own_at + r * stride, width, z)
            for r in range(first, last, rows):
                y = z = zeros(h, width)
                for more in range(rows):
                    i = min(r + more, last - 1)
                    even = odd = zeros(h, width)
                    if own:
                        even = load(h, own_at + s * step + i * stride, width, width)
                    a, b = entry(offsets, i), entry(offsets, i + 1)
                    for e in range(a, b - sums + 1, sums):
                        if far:
                            fetch(h, columns, e, stride, s * step, width, far)
                        x = load(h, s * step + entry(columns, e) * stride, width, width)
                        even = axpy(entry(values, e), x, even)
                        if sums == 2:
                            if far:
                                fetch(h, columns, e + 1, stride, s * step, width, far)
                            x = load(h, s * step + entry(columns, e + 1) * stride, width, width)
                            odd = axpy(entry(values, e + 1), x, odd)
                    if (b - a) % sums:
                        x = load(h, s * step + entry(columns, b - 1) * stride, width, width)
                        even = axpy(entry(values, b - 1), x, even)
                    y, z = z, add(even, odd) if sums == 2 else even
                    if keeps and place[i] >= 0:
                        store(kept, (place[i] * number + s) * width, width, z)
                    if positive:
                        z = relu(z)
                if not narrow:
                    store(out, r * out_stride + s * width, width, z)
                    continue
                at, other, begin = r * out_stride, i * out_stride, s * c * width
                for k in range(0, 8 * whole, 8):
                    y_at = begin + k * width
                    if rows == 2:
                        add_dots_of_two(y, z, following, y_at, 8, out, at + k, other + k)
                    else:
                        add_dots(z, following, y_at, 8, out, at + k)
                if rest:
                    k = 8 * whole
                    y_at = begin + k * width
                    if rows == 2:
                        add_dots_of_two(y, z, following, y_at, rest, out, at + k, other + k)
                    else:
                        add_dots(z, following, y_at, rest, out, at + k)

    return loop
