"""The only place where an entry is removed."""

import torch
from torch import Tensor

from graphlth.masks import Masks, only

SCOPES = ("global", "layer")


def drop_lowest(
    masks: Masks, scores: Masks, fraction: float, scope: str = "global"
) -> dict[str, Tensor]:
    """The masks without the `fraction` of surviving entries that score lowest.

    Exactly `round(fraction · survivors)` entries go, ranked over all tensors together
    (`scope="global"`) or within each (`"layer"`). Of equal scores the earlier entry goes,
    so every device removes the same ones. Removed entries never return.

    Raises:
        ValueError: `fraction` is outside [0, 1), `scope` is unknown, a score is NaN or missing.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"`fraction` must be in [0, 1), got {fraction}")
    if scope not in SCOPES:
        raise ValueError(f"`scope` must be one of {', '.join(SCOPES)}, got {scope!r}")
    if scope == "layer":
        return {n: drop_lowest({n: m}, scores, fraction)[n] for n, m in masks.items()}
    for n, m in masks.items():
        if n not in scores or scores[n].shape != m.shape:
            raise ValueError(f"`scores` must hold {n!r} of shape {list(m.shape)}")
    if not masks:
        return {}
    alive = torch.cat([m.flatten() for m in masks.values()]).bool()
    rank = torch.cat([scores[n].flatten() for n in masks]).detach()[alive]
    if rank.isnan().any():
        raise ValueError(f"`scores` must be numbers, got {int(rank.isnan().sum())} NaN")
    lowest = rank.argsort(stable=True)[: round(fraction * rank.numel())]
    gone = alive.nonzero().squeeze(1)[lowest]
    keep = alive.index_fill(0, gone, False).split([m.numel() for m in masks.values()])
    return {n: k.view_as(m).to(m.dtype) for (n, m), k in zip(masks.items(), keep, strict=True)}


def drop_jointly(
    masks: Masks, scores: Masks, weights: float, edges: float, scope: str = "global"
) -> dict[str, Tensor]:
    """`drop_lowest` on the weights and, in a ranking of their own, on the edges."""
    return {
        **(drop_lowest(w, scores, weights, scope) if (w := only(masks, "weights")) else {}),
        **(drop_lowest(e, scores, edges) if (e := only(masks, "edges")) else {}),
    }
