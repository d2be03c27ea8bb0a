"""Presets know the algorithm; each setting has a source; what is chosen is not called published."""

import json
from itertools import product

import numpy as np
import pytest
from toys import Pictures, build

import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.experiment.plan import plan
from graphlth.experiment.run import run
from graphlth.experiment.settings import plugin_settings
from graphlth.masks import matrices
from graphlth.registry import names
from graphlth.settings.presets import PROTOCOLS, _tables, preset

EVERY = list(product(names("algorithms"), names("tasks"), names("models")))
CITATION = ["citeseer", "cora", "pubmed"]
GRAPHS = ["gat", "gcn", "gin", "resgcn", "sage"]

TRAINED = [  # algorithm, task, model, lr, decay, epochs, hidden, whose protocol
    ("ugs", "cora", "gcn", 8e-3, 8e-5, 200, 512, "paper"),
    ("random_tickets", "cora", "gcn", 8e-3, 8e-5, 200, 512, "paper"),
    ("imp", "cora", "gcn", 8e-3, 8e-5, 200, 512, "own"),
    ("one_shot", "cora", "gcn", 8e-3, 8e-5, 200, 512, "own"),
    ("at_init", "cora", "gcn", 8e-3, 8e-5, 200, 512, "own"),
    ("ugs", "cora", "gat", 5e-3, 5e-4, 200, 8, "own"),
    ("ugs", "cora", "sage", 1e-2, 5e-4, 200, 16, "own"),
    ("joint_early_bird", "cora", "gcn", 1e-2, 5e-4, 100, 16, "paper"),
    ("geb", "cora", "gcn", 1e-2, 5e-4, 100, 16, "paper"),
    ("geb", "pubmed", "gat", 1e-2, 5e-4, 100, 8, "paper"),
    ("sgcn", "cora", "gcn", 1e-2, 5e-4, 100, 16, "own"),
    ("random_graph", "citeseer", "gcn", 1e-2, 5e-4, 100, 16, "own"),
    ("ugs", "file", "gcn", 1e-2, 5e-4, 300, 64, "own"),
    ("joint_early_bird", "file", "sage", 1e-2, 5e-4, 300, 64, "own"),
    ("imp", "file", "gat", 1e-2, 5e-4, 300, 8, "own"),  # 8 heads
    ("ugs", "karate", "gcn", 1e-2, 5e-4, 200, 16, None),
]


@pytest.mark.parametrize(
    ("algorithm", "task", "model", "lr", "decay", "epochs", "hidden", "protocol"), TRAINED
)
def test_defaults_are_those_of_the_algorithm(
    algorithm, task, model, lr, decay, epochs, hidden, protocol
):
    told = {"path": "my.npz"} if task == "file" else {}
    found = plan(algorithm, task, model, told)
    s = found.settings
    assert (s["lr"], s["weight_decay"], s["epochs"], s["hidden"]) == (lr, decay, epochs, hidden)
    assert found.protocol == protocol


@pytest.mark.parametrize("algorithm", ["geb", "joint_early_bird", "random_graph", "sgcn"])
@pytest.mark.parametrize("model", GRAPHS)
@pytest.mark.parametrize("task", CITATION)
def test_early_birds_and_what_stands_beside_them_see_features_as_they_are(algorithm, task, model):
    s = plan(algorithm, task, model).settings
    assert (s["normalize"], s["lr"], s.get("lr_edges", 1e-3)) == (False, 1e-2, 1e-3)
    assert plan("ugs", task, model).settings["normalize"] is True


@pytest.mark.parametrize("task", CITATION)
@pytest.mark.parametrize("algorithm", ["imp", "random_tickets", "ugs"])
def test_a_protocol_is_the_papers_or_that_of_the_released_code(algorithm, task):
    paper, released = (plan(algorithm, task, "gcn", protocol=p) for p in PROTOCOLS)
    assert plan(algorithm, task, "gcn") == paper
    differ = {n: (v, released.settings[n]) for n, v in paper.settings.items()
              if v != released.settings[n]}  # fmt: skip
    assert differ == {"degree": ("in", "out"), "edges": ("undirected", "directed")}
    if algorithm != "imp":
        assert (paper.protocol, released.protocol) == PROTOCOLS


LAGGED = {"distance": "lagged", "normalize": True}
SCHEDULE = {"batch_size": 128, "epochs": 160, "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4,
            "milestones": "0.5,0.75", "warmup": 0, "scope": "global", "drop_weights": 0.2,
            "batchnorm_init": "uniform"}  # fmt: skip
RELEASED = [  # algorithm, task, model, some of the settings
    ("ugs", "cora", "gin", {"aggregation": "mean", "readout": "layers", "edges": "directed",
                            "hidden": 512, "dropout": 0.0, "ignore": "readouts.*", "lr": 8e-3}),
    ("ugs", "citeseer", "gat", {"hidden": 512, "heads": 8, "bias": False, "self_loops": True,
                                "add_self_loops": False, "negative_slope": 0.01, "dropout": 0.0,
                                "l1_edges": 1e-7, "l1_weights": 1e-3, "lr": 1e-2}),
    ("random_tickets", "pubmed", "gat", {"hidden": 512, "self_loops": True, "lr": 1e-2}),
    ("joint_early_bird", "cora", "gcn", {**LAGGED, "first_epoch": 7, "admm_steps": 1,
                                         "start": "reinit-dense", "rho": 1.0909e-9}),
    ("geb", "citeseer", "gcn", {**LAGGED, "admm_steps": 25, "start": "reinit", "rho": 7.2274e-10}),
    ("imp", "mnist", "lenet_300_100", {"batch_size": 128, "epochs": 40, "optimizer": "sgd",
                                       "lr": 0.1, "momentum": 0.0, "scope": "global",
                                       "ignore": "layers.5.weight", "drop_weights": 0.2,
                                       "model_init": "kaiming_normal", "iterations": 0}),
    ("imp", "cifar10", "resnet_20", SCHEDULE),
    ("imp", "cifar10", "vgg_16", {**SCHEDULE, "ignore": "layers.45.weight"}),
]  # fmt: skip


@pytest.mark.parametrize(("algorithm", "task", "model", "wanted"), RELEASED)
def test_a_released_protocol_is_that_of_the_code_and_says_so(algorithm, task, model, wanted):
    paper, released = (plan(algorithm, task, model, protocol=p) for p in PROTOCOLS)
    assert {n: released.settings.get(n) for n in wanted} == wanted
    assert released.protocol == "released" and released.name != paper.name
    told = {n: source for source, given in released.preset.items() for n in given}
    differ = {n for n, v in released.settings.items() if v != paper.settings.get(n)}
    new = differ & wanted.keys() - {"iterations", "warmup"}  # the defaults
    assert new and all("released code" in told[n] for n in new)


@pytest.mark.parametrize(("task", "nodes"), [("cora", 2708), ("citeseer", 3327), ("pubmed", 19717)])
@pytest.mark.parametrize("algorithm", ["geb", "joint_early_bird"])
def test_the_released_term_of_admm_is_a_mean_over_pairs_of_nodes(algorithm, task, nodes):
    found = plan(algorithm, task, "gcn", protocol="released").settings["rho"]
    assert found == pytest.approx(8 * 1e-3 / nodes**2, rel=1e-4)


@pytest.mark.parametrize(("name", "shape"), [
    ("lenet_300_100", (1, 28, 28)), ("vgg_16", (3, 32, 32)), ("vgg_19", (3, 32, 32)),
])  # fmt: skip
def test_what_stays_dense_in_open_lth_is_the_last_layer(name, shape):
    task = "mnist" if name.startswith("lenet") else "cifar10"
    model = build(name, Pictures(shape))
    settings = plan("imp", task, name, protocol="released").settings
    assert settings["ignore"] == [*matrices(model)][-1]


@pytest.mark.parametrize(("algorithm", "task", "model", "protocol", "message"), [
    ("ugs", "cora", "sage", "released", "must be paper for ugs on cora with sage, of which no rel"),
    ("geb", "cora", "gat", "released", "must be paper for geb on cora with gat, of which no rel"),
    ("imp", "cifar10", "conv_4", "released", "must be paper for imp on cifar10 with conv_4, of wh"),
    ("ugs", "karate", "gcn", "released", "must be paper for ugs on karate with gcn"),
    ("ugs", "cora", "gcn", "code", "must be one of paper, released, got 'code'"),
])  # fmt: skip
def test_a_protocol_that_is_not_listed_is_refused(algorithm, task, model, protocol, message):
    with pytest.raises(ValueError, match=rf"^`protocol` {message}"):
        plan(algorithm, task, model, protocol=protocol)


def test_every_entry_names_what_there_is_and_where_it_comes_from():
    for table in _tables().values():
        for entry in table["preset"]:
            assert ("published" in entry) != ("chosen" in entry)
            assert "published" not in entry or {"algorithms", "paper"} <= table.keys()
            assert entry.get("protocol", "paper") in PROTOCOLS
            assert {*table.get("algorithms", []), *table.get("beside", []),
                    *entry.get("algorithms", [])} <= {*names("algorithms")}  # fmt: skip
            assert {*entry.get("tasks", [])} <= {*names("tasks")}
            assert {*entry.get("models", [])} <= {*names("models")}
            for task, model in product(entry["tasks"], entry["models"]):
                every = entry.get("algorithms", table.get("algorithms", ["ugs"]))
                known = {n for kind, name in [("tasks", task), ("models", model),
                                              *(("algorithms", a) for a in every)]
                         for n in plugin_settings(kind, name)}  # fmt: skip
                assert {*entry["settings"]} <= known


def test_what_is_chosen_or_borrowed_is_not_called_published():
    for algorithm, task, model in EVERY:
        found = preset(algorithm, task, model)
        borrowed = [s.startswith("not published") for s in found.sources]
        assert (found.protocol is None) == (not borrowed) == (not found.settings)
        assert (found.protocol == "own") == (bool(borrowed) and all(borrowed))
        assert {n for given in found.sources.values() for n in given} == {*found.settings}


def test_only_one_paper_speaks_of_an_algorithm_on_a_task_with_a_model():
    papers = {table["paper"] for table in _tables().values() if "paper" in table}
    for algorithm, task, model in EVERY:
        text = " ".join(preset(algorithm, task, model).sources)
        assert sum(paper in text for paper in papers) <= 1, (algorithm, task, model)


def test_a_run_says_whose_protocol_it_follows_and_which_settings_do(tmp_path):
    told = {"epochs": 1, "rounds": 0, "hidden": 4, "layers": 1}
    plain = plan("ugs", "cora", "gcn", told)
    assert "hidden" not in [n for given in plain.preset.values() for n in given]
    assert ["lr", "weight_decay", "l1_edges", "l1_weights"] in list(plain.preset.values())
    folder = run("ugs", "karate", "gcn", told, out=tmp_path)
    assert all("protocol" not in line for line in record.read(folder))
    assert "protocol" not in json.loads((folder / "settings.json").read_text())


def test_a_file_of_ones_own_is_recorded_as_not_published(tmp_path):
    path, node = tmp_path / "my.npz", np.arange(12)
    np.savez(path, x=np.eye(12), y=node % 2, edge_index=[node, (node + 1) % 12],
             train_mask=node < 4, val_mask=(node > 3) & (node < 8), test_mask=node > 7)  # fmt: skip
    folder = run("ugs", "file", "gcn", {"path": str(path), "epochs": 2, "rounds": 0}, out=tmp_path)
    assert [line["protocol"] for line in record.read(folder)] == ["own"]
    about = json.loads((folder / "settings.json").read_text())
    assert about["protocol"] == "own"
    assert [s.startswith("not published") for s in about["preset"]] == [True]


def test_protocol_names_no_run_of_its_own():
    told = {"degree": "out", "edges": "directed"}
    paper, released = (plan("ugs", "cora", "gcn", told, protocol=p) for p in PROTOCOLS)
    assert paper.settings == released.settings and paper.name == released.name


def test_help_tells_where_defaults_come_from(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "sgcn", "--task=cora", "--model=gcn", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "not published for sgcn, trained like geb, joint_early_bird: GEBT (You et al." in text
    assert "normalize: not published, chosen here: features as they are" in text
    assert "sum 1. (type: bool, default: False)" in text
