"""Edges of unchanged models are masked: an edge of weight 0 is absent."""

import pytest
import torch
from torch_geometric.nn.conv import GATConv, GCNConv, GINConv, SAGEConv

from graphlth.message_passing import masked_edges

N = 6
EDGE_INDEX = torch.tensor([[0, 1, 2, 3, 3, 0, 2, 2], [1, 2, 3, 3, 1, 1, 2, 0]])  # loops, a double
OPERATORS = {
    "gcn": lambda: GCNConv(3, 2),
    "sage": lambda: SAGEConv(3, 2),
    "gat": lambda: GATConv(3, 2, heads=2),
    "gin": lambda: GINConv(torch.nn.Linear(3, 2)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_a_weight_of_0_is_an_absent_edge(name):
    torch.manual_seed(0)
    conv, x = OPERATORS[name]().double(), torch.randn(N, 3).double()
    weight = torch.tensor([1, 0, 0.5, 0, 1, 0.2, 1, 0]).double()
    kept = weight != 0
    with masked_edges(conv, [(EDGE_INDEX, weight)]):
        masked = conv(x, EDGE_INDEX)
    with masked_edges(conv, [(EDGE_INDEX[:, kept].clone(), weight[kept])]):
        pass
    fewer = EDGE_INDEX[:, kept].clone()
    with masked_edges(conv, [(fewer, weight[kept])]):
        torch.testing.assert_close(masked, conv(x, fewer))
