"""Claims of early stops, of instability, of other fields of records, and of dense."""

import pytest
from test_record import table

from graphlth.reproduction.checks import check_claims
from graphlth.reproduction.claims import (
    CONTRARY,
    NOT_COMPARABLE,
    REPRODUCED,
    add_measures,
    assess,
)

SPREAD = (-0.002, 0.0, 0.001, 0.002, -0.001)  # between seeds
OPEN = "not decided by 5 seeds"


def records(values, **fields):
    """The records of a run by round, with a little between seeds; of each field, too."""
    found = table({r: [value + step for step in SPREAD] for r, value in values.items()})
    return [{**r, **{n: every[r["round"]] * (1 + SPREAD[r["seed"]])
                     for n, every in fields.items() if r["round"] in every}}
            for r in found]  # fmt: skip


def verdict(claim, **runs):
    check_claims([{"text": "So", **claim}], runs)
    return assess(claim, runs).verdict


@pytest.mark.parametrize(("ticket", "expected"), [
    (0.93, REPRODUCED), (0.87, CONTRARY), (0.9, OPEN), (0.9005, OPEN),
])  # fmt: skip
def test_a_ticket_is_compared_with_round_0_of_its_own_run(ticket, expected):
    noise = records({0: 0.9, 1: ticket})
    if expected == OPEN:  # a gap that differs from seed to seed
        for r in noise:
            r["test"] += 0.03 * (-1) ** r["seed"] * r["round"]
    assert verdict({"better": ["a", "dense"], "rounds": [1]}, a=noise) == expected


@pytest.mark.parametrize(("stops", "expected"), [
    ({0: 1000, 7: 500}, REPRODUCED), ({0: 1000, 7: 900}, CONTRARY),
])  # fmt: skip
def test_early_stop_comes_so_many_times_sooner_than_in_the_dense_network(stops, expected):
    a = records({0: 0.9, 7: 0.9}, stop_iteration=stops)
    assert verdict({"sooner": "a", "rounds": [7], "times": 1.6}, a=a) == expected


def test_early_stops_that_are_not_recorded_cannot_be_compared():
    a = records({0: 0.9, 7: 0.9})
    assert verdict({"sooner": "a", "rounds": [7], "times": 1.6}, a=a) == NOT_COMPARABLE


@pytest.mark.parametrize(("kind", "instability", "expected"), [
    ("stable", 0.005, REPRODUCED), ("stable", 0.15, CONTRARY), ("stable", 0.02, OPEN),
    ("unstable", 0.15, REPRODUCED), ("unstable", 0.005, CONTRARY), ("unstable", 0.02, OPEN),
])  # fmt: skip
def test_instability_lies_below_or_above_two_points(kind, instability, expected):
    own = records({0: 0.9, 4: 0.9})
    measured = records({4: 0.9}, instability={4: instability})
    assert verdict({kind: "a", "rounds": [4]}, **add_measures({"a": own}, {"a": measured})) == (
        expected
    )
    assert verdict({kind: "a", "rounds": [4]}, a=own) == NOT_COMPARABLE


def test_tickets_are_compared_by_another_field_and_dense_is_not():
    a = records({0: 0.9, 1: 0.9}, untrained_test={1: 0.5})
    b = records({0: 0.9, 1: 0.9}, untrained_test={1: 0.6})
    by = {"rounds": [1], "field": "untrained_test"}
    assert verdict({"winning": "a", "rounds": [1]}, a=a) == REPRODUCED
    assert verdict({"winning": "a", **by}, a=a) == CONTRARY
    assert verdict({"value": 0.5, "run": "a", **by}, a=a) == REPRODUCED
    assert verdict({"better": ["b", "a"], **by}, a=a, b=b) == REPRODUCED
    assert verdict({"equal": ["a", "b"], **by}, a=a, b=b) == CONTRARY
    assert verdict({"winning": "a", "rounds": [1], "field": "f1"}, a=a) == NOT_COMPARABLE
