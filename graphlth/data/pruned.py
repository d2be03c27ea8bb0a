"""A PyG `Data` without the edges that a ticket has removed; also a `HeteroData` or many graphs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from graphlth.data import fields
from graphlth.data.edge_list import KINDS, EdgeList, edge_attributes, mask_columns
from graphlth.data.graph_data import edges_of, features_of, graph_fingerprint
from graphlth.data.hetero import EdgeType, is_heterogeneous, relation_edges
from graphlth.edge_masks import edge_mask, relation_key
from graphlth.masks import check_mask, is_binary, only
from graphlth.ticket import Ticket

if TYPE_CHECKING:  # they load slowly
    from torch_geometric.data import Data, HeteroData

    D = TypeVar("D", Data, HeteroData, Sequence[Data])


def prune_data(data: D, ticket: Ticket, *, edges: str | None = None) -> D:
    """A PyG `Data` like `data`, without the edges that `ticket` has removed.

    As with PyG's `Data.edge_subgraph`, nodes and everything that `data` holds stay, and so does the
    order of the edges. Attributes of edges (see `graphlth.data.edge_list`) lose what belongs to
    edges that go: all repetitions of one, of the same `edge_type` if edges have one, and with
    undirected masks both directions. Edges of weight 0, which are absent for every model, go too.
    Where kept edges have other weights than 1, `edge_weight` has them. Of a ticket with a mask for
    each layer, the edges that no layer keeps go; which layer keeps which of the others, only the
    ticket tells. Its network is not read.

    Args:
        data: what the ticket's task was made of, in any order of edges: the `Data` of a `NodeTask`;
            the `HeteroData`, of which each relation with a mask loses edges; of a `LinkTask` the
            graph that its model reads, `next(iter(task.batches("train"))).data`; of a `GraphTask`
            the list of its training graphs by rising number,
            `[graphs[i] for i in task.rows["train"].sort().values]`.
        ticket: the edge mask.
        edges: what an entry of the edge mask stands for, "undirected" or "directed"; where not
            given, what the ticket says or what alone fits.

    Raises:
        ValueError: `data` is none of these, an entry of the mask is not what one can be, the ticket
            is not one of this graph, or both kinds of entries fit.
    """
    for name, mask in only(ticket.masks, "edges").items():
        check_mask(name, mask)
    masks = edge_mask(ticket.masks)
    kind = edges or ticket.provenance.get("settings", {}).get(
        "edges", ticket.provenance.get("edges")
    )
    pruned: Any
    for graph in data if isinstance(data, list | tuple) else [data]:
        check_edges_of_data(graph)
    if is_heterogeneous(data):
        pruned = _prune_relations(data, masks, kind)
    elif isinstance(data, list | tuple):
        pruned = _prune_graphs(data, _any_layer(masks), kind)
    else:
        pruned = _prune_graph(data, _any_layer(masks), kind, ticket.provenance.get("graph", ""))
    return pruned


def _any_layer(masks: Any) -> Tensor | None:
    """Which edges any layer keeps; None without a mask.

    Raises:
        ValueError: the masks are of relations.
    """
    if isinstance(masks, Mapping):
        raise ValueError(f"`data` must be a `HeteroData` with the relations {', '.join(masks)}, of "
                         "which the ticket has masks")  # fmt: skip
    return torch.stack(masks).any(0) if isinstance(masks, tuple) else masks


def _prune_graph(data: Any, mask: Tensor | None, kind: str | None, graph: str) -> Any:
    if mask is None:
        return copy.copy(data)
    known = _matching_edges(data, features_of(data), mask, kind, graph)
    return remove_edges(data, known, mask)


def _prune_graphs(graphs: Sequence[Any], mask: Tensor | None, kind: str | None) -> Any:
    """The graphs of a list, whose entries stand in the mask one graph after the other."""
    if mask is None:
        return [copy.copy(graph) for graph in graphs]
    found = {each: [edges_of(graph, int(graph.num_nodes or 0), each) for graph in graphs]
             for each in ([kind] if kind else KINDS)}  # fmt: skip
    counts = {each: [own.num_edges for own in known] for each, known in found.items()}
    fits = {each: found[each] for each in found if sum(counts[each]) == mask.numel()}
    if not fits:
        totals = " or ".join(f"{sum(each)} {name}" for name, each in counts.items())
        raise ValueError(f"`data` must be the training graphs of the ticket's task, of "
                         f"{mask.numel()} edges in all, got {len(graphs)} graphs of {totals}: "
                         '[graphs[i] for i in task.rows["train"].sort().values]')  # fmt: skip
    known = _one_of(fits, mask.numel())
    parts = mask.split([own.num_edges for own in known])
    return [remove_edges(*each) for each in zip(graphs, known, parts, strict=True)]


def _prune_relations(data: Any, masks: Any, kind: str | None) -> Any:
    """A `HeteroData` without the edges that the masks of its relations have removed."""
    left = copy.copy(data)
    if masks is None:
        return left
    keys = {relation_key(each): each for each in data.edge_types}
    if not isinstance(masks, Mapping) or masks.keys() - keys.keys():
        raise ValueError(f"`ticket` must have masks of the relations of `data`, {', '.join(keys)}, "
                         f"got {', '.join(masks) if isinstance(masks, Mapping) else 'one of all'}"
                         )  # fmt: skip
    found = {each: [relation_edges(data, keys[key], each) for key in masks]
             for each in ([kind] if kind else KINDS)}  # fmt: skip
    sizes = [mask.numel() for mask in masks.values()]
    counts = {each: [own.num_edges for own in known] for each, known in found.items()}
    fits = {each: found[each] for each in found if counts[each] == sizes}
    if not fits:
        raise ValueError(f"`ticket` does not fit `data`: its masks have {sizes} entries, the "
                         f"relations {' or '.join(f'{c} {e}' for e, c in counts.items())} edges"
                         )  # fmt: skip
    for (key, mask), known in zip(masks.items(), _one_of(fits, sum(sizes)), strict=True):
        remove_edges_of(data, left, keys[key], known, mask)
    return left


def check_edges_of_data(data: Any) -> None:
    """Refuse what is no PyG `Data` or `HeteroData`, or has its edges in several places.

    Raises:
        ValueError: it is such.
    """
    from torch_geometric.data import Data, HeteroData  # load slowly

    if not isinstance(data, Data | HeteroData):
        raise ValueError(f"`data` must be a PyG `Data`, got {type(data).__name__}")
    for store in data.edge_stores:
        where = "data" if isinstance(data, Data) else f"data[{store._key}]"
        for name in ("adj", "adj_t"):
            if name in store:
                raise ValueError(f"`{where}` must have its edges in `edge_index` alone, got "
                                 f"`{name}`, too: take it out, `del {where}.{name}`")  # fmt: skip


def remove_edges(data: Data, known: EdgeList, mask: Tensor) -> Data:
    """A `Data` like `data` without the edges whose entry of `mask` is 0; see `prune_data`.

    Args:
        data: is not changed.
        known: its edges.
        mask: [num_edges]; other entries than 0 and 1 multiply the weight of their edge.
    """
    left = copy.copy(data)
    _select_edges(data, left, edge_attributes(data), known, mask)
    return left


def remove_edges_of(
    data: HeteroData, left: HeteroData, kind: EdgeType, known: EdgeList, mask: Tensor
) -> None:
    """Remove from a relation of `left`, a copy of `data`, what `remove_edges` would."""
    store = data[kind]
    _select_edges(store, left[kind], edge_attributes(store), known, mask)


def reverse_mask(known: EdgeList, mask: Tensor, other: EdgeList, num_nodes: int) -> Tensor | None:
    """What `mask`, of the edges `known`, says of `other`, their reverses; None: these are others.

    Args:
        known: the edges of a relation.
        mask: [num_edges] of them.
        other: the edges of another.
        num_nodes: of the ends of both the most.
    """
    source, target = other.edge_index
    number, order = (source * num_nodes + target).sort()
    if not torch.equal(number, known.numbers):
        return None
    found = mask.new_zeros(other.num_edges)
    found[other.entries[order]] = mask[known.entries]
    return found


def _select_edges(
    data: Any, left: Any, names: Sequence[str], known: EdgeList, mask: Tensor
) -> None:
    """Give `left` the columns of `data`, and what `names` says of each, that `mask` keeps."""
    m, repeats = mask_columns(known, mask)
    device = data.edge_index.device
    keep = (m != 0).to(device)
    if not is_binary(mask):
        own = 1 / repeats if known.weight is None else fields.field(data, "edge_weight").view(-1)
        left["edge_weight"] = (m * own).to(torch.get_default_dtype()).to(device)
        names = [*{*names, "edge_weight"}]
    for name in ("edge_index", *names):
        along = data.__cat_dim__(name, left[name]) if hasattr(data, "__cat_dim__") else 0
        left[name] = _select(left[name], keep, -1 if name == "edge_index" else along)


def _select(value: Any, keep: Tensor, along: int) -> Any:
    """The entries of a tensor, an array, a list or a tuple where `keep` is true."""
    if isinstance(value, Tensor):
        return value.index_select(along, keep.nonzero().squeeze(1).to(value.device))
    if isinstance(value, np.ndarray):
        return value.compress(keep.cpu().numpy(), axis=along)
    return type(value)(each for each, stays in zip(value, keep.tolist(), strict=True) if stays)


def _one_of(fits: Mapping[str, list[EdgeList]], entries: int) -> list[EdgeList]:
    """The edges that a mask is of, of those that fit.

    Raises:
        ValueError: several fit, and do not say the same.
    """
    first, *others = fits.values()
    for other in others:
        if not all(torch.equal(a.entries, b.entries) for a, b in zip(first, other, strict=True)):
            raise _either_error([*fits], entries)
    return first


def _either_error(kinds: Sequence[str], entries: int) -> ValueError:
    return ValueError(f"`edges` must be given, {' or '.join(map(repr, kinds))}: the ticket fits "
                      f"either, with {entries} entries")  # fmt: skip


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
        raise _either_error(same, mask.numel())
    return fits[same[0]]
