"""Compiled writes and reads of the entries of a tensor that a sparsity pattern names."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from graphlth.sparse.kernels._arrays import flat_array, strided_array
from graphlth.sparse.kernels._compiled import compiled
from graphlth.sparse.kernels._memory import HELD, PACKED, lanes_of
from graphlth.sparse.kernels._vector import entry, load_some, store_compressed, store_expanded
from graphlth.sparse.pattern import SparsityPattern

MANY = 0.25  # of all entries

Loop = Callable[..., None]


def scatter(values: Tensor, pattern: SparsityPattern, out: Tensor) -> None:
    """Write `values` to the entries of `out` that `pattern` names, and nothing else."""
    matrix = out.detach() if out.dim() == 2 else out.detach().view(1, -1)
    flat, stride = strided_array(matrix)
    if _many(pattern, out):
        lanes = lanes_of(matrix.size(1), out, HELD)[0]
        _scatter(lanes)(*pattern.by_strips(lanes), flat_array(values), flat, stride, len(matrix))
    else:
        _scatter_each(flat_array(values), pattern.index_in(out).numpy(), flat)
    torch.autograd.graph.increment_version(out)


@cache
def _scatter(lanes: int) -> Loop:
    @compiled
    def loop(words, starts, strips, values, out, stride, rows):  # type: ignore[no-untyped-def]
        for r in range(rows):
            for s in range(strips):
                bits, start = words[r * strips + s], entry(starts, r * strips + s)
                if bits:
                    store_expanded(out, r * stride + s * lanes, values, start, bits, lanes)

    return loop


@compiled
def _scatter_each(values, index, out):  # type: ignore[no-untyped-def]
    for i in range(index.size):
        out[index[i]] = values[i]


def gather(whole: Tensor, pattern: SparsityPattern) -> Tensor:
    """The entries [entries] of `whole` that `pattern` names."""
    if not _many(pattern, whole):
        return whole.reshape(-1).index_select(0, pattern.index)
    matrix = whole if whole.dim() == 2 else whole.reshape(1, -1)
    lanes, some = lanes_of(matrix.size(1), whole, HELD)
    out = whole.new_empty(pattern.index.numel())
    places = *strided_array(matrix), *matrix.shape
    _gather(lanes, some)(*pattern.by_strips(lanes), *places, flat_array(out))
    return out


def _many(pattern: SparsityPattern, whole: Tensor) -> bool:
    """Whether it pays to go through all of `whole`, a vector at a time, for these entries."""
    return PACKED and pattern.index.numel() > MANY * whole.numel()


@cache
def _gather(lanes: int, some: bool) -> Loop:
    @compiled
    def loop(words, starts, strips, values, stride, rows, columns, out):  # type: ignore[no-untyped-def]
        for r in range(rows):
            for s in range(strips):
                bits, start = words[r * strips + s], entry(starts, r * strips + s)
                if bits:
                    at, left = r * stride + s * lanes, columns - s * lanes
                    store_compressed(out, start, load_some(values, at, left, lanes, some), bits)

    return loop
