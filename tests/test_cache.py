"""What a step leaves for the next, and that it is used for the same weights only."""

import torch

from graphlth.sparse.blocks import blocks
from graphlth.sparse.cache import StepCache, Sum, WeightCache
from graphlth.sparse.features import sparse_features
from graphlth.sparse.graph import Graph
from graphlth.sparse.pattern import ScatteredWeight, SparsityPattern


def test_a_product_is_recalled_once_and_for_the_same_weights_only():
    x, w, out = sparse_features(torch.eye(2)), torch.ones(2, 3), torch.zeros(2, 3)
    cache = WeightCache()
    cache.remember(x, w, out)
    assert cache.recall(x, w)[0] is out
    assert cache.recall(x, w) == (None, None)
    cache.remember(x, w, out)
    w.add_(1)
    assert cache.recall(x, w) == (None, None)
    cache.remember(x, w, out)
    assert cache.recall(x, w.clone()) == (None, None)


def test_a_sum_is_recalled_with_its_product_and_for_the_same_edge_weights_only():
    x, w, out = sparse_features(torch.eye(2)), torch.ones(2, 3), torch.zeros(2, 3)
    cache = WeightCache()
    graph, weight = Graph(torch.tensor([[0, 1], [1, 0]]), 2), torch.tensor([1.0, 2.0])
    cache.remember(x, w, out, Sum(graph, weight, out + 1))
    known, summed = cache.recall(x, w)
    assert known is out
    assert summed.over(graph, weight.clone()) is summed.value
    assert summed.over(graph, weight + 1) is None
    assert summed.over(Graph(graph.edge_index, 2), weight) is None


def test_a_product_is_recalled_for_the_nodes_that_it_has():
    x, w, out = sparse_features(torch.eye(4)), torch.ones(4, 3), torch.zeros(4, 3)
    cache = WeightCache()
    graph = Graph(torch.tensor([[0, 1], [1, 2]]), 4)
    large, small = (blocks(graph, 1, rows)[0].select_features(x)
                    for rows in (torch.tensor([1, 2]), torch.tensor([1])))  # fmt: skip
    for kept, asked, found in ((large, small, True), (x, small, True), (small, large, False),
                               (large, x, False)):  # fmt: skip
        cache.remember(kept, w, out)
        assert (cache.recall(asked, w)[0] is out) == found


def test_products_of_other_features_are_kept_apart():
    cache, w, out = WeightCache(), torch.ones(2, 3), torch.zeros(2, 3)
    one, other = (sparse_features(torch.eye(2)) for _ in range(2))
    cache.remember(one, w, out)
    assert cache.recall(other, w) == (None, None)
    assert cache.recall(one, w)[0] is out


def test_a_change_of_the_weights_makes_a_cache_forget_all_but_the_block_of_the_step():
    cache, x, w = StepCache(), sparse_features(torch.eye(2)), torch.ones(2, 3)
    graph = Graph(torch.tensor([[0], [1]]), 2)
    [block] = blocks(graph, 1, torch.tensor([1]))
    cache.set_block(graph, block)
    cache.weight("weights.0").remember(x, w, w)
    assert len(cache) == 1
    pattern = SparsityPattern.of(w)
    cache.update({"weights.1": ScatteredWeight(w.view(-1), pattern)})
    assert len(cache) == 0
    assert cache.weight("weights.1").pattern is pattern
    assert cache.weight("weights.0").pattern is None
    assert cache.block(graph) is block
    assert cache.block(Graph(graph.edge_index, 2)) is None
