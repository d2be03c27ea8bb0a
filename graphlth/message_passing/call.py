"""What an operator is called with while its edges are masked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from graphlth.sparse.graph import Graph


@dataclass(frozen=True)
class Call:
    """One call of an operator's `propagate` or `edge_updater`."""

    edge_index: Tensor  # [2, E'] with the loops that the layer has added
    kwargs: Mapping[str, Any]  # what it was called with besides, but for `size`
    size: tuple[int | None, int | None] | None
    weight: Tensor | None  # [E'] of each of these edges, 1 of loops added; None: not masked
    graph: Callable[[], Graph]  # of edge_index by the operator's flow; the same over the passes
    returns_attention: bool = False  # whether the operator is asked for its attention, too
