"""Tickets of whole hidden units on graphs, which are really smaller."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import GAT, GCN, GIN, GraphSAGE

import graphlth as glt
from graphlth.compaction.hidden_units import expand_units, hidden_layers, surviving_units
from graphlth.masks import only
from graphlth.training.forward import forward

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
HIDDEN = 8
OWN = {
    "GCN": lambda f, c: GCN(f, HIDDEN, 3, c, norm="batch_norm"),
    "GraphSAGE": lambda f, c: GraphSAGE(f, HIDDEN, 3, c, jk="cat"),
    "GIN": lambda f, c: GIN(f, HIDDEN, 2, c),
    "GAT": lambda f, c: GAT(f, HIDDEN, 3, c, heads=4),
}
OURS = ("gcn", "sage", "gin", "gat")


def build(name, task):
    torch.manual_seed(0)
    if name in OWN:
        return OWN[name](task.num_features, task.num_classes)
    return glt.find("models", name)(task, hidden=HIDDEN)


def task():
    return glt.find("tasks", "sbm")(size=8)


def output(model, task, masks):
    (batch,) = task.batches("test")
    with torch.no_grad():
        return forward(model.eval(), batch, masks)


@pytest.mark.parametrize("name", [*OWN, *OURS])
def test_a_unit_that_goes_takes_all_its_weights_and_no_others(name):
    data = task()
    model = build(name, data)
    layers = hidden_layers(model, data)
    assert layers and all(layer.size in (2 * HIDDEN, HIDDEN, 4, 64) for layer in layers)
    for layer in layers:
        kept = {layer.name: torch.ones(layer.size)}
        kept[layer.name][1] = 0
        masks = expand_units(model, layers, kept)
        with torch.no_grad():  # what is removed is what computing with other values leaves equal
            want = output(model, data, masks)
            for n, p in model.named_parameters():
                if n in masks:
                    p[masks[n] == 0] = torch.nan_to_num(p[masks[n] == 0] * 3 + 1)
            torch.testing.assert_close(output(model, data, masks), want)
        assert any(not m.all() for m in masks.values())


@pytest.mark.parametrize("name", [*OWN, *OURS])
@pytest.mark.parametrize("score", ["filter_norm", "random"])
def test_tickets_of_units_are_smaller(name, score):
    data = task()
    model = build(name, data)
    whole = sum(p.numel() for p in model.parameters())
    layers = hidden_layers(model, data)
    total = sum(layer.size for layer in layers)
    *_, ticket = glt.channels(model, data, rounds=2, drop_channels=0.5, channel_score=score,
                              epochs=1)  # fmt: skip
    fit = glt.fit(model, data, ticket, epochs=1)
    small = fit.compact(model, data)
    torch.testing.assert_close(small(data.x), output(model, data, ticket.masks),
                               atol=1e-5, rtol=1e-4)  # fmt: skip
    left = sum(int(kept.sum()) for kept in alive(model, data, ticket))
    assert left == total - round(total / 2) - round((total - round(total / 2)) / 2)
    if name in OWN:
        assert sum(p.numel() for p in small.model.parameters()) < 0.7 * whole
        assert sum(small.removed.values()) >= total - left
    else:
        units = sum(layer.weight.size(1) for layer in small.layers[:-1])
        assert units < total if name == "gat" else units <= left  # heads are of one size


def alive(model, task, ticket):
    return surviving_units(hidden_layers(model, task), ticket.masks).values()


def test_norms_tell_which_units_go():
    data = task()
    model = build("GCN", data)
    with torch.no_grad():
        for norm in model.norms[:2]:
            norm.module.weight.copy_(torch.arange(1, HIDDEN + 1))
    tickets = [*glt.channels(model, data, rounds=1, drop_channels=0.5, epochs=1, lr=1e-9,
                             channel_score="norm_scale", l1_norms=0.0)]  # fmt: skip
    for i in range(2):
        assert tickets[1].masks[f"norms.{i}.module.weight"].tolist() == [0] * 4 + [1] * 4
    assert not only(tickets[1].masks, "edges")


class Coupled(nn.Module):
    """Softmax over units: none can go."""

    def __init__(self, task):
        super().__init__()
        self.a = nn.Linear(task.num_features, 4)
        self.b = nn.Linear(4, task.num_classes)

    def forward(self, x, edge_index):
        return self.b(self.a(x).softmax(-1))


def test_a_model_without_such_units_is_refused_in_a_line():
    data = task()
    with pytest.raises(ValueError, match=r"^`model` must have hidden channels .* got Coupled$"):
        next(iter(glt.channels(Coupled(data), data)))
    with pytest.raises(ValueError, match=r"'norm_scale' can score, got GIN.*such as filter_norm"):
        next(iter(glt.channels(build("GIN", data), data, channel_score="norm_scale")))
