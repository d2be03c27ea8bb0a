"""Magnitude: what iterative magnitude pruning and UGS keep."""

from torch import Tensor

from graphlth.masks import Masks


def magnitude(values: Masks) -> dict[str, Tensor]:
    """|v|: of the weights in IMP, of the trained soft masks in UGS."""
    return {n: v.detach().abs() for n, v in values.items()}
