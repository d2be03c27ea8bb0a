"""The statistics of claims: known data, levels that hold, refusals, and what the command says."""

import gc
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired
from test_record import entry, table, written

import graphlth as glt
import graphlth.records as R
from graphlth.cli import main as cli
from graphlth.records import gaps as G
from graphlth.records.comparison_tables import comparison_notes, comparison_title
from graphlth.records.power import POWER, largest_sd

# Extra hours of sleep by two drugs, of ten people (Student, Biometrika 6, 1908).
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
SLEEP = [b - a for a, b in zip(FIRST, SECOND, strict=True)]
HOURS = {"metric": "hours", "direction": "max", "val": 0}
LESS = {"metric": "rmse", "direction": "min"}
FIVE = [0.812, 0.805, 0.821, 0.809, 0.814]
DRAWS = 1000
HIGHEST = G.LEVEL + 2 * math.sqrt(G.LEVEL * (1 - G.LEVEL) / DRAWS)  # two standard errors above


def run(rounds, algorithm="ugs", **fields):
    return table(rounds, algorithm=algorithm, **fields)


def verdicts(comparison):
    return [(each.to_dense and each.to_dense.verdict, each.to_other and each.to_other.verdict)
            for each in comparison.rounds]  # fmt: skip


def shifted(values, by, noise=(0.001, -0.001, 0.0, 0.0005, -0.0005)):
    """Values of a run whose gaps to `values` have the mean `by` and hardly vary."""
    return [v + by + n for v, n in zip(values, noise, strict=True)]


# --- known data ----------------------------------------------------------------------------------


def test_the_tests_are_those_of_scipy_and_statsmodels_on_students_data():
    assert G.p_above(SLEEP, 0) == pytest.approx(0.0014164, abs=1e-7)  # half of 0.002833
    assert G.p_above(SLEEP, 0) == pytest.approx(
        stats.ttest_rel(SECOND, FIRST, alternative="greater").pvalue
    )
    assert G.p_above(SLEEP, 1.5) == pytest.approx(
        stats.ttest_1samp(SLEEP, 1.5, alternative="greater").pvalue
    )
    low, high = G.simultaneous_interval(SLEEP, 1)
    assert (low, high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    narrow = stats.ttest_rel(SECOND, FIRST).confidence_interval(1 - 0.05 / 7)
    assert G.simultaneous_interval(SLEEP, 7) == pytest.approx(tuple(narrow))
    one_sided = stats.ttest_rel(SECOND, FIRST, alternative="greater").confidence_interval(0.95)
    assert G.lower_bound(SLEEP) == pytest.approx(one_sided.low)
    for margin in (1.0, 2.5, 4.0):
        expected = ttost_paired(np.array(SECOND), np.array(FIRST), -margin, margin)[0]
        assert G.p_within(SLEEP, margin) == pytest.approx(expected)


def test_of_rounds_that_are_as_near_in_sparsity_that_of_the_same_number_is_compared():
    a, b = (run({r: FIVE for r in range(4)}, name, edge_sparsity=0.2, weight_sparsity=0.5)
            for name in ("ugs", "imp"))  # fmt: skip
    found = R.compare_records(a, b, by="sparsity")
    assert [(each.round, each.other) for each in found.rounds] == [(1, 1), (2, 2), (3, 3)]


def test_p_values_are_adjusted_by_holm_or_in_sequence():
    p = [0.01, 0.04, 0.03, 0.005]
    assert G.adjust_p(p, ordered=False) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # by hand
    assert G.adjust_p(p, ordered=False) == pytest.approx(multipletests(p, method="holm")[1])
    assert G.adjust_p(p, ordered=True) == [0.01, 0.04, 0.04, 0.04]
    assert G.adjust_p([0.2, 0.001], ordered=True) == [0.2, 0.2]  # the first failure ends it
    assert G.adjust_p([], ordered=False) == G.adjust_p([], ordered=True) == []


def test_a_comparison_says_what_the_tests_of_its_gaps_say():
    rounds = {0: FIRST, 1: SECOND, 2: [v + 0.1 for v in FIRST[:9]] + [9.0]}
    a, b = run(rounds, **HOURS), run({0: FIRST, 1: FIRST, 2: SECOND}, "random_tickets", **HOURS)
    found = R.compare_records(a, b, margin=1.0)
    one, two = found.rounds
    assert one.to_dense.mean == pytest.approx(1.58) and one.to_dense.n == 10
    assert one.to_dense.interval == pytest.approx(G.simultaneous_interval(SLEEP, 2))
    assert one.to_dense.bound == pytest.approx(G.lower_bound(SLEEP))
    assert one.to_dense.sd == pytest.approx(1.2299955, abs=1e-6)
    assert one.to_dense.p == pytest.approx(G.p_above(SLEEP, -1.0))
    other = [x - y for x, y in zip(rounds[2], SECOND, strict=True)]
    by_hand = multipletests([G.p_above(SLEEP, 0), G.p_above(other, 0)], method="holm")[1]
    assert [one.to_other.p, two.to_other.p] == pytest.approx(by_hand)
    assert found.winning == (1, 2) and found.better == (1,)
    assert (found.a, found.b, found.metric, found.margin) == ("ugs", "random_tickets", "hours", 1)


# --- verdicts ------------------------------------------------------------------------------------


def test_winning_is_a_fixed_sequence_from_round_1_on():
    gaps = {1: 0.0, 2: -0.008, 3: -0.02, 4: 0.01}
    rounds = {0: FIVE} | {r: shifted(FIVE, gap) for r, gap in gaps.items()}
    found = R.compare_records(run(rounds), run(rounds, "imp"))
    assert found.ordered and found.winning == (1, 2)  # round 4 comes after one that failed
    assert [each.by_paper_rule for each in found.rounds] == [True, False, False, True]
    assert R.compare_records(run(rounds), run(rounds, "imp"), margin=0.03).winning == (1, 2, 3, 4)
    assert R.compare_records(run(rounds), run(rounds, "imp"), margin=0.005).winning == (1,)


def test_rounds_without_an_order_are_adjusted_by_holm():
    gaps = {1: 0.0, 2: -0.02, 3: 0.01}
    rounds = {0: FIVE} | {r: shifted(FIVE, gap) for r, gap in gaps.items()}
    draws = run(rounds)
    for record in draws:  # as early-bird draws, which all remove as much
        if record["round"]:
            record |= {"edge_sparsity": 0.2, "weight_sparsity": 0.5}
    found = R.compare_records(draws, run(rounds, "imp"))
    assert not found.ordered and found.winning == (1, 3)
    noisy = [0.012, -0.011, 0.004, -0.001, 0.003]  # p = 0.03: enough alone, not among three
    draws = run({0: FIVE, **{r: shifted(FIVE, 0, noisy) for r in (1, 2, 3)}})
    alone = [p.p for p in R.gaps_to_dense(R.summary(draws), margin=0.01).values()]
    assert alone == pytest.approx([alone[0]] * 3) and 0.05 / 3 < alone[0] <= 0.05
    for record in draws:
        record |= {"edge_sparsity": 0.2, "weight_sparsity": 0.5} if record["round"] else {}
    assert R.winning_rows(R.summary(draws), margin=0.01) == []


@pytest.mark.parametrize(
    ("gap", "noise", "verdict"),
    [
        (0.03, (0.001, -0.001, 0.0, 0.0005, -0.0005), "better"),
        (-0.03, (0.001, -0.001, 0.0, 0.0005, -0.0005), "worse"),
        (0.0, (0.001, -0.001, 0.0, 0.0005, -0.0005), "no difference"),
        (0.0, (0.03, -0.03, 0.02, -0.02, 0.0), "not shown"),  # a large p-value is no equality
    ],
)
def test_no_difference_is_said_of_equivalence_alone(gap, noise, verdict):
    a = run({0: FIVE, 1: shifted(FIVE, gap, noise)})
    assert verdicts(R.compare_records(a, run({0: FIVE, 1: FIVE}, "imp")))[0][1] == verdict


def test_where_less_is_better_a_gap_above_0_is_better_too():
    values = [100 * v for v in FIVE]  # a metric that is not in [0, 1]; the margin is in its unit
    a = run({0: values, 1: [v - 3 + 0.1 * i for i, v in enumerate(values)]}, **LESS)
    b = run({0: values, 1: values}, "random_tickets", **LESS)
    found = R.compare_records(a, b, margin=1.0)
    assert verdicts(found) == [("winning", "better")]
    assert found.rounds[0].to_dense.mean == pytest.approx(2.8)
    worse = R.compare_records(b, a, margin=1.0)
    assert verdicts(worse) == [("winning", "worse")] and worse.rounds[0].to_other.mean < 0


def test_gaps_that_are_all_equal_have_no_width_and_are_not_above_what_they_equal():
    a = run({0: FIVE, 1: FIVE, 2: [v - 0.01 for v in FIVE]})
    found = R.compare_records(a, run({0: FIVE, 1: FIVE, 2: FIVE}, "imp"), margin=0.01)
    one, two = found.rounds
    assert (one.to_dense.interval, one.to_dense.bound, one.to_dense.p) == ((0, 0), 0, 0)
    assert verdicts(found)[0] == ("winning", "no difference")
    assert two.to_dense.interval == (-0.01, -0.01)  # exactly, whatever 0.812 - 0.802 rounds to
    assert verdicts(found)[1] == ("not shown", "worse")  # not within the margin, but on it


def test_under_three_seeds_nothing_is_tested():
    a = run({0: [0.8, 0.81], 1: [0.9, 0.91]})
    (only,) = R.compare_records(a, run({0: [0.8, 0.81], 1: [0.5, 0.52]}, "imp")).rounds
    for gap, mean in ((only.to_dense, 0.1), (only.to_other, 0.395)):
        assert (gap.n, gap.interval, gap.bound, gap.sd, gap.p) == (2, None, None, None, 1.0)
        assert gap.verdict == "too few seeds" and gap.mean == pytest.approx(mean)


# --- beside warnings -----------------------------------------------------------------------------

TEN = [0.812, 0.805, 0.821, 0.809, 0.814, 0.808, 0.816, 0.811, 0.819, 0.806]
STEADY = [0.018, 0.022, 0.019, 0.021, 0.020, 0.023, 0.017, 0.020, 0.019, 0.021]
HANGING = [0.003, 0.009, 0.007, 0.007, 0.013, -0.004, -0.001, -0.005, 0.002, 0.009]


def warn(records, round, seeds):
    """The same records, with a warning of these seeds in a round."""
    told = ["the best epoch is the last one"]
    return [r | {"warnings": told} if r["round"] == round and r["seed"] in seeds else r
            for r in records]  # fmt: skip


def test_what_hangs_on_the_last_seed_is_above_0_with_it_alone():
    assert G.p_above(HANGING, 0) == pytest.approx(0.0321, abs=1e-4)
    assert G.p_above(HANGING[:9], 0) == pytest.approx(0.0640, abs=1e-4)
    by_seed = dict(enumerate(HANGING))
    for test, bound, sign in ((G.p_above, 0.0, 1), (G.p_below, 0.0, -1), (G.p_within, 0.008, 1)):
        gaps = {seed: sign * gap for seed, gap in by_seed.items()}
        both = [test([*gaps.values()][:n], bound) for n in (10, 9)]
        assert G.p_values(test, gaps, bound, {9, 77}) == (both[0], max(both))
        assert G.p_values(test, gaps, bound, ()) == (both[0], both[0])
        assert G.p_values(test, gaps, bound, range(8)) == (both[0], 1)  # two seeds are left


@pytest.mark.parametrize(
    ("gaps", "seeds", "told"),
    [
        (STEADY, [], ("winning", "better")),
        (STEADY, [9], ("winning", "better")),  # the other nine show it, too
        (STEADY, range(7), ("winning", "better")),  # three are left
        (STEADY, range(8), ("doubtful", "doubtful")),
        (STEADY, range(10), ("doubtful", "doubtful")),
        ([-gap for gap in STEADY], [9], ("not shown", "worse")),
        ([-gap for gap in STEADY], range(10), ("not shown", "doubtful")),
        (HANGING, [], ("winning", "better")),
        (HANGING, [0], ("winning", "better")),
        (HANGING, [9], ("winning", "no difference")),  # within a point also without that seed
        ([gap - 0.01 for gap in HANGING], [], ("winning", "worse")),
        ([gap - 0.01 for gap in HANGING], [9], ("doubtful", "worse")),
        ([gap - 0.01 for gap in HANGING], [77], ("winning", "worse")),  # of no common seed
    ],
)
def test_beside_a_warning_a_claim_is_shown_with_all_seeds_and_without_those(gaps, seeds, told):
    a = run({0: TEN, 1: [v + g for v, g in zip(TEN, gaps, strict=True)]})
    a.append(entry(77, 1, 0.8))
    b = run({0: TEN, 1: TEN}, "imp")
    found = R.compare_records(warn(a, 1, seeds), b)
    assert verdicts(found) == [told]
    without = R.compare_records(a, b)
    for side in ("to_dense", "to_other"):
        one, other = (getattr(each.rounds[0], side) for each in (found, without))
        assert one.p >= other.p  # what is told stays that of all seeds
        assert replace(one, p=0, verdict="") == replace(other, p=0, verdict="")


def test_a_warning_counts_in_either_of_the_rounds_that_are_compared():
    values = [v + g for v, g in zip(TEN, HANGING, strict=True)]
    a, b = run({0: TEN, 1: values}), run({0: TEN, 1: TEN}, "imp")
    assert verdicts(R.compare_records(a, b, margin=0.003)) == [("winning", "better")]
    beside = warn(b, 1, [9])
    assert verdicts(R.compare_records(a, beside, margin=0.003)) == [("winning", "doubtful")]
    dense = R.compare_records(warn(a, 0, range(10)), b, margin=0.003)
    assert verdicts(dense) == [("doubtful", "better")]
    steady = run({0: TEN, 1: [v + g for v, g in zip(TEN, STEADY, strict=True)]})
    of_both = R.compare_records(warn(steady, 1, range(4)), warn(b, 1, range(4, 8)))
    assert verdicts(of_both) == [("winning", "doubtful")]  # six seeds are left, and two
    for found, told in ((of_both, "round 1: seeds have"), (dense, "round 0: seeds have")):
        assert sum(line.startswith(told) for line in comparison_notes(found)) == 1
    assert not any("warnings" in line for line in comparison_notes(R.compare_records(a, b)))


def test_seeds_that_are_far_apart_are_a_warning_of_all():
    far = [*TEN[:9], 0.55]
    a, b = run({0: far, 1: far}), run({0: far, 1: [v - 0.03 for v in far]}, "imp")
    assert verdicts(R.compare_records(a, b)) == [("doubtful", "doubtful")]


def test_a_sequence_ends_at_a_round_that_is_doubtful():
    gaps = {1: STEADY, 2: [gap - 0.01 for gap in HANGING], 3: STEADY}
    rounds = {r: [v + g for v, g in zip(TEN, own, strict=True)] for r, own in gaps.items()}
    a = run({0: TEN} | rounds)
    for records, told in ((a, ["winning"] * 3), (warn(a, 2, [9]), ["winning", *["doubtful"] * 2])):
        found = R.gaps_to_dense(R.summary(records), margin=0.01)
        assert [gap.verdict for gap in found.values()] == told


def test_gaps_are_those_of_common_seeds_and_the_others_are_named():
    a = run({0: FIVE, 1: FIVE})
    b = [r for r in run({0: FIVE, 1: shifted(FIVE, -0.1)}, "imp") if r["seed"] != 3]
    b += [entry(9, n, 0.1, algorithm="imp") for n in (0, 1)]
    found = R.compare_records(a, b)
    assert found.seeds == (0, 1, 2, 4) and found.seeds_of_one == (3, 9)
    assert (found.rounds[0].to_dense.n, found.rounds[0].to_other.n) == (5, 4)
    assert found.seeds_of_a == (0, 1, 2, 3, 4)
    title = comparison_title(found)
    assert title.endswith(", seeds 0–4 against dense, seeds 0–2, 4 against imp")


def test_rounds_that_one_run_lacks_are_not_comparable():
    a = run({0: FIVE, 1: FIVE, 2: FIVE})
    found = R.compare_records(a, run({0: FIVE, 1: FIVE}, "imp"))
    assert [each.other for each in found.rounds] == [1, None]
    assert verdicts(found)[1] == ("winning", None)
    without = R.compare_records(run({1: FIVE}), run({0: FIVE, 1: FIVE}, "imp"))
    assert verdicts(without) == [(None, "no difference")] and without.same_dense is None


def sparse(records, **sparsities):
    """The same records, of round n with the n-th of the sparsities."""
    for record in records:
        record |= {n: values[record["round"]] for n, values in sparsities.items()}
    return records


def test_by_sparsity_rounds_are_within_half_a_point():
    flat = {0: FIVE, 1: FIVE, 2: FIVE, 3: FIVE}
    a = sparse(run(flat), edge_sparsity=(0, 0.1, 0.2, 0.3), weight_sparsity=(0, 0.2, 0.4, 0.6))
    b = sparse(run(flat, "imp"), edge_sparsity=(0, 0.195, 0.3, 0.105),
               weight_sparsity=(0, 0.405, 0.6051, 0.2))  # fmt: skip
    found = R.compare_records(a, b, by="sparsity")
    assert [each.other for each in found.rounds] == [3, 1, None]
    assert found.rounds[2].to_other is None and found.unequal == ()
    assert R.compare_records(a, b, by="round").unequal == (1, 2, 3)


def test_dense_networks_that_differ_are_told():
    a, b = run({0: FIVE, 1: FIVE}), run({0: FIVE, 1: FIVE}, "imp")
    assert R.compare_records(a, b).same_dense is True
    b[0]["test"] = 0.79
    assert R.compare_records(a, b).same_dense is False


def test_two_runs_of_one_algorithm_are_called_by_the_settings_in_which_they_differ():
    a = run({0: FIVE, 1: FIVE}, settings={"lr": 0.1})
    found = R.compare_records(a, run({0: FIVE, 1: FIVE}, settings={"lr": 0.2}))
    assert (found.a, found.b) == ("ugs (lr=0.1)", "ugs (lr=0.2)")


BASE = {0: [0.8] * 3, 1: [0.8] * 3}
UNLIKE = [  # fields of b                                      words of the error
    ({"task": "citeseer"}, "`b` must be of the task of `a`, cora, got citeseer: compare"),
    ({"metric": "roc_auc"}, r"of the metric of `a`, accuracy \(max\), got roc_auc \(max\)"),
    ({"data": "f" * 16}, f"of the data of `a`, digest {'e' * 16}, got {'f' * 16}: .*split"),
    ({"seed": 7}, "`b` must share seeds with `a`, 0,1,2, got 7: .* run b with --seeds 0,1,2"),
    ({"round": 5}, "`b` must have rounds of `a`, got none .*--by sparsity"),
]


@pytest.mark.parametrize(("fields", "words"), UNLIKE)
def test_runs_that_cannot_be_compared_are_refused_with_the_remedy(fields, words):
    a = run(BASE, data="e" * 16)
    b = [r | {"algorithm": "imp"} | fields for r in a]
    if "seed" in fields or "round" in fields:
        b = b[-1:]
    with pytest.raises(ValueError, match=words):
        R.compare_records(a, b)


def test_a_margin_is_of_the_metric():
    a, b = run(BASE), run(BASE, "imp")
    assert R.compare_records(a, b).margin == 0.01
    with pytest.raises(ValueError, match=r"fraction of accuracy, in \(0, 1\), got 1: one point is"):
        R.compare_records(a, b, margin=1)
    a, b = run(BASE, **LESS), run(BASE, "imp", **LESS)
    with pytest.raises(ValueError, match="`margin` must be stated for rmse, in its unit"):
        R.compare_records(a, b)
    assert R.compare_records(a, b, margin=2).margin == 2
    assert R.winning_rows(R.summary(a)) == []  # no margin, no test


# --- levels --------------------------------------------------------------------------------------


class Rounds:
    """Rows of a run whose values are drawn anew: what a summary would cost is spent once."""

    def __init__(self, rounds, seeds, *, ordered=True):
        self.shape = (rounds + 1, seeds)
        records = table({r: [0.8] * seeds for r in range(rounds + 1)})
        for record in records if not ordered else ():
            if record["round"]:
                record |= {"edge_sparsity": 0.5, "weight_sparsity": 0.5}
        self.rows = R.summary(records)

    def draw(self, rng, gaps, sd):
        """The rows of seeds whose gaps to dense have these means, and deviations `sd` in common."""
        dense = rng.normal(0.8, 0.02, self.shape[1])
        shared, own = rng.normal(0, sd / math.sqrt(2), (2, *self.shape))
        values = dense + np.array([0, *gaps])[:, None] + shared[:1] + own
        values[0] = dense
        return [
            replace(row, records=[r | {"test": float(v)} for r, v in zip(row.records, column,
                                                                         strict=True)])
            for row, column in zip(self.rows, values, strict=True)
        ]  # fmt: skip


MEANS = [  # the true gaps of the rounds in margins; rounds at or below -1 are not winning
    (-1,),
    (-1, -1, -1),
    (0, -1, -2, -3),
    (-0.5, -1, -1, -0.2),
]


def test_an_adjustment_collects_no_old_garbage_and_leaves_what_is_frozen(monkeypatch):
    frozen = []
    monkeypatch.setattr(gc, "collect", lambda: frozen.append(gc.get_freeze_count()))
    before = gc.get_freeze_count()
    assert G.adjust_p([0.01, 0.04], ordered=False) == pytest.approx([0.02, 0.04])
    assert frozen and min(frozen) > 1000 and gc.get_freeze_count() == before
    gc.freeze()
    G.adjust_p([0.01, 0.04], ordered=False)
    assert gc.get_freeze_count() > 1000
    gc.unfreeze()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("gaps", MEANS)
def test_winning_is_wrong_at_most_as_often_as_its_level(gaps, ordered):
    rounds, rng = Rounds(len(gaps), 5, ordered=ordered), np.random.default_rng(len(gaps))
    false = {number for number, gap in enumerate(gaps, start=1) if gap <= -1}
    wrong = 0
    for _ in range(DRAWS):
        rows = rounds.draw(rng, [0.01 * gap for gap in gaps], 0.008)
        wrong += bool(false & {row.round for row in R.winning_rows(rows, margin=0.01)})
    assert wrong / DRAWS <= HIGHEST
    assert wrong > 0 or not ordered  # else it would not be a test of anything


@pytest.mark.parametrize(("round", "marked"), [(0, []), (1, [2]), (2, [1])])
def test_beside_a_warning_of_its_own_or_of_dense_a_round_has_no_mark_of_the_papers_rule(
    round, marked
):
    rounds = {0: FIVE, 1: shifted(FIVE, 0.001), 2: shifted(FIVE, 0.002)}
    found = R.compare_records(warn(run(rounds), round, [3]), run(rounds, "imp"))
    assert [each.round for each in found.rounds if each.by_paper_rule] == marked


@pytest.mark.parametrize("warned", ["lowest", "highest"])
def test_winning_is_no_more_often_wrong_beside_warnings_of_the_worst_or_the_best(warned):
    """Which to leave out depends on the results: it alone would not keep the level."""
    rounds, rng = Rounds(1, 8), np.random.default_rng(8)
    wrong, wrong_without = 0, 0
    for _ in range(DRAWS):
        dense, row = rounds.draw(rng, [-0.01], 0.008)
        gaps = R.paired_differences([r | {"round": 1} for r in row.records],
                                    [r | {"round": 1} for r in dense.records], 1)  # fmt: skip
        order = np.argsort(gaps) if warned == "lowest" else np.argsort(gaps)[::-1]
        records = warn(row.records, 1, {*order[:2].tolist()})
        rows = [dense, replace(row, records=records)]
        wrong += bool(R.winning_rows(rows, margin=0.01))
        wrong_without += G.p_above([gaps[i] for i in order[2:]], -0.01) <= G.LEVEL
    assert wrong / DRAWS <= HIGHEST
    assert (wrong_without / DRAWS > 2 * HIGHEST) == (warned == "lowest")
    assert wrong > 0 or warned == "highest"  # else it would not be a test of anything


def test_better_is_wrong_at_most_as_often_as_its_level():
    """And so is a claim of no difference, of rounds that differ by the margin."""
    rounds, rng = Rounds(3, 5), np.random.default_rng(0)
    from graphlth.records.comparison import gaps_to_other

    wrong = dict.fromkeys(("better", "no difference"), 0)
    for claim, gap in (("better", 0), ("no difference", 0.01)):
        for _ in range(DRAWS // 2):
            rows = rounds.draw(rng, [gap] * 3, 0.004)
            dense = rows[0]
            found = gaps_to_other([(row, dense) for row in rows[1:]], margin=0.01)
            wrong[claim] += any(each.verdict == claim for each in found.values())
    highest = G.LEVEL + 2 * math.sqrt(G.LEVEL * (1 - G.LEVEL) / (DRAWS // 2))
    assert max(wrong.values()) / (DRAWS // 2) <= highest


def test_the_power_is_that_of_the_seeds_that_were_asked_for():
    sd, rng = 0.008, np.random.default_rng(1)
    seeds = glt.seeds_needed(0.01, sd)
    rounds = Rounds(1, seeds)
    shown = sum(
        bool(R.winning_rows(rounds.draw(rng, [0.0], sd), margin=0.01)) for _ in range(DRAWS)
    )
    assert shown / DRAWS >= POWER - 2 * math.sqrt(POWER * (1 - POWER) / DRAWS)


# --- power ---------------------------------------------------------------------------------------


def power_of(effect, n, level=0.05):
    """Of the one-sided one-sample t test, by the non-central t distribution."""
    return stats.nct.sf(stats.t.isf(level, n - 1), n - 1, effect * math.sqrt(n))


@pytest.mark.parametrize(
    ("margin", "sd", "how", "seeds"),
    [
        (0.5, 1, {}, 27),  # Cohen's d of 0.5: 26.1, as in tables of the paired one-sided test
        (0.01, 0.01, {}, 8),
        (0.01, 0.01, {"power": 0.95}, 13),
        (0.01, 0.01, {"gap": 0.005}, 5),
        (0.01, 0.01, {"rounds": 4}, 13),  # each with power 0.95, so that all have 0.8
        (0.01, 0.0, {}, 3),
        (0.01, 1e-9, {}, 3),
        (1e-3, 0.5, {}, 1_545_641),
    ],
)
def test_the_seeds_that_a_margin_needs(margin, sd, how, seeds):
    assert glt.seeds_needed(margin, sd, **how) == seeds
    wanted = 1 - (1 - how.get("power", 0.8)) / how.get("rounds", 1)
    if sd > 1e-3:
        effect = (margin + how.get("gap", 0)) / sd
        assert power_of(effect, seeds) >= wanted > power_of(effect, seeds - 1)


@pytest.mark.parametrize("seeds", [3, 5, 10, 30])
def test_the_largest_deviation_for_some_seeds_needs_just_them(seeds):
    sd = largest_sd(0.01, seeds)
    assert power_of(0.01 / sd, seeds) == pytest.approx(0.8, abs=1e-5)
    assert glt.seeds_needed(0.01, 0.999 * sd) == seeds
    assert largest_sd(0.01, 2) is None


@pytest.mark.parametrize(
    ("margin", "sd", "how", "words"),
    [
        (0, 1, {}, r"`margin` must be in \(0, inf\), got 0"),
        (1, -1, {}, r"`sd` must be in \[0, inf\), got -1"),
        (1, math.nan, {}, r"`sd` must be in \[0, inf\), got nan"),
        (1, 1, {"gap": -1}, "`gap` must be above -`margin` = -1, got -1"),
        (1, 1, {"power": 1}, r"`power` must be in \(0, 1\), got 1"),
        (1, 1, {"rounds": 0}, "`rounds` must be in"),
        (1e-9, 1, {}, "`sd` must be at most 1,000 times .*more seeds than can be run"),
    ],
)
def test_what_no_number_of_seeds_shows_is_refused(margin, sd, how, words):
    with pytest.raises(ValueError, match=words):
        glt.seeds_needed(margin, sd, **how)


# --- extreme sparsity ----------------------------------------------------------------------------


def folder_of(path, records):
    for seed in {r["seed"] for r in records}:
        written(path / f"seed{seed}.jsonl", *(r for r in records if r["seed"] == seed))
    return path


def test_the_extreme_sparsity_is_the_rule_its_distribution_and_what_is_shown(tmp_path):
    rounds = {0: FIVE, 1: shifted(FIVE, 0.002), 2: shifted(FIVE, -0.004),
              3: [v + e for v, e in zip(FIVE, (0.03, -0.02, 0.01, -0.01, -0.009), strict=True)],
              4: shifted(FIVE, -0.05)}  # fmt: skip
    found = glt.extreme_sparsity(folder_of(tmp_path / "run", run(rounds)))
    assert found.by_paper_rule.round == 3  # by its mean, of one seed that is lucky
    assert found.by_paper_rule.weight_sparsity == pytest.approx(1 - 0.8**3)
    assert found.shown.round == 2 and found.shown.edge_sparsity == pytest.approx(1 - 0.95**2)
    assert set(found.shares) <= {1, 3} and sum(found.shares.values()) == pytest.approx(1)
    assert [end.round for end in found.interval] == [1, 3]
    lucky = np.random.default_rng(5).choice([0.03, -0.02, 0.01, -0.01, -0.009], (20_000, 5))
    assert found.shares[3] == pytest.approx((lucky.mean(1) >= -1e-9).mean(), abs=0.02)
    with pytest.raises(FrozenInstanceError):
        found.margin = 0.5


def test_without_a_winning_round_the_extreme_sparsity_is_none_of_them(tmp_path):
    found = glt.extreme_sparsity(
        folder_of(tmp_path, run({0: FIVE, 1: shifted(FIVE, -0.05)})), margin=0.02
    )
    assert found.by_paper_rule.round == found.shown.round == 0
    assert found.shares == {0: 1.0} and found.by_paper_rule.edge_sparsity == 0


def test_under_three_whole_seeds_the_extreme_sparsity_is_the_rule_alone(tmp_path):
    records = [r for r in run({0: FIVE, 1: FIVE, 2: FIVE}) if r["seed"] < 2 or r["round"] < 2]
    found = glt.extreme_sparsity(folder_of(tmp_path, records))
    assert found.seeds == (0, 1) and found.by_paper_rule.round == 2
    assert found.shares is found.interval is found.shown is None


@pytest.mark.parametrize(
    ("rounds", "fields", "words"),
    [
        ({1: FIVE, 2: FIVE}, {}, "`run` must have a seed with round 0 .*got rounds 1, 2 of ugs"),
        ({0: FIVE}, {}, "`run` must have a seed with round 0 and rounds"),
        ({0: FIVE, 1: FIVE, 2: FIVE}, {"edge_sparsity": 0.2, "weight_sparsity": 0.5},
         "rounds that each remove more than the one before"),
    ],
)  # fmt: skip
def test_a_run_without_rising_sparsity_has_no_extreme_one(tmp_path, rounds, fields, words):
    with pytest.raises(ValueError, match=words):
        glt.extreme_sparsity(folder_of(tmp_path, run(rounds, **fields)))


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rounds = {0: FIVE, 1: shifted(FIVE, -0.002), 2: shifted(FIVE, -0.004)}
    folder_of(tmp_path / "a", run(rounds))
    folder_of(tmp_path / "b", run(rounds | {2: shifted(FIVE, -0.1)}, "random_tickets"))
    return tmp_path


def test_the_command_says_what_the_function_finds(folders, capsys):
    assert cli.main(["compare", "a", "b"]) == 0
    out = capsys.readouterr().out
    found = glt.compare("a", "b")
    assert found == glt.compare(str(folders / "a"), folders / "b", margin=0.01, by="round")
    assert (found.winning, found.better) == ((1, 2), (2,))
    title, rows = out.splitlines()[1], [line.split() for line in out.splitlines()]
    assert title == ("ugs against random_tickets on cora with gcn: test accuracy, margin 1 point, "
                     "seeds 0–4")  # fmt: skip
    cells = {row[0]: row for row in rows if row[:1] in (["1"], ["2"])}
    gap = found.rounds[1].to_dense
    low, high = (f"{100 * end:+.1f}" for end in gap.interval)
    assert cells["2"][:9] == ["2", "9.8%", "36.0%", "-0.4", f"({low}", "to", f"{high})",
                              f"{100 * gap.bound:+.1f}", "winning"]  # fmt: skip
    assert cells["1"][-2:] == ["no", "difference"] and cells["2"][-1] == "better"
    assert "winning: shown to be less than 1 point below dense" in out
    assert "no difference: shown to be less than 1 point apart" in out
    assert f"power 0.8: {glt.seeds_needed(0.01, gap.sd)} at the median" in out


def test_show_marks_what_is_winning_and_what_meets_the_rule_alone(folders, capsys):
    assert cli.main(["show", "a"]) == 0
    out = capsys.readouterr().out
    assert "* winning: shown to be less than 1 point below dense, of test accuracy" in out
    assert ("largest sparsity of a winning ticket: by the paper's rule no round; over resampled "
            "seeds, 95 % interval, no round; by the test within the margin round 2 (9.8% of the "
            "edges, 36.0% of the weights)\n") in out  # fmt: skip
    assert cli.main(["show", "a", "--margin", "0.001"]) == 0
    assert "winning: shown" not in capsys.readouterr().out


QUICK = ["run", "ugs", "--task=sbm", "--model=gcn", "--size=15", "--hidden=8", "--rounds=1",
         "--epochs=3"]  # fmt: skip


def test_a_run_with_a_margin_says_first_what_its_seeds_can_show(folders, capsys):
    assert cli.main([*QUICK, "--seeds=3", "--margin=0.02"]) == 0
    out, error = capsys.readouterr()
    sd = f"{largest_sd(0.02, 3):.4g}"
    assert error.splitlines()[0] == (
        "graphlth: `margin` 0.02: 3 seeds show a ticket as good as dense with power 0.8 if paired "
        f"gaps have a standard deviation of at most {sd} between seeds"
    )
    assert glt.seeds_needed(0.02, 0.99 * float(sd)) == 3
    assert cli.main([*QUICK, "--seeds=2", "--margin=0.02"]) == 0  # a margin is no part of a run
    again, error = capsys.readouterr()
    assert again.splitlines()[0] == out.splitlines()[0]
    assert "nothing is tested under 3 seeds, got 2" in error
    assert cli.main([*QUICK, "--out=none", "--margin=1"]) == 2  # before anything is run
    assert "one point is 0.01" in capsys.readouterr().err and not (folders / "none").exists()


REFUSED = [  # arguments                       words of the line
    (["a", "."], "`b` must be the folder of one run, got 2 runs in '.': name one"),
    (["a", "b", "--margin", "1"], "one point is 0.01"),
    (["a", "b", "--margin", "-0.1"], "`margin` must be in (0, inf), got -0.1"),
    (["a", "b", "--margin", "nan"], "`margin` must be in (0, inf), got nan"),
    (["a", "b", "--by", "epoch"], "`by`"),
    (["a", "c"], "no folder `c`"),
    (["a", "./a"], "`b` must be another run than `a`, got './a' for both"),
    ([], "`runs` must be two folders, A and B, got 0; "),
    (["a"], "`runs` must be two folders, A and B, got 1: a; "),
    (["a", "b", "c"], "`runs` must be two folders, A and B, got 3: a, b, c; compare two at a"),
]


@pytest.mark.parametrize(("argv", "words"), REFUSED)
def test_the_command_refuses_in_one_line(folders, capsys, argv, words):
    assert cli.main(["compare", *argv]) == 2
    out, error = capsys.readouterr()
    assert words in error and error.count("\n") == 1 and out == ""


def test_runs_on_several_splits_are_no_repetitions(folders):
    for split in (0, 1):
        records = run(BASE, settings={"split": split}, data=f"{split}" * 16)
        folder_of(folders / "both" / str(split), records)
    with pytest.raises(ValueError, match="got 2 runs in 'both' of several splits, which are"):
        glt.compare("both", "b")
