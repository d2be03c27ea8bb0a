"""Every control changes its object and nothing else."""

import shutil
from dataclasses import replace

import pytest
import torch
from toys import build, call, toy

import graphlth.records as record
from graphlth.algorithms._controls import CONTROLS
from graphlth.algorithms.control import control as algorithm
from graphlth.experiment.plan import build_plugin, plan
from graphlth.experiment.run import run
from graphlth.experiment.verify import verify
from graphlth.masks import EDGES, only
from graphlth.rewinding import snapshot
from graphlth.ticket import Ticket, load, ticket_file

FRESH = ("reinit", "random")  # weights drawn anew
MOVED = ("random", "shuffle")  # masks drawn anew


def found(name="gcn", edges="undirected", share=0.4):
    task = toy(edges)
    model = build(name, task, hidden=16)
    draw = torch.Generator().manual_seed(1)
    sizes = {n: p for n, p in model.named_parameters() if p.dim() > 1}
    sizes[EDGES] = torch.empty(task.num_edges)
    masks = {n: (torch.rand(p.shape, generator=draw) < share).float() for n, p in sizes.items()}
    return (
        Ticket(snapshot(model), masks, 2, {"seed": 0}, {"drawn_epoch": 3, "first_iteration": 4}),
        model,
        task,
    )


def bits(tensors):
    return {n: t.detach().numpy().tobytes() for n, t in tensors.items()}


def differ(a, b):
    return {n for n in a if bits(a)[n] != bits(b)[n]}


every = pytest.mark.parametrize("name", CONTROLS)


@pytest.mark.parametrize("edges", ["undirected", "directed"])
@every
def test_a_control_changes_its_object_and_nothing_else(name, edges):
    ticket, model, task = found(edges=edges)
    before = bits(ticket.init), bits(ticket.masks), bits(snapshot(model))
    other = CONTROLS[name](ticket, model, task, 0)
    weights = set(only(ticket.masks, "weights"))
    assert differ(ticket.masks, other.masks) == (set(ticket.masks) if name in MOVED else set())
    assert differ(ticket.init, other.init) == (set() if name == "shuffle" else weights)
    assert list(other.masks) == list(ticket.masks) and list(other.init) == list(ticket.init)
    assert (other.round, other.provenance) == (ticket.round, ticket.provenance)
    trained = {} if name in FRESH else {"first_iteration": 4}  # what the weights have behind them
    assert other.search == {"drawn_epoch": 3} | trained
    assert (bits(ticket.init), bits(ticket.masks), bits(snapshot(model))) == before


@every
def test_every_layer_and_the_graph_keep_their_counts(name):
    ticket, model, task = found()
    other = CONTROLS[name](ticket, model, task, 0)
    for n, m in ticket.masks.items():
        assert int(other.masks[n].sum()) == int(m.sum())
        assert set(other.masks[n].unique().tolist()) == {0, 1}


@every
def test_what_a_mask_removes_is_left_as_it_is_where_kept_weights_are_treated(name):
    ticket, model, task = found()
    other = CONTROLS[name](ticket, model, task, 0)
    same = all(
        torch.equal(other.init[n][m == 0], ticket.init[n][m == 0])
        for n, m in only(ticket.masks, "weights").items()
    )
    assert same == (name not in FRESH)


def test_reshuffled_weights_are_the_same_ones_elsewhere():
    ticket, model, task = found()
    other = CONTROLS["reshuffle"](ticket, model, task, 0)
    for n, m in only(ticket.masks, "weights").items():
        ours, theirs = (t.init[n][m > 0] for t in (ticket, other))
        assert torch.equal(ours.sort().values, theirs.sort().values)
        assert (ours != theirs).float().mean() > 0.5


def test_constant_weights_keep_their_sign_and_have_the_deviation_of_their_layer():
    ticket, model, task = found()
    other = CONTROLS["constant"](ticket, model, task, 0)
    for n, m in only(ticket.masks, "weights").items():
        ours, theirs = (t.init[n][m > 0] for t in (ticket, other))
        assert torch.equal(ours.sign(), theirs.sign())
        layer = ticket.init[n]
        alpha = (layer - layer.mean()).square().mean().sqrt()
        torch.testing.assert_close(theirs.abs(), alpha.expand_as(theirs))


def test_new_weights_are_not_those_that_the_seed_of_the_run_drew():
    """A model is built under the seed of its run: drawn anew from that, it would be itself."""
    task = toy()
    model = build("gcn", task, seed=5)
    ticket = Ticket(snapshot(model), {}, 1)
    fresh = CONTROLS["reinit"](ticket, model, task, 5).init
    for n, t in ticket.init.items():
        assert not torch.equal(fresh[n], t)
        assert float(fresh[n].std()) == pytest.approx(float(t.std()), rel=0.5)


@pytest.mark.parametrize("name", [n for n in CONTROLS if n != "constant"])
def test_a_control_draws_from_its_seed_and_the_round(name):
    ticket, model, task = found()

    def drawn(ticket, seed):
        other = CONTROLS[name](ticket, model, task, seed)
        return str((bits(other.init), bits(other.masks)))

    later = Ticket(ticket.init, ticket.masks, 3)
    assert drawn(ticket, 0) == drawn(ticket, 0)
    assert len({drawn(ticket, 0), drawn(ticket, 1), drawn(later, 0)}) == 3


# --- the controls of a run -----------------------------------------------------------------------

QUICK = {"rounds": 3, "epochs": 4, "hidden": 8}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    return run("ugs", "karate", "gcn", QUICK, seeds=2, out=tmp_path_factory.mktemp("earlier"))


@every
def test_a_run_reads_the_tickets_of_an_earlier_one_and_searches_nothing(name, earlier, tmp_path):
    settings = QUICK | {"tickets": str(earlier), "control": name}
    folder = run("control", "karate", "gcn", settings, seeds=2, out=tmp_path)
    theirs, ours = record.read(earlier), record.read(folder)
    for a, b in zip(theirs, ours, strict=True):
        for field in ("seed", "round", "edge_sparsity", "weight_sparsity"):
            assert a[field] == b[field]
        assert b["epochs_search"] == b["macs_search"] == 0
        if not a["round"]:
            assert (a["val"], a["test"], a["best_epoch"]) == (b["val"], b["test"], b["best_epoch"])
        ticket, other = (load(ticket_file(f, b["seed"], b["round"])) for f in (earlier, folder))
        same = bits(ticket.init) == bits(other.init) and bits(ticket.masks) == bits(other.masks)
        assert same == (b["round"] == 0)


def shuffled(tickets, out, seeds=1):
    how = QUICK | {"tickets": str(tickets), "control": "shuffle"}
    return run("control", "karate", "gcn", how, seeds=seeds, out=out)


def test_a_control_is_of_a_run_wherever_that_lies(earlier, tmp_path, monkeypatch):
    place = shutil.copytree(earlier, tmp_path / "copy")
    folder = shuffled(place, tmp_path)
    kept = (folder / "seed0.jsonl").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert shuffled("./copy/", tmp_path) == shuffled(earlier, tmp_path, seeds=2) == folder
    assert (folder / "seed0.jsonl").read_bytes() == kept
    assert not verify([folder]).faults
    lines = record.read_file(folder / "seed0.jsonl") + record.read_file(folder / "seed1.jsonl")
    assert {line["source"] for line in lines} == {earlier.name}
    assert [r["source_ticket"] for r in lines] == [r["ticket"] for r in record.read(earlier)]
    assert {row.n for row in record.summary(record.read(folder))} == {2}  # one run, of two seeds


def test_a_control_of_one_seed_needs_no_ticket_of_another(earlier, tmp_path):
    place = shutil.copytree(earlier, tmp_path / "source")
    for file in place.rglob("seed0*"):
        file.unlink()
    folder = shuffled(place, tmp_path, seeds="1-1")
    assert {r["seed"] for r in record.read(folder)} == {1}


def test_a_control_of_another_run_at_the_same_place_is_another_run(earlier, tmp_path):
    place = shutil.copytree(earlier, tmp_path / "source")
    first = shuffled(place, tmp_path)
    shutil.rmtree(place)
    run("ugs", "karate", "gcn", QUICK | {"lr": 0.1}, out=tmp_path / "o").rename(place)
    second = shuffled(place, tmp_path)
    assert first != second
    assert len({row.settings for row in record.summary(record.read(first, second))}) == 2


def test_tickets_that_have_been_replaced_are_not_continued_with(earlier, tmp_path):
    place = shutil.copytree(earlier, tmp_path / "source")
    shuffled(place, tmp_path)
    lines = record.read_file(place / "seed0.jsonl")
    ticket = load(ticket_file(place, 0, 1))
    changed = replace(ticket, init={n: 2 * t for n, t in ticket.init.items()})
    lines[1]["ticket"] = changed.save(ticket_file(place, 0, 1))
    (place / "seed0.jsonl").unlink()
    for line in lines:
        record.append(place / "seed0.jsonl", line)
    with pytest.raises(ValueError, match=r"seed0-round1.*is not the ticket that round 1 of seed 0"):
        shuffled(place, tmp_path)


def test_the_settings_of_another_run_among_tickets_are_refused(earlier, tmp_path):
    place = shutil.copytree(earlier, tmp_path / "source")
    other = run("ugs", "karate", "gcn", QUICK | {"lr": 0.1}, out=tmp_path)
    shutil.copy(other / "settings.json", place)
    with pytest.raises(ValueError, match=r"seed0.jsonl` must hold lr 0.1 in line 1, got 0.01"):
        shuffled(place, tmp_path)


def test_a_continued_control_equals_an_uninterrupted_one(earlier):
    task = build_plugin("tasks", "karate", {})
    model = build_plugin("models", "gcn", {"hidden": 8}, task)

    def tickets(**about):
        drawn = algorithm(model, task, tickets=str(earlier), control="random", **about)
        return [(t.round, bits(t.init), bits(t.masks)) for t in drawn]

    whole = tickets(rounds=3)
    last = list(algorithm(model, task, tickets=str(earlier), control="random"))[1]
    assert tickets(last=last) == whole[2:]
    assert [r for r, *_ in tickets(rounds=1)] == [0, 1]
    assert [r for r, *_ in tickets(rounds=9)] == [0, 1, 2, 3]  # as many as there are


def digits(folder):
    """What the records of a run say that does not depend on how long it took."""
    told = ("seed", "round", "weight_sparsity", "val", "test", "best_epoch")
    return [tuple(r[n] for n in told) for r in record.read(folder)]


@pytest.mark.parametrize("name", ["at_init", "control", "imp"])
def test_some_rounds_alone_are_those_of_the_whole_run_also_when_continued(name, earlier, tmp_path):
    how = QUICK | ({"tickets": str(earlier)} if name == "control" else {})
    whole, cut = (
        digits(run(name, "karate", "gcn", how | only, seeds=2, out=tmp_path))
        for only in ({}, {"only": "1,3"})
    )
    assert cut == [line for line in whole if line[1] in (0, 1, 3)]
    folder = run(name, "karate", "gcn", how | {"only": "1,3"}, out=tmp_path)
    lines = (folder / "seed1.jsonl").read_bytes().splitlines(keepends=True)
    for left in (1, 2):
        (folder / "seed1.jsonl").write_bytes(b"".join(lines[:left]))
        run(name, "karate", "gcn", how | {"only": "1,3"}, seeds=2, out=tmp_path)
        assert digits(folder) == cut


@pytest.mark.parametrize("only", ["", "0,1", "3,1", "1,1", "1,9", "1,x", "some", "1,,2", "1, 2"])
def test_rounds_that_there_are_not_are_refused(only, earlier):
    with pytest.raises(ValueError, match=r"^`only` must be all, or rising rounds from 1 to 3"):
        plan("imp", "karate", "gcn", QUICK | {"only": only})


def test_a_named_round_must_be_there(earlier, tmp_path):
    how = QUICK | {"rounds": 5, "only": "2,5", "tickets": str(earlier)}
    with pytest.raises(FileNotFoundError, match=r"no ticket at .*seed0-round5"):
        run("control", "karate", "gcn", how, out=tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"control": "magic"}, ValueError, "`control` must be one of reinit, random, .*'magic'"),
        ({"tickets": "nowhere"}, FileNotFoundError, "`tickets` must be a run folder, got 'nowh"),
        ({"hidden": 9}, ValueError, "`ticket` does not fit `model`"),
        ({"edges": "directed"}, ValueError, "`ticket` .*(another graph|does not fit)"),
    ],
)
def test_tickets_that_do_not_fit_are_refused_before_anything_is_written(
    change, error, message, earlier, tmp_path
):
    settings = QUICK | {"tickets": str(earlier)} | change
    with pytest.raises(error, match=message):
        run("control", "karate", "gcn", settings, out=tmp_path)
    assert not [*tmp_path.iterdir()]


# --- random edges --------------------------------------------------------------------------------


def test_random_edges_stand_under_the_weights_of_imp():
    task, settings = toy(), {"rounds": 3, "epochs": 5, "drop_weights": 0.2}
    found = list(call("random_edges", build("gcn", task), task, drop_edges=0.1, **settings))
    of_imp = list(call("imp", build("gcn", task), task, **settings))
    drawn = list(call("random_tickets", build("gcn", task), task, rounds=3, drop_edges=0.1))
    for ticket, weights, edges in zip(found, of_imp, drawn, strict=True):
        expected = {**weights.masks, "edges": edges.masks["edges"]}
        assert bits(ticket.masks) == bits(expected) and bits(ticket.init) == bits(weights.init)


def test_random_edges_go_on_after_any_round():
    task, settings = toy(), {"rounds": 3, "epochs": 5, "drop_edges": 0.1}
    whole = list(call("random_edges", build("gcn", task), task, **settings))
    for i, last in enumerate(whole):
        rest = list(call("random_edges", build("gcn", task), task, last=last, **settings))
        assert [bits(t.masks) for t in rest] == [bits(t.masks) for t in whole[i + 1 :]]
