"""Every score in the folder: what a score is; then each by its own values and laws."""

import inspect
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric import nn as pyg
from toys import GRAPH_MODELS, N, Pictures, build, data, toy, with_features

from graphlth import masks as M
from graphlth.compaction.channels import hidden_levels
from graphlth.data.node import NodeTask
from graphlth.models.image._vgg import vgg
from graphlth.prune import drop_jointly, drop_lowest
from graphlth.registry import find, names
from graphlth.rewinding import snapshot
from graphlth.scores.edges import effective_resistance as resistance
from graphlth.scores.edges import spectral
from graphlth.scores.edges._pairs import Pairs
from graphlth.scores.edges.similarity import cosine
from graphlth.sparse.backend import BACKENDS
from graphlth.sparse.features import sparse_features
from graphlth.sparse.message import weighted_sum
from graphlth.streams import stream_seed
from graphlth.task import Batch, Task

SCORES = names("scores")
OF_EDGES = ["degree", "effective_resistance", "jaccard", "similarity", "spectral"]
OF_CHANNELS = ["filter_norm", "norm_scale", "thinet"]
OF_WEIGHTS = [n for n in SCORES if n not in [*OF_EDGES, *OF_CHANNELS, "random"]]
OF_GRAPHS = [n for n in SCORES if n not in OF_CHANNELS]
OF_GRADIENTS = ["grasp", "snip", "taylor"]
every = pytest.mark.parametrize("name", SCORES)
of_edges = pytest.mark.parametrize("name", OF_EDGES)
of_weights = pytest.mark.parametrize("name", OF_WEIGHTS)
universes = pytest.mark.parametrize("edges", ["undirected", "directed"])
few = settings(max_examples=40, deadline=None, derandomize=True)


def score(name, model, task, masks, **how):
    """What the score says; θ₀, where it asks for it, is half of θ."""
    if name == "magnitude_increase":
        how = {"init": {n: t / 2 for n, t in snapshot(model).items()}, **how}
    return find("scores", name)(model, task, masks, **how)


def some_masks(model, task, share=0.3, seed=1):
    whole = M.ones(model, task.num_edges)
    return drop_jointly(whole, score("random", model, task, whole, seed=seed), share, share)


def alike(ours, theirs, rtol=1e-5, atol=1e-8):
    assert ours.keys() == theirs.keys()
    for n in ours:
        torch.testing.assert_close(ours[n].double(), theirs[n].double(), rtol=rtol, atol=atol)


class User(nn.Module):
    """What a PyG user has: layers with biases, a norm with running statistics, dropout."""

    def __init__(self, task):
        super().__init__()
        self.first = pyg.SAGEConv(task.num_features, 6)
        self.norm = nn.BatchNorm1d(6)
        self.last = pyg.GCNConv(6, task.num_classes)

    def forward(self, x, edge_index):
        x = self.norm(self.first(x, edge_index)).relu()
        return self.last(F.dropout(x, 0.5, self.training), edge_index)


class Table(Task):
    """Rows with a class each, in batches; no graph."""

    name, edges, num_edges = "table", "none", 0

    def __init__(self, x, y, size):
        self.x, self.y, self.size = x, y, size
        self.num_features, self.num_classes = x.size(1), int(y.max()) + 1

    def batches(self, split, seed=0, index=0):
        for x, y in zip(self.x.split(self.size), self.y.split(self.size), strict=True):
            yield Batch((x,), y)

    def fingerprint(self):
        return "table"


class MLP(nn.Module):
    """Layers without a bias, and ReLU between them."""

    def __init__(self, *widths):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o, bias=False) for i, o in pairwise(widths))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def table(seed=0, size=5):
    draw = torch.Generator().manual_seed(seed)
    return Table(torch.randn(12, 10, generator=draw), torch.arange(12) % 3, size)


# What every score is.


def shape_of_score(name, mask):
    """One number for each entry of `mask`, or for each hidden unit, a column of a GCN's weights."""
    return mask.shape[1:] if name in OF_CHANNELS else mask.shape


@universes
@every
def test_a_score_is_a_number_for_every_weight_edge_or_hidden_unit(name, edges):
    task = toy(edges)
    model = build("gcn", task)
    masks = some_masks(model, task)
    found = score(name, model, task, masks)
    weights, graph = set(M.only(masks, "weights")), {M.EDGES}
    assert set(found) == (
        {"random": weights | graph}
        | dict.fromkeys(OF_EDGES, graph)
        | {channel_score: set() for channel_score in OF_CHANNELS}
        | {"filter_norm": {"weights.0"}}  # of hidden units
    ).get(name, weights)
    for n, s in found.items():
        assert s.shape == shape_of_score(name, masks[n])
        assert s.isfinite().all()
        assert not s.requires_grad


@every
def test_a_part_without_masks_is_not_scored(name):
    task = toy()
    model = build("gcn", task)
    for part in ("edges", "weights"):
        masks = M.only(M.ones(model, task.num_edges), part)
        assert set(score(name, model, task, masks)) <= set(masks)
    assert score(name, model, task, {}) == {}


@pytest.mark.parametrize("model", [*GRAPH_MODELS, "mlp", "lenet_5", "resnet_20"])
@of_weights
def test_a_score_of_weights_takes_every_model_down_to_nothing(name, model):
    task = toy() if model in GRAPH_MODELS else Pictures()
    net = build(model, task, layers=3)
    masks = M.ones(net, task.num_edges)
    for left in (masks, {n: m * 0 for n, m in masks.items()}):
        found = score(name, net, task, left)
        assert all(s.isfinite().all() for s in found.values())
    assert any(s.any() for s in score(name, net, task, masks).values())


def hard(name):
    """A graph without edges, one without features, one whose every edge is gone, loops alone."""
    whole = data()
    if name == "no edges":
        whole.edge_index = whole.edge_index[:, :0]
    if name == "no features":
        whole.x = whole.x * 0
    if name == "loops":
        whole.edge_index = torch.arange(N).expand(2, -1)
    return whole


@universes
@pytest.mark.parametrize("case", ["no edges", "no features", "all gone", "loops"])
@every
def test_a_score_stays_finite(name, case, edges):
    task = NodeTask(hard(case), edges=edges)
    model = build("gcn", task)
    masks = M.ones(model) | {M.EDGES: torch.full((task.num_edges,), float(case != "all gone"))}
    for n, s in score(name, model, task, masks).items():
        assert s.shape == shape_of_score(name, masks[n])
        assert s.isfinite().all()


def state(model):
    return (
        {n: t.numpy().tobytes() for n, t in snapshot(model).items()},
        [
            (p.requires_grad, None if p.grad is None else p.grad.tolist())
            for p in model.parameters()
        ],
        [module.training for module in model.modules()],
        {n: id(p) for n, p in model.named_parameters()},
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
    )


@pytest.mark.parametrize("training", [True, False])
@every
def test_a_score_changes_neither_the_model_nor_the_random_state(name, training):
    task = toy(loops=False)
    torch.manual_seed(0)
    for model in (User(task), build("gat", task, backend="numba")):
        model.train(training)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        masks = some_masks(model, task)
        given = {n: m.clone() for n, m in masks.items()}
        before = state(model)
        first, again = (score(name, model, task, masks) for _ in range(2))
        assert state(model) == before
        assert getattr(model, "backend", "numba") == "numba"
        assert all(torch.equal(masks[n], m) for n, m in given.items())
        assert all(torch.equal(first[n], again[n]) for n in first)  # the same digits


@every
def test_a_score_follows_its_seed_if_it_has_one(name):
    task = toy()
    model = build("gcn", task)
    masks = M.ones(model, task.num_edges)
    how = {"effective_resistance": {"approximate_above": 0}}.get(name, {})
    if "seed" in inspect.signature(find("scores", name)).parameters:
        first, again, other = (score(name, model, task, masks, seed=s, **how) for s in (0, 0, 1))
        assert all(torch.equal(first[n], again[n]) for n in first)
        assert not any(torch.equal(first[n], other[n]) for n in first)
    else:
        assert name not in ("random", "effective_resistance")


def image_network():
    torch.manual_seed(0)
    return vgg(Pictures(), (1, 1, 1), (6, 8, 9))


def channel_masks(model):
    """A third of the hidden channels of every layer is removed."""
    return {v.maker: (torch.arange(v.size) % 3 > 0).float() for v in hidden_levels(model)}


@pytest.mark.parametrize("name", [*OF_CHANNELS, "random"])
def test_a_score_of_channels_is_a_number_for_every_channel_asked_for(name):
    model, task = image_network(), Pictures()
    masks = channel_masks(model)
    found = score(name, model, task, masks)
    assert found.keys() == masks.keys() and len(masks) > 1
    for n, s in found.items():
        assert s.shape == masks[n].shape and s.isfinite().all() and not s.requires_grad
    one = dict([*masks.items()][:1])
    assert score(name, model, task, one).keys() == one.keys()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [*OF_CHANNELS, "random"])
def test_a_score_of_channels_changes_neither_the_model_nor_the_random_state(name, training):
    model, task = image_network().train(training), Pictures()
    masks = channel_masks(model)
    before = state(model)
    first, again = (score(name, model, task, masks) for _ in range(2))
    assert state(model) == before
    assert all(torch.equal(first[n], again[n]) for n in first)


@pytest.mark.parametrize("name", [n for n in SCORES if n not in [*OF_CHANNELS, "random"]])
def test_a_score_of_other_entries_leaves_channels_out(name):
    model, task = image_network(), Pictures()
    if name in OF_EDGES:
        with pytest.raises(ValueError, match="`task` must have a graph"):
            score(name, model, task, channel_masks(model))
    else:
        assert score(name, model, task, channel_masks(model)) == {}


@every
def test_the_settings_of_a_score_have_defaults_and_annotations(name):
    parameters = [*inspect.signature(find("scores", name)).parameters.values()]
    assert [p.name for p in parameters[:3]] == ["model", "task", "masks"]
    for p in parameters[3:]:
        assert p.kind is p.KEYWORD_ONLY
        assert p.default is not p.empty and p.annotation is not p.empty


@universes
@pytest.mark.parametrize("name", [n for n in OF_GRAPHS if n not in ("random", "degree")])
def test_a_removed_edge_is_an_absent_one(name, edges):
    whole = data()
    task = NodeTask(whole, edges=edges)
    model = build("gcn", task)
    masks = M.ones(model) | M.only(some_masks(model, task), "edges")
    keep = masks[M.EDGES][task.entries] > 0
    whole.edge_index = task.graph.edge_index[:, keep]
    without = NodeTask(whole, edges=edges)
    ours = score(name, model, task, masks)
    theirs = score(name, model, without, M.ones(model, without.num_edges))
    dense = score(name, model, task, M.ones(model, task.num_edges))
    if name in OF_EDGES:
        assert (ours[M.EDGES][masks[M.EDGES] == 0] == 0).all()
        ours = {M.EDGES: ours[M.EDGES][masks[M.EDGES] > 0]}
        dense = {M.EDGES: dense[M.EDGES][masks[M.EDGES] > 0]}
    alike(ours, theirs)
    reads = name not in ("magnitude", "magnitude_increase", "similarity")
    assert reads == any(not torch.allclose(ours[n], dense[n]) for n in ours)


@of_weights
def test_a_removed_weight_is_a_zero(name):
    task = toy()
    model = build("gin", task)
    masks = M.only(some_masks(model, task), "weights")
    ours = score(name, model, task, masks)
    with torch.no_grad():
        for n, p in M.prunable(model).items():
            p.mul_(masks[n])
    theirs = score(name, model, task, M.ones(model))
    alike({n: s * masks[n] for n, s in ours.items()}, {n: s * masks[n] for n, s in theirs.items()})


@pytest.mark.parametrize("name", [n for n in OF_GRAPHS if n != "random"])
def test_renumbering_the_nodes_renumbers_the_scores(name):
    whole = data()
    place = torch.randperm(N, generator=torch.Generator().manual_seed(3))  # node i becomes place[i]
    old = place.argsort()
    about = {n: whole[n][old] for n in ("x", "y", "train_mask", "val_mask", "test_mask")}
    other = SimpleNamespace(edge_index=place[whole.edge_index], **about)
    first, second = NodeTask(whole, edges="directed"), NodeTask(other, edges="directed")
    model = build("gcn", first)
    masks = M.ones(model, first.num_edges)
    ours, theirs = (score(name, model, task, masks) for task in (first, second))
    if name in OF_EDGES:
        moved = place[first.graph.edge_index]  # [2, E]
        key, known = (e[1] * N + e[0] for e in (moved, second.graph.edge_index))
        theirs = {M.EDGES: theirs[M.EDGES][torch.searchsorted(known, key)]}
    alike(ours, theirs, rtol=1e-4, atol=1e-7)


@of_edges
def test_both_directions_of_a_pair_score_the_same_in_both_universes(name):
    pairs, ways = toy("undirected"), toy("directed")
    model = build("gcn", pairs)
    whole, each = (
        score(name, model, t, M.ones(model, t.num_edges))[M.EDGES] for t in (pairs, ways)
    )
    assert torch.equal(whole[pairs.entries], each)
    assert not torch.allclose(whole, whole[0])


@of_edges
def test_a_pair_is_there_as_long_as_one_of_its_directions_is(name):
    task = toy("directed")
    model = build("gcn", task)
    source, target = task.graph.edge_index
    kept = (source <= target).float()  # one direction of every pair, and the loops
    one_way, both = (score(name, model, task, {M.EDGES: m})[M.EDGES] for m in (kept, kept * 0 + 1))
    alike({"s": one_way[kept > 0]}, {"s": both[kept > 0]})


@of_edges
def test_a_score_of_edges_refuses_a_task_without_a_graph(name):
    model, task = MLP(10, 4, 3), table()
    with pytest.raises(
        ValueError, match="`task` must have a graph to score its edges, got 'table'"
    ):
        score(name, model, task, M.ones(model))


@of_weights
def test_a_score_of_weights_needs_no_graph(name):
    model, task = MLP(10, 4, 3), table()
    found = score(name, model, task, M.ones(model))
    assert {n: s.shape for n, s in found.items()} == {n: m.shape for n, m in M.ones(model).items()}
    assert all(s.isfinite().all() and s.any() for s in found.values())


# Scores of weights by their values.


def by_hand():
    """x = (1, 2) of class 0; hidden (2, 1); logits (2, 2). Weights are [out, in]."""
    model = MLP(2, 2, 2)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[1.0, 0.5], [-1.0, 1.0]]))
        model.layers[1].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    return model, Table(torch.tensor([[1.0, 2.0]]), torch.tensor([0]), 1)


VALUES = [  # score, settings, of the first layer, of the second
    ("magnitude", {}, [[1, 0.5], [1, 1]], [[1, 0], [0, 2]]),
    ("snip", {}, [[0.5, 0.5], [1, 2]], [[1, 0], [0, 1]]),
    ("taylor", {}, [[0.25, 0.25], [1, 4]], [[1, 0], [0, 1]]),
    ("grasp", {"temperature": 1.0}, [[-3.375, -3.375], [-9.25, 18.5]], [[-7.5, 0], [0, 13.75]]),
    ("synflow", {}, [[1, 0.5], [2, 2]], [[1.5, 0], [0, 4]]),
]


@pytest.mark.parametrize(("name", "how", "first", "second"), VALUES)
def test_a_score_of_weights_has_the_values_worked_out_by_hand(name, how, first, second):
    model, task = by_hand()
    task.num_classes = 2
    found = score(name, model, task, M.ones(model), **how)
    alike(found, {
        "layers.0.weight": torch.tensor(first), "layers.1.weight": torch.tensor(second),
    }, rtol=1e-5, atol=1e-5)  # fmt: skip


def test_magnitude_increase_is_the_growth_of_the_absolute_value():
    model, task = by_hand()
    init = {n: torch.full_like(t, -0.5) for n, t in snapshot(model).items()}
    found = score("magnitude_increase", model, task, M.ones(model), init=init)
    assert found["layers.0.weight"].tolist() == [[0.5, 0], [0.5, 0.5]]
    assert found["layers.1.weight"].tolist() == [[0.5, -0.5], [-0.5, 1.5]]


BAD = [  # score, settings, message
    ("magnitude_increase", {"init": None}, "`init` must be the state .* got None"),
    ("magnitude_increase", {"init": {}}, r"`init` must hold 'weights.0' of shape \[6, 4\]"),
    ("grasp", {"temperature": 0.0}, "`temperature` must be above 0, got 0.0"),
    ("effective_resistance", {"tolerance": 1.0}, r"`tolerance` must be in \(0, 1\), got 1.0"),
    ("spectral", {"components": 0}, "`components` must be at least 1, got 0"),
]


@pytest.mark.parametrize(("name", "how", "message"), BAD)
def test_a_wrong_setting_is_named_in_one_line(name, how, message):
    task = toy()
    model = build("gcn", task)
    with pytest.raises(ValueError, match=message) as caught:
        score(name, model, task, M.ones(model, task.num_edges), **how)
    assert "\n" not in str(caught.value)


def test_gradients_of_opposite_batches_cancel_in_snip_but_not_in_taylor():
    model, task = by_hand()
    task = Table(task.x.repeat(2, 1), torch.tensor([0, 1]), 1)
    masks = M.ones(model)
    assert all(not s.any() for s in score("snip", model, task, masks).values())
    assert score("taylor", model, task, masks)["layers.0.weight"].tolist() == [[0.5, 0.5], [2, 8]]


def test_batch_norms_see_their_batch_and_dropout_is_off():
    task = toy(loops=False)
    torch.manual_seed(0)
    model = User(task).train()
    masks = M.ones(model)
    found = score("snip", model, task, masks)
    torch.nn.init.constant_(model.norm.running_mean, 5.0)  # is not read
    alike(found, score("snip", model, task, masks))
    [batch] = task.batches("train")
    x = model.norm(model.first(task.x, task.graph.edge_index)).relu()
    logits = model.last(x, task.graph.edge_index)[batch.rows]
    F.cross_entropy(logits, batch.target).backward()
    alike(found, {n: (p * p.grad).abs().detach() for n, p in M.prunable(model).items()})


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b != "triton"])
@pytest.mark.parametrize("name", GRAPH_MODELS)
def test_grasp_differentiates_twice_on_every_backend(name, backend):
    """θ ⊙ Hg, with Hg as a difference of gradients."""
    task = with_features(toy(), toy().x.double())
    model = build(name, task, backend=backend).double()
    masks = M.ones(model)

    def gradient():
        [batch] = task.batches("train")
        loss = F.cross_entropy(model(*batch.inputs)[batch.rows] / 200, batch.target)
        found = torch.autograd.grad(loss, list(theta.values()), materialize_grads=True)
        return dict(zip(theta, found, strict=True))

    theta = M.prunable(model)
    g, values, around, step = gradient(), snapshot(model), [], 1e-2
    for sign in (1, -1):
        with torch.no_grad():
            for n, p in theta.items():
                p.copy_(values[n] + sign * step * g[n])
        around.append(gradient())
    model.load_state_dict(values)
    expected = {n: values[n] * (around[0][n] - around[1][n]) / (2 * step) for n in theta}
    found = score("grasp", model, task, masks)
    assert any(s.abs().max() > 1e-9 for s in found.values())
    alike(found, expected, rtol=1e-4, atol=1e-12)


class Compiled(nn.Module):
    """A model of one's own on a kernel whose gradient has no gradient."""

    def __init__(self, task):
        super().__init__()
        self.layer = nn.Linear(task.num_features, task.num_classes)

    def forward(self, x, graph):
        return weighted_sum(graph, self.layer(x).tanh())


def test_grasp_refuses_a_kernel_that_it_cannot_differentiate_twice():
    task = toy()
    model = Compiled(task)
    with pytest.raises(ValueError, match=r"`model` must use .* got graphlth\.sparse\.kernels"):
        score("grasp", model, task, M.ones(model))
    assert score("snip", model, task, M.ones(model))["layer.weight"].any()


@pytest.mark.parametrize("name", OF_GRADIENTS)
def test_a_model_that_remembers_its_graph_is_refused(name):
    task = toy(loops=False)
    model = pyg.GCNConv(task.num_features, task.num_classes, cached=True)
    with pytest.raises(ValueError, match="cached=True"):
        score(name, model, task, M.ones(model, task.num_edges))


def test_synflow_flows_in_and_out_of_every_unit_alike():
    model, task = MLP(10, 8, 7, 3), table()
    masks = some_masks(model, task)
    flow = list(score("synflow", model, task, masks).values())  # [out, in]
    for before, after in pairwise(flow):
        torch.testing.assert_close(before.sum(1), after.sum(0))
    graph = toy()
    net = build("gcn", graph, layers=3)
    flow = list(score("synflow", net, graph, some_masks(net, graph, 0.2)).values())  # [in, out]
    for before, after in pairwise(flow):
        torch.testing.assert_close(before.sum(0), after.sum(1))


def test_synflow_sees_one_example_of_ones():
    model, task = by_hand()
    more = Table(torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), task.y.repeat(3), 2)
    alike(*(score("synflow", model, t, M.ones(model)) for t in (task, more)))


def test_synflow_reads_no_features_and_no_sign():
    task = toy()
    model = build("gcn", task)
    masks = M.ones(model, task.num_edges)
    found = score("synflow", model, task, masks)
    alike(found, score("synflow", model, with_features(task, -3 * task.x), masks))
    alike(found, score("synflow", model, with_features(task, sparse_features(task.x)), masks))
    with torch.no_grad():
        for p in model.parameters():
            p.neg_()
    alike(found, score("synflow", model, task, masks))
    assert all(s.dtype == torch.float64 and (s >= 0).all() for s in found.values())


def test_iterated_synflow_never_cuts_a_layer_where_one_shot_magnitude_does():
    torch.manual_seed(0)
    model, task = MLP(10, 1000, 10), table()
    task.num_classes = 10  # as many as outputs
    whole = M.ones(model)
    once = drop_lowest(whole, score("magnitude", model, task, whole), 0.99)
    assert sorted(int(m.sum()) for m in once.values()) == [0, 200]
    rate = 1 - 0.01 ** (1 / 100)
    about = {"rounds": 100, "drop_weights": rate, "drop_edges": 0, "score": "synflow"}
    *_, last = find("algorithms", "at_init")(model, task, **about)
    assert M.sparsity(last.masks) == pytest.approx(0.99, abs=1e-3)
    assert min(int(m.sum()) for m in last.masks.values()) >= 50


# Scores of edges by their values.

PAW = [[0, 1], [0, 2], [1, 2], [2, 3]]  # a triangle and a tail
PATH = [[0, 1], [1, 2]]
GRAPHS = [  # score, settings, edges, scores
    ("degree", {}, PAW, [0.103115, 0.086138, 0.086138, 0.154872]),
    ("degree", {}, PATH, [0.353553, 0.353553]),
    ("jaccard", {}, PAW, [1 / 3, 1 / 4, 1 / 4, 0]),
    ("jaccard", {}, PATH, [0, 0]),
    ("jaccard", {}, [[0, 0], [0, 1]], [1, 1 / 2]),
    ("effective_resistance", {}, PAW, [2 / 3, 2 / 3, 2 / 3, 1]),
    ("effective_resistance", {}, [[0, 1], [1, 1], [2, 3]], [1, 0, 1]),
    ("spectral", {"components": 1}, PATH, [0.5, 0.5]),
    ("spectral", {"components": 9}, PATH, [1, 1]),
    ("spectral", {}, [[0, 1], [1, 1]], [1, 0]),
    ("spectral", {}, [[0, 0], [1, 2]], [0, 1]),
    ("similarity", {}, [[0, 1], [0, 2], [0, 4], [1, 2], [1, 1]], [0.6, 0, -1, 0.8, 1]),
    ("similarity", {}, [[0, 3], [3, 3]], [0, 0]),
]
X = [[1, 0], [3, 4], [0, 2], [0, 0], [-5, 0]]


def small(pairs):
    part = torch.arange(5)
    return NodeTask(
        SimpleNamespace(
            x=torch.tensor(X).float(),
            edge_index=torch.tensor(pairs).T,
            y=part % 2,
            train_mask=part < 2,
            val_mask=part == 2,
            test_mask=part > 2,
        )
    )


@pytest.mark.parametrize(("name", "how", "pairs", "expected"), GRAPHS)
def test_a_score_of_edges_has_the_values_worked_out_by_hand(name, how, pairs, expected):
    task = small(pairs)
    masks = {M.EDGES: torch.ones(task.num_edges)}
    found = score(name, nn.Linear(1, 1), task, masks, **how)[M.EDGES]
    place = {tuple(sorted(e)): k for e, k in zip(task.graph.edge_index.T.tolist(),
                                                 task.entries.tolist(), strict=True)}  # fmt: skip
    assert [float(found[place[tuple(e)]]) for e in pairs] == pytest.approx(expected, abs=1e-6)


@st.composite
def graphs(draw):
    """Any simple graph: connected or not, with isolated nodes and self-loops."""
    n = draw(st.integers(2, 24))
    end = st.integers(0, n - 1)
    pairs = draw(st.sets(st.tuples(end, end).map(lambda e: tuple(sorted(e))), min_size=1))
    return Pairs(n, np.array(sorted(pairs)).T, np.ones(len(pairs)))


def proper(pairs):
    """Which pairs are no self-loops; and how many components there are."""
    parts = pairs.num_nodes - np.linalg.matrix_rank(pairs.laplacian.toarray())
    return pairs.ends[0] != pairs.ends[1], int(parts)


@few
@given(graphs())
def test_effective_resistance_is_that_of_the_pseudo_inverse_and_obeys_foster(pairs):
    r, (i, j) = resistance.exact_resistance(pairs), pairs.ends
    inverse = np.linalg.pinv(pairs.laplacian.toarray(), hermitian=True)
    expected = inverse[i, i] + inverse[j, j] - 2 * inverse[i, j]
    np.testing.assert_allclose(r, expected, atol=1e-9)
    simple, parts = proper(pairs)
    assert r.sum() == pytest.approx(pairs.num_nodes - parts)  # Foster's theorem
    assert ((r[simple] > 0) & (r[simple] < 1 + 1e-9)).all()
    assert not r[~simple].any()


@few
@given(graphs(), st.integers(0, 9))
def test_the_approximate_resistance_is_within_its_tolerance(pairs, seed):
    r = resistance.exact_resistance(pairs)
    simple, _ = proper(pairs)
    for tolerance in (0.5, 0.2):
        near = resistance.approximate_resistance(pairs, tolerance, seed)
        assert (np.abs(near - r) <= tolerance * r)[simple].all()
        assert not near[~simple].any()


def test_resistance_is_approximate_above_a_number_of_nodes_only():
    task = toy()
    masks = {M.EDGES: torch.ones(task.num_edges)}
    exact, same, other = (
        score("effective_resistance", None, task, masks, approximate_above=n)[M.EDGES]
        for n in (4000, N, N - 1)
    )
    assert torch.equal(exact, same)
    assert not torch.equal(exact, other)


@few
@given(graphs(), st.integers(1, 30))
def test_the_shares_of_all_edges_in_the_slow_modes_add_up_to_their_number(pairs, components):
    _, parts = proper(pairs)
    modes = min(components, pairs.num_nodes - parts)
    assert spectral.spectral_shares(pairs, components).sum() == pytest.approx(modes)


@pytest.mark.parametrize("parts", [1, 3])
def test_slow_modes_are_the_same_by_both_solvers(parts, monkeypatch):
    draw = np.random.default_rng(1)
    ends = [np.sort(draw.integers(0, 40, (2, 90)), 0) + 50 * p for p in range(parts)]  # some alone
    pairs = np.unique(np.concatenate(ends, 1), axis=1)
    pairs = Pairs(50 * parts, pairs, np.ones(pairs.shape[1]))
    whole = spectral.spectral_shares(pairs, 8)
    monkeypatch.setattr(spectral, "DENSE", 0)
    np.testing.assert_allclose(spectral.spectral_shares(pairs, 8), whole, atol=1e-8)


def test_sparse_features_are_as_similar_as_dense_ones():
    x = torch.randn(30, 50, generator=torch.Generator().manual_seed(0))
    x[x < 1.2] = 0
    x[4] = 0
    pairs = Pairs(30, np.array(np.triu_indices(30)), np.ones(465))
    dense, sparse = (cosine(replace(pairs, x=each)) for each in (x, sparse_features(x)))
    np.testing.assert_allclose(dense, sparse, atol=1e-6)
    np.testing.assert_allclose(
        dense, F.cosine_similarity(x[pairs.ends[0]], x[pairs.ends[1]], eps=1e-30), atol=1e-6
    )


# Random scores, the control.


def test_random_scores_are_uniform_and_other_for_every_tensor():
    masks = {"a": torch.zeros(500), "b": torch.zeros(5, 100)}
    found = score("random", None, None, masks)
    assert not torch.equal(found["a"], found["b"].flatten())
    assert all(0 <= float(v.min()) and float(v.max()) < 1 for v in found.values())
    assert float(torch.cat([v.flatten() for v in found.values()]).mean()) == pytest.approx(
        0.5, abs=0.05
    )


# The algorithm that prunes by them.


def at_init(model, task, **about):
    return find("algorithms", "at_init")(model, task, **{"rounds": 3} | about)


@pytest.mark.parametrize("weights", ["grasp", "snip", "random"])
@pytest.mark.parametrize("edges", ["jaccard", "degree", "random"])
def test_every_round_scores_the_untrained_network_under_the_masks_so_far(weights, edges):
    task = toy()
    model, other = build("gcn", task), build("gcn", task)
    masks = M.ones(model, task.num_edges)
    about = {"score": weights, "edge_score": edges, "drop_weights": 0.4, "drop_edges": 0.3}
    for r, ticket in enumerate(at_init(model, task, seed=5, **about)):
        if r:
            draw = stream_seed(5, "score", r - 1)
            how = [{"seed": draw} if name == "random" else {} for name in (weights, edges)]
            left = M.only(score(weights, other, task, masks, **how[0]), "weights")
            right = M.only(score(edges, other, task, masks, **how[1]), "edges")
            masks = drop_jointly(masks, left | right, 0.4, 0.3)
        assert all(torch.equal(ticket.masks[n], m) for n, m in masks.items())
        with torch.no_grad():  # as retraining would
            for p in model.parameters():
                p.add_(1)
    assert r == 3


def test_one_shot_cuts_every_round_from_the_scores_of_the_dense_network():
    task = toy()
    about = {"score": "snip", "drop_weights": 0.5, "drop_edges": 0.0}
    whole = M.only(M.ones(build("gcn", task), task.num_edges), "weights")
    once, masks = score("snip", build("gcn", task), task, whole), whole
    tickets = list(at_init(build("gcn", task), task, one_shot=True, **about))
    for ticket in tickets[1:]:
        masks = drop_jointly(masks, once, 0.5, 0.0)
        assert all(torch.equal(ticket.masks[n], m) for n, m in masks.items())
    *_, again = at_init(build("gcn", task), task, **about)
    assert not all(torch.equal(again.masks[n], m) for n, m in masks.items())
    *_, resumed = at_init(build("gcn", task), task, one_shot=True, last=tickets[1], **about)
    assert all(torch.equal(resumed.masks[n], m) for n, m in masks.items())


@universes
def test_degree_ranks_once_whatever_earlier_rounds_have_removed(edges):
    task = toy(edges=edges)
    model = build("gcn", task)
    whole = M.ones(model, task.num_edges)
    once = score("degree", model, task, whole)
    fewer = some_masks(model, task)
    assert torch.equal(score("degree", model, task, fewer)["edges"], once["edges"])
    masks = M.only(whole, "edges")
    for ticket in at_init(model, task, edge_score="degree", drop_edges=0.3, drop_weights=0.0):
        if ticket.round:
            masks = drop_jointly(masks, once, 0.0, 0.3)
        assert torch.equal(ticket.masks["edges"], masks["edges"])
    assert ticket.round == 3


@pytest.mark.parametrize("only", ["all", "2", "1,3"])
def test_rounds_that_are_not_asked_for_are_pruned_all_the_same(only):
    task = toy()
    about = {"score": "random", "seed": 3}
    whole = list(at_init(build("gcn", task), task, **about))
    some = list(at_init(build("gcn", task), task, only=only, **about))
    assert [t.round for t in some] == ([0, 1, 2, 3] if only == "all" else
                                       [0, *map(int, only.split(","))])  # fmt: skip
    for ticket in some:
        assert all(torch.equal(m, whole[ticket.round].masks[n]) for n, m in ticket.masks.items())


REFUSED = [  # settings, message
    ({"score": "degree"}, "`score` must score weights, got 'degree', which leaves out 'weights.0'"),
    ({"edge_score": "snip"}, "`edge_score` must score edges, got 'snip', which leaves out 'edges'"),
    ({"score": "size"}, "`score` must be one of grasp, .*taylor, got 'size'"),
    ({"score": "magnitude_increase"}, "`init` must be the state"),
]


@pytest.mark.parametrize(("about", "message"), REFUSED)
def test_a_score_of_the_wrong_part_is_refused_before_the_dense_ticket(about, message):
    task = toy()
    with pytest.raises(ValueError, match=message) as caught:
        next(at_init(build("gcn", task), task, **about))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("off", "of"), [("drop_weights", "score"), ("drop_edges", "edge_score")])
def test_a_part_that_is_not_dropped_is_not_scored(off, of):
    task = toy()
    about = {of: "magnitude_increase"}  # without θ₀ it is an error
    with pytest.raises(ValueError, match="`init` must be"):
        next(at_init(build("gcn", task), task, **about))
    assert len(list(at_init(build("gcn", task), task, **{off: 0.0}, **about))) == 4


def test_images_are_pruned_at_initialisation_as_graphs_are():
    model, task = MLP(10, 8, 3), table()
    for name in (n for n in OF_WEIGHTS if n != "magnitude_increase"):
        *_, last = at_init(model, task, score=name, drop_weights=0.5)
        assert sum(int(m.sum()) for m in last.masks.values()) == 13  # 104, 52, 26, 13
