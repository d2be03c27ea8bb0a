"""One-shot UGS: one mask training, cut at every sparsity; the ablation of its iterations."""

from collections.abc import Iterator

from torch import nn

from graphlth.cost.meters import uncounted
from graphlth.prune import drop_jointly
from graphlth.rewinding import rewind
from graphlth.settings.types import Epochs, Fraction, NonNegative, Positive, Rounds, Scope, Seed
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket, dense
from graphlth.training.checks import check_start
from graphlth.training.loop import train_masks


def one_shot(
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
    """Yield the dense ticket, then the tickets of every round's sparsity from one mask training.

    Args:
        model: the network; its weights are θ₀.
        task: the graph and its labels.
        rounds: how many sparsities.
        epochs: epochs of the one mask training, and of retraining.
        drop_edges: fraction of the surviving edges that a step removes, in [0, 1).
        drop_weights: fraction of the surviving weights that a step removes, in [0, 1).
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
    whole = last or dense(model, task.num_edges, edges=drop_edges > 0, weights=drop_weights > 0)
    if last is None:
        yield whole
    masks = {n: m.new_ones(m.shape) for n, m in whole.masks.items()}  # m_g, m_θ ← 1
    with uncounted(whole.round > 0):
        soft = train_masks(
            rewind(model, whole.init), task, masks, epochs=epochs, l1_edges=l1_edges,
            l1_weights=l1_weights, lr=lr, weight_decay=weight_decay, noise=mask_noise,
            seed=stream_seed(seed, "mask training", 1),
        )  # fmt: skip
    for r in range(1, rounds + 1):
        masks = drop_jointly(masks, soft, drop_weights, drop_edges, scope)
        if r > whole.round:
            yield Ticket(whole.init, masks, r)
