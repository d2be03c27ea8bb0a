"""Instability: whether copies of a ticket, trained under other noise, stay linearly connected.

Source: Frankle, Dziugaite, Roy, Carbin, Linear Mode Connectivity and the Lottery Ticket Hypothesis,
ICML 2020, arXiv:1912.05671.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, count, islice
from math import comb
from statistics import fmean
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from graphlth.masks import Masks, only
from graphlth.metrics import MetricSum
from graphlth.rewinding import rewind, snapshot
from graphlth.settings.types import Number, Part, Points, Seed
from graphlth.settings.validation import check_settings, settings_of
from graphlth.streams import stream, stream_seed
from graphlth.task import Task, apply_edge_masks
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training.evaluation import evaluate
from graphlth.training.forward import forward
from graphlth.training.recipe import RecipeFields
from graphlth.training.retraining import resume

State = dict[str, Tensor]


@dataclass(frozen=True)
class Instability:
    """How far the error rises between copies; stable where that is below 0.02."""

    instability: float  # sup_α E_α − mean(E(W₁), E(W₂)), the mean over the pairs
    instability_pairs: list[float]  # of each pair
    end_error: float  # mean(E(W₁), E(W₂)), the mean over the pairs
    barrier_error: list[float]  # E_α at even steps of α from 0 to 1, the mean over the pairs


def instability(
    model: nn.Module,
    task: Task,
    ticket: Ticket,
    *,
    points: Points = 30,
    pairs: Number = 3,
    split: Part = "test",
    seed: Seed = 0,
    **recipe: Unpack[RecipeFields],
) -> Instability:
    """By how much the error rises on the line between two trained copies of a ticket.

    The copies start from the ticket's θ_k and are trained to the end of the schedule, each under
    noise of its own: batch order, augmentation and dropout are drawn from its seed. On a graph, of
    which every step sees the whole, that is dropout alone (of units or of edges).

    The BatchNorm statistics of every network on the line, its ends too, are computed anew: the
    plain average over batches of all training images in their order, without augmentation and
    dropout.

    Args:
        model: the network; its weights are not read.
        task: the data.
        ticket: where the copies start, and what is left.
        points: networks on the line, evenly spaced, with both ends.
        pairs: pairs of copies; as few copies are trained as give so many.
        split: the part of the data whose error is taken: train, val or test.
        seed: draws the seeds of the copies.
        recipe: `recipe`, or its fields as keywords: those of the run.

    Raises:
        ValueError: a setting is out of its range, the ticket does not fit, or the training has no
            noise.
    """
    own = {"points": points, "pairs": pairs, "split": split, "seed": seed}
    check_settings(own, settings_of(instability))
    check_ticket_fits(ticket, model, task.num_edges, task.fingerprint())
    seeds = draw_seeds(seed, pairs)
    if not has_noise(model, task, ticket, seeds):
        raise ValueError("`model` must train under noise for copies to differ, got one of dropout "
                         "0 that sees the whole data in every step")  # fmt: skip
    copies = [train_copy(model, task, ticket, s, **recipe) for s in seeds]
    curves = [  # E_α
        barrier(model, task, ticket.masks, a, b, points, split)
        for a, b in islice(combinations(copies, 2), pairs)
    ]
    ends = [(curve[0] + curve[-1]) / 2 for curve in curves]
    rises = [max(curve) - end for curve, end in zip(curves, ends, strict=True)]
    mean = [fmean(errors) for errors in zip(*curves, strict=True)]
    return Instability(fmean(rises), rises, fmean(ends), mean)


def draw_seeds(seed: int, pairs: int) -> list[int]:
    """The seeds of the fewest copies that give so many pairs."""
    copies = next(n for n in count(2) if comb(n, 2) >= pairs)
    draw = stream(seed, "copies")
    return torch.randint(2**31, (copies,), generator=draw).tolist()


def has_noise(model: nn.Module, task: Task, ticket: Ticket, seeds: Sequence[int]) -> bool:
    """Whether the first step of training is another under the first two of `seeds`."""
    rewind(model, ticket.init).train()
    outputs = []
    for seed in seeds[:2]:
        torch.manual_seed(stream_seed(seed, "dropout"))
        batch = next(iter(task.batches("train", seed)))
        with torch.no_grad():
            outputs.append(forward(model, batch, only(ticket.masks, "weights")))
    return not torch.equal(*outputs)


def train_copy(
    model: nn.Module, task: Task, ticket: Ticket, seed: int, **recipe: Unpack[RecipeFields]
) -> State:
    """The state of `model` at the end of the recipe, trained from the ticket's weights."""
    for _ in resume(model, task, ticket, seed=seed, scoring=(), **recipe):
        pass
    return snapshot(model)


def barrier(
    model: nn.Module, task: Task, masks: Masks, a: State, b: State, points: int, split: str
) -> list[float]:
    """The error of αa + (1−α)b on `split`, in [0, 1], for even steps of α from 0 to 1 [points]."""
    task, masks = apply_edge_masks(task, masks), only(masks, "weights")
    errors = []
    for alpha in torch.linspace(0, 1, points).tolist():
        rewind(model, interpolate(a, b, alpha))
        renormalise(model, task, masks)
        errors.append(error_rate(model, task, masks, split))
    return errors


def interpolate(a: State, b: State, alpha: float) -> State:
    """αa + (1−α)b, exactly a where they are equal; counters, which are whole, are those of a."""
    return {n: b[n].lerp(t, alpha) if t.is_floating_point() else t for n, t in a.items()}


@torch.no_grad()
def renormalise(model: nn.Module, task: Task, masks: Masks) -> None:
    """Give every BatchNorm of `model` the statistics of the training rows under `masks`."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    model.eval()  # dropout stays off
    for norm in norms:
        norm.reset_running_stats()
        norm.train().momentum = None  # the average of all batches
    for batch in task.whole("train") if norms else ():
        forward(model, batch, masks)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def error_rate(model: nn.Module, task: Task, masks: Masks, split: str) -> float:
    """The error on `split`: 1 - the task's metric, or the metric itself where less is better."""
    if split != "train":
        return task.metric.error(evaluate(model, task, masks, (split,))[0])
    model.eval()  # a span of training batches is not all of them
    total = None
    for batch in task.whole(split):  # a game, whose metric is no sum over rows, refuses here
        total = total or MetricSum(task.metric)
        total.add(batch.select(forward(model, batch, masks)), batch.target)
    assert total is not None  # no split is empty
    return task.metric.error(total.value())
