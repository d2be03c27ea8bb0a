"""Gradients of the training loss in the weights, on a copy of the model.

The copy is in evaluation mode, so that no dropout makes the score a matter of chance; only its
batch norms see the statistics of their batch, as in training.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from graphlth.masks import Masks
from graphlth.model_checks import check_attached, check_cached, check_weights
from graphlth.task import Task, apply_edge_masks, compute_loss
from graphlth.training.forward import forward, policy_logits


def masked_copy(model: nn.Module, masks: Masks) -> tuple[nn.Module, dict[str, Tensor]]:
    """A copy of `model` with the weights θ ⊙ m_θ, and those weights: leaves, by name."""
    check_weights(model)
    check_cached(model, masks)
    net = deepcopy(model)
    for module in net.modules():
        module.training = isinstance(module, _BatchNorm)
    for n, p in net.named_parameters():
        p.requires_grad_(n in masks)
        if n in masks:
            p.detach().mul_(masks[n])
    return net, {n: p for n, p in net.named_parameters() if n in masks}


def batch_losses(
    net: nn.Module, task: Task, masks: Masks, temperature: float = 1.0
) -> Iterator[Tensor]:
    """The loss of every training batch on the graph that `masks` leave.

    The logits are divided by `temperature`.
    """
    task = apply_edge_masks(task, masks)
    task = task.with_policy(lambda x: policy_logits(net, x, {}))
    for batch in task.batches("train"):
        logits = batch.select(forward(net, batch, {}))
        loss = compute_loss(task.loss, logits / temperature, batch)
        check_attached(loss)
        yield loss


def gradient(value: Tensor, theta: Masks, *, twice: bool = False) -> dict[str, Tensor]:
    """∂value/∂θ; with `twice`, differentiable itself."""
    leaves = list(theta.values())
    found = torch.autograd.grad(value, leaves, create_graph=twice, materialize_grads=True)
    return dict(zip(theta, found, strict=True))


def sum_by_name(parts: Iterable[Masks]) -> dict[str, Tensor]:
    """The sum of tensors by name."""
    total: dict[str, Tensor] = {}
    for part in parts:
        total = {n: total[n] + t if n in total else t for n, t in part.items()}
    return total
