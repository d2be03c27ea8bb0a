"""What GCN computes in one pass, and what its evaluations leave for the next training step."""

import pytest
import torch
from matrices import BACKENDS, RING, close, doubles, layer_of, leaves, matrix_of, pull, set_constant

from graphlth.models.graph._gcn_layers import (
    aggregate,
    propagate,
    propagate_relu_product,
    relu_dropout_product,
    relu_product,
)
from graphlth.sparse.blocks import blocks
from graphlth.sparse.cache import Sum, WeightCache
from graphlth.sparse.dropout import relu_dropout
from graphlth.sparse.features import Features, sparse_features
from graphlth.sparse.graph import Graph
from graphlth.sparse.pattern import ScatteredWeight
from graphlth.sparse.products import padded_zeros, product, scatter_into


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("c", [1, 9, 16])  # few columns take another road
@pytest.mark.parametrize("grad", [False, True])
def test_a_fused_layer_is_a_sum_a_relu_and_a_product(grad, c, backend):
    graph = Graph(torch.tensor([[0, 4, 1, 1, 2], [1, 1, 0, 0, 2]]), (5, 4))  # nobody sends to 3
    values = leaves(doubles(5, 20), doubles(5, seed=3), doubles(20, c, seed=4))
    with torch.set_grad_enabled(grad):
        out = relu_product(graph, *values, backend=backend)
        x, weight, w = values
        expected = (matrix_of(graph, weight) @ x).relu() @ w
    close(out, expected)
    assert out.requires_grad == grad
    if grad:
        for a, b in zip(pull(out, values), pull(expected, values), strict=True):
            close(a, b)


def test_a_fused_layer_keeps_a_nan():
    graph = Graph(torch.tensor([[0], [0]]), 1)
    with torch.no_grad():
        out = relu_product(graph, torch.tensor([[torch.nan, 1.0]]), None, torch.ones(2, 1))
    assert out.isnan().all()


SHORT = Graph(torch.tensor([[0, 4, 1, 1, 2], [1, 1, 0, 0, 2]]), (5, 4))
CROWDED = Graph(torch.cartesian_prod(torch.arange(5), torch.arange(4)).T, (5, 4))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(("graph", "short"), [(SHORT, True), (CROWDED, False)])
@pytest.mark.parametrize("known", [True, False])
def test_a_layer_of_features_is_two_products(known, graph, short, constant, backend):
    """Also where the gradient goes through the features of the neighbours."""
    x = doubles(5, 12, density=0.4)
    w, weight = leaves(doubles(12, 3, seed=3), doubles(graph.num_edges, seed=4))
    weight.requires_grad_(not constant)
    features, asked, cache = sparse_features(x), [w] if constant else [w, weight], WeightCache()
    for _ in range(2):  # what is kept serves the second call
        if known:
            with torch.no_grad():
                product(features, w, cache=cache, backend=backend)
        out = propagate(graph, features, w, weight, cache=cache, constant=True, backend=backend)
        expected = matrix_of(graph, weight) @ (x @ w)
        close(out, expected)
        for a, b in zip(pull(out, asked), pull(expected, asked), strict=True):
            close(a, b)
    if constant:
        through = aggregate(graph, weight, features)
        assert (through is not None) == short
        assert aggregate(graph, weight, features) is through
        if short:
            close(through.to_dense(), matrix_of(graph, weight) @ x)


@pytest.fixture(params=[1, 2])
def strips(request, monkeypatch):
    """One thread, and two that share out even small strips; near rows are fetched ahead, too."""
    monkeypatch.setattr("graphlth.sparse.kernels._strips.SHARED", 0)
    monkeypatch.setattr("graphlth.sparse.kernels._memory.CACHE", 0)
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("width", [8, 96, 130, 256])
@pytest.mark.usefixtures("strips")
def test_an_evaluation_keeps_what_the_next_step_asks_for(width, backend):
    """Of sparse matrices, in place; and the step is that without an evaluation, bit for bit."""
    x, v, weight, values, pattern = layer_of(width, share=0.3)
    first, _ = blocks(RING, 2, torch.arange(6))  # of the step
    whole, _ = blocks(RING, 2, torch.arange(20))  # of the evaluation
    fixed = first.select_edges(weight)

    cache = WeightCache(ScatteredWeight(values, pattern))

    def step(w):
        own = first.select_features(x)
        return propagate(first.graph, own, w, fixed, cache=cache, constant=True, backend=backend)

    def scattered():
        zeros = padded_zeros(torch.empty(30, width, dtype=torch.float64))
        return scatter_into(zeros, values, pattern)

    expected = step(scattered())
    to_values = pull(expected, [values])[0]
    w = scattered()
    with torch.no_grad():
        out = propagate_relu_product(
            whole, x, w, whole.select_edges(weight), v,
            cache=cache, following=(first, fixed), constant=True, backend=backend,
        )  # fmt: skip
        hidden = matrix_of(whole.graph, whole.select_edges(weight)) @ (x.to_dense() @ w)
        close(out, hidden.relu() @ v)
    assert len(cache) == 1, "nothing was kept"
    kept = step(w)
    assert len(cache) == 0, "what was kept was not used"
    assert torch.equal(kept, expected)
    close(pull(kept, [values])[0], to_values)
    plain = torch.zeros(30 * width, dtype=torch.float64).index_put((pattern.index,), values)
    dense = matrix_of(first.graph, fixed) @ (x.to_dense() @ plain.view(30, width))
    close(kept, dense)
    close(to_values, pull(dense, [values])[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("held", [128, 256])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("few", [False, True])
def test_a_layer_of_features_has_its_gradients_at_any_width(
    few, threads, held, large, dtype, monkeypatch
):
    set_constant(monkeypatch, "HELD", held)
    set_constant(monkeypatch, "SHARED", 0)
    set_constant(monkeypatch, "CACHE", 0 if large else 1 << 20)
    torch.set_num_threads(threads)
    try:
        for width in (1, 64, 65, 130, 256):
            x, _, weight, values, pattern = layer_of(width, share=0.3, dtype=dtype)
            zeros, w = torch.zeros(30, width, dtype=dtype), doubles(30, width, seed=8).to(dtype)
            found, expected = (leaves(values if few else w, weight) for _ in range(2))
            own, cache = found[0], WeightCache()
            if few:
                own = scatter_into(zeros.clone(), found[0], pattern)
                cache = WeightCache(ScatteredWeight(found[0], pattern))
            at = pattern.index // width, pattern.index % width
            whole = zeros.index_put(at, expected[0]) if few else expected[0]
            outs = [
                propagate(RING, x, own, found[1], cache=cache),
                matrix_of(RING, expected[1]) @ (x.to_dense() @ whole),
            ]
            torch.testing.assert_close(*outs)
            for a, b in zip(pull(outs[0], found), pull(outs[1], expected), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        with pytest.raises(ValueError, match=r"`weight` must have shape \[80\].*got \[3\]"):
            propagate(RING, x, own, torch.ones(3, dtype=dtype, requires_grad=True))
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("width", [8, 96, 130, 256])
@pytest.mark.usefixtures("strips")
@pytest.mark.parametrize("moved", [False, True])
def test_an_evaluation_keeps_sums_for_a_step_whose_edges_are_weighed_anew(
    moved, width, backend, monkeypatch
):
    """Its value and the gradients of W and of the edge weights are those without an evaluation, bit
    for bit; of edge weights that have moved since, x W alone is used.
    """
    x, v, weight, *_ = layer_of(width, share=0.3)
    first, _ = blocks(RING, 2, torch.arange(6))
    whole, _ = blocks(RING, 2, torch.arange(20))
    w = doubles(30, width, seed=8).requires_grad_()
    soft, cache = first.select_edges(weight).requires_grad_(), WeightCache()

    def step():
        own = first.select_features(x)
        out = propagate(first.graph, own, w, soft, cache=cache, backend=backend)
        return out, *pull(out, [w, soft])

    expected = step()
    last = weight.clone()
    if moved:
        last[0] += 1
    with torch.no_grad():
        out = propagate_relu_product(whole, x, w, whole.select_edges(last), v,
                       cache=cache, following=(first, first.select_edges(last)),
                       backend=backend)  # fmt: skip
        hidden = matrix_of(whole.graph, whole.select_edges(last)) @ (x.to_dense() @ w)
        close(out, hidden.relu() @ v)
    assert len(cache) == 1, "nothing was kept"
    seen, over = [], Sum.over
    monkeypatch.setattr(Sum, "over", lambda *args: seen.append(over(*args)) or seen[-1])
    for one, other in zip(step(), expected, strict=True):
        assert torch.equal(one, other)
    assert len(cache) == 0, "what was kept was not used"
    if backend == "numba":
        assert [sum_ is None for sum_ in seen] == [moved]


@pytest.mark.parametrize("width", [96, 130])
def test_an_evaluation_reads_a_part_of_a_larger_matrix_as_it_is(width):
    """Whose other columns are none of its padding."""
    x, v, weight, *_ = layer_of(width, share=0.3)
    first, _ = blocks(RING, 2, torch.arange(6))
    whole, _ = blocks(RING, 2, torch.arange(20))
    w = torch.full((30, 400), torch.nan, dtype=torch.float64)[:, 7 : 7 + width]
    w.copy_(doubles(30, width, seed=8)).requires_grad_()
    fixed = first.select_edges(weight)
    with torch.no_grad():
        out = propagate_relu_product(
            whole, x, w, whole.select_edges(weight), v, following=(first, fixed), constant=True
        )
        hidden = matrix_of(whole.graph, whole.select_edges(weight)) @ (x.to_dense() @ w)
        close(out, hidden.relu() @ v)


@pytest.mark.parametrize("columns", [0, 1, 6, 7, 8, 9, 15])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("nodes", [20, 21])
def test_an_evaluation_takes_a_next_matrix_of_any_few_columns(nodes, rows, columns, monkeypatch):
    """However many rows are multiplied at a time."""
    monkeypatch.setattr("graphlth.sparse.kernels._strips.ROWS", rows)
    x, _, weight, *_ = layer_of(96, share=0.3)
    first, _ = blocks(RING, 2, torch.arange(6))
    whole, _ = blocks(RING, 2, torch.arange(nodes))
    w, v = doubles(30, 96, seed=8), doubles(96, columns, seed=9)
    with torch.no_grad():
        out = propagate_relu_product(whole, x, w, whole.select_edges(weight), v,
                       following=(first, first.select_edges(weight)))  # fmt: skip
        hidden = matrix_of(whole.graph, whole.select_edges(weight)) @ (x.to_dense() @ w)
        close(out, hidden.relu() @ v)
    assert out.is_contiguous()


def test_an_evaluation_of_other_nodes_keeps_nothing_for_a_step():
    """Neither A x W nor x W of nodes that it has not computed."""
    x, v, weight, values, pattern = layer_of(8, share=0.3)
    first, _ = blocks(RING, 2, torch.arange(6))
    other, _ = blocks(RING, 2, torch.arange(20, 26))
    w = scatter_into(torch.zeros(30, 8, dtype=torch.float64), values, pattern)
    fixed, cache = first.select_edges(weight), WeightCache(ScatteredWeight(values, pattern))
    with torch.no_grad():
        propagate_relu_product(other, x, w, other.select_edges(weight), v, cache=cache,
                               following=(first, fixed), constant=True)  # fmt: skip
        product(other.select_features(x), w, cache=cache)
    out = propagate(first.graph, first.select_features(x), w, fixed, cache=cache, constant=True)
    close(out, matrix_of(first.graph, fixed) @ (x.to_dense() @ w))
    with torch.no_grad():
        product(other.select_features(x), w, cache=cache)
    own = first.select_features(x)
    close(product(own, w, cache=cache), own.to_dense() @ w)


def test_what_was_kept_of_other_weights_or_features_is_not_used():
    x, weight = sparse_features(doubles(5, 12, density=0.4)), doubles(5, seed=4)
    other, twice = Features(x.graph, -x.values), 2 * weight
    for features, values in ((x, weight), (x, twice), (other, twice)):
        through = aggregate(SHORT, values, features)
        close(through.to_dense(), matrix_of(SHORT, values) @ features.to_dense())


@pytest.mark.parametrize("p", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("d", "classes"), [(5, 3), (130, 7), (512, 15), (40, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_relu_dropout_and_a_product_are_one_bit_for_bit(dtype, d, classes, p):
    draw = torch.Generator().manual_seed(d)
    x = torch.randn(33, d, generator=draw, dtype=dtype)
    w = torch.randn(d, classes, generator=draw, dtype=dtype)
    found = []
    for run in (
        lambda x, w: relu_dropout_product(x, w, p),
        lambda x, w: product(relu_dropout(x, p), w),
    ):
        torch.manual_seed(0)
        own = leaves(x, w)
        out = run(*own)
        found.append([out, *pull(out, own)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert (found[0][1] == 0).float().mean() >= p / 2, "nothing was left out"
