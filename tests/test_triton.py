"""The Triton kernels against one-hot matrices, on a CUDA device or in Triton's interpreter."""

import importlib
import os
import subprocess
import sys

import torch

# Read when triton is first imported.
os.environ["TRITON_INTERPRET"] = "0" if torch.cuda.is_available() else "1"

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Largest

from graphlth.sparse.graph import Graph
from graphlth.sparse.message import edge_softmax

pytest.importorskip("triton")
from graphlth.sparse.kernels.reference import BACKEND as REFERENCE
from graphlth.sparse.kernels.triton import BACKEND

attention, weighted_sum = BACKEND.attention, BACKEND.weighted_sum
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")]
pytestmark += [pytest.mark.gpu] if DEVICE == "cuda" else []
few = settings(max_examples=20, deadline=None, derandomize=True)


def gathers(graph):
    """One-hot matrices [S, E] and [T, E] in double precision; every edge is one column."""
    source, target = graph.edge_index
    eyes = [torch.eye(n, dtype=torch.float64, device=graph.device) for n in graph.size]
    return eyes[0][:, source], eyes[1][:, target]


def dense_sum(graph, x, weight=None):
    source, target = gathers(graph)
    weight = torch.ones(graph.num_edges).to(x) if weight is None else weight
    return (target * weight) @ source.T @ x


def dense_attention(graph, x, sent, received, weight=None, keep=None, slope=0.2):
    source, target = gathers(graph)
    logits = source.T @ sent + target.T @ received  # [E, H]
    share = torch.where(logits > 0, logits, slope * logits).exp()
    share = share if weight is None else weight.unsqueeze(1) * share
    total = target @ share
    alpha = share / (target.T @ torch.where(total > 0, total, 1))
    alpha = alpha if keep is None else keep * alpha
    return torch.einsum("te,eh,se,shd->thd", target, alpha, source, x)


@st.composite
def cases(draw, heads=None):
    """A graph (loops, duplicates, isolated nodes, no edges; bipartite too), `x`, a weight, ends."""
    sources, targets = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    ends = st.tuples(st.integers(0, sources - 1), st.integers(0, targets - 1))
    edges = draw(st.lists(ends, max_size=12))
    graph = Graph(torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T, (sources, targets))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    channels = (draw(st.integers(1, 5)),) if heads is None else (heads, draw(st.integers(1, 3)))
    shapes = [(sources, *channels), (sources, heads or 1), (targets, heads or 1)]
    x, sent, received = (torch.randn(s, generator=random, dtype=torch.float64) for s in shapes)
    weight = 2 * torch.rand(len(edges), generator=random, dtype=torch.float64) + 0.01
    weight *= torch.rand(len(edges), generator=random) < draw(st.sampled_from([0, 0.5, 1]))
    keep = 2.0 * (torch.rand(len(edges), heads or 1, generator=random) < 0.5)
    keep = draw(st.sampled_from([None, keep.double()]))
    keep = None if keep is None else keep.to(DEVICE)
    return graph.to(DEVICE), *(t.to(DEVICE) for t in (x, 2 * sent, 2 * received, weight)), keep


def random_case(graph, heads, d, dtype=torch.float64, seed=0):
    """`x` [S, H, d], `sent`, `received`, `weight` with some zeros, and `keep`."""
    draw = torch.Generator().manual_seed(seed)
    shapes = [(graph.num_sources, heads, d), (graph.num_sources, heads), (graph.num_nodes, heads)]
    values = [torch.randn(shape, generator=draw, dtype=dtype) for shape in shapes]
    weight = torch.rand(graph.num_edges, generator=draw, dtype=dtype).sub(0.2).clamp(min=0)
    keep = 2 * (torch.rand(graph.num_edges, heads, generator=draw) < 0.5).to(dtype)
    return [t.to(DEVICE) for t in (*values, weight, keep)]


def random_graph(sources, targets, edges, seed=0):
    draw = torch.Generator().manual_seed(seed)
    ends = [torch.randint(max(n, 1), (edges,), generator=draw) for n in (sources, targets)]
    return Graph(torch.stack(ends), (sources, targets)).to(DEVICE)


def leaves(*tensors):
    return [None if t is None else t.detach().clone().requires_grad_() for t in tensors]


def pull(out, tensors):
    """The gradients of a random functional of `out`; None for what is no tensor."""
    pick = torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).to(out)
    given = [t for t in tensors if t is not None]
    found = iter(torch.autograd.grad((out * pick).sum(), given, materialize_grads=True))
    return [None if t is None else next(found) for t in tensors]


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=10 * tolerance)


def agree(ours, theirs, inputs, tolerance=1e-10):
    """Both functions of `inputs`, and their gradients, are the same."""
    mine, plain = leaves(*inputs), leaves(*inputs)
    out, expected = ours(*mine), theirs(*plain)
    close(out, expected, tolerance)
    for a, b in zip(pull(out, mine), pull(expected, plain), strict=True):
        close(a, b, tolerance)


@pytest.mark.parametrize("weighted", [True, False])
def test_a_sum_and_its_gradients_are_those_of_the_dense_matrix(weighted):
    @few
    @given(cases())
    def check(case):
        graph, x, _, _, weight, _ = case
        inputs = (x, weight if weighted else None)
        agree(lambda *t: weighted_sum(graph, *t), lambda *t: dense_sum(graph, *t), inputs)

    check()


@pytest.mark.parametrize(("heads", "weighted"), [(1, True), (3, True), (2, False)])
def test_attention_and_its_gradients_are_those_of_the_dense_matrix(heads, weighted):
    @few
    @given(cases(heads), st.sampled_from([0.0, 0.2, 1.0]))
    def check(case, slope):
        graph, x, sent, received, weight, keep = case
        agree(
            lambda *t: attention(graph, *t, keep, slope),
            lambda *t: dense_attention(graph, *t, keep, slope),
            (x, sent, received, weight if weighted else None),
        )

    check()


SHAPES = [  # S, T, E, H, d: what it is
    (3, 2, 1300, 1, 2),  # rows of several tiles
    (4, 2, 50, 3, 70),  # a block for every head
    (2, 3, 20, 1, 600),  # more channels than the least tile
    (2, 1, 9, 1, 2500),  # more channels than the largest tile
    (5, 3, 16, 9, 33),  # heads and channels that fill no block
    (5, 4, 0, 2, 3),  # no edges
    (0, 3, 0, 2, 3),  # no sources
    (3, 0, 0, 2, 3),  # no targets
    (0, 0, 0, 1, 1),
    (3, 3, 5, 2, 0),  # no channels
]


@pytest.mark.parametrize(("sources", "targets", "edges", "heads", "d"), SHAPES)
def test_any_size_agrees_with_the_dense_matrix(sources, targets, edges, heads, d):
    graph = random_graph(sources, targets, edges)
    x, sent, received, weight, keep = random_case(graph, heads, d)
    agree(
        lambda *t: attention(graph, *t, keep),
        lambda *t: dense_attention(graph, *t, keep),
        (x, sent, received, weight),
    )
    flat = (x.flatten(1), weight)
    agree(lambda *t: weighted_sum(graph, *t), lambda *t: dense_sum(graph, *t), flat)


def test_edges_in_order_and_out_of_order_give_the_same():
    graph = random_graph(5, 4, 30)
    x, sent, received, weight, keep = random_case(graph, 2, 3)
    order = graph.by_target.order
    tidy = Graph(graph.edge_index[:, order], graph.size)
    assert tidy.by_target.order is None
    ours = leaves(x, sent, received, weight)
    theirs = leaves(x, sent, received, weight[order])
    out, expected = attention(graph, *ours, keep), attention(tidy, *theirs, keep[order])
    close(out, expected)
    grads, wanted = pull(out, ours), pull(expected, theirs)
    for a, b in zip(grads[:3], wanted[:3], strict=True):
        close(a, b)
    close(grads[3][order], wanted[3])


EDGES = torch.tensor([[0, 1, 1, 2, 2], [1, 0, 0, 1, 1]])


def test_gradcheck_of_the_sum():
    graph = Graph(EDGES, 3).to(DEVICE)
    x, _, _, weight, _ = random_case(graph, 1, 2)
    weight[0] = 0
    assert torch.autograd.gradcheck(
        lambda x, w: weighted_sum(graph, x, w), leaves(x.flatten(1), weight)
    )


def test_gradcheck_of_attention():
    graph = Graph(EDGES, 3).to(DEVICE)
    x, sent, received, weight, _ = random_case(graph, 2, 2)
    weight += 0.1
    weight[0] = 0  # an absent edge has a gradient too
    keep = torch.tensor([[2.0, 0], [2, 2], [0, 2], [2, 2], [2, 0]]).to(x)
    inputs = leaves(x, sent, received, weight)
    assert torch.autograd.gradcheck(lambda *t: attention(graph, *t, keep), inputs)


@pytest.mark.parametrize("extreme", [0.0, 90.0, 1e4, 1e300])
def test_a_zero_weight_is_an_absent_edge(extreme):
    graph = random_graph(6, 4, 14)
    x, sent, received, weight, keep = random_case(graph, 2, 3)
    weight[graph.edge_index[0] == 5] = 0
    weight[graph.edge_index[1] == 3] = 0  # a target with no edge left
    sent[5] += extreme  # an absent edge may have any logit
    kept = weight > 0
    cut = graph.subgraph(kept)
    whole, less = leaves(x, sent, received, weight), leaves(x, sent, received, weight[kept])
    out, expected = attention(graph, *whole, keep), attention(cut, *less, keep[kept])
    close(out, expected)
    assert not out[3].any()
    grads, wanted = pull(out, whole), pull(expected, less)
    for a, b in zip(grads[:3], wanted[:3], strict=True):
        close(a, b)
    close(grads[3][kept], wanted[3])
    assert grads[3].isfinite().all()
    assert not grads[1][5].any()
    assert not grads[2][3].any()

    whole, less = leaves(x.flatten(1), weight), leaves(x.flatten(1), weight[kept])
    out, expected = weighted_sum(graph, *whole), weighted_sum(cut, *less)
    close(out, expected)
    grads, wanted = pull(out, whole), pull(expected, less)
    close(grads[0], wanted[0])
    close(grads[1][kept], wanted[1])


def test_an_absent_edge_is_not_read():
    graph = Graph(torch.tensor([[0, 1], [0, 0]]), 2).to(DEVICE)
    x = torch.tensor([[1.0], [torch.nan]], device=DEVICE)
    weight = torch.tensor([2.0, 0.0], device=DEVICE)
    zeros = torch.zeros(2, 1, device=DEVICE)
    assert weighted_sum(graph, x, weight).flatten().tolist() == [2, 0]
    assert attention(graph, x.unsqueeze(1), zeros, zeros, weight, None).flatten().tolist() == [1, 0]


@pytest.mark.parametrize("height", [0.0, 20.0, 1e5])
def test_attention_is_a_sum_over_the_softmax_of_the_message_kernel(height):
    graph = random_graph(5, 4, 20)
    x, sent, received, weight, keep = random_case(graph, 2, 3)
    sent[4] += height  # the bound on the logits of absent edges is the same too
    weight[graph.edge_index[0] == 4] = 0
    source, target = graph.edge_index

    def plain(x, sent, received, weight):
        logits = torch.nn.functional.leaky_relu(sent[source] + received[target], 0.2)
        alpha = keep * edge_softmax(graph, logits, weight)
        messages = alpha.unsqueeze(-1) * x[source]
        return x.new_zeros(graph.num_nodes, *x.shape[1:]).index_add(0, target, messages)

    agree(lambda *t: attention(graph, *t, keep), plain, (x, sent, received, weight))


@pytest.mark.parametrize("shift", [-1e5, -800.0, 800.0, 1e5])
def test_attention_does_not_depend_on_the_height_of_the_logits(shift):
    graph = random_graph(4, 2, 300)  # several tiles
    x, sent, received, weight, keep = random_case(graph, 1, 2)
    low = attention(graph, x, sent, received, weight, keep, 1.0)
    high = attention(graph, x, sent + shift, received, weight, keep, 1.0)
    close(high, low, 1e-9)


@pytest.mark.parametrize(("dtype", "tiny"), [(torch.float16, 2**-8), (torch.bfloat16, 2**-6)])
def test_half_precision_is_accumulated_in_single(dtype, tiny):
    edges = torch.stack([torch.arange(4096) % 2, torch.zeros(4096, dtype=torch.long)])
    graph = Graph(edges, 2).to(DEVICE)
    x = torch.ones(2, 1, dtype=dtype, device=DEVICE)
    weight = torch.ones(4096, dtype=dtype, device=DEVICE)
    x, weight = leaves(x, weight)
    out = weighted_sum(graph, x, weight)  # a sum in half precision stops at 2048 or 256
    assert out.dtype == dtype
    assert out.flatten().tolist() == [4096, 0]
    by_x, by_weight = torch.autograd.grad(out.sum(), (x, weight))
    assert by_x.flatten().tolist() == [2048, 2048]
    assert by_weight.unique().tolist() == [1]
    assert by_x.dtype == by_weight.dtype == dtype
    ones = torch.ones(2, 1, dtype=dtype, device=DEVICE)
    # 8 + tiny, the logit of every edge, is no number of `dtype`.
    inputs = leaves(torch.tensor([[[1.0]], [[3.0]]]).to(ones), 8 * ones, tiny * ones, weight)
    out = attention(graph, *inputs, None)
    assert out.flatten().tolist() == [2, 0]
    by_x, *rest = torch.autograd.grad(out.sum(), inputs)
    assert by_x.flatten().tolist() == [0.5, 0.5]
    assert all(g.dtype == dtype and g.isfinite().all() for g in (by_x, *rest))


def test_single_precision_agrees_with_double():
    graph = random_graph(7, 5, 90)
    single = random_case(graph, 2, 5, torch.float32)
    double = [t.double() for t in single]
    ours, theirs = leaves(*single[:4]), leaves(*double[:4])
    out = attention(graph, *ours, single[4])
    expected = dense_attention(graph, *theirs, double[4])
    assert out.dtype == torch.float32
    close(out.double(), expected, 1e-5)
    for a, b in zip(pull(out, ours), pull(expected, theirs), strict=True):
        close(a.double(), b, 1e-5)


def test_tensors_may_lie_in_memory_in_any_way():
    graph = random_graph(4, 4, 12)
    x, sent, received, weight, keep = random_case(graph, 2, 3)
    twisted = [
        x.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        sent.T.contiguous().T,
        received.repeat(1, 2)[:, :2],
        torch.stack([weight, weight], 1)[:, 0],
    ]
    twisted_keep = keep.T.contiguous().T
    inputs = [t.requires_grad_() for t in (x, sent, received, weight)]
    views = [t.detach().requires_grad_() for t in twisted]
    assert not any(t.is_contiguous() for t in (*views, twisted_keep))
    out = attention(graph, *views, twisted_keep)
    expected = attention(graph, *inputs, keep)
    assert torch.equal(out, expected)
    for a, b in zip(pull(out, views), pull(expected, inputs), strict=True):
        assert torch.equal(a, b)
    for t, w in ((views[0], views[3]), (inputs[0], inputs[3])):
        weighted_sum(graph, t[:, 0], w).sum().backward()  # whose gradient is one number, expanded
    assert torch.equal(views[0].grad, inputs[0].grad)
    assert torch.equal(views[3].grad, inputs[3].grad)


@pytest.mark.parametrize("wanted", [0, 1])
def test_one_gradient_alone_is_the_same(wanted):
    graph = random_graph(4, 3, 12)
    x, _, _, weight, _ = random_case(graph, 1, 3)
    both = leaves(x.flatten(1), weight)
    expected = pull(weighted_sum(graph, *both), both)[wanted]
    alone = [x.flatten(1), weight]
    alone[wanted] = leaves(alone[wanted])[0]
    close(pull(weighted_sum(graph, *alone), [alone[wanted]])[0], expected)


def test_two_runs_agree_bit_for_bit():
    graph = random_graph(5, 4, 400)
    *values, keep = random_case(graph, 3, 6, torch.float32)

    def run():
        ours = leaves(*values)
        out = attention(graph, *ours, keep)
        first = [out, *pull(out, ours)]
        ours = leaves(values[0].flatten(1), values[3])
        out = weighted_sum(graph, *ours)
        return [*first, out, *pull(out, ours)]

    for a, b in zip(run(), run(), strict=True):
        assert torch.equal(a, b)


def test_no_tensor_of_edges_by_channels_is_made():
    graph = random_graph(6, 5, 400)
    heads, d = 2, 24
    *values, keep = random_case(graph, heads, d)
    graph.by_target, graph.by_source  # noqa: B018  built once, before
    with Largest() as seen:
        ours = leaves(*values)
        pull(attention(graph, *ours, keep), ours)
        ours = leaves(values[0].flatten(1), values[3])
        pull(weighted_sum(graph, *ours), ours)
    assert seen.numel <= 8 * graph.num_edges * heads  # bytes: how the interpreter copies storages
    assert 8 < d


@pytest.mark.parametrize("which", ["sum", "attention"])
def test_a_second_derivative_is_refused(which):
    graph = Graph(EDGES, 3).to(DEVICE)
    x, sent, received, weight, keep = random_case(graph, 1, 2)
    (x,) = leaves(x)
    out = (
        weighted_sum(graph, x.flatten(1), weight)
        if which == "sum"
        else attention(graph, x, sent, received, weight, keep)
    )
    (by_x,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        by_x.sum().backward()


def test_the_attention_of_gatv2_is_composed_of_sums():
    graph = random_graph(4, 5, 12)
    x, _, _, weight, keep = random_case(graph, 2, 3)
    received, a = torch.randn(5, 2, 3).to(x), torch.randn(2, 3).to(x)
    agree(
        lambda *t: BACKEND.dynamic_attention(graph, *t, keep, 0.2),
        lambda *t: REFERENCE.dynamic_attention(graph, *t, keep, 0.2),
        (x, received, a, weight),
    )


def test_without_triton_the_import_fails_plainly(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "graphlth.sparse.kernels.triton")
    with pytest.raises(ImportError, match="triton"):
        importlib.import_module("graphlth.sparse.kernels.triton")


COMPILE = """
import torch, triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from graphlth.sparse.kernels import triton as kernels

EXACT = {"top", "total", "mean", "grad_logit", "shares"}
SIZES = dict(H=3, D=5, SLOPE=0.2, BLOCK_E=16, BLOCK_H=4, BLOCK_D=8)

def build(kernel, element, absent, index="*i32"):
    types = {"bf16": (tl.float32, "fp32"), "fp64": (tl.float64, "fp64")}
    sizes = {**SIZES, "TYPE": types[element][0], **dict.fromkeys(absent)}
    signature = {
        name: "constexpr" if name in sizes
        else index if name in {"offsets", "columns", "order"}
        else "i32" if name == "num_edges"
        else "*" + (types[element][1] if name in EXACT else element)
        for name in kernel.arg_names
    }
    constants = {(i,): sizes[n] for i, n in enumerate(kernel.arg_names) if n in sizes}
    code = triton.compile(ASTSource(kernel, signature, constants), GPUTarget("cuda", 90, 32))
    print(len(code.asm["cubin"]) > 0)

build(kernels._sum_rows, "bf16", ["own", "dots"])
build(kernels._sum_rows, "fp64", ["columns", "weight"])
build(kernels._attend, "bf16", [])
build(kernels._attend_backward, "fp64", ["weight", "order"], "*i64")
"""


def test_the_kernels_compile_for_hopper_where_there_is_none(tmp_path):
    clean = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env={**clean, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["True"] * 4, done.stderr
