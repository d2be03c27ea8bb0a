"""What one step of a training leaves for the next: made by the trainer, passed to the model."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from graphlth.sparse.blocks import Block
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.pattern import ScatteredWeight, SparsityPattern


class Sum(NamedTuple):
    """`A(weight) x` of some x, over a graph."""

    graph: Graph
    weight: Tensor  # [E]
    value: Tensor  # [N, d]

    def over(self, graph: Graph, weight: Tensor) -> Tensor | None:
        """Its value, if it is the sum over `graph` with these weights."""
        return self.value if self.graph is graph and torch.equal(self.weight, weight) else None


class _Product(NamedTuple):
    w: Tensor
    version: int
    row_mask: Tensor | None  # [N] which rows of the value are those of the product; None: all
    value: Tensor  # [N, d]
    sums: Sum | None


class WeightCache:
    """What is known of one weight matrix W of a model during a step.

    Args:
        scattered: the values that W is scattered from, and where; None: W may be dense.
    """

    def __init__(self, scattered: ScatteredWeight | None = None) -> None:
        self.scattered = scattered
        self._products: dict[object, _Product] = {}  # by the origin of the features

    @property
    def pattern(self) -> SparsityPattern | None:
        """Where W may differ from 0; None: anywhere."""
        return None if self.scattered is None else self.scattered.pattern

    def restrict(self, x: Features) -> Features:
        """`x` without the features whose weights are known to be 0."""
        return x if self.pattern is None else self.pattern.restrict(x)

    def remember(self, x: Features, w: Tensor, value: Tensor, sums: Sum | None = None) -> None:
        """Keep `value`, `x @ w`, until it is recalled: an evaluation is followed by a training step
        with the same weights. `sums` is a weighted sum of its rows, which may be asked for, too.
        """
        self._products[x.origin] = _Product(w, w._version, x.row_mask, value, sums)

    def recall(self, x: Features, w: Tensor) -> tuple[Tensor | None, Sum | None]:
        """`x @ w`, if it was remembered and `w` has not changed since, and a sum of its rows.

        The value may have more rows than `x` holds, but has all of these.
        """
        found = self._products.pop(x.origin, None)
        if found is None or found.w is not w or found.version != w._version:
            return None, None
        held = found.row_mask is None or (
            x.row_mask is not None and not bool((x.row_mask & ~found.row_mask).any())
        )
        return (found.value, found.sums) if held else (None, None)

    def __len__(self) -> int:
        """How many products are remembered."""
        return len(self._products)


class StepCache:
    """What a model may use again from one step to the next, a training or an evaluation.

    A trainer makes one for a training, calls `update` with every change of the weights, and passes
    it as `cache` to a model whose `forward` names that. A model called without it makes its own.

    Args:
        masked_inside: of a model that takes `edge_weight` but does not follow it, that its
            operators are masked in place of that.
    """

    def __init__(self, masked_inside: bool = False) -> None:
        self.masked_inside = masked_inside
        self._weights: dict[str, WeightCache] = {}
        self._step: tuple[Graph, Block] | None = None

    def update(self, scattered: Mapping[str, ScatteredWeight] = MappingProxyType({})) -> None:
        """Forget what depends on the weights; `scattered` are, by name, those that are sparse."""
        self._weights = {name: WeightCache(weight) for name, weight in scattered.items()}

    def weight(self, name: str) -> WeightCache:
        """What is known of the parameter `name`."""
        return self._weights.setdefault(name, WeightCache())

    def set_block(self, graph: Graph, block: Block) -> None:
        """Keep `block`, the first of a training step over `graph`, for the evaluation after it."""
        self._step = graph, block

    def block(self, graph: Graph) -> Block | None:
        """The first block of the last training step, if that was over `graph`."""
        return self._step[1] if self._step is not None and self._step[0] is graph else None

    def __len__(self) -> int:
        """How many products are remembered."""
        return sum(map(len, self._weights.values()))
