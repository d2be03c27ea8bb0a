"""Rounds of pruning weights: which go, where training goes on, and the tickets."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from graphlth.algorithms._scores import score_part
from graphlth.cost.meters import without_counting
from graphlth.masks import Masks, matrices
from graphlth.masks import only as only_masks
from graphlth.prune import drop_lowest
from graphlth.rewinding import snapshot
from graphlth.settings.groups import split_group
from graphlth.settings.lists import parse_rounds
from graphlth.settings.types import (
    Fraction,
    RewindTo,
    RoundNumbers,
    Scope,
    WeightScore,
)
from graphlth.settings.validation import check_fields
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import FIRST_ITERATION, Ticket, dense
from graphlth.training.checks import check_start
from graphlth.training.epoch import epochs_of, spans
from graphlth.training.loop import train
from graphlth.training.recipe import Recipe, RecipeFields
from graphlth.training.retraining import resume


@dataclass(frozen=True)
class WeightPruning:
    """Which weights a round of pruning removes.

    Args:
        drop_weights: fraction of the surviving weights that a round removes, in [0, 1).
        drop_convs: that of convolutions, where it is another; layers are then ranked each alone.
        drop_output: that of the output layer, the last weight of the model, likewise.
        score: name of the score of the weights, of which the lowest go.
        invert: remove the highest instead, a control.
        scope: rank weights over all layers ("global") or within each ("layer").
    """

    drop_weights: Fraction = 0.2
    drop_convs: Fraction | None = None
    drop_output: Fraction | None = None
    score: WeightScore = "magnitude"
    invert: bool = False
    scope: Scope = "global"

    def __post_init__(self) -> None:
        check_fields(self)

    def rank(self, model: nn.Module, task: Task, ticket: Ticket, seed: int) -> Masks:
        """The scores of the weights of `model`, trained from `ticket`, of which the lowest go."""
        context = {"seed": stream_seed(seed, "score", ticket.round), "init": ticket.init}
        scores = score_part(self.score, "weights", model, task, ticket.masks, **context)
        return {n: -s for n, s in scores.items()} if self.invert else scores

    def drop(self, model: nn.Module, masks: Masks, scores: Masks) -> dict[str, Tensor]:
        """The masks without the weights of `model` of lowest score; those of edges stay."""
        edges, masks = only_masks(masks, "edges"), only_masks(masks, "weights")
        if self.drop_convs is None and self.drop_output is None:
            return drop_lowest(masks, scores, self.drop_weights, self.scope) | edges
        rates = self.layer_rates(masks, [*matrices(model)][-1])
        return {n: drop_lowest({n: m}, scores, rates[n])[n] for n, m in masks.items()} | edges

    def layer_rates(self, masks: Masks, output: str) -> dict[str, float]:
        """The fraction of each layer that goes; weights numbered as `output` are its layer's."""
        convs = self.drop_weights if self.drop_convs is None else self.drop_convs
        rates = {n: self.drop_weights if m.dim() < 4 else convs for n, m in masks.items()}
        if self.drop_output is None:
            return rates
        numbers = re.findall(r"\d+", output)
        ends = [n for n in masks if n == output or (numbers and re.findall(r"\d+", n) == numbers)]
        return rates | dict.fromkeys(ends, self.drop_output)


@dataclass(frozen=True)
class Rewinding:
    """Where the training of a ticket goes on.

    Args:
        rewind_to: k, the epoch (with `iterations`: iteration) whose weights a ticket starts from;
            0 is the initialisation. Training goes on from there: with batch and schedule of k.
        rewind: go back to θ_k ("weights"); keep the trained weights and go back in the schedule
            alone ("lr"); or train on at the last learning rate, for all epochs ("finetune";
            Renda et al., ICLR 2020, arXiv:2003.02389).
    """

    rewind_to: RewindTo = 0
    rewind: Literal["weights", "lr", "finetune"] = "weights"

    def __post_init__(self) -> None:
        check_fields(self)


class Settings(RecipeFields, total=False):
    """The fields of both groups and of `Recipe` as keywords, or a group in place of its own."""

    rewinding: Rewinding
    rewind_to: RewindTo
    rewind: Literal["weights", "lr", "finetune"]
    weight_pruning: WeightPruning
    drop_weights: Fraction
    drop_convs: Fraction | None
    drop_output: Fraction | None
    score: WeightScore
    invert: bool
    scope: Scope


def weight_tickets(
    model: nn.Module,
    task: Task,
    settings: Mapping[str, Any],
    *,
    rounds: int,
    only: RoundNumbers,
    one_shot: bool,
    ignore: str,
    seed: int,
    last: Ticket | None,
) -> Iterator[Ticket]:
    """The tickets of `imp`, which says what its arguments are; `settings` are those of `Settings`.

    Raises:
        ValueError: a setting is wrong, or the score cannot score the weights.
    """
    pruning, others = split_group(WeightPruning, settings)
    rewinding, training = split_group(Rewinding, others)
    recipe = Recipe.of(training)
    check_start(model, task, last)
    k = rewinding.rewind_to
    k = spans(task, k, "rewind_to") if recipe.iterations else k  # in epochs
    start = epochs_of(recipe, task) if rewinding.rewind == "finetune" else k  # of a ticket
    ticket = last or dense(model, edges=False, ignore=ignore)
    if last is None or one_shot:
        edges = only_masks({} if last is None else last.masks, "edges")
        ticket = dense(model, edges=False, ignore=ignore)
        ticket = replace(ticket, masks={**ticket.masks, **edges})
        pruning.rank(model, task, ticket, seed)  # what cannot be scored is refused at once
        with without_counting(last is not None):
            for _ in train(model, task, ticket.masks, until=k, seed=seed, scoring=(),
                           recipe=recipe):  # θ₀ → θ_k  # fmt: skip
                pass
        ticket = replace(ticket, init=snapshot(model), search=start_iteration(task, k))
    if last is None:
        yield ticket
    wanted = parse_rounds(only, rounds)
    for r in range(ticket.round + 1, max(wanted, default=0) + 1):
        if r == 1 or not one_shot:
            counted_before = one_shot and last is not None and last.round > 0
            with without_counting(counted_before):
                for _ in resume(model, task, ticket, seed=seed, scoring=(), recipe=recipe):
                    pass
            scores = pruning.rank(model, task, ticket, seed)
            init = ticket.init if rewinding.rewind == "weights" else snapshot(model)
        masks = pruning.drop(model, ticket.masks, scores)
        ticket = Ticket(init, masks, r, search=start_iteration(task, start))
        if r in wanted and (last is None or r > last.round):
            yield ticket


def start_iteration(task: Task, epochs: int) -> dict[str, int]:
    """What a ticket says of the epochs of training that its weights have had."""
    return {FIRST_ITERATION: epochs * task.evaluate_every} if epochs else {}
