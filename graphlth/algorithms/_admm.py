"""A sparse graph by the alternating direction method of multipliers.

Source: SGCN (Li et al., A Graph Sparsifier Based on Graph Convolutional Networks, PAKDD 2020,
doi:10.1007/978-3-030-47426-3_22): minimise the loss over A with at most k entries.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from graphlth.masks import Masks, add_noise, only
from graphlth.prune import drop_lowest
from graphlth.settings.types import Fraction, NonNegative, Positive, Steps
from graphlth.settings.validation import check_fields
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks
from graphlth.training.recipe import AdamFields, Recipe


@dataclass(frozen=True)
class GraphTraining:
    """How a graph is trained towards few edges.

    Args:
        rho: ρ, weight of ADMM's quadratic term, which keeps the graph near its largest entries.
        admm_steps: steps on the graph before one on ADMM's other variables. With few, these grow
            faster than the graph can follow, and it swings.
        lr_edges: Adam's learning rate of the graph.
        mask_noise: the graph starts uniformly in 1 ± this; it orders edges without a gradient.
    """

    rho: NonNegative = 1e-3
    admm_steps: Steps = 10
    lr_edges: Positive = 1e-3
    mask_noise: Fraction = 1e-5

    def __post_init__(self) -> None:
        check_fields(self)


class TrainingFields(AdamFields, total=False):
    """The fields of `Recipe` and `GraphTraining` as keywords, or a group in place of its own."""

    graph_training: GraphTraining
    rho: NonNegative
    admm_steps: Steps
    lr_edges: Positive
    mask_noise: Fraction


def start_graph(masks: Masks, noise: float, seed: int) -> dict[str, Tensor]:
    """A before it is trained: drawn uniformly from 1 ± `noise`, which orders its edges.

    It is a tensor [E], like the mask of the edges in `masks`, or one for each relation.
    """
    ones = {n: torch.ones_like(m) for n, m in only(masks, "edges").items()}
    return {n: a.requires_grad_() for n, a in add_noise(ones, noise, seed).items()}


class Admm:
    """A, a soft mask of the edges, and the two variables that it is split into.

    These are Z, the k largest entries of A, and the scaled dual U. Z starts as A: the first
    gradients of the data say what is large, not the order of the edges.

    Args:
        edges: A [E], by the name of its mask; of several relations one for each.
        fraction: of the edges that Z lacks, in [0, 1).
        how: the settings of the training.
        groups: [E] of edges, each of which has its own k; None: there is one.
    """

    def __init__(
        self,
        edges: dict[str, Tensor],
        fraction: float,
        how: GraphTraining,
        groups: Tensor | None = None,
    ):
        self.edges, self.fraction, self.how, self.steps = edges, fraction, how, 0
        self.groups = groups
        self.z = {n: a.detach().clone() for n, a in edges.items()}
        self.u = {n: torch.zeros_like(z) for n, z in self.z.items()}

    def train(
        self, model: nn.Module, task: Task, masks: Masks, recipe: Recipe, seed: int
    ) -> Iterator[None]:
        """Train A under `model`, whose weights stay, and pause after each epoch of `recipe`."""
        for _ in train(
            model, task, masks, recipe=replace(recipe, lr=self.how.lr_edges, weight_decay=0.0),
            soft=SoftMasks(self.edges, learn=("soft",)), penalty=self.penalty, scoring=(),
            seed=stream_seed(seed, "graph training"),
        ):  # fmt: skip
            yield self.step()

    def penalty(self, weights: Masks, soft: Masks) -> Tensor:
        """`ρ/2 ‖A − Z + U‖²`, what the step on A minimises beside the loss."""
        apart = [(soft[n] - z + self.u[n]).square().sum() for n, z in self.z.items()]
        return self.how.rho / 2 * torch.stack(apart).sum()

    @torch.no_grad()
    def step(self) -> None:
        """After every so many steps on A, those on Z, the projection of A + U, and on U."""
        self.steps += 1
        if self.steps % self.how.admm_steps:
            return
        for n, a in self.edges.items():
            self.u[n] += a
        ones = {n: torch.ones_like(u) for n, u in self.u.items()}
        largest = drop_lowest(ones, self.u, self.fraction, groups=self.groups)
        self.z = {n: u * largest[n] for n, u in self.u.items()}
        for n, z in self.z.items():
            self.u[n] -= z


def pretrain_weights(model: nn.Module, task: Task, epochs: int, recipe: Recipe, seed: int) -> None:
    """Train `model` on the whole graph for some epochs, or none."""
    if not epochs:
        return
    for _ in train(model, task, {}, recipe=replace(recipe, epochs=epochs), scoring=(),
                   seed=stream_seed(seed, "pretraining")):  # fmt: skip
        pass
