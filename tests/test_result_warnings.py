"""What makes a result doubtful is said in its record, once for each reason."""

import json
import math

import pytest
import torch
from toys import Pictures, build, toy

import graphlth.records as record
from graphlth import masks as M
from graphlth.experiment.run import run
from graphlth.experiment.warnings import class_counts, class_warnings, result_warnings
from graphlth.training.epoch import Epoch
from graphlth.training.evaluation import evaluate

UNFINISHED = "the best epoch is the last one: train longer (`epochs`)"
MAJORITY = "the test accuracy is the share of the majority class"
KARATE = {"hidden": 8, "rounds": 1, "epochs": 12}


def epochs(*vals, test=0.5):
    return [Epoch(i, 0.1, val, test) for i, val in enumerate(vals)]


CLASSES = [  # predicted in val, in test; targets in test; test accuracy                  warnings
    ([3, 1], [5, 5], [5, 5], 0.8, []),
    ([4, 0], [10, 0], [8, 2], 0.8, ["one class is predicted for all of val",
                                   "one class is predicted for all of test", MAJORITY]),
    ([3, 1], [0, 10], [8, 2], 0.2, ["one class is predicted for all of test"]),
    ([3, 1], [6, 4], [8, 2], 0.8, [MAJORITY]),
    ([3, 1], [6, 4], [8, 2], 0.7, []),
    ([2, 1, 1], [6, 0, 4], [4, 3, 3], 0.7, ["never predicted in test: class 1"]),
    ([2, 1, 1, 0], [6, 0, 4, 0], [3, 3, 2, 2], 0.6, ["never predicted in test: classes 1, 3"]),
    ([2, 1, 1], [60, 0, 40], [55, 16, 29], 0.7, []),  # of 16 in 100 it is a rare class
    ([2, 1, 1], [60, 0, 40], [55, 17, 28], 0.7, ["never predicted in test: class 1"]),
]  # fmt: skip


@pytest.mark.parametrize(("val", "test", "target", "accuracy", "expected"), CLASSES)
def test_classes_that_are_not_told_apart_are_warned_of(val, test, target, accuracy, expected):
    val, test, target = map(torch.tensor, (val, test, target))
    counts = {"val": (val, torch.ones_like(val)), "test": (test, target)}
    assert class_warnings(counts, accuracy) == expected


@pytest.mark.parametrize(
    ("vals", "unfinished"),
    [((0.5, 0.6), True), ((0.6, 0.5), False), ((0.6, 0.6), False), ((0.5,), True)],
)
def test_a_best_epoch_that_is_the_last_one_names_what_to_raise(vals, unfinished):
    task = toy()
    found = result_warnings(build("gcn", task), task, {}, epochs(*vals), "epochs")
    assert (UNFINISHED in found) is unfinished
    found = result_warnings(build("gcn", task), task, {}, epochs(*vals), "iterations")
    assert (UNFINISHED.replace("epochs", "iterations") in found) is unfinished


@pytest.mark.parametrize("emptied", [["weights.0"], ["weights.0", "weights.1"], []])
def test_a_layer_that_nothing_is_left_of_is_named(emptied):
    task = toy()
    model = build("gcn", task)
    masks = M.ones(model, task.num_edges)
    masks |= {n: torch.zeros_like(masks[n]) for n in emptied}
    masks |= {M.EDGES: torch.zeros(task.num_edges)}  # a network without edges is still one
    found = result_warnings(model, task, masks, epochs(0.6, 0.5), "epochs")
    told = [line for line in found if line.startswith("nothing is left of ")]
    assert told == [f"nothing is left of {', '.join(f'`{n}`' for n in emptied)}"] * bool(emptied)


@pytest.mark.parametrize("task", [toy(), Pictures((1, 4, 4))], ids=["graph", "pictures"])
def test_counts_are_those_of_the_predictions_under_the_masks(task):
    model = build("gcn" if task.edges == "undirected" else "mlp", task)
    masks = M.ones(model, task.num_edges)
    if task.num_edges:
        masks[M.EDGES][::2] = 0
    for split, (predicted, target) in class_counts(model, task, masks).items():
        batches = list(task.batches(split))
        assert target.tolist() == torch.cat([b.target for b in batches]).bincount().tolist()
        assert predicted.sum() == target.sum()
        (reached,) = evaluate(model, task, masks, (split,))
        rows = int(target.sum())
        least = sum(max(0, int(p) + int(t) - rows) for p, t in zip(predicted, target, strict=True))
        most = int(torch.minimum(predicted, target).sum())
        assert least <= round(reached * rows) <= most


def test_a_network_that_predicts_the_majority_everywhere_is_told():
    task = toy()
    model = build("gcn", task)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    (reached,) = evaluate(model, task, {}, ("test",))
    found = result_warnings(model, task, {}, epochs(0.6, 0.5, test=reached), "epochs")
    assert "one class is predicted for all of test" in found and MAJORITY in found


@pytest.mark.parametrize("batched", [False, True])
def test_a_record_holds_the_last_epoch_and_its_warnings(tmp_path, batched):
    folder = run("ugs", "karate", "gcn", KARATE, seeds=2, batch=2 if batched else 1, out=tmp_path)
    records = record.read(folder)
    for known in records:
        assert 0 <= known["val_last"] <= known["val"] and 0 <= known["test_last"] <= 1
        last = known["best_epoch"] == KARATE["epochs"] - 1
        assert (UNFINISHED in known["warnings"]) is last
        if last:
            assert known["test_last"] == known["test"]
    assert len({json.dumps(known["test_last"]) for known in records}) > 1


def test_one_epoch_is_never_enough(tmp_path):
    settings = KARATE | {"epochs": 1}
    (first, _) = record.read(run("random_tickets", "karate", "gcn", settings, out=tmp_path))
    assert first["warnings"][0] == UNFINISHED
    assert not math.isnan(first["test_last"]) and first["val_last"] == first["val"]


def test_a_game_has_no_classes(tmp_path):
    pytest.importorskip("gymnasium")
    settings = {"hidden": 4, "rounds": 1, "epochs": 1, "evaluate_every": 1, "batch_size": 2,
                "val_size": 2, "test_size": 2}  # fmt: skip
    for known in record.read(run("imp", "cartpole", "mlp", settings, out=tmp_path)):
        assert known["warnings"] == [UNFINISHED] and "test_last" in known
