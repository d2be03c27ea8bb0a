"""Recipes and other groups of settings: given whole, or field by field, and never ignored."""

import inspect
from dataclasses import asdict

import pytest
from test_algorithms import digits
from toys import ALGORITHMS, build, toy

import graphlth as glt
from graphlth.algorithms._admm import GraphTraining
from graphlth.algorithms._channels import ChannelRanking
from graphlth.algorithms._controls import CONTROLS
from graphlth.algorithms._draw import DrawComparison
from graphlth.algorithms._imp import Rewinding, WeightPruning
from graphlth.algorithms.ugs import batched_ugs, ugs
from graphlth.experiment.settings import batched_form, defining_module, plugin_settings
from graphlth.registry import find, names
from graphlth.settings.annotations import choices
from graphlth.settings.validation import groups_of, settings_of
from graphlth.training import loop
from graphlth.training.recipe import ADAM, AdamFields, Recipe, RecipeFields

ALL = names("algorithms")
FIELDS = asdict(Recipe())
GROUPS = [Recipe, GraphTraining, DrawComparison, ChannelRanking, WeightPruning, Rewinding]


def model():
    return build("gcn", toy())


# --- what a run has ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_run_has_the_fields_of_a_recipe_with_the_defaults_of_its_algorithm(name):
    found = {n: p.default for n, p in plugin_settings("algorithms", name).items() if n in FIELDS}
    known = vars(defining_module(find("algorithms", name))).get("RECIPE", FIELDS)
    assert found == known
    assert known.keys() in (ADAM.keys(), FIELDS.keys())


def test_the_fields_of_a_recipe_are_written_once():
    hints = RecipeFields.__annotations__
    assert {n: hints[n] for n in FIELDS} == Recipe.__annotations__
    assert ADAM == {n: FIELDS[n] for n in AdamFields.__annotations__ if n != "recipe"}


@pytest.mark.parametrize("name", ALL)
def test_no_algorithm_has_a_setting_that_it_ignores(name):
    own = inspect.unwrap(find("algorithms", name))
    parameters = inspect.signature(own).parameters
    assert len([p for p in parameters.values() if p.kind is not p.VAR_KEYWORD]) <= 12
    assert {*parameters} <= {*own.__code__.co_names, *own.__code__.co_varnames,
                             *own.__code__.co_cellvars}  # fmt: skip


def test_the_algorithm_says_whether_it_trains_many_seeds_at_once():
    assert {name for name in ALL if batched_form(name)} == {"ugs"}
    assert batched_form("ugs") is batched_ugs
    alone, together = settings_of(ugs), settings_of(batched_ugs)
    assert {*alone} - {"seed", "last"} == {*together} - {"seeds", "last", "graphs"}


@pytest.mark.parametrize(("name", "setting"), [("control", "control")])
def test_the_choices_of_a_setting_are_those_that_there_are(name, setting):
    annotation = settings_of(find("algorithms", name))[setting].annotation
    assert {*choices(annotation)} == {*CONTROLS}


# --- what a call takes ---------------------------------------------------------------------------


def test_a_recipe_is_its_fields():
    half = {"rounds": 1, "drop_edges": 0.5, "drop_weights": 0.5}
    whole = list(glt.ugs(model(), toy(), **half, recipe=Recipe(epochs=9, lr=0.05)))
    apart = list(glt.ugs(model(), toy(), **half, epochs=9, lr=0.05))
    other = list(glt.ugs(model(), toy(), **half, epochs=9, lr=0.5))
    assert digits(whole) == digits(apart) != digits(other)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_group_is_taken_by_an_algorithm_and_checks_its_fields(group):
    assert any(group in groups_of(find("algorithms", name)) for name in ALL)
    for name in asdict(group()):
        with pytest.raises(ValueError, match=f"^`{name}` must be"):
            group(**{name: -1})


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("ugs", {"recipe": Recipe(), "lr": 0.1}, "`recipe` and `lr` must not both be given"),
        ("imp", {"weight_pruning": WeightPruning(), "invert": True},
         "`weight_pruning` and `invert` must not both be given"),
        ("ugs", {"recipe": "fast"}, "`recipe` must be a Recipe, got str"),
        ("ugs", {"recipe": Recipe(optimizer="sgd")},
         "`recipe` must have `optimizer` 'adam' in this training, got 'sgd'"),
        ("ugs", {"momentum": 0.5}, "`momentum` is no setting of ugs"),
        ("geb", {"rho": -1.0}, r"`rho` must be in \[0, inf\), got -1.0"),
        ("random_tickets", {"lr": 0.1},
         r"`lr` is no setting of random_tickets, .*glt.fit\(model, task, ticket, lr=0.1\)"),
        ("at_init", {"recipe": Recipe()}, "`recipe` is no setting of at_init, .*retraining takes"),
        ("edge_popup", {"weight_decay": 0.1}, "`weight_decay` is no setting of edge_popup"),
        ("random_tickets", {"round": 3}, "`round` is no setting of random_tickets; did you mean"),
    ],
)  # fmt: skip
def test_what_an_algorithm_does_not_take_is_refused(name, given, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        next(find_checked(name)(model(), toy(), **given))


def find_checked(name):
    return glt.find("algorithms", name)


TRAIN = [n for n in ALGORITHMS if Recipe in groups_of(find("algorithms", n))]


@pytest.mark.parametrize("name", TRAIN)
def test_an_algorithm_that_takes_a_recipe_trains_by_it(name, monkeypatch):
    seen, real = [], loop.make_optimizer

    def watched(recipe, *about):
        seen.append(recipe)
        return real(recipe, *about)

    monkeypatch.setattr(loop, "make_optimizer", watched)
    given = {"epochs": 2, "lr": 0.03, "weight_decay": 0.02}
    about = {"rounds": 1, "draws": 1, "pretrain": 2}
    about = {n: v for n, v in about.items() if n in settings_of(find("algorithms", name))}
    list(find_checked(name)(model(), toy(), **about, **given))
    assert Recipe(**given) in seen
    list(find_checked(name)(model(), toy(), **about, recipe=Recipe(**given | {"lr": 0.04})))
    assert Recipe(**given | {"lr": 0.04}) in seen
