"""Unified GNN sparsification (Chen et al., ICML 2021, arXiv:2102.06790, Algorithms 1 and 2)."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Unpack

from torch import Tensor, nn

from graphlth.prune import drop_jointly
from graphlth.rewinding import rewind
from graphlth.settings.types import Fraction, Ignore, NonNegative, Rounds, Scope, Seed
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket, dense
from graphlth.training import batched
from graphlth.training.checks import check_start
from graphlth.training.loop import train_masks
from graphlth.training.recipe import ADAM, AdamFields, Recipe

RECIPE = ADAM


class BatchedFields(AdamFields, total=False):
    """The keywords of `ugs` that `batched_ugs` names no parameter for."""

    ignore: Ignore


Soft = tuple[dict[str, Tensor], int]  # m_g and m_θ, and the epoch that they are of
TrainSoft = Callable[[Sequence[Ticket], int], list[Soft]]  # in a round, from θ₀


def ugs(
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
    """Yield the dense ticket, then one ticket per round.

    A part that is dropped at rate 0 has no mask: `drop_weights=0` sparsifies the graph alone,
    `drop_edges=0` the weights alone.

    Args:
        model: the network; its weights are θ₀.
        task: the graph and its labels.
        rounds: how often to prune.
        drop_edges: p_g, fraction of the surviving edges that a round removes, in [0, 1).
        drop_weights: p_θ, fraction of the surviving weights that a round removes, in [0, 1).
        l1_edges: γ₁, weight of ‖m_g‖₁ in the loss.
        l1_weights: γ₂, weight of ‖m_θ‖₁ in the loss.
        scope: rank weights over all layers ("global") or within each ("layer").
        mask_noise: masks start uniformly in 1 ± this; it orders entries without a gradient.
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
        seed: seeds dropout and the mask noise.
        last: continue after this ticket.
        training: how weights and masks are trained in a round (see `Recipe`).
    """
    recipe = Recipe.of(training, RECIPE)
    check_start(model, task, last)

    def train_soft(tickets: Sequence[Ticket], r: int) -> list[Soft]:
        [ticket] = tickets
        return [train_masks(
            rewind(model, ticket.init), task, ticket.masks, recipe=recipe, l1_edges=l1_edges,
            l1_weights=l1_weights, noise=mask_noise, seed=stream_seed(seed, "mask training", r),
        )]  # fmt: skip

    first = None if last is None else [last]
    drops = drop_edges, drop_weights, scope
    for [ticket] in _prune([model], task, first, rounds, *drops, ignore, train_soft):
        yield ticket


def batched_ugs(
    models: Sequence[nn.Module],
    task: Task,
    *,
    rounds: Rounds,
    drop_edges: Fraction,
    drop_weights: Fraction,
    l1_edges: NonNegative,
    l1_weights: NonNegative,
    scope: Scope,
    mask_noise: Fraction,
    seeds: Sequence[int],
    last: Sequence[Ticket] | None = None,
    graphs: bool = False,
    **training: Unpack[BatchedFields],
) -> Iterator[list[Ticket]]:
    """Yield the dense ticket of every seed, then in each round one of every seed.

    `models` are one network with the weights θ₀ of each seed; `last` are tickets of one round, to
    continue after; `graphs` replays epochs as CUDA graphs. The other arguments are those of `ugs`.
    """
    ignore = training.pop("ignore", "")
    recipe = Recipe.of(training, RECIPE)

    def train_soft(tickets: Sequence[Ticket], r: int) -> list[Soft]:
        return batched.train_masks(
            models[0], task, [t.init for t in tickets], [t.masks for t in tickets], recipe=recipe,
            seeds=[stream_seed(seed, "mask training", r) for seed in seeds],
            l1_edges=l1_edges, l1_weights=l1_weights, noise=mask_noise, graphs=graphs,
        )  # fmt: skip

    drops = drop_edges, drop_weights, scope
    yield from _prune(models, task, last, rounds, *drops, ignore, train_soft)


def _prune(
    models: Sequence[nn.Module],
    task: Task,
    last: Sequence[Ticket] | None,
    rounds: int,
    drop_edges: float,
    drop_weights: float,
    scope: Scope,
    ignore: str,
    train_soft: TrainSoft,
) -> Iterator[list[Ticket]]:
    """The tickets of every model: dense ones unless `last` are given, then those of each round."""
    parts = {"edges": drop_edges > 0, "weights": drop_weights > 0}
    tickets = list(
        last or [dense(model, task.num_edges, **parts, ignore=ignore) for model in models]
    )
    if last is None:
        yield tickets
    for r in range(tickets[0].round + 1, rounds + 1):
        soft = train_soft(tickets, r)
        drop = partial(drop_jointly, weights=drop_weights, edges=drop_edges, scope=scope)
        tickets = [
            Ticket(
                t.init, drop(t.masks, m, groups=task.edge_groups), r, search={"mask_epoch": epoch}
            )
            for t, (m, epoch) in zip(tickets, soft, strict=True)
        ]
        yield tickets
