"""Instability: copies under other noise, the line between them, BatchNorm anew on that line."""

from dataclasses import replace

import pytest
import torch
from test_images import noisy as pictures
from test_images import numbered, shown
from torch import nn
from toys import build, toy

from graphlth.analysis import instability as file
from graphlth.analysis.instability import (
    barrier,
    draw_seeds,
    instability,
    interpolate,
    renormalise,
    train_copy,
)
from graphlth.data.images import ImageTask
from graphlth.masks import ones
from graphlth.registry import find
from graphlth.rewinding import snapshot
from graphlth.ticket import FIRST_ITERATION, Ticket, dense
from graphlth.training.loop import train

HOW = {"points": 5, "pairs": 1, "epochs": 4, "lr": 0.1}


def normed(task):
    """A network with BatchNorm and dropout before it."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(task.num_features, 5), nn.BatchNorm1d(5),
        nn.ReLU(), nn.Linear(5, task.num_classes),
    )  # fmt: skip


def swapped():
    """A network of two hidden units, the same with its units swapped, and its three images.

    Both see class 0, 1, 1; the network half-way between sees class 1 wherever it looks.
    """
    x = torch.zeros(9, 1, 2, 1)
    for i, unit in enumerate([0, 1, 1] * 3):
        x[i, 0, unit] = 1
    task = ImageTask(x, torch.tensor([0, 1, 1] * 3), dict.fromkeys(("train", "val", "test"), 3))
    task.mean, task.std = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)  # as they are
    layers = [nn.Linear(2, 2, bias=False) for _ in range(2)]
    model = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), layers[1])
    eye, last = torch.eye(2), torch.diag(torch.tensor([1.0, 2.0]))
    a = {"1.weight": eye, "3.weight": last}
    b = {"1.weight": eye.flip(0), "3.weight": last.flip(1)}
    return model, task, a, b


def test_half_way_between_swapped_units_every_image_is_of_one_class():
    model, task, a, b = swapped()
    assert barrier(model, task, {}, a, b, 3, "test") == pytest.approx([0, 1 / 3, 0])
    assert barrier(model, task, {}, a, a, 3, "test") == [0, 0, 0]


def test_instability_is_the_highest_error_less_the_mean_of_the_ends(monkeypatch):
    model, task, a, b = swapped()
    copies = iter([a, b, a])
    monkeypatch.setattr(file, "train_copy", lambda *_, **__: next(copies))
    monkeypatch.setattr(file, "has_noise", lambda *_: True)
    found = instability(model, task, dense(model), points=3, pairs=3)
    assert found.instability_pairs == pytest.approx([1 / 3, 0, 1 / 3])  # a–b, a–a, b–a
    assert found.instability == pytest.approx(2 / 9)
    assert (found.end_error, found.barrier_error) == (0, pytest.approx([0, 2 / 9, 0]))


def test_a_pruned_weight_takes_no_part():
    model, task, a, b = swapped()
    masks = ones(model)
    masks["3.weight"] = a["3.weight"].ne(0).float()  # of the first network alone
    assert barrier(model, task, masks, a, b, 2, "test") == pytest.approx([2 / 3, 0])


def test_the_ends_of_the_line_are_the_copies_bit_for_bit():
    a, b = ({"w": torch.randn(100)} for _ in range(2))
    assert interpolate(a, b, 1)["w"].equal(a["w"])
    assert interpolate(a, b, 0)["w"].equal(b["w"])
    assert interpolate(a, a, 0.3)["w"].equal(a["w"])


def test_copies_are_as_few_as_give_the_pairs_and_differ():
    assert [len(draw_seeds(0, pairs)) for pairs in (1, 2, 3, 4, 6, 7)] == [2, 3, 3, 4, 4, 5]
    assert len({*draw_seeds(0, 6), *draw_seeds(1, 6)}) == 8
    task, model = toy(), build("gcn", toy(), dropout=0.5)
    ticket = dense(model)
    seeds = draw_seeds(0, 1)
    one, two, again = (
        train_copy(model, task, ticket, seed, epochs=2) for seed in (*seeds, seeds[0])
    )
    assert all(not one[n].equal(two[n]) for n in one if one[n].dim() > 1)
    assert all(one[n].equal(again[n]) for n in one)


@pytest.mark.parametrize("task", [toy(), pictures(evaluate_every=2)], ids=["graph", "images"])
def test_the_same_seed_gives_the_same_digits(task):
    model = build("gcn", task) if task.edges else normed(task)
    ticket = dense(model)
    first, same, other = (
        instability(model, task, ticket, seed=seed, **HOW | {"split": "train"})
        for seed in (0, 0, 1)
    )
    assert first == same != other
    assert len(first.barrier_error) == 5


def test_copies_under_the_same_noise_are_connected_exactly(monkeypatch):
    task = pictures(evaluate_every=2)
    model = normed(task)
    monkeypatch.setattr(file, "draw_seeds", lambda *_: [7, 7])
    monkeypatch.setattr(file, "has_noise", lambda *_: True)
    found = instability(model, task, dense(model), **HOW)
    assert found.instability == 0
    assert set(found.barrier_error) == {found.end_error}


def test_copies_are_the_last_weights_of_a_training_that_goes_on_from_k():
    task = pictures(evaluate_every=2, augment="crop-flip")
    model = normed(task)
    ticket = replace(dense(model), search={FIRST_ITERATION: 4})  # two spans of two
    how = {"optimizer": "sgd", "lr": 0.1, "milestones": "0.5"}
    found = train_copy(model, task, ticket, 3, iterations=8, **how)
    model.load_state_dict(ticket.init)
    epochs = list(train(model, task, ticket.masks, epochs=4, first=2, seed=3, **how))
    assert [epoch.index for epoch in epochs] == [2, 3]
    assert all(t.equal(found[n]) for n, t in snapshot(model).items())


def test_batch_norm_has_the_statistics_of_the_training_images():
    task = pictures(evaluate_every=2)
    model = normed(task)
    ticket = dense(model)
    a, b = (train_copy(model, task, ticket, seed, epochs=3, lr=0.1) for seed in (1, 2))
    middle = interpolate(a, b, 0.5)
    model.load_state_dict(middle)
    renormalise(model, task, {})
    rows = task.rows["train"]
    x = (task.x[rows].float() - task.mean) / task.std
    hidden = x.flatten(1) @ middle["2.weight"].T + middle["2.bias"]  # [13, 5] without dropout
    norm = model[3]
    assert norm.running_mean == pytest.approx(hidden.mean(0), abs=1e-5)
    assert norm.running_var == pytest.approx(hidden.var(0), rel=1e-4)
    assert not torch.allclose(norm.running_var, middle["3.running_var"], rtol=0.05)
    assert norm.momentum == 0.1 and not model.training


def test_edges_of_a_ticket_are_gone_on_the_line_too():
    task = toy()
    model = build("gcn", task)
    masks = ones(model, task.num_edges)
    masks["edges"][::2] = 0
    a, b = (build("gcn", task, seed).state_dict() for seed in (1, 2))
    a, b = ({n: t.clone() for n, t in state.items()} for state in (a, b))
    weights = {n: m for n, m in masks.items() if n != "edges"}
    on_less = barrier(model, task.without(masks["edges"]), weights, a, b, 9, "train")
    assert barrier(model, task, masks, a, b, 9, "train") == on_less
    assert barrier(model, task, weights, a, b, 9, "train") != on_less


@pytest.mark.parametrize(
    ("settings", "noise"),
    [
        ({"dropout": 0.0}, False),
        ({"dropout": 0.5}, True),
        ({"dropout": 0.0, "edge_dropout": 0.5}, True),
    ],
)
def test_a_graph_without_dropout_has_no_noise(settings, noise):
    model = build("gcn", toy(), **settings)
    if noise:
        assert instability(model, toy(), dense(model), **HOW).end_error <= 1
        return
    with pytest.raises(ValueError, match=r"^`model` must train under noise .* dropout 0 that sees"):
        instability(model, toy(), dense(model), **HOW)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"points": 1}, r"`points` must be in \[2, 10000\], got 1"),
        ({"pairs": 0}, r"`pairs` must be in \[1, 10000\], got 0"),
        (
            {"split": "all"},
            "`split` must be one of train, val, test, got 'all': did you mean `val`\\?",
        ),
    ],
)
def test_settings_have_their_range(settings, told):
    model = build("gcn", toy())
    with pytest.raises(ValueError, match=f"^{told}$"):
        instability(model, toy(), dense(model), **settings)


def test_a_ticket_of_another_model_is_refused():
    model, other = build("gcn", toy()), Ticket({"w": torch.ones(2)}, {}, 0)
    with pytest.raises(ValueError, match=r"^`ticket` does not fit `model`: 'w' is"):
        instability(model, toy(), other)


def test_the_whole_of_a_split_are_its_images_once_as_they_lie():
    task = numbered(evaluate_every=2, augment="crop-flip")
    assert shown(task, task.whole("train")) == [[*range(13)]]
    assert shown(task, task.whole("test")) == [[*range(17, 23)]]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_error_of_a_text_is_that_of_all_its_windows(split):
    task = find("tasks", "text")(context=8, train_size=90, val_size=20, test_size=20)
    model = build("transformer", task, layers=1)
    windows = task.windows[task.rows[split]]
    logits = model(windows[:, :-1]).view(len(windows), 8, -1)
    wrong = (logits.argmax(-1) != windows[:, 1:]).float().mean().item()
    assert file.error_rate(model, task, {}, split) == pytest.approx(wrong, abs=1e-6)


def test_the_error_of_a_game_is_what_is_not_won():
    pytest.importorskip("gymnasium")
    task = find("tasks", "cartpole")()
    model = build("mlp", task)
    for p in model.parameters():
        nn.init.zeros_(p)
    falls = task.with_policy(lambda x: torch.tensor([[1.0, 0.0]]).expand(len(x), 2))
    error = file.error_rate(model, task, {}, "test")
    assert error == pytest.approx(1 - falls.mean_return("test"))
    assert (
        0.95 < file.error_rate(model, task, {}, "val") < 1
    )  # pushed left for ever, it falls at once
    with pytest.raises(ValueError, match=r"^`split` must be val or test of a game, got 'train'"):
        file.error_rate(model, task, {}, "train")
