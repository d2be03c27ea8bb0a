"""Iterations, schedules and what a ticket starts from; every option of `imp` does what it says."""

from itertools import pairwise

import pytest
import torch
from toys import build, call, toy

from graphlth.data.images import ImageTask
from graphlth.experiment.describe import describe_retraining
from graphlth.experiment.plan import plan
from graphlth.masks import sparsity
from graphlth.rewinding import snapshot
from graphlth.ticket import FIRST_ITERATION, Ticket, dense, load
from graphlth.training.epoch import Epoch
from graphlth.training.loop import train
from graphlth.training.recipe import Recipe
from graphlth.training.retraining import retrain

SPAN = 3


def pictures():
    """Noise that a network can learn by heart; a span is 3 of the 4 iterations of a pass."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(80, 2, 8, 8, generator=draw), torch.arange(80) % 2
    splits = {"train": 40, "val": 20, "test": 20}
    return ImageTask(x, y, splits, batch_size=10, evaluate_every=SPAN)


def bits(tensors):
    return {n: t.detach().numpy().tobytes() for n, t in tensors.items()}


def digits(tickets):
    return [(t.round, bits(t.init), bits(t.masks), t.search) for t in tickets]


def find(task=None, name="mlp", **about):
    task = task or pictures()
    settings = {"rounds": 3, "epochs": 4, "drop_weights": 0.2, **about}
    return list(call("imp", build(name, task), task, **settings))


def kept(ticket):
    return [int(m.sum()) for m in ticket.masks.values()]


# --- iterations ----------------------------------------------------------------------------------


def test_iterations_are_epochs_counted_finer():
    by_epochs = find(epochs=4, rewind_to=2)
    assert digits(by_epochs) == digits(find(epochs=99, iterations=12, rewind_to=6))
    task = toy()  # on a graph an epoch is one iteration
    assert digits(find(task, "gcn", epochs=4)) == digits(find(task, "gcn", iterations=4))


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"iterations": 10}, "`iterations` must be a multiple of `evaluate_every` = 3, got 10"),
        ({"iterations": 12, "rewind_to": 4}, "`rewind_to` must be a multiple of .* = 3, got 4"),
        ({"rewind": "sideways"}, "`rewind` must be one of weights, lr, finetune, got 'sideways'"),
        ({"rewind": "finetune", "rewind_to": 1}, "`rewind_to` must be 0 with .*, got 1"),
        (
            {"score": "degree"},
            "`score` must score weights, got 'degree', which leaves out|must have a graph",
        ),
        ({"score": "luck"}, "`score` must be one of"),
        ({"drop_output": 1.0}, r"`drop_output` must be in \[0, 1\), got 1.0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(about, message):
    with pytest.raises(ValueError, match=message):
        find(**about)


@pytest.mark.parametrize("recipe", [{}, {"milestones": "0.25,0.75"}, {"warmup": 10}])
def test_training_goes_on_with_the_batches_and_rates_of_where_it_stood(recipe):
    """Plain SGD has no state, so that two halves are the whole, bit for bit."""
    how = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "seed": 1, "epochs": 4, **recipe}
    states = []
    for cuts in [(0, 4), (0, 2, 4), (0, 1, 3, 4)]:
        task = pictures()
        model = build("mlp", task)
        for first, until in pairwise(cuts):
            assert [e.index for e in train(model, task, {}, first=first, until=until, **how)] == [
                *range(first, until)
            ]
        states.append(bits(snapshot(model)))
    assert states[0] == states[1] == states[2]


def test_every_iteration_has_the_rate_of_its_place_in_the_whole(monkeypatch):
    asked, real = [], Recipe.rate

    def watched(recipe, iteration, iterations):
        asked.append((iteration, iterations))
        return real(recipe, iteration, iterations)

    monkeypatch.setattr(Recipe, "rate", watched)
    task = pictures()
    list(train(build("mlp", task), task, {}, epochs=4, first=1, until=3))
    assert asked == [(i, 12) for i in range(3, 9)]


def test_a_training_from_span_2_is_not_one_from_the_start():
    task, ends = pictures(), []
    for first in (0, 2):
        model = build("mlp", task)
        list(train(model, task, {}, first=first, until=first + 2, epochs=4, seed=1))
        ends.append(bits(snapshot(model)))
    assert ends[0] != ends[1]


@pytest.mark.parametrize(
    ("about", "behind", "epochs"),
    [
        ({}, 0, [0, 1, 2, 3]),
        ({"rewind_to": 1}, 3, [1, 2, 3]),
        ({"rewind_to": 1, "rewind": "lr"}, 3, [1, 2, 3]),
        ({"rewind": "finetune"}, 12, [4, 5, 6, 7]),  # past the end of the schedule
    ],
)
def test_a_ticket_tells_where_its_training_goes_on(about, behind, epochs, tmp_path):
    task = pictures()
    ticket = find(task, **about)[2]
    ticket.save(tmp_path / "ticket")
    ticket = load(tmp_path / "ticket")
    assert ticket.search.get(FIRST_ITERATION, 0) == behind
    model = build("mlp", task)
    assert [e.index for e in retrain(model, task, ticket, epochs=4)] == epochs
    assert [e.index for e in retrain(model, task, ticket, epochs=4, first=3)] == [3]
    assert next(e.index for e in retrain(model, task, ticket, iterations=9)) == epochs[0]


@pytest.mark.parametrize("rewind", ["weights", "lr", "finetune"])
@pytest.mark.parametrize("one_shot", [False, True])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_continued_search_equals_an_uninterrupted_one(rewind, one_shot, after, tmp_path):
    task = pictures()
    k = 0 if rewind == "finetune" else 2
    how = {"rewind": rewind, "rewind_to": k, "one_shot": one_shot, "milestones": "0.5"}
    whole = find(task, **how)
    whole[after].save(tmp_path / "ticket")
    rest = find(task, **how, last=load(tmp_path / "ticket"))
    assert digits(rest) == digits(whole[after + 1 :])


# --- options -------------------------------------------------------------------------------------


def test_rewinding_the_weights_returns_to_theta_k_and_the_rate_alone_keeps_what_was_trained():
    task = pictures()
    model = build("mlp", task)
    for _ in train(model, task, {}, epochs=4, until=1):
        pass
    theta_k = bits(snapshot(model))
    weights, lr = (find(task, rewind=how, rewind_to=1) for how in ("weights", "lr"))
    assert all(bits(t.init) == theta_k for t in weights)
    assert bits(lr[0].init) == theta_k
    for _ in train(model, task, {}, epochs=4, first=1):
        pass
    assert bits(lr[1].init) == bits(snapshot(model))
    assert bits(lr[1].masks) == bits(weights[1].masks)
    assert len({str(bits(t.init)) for t in lr}) == 4


@pytest.mark.parametrize("rewind", ["weights", "finetune"])
def test_one_shot_cuts_one_ranking_to_the_counts_of_the_rounds(rewind):
    steps, shot = find(rewind=rewind), find(rewind=rewind, one_shot=True)
    assert [sum(kept(t)) for t in shot] == [sum(kept(t)) for t in steps]
    assert digits(shot[:2]) == digits(steps[:2])
    assert digits(shot[2:]) != digits(steps[2:])
    for before, after in pairwise(shot):
        assert all(bool((after.masks[n] <= before.masks[n]).all()) for n in after.masks)
    assert len({str(bits(t.init)) for t in shot[1:]}) == 1


@pytest.mark.parametrize(
    ("model", "about", "rates"),
    [
        ("lenet_300_100", {"drop_output": 0.1}, [0.2, 0.2, 0.1]),
        ("lenet_300_100", {"drop_output": 0.0}, [0.2, 0.2, 0.0]),
        ("conv_2", {"drop_convs": 0.1, "drop_output": 0.05}, [0.1, 0.1, 0.2, 0.2, 0.05]),
        ("conv_2", {"scope": "layer"}, [0.2] * 5),
        ("conv_2", {"drop_convs": 0.5}, [0.5, 0.5, 0.2, 0.2, 0.2]),
    ],
)
def test_every_kind_of_layer_loses_exactly_its_share(model, about, rates):
    tickets = find(name=model, epochs=1, rounds=2, **about)
    left = kept(tickets[0])
    for ticket in tickets[1:]:
        left = [n - round(rate * n) for n, rate in zip(left, rates, strict=True)]
        assert kept(ticket) == left


def test_the_output_layer_of_gat_are_all_weights_of_its_last_layer():
    first = find(toy(), "gat", rounds=1, drop_output=0.0)[1]
    assert {n for n, m in first.masks.items() if bool(m.all())} == {
        "weights.1", "source_attention.1", "target_attention.1",
    }  # fmt: skip


def test_inverted_the_largest_go():
    task = pictures()
    model = build("mlp", task)
    [_, first] = call("imp", model, task, rounds=1, epochs=2, invert=True)
    size = torch.cat([p.detach().abs().flatten() for p in model.parameters() if p.dim() > 1])
    left = torch.cat([m.flatten() for m in first.masks.values()]) > 0
    assert size[~left].min() >= size[left].max()


@pytest.mark.parametrize("score", ["magnitude_increase", "snip", "taylor", "random", "synflow"])
def test_another_score_finds_another_ticket_of_the_same_size(score):
    ours, theirs = find()[1], find(score=score)[1]
    assert sparsity(ours.masks) == sparsity(theirs.masks)
    assert bits(ours.masks) != bits(theirs.masks)


def test_magnitude_increase_counts_from_theta_k():
    task = pictures()
    model = build("mlp", task)
    [dense_, first] = call(
        "imp", model, task, rounds=1, epochs=3, rewind_to=1, score="magnitude_increase"
    )
    grown = [p.detach().abs() - dense_.init[n].abs() for n, p in model.named_parameters()]
    grown = torch.cat([g.flatten() for g in grown if g.dim() > 1])
    left = torch.cat([m.flatten() for m in first.masks.values()]) > 0
    assert grown[~left].max() <= grown[left].min()


# --- the recipe ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"optimizer": "sgd"}, {"milestones": "0.5"}, {"warmup": 6}, {"lr": 0.02}],
)
def test_the_recipe_changes_search_and_retraining(change):
    task = pictures()
    assert digits(find(task))[1:] != digits(find(task, **change))[1:]
    model = build("mlp", task)
    ticket, losses = dense(model), []
    for how in ({}, change):
        losses.append([e.loss for e in retrain(model, task, ticket, epochs=4, **how)])
    assert losses[0] != losses[1]


def test_momentum_matters_to_sgd_alone():
    task = pictures()
    for optimizer, same in (("adam", True), ("sgd", False)):
        a, b = (find(task, optimizer=optimizer, momentum=m) for m in (0.0, 0.9))
        assert (digits(a) == digits(b)) == same


# --- what is recorded ----------------------------------------------------------------------------


def test_the_validation_loss_is_that_of_the_weights_on_images_and_unknown_on_graphs():
    task = pictures()
    model = build("mlp", task)
    *_, end = train(model, task, {}, epochs=2)
    [batch] = task.batches("val")
    loss = torch.nn.functional.cross_entropy(model(*batch.inputs), batch.target)
    assert end.val_loss == pytest.approx(loss.item(), rel=1e-5)
    graph = toy()
    assert all(e.val_loss != e.val_loss for e in train(build("gcn", graph), graph, {}, epochs=2))


def test_learning_speed_is_the_iteration_of_the_lowest_validation_loss():
    curve = [(0.5, 0.9, 0.40), (0.6, 0.7, 0.41), (0.8, 0.7, 0.42), (0.8, 0.8, 0.43)]
    epochs = [Epoch(5 + i, 1.0, val, test, loss) for i, (val, loss, test) in enumerate(curve)]
    assert describe_retraining(epochs, pictures()) == {
        "val": 0.8, "test": 0.42, "best_epoch": 7, "best_iteration": 24,
        "val_last": 0.8, "test_last": 0.43, "stop_iteration": 21, "test_at_stop": 0.41,
    }  # fmt: skip
    graph = [Epoch(0, 1.0, 0.5, 0.4), Epoch(1, 1.0, 0.6, 0.3)]
    assert describe_retraining(graph, toy()) == {
        "val": 0.6, "test": 0.3, "best_epoch": 1, "best_iteration": 2,
        "val_last": 0.6, "test_last": 0.3,
    }  # fmt: skip


# --- presets -------------------------------------------------------------------------------------

PUBLISHED = [  # task, model, optimiser, lr, decay, batch, iterations; removed of conv, fc, output
    ("mnist", "lenet_300_100", "adam", 1.2e-3, 60, 50_000, (None, 0.2, 0.1)),
    ("cifar10", "conv_2", "adam", 2e-4, 60, 20_000, (0.1, 0.2, 0.1)),
    ("cifar10", "conv_4", "adam", 3e-4, 60, 25_000, (0.1, 0.2, 0.1)),
    ("cifar10", "conv_6", "adam", 3e-4, 60, 30_000, (0.15, 0.2, 0.1)),
]


@pytest.mark.parametrize(("task", "model", "by", "lr", "batch", "iterations", "rates"), PUBLISHED)
def test_imp_runs_as_published_by_default(task, model, by, lr, batch, iterations, rates):
    s = plan("imp", task, model).settings
    assert (s["optimizer"], s["lr"], s["weight_decay"], s["batch_size"]) == (by, lr, 0, batch)
    assert (s["iterations"], s["iterations"] % s["evaluate_every"]) == (iterations, 0)
    assert (s["drop_convs"], s["drop_weights"], s["drop_output"]) == rates


@pytest.mark.parametrize("model", ["resnet_20", "vgg_16", "vgg_19"])
def test_deep_networks_train_160_passes_by_sgd(model):
    s = plan("imp", "cifar10", model).settings
    assert (s["optimizer"], s["lr"], s["momentum"], s["weight_decay"]) == ("sgd", 0.1, 0.9, 1e-4)
    assert (s["epochs"], s["iterations"], s["milestones"]) == (160, 0, "0.5,0.75")
    assert s["evaluate_every"] == -(-45_000 // s["batch_size"])
    assert (s["warmup"], s["scope"], s["drop_weights"]) == (10_000, "global", 0.2)


def test_early_bird_tickets_are_drawn_as_published_by_default():
    s = plan("early_bird", "cifar10", "preresnet_101").settings
    assert (s["optimizer"], s["lr"], s["momentum"], s["weight_decay"]) == ("sgd", 0.1, 0.9, 1e-4)
    assert (s["epochs"], s["milestones"], s["warmup"]) == (160, "0.5,0.75", 0)
    assert (s["batch_size"], s["evaluate_every"]) == (256, -(-45_000 // 256))
    assert (s["window"], s["epsilon"], s["l1_norms"], s["bits"]) == (5, 0.1, 1e-4, 32)


def test_epochs_that_are_given_replace_published_iterations():
    assert plan("imp", "mnist", "lenet_300_100", {"epochs": 3}).settings["iterations"] == 0
    given = {"epochs": 3, "iterations": 200}
    assert plan("imp", "mnist", "lenet_300_100", given).settings["iterations"] == 200


def test_a_ticket_without_a_history_starts_at_the_beginning():
    task = pictures()
    model = build("mlp", task)
    epochs = list(retrain(model, task, Ticket(snapshot(model), {}, 1), epochs=2))
    assert [e.index for e in epochs] == [0, 1]
