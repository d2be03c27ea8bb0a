"""Unchanged models of PyG's operators are first-class: what nobody has written for graphlth."""

import copy
import io
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn
from torch_geometric.data import Data, HeteroData
from torch_geometric.utils import degree as pyg_degree
from torch_geometric.utils import scatter

import graphlth as glt
from graphlth import masks as M
from graphlth.edge_masks import edge_mask
from graphlth.registry import find
from graphlth.training import own_models
from graphlth.training.checks import SurrogateWarning
from graphlth.training.forward import forward
from graphlth.training.loop import train

N, FEATURES, CLASSES = 24, 5, 3
OUT = {"in_channels": FEATURES, "hidden_channels": 6, "out_channels": CLASSES, "num_layers": 2}
FEW = {"epochs": 3}


def draw():
    return torch.Generator().manual_seed(0)


def splits(store, count):
    places = torch.arange(count) % 4
    for part, places_of in (("train", (0, 1)), ("val", (2,)), ("test", (3,))):
        store[f"{part}_mask"] = torch.isin(places, torch.tensor(places_of))


def graph():
    """A graph with isolated nodes, loops, an edge twice, weights in no way, and attributes."""
    generator = draw()
    half = torch.randint(0, N - 2, (2, 40), generator=generator)
    edge_index = torch.cat([half, half.flip(0), torch.tensor([[3, 5], [3, 5]])], 1)
    y = torch.arange(N) // 4 % CLASSES
    data = Data(x=torch.randn(N, FEATURES, generator=generator), edge_index=edge_index, y=y)
    data.x[torch.arange(N), y] += 2
    data.edge_attr = torch.rand(edge_index.size(1), 4, generator=generator)
    data.edge_type = torch.arange(edge_index.size(1)) % 2
    splits(data, N)
    return data


def plain():
    data = graph()
    del data.edge_attr, data.edge_type
    return data


def hetero():
    """Papers that cite one another, and their authors."""
    generator, data, y = draw(), HeteroData(), torch.arange(N) // 4 % CLASSES
    data["paper"].x = torch.randn(N, FEATURES, generator=generator)
    data["paper"].y = y
    splits(data["paper"], N)
    data["author"].x = torch.randn(9, 4, generator=generator)
    cites = torch.randint(0, N, (2, 40), generator=generator)
    writes = torch.stack([torch.randint(0, size, (40,), generator=generator) for size in (9, N)])
    data["paper", "cites", "paper"].edge_index = torch.cat([cites, cites.flip(0)], 1)
    data["author", "writes", "paper"].edge_index = writes
    data["paper", "rev_writes", "author"].edge_index = writes.flip(0)
    return data


class Two(nn.Module):
    """Two layers as in a tutorial."""

    def __init__(self, first, second):
        super().__init__()
        self.conv1, self.conv2 = first, second

    def forward(self, x, edge_index):
        x = torch.relu(self.conv1(x, edge_index))
        return self.conv2(nn.functional.dropout(x, training=self.training), edge_index)


class Undropped(Two):
    def forward(self, x, edge_index):
        return self.conv2(torch.relu(self.conv1(x, edge_index)), edge_index)


class WithEdges(Two):
    def forward(self, x, edge_index, edge_attr):
        return self.conv2(torch.relu(self.conv1(x, edge_index, edge_attr)), edge_index, edge_attr)


class WithTypes(Two):
    def forward(self, x, edge_index, edge_type):
        return self.conv2(torch.relu(self.conv1(x, edge_index, edge_type)), edge_index, edge_type)


class Deep(nn.Module):
    """DeeperGCN's blocks of GENConv, residual and normed."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Linear(FEATURES, 8), nn.Linear(8, CLASSES)
        self.layers = nn.ModuleList(
            pyg.DeepGCNLayer(pyg.GENConv(8, 8), nn.LayerNorm(8), nn.ReLU(), "res+", 0.1)
            for _ in range(4)
        )

    def forward(self, x, edge_index):
        x = self.encoder(x)
        for layer in self.layers:
            x = layer(x, edge_index)
        return self.head(x)


class Propagated(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(FEATURES, 6), nn.Linear(6, CLASSES)
        self.prop = pyg.APPNP(3, 0.1)

    def forward(self, x, edge_index):
        return self.prop(self.lin2(torch.relu(self.lin1(x))), edge_index)


class Tutorial(nn.Module):
    """As in PyG's introduction."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = pyg.GCNConv(FEATURES, 16), pyg.GCNConv(16, CLASSES)

    def forward(self, data):
        x, edge_index = data.x, data.edge_index
        x = nn.functional.dropout(torch.relu(self.conv1(x, edge_index)), training=self.training)
        return torch.log_softmax(self.conv2(x, edge_index), dim=1)


def linear(width):
    return nn.Sequential(nn.Linear(width, 6), nn.ReLU(), nn.Linear(6, 6))


def pna():
    degrees = torch.bincount(plain().edge_index[1].bincount(minlength=N))
    how = {"aggregators": ["mean", "max", "std"], "scalers": ["identity", "attenuation"]}
    return pyg.PNA(**OUT, **how, deg=degrees)


def gin():
    return Two(pyg.GINConv(linear(FEATURES)),
               pyg.GINConv(nn.Sequential(nn.Linear(6, CLASSES)), train_eps=True))  # fmt: skip


def gine():
    return WithEdges(pyg.GINEConv(linear(FEATURES), edge_dim=4),
                     pyg.GINEConv(nn.Linear(6, CLASSES), edge_dim=4))  # fmt: skip


def to_hetero(data=None):
    data = data or hetero()
    one = Undropped(pyg.SAGEConv((-1, -1), 6), pyg.SAGEConv((-1, -1), CLASSES))
    model = pyg.to_hetero(one, data.metadata())
    with torch.no_grad():
        model(data.x_dict, data.edge_index_dict)  # its layers are lazy
    return model


MODELS = {
    "GCN": (plain, lambda: Two(pyg.GCNConv(FEATURES, 6), pyg.GCNConv(6, CLASSES))),
    "GAT": (plain, lambda: Two(pyg.GATConv(FEATURES, 4, 2), pyg.GATConv(8, CLASSES))),
    "GATv2": (plain, lambda: Two(pyg.GATv2Conv(FEATURES, 4, 2), pyg.GATv2Conv(8, CLASSES))),
    "SAGE": (plain, lambda: Two(pyg.SAGEConv(FEATURES, 6), pyg.SAGEConv(6, CLASSES))),
    "SAGE max": (plain, lambda: pyg.GraphSAGE(**OUT, aggr="max")),
    "GIN": (plain, gin),
    "GINE": (graph, gine),
    "GraphConv": (plain, lambda: Two(pyg.GraphConv(FEATURES, 6), pyg.GraphConv(6, CLASSES))),
    "Transformer": (graph, lambda: WithEdges(
        pyg.TransformerConv(FEATURES, 4, 2, edge_dim=4), pyg.TransformerConv(8, CLASSES, edge_dim=4)
    )),
    "GENConv": (plain, Deep),
    "PNA": (plain, pna),
    "RGCN": (graph, lambda: WithTypes(
        pyg.RGCNConv(FEATURES, 6, num_relations=2), pyg.RGCNConv(6, CLASSES, num_relations=2)
    )),
    "APPNP": (plain, Propagated),
    "JumpingKnowledge": (plain, lambda: pyg.GCN(**OUT, jk="cat")),
    "to_hetero": (hetero, to_hetero),
    "tutorial": (plain, Tutorial),
    "Sequential": (plain, lambda: pyg.Sequential("x, edge_index", [
        (pyg.TAGConv(FEATURES, 6), "x, edge_index -> h"), nn.ReLU(),
        (pyg.ResGatedGraphConv(6, CLASSES), "h, edge_index -> h"),
    ])),
}  # fmt: skip
models = pytest.mark.parametrize("name", MODELS)
surrogate = pytest.mark.filterwarnings("ignore::graphlth.training.checks.SurrogateWarning")
attributes = pytest.mark.filterwarnings("ignore:`data.*not read")
pytestmark = [surrogate, attributes]


def make(name):
    data, build = MODELS[name]
    torch.manual_seed(0)
    return glt.NodeTask(data()), build()


def masks_of_half(task, model):
    generator = draw()
    return {n: (torch.rand(m.shape, generator=generator) < 0.5).float()
            for n, m in M.only(M.ones(model, task.num_edges), "edges").items()}  # fmt: skip


def whole_output(model, task, masks):
    out = forward(model.eval(), next(task.batches("val")), masks)
    return out["paper"] if isinstance(out, dict) else out


@models
@torch.no_grad()
def test_a_mask_of_zeros_and_ones_is_the_graph_without_the_edges(name):
    task, model = make(name)
    masks = masks_of_half(task, model)
    left = task.without(edge_mask(masks))
    soft, hard = whole_output(model, task, masks), whole_output(model, left, {})
    torch.testing.assert_close(soft, hard, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(soft, whole_output(model, task, {}), atol=1e-4)


@models
def test_an_unchanged_model_goes_all_the_way(name, tmp_path):
    task, model = make(name)
    *_, ticket = glt.ugs(model, task, rounds=1, drop_edges=0.2, drop_weights=0.2, **FEW)
    kept = {part: 1 - M.sparsity(M.only(ticket.masks, part)) for part in ("edges", "weights")}
    assert kept == pytest.approx({"edges": 0.8, "weights": 0.8}, abs=0.02)
    *_, drawn = glt.random_tickets(model, task, rounds=1)
    assert M.distance(drawn.masks, ticket.masks) > 0

    fit = glt.fit(model, task, ticket, **FEW)
    ticket.save(tmp_path / "ticket.safetensors")
    again = glt.load(tmp_path / "ticket.safetensors")
    assert glt.fit(model, task, again, **FEW).val == fit.val
    logits = glt.predict(model, task, fit)
    assert logits.shape == (N // 4, CLASSES) and logits.isfinite().all()


@models
def test_the_graph_and_the_model_of_a_ticket_become_small(name):
    task, model = make(name)
    *_, ticket = glt.ugs(model, task, rounds=1, drop_edges=0.3, **FEW)
    fit = glt.fit(model, task, ticket, **FEW)
    left = task.without(edge_mask(ticket.masks))
    small = fit.compact(model, task)
    want = whole_output(model, left, M.only(ticket.masks, "weights"))
    data = next(left.batches("test")).data
    out = small(task.x if name != "to_hetero" else data.x_dict)
    out = out if name != "to_hetero" else out["paper"]
    torch.testing.assert_close(out, want, atol=1e-5, rtol=1e-5)
    pruned = ticket.prune(given := MODELS[name][0]())
    assert pruned.num_edges < given.num_edges
    assert edges_of(pruned) == edges_of(data)


def edges_of(data):
    return [{tuple(pair) for pair in store.edge_index.T.tolist()} for store in data.edge_stores]


def nearest(x, k):
    places = torch.cdist(x, x).topk(k, largest=False).indices
    return torch.stack([places.flatten(), torch.arange(len(x)).repeat_interleave(k)])


def test_a_model_that_makes_its_own_edges_is_told_so(monkeypatch):
    class Nearest(pyg.DynamicEdgeConv):
        def forward(self, x):
            return self.propagate(nearest(x, self.k), x=(x, x))

    class Dynamic(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = Nearest(nn.Linear(2 * FEATURES, CLASSES), k=3)

        def forward(self, x, edge_index):
            return self.conv(x)

    monkeypatch.setattr("torch_geometric.typing.WITH_KNN", True)  # by pyg-lib, which is not there
    task = glt.NodeTask(plain())
    for algorithm in (glt.ugs, glt.random_tickets):
        with pytest.raises(ValueError, match="Nearest as 'conv': it makes its own edges"):
            list(algorithm(Dynamic(), task, rounds=1))


class Detached(nn.Module):
    """Reads its edges at first only."""

    def __init__(self, conv):
        super().__init__()
        self.conv, self.seen = conv, None

    def forward(self, x, edge_index):
        self.seen = edge_index.tolist() if self.seen is None else self.seen
        return self.conv(x, torch.tensor(self.seen))


class Keeping(nn.Module):
    """Divides by the degrees of the first graph, which it keeps in one way or another."""

    def __init__(self, how):
        super().__init__()
        self.lin, self.how, self.degrees, self.known = nn.Linear(FEATURES, CLASSES), how, None, {}
        self.register_buffer("held", None)
        self.register_buffer("filled", torch.zeros(N))

    def first(self, degree):
        """The degrees of the first call."""
        if self.how == "filled" and not self.filled.any():
            self.filled.copy_(degree)
        if self.how == "held":
            self.held = degree if self.held is None else self.held
        elif self.how == "degrees":
            self.degrees = degree if self.degrees is None else self.degrees
        return {"held": self.held, "degrees": self.degrees, "filled": self.filled,
                "known": self.known.setdefault("degree", degree)}[self.how]  # fmt: skip

    def forward(self, x, edge_index):
        degree = self.first(pyg_degree(edge_index[1], N).clamp(min=1))
        h = self.lin(x) / degree.view(-1, 1)
        return scatter(h[edge_index[0]], edge_index[1], 0, N, "sum")


@pytest.mark.parametrize("how", ["degrees", "known", "held", "filled"])
def test_a_model_that_keeps_the_degrees_of_the_first_graph_is_refused_and_keeps_none(how):
    model = Keeping(how)
    with pytest.raises(ValueError, match="its output moves by"):
        list(glt.ugs(model, glt.NodeTask(plain()), rounds=1, **FEW))
    assert model.degrees is None and model.held is None and not model.known
    assert not model.filled.any()


class FirstHalf(nn.Module):
    """Reads the first half of its edges, however many there are."""

    def __init__(self):
        super().__init__()
        self.conv = pyg.SAGEConv(FEATURES, CLASSES)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index[:, : edge_index.size(1) // 2])


def test_a_model_that_reads_a_number_of_edges_is_refused():
    with pytest.raises(ValueError, match="its output moves by"):
        list(glt.ugs(FirstHalf(), glt.NodeTask(plain(), edges="directed"), rounds=1, **FEW))


class Fragile(nn.Module):
    """Fails on a graph of few edges."""

    def __init__(self, count):
        super().__init__()
        self.conv, self.count = pyg.SAGEConv(FEATURES, CLASSES), count

    def forward(self, x, edge_index):
        edge_index[0].topk(self.count)
        return self.conv(x, edge_index)


def test_a_model_that_fails_without_edges_is_told_in_one_line():
    task = glt.NodeTask(plain())
    said = "the graph without half of its edges, but raises RuntimeError: .* out of range"
    with pytest.raises(ValueError, match=said):
        list(glt.ugs(Fragile(task.num_edges), task, rounds=1, **FEW))


@pytest.mark.parametrize("large", [True, False])
def test_a_large_graph_is_checked_too(large, monkeypatch):
    monkeypatch.setattr(own_models, "LARGE", 0 if large else 1 << 60)
    (task, model), how = make("GCN"), {"rounds": 1, **FEW}
    list(glt.ugs(model, task, **how))
    with pytest.raises(ValueError, match="`model` must"):
        list(glt.ugs(Detached(pyg.GCNConv(FEATURES, CLASSES)), task, **how))


@pytest.mark.parametrize("name", ["GCN", "GAT", "SAGE", "PNA", "cached"])
def test_a_large_graph_is_trained_without_messages_if_all_operators_have_kernels(name, monkeypatch):
    task, model = make("GCN" if name == "cached" else name)
    for module in model.modules():
        module.cached = name == "cached"
    found, messages, kind = [], [], next(m for m in model.modules() if hasattr(m, "propagate"))
    monkeypatch.setattr(type(kind), "aggregate", note(messages, type(kind).aggregate))
    for large in (0, 1 << 60):
        monkeypatch.setattr(own_models, "LARGE", large)
        found.append(whole_output(copy.deepcopy(model), task, {}))
        messages.append("next")
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)
    assert messages[-2:] == ["made", "next"]
    assert (messages[0] == "next") == (name in ("GCN", "GAT", "SAGE"))


def note(calls, function):
    def noted(*args, **kwargs):
        calls.append("made")
        return function(*args, **kwargs)

    return noted


def test_operators_whose_soft_masks_are_surrogates_are_named_once():
    task, model = make("SAGE max")
    said = "MaxAggregation .*: what a search sees of an edge of weight m is a surrogate"
    with pytest.warns(SurrogateWarning, match=said):
        *_, ticket = glt.ugs(model, task, rounds=1, **FEW)
    assert ticket.provenance["surrogate"].startswith("MaxAggregation 'convs.0.aggr_module'")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SurrogateWarning)
        list(glt.ugs(model, task, rounds=1, **FEW))


class OwnMaximum(nn.Module):
    """The maximum of neighbours, without an operator of PyG."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(FEATURES, CLASSES)

    def forward(self, x, edge_index):
        return scatter(self.lin(x)[edge_index[0]], edge_index[1], 0, len(x), "max")


class OwnNorm(OwnMaximum):
    """A batch norm over edges."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(CLASSES)

    def forward(self, x, edge_index):
        messages = self.norm(self.lin(x)[edge_index[0]])
        return scatter(messages, edge_index[1], 0, len(x), "sum")


def test_soft_masks_in_a_maximum_of_ones_own_are_surrogates_too():
    task, _ = make("GAT")
    with pytest.warns(SurrogateWarning, match="OwnMaximum, by amax of `scatter_reduce_`: what a"):
        *_, ticket = glt.ugs(OwnMaximum(), task, rounds=1, **FEW)
    assert ticket.provenance["surrogate"].startswith("OwnMaximum, by amax")


def test_batch_norms_over_edges_outside_operators_are_refused_and_left_as_they_were():
    task, _ = make("GAT")
    model = OwnNorm()
    before = {n: b.clone() for n, b in model.state_dict().items()}
    with pytest.raises(ValueError, match="in training its batch norms count such edges"):
        list(glt.ugs(model, task, rounds=1, **FEW))
    assert all(torch.equal(b, before[n]) for n, b in model.state_dict().items())
    assert model.norm.training


class Passing(nn.Module):
    """Hands on whatever it is called with."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)


UNNAMED = {
    "compiled": ("GINE", lambda model: torch.compile(model, backend="eager")),
    "handed on": ("GAT", Passing),
}


@pytest.mark.parametrize("name", [pytest.param("compiled", marks=pytest.mark.slow), "handed on"])
def test_compiled_models_and_those_that_hand_on_arguments_find_the_tickets_of_the_model(name):
    which, wrap = UNNAMED[name]
    found = []
    for change in (lambda model: model, wrap):
        task, model = make(which)
        *_, ticket = glt.ugs(change(model), task, rounds=1, **FEW)
        found.append(ticket.masks["edges"])
    assert torch.equal(*found)


class Mapped(OwnMaximum):
    """Adds up the neighbours within a transform of torch.func."""

    def forward(self, x, edge_index):
        def total(h):
            return torch.zeros_like(h).index_add(0, edge_index[1], h[edge_index[0]])

        return torch.vmap(total, in_dims=1, out_dims=1)(self.lin(x))


def test_sums_within_vmap_are_masked_and_compacted():
    task, _ = make("GAT")
    model = Mapped()
    *_, ticket = glt.ugs(model, task, rounds=1, drop_edges=0.4, **FEW)
    small = glt.compact(ticket, model, task)
    left = task.without(ticket.masks["edges"])
    weights = {n: m for n, m in ticket.masks.items() if n != "edges"}
    torch.testing.assert_close(
        small(task.x), forward(model, next(left.batches("train")), weights), atol=1e-5, rtol=1e-5
    )


def test_a_forward_that_asks_for_what_the_data_lack_is_told_to_add_it():
    task, _ = make("GAT")
    with pytest.raises(ValueError, match=r"edge_attr\): .*, or add to the data what it asks for"):
        list(glt.ugs(gine(), task, rounds=1, **FEW))


def test_a_forward_without_names_is_refused_in_one_line():
    class Unnamed(Passing):
        def forward(self, *args):
            return self.model(*args)

    task, model = make("to_hetero")
    with pytest.raises(ValueError, match=r"must name its arguments, got \(\*args\): name") as error:
        list(glt.ugs(Unnamed(model), task, rounds=1, **FEW))
    assert "\n" not in str(error.value)


ALGORITHMS = {
    "at_init": {"rounds": 1}, "edge_popup": {"epochs": 3, "drop_edges": 0.2},
    "geb": {"pretrain": 2, **FEW}, "imp": {"rounds": 1, **FEW}, "joint_early_bird": FEW,
    "one_shot": {"rounds": 1, **FEW}, "random_edges": {"rounds": 1, **FEW},
    "random_graph": {}, "random_tickets": {"rounds": 1},
    "sgcn": {"pretrain": 2, **FEW}, "supermask": {"epochs": 3, "drop_edges": 0.2},
    "ugs": {"rounds": 1, **FEW},
}  # fmt: skip


@pytest.mark.parametrize("name", ["GAT", "to_hetero"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_finds_tickets_of_an_unchanged_model(algorithm, name):
    task, model = make(name)
    settings = ALGORITHMS[algorithm]
    if algorithm == "at_init" and name == "to_hetero":
        settings = settings | {"edge_score": "random"}
    *_, ticket = find("algorithms", algorithm)(model, task, **settings)
    assert ticket.round == 1 and M.sparsity(ticket.masks) > 0
    assert glt.fit(model, task, ticket, **FEW).val >= 0


@pytest.mark.parametrize("algorithm", ["early_bird", "channels"])
def test_an_algorithm_of_channels_says_what_it_cannot_score(algorithm):
    task, model = make("GAT")
    with pytest.raises(ValueError, match="`model` must have hidden channels"):
        list(find("algorithms", algorithm)(model, task))


@pytest.mark.parametrize("score", ["degree", "effective_resistance", "similarity", "spectral"])
@pytest.mark.parametrize("edges", ["undirected", "directed"])
def test_each_relation_loses_its_share_by_a_score_of_edges(score, edges):
    data = hetero()
    data["author"].x = torch.rand(9, FEATURES, generator=draw())
    task, model = glt.NodeTask(data, edges=edges), to_hetero(data)
    one, two = list(glt.at_init(model, task, rounds=2, edge_score=score, drop_edges=0.25))[1:]
    sizes = task.num_edges.by_key
    total = sum(sizes.values())
    for ticket, left in ((one, 0.75), (two, 0.5625)):
        kept = {key: int(ticket.masks[key].sum()) for key in sizes}
        assert abs(sum(kept.values()) - left * total) <= 1
        assert all(abs(kept[key] - left * n) <= 1.5 for key, n in sizes.items())
    assert all(((one.masks[key] - two.masks[key]) >= 0).all() for key in sizes)
    assert sum(int(one.masks[key].sum()) for key in sizes) == total - round(0.25 * total)


def test_a_relation_of_a_task_scores_as_the_transform_ranks_it():
    task, model = make("to_hetero")
    *_, ticket = glt.at_init(
        model, task, rounds=1, edge_score="degree", drop_edges=0.25, ignore="edges.paper__*"
    )
    left = glt.PruneEdges("degree", ratio=0.25, relations=["writes"])(hetero())
    assert rows_of(ticket.prune(hetero()), "writes") == rows_of(left, "writes")


def rows_of(data, relation):
    return {*map(tuple, data[relation].edge_index.T.tolist())}


@pytest.mark.parametrize(("score", "said"), [
    ("jaccard", "edges within one type of nodes for jaccard, .* got 'edges.author__writes__paper'"),
    ("similarity", "as many features of both types to .*, got 'edges.author__writes__paper'"),
])  # fmt: skip
def test_a_score_that_cannot_rank_a_relation_says_why(score, said):
    task, model = make("to_hetero")
    with pytest.raises(ValueError, match=f"^`task` must have {said}"):
        list(glt.at_init(model, task, rounds=1, edge_score=score))
    *_, ticket = glt.at_init(
        model, task, rounds=1, edge_score=score, ignore="edges.author__*, edges.*__author"
    )
    assert [*M.only(ticket.masks, "edges")] == ["edges.paper__cites__paper"]


EDGE_SCORES = ["degree", "effective_resistance", "jaccard", "similarity", "spectral", "random"]


@pytest.mark.parametrize("score", EDGE_SCORES)
def test_scores_of_edges_read_the_graph_of_an_unchanged_model(score):
    task, model = make("GAT")
    *_, ticket = glt.at_init(model, task, rounds=1, edge_score=score, drop_edges=0.25)
    assert M.sparsity(M.only(ticket.masks, "edges")) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("score", ["magnitude", "snip", "grasp", "synflow", "taylor"])
def test_scores_of_weights_read_an_unchanged_model(score):
    task, model = make("GINE")
    *_, ticket = glt.at_init(model, task, rounds=1, score=score)
    assert M.sparsity(M.only(ticket.masks, "weights")) == pytest.approx(0.2, abs=0.02)


IGNORED = {"at_init": {"rounds": 1, "drop_edges": 0.0}, "imp": {"rounds": 1, **FEW}} | {
    name: ALGORITHMS[name] for name in ALGORITHMS if name not in ("at_init", "imp")
}


@pytest.mark.parametrize("algorithm", IGNORED)
def test_what_is_ignored_stays_dense(algorithm):
    task, model = make("GENConv")
    whole = set(M.ones(model))
    *_, ticket = find("algorithms", algorithm)(
        model, task, ignore="encoder.*, head", **IGNORED[algorithm]
    )
    kept = set(M.only(ticket.masks, "weights"))
    assert not kept & {"encoder.weight", "head.weight"}
    assert kept in (set(), whole - {"encoder.weight", "head.weight"})
    assert ticket.provenance["ignore"] == "encoder.*, head"


def test_a_task_of_relations_is_copied_with_their_counts():
    task = glt.NodeTask(hetero())
    for other in (copy.deepcopy(task), pickle.loads(pickle.dumps(task)), task.to("cpu")):
        assert other.num_edges == task.num_edges == sum(task.num_edges.by_key.values())
        assert other.num_edges.by_key == task.num_edges.by_key
        assert (other.fingerprint(), other.content()) == (task.fingerprint(), task.content())


def test_a_relation_that_is_ignored_stays_whole():
    task, model = make("to_hetero")
    *_, ticket = glt.ugs(model, task, rounds=1, drop_edges=0.5, ignore="edges.author__*", **FEW)
    assert set(M.only(ticket.masks, "edges")) == {
        "edges.paper__cites__paper", "edges.paper__rev_writes__author"
    }  # fmt: skip
    left = next(task.without(edge_mask(ticket.masks)).batches("val")).data
    assert left["author", "writes", "paper"].edge_index.size(1) == 40


@pytest.mark.parametrize(("ignore", "near"), [
    ("encodr.*", r"got 'encodr.\*': near it are encoder.bias, encoder.weight"), ("e, head", "'e'"),
])  # fmt: skip
def test_a_pattern_that_matches_nothing_is_told_near_names(ignore, near):
    task, model = make("GENConv")
    said = f"`ignore` must match a parameter of the model or a relation, got .*{near}"
    with pytest.raises(ValueError, match=said if near == "'e'" else near):
        list(glt.ugs(model, task, ignore=ignore, **FEW))


def test_the_data_are_whole_and_pruned_with_their_attributes():
    data, task = graph(), glt.NodeTask(graph())
    known = {(*ends, kind): set() for *ends, kind in rows(data)}
    whole = next(task.batches("train"))
    assert whole.data.edge_index.size(1) == data.edge_index.size(1) > len(known)
    assert {row(whole.data, e) for e in range(82)} == {row(data, e) for e in range(82)}
    for column, entry in enumerate(whole.columns["edges"].tolist()):
        source, target, kind = rows(whole.data)[column]
        known[source, target, kind].add(entry)
    assert all(len(entries) == 1 for entries in known.values())  # of one type, one entry
    mask = torch.ones(task.num_edges)
    mask[::2] = 0
    left = next(task.without(mask).batches("train"))
    assert left.columns["edges"].remainder(2).all()
    kept = {row(whole.data, e) for e in whole.columns["edges"].remainder(2).nonzero().view(-1)}
    assert {row(left.data, e) for e in range(left.data.edge_index.size(1))} == kept
    assert next(task.batches("train")).data.edge_index is whole.data.edge_index
    assert torch.equal(data.edge_index, graph().edge_index)  # what was given stays as it is


def rows(data):
    return torch.cat([data.edge_index, data.edge_type[None]]).T.tolist()


def row(data, e):
    return (*data.edge_index[:, e].tolist(), int(data.edge_type[e]), float(data.edge_attr[e, 0]))


def test_an_adapter_calls_the_model():
    data = plain()
    _, model = make("GAT")
    task = glt.NodeTask(data, forward=lambda model, data: model(data.x, data.edge_index))
    *_, ticket = glt.ugs(model, task, rounds=1, **FEW)
    torch.manual_seed(0)
    *_, same = glt.ugs(make("GAT")[1], glt.NodeTask(data), rounds=1, **FEW)
    assert M.distance(ticket.masks, same.masks) == 0


@pytest.mark.parametrize("name", ["to_hetero"])
def test_an_adapter_calls_a_model_of_several_kinds_of_nodes(name):
    _, model = make(name)
    task = glt.NodeTask(
        hetero(),
        node_type="paper",
        forward=lambda model, data: model(data.x_dict, data.edge_index_dict)["paper"],
    )
    assert len(list(glt.ugs(model, task, rounds=1, **FEW))) == 2


def numbers():
    data = plain()
    data.y = data.x.sum(1)
    return data


class Misled(Two):
    def forward(self, x, edge_index, edge_attr, angles):
        return super().forward(x, edge_index)


WRONG = {  # what builds the task and the model: what is said
    "something that the data lack": (
        lambda: (glt.NodeTask(graph()), Misled(*convs())),
        "`model.forward` asks for 'angles', which the data lack: they have .*forward=lambda",
    ),
    "an attribute that its operators are not made for": (
        lambda: (
            glt.NodeTask(graph()),
            pyg.PNA(**OUT, aggregators=["mean"], scalers=["identity"], deg=torch.ones(9).long()),
        ),
        "`model` must take what `task` gives it, x, edge_index, edge_attr of the data, but raises "
        ".*edge_encoder'; .* forward=lambda model, data: model",
    ),
    "an attribute that it asserts not to be given": (
        lambda: (glt.NodeTask(graph()), pyg.GAT(**OUT, v2=True)),
        "`model` must take what `task` gives it, .*, but raises AssertionError; if it must be give",
    ),
    "numbers without a column": (
        lambda: (
            glt.NodeTask(numbers(), loss="mse", forward=lambda m, d: m(d.x, d.edge_index)[:, 0]),
            Two(*convs()),
        ),
        r"`model` must return logits \[24, 1\], .* float32 \[24\]: return output.unsqueeze\(-1\)$",
    ),
    "as many outputs as a link task does not take": (
        lambda: (glt.LinkTask(graph(), out_channels=5), Two(*convs())),
        r"`model` must return logits \[24, 5\], .*: change its last layer, or `out_channels` of Li",
    ),
    "an adapter that raises": (
        lambda: (glt.NodeTask(plain(), forward=lambda m, d: m(d.nothing)), Two(*convs())),
        "`model` must take what `task` gives it, .*AttributeError: .*nothing",
    ),
    "an adapter of something else": (
        lambda: (glt.NodeTask(plain(), forward=lambda m, d: [1]), Two(*convs())),
        r"`model` must return logits \[24, 3\], got a list",
    ),
    "a type of nodes of plain data": (
        lambda: (glt.NodeTask(plain(), node_type="paper"), None),
        "`node_type` must go with a HeteroData, got Data, whose nodes are of one type",
    ),
    "no such type of nodes": (
        lambda: (glt.NodeTask(hetero(), node_type="venue"), None),
        "`node_type` must be one of paper, author, got 'venue', while y is there for paper",
    ),
    "masks of relations of one kind of edges": (
        lambda: (glt.NodeTask(plain()).without({"edges.a__b__c": torch.ones(3)}), None),
        "`mask` must be one for all edges, which are of one kind, got masks of edges.a__b__c",
    ),
    "masks of layers of several relations": (
        lambda: (None, glt.dense(to_hetero(), glt.NodeTask(hetero()).num_edges, layers=2)),
        "`layers` must be None where each relation has a mask, got 2",
    ),
    "one mask for all relations": (
        lambda: (glt.NodeTask(hetero()).without(torch.ones(3)), None),
        "`mask` must hold a mask for each relation, edges.paper__cites__paper, .*, got one for all",
    ),
}


def convs():
    return pyg.SAGEConv(FEATURES, 6), pyg.SAGEConv(6, CLASSES)


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_told_in_one_line(case):
    build, said = WRONG[case]
    with pytest.raises(ValueError, match=said) as caught:
        task, model = build()
        list(glt.ugs(model, task, rounds=1, **FEW))
    assert "\n" not in str(caught.value)


def test_weights_of_the_data_weigh_the_edges_of_operators_that_take_none():
    data = plain()
    data.edge_weight = torch.rand(data.edge_index.size(1), generator=draw()) + 0.5
    torch.manual_seed(0)
    task, model = glt.NodeTask(data), Two(*convs())
    a, x = torch.zeros(N, N), data.x
    a.index_put_((data.edge_index[1], data.edge_index[0]), data.edge_weight, accumulate=True)
    h = x
    for conv in (model.conv1, model.conv2):
        mean = a @ h / a.sum(1, keepdim=True).clamp(min=1e-9)
        h = conv.lin_l(mean) + conv.lin_r(h)
        h = torch.relu(h) if conv is model.conv1 else h
    torch.testing.assert_close(whole_output(model, task, {}), h, atol=1e-5, rtol=1e-5)
    assert len(list(glt.ugs(model, task, rounds=1, **FEW))) == 2


def test_relations_with_the_same_ends_keep_weights_of_their_own():
    data, model = hetero(), to_hetero()  # of means, to which the size of all weights is nothing
    writes, reverse = data["author", "writes", "paper"], data["paper", "rev_writes", "author"]
    writes.edge_index = torch.stack([torch.arange(40) % 9, torch.arange(40) // 9])
    reverse.edge_index = writes.edge_index.clone()
    reverse.edge_weight = torch.rand(40, generator=draw()) + 0.1
    other = data.clone()
    other["author", "writes", "paper"].edge_weight = torch.full((40,), 2.0)
    plain, twice = (whole_output(model, glt.NodeTask(each), {}) for each in (data, other))
    torch.testing.assert_close(plain, twice)


@pytest.mark.parametrize("weight", [[0, 1, 1, 0], [0, 0, 0, 0], [0.5, 1, 0, 0.5]])
def test_weights_of_a_relation_are_those_of_the_edges_that_are_left(weight):
    data, weight = hetero(), torch.tensor(weight).float()
    writes = data["author", "writes", "paper"]
    writes.edge_index, writes.edge_weight = torch.tensor([[0, 1, 2, 0], [5, 6, 7, 5]]), weight
    store = next(glt.NodeTask(data).batches("val")).data["author", "writes", "paper"]
    left = {(0, 5): weight[0] + weight[3], (1, 6): weight[1], (2, 7): weight[2]}
    found = dict(zip(map(tuple, store.edge_index.T.tolist()), store.edge_weight, strict=True))
    assert found == {edge: a for edge, a in left.items() if a}


@models
def test_a_trained_model_is_copied_pickled_and_saved(name):
    task, model = make(name)
    *_, ticket = glt.ugs(model, task, rounds=1, **FEW)
    glt.fit(model, task, ticket, **FEW)
    names = set(model.state_dict())
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    again = MODELS[name][1]()
    again.load_state_dict(torch.load(file, weights_only=True))
    want = whole_output(model, task, {})
    for other in (*copies, again):
        assert torch.equal(whole_output(other, task, {}), want)
        assert set(other.state_dict()) == names
    assert glt.fit(copies[0], task, ticket, **FEW).val >= 0


# --- several threads -----------------------------------------------------------------------------


class Deaf(Undropped):
    """Takes edge weights and does not read them."""

    def forward(self, x, edge_index, edge_weight=None):
        return super().forward(x, edge_index)


def deaf():
    torch.manual_seed(0)
    return Deaf(*convs())


def ticket_of(model, task):
    *_, ticket = glt.ugs(model, task, rounds=1, drop_edges=0.3, **FEW)
    return ticket


def test_what_masks_a_model_that_does_not_follow_its_weights_is_kept_by_no_training():
    """Neither what was trained before nor a copy changes what is refused or what is found."""
    task, model = glt.NodeTask(plain()), deaf()
    key = {"edges": torch.linspace(0.5, 1, task.num_edges)}
    weighted = glt.Ticket(glt.dense(model).init, key, 1)
    for _ in range(2):
        with pytest.raises(ValueError, match="`model` must treat an edge of weight 0 as absent"):
            glt.fit(model, task, weighted, **FEW)
        found = ticket_of(model, task)
        assert M.distance(found.masks, ticket_of(copy.deepcopy(deaf()), task).masks) == 0
        model.load_state_dict(deaf().state_dict())


def test_copies_of_a_model_are_trained_by_threads_at_once():
    tasks = [glt.NodeTask(plain(), edges=edges) for edges in ("undirected", "directed")] * 2
    alone = [ticket_of(deaf(), task) for task in tasks]
    models = [copy.deepcopy(each) for each in [deaf()] * 4]
    with ThreadPoolExecutor(4) as pool:
        together = [*pool.map(ticket_of, models, tasks)]
    assert [M.distance(a.masks, b.masks) for a, b in zip(alone, together, strict=True)] == [0] * 4


def test_a_model_is_refused_to_a_second_thread_while_one_trains_it():
    task, model = glt.NodeTask(plain()), deaf()
    ticket = glt.dense(model, task.num_edges)
    said = "^`model` must be trained by one thread at a time, got a Deaf .*: give each copy.deepcop"
    training = train(model, task, ticket.masks, **FEW)
    next(training)
    assert len([*train(model, task, ticket.masks, **FEW)]) == 3  # one thread may take turns
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match=said):
            pool.submit(glt.fit, model, task, ticket, **FEW).result()
        training.close()
        assert pool.submit(glt.fit, model, task, ticket, **FEW).result().val >= 0
