"""What a model may offer, checked on every model plug-in: `rows`, layers, `parts` and `macs`."""

import pytest
import torch
from test_image_models import IMAGE_MODELS
from toys import GRAPH_MODELS, MODELS, Pictures, build, toy

import graphlth as glt
from graphlth import masks as M
from graphlth.model import CompactableModel, CountableModel, LayeredModel, takes, takes_graph
from graphlth.rewinding import snapshot
from graphlth.ticket import Ticket
from graphlth.training.forward import forward

models = pytest.mark.parametrize("name", GRAPH_MODELS)
UNITS_STAY = {"resgcn", "resgen"}  # every unit is read by every block


def pruned(model, num_edges, kept=0.5):
    draw = torch.Generator().manual_seed(0)
    ones = M.ones(model, num_edges)
    return {n: (torch.rand(m.shape, generator=draw) < kept).to(m) for n, m in ones.items()}


@models
def test_every_graph_model_offers_all_of_the_protocols(name):
    model = build(name, toy(), layers=2)
    assert takes_graph(model) and takes(model, "rows") and takes(model, "cache")
    assert isinstance(model, LayeredModel) and isinstance(model, CountableModel)
    assert isinstance(model, CompactableModel) == (name not in UNITS_STAY)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_a_model_of_images_takes_no_graph(name):
    assert MODELS[name] == "images"
    assert not takes_graph(build(name, Pictures()))


@models
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_number_of_layers_is_how_far_a_node_sees(name, layers):
    """On a path, the output of its end moves with a feature exactly `num_layers` edges away."""
    model = build(name, toy(), layers=layers)
    assert model.num_layers == layers
    path = torch.stack([torch.arange(5), torch.arange(1, 6)])  # 0 -> 1 -> ... -> 5
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.1 + torch.rand(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    x = torch.rand(6, 6, generator=torch.Generator().manual_seed(2)).requires_grad_()
    model(x, path)[5].square().sum().backward()
    felt = x.grad.abs().sum(1) > 0
    assert felt.tolist() == [5 - node <= layers for node in range(6)]


@models
def test_rows_are_rows_of_all(name):
    task = toy()
    model = build(name, task, layers=2)
    x, graph = next(task.batches("train")).inputs
    rows = torch.tensor([7, 0, 12, 13])
    with torch.no_grad():
        torch.testing.assert_close(model(x, graph, rows=rows), model(x, graph)[rows])


@models
def test_parts_compute_what_the_model_computes(name):
    task = toy()
    model = build(name, task, layers=2)
    ticket = Ticket(snapshot(model), pruned(model, task.num_edges), 1)
    with torch.no_grad():
        wanted = forward(model, next(task.batches("test")), ticket.masks)
        torch.testing.assert_close(glt.compact(ticket, model, task)(task.x), wanted)


@models
def test_macs_are_those_that_are_counted(name):
    """Without any edge a GNN is what its weights compute for each node, and its loops."""
    task = toy("directed")
    model = build(name, task, layers=2)
    masks = pruned(model, task.num_edges)
    whole, bare = (
        glt.macs(model, task, {**masks, "edges": mask})
        for mask in (torch.ones(task.num_edges), torch.zeros(task.num_edges))
    )
    per_edge = {n: (whole[n] - bare[n]) / task.num_edges for n in whole}
    assert all(v == int(v) for v in per_edge.values())
    reading = [v for v in per_edge.values() if v]
    assert len(reading) == model.num_layers and all(v > 0 for v in reading)
    for n, m in M.only(masks, "weights").items():  # a kept weight is used once a node
        more = {**masks, "edges": torch.zeros(task.num_edges), n: torch.ones_like(m)}
        gained = sum(glt.macs(model, task, more).values()) - sum(bare.values())
        assert gained == task.num_nodes * int((m == 0).sum())
