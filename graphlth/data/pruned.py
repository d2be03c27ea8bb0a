"""A PyG `Data` without some of its edges."""

import copy
from typing import Any

import numpy as np
from torch import Tensor

from graphlth.data import fields
from graphlth.data.edge_list import KINDS, EdgeList, edge_attributes, kept_columns
from graphlth.data.node import edges_of, features_of, fingerprint


def pruned(data: Any, mask: Tensor | None, *, edges: str | None = None, graph: str = "") -> Any:
    """A copy of `data` without the edges whose entry of `mask` is 0; see `Ticket.prune`.

    Raises:
        ValueError: `data` is no `Data` with `edge_index`, or `mask` is not one of its edges, or
            may be one in two ways.
    """
    from torch_geometric.data import Data  # loads slowly

    if not isinstance(data, Data):
        raise ValueError(f"`data` must be a PyG `Data`, got {type(data).__name__}")
    for name in ("adj", "adj_t"):
        if name in data:
            raise ValueError(f"`data` must have its edges in `edge_index` alone, got `{name}`, too:"
                             f" take it out, `del data.{name}`")  # fmt: skip
    if mask is None:
        return copy.copy(data)
    x = features_of(data)
    known = _fitting(data, x, mask, edges, graph)
    keep = kept_columns(known, mask, fields.edge_index(data), x.shape[0])
    keep, left = keep.to(data.edge_index.device), copy.copy(data)
    for name in ("edge_index", *edge_attributes(data)):
        left[name] = _some(data[name], keep, data.__cat_dim__(name, data[name]))
    return left


def _some(value: Any, keep: Tensor, along: int) -> Any:
    """The entries of a tensor, an array, a list or a tuple where `keep` is true."""
    if isinstance(value, Tensor):
        return value.index_select(along, keep.nonzero().squeeze(1).to(value.device))
    if isinstance(value, np.ndarray):
        return value.compress(keep.cpu().numpy(), axis=along)
    return type(value)(each for each, stays in zip(value, keep.tolist(), strict=True) if stays)


def _fitting(data: Any, x: Any, mask: Tensor, edges: str | None, graph: str) -> EdgeList:
    """The edges of `data`, with the entries that `mask` has."""
    kinds = [edges] if edges else KINDS
    found = {kind: edges_of(data, x.shape[0], kind) for kind in kinds}
    fits = {kind: known for kind, known in found.items() if mask.shape == (known.num_edges,)}
    if not fits:
        counts = " or ".join(f"{known.num_edges} {kind}" for kind, known in found.items())
        raise ValueError(f"`ticket` does not fit `data`: its mask of edges has {mask.numel()} "
                         f"entries, the data have {counts} edges")  # fmt: skip
    names = {k: fingerprint(x, e.edge_index, e.entries, e.num_edges, e.weight)
             for k, e in fits.items()}  # fmt: skip
    same = [kind for kind in fits if not graph or names[kind] == graph]
    if not same:
        raise ValueError(f"`ticket` is of another graph: fingerprint {graph}, not "
                         f"{' or '.join(names.values())}")  # fmt: skip
    if len({names[kind] for kind in same}) > 1:
        raise ValueError(f"`edges` must be given, {' or '.join(map(repr, same))}: "
                         f"the ticket fits either, with {mask.numel()} entries")  # fmt: skip
    return fits[same[0]]
