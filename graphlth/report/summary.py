"""What the runs of a section come to: sentences with verdicts, and each run beside a random one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphlth.records.comparison import Comparison, compare_records
from graphlth.records.comparison_tables import (
    comparison_notes,
    comparison_table,
    comparison_title,
)
from graphlth.records.gaps import (
    DOUBTFUL,
    WINNING,
    Gap,
    check_margin,
    default_margin,
    format_margin,
)
from graphlth.records.statistics import MIN_SEEDS, Row, format_metric
from graphlth.records.tables import extreme_line, format_numbers
from graphlth.records.winning import gaps_to_dense
from graphlth.report.runs import Run

CONTROL = "random_tickets"  # the algorithm that searched tickets must be better than


@dataclass(frozen=True)
class ComparedRuns:
    """A run beside its control: as `graphlth compare` tells it."""

    title: str
    head: Sequence[str]
    table: Sequence[Sequence[str]]
    notes: Sequence[str]


@dataclass(frozen=True)
class RunSummary:
    """Sentences on a run."""

    name: str
    verdicts: Sequence[str]
    facts: Sequence[str]


@dataclass(frozen=True)
class Summary:
    """Sentences on each run, and the comparisons that they rest on."""

    runs: Sequence[RunSummary]
    comparisons: Sequence[ComparedRuns]


def summarise(runs: Sequence[Run], margin: float | None) -> Summary:
    """The summary of the runs of one section; the margin is what is no worse than dense."""
    found = {run.name: _compare_with_control(run, runs, margin) for run in runs}
    told = [
        RunSummary(
            run.name,
            [*dense_verdict(run, margin), *_control_verdict(run, found[run.name])],
            run_facts(run, margin),
        )
        for run in runs
    ]
    tables = [
        ComparedRuns(comparison_title(each), *comparison_table(each), comparison_notes(each))
        for each in found.values()
        if each is not None
    ]
    return Summary(told, tables)


# --- against dense -------------------------------------------------------------------------------


def dense_verdict(run: Run, margin: float | None) -> Iterator[str]:
    """Which tickets of a run are shown to be no worse than dense, or why none is."""
    tickets = [row for row in run.series if row.round]
    metric = run.series[0].metric
    if not tickets or run.series[0].round:
        yield "No verdict: it takes round 0, dense, and a ticket."
    elif margin is None and default_margin(metric) is None:
        yield f"No verdict: no margin in the unit of {metric} is stated (--margin)."
    elif max(row.n for row in tickets) < MIN_SEEDS:
        yield f"No verdict: under {MIN_SEEDS} seeds nothing is tested."
    else:
        stated = check_margin(margin, metric)
        yield _winning_sentence(tickets, gaps_to_dense(run.series, margin=stated), stated)


def _winning_sentence(tickets: Sequence[Row], gaps: Mapping[int, Gap], margin: float) -> str:
    allowed = format_margin(margin, tickets[0].metric)
    won, doubtful = (
        [row for row in tickets if gaps[row.round].verdict == verdict]
        for verdict in (WINNING, DOUBTFUL)
    )
    if won:
        numbers = format_numbers("round", [row.round for row in won])
        return (f"Winning, shown to be less than {allowed} below dense: {numbers}, the last with "
                f"{removed_text(won[-1])} and test {value_text(won[-1])}.")  # fmt: skip
    if doubtful:
        numbers = format_numbers("round", [row.round for row in doubtful])
        return (f"Doubtful, shown to be less than {allowed} below dense, but not without the seeds "
                f"that have a warning: {numbers}.")  # fmt: skip
    return f"No round is shown to be less than {allowed} below dense."


def run_facts(run: Run, margin: float | None) -> list[str]:
    """What is measured of a run: dense, its last round, and how far winning tickets reach."""
    facts = [
        f"{'Dense' if not row.round else f'Round {row.round}, {removed_text(row)}'}: "
        f"test {value_text(row)}."
        for row in dict.fromkeys((run.series[0], run.series[-1]))
    ]
    return facts + [f"{line[0].upper()}{line[1:]}." for line in extreme_line(run.series, margin)]


def value_text(row: Row) -> str:
    """The metric of a round with its interval."""
    unit = " %" if row.metric == "accuracy" else ""
    values = [record["test"] for record in row.records]
    return f"{row.metric.replace('_', ' ')} {format_metric(values, row.metric)}{unit}"


def removed_text(row: Row) -> str:
    """What a round removes."""
    weights = f"{100 * row.weight_sparsity:.1f} % of the weights"
    edges = f"{100 * row.edge_sparsity:.1f} % of the edges and " if row.edge_sparsity else ""
    return f"{edges}{weights} removed"


# --- against random tickets ----------------------------------------------------------------------


def _compare_with_control(run: Run, runs: Sequence[Run], margin: float | None) -> Comparison | None:
    """The run beside that of random tickets whose settings are most like its own, if any is."""
    if run.series[0].algorithm == CONTROL:
        return None
    controls = [other for other in runs if other.series[0].algorithm == CONTROL]
    for other in sorted(controls, key=lambda other: _differing_settings(run, other)):
        sides = [[r for row in each.series for r in row.records] for each in (run, other)]
        try:
            return compare_records(*sides, margin=margin, by="sparsity")
        except ValueError:  # of other data, or without a common seed or round
            continue
    return None


def _differing_settings(run: Run, other: Run) -> int:
    names = run.settings.keys() & other.settings.keys()
    return sum(run.settings[name] != other.settings[name] for name in names)


def _control_verdict(run: Run, found: Comparison | None) -> Iterator[str]:
    if run.series[0].algorithm == CONTROL:
        return
    if found is None:
        yield "Not compared with random tickets: there are none of the same data, seeds and rounds."
    elif not any(each.to_other for each in found.rounds):
        yield "Not compared with random tickets: none removes as much, to half a point."
    elif found.better:
        yield f"Better than random tickets: {format_numbers('round', found.better)}."
    elif len(found.seeds) < MIN_SEEDS:
        yield f"Against random tickets no verdict: under {MIN_SEEDS} common seeds none is tested."
    else:
        yield "In no round shown to be better than random tickets."
