"""What a residual network of 28 layers keeps, and a plain one of that depth does not."""

import pytest
import torch
import torch.nn.functional as F
from toys import N, build, toy

import graphlth.sparse.blocks as parts
from graphlth import masks as M
from graphlth.compaction.own_models import ModelOnGraph
from graphlth.models.graph.resgcn import ResGCN
from graphlth.prune import drop_jointly
from graphlth.scores.random import random
from graphlth.tasks.sbm import sbm
from graphlth.ticket import dense
from graphlth.training.forward import forward
from graphlth.training.loop import train, train_masks

DEEP = {"layers": 28, "hidden": 16}


def gradients(model, task, masks=None):
    """The output, and the gradients of every weight and mask of a training step's loss."""
    (batch,) = task.batches("train")
    masks = {n: m.requires_grad_() for n, m in (masks or {}).items()}
    out = forward(model, batch, masks)
    loss = F.cross_entropy(out[batch.rows], batch.target)
    wanted = {**dict(model.named_parameters()), **{f"mask.{n}": m for n, m in masks.items()}}
    grads = torch.autograd.grad(loss, list(wanted.values()))
    return out.detach(), dict(zip(wanted, grads, strict=True))


@pytest.mark.parametrize("edges_gone", [0, 0.5, 1])
@pytest.mark.parametrize("weights_gone", [0, 0.99, 1])
@pytest.mark.parametrize("training", [True, False])
def test_28_layers_stay_finite_whatever_is_gone(edges_gone, weights_gone, training):
    """On isolated nodes and empty rows of features too."""
    task = toy()
    model = build("resgcn", task, **DEEP).train(training)
    draw = torch.Generator().manual_seed(0)
    gone = {M.EDGES: edges_gone}
    masks = {
        n: (torch.rand(m.shape, generator=draw) >= gone.get(n, weights_gone)).float()
        for n, m in M.ones(model, task.num_edges).items()
    }
    out, grads = gradients(model, task, masks)
    assert out.isfinite().all()
    assert all(g.isfinite().all() for g in grads.values())


@pytest.mark.parametrize("edges_gone", [0.3, 0.9])
def test_28_layers_train_to_finite_masks_and_weights_when_99_percent_is_gone(edges_gone):
    task = toy()
    model = build("resgcn", task, **DEEP)
    whole = M.ones(model, task.num_edges)
    masks = drop_jointly(whole, random(model, task, whole, seed=0), 0.99, edges_gone)
    soft, _ = train_masks(model, task, masks, epochs=20, l1_edges=1e-2, l1_weights=1e-2,
                       lr=0.01, weight_decay=5e-4, noise=1e-5, seed=0)  # fmt: skip
    assert all(m.isfinite().all() for m in soft.values())
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("seed", range(3))
def test_the_signal_passes_28_layers_both_ways(seed):
    """Nodes differ and the first map learns; in a plain GCN both have faded away."""
    task = sbm()
    out, grads = gradients(build("resgcn", task, seed, **DEEP), task)
    plain, faded = gradients(build("gcn", task, seed, **DEEP), task)
    assert torch.pdist(out).min() > 1e-3  # between any two nodes
    assert torch.pdist(plain).max() < 1e-2
    assert grads["first"].norm() > 0.1 * grads["last"].norm() > 1e-3
    assert faded["weights.0"].norm() < 1e-4


def test_28_layers_learn_what_a_plain_gcn_of_28_cannot():
    task = sbm()  # 4 classes: chance is 25 %

    def reached(name):
        epochs = train(build(name, task, **DEEP), task, {}, epochs=60)
        return max(epochs, key=lambda epoch: epoch.val).test

    assert reached("resgcn") > 0.75
    assert reached("gcn") < 0.4


def test_few_parts_of_the_graph_are_built_at_any_depth(monkeypatch):
    built, build_blocks = [], parts._blocks
    monkeypatch.setattr(
        parts, "_blocks", lambda *how: built.append(build_blocks(*how)) or built[-1]
    )
    for layers in (1, 2, 28):
        task = toy()
        build("resgcn", task, layers=layers)(task.x, task.graph, rows=task.rows["train"])
        assert len(built.pop()) == min(layers, 3) and not built


def test_a_compacted_one_loses_its_edges_alone():
    task = toy()
    model = build("resgcn", task, **DEEP)
    ticket = dense(model, task.num_edges)
    masks = drop_jointly(ticket.masks, random(model, task, ticket.masks, seed=0), 0.5, 0.5)
    small = type(ticket)(ticket.init, masks, 1).compact(model, task)
    assert isinstance(small, ModelOnGraph)
    assert small.edge_index.size(1) == int(masks[M.EDGES][task.entries].sum())
    (batch,) = task.batches("test")
    torch.testing.assert_close(small(task.x), forward(model, batch, masks), atol=1e-5, rtol=1e-4)


def test_a_compacted_one_without_a_file_says_what_to_save(tmp_path):
    task = toy()
    model = build("resgcn", task)
    small = dense(model, task.num_edges).compact(model, task)
    line = r"^`model` must have a method `parts` to be saved compacted, got ResGCN: use torch.save"
    with pytest.raises(ValueError, match=line):
        small.save(tmp_path / "small")
    torch.save(small.state_dict(), tmp_path / "state")
    other = build("resgcn", task, seed=1)
    again = dense(other, task.num_edges).compact(other, task)
    again.load_state_dict(torch.load(tmp_path / "state"))
    assert torch.equal(again(task.x), small(task.x))


def test_macs_count_the_blocks_with_their_loops_and_the_two_maps():
    model = ResGCN(6, 4, 3, num_layers=2)
    nnz = {"first": 20, "weights.0": 16, "weights.1": 5, "last": 12}
    assert model.macs(N, 50, nnz) == {
        "first": 16 * 20,
        "weights.0": 16 * 16 + 66 * 4,
        "weights.1": 16 * 5 + 66 * 4,
        "last": 16 * 12,
    }


def test_a_norm_of_one_channel_is_refused():
    with pytest.raises(ValueError, match=r"`hidden` must be at least 2 .* got 1"):
        ResGCN(6, 1, 3)
