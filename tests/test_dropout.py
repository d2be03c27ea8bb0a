"""Dropout from few bits: its rate, its mean, its gradient, its seed, its limits."""

import numpy as np
import pytest
import torch

from graphlth.sparse.dropout import LEVELS, dropout, edge_dropout, philox, relu_dropout
from graphlth.sparse.graph import Graph


@pytest.mark.parametrize("p", [0.1, 0.5, 0.6, 0.9])
def test_the_rate_is_p_and_the_mean_stays(p):
    torch.manual_seed(0)
    out = dropout(torch.ones(400_000), p)
    spread = 5 * (p * (1 - p) / 400_000) ** 0.5  # five standard deviations
    assert (out == 0).double().mean().item() == pytest.approx(p, abs=spread)
    assert out.double().mean().item() == pytest.approx(1, abs=spread / (1 - p))
    assert out.unique().numel() == 2
    assert out.max().item() == pytest.approx(1 / (1 - p), rel=2 / LEVELS / (1 - p))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 4097])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_size_and_type_is_dropped_and_scaled(size, dtype):
    torch.manual_seed(1)
    outs = torch.stack([dropout(torch.full((size,), 3, dtype=dtype), 0.5) for _ in range(40)])
    assert outs.dtype == dtype
    assert outs.unique().tolist() == [0, 6]
    assert bool((outs == 0).any(0).all())  # no entry is always kept
    assert bool((outs != 0).any(0).all())  # nor always dropped


def test_neighbouring_entries_are_independent():
    torch.manual_seed(2)
    kept = (dropout(torch.ones(100_000, 4), 0.5) != 0).double()  # one draw has four entries
    assert (torch.corrcoef(kept.T) - torch.eye(4)).abs().max() < 0.02


def test_the_gradient_is_the_mask():
    torch.manual_seed(3)
    x = torch.randn(50, 7, requires_grad=True)
    out = dropout(x, 0.5)
    out.sum().backward()
    assert torch.equal(x.grad, 2.0 * (out != 0))


def test_the_seed_decides():
    x = torch.ones(10, 10)

    def draw(seed):
        torch.manual_seed(seed)
        return dropout(x, 0.5), dropout(x, 0.5)

    first, second = draw(4)
    assert torch.equal(first, draw(4)[0])
    assert not torch.equal(first, second)
    assert not torch.equal(first, draw(5)[0])


@pytest.mark.parametrize(("p", "training"), [(0.5, False), (0.0, True), (1e-9, True)])
def test_nothing_happens_in_evaluation_or_at_rate_0(p, training):
    x = torch.randn(5, 5)
    before = torch.get_rng_state()
    assert torch.equal(dropout(x, p, training), x)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_to_drop_is_no_error():
    assert dropout(torch.ones(0, 3), 0.5).shape == (0, 3)


def test_a_rate_close_to_1_keeps_almost_nothing_and_is_finite():
    torch.manual_seed(0)
    out = dropout(torch.ones(1000), 1 - 1e-9)
    assert out.isfinite().all()
    assert (out != 0).sum() < 10


@pytest.mark.parametrize("p", [-0.1, 1, 1.5, float("nan")])
@pytest.mark.parametrize("training", [True, False])
def test_a_rate_outside_its_range_is_refused(p, training):
    with pytest.raises(ValueError, match=rf"`dropout` must be in \[0, 1\), got {p}"):
        dropout(torch.ones(2), p, training)


@pytest.mark.parametrize("p", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("training", [True, False])
def test_relu_dropout_is_dropout_of_relu(p, training):
    results = []
    for drop in (lambda x: dropout(x.relu(), p, training), lambda x: relu_dropout(x, p, training)):
        x = torch.linspace(-1, 1, 101, requires_grad=True)
        torch.manual_seed(0)
        out = drop(x)
        out.square().sum().backward()
        results.append((out.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [  # the generator's published test vectors whose counter has two words
        ((0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ],
)
def test_the_bits_are_those_of_philox(key, counter, words):
    out = np.empty((4, 1), np.uint32)
    philox(np.uint32(key[0]), np.uint32(key[1]), np.uint64(counter), out)
    assert " ".join(f"{word:08x}" for word in out[:, 0]) == words


def test_bits_depend_on_key_and_counter():
    blocks = [np.empty((4, 3), np.uint32) for _ in range(3)]
    philox(np.uint32(1), np.uint32(2), np.uint64(0), blocks[0])
    philox(np.uint32(1), np.uint32(2), np.uint64(1), blocks[1])
    philox(np.uint32(1), np.uint32(3), np.uint64(0), blocks[2])
    assert (blocks[0][:, 1:] == blocks[1][:, :-1]).all()
    assert (blocks[0] != blocks[2]).all()


@pytest.mark.parametrize("drop", [dropout, relu_dropout])
def test_a_nan_is_not_lost(drop):
    torch.manual_seed(0)
    assert drop(torch.full((100,), torch.nan), 0.5).isnan().any()


# --- edges ---------------------------------------------------------------------------------------

E = 200_000
PAIRS = torch.arange(E // 2) % 7, torch.arange(E // 2) % 11  # sent one way, then the other way
GRAPH = Graph(torch.cat([torch.stack(PAIRS), torch.stack(PAIRS[::-1])], 1), 11)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edges_go_at_the_rate_p_and_those_kept_weigh_what_they_weighed(p, dtype):
    torch.manual_seed(0)
    weight = 1 + torch.rand(E, dtype=dtype).requires_grad_()
    out = edge_dropout(GRAPH, weight, p, like=weight)
    kept = out != 0
    assert torch.equal(out, weight * kept) and out.dtype == dtype
    spread = 5 * (p * (1 - p) / E) ** 0.5
    assert 1 - kept.double().mean().item() == pytest.approx(p, abs=spread)
    assert torch.equal(torch.autograd.grad(out.sum(), weight)[0], kept.to(dtype))


def test_without_weights_a_kept_edge_counts_once():
    torch.manual_seed(0)
    out = edge_dropout(GRAPH, None, 0.5, like=torch.empty(0, dtype=torch.float64))
    assert out.unique().tolist() == [0, 1] and out.dtype == torch.float64


def test_each_direction_of_an_edge_is_drawn_by_itself():
    torch.manual_seed(0)
    kept = edge_dropout(GRAPH, None, 0.5, like=torch.empty(0)).view(2, -1)
    assert torch.corrcoef(kept)[0, 1].abs() < 0.02


@pytest.mark.parametrize(("p", "training"), [(0.5, False), (0.0, True), (1e-9, True)])
@pytest.mark.parametrize("weight", [torch.rand(E), None])
def test_weights_pass_as_they_are_in_evaluation_or_at_rate_0(weight, p, training):
    before = torch.get_rng_state()
    assert edge_dropout(GRAPH, weight, p, training, like=torch.empty(0)) is weight
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("p", [-0.1, 1, float("nan")])
@pytest.mark.parametrize("training", [True, False])
def test_a_rate_of_edges_outside_its_range_is_refused(p, training):
    with pytest.raises(ValueError, match=rf"`edge_dropout` must be in \[0, 1\), got {p}"):
        edge_dropout(GRAPH, None, p, training, like=torch.empty(0))
