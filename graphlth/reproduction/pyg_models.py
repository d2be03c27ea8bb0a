"""Models as PyG's tutorials write them: `--model graphlth.reproduction.pyg_models:GAT`."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GATConv, SAGEConv


class GAT(nn.Module):
    """Two layers of attention with the widths and dropout of Veličković et al. (ICLR 2018)."""

    def __init__(
        self, in_channels: int, out_channels: int, hidden: int = 8, heads: int = 8,
        dropout: float = 0.6,
    ):  # fmt: skip
        super().__init__()
        self.conv1 = GATConv(in_channels, hidden, heads, dropout=dropout)
        self.conv2 = GATConv(heads * hidden, out_channels, 1, dropout=dropout)
        self.dropout = dropout

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """The logits [N, out_channels] of the nodes."""
        x = F.dropout(x, self.dropout, self.training)
        x = F.elu(self.conv1(x, edge_index))
        x = F.dropout(x, self.dropout, self.training)
        return self.conv2(x, edge_index)


class SAGE(nn.Module):
    """Two layers of GraphSAGE with means (Hamilton et al., NeurIPS 2017)."""

    def __init__(
        self, in_channels: int, out_channels: int, hidden: int = 64, dropout: float = 0.5
    ):  # fmt: skip
        super().__init__()
        self.conv1 = SAGEConv(in_channels, hidden)
        self.conv2 = SAGEConv(hidden, out_channels)
        self.dropout = dropout

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """The logits [N, out_channels] of the nodes."""
        x = F.dropout(self.conv1(x, edge_index).relu(), self.dropout, self.training)
        return self.conv2(x, edge_index)
