"""The softmax over the edges of each node, in which an edge counts by its weight."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.utils import scatter, softmax
from torch_geometric.utils.num_nodes import maybe_num_nodes

HIGHEST = 40.0  # exponent of an absent edge above the largest of the others; e⁴⁰ is finite


def masked_softmax(weight: Callable[[Tensor], Tensor | None]) -> Callable[..., Tensor]:
    """PyG's `softmax`, for an edge of weight m as e^l / Σ m e^l.

    What is then summed over edges is weighed by m, so that attention is m e^l / Σ m e^l.

    Args:
        weight: the weight of the edge of each number of an index; None if it is of none.
    """

    def masked(
        src: Tensor, index: Tensor | None = None, ptr: Tensor | None = None,
        num_nodes: int | None = None, dim: int = 0,
    ) -> Tensor:  # fmt: skip
        m = None if index is None else weight(index)
        if m is None or index is None:
            return softmax(src, index, ptr, num_nodes, dim)
        with torch._C.DisableTorchFunction():  # sums are weighed here
            return _weighted_softmax(src, m, index, maybe_num_nodes(index, num_nodes), dim)

    return masked


def _weighted_softmax(src: Tensor, m: Tensor, index: Tensor, count: int, dim: int) -> Tensor:
    """e^l / Σ m e^l of logits `src` with E entries along `dim`."""
    logits = src.float() if src.dtype in (torch.bfloat16, torch.float16) else src
    shape = [1] * src.dim()
    shape[dim] = -1
    m = m.to(logits.dtype).view(shape)
    low = torch.finfo(logits.dtype).min
    largest = scatter(
        logits.detach().masked_fill(m.detach() == 0, low), index, dim, count, reduce="max"
    )
    largest = torch.where(largest == low, torch.zeros_like(largest), largest)
    shift = (logits - largest.index_select(dim, index)).clamp(max=HIGHEST)
    e = shift.exp()
    total = scatter(m * e, index, dim, count, reduce="sum")
    total = torch.where(total > 0, total, torch.ones_like(total))
    return (e / total.index_select(dim, index)).to(src.dtype)
