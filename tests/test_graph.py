"""The structure: rows by target and by source, copies for heads, loops, cuts."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlth.sparse.graph import Graph
from graphlth.sparse.message import weighted_sum

few = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def graphs(draw, bipartite=True):
    """Any order, duplicates, loops, isolated nodes, no edges, no nodes; the edges numbered."""
    sources = draw(st.integers(0, 6))
    targets = draw(st.integers(0, 6)) if bipartite else sources
    ends = st.tuples(st.integers(0, max(sources - 1, 0)), st.integers(0, max(targets - 1, 0)))
    edges = draw(st.lists(ends, max_size=16 if sources and targets else 0))
    edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T
    return Graph(edge_index, (sources, targets)), torch.arange(1.0, len(edges) + 1)


def matrix(graph, weight):
    """[targets, sources]; duplicate edges add up."""
    source, target = graph.edge_index
    a = torch.zeros(graph.num_nodes, graph.num_sources)
    return a.index_put((target, source), weight, accumulate=True)


def dense(rows, values, num_columns):
    """The matrix of compressed rows whose `values` are given by edge."""
    a = torch.zeros(rows.offsets.numel() - 1, num_columns)
    for i in range(a.size(0)):
        start, end = rows.offsets[i], rows.offsets[i + 1]
        a[i].index_add_(0, rows.columns[start:end], rows.arrange(values)[start:end])
    return a


@few
@given(graphs())
def test_both_groupings_hold_every_edge_once(case):
    graph, weight = case
    expected = matrix(graph, weight)
    assert torch.equal(dense(graph.by_target, weight, graph.num_sources), expected)
    assert torch.equal(dense(graph.by_source, weight, graph.num_nodes), expected.T)


@few
@given(graphs())
def test_columns_ascend_within_a_row_and_equal_edges_keep_their_order(case):
    graph, weight = case
    for rows in (graph.by_target, graph.by_source):
        placed = rows.arrange(weight)
        for start, end in pairwise(rows.offsets):
            columns, edges = rows.columns[start:end], placed[start:end]
            assert bool((columns.diff() >= 0).all())
            assert bool((edges.diff()[columns.diff() == 0] > 0).all())


@few
@given(graphs(), st.integers(1, 5))
def test_a_cut_finds_the_edges_of_each_row_to_each_range_of_columns(case, count):
    graph, _ = case
    for rows, n in ((graph.by_target, graph.num_sources), (graph.by_source, graph.num_nodes)):
        size, cut = -(-n // count), rows.cut(count, n)
        assert torch.equal(cut[::count], rows.offsets)
        for i, (start, end) in enumerate(pairwise(cut)):
            part = i % count
            columns = rows.columns[start:end]
            assert bool(((part * size <= columns) & (columns < (part + 1) * size)).all())


@few
@given(graphs())
def test_restore_undoes_arrange(case):
    graph, weight = case
    for rows in (graph.by_target, graph.by_source):
        assert torch.equal(rows.restore(rows.arrange(weight)), weight)
        assert torch.equal(rows.arrange(rows.restore(weight)), weight)


@few
@given(graphs(), st.integers(1, 3))
def test_heads_are_copies_side_by_side(case, count):
    graph, weight = case
    copies = graph.heads(count)
    assert torch.equal(
        matrix(copies, weight.repeat_interleave(count)),
        torch.kron(matrix(graph, weight), torch.eye(count)),
    )


@few
@given(graphs(bipartite=False))
def test_loops_come_last_one_a_node(case):
    graph, weight = case
    looped, n = graph.with_loops, graph.num_nodes
    assert torch.equal(looped.edge_index[:, : graph.num_edges], graph.edge_index)
    assert torch.equal(looped.edge_index[:, graph.num_edges :], torch.arange(n).expand(2, -1))
    all_weights = torch.cat([weight, torch.ones(n)])
    assert torch.equal(matrix(looped, all_weights), matrix(graph, weight) + torch.eye(n))


@few
@given(graphs(), st.randoms(use_true_random=False))
def test_a_subgraph_keeps_nodes_and_order(case, random):
    graph, weight = case
    keep = torch.tensor([random.random() < 0.5 for _ in weight], dtype=torch.bool)
    cut = graph.subgraph(keep)
    assert cut.size == graph.size
    assert torch.equal(cut.edge_index, graph.edge_index[:, keep])
    assert torch.equal(matrix(cut, weight[keep]), matrix(graph, weight * keep))
    assert torch.equal(
        dense(cut.by_target, weight[keep], cut.num_sources), matrix(cut, weight[keep])
    )


def test_structure_is_built_once():
    graph = Graph(torch.tensor([[1, 0], [0, 1]]), 2)
    for build in ("by_target", "by_source", "with_loops"):
        assert getattr(graph, build) is getattr(graph, build)
    assert graph.heads(2) is graph.heads(2)
    assert graph.heads(2) is not graph.heads(3)
    assert Graph.of(graph, 2) is graph
    assert torch.equal(Graph.of(graph.edge_index, 2).edge_index, graph.edge_index)


def test_edges_that_lie_in_order_are_not_sorted_again():
    lying = Graph(torch.tensor([[0, 2, 1, 1], [0, 0, 1, 2]]), 3)
    assert lying.by_target.order is None
    assert lying.by_target.columns.tolist() == [0, 2, 1, 1]
    assert lying.by_source.order.tolist() == [0, 2, 3, 1]
    assert Graph(torch.tensor([[2, 0], [0, 0]]), 3).by_target.order.tolist() == [1, 0]


def test_moving_keeps_the_graph():
    graph = Graph(torch.tensor([[1, 0], [0, 2]]), (2, 3))
    moved = graph.to("cpu")
    assert moved.size == (2, 3)
    assert torch.equal(moved.edge_index, graph.edge_index)
    assert moved.device == torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_integers_make_a_graph(dtype):
    graph = Graph(torch.tensor([[0, 1], [1, 1]], dtype=dtype), 2)
    assert weighted_sum(graph, torch.tensor([[1.0], [4.0]])).tolist() == [[0], [5]]


BAD = [  # edge_index, num_nodes, message
    (torch.zeros(3, 2, dtype=torch.long), 3, r"`edge_index` must be .*\[2, E\], got \[3, 2\]"),
    (torch.zeros(2, dtype=torch.long), 3, r"`edge_index` must be .*\[2, E\], got \[2\]"),
    ([[0], [1]], 3, r"`edge_index` must be a tensor .*list"),
    (torch.zeros(2, 2), 3, r"`edge_index` must hold integers, got torch.float32"),
    (torch.zeros(2, 2, dtype=torch.bool), 3, r"`edge_index` must hold integers, got torch.bool"),
    (torch.tensor([[0, 3], [0, 0]]), 3, r"`edge_index` must hold sources in \[0, 3\), got 3"),
    (torch.tensor([[0, 0], [5, 0]]), 3, r"`edge_index` must hold targets in \[0, 3\), got 5"),
    (torch.tensor([[0, -1], [0, 0]]), 3, r"`edge_index` must hold sources in \[0, 3\), got -1"),
    (torch.tensor([[3], [0]]), (3, 9), r"`edge_index` must hold sources in \[0, 3\), got 3"),
    (torch.tensor([[3], [9]]), (4, 9), r"`edge_index` must hold targets in \[0, 9\), got 9"),
    (torch.zeros(2, 0, dtype=torch.long), -1, r"`num_nodes` must be at least 0, got -1"),
]


@pytest.mark.parametrize(("edge_index", "num_nodes", "message"), BAD)
def test_a_wrong_argument_is_named_in_one_line(edge_index, num_nodes, message):
    with pytest.raises(ValueError, match=message) as caught:
        Graph(edge_index, num_nodes)
    assert "\n" not in str(caught.value)


def test_a_constant_is_made_once():
    graph, made = Graph(torch.tensor([[0], [0]]), 1), []
    for _ in range(2):
        graph.constant("key", lambda: made.append(0) or torch.ones(1))
    assert len(made) == 1
