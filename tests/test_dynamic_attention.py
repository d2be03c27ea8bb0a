"""GATv2's attention against dense matrices: values, gradients, absent edges, threads, errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matrices import BACKENDS, close, leaves, pull
from torch.nn.functional import leaky_relu

from graphlth.sparse.graph import Graph
from graphlth.sparse.message import dynamic_attention

SHAPES = [(1, 5), (2, 4), (3, 3)]
few = settings(max_examples=15, deadline=None, derandomize=True)


def oracle(graph, x, received, a, weight, keep, slope=0.2):
    """The same from one-hot matrices [nodes, E]; every edge is one column."""
    source, target = graph.edge_index
    gather = torch.eye(graph.num_sources, dtype=x.dtype)[source]  # [E, S]
    add = torch.eye(graph.num_nodes, dtype=x.dtype)[target].T  # [T, E]
    sent = torch.einsum("es,shd->ehd", gather, x)
    z = sent + torch.einsum("te,thd->ehd", add, received)
    share = torch.einsum("hd,ehd->eh", a, leaky_relu(z, slope)).exp()
    share = share if weight is None else weight.unsqueeze(1) * share
    total = add @ share
    alpha = share / torch.where(total > 0, total, 1)[target]
    alpha = alpha if keep is None else keep * alpha
    return torch.einsum("te,ehd->thd", add, alpha.unsqueeze(-1) * sent)


def random_case(sources, targets, ends, heads, d, seed=0, dtype=torch.float64):
    """A graph and `x`, `received`, `a`, `weight`, with what dropout keeps."""
    draw, e = torch.Generator().manual_seed(seed), len(ends)
    graph = Graph(torch.tensor(ends, dtype=torch.long).reshape(-1, 2).T, (sources, targets))
    shapes = [(sources, heads, d), (targets, heads, d), (heads, d)]
    values = [torch.randn(shape, generator=draw, dtype=dtype) for shape in shapes]
    weight = 2 * torch.rand(e, generator=draw, dtype=dtype) + 0.01
    keep = 2.0 * (torch.rand(e, heads, generator=draw) < 0.5).to(dtype)
    return graph, (*values, weight), keep, torch.rand(e, generator=draw)


@st.composite
def cases(draw):
    """Loops, duplicates, isolated nodes, no edges; bipartite too."""
    sources, targets = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    ends = st.tuples(st.integers(0, sources - 1), st.integers(0, targets - 1))
    edges = draw(st.lists(ends, max_size=14))
    seed = draw(st.integers(0, 2**31))
    return random_case(sources, targets, edges, *draw(st.sampled_from(SHAPES)), seed)


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_and_gradients_are_those_of_the_dense_matrix(backend):
    @few
    @given(cases(), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.2, 1.0]))
    def check(case, weighted, dropped, slope):
        graph, inputs, keep, _ = case
        inputs, keep = inputs if weighted else inputs[:3], keep if dropped else None
        ours, theirs = leaves(*inputs), leaves(*inputs)
        rest = () if weighted else (None,)
        out = dynamic_attention(graph, *ours, *rest, keep, slope=slope, backend=backend)
        expected = oracle(graph, *theirs, *rest, keep, slope)
        close(out, expected)
        for a, b in zip(pull(out, ours), pull(expected, theirs), strict=True):
            close(a, b)

    check()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_zero_weight_is_an_absent_edge(backend):
    @few
    @given(cases(), st.sampled_from([0.0, 0.5, 0.9]))
    def check(case, share):
        graph, (*values, weight), keep, chance = case
        kept = chance < share
        whole = leaves(*values, weight * kept)
        cut = leaves(*values, weight[kept])
        out = dynamic_attention(graph, *whole, keep, backend=backend)
        expected = dynamic_attention(graph.subgraph(kept), *cut, keep[kept], backend=backend)
        close(out, expected)
        *found, by_weight = pull(out, whole)
        *plain, cut_weight = pull(expected, cut)
        for a, b in zip(found, plain, strict=True):
            close(a, b)
        close(by_weight[kept], cut_weight)
        assert by_weight.isfinite().all()

    check()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend):
    ends = [(0, 1), (1, 0), (1, 0), (3, 3), (2, 3), (2, 1), (4, 1), (0, 1)]
    graph, inputs, keep, _ = random_case(5, 5, ends, 2, 3)
    inputs[-1][0] = 0  # an absent edge has a gradient too
    assert torch.autograd.gradcheck(
        lambda *t: dynamic_attention(graph, *t, keep, backend=backend), leaves(*inputs)
    )


@pytest.mark.parametrize("backend", ["numba", "sparse"])
@pytest.mark.parametrize(("heads", "d"), [(8, 8), (1, 64), (3, 20), (1, 200)])
def test_backends_agree_in_single_precision(heads, d, backend):
    ends = torch.randint(0, 60, (500, 2), generator=torch.Generator().manual_seed(1)).tolist()
    graph, inputs, keep, _ = random_case(60, 61, ends, heads, d, dtype=torch.float32)
    inputs[2].div_(d**0.5)
    ours, plain = leaves(*inputs), leaves(*inputs)
    out = dynamic_attention(graph, *ours, keep, backend=backend)
    expected = dynamic_attention(graph, *plain, keep, backend="reference")
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
    for a, b in zip(pull(out, ours), pull(expected, plain), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_threads_change_no_digit(monkeypatch):
    monkeypatch.setattr("graphlth.sparse.kernels._arrays.SHARED", 0)
    ends = torch.randint(0, 40, (300, 2), generator=torch.Generator().manual_seed(2)).tolist()
    graph, inputs, keep, _ = random_case(40, 40, ends, 2, 8)
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        given_leaves = leaves(*inputs)
        out = dynamic_attention(graph, *given_leaves, keep, backend="numba")
        found.append([out, *pull(out, given_leaves)])
    torch.set_num_threads(before)
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_each_of_several_at_once_is_that_one_alone():
    graph, (x, received, a, weight), _, _ = random_case(4, 4, [(0, 1), (1, 2), (3, 2)], 2, 3)
    masks = torch.stack([weight, weight * torch.tensor([1.0, 0, 1])])
    together = torch.vmap(lambda m: dynamic_attention(graph, x, received, a, m))(masks)
    for mask, out in zip(masks, together, strict=True):
        close(out, dynamic_attention(graph, x, received, a, mask))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("x", "[N, heads, d]"), ("received", "[3, 2, 4]"), ("a", "[2, 4]"), ("keep", "[1, 2]")],
)
def test_what_does_not_fit_is_refused_by_its_name(name, shape):
    graph = Graph(torch.tensor([[0], [1]]), 3)
    given_values = {
        "x": torch.zeros(3, 2, 4), "received": torch.zeros(3, 2, 4), "a": torch.zeros(2, 4),
        "keep": torch.zeros(1, 2),
    }  # fmt: skip
    given_values[name] = torch.zeros(1)
    with pytest.raises(ValueError, match=rf"`{name}` must have shape ") as error:
        dynamic_attention(graph, **given_values)
    assert shape in str(error.value)
