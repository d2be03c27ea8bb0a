"""Every backend has every operation of the protocol, and each gives what `reference` gives."""

import inspect
import os

import pytest
import torch
from matrices import BACKENDS, close, doubles, leaves, pull

from graphlth.sparse.backend import Backend, Selection, find_backend
from graphlth.sparse.features import sparse_features
from graphlth.sparse.graph import Graph
from graphlth.sparse.kernels.reference import BACKEND as REFERENCE
from graphlth.sparse.pattern import ScatteredWeight, SparsityPattern

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported

EVERY = [*BACKENDS, "triton"]
GRAPH = Graph(torch.tensor([[0, 4, 1, 1, 2, 3, 3], [1, 1, 0, 0, 2, 3, 0]]), 5)
SOURCES, EDGES, FEATURES, WIDTH = 5, 7, 12, 20
X = sparse_features(doubles(SOURCES, FEATURES, density=0.4))
PATTERN = SparsityPattern.of(doubles(FEATURES, WIDTH, seed=1) > 0)


def backend(name):
    if name == "triton":
        pytest.importorskip("triton")
    x = torch.empty(0, dtype=torch.float64, device="cuda" if torch.cuda.is_available() else "cpu")
    return find_backend(name, x if name == "triton" else x.cpu())


def weighted_sum(kernel, x, weight):
    return kernel.weighted_sum(GRAPH, x, weight)


def attention(kernel, x, sent, received, weight):
    return kernel.attention(GRAPH, x, sent, received, weight.abs(), None, 0.2)


def attention_with_dropout(kernel, x, sent, received, weight):
    keep = 2.0 * (doubles(EDGES, 2, seed=9) > 0)
    return kernel.attention(GRAPH, x, sent, received, weight.abs(), keep, 0.2)


def dynamic_attention(kernel, x, received, a, weight):
    return kernel.dynamic_attention(GRAPH, x, received, a, weight.abs(), None, 0.2)


def dynamic_attention_with_dropout(kernel, x, received, a, weight):
    keep = 2.0 * (doubles(EDGES, 2, seed=9) > 0)
    return kernel.dynamic_attention(GRAPH, x, received, a, weight.abs(), keep, 0.2)


def normalise(side):
    return lambda kernel, weight: kernel.normalise(GRAPH, weight.abs(), side)


def product(kernel, x, w):
    return kernel.product(x, w)


def relu_dropout_product(kernel, x, w):
    torch.manual_seed(0)
    return kernel.relu_dropout_product(x, w, 0.5)


def scattered_from(values):
    whole = torch.zeros(FEATURES, WIDTH, dtype=values.dtype)
    return whole.index_put((PATTERN.index // WIDTH, PATTERN.index % WIDTH), values)


def features_product(kernel, w):
    return kernel.features_product(X, w)


def known_features_product(kernel, w):
    return kernel.features_product(X, w, X.to_dense() @ w.detach())


def scattered_features_product(kernel, values):
    w = scattered_from(values)
    known = X.to_dense() @ w.detach()
    return kernel.features_product(X, w, known, ScatteredWeight(values, PATTERN))


def propagate(kernel, w, weight):
    return kernel.propagate(GRAPH, X, w, weight)


def known_propagate(kernel, w, weight):
    value = X.to_dense() @ w.detach()
    sums = REFERENCE.weighted_sum(GRAPH, value, weight.detach())
    return kernel.propagate(GRAPH, X, w, weight, value, sums)


def scattered_propagate(kernel, values, weight):
    w = scattered_from(values)
    return kernel.propagate(GRAPH, X, w, weight, scattered=ScatteredWeight(values, PATTERN))


def relu_product(kernel, x, weight, w):
    return kernel.relu_product(GRAPH, x, weight, w)


def relu_product_without_gradients(kernel, x, weight, w):
    with torch.no_grad():
        return kernel.relu_product(GRAPH, x, weight, w)


def propagate_relu_product(kernel, w, weight, v):
    with torch.no_grad():
        return kernel.propagate_relu_product(GRAPH, X, w, weight, v)[0]


def scatter(kernel, values):
    out = kernel.padded_zeros(torch.empty(PATTERN.shape, dtype=values.dtype))
    kernel.scatter(values.detach(), PATTERN, out)
    return out


def gather(kernel, whole):
    return kernel.gather(whole.detach(), PATTERN)


COUNT = PATTERN.index.numel()
OPERATIONS = {  # of arguments of these shapes
    weighted_sum: [(SOURCES, WIDTH), (EDGES,)],
    attention: [(SOURCES, 2, 6), (SOURCES, 2), (SOURCES, 2), (EDGES,)],
    attention_with_dropout: [(SOURCES, 2, 6), (SOURCES, 2), (SOURCES, 2), (EDGES,)],
    dynamic_attention: [(SOURCES, 2, 6), (SOURCES, 2, 6), (2, 6), (EDGES,)],
    dynamic_attention_with_dropout: [(SOURCES, 2, 6), (SOURCES, 2, 6), (2, 6), (EDGES,)],
    normalise("in"): [(EDGES - 2,)],
    normalise("out"): [(EDGES,)],
    product: [(SOURCES, WIDTH), (WIDTH, 3)],
    relu_dropout_product: [(SOURCES, WIDTH), (WIDTH, 3)],
    features_product: [(FEATURES, WIDTH)],
    known_features_product: [(FEATURES, WIDTH)],
    scattered_features_product: [(COUNT,)],
    propagate: [(FEATURES, WIDTH), (EDGES,)],
    known_propagate: [(FEATURES, WIDTH), (EDGES,)],
    scattered_propagate: [(COUNT,), (EDGES,)],
    relu_product: [(SOURCES, WIDTH), (EDGES,), (WIDTH, 3)],
    relu_product_without_gradients: [(SOURCES, WIDTH), (EDGES,), (WIDTH, 3)],
    propagate_relu_product: [(FEATURES, WIDTH), (EDGES,), (WIDTH, 3)],
    scatter: [(COUNT,)],
    gather: [(FEATURES, WIDTH)],
}  # fmt: skip
CASES = [pytest.param(run, shapes, id=f"{run.__name__}-{i}")
         for i, (run, shapes) in enumerate(OPERATIONS.items())]  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="the arguments lie on the CPU")
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("run", "shapes"), CASES)
def test_every_operation_of_every_backend_is_that_of_the_reference(run, shapes, name):
    values = [doubles(*shape, seed=3 + i) for i, shape in enumerate(shapes)]
    found, expected = [], []
    for kernel, results in ((backend(name), found), (REFERENCE, expected)):
        own = leaves(*values)
        out = run(kernel, *own)
        results += [out, *pull(out, own)]
    for a, b in zip(found, expected, strict=True):
        close(a, b)


@pytest.mark.parametrize("columns", [3, 16])
@pytest.mark.parametrize("name", BACKENDS)
def test_a_pass_may_keep_rows_of_the_matrices_on_the_way(name, columns):
    w, weight, v = doubles(FEATURES, WIDTH), doubles(EDGES, seed=4), doubles(WIDTH, columns, seed=5)
    rows = torch.tensor([0, -1, 2, -1, -1])
    sums = Selection(torch.tensor([1, -1, -1, 0, -1]), 2)
    out, value, kept = backend(name).propagate_relu_product(
        GRAPH, X, w, weight, v, rows=rows, sums=sums
    )
    expected = X.to_dense() @ w
    hidden = REFERENCE.weighted_sum(GRAPH, expected, weight)
    close(out, hidden.relu() @ v)
    close(value[rows >= 0], expected[rows >= 0])
    if kept is not None:
        close(kept, hidden[[3, 0]])


def test_every_operation_of_the_protocol_is_tested():
    public = {n for n, _ in inspect.getmembers(Backend, inspect.isfunction) if n[0] != "_"}
    text = inspect.getsource(inspect.getmodule(backend))
    assert public == {n for n in public if f"kernel.{n}(" in text}


@pytest.mark.parametrize("name", EVERY)
def test_a_backend_has_what_the_protocol_has_and_with_its_parameters(name):
    kernel = backend(name)
    for method, wanted in inspect.getmembers(Backend, inspect.isfunction):
        if method[0] != "_":
            own = inspect.signature(getattr(kernel, method)).parameters
            assert [*own] == [*inspect.signature(wanted).parameters][1:]
