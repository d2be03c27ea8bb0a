"""Algorithms of others that yield what they must not: one line each, and nothing wrong written."""

from dataclasses import replace
from functools import wraps

import pytest
import torch
from toys import ALGORITHMS, build, call, toy

from graphlth import registry
from graphlth.algorithms import with_provenance
from graphlth.cli.main import main
from graphlth.masks import is_edge_key, sparsity
from graphlth.prune import drop_jointly
from graphlth.records.files import read_file
from graphlth.registry import find, names
from graphlth.scores.random import random
from graphlth.settings.types import Fraction, Rounds, Seed
from graphlth.settings.validation import settings_of
from graphlth.ticket import Ticket, dense


def yielding(change):
    """An algorithm whose tickets, one for each of its rounds, `change` makes others of."""

    def own(
        model, task, *, rounds: Rounds = 2, drop: Fraction = 0.5, seed: Seed = 0,
        last: Ticket | None = None,
    ):  # fmt: skip
        ticket = last or dense(model, task.num_edges)
        found = [] if last else [ticket]
        for r in range(ticket.round + 1, rounds + 1):
            scores = random(model, task, ticket.masks, seed=r)
            ticket = Ticket(ticket.init, drop_jointly(ticket.masks, scores, drop, drop), r)
            found.append(ticket)
        yield from change(found)

    return own


def with_search(value):
    return lambda found: [*found[:-1], replace(found[-1], search={"own": value})]


def with_mask(name, make):
    return lambda found: [*found[:-1], replace(found[-1], masks=found[-1].masks | make(name))]


W = "weights.0"
WRONG = {  # what is yielded, what is said of it
    "one round more": (
        lambda found: [*found, replace(found[-1], round=3)],
        "yield a ticket for each round that its settings announce, in order: 0, 1, 2, got round 3:",
    ),
    "a round twice": (
        lambda found: [*found[:2], found[1], *found[2:]],
        "announce, in order: 0, 1, 2, got round 1:",
    ),
    "a gap": (lambda found: [found[0], found[2]], "in order: 0, 1, …, got round 2:"),
    "no dense one": (lambda found: found[1:], "in order: 0, …, got round 1: number them from 0"),
    "a round that is text": (lambda f: [replace(f[0], round="0")], "got round '0': number"),
    "no ticket": (lambda found: [found[0], found[1].masks], r"yield tickets, got dict: yield Tick"),
    "nothing": (lambda found: [], "yield the dense ticket first, got nothing: yield dense"),
    "a shape": (
        with_mask(W, lambda n: {n: torch.ones(3)}),
        r"yield tickets of its model and task, got round 2, of which `ticket` .* shape \[3\]",
    ),
    "a mask of nothing": (
        with_mask("other", lambda n: {n: torch.ones(3)}),
        "got round 2, of which `ticket` does not fit: its mask 'other'",
    ),
    "a mask that goes": (
        lambda found: [*found[:-1], replace(found[-1], masks={})],
        "yield the same masks in every round, as in `last`, got 'edges' in one of the rounds 1 and",
    ),
    "other numbers": (
        with_mask(W, lambda n: {n: torch.full((6, 4), 0.5)}),
        "got round 2, of which `masks` must be 0 or 1, got others in 'weights.0'",
    ),
    "entries that come back": (
        lambda found: [*found[:2], replace(found[0], round=2)],
        r"bring no entries back, got \d+ weights in round 2 after \d+ in round 1: remove them",
    ),
    "search: NaN": (with_search(float("nan")), "round 2, of which `search.own` must be finite"),
    "search: object": (with_search({1, 2}), "of which `search.own` must be plain JSON, got set"),
    "search: a list": (
        lambda found: [replace(found[0], search=[1])],
        "tell of its search in plain values, got round 0, of which `search` must be an object",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_an_algorithm_must_not_yield_is_refused(name):
    change, said = WRONG[name]
    task = toy()
    with pytest.raises(ValueError, match=f"^`algorithm` 'own' must .*{said}") as error:
        list(with_provenance(yielding(change))(build("gcn", task), task))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["seed", "last"])
def test_an_algorithm_takes_what_a_run_gives_it(name):
    def own(model, task, *, rounds: Rounds = 1, **others):
        yield dense(model)

    def without_last(model, task, *, seed: Seed = 0):
        yield dense(model)

    task = toy()
    with pytest.raises(ValueError, match=f"`algorithm` '.*' must take `{name}`, as `seed: "):
        with_provenance(own if name == "seed" else without_last)(build("gcn", task), task)


def test_a_function_that_yields_nothing_is_told_to():
    def own(model, task, *, seed: Seed = 0, last: Ticket | None = None):
        return None

    task = toy()
    with pytest.raises(ValueError, match="must yield tickets, got NoneType: write `yi"):
        next(with_provenance(own)(build("gcn", task), task))


def test_numbers_of_numpy_and_torch_in_search_become_plain():
    task = toy()
    own = with_provenance(yielding(with_search([torch.tensor(3), 0.5])))
    assert [t.search for t in own(build("gcn", task), task)][-1] == {"own": [3, 0.5]}


def test_a_run_keeps_what_was_recorded_before_what_is_wrong(monkeypatch, tmp_path, capsys):
    real = find("algorithms", "random_tickets").__wrapped__
    load = registry._load

    @wraps(real)
    def wrong(model, task, **settings):
        yield from real(model, task, **settings)
        yield replace(dense(model, task.num_edges), round=7)

    monkeypatch.setattr(
        registry, "_load", lambda kind, name: wrong if name == real.__name__ else load(kind, name)
    )
    code = main(["run", "random_tickets", "--task=karate", "--model=gcn", "--epochs=2",
                 "--rounds=1", "--hidden=4", f"--out={tmp_path}"])  # fmt: skip
    assert code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1 and "in order: 0, 1, got round 7" in lines[0]
    [folder] = tmp_path.iterdir()
    assert [line["round"] for line in read_file(folder / "seed0.jsonl")] == [0, 1]
    assert len([*folder.glob("*.safetensors")]) == 2


# --- masks of edges for each layer ---------------------------------------------------------------

ON_GRAPHS = [n for n in names("algorithms") if n in ALGORITHMS]


@pytest.mark.parametrize("name", ON_GRAPHS)
def test_a_search_goes_on_with_masks_of_each_layer_or_says_why_not(name):
    task = toy(loops=False)
    model = build("gcn", task)
    last = dense(model, task.num_edges, layers=2)
    about = {"rounds": 2, "draws": 2, "epochs": 3, "pretrain": 1, "drop_edges": 0.3,
             "drop_weights": 0.3}  # fmt: skip
    try:
        found = list(call(name, model, task, last=last, **about))
    except ValueError as error:
        assert str(error).startswith("`last` must have one mask of edges for all layers")
        return
    for ticket in found:
        assert ticket.masks.keys() == last.masks.keys()
    gone = {n for n, m in found[-1].masks.items() if not m.all()}
    known = settings_of(find("algorithms", name))
    assert any(map(is_edge_key, gone)) == ("drop_edges" in known)
    assert sparsity(found[-1].masks) > 0


@pytest.mark.parametrize("one_shot", [False, True])
def test_imp_leaves_the_masks_of_edges_of_last_as_they_are(one_shot):
    task = toy(loops=False)
    model = build("gcn", task)
    first = dense(model, task.num_edges, layers=2)
    first.masks["edges.1"][3] = 0
    how = {"rounds": 2, "epochs": 2, "last": first, "one_shot": one_shot}
    for ticket in call("imp", model, task, **how):
        assert all(torch.equal(ticket.masks[n], first.masks[n]) for n in ("edges.0", "edges.1"))
