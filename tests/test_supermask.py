"""Supermasks: a mask is learned, weights never move, and the untrained network classifies."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from toys import Pictures, build, call, toy

import graphlth.records as record
from graphlth import masks as M
from graphlth.algorithms._supermask import straight_through, train_scores
from graphlth.algorithms.edge_popup import highest
from graphlth.algorithms.supermask import bernoulli
from graphlth.experiment import run as experiment
from graphlth.registry import find
from graphlth.rewinding import rewind, snapshot
from graphlth.scores.random import random
from graphlth.streams import stream_seed
from graphlth.ticket import dense
from graphlth.training.evaluation import evaluate
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks
from graphlth.training.recipe import Recipe

both = pytest.mark.parametrize("name", ["supermask", "edge_popup"])


def bits(tensors):
    return {n: t.detach().numpy().tobytes() for n, t in tensors.items()}


# --- learning ------------------------------------------------------------------------------------


@both
def test_an_untrained_network_under_its_supermask_reads_digits(name):
    task = find("tasks", "digits_images")()
    model = build("mlp", task, hidden=64)
    whole, ticket = call(name, model, task, epochs=15)
    rewind(model, ticket.init)
    scores = random(model, task, whole.masks, seed=1)
    drawn = M.masked_values(whole.masks, {n: (s > 0.5).float() for n, s in scores.items()})
    chance, control = (evaluate(model, task, m, ("test",))[0] for m in ({}, drawn))
    assert evaluate(model, task, ticket.masks, ("val", "test")) == list(ticket.search.values())
    assert ticket.search["untrained_test"] > 0.75 and max(chance, control) < 0.25


@both
@pytest.mark.parametrize("model", ["gcn", "gin"])
def test_on_a_graph_it_beats_the_untrained_network_too(name, model):
    task = find("tasks", "sbm")(size=30)
    network = build(model, task, hidden=32)
    before = evaluate(network, task, {}, ("val",))[0]
    ticket = list(call(name, network, task, epochs=40, drop_edges=0.05))[1]
    assert ticket.search["untrained_val"] > before + 0.1


@both
def test_weights_never_move(name, monkeypatch):
    task, seen = Pictures(), []
    model = build("resnet_20", task)
    theta = bits(dict(model.named_parameters()))

    def watched(*about, **how):
        for epoch in train(*about, **how):
            seen.append(bits(dict(model.named_parameters())) == theta)
            yield epoch

    monkeypatch.setattr("graphlth.algorithms._supermask.train", watched)
    tickets = list(call(name, model, task, epochs=3, lr_scores=1.0))
    assert seen == [True] * 3
    assert all(bits({n: t.init[n] for n in theta}) == theta for t in tickets)


@both
def test_scores_move_and_of_either_sign(name, monkeypatch):
    task, model = Pictures(), build("mlp", Pictures())
    masks = M.ones(model)
    through = {"supermask": lambda s: {n: t.sigmoid() for n, t in s.items()},
               "edge_popup": lambda s: {n: highest(t.abs(), 5) for n, t in s.items()}}  # fmt: skip
    start, end = (
        train_scores(model, task, snapshot(model), masks, noise=1, through=through[name],
                     recipe=Recipe(epochs=epochs, lr=lr, weight_decay=0.0), seed=0)
        for epochs, lr in ((1, 0.0), (5, 0.1))
    )  # fmt: skip
    assert all((start[n] != end[n]).any() and (end[n] < 0).any() for n in masks)


def test_removed_scores_stay_0_whether_few_or_many_survive():
    model = build("mlp", Pictures())
    masks = {n: (torch.arange(m.numel()).view_as(m) % 5 < k).float()
             for (n, m), k in zip(M.ones(model).items(), (1, 4, 3), strict=True)}  # fmt: skip
    s = train_scores(model, Pictures(), snapshot(model), masks, noise=1, seed=0,
                     recipe=Recipe(epochs=3, lr=0.1, weight_decay=0.0),
                     through=lambda s: {n: t.sigmoid() for n, t in s.items()})  # fmt: skip
    assert all(bool(((t == 0) == (masks[n] == 0)).all()) for n, t in s.items())


# --- the straight-through gradient ---------------------------------------------------------------


def layer():
    """θ [2, 2], scores s [2, 2], two inputs x [2, 2] and their classes."""
    theta = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    s = torch.tensor([[0.3, -0.8], [0.1, -0.4]], requires_grad=True)
    return theta, s, torch.tensor([[1.0, 2.0], [-1.0, 0.5]]), torch.tensor([0, 1])


def by_hand(theta, mask, x, y):
    """∂L/∂w ⊙ θ with w = θ ⊙ m: what reaches a mask; ∂L/∂z = (softmax(z) - onehot) / B."""
    z = x @ (theta * mask).T
    e = (z.softmax(1) - torch.eye(2)[y]) / len(x)
    return (e.T @ x) * theta


def test_the_gradient_of_edge_popup_is_the_hand_computed_one():
    theta, s, x, y = layer()
    mask = highest(s.abs(), 2)
    assert mask.tolist() == [[0, 1], [0, 1]]  # 0.8 and 0.4
    cross_entropy(x @ (theta * mask).T, y).backward()
    torch.testing.assert_close(s.grad, by_hand(theta, mask.detach(), x, y) * s.detach().sign())


def test_the_gradient_of_a_supermask_is_the_hand_computed_one():
    theta, s, x, y = layer()
    p = s.sigmoid()
    mask = bernoulli(p, torch.Generator().manual_seed(0))
    assert mask.unique().tolist() == [0, 1]
    cross_entropy(x @ (theta * mask).T, y).backward()
    q = p.detach()
    torch.testing.assert_close(s.grad, by_hand(theta, mask.detach(), x, y) * q * (1 - q))


def test_training_follows_that_gradient():
    """Through `train`: one batch, one step of Adam, which goes by the sign."""
    theta, s, *_ = layer()

    class One(Pictures):
        def batches(self, split, seed=0, index=0):
            yield from list(super().batches(split))[:1]

    task = One(shape=(2, 1, 1), batch=2)
    (batch,) = task.batches("train")
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    rewind(model, {"1.weight": theta})
    before, mask = s.detach().clone(), highest(s.detach().abs(), 2)
    scores = {"1.weight": s}
    for _ in train(model, task, M.ones(model), epochs=1, lr=0.01, weight_decay=0, scoring=(),
                   soft=SoftMasks(scores, through=lambda s: {
                       n: highest(t.abs(), 2) for n, t in s.items()
                   }, learn=("soft",))):  # fmt: skip
        pass
    gradient = by_hand(theta, mask, batch.inputs[0].flatten(1), batch.target) * before.sign()
    torch.testing.assert_close(s.detach() - before, -0.01 * gradient.sign(), atol=1e-5, rtol=0)


def test_the_value_is_exact_and_the_gradient_another_s():
    like = torch.tensor([0.3, 1e8, -1e-8], requires_grad=True)
    value = torch.tensor([1.0, 1.0, 0.0])
    out = straight_through(value, like)
    out.sum().backward()
    assert torch.equal(out, value) and like.grad.tolist() == [1, 1, 1]


def test_every_pass_draws_a_mask_of_its_own_with_these_probabilities():
    draw, p = torch.Generator().manual_seed(0), torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    masks = torch.stack([bernoulli(p, draw) for _ in range(2000)])
    torch.testing.assert_close(masks.mean(0), p, atol=0.03, rtol=0)
    assert not torch.equal(masks[:1000], masks[1000:])


# --- tickets -------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("drop", [0.3, 0.5, 0.95])
def test_exactly_as_many_weights_are_kept_as_are_asked_for(name, drop):
    model = build("lenet_5", Pictures())
    ticket = list(call(name, model, Pictures(), epochs=1, drop_weights=drop, scope="layer"))[1]
    for m in ticket.masks.values():
        assert int(m.sum()) == m.numel() - round(drop * m.numel())


def test_edge_popup_keeps_what_its_forward_pass_saw(monkeypatch):
    seen = []

    def watched(scores, count):
        seen.append(highest(scores, count))
        return seen[-1]

    monkeypatch.setattr("graphlth.algorithms.edge_popup.highest", watched)
    model = build("lenet_5", Pictures())
    ticket = list(call("edge_popup", model, Pictures(), epochs=2))[1]
    last = dict(zip(ticket.masks, seen[-len(ticket.masks) :], strict=True))
    assert all(torch.equal(m, last[n].detach()) for n, m in ticket.masks.items())


@both
def test_constant_weights_keep_their_sign_and_the_size_of_their_layer(name):
    model = build("lenet_5", Pictures())
    theta = snapshot(model)
    tickets = list(call(name, model, Pictures(), epochs=1, constant=True))
    for n, p in M.prunable(model).items():
        assert torch.equal(p.sign(), theta[n].sign()) and p.abs().unique().numel() == 1
        assert p.abs().mean().item() == pytest.approx(theta[n].square().mean().sqrt().item())
    state = bits(tickets[0].init)
    assert bits(tickets[1].init) == state != bits(theta)
    rest = list(call(name, build("lenet_5", Pictures(), seed=9), Pictures(), epochs=1,
                     constant=True, last=tickets[0]))  # fmt: skip
    assert bits(rest[0].init) == state and bits(rest[0].masks) == bits(tickets[1].masks)


@both
def test_what_is_recorded_is_the_untrained_accuracy_in_every_round(name, tmp_path):
    """A run retrains the model between the rounds."""
    settings = {"rounds": 2, "epochs": 4, "hidden": 8, "drop_weights": 0.3}
    lines = record.read(experiment.run(name, "karate", "gcn", settings, out=tmp_path))
    task = find("tasks", "karate")()
    tickets = list(
        call(name, build("gcn", task, stream_seed(0, "initialise"), hidden=8), task, **settings)
    )
    assert "untrained_test" not in lines[0]
    for line, ticket in zip(lines[1:], tickets[1:], strict=True):
        assert {n: line[n] for n in ticket.search} == ticket.search


@both
def test_a_mask_of_edges_is_learned_beside(name):
    task = toy()
    ticket = list(call(name, build("gcn", task), task, epochs=2, drop_edges=0.25))[1]
    assert int(ticket.masks[M.EDGES].sum()) == task.num_edges - round(0.25 * task.num_edges)
    assert M.EDGES not in dense(build("gcn", task)).masks
