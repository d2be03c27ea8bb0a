"""Dropout of several seeds at once as one Triton kernel, for CUDA devices.

Its bits are those of `graphlth.sparse.dropout` on the CPU. The keys lie on the device, so that a
captured CUDA graph draws anew whenever they change.
"""

from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

COUNTERS = 512  # of Philox a program; each gives 8 entries their chance


def drop(x: Tensor, keep: int, keys: Tensor, dim: int, positive: bool) -> Tensor:
    """`x` where it is kept (and positive, if so asked), times `2¹⁶ / keep`; elsewhere 0.

    Along `dim` lie S seeds, and `keys` [S] are theirs.
    """
    x, keys = x.contiguous(), keys.contiguous()
    out = torch.empty_like(x)
    inner, seeds = prod(x.shape[dim + 1 :]), x.size(dim)
    size = x.numel() // max(seeds, 1)
    if size:
        with torch.cuda.device_of(x):
            _drop[triton.cdiv(size, 8 * COUNTERS), seeds](
                x, keys, out, size, inner, keep, POSITIVE=positive, COUNTERS=COUNTERS
            )
    return out


@triton.jit
def _drop(  # type: ignore[no-untyped-def]
    x, keys, out, size, inner, keep, POSITIVE: tl.constexpr, COUNTERS: tl.constexpr
):
    """One block of 8 · COUNTERS entries of one seed; entry i has the i-th 16 bits of the block."""
    seed, block = tl.program_id(1).to(tl.int64), tl.program_id(0).to(tl.int64)
    counter = block * COUNTERS + tl.arange(0, COUNTERS)
    low, high = counter.to(tl.uint32), (counter >> 32).to(tl.uint32)
    a, b, c, d = tl.philox(tl.load(keys + seed), low, high, low * 0, low * 0)
    start = block * (8 * COUNTERS)
    _part(x, out, a, start, seed, size, inner, keep, POSITIVE, COUNTERS)
    _part(x, out, b, start + 2 * COUNTERS, seed, size, inner, keep, POSITIVE, COUNTERS)
    _part(x, out, c, start + 4 * COUNTERS, seed, size, inner, keep, POSITIVE, COUNTERS)
    _part(x, out, d, start + 6 * COUNTERS, seed, size, inner, keep, POSITIVE, COUNTERS)


@triton.jit
def _part(  # type: ignore[no-untyped-def]
    x, out, words, start, seed, size, inner, keep, POSITIVE: tl.constexpr, COUNTERS: tl.constexpr
):
    """The entries from `start` on that the `words` decide, two each: the low half comes first."""
    chance = tl.interleave(words & 0xFFFF, words >> 16).to(tl.int32)
    place = start + tl.arange(0, 2 * COUNTERS)
    at = (place // inner * tl.num_programs(1) + seed) * inner + place % inner
    value = tl.load(x + at, mask=place < size, other=0)
    scale = (tl.full([1], 65536, tl.float64) / keep).to(value.dtype)
    goes = chance >= keep
    if POSITIVE:
        goes = goes | (value <= 0)  # so that a NaN stays one
    tl.store(out + at, tl.where(goes, 0, value * scale), mask=place < size)
