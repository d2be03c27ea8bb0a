"""The forms of released codes: their tickets continue, are retrained and are compacted."""

import pytest
import torch
from toys import N, build, call, data

from graphlth import masks as M
from graphlth.data.node import NodeTask
from graphlth.settings.presets import preset
from graphlth.training.forward import forward
from graphlth.training.retraining import fit

FORMS = [
    ("ugs", "gin"), ("ugs", "gat"), ("random_tickets", "gat"), ("joint_early_bird", "gcn"),
    ("geb", "gcn"),
]  # fmt: skip
forms = pytest.mark.parametrize(("algorithm", "model"), FORMS)
SHORT = {"rounds": 2, "draws": 2, "epochs": 8, "pretrain": 3, "hidden": 8, "drop_edges": 0.2}


def released(algorithm, model):
    """A task, the model and the settings of its released form, small."""
    settings = {**preset(algorithm, "cora", model, protocol="released").settings, **SHORT}
    about = data()
    if settings.get("self_loops"):
        loops = torch.arange(N).expand(2, -1)
        about.edge_index = torch.cat([about.edge_index, loops], 1)
    task = NodeTask(about, edges=settings.get("edges", "undirected"))
    return task, build(model, task, **{**settings, "heads": 2}), settings


def digits(tickets):
    held = [{**t.init, **{f"mask {n}": m for n, m in t.masks.items()}} for t in tickets]
    return [{n: v.numpy().tobytes() for n, v in each.items()} for each in held]


@forms
def test_its_tickets_continue_as_if_never_interrupted(algorithm, model):
    task, net, settings = released(algorithm, model)
    whole = list(call(algorithm, net, task, **settings))
    assert len(whole) == 3 and digits(whole)[0] != digits(whole)[1]
    _, net, _ = released(algorithm, model)
    rest = list(call(algorithm, net, task, **settings, last=whole[1]))
    assert digits(rest) == digits(whole[2:])


@forms
def test_a_fit_is_compacted_to_the_same_function(algorithm, model):
    task, net, settings = released(algorithm, model)
    *_, ticket = call(algorithm, net, task, **settings)
    found = fit(net, task, ticket, epochs=5, lr=0.05)
    small = found.compact(net, task)
    want = forward(net, next(task.batches("test")), ticket.masks)
    everyone = torch.arange(N)
    assert want.isfinite().all()
    rows = everyone if len(want) == N else task.rows["test"]
    torch.testing.assert_close(small(task.x)[rows], want.detach(), atol=1e-5, rtol=1e-4)


def test_loops_of_gat_are_pruned_and_the_read_out_of_gin_is_not():
    task, net, settings = released("ugs", "gat")
    *_, ticket = call("ugs", net, task, **settings | {"rounds": 6, "drop_edges": 0.4})
    source, target = task.graph.edge_index
    kept = ticket.masks[M.EDGES][task.entries]
    assert not kept[source == target].all()
    task, net, settings = released("ugs", "gin")
    *_, ticket = call("ugs", net, task, **settings)
    assert {*ticket.masks} == {M.EDGES, "weights.0", "weights.1"}
    assert "readouts.0" in dict(net.named_parameters())


@forms
def test_it_has_settings_of_its_own(algorithm, model):
    other = preset(algorithm, "cora", model).settings
    own = preset(algorithm, "cora", model, protocol="released").settings
    assert {n for n, v in own.items() if other.get(n) != v} >= {
        "gin": {"aggregation", "readout"}, "gat": {"hidden", "self_loops", "add_self_loops"},
        "gcn": {"distance", "start", "rho"},
    }[model]  # fmt: skip
