"""The largest sparsity of a winning ticket, as an estimate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphlth.records.comparison import Split, read_run
from graphlth.records.gaps import LEVEL, WINNING, check_margin, paired_gaps
from graphlth.records.statistics import MIN_SEEDS, Row, summary
from graphlth.records.winning import ROUNDING, are_ordered, gaps_to_dense
from graphlth.settings.types import Positive
from graphlth.settings.validation import validate_settings

RESAMPLES = 10_000


@dataclass(frozen=True)
class TicketSparsity:
    """What a ticket removes; of round 0, dense, nothing."""

    round: int
    edge_sparsity: float
    weight_sparsity: float


@dataclass(frozen=True)
class ExtremeSparsity:
    """The largest sparsity of a winning ticket of one run, by the paper's rule and by the test."""

    by_paper_rule: TicketSparsity  # the last round whose mean is at least dense; round 0 for none
    shares: Mapping[int, float] | None  # round: how often the rule gives it over resampled seeds
    interval: tuple[TicketSparsity, TicketSparsity] | None  # 95 % of them; None under 3 seeds
    shown: TicketSparsity | None  # the last winning round; None under 3 seeds
    margin: float
    seeds: tuple[int, ...]  # those that have every round


@validate_settings
def extreme_sparsity(
    run: str | Path, *, margin: Positive | None = None, metric: Split = "test"
) -> ExtremeSparsity:
    """The largest sparsity of a winning ticket of a run: the published rule, and what is shown.

    The rule takes the last round whose mean is at least that of round 0. Its value moves with the
    seeds: `shares` is its bootstrap distribution over them (percentiles, 10,000 resamples; Efron &
    Tibshirani, An Introduction to the Bootstrap, 1993). `shown` is the last round that `compare`
    calls winning: up to it, all one-sided 95 % lower bounds lie above minus the margin.

    Args:
        run: the folder of a run in which each round removes more than the one before.
        margin: what is no worse, in the unit of the metric: by default 0.01 of accuracy.
        metric: which values: those of "test" or of "val" data.

    Raises:
        ValueError: the folder holds several runs, the rounds have no such order, no seed has all
            of them and round 0, or the margin is out of range or missing.
        FileNotFoundError: the folder is missing or holds no record.
    """
    rows = summary(read_run("run", run))
    if not can_be_extreme(rows):
        raise ValueError("`run` must have a seed with round 0 and rounds that each remove more "
                         f"than the one before, got rounds {', '.join(str(r.round) for r in rows)} "
                         f"of {rows[0].algorithm}: take a run that prunes round by round, to its "
                         "end")  # fmt: skip
    return extreme_of_rows(rows, check_margin(margin, rows[0].metric), metric)


def can_be_extreme(rows: Sequence[Row]) -> bool:
    """Whether a run has a round 0, rounds that each remove more, and a seed with all of them."""
    rises = not rows[0].round and len(rows) > 1 and are_ordered(rows[1:])
    return rises and bool(_whole_seeds(rows))


def _whole_seeds(rows: Sequence[Row]) -> list[int]:
    return sorted(set.intersection(*({r["seed"] for r in row.records} for row in rows)))


def extreme_of_rows(rows: Sequence[Row], margin: float, metric: str = "test") -> ExtremeSparsity:
    """`extreme_sparsity` of the summary of one run that has the rounds it needs."""
    seeds = _whole_seeds(rows)
    dense, *tickets = ([r for r in row.records if r["seed"] in seeds] for row in rows)
    gaps = [[*paired_gaps(records, dense, metric=metric).values()] for records in tickets]
    places = [TicketSparsity(row.round, row.edge_sparsity, row.weight_sparsity) for row in rows]
    shares = interval = shown = None
    if len(seeds) >= MIN_SEEDS:
        index = _resample(gaps)
        low, high = _percentiles(index)
        shares = {places[i].round: float((index == i).mean()) for i in sorted({*index.tolist()})}
        interval = places[low], places[high]
        shown = _last_winning(rows, places, margin, metric)
    return ExtremeSparsity(places[int(_last_round(*gaps))], shares, interval, shown, margin,
                           tuple(seeds))  # fmt: skip


def _last_winning(
    rows: Sequence[Row], places: Sequence[TicketSparsity], margin: float, metric: str
) -> TicketSparsity:
    gaps = gaps_to_dense(rows, margin=margin, metric=metric)
    winning = [p for p in places if p.round in gaps and gaps[p.round].verdict == WINNING]
    return max(winning, key=lambda place: place.round, default=places[0])


def _last_round(*gaps: Any, axis: int = -1) -> Any:
    """The place, from 1, of the last round whose mean gap is at least 0; 0 where there is none."""
    import numpy as np

    won = np.stack([np.mean(values, axis=axis) >= -ROUNDING for values in gaps])
    last = np.where(won.any(0), len(gaps) - won[::-1].argmax(0), 0)
    return last.astype(float)  # as `bootstrap` wants it


def _resample(gaps: Sequence[Sequence[float]]) -> Any:
    """The places that the paper's rule gives for resampled seeds [RESAMPLES]."""
    from scipy.stats import bootstrap

    found = bootstrap(
        gaps, _last_round, paired=True, vectorized=True, n_resamples=RESAMPLES,
        method="percentile", rng=0,
    )  # fmt: skip
    return found.bootstrap_distribution.astype(int)


def _percentiles(index: Any) -> tuple[int, int]:
    import numpy as np

    ends = np.quantile(index, (LEVEL / 2, 1 - LEVEL / 2), method="inverted_cdf")
    return int(ends[0]), int(ends[1])
