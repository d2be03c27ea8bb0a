"""Taylor: the importance of single weights (Molchanov et al., CVPR 2019, arXiv:1906.10771)."""

from torch import Tensor, nn

from graphlth.masks import Masks
from graphlth.scores.weights._gradient import batch_losses, gradient, masked_copy, sum_by_name
from graphlth.task import Task


def taylor(model: nn.Module, task: Task, masks: Masks) -> dict[str, Tensor]:
    """(g ⊙ θ)² with the gradient g of the loss of a batch, summed over the training batches.

    To first order, the squared change of the loss without a weight. With a single batch the ranking
    is that of SNIP; with several, changes of opposite sign do not cancel. Dropout is off.
    """
    net, theta = masked_copy(model, masks)
    if not theta:
        return {}
    by_batch = (gradient(loss, theta) for loss in batch_losses(net, task, masks))
    return sum_by_name({n: (g[n] * w.detach()) ** 2 for n, w in theta.items()} for g in by_batch)
