"""GraSP (Wang et al., ICLR 2020, arXiv:2002.07376, Algorithm 1)."""

from torch import Tensor, nn

from graphlth.masks import Masks
from graphlth.scores.weights._gradient import batch_losses, gradient, masked_copy, sum_by_name
from graphlth.settings.types import Positive
from graphlth.sparse.backend import BACKENDS
from graphlth.task import Task

SINGLE = (
    "graphlth.sparse.kernels.",
    "graphlth.sparse.dropout",
)  # their gradients have none themselves


def grasp(
    model: nn.Module, task: Task, masks: Masks, *, temperature: Positive = 200.0
) -> dict[str, Tensor]:
    """θ ⊙ Hg with the gradient g and the Hessian H of the loss, summed over the training batches.

    To first order, half of what `gᵀg`, the speed at which training lowers the loss, loses without a
    weight. The paper scores with −θ ⊙ Hg and removes the highest, which are the lowest here.

    The Hessian needs kernels that can be differentiated twice: graphlth's models score on the
    `reference` backend, which makes a tensor of E × d. Dropout is off.

    Args:
        model: the network.
        task: the data.
        masks: what is left.
        temperature: T, which divides the logits.

    Raises:
        ValueError: `temperature` is not positive, or `model` uses kernels that cannot be
            differentiated twice.
    """
    if not temperature > 0:
        raise ValueError(f"`temperature` must be above 0, got {temperature}")
    net, theta = masked_copy(model, masks)
    if not theta:
        return {}
    for module in net.modules():
        if vars(module).get("backend") in BACKENDS or hasattr(module, "propagate"):  # PyG's, too
            vars(module)["backend"] = "reference"
    g = sum_by_name(gradient(loss, theta) for loss in batch_losses(net, task, masks, temperature))
    by_batch = (
        hessian_product(loss, theta, g) for loss in batch_losses(net, task, masks, temperature)
    )
    return {n: hg * theta[n].detach() for n, hg in sum_by_name(by_batch).items()}


def hessian_product(loss: Tensor, theta: Masks, g: Masks) -> dict[str, Tensor]:
    """`H g` with the Hessian H of `loss` in `theta`: the gradient of `⟨∇loss, g⟩`."""
    refuse_single_derivatives(loss)
    slope = gradient(loss, theta, twice=True)
    along = sum(((slope[n] * g[n]).sum() for n in theta), loss.new_zeros(()))
    return gradient(along, theta)


def refuse_single_derivatives(loss: Tensor) -> None:
    """Refuse a loss made by functions whose gradient would be taken for a constant.

    Raises:
        ValueError: it is.
    """
    seen, ahead = set(), [loss.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        where = getattr(getattr(type(node), "_forward_cls", None), "__module__", node.name())
        if where.startswith(SINGLE) or "CppNode" in where:
            raise ValueError("`model` must use kernels that can be differentiated twice, "
                             f"such as the backend 'reference', got {where}")  # fmt: skip
        ahead += [before for before, _ in node.next_functions]
