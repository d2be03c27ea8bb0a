"""Tasks of many graphs: what a batch holds, what masks remove, what labels and splits must be."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.datasets import FakeDataset

from graphlth.data.graphs import GraphTask
from graphlth.data.published import DataWarning
from graphlth.evaluators import ogb_evaluator
from graphlth.metrics import Metric
from graphlth.prune import drop_jointly
from graphlth.registry import find
from graphlth.scores.random import random

nan = float("nan")


def small_graphs(count=20, weighted=False, seed=3):
    """Graphs of 1 to 7 nodes and two classes: loops, repeated and one-way edges, one without any.

    Features of edges are their two ends, so that an edge is known by them.
    """
    draw = torch.Generator().manual_seed(seed)
    graphs = []
    for i in range(count):
        n = 1 + i % 7
        pairs = torch.randint(n, (2, (i * 3) % 11), generator=draw)
        edge_index = torch.cat([pairs, pairs.flip(0)[:, : pairs.size(1) - 1]], dim=1)
        weight = 0.5 + torch.rand(edge_index.size(1), generator=draw)
        about = {"edge_weight": weight} if weighted else {}
        x = torch.randn(n, 4, generator=draw)
        graphs.append(Data(x=x, edge_index=edge_index, y=torch.tensor([i % 2]),
                           edge_attr=edge_index.T.float(), pos=x[:, :2], scale=x[:1, :1],
                           **about))  # fmt: skip
    return graphs


def molecules(count=20):
    """Graphs with three labels of 0 and 1, a third of them missing."""
    graphs = small_graphs(count)
    for i, graph in enumerate(graphs):
        graph.y = torch.tensor([[i % 2, (i // 2) % 2, (i // 4) % 2]]).float()
        graph.y[0, i % 3] = nan
    return graphs


def edges_of(data):
    """The edges of a batch of graphs as triples of graph and ends within it, sorted."""
    start = data.ptr[data.batch[data.edge_index[0]]]
    ends = (data.edge_index - start).T.tolist()
    return sorted(zip(data.batch[data.edge_index[0]].tolist(), *zip(*ends, strict=True),
                      strict=True))  # fmt: skip


@pytest.mark.parametrize("batch_size", [0, 3, 5])
def test_a_batch_is_what_pyg_makes_of_its_graphs(batch_size):
    graphs = small_graphs()
    task = GraphTask(graphs, batch_size=batch_size)
    for split in ("train", "val", "test"):
        for batch in task.whole(split):
            data, start = batch.data, int(batch.data.ptr[0])
            sizes = data.ptr.diff().tolist()
            assert start == 0 and data.num_graphs == len(batch.target) == len(sizes)
        parts = task.evaluate_every if split == "train" else 1
        rows = task.rows[split].tensor_split(parts)
        for batch, own in zip(task.whole(split), rows, strict=True):
            other = Batch.from_data_list([graphs[i] for i in own])
            for name in ("x", "batch", "ptr", "pos", "scale"):
                assert torch.equal(batch.data[name], other[name]), name
            assert edges_of(batch.data) == edges_of(other)
            assert torch.equal(batch.target, other.y)
            start = batch.data.ptr[batch.data.batch[batch.data.edge_index[0]]]
            ends = (batch.data.edge_index - start).T.float()
            assert torch.equal(batch.data.edge_attr, ends)  # features stay on their edge


def test_each_pass_is_a_permutation_of_the_training_graphs_drawn_from_the_seed():
    task = GraphTask(small_graphs(), batch_size=3)
    sizes = [len(batch.target) for batch in task.batches("train")]
    assert sizes == [3, 3, 3, 3, 2, 2]  # none is much smaller than another
    assert task.evaluate_every == len(sizes)
    passes = [
        torch.cat([b.data.scale for b in task.batches("train", seed, index)]).flatten()
        for seed, index in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    whole = torch.cat([b.data.scale for b in task.whole("train")]).flatten()
    for each in passes:
        assert torch.equal(each.sort().values, whole.sort().values)
    assert torch.equal(passes[0], passes[3])
    assert not torch.equal(passes[0], passes[1]) and not torch.equal(passes[0], passes[2])


@pytest.mark.parametrize("edges", ["undirected", "directed"])
@pytest.mark.parametrize("batch_size", [0, 4])
def test_without_an_entry_its_columns_are_gone_and_others_stay(edges, batch_size):
    task = GraphTask(small_graphs(), edges=edges, batch_size=batch_size)
    mask = (torch.arange(task.num_edges) % 3 > 0).float()
    cut = task.without(mask)
    for split in ("train", "val", "test"):
        for a, b in zip(task.batches(split, 2, 1), cut.batches(split, 2, 1), strict=True):
            keep = torch.cat([mask, mask.new_ones(1)])[a.columns["edges"]] != 0
            assert torch.equal(a.data.edge_index[:, keep], b.data.edge_index)
            assert torch.equal(a.data.edge_attr[keep], b.data.edge_attr)
            assert torch.equal(a.entries[keep], b.entries)
            assert b.edge_weight is None and bool(keep.all()) == (split != "train")


def test_the_two_directions_of_a_pair_and_its_repetitions_share_an_entry():
    pairs = torch.tensor([[0, 1, 0, 1, 2], [1, 0, 1, 2, 2]])
    graphs = [Data(x=torch.ones(3, 1), edge_index=pairs, y=torch.tensor([i % 2]))
              for i in range(20)]  # fmt: skip
    undirected, directed = GraphTask(graphs), GraphTask(graphs, edges="directed")
    train = len(undirected.rows["train"])
    assert undirected.num_edges == 3 * train and directed.num_edges == 4 * train
    batch = next(undirected.batches("train"))
    assert batch.entries[:5].unique().numel() == 3 and batch.data.edge_index.size(1) == 5 * train
    for graph in graphs:
        graph.edge_type = torch.tensor([0, 0, 1, 0, 0])  # the repeated edge has a type of its own
    assert GraphTask(graphs).num_edges == 4 * train


def test_a_soft_entry_multiplies_the_weight_of_its_edge_and_a_weight_of_0_is_no_edge():
    graphs = small_graphs(weighted=True)
    for graph in graphs:
        graph.edge_weight[:1] = 0
    task = GraphTask(graphs)
    count = sum(g.num_edges - (g.num_edges > 0) for g in graphs)
    assert task.graphs.edge_index.size(1) == count
    half = task.without(torch.full((task.num_edges,), 0.5))
    a, b = next(task.batches("train")), next(half.batches("train"))
    assert torch.equal(b.edge_weight, 0.5 * a.edge_weight)
    assert torch.equal(b.data.edge_weight, b.edge_weight)
    assert torch.equal(next(half.batches("val")).edge_weight, next(task.batches("val")).edge_weight)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**16), st.sampled_from(["graph", "global"]), st.sampled_from([0.05, 0.3]))
def test_every_graph_loses_its_own_share_round_after_round(seed, budget, fraction):
    task = GraphTask(small_graphs(30, seed=seed), budget=budget)
    model = torch.nn.Linear(1, 1)
    groups = GraphTask(small_graphs(30, seed=seed)).edge_groups
    before = None
    for ticket in _random_tickets(model, task, fraction):
        mask = ticket["edges"]
        if before is not None:
            assert int(mask.sum()) == int(before.sum()) - round(fraction * int(before.sum()))
            assert bool((mask <= before).all()) or budget == "graph"
            own = [(int(before[groups == g].sum()), int(mask[groups == g].sum()))
                   for g in groups.unique()]  # fmt: skip
            if budget == "graph":
                assert all(abs(a - b - fraction * a) < 1 for a, b in own)
        before = mask


def _random_tickets(model, task, fraction):
    masks = {"edges": torch.ones(task.num_edges)}
    scores = random(model, task, masks, seed=0)
    for _ in range(4):
        yield masks
        masks = drop_jointly(masks, scores, 0.0, fraction, groups=task.edge_groups)


@pytest.mark.parametrize("score", ["degree", "jaccard", "random", "similarity", "spectral"])
def test_a_score_removes_the_same_share_of_each_unseen_graph(score):
    graphs = small_graphs(40)
    named = find("scores", score)
    task = GraphTask(graphs, unseen=named if score == "random" else score)
    mask = (torch.rand(task.num_edges, generator=torch.Generator().manual_seed(0)) < 0.6).float()
    share = 1 - int(mask.sum()) / task.num_edges
    cut = task.without(mask)
    assert cut.num_edges == task.num_edges
    whole = GraphTask(graphs)
    gone = 0
    for split in ("val", "test"):
        pairs = [
            [len({tuple(sorted(e[1:])) for e in edges_of(b.data) if e[0] == g} if b.data.num_edges
                 else ()) for b in t.whole(split) for g in range(b.data.num_graphs)]
            for t in (whole, cut)
        ]  # fmt: skip
        for before, after in zip(*pairs, strict=True):
            assert abs(before - after - share * before) < 1
            gone += before - after
    assert gone > 0
    assert torch.equal(next(cut.batches("train")).data.edge_index,
                       next(whole.without(mask).batches("train")).data.edge_index)  # fmt: skip


def test_missing_labels_are_left_out_of_the_loss_and_the_metric_as_ogb_does():
    task = GraphTask(molecules(60), loss="binary_cross_entropy")
    assert task.num_classes == 3 and task.metric.name == "roc_auc"
    (batch,) = task.whole("test")
    out = torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(0))
    known = ~batch.target.isnan()
    expected = F.binary_cross_entropy_with_logits(out[known], batch.target[known])
    assert torch.equal(task.loss(out, batch), expected)
    y, score = batch.target.numpy(), out.numpy()
    for name, function in (("roc_auc", roc_auc_score), ("average_precision",
                                                        average_precision_score)):  # fmt: skip
        task = GraphTask(molecules(60), loss="binary_cross_entropy", metric=name)
        columns = [~np.isnan(y[:, t]) for t in range(3)]
        each = [function(y[k, t], score[k, t]) for t, k in enumerate(columns)]
        assert task.metric.function(out, batch.target) == pytest.approx(np.mean(each))


def test_the_metric_is_that_of_ogbs_evaluator():
    found = ogb_evaluator("graph", "ogbg-moltox21", "compare")
    task = GraphTask(molecules(60), loss="binary_cross_entropy")
    (batch,) = task.whole("test")
    out = torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(1))
    found.num_tasks = 3
    there = found.eval({"y_true": batch.target.numpy(), "y_pred": out.numpy()})["rocauc"]
    assert task.metric.function(out, batch.target) == pytest.approx(there)


def test_a_batch_without_a_known_label_has_a_loss_of_0_and_a_gradient():
    graphs = molecules(30)
    task = GraphTask(graphs, loss="binary_cross_entropy")
    batch = next(task.batches("train"))
    out = torch.randn(len(batch.target), 3, requires_grad=True)
    loss = task.loss(out, SimpleNamespace(target=torch.full_like(batch.target, nan)))
    loss.backward()
    assert loss == 0 and not out.grad.any()


KINDS = [  # loss, metric: its name
    ("cross_entropy", None, "accuracy"),
    ("cross_entropy", "f1_macro", "f1_macro"),
    ("mse", None, "rmse"),
    ("mae", None, "mae"),
    ("mse", "mae", "mae"),
    (lambda out, batch: out.mean(), None, "accuracy"),
]


@pytest.mark.parametrize(("loss", "metric", "name"), KINDS)
def test_a_loss_has_its_metric(loss, metric, name):
    graphs = small_graphs()
    if loss in ("mse", "mae"):
        for i, graph in enumerate(graphs):
            graph.y = torch.tensor([[i / 7, -i / 3]])
    task = GraphTask(graphs, loss=loss, metric=metric)
    assert task.metric.name == name and task.num_classes == 2


def changed(**about):
    """Graphs of which the fourth has other attributes; None takes one away."""
    graphs = small_graphs()
    for key, value in about.items():
        graphs[3][key] = value
    return graphs


def labels(make, count=20):
    graphs = small_graphs(count)
    for i, graph in enumerate(graphs):
        graph.y = make(i)
    return graphs


halves = {"train": range(10), "val": [10, 11, 12, 13], "test": [14, 15]}
binary = {"loss": "binary_cross_entropy"}
WRONG = [
    (lambda: 3, {}, "`graphs` must be a list of PyG `Data`, or a dataset of them, got int"),
    (lambda: small_graphs(2), {}, "`graphs` must be three at least, one for each split, got 2"),
    (lambda: [HeteroData()] * 3, {}, r"`graphs\[0\]` must be a PyG `Data`, got HeteroData"),
    (lambda: changed(x=None), {}, r"`graphs\[3\].x` is missing: give each node features"),
    (lambda: changed(x=torch.ones(4, 3)), {}, r"`graphs\[3\].x` must be like that of the first"),
    (lambda: changed(x=torch.full((4, 4), nan)), {}, r"`graphs\[3\].x` must be finite"),
    (lambda: changed(edge_index=torch.tensor([[0], [9]])), {},
     r"`graphs\[3\].edge_index` must be in \[0, 4\), got 9"),
    (lambda: changed(edge_index=torch.tensor([[0.0], [1]])), {},
     r"`graphs\[3\].edge_index` must hold int64 node numbers"),
    (lambda: changed(y=None), {}, r"`graphs\[3\].y` is missing"),
    (lambda: changed(y=torch.tensor([1, 2])), {}, r"`graphs\[3\].y` must be real numbers of one"),
    (lambda: labels(lambda i: torch.tensor([i / 2])), {},
     r"`graphs\[0\].y` must be the number of a class, .* give a `loss` of numbers"),
    (lambda: labels(lambda i: torch.tensor([2 * (i % 2)])), {},
     "`y` must count classes without a gap, got none of class 1"),
    (lambda: labels(lambda i: torch.tensor([i % 2 - 1])), {"split": halves},
     "`y` must be at least 0 on the train graphs, got -1"),
    (lambda: labels(lambda i: torch.tensor([float(i)])), binary,
     r"`y` must be in \[0, 1\], or NaN .* got 2"),
    (lambda: labels(lambda i: torch.tensor([float("inf")])), {"loss": "mse"},
     r"`graphs\[0\].y` must be finite, or NaN where a label is missing"),
    (lambda: labels(lambda i: torch.tensor([nan if i > 9 else 1.0])),
     {"loss": "mse", "split": halves}, "`y` must be known of a graph that is in val"),
    (lambda: labels(lambda i: torch.tensor([float(i < 10)])), {**binary, "split": halves},
     "`metric` must be one that the data have, got 'roc_auc', .* and val has none"),
    (lambda: molecules(), {**binary, "metric": "f1_macro"},
     "`metric` must be one of roc_auc, .* where labels are missing, got 'f1_macro'"),
    (lambda: molecules(), {**binary, "metric": "accuracy"},
     "`metric` must be one of numbers where"),
    (lambda: small_graphs(), {"metric": "rmse"}, "`metric` must be one of classes where"),
    (lambda: small_graphs(), {"loss": "hinge"}, "`loss` must be one of binary_cross_entropy"),
    (lambda: small_graphs(), {"split": "public"}, '`split` must be "random", or graphs by'),
    (lambda: small_graphs(), {"split": {"train": [0]}}, "`split` must have train, val"),
    (lambda: small_graphs(), {"split": {**halves, "val": []}}, "`split` must give 'val' at least"),
    (lambda: small_graphs(), {"split": {**halves, "val": [20]}},
     r"`split` must be in \[0, 20\), got 20 in 'val'"),
    (lambda: small_graphs(), {"split": {**halves, "val": [9]}},
     "`split` must not overlap or repeat, got graph 9 2 times"),
    (lambda: small_graphs(), {"split": {**halves, "val": [0.5]}},
     "`split` must be numbers of graphs, or a mask of 20, in 'val'"),
    (lambda: small_graphs(4), {}, '`split` "random" must leave a graph to test'),
    (lambda: small_graphs(), {"edges": "both"}, '`edges` must be "undirected" or "directed"'),
    (lambda: small_graphs(), {"budget": "node"}, '`budget` must be "graph" or "global", got'),
    (lambda: small_graphs(), {"unseen": "snip"}, "`unseen` must be whole, or a score of edges"),
    (lambda: small_graphs(), {"batch_size": -1}, "`batch_size` must be"),
    (lambda: changed(edge_weight=1), {}, None),  # of one graph alone: not read
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::graphlth.data.published.DataWarning")
@pytest.mark.parametrize(("make", "about", "said"), WRONG)
def test_what_is_wrong_is_said_in_one_line(make, about, said):
    if said is None:
        GraphTask(make(), **about)
        return
    with pytest.raises(ValueError, match=f"^{said}") as caught:
        GraphTask(make(), **about)
    assert "\n" not in str(caught.value)


def test_weights_of_edges_must_be_numbers_of_at_least_0():
    graphs = small_graphs(weighted=True)
    graphs[2].edge_weight = -graphs[2].edge_weight
    with pytest.raises(ValueError, match=r"`edge_weight` of the graphs must be .* at least 0"):
        GraphTask(graphs)


def test_what_no_batch_holds_is_told():
    graphs = small_graphs()
    for graph in graphs:
        graph.smiles = "CC"
    with pytest.warns(DataWarning, match="`smiles` of the graphs is not read"):
        task = GraphTask(graphs)
    assert task.notes == ("`smiles` of the graphs is not read: batches hold what has a row for "
                          "each node, edge or graph",)  # fmt: skip


def test_a_dataset_gives_its_own_split_and_a_mask_is_one():
    class Dataset(list):
        def get_idx_split(self):
            valid = torch.zeros(20, dtype=torch.bool)
            valid[[3, 6]] = True
            return {"train": torch.tensor([0, 1, 2, 5]), "valid": valid, "test": np.array([9, 4])}

    task = GraphTask(Dataset(small_graphs()))
    assert {part: rows.tolist() for part, rows in task.rows.items()} == {
        "train": [0, 1, 2, 5], "val": [3, 6], "test": [9, 4]}  # fmt: skip
    assert GraphTask(Dataset(small_graphs()), split="random").rows["train"].numel() == 16


def test_the_random_split_has_every_class_in_its_shares_and_is_that_of_its_seed():
    graphs = labels(lambda i: torch.tensor([int(i % 4 == 0)]), 80)
    task = GraphTask(graphs, split_seed=1)
    for part, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        y = task.y[task.rows[part]]
        assert (len(y), int(y.sum())) == (80 * share, 20 * share)
    again, other = GraphTask(graphs, split_seed=1), GraphTask(graphs, split_seed=2)
    assert task.content() == again.content() != other.content()


def test_classes_that_count_from_1_are_named():
    task = GraphTask(labels(lambda i: torch.tensor([1 + i % 2])))
    assert task.label_names == ("1", "2") and task.y.max() == 1


CONTENT = [  # what is changed of the graphs: whether a ticket still fits, and whether a run is one
    (lambda g: None, True, True),
    (lambda g: g.x.add_(1), False, False),
    (lambda g: g.edge_attr.add_(1), False, False),
    (lambda g: g.__setattr__("y", 1 - g.y), True, False),
]


@pytest.mark.parametrize(("change", "fits", "same"), CONTENT)
def test_the_digests_are_of_what_models_read_and_of_labels(change, fits, same):
    split = {"train": range(16), "val": [16, 17], "test": [18, 19]}
    task, graphs = GraphTask(small_graphs(), split=split), small_graphs()
    change(graphs[4]), change(graphs[5])
    other = GraphTask(graphs, split=split)
    assert (task.fingerprint() == other.fingerprint()) == fits
    assert (task.content() == other.content()) == same


def test_a_metric_of_ones_own_is_given_outputs_and_targets_as_they_are():
    metric = Metric("missing", "min", lambda out, y: y.isnan().float().mean())
    task = GraphTask(molecules(), loss="binary_cross_entropy", metric=metric)
    value, _ = task.evaluate("test", lambda batch: torch.zeros(batch.target.shape))
    assert value == pytest.approx(1 / 3)


def test_a_dataset_in_memory_is_a_list_of_graphs():
    dataset = FakeDataset(12, avg_num_nodes=6, num_classes=2)
    task = GraphTask(dataset, split="random")
    assert task.graphs.count == 12 and task.num_features == dataset.num_features


def test_a_label_without_a_dimension_is_one_class():
    ring = torch.stack([torch.arange(4), torch.arange(4).roll(1)])
    graphs = [Data(x=torch.eye(4), edge_index=ring, y=torch.tensor(i % 2)) for i in range(10)]
    assert GraphTask(graphs, split="random").y.tolist() == [i % 2 for i in range(10)]
