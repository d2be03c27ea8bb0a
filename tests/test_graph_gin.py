"""GIN with a read-out: what it computes, what it counts, and that tickets of it are found."""

from dataclasses import replace

import pytest
import torch
from test_graphs import small_graphs
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric.data import Batch
from torch_geometric.nn import GINConv, GINEConv
from toys import call, toy

import graphlth as glt
from graphlth.algorithms._controls import shuffle
from graphlth.data.graphs import GraphTask
from graphlth.registry import find
from graphlth.training.checks import check_edges

graph_gin = find("models", "graph_gin")
SETTINGS = [{}, {"pooling": "mean"}, {"edge_features": True}, {"layers": 1}, {"layers": 4}]
every = pytest.mark.parametrize("about", SETTINGS, ids=str)


def categories():
    """Graphs whose nodes and edges have integers, as molecules have."""
    graphs = small_graphs()
    for i, graph in enumerate(graphs):
        n, e = graph.num_nodes, graph.num_edges
        graph.x = torch.stack([torch.arange(n) % 3, torch.arange(n) % 5, torch.arange(n) + i], 1)
        graph.edge_attr = torch.stack([torch.arange(e) % 2, torch.arange(e) % 4], 1)
    return graphs


def made(make=small_graphs, task=None, **about):
    task = GraphTask(make(), **(task or {}))
    torch.manual_seed(0)
    return graph_gin(task, hidden=8, **about).eval(), task


@every
@pytest.mark.parametrize("make", [small_graphs, categories])
def test_the_output_of_a_graph_is_that_of_it_alone(make, about):
    model, task = made(make, **about)
    with torch.no_grad():
        (batch,) = task.whole("val")
        data = batch.data
        whole = model(data.x, data.edge_index, data.batch, data.edge_attr)
        for i, graph in enumerate(task.rows["val"]):
            alone = Batch.from_data_list([make()[graph]])
            out = model(alone.x, alone.edge_index, alone.batch, alone.edge_attr)
            torch.testing.assert_close(out, whole[i : i + 1], rtol=1e-4, atol=1e-5)
    assert whole.shape == (len(task.rows["val"]), task.num_classes)


@every
def test_it_is_pygs_operators(about):
    model, _ = made(**about)
    kind = GINEConv if about.get("edge_features") else GINConv
    assert [type(conv) for conv in model.convs] == [kind] * about.get("layers", 3)


def test_features_of_edges_are_felt_where_they_are_read():
    for about in ({}, {"edge_features": True}):
        model, task = made(**about)
        (batch,) = task.whole("val")
        data = batch.data
        with torch.no_grad():
            a, b = (model(data.x, data.edge_index, data.batch, data.edge_attr + k) for k in (0, 1))
        assert torch.equal(a, b) == (not about)


@every
@pytest.mark.parametrize("make", [small_graphs, categories])
def test_a_zero_entry_is_an_absent_edge_and_a_soft_one_counts(make, about):
    model, task = made(make, **about)
    check_edges(model, task, {"edges": torch.ones(task.num_edges)})


WRONG = [
    (toy, {}, "`task` must have many graphs, got 'toy': use gin for the nodes of one"),
    (lambda: GraphTask([g for g in small_graphs() if not g.__delattr__("edge_attr")]),
     {"edge_features": True}, "`edge_features` must be false where edges have none, got 'graphs'"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "about", "said"), WRONG)
def test_what_it_cannot_read_is_refused(make, about, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        graph_gin(make(), **about)


def test_a_model_of_nodes_is_refused_on_graphs():
    task = GraphTask(small_graphs())
    gcn = find("models", "gcn")(task, hidden=4)
    with pytest.raises(
        ValueError, match=r"a row for each graph, got GCN, a model of nodes: use gr"
    ):
        glt.fit(gcn, task, glt.dense(gcn, task.num_edges), epochs=1)


def test_shuffled_edges_stay_within_their_graph():
    model, task = made()
    ticket = glt.dense(model, task.num_edges)
    draw = torch.Generator().manual_seed(0)
    mask = (torch.rand(task.num_edges, generator=draw) < 0.5).float()
    ticket = replace(ticket, masks={**ticket.masks, "edges": mask})
    shuffled = shuffle(ticket, model, task, 0).masks["edges"]
    assert not torch.equal(shuffled, mask)
    before, after = (torch.bincount(task.edge_groups, weights=m) for m in (mask, shuffled))
    assert torch.equal(before, after)


@every
def test_multiply_accumulates_are_those_of_a_pass_over_the_training_graphs(about):
    model, task = made(**about)
    (batch,) = task.whole("train")
    data = batch.data
    with FlopCounterMode(display=False) as counter:
        model(data.x, data.edge_index, data.batch, data.edge_attr)
    messages = (data.num_edges + data.num_nodes) * sum(model.widths)
    count = data.num_graphs
    per_layer = glt.macs(model, task, {})
    expected = (counter.get_total_flops() / 2 + messages) / count
    assert sum(per_layer.values()) == pytest.approx(expected, abs=len(per_layer))
    mask = (torch.arange(task.num_edges) % 2).float()
    kept = int(mask[batch.entries].sum())
    fewer = glt.macs(model, task, {"edges": mask})
    assert fewer["convs.0"] == (kept + data.num_nodes) * 4 // count


def test_a_model_without_a_count_says_why():
    task = GraphTask(small_graphs())
    assert "has no method graph_macs" in glt.macs_reason(torch.nn.Linear(1, 1), task, {})


@pytest.mark.parametrize("algorithm", ["ugs", "random_tickets", "imp", "at_init", "sgcn", "geb"])
def test_tickets_are_found_and_trained(algorithm):
    model, task = made(task={"batch_size": 5})
    known = {"epochs": 2, "rounds": 2, "draws": 2, "pretrain": 1, "drop_edges": 0.2}
    first, *_, last = call(algorithm, model, task, **known)
    assert glt.sparsity(last.masks) > glt.sparsity(first.masks) == 0
    if "edges" in last.masks:
        before, left = (torch.bincount(task.edge_groups, weights=t.masks["edges"] != 0)
                        for t in (first, last))  # fmt: skip
        rounds = last.round if algorithm in ("ugs", "random_tickets", "at_init", "sgcn") else 1
        share = 1 - 0.8**rounds
        assert bool(((before - left - share * before).abs() < 1.5).all())
    fit = glt.fit(model, task, last, epochs=2)
    assert 0 <= fit.test <= 1
