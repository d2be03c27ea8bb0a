"""Functions that see a whole `torch.vmap` at once, as ordinary tensors.

torch batches its own operators; a compiled kernel it cannot see into. Inside `torch.vmap` such a
kernel is replaced by a rule, which is given the stacked tensors.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Dims = tuple[int | None, ...]
# (size, dims, *args) -> (output, dim): the arguments stacked along `dims` (None: not stacked), each
# `size` times, to an output stacked along `dim`.
Rule = Callable[..., tuple[Tensor, int | None]]

inside: Callable[[], bool] = torch._C._are_functorch_transforms_active  # `torch.vmap`?


def apply_rule(rule: Rule, *args: Any) -> Tensor:
    """What `rule` makes of `args`, for use inside `torch.vmap`; gradients flow through the rule."""
    return _AtOnce.apply(rule, *args)


class _AtOnce(torch.autograd.Function):
    @staticmethod
    def forward(rule: Rule, *args: Any) -> Tensor:  # no argument is stacked: a constant
        return rule(1, (None,) * len(args), *args)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, rule: Rule, *args: Any) -> tuple[Tensor, int | None]:
        return rule(info.batch_size, in_dims[1:], *args)
