"""Adam and SGD with L2 decay on torch's fused kernels.

`torch.optim.Adam(fused=True)` calls the same kernel, but loads torch's compiler on its first step:
seventy megabytes and a second in every process.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from graphlth.sparse.products import padded_zeros
from graphlth.training.recipe import Recipe

COMPILED = (torch.float32, torch.float64)  # on the CPU


def make_optimizer(
    recipe: Recipe, leaves: Sequence[Tensor], products: Sequence["Product"] = ()
) -> "Adam | SGD":
    """A fresh optimiser of some leaves, among them the factors of `products`."""
    if recipe.optimizer == "sgd":
        return SGD(leaves, lr=recipe.lr, weight_decay=recipe.weight_decay,
                   momentum=recipe.momentum, products=products)  # fmt: skip
    return Adam(leaves, lr=recipe.lr, weight_decay=recipe.weight_decay, products=products)


class Product:
    """`weight ⊙ mask`, itself a leaf: from its one gradient follow those of both factors.

    Args:
        weight: θ, a leaf.
        mask: m, a leaf of this shape, which is kept at or above 0.
        rate: γ of the penalty γ‖m‖₁.
    """

    def __init__(self, weight: Tensor, mask: Tensor, rate: float = 0.0):
        self.weight, self.mask, self.rate = weight, mask, rate
        self.value = padded_zeros(weight.detach()).requires_grad_()
        self.multiply()

    def divide(self) -> None:
        """Give both factors their gradients, beside what the mask has of another penalty."""
        other, grad = self.mask.grad, self.value.grad
        self.mask.grad = torch.full_like(self.mask, self.rate)
        if other is not None:
            self.mask.grad += other
        if grad is not None:
            self.weight.grad = grad * self.mask
            self.mask.grad += grad * self.weight

    @torch.no_grad()
    def multiply(self) -> None:
        """Take in what the factors are now, the mask at or above 0."""
        self.value.copy_(self.weight * self.mask.clamp_(min=0))


class Optimizer:
    """What is trained, in place; its gradients are read from `.grad`."""

    def __init__(
        self, leaves: Sequence[Tensor], lr: float, weight_decay: float, products: Sequence[Product]
    ):
        self.leaves, self.lr, self.weight_decay = list(leaves), lr, weight_decay
        self.products = list(products)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in [*self.leaves, *(product.value for product in self.products)]:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every leaf that has a gradient, and both factors of every product."""
        rest = [p for i, p in enumerate(self.products) if not self.step_together(i)]
        for product in rest:
            product.divide()
        if any(p.grad is not None for p in self.leaves):
            self.move()
        for product in rest:
            product.multiply()

    def step_together(self, number: int) -> bool:
        """Move both factors of a product at once, without gradients of their own, if that can be.

        Returns whether they have been moved.
        """
        return False

    def move(self) -> None:
        """Move every leaf that has a gradient, of which there is one."""
        raise NotImplementedError

    def leaves_with_gradients(self) -> tuple[list[int], list[Tensor], list[Tensor]]:
        """The leaves that have a gradient: their numbers, they themselves, and the gradients."""
        found = [(i, p, p.grad) for i, p in enumerate(self.leaves) if p.grad is not None]
        return [i for i, _, _ in found], [p for _, p, _ in found], [g for _, _, g in found]


def mark_changed(moved: Sequence[Tensor]) -> None:
    """Tell autograd that leaves have changed: the fused kernels do not."""
    for leaf in moved:
        increment_version(leaf)


class Adam(Optimizer):
    """Adam (Kingma & Ba, ICLR 2015, arXiv:1412.6980) of some leaves, in place.

    Args:
        leaves: what is trained; their gradients are read from `.grad`.
        lr: learning rate.
        weight_decay: λ of the decay `λ θ`, which is added to the gradient.
        products: whose factors are among the leaves.
    """

    BETAS, EPS = (0.9, 0.999), 1e-8

    def __init__(
        self,
        leaves: Sequence[Tensor],
        *,
        lr: float,
        weight_decay: float,
        products: Sequence[Product] = (),
    ):
        super().__init__(leaves, lr, weight_decay, products)
        self.means = [torch.zeros_like(p, requires_grad=False) for p in leaves]
        self.squares = [torch.zeros_like(p, requires_grad=False) for p in leaves]
        self.steps = [torch.zeros((), device=p.device) for p in leaves]
        self.factors = [  # the numbers of the leaves that a product is made of
            [i for t in (p.weight, p.mask) for i, leaf in enumerate(leaves) if leaf is t]
            for p in products
        ]

    def step_together(self, number: int) -> bool:
        """Move both factors of a product in one pass, on the CPU; returns whether it has."""
        product = self.products[number]
        grad, factors = product.value.grad, (product.weight, product.mask)
        if product.mask.grad is not None:  # of another penalty
            return False
        a, b = self.factors[number]
        together = self.steps[a] == self.steps[b]  # not where the weight lacked a gradient before
        if grad is None or not together or not all(map(_plain, (grad, *factors))):
            return False
        from graphlth.sparse.kernels._adam import adam  # loads slowly

        for i in (a, b):
            self.steps[i] += 1
        (first, second), step = self.BETAS, self.steps[a].item()
        states = [t for i in (a, b) for t in (self.means[i], self.squares[i])]
        adam(
            [grad, *factors, *states],
            product.value,
            [self.weight_decay, 1 - first, 1 - second, second, math.sqrt(1 - second**step),
             self.EPS, -self.lr / (1 - first**step), product.rate],
        )  # fmt: skip
        mark_changed([*factors, product.value])
        return True

    def move(self) -> None:
        """Move every leaf that has a gradient."""
        moved, leaves, grads = self.leaves_with_gradients()
        for i in moved:
            self.steps[i] += 1
        torch._fused_adam_(
            leaves,
            grads,
            [self.means[i] for i in moved],
            [self.squares[i] for i in moved],
            [],
            [self.steps[i] for i in moved],
            lr=self.lr, beta1=self.BETAS[0], beta2=self.BETAS[1], weight_decay=self.weight_decay,
            eps=self.EPS, amsgrad=False, maximize=False,
        )  # fmt: skip
        mark_changed(leaves)


def _plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype in COMPILED and tensor.is_contiguous()


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever et al., ICML 2013), in place.

    Args:
        leaves: what is trained; their gradients are read from `.grad`.
        lr: learning rate.
        weight_decay: λ of the decay `λ θ`, which is added to the gradient.
        momentum: μ of the velocity `v ← μ v + g`.
        products: whose factors are among the leaves.
    """

    def __init__(
        self,
        leaves: Sequence[Tensor],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        products: Sequence[Product] = (),
    ):
        super().__init__(leaves, lr, weight_decay, products)
        self.momentum = momentum
        self.velocities = [torch.zeros_like(p, requires_grad=False) for p in leaves]

    def move(self) -> None:
        """Move every leaf that has a gradient."""
        moved, leaves, grads = self.leaves_with_gradients()
        torch._fused_sgd_(
            leaves,
            grads,
            [self.velocities[i] for i in moved] if self.momentum else [],
            lr=self.lr, weight_decay=self.weight_decay, momentum=self.momentum, dampening=0.0,
            nesterov=False, maximize=False, is_first_step=False,
        )  # fmt: skip
        mark_changed(leaves)
