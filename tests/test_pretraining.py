"""Self-supervised weights: what they are learnt from, that a seed decides them, who is told."""

import copy
import json

import pytest
import torch
from test_links import links
from torch import nn
from torch_geometric.nn import GraphConv
from toys import Pictures, build, toy

import graphlth as glt
from graphlth.cli import main as cli
from graphlth.data.infoclust import Corruption, permute_edges
from graphlth.rewinding import snapshot
from graphlth.streams import stream, stream_seed
from graphlth.task import Batch
from graphlth.training.forward import forward

SMALL = {"epochs": 4, "lr": 1e-2}


class Net(nn.Module):
    def __init__(self, task):
        super().__init__()
        self.first, self.second = GraphConv(task.num_features, 4), GraphConv(4, task.num_classes)

    def forward(self, x, edge_index, edge_weight=None):
        h = self.first(x, edge_index, edge_weight).relu()
        return self.second(h, edge_index, edge_weight)


def own(task):
    torch.manual_seed(0)
    return Net(task)


MODELS = {
    "gcn": lambda task: build("gcn", task),
    "gin": lambda task: build("gin", task),
    "own": own,
}
every = pytest.mark.parametrize("name", MODELS)


@every
def test_permuted_edges_are_permuted_features_in_another_order(name):
    task = toy()
    model, batch = MODELS[name](task).eval(), next(task.batches("val"))
    order = torch.randperm(16, generator=stream(3, "corruption", 2))
    x = batch.inputs[0]
    shuffled = Batch((x[order], batch.inputs[1]), batch.target, entries=batch.entries)
    found = forward(model, permute_edges(batch, 3, 2), {})
    assert torch.allclose(found[order], forward(model, shuffled, {}), atol=1e-5)
    both = forward(model, Corruption(batch).draw(3, 2), {})
    assert torch.allclose(both, torch.cat([forward(model, batch, {}), found]), atol=1e-5)


@every
@pytest.mark.parametrize("make", [toy, links])
def test_a_seed_decides_the_weights_and_no_other_random_number(name, make):
    task = make()
    start = MODELS[name](task)
    drawn = torch.get_rng_state()
    first, again, other = (
        snapshot(glt.pretrain_dgi(copy.deepcopy(start), task, seed=seed, **SMALL))
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)
    assert any(not torch.equal(first[n], p) for n, p in start.named_parameters())


def test_weights_that_are_learnt_tell_a_graph_from_a_corrupted_one():
    task = links()
    batch = next(task.batches("val"))
    told = []
    for epochs in (1, 120):
        model = build("gcn", task, hidden=8)
        glt.pretrain_dgi(model.train(), task, epochs=epochs, lr=1e-2)
        real, fake = forward(model.eval(), Corruption(batch).draw(9, 0), {}).chunk(2)
        told.append((real.mean(0) - fake.mean(0)).norm() / real.std(0).norm())
    assert told[1] > 1.5 * told[0]


RUN = {"rounds": 1, "epochs": 2, "hidden": 4}


def test_a_run_starts_from_them_and_its_records_say_so(tmp_path):
    how = {**RUN, "self_supervised": "dgi", "self_supervised_epochs": 3}
    folder = glt.run("imp", "karate", "gcn", how, out=tmp_path / "dgi", seeds=[5])
    settings = [
        json.loads(x)["settings"] for x in (folder / "seed5.jsonl").read_text().split("\n")[:-1]
    ]
    assert [
        (s["self_supervised"], s["self_supervised_epochs"], s["self_supervised_lr"])
        for s in settings
    ] == [("dgi", 3, 1e-3)] * 2
    task = glt.find("tasks", "karate")()
    torch.manual_seed(stream_seed(5, "initialise"))
    model = glt.find("models", "gcn")(task, hidden=4)
    expected = snapshot(glt.pretrain_dgi(model, task, epochs=3, seed=5))
    for r in (0, 1):
        init = glt.load(folder / f"seed5-round{r}.safetensors").init
        assert all(torch.equal(init[n], expected[n]) for n in init)


def test_a_run_without_is_the_run_that_it_was(tmp_path):
    plain, none = (
        glt.run("imp", "karate", "gcn", {**RUN, **how}, out=tmp_path)
        for how in ({}, {"self_supervised": "none"})
    )
    assert plain == none
    assert not any(
        "self_supervised" in line for line in (plain / "seed0.jsonl").read_text().split("\n")
    )


def test_a_stopped_run_goes_on_from_them(tmp_path):
    how = {**RUN, "self_supervised": "dgi", "self_supervised_epochs": 3}
    whole = glt.run("ugs", "karate", "gcn", how, out=tmp_path / "whole")
    part = glt.run("ugs", "karate", "gcn", how, out=tmp_path / "part")
    lines = (part / "seed0.jsonl").read_text().splitlines(keepends=True)
    (part / "seed0.jsonl").write_text(lines[0])
    (part / "seed0-round1.safetensors").unlink()
    glt.run("ugs", "karate", "gcn", how, out=tmp_path / "part")
    a, b = (glt.load(f / "seed0-round1.safetensors") for f in (whole, part))
    assert all(torch.equal(a.init[n], b.init[n]) for n in a.init)
    assert all(torch.equal(a.masks[n], b.masks[n]) for n in a.masks)


def pretrain(**how):
    return glt.pretrain_dgi(build("gcn", toy()), toy(), **how)


def pretrain_frozen():
    return glt.pretrain_dgi(build("gcn", toy()).requires_grad_(False), toy())


CALLS = [
    (lambda: pretrain(epochs=0), "`epochs` must be"),
    (lambda: pretrain(lr=0.0), "`lr` must be"),
    (lambda: pretrain(lr=1e30), "pretraining is nan: lower `lr`"),
    (lambda: glt.pretrain_dgi(toy(), build("gcn", toy())), "`model` must"),
    (lambda: glt.pretrain_dgi(nn.Linear(768, 2), Pictures()), "dgi must go with one graph of one"),
    (pretrain_frozen, "parameter to train"),
]


@pytest.mark.parametrize(("call", "message"), CALLS)
def test_what_cannot_be_pretrained_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


COMMANDS = [
    (
        ["--task", "karate", "--self_supervised", "gic"],
        "`self_supervised` must be one of none, dgi, got 'gic'",
    ),
    (
        ["--task", "karate", "--self_supervised", "dgi", "--self_supervised_epochs", "0"],
        "`self_supervised_epochs` must",
    ),
    (["--task", "karate", "--self_supervised_epochs", "3"], "self_supervised_epochs"),
    (["--task", "digits_images", "--self_supervised", "dgi"], "dgi must go with one graph"),
]


@pytest.mark.parametrize(("words", "message"), COMMANDS)
def test_a_wrong_command_is_refused_in_one_line(words, message, tmp_path, capsys):
    model = "mlp" if "digits_images" in words else "gcn"
    assert cli.main(["run", "imp", "--model", model, "--out", str(tmp_path), *words]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not [*tmp_path.iterdir()]
