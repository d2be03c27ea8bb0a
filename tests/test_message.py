"""The kernel against dense matrices: values, gradients, absent edges, memory, errors."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.caching import IndexDataCacheFile
from toys import Largest

from graphlth.sparse.dropout import relu_dropout
from graphlth.sparse.graph import Features, Graph, Places, Sum, sparse_features
from graphlth.sparse.kernels import _vector
from graphlth.sparse.kernels._compiled import Files
from graphlth.sparse.kernels._memory import LINE, PACKED, cache_size, fresh
from graphlth.sparse.kernels._threads import together
from graphlth.sparse.kernels._vector import exp, load, store
from graphlth.sparse.kernels.numba import sums_at
from graphlth.sparse.message import (
    attention,
    blank,
    convolve,
    degree,
    edge_softmax,
    normalise,
    product,
    propagate,
    put,
    relu_dropout_product,
    relu_product,
    spread,
    weighted_mean,
    weighted_softmax,
    weighted_sum,
)

BACKENDS = [
    "numba",
    "sparse",
    pytest.param("scatter", marks=pytest.mark.filterwarnings("default::DeprecationWarning")),
    "reference",
]
packs = pytest.mark.skipif(not PACKED, reason="the processor cannot move lanes together")
OPS = ["sum", "mean", "softmax"]
HEADS = [None, 1, 3]
few = settings(max_examples=25, deadline=None, derandomize=True)


def aggregate(op, graph, x, logits, weight, backend):
    if op == "softmax":
        return weighted_softmax(graph, x, logits, weight, backend=backend)
    return {"sum": weighted_sum, "mean": weighted_mean}[op](graph, x, weight, backend=backend)


def oracle(op, graph, x, logits, weight):
    """The same from one-hot matrices [nodes, E]; every edge is one column."""
    source, target = graph.edge_index
    gather = torch.eye(graph.num_sources, dtype=x.dtype)[source]  # [E, S]
    add = torch.eye(graph.num_nodes, dtype=x.dtype)[target].T  # [T, E]
    per_head = x if x.dim() == 3 else x.unsqueeze(1)  # [S, H, d]
    w = weight if weight is not None else x.new_ones(graph.num_edges)
    w = w if w.dim() == 2 else w.unsqueeze(1).expand(-1, per_head.size(1))  # [E, H]
    if op == "softmax":
        w = w * (logits if logits.dim() == 2 else logits.unsqueeze(1)).exp()
    if op != "sum":
        total = add @ w
        w = w / torch.where(total > 0, total, 1)[target]
    message = torch.einsum("es,shd->ehd", gather, per_head) * w.unsqueeze(-1)
    return torch.einsum("te,ehd->thd", add, message).reshape(graph.num_nodes, *x.shape[1:])


@st.composite
def cases(draw, heads=None):
    """A graph (loops, duplicates, isolated nodes, no edges; bipartite too) and its values."""
    sources, targets = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    ends = st.tuples(st.integers(0, sources - 1), st.integers(0, targets - 1))
    edges = draw(st.lists(ends, max_size=14))
    edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T
    graph = Graph(edge_index, (sources, targets))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    channels = (draw(st.integers(1, 4)),) if heads is None else (heads, draw(st.integers(1, 3)))
    per_edge = (len(edges),) if heads is None or draw(st.booleans()) else (len(edges), heads)
    logits_shape = (len(edges),) if heads is None else (len(edges), heads)
    x = torch.randn(sources, *channels, generator=random, dtype=torch.float64)
    logits = 3 * torch.randn(logits_shape, generator=random, dtype=torch.float64)
    weight = 2 * torch.rand(per_edge, generator=random, dtype=torch.float64) + 0.01
    kept = torch.rand(len(edges), generator=random) < draw(st.sampled_from([0.0, 0.5, 0.9]))
    return graph, x, logits, weight, kept, random


def leaves(*tensors):
    return [None if t is None else t.clone().requires_grad_() for t in tensors]


def pull(out, tensors, random_seed=3):
    """The gradients of a random functional of `out`; 0 where there is none."""
    pick = torch.randn(out.shape, generator=torch.Generator().manual_seed(random_seed)).to(out)
    loss = (out * pick).sum()
    if not loss.requires_grad:
        return [torch.zeros_like(t) for t in tensors]
    grads = torch.autograd.grad(loss, tensors, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(grads, tensors, strict=True)]


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("op", OPS)
def test_values_and_gradients_are_those_of_the_dense_matrix(op, heads, backend):
    @few
    @given(cases(heads))
    def check(case):
        graph, x, logits, weight, _, _ = case
        ours, theirs = leaves(x, logits, weight), leaves(x, logits, weight)
        out = aggregate(op, graph, *ours, backend)
        expected = oracle(op, graph, *theirs)
        close(out, expected)
        for a, b in zip(pull(out, ours), pull(expected, theirs), strict=True):
            close(a, b)

    check()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("op", OPS)
def test_without_a_weight_every_edge_counts_once(op, heads, backend):
    @few
    @given(cases(heads))
    def check(case):
        graph, x, logits, _, _, _ = case
        ours, theirs = leaves(x, logits), leaves(x, logits)
        out = aggregate(op, graph, *ours, None, backend)
        expected = oracle(op, graph, *theirs, None)
        close(out, expected)
        for a, b in zip(pull(out, ours), pull(expected, theirs), strict=True):
            close(a, b)

    check()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("op", OPS)
def test_a_zero_weight_is_an_absent_edge(op, heads, backend):
    @few
    @given(cases(heads), st.sampled_from([0.0, 90.0, 1e4, 1e300]))
    def check(case, extreme):
        graph, x, logits, weight, kept, _ = case
        weight[~kept] = 0
        logits[~kept] += extreme  # an absent edge may have any logit
        whole, cut = leaves(x, logits, weight), leaves(x, logits[kept], weight[kept])
        out = aggregate(op, graph, *whole, backend)
        expected = aggregate(op, graph.subgraph(kept), *cut, backend)
        close(out, expected)
        by_x, by_logits, by_weight = pull(out, whole)
        cut_x, cut_logits, cut_weight = pull(expected, cut)
        close(by_x, cut_x)
        close(by_logits[kept], cut_logits)
        close(by_weight[kept], cut_weight)
        assert by_weight.isfinite().all()
        assert not by_logits[~kept].any()

    check()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_huge_logit_on_an_absent_edge_moves_nothing(dtype, backend):
    graph = Graph(torch.tensor([[0, 1, 2, 0], [0, 0, 0, 1]]), 3)
    x, logits, weight = leaves(
        torch.tensor([[1.0], [2.0], [4.0]], dtype=dtype),
        torch.tensor([0.0, 0.0, torch.finfo(dtype).max, 1e30], dtype=dtype),
        torch.tensor([1.0, 3.0, 0.0, 0.0], dtype=dtype),
    )
    out = weighted_softmax(graph, x, logits, weight, backend=backend)
    assert out.flatten().tolist() == [1.75, 0, 0]  # (1 · 1 + 3 · 2) / 4; node 1 has no edge left
    for gradient in torch.autograd.grad(out.square().sum(), (x, logits, weight)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shift", [-1e5, -800.0, 800.0, 1e5])
def test_attention_does_not_depend_on_the_height_of_the_logits(shift, backend):
    graph = Graph(torch.tensor([[0, 1, 2, 0], [0, 0, 0, 1]]), 3)
    logits = torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64)
    weight = torch.tensor([1.0, 0.3, 1e-6, 0.5], dtype=torch.float64)
    low = edge_softmax(graph, logits, weight, backend=backend)
    torch.testing.assert_close(edge_softmax(graph, logits + shift, weight, backend=backend), low)
    assert low[:3].sum().item() == pytest.approx(1)
    assert low[3].item() == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("heads", [None, 2])
@pytest.mark.parametrize("op", OPS)
def test_gradcheck(op, heads, backend):
    edge_index = torch.tensor([[0, 1, 1, 3, 2, 2, 4, 0], [1, 0, 0, 3, 3, 1, 1, 1]])
    graph, draw = Graph(edge_index, 5), torch.Generator().manual_seed(0)
    per_edge = (8,) if heads is None else (8, heads)
    x = torch.randn(5, *(() if heads is None else (heads,)), 2, generator=draw, dtype=torch.float64)
    logits = torch.randn(per_edge, generator=draw, dtype=torch.float64)
    weight = torch.rand(per_edge, generator=draw, dtype=torch.float64) + 0.2
    weight[0] = 0  # an absent edge has a gradient too
    inputs = leaves(x, logits, weight)
    assert torch.autograd.gradcheck(
        lambda x, logits, weight: aggregate(op, graph, x, logits, weight, backend),
        inputs if op == "softmax" else [inputs[0], logits, inputs[2]],
    )


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("heads", [None, 4])
@pytest.mark.parametrize("backend", BACKENDS[:3])
def test_backends_agree_in_single_precision(backend, heads, op):
    draw = torch.Generator().manual_seed(1)
    graph = Graph(torch.randint(0, 200, (2, 3000), generator=draw), 220)
    channels = (8,) if heads is None else (heads, 8)
    per_edge = (3000,) if heads is None else (3000, heads)
    x = torch.randn(220, *channels, generator=draw)
    logits, weight = torch.randn(per_edge, generator=draw), torch.rand(per_edge, generator=draw)
    ours, plain = leaves(x, logits, weight), leaves(x, logits, weight)
    out, expected = (
        aggregate(op, graph, *ours, backend),
        aggregate(op, graph, *plain, "reference"),
    )
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
    for a, b in zip(pull(out, ours), pull(expected, plain), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize("installed", [True, False])
def test_auto_takes_half_precision_with_and_without_torch_scatter(installed, monkeypatch):
    if not installed:
        monkeypatch.setattr("graphlth.sparse.message.find_spec", lambda name: None)
        monkeypatch.setitem(sys.modules, "torch_scatter", None)
    graph = Graph(torch.tensor([[0, 1, 2], [1, 1, 0]]), 3)
    x, weight = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1.0, 0.5, 2.0])
    out = weighted_sum(graph, x.bfloat16(), weight.bfloat16())
    assert out.dtype == torch.bfloat16
    assert out.flatten().tolist() == [8, 2, 0]


def test_a_backend_that_is_not_installed_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_scatter", None)
    monkeypatch.delitem(sys.modules, "graphlth.sparse.kernels.scatter", raising=False)
    with pytest.raises(ValueError, match=r"`backend` 'scatter' needs torch-scatter"):
        weighted_sum(Graph(torch.tensor([[0], [0]]), 1), torch.ones(1, 1), backend="scatter")


@pytest.mark.parametrize("side", ["in", "out"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_edges_are_normalised_by_the_degrees_of_both_ends(backend, side):
    source, target = torch.tensor([[0, 1, 2, 2, 0, 3, 0, 1], [1, 2, 0, 1, 3, 1, 0, 1]])
    graph = Graph(torch.stack([source, target]), 5)
    given = torch.tensor([0.5, 0.0, 2.0, 1.0, 3.0, 0.0], dtype=torch.float64)  # the others: once
    ours, theirs = leaves(given, given)
    w = torch.cat([theirs, theirs.new_ones(2)])
    dense = w.new_zeros(5, 5).index_put((target, source), w, accumulate=True)
    d = dense.sum(1) if side == "in" else dense.sum(0)
    root = torch.where(d > 0, d, 1).rsqrt() * (d > 0)
    found = normalise(graph, ours, side=side, backend=backend)
    expected = root[source] * w * root[target]
    assert found.count_nonzero() == {"in": 4, "out": 5}[side]
    close(found, expected)
    for a, b in zip(pull(found, [ours]), pull(expected, [theirs]), strict=True):
        close(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_degree_is_the_sum_of_the_weights_into_a_node(backend):
    graph = Graph(torch.tensor([[0, 0, 1, 2], [1, 1, 1, 0]]), 4)
    weight = torch.tensor([0.5, 0.25, 0.0, 2.0])
    of = {"dtype": torch.float32, "backend": backend}
    assert degree(graph, weight, **of).tolist() == [2, 0.75, 0, 0]
    assert degree(graph, **of).tolist() == [1, 3, 0, 0]
    both = degree(graph, torch.stack([weight, 2 * weight], dim=1), **of)
    assert both.tolist() == [[2, 4], [0.75, 1.5], [0, 0], [0, 0]]


def largest_block(run):
    """The bytes of the largest single allocation in `run()`, those inside operators included."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    events = profile.profiler.kineto_results.events()
    return max(e.nbytes() for e in events if e.name() == "[memory]")


@pytest.mark.parametrize("heads", [None, 2])
@pytest.mark.parametrize("op", OPS)
def test_the_sparse_backend_makes_no_tensor_of_edges_by_channels(op, heads):
    num_nodes, num_edges, d, h = 300, 8000, 48, heads or 1
    draw = torch.Generator().manual_seed(0)
    graph = Graph(torch.randint(0, num_nodes, (2, num_edges), generator=draw), num_nodes)
    per_edge = (num_edges,) if heads is None else (num_edges, heads)
    x = torch.randn(num_nodes, *(() if heads is None else (heads,)), d, generator=draw)
    logits, weight = torch.randn(per_edge, generator=draw), torch.rand(per_edge, generator=draw)

    def step(backend):
        ours = leaves(x, logits, weight)
        pull(aggregate(op, graph, *ours, backend), ours)

    most = {}
    for backend in ("sparse", "reference"):
        with Largest() as seen:
            step(backend)
        most[backend] = seen.numel, largest_block(lambda backend=backend: step(backend))
    allowed = 4 * num_edges * h  # elements; 2 for each end of an edge and some room
    assert allowed < (num_nodes * h) ** 2
    assert allowed < num_edges * h * d / 8
    assert most["reference"] >= (num_edges * h * d, 4 * num_edges * h * d)  # this would be seen
    assert most["sparse"][0] <= allowed
    assert most["sparse"][1] <= 8 * allowed  # bytes; indices have 8


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


def doubles(*shape, seed=2, density=1.0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=draw, dtype=torch.float64)
    return x * (torch.rand(*shape, generator=draw) < density)


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


def matrix_of(graph, weight):
    a = weight.new_zeros(graph.num_nodes, graph.num_sources)
    return a.index_put(tuple(graph.edge_index.flip(0)), weight, accumulate=True)


AHEAD = Graph(torch.tensor([[0, 4, 1, 1, 2], [1, 1, 0, 0, 2]]), (5, 4))
CROWDED = Graph(torch.cartesian_prod(torch.arange(5), torch.arange(4)).T, (5, 4))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(("graph", "short"), [(AHEAD, True), (CROWDED, False)])
@pytest.mark.parametrize("known", [True, False])
def test_a_layer_of_features_is_two_products(known, graph, short, constant, backend):
    """Also where the gradient goes through the features of the neighbours."""
    x = doubles(5, 12, density=0.4)
    w, weight = leaves(doubles(12, 3, seed=3), doubles(graph.num_edges, seed=4))
    weight.requires_grad_(not constant)
    features, asked = sparse_features(x), [w] if constant else [w, weight]
    for _ in range(2):  # what is kept serves the second call
        if known:
            with torch.no_grad():
                product(features, w, backend=backend)
        out = propagate(graph, features, w, weight, fixed=True, backend=backend)
        expected = matrix_of(graph, weight) @ (x @ w)
        close(out, expected)
        for a, b in zip(pull(out, asked), pull(expected, asked), strict=True):
            close(a, b)
    if constant:
        ahead = graph.ahead(weight, features)
        assert (ahead is not None) == short
        assert graph.ahead(weight, features) is ahead
        if short:
            close(ahead.to_dense(), matrix_of(graph, weight) @ x)


RING = torch.arange(40)
RING = Graph(torch.stack([torch.cat([RING, RING]), torch.cat([RING, (RING + 1) % 40])]), 40)


def layer_of(width, share, dtype=torch.float64):
    """Features, two matrices and edge weights; of the first matrix a share is spread."""
    x = sparse_features(doubles(40, 30, density=0.2).to(dtype))
    v, weight = doubles(width, 5, seed=4).to(dtype), doubles(80, seed=5).to(dtype)
    drawn = torch.rand(30 * width, generator=torch.Generator().manual_seed(6)) < share
    places = Places(drawn.nonzero().squeeze(1), torch.Size([30, width]))
    values = doubles(places.index.numel(), seed=7).to(dtype).requires_grad_()
    return x, v, weight, values, places


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
    x, v, weight, values, places = layer_of(width, share=0.3)
    first, _ = RING.blocks(2, torch.arange(6))  # of the step
    whole, _ = RING.blocks(2, torch.arange(20))  # of the evaluation
    fixed = first.of_edges(weight)

    def step(w):
        own = first.of_features(x)
        return propagate(first.graph, own, w, fixed, fixed=True, backend=backend)

    def spread_anew():
        return spread(values, places, blank(torch.empty(30, width, dtype=torch.float64)))

    expected = step(spread_anew())
    to_values = pull(expected, [values])[0]
    w = spread_anew()
    with torch.no_grad():
        out = convolve(whole, x, w, whole.of_edges(weight), v, following=(first, fixed),
                       fixed=True, backend=backend)  # fmt: skip
        hidden = matrix_of(whole.graph, whole.of_edges(weight)) @ (x.to_dense() @ w)
        close(out, hidden.relu() @ v)
    kept = step(w)
    assert torch.equal(kept, expected)
    close(pull(kept, [values])[0], to_values)
    plain = torch.zeros(30 * width, dtype=torch.float64).index_put((places.index,), values)
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
    monkeypatch.setattr("graphlth.sparse.kernels.numba.HELD", held)
    monkeypatch.setattr("graphlth.sparse.kernels.numba.SHARED", 0)
    monkeypatch.setattr("graphlth.sparse.kernels.numba.CACHE", 0 if large else 1 << 20)
    torch.set_num_threads(threads)
    try:
        for width in (1, 64, 65, 130, 256):
            x, _, weight, values, places = layer_of(width, share=0.3, dtype=dtype)
            zeros, w = torch.zeros(30, width, dtype=dtype), doubles(30, width, seed=8).to(dtype)
            found, expected = (leaves(values if few else w, weight) for _ in range(2))
            own = spread(found[0], places, zeros.clone()) if few else found[0]
            at = places.index // width, places.index % width
            whole = zeros.index_put(at, expected[0]) if few else expected[0]
            outs = [
                propagate(RING, x, own, found[1]),
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
    first, _ = RING.blocks(2, torch.arange(6))
    whole, _ = RING.blocks(2, torch.arange(20))
    w = doubles(30, width, seed=8).requires_grad_()
    soft = first.of_edges(weight).requires_grad_()

    def step():
        out = propagate(first.graph, first.of_features(x), w, soft, backend=backend)
        return out, *pull(out, [w, soft])

    expected = step()
    last = weight.clone()
    if moved:
        last[0] += 1
    with torch.no_grad():
        out = convolve(whole, x, w, whole.of_edges(last), v,
                       following=(first, first.of_edges(last)), backend=backend)  # fmt: skip
        hidden = matrix_of(whole.graph, whole.of_edges(last)) @ (x.to_dense() @ w)
        close(out, hidden.relu() @ v)
    assert x._known, "nothing was kept"
    seen, over = [], Sum.over
    monkeypatch.setattr(Sum, "over", lambda *args: seen.append(over(*args)) or seen[-1])
    for one, other in zip(step(), expected, strict=True):
        assert torch.equal(one, other)
    assert not x._known, "what was kept was not used"
    if backend == "numba":
        assert [sum_ is None for sum_ in seen] == [moved]


@pytest.mark.parametrize("width", [96, 130])
def test_an_evaluation_reads_a_part_of_a_larger_matrix_as_it_is(width):
    """Whose other columns are none of its padding."""
    x, v, weight, *_ = layer_of(width, share=0.3)
    first, _ = RING.blocks(2, torch.arange(6))
    whole, _ = RING.blocks(2, torch.arange(20))
    w = torch.full((30, 400), torch.nan, dtype=torch.float64)[:, 7 : 7 + width]
    w.copy_(doubles(30, width, seed=8)).requires_grad_()
    fixed = first.of_edges(weight)
    with torch.no_grad():
        out = convolve(whole, x, w, whole.of_edges(weight), v, following=(first, fixed), fixed=True)
        hidden = matrix_of(whole.graph, whole.of_edges(weight)) @ (x.to_dense() @ w)
        close(out, hidden.relu() @ v)


@pytest.mark.parametrize("columns", [0, 1, 6, 7, 8, 9, 15])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("nodes", [20, 21])
def test_an_evaluation_takes_a_next_matrix_of_any_few_columns(nodes, rows, columns, monkeypatch):
    """However many rows are multiplied at a time."""
    monkeypatch.setattr("graphlth.sparse.kernels._strips.ROWS", rows)
    x, _, weight, *_ = layer_of(96, share=0.3)
    first, _ = RING.blocks(2, torch.arange(6))
    whole, _ = RING.blocks(2, torch.arange(nodes))
    w, v = doubles(30, 96, seed=8), doubles(96, columns, seed=9)
    with torch.no_grad():
        out = convolve(whole, x, w, whole.of_edges(weight), v,
                       following=(first, first.of_edges(weight)))  # fmt: skip
        hidden = matrix_of(whole.graph, whole.of_edges(weight)) @ (x.to_dense() @ w)
        close(out, hidden.relu() @ v)
    assert out.is_contiguous()


def test_an_evaluation_of_other_nodes_keeps_nothing_for_a_step():
    """Neither A x W nor x W of nodes that it has not computed."""
    x, v, weight, values, places = layer_of(8, share=0.3)
    first, _ = RING.blocks(2, torch.arange(6))
    other, _ = RING.blocks(2, torch.arange(20, 26))
    w = spread(values, places, torch.zeros(30, 8, dtype=torch.float64))
    fixed = first.of_edges(weight)
    with torch.no_grad():
        convolve(other, x, w, other.of_edges(weight), v, following=(first, fixed), fixed=True)
        product(other.of_features(x), w)
    out = propagate(first.graph, first.of_features(x), w, fixed, fixed=True)
    close(out, matrix_of(first.graph, fixed) @ (x.to_dense() @ w))
    close(product(first.of_features(x), w), first.of_features(x).to_dense() @ w)


def test_what_was_kept_of_other_weights_or_features_is_not_used():
    x, weight = sparse_features(doubles(5, 12, density=0.4)), doubles(5, seed=4)
    other, twice = Features(x.graph, -x.values), 2 * weight
    for features, values in ((x, weight), (x, twice), (other, twice)):
        ahead = AHEAD.ahead(values, features)
        close(ahead.to_dense(), matrix_of(AHEAD, values) @ features.to_dense())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_spread_weight_is_a_masked_one_whose_dead_features_are_not_read(backend):
    x, mask = doubles(9, 12, density=0.5), torch.zeros(12, 3, dtype=torch.float64)
    mask[2, 1] = mask[7] = 1
    places = Places(mask.view(-1).nonzero().squeeze(1), mask.shape)
    (values,) = leaves(doubles(4, seed=5))
    features = sparse_features(x)
    assert places.read(features).graph.edge_index[0].unique().tolist() == [2, 7]
    assert places.read(features) is places.read(features)
    for each in (features, Features(features.graph, 2 * features.values)):  # as dropout makes
        w = spread(values, places, torch.zeros(12, 3, dtype=torch.float64))
        out = product(each, w, backend=backend)
        plain = torch.zeros(36, dtype=torch.float64).index_put((places.index,), values)
        expected = each.to_dense() @ plain.view(12, 3)
        close(out, expected)
        close(pull(out, [values])[0], pull(expected, [values])[0])


def test_features_that_are_all_read_stay():
    x, every = sparse_features(doubles(5, 4, density=0.5)), torch.arange(0, 12, 3)
    assert Places(every, torch.Size([4, 3])).read(x) is x


E3 = torch.tensor([[0, 1, 2], [1, 2, 0]])
BAD = [  # call, message
    (lambda g: weighted_sum(g, torch.ones(4, 2)), r"`x` must have shape \[3, d\].*got \[4, 2\]"),
    (lambda g: weighted_sum(g, torch.ones(3)), r"`x` must have shape \[3, d\].*got \[3\]"),
    (lambda g: weighted_sum(g, torch.ones(3, 1, 1, 1)), r"`x` must have shape .*got"),
    (lambda g: weighted_sum(g, torch.ones(3, 2), torch.ones(4)), r"`weight` .*\[3\].*got \[4\]"),
    (lambda g: weighted_sum(g, torch.ones(3, 2), torch.ones(3, 2)), r"`weight` .*got \[3, 2\]"),
    (lambda g: weighted_sum(g, torch.ones(3, 2, 5), torch.ones(3, 4)), r"`weight` .*got \[3, 4\]"),
    (lambda g: weighted_mean(g, torch.ones(3, 2), torch.ones(2)), r"`weight` .*got \[2\]"),
    (lambda g: weighted_mean(g, torch.ones(2, 2)), r"`x` must have shape .*got \[2, 2\]"),
    (
        lambda g: weighted_softmax(g, torch.ones(3, 2), torch.ones(4)),
        r"`logits` .*\[3\].*got \[4\]",
    ),
    (
        lambda g: weighted_softmax(g, torch.ones(3, 2), torch.ones(3, 2, 2)),
        r"`logits` .*got \[3, 2, 2\]",
    ),
    (
        lambda g: weighted_softmax(g, torch.ones(3, 2), torch.ones(3), torch.ones(4)),
        r"`weight` .*got \[4\]",
    ),
    (
        lambda g: weighted_softmax(g, torch.ones(3, 2, 2), torch.ones(3, 3)),
        r"got \[3, 3\]",
    ),
    (lambda g: normalise(g, torch.ones(4)), r"`weight` must have shape \[up to 3\], got \[4\]"),
    (lambda g: normalise(g, torch.ones(3), side="both"), r"`side` must be in or out, got 'both'"),
    (
        lambda g: normalise(Graph(g.edge_index, (4, 3)), torch.ones(3)),
        r"`graph` must have as many sources as targets, got \(4, 3\)",
    ),
    (
        lambda g: weighted_sum(g, torch.ones(3, 2), backend="cuda"),
        r"`backend` must be one of auto, numba, triton, sparse, scatter, reference, got 'cuda'",
    ),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_a_wrong_argument_is_named_in_one_line(wrong, message):
    with pytest.raises(ValueError, match=message) as caught:
        wrong(Graph(E3, 3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_attention_is_a_softmax_of_scores(backend):
    @few
    @given(cases(heads=2), st.booleans(), st.booleans())
    def check(case, weighted, dropped):
        graph, x, _, weight, _, random = case
        weight = weight if weight.dim() == 1 else weight[:, 0]
        sent = torch.randn(graph.num_sources, 2, generator=random, dtype=torch.float64)
        received = torch.randn(graph.num_nodes, 2, generator=random, dtype=torch.float64)
        keep = torch.rand(graph.num_edges, 2, generator=random).round().double() * 2
        keep = keep if dropped else None
        ours, theirs = leaves(x, sent, received, weight), leaves(x, sent, received, weight)
        pair = {"backend": backend}
        out = attention(graph, *ours[:3], ours[3] if weighted else None, keep, **pair)
        source, target = graph.edge_index
        logits = torch.nn.functional.leaky_relu(theirs[1][source] + theirs[2][target], 0.2)
        alpha = edge_softmax(graph, logits, theirs[3] if weighted else None, backend="reference")
        alpha = alpha if keep is None else alpha * keep
        expected = weighted_sum(graph, theirs[0], alpha, backend="reference")
        close(out, expected)
        for a, b in zip(pull(out, ours), pull(expected, theirs), strict=True):
            close(a, b)

    check()


@pytest.mark.parametrize("backend", BACKENDS)
def test_attention_leaves_an_absent_edge_out(backend):
    graph = Graph(torch.tensor([[0, 1, 2, 0], [0, 0, 0, 1]]), 3)
    draw = torch.Generator().manual_seed(0)
    x, sent = torch.randn(3, 2, 4, generator=draw), 50 * torch.randn(3, 2, generator=draw)
    received = torch.randn(3, 2, generator=draw)
    weight = torch.tensor([0.5, 0.0, 2.0, 0.0])
    hard = graph.subgraph(weight > 0)
    ours, theirs = leaves(x, sent, received, weight), leaves(x, sent, received, weight[weight > 0])
    out = attention(graph, *ours, backend=backend)
    expected = attention(hard, *theirs, backend="reference")
    torch.testing.assert_close(out, expected)
    assert out[1].abs().max() == out[2].abs().max() == 0  # no edge is left
    grads, wanted = pull(out, ours), pull(expected, theirs)
    for a, b in zip(grads[:3], wanted[:3], strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(grads[3][weight > 0], wanted[3])
    assert all(g.isfinite().all() for g in grads)


@pytest.mark.parametrize(("dtype", "low"), [(np.float32, -87), (np.float64, -708)])
def test_an_exponential_is_exact_to_the_last_digit(dtype, low):
    @njit
    def exponentials(x, out):
        for i in range(0, x.size, 8):
            store(out, i, 8, exp(load(x, i, 8, 8)))

    x = np.concatenate([np.linspace(low, 80, 40_000), [0, 1, low - 1, -np.inf, np.nan, 0, 0, 0]])
    x = x.astype(dtype)
    out, expected = np.empty_like(x), np.exp(x.astype(np.longdouble))
    exponentials(x, out)
    assert (abs(out - expected)[:-6] < np.spacing(expected[:-6].astype(dtype))).all()
    assert out[-8:].tolist() == [1, dtype(np.e), 0, 0, pytest.approx(np.nan, nan_ok=True), 1, 1, 1]


WIDE = [1, 7, 16, 40, 128, 200, 256]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("large", ["", "beyond one cache", "beyond two", "in parts"])
@pytest.mark.parametrize("held", [(128, 128), (512, 256)])
def test_any_width_is_summed_on_any_number_of_threads(held, large, threads, dtype, monkeypatch):
    for name, size in zip(("WIDE", "HELD"), held, strict=True):
        monkeypatch.setattr(
            f"graphlth.sparse.kernels.numba.{name}", size
        )  # as other processors do,
    monkeypatch.setattr("graphlth.sparse.kernels.numba.SHARED", 0)  # share out even small sums,
    monkeypatch.setattr(
        "graphlth.sparse.kernels.numba.NEAR", 2048 if large == "in parts" else 1 << 62
    )
    if large:
        monkeypatch.setattr("graphlth.sparse.kernels.numba.PART", 0)
        monkeypatch.setattr("graphlth.sparse.kernels.numba.FAR", 0)  # lay out even small strips,
        monkeypatch.setattr("graphlth.sparse.kernels.numba.CACHE", 0)
        monkeypatch.setattr(
            "graphlth.sparse.kernels._memory.CACHE", 0
        )  # and fetch even near rows ahead
        monkeypatch.setattr(
            "graphlth.sparse.kernels._memory.BEYOND", 0 if "two" in large else 1 << 62
        )
    draw = torch.Generator().manual_seed(0)
    graph = Graph(torch.randint(30, (2, 600), generator=draw), 33)
    torch.set_num_threads(threads)
    try:
        for d in WIDE:
            x = torch.randn(33, d, generator=draw, dtype=dtype)
            weight = torch.randn(600, generator=draw, dtype=dtype)
            narrow = torch.randn(d, 1 + d % 15, generator=draw, dtype=dtype)
            found, expected = (leaves(x, weight) for _ in range(2))
            outs = [
                weighted_sum(graph, *values, backend=backend)
                for values, backend in ((found, "numba"), (expected, "reference"))
            ]
            torch.testing.assert_close(*outs)
            for a, b in zip(pull(outs[0], found), pull(outs[1], expected), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
            ours, theirs = (leaves(x, narrow) for _ in range(2))
            outs = [product(*ours, backend="numba"), product(*theirs, backend="reference")]
            torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-4)
            for a, b in zip(pull(outs[0], ours), pull(outs[1], theirs), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
            with torch.no_grad():
                outs = [relu_product(graph, x, weight, narrow, backend=b)
                        for b in ("numba", "reference")]  # fmt: skip
            torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-3)
            heads = x.view(33, -1, 1) if d < 16 else x.view(33, -1, d // 8 or 1)[:, :2].contiguous()
            scores = torch.randn(33, heads.size(1), generator=draw, dtype=dtype)
            ours, theirs = (leaves(heads, scores, scores, weight.abs()) for _ in range(2))
            outs = [attention(graph, *ours, backend="numba"),
                    attention(graph, *theirs, backend="reference")]  # fmt: skip
            torch.testing.assert_close(*outs)
            for a, b in zip(pull(outs[0], ours), pull(outs[1], theirs), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
        assert bool(graph.by_target._cuts) == (large == "in parts")
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("width", [8, 200, 512])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sum_of_sums_has_the_gradients_of_the_reference(width, dtype):
    draw = torch.Generator().manual_seed(0)
    graph = Graph(torch.randint(30, (2, 200), generator=draw), 30)
    x = torch.randn(30, width, generator=draw, dtype=dtype)
    weight, grad = (torch.randn(n, generator=draw, dtype=dtype) for n in (200, 30 * width))
    found = {}
    for backend in ("numba", "reference"):
        a, b = leaves(x, weight)
        inner = weighted_sum(graph, a, b, backend=backend)
        weighted_sum(graph, inner, b, backend=backend).backward(grad.view(30, width))
        found[backend] = a.grad, b.grad
        assert a.grad.is_contiguous()
    for ours, theirs in zip(*found.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("places", [False, True])
def test_rows_may_lie_anywhere_in_memory(places):
    draw = torch.Generator().manual_seed(0)
    graph, weight = Graph(torch.randint(9, (2, 60), generator=draw), 9), torch.ones(60)
    whole = torch.randn(40, 40, generator=draw)
    for x in (whole[:9, 3:20], whole.t()[:9, :17], whole[:1, :17].expand(9, 17), whole[:18:2, :17]):
        assert not x.is_contiguous()
        expected = weighted_sum(graph, x, weight, backend="reference")
        found = weighted_sum(graph, x, weight, backend="numba")
        if places:
            whole_matrix = Places(torch.arange(9 * 17), torch.Size([9, 17]))
            found = sums_at(graph.by_target, x, weight, whole_matrix).view(9, 17)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_channels_give_edges_a_gradient_of_zero(backend):
    graph, weight = Graph(torch.tensor([[0, 1], [1, 2]]), 3), torch.ones(2, requires_grad=True)
    torch.full((2,), torch.nan)  # what fresh memory may hold
    out = weighted_sum(graph, torch.ones(3, 0, requires_grad=True), weight, backend=backend)
    out.sum().backward()
    assert out.shape == (3, 0) and weight.grad.tolist() == [0, 0]


@pytest.mark.parametrize("text, size", [("2048K\n", 1 << 21), ("many\n", 0), (None, 0)])
def test_the_size_of_a_cache_is_what_linux_tells_or_unknown(text, size, tmp_path):
    if text is not None:
        (tmp_path / "size").write_text(text)
    assert cache_size(str(tmp_path / "size")) == size


def test_parts_run_at_once_the_first_of_them_on_the_thread_that_asks():
    met, ran = threading.Barrier(3), []

    def part():
        met.wait(timeout=60)
        ran.append(threading.get_ident())

    together([part] * 3)
    assert len(set(ran)) == 3 and threading.get_ident() in ran


def test_a_part_that_fails_says_so_once_the_others_are_done():
    done = []

    def fails():
        raise ZeroDivisionError

    for parts in ([fails, lambda: done.append(1)], [lambda: done.append(1), fails]):
        with pytest.raises(ZeroDivisionError):
            together(parts)
    assert done == [1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_forked_process_has_threads_of_its_own():
    script = """
import os, signal
from graphlth.sparse.kernels._threads import together
together([int] * 3)
child = os.fork()
if not child:
    signal.alarm(30)
    together([int] * 3)
    os._exit(0)
raise SystemExit(os.waitpid(child, 0)[1])
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


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


def test_a_backend_says_what_it_needs(monkeypatch):
    graph = Graph(torch.tensor([[0], [0]]), 1)
    with pytest.raises(ValueError, match=r"'numba' needs float32 or float64 .* got torch.float16"):
        weighted_sum(graph, torch.ones(1, 1, dtype=torch.float16), backend="numba")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="`backend` 'triton' needs a CUDA device, got cpu"):
        weighted_sum(graph, torch.ones(1, 1), backend="triton")


@pytest.mark.parametrize("shape", [(3, 5), (1 << 10, 1 << 10), (0, 7), (1 << 21,)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16])
def test_fresh_memory_starts_at_a_cache_line_and_is_a_matrix_like_any_other(kind, shape):
    made = fresh(torch.empty(0, dtype=kind), *shape)
    assert (made.shape, made.dtype, made.is_contiguous()) == (shape, kind, True)
    assert made.data_ptr() % LINE == 0 or not made.numel()
    assert made.fill_(2).sum() == 2 * made.numel() or kind is torch.float16


COMPILED = """
import torch
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import attention, product, relu_product, weighted_sum
graph = Graph(torch.tensor([[0, 1, 2], [1, 2, 0]]), 3)
x, scores, weight = torch.ones(3, 2, 9), torch.ones(3, 2), torch.ones(3)
x = x.requires_grad_()
attention(graph, x, scores, scores, weight).sum().backward()
x = torch.ones(3, 9, requires_grad=True)
weighted_sum(graph, x, weight.requires_grad_()).sum().backward()
product(x, torch.ones(9, 3, requires_grad=True)).sum().backward()
with torch.no_grad():
    relu_product(graph, x, weight, torch.ones(9, 3))
"""


def test_another_process_finds_what_was_compiled(tmp_path):
    """Numba tells compiled functions apart by what they hold; a function in them differs."""
    kept = []
    for _ in range(2):
        env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", COMPILED], env=env, check=True)
        kept.append(set(tmp_path.rglob("*.nbc")))
    assert len(kept[0]) > 10
    assert kept[0] == kept[1]


def test_processes_that_compile_at_once_find_each_its_own(tmp_path, monkeypatch):
    met, write = threading.Barrier(2), IndexDataCacheFile._open_for_write

    def at_once(self, path):
        met.wait(timeout=60)
        return write(self, path)

    monkeypatch.setattr(IndexDataCacheFile, "_open_for_write", at_once)
    first, second = (Files(str(tmp_path), "sum", "stamp") for _ in range(2))
    together([lambda: first.save("int", 1), lambda: second.save("float", 2)])
    assert (first.load("int"), second.load("float")) == (1, 2)
    assert Files(str(tmp_path), "sum", "later").load("int") is None


def test_what_is_compiled_lasts_until_a_file_of_which_it_holds_parts_changes(tmp_path, monkeypatch):
    files = Files(str(tmp_path), "sum", "stamp")
    files.save("int", 1)
    files.save("float", 2)
    assert files.load("int") == 1
    monkeypatch.setattr("graphlth.sparse.kernels._compiled.STATE", "another")
    assert files.load("int") is None
    files.save("int", 3)
    assert files.load("int") == 3 and len([*tmp_path.iterdir()]) == 1, "the others are gone"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(7, 3), (5, 64), (4, 150), (1, 1), (40,), (3, 2, 5, 5)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_values_are_spread_over_any_tensor_and_their_gradients_taken(share, shape, dtype):
    kept = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < share
    places = Places(kept.view(-1).nonzero().squeeze(1), torch.Size(shape))
    [values] = leaves(doubles(places.index.numel(), seed=2).to(dtype))
    whole = spread(values, places, blank(torch.empty(shape, dtype=dtype)))
    expected = torch.zeros(shape, dtype=dtype).masked_scatter(kept, values.detach())
    assert torch.equal(whole, expected)
    slope = doubles(*shape, seed=3).to(dtype)
    for pulled in (slope, slope.transpose(0, -1).contiguous().transpose(0, -1)):
        [found] = torch.autograd.grad(whole, values, pulled, retain_graph=True)
        assert torch.equal(found, slope[kept])
    [found] = torch.autograd.grad(whole.sum(), values)
    assert torch.equal(found, torch.ones_like(values))


@pytest.mark.parametrize("above", [-0.5, 0.5, 1.5])
def test_values_are_put_where_they_belong_and_nowhere_else(above):
    whole = doubles(6, 70, seed=1)
    kept = whole > above
    places = Places(kept.view(-1).nonzero().squeeze(1), whole.shape)
    values = doubles(places.index.numel(), seed=2)
    for out in (whole.clone(), torch.cat([whole, whole], 1)[:, :70], whole[0].clone()):
        if out.dim() == 1:
            places = Places(kept[0].nonzero().squeeze(1), out.shape)
            values = values[: places.index.numel()]
        before, version = out.clone(), out._version
        put(values, places, out)
        assert torch.equal(out, before.masked_scatter(kept if out.dim() == 2 else kept[0], values))
        assert out._version > version, "what reads it would not know"


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("lanes", [8, 16, 32, 64])
@pytest.mark.parametrize("way", ["each", pytest.param("packed", marks=packs)])
def test_lanes_are_picked_by_bits_on_any_processor(way, lanes, dtype):
    pick = getattr(_vector, f"pick_{way}")

    @njit
    def picked(x, bits, out, at, near):
        pick(load(x, 3, lanes, lanes), bits, out, at, near)

    draw = np.random.default_rng(lanes)
    x, near = draw.random(lanes + 3).astype(dtype), np.empty(lanes, dtype)
    for share in (0.0, 0.2, 0.7, 1.0):
        chosen = draw.random(lanes) < share
        bits = np.uint64(sum(1 << int(i) for i in np.flatnonzero(chosen)))
        out = np.full(lanes + 4, -1, dtype)
        picked(x, bits, out, 2, near)
        end = 2 + chosen.sum()
        assert np.array_equal(out[2:end], x[3:][chosen])
        assert (out[:2] == -1).all() and (out[end:] == -1).all()
