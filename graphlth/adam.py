"""Adam (Kingma & Ba, ICLR 2015, arXiv:1412.6980) with L2 decay, on torch's fused kernel.

`torch.optim.Adam(fused=True)` calls the same kernel, but loads torch's compiler on its first step:
seventy megabytes and a second in every process.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import increment_version


class Adam:
    """The optimiser of some leaves, in place.

    Args:
        leaves: what is trained; their gradients are read from `.grad`.
        lr: learning rate.
        weight_decay: λ of the decay `λ θ`, which is added to the gradient.
    """

    def __init__(self, leaves: Sequence[Tensor], *, lr: float, weight_decay: float):
        self.leaves, self.lr, self.weight_decay = list(leaves), lr, weight_decay
        self.means = [torch.zeros_like(p, requires_grad=False) for p in leaves]
        self.squares = [torch.zeros_like(p, requires_grad=False) for p in leaves]
        self.steps = [torch.zeros((), device=p.device) for p in leaves]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.leaves:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every leaf that has a gradient."""
        moved = [i for i, p in enumerate(self.leaves) if p.grad is not None]
        for i in moved:
            self.steps[i] += 1
        torch._fused_adam_(
            [self.leaves[i] for i in moved],
            [g for p in self.leaves if (g := p.grad) is not None],
            [self.means[i] for i in moved],
            [self.squares[i] for i in moved],
            [],
            [self.steps[i] for i in moved],
            lr=self.lr, beta1=0.9, beta2=0.999, weight_decay=self.weight_decay, eps=1e-8,
            amsgrad=False, maximize=False,
        )  # fmt: skip
        for i in moved:
            increment_version(self.leaves[i])  # the kernel itself tells autograd of no change
