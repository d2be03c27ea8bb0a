"""Winning tickets: those shown to be no worse than dense, and those of the paper's rule."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from graphlth.records.gaps import (
    WINNING,
    Gap,
    adjust_p_values,
    check_margin,
    default_margin,
    find_verdict,
    make_gap,
    p_above,
    p_values,
    paired_gaps,
)
from graphlth.records.statistics import Row, check_metric, row_warnings, run_of, warned_seeds

ROUNDING = 1e-9  # of sparsities and means


def are_ordered(rows: Sequence[Row]) -> bool:
    """Whether each round removes more than the one before, and no part of it less."""
    steps = [(b.edge_sparsity - a.edge_sparsity, b.weight_sparsity - a.weight_sparsity)
             for a, b in pairwise(rows)]  # fmt: skip
    return all(min(step) >= -ROUNDING and max(step) > ROUNDING for step in steps)


def gaps_to_dense(rows: Sequence[Row], *, margin: float, metric: str = "test") -> dict[int, Gap]:
    """By how much each round of one run is better than its round 0; none without a round 0.

    A round is "winning" where H₀, that its mean lies below that of round 0 by `margin` or more, is
    rejected: in a fixed sequence from round 1 on where each round removes more than the one before,
    else by Holm's method. It is "doubtful" where all seeds reject H₀ so, but not those alone that
    have no warning, of the round or of round 0.

    Args:
        rows: the summary of one run.
        margin: in the unit of the metric.
        metric: "test" or "val".
    """
    dense = next((row for row in rows if row.round == 0), None)
    if dense is None:
        return {}
    tickets = [row for row in rows if row.round]
    gaps = [paired_gaps(row.records, dense.records, metric=metric) for row in tickets]
    alone = [p_values(p_above, values, -margin, warned_seeds(row, dense))
             for row, values in zip(tickets, gaps, strict=True)]  # fmt: skip
    adjusted = adjust_p_values(alone, ordered=are_ordered(tickets))
    return {
        row.round: make_gap(values, len(tickets), p.larger, find_verdict({WINNING: p}))
        for row, values, p in zip(tickets, gaps, adjusted, strict=True)
    }


def winning_rows(
    rows: Iterable[Row], *, margin: float | None = None, metric: str = "test"
) -> list[Row]:
    """The rounds that `gaps_to_dense` calls winning, of every run.

    Without a margin it is one point of accuracy; rounds of another metric are none then. Those of
    a run over several splits are none: splits share nodes, and are no independent repetitions.

    Raises:
        ValueError: the margin is one of accuracy and not in (0, 1), or of several metrics.
    """
    rows, found = list(rows), []
    if margin is not None and len(metrics := sorted({row.metric for row in rows})) > 1:
        raise ValueError(f"`margin` must be of one metric, got runs of {' and '.join(metrics)}: "
                         "take those of one")  # fmt: skip
    for _, group in groupby(rows, run_of):
        run = list(group)
        has_margin = margin is not None or default_margin(run[0].metric) is not None
        if not has_margin or run[0].repetition == "split":
            continue
        stated = check_margin(margin, run[0].metric)
        gaps = gaps_to_dense(run, margin=stated, metric=metric)
        found += [row for row in run if row.round in gaps and gaps[row.round].verdict == WINNING]
    return found


def rows_by_paper_rule(rows: Iterable[Row], *, metric: str = "test") -> list[Row]:
    """The rounds whose mean over seeds is at least as good as in round 0 of the same run.

    It is the rule of UGS (Chen et al., ICML 2021, arXiv:2102.06790), of means without a test.
    """
    check_metric(metric)
    rows = list(rows)
    dense = {run_of(row): getattr(row, metric) for row in rows if row.round == 0}
    return [
        row
        for row in rows
        if row.round > 0 and run_of(row) in dense
        and row.sign * (getattr(row, metric) - dense[run_of(row)]) >= -ROUNDING
    ]  # fmt: skip


@dataclass(frozen=True)
class Marks:
    """Which rounds of some runs are marked in tables and figures."""

    winning: Sequence[Row]  # by the test
    by_rule_alone: Sequence[Row]  # those by the paper's rule, not winning and beside no warning
    beside_warning: Sequence[Row]  # those by either, beside a warning: marked where winning


def mark_rows(rows: Iterable[Row], *, margin: float | None = None, metric: str = "test") -> Marks:
    """The winning rounds of some runs, and those that the paper's rule alone calls so.

    Raises:
        ValueError: as `winning_rows`.
    """
    rows = list(rows)
    won = winning_rows(rows, margin=margin, metric=metric)
    by_rule = rows_by_paper_rule(rows, metric=metric)
    called = [row for row in rows if row in won or row in by_rule]
    unwarned = rows_without_warnings(called, rows)
    return Marks(won, [row for row in unwarned if row not in won],
                 [row for row in called if row not in unwarned])  # fmt: skip


def rows_without_warnings(chosen: Iterable[Row], rows: Iterable[Row]) -> list[Row]:
    """Those `chosen` among `rows` that have no warning of their own, nor one of their round 0."""
    doubtful = {run_of(row) for row in rows if row.round == 0 and row_warnings(row)}
    return [row for row in chosen if run_of(row) not in doubtful and not row_warnings(row)]
