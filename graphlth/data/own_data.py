"""The PyG data that a model of a user's own reads: what was given, without the removed edges."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphlth.data.edge_list import EdgeList, edge_attributes

APART = ("adj", "adj_t")  # edges in other forms, in which no mask is followed


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

    def select(self, data: Any, store: Any, alive: Tensor, scale: Tensor | None) -> Tensor:
        """The entries [C'] of the columns that `alive` [num_edges] leaves, which `store` then has.

        Args:
            data: what was given; it does not change.
            store: where the edges go, a copy of `data`.
            alive: which entries are left.
            scale: what multiplies the weight of each entry; None: ones.
        """
        keep = alive[self.entries]
        order, entries = self.order[keep], self.entries[keep]
        for name in ("edge_index", *self.names):
            store[name] = select_columns(data, name, order)
        if scale is not None:
            a = store.get("edge_weight")
            store["edge_weight"] = scale[entries] if a is None else a.reshape(-1) * scale[entries]
        return entries


def select_columns(data: Any, name: str, order: Tensor) -> Any:
    """What `data.name` holds for the columns `order` of its edge_index."""
    value = getattr(data, name)
    if not isinstance(value, Tensor):
        return [value[i] for i in order.tolist()]
    along = data.__cat_dim__(name, value) if hasattr(data, "__cat_dim__") else 0
    along = -1 if name == "edge_index" else along
    return value.index_select(along, order.to(value.device))


def attributes_digest(data: Any, columns: Columns) -> str:
    """A digest of the edge attributes of `data` and of which columns they are of."""
    digest = hashlib.sha256()
    for name in columns.names:
        value = select_columns(data, name, columns.order)
        digest.update(name.encode())
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(value.numpy().tobytes())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def pyg_is_loaded() -> bool:
    """Whether there can be a model of PyG's operators, which loads slowly."""
    return "torch_geometric" in sys.modules


def pyg_data(given: Any, names: Sequence[str] = APART) -> Any:
    """A `Data` with all that was `given`, but for `names`; what it holds is shared."""
    from torch_geometric.data import Data

    held = given.to_dict() if hasattr(given, "to_dict") else vars(given)
    data = copy.copy(given) if isinstance(given, Data) else Data.from_dict(dict(held))
    for name in names:
        if name in data:
            del data[name]
    return data
