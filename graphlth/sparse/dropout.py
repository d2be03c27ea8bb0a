"""Dropout from few random bits.

Bits come from Philox4x32-10 (Salmon et al., SC 2011), a counter-based generator: a call draws one
key from torch's generator, and an entry's chance depends on the key and its place alone. So the
backward pass draws the same bits again instead of keeping them, and four entries cost what one
would: each takes 16 bits.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphlth.edge_masks import EdgeMask, multiply_edges
from graphlth.sparse import vmap
from graphlth.sparse.graph import Graph
from graphlth.sparse.kernels._compiled import compiled
from graphlth.sparse.kernels._memory import new_empty
from graphlth.sparse.untraced import untraced

LEVELS = 1 << 16  # a chance is one of so many equal ones
COUNTERS = 512  # of Philox at a time; each gives 8 entries their chance


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """`x` with each entry zeroed with probability `p` and the others scaled by `1 / (1 − p)`.

    `p` is rounded to a multiple of 2⁻¹⁶, and the scale with it, so that the mean is exact.

    Raises:
        ValueError: `p` is outside [0, 1).
    """
    keep = _levels_kept(p)
    return x if not training or keep == LEVELS else _apply(_Dropout, x, keep)


def relu_dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """`dropout(x.relu(), p, training)`, which remembers nothing but its output."""
    keep = _levels_kept(p)
    return x.relu() if not training or keep == LEVELS else _apply(_ReluDropout, x, keep)


@untraced
@torch.no_grad()
def relu_dropout_values(x: Tensor, p: float) -> tuple[Tensor, float]:
    """`relu_dropout(x, p)` without gradients, and the scale of the entries that are kept."""
    keep = _levels_kept(p)
    return (x.relu(), 1.0) if keep == LEVELS else (_drop(x, keep, _key(), True), LEVELS / keep)


def edge_dropout(
    graph: Graph, weight: EdgeMask | None, p: float, training: bool = True, *, like: Tensor
) -> EdgeMask | None:
    """The edge weights [E] with each edge left out, at weight 0, with probability `p`.

    DropEdge (Rong et al., ICLR 2020, arXiv:1907.10903): one draw for all layers of a pass, whose
    degrees count what is left. Kept weights are not scaled. The two directions of an undirected
    edge are drawn each by itself, as the entries of the adjacency matrix are in the paper's code;
    that leaves out a fixed number of them, here the number varies around its mean.

    Args:
        graph: the edges, without the loops that a model adds.
        weight: [E], or a tuple of one for each layer; None counts every edge once. It comes back
            if nothing is drawn.
        p: in [0, 1), rounded to a multiple of 2⁻¹⁶.
        training: whether to draw at all.
        like: has the type and device of the result without `weight`.

    Raises:
        ValueError: `p` is outside [0, 1).
    """
    keep = _levels_kept(p, "edge_dropout")
    if not training or keep == LEVELS:
        return weight
    ones = torch.ones(graph.num_edges, dtype=like.dtype, device=like.device)
    kept = (_apply(_Dropout, ones, keep) > 0).to(ones.dtype)
    return multiply_edges(weight, kept)


@contextmanager
def dropout_keys(keys: Iterable[int] | Iterable[Tensor]) -> Iterator[None]:
    """A context in which every dropout takes the next of `keys`, and none from torch's generator.

    Under `torch.vmap` a key is a tensor [], one for each of what is stacked.
    """
    token = _NEXT_KEYS.set(iter(keys))
    try:
        yield
    finally:
        _NEXT_KEYS.reset(token)


def draw_keys(count: int, seed: int) -> Tensor:
    """The keys [count] that `count` dropouts would draw after `torch.manual_seed(seed)`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.empty(count, dtype=torch.int64).random_(generator=generator)


_NEXT_KEYS: ContextVar[Iterator[Any] | None] = ContextVar("keys", default=None)


class StackedKeys(NamedTuple):
    """One key for each of the tensors that are stacked along the dimension `dim`."""

    values: Tensor  # [S]
    dim: int


@untraced
def _apply(function: Any, x: Tensor, keep: int) -> Tensor:
    if vmap.inside():
        return vmap.apply_rule(_each, x, _key(), keep, function)
    return function.apply(x, keep, _key())


def _each(
    size: int, dims: vmap.Dims, x: Tensor, key: Tensor, keep: int, function: Any
) -> tuple[Tensor, int]:
    """Dropout of each of S tensors with a key of its own."""
    if dims[1] is None:
        raise ValueError("`dropout` inside `torch.vmap` needs stacked keys: see `dropout_keys`")
    dim = dims[0]
    if dim is None:
        x, dim = x.expand(size, *x.shape), 0
    return function.apply(x, keep, StackedKeys(key, dim)), dim


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: int, key: int | StackedKeys) -> Tensor:
        ctx.draw = keep, key
        return _drop(x, keep, key, False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        keep, key = ctx.draw
        return _drop(grad, keep, key, False), None, None


class _ReluDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: int, key: int | StackedKeys) -> Tensor:
        out = _drop(x, keep, key, True)
        ctx.keep = keep
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (out,) = ctx.saved_tensors  # above 0 just where x is, and was kept
        return torch.ops.aten.threshold_backward(grad, out, 0).mul_(LEVELS / ctx.keep), None, None


def _levels_kept(p: float, name: str = "dropout") -> int:
    """With how many of `LEVELS` equal chances an entry is kept."""
    if not 0 <= p < 1:
        raise ValueError(f"`{name}` must be in [0, 1), got {p}")
    return max(1, round((1 - p) * LEVELS))


def _key() -> Any:
    """The next of the keys that are given, or one of 63 bits from torch's generator."""
    keys = _NEXT_KEYS.get()
    return int(torch.empty((), dtype=torch.int64).random_()) if keys is None else next(keys)


def _drop(x: Tensor, keep: int, key: int | StackedKeys, positive: bool) -> Tensor:
    """`x`, where it is kept (and positive, if so asked), times `LEVELS / keep`; elsewhere 0."""
    if x.is_cuda and _has_triton():
        return _drop_on_device(x, keep, key, positive)
    if isinstance(key, StackedKeys):
        parts = zip(x.unbind(key.dim), key.values.tolist(), strict=True)
        return torch.stack([_drop(part, keep, k, positive) for part, k in parts], key.dim)
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        out = new_empty(x, *x.shape)
        flat = x.detach().contiguous().view(-1).numpy()
        _drop_array(flat, *_words(key), keep, flat.dtype.type(LEVELS / keep), positive,
                    out.view(-1).numpy())  # fmt: skip
        return out
    kept = torch.empty(x.shape, dtype=torch.float32)
    _drop_array(np.ones(x.numel(), np.float32), *_words(key), keep, np.float32(LEVELS / keep),
                False, kept.view(-1).numpy())  # fmt: skip
    return (x.relu() if positive else x) * kept.to(x)


def _drop_on_device(x: Tensor, keep: int, key: int | StackedKeys, positive: bool) -> Tensor:
    from graphlth.sparse.kernels._dropout import drop

    if isinstance(key, StackedKeys):
        return drop(x, keep, key.values, key.dim, positive)
    return drop(x.unsqueeze(0), keep, torch.tensor([key], device=x.device), 0, positive).squeeze(0)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _words(key: int) -> tuple[np.uint32, np.uint32]:
    return np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)


@compiled
def _drop_array(x, low, high, keep, scale, positive, out):  # type: ignore[no-untyped-def]
    words = np.empty((4, COUNTERS), np.uint32)
    chance = words.reshape(-1).view(np.uint16)
    for start in range(0, x.size, chance.size):
        philox(low, high, np.uint64(start // 8), words)
        part = x[start : start + chance.size]
        result = out[start : start + chance.size]
        if positive:
            for i in range(part.size):
                goes = (part[i] <= 0) | (chance[i] >= keep)  # so that a NaN stays one
                result[i] = x.dtype.type(0) if goes else part[i] * scale
        else:
            for i in range(part.size):
                result[i] = part[i] * scale if chance[i] < keep else x.dtype.type(0)


@compiled
def philox(low, high, start, out):  # type: ignore[no-untyped-def]
    """Fill `out` [4, n] with the words of Philox4x32-10 under the key `(low, high)`.

    Column i is that of the counter `start + i`.
    """
    for i in range(out.shape[1]):
        counter, k0, k1 = start + np.uint64(i), low, high
        a, b = np.uint32(counter), np.uint32(counter >> np.uint64(32))
        c = d = np.uint32(0)
        for _ in range(10):
            p, q = np.uint64(a) * np.uint64(0xD2511F53), np.uint64(c) * np.uint64(0xCD9E8D57)
            a, b = np.uint32(q >> np.uint64(32)) ^ b ^ k0, np.uint32(q)
            c, d = np.uint32(p >> np.uint64(32)) ^ d ^ k1, np.uint32(p)
            k0, k1 = np.uint32(k0 + np.uint32(0x9E3779B9)), np.uint32(k1 + np.uint32(0xBB67AE85))
        out[0, i], out[1, i], out[2, i], out[3, i] = a, b, c, d
