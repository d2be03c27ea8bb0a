"""One-shot UGS: one mask training, cut at every sparsity; the ablation of its iterations."""

from collections.abc import Iterator
from typing import Unpack

from torch import nn

from graphlth.cost.meters import without_counting
from graphlth.prune import drop_jointly
from graphlth.rewinding import rewind
from graphlth.settings.types import Fraction, Ignore, NonNegative, Rounds, Scope, Seed
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket, dense
from graphlth.training.checks import check_start
from graphlth.training.loop import train_masks
from graphlth.training.recipe import ADAM, AdamFields, Recipe

RECIPE = ADAM


def one_shot(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 20,
    drop_edges: Fraction = 0.05,
    drop_weights: Fraction = 0.2,
    l1_edges: NonNegative = 1e-4,
    l1_weights: NonNegative = 1e-4,
    scope: Scope = "global",
    mask_noise: Fraction = 1e-5,
    ignore: Ignore = "",
    seed: Seed = 0,
    last: Ticket | None = None,
    **training: Unpack[AdamFields],
) -> Iterator[Ticket]:
    """Yield the dense ticket, then the tickets of every round's sparsity from one mask training.

    Args:
        model: the network; its weights are θ₀.
        task: the graph and its labels.
        rounds: how many sparsities.
        drop_edges: fraction of the surviving edges that a step removes, in [0, 1).
        drop_weights: fraction of the surviving weights that a step removes, in [0, 1).
        l1_edges: γ₁, weight of ‖m_g‖₁ in the loss.
        l1_weights: γ₂, weight of ‖m_θ‖₁ in the loss.
        scope: rank weights over all layers ("global") or within each ("layer").
        mask_noise: masks start uniformly in 1 ± this; it orders entries without a gradient.
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
        seed: seeds dropout and the mask noise.
        last: continue after this ticket.
        training: how weights and masks are trained (see `Recipe`).
    """
    recipe = Recipe.of(training, RECIPE)
    check_start(model, task, last)
    first = last or dense(
        model, task.num_edges, edges=drop_edges > 0, weights=drop_weights > 0, ignore=ignore
    )
    if last is None:
        yield first
    masks = {n: m.new_ones(m.shape) for n, m in first.masks.items()}  # m_g, m_θ ← 1
    with without_counting(first.round > 0):
        soft, epoch = train_masks(
            rewind(model, first.init), task, masks, recipe=recipe, l1_edges=l1_edges,
            l1_weights=l1_weights, noise=mask_noise, seed=stream_seed(seed, "mask training", 1),
        )  # fmt: skip
    for r in range(1, rounds + 1):
        masks = drop_jointly(masks, soft, drop_weights, drop_edges, scope, task.edge_groups)
        if r > first.round:
            yield Ticket(first.init, masks, r, search={"mask_epoch": epoch})
