"""A PyG `Data` without the edges that a ticket has removed."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from graphlth.data import fields
from graphlth.data.edge_list import KINDS, EdgeList, edge_attributes, mask_columns
from graphlth.data.node import edges_of, features_of, graph_fingerprint
from graphlth.edge_masks import edge_mask
from graphlth.masks import check_mask, is_binary, only
from graphlth.ticket import Ticket

if TYPE_CHECKING:  # it loads slowly
    from torch_geometric.data import Data


def prune_data(data: Data, ticket: Ticket, *, edges: str | None = None) -> Data:
    """A PyG `Data` like `data`, without the edges that `ticket` has removed.

    As with PyG's `Data.edge_subgraph`, nodes and everything that `data` holds stay, and so does the
    order of the edges. Attributes of edges (see `graphlth.data.edge_list`) lose what belongs to
    edges that go: all repetitions of one, and with undirected masks both directions. Edges of
    weight 0, which are absent for every model, go too. Where kept edges have other weights than 1,
    `edge_weight` has them. Of a ticket with a mask for each layer, the edges that no layer keeps
    go; which layer keeps which of the others, only the ticket tells. Its network is not read.

    Args:
        data: the PyG `Data` that the ticket's `NodeTask` was made of, in any order of edges.
        ticket: the edge mask.
        edges: what an entry of the edge mask stands for, "undirected" or "directed"; where not
            given, what the ticket says or what alone fits.

    Raises:
        ValueError: `data` is no `Data`, an entry of the mask is not what one can be, the ticket is
            not one of this graph, or both kinds of entries fit.
    """
    check_edges_of_data(data)
    for name, mask in only(ticket.masks, "edges").items():
        check_mask(name, mask)
    layers = edge_mask(ticket.masks)
    if layers is None:
        return copy.copy(data)
    mask = layers if isinstance(layers, Tensor) else torch.stack(layers).any(0)
    x = features_of(data)
    told = ticket.provenance.get("settings", {}).get("edges", ticket.provenance.get("edges"))
    known = _matching_edges(data, x, mask, edges or told, ticket.provenance.get("graph", ""))
    return remove_edges(data, known, mask)


def check_edges_of_data(data: Any) -> None:
    """Refuse what is no PyG `Data`, or has its edges in several places.

    Raises:
        ValueError: it is such.
    """
    from torch_geometric.data import Data  # loads slowly

    if not isinstance(data, Data):
        raise ValueError(f"`data` must be a PyG `Data`, got {type(data).__name__}")
    for name in ("adj", "adj_t"):
        if name in data:
            raise ValueError(f"`data` must have its edges in `edge_index` alone, got `{name}`, too:"
                             f" take it out, `del data.{name}`")  # fmt: skip


def remove_edges(data: Data, known: EdgeList, mask: Tensor) -> Data:
    """A `Data` like `data` without the edges whose entry of `mask` is 0; see `prune_data`.

    Args:
        data: is not changed.
        known: its edges.
        mask: [num_edges]; other entries than 0 and 1 multiply the weight of their edge.
    """
    m, repeats = mask_columns(known, mask)
    keep, left = (m != 0).to(data.edge_index.device), copy.copy(data)
    if not is_binary(mask):
        own = 1 / repeats if known.weight is None else fields.field(data, "edge_weight").view(-1)
        left.edge_weight = (m * own).to(torch.get_default_dtype()).to(data.edge_index.device)
    for name in ("edge_index", *edge_attributes(left)):
        left[name] = _select(left[name], keep, data.__cat_dim__(name, left[name]))
    return left


def _select(value: Any, keep: Tensor, along: int) -> Any:
    """The entries of a tensor, an array, a list or a tuple where `keep` is true."""
    if isinstance(value, Tensor):
        return value.index_select(along, keep.nonzero().squeeze(1).to(value.device))
    if isinstance(value, np.ndarray):
        return value.compress(keep.cpu().numpy(), axis=along)
    return type(value)(each for each, stays in zip(value, keep.tolist(), strict=True) if stays)


def _matching_edges(data: Any, x: Any, mask: Tensor, edges: str | None, graph: str) -> EdgeList:
    """The edges of `data`, with the entries that `mask` has."""
    kinds = [edges] if edges else KINDS
    found = {kind: edges_of(data, x.shape[0], kind) for kind in kinds}
    fits = {kind: known for kind, known in found.items() if mask.shape == (known.num_edges,)}
    if not fits:
        counts = " or ".join(f"{known.num_edges} {kind}" for kind, known in found.items())
        raise ValueError(f"`ticket` does not fit `data`: its mask of edges has {mask.numel()} "
                         f"entries, the data have {counts} edges")  # fmt: skip
    names = {k: graph_fingerprint(x, e.edge_index, e.entries, e.num_edges, e.weight)
             for k, e in fits.items()}  # fmt: skip
    same = [kind for kind in fits if not graph or names[kind] == graph]
    if not same:
        raise ValueError(f"`ticket` is of another graph: fingerprint {graph}, not "
                         f"{' or '.join(names.values())}")  # fmt: skip
    if len({names[kind] for kind in same}) > 1:
        raise ValueError(f"`edges` must be given, {' or '.join(map(repr, same))}: "
                         f"the ticket fits either, with {mask.numel()} entries")  # fmt: skip
    return fits[same[0]]
