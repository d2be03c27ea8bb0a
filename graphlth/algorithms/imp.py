"""Iterative magnitude pruning with rewinding (Frankle et al., ICML 2020, arXiv:1912.05671)."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn

from graphlth.algorithms._scores import score_part
from graphlth.cost.meters import uncounted
from graphlth.masks import Masks, matrices
from graphlth.prune import drop_lowest
from graphlth.rewinding import snapshot
from graphlth.settings.types import (
    Epochs,
    Fraction,
    Iterations,
    Milestones,
    NonNegative,
    Optimizer,
    Positive,
    RewindTo,
    RoundNumbers,
    Rounds,
    Scope,
    Score,
    Seed,
)
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import FIRST_ITERATION, Ticket, dense, parse_rounds
from graphlth.training.checks import check_start
from graphlth.training.epoch import spans
from graphlth.training.loop import train
from graphlth.training.retraining import resume

REWINDS = ("weights", "lr", "finetune")


def imp(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 20,
    only: RoundNumbers = "all",
    epochs: Epochs = 200,
    iterations: Iterations = 0,
    drop_weights: Fraction = 0.2,
    drop_convs: Fraction | None = None,
    drop_output: Fraction | None = None,
    rewind_to: RewindTo = 0,
    rewind: Literal["weights", "lr", "finetune"] = "weights",
    one_shot: bool = False,
    score: Score = "magnitude",
    invert: bool = False,
    lr: Positive = 0.01,
    weight_decay: NonNegative = 5e-4,
    optimizer: Optimizer = "adam",
    momentum: Fraction = 0.9,
    milestones: Milestones = "none",
    warmup: Iterations = 0,
    scope: Scope = "global",
    seed: Seed = 0,
    last: Ticket | None = None,
) -> Iterator[Ticket]:
    """Yield the dense ticket, then one ticket per round; only weights are removed.

    Args:
        model: the network; its weights are θ₀, with `one_shot` also when `last` is given.
        task: the data.
        rounds: how often to prune.
        only: rounds whose tickets are yielded, retrained and recorded: all, or some, as 7,15.
        epochs: epochs of training per round, and of retraining.
        iterations: iterations of both, in place of epochs; 0: epochs count.
        drop_weights: fraction of the surviving weights that a round removes, in [0, 1).
        drop_convs: that of convolutions, where it is another; layers are then ranked each alone.
        drop_output: that of the output layer, the last weight of the model, likewise.
        rewind_to: k, the epoch (with `iterations`: iteration) whose weights a ticket starts from;
            0 is the initialisation. Training goes on from there: with batch and schedule of k.
        rewind: go back to θ_k ("weights"); keep the trained weights and go back in the schedule
            alone ("lr"); or train on at the last learning rate, for all epochs ("finetune";
            Renda et al., ICLR 2020, arXiv:2003.02389).
        one_shot: cut every round from the one dense training, in as many steps.
        score: name of the score of the weights, of which the lowest go.
        invert: remove the highest instead, a control.
        lr: the learning rate.
        weight_decay: L2 decay.
        optimizer: adam or sgd.
        momentum: of SGD.
        milestones: fractions of training, as 0.5,0.75, where the rate falls to a tenth; or none.
        warmup: iterations at the start of the schedule in which the rate rises linearly.
        scope: rank weights over all layers ("global") or within each ("layer").
        seed: seeds dropout, batch order and a score that draws.
        last: continue after this ticket.

    Raises:
        ValueError: a setting is wrong, or the score cannot score the weights.
    """
    check_start(model, task, last)
    if rewind not in REWINDS:
        raise ValueError(f"`rewind` must be one of {', '.join(REWINDS)}, got {rewind!r}")
    if rewind == "finetune" and rewind_to:
        raise ValueError(f"`rewind_to` must be 0 with `rewind` 'finetune', got {rewind_to}")
    epochs = spans(task, iterations) or epochs
    k = spans(task, rewind_to, "rewind_to") if iterations else rewind_to
    how: dict[str, Any] = {
        "epochs": epochs, "lr": lr, "weight_decay": weight_decay, "optimizer": optimizer,
        "momentum": momentum, "milestones": milestones, "warmup": warmup, "seed": seed,
        "scoring": (),
    }  # fmt: skip

    def scores(ticket: Ticket) -> Masks:
        known = {"seed": stream_seed(seed, "score", ticket.round), "init": ticket.init}
        found = score_part(score, "weights", model, task, ticket.masks, **known)
        return {n: -s for n, s in found.items()} if invert else found

    def drop(masks: Masks, scores: Masks) -> dict[str, Tensor]:
        if drop_convs is None and drop_output is None:
            return drop_lowest(masks, scores, drop_weights, scope)
        rate = rates(masks, drop_weights, drop_convs, drop_output, [*matrices(model)][-1])
        return {n: drop_lowest({n: m}, scores, rate[n])[n] for n, m in masks.items()}

    again = one_shot and last is not None and last.round > 0  # its training has been counted
    ticket = last or dense(model, edges=False)
    if last is None or one_shot:
        scores(ticket := dense(model, edges=False))  # what cannot be scored is told at once
        with uncounted(last is not None):
            for _ in train(model, task, ticket.masks, until=k, **how):  # θ₀ → θ_k
                pass
        ticket = replace(dense(model, edges=False), search=behind(k * task.evaluate_every))
    if last is None:
        yield ticket
    trained = behind((epochs if rewind == "finetune" else k) * task.evaluate_every)
    wanted = parse_rounds(only, rounds)
    for r in range(ticket.round + 1, max(wanted, default=0) + 1):
        if r == 1 or not one_shot:
            with uncounted(again):
                for _ in resume(model, task, ticket, **how):
                    pass
            ranking, init = scores(ticket), ticket.init if rewind == "weights" else snapshot(model)
        ticket = Ticket(init, drop(ticket.masks, ranking), r, search=trained)
        if r in wanted and (last is None or r > last.round):
            yield ticket


def behind(iterations: int) -> dict[str, int]:
    """What a ticket tells of the training that its weights have had."""
    return {FIRST_ITERATION: iterations} if iterations else {}


def rates(
    masks: Masks, weights: float, convs: float | None, output: float | None, last: str
) -> dict[str, float]:
    """What fraction of each layer goes; the output layer are the weights numbered as the `last`."""
    numbers = re.findall(r"\d+", last)
    rate = {n: weights if convs is None or m.dim() < 4 else convs for n, m in masks.items()}
    if output is None:
        return rate
    ends = [n for n in masks if n == last or (numbers and re.findall(r"\d+", n) == numbers)]
    return rate | dict.fromkeys(ends, output)
