"""Multiply–accumulates of models of a user's own, where their operators are known."""

import pytest
import torch
from torch_geometric.nn import GAT, GCN, GIN, GraphSAGE

import graphlth as glt
from graphlth.masks import EDGES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize(("model", "loops"), [(GCN, True), (GraphSAGE, False), (GIN, False)])
def test_kept_weights_of_all_nodes_and_messages_of_kept_edges_count(model, loops):
    task = glt.find("tasks", "sbm")(size=6)
    net = model(task.num_features, 8, 2, task.num_classes)
    ticket = glt.dense(net, task.num_edges)
    ticket.masks[EDGES][::3] = 0
    name = next(n for n in ticket.masks if n != EDGES)
    ticket.masks[name][0] = 0
    n, edges = task.num_nodes, int(ticket.masks[EDGES][task.entries].sum())
    widths = {GCN: 8 + task.num_classes}.get(model, task.num_features + 8)  # of what is sent
    want = {k: n * int(m.count_nonzero()) for k, m in ticket.masks.items() if k != EDGES}
    want["messages"] = (edges + n * loops) * widths
    assert glt.macs(net, task, ticket.masks) == want


def test_an_operator_that_is_not_counted_is_named():
    task = glt.find("tasks", "sbm")(size=6)
    net = GAT(task.num_features, 8, 2, task.num_classes)
    assert glt.macs(net, task, {}) is None
    assert glt.macs_reason(net, task, {}).startswith("GAT has a GATConv; operations of GCNConv,")
    assert torch.is_grad_enabled()
