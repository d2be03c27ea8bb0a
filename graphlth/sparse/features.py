"""Sparse feature matrices, and when they are faster than dense ones."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from graphlth.sparse.graph import Graph


@dataclass(frozen=True, eq=False)
class Features:
    """A constant sparse feature matrix [N, F], as a weighted graph from features to nodes."""

    graph: Graph  # F sources, N targets
    values: Tensor  # [nnz]
    row_mask: Tensor | None = None  # [N] the rows that are held, the others are empty; None: all
    origin: object = field(default_factory=object, repr=False)  # shared by all parts of one matrix

    @property
    def shape(self) -> tuple[int, int]:
        """`(N, F)`."""
        return self.graph.num_nodes, self.graph.num_sources

    def to_dense(self) -> Tensor:
        """The matrix [N, F] with its zeros."""
        column, row = self.graph.edge_index
        return self.values.new_zeros(self.shape).index_put((row, column), self.values)

    @cached_property
    def dense(self) -> Tensor:
        """`to_dense()`, made once and kept: for models that cannot use the sparse form."""
        return self.to_dense()

    @cached_property
    def row_numbers(self) -> Tensor | None:
        """[N] the number of each row that is held, −1 for the others; None: all are."""
        if self.row_mask is None:
            return None
        numbers = torch.arange(self.row_mask.numel(), device=self.row_mask.device)
        return numbers.where(self.row_mask, -1)

    def select(self, entries: Tensor, row_mask: Tensor | None, graph: Graph) -> "Features":
        """The part of this matrix with some entries only.

        Args:
            entries: their numbers.
            row_mask: [N] the rows that the part holds; None: all.
            graph: that of the entries, a subgraph of this one's.
        """
        return Features(graph, self.values.index_select(0, entries), row_mask, self.origin)

    def to(self, device: torch.device | str) -> "Features":
        """The same features on `device`."""
        return Features(self.graph.to(device), self.values.to(device))


def dense_features(x: Tensor | Features) -> Tensor:
    """`x` as a tensor [N, F]."""
    return x.dense if isinstance(x, Features) else x


def sparse_features(x: Tensor) -> Features:
    """The non-zero entries of `x` [N, F]."""
    row, column = x.nonzero(as_tuple=True)
    return Features(Graph(torch.stack([column, row]), (x.size(1), x.size(0))), x[row, column])


# Costs of a product with [N, F] features, in units of the cost per entry of a dense matrix.
NONZERO = 2.5  # per non-zero entry: its number and value are read, and a row of W is looked up
ROW = 8  # per row, whose sum is begun and written


def sparse_is_faster(num_rows: int, num_columns: int, nonzeros: int) -> bool:
    """Whether products with features [N, F] of so many non-zeros cost less in their sparse form.

    `NONZERO · nnz + ROW · N < N · F`, a model of the shapes alone: the form decides in which order
    sums are taken, so no run may measure it. The width of W is in both costs. Rows that are not
    read are left out of both forms, so that N stands for those that are.

    The constants are those of mask-training and training epochs of GCN and GraphSAGE with either
    form (`benchmarks/speed_features.py`), rounded to the side of the dense form, whose products are
    faster on some processors and which takes less memory from a tenth of non-zeros on.
    """
    return NONZERO * nonzeros + ROW * num_rows < num_rows * num_columns
