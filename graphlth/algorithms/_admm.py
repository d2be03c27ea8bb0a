"""A sparse graph by the alternating direction method of multipliers.

Source: SGCN (Li et al., A Graph Sparsifier Based on Graph Convolutional Networks, PAKDD 2020,
doi:10.1007/978-3-030-47426-3_22): minimise the loss over A with at most k entries.
"""

import torch
from torch import Tensor, nn

from graphlth.masks import EDGES, Masks, add_noise
from graphlth.prune import drop_lowest


def whole_graph(model: nn.Module, num_edges: int, noise: float, seed: int) -> Tensor:
    """A [E] to be trained, uniformly in 1 ± `noise`: it orders edges without a gradient."""
    ones = torch.ones(num_edges, device=next(model.parameters()).device)
    return add_noise({EDGES: ones}, noise, seed)[EDGES].requires_grad_()


class Admm:
    """The two variables that A is split into: Z, its k largest entries, and the scaled dual U.

    Z starts as A: the first gradients of the data say what is large, not the order of the edges.

    Args:
        edges: A [E], the soft edge mask.
        fraction: of the edges that Z lacks, in [0, 1).
        rho: ρ, weight of the quadratic term.
        steps: how many steps on A go before one on Z and U. With few, U grows faster than A can
            follow, and A swings.
    """

    def __init__(self, edges: Tensor, fraction: float, rho: float, steps: int):
        self.fraction, self.rho, self.steps = fraction, rho, steps
        self.z = edges.detach().clone()
        self.u = torch.zeros_like(self.z)
        self.done = 0

    def penalty(self, weights: Masks, soft: Masks) -> Tensor:
        """`ρ/2 ‖A − Z + U‖²`, what the step on A minimises beside the loss."""
        return self.rho / 2 * (soft[EDGES] - self.z + self.u).square().sum()

    @torch.no_grad()
    def step(self, edges: Tensor) -> None:
        """After every `steps`-th step on A, those on Z, the projection of A + U, and on U."""
        self.done += 1
        if self.done % self.steps:
            return
        self.u += edges
        largest = drop_lowest({EDGES: torch.ones_like(self.u)}, {EDGES: self.u}, self.fraction)
        self.z = self.u * largest[EDGES]
        self.u -= self.z
