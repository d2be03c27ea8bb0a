"""Sparsity patterns: which entries of a tensor may differ from 0, and the values that they have."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.memo import Memo


@dataclass(frozen=True, eq=False)
class SparsityPattern:
    """The positions of the entries of a tensor that may differ from 0."""

    index: Tensor  # [entries] in the flattened tensor, ascending
    shape: torch.Size
    _by_stride: dict[int, Tensor] = field(default_factory=dict, repr=False)
    _by_width: dict[int, tuple[Any, Any, int]] = field(default_factory=dict, repr=False)
    _graphs: Memo[tuple[Tensor, Graph] | None] = field(default_factory=Memo, repr=False)
    _features: Memo[Features] = field(default_factory=Memo, repr=False)

    @staticmethod
    def of(mask: Tensor) -> "SparsityPattern":
        """The positions where `mask` is not 0."""
        return SparsityPattern(mask.view(-1).nonzero().squeeze(1), mask.shape)

    def index_in(self, whole: Tensor) -> Tensor:
        """[entries] the positions in the memory of `whole`, which may have gaps between rows."""
        if whole.is_contiguous():
            return self.index
        stride = whole.stride(0)
        if stride not in self._by_stride:
            row = self.index // self.shape[1]
            self._by_stride[stride] = self.index + row * (stride - self.shape[1])
        return self._by_stride[stride]

    def by_strips(self, width: int) -> tuple[Any, Any, int]:
        """The pattern as bits, for strips of `width` columns, up to 64: NumPy arrays.

        Returns, for each strip of each row, one word with a bit for each column, and the number of
        the strip's first entry; and how many strips a row has. A tensor that is no matrix is one
        row.
        """
        if width not in self._by_width:
            rows, columns = self.shape if len(self.shape) == 2 else (1, self.shape.numel())
            row, column, strips = self.index // columns, self.index % columns, -(-columns // width)
            word = row * strips + column // width
            counts = word.bincount(minlength=rows * strips)
            bits = torch.zeros_like(counts).index_add(0, word, 1 << (column % width))
            starts = (counts.cumsum(0) - counts).int()
            self._by_width[width] = bits.numpy().view("u8"), starts.numpy(), strips
        return self._by_width[width]

    def restrict(self, x: Features) -> Features:
        """`x` [N, F] without the features whose weights, of this pattern [F, d], are all 0."""
        kept = self._graphs(x.graph, lambda: self._select_entries(x.graph))
        if kept is None:
            return x
        entries, graph = kept
        return self._features(x, lambda: x.select(entries, x.row_mask, graph))

    def _select_entries(self, graph: Graph) -> tuple[Tensor, Graph] | None:
        """Which entries of the features of `graph` meet a weight, and their graph; None: all."""
        rows = torch.zeros(self.shape[0], dtype=torch.bool, device=self.index.device)
        rows[self.index // self.shape[1]] = True
        entries = rows[graph.edge_index[0]].nonzero().squeeze(1)
        return None if entries.numel() == graph.num_edges else (entries, graph.subgraph(entries))


class ScatteredWeight(NamedTuple):
    """Where a weight matrix made by `scatter_into` has its values from."""

    values: Tensor  # [entries]
    pattern: SparsityPattern
