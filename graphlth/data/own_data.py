"""The PyG data that a model of a user's own reads: what was given, without the removed edges."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from graphlth.data.edge_list import EdgeList, edge_attributes

APART = ("adj", "adj_t")  # edges in other forms, in which no mask is followed
HELD = ("x", "y", "edge_index", "edge_weight", "edge_label", "edge_label_index", "batch", "ptr")


@dataclass(frozen=True)
class Columns:
    """The columns of an edge_index whose edges have attributes, sorted by (target, source).

    All that the data have are there, repeated or not, but for those of weight 0.
    """

    order: Tensor  # [C] which column of the data it is
    entries: Tensor  # [C] the mask entry that it reads
    names: tuple[str, ...]  # what the data hold for every edge, besides `edge_index`

    @classmethod
    def of(cls, data: Any, known: EdgeList) -> Columns | None:
        """Those of `data`; None where its edges have no attributes but weights."""
        names = tuple(edge_attributes(data))
        if not {*names} - {"edge_weight"}:
            return None
        return cls.in_order(known, names)

    @classmethod
    def in_order(cls, known: EdgeList, names: tuple[str, ...]) -> Columns:
        """All that the data have, sorted as `known` is."""
        order = known.columns.argsort(stable=True)
        order = order[int((known.columns < 0).sum()) :]
        return cls(order, known.entries[known.columns[order]], names)

    def keep(self, alive: Tensor) -> Columns:
        """Those whose entry is `alive` [num_edges]."""
        keep = alive[self.entries]
        return Columns(self.order[keep], self.entries[keep], self.names)

    def select(self, data: Any, store: Any, scale: Tensor | None = None) -> None:
        """Give `store` what `data` have of these columns.

        Args:
            data: what was given; it does not change.
            store: where the edges go, a copy of `data`.
            scale: [num_edges] what multiplies the weight of each entry; None: ones.
        """
        for name in ("edge_index", *self.names):
            store[name] = select_columns(data, name, self.order)
        if scale is not None:
            a, own = store.get("edge_weight"), scale[self.entries]
            store["edge_weight"] = own if a is None else a.reshape(-1) * own


def kept_entries(masks: Sequence[Tensor]) -> Tensor:
    """Which entries [num_edges] one of the masks keeps, on the CPU."""
    return torch.stack([mask.detach().cpu() != 0 for mask in masks]).any(0)


def select_columns(data: Any, name: str, order: Tensor) -> Any:
    """What `data.name` holds for the columns `order` of its edge_index."""
    value = getattr(data, name)
    if not isinstance(value, Tensor):
        return [value[i] for i in order.tolist()]
    along = data.__cat_dim__(name, value) if hasattr(data, "__cat_dim__") else 0
    along = -1 if name == "edge_index" else along
    return value.index_select(along, order.to(value.device))


def attributes_digest(data: Any, columns: Columns | None) -> str:
    """A digest of what `data` hold besides features, edges, labels and splits; "" of nothing.

    That is the attributes of edges in the order of `columns`, then the tensors of nodes and graphs.
    """
    edges = () if columns is None else columns.names
    order = torch.empty(0) if columns is None else columns.order
    held = data.to_dict() if hasattr(data, "to_dict") else vars(data)
    others = [n for n in held if n not in edges and is_attribute(n, held[n])]
    parts = {n: select_columns(data, n, order) for n in edges} | {n: held[n] for n in others}
    digest = hashlib.sha256()
    for name, value in parts.items():
        digest.update(name.encode())
        digest.update(bytes_of(value) if isinstance(value, Tensor) else repr(value).encode())
    return digest.hexdigest() if parts else ""


def is_attribute(name: str, value: Any) -> bool:
    """Whether it is a tensor that a model may read, besides features, edges, labels and splits."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or name in HELD:
        return False
    return not name.endswith(("_mask", "_masks", "_idx"))


def bytes_of(value: Tensor) -> Any:
    """The bytes of a tensor of any type, as a buffer."""
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def without_fields(given: Any, names: Sequence[str]) -> Any:
    """A copy of what was `given` without the fields `names`; what it holds is shared."""
    if not hasattr(given, "to_dict"):
        held = getattr(given, "__dict__", {})
        return SimpleNamespace(**{n: v for n, v in held.items() if n not in (*names, *APART)})
    left = copy.copy(given)
    for name in (*names, *APART):
        if name in left:
            del left[name]
    return left


def pyg_data(given: Any) -> Any:
    """A `Data` with all that was `given`; what it holds is shared."""
    from torch_geometric.data import Data

    if isinstance(given, Data):
        return copy.copy(given)
    return Data.from_dict(given.to_dict() if hasattr(given, "to_dict") else vars(given))
