"""Verdicts on the claims of suites: known data, every verdict, and levels that hold."""

import gc
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from test_record import table

from graphlth.records.comparison import compare_records
from graphlth.records.gaps import LEVEL
from graphlth.reproduction import claims as C
from graphlth.reproduction.claims import CONTRARY, NOT_COMPARABLE, REPRODUCED, assess

DENSE = [0.812, 0.805, 0.821, 0.809, 0.814]
NOISE = [0.002, -0.001, 0.0, 0.001, -0.002]
UNDECIDED, DOUBTFUL = "not decided by 5 seeds", "not decided, beside warnings"
RMSE = {"metric": "rmse", "direction": "min"}
DRAWS = 500
HIGHEST = LEVEL + 2 * math.sqrt(LEVEL * (1 - LEVEL) / DRAWS)  # two standard errors above


def shifted(by, noise=NOISE, values=DENSE):
    return [v + by + n for v, n in zip(values, noise, strict=True)]


def run(rounds, algorithm="ugs", **fields):
    return table(rounds, algorithm=algorithm, **fields)


def two_runs(*gaps, **fields):
    """Runs a and b: in round k, a is better than dense by the k-th gap, and b as good as dense."""
    ours = {0: DENSE, **{k: shifted(gap) for k, gap in enumerate(gaps, 1)}}
    theirs = {0: DENSE, **{k: DENSE for k, _ in enumerate(gaps, 1)}}
    return {"a": run(ours, **fields), "b": run(theirs, "imp", **fields)}


# --- each form and each verdict ------------------------------------------------------------------


@pytest.mark.parametrize(("claim", "gaps", "verdict"), [
    ({"winning": "a", "rounds": [1]}, [-0.002], REPRODUCED),
    ({"winning": "a", "rounds": [1]}, [-0.010], UNDECIDED),
    ({"winning": "a", "rounds": [1]}, [-0.020], CONTRARY),
    ({"winning": "a", "rounds": [1], "margin": 0.03}, [-0.020], REPRODUCED),
    ({"winning": "a", "rounds": [1, 2]}, [-0.002, -0.02], CONTRARY),
    ({"winning": "a", "rounds": [1, 2]}, [0.02, -0.0095], UNDECIDED),
    ({"no_worse": ["a", "b"], "rounds": [1]}, [0.05], REPRODUCED),
    ({"no_worse": ["a", "b"], "rounds": [1]}, [-0.05], CONTRARY),
    ({"no_worse": ["a", "b"], "rounds": [1], "margin": 0}, [0.0], UNDECIDED),
    ({"better": ["a", "b"], "rounds": [1, 2]}, [0.003, 0.02], REPRODUCED),
    ({"better": ["a", "b"], "rounds": [1, 2]}, [0.02, 0.0], UNDECIDED),
    ({"better": ["a", "b"], "rounds": [1, 2]}, [0.02, -0.004], CONTRARY),
    ({"better": ["a", "b"], "rounds": [1], "margin": 0.01}, [0.005], CONTRARY),
    ({"better": ["b", "a"], "rounds": [1]}, [0.02], CONTRARY),
    ({"equal": ["a", "b"], "rounds": [1, 2]}, [0.003, -0.003], REPRODUCED),  # and better, too
    ({"equal": ["a", "b"], "rounds": [1]}, [0.0095], UNDECIDED),
    ({"equal": ["a", "b"], "rounds": [1, 2]}, [0.0, 0.02], CONTRARY),
    ({"equal": ["a", "b"], "rounds": [1, 2]}, [0.0, -0.02], CONTRARY),
    ({"equal": ["a", "b"], "rounds": [0]}, [0.0], REPRODUCED),  # of dense networks
    ({"value": 0.812, "run": "a", "rounds": [0]}, [0.0], REPRODUCED),
    ({"value": 0.820, "run": "a", "rounds": [0]}, [0.0], UNDECIDED),
    ({"value": 0.850, "run": "a", "rounds": [0]}, [0.0], CONTRARY),
    ({"value": 0.780, "run": "a", "rounds": [0, 1]}, [-0.03], CONTRARY),
    ({"value": 0.850, "run": "a", "rounds": [0], "margin": 0.05}, [0.0], REPRODUCED),
    ({"reason": "clocks of other machines"}, [0.0], NOT_COMPARABLE),
])  # fmt: skip
def test_a_claim_is_reproduced_or_not_or_not_decided(claim, gaps, verdict):
    assert assess({"text": "So", **claim}, two_runs(*gaps)).verdict == verdict


@pytest.mark.parametrize(("ours", "theirs", "verdict"), [
    (-0.01, -0.02, REPRODUCED), (-0.01, -0.01, UNDECIDED), (-0.02, -0.01, CONTRARY),
])  # fmt: skip
def test_of_two_models_the_gaps_to_their_own_dense_networks_are_compared(ours, theirs, verdict):
    """Though the one is better in every round, and its graph has loops that the other has not."""
    weaker = [value - 0.1 for value in DENSE]
    runs = {"a": run({0: weaker, 1: shifted(ours, values=weaker)}, model="gcn", data="0" * 16),
            "b": run({0: DENSE, 1: shifted(theirs, NOISE[::-1])}, model="gat", data="1" * 16),
            "c": run({1: DENSE})}  # fmt: skip
    claim = {"text": "So", "better": ["a", "b"], "rounds": [1]}
    assert assess(claim, runs).text == "the two runs are of different data"
    found = assess(claim | {"to_dense": True}, runs)
    gaps = np.subtract(shifted(ours), DENSE) - np.subtract(shifted(theirs, NOISE[::-1]), DENSE)
    assert found.verdict == verdict and found.text.startswith(f"round 1: {100 * gaps.mean():+.1f}")
    found = assess(claim | {"better": ["a", "c"], "to_dense": True}, runs)
    assert (found.verdict, found.text) == (NOT_COMPARABLE, "c has no round 0")


def test_of_two_models_another_field_is_compared_by_its_gaps_to_dense_too():
    """Of the field itself "a" has more, of the gaps to dense "b"."""
    runs = {
        "a": [r | {"untrained_test": 0.5} for r in run({0: DENSE, 1: DENSE}, model="gcn")],
        "b": [
            r | {"untrained_test": 0.4 + n}
            for r, n in zip(
                run({0: shifted(-0.3), 1: DENSE}, model="gat"), [0.0] * 5 + NOISE, strict=True
            )
        ],
    }
    claim = {"text": "So", "better": ["a", "b"], "rounds": [1], "field": "untrained_test"}
    assert assess(claim, runs).verdict == REPRODUCED
    found = assess(claim | {"to_dense": True}, runs)
    assert found.verdict == CONTRARY and found.text.startswith("round 1: -20.0 (")


def test_the_tests_are_those_of_scipy_and_statsmodels():
    runs = two_runs(-0.008, -0.0118)
    gaps = [np.subtract(shifted(by), DENSE) for by in (-0.008, -0.0118)]
    below = [stats.ttest_1samp(g, -0.01, alternative="less").pvalue for g in gaps]
    above = [stats.ttest_1samp(g, -0.01, alternative="greater").pvalue for g in gaps]
    assert below[1] < 0.05 < multipletests(below, method="holm")[1][1]  # by chance in one of two
    assert above[0] < 0.05 < above[1]
    claim = {"text": "So", "winning": "a", "rounds": [1, 2]}
    assert assess(claim, runs).verdict == UNDECIDED
    assert assess(claim | {"rounds": [2]}, runs).verdict == CONTRARY
    assert assess(claim | {"rounds": [1]}, runs).verdict == REPRODUCED


def test_what_is_found_is_told_with_intervals_that_hold_together():
    runs = two_runs(-0.002, -0.02)
    found = assess({"text": "So", "winning": "a", "rounds": [1, 2]}, runs).text
    texts = []
    for r, by in ((1, -0.002), (2, -0.02)):
        low, high = stats.t.interval(
            1 - 0.05 / 2, 4, by, stats.sem(np.subtract(shifted(by), DENSE))
        )
        texts.append(f"round {r}: {100 * by:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})")
    assert found == "; ".join(texts)
    low, high = stats.t.interval(0.95, 4, np.mean(DENSE), stats.sem(DENSE))
    found = assess({"text": "So", "value": 0.8, "run": "b", "rounds": [0]}, runs).text
    assert found == f"round 0: {100 * np.mean(DENSE):.1f} ({100 * low:.1f} to {100 * high:.1f})"


def test_a_gap_that_rounds_to_zero_has_no_minus():
    runs = {n: run({r: [0.8 - by * r] * 3 for r in (0, 1)}, n) for n, by in (("a", 2e-4), ("b", 0))}
    assert assess({"text": "So", "winning": "a", "rounds": [1]}, runs).text == (
        "round 1: +0.0 (+0.0 to +0.0)"
    )


def test_rounds_of_which_all_must_hold_need_no_adjustment():
    """Berger, Technometrics 24, 1982."""
    gaps = np.subtract(shifted(-0.008), DENSE)
    alone = stats.ttest_1samp(gaps, -0.01, alternative="greater").pvalue
    assert LEVEL / 3 < alone < LEVEL
    runs = two_runs(-0.008, -0.008, -0.008)
    claim = {"text": "So", "winning": "a", "rounds": [1, 2, 3]}
    assert assess(claim, runs).verdict == REPRODUCED


@pytest.mark.parametrize("claim", [
    {"winning": "a", "rounds": [1]}, {"better": ["a", "b"], "rounds": [1]},
    {"equal": ["a", "b"], "rounds": [1]}, {"value": 0.5, "run": "a", "rounds": [1]},
    {"cheaper": ["a", "b"], "rounds": [1, 1], "times": 9.0},
])  # fmt: skip
def test_fewer_than_three_seeds_decide_nothing(claim):
    costs = {"macs_search": 1e9, "macs_retrain": 1e9}
    runs = {n: run({0: [0.8, 0.8], 1: [0.1, 0.1]}, n, **costs) for n in ("a", "b")}
    found = assess({"text": "So", **claim}, runs)
    assert found.verdict == "not decided by 2 seeds" and " to " not in found.text
    alone = {name: [r for r in records if r["seed"] == 0] for name, records in runs.items()}
    assert assess({"text": "So", **claim}, alone).verdict == "not decided by 1 seed"


def costs(name, factors, rounds=2):
    lines = run({r: [0.8] * len(factors) for r in range(rounds)}, name)
    return [line | {"macs_search": 1e9 * factors[line["seed"]] * bool(line["round"]),
                    "macs_retrain": 1e9 * factors[line["seed"]]} for line in lines]  # fmt: skip


def warn(records, r, seeds):
    """The same records, with a warning of these seeds in a round."""
    return [line | {"warnings": ["val stayed at chance"]}
            if line["round"] == r and line["seed"] in seeds else line
            for line in records]  # fmt: skip


@pytest.mark.parametrize(("claim", "by", "seeds", "verdict"), [
    ({"winning": "a"}, -0.05, range(5), DOUBTFUL),  # those of all
    ({"winning": "a"}, -0.05, range(3), DOUBTFUL),  # two are left
    ({"winning": "a"}, -0.05, [4], CONTRARY),  # the other four show it, too
    ({"winning": "a"}, -0.002, [4], REPRODUCED),
    ({"winning": "a"}, -0.008, [], REPRODUCED),
    ({"winning": "a"}, -0.008, [0], DOUBTFUL),  # without it not at level 0.05
    ({"winning": "a"}, -0.010, [0], UNDECIDED),
    ({"value": 0.81, "run": "a", "margin": 0.02}, 0.0, [4], REPRODUCED),
    ({"value": 0.81, "run": "a"}, 0.0, range(3), DOUBTFUL),
    ({"stable": "a"}, 0.0, [4], REPRODUCED),
    ({"stable": "a"}, 0.0, range(3), DOUBTFUL),
])  # fmt: skip
def test_beside_a_warning_a_claim_is_decided_with_all_seeds_and_without_those(
    claim, by, seeds, verdict
):
    runs, claim = two_runs(by), {"text": "So", "rounds": [1], **claim}
    runs = {"a": [r | {"instability": 0.001 * r["seed"]} for r in runs["a"]]}
    for r in (0, 1) if "winning" in claim else (1,):
        found = assess(claim, {"a": warn(runs["a"], r, seeds)})
        assert found.verdict == verdict
        assert found.text == assess(claim, runs).text  # that of all seeds


def test_of_two_models_a_warning_of_the_dense_network_counts():
    runs = {"a": run({0: DENSE, 1: shifted(0.03)}), "b": run({0: DENSE, 1: DENSE}, data="f" * 16)}
    claim = {"text": "So", "better": ["a", "b"], "rounds": [1], "to_dense": True}
    for seeds, verdict in (([0], REPRODUCED), (range(3), DOUBTFUL)):
        for name, own in runs.items():
            assert assess(claim, runs | {name: warn(own, 0, seeds)}).verdict == verdict


def test_stops_and_instability_beside_warnings_are_decided_as_gaps_are():
    """Nor do stops or instabilities that lie far apart stand for accuracies that do."""
    stops = {0: 1000, 1: 100}
    records = [r | {"stop_iteration": stops[r["round"]] + r["seed"],
                    "instability": 0.5 + 0.1 * r["seed"]}
               for r in run({0: DENSE, 1: DENSE})]  # fmt: skip
    for claim in ({"sooner": "a", "rounds": [1], "times": 5}, {"unstable": "a", "rounds": [1]}):
        claim = {"text": "So", **claim}
        assert assess(claim, {"a": records}).verdict == REPRODUCED
        assert assess(claim, {"a": warn(records, 1, range(5))}).verdict == DOUBTFUL


VERDICTS = {"better": REPRODUCED, "worse": CONTRARY, "doubtful": DOUBTFUL, "not shown": UNDECIDED}


def test_a_comparison_and_a_claim_agree_beside_warnings():
    random, seen = np.random.default_rng(3), set()
    for _ in range(200):
        values = np.add(DENSE, random.normal(random.choice([-0.01, 0, 0.01]), 0.01, 5))
        plain = {"a": run({1: values}), "b": run({1: DENSE}, "imp")}
        runs = {n: warn(own, 1, np.flatnonzero(random.random(5) < 0.15))
                for n, own in plain.items()}  # fmt: skip
        (found,) = compare_records(runs["a"], runs["b"], margin=1e-9).rounds
        claim = {"text": "So", "better": ["a", "b"], "rounds": [1]}
        verdict = assess(claim, runs).verdict
        assert verdict == VERDICTS[found.to_other.verdict]
        if verdict in (REPRODUCED, CONTRARY):
            assert assess(claim, plain).verdict == verdict  # shown with all seeds
        seen.add(verdict)
    assert seen == {*VERDICTS.values()}


@pytest.mark.parametrize(("claim", "runs", "text"), [
    ({"winning": "c", "rounds": [1]}, two_runs(0), "c was not run"),
    ({"better": ["a", "c"], "rounds": [1]}, two_runs(0), "c was not run"),
    ({"drawn": "c", "epoch": 3}, two_runs(0), "c was not run"),
    ({"winning": "a", "rounds": [1, 4]}, two_runs(0), "a has no round 4"),
    ({"winning": "a", "rounds": [1]}, {"a": run({1: DENSE})}, "a has no round 0"),
    ({"value": 0.8, "run": "a", "rounds": [2]}, two_runs(0), "a has no round 2"),
    ({"value": 0.8, "run": "a", "rounds": [1], "field": "task"}, two_runs(0),
     "a has no round 1 whose task is a number"),
    ({"equal": ["a", "b"], "rounds": [1]},
     {"a": run({1: DENSE}), "b": run({1: DENSE}, "imp", data="0" * 16)},
     "the two runs are of different data"),
    ({"equal": ["a", "b"], "rounds": [1]},
     {"a": run({1: DENSE}), "b": run({1: DENSE}, "imp", task="citeseer")},
     "the two runs are of different task"),
    ({"equal": ["a", "b"], "rounds": [1]},
     {"a": run({1: DENSE})[:2], "b": run({1: DENSE}, "imp")[2:]}, "the two runs share no seed"),
    ({"cheaper": ["a", "b"], "rounds": [1, 1], "times": 2.0}, two_runs(0),
     "the cost of a is not known: `records` must hold `macs_search`"),
    ({"cheaper": ["a", "b"], "rounds": [1, 3], "times": 2.0}, two_runs(0),
     "the cost of a is not known"),
    ({"drawn": "a", "epoch": 3}, two_runs(0), "a draws no tickets"),
    ({"winning": "a", "rounds": [1]}, two_runs(0, **RMSE),
     "`margin` must be stated for RMSE, in its unit, got none"),
    ({"winning": "a", "rounds": [1]}, two_runs(0, metric="hours", direction="max"),
     "`margin` must be stated for hours, in its unit, got none"),
    ({"stable": "a", "rounds": [1]}, two_runs(0, **RMSE), "`margin` must be stated for RMSE"),
    ({"better": ["a", "b"], "rounds": [1], "field": "num_edges"}, two_runs(0),
     "a has no round 1 whose num_edges is a number in [0, 1] for each seed"),
    ({"value": 0.5, "run": "a", "rounds": [1], "field": "share"},
     {"a": [r | {"share": 0.5 if r["seed"] else None} for r in run({1: DENSE})]},
     "a has no round 1 whose share is a number in [0, 1] for each seed"),
    ({"value": 1, "run": "a", "rounds": [1], "field": "ticket_kept"},
     {"a": run({1: DENSE}, ticket_kept=False)}, "a has no round 1 whose ticket_kept is a number"),
    ({"cheaper": ["a", "b"], "rounds": [1, 1], "times": 2.0},
     {"a": costs("a", [1] * 3), "b": [r | {"data": "0" * 16} for r in costs("b", [9] * 3)]},
     "the two runs are of different data"),
    ({"cheaper": ["a", "b"], "rounds": [1, 1], "times": 2.0},
     {"a": costs("a", [1] * 3), "b": [r | {"task": "pubmed"} for r in costs("b", [9] * 3)]},
     "the two runs are of different task"),
])  # fmt: skip
def test_what_cannot_be_compared_says_why(claim, runs, text):
    found = assess({"text": "So", **claim}, runs)
    assert found.verdict == NOT_COMPARABLE and found.text.startswith(text)


@pytest.mark.parametrize(("claim", "by", "verdict", "sign"), [
    ({"winning": "a", "margin": 0.01}, -0.05, REPRODUCED, "-"),
    ({"winning": "a", "margin": 0.01}, 0.05, CONTRARY, "+"),
    ({"better": ["a", "b"]}, -0.05, REPRODUCED, "-"),
    ({"better": ["a", "b"]}, 0.05, CONTRARY, "+"),
    ({"equal": ["a", "b"], "margin": 0.1}, 0.05, REPRODUCED, "+"),
])  # fmt: skip
def test_less_of_an_error_is_better_and_is_told_as_it_is(claim, by, verdict, sign):
    found = assess({"text": "So", "rounds": [1], **claim}, two_runs(by, **RMSE))
    assert found.verdict == verdict
    assert found.text.startswith(f"round 1: {sign}0.050 ({sign}0.0")  # no per cent, no points
    known = assess({"text": "So", "value": 0.8, "margin": 0.1, "run": "a", "rounds": [1]},
                   two_runs(by, **RMSE))  # fmt: skip
    assert known.text.startswith(f"round 1: {0.8122 + by:.3f} (")


@pytest.mark.parametrize(("times", "verdict"), [
    (8.0, REPRODUCED), (10.0, "not decided by 3 seeds"), (12.0, CONTRARY),
])  # fmt: skip
def test_a_cost_is_that_of_all_searches_and_the_last_retraining(times, verdict):
    runs = {"a": costs("a", [1, 1, 1]), "b": costs("b", [9.9, 10.1, 10.0])}
    claim = {"text": "So", "cheaper": ["a", "b"], "rounds": [1, 1], "times": times}
    found = assess(claim, runs)
    assert found.verdict == verdict
    assert found.text == "10.00 (9.75 to 10.25) times fewer MACs"
    half = assess(claim | {"rounds": [1, 0], "times": 4.5}, runs)  # of b its dense network
    assert half.text.startswith("5.00 (") and half.verdict == REPRODUCED


def test_equal_costs_are_not_less():
    runs = {name: costs(name, [1, 1, 1]) for name in ("a", "b")}
    claim = {"text": "So", "cheaper": ["a", "b"], "rounds": [1, 1], "times": 1}
    assert assess(claim, runs).verdict == "not decided by 3 seeds"


@pytest.mark.parametrize(("epochs", "verdict"), [
    ([10] * 5, REPRODUCED), ([10] * 4, "not decided by 4 seeds"),
    ([10] * 5 + [30], "not decided by 6 seeds"), ([30] * 5, CONTRARY), ([None] * 5, CONTRARY),
])  # fmt: skip
def test_most_seeds_are_those_of_an_exact_binomial_bound(epochs, verdict):
    records = [line | {"drawn_epoch": epochs[line["seed"]] or 99,
                       "settled": epochs[line["seed"]] is not None} if line["round"] else line
               for line in run({0: [0.8] * len(epochs), 1: [0.8] * len(epochs)})]  # fmt: skip
    found = assess({"text": "So", "drawn": "a", "epoch": 20}, {"a": records})
    assert found.verdict == verdict
    early = sum(epoch == 10 for epoch in epochs)
    assert found.text.startswith(f"{early} of {len(epochs)} seeds")
    p = stats.binomtest(early, len(epochs), 0.5, alternative="greater").pvalue
    assert (p <= LEVEL) == (verdict == REPRODUCED)
    missing = [r for r in records if r["round"] == 0 or r["seed"] < 2]
    found = assess({"text": "So", "drawn": "a", "epoch": 20}, {"a": missing})
    assert found.verdict == "not decided by 2 seeds"  # of seeds without a ticket nothing is known


# --- levels --------------------------------------------------------------------------------------

ALL = {"text": "So", "rounds": [1, 2, 3]}


@pytest.fixture(autouse=True)
def without_collection(monkeypatch):
    """Without the collection of garbage that `multipletests` asks for each time."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


def simulate(claim, means, seeds=5):
    """How often a claim is called reproduced, and not, of `DRAWS` draws of runs a and b.

    Args:
        claim: the claim.
        means: by how much a is better than b, and than dense, in each round.
        seeds: of a draw.
    """
    random, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        dense = random.normal(0.7, 0.02, seeds)
        ours = {r: dense + random.normal(mean, 0.01, seeds) for r, mean in enumerate(means, 1)}
        runs = {"a": run({0: dense, **ours}), "b": run(dict.fromkeys(ours, dense), "imp")}
        samples = C.sample_gaps(claim, runs)
        found.append(C.decide([replace(s, records=()) for s in samples]))
    return found.count(REPRODUCED) / DRAWS, found.count(CONTRARY) / DRAWS


@pytest.mark.parametrize(("claim", "means"), [  # one round is on the edge, the others hold
    ({"winning": "a", **ALL}, [0.05, 0.05, -0.01]),
    ({"better": ["a", "b"], **ALL}, [0.05, 0.05, 0.0]),
    ({"equal": ["a", "b"], "margin": 0.05, **ALL}, [0.0, 0.0, 0.05]),
])  # fmt: skip
def test_a_false_claim_is_seldom_called_reproduced(claim, means):
    reproduced, _ = simulate(claim, means)
    assert LEVEL / 5 < reproduced <= HIGHEST


@pytest.mark.parametrize(("claim", "means"), [  # every round is on the edge
    ({"winning": "a", **ALL}, [-0.01] * 3),
    ({"better": ["a", "b"], **ALL}, [1e-9] * 3),
    ({"equal": ["a", "b"], **ALL}, [0.01, -0.01, 0.01]),
])  # fmt: skip
def test_a_true_claim_is_seldom_called_not_reproduced(claim, means):
    _, contrary = simulate(claim, means)
    assert 0 < contrary <= HIGHEST


@pytest.mark.parametrize(("edge", "rounds"), [(0.01, [1]), (-0.01, [1, 2, 3])])
def test_a_value_on_the_edge_is_seldom_called_either(edge, rounds):
    random, found = np.random.default_rng(1), []
    for _ in range(DRAWS):
        runs = {"a": run({r: random.normal(0.8 + edge, 0.01, 5) for r in rounds})}
        claim = {"value": 0.8, "run": "a", "rounds": rounds}
        samples = C.sample_values(claim, runs)
        found.append(C.decide([replace(s, records=()) for s in samples]))
    assert found.count(REPRODUCED) / DRAWS <= HIGHEST
    assert 0 < found.count(CONTRARY) / DRAWS <= HIGHEST


def test_a_ratio_of_costs_on_the_edge_is_seldom_called_either():
    random, found = np.random.default_rng(2), []
    for _ in range(DRAWS):
        times = random.normal(10, 0.5, 5)
        found.append(C.decide([C.Sample("", times, dict(enumerate(times)), 10.0)]))
    assert 0 < found.count(REPRODUCED) / DRAWS <= HIGHEST
    assert 0 < found.count(CONTRARY) / DRAWS <= HIGHEST
