"""SNIP (Lee et al., ICLR 2019, arXiv:1810.02340)."""

from torch import Tensor, nn

from graphlth.masks import Masks
from graphlth.scores.weights._gradient import batch_losses, gradient, masked_copy, sum_by_name
from graphlth.task import Task


def snip(model: nn.Module, task: Task, masks: Masks) -> dict[str, Tensor]:
    """|g ⊙ θ| with the gradient g of the loss, summed over the training batches.

    To first order, how much the loss changes without a weight. Dropout is off.
    """
    net, theta = masked_copy(model, masks)
    if not theta:
        return {}
    g = sum_by_name(gradient(loss, theta) for loss in batch_losses(net, task, masks))
    return {n: (g[n] * w.detach()).abs() for n, w in theta.items()}
