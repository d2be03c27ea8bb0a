"""A setting that two plug-ins of a run have is one setting, or is refused."""

import pytest

from graphlth.experiment import settings
from graphlth.experiment.settings import plugin_settings, settings_of_run
from graphlth.registry import names
from graphlth.settings.types import Seed, Width
from graphlth.ticket import Ticket


def algorithm(model, task, *, hidden: Width = 2, seed: Seed = 0, last: Ticket | None = None):
    """Tickets."""


def alike(model, task, *, hidden: Width = 16, seed: Seed = 0, last: Ticket | None = None):
    """Tickets."""


@pytest.fixture
def given(monkeypatch):
    def give(function):
        real = settings.find
        monkeypatch.setattr(
            settings, "find", lambda kind, n: function if n == "own" else real(kind, n)
        )

    return give


def test_one_of_another_default_is_refused_by_both_names(given):
    given(algorithm)
    said = "^`hidden` must be a setting .* of algorithm 'own' and of model 'gcn', with .*: rename"
    with pytest.raises(ValueError, match=said):
        settings_of_run("own", "karate", "gcn")


def test_one_that_is_alike_is_one_setting(given):
    given(alike)
    assert settings_of_run("own", "karate", "gcn")["hidden"].default == 16


def test_the_plug_ins_of_graphlth_share_none():
    kinds = ("algorithms", "tasks", "models")
    known = {kind: {s for n in names(kind) for s in plugin_settings(kind, n)} for kind in kinds}
    for kind in kinds:
        others = set().union(*(known[other] for other in kinds if other != kind))
        assert not known[kind] & others
