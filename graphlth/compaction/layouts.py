"""How a layout arranges weights and features for the compiled loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from graphlth.compaction.layers import MAPS, Layer
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Columns:
    """Dense features, one row of memory for each feature."""

    columns: Tensor  # [F', N]


def map_names(layer: Layer) -> tuple[str, ...]:
    """The names of the matrices that `layer` multiplies features with."""
    return MAPS if layer.own is not None else MAPS[:1]


def product_by_strips(x: Features, layer: Layer, blocks: bool) -> Any:
    """`x` and the strips of the maps of `layer`, with `blocks` each with the rows that it has."""
    from graphlth.sparse.kernels import _strips as loops

    strips = [strip for name in map_names(layer) for strip in loops.strips(getattr(layer, name))]
    if not blocks or not strips:
        return loops.product_of([loops.edges(x.graph, x.values)], [w.numpy() for w in strips])
    rows = [(w != 0).any(1).nonzero().squeeze(1) for w in strips]
    parts = [select_columns(x, r) for r in rows]
    return loops.product_of(
        [loops.edges(part.graph, part.values) for part in parts],
        [w[r].numpy() for w, r in zip(strips, rows, strict=True)],
    )


def strip_matrix(maps: list[Tensor]) -> Any:
    """The matrices [N, d] of one layer, each padded to whole strips, side by side."""
    from graphlth.sparse.kernels import _strips as loops

    d = maps[0].size(1)
    width, padded = loops.lanes(d), loops.count(d) * loops.lanes(d)
    both = torch.cat([F.pad(m, (0, padded - d)) for m in maps], dim=1)
    return loops.Matrix(both.view(-1).numpy(), padded * len(maps), width, padded)


def next_strips(layers: Sequence[Layer]) -> Array | None:
    """The maps of the first of `layers`, transposed and in strips, if they are narrow."""
    from graphlth.sparse.kernels import _strips as loops

    if not layers:
        return None
    both = torch.cat([getattr(layers[0], m) for m in map_names(layers[0])], dim=1)
    return loops.strips_after(both) if both.size(1) <= loops.NARROW else None


def weight_graph(w: Tensor) -> tuple[Graph, Tensor]:
    """The weights of `w` that are not 0, as edges from inputs to outputs."""
    source, target = w.nonzero(as_tuple=True)
    return Graph(torch.stack([source, target]), (w.size(0), w.size(1))), w[source, target]


def select_columns(x: Tensor | Features, columns: Tensor) -> Any:
    """Those `columns` of `x`."""
    if isinstance(x, Tensor):
        return x.index_select(1, columns)
    n, f = x.shape
    place = torch.full((f,), -1, device=columns.device)
    place[columns] = torch.arange(columns.numel(), device=columns.device)
    column, row = x.graph.edge_index
    inside = place[column] >= 0
    pairs = torch.stack([place[column[inside]], row[inside]])
    return Features(Graph(pairs, (columns.numel(), n)), x.values[inside])
