"""A link task: what a model reads of it tells nothing of what is predicted, for any graph."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_link_split import graphs
from torch_geometric.data import Data
from toys import build

from graphlth.data.links import LinkTask
from graphlth.task import SPLITS
from graphlth.training.forward import forward


def ring(nodes=24, **about):
    """A ring with chords, in both directions, whose nodes know their places."""
    i = torch.arange(nodes)
    pairs = torch.cat([torch.stack([i, (i + step) % nodes]) for step in (1, 3)], 1)
    angle = 2 * torch.pi * i / nodes
    x = torch.stack([angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()], 1)
    return Data(x=x, edge_index=torch.cat([pairs, pairs.flip(0)], 1), **about)


def links(**how):
    return LinkTask(ring(), **{"val": 0.1, "test": 0.2, "out_channels": 4, **how})


def sets(pairs):
    return [frozenset(p) for p in pairs.T.tolist()]


@settings(max_examples=60, deadline=None)
@given(graphs(), st.sampled_from(["undirected", "directed"]), st.integers(0, 3))
def test_no_pair_that_is_predicted_is_an_edge_that_a_model_reads(graph, edges, seed):
    if isinstance(graph[0], tuple):
        return
    whole = Data(x=torch.eye(graph[0]), edge_index=graph[1])
    try:
        task = LinkTask(whole, edges=edges, val=0.2, test=0.3, split_seed=seed)
    except ValueError:
        return  # too few links, or too few pairs without
    known, read = {*sets(graph[1])}, {*sets(next(task.batches("val")).inputs[1].edge_index)}
    taken = []
    for split in SPLITS:
        for batch in task.batches(split, seed, 1):
            linked, other = (sets(batch.pairs[:, batch.target[:, 0] == y]) for y in (1, 0))
            assert {*linked} <= known and not {*other} & known
            assert split == "train" or not {*linked} & read
            taken += linked + other
    assert len(taken) == len({*taken})  # in one split, once, in one direction
    assert all(len(pair) == 2 for pair in taken)


def test_pairs_without_a_link_are_drawn_anew_in_training_alone():
    task = links()
    first, again, later, other = (
        next(task.batches("train", seed, index)).pairs for seed, index in
        ((0, 0), (0, 0), (0, 1), (1, 0))
    )  # fmt: skip
    count = int(task.y[task.rows["train"]].sum())
    assert torch.equal(first, again) and torch.equal(first[:, :count], later[:, :count])
    assert not torch.equal(first, later) and not torch.equal(first, other)
    for split in ("val", "test"):
        a, b = (next(task.batches(split, s)).pairs for s in (0, 1))
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "resgcn"])
def test_the_output_of_a_pair_is_the_dot_product_of_its_nodes(name):
    task = links()
    model = build(name, task)
    batch = next(task.batches("val"))
    h = forward(model, batch, {})
    assert h.shape == (24, 4)
    expected = torch.stack([h[i] @ h[j] for i, j in batch.pairs.T.tolist()])
    assert torch.allclose(batch.select(h)[:, 0], expected, atol=1e-6)


def of_thirds(s, t):
    parts = zip(s.chunk(3, 1), t.chunk(3, 1), strict=True)
    return torch.stack([(a * b).sum(1) for a, b in parts], 1)


DECODERS = [
    ("dot", 1, lambda s, t: (s * t).sum(1, True)),
    ("cosine", 1, lambda s, t: torch.cosine_similarity(s, t)[:, None]),
    (lambda s, t: (s - t).abs().sum(1, True), 1, lambda s, t: (s - t).abs().sum(1, True)),
    ("dot", 3, of_thirds),
]  # fmt: skip


@pytest.mark.parametrize(("decode", "classes", "expected"), DECODERS)
def test_a_decoder_compares_two_nodes(decode, classes, expected):
    if classes > 1:
        about = ring()
        about.edge_label = torch.arange(96) % 48 % classes  # of both directions
        task = LinkTask(about, loss="cross_entropy", decode=decode, out_channels=2, test=0.3, val=9)
    else:
        task = links(decode=decode)
    batch = next(task.batches("test"))
    h = torch.randn(24, task.num_classes, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(batch.select(h), expected(h[batch.pairs[0]], h[batch.pairs[1]]))
