"""The part of a graph that some nodes depend on, and what it reads of the features."""

import torch

from graphlth.sparse.blocks import blocks
from graphlth.sparse.features import sparse_features
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import weighted_sum


def test_blocks_hold_what_some_nodes_depend_on_and_nothing_else():
    # 0 → 1 → 2 → 3, 4 → 3, 5 → 5
    graph = Graph(torch.tensor([[0, 1, 2, 4, 5], [1, 2, 3, 3, 5]]), 6)
    first, last = blocks(graph, 2, torch.tensor([3]))
    assert last.edges.tolist() == [2, 3]  # into 3
    assert last.graph.size == (3, 1)  # from 2, 3 and 4
    assert first.edges.tolist() == [1, 2, 3]  # into 2, 3 and 4
    assert first.graph.size == (6, 3)
    numbers = torch.arange(6.0).unsqueeze(1)
    assert first.select_nodes(numbers).flatten().tolist() == [2, 3, 4]
    assert last.select_nodes(first.select_nodes(numbers)).flatten().tolist() == [3]
    assert weighted_sum(first.graph, numbers).flatten().tolist() == [1, 6, 0]
    assert blocks(graph, 2, torch.tensor([3]))[0] is not first
    rows = torch.tensor([3])
    assert blocks(graph, 2, rows)[0] is blocks(graph, 2, rows)[0]  # built once


def test_a_block_reads_the_features_of_its_sources_and_nodes_only():
    graph = Graph(torch.tensor([[0, 1], [1, 2]]), 4)
    x = sparse_features(torch.eye(4))
    (block,) = blocks(graph, 1, torch.tensor([2]))
    assert block.select_features(x).to_dense().diagonal().tolist() == [0, 1, 1, 0]
    assert block.select_features(x) is block.select_features(x)
    assert blocks(graph, 1)[0].select_features(x) is x


def test_a_block_reads_the_rows_of_dense_features_that_it_needs_where_they_are_few():
    # 0 → 1 → 2, and 3 to 9 alone
    graph, x = Graph(torch.tensor([[0, 1], [1, 2]]), 10), torch.arange(20.0).view(10, 2)
    block, other = (blocks(graph, 2, torch.tensor(rows))[0] for rows in ([2], [*range(9)]))
    part, some = block.restrict(x)
    assert some.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert part.graph.size == (3, 2) and part.edges is block.edges
    assert torch.equal(weighted_sum(part.graph, some), weighted_sum(block.graph, x))
    assert torch.equal(part.select_nodes(some), block.select_nodes(x))
    assert block.restrict(x)[1] is some, "copied once"
    x[0, 0] = 7
    assert block.restrict(x)[1][0].tolist() == [7, 1], "but when they change"
    assert block.restrict(x + 1)[1][0].tolist() == [8, 2]
    with torch.inference_mode():
        assert block.restrict(x + 1)[1][0].tolist() == [8, 2]
    leaf = x.clone().requires_grad_()
    [grad] = torch.autograd.grad(block.restrict(leaf)[1].sum(), leaf)
    assert grad[:, 0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert other.restrict(x) == (other, x), "where they are many, it reads all"
    assert blocks(graph, 1)[0].restrict(x)[1] is x


def test_nodes_of_one_block_are_found_among_those_of_another():
    graph = Graph(torch.tensor([[0, 1, 2], [1, 2, 3]]), 5)
    large, *_ = blocks(graph, 2, torch.tensor([2, 3]))  # and 1, which the second layer reads
    small, *_ = blocks(graph, 2, torch.tensor([2]))
    assert large.positions_in(small).tolist() == [0, 1, -1]
    assert small.positions_in(large) is None
    whole, *_ = blocks(graph, 2)
    assert whole.positions_in(small).tolist() == [-1, 0, 1, -1, -1]
