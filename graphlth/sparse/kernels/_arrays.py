"""Tensors as NumPy arrays, in the order of their positions, and loops shared out among threads."""

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphlth.sparse.graph import Graph, Rows
from graphlth.sparse.kernels._compiled import compiled
from graphlth.sparse.kernels._memory import CACHE, NUMBERS_AHEAD, new_empty
from graphlth.sparse.kernels._threads import SHARED, run_together
from graphlth.sparse.kernels._vector import entry, prefetch

MOVE = 16  # multiplications that cost as much as to move a number

Array = np.ndarray[Any, Any]


def flat_array(x: Tensor) -> Array:
    """`x` flattened; it shares the memory of a contiguous tensor."""
    return numpy_array(x).ravel()


def strided_array(x: Tensor) -> tuple[Array, int]:
    """The memory of `x` [N, d], whose rows may lie apart, and the stride from one to the next."""
    (n, d), (stride, step) = x.shape, x.stride()
    if x.is_contiguous() or stride < d or step != 1:
        return flat_array(x), d
    return flat_array(x.detach().as_strided(((n - 1) * stride + d,), (1,))), stride


def numpy_array(x: Tensor) -> Array:
    """`x`, without gradients."""
    array: Array = x.numpy(force=True)
    return array


def edge_values(rows: Rows, x: Tensor, weight: Tensor | None) -> Array:
    """The weights [E] of the edges by position, of the type of `x`; ones for None."""
    if weight is None:
        return flat_array(x.new_ones(rows.count))
    return flat_array(arrange_values(rows, weight.to(x.dtype)))


def arrange_values(rows: Rows, values: Tensor) -> Tensor:
    """`rows.arrange(values)` of numbers without gradients."""
    return values if rows.order is None else _permute(values, rows.order)


def restore_values(rows: Rows, values: Tensor) -> Tensor:
    """`rows.restore(values)` of numbers without gradients."""
    return values if rows.position is None else _permute(values, rows.position)


def keep_values(rows: Rows, x: Tensor, keep: Tensor | None) -> Array:
    """`keep` [E, heads] by position; no numbers for None."""
    return flat_array(x.new_empty(0) if keep is None else arrange_values(rows, keep.to(x.dtype)))


def position_by_source(graph: Graph) -> Array:
    """For each edge, by target, its position by source."""
    source, target = graph.by_source, graph.by_target

    def made() -> Tensor:
        return target.arrange(source.restore(torch.arange(graph.num_edges).to(source.columns)))

    position: Array = graph.constant("position by source", made).numpy()
    return position


def _permute(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]` for `values` [n, ...] and a permutation `index` of its rows."""
    if values.numel() * values.element_size() < CACHE:
        return values.index_select(0, index)
    out, width = new_empty(values, *values.shape), values[0].numel()
    loop = partial(_permutation(width), flat_array(values), index.numpy(), out.view(-1).numpy())
    share_range(index.numel(), 1, MOVE * values.numel(), loop)
    return out


@cache
def _permutation(width: int) -> Callable[..., None]:
    @compiled
    def loop(values, index, out, first, last):  # type: ignore[no-untyped-def]
        for i in range(first, last):
            prefetch(values, entry(index, min(i + NUMBERS_AHEAD, index.size - 1)) * width, width, 1)
            start = entry(index, i) * width
            for j in range(width):
                out[i * width + j] = entry(values, start + j)

    return loop


def share_rows(rows: Rows, work: int, part: Callable[[int, int], None]) -> None:
    """Call `part(first, last)` for all rows, on as many threads as torch has.

    `work` is the number of multiplications of an edge.
    """
    threads, count = torch.get_num_threads(), rows.offsets.numel() - 1
    if threads == 1 or rows.count * work < SHARED:
        return part(0, count)
    ends = torch.arange(1, threads, device="cpu") * rows.count // threads
    cuts = [0, *torch.searchsorted(rows.offsets, ends.to(rows.offsets.dtype)).tolist(), count]
    run_together(partial(part, *ends) for ends in pairwise(cuts))


def share_range(count: int, step: int, work: int, part: Callable[[int, int], None]) -> None:
    """Call `part(first, last)` for `range(count)`, cut at multiples of `step`, likewise.

    `work` is the number of multiplications of all.
    """
    threads = torch.get_num_threads()
    if threads == 1 or work < SHARED:
        return part(0, count)
    cuts = [-(-count // step) * i // threads * step for i in range(threads)] + [count]
    run_together(partial(part, *ends) for ends in pairwise(cuts))
