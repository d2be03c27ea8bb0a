"""A ticket elsewhere: what is carried is the ticket's, all else is the new task's and model's."""

import numpy as np
import pytest
import torch

import graphlth.records as record
from graphlth.algorithms.transfer import transfer
from graphlth.data.planetoid import project_features
from graphlth.experiment.plan import build_plugin
from graphlth.experiment.run import run
from graphlth.masks import EDGES
from graphlth.streams import stream_seed
from graphlth.ticket import load, ticket_file

QUICK = {"rounds": 2, "epochs": 4, "hidden": 8, "drop_edges": 0.2, "drop_weights": 0.5}
THERE = {"rounds": 2, "epochs": 3, "hidden": 8}


def bits(tensors):
    return {n: t.float().numpy().tobytes() for n, t in tensors.items()}


def tickets(folder, seed=0):
    return [load(ticket_file(folder, seed, r)) for r in range(3)]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run("ugs", "karate", "gcn", QUICK, seeds=2, out=tmp_path_factory.mktemp("found"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A graph with as many features as karate's, but three classes in place of four."""
    draw = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "other.npz"
    part = np.arange(30) % 3  # train, val, test
    np.savez(
        path, x=draw.random((30, 34), dtype=np.float32), y=np.arange(30) // 3 % 3,
        edge_index=draw.integers(0, 30, (2, 90)), directed=True,
        **{f"{name}_mask": part == i for i, name in enumerate(("train", "val", "test"))},
    )  # fmt: skip
    return {"path": str(path)}


@pytest.mark.parametrize("carry", ["weights", "edges", "both"])
def test_another_optimiser_trains_the_same_tickets(carry, found, tmp_path):
    told = THERE | {"tickets": str(found), "carry": carry, "optimizer": "sgd", "lr": 0.3}
    folder = run("transfer", "karate", "gcn", told, seeds=2, out=tmp_path)
    for seed in (0, 1):
        for ticket, other in zip(tickets(found, seed), tickets(folder, seed), strict=True):
            assert bits(ticket.init) == bits(other.init)  # one seed drew both
            kept = bits(ticket.masks)
            assert bits(other.masks) == {
                n: m
                for n, m in kept.items()
                if carry == "both" or (n == EDGES) == (carry == "edges")
            }
    for line in record.read(folder):
        assert line["epochs_search"] == line["macs_search"] == 0
        assert (line["edge_sparsity"] > 0) == (line["round"] > 0 and carry != "weights")
        assert (line["weight_sparsity"] > 0) == (line["round"] > 0 and carry != "edges")


def test_layers_of_another_shape_keep_their_values_and_lose_as_many_at_random(
    found, elsewhere, tmp_path
):
    told = THERE | elsewhere | {"tickets": str(found)}
    folder = run("transfer", "file", "gcn", told, seeds=2, out=tmp_path)
    task = build_plugin("tasks", "file", elsewhere)
    torch.manual_seed(stream_seed(0, "initialise"))
    own = build_plugin("models", "gcn", {"hidden": 8}, task).state_dict()
    fit = [n for n, t in tickets(found)[0].init.items() if t.shape == own[n].shape]
    assert 0 < len(fit) < len(own)
    for ticket, other in zip(tickets(found), tickets(folder), strict=True):
        assert EDGES not in other.masks
        for n, t in other.init.items():
            assert torch.equal(t, ticket.init[n] if n in fit else own[n])
        for n, m in other.masks.items():
            there = ticket.masks[n]
            assert (m.shape == there.shape) == (n in fit)
            if n in fit:
                assert torch.equal(m, there)
            else:
                gone = round(m.numel() * float((there == 0).sum()) / there.numel())
                assert int((m == 0).sum()) == gone
    (drawn,) = (n for n in tickets(folder)[1].masks if n not in fit)
    masks = [tickets(folder, seed)[r].masks[drawn] for seed in (0, 1) for r in (1, 2)]
    assert len({m.numpy().tobytes() for m in masks}) == 4


@pytest.mark.parametrize("model", ["gat", "sage"])
def test_edges_go_to_another_model_with_all_its_weights(model, found, tmp_path):
    folder = run(
        "transfer", "karate", model, {**THERE, "heads": 2, "tickets": str(found), "carry": "edges"}
        if model == "gat" else {**THERE, "tickets": str(found), "carry": "edges"}, out=tmp_path,
    )  # fmt: skip
    for ticket, other in zip(tickets(found), tickets(folder), strict=True):
        assert bits(other.masks) == {EDGES: bits(ticket.masks)[EDGES]}
    ours, theirs = ([r["edge_sparsity"] for r in record.read(f)][:3] for f in (folder, found))
    assert ours == theirs and ours[-1] > 0.3


def test_what_was_trained_elsewhere_starts_at_the_first_epoch_here(tmp_path):
    late = run(
        "imp", "karate", "gcn", {"rounds": 1, "epochs": 4, "hidden": 8, "rewind_to": 2},
        out=tmp_path / "late",
    )  # fmt: skip
    folder = run("transfer", "karate", "gcn", THERE | {"tickets": str(late)}, out=tmp_path)
    for line in record.read(folder):
        assert line["epochs_retrain"] == THERE["epochs"] and "first_iteration" not in line


def test_the_random_ticket_there_is_a_control_of_the_transferred_run(found, elsewhere, tmp_path):
    told = THERE | elsewhere
    there = run("transfer", "file", "gcn", told | {"tickets": str(found)}, out=tmp_path)
    how = told | {"tickets": str(there), "control": "random"}
    folder = run("control", "file", "gcn", how, out=tmp_path)
    for ticket, other in zip(tickets(there)[1:], tickets(folder)[1:], strict=True):
        for n, m in ticket.masks.items():
            assert m.sum() == other.masks[n].sum() and not torch.equal(m, other.masks[n])


def test_a_continued_transfer_equals_an_uninterrupted_one(found, elsewhere):
    task = build_plugin("tasks", "file", elsewhere)
    model = build_plugin("models", "gcn", {"hidden": 8}, task)

    def drawn(**about):
        return [(t.round, bits(t.init), bits(t.masks))
                for t in transfer(model, task, tickets=str(found), **about)]  # fmt: skip

    second = [*transfer(model, task, tickets=str(found))][1]
    assert drawn(last=second) == drawn()[2:]
    assert [r for r, *_ in drawn(rounds=1)] == [0, 1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"tickets": "nowhere"}, FileNotFoundError, "`tickets` must be a run folder, got 'no"),
        ({"carry": "all"}, ValueError, "`carry` must be one of weights, edges, both, got 'all'"),
        ({"carry": "edges"}, ValueError, "`tickets` must be of the graph of 'other' to carry"),
        ({"hidden": 9}, ValueError, "`model` must have a layer of the shape that it has"),
        (
            {"layers": 3},
            ValueError,
            "`model` must have the layers of `tickets`, but '.*' is in one",
        ),
        ({"model": "sage"}, ValueError, "`model` must have the layers of `tickets`, but '.*' is"),
    ],
)
def test_tickets_that_cannot_be_carried_are_refused_before_anything_is_written(
    change, error, message, found, elsewhere, tmp_path
):
    told = THERE | elsewhere | {"tickets": str(found)} | change
    model = told.pop("model", "gcn")
    with pytest.raises(error, match=message):
        run("transfer", "file", model, told, out=tmp_path)
    assert not [*tmp_path.iterdir()]


def test_tickets_without_masks_of_what_is_carried_are_refused(tmp_path):
    weights = run("imp", "karate", "gcn", {"rounds": 1, "epochs": 2, "hidden": 8}, out=tmp_path)
    told = THERE | {"tickets": str(weights), "carry": "both"}
    with pytest.raises(ValueError, match="`tickets` must have masks of edges to carry, got none"):
        run("transfer", "karate", "gcn", told, out=tmp_path)


# --- the projection that makes the features of two graphs alike ----------------------------------


def test_a_projection_keeps_the_strongest_directions_with_variance_1():
    draw = np.random.default_rng(1)
    x = torch.from_numpy(draw.standard_normal((60, 20)) * np.geomspace(9, 1, 20)).float()
    found = project_features(x, 5).double()
    u, _, v = np.linalg.svd(x.double().numpy(), full_matrices=False)
    turn = np.sign(v[np.arange(5), np.abs(v[:5]).argmax(1)])
    np.testing.assert_allclose(found, u[:, :5] * turn * np.sqrt(60), atol=2**-10)
    torch.testing.assert_close(found.T @ found / 60, torch.eye(5).double(), atol=5e-3, rtol=0)


def test_a_projection_does_not_ask_for_the_order_of_the_words():
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(40, 30, generator=draw)
    assert torch.equal(
        project_features(x, 7), project_features(x[:, torch.randperm(30, generator=draw)], 7)
    )


@pytest.mark.parametrize("size", [-1, 20, 21])
def test_a_projection_onto_as_many_directions_as_there_are_is_refused(size):
    with pytest.raises(ValueError, match=rf"`project` must be in \[0, 20\), got {size}"):
        project_features(torch.ones(60, 20), size)
