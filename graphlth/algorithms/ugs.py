"""Unified GNN sparsification (Chen et al., ICML 2021, arXiv:2102.06790, Algorithms 1 and 2)."""

from collections.abc import Iterator

from torch import nn

from graphlth.prune import drop_jointly
from graphlth.rewinding import rewind
from graphlth.settings.types import Epochs, Fraction, NonNegative, Positive, Rounds, Scope, Seed
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket, dense
from graphlth.training.checks import check_start
from graphlth.training.loop import train_masks


def ugs(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 20,
    epochs: Epochs = 200,
    drop_edges: Fraction = 0.05,
    drop_weights: Fraction = 0.2,
    l1_edges: NonNegative = 1e-4,
    l1_weights: NonNegative = 1e-4,
    lr: Positive = 0.01,
    weight_decay: NonNegative = 5e-4,
    scope: Scope = "global",
    mask_noise: Fraction = 1e-5,
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket, then one ticket per round.

    A part that is dropped at rate 0 has no mask: `drop_weights=0` sparsifies the graph alone,
    `drop_edges=0` the weights alone.

    Args:
        model: the network; its weights are θ₀.
        task: the graph and its labels.
        rounds: how often to prune.
        epochs: epochs of mask training per round, and of retraining.
        drop_edges: p_g, fraction of the surviving edges that a round removes, in [0, 1).
        drop_weights: p_θ, fraction of the surviving weights that a round removes, in [0, 1).
        l1_edges: γ₁, weight of ‖m_g‖₁ in the loss.
        l1_weights: γ₂, weight of ‖m_θ‖₁ in the loss.
        lr: Adam's learning rate, of weights and masks.
        weight_decay: Adam's L2 decay, of weights and masks.
        scope: rank weights over all layers ("global") or within each ("layer").
        mask_noise: masks start uniformly in 1 ± this; it orders entries without a gradient.
        seed: seeds dropout and the mask noise.
        last: continue after this ticket.
    """
    check_start(model, task, last)
    ticket = last or dense(model, task.num_edges, edges=drop_edges > 0, weights=drop_weights > 0)
    if last is None:
        yield ticket
    theta_0 = ticket.init
    for r in range(ticket.round + 1, rounds + 1):
        soft = train_masks(  # m_g, m_θ
            rewind(model, theta_0), task, ticket.masks, epochs=epochs,
            l1_edges=l1_edges, l1_weights=l1_weights, lr=lr, weight_decay=weight_decay,
            noise=mask_noise, seed=stream_seed(seed, "mask training", r),
        )  # fmt: skip
        masks = drop_jointly(ticket.masks, soft, drop_weights, drop_edges, scope)
        ticket = Ticket(theta_0, masks, r)
        yield ticket
