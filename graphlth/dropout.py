"""Dropout from few random bits.

Bits come from Philox4x32-10 (Salmon et al., SC 2011), a counter-based generator: a call draws one
key from torch's generator, and an entry's chance depends on the key and its place alone. So the
backward pass draws the same bits again instead of keeping them, and four entries cost what one
would: each takes 16 bits.
"""

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

STEPS = 1 << 16
COUNTERS = 512  # of Philox at a time; each gives 8 entries their chance


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """`x` with each entry zeroed with probability `p` and the others scaled by `1 / (1 − p)`.

    `p` is rounded to a multiple of 2⁻¹⁶, and the scale with it, so that the mean is exact.

    Raises:
        ValueError: `p` is outside [0, 1).
    """
    keep = _steps(p)
    return x if not training or keep == STEPS else _Dropout.apply(x, keep, _key())


def relu_dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """`dropout(x.relu(), p, training)`, which remembers nothing but its output."""
    keep = _steps(p)
    return x.relu() if not training or keep == STEPS else _ReluDropout.apply(x, keep, _key())


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: int, key: int) -> Tensor:
        ctx.draw = keep, key
        return _drop(x, keep, key, False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        keep, key = ctx.draw
        return _drop(grad, keep, key, False), None, None


class _ReluDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: int, key: int) -> Tensor:
        out = _drop(x, keep, key, True)
        ctx.keep = keep
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (out,) = ctx.saved_tensors  # above 0 just where x is, and was kept
        return torch.ops.aten.threshold_backward(grad, out, 0).mul_(STEPS / ctx.keep), None, None


def _steps(p: float) -> int:
    """How many of `STEPS` equal chances keep an entry."""
    if not 0 <= p < 1:
        raise ValueError(f"`dropout` must be in [0, 1), got {p}")
    return max(1, round((1 - p) * STEPS))


def _key() -> int:
    """A key of 63 bits from torch's generator."""
    return int(torch.empty((), dtype=torch.int64).random_())


def _drop(x: Tensor, keep: int, key: int, positive: bool) -> Tensor:
    """`x`, where it is kept (and positive, if so asked), times `STEPS / keep`; elsewhere 0."""
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        flat = x.detach().contiguous().view(-1).numpy()
        _drop_array(flat, *_words(key), keep, flat.dtype.type(STEPS / keep), positive,
                    out.view(-1).numpy())  # fmt: skip
        return out
    kept = torch.empty(x.shape, dtype=torch.float32)
    _drop_array(np.ones(x.numel(), np.float32), *_words(key), keep, np.float32(STEPS / keep),
                False, kept.view(-1).numpy())  # fmt: skip
    return (x.relu() if positive else x) * kept.to(x)


def _words(key: int) -> tuple[np.uint32, np.uint32]:
    return np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True, error_model="numpy")
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
