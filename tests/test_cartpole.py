"""CartPole: the network plays its own batches, and what it wins is its accuracy."""

import math
import sys
from statistics import median

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_experiment import lines, tickets
from toys import build, call

from graphlth import masks as M
from graphlth.cost.macs import macs
from graphlth.data.games import LONGEST, CartPole, advantages
from graphlth.experiment.run import run
from graphlth.registry import find
from graphlth.scores.weights.snip import snip
from graphlth.task import Batch, cross_entropy
from graphlth.tasks.cartpole import cartpole
from graphlth.training.evaluation import evaluate, predict
from graphlth.training.forward import policy_logits
from graphlth.training.loop import train
from graphlth.training.retraining import fit

gymnasium = pytest.importorskip("gymnasium", reason="the extra `control` is not installed")

SMALL = {"batch_size": 3, "evaluate_every": 2, "val_size": 3, "test_size": 2}


@pytest.fixture(autouse=True)
def no_commit(monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/dev/null")  # a commit made during a test is no difference


def linear(*weights):
    """The policy that pushes right where weights · (x, v, θ, ω) is above 0."""
    right = torch.tensor(weights)
    return lambda x: torch.stack([torch.zeros(len(x)), x @ right], 1)


LEFT, BALANCED = linear(0.0, 0.0, 0.0, 0.0), linear(0.1, 0.5, 1.0, 1.0)


def alone(policy, starts):
    """How long each episode lasts, played one at a time in a game that we step ourselves."""
    lengths = []
    for start in starts:
        game = gymnasium.make("CartPole-v1").unwrapped
        game.reset(seed=0)
        game.state, over, steps = tuple(start.double().numpy()), False, 0
        while not over and steps < LONGEST:
            seen = torch.from_numpy(np.array([game.state], np.float32))
            _, _, over, _, _ = game.step(int(policy(seen).argmax()))
            steps += 1
        lengths.append(steps)
    return lengths


# --- the accuracy --------------------------------------------------------------------------------


def test_a_policy_that_balances_wins_all_there_is():
    task = CartPole().with_policy(BALANCED)
    assert task.mean_return("val") == task.mean_return("test") == 1.0


@pytest.mark.parametrize("policy", [LEFT, linear(0.0, 0.0, 1.0, 0.0)])
def test_the_accuracy_is_the_mean_return_over_500(policy):
    task = CartPole(val_size=6).with_policy(policy)
    x, _, stands = task._evaluation("val")
    lengths = alone(policy, x[0])
    assert 8 <= min(lengths) < max(lengths) < LONGEST
    assert stands.sum(0).tolist() == lengths
    assert task.mean_return("val") == sum(lengths) / (6 * LONGEST)


def test_the_trainer_records_that_mean_return_under_the_masks():
    task = CartPole(**SMALL)
    model = build("mlp", task, layers=1)
    with torch.no_grad():
        model.layers[1].weight.copy_(torch.tensor([[0.0] * 4, [0.1, 0.5, 1.0, 1.0]]))
    assert evaluate(model, task, M.ones(model), ("val", "test")) == [1.0, 1.0]
    gone = {n: m * 0 for n, m in M.ones(model).items()}
    fallen = [task.with_policy(LEFT).mean_return(split) for split in ("val", "test")]
    assert evaluate(model, task, gone, ("val", "test")) == fallen
    assert max(fallen) < 0.03


def test_the_starts_are_those_of_the_data_seed_and_the_split():
    def first(split, **settings):
        return next(CartPole(**SMALL, **settings).batches(split, 3, 4)).inputs[0][:2]

    assert torch.equal(first("val"), first("val"))
    assert not torch.equal(first("val"), first("test"))
    assert not torch.equal(first("val"), first("val", data_seed=1))


# --- training ------------------------------------------------------------------------------------


def test_the_advantages_are_normalised_returns():
    stands = torch.tensor([[1, 1], [1, 0], [1, 0]]).bool()  # three steps and one
    returns = torch.tensor([1 + 0.5 + 0.25, 1.0, 1 + 0.5, 1.0])  # row by row
    expected = (returns - returns.mean()) / returns.std(correction=0)
    assert torch.allclose(advantages(stands, 0.5), expected)
    assert advantages(stands[:1], 0.5).tolist() == [0.0, 0.0]  # all alike: nothing to learn


def test_the_gradient_of_rows_with_weights_is_reinforce():
    """Σ advantage · ∇ -log π(action), here written out for a softmax of linear logits."""
    draw = torch.Generator().manual_seed(0)
    x, gain = torch.randn(5, 4, generator=draw), torch.randn(5, generator=draw)
    action, w = torch.tensor([0, 1, 1, 0, 1]), torch.randn(2, 4, generator=draw)
    w.requires_grad_()
    CartPole(**SMALL).loss(x @ w.T, Batch((x,), action, weights=gain)).backward()
    expected = torch.zeros(2, 4)
    for state, a, g in zip(x, action, gain, strict=True):
        pi = torch.softmax(w.detach() @ state, 0)
        expected += g * torch.outer(pi - F.one_hot(a, 2), state)
    assert torch.allclose(w.grad, expected, atol=1e-6)


def test_rows_without_weights_count_alike():
    output, target = torch.randn(6, 3), torch.arange(6) % 3
    plain = cross_entropy(output, Batch((output,), target))
    assert torch.equal(plain, F.cross_entropy(output, target))
    even = CartPole(**SMALL).loss(output, Batch((output,), target, weights=torch.full((6,), 1 / 6)))
    assert torch.allclose(plain, even)


def test_actions_are_drawn_as_the_policy_says():
    task = CartPole(batch_size=400, evaluate_every=1)
    odds = task.with_policy(lambda x: torch.tensor([0.0, math.log(3.0)]).expand(len(x), 2))
    for game, right in ((task, 0.5), (odds, 0.75)):  # before anybody plays: as likely as not
        (batch,) = game.batches("train")
        assert len(batch.target) > 3000
        assert batch.target.float().mean().item() == pytest.approx(right, abs=0.03)
        assert batch.weights.sum().item() == pytest.approx(0, abs=1e-4)


def test_a_batch_is_played_when_it_is_asked_for():
    """The second batch of a span sees what was learnt from the first."""
    x = {"right": 0.0}
    odds = lambda s: torch.tensor([0.0, x["right"]]).expand(len(s), 2)  # noqa: E731
    game = CartPole(**SMALL).with_policy(odds)
    batches = game.batches("train")
    assert 0 < next(batches).target.float().mean() < 1
    x["right"] = 99.0
    assert next(batches).target.unique().tolist() == [1]


def test_a_play_is_drawn_from_its_seed_and_number_alone():
    task = CartPole(**SMALL)

    def seen(seed, index):
        torch.manual_seed(index)
        return torch.cat([b.inputs[0] for b in task.batches("train", seed, index)])

    assert torch.equal(seen(0, 1), seen(0, 1))
    assert seen(0, 1).shape != seen(0, 2).shape or not torch.equal(seen(0, 1), seen(0, 2))
    assert seen(0, 1).shape != seen(1, 1).shape or not torch.equal(seen(0, 1), seen(1, 1))
    once = CartPole(**SMALL | {"evaluate_every": 4})
    assert torch.equal(torch.cat([seen(5, 0), seen(5, 1)]),
                       torch.cat([b.inputs[0] for b in once.batches("train", 5)]))  # fmt: skip


def test_the_trainer_plays_under_the_masks_with_the_weights_of_the_moment():
    task, played = CartPole(**SMALL), []

    class Watched(CartPole):
        def with_policy(self, policy):
            played.append(policy)
            return super().with_policy(policy)

    watched, model = Watched(**SMALL), build("mlp", task, hidden=8)
    masks = {n: (torch.arange(m.numel()).view_as(m) % 3 > 0).float()
             for n, m in M.ones(model).items()}  # fmt: skip
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    now = lambda: policy_logits(model, x, M.masked_values(dict(model.named_parameters()), masks))  # noqa: E731
    before = now()
    for _ in train(model, watched, masks, epochs=1, lr=0.05):
        assert torch.equal(played[0](x), now())  # the training's; the next are evaluations'
    assert not torch.allclose(before, now())


def test_dense_policies_learn_to_balance():
    """The median of three, each at its better evaluation: what one does hangs on rounding."""
    task = cartpole(evaluate_every=20, val_size=5, test_size=5)
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = find("models", "mlp")(task, hidden=32)
        epochs = train(model, task, M.ones(model), epochs=2, lr=0.01, weight_decay=0.0)
        found.append(max(epochs, key=lambda epoch: epoch.val))
    assert median(e.val for e in found) > 0.9 and median(e.test for e in found) > 0.9
    assert all(math.isnan(e.val_loss) for e in found)


def test_a_score_reads_what_the_network_itself_would_do():
    task = CartPole(**SMALL | {"evaluate_every": 1})
    model = build("mlp", task, hidden=8)
    masks = M.ones(model)
    found = snip(model, task, masks)
    net = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    (batch,) = task.with_policy(lambda x: policy_logits(model, x, net)).batches("train")
    loss = task.loss(torch.func.functional_call(model, net, batch.inputs), batch)
    for n, g in zip(net, torch.autograd.grad(loss, list(net.values())), strict=True):
        if n in found:
            assert torch.allclose(found[n], (g * net[n]).abs(), atol=1e-7)


# --- the engine ----------------------------------------------------------------------------------


def test_macs_are_those_of_one_observation():
    model = build("mlp", CartPole(), hidden=8)
    assert list(macs(model, CartPole(), {}).values()) == [4 * 8, 8 * 8, 8 * 2]


def test_a_ticket_predicts_what_it_does_in_the_episodes_it_is_scored_on():
    task = CartPole(**SMALL)
    model = build("mlp", task, hidden=8)
    _, ticket = call("imp", model, task, rounds=1, epochs=2)
    best = fit(model, task, ticket, epochs=2)
    logits = predict(model, task, ticket)
    assert len(logits) == round(best.test * 2 * LONGEST)


def test_the_smaller_network_does_the_same():
    task = CartPole(**SMALL)
    model = build("mlp", task, hidden=8)
    *_, ticket = call("imp", model, task, rounds=1, epochs=1, drop_weights=0.8)
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    whole = policy_logits(
        model.eval(), x, M.masked_values(dict(model.named_parameters()), ticket.masks)
    )
    assert torch.allclose(ticket.compact(model, task)(x), whole, atol=1e-6)


SETTINGS = {"rounds": 2, "iterations": 6, "rewind_to": 2, "hidden": 8, **SMALL}


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = run("imp", "cartpole", "mlp", SETTINGS, out=tmp_path / "whole")

    def stop(step):
        if step.epoch is not None and step.round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("imp", "cartpole", "mlp", SETTINGS, out=tmp_path / "cut", watch=stop)
    cut = run("imp", "cartpole", "mlp", SETTINGS, out=tmp_path / "cut")
    assert lines(cut) == lines(whole) and tickets(cut) == tickets(whole)
    record = lines(whole)["seed0.jsonl"]
    assert b'"test": 0.' in record and b"stop_iteration" not in record


def test_without_gymnasium_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ValueError, match=r"`gymnasium` is needed .* 'graphlth\[control\]'"):
        cartpole()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"batch_size": 0}, r"`batch_size` must be in \[1, 1000000\], got 0"),
        ({"evaluate_every": 0}, r"`evaluate_every` must be in \[1, 1000000\], got 0"),
        ({"val_size": 0}, "`val_size` must be at least 1, got 0"),
        ({"test_size": 0}, "`test_size` must be at least 1, got 0"),
        ({"discount": 0}, r"`discount` must be in \(0, 1\], got 0"),
        ({"discount": 1.1}, r"`discount` must be in \(0, 1\], got 1.1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        cartpole(**settings)
