"""The kernel against dense matrices: values, gradients, absent edges, memory, errors."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matrices import BACKENDS, close, leaves, pull, set_constant
from toys import Largest

from graphlth.models.graph._gcn_layers import relu_product
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import (
    attention,
    degree,
    edge_softmax,
    normalise,
    weighted_mean,
    weighted_softmax,
    weighted_sum,
)
from graphlth.sparse.products import product

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
        monkeypatch.setattr("graphlth.sparse.backend.find_spec", lambda name: None)
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


WIDE = [1, 7, 16, 40, 128, 200, 256]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("large", [
    "", pytest.param("beyond one cache", marks=pytest.mark.slow),
    pytest.param("beyond two", marks=pytest.mark.slow), "in parts",
])  # fmt: skip
@pytest.mark.parametrize("held", [(128, 128), (512, 256)])
def test_any_width_is_summed_on_any_number_of_threads(held, large, threads, dtype, monkeypatch):
    for name, size in zip(("WIDE", "HELD"), held, strict=True):
        set_constant(monkeypatch, name, size)  # as other processors do,
    set_constant(monkeypatch, "SHARED", 0)  # share out even small sums,
    set_constant(monkeypatch, "NEAR", 2048 if large == "in parts" else 1 << 62)
    if large:
        set_constant(monkeypatch, "PART", 0)
        set_constant(monkeypatch, "FAR", 0)  # lay out even small strips,
        set_constant(monkeypatch, "CACHE", 0)
        memory = "graphlth.sparse.kernels._memory"
        monkeypatch.setattr(f"{memory}.CACHE", 0)  # and fetch even near rows ahead
        monkeypatch.setattr(f"{memory}.BEYOND", 0 if "two" in large else 1 << 62)
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


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_channels_give_edges_a_gradient_of_zero(backend):
    graph, weight = Graph(torch.tensor([[0, 1], [1, 2]]), 3), torch.ones(2, requires_grad=True)
    torch.full((2,), torch.nan)  # what fresh memory may hold
    out = weighted_sum(graph, torch.ones(3, 0, requires_grad=True), weight, backend=backend)
    out.sum().backward()
    assert out.shape == (3, 0) and weight.grad.tolist() == [0, 0]


def test_a_backend_says_what_it_needs(monkeypatch):
    graph = Graph(torch.tensor([[0], [0]]), 1)
    with pytest.raises(ValueError, match=r"'numba' needs float32 or float64 .* got torch.float16"):
        weighted_sum(graph, torch.ones(1, 1, dtype=torch.float16), backend="numba")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="`backend` 'triton' needs a CUDA device, got cpu"):
        weighted_sum(graph, torch.ones(1, 1), backend="triton")
