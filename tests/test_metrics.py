"""Losses and metrics of a task: their values, their names, and that the best goes by direction."""

import math
import pickle
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as sklearn
from toys import build, data, toy

from graphlth.data.losses import LOSSES, find_loss, with_loss
from graphlth.data.node import NodeTask
from graphlth.metrics import ACCURACY, METRICS, Metric, MetricSum, find_metric
from graphlth.task import Batch
from graphlth.ticket import dense
from graphlth.training.epoch import Epoch, best_epoch
from graphlth.training.evaluation import evaluate, predict
from graphlth.training.loop import train, train_masks
from graphlth.training.retraining import fit, retrain

OUT = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5], [0.2, 0.1], [1.0, 4.0]])
CLASSES = torch.tensor([0, 1, 1, 0, 0])
MARGIN = (OUT[:, 1] - OUT[:, 0]).numpy()
THREE = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.5, 2.0], [0.2, 0.1, 0.0]])
NUMBERS = torch.tensor([[1.0, 1.0], [1.0, 2.0], [0.0, 0.0], [0.5, 0.5], [0.0, 4.0]])
TAGS = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0], [0, 1]]).float()

VALUES = [  # metric, outputs, targets, value
    ("accuracy", OUT, CLASSES, 3 / 5),
    ("roc_auc", OUT, CLASSES, sklearn.roc_auc_score(CLASSES, MARGIN)),
    ("roc_auc", OUT, TAGS, sklearn.roc_auc_score(TAGS, OUT)),
    ("roc_auc", OUT[:, :1], TAGS[:, :1], sklearn.roc_auc_score(TAGS[:, 0], OUT[:, 0])),
    ("roc_auc", THREE, torch.tensor([0, 1, 2, 0]), 1.0),
    ("average_precision", OUT, CLASSES, sklearn.average_precision_score(CLASSES, MARGIN)),
    ("f1_micro", OUT, CLASSES, 3 / 5),
    ("f1_macro", OUT, CLASSES, sklearn.f1_score(CLASSES, OUT.argmax(1), average="macro")),
    ("rmse", OUT, NUMBERS, sklearn.root_mean_squared_error(NUMBERS, OUT)),  # the mean of targets
    ("mae", OUT, NUMBERS, (1 + 0 + 1 + 1 + 1 + 0.5 + 0.3 + 0.4 + 1 + 0) / 10),
]


@pytest.mark.parametrize(("name", "out", "target", "value"), VALUES)
def test_a_metric_has_the_value_of_the_literature(name, out, target, value):
    total = MetricSum(find_metric(name))
    for rows in (slice(0, 2), slice(2, None)):  # in two batches
        total.add(out[rows], target[rows])
    assert total.value() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("name", [*METRICS, "hits@2"])
def test_a_metric_is_pickled(name):
    metric = find_metric(name)
    assert pickle.loads(pickle.dumps(metric)) == metric


def test_hits_at_k_is_that_of_ogb():
    if find_spec("ogb") is None:  # importing it asks the network
        pytest.skip("the extra `ogb` is not installed")
    metric = find_metric("hits@2")
    score = torch.tensor([[0.9], [0.5], [0.1], [0.8], [0.6], [0.2]])
    target = torch.tensor([[1.0], [1.0], [1.0], [0.0], [0.0], [0.0]])
    assert metric.function(score, target) == pytest.approx(1 / 3)  # above 0.6


def test_hits_at_k_names_the_extra_that_it_needs(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ogb.linkproppred", None)
    with pytest.raises(ValueError, match=r"`ogb` is needed to compute hits@20 .*graphlth\[ogb\]"):
        find_metric("hits@20").function(OUT[:, :1], TAGS[:, :1])


@pytest.mark.parametrize(
    ("find", "given", "message"),
    [
        (find_metric, "auc", "`metric` must be one of accuracy, average_precision, f1_macro, "
                             "f1_micro, mae, rmse, roc_auc, hits@<k>, or .* got 'auc'"),
        (find_metric, "hits@0", "got 'hits@0'"),
        (find_metric, max, "a graphlth.metrics.Metric of your own, got builtin_function"),
        (find_loss, "ce", "`loss` must be one of binary_cross_entropy, cross_entropy, mae, mse, "
                          r"or a function of \(output, batch\), got 'ce'"),
        (find_loss, 3, "got int"),
    ],
)  # fmt: skip
def test_an_unknown_name_lists_the_known_ones(find, given, message):
    with pytest.raises(ValueError, match=message):
        find(given)


def test_a_metric_of_ones_own_needs_a_direction_and_a_function():
    with pytest.raises(ValueError, match="`direction` must be max or min, got 'up'"):
        Metric("mcc", "up", max)
    with pytest.raises(ValueError, match=r"`function` must be a function of .*, got str"):
        Metric("mcc", "max", "mcc")


def test_a_metric_that_cannot_be_computed_is_refused_in_one_line():
    empty = Metric("nan", "max", lambda out, target: float("nan"))
    for metric, message in ((empty, "must be finite, got nan for nan of 5 rows"),
                            (find_metric("rmse"), "but rmse cannot be computed: ."),
                            (find_metric("mae"), "must be finite, got nan for mae")):  # fmt: skip
        total = MetricSum(metric)
        total.add(OUT if metric is empty else OUT * math.nan, NUMBERS)
        with pytest.raises(ValueError, match=message) as caught:
            total.value()
        assert "\n" not in str(caught.value)


# --- a task with a loss and a metric -------------------------------------------------------------


def regression(**about):
    graph = data()
    graph.y = graph.x[:, 0] * 2 + 1
    return NodeTask(graph, loss="mse", **about)


def test_numbers_of_nodes_are_predicted_and_the_best_epoch_is_the_lowest_error():
    task = regression()
    assert task.num_classes == 1 and task.y.shape == (16, 1) and task.metric.name == "rmse"
    model = build("gcn", task, dropout=0.0)
    ticket = dense(model, task.num_edges)
    best = fit(model, task, ticket, epochs=30, lr=0.05)
    epochs = list(retrain(model, task, ticket, epochs=30, lr=0.05))
    assert best.val == min(e.val for e in epochs) < max(e.val for e in epochs)
    rows = task.rows["test"]
    fit(model, task, ticket, epochs=30, lr=0.05)
    error = predict(model, task, best) - task.y[rows]
    assert best.test == pytest.approx(error.square().mean().sqrt().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("about", "y", "message"),
    [
        ({"loss": "mse", "metric": "accuracy"}, None, "one of numbers where .* rmse, got 'acc"),
        ({"loss": "mse"}, torch.full((16,), math.nan), "`data.y` must be finite, got NaN"),
        ({"loss": "mse"}, torch.ones(15), r"`data.y` must be real numbers \[16\] or \[16, targ"),
        ({"loss": "nll"}, None, "`loss` must be one of"),
        ({"metric": "auc"}, None, "`metric` must be one of"),
    ],
)
def test_a_wrong_loss_metric_or_target_is_refused(about, y, message):
    graph = data()
    graph.y = graph.y if y is None else y
    with pytest.raises(ValueError, match=message):
        NodeTask(graph, **about)


def test_numbers_are_part_of_the_content():
    task, graph = regression(), data()
    graph.y = graph.x[:, 0] * 2 + 1.25
    assert NodeTask(graph, loss="mse").content() != task.content()
    assert NodeTask(graph, loss="mse").fingerprint() == task.fingerprint()


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_trains_with_every_algorithmic_part(loss):
    graph = data()
    if loss == "binary_cross_entropy":
        graph.y = torch.stack([graph.y, 1 - graph.y], 1).float()
    elif loss != "cross_entropy":
        graph.y = graph.x[:, :2]
    task = NodeTask(graph, loss=loss)
    model = build("gcn", task, dropout=0.0)
    masks = dense(model, task.num_edges).masks
    losses = [e.loss for e in train(model, task, masks, epochs=20, lr=0.05)]
    assert losses[-1] < losses[0]
    soft, _ = train_masks(model, task, masks, epochs=3, l1_edges=1e-2, l1_weights=1e-2, lr=0.01,
                       weight_decay=0.0, noise=1e-3, seed=0)  # fmt: skip
    assert soft.keys() == masks.keys()


def by_direction(vals, direction):
    return best_epoch([Epoch(i, 0.0, v, 0.0) for i, v in enumerate(vals)],
                      Metric("m", direction, max)).index  # fmt: skip


@pytest.mark.parametrize(
    ("vals", "highest", "lowest"),
    [([0.1, 0.3, 0.3], 1, 0), ([2.0, 1.0, 1.0], 0, 1), ([-1.0, -2.0], 0, 1), ([5.0], 0, 0)],
)
def test_the_best_epoch_is_the_first_of_the_best_in_its_direction(vals, highest, lowest):
    assert by_direction(vals, "max") == highest and by_direction(vals, "min") == lowest


@pytest.mark.parametrize("direction", ["max", "min"])
def test_retraining_masks_and_test_scores_go_by_the_direction(direction):
    """What is best so far decides when test data are looked at, and which weights are kept."""
    task = toy()
    task.metric = Metric("mean logit", direction, lambda out, target: out.mean().item())
    model = build("gcn", task, dropout=0.0)
    ticket = dense(model, task.num_edges)
    found = fit(model, task, ticket, epochs=12, lr=0.05)
    again = list(retrain(model, task, ticket, epochs=12, lr=0.05))
    best = (max if direction == "max" else min)(e.val for e in again)
    assert found.val == best
    looked = [e.index for e in again if not math.isnan(e.test)]
    so_far = [i for i, e in enumerate(again)
              if all(task.metric.better(e.val, b.val) for b in again[:i])]  # fmt: skip
    assert looked == sorted({*so_far, len(again) - 1})


# --- a loss that sees a teacher ------------------------------------------------------------------


def test_distillation_pulls_the_logits_to_those_of_a_teacher():
    task = toy()
    teacher = build("gcn", task, seed=5, hidden=32)
    trained = fit(teacher, task, dense(teacher, task.num_edges), epochs=30, lr=0.05)
    with torch.no_grad():
        logits = torch.zeros(16, 2)
        for split in ("train", "val", "test"):
            logits[task.rows[split]] = predict(teacher, task, trained, split)

    def distill(output, batch):  # L + λ KL(teacher ‖ student), as TEDDY's (arXiv:2402.01261)
        of_teacher = logits[batch.rows].log_softmax(1)
        kl = F.kl_div(output.log_softmax(1), of_teacher, reduction="batchmean", log_target=True)
        return F.cross_entropy(output, batch.target) + 10 * kl

    apart = []
    for data_ in (task, with_loss(task, distill)):
        student = build("gcn", task, seed=1, dropout=0.0)
        cut = dense(student, task.num_edges)
        best = fit(student, data_, cut, epochs=60, lr=0.05)
        rows = task.rows["train"]
        out = predict(student, task, best, "train")
        assert math.isfinite(best.loss)
        apart.append(F.kl_div(out.log_softmax(1), logits[rows].log_softmax(1),
                              reduction="batchmean", log_target=True).item())  # fmt: skip
    assert apart[1] < apart[0]
    assert task.loss is not with_loss(task, distill).loss


def test_with_loss_leaves_the_task_as_it_is_and_takes_a_metric():
    task = toy()
    other = with_loss(task, "cross_entropy", "f1_macro")
    assert task.metric is ACCURACY and other.metric is METRICS["f1_macro"]
    model = build("gcn", task)
    (f1,) = evaluate(model, other, {}, ("val",))
    with torch.no_grad():
        out = predict(model, task, dense(model, task.num_edges), "val")
    y = task.y[task.rows["val"]]
    assert f1 == pytest.approx(sklearn.f1_score(y, out.argmax(1), average="macro"))
    assert isinstance(f1, float) and not isinstance(f1, np.floating)
    assert task.loss(out, Batch((), y)) == F.cross_entropy(out, y)


@pytest.mark.parametrize("target", [CLASSES[:2], NUMBERS[:2, :1], NUMBERS[:1]])
def test_absolute_errors_are_of_targets_of_the_shape_of_the_outputs(target):
    total = MetricSum(find_metric("mae"))
    with pytest.raises(ValueError, match=r"mae cannot be computed: .*numbers \[2, 2\]"):
        total.add(OUT[:2], target)  # which broadcasts


def test_a_metric_without_a_function_computes_nothing():
    with pytest.raises(ValueError, match=r"`metric` must have a function .* got 'own'"):
        MetricSum(Metric("own", "max"))


@pytest.mark.parametrize(("metric", "got"), [(None, "None"), ("mae", "'mae': see graphlth")])
def test_the_metric_of_a_task_of_ones_own_is_one(metric, got):
    task = toy()
    task.metric = metric
    model = build("gcn", task)
    with pytest.raises(ValueError, match=f"`metric` of the task must be .*Metric, got {got}"):
        fit(model, task, dense(model, task.num_edges), epochs=1)
