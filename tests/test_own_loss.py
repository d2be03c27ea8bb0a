"""Losses and metrics of a user's own that are wrong: one line that names the argument."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toys import Pictures, build, data, toy

import graphlth as glt
from graphlth.data.losses import find_loss, with_loss
from graphlth.data.node import NodeTask
from graphlth.metrics import Metric
from graphlth.ticket import dense

CONTRACT = (
    r"^`loss` must be a function loss\(output, batch\) -> scalar tensor with a gradient, got "
)
LOSSES = {  # a loss, what is said of it
    "a float": (lambda out, batch: 1.0, "float: return the tensor that torch computes$"),
    "None": (lambda out, batch: None, "NoneType: return"),
    "a vector": (
        lambda out, batch: F.cross_entropy(out, batch.target, reduction="none"),
        r"a tensor \[\d+\]: return its mean\(\)$",
    ),
    "detached": (
        lambda out, batch: F.cross_entropy(out.detach(), batch.target),
        "one that is detached from the output: remove no_grad, detach, item and argmax from it$",
    ),
    "raises": (lambda out, batch: out @ out, "one that raises RuntimeError: .*mend it; targets"),
    "another argument": (lambda out, batch: F.cross_entropy(out, batch), "one that raises TypeErr"),
}
ARGUMENTS = {
    "a module": (nn.CrossEntropyLoss(), "CrossEntropyLoss, which takes a target: give lambda out"),
    "a function": (F.cross_entropy, "cross_entropy, which takes a target: give lambda"),
    "one argument": (lambda out: out.sum(), r"<lambda>\(out\): take these two arguments, and bind"),
    "three": (lambda a, b, c: a.sum(), r"<lambda>\(a, b, c\): take these two"),
}


@pytest.mark.parametrize("task", [toy(), Pictures()], ids=["graph", "images"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_gives_something_else_is_refused_in_fit(name, task):
    loss, said = LOSSES[name]
    own = with_loss(task, loss)
    model = build("gcn" if task.num_edges else "mlp", task)
    with pytest.raises(ValueError, match=CONTRACT + said) as error:
        glt.fit(model, own, dense(model, task.num_edges), epochs=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_loss_of_other_arguments_is_refused_where_it_is_given(name):
    loss, said = ARGUMENTS[name]
    with pytest.raises(ValueError, match=CONTRACT + said):
        with_loss(toy(), loss)


def test_a_score_of_gradients_refuses_the_same_losses():
    model, task = build("gcn", toy()), with_loss(toy(), LOSSES["a float"][0])
    with pytest.raises(ValueError, match=CONTRACT + "float"):
        next(glt.at_init(model, task, score="snip", rounds=1))


def test_an_output_that_is_detached_is_said_of_the_model():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(6, 2)

        def forward(self, x, edge_index, edge_weight=None):
            return self.map(x).detach()

    with pytest.raises(ValueError, match=r"`model` must return an output that depends on its w"):
        glt.fit(model := Detached(), toy(), dense(model, edges=False), epochs=1)


@pytest.mark.parametrize(("task", "got"), [("karate", r"'karate': use .*\(\)$"), (3, "int$")])
def test_what_is_no_task_has_no_other_loss(task, got):
    with pytest.raises(ValueError, match=f"^`task` must be a task, such as a NodeTask, got {got}"):
        with_loss(task, "cross_entropy")


# --- of which targets ----------------------------------------------------------------------------


def numbers(binary=False, **about):
    graph = data()
    graph.y = graph.y.float() if binary else graph.y + 0.5
    return NodeTask(graph, loss="binary_cross_entropy" if binary else "mse", **about)


def without_a_class(**about):
    graph = data()
    graph.val_mask &= graph.y == 0
    return NodeTask(graph, **about)


def of_three(**about):
    graph = data()
    graph.y = torch.arange(16) % 3
    return NodeTask(graph, **about)


MAKE = {
    "rmse": (NodeTask, "rmse", "of classes where `data.y` are, such as accuracy, got 'rmse': or g"),
    "mae": (NodeTask, "mae", "of classes where `data.y` are, such as accuracy, got 'mae'"),
    "accuracy": (numbers, "accuracy", "of numbers where `data.y` are, such as rmse, got 'accuracy"),
    "f1": (numbers, "f1_macro", "of numbers where .* others than 0 and 1, such as rmse, got 'f1_"),
    "roc_auc": (numbers, "roc_auc", "of numbers where .* others than 0 and 1, such as rmse, got"),
    "gap": (without_a_class, "roc_auc", "'roc_auc', which needs .* none of val is of class 1: use"),
    "hits": (of_three, "hits@5", "of several classes, .* got 'hits@5', which is of two, for 3"),
}


@pytest.mark.parametrize("name", MAKE)
def test_a_metric_of_other_targets_is_refused_where_the_task_is_made(name):
    make, metric, said = MAKE[name]
    given = (data(),) if make is NodeTask else ()
    with pytest.raises(ValueError, match=f"^`metric` must be one .*{said}"):
        make(*given, metric=metric)
    task = make(*given)
    with pytest.raises(ValueError, match=f"^`metric` must be one .*{said}"):
        with_loss(task, task.loss, metric)


def test_a_metric_of_rankings_takes_numbers_of_0_and_1():
    assert numbers(binary=True, metric="average_precision").metric.name == "average_precision"


@pytest.mark.parametrize(("task", "loss"), [(toy(), "mse"), (numbers(), "cross_entropy")])
def test_a_named_loss_of_other_targets_is_refused(task, loss):
    with pytest.raises(ValueError, match=f"`loss` must be one of .*, got '{loss}', which is of"):
        with_loss(task, loss)


def test_a_loss_of_ones_own_is_of_any_targets():
    assert with_loss(toy(), own := (lambda out, batch: out.mean())).loss is own
    assert find_loss(own) is own


# --- metrics of a user's own ---------------------------------------------------------------------

METRICS = {
    "raises": (Metric("a", "max", lambda out, target: 1 / 0), "a cannot be computed: ZeroDiv"),
    "NaN": (Metric("a", "max", lambda out, target: float("nan")), "finite, got nan for a"),
    "None": (
        Metric("a", "max", lambda out, target: None),
        "a cannot be computed: TypeError: float",
    ),
    "vector": (Metric("a", "max", lambda out, target: out[:, 0]), "a cannot be computed: "),
    "rows": (
        Metric("a", "max", lambda out, target: out.mean(), per_row=True),
        r"give one number for each of \d+ rows with `per_row`, got \[\] of a: return a tensor",
    ),
    "row float": (Metric("a", "max", lambda out, target: 1.0, per_row=True), "got float of a"),
    "row raises": (
        Metric("a", "max", lambda out, target: out[99], per_row=True),
        "a cannot be computed: IndexError",
    ),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_gives_something_else_is_refused_in_a_line(name):
    metric, said = METRICS[name]
    task = NodeTask(data(), metric=metric)
    model = build("gcn", task)
    with pytest.raises(ValueError, match=f"^`metric` must .*{said}"):
        glt.fit(model, task, dense(model, task.num_edges), epochs=1)


def test_a_metric_without_a_function_is_refused_where_the_task_is_made():
    said = r"^`metric` must have a function .*, got 'a' without one: give Metric\('a', 'max', func"
    with pytest.raises(ValueError, match=said):
        NodeTask(data(), metric=Metric("a", "max"))
    with pytest.raises(ValueError, match=r"^`name` must be the text that records call it by, got"):
        Metric(3, "max", lambda out, target: 1.0)
