"""Models of a user's own, masked and compacted, compiled, copied, pickled, and in low precision."""

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from test_units import kill
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GCNConv, GINConv, GraphConv, SAGEConv, TransformerConv

import graphlth as glt
from graphlth.compaction.own_models import compact_on_data
from graphlth.masks import EDGES
from graphlth.message_passing import masked_edges
from graphlth.task import Batch
from graphlth.training.forward import forward

N, FEATURES, CLASSES = 20, 6, 3
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def gin_conv(a, b):
    return GINConv(nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, b)))


CONVS = {"gcn": GCNConv, "sage": SAGEConv, "gin": gin_conv, "graph": GraphConv, "gat": GATConv,
         "transformer": TransformerConv}  # fmt: skip
some = pytest.mark.parametrize("conv", CONVS.values(), ids=CONVS)


class Net(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.a, self.b = conv(FEATURES, 8), conv(8, CLASSES)

    def forward(self, x, edge_index):
        h = F.dropout(self.a(x, edge_index).relu(), 0.5, self.training)
        return self.b(h, edge_index)


def graph():
    draw = torch.Generator().manual_seed(0)
    pairs = torch.randint(N, (2, 30), generator=draw)
    return Data(x=torch.randn(N, FEATURES, generator=draw), y=torch.arange(N) % CLASSES,
                edge_index=torch.cat([pairs, pairs.flip(0)], 1))  # fmt: skip


def build(conv):
    torch.manual_seed(0)
    return Net(conv).eval()


def mask_of(data):
    return torch.arange(data.edge_index.size(1)).remainder(3).ne(0).float()


@some
def test_mask_zero_removes_the_edge_of_a_compiled_model(conv):
    data, model = graph(), build(conv)
    m = mask_of(data)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(data.x, data.edge_index)  # compiled without masks, first
    weight = m.clone().requires_grad_()
    with masked_edges(compiled, [(data.edge_index, weight)]):
        out = compiled(data.x, data.edge_index)
    torch.testing.assert_close(out, model(data.x, data.edge_index[:, m != 0]), atol=1e-5, rtol=1e-5)
    out.sum().backward()
    assert weight.grad.any()
    with torch.no_grad():  # and afterwards it is as it was
        torch.testing.assert_close(compiled(data.x, data.edge_index),
                                   model(data.x, data.edge_index))  # fmt: skip


def small_of(conv):
    data = graph()
    data.edge_index = data.edge_index[:, mask_of(data) != 0]
    model = kill(build(conv), share=0.3)
    small = compact_on_data(model, Batch(inputs=(), target=data.y, data=data), {})
    return small, model, data


@some
def test_a_compacted_model_compiles_whole(conv):
    small, model, data = small_of(conv)
    want = model(data.x, data.edge_index)
    compiled = torch.compile(small.network, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(data.x, data.edge_index), want, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.compile(small, backend="eager")(data.x), want,
                                   atol=1e-5, rtol=1e-5)  # fmt: skip


@pytest.mark.slow
def test_inductor_computes_what_the_compacted_model_does():
    small, model, data = small_of(SAGEConv)
    with torch.no_grad():
        out = torch.compile(small.network)(data.x, data.edge_index)
    torch.testing.assert_close(out, model(data.x, data.edge_index), atol=1e-5, rtol=1e-5)


def through_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


def through_torch(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("carry", [copy.deepcopy, through_pickle, through_torch])
def test_masked_and_compacted_models_can_be_carried_away(carry):
    task = glt.find("tasks", "sbm")(size=10)
    model = GCNOf(task)
    *_, ticket = glt.ugs(model, task, rounds=1, epochs=2)
    fit = glt.fit(model, task, ticket, epochs=2)
    small = fit.compact(model, task)
    again, tiny, found = carry(model), carry(small), carry(ticket)
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in model.state_dict().items())
    torch.testing.assert_close(tiny(task.x), small(task.x))
    assert all(torch.equal(m, found.masks[n]) for n, m in ticket.masks.items())
    glt.fit(again, task, found, epochs=1)  # it trains on
    assert all(p.is_leaf for p in again.parameters())
    assert set(model.state_dict()) == {"a.lin.weight", "a.bias", "b.lin.weight", "b.bias"}


class GCNOf(nn.Module):
    def __init__(self, task):
        super().__init__()
        self.a, self.b = GCNConv(task.num_features, 8), GCNConv(8, task.num_classes)

    def forward(self, x, edge_index, edge_weight=None):
        return self.b(self.a(x, edge_index, edge_weight).relu(), edge_index, edge_weight)


class Tied(GCNOf):
    """Its second layer has the transposed weight of a layer that stands beside it."""

    def __init__(self, task):
        super().__init__(task)
        self.c = GCNConv(task.num_features, 8)
        self.c.lin.weight = self.a.lin.weight

    def forward(self, x, edge_index, edge_weight=None):
        h = self.a(x, edge_index, edge_weight).relu() + self.c(x, edge_index, edge_weight)
        return self.b(h, edge_index, edge_weight)


def test_tied_weights_are_saved_loaded_and_compacted(tmp_path):
    task = glt.find("tasks", "sbm")(size=10)
    torch.manual_seed(0)
    model = Tied(task)
    *_, ticket = glt.ugs(model, task, rounds=2, epochs=2, drop_weights=0.5)
    ticket.save(tmp_path / "ticket.safetensors")
    again = glt.load(tmp_path / "ticket.safetensors")
    assert sorted(n for n in again.masks if n != EDGES) == ["a.lin.weight", "b.lin.weight"]
    fit = glt.fit(model, task, again, epochs=2)
    small = fit.compact(model, task)
    assert small.model.a.lin.weight is small.model.c.lin.weight
    (batch,) = task.batches("test")
    torch.testing.assert_close(small(task.x), forward(model.eval(), batch, again.masks),
                               atol=1e-5, rtol=1e-4)  # fmt: skip


@some
def test_under_autocast_a_mask_of_zero_is_an_absent_edge(conv):
    data, model = graph(), build(conv)
    m = mask_of(data)
    weight = m.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        with masked_edges(model, [(data.edge_index, weight)]):
            out = model(data.x, data.edge_index)
        plain = model(data.x, data.edge_index[:, m != 0])
    assert out.dtype == plain.dtype  # the mask does not widen what is sent
    assert weight.dtype == torch.float32
    torch.testing.assert_close(out, plain, atol=2e-2, rtol=2e-2)
    out.float().square().sum().backward()
    assert weight.grad.isfinite().all() and weight.grad.any()


@pytest.mark.parametrize("conv", [GCNConv, GraphConv, SAGEConv, GATConv])
def test_sums_of_low_precision_are_those_of_float32(conv):
    """In bfloat16, 1 cannot be added to 256."""
    n = 2001
    edges = torch.stack([torch.arange(1, n), torch.zeros(n - 1, dtype=torch.long)])
    weight = torch.arange(n - 1).remainder(4).ne(0).float()
    layer = conv(1, 1, bias=False)
    with torch.no_grad():
        for p in layer.parameters():
            p.fill_(1)
        x = torch.ones(n, 1)
        want = layer(x, edges[:, weight != 0])[0]
        with torch.autocast("cpu", torch.bfloat16), masked_edges(layer, [(edges, weight)]):
            out = layer(x.bfloat16(), edges)[0]
    torch.testing.assert_close(out.float(), want, rtol=1e-2, atol=0)
