"""Iterative magnitude pruning with rewinding (Frankle et al., ICML 2020, arXiv:1912.05671)."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from graphlth.prune import drop_lowest
from graphlth.scores.magnitude import magnitude
from graphlth.task import Task
from graphlth.ticket import Ticket, dense, rewind
from graphlth.train import train


def imp(
    model: nn.Module,
    task: Task,
    *,
    rounds: int = 20,
    epochs: int = 200,
    drop_weights: float = 0.2,
    rewind_to: int = 0,
    lr: float = 0.01,
    weight_decay: float = 5e-4,
    scope: str = "global",
    seed: int = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket, then one ticket per round; only weights are removed.

    Args:
        model: the network.
        task: the data.
        rounds: how often to prune.
        epochs: epochs of training per round, and of retraining.
        drop_weights: fraction of the surviving weights that a round removes, in [0, 1).
        rewind_to: k, the epoch whose weights a ticket starts from; 0 is the initialisation.
        lr: Adam's learning rate.
        weight_decay: Adam's L2 decay.
        scope: rank weights over all layers ("global") or within each ("layer").
        seed: seeds dropout and batch order.
        last: continue after this ticket.
    """
    how: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "seed": seed}
    if last is None:
        masks = dense(model, edges=False).masks  # m ← 1
        for _ in train(model, task, masks, epochs=rewind_to, **how):  # θ₀ → θ_k
            pass
        last = dense(model, edges=False)
        yield last
    theta_k, masks = last.init, last.masks
    for r in range(last.round + 1, rounds + 1):
        for _ in train(rewind(model, theta_k), task, masks, epochs=epochs - rewind_to, **how):
            pass
        masks = drop_lowest(masks, magnitude(model, task, masks), drop_weights, scope)
        yield Ticket(theta_k, masks, r)
