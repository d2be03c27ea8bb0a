"""Matrices, graphs and gradients that tests of the kernel share."""

from importlib import import_module

import pytest
import torch

from graphlth.sparse.features import sparse_features
from graphlth.sparse.graph import Graph
from graphlth.sparse.pattern import SparsityPattern

BACKENDS = [
    "numba",
    "sparse",
    pytest.param("scatter", marks=pytest.mark.filterwarnings("default::DeprecationWarning")),
    "reference",
]


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


def doubles(*shape, seed=2, density=1.0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=draw, dtype=torch.float64)
    return x * (torch.rand(*shape, generator=draw) < density)


def matrix_of(graph, weight):
    a = weight.new_zeros(graph.num_nodes, graph.num_sources)
    return a.index_put(tuple(graph.edge_index.flip(0)), weight, accumulate=True)


RING = torch.arange(40)
RING = Graph(torch.stack([torch.cat([RING, RING]), torch.cat([RING, (RING + 1) % 40])]), 40)


def layer_of(width, share, dtype=torch.float64):
    """Features, two matrices and edge weights; of the first matrix a share is spread."""
    x = sparse_features(doubles(40, 30, density=0.2).to(dtype))
    v, weight = doubles(width, 5, seed=4).to(dtype), doubles(80, seed=5).to(dtype)
    drawn = torch.rand(30 * width, generator=torch.Generator().manual_seed(6)) < share
    pattern = SparsityPattern(drawn.nonzero().squeeze(1), torch.Size([30, width]))
    values = doubles(pattern.index.numel(), seed=7).to(dtype).requires_grad_()
    return x, v, weight, values, pattern


LOOPS = ["_arrays", "_propagate", "_rows", "_scatter", "_sums"]


def set_constant(monkeypatch, name, value):
    """Give a constant of the processor another value in all modules of loops that read it."""
    modules = [import_module(f"graphlth.sparse.kernels.{loops}") for loops in LOOPS]
    readers = [module for module in modules if name in vars(module)]
    assert readers, name
    for module in readers:
        monkeypatch.setattr(module, name, value)
