"""Paired gaps over seeds, and the tests of what they show.

A test is of one round: one-sided, of Student's t over the gaps of its seeds. Over several rounds
its p-values are adjusted, so that with probability 95 % no claim of one kind is wrong in any round:

- where rounds have an order that was fixed before, by a fixed sequence: each is tested at the full
  level, and the first that fails ends it (Maurer, Hothorn & Lehmacher, 1995);
- elsewhere by Holm's method (Scandinavian Journal of Statistics 6, 1979).

Beside a warning a claim is shown only if its test shows it with all seeds, and also without the
seeds that have a warning in one of the rounds that are compared: its p-value is the larger one of
the two. As it is at least that of all seeds, claims are no more often wrong.

The intervals of several rounds are simultaneous by Bonferroni's inequality (Dunn, JASA 56, 1961),
which holds whatever the gaps of different rounds have to do with one another.
"""

import gc
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, NamedTuple

from graphlth.records.schema import ACCURACY, Record
from graphlth.records.statistics import MIN_SEEDS, check_metric, records_by_seed

LEVEL = 0.05  # at most the probability of a wrong claim
MARGIN = 0.01  # of accuracy where none is stated: one point
DIGITS = 12  # of a gap, beside the values that it is of: what is below is rounding

NOT_SHOWN, FEW, DOUBTFUL = "not shown", "too few seeds", "doubtful"  # verdicts that claim nothing
WINNING, BETTER, WORSE, EQUAL = "winning", "better", "worse", "no difference"


@dataclass(frozen=True)
class Gap:
    """By how much a round is better than another, in the unit of the metric, over common seeds."""

    mean: float  # above 0: better, also of a metric of which less is better
    interval: tuple[float, float] | None  # simultaneous over the rounds, 95 %; None under 3 seeds
    bound: float | None  # lower, one-sided, 95 %, of this round alone
    sd: float | None  # between seeds
    n: int  # common seeds
    p: float  # of the test for "winning" or "better", adjusted: `PValues.larger`
    verdict: str


class PValues(NamedTuple):
    """The p-values of one test beside warnings; without a warning they are equal."""

    all_seeds: float
    larger: float  # of that and the one of the seeds that have no warning


# --- gaps ----------------------------------------------------------------------------------------


def paired_gaps(
    ours: Iterable[Record], theirs: Iterable[Record], *, metric: str = "test"
) -> dict[int, float]:
    """By how much one round of a run is better than one of another, by common seed, rising.

    Args:
        ours: records of one round of a run.
        theirs: records of one round of it or of another.
        metric: "test" or "val".
    """
    check_metric(metric)
    a, b = records_by_seed(ours), records_by_seed(theirs)
    return {seed: _gap(a[seed], b[seed], metric) for seed in a if seed in b}


def _gap(a: Record, b: Record, metric: str) -> float:
    """The first minus the second where more is better, else reversed; rounding is left out."""
    largest = max(abs(a[metric]), abs(b[metric]))
    digits = DIGITS - math.ceil(math.log10(largest)) if largest else DIGITS
    sign = 1 if a.get("direction", "max") == "max" else -1
    return round(sign * (a[metric] - b[metric]), digits)


def make_gap(by_seed: Mapping[int, float], rounds: int, p: float, verdict: str) -> Gap:
    """What is known of the gaps of a round, of which as many as `rounds` are told together."""
    gaps = [*by_seed.values()]
    enough = len(gaps) >= MIN_SEEDS
    return Gap(
        mean=fmean(gaps) if gaps else math.nan,
        interval=simultaneous_interval(gaps, rounds) if enough else None,
        bound=lower_bound(gaps) if enough else None,
        sd=stdev(gaps) if enough else None,
        n=len(gaps),
        p=p,
        verdict=verdict if enough else FEW,
    )


# --- tests ---------------------------------------------------------------------------------------


def _statistics(gaps: Sequence[float]) -> Any:
    import numpy as np
    from statsmodels.stats.weightstats import DescrStatsW  # loads slowly

    return DescrStatsW(np.asarray(gaps, dtype=float))


def _is_constant(gaps: Sequence[float]) -> bool:
    return len({*gaps}) == 1


def p_above(gaps: Sequence[float], bound: float) -> float:
    """The p-value of H₀: the mean gap is at most `bound`; 1 under 3 seeds.

    Of gaps that are all equal it is 0 or 1, the limit of those that hardly vary.
    """
    if len(gaps) < MIN_SEEDS:
        return 1.0
    if _is_constant(gaps):
        return 0.0 if gaps[0] > bound else 1.0
    return float(_statistics(gaps).ttest_mean(bound, alternative="larger")[1])


def p_below(gaps: Sequence[float], bound: float) -> float:
    """The p-value of H₀: the mean gap is at least `bound`; as `p_above`."""
    return p_above([-gap for gap in gaps], -bound)


def p_within(gaps: Sequence[float], margin: float) -> float:
    """The p-value of H₀: the mean gap is at least `margin` to one side; 1 under 3 seeds.

    Two one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987).
    """
    if len(gaps) < MIN_SEEDS:
        return 1.0
    if _is_constant(gaps):
        return 0.0 if abs(gaps[0]) < margin else 1.0
    return float(_statistics(gaps).ttost_mean(-margin, margin)[0])


def p_values(
    test: Callable[[Sequence[float], float], float],
    gaps: Mapping[int, float],
    bound: float,
    warned: Collection[int],
) -> PValues:
    """The p-value of a test over all seeds, and the larger one of it and that without some seeds.

    Args:
        test: `p_above`, `p_below` or `p_within`.
        gaps: by seed.
        bound: that of the test.
        warned: the seeds that have a warning.
    """
    p = test([*gaps.values()], bound)
    others = [gap for seed, gap in gaps.items() if seed not in warned]
    return PValues(p, max(p, test(others, bound)) if len(others) < len(gaps) else p)


def adjust_p(p_values: Sequence[float], *, ordered: bool) -> list[float]:
    """The p-values of several rounds, of which the n-th is at most `LEVEL` if its claim holds.

    Args:
        p_values: those of each round alone.
        ordered: whether the order of the rounds was fixed before: then a fixed sequence is tested,
            else Holm's method is used.
    """
    if not p_values:
        return []
    if ordered:
        import numpy as np

        return list(map(float, np.maximum.accumulate(p_values)))
    from statsmodels.stats.multitest import multipletests

    with without_collection():
        return list(map(float, multipletests(p_values, LEVEL, method="holm")[1]))


@contextmanager
def without_collection() -> Iterator[None]:
    """Inside, a garbage collection has nothing old to look at; `multipletests` asks for one.

    It takes a tenth of a second with torch loaded. What a program has frozen itself stays frozen.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def adjust_p_values(found: Sequence[PValues], *, ordered: bool) -> list[PValues]:
    """The p-values of several rounds, those of all seeds and the larger ones by `adjust_p` each."""
    sides = (adjust_p([p[i] for p in found], ordered=ordered) for i in range(2))
    return [PValues(*each) for each in zip(*sides, strict=True)]


def find_verdict(claims: Mapping[str, PValues]) -> str:
    """The first claim that is shown; "doubtful" where one is shown by all seeds alone."""
    for claim, p in claims.items():
        if p.larger <= LEVEL:
            return claim
    return DOUBTFUL if any(p.all_seeds <= LEVEL for p in claims.values()) else NOT_SHOWN


# --- intervals -----------------------------------------------------------------------------------


def lower_bound(gaps: Sequence[float]) -> float:
    """The one-sided 95 % lower confidence bound of the mean gap."""
    if _is_constant(gaps):
        return gaps[0]
    return float(_statistics(gaps).tconfint_mean(LEVEL, alternative="larger")[0])


def simultaneous_interval(gaps: Sequence[float], rounds: int) -> tuple[float, float]:
    """The interval of a mean gap that, with those of all `rounds`, holds at 95 %."""
    if _is_constant(gaps):
        return gaps[0], gaps[0]
    low, high = _statistics(gaps).tconfint_mean(LEVEL / rounds)
    return float(low), float(high)


# --- margins -------------------------------------------------------------------------------------


def format_margin(margin: float, metric: str) -> str:
    """A margin with its unit: `1 point` of accuracy, `0.02` of another metric."""
    if metric != ACCURACY:
        return f"{margin:.4g}"
    points = f"{100 * margin:.4g}"
    return f"{points} point{'' if points == '1' else 's'}"


def default_margin(metric: str) -> float | None:
    """One point of accuracy; None of another metric, which has a unit of its own."""
    return MARGIN if metric == ACCURACY else None


def check_margin(margin: float | None, metric: str) -> float:
    """The margin for `metric`, by default one point of accuracy.

    Raises:
        ValueError: none is stated for a metric that is no accuracy, or it is no part of one.
    """
    found = default_margin(metric) if margin is None else margin
    if found is None:
        raise ValueError(f"`margin` must be stated for {metric}, in its unit: how much worse than "
                         "dense is still no worse, such as --margin 0.01")  # fmt: skip
    if metric == ACCURACY and found >= 1:
        raise ValueError(f"`margin` must be a fraction of accuracy, in (0, 1), got {found:g}: one "
                         "point is 0.01")  # fmt: skip
    return found
