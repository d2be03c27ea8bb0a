"""What `graphlth.task.Task` promises holds for every task type and every plug-in."""

import math
from typing import get_type_hints

import pytest
import torch
from test_edge_weight import weighted
from test_graphs import molecules, small_graphs
from test_links import links
from toys import Pictures, data, toy

from graphlth.data.games import CartPole
from graphlth.data.graphs import GraphTask
from graphlth.data.images import ImageTask
from graphlth.data.links import LinkTask
from graphlth.data.losses import with_loss
from graphlth.data.node import NodeTask
from graphlth.data.text import TextTask
from graphlth.metrics import Metric
from graphlth.registry import find, names
from graphlth.task import SPLITS, Batch, Task
from graphlth.training.evaluation import evaluate

TYPES = {NodeTask, LinkTask, GraphTask, ImageTask, TextTask, CartPole}
EMBEDDED = ("karate", "sbm", "digits", "digits_images", "text", "cartpole")  # without files
SMALL = {"batch_size": 3, "evaluate_every": 2, "val_size": 3, "test_size": 2}


def images(augment="none"):
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(256, (30, 1, 8, 8), dtype=torch.uint8, generator=draw)
    splits = {"train": 18, "val": 6, "test": 6}
    return ImageTask(x, torch.arange(30) % 3, splits, batch_size=4, evaluate_every=3,
                     augment=augment)  # fmt: skip


def numbers():
    about = data()
    about.y = torch.stack([torch.linspace(-1, 1, 16), torch.linspace(0, 3, 16)], 1)
    return NodeTask(about, loss="mse")


MADE = {
    "NodeTask, undirected": toy,
    "NodeTask, directed": lambda: toy("directed"),
    "NodeTask, weighted": weighted,
    "NodeTask, numbers": numbers,
    "NodeTask, another loss": lambda: with_loss(toy(), lambda out, batch: out.square().mean()),
    "LinkTask": links,
    "LinkTask, directed": lambda: links(edges="directed"),
    "LinkTask, unsupervised": lambda: links(loss="infoclust"),
    "GraphTask": lambda: GraphTask(small_graphs()),
    "GraphTask, directed": lambda: GraphTask(small_graphs(), edges="directed"),
    "GraphTask, weighted": lambda: GraphTask(small_graphs(weighted=True)),
    "GraphTask, labels missing": lambda: GraphTask(molecules(), loss="binary_cross_entropy"),
    "ImageTask": images,
    "ImageTask, augmented": lambda: images("crop-flip"),
    "TextTask": lambda: TextTask("the lazy dog; " * 60, context=8, batch_size=5, evaluate_every=3),
    "CartPole": lambda: CartPole(**SMALL),
}
CASES = [*MADE, *EMBEDDED]
every = pytest.mark.parametrize("case", CASES)


def make(case):
    if case in ("CartPole", "cartpole"):
        pytest.importorskip("gymnasium", reason="the extra `control` is not installed")
    return MADE[case]() if case in MADE else find("tasks", case)()


def outputs(task, batch):
    """Outputs for the scored rows [rows, C], which depend on the row."""
    draw = torch.Generator().manual_seed(len(batch.target))
    width = task.num_classes if batch.pairs is None else batch.target.size(1)
    return torch.randn(len(batch.target), width, generator=draw)


def splits(task):
    return [s for s in SPLITS if not (isinstance(task, CartPole) and s == "train")]


@pytest.mark.parametrize("name", names("tasks"))
def test_every_plugin_gives_a_type_that_is_tested_here(name):
    assert get_type_hints(find("tasks", name))["return"] in TYPES


@every
def test_a_task_says_what_it_is(case):
    task = make(case)
    assert isinstance(task.name, str) and task.name
    assert task.edges in ("undirected", "directed", None)
    assert (task.num_edges == 0) == (task.edges is None)
    for number in (task.num_features, task.num_classes, task.evaluate_every):
        assert isinstance(number, int) and number >= 1
    assert isinstance(task.metric, Metric) and callable(task.loss)
    assert Task in type(task).__mro__


@every
def test_a_batch_has_a_target_for_each_scored_row_and_entries_of_the_masks(case):
    task = make(case)
    for split in SPLITS:
        for batch in task.batches(split):
            assert (batch.entries is None) == (task.edges is None)
            if batch.entries is None:
                assert batch.rows is ... and len(batch.target) % len(batch.inputs[0]) == 0
                continue
            x, graph = batch.inputs
            assert len(batch.entries) == graph.num_edges
            assert int(batch.entries.max()) < task.num_edges
            if batch.of_graphs:
                assert len(batch.target) == batch.data.num_graphs
                assert bool(((batch.entries >= 0) == (split == "train")).all())
                continue
            rows = torch.arange(x.shape[0])[batch.rows] if batch.pairs is None else batch.pairs
            assert rows.size(-1) == len(batch.target) and int(rows.max()) < x.shape[0]
            assert int(batch.entries.min()) >= 0
            if batch.among is not None:
                nodes, places = batch.among
                assert torch.equal(nodes[places], batch.rows)
            if batch.edge_weight is not None:
                assert batch.edge_weight.shape == batch.entries.shape


@every
def test_the_loss_is_one_number_that_the_outputs_can_lower(case):
    task = make(case)
    batch = next(iter(task.batches("train")))
    out = outputs(task, batch).requires_grad_()
    loss = task.loss(out, batch)
    assert loss.shape == () and loss.isfinite()
    (grad,) = torch.autograd.grad(loss, out)
    assert grad.isfinite().all() and grad.any()


@every
def test_the_score_is_a_finite_metric_and_a_loss_where_there_is_no_graph(case):
    task = make(case)
    for split in ("val", "test"):
        value, loss = task.evaluate(split, lambda batch: outputs(task, batch))
        assert isinstance(value, float) and math.isfinite(value)
        known = task.edges is None and split == "val" and not isinstance(task, CartPole)
        assert math.isfinite(loss) is known
        assert task.metric.better(value, task.metric.worst)


@every
def test_a_span_is_that_of_its_seed_and_number(case):
    task, again = make(case), make(case)
    for a, b in zip(task.batches("train", 3, 1), again.batches("train", 3, 1), strict=True):
        assert torch.equal(a.target.nan_to_num(-1), b.target.nan_to_num(-1))
    for a, b in zip(task.batches("val"), task.batches("val", 5, 2), strict=True):
        assert torch.equal(a.target.nan_to_num(-1), b.target.nan_to_num(-1))


@every
def test_the_whole_of_a_split_is_every_row_once(case):
    task = make(case)
    for split in splits(task):
        rows = sum(len(batch.target) for batch in task.whole(split))
        if isinstance(task, CartPole):
            assert rows > 0
        else:
            size = getattr(task, "context", 1)
            assert rows == size * len(task.rows[split])


@every
def test_without_an_edge_it_is_gone_and_the_numbers_of_entries_stay(case):
    task = make(case)
    kept = torch.ones(task.num_edges)
    assert task.without(kept).fingerprint() == task.fingerprint()
    if task.edges is None:
        return
    kept[task.num_edges // 2] = 0
    cut = task.without(kept)
    assert cut.num_edges == task.num_edges and cut.fingerprint() != task.fingerprint()
    (batch,), (cut_batch,) = task.batches("train"), cut.batches("train")
    left = batch.entries[batch.entries != task.num_edges // 2]
    assert torch.equal(cut_batch.entries, left)
    assert cut.loss is task.loss and cut.metric is task.metric


@every
def test_digests_are_those_of_the_data_wherever_they_lie(case):
    task, again = make(case), make(case).to("cpu")
    for digest in (task.fingerprint(), task.content()):
        assert len(digest) == 16 and int(digest, 16) >= 0
    assert (task.fingerprint(), task.content()) == (again.fingerprint(), again.content())


@every
def test_a_policy_decides_the_batches_of_a_game_alone(case):
    task = make(case)
    played = task.with_policy(lambda x: torch.tensor([0.0, 99.0]).expand(len(x), 2))
    if isinstance(task, CartPole):
        assert next(iter(played.batches("train"))).target.unique().tolist() == [1]
    else:
        assert played is task


def test_a_task_of_ones_own_inherits_what_it_does_not_say():
    task = Pictures()
    assert task.metric.name == "accuracy" and task.with_policy(len) is task
    accuracy, loss = task.evaluate("val", lambda batch: outputs(task, batch))
    assert 0 <= accuracy <= 1 and loss > 0


def test_a_task_that_inherits_nothing_is_refused_in_one_line():
    class Bare:
        name, edges, num_edges, num_features, num_classes, evaluate_every = "b", None, 0, 6, 2, 1

        def batches(self, split, seed=0, index=0):
            yield Batch((torch.ones(3, 6),), torch.tensor([0, 1, 0]))

    with pytest.raises(ValueError, match=r"must have `loss`, got Bare .* graphlth.task.Task"):
        evaluate(torch.nn.Linear(6, 2), Bare(), {}, ("val",))
