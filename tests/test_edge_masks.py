"""Edges have one mask for all layers or one for each, and a kept edge may have a real weight."""

from dataclasses import replace

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn
from torch_geometric.data import Data
from toys import GRAPH_MODELS, build, data, toy

import graphlth as glt
from graphlth import masks as M
from graphlth.compaction.network import Compact
from graphlth.data.node import NodeTask
from graphlth.edge_masks import edge_mask, is_edge_key, kept_edges, multiply_edges, per_layer
from graphlth.prune import drop_jointly, drop_lowest, make_redraw
from graphlth.rewinding import snapshot
from graphlth.ticket import Ticket, dense, load
from graphlth.training.evaluation import evaluate, predict
from graphlth.training.forward import forward
from graphlth.training.loop import train, train_masks
from graphlth.training.retraining import fit

models = pytest.mark.parametrize("name", GRAPH_MODELS)
universes = pytest.mark.parametrize("edges", ["undirected", "directed"])


pytestmark = pytest.mark.usefixtures("double_precision")


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-9)


def draw_mask(count, kept, seed, real):
    draw = torch.Generator().manual_seed(seed)
    mask = (torch.rand(count, generator=draw) < kept).double()
    return mask * (0.2 + 2 * torch.rand(count, generator=draw)) if real else mask


def layered(model, task, kept=0.6, real=False):
    """A ticket with a mask of edges for each layer, which differ."""
    masks = M.ones(model, task.num_edges, model.num_layers)
    for i in range(model.num_layers):
        masks[f"edges.{i}"] = draw_mask(task.num_edges, kept, i, real)
    return Ticket(snapshot(model), masks, 1)


def moved(name, task, **settings):
    """A model whose every parameter is away from where it started."""
    model = build(name, task, **settings)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=draw))
    return model


class Layered(nn.Module):
    """Two layers of PyG's, which take a weight of every edge each."""

    def __init__(self, task):
        super().__init__()
        self.first = pyg.GraphConv(task.num_features, 4)
        self.second = pyg.GraphConv(4, task.num_classes)

    def forward(self, x, edge_index, edge_weights=None):
        one, two = (edge_weights,) * 2 if edge_weights is None else edge_weights
        return self.second(self.first(x, edge_index, one).relu(), edge_index, two)


class Shared(nn.Module):
    """A layer of PyG's, which takes one weight of every edge."""

    def __init__(self, task):
        super().__init__()
        self.conv = pyg.GraphConv(task.num_features, task.num_classes)

    def forward(self, x, edge_index, edge_weight=None):
        return self.conv(x, edge_index, edge_weight)


# --- masks ---------------------------------------------------------------------------------------


KEYS = [
    ("edges", True), ("edges.0", True), ("edges.12", True), ("edges.user__rates__movie", True),
    ("edges.weight", False), ("edge", False), ("weights.0", False), ("edges.", False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "is_edges"), KEYS)
def test_the_names_of_edge_masks_are_known(name, is_edges):
    assert is_edge_key(name) is is_edges
    part = "edges" if is_edges else "weights"
    assert [*M.only({name: torch.ones(1)}, part)] == [name]


def test_edge_masks_come_by_layer_whatever_their_order():
    masks = {"edges.1": torch.zeros(2), "w": torch.ones(1), "edges.0": torch.ones(2)}
    first, second = edge_mask(masks)
    assert first.tolist() == [1, 1] and second.tolist() == [0, 0]
    assert edge_mask({"w": torch.ones(1)}) is None


@pytest.mark.parametrize("names", [("edges", "edges.0"), ("edges.0", "edges.2"), ("edges.1",)])
def test_masks_of_some_layers_alone_are_refused(names):
    with pytest.raises(ValueError, match="one mask of edges for all layers, 'edges', or one for e"):
        edge_mask(dict.fromkeys(names, torch.ones(3)))


def test_weights_of_all_layers_and_of_each_multiply():
    a, b = torch.tensor([2.0, 3.0]), (torch.tensor([1.0, 0.0]), torch.tensor([0.5, 1.0]))
    assert [w.tolist() for w in multiply_edges(a, b)] == [[2, 0], [1, 3]]
    assert [w.tolist() for w in multiply_edges(b, b)] == [[1, 0], [0.25, 1]]
    assert multiply_edges(None, a) is a and multiply_edges(b, None) is b
    assert per_layer(a, 2) == [a, a] and per_layer(b, 2) == [*b]


KEPT = [  # masks of an edge list, what is kept, the weights of what is kept
    ([[1, 0, 1]], [True, False, True], None),
    ([[1, 0, 0.5]], [True, False, True], [1, 0.5]),
    ([[1, 0, 1], [1, 0, 1]], [True, False, True], None),
    ([[1, 0, 2], [1, 0, 2]], [True, False, True], [1, 2]),
    ([[1, 0, 0], [0, 0, 1]], [True, False, True], ([1, 0], [0, 1])),
]


@pytest.mark.parametrize(("masks", "kept", "weights"), KEPT)
def test_an_edge_goes_when_no_layer_keeps_it(masks, kept, weights):
    layers = tuple(map(torch.tensor, masks))
    keep, weight = kept_edges(layers, None, torch.float64)
    assert keep.tolist() == kept
    told = tuple(w.tolist() for w in weight) if isinstance(weight, tuple) else weight
    assert (told.tolist() if isinstance(told, torch.Tensor) else told) == weights


def test_sparsity_is_that_of_the_entries_of_all_layers():
    masks = {"edges.0": torch.tensor([1.0, 0, 0, 0]), "edges.1": torch.tensor([0.3, 2, 1, 0])}
    assert M.sparsity(M.only(masks, "edges")) == 0.5
    assert M.distance(masks, {n: (m != 0).double() for n, m in masks.items()}) == 0


# --- pruning -------------------------------------------------------------------------------------


def test_the_edges_of_all_layers_are_ranked_together():
    masks = {"edges.0": torch.ones(4), "edges.1": torch.ones(4), "w": torch.ones(2, 2)}
    scores = {"edges.0": torch.tensor([1.0, 2, 3, 4]), "edges.1": torch.tensor([5.0, 6, 7, 8]),
              "w": torch.zeros(2, 2)}  # fmt: skip
    for scope in ("global", "layer"):
        left = drop_jointly(masks, scores, 0.0, 0.5, scope)
        assert left["edges.0"].sum() == 0 and left["edges.1"].sum() == 4
        again = make_redraw(masks, scores, 0.0, 0.5, scope)()
        assert all(torch.equal(again[n], m) for n, m in left.items())


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.33, 0.5, 0.99])
def test_exactly_the_fraction_of_all_surviving_entries_goes(fraction):
    masks = {f"edges.{i}": draw_mask(50, 0.7, i, real=True) for i in range(3)}
    before = sum(int(m.count_nonzero()) for m in masks.values())
    left = drop_lowest(masks, masks, fraction)
    after = sum(int(m.count_nonzero()) for m in left.values())
    assert before - after == round(fraction * before)


def test_a_kept_edge_keeps_its_weight():
    masks = {"edges": torch.tensor([0.5, 2.0, 0.0, 1.0])}
    scores = {"edges": torch.tensor([3.0, 1.0, 9.0, 2.0])}
    for dtype in (torch.float32, torch.float64, torch.float16):  # compiled, and torch's own
        typed = {"edges": scores["edges"].to(dtype)}
        assert drop_lowest(masks, typed, 1 / 3)["edges"].tolist() == [0.5, 0, 0, 1]
    assert make_redraw(masks, scores, edges=1 / 3)()["edges"].tolist() == [0.5, 0, 0, 1]


# --- models --------------------------------------------------------------------------------------


@models
@universes
def test_a_zero_entry_is_an_absent_edge_in_its_layer(name, edges):
    """All layers but one keep everything: what that one computes is on its own graph."""
    task = toy(edges)
    model = moved(name, task, layers=2)
    kept = (torch.arange(task.num_edges) % 3 > 0).double()
    same = {f"edges.{i}": kept for i in range(model.num_layers)}
    batch = next(task.batches("train"))
    close(forward(model, batch, same), forward(model, batch, {"edges": kept}))
    cut = next(task.without(tuple(same.values())).batches("train"))
    assert cut.edge_weight is None
    close(forward(model, cut, {}), forward(model, batch, {"edges": kept}))
    one = same | {"edges.0": torch.ones(task.num_edges)}
    assert not torch.allclose(forward(model, batch, one), forward(model, batch, same))


@models
@pytest.mark.parametrize("real", [False, True])
def test_masks_on_the_graph_are_those_beside_it(name, real):
    task = toy()
    model = moved(name, task, layers=2)
    ticket = layered(model, task, real=real)
    beside = forward(model, next(task.batches("train")), ticket.masks)
    weights = M.only(ticket.masks, "weights")
    within = next(task.without(edge_mask(ticket.masks)).batches("train"))
    close(forward(model, within, weights), beside)
    assert isinstance(within.edge_weight, tuple)


@models
def test_gradients_of_each_layer_are_those_by_differences(name):
    task = toy(loops=False)
    model = moved(name, task, layers=2)
    batch = next(task.batches("train"))
    masks = {n: m for n, m in layered(model, task, 1.0, real=True).masks.items() if "edges" in n}
    leaves = [m.requires_grad_() for m in masks.values()]

    def loss(*values):
        out = forward(model, batch, dict(zip(masks, values, strict=True)))
        return (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum()

    assert torch.autograd.gradcheck(loss, leaves, atol=1e-6)


@models
def test_the_rows_asked_for_are_those_of_all_with_weights_by_layer(name):
    task = toy()
    model = moved(name, task, layers=2)
    x, graph = next(task.batches("train")).inputs
    weights = tuple(draw_mask(graph.num_edges, 0.6, i, real=True) for i in range(2))
    rows = torch.tensor([4, 0, 11])
    with torch.no_grad():
        close(model(x, graph, weights, rows=rows), model(x, graph, weights)[rows])


@models
def test_an_edge_that_is_dropped_is_dropped_in_every_layer(name):
    task = toy()
    model = build(name, task, layers=2, edge_dropout=0.5, dropout=0.0, input_dropout=0.0).train()
    x, graph = next(task.batches("train")).inputs
    ones = torch.ones(graph.num_edges)
    torch.manual_seed(3)
    wanted = model(x, graph, ones)
    torch.manual_seed(3)
    close(model(x, graph, (ones, ones)), wanted)


# --- tickets -------------------------------------------------------------------------------------


@models
@universes
@pytest.mark.parametrize("real", [False, True])
def test_a_compacted_ticket_computes_what_the_masked_model_does(name, edges, real, tmp_path):
    task = toy(edges)
    model = moved(name, task, layers=2)
    for kept in (0.9, 0.5, 0.1, 0.0):
        ticket = layered(model, task, kept, real)
        with torch.no_grad():
            wanted = forward(model, next(task.batches("test")), ticket.masks)
        for layout in ("dense", "blocks", "sparse"):
            small = glt.compact(ticket, model, task, layout=layout)
            with torch.no_grad():
                close(small(task.x), wanted)
        if isinstance(small, Compact):
            close(small.network(task.x, small.edge_index, small.parts.weight), wanted)
            small.save(tmp_path / "small")
            close(glt.load_compact(tmp_path / "small")(task.x), wanted)


def test_a_compacted_layer_computes_its_own_edges_alone():
    task = toy()
    model = moved("gcn", task)
    ticket = layered(model, task, 0.5)
    small = glt.compact(ticket, model, task, layout="dense")
    for i in range(2):
        graph, weight = small._edges(i)
        own = int(ticket.masks[f"edges.{i}"][task.entries].count_nonzero())
        assert graph.num_edges == own + task.num_nodes and bool((weight != 0).all())


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("layers", [None, 2])
def test_a_file_holds_the_same_masks(layers, real, tmp_path):
    torch.set_default_dtype(torch.float32)
    task = toy()
    model = build("gcn", task)
    masks = M.ones(model, task.num_edges, layers)
    for i, name in enumerate(M.only(masks, "edges")):
        masks[name] = draw_mask(task.num_edges, 0.6, i, real).float()
    ticket = Ticket(snapshot(model), masks, 2)
    ticket.save(tmp_path / "t")
    again = load(tmp_path / "t")
    assert [*again.masks] == [*masks] and again.masks["weights.0"].dtype == torch.float32
    assert all(torch.equal(again.masks[n], m) for n, m in masks.items())
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "t").read_bytes()


WRONG = [
    ({"edges": -1.0}, "`masks` of edges must be 0 or a finite weight above 0, got -1.0"),
    ({"edges": torch.inf}, "`masks` of edges must be 0 or a finite weight above 0, got inf"),
    ({"weights.0": 0.5}, "`masks` must be 0 or 1, got others in 'weights.0'"),
]


@pytest.mark.parametrize(("entry", "message"), WRONG)
def test_an_entry_that_no_mask_can_have_is_refused(entry, message, tmp_path):
    task = toy()
    model = build("gcn", task)
    whole = dense(model, task.num_edges)
    [(name, value)] = entry.items()
    mask = whole.masks[name].clone()
    mask.view(-1)[1] = value
    ticket = replace(whole, masks={**whole.masks, name: mask})
    for use in (
        lambda: ticket.save(tmp_path / "t"),
        lambda: fit(model, task, ticket, epochs=1),
        lambda: glt.compact(ticket, model, task),
    ):
        with pytest.raises(ValueError, match=message):
            use()


def test_the_dense_ticket_may_have_a_mask_for_each_layer():
    task = toy()
    model = build("gcn", task, layers=3)
    masks = dense(model, task.num_edges, layers=3).masks
    assert [*M.only(masks, "edges")] == ["edges.0", "edges.1", "edges.2"]
    assert M.count(M.only(masks, "edges")) == 3 * task.num_edges


REFUSED = [
    (lambda task: build("gcn", task), 3, "for each of the 2 layers of GCN, got 3"),
    (Shared, 1, "`model` must take one edge weight for each layer, got Shared, .*`edge_weights`"),
]


@pytest.mark.parametrize(("model", "layers", "message"), REFUSED)
def test_masks_of_layers_that_a_model_does_not_take_are_refused(model, layers, message):
    task = toy()
    model = model(task)
    with pytest.raises(ValueError, match=message):
        dense(model, task.num_edges, layers=layers)
    ticket = Ticket(snapshot(model), M.ones(model, task.num_edges, layers), 0)
    with pytest.raises(ValueError, match=message):
        fit(model, task, ticket, epochs=1)
    with pytest.raises(ValueError, match=message):
        evaluate(model, task, ticket.masks, ("val",))


class Unweighted(nn.Module):
    """A layer of PyG's that is given no weight of an edge."""

    def __init__(self, task):
        super().__init__()
        self.conv = pyg.GraphConv(task.num_features, task.num_classes)

    def forward(self, x, edge_index, edge_weight=None):
        return self.conv(x, edge_index)


class Mean(nn.Module):
    """A mean by a dense matrix, in which an edge of weight 0 counts."""

    def __init__(self, task):
        super().__init__()
        self.linear = nn.Linear(task.num_features, task.num_classes)

    def forward(self, x, edge_index, edge_weight=None):
        a = x.new_zeros(len(x), len(x))
        a[edge_index[1], edge_index[0]] = 1 if edge_weight is None else edge_weight.to(x)
        return a @ self.linear(x) / edge_index[1].bincount(minlength=len(x)).clamp(min=1)[:, None]


class Sized(Mean):
    """Its third argument is no edge weight."""

    def forward(self, x, edge_index, edge_weight=None):
        return super().forward(x if edge_weight is None else x @ edge_weight, edge_index)


@pytest.mark.parametrize(("make", "words"), [
    (Sized, r"`model` must read an edge weight to mask edges: .* \[16, 6\], .* but raises \w+: "),
    (Mean, "`model` must treat an edge of weight 0 as absent, but its output moves by "),
])  # fmt: skip
def test_a_model_whose_layer_reads_no_weight_is_told_a_layer_that_does(make, words):
    task = toy()
    with pytest.raises(ValueError, match=words) as caught:
        list(glt.ugs(make(task), task, rounds=1, epochs=1))
    assert "PyG's GraphConv(aggr='add'), and no mean" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_reads_no_edge_weights_is_refused_a_ticket_with_weights():
    task = toy()
    model = Unweighted(task)
    kept = torch.arange(task.num_edges) % 2 + 0.5
    ticket = Ticket(snapshot(model), {"edges": kept}, 1)
    with pytest.raises(ValueError, match="`model` must treat an edge of weight 0 as absent"):
        fit(model, task, ticket, epochs=1)
    with pytest.raises(ValueError, match="`model` must treat an edge of weight 0 as absent"):
        predict(model, task, ticket)
    fit(model, task, replace(ticket, masks={"edges": (kept > 1).double()}), epochs=1)


def test_soft_masks_of_each_layer_reach_a_model_of_the_users_own():
    task = toy(loops=False)
    model = Layered(task)
    masks = M.only(M.ones(model, task.num_edges, 2), "edges")
    soft, _ = train_masks(
        model, task, masks, epochs=3, lr=0.05, l1_edges=0.0, l1_weights=0.0,
        weight_decay=0.0, noise=1e-3, seed=0,
    )  # fmt: skip
    assert not torch.allclose(soft["edges.0"], soft["edges.1"], atol=1e-2)


def test_a_parameter_called_like_an_edge_mask_is_refused():
    model = nn.Module()
    model.edges = nn.ParameterList([torch.ones(2, 2)])
    with pytest.raises(ValueError, match=r"must not call a parameter 'edges\.0'.*rename it"):
        dense(model)


@models
def test_macs_count_the_edges_of_each_layer(name):
    task = toy("directed")
    model = build(name, task, layers=2)
    ticket = layered(model, task, 0.5)
    whole = glt.macs(model, task, M.only(ticket.masks, "weights"))
    found = glt.macs(model, task, ticket.masks)
    each = [glt.macs(model, task, {"edges": ticket.masks[f"edges.{i}"]}) for i in range(2)]
    reading = [key for key in whole if found[key] != whole[key]]  # the layers that read edges
    assert len(reading) == 2
    assert [found[key] for key in reading] == [e[key] for e, key in zip(each, reading, strict=True)]


# --- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gcn", "sage", "gat", "gin", "resgcn"])
def test_soft_masks_of_each_layer_are_trained(name):
    task = toy()
    model = build(name, task, layers=2)
    masks = layered(model, task, 0.7).masks
    soft, _ = train_masks(
        model, task, masks, epochs=4, lr=0.05, l1_edges=1e-3, l1_weights=1e-3,
        weight_decay=0.0, noise=1e-3, seed=0,
    )  # fmt: skip
    assert soft.keys() == masks.keys()
    scores = M.only(soft, "edges")
    assert all(bool((m >= 0).all()) for m in scores.values())
    assert not torch.allclose(scores["edges.0"], scores["edges.1"], atol=1e-2)


@pytest.mark.parametrize("real", [False, True])
def test_retraining_is_that_by_hand_in_pyg(real):
    """Plain steps of Adam on PyG's layers, each on the edges and weights of its own mask."""
    task = NodeTask(data(loops=False), edges="directed")
    model, by_hand = Layered(task), Layered(task)
    masks = {f"edges.{i}": draw_mask(task.num_edges, 0.6, i, real) for i in range(2)}
    ticket = Ticket(snapshot(model), masks, 1)
    by_hand.load_state_dict(ticket.init)
    batch = next(task.batches("train"))
    x, graph = batch.inputs
    x = x if isinstance(x, torch.Tensor) else x.to_dense()
    edge_index = graph.edge_index
    parts = [(edge_index[:, m != 0], m[m != 0]) for m in masks.values()]
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.02, weight_decay=5e-4)
    losses = []
    for _ in range(5):
        hidden = by_hand.first(x, *parts[0]).relu()
        out = by_hand.second(hidden, *parts[1])
        loss = nn.functional.cross_entropy(out[batch.rows], batch.target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = [e.loss for e in train(model, task, masks, epochs=5, lr=0.02, weight_decay=5e-4)]
    assert found == pytest.approx(losses, abs=1e-9)


@models
def test_a_real_weight_is_an_edge_weight_of_the_data(name):
    raw = data(loops=False)
    task = NodeTask(raw, edges="directed")
    mask = draw_mask(task.num_edges, 0.6, 5, real=True)
    source, target = task.graph.edge_index
    keep = mask != 0
    weighted = Data(**raw.to_dict() | {"edge_index": torch.stack([source, target])[:, keep],
                                       "edge_weight": mask[keep]})  # fmt: skip
    other = NodeTask(weighted, edges="directed")
    model = build(name, task)
    ticket = Ticket(snapshot(model), {"edges": mask}, 1)
    whole = dense(model, weights=False, edges=False)
    close(predict(model, task, ticket), predict(model, other, whole))
    how = {"epochs": 3, "lr": 0.05, "seed": 2}
    one = fit(build(name, task), task, ticket, **how)
    two = fit(build(name, task), other, whole, **how)
    assert one.loss == pytest.approx(two.loss, abs=1e-9)
    left = glt.prune_data(raw, ticket, edges="directed")
    close(predict(model, NodeTask(left, edges="directed"), whole), predict(model, other, whole))


def test_data_lose_the_edges_that_no_layer_keeps():
    task = toy("directed")
    model = build("gcn", task)
    ticket = layered(model, task, 0.3)
    left = glt.prune_data(data(), ticket, edges="directed")
    wanted = torch.stack([*M.only(ticket.masks, "edges").values()]).any(0)
    assert left.edge_index.unique(dim=1).size(1) == int(wanted.sum())
    assert "edge_weight" not in left
    assert torch.equal(NodeTask(left, edges="directed").graph.edge_index,
                       task.without(wanted).graph.edge_index)  # fmt: skip


@pytest.mark.parametrize("name", ["degree", "jaccard", "random"])
def test_scores_of_edges_are_those_of_the_graph_of_each_layer(name):
    task = toy()
    model = build("gcn", task)
    masks = M.only(layered(model, task, 0.5).masks, "edges")
    score = glt.find("scores", name)
    found = score(model, task, masks)
    assert found.keys() == masks.keys()
    if name != "random":
        for n, mask in masks.items():
            alone = score(model, task, {"edges": mask})["edges"]
            assert torch.equal(found[n], alone)


def test_ugs_goes_on_from_a_ticket_with_a_mask_for_each_layer():
    task = toy()
    model = build("gcn", task)
    start = dense(model, task.num_edges, layers=2)
    *_, ticket = glt.ugs(model, task, last=start, rounds=2, epochs=2, drop_edges=0.2)
    edges = M.only(ticket.masks, "edges")
    count = 2 * task.num_edges
    for _ in range(2):
        count -= round(0.2 * count)
    assert sum(int(m.count_nonzero()) for m in edges.values()) == count
    assert [*edges] == ["edges.0", "edges.1"]


NO_MASKS = [
    ("edges", lambda m: m * float("nan"), "`masks` of edges must be 0 or a finite weight"),
    ("edges", lambda m: -m, "`masks` of edges must be 0 or a finite weight .* got -1.0"),
    ("edges", lambda m: m.tolist(), "`masks` must be tensors of numbers, got list in 'edges'"),
    ("edges", lambda m: m.to(torch.complex64), "must be tensors of numbers, got torch.complex64"),
    ("edges", lambda m: m[1:], "24|does not fit"),
    ("weights.0", lambda m: m / 2, "`masks` must be 0 or 1, got others in 'weights.0'"),
    ("weights.0", lambda m: m[1:], r"'weights.0' must have shape \[6, 4\], got \[5, 4\]"),
]


@pytest.mark.parametrize(("name", "change", "message"), NO_MASKS)
def test_masks_that_fit_nothing_are_refused_wherever_they_are_read(name, change, message):
    task = toy()
    model = build("gcn", task)
    whole = dense(model, task.num_edges)
    ticket = replace(whole, masks=whole.masks | {name: change(whole.masks[name])})
    uses = [
        lambda: evaluate(model, task, ticket.masks, ("test",)),
        lambda: predict(model, task, ticket),
        lambda: glt.macs(model, task, ticket.masks),
        lambda: glt.prune_data(data(), ticket),
    ]
    for use in uses if name == "edges" else uses[:-1]:
        with pytest.raises(ValueError, match=message):
            use()


def test_masks_of_another_depth_have_no_macs():
    task = toy()
    with pytest.raises(ValueError, match="for each of the 2 layers of GCN, got 3"):
        glt.macs(build("gcn", task), task, {f"edges.{i}": torch.ones(25) for i in range(3)})


def test_the_dense_ticket_is_of_a_model():
    with pytest.raises(ValueError, match=r"`model` must be a torch.nn.Module, got NoneType"):
        dense(None, 3)
