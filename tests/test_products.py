"""Products with weight matrices, and matrices scattered from vectors."""

import pytest
import torch
from matrices import BACKENDS, close, doubles, leaves, pull

from graphlth.sparse.cache import WeightCache
from graphlth.sparse.features import Features, sparse_features
from graphlth.sparse.pattern import ScatteredWeight, SparsityPattern
from graphlth.sparse.products import padded_zeros, product, scatter, scatter_into


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("d", [1, 15, 16, 40])  # a few columns take another road
def test_a_product_with_features_is_the_dense_product(d, backend):
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(9, 30, generator=draw, dtype=torch.float64)
    x = x * (torch.rand(9, 30, generator=draw) < 0.1)  # some rows are empty
    w = torch.randn(30, d, generator=draw, dtype=torch.float64)
    for features in (sparse_features(x), x):
        (ours,), (plain,) = leaves(w), leaves(w)
        out, expected = product(features, ours, backend=backend), x @ plain
        close(out, expected)
        close(pull(out, [ours])[0], pull(expected, [plain])[0])


@pytest.mark.parametrize("d", [2, 20])
def test_gradcheck_of_the_product(d):
    draw = torch.Generator().manual_seed(2)
    x, w = leaves(
        torch.randn(3, 4, generator=draw, dtype=torch.float64),
        torch.randn(4, d, generator=draw, dtype=torch.float64),
    )
    assert torch.autograd.gradcheck(product, (x, w))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scattered_weight_is_a_masked_one_whose_dead_features_are_not_read(backend):
    x, mask = doubles(9, 12, density=0.5), torch.zeros(12, 3, dtype=torch.float64)
    mask[2, 1] = mask[7] = 1
    pattern = SparsityPattern(mask.view(-1).nonzero().squeeze(1), mask.shape)
    (values,) = leaves(doubles(4, seed=5))
    features, cache = sparse_features(x), WeightCache(ScatteredWeight(values, pattern))
    assert pattern.restrict(features).graph.edge_index[0].unique().tolist() == [2, 7]
    assert pattern.restrict(features) is pattern.restrict(features)
    for each in (features, Features(features.graph, 2 * features.values)):  # as dropout makes
        w = scatter_into(torch.zeros(12, 3, dtype=torch.float64), values, pattern)
        out = product(each, w, cache=cache, backend=backend)
        plain = torch.zeros(36, dtype=torch.float64).index_put((pattern.index,), values)
        expected = each.to_dense() @ plain.view(12, 3)
        close(out, expected)
        close(pull(out, [values])[0], pull(expected, [values])[0])


def test_features_that_are_all_read_stay():
    x, every = sparse_features(doubles(5, 4, density=0.5)), torch.arange(0, 12, 3)
    assert SparsityPattern(every, torch.Size([4, 3])).restrict(x) is x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(7, 3), (5, 64), (4, 150), (1, 1), (40,), (3, 2, 5, 5)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_values_are_scattered_over_any_tensor_and_their_gradients_taken(share, shape, dtype):
    kept = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < share
    pattern = SparsityPattern(kept.view(-1).nonzero().squeeze(1), torch.Size(shape))
    [values] = leaves(doubles(pattern.index.numel(), seed=2).to(dtype))
    whole = scatter_into(padded_zeros(torch.empty(shape, dtype=dtype)), values, pattern)
    expected = torch.zeros(shape, dtype=dtype).masked_scatter(kept, values.detach())
    assert torch.equal(whole, expected)
    slope = doubles(*shape, seed=3).to(dtype)
    for pulled in (slope, slope.transpose(0, -1).contiguous().transpose(0, -1)):
        [found] = torch.autograd.grad(whole, values, pulled, retain_graph=True)
        assert torch.equal(found, slope[kept])
    [found] = torch.autograd.grad(whole.sum(), values)
    assert torch.equal(found, torch.ones_like(values))


@pytest.mark.parametrize("above", [-0.5, 0.5, 1.5])
def test_values_are_scattered_where_they_belong_and_nowhere_else(above):
    whole = doubles(6, 70, seed=1)
    kept = whole > above
    pattern = SparsityPattern(kept.view(-1).nonzero().squeeze(1), whole.shape)
    values = doubles(pattern.index.numel(), seed=2)
    for out in (whole.clone(), torch.cat([whole, whole], 1)[:, :70], whole[0].clone()):
        if out.dim() == 1:
            pattern = SparsityPattern(kept[0].nonzero().squeeze(1), out.shape)
            values = values[: pattern.index.numel()]
        before, version = out.clone(), out._version
        scatter(values, pattern, out)
        assert torch.equal(out, before.masked_scatter(kept if out.dim() == 2 else kept[0], values))
        assert out._version > version, "what reads it would not know"
