"""The tables of a suite's result."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import graphlth.records as record
from graphlth.records import Record
from graphlth.records.tables import warning_lines
from graphlth.reproduction.parts import Suite, published_values
from graphlth.reproduction.result import (
    Claim,
    Table,
    Value,
    mean_and_interval,
    median_and_range,
)
from graphlth.reproduction.rounds import Runs, find_difference
from graphlth.reproduction.scale import PERCENT, Scale, scale_of

OVER_SEEDS = (
    "Test {metric}{percent} at the epoch of best validation value of the retraining: mean ± "
    "half-width of the 95 % Student-t interval over {each}s, or the range of 2 {each}s; gaps are "
    "differences{points}, paired by {each}."
)
INSTABILITY = (
    "k: iterations that the ticket's weights have had. Instability: by how much the error on the "
    "line between two copies rises above the mean of the copies, beside the test {metric}."
)
FIRST_COLUMNS = "What is removed, and the MACs of one inference, are those of {name}."
IN_PERCENT = " All are in %; a ticket is stable below 2 points."
COST = (
    "Training MACs are those of search and retraining: a pass that trains counts three times a "
    "forward pass. Evaluation is not counted."
)
ROUNDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 20)


def metric_name(runs: Runs) -> str:
    """What the results of the runs are: "accuracy", "ROC-AUC" and so on."""
    return record.metric_title(record.metric_of(next(iter(runs.values()))[0]))


def scale_of_runs(runs: Runs) -> Scale:
    """How the values of their metric are told."""
    return scale_of(next(iter(runs.values()))[0])


def describe_values(runs: Runs) -> str:
    """How the numbers of the tables are to be read."""
    percent, points = (" in %", " in points") if scale_of_runs(runs) == PERCENT else ("", "")
    each = record.summary(next(iter(runs.values())))[0].repetition
    return OVER_SEEDS.format(metric=metric_name(runs), percent=percent, points=points, each=each)


def rows_by_round(runs: Runs) -> dict[str, dict[int, record.Row]]:
    """The rounds of every run, over its seeds."""
    return {name: {row.round: row for row in record.summary(rs)} for name, rs in runs.items()}


def shown_rounds(known: Iterable[int]) -> list[int]:
    """Those of `ROUNDS` that are known, and the last of all."""
    rounds = sorted(known)
    return [r for r in rounds if r in ROUNDS or r == rounds[-1]]


def test_value(row: record.Row, scale: Scale) -> Value:
    """The metric of a round on the test rows."""
    return mean_and_interval([r["test"] for r in row.records], scale.factor)


def round_table(runs: Runs, suite: Suite) -> Table:
    """The metric on the test rows by round, run by run, and what is published of the first."""
    rows, scale = rows_by_round(runs), scale_of_runs(runs)
    name, first = next(iter(rows.items()))
    published = {source: of[name] for source, of in published_values(suite).items() if name in of}
    keys = {"round": "d", "edges removed, %": ".1f", "weights removed, %": ".1f"}
    columns = {"MACs, M": ",.4g"} | dict.fromkeys((*rows, *published), scale.spec)
    text = FIRST_COLUMNS.format(name=name) if len(rows) > 1 else ""
    return Table("accuracy", keys, columns, [
        [r, 100 * first[r].edge_sparsity, 100 * first[r].weight_sparsity,
         macs_in_millions(first[r]),
         *[test_value(own[r], scale) if r in own else None for own in rows.values()],
         *[scale.factor * values[r] if r in values else None for values in published.values()]]
        for r in shown_rounds(first)
    ], text=text)  # fmt: skip


def macs_in_millions(row: record.Row) -> float | None:
    """Of one inference; None where they are not counted."""
    return None if row.macs is None else row.macs / 1e6


def gap_table(runs: Runs, suite: Suite) -> Table:
    """The differences of runs to dense and to one another, paired by seed.

    The suite's `pairs` name them; else they are the first run and each of the others.
    """
    sides, scale = compared_runs(runs, suite), scale_of_runs(runs)
    rounds = shown_rounds({r["round"] for a, _ in sides for r in runs[a]})
    columns = {f"{a} − {b or 'dense'}": scale.spec for a, b in sides}
    return Table("gaps", {"round": "d"}, columns, [
        [r, *[paired_gap(runs[a], runs[b] if b else dense_records(runs[a], r), r, scale)
              for a, b in sides]]
        for r in rounds if r
    ], "Gaps")  # fmt: skip


def compared_runs(runs: Runs, suite: Suite) -> list[tuple[str, str]]:
    """The pairs of runs that are compared, after each first of them with "": its dense network."""
    first, *others = runs
    pairs = [(a, b) for a, b in suite.get("pairs", [(first, name) for name in others])
             if a in runs and b in runs]  # fmt: skip
    names = dict.fromkeys(a for a, _ in pairs) or [first]
    return [(name, b) for name in names for b in ("", *(b for a, b in pairs if a == name))]


def dense_records(records: Sequence[Record], round: int) -> list[Record]:
    """The records of round 0, as if they were of another."""
    return [r | {"round": round} for r in records if r["round"] == 0]


def paired_gap(
    ours: Sequence[Record], theirs: Sequence[Record], round: int, scale: Scale
) -> Value | None:
    """The mean difference; None where they share no seed in such a round, or no task and data."""
    if find_difference(ours, theirs):
        return None
    seeds = ({r["seed"] for r in side if r["round"] == round} for side in (ours, theirs))
    if not set.intersection(*seeds):
        return None
    return mean_and_interval(record.paired_differences(ours, theirs, round), scale.factor)


def run_table(runs: Runs, suite: Suite) -> Table:
    """A line for every run: the metric in the rounds `columns`, and the gap to the first run.

    What is published follows. In small, without any of these rounds, it is the last round.
    """
    first, rows, scale = next(iter(runs)), rows_by_round(runs), scale_of_runs(runs)
    rounds = [r for r in suite["columns"] if r in rows[first]] or [max(rows[first])]
    left = {f"{100 - 100 * rows[first][r].weight_sparsity:.1f} % left": r for r in rounds}
    heads = [*left] if len(left) == len(rounds) else [f"round {r}" for r in rounds]
    published = published_values(suite)
    columns = [head for each in heads for head in (each, f"{each}, − {first}")]
    columns += [f"{source}: {head}" for source in published for head in heads]
    dense = [r for number in rounds for r in dense_records(runs[first], number)]
    table = [
        [name, *run_cells(records, runs[first], rounds, scale),
         *[scale.factor * values[r] if r in values else None
           for values in (of.get(name, {}) for of in published.values()) for r in rounds]]
        for name, records in ({"dense": dense} | dict(runs)).items()
    ]  # fmt: skip
    return Table("variants", {"run": ""}, dict.fromkeys(columns, scale.spec), table)


def run_cells(
    records: Sequence[Record], first: Sequence[Record], rounds: Sequence[int], scale: Scale
) -> list[Value | None]:
    """The metric of a run in each round, and the gap to the first run; None to itself."""
    cells: list[Value | None] = []
    for r in rounds:
        values = [each["test"] for each in records if each["round"] == r]
        cells.append(mean_and_interval(values, scale.factor) if values else None)
        cells.append(None if records is first else paired_gap(records, first, r, scale))
    return cells


def ticket_table(runs: Runs, suite: Suite) -> Table:
    """A line for the last round of every run: metric, when its ticket was drawn, and the cost.

    What is published of a run stands at its end.
    """
    scale, published = scale_of_runs(runs), suite.get("published", {})
    published = {} if isinstance(published, str) else published
    rows = [
        [name, *ticket_cells(records, max(r["round"] for r in records), scale),
         *[scale.factor * of[name] if name in of else None for of in published.values()]]
        for name, records in runs.items()
    ]  # fmt: skip
    columns = {"seeds": "d", scale.head("test"): scale.spec, "− dense": scale.spec,
               "drawn at epoch": ".0f", "training MACs, G": ",.4g",
               "MACs of an inference, M": ",.4g", "of dense": ".2f"}  # fmt: skip
    columns |= dict.fromkeys(published, scale.spec)
    return Table("tickets", {"run": ""}, columns, rows, "", COST)


def ticket_cells(
    records: Sequence[Record], last: int, scale: Scale
) -> list[Value | float | int | None]:
    """What is said of the last round of a run."""
    own, dense = ([r for r in records if r["round"] == n] for n in (last, 0))
    macs, whole = ([r["macs"] for r in side if r["macs"]] for side in (own, dense))
    drawn = [r["drawn_epoch"] for r in own if "drawn_epoch" in r]
    spent = [spent_macs(records, r["seed"], last) for r in own]
    return [
        len(own), mean_and_interval([r["test"] for r in own], scale.factor),
        paired_gap(records, dense_records(records, last), last, scale) if last else None,
        median_and_range(drawn) if drawn else None,
        mean_and_interval([macs for macs in spent if macs], 1e-9) if any(spent) else None,
        fmean(macs) / 1e6 if macs else None, fmean(macs) / fmean(whole) if macs and whole else None,
    ]  # fmt: skip


def spent_macs(records: Sequence[Record], seed: int, last: int) -> float | None:
    """MACs of search and retraining up to a round; None where a round is not recorded."""
    try:
        return record.total_cost([r for r in records if r["seed"] == seed], last)
    except ValueError:  # as of a run with `only`
        return None


def measure_table(runs: Runs, analyze: Mapping[str, Any]) -> Table:
    """What [analyze] measures, by run and round: its `fields`, or the table of instability.

    Raises:
        ValueError: a field is none of the records, or no number in them.
    """
    if analyze["measure"] == "instability":
        return instability_table(runs)
    fields, rows = analyze["fields"], []
    for field in fields:
        check_field(field, [r for records in runs.values() for r in records])
    for name, records in runs.items():
        for row in record.summary(records):
            values = [[r[f] for r in row.records if r.get(f) is not None] for f in fields]
            cells = [mean_and_interval(each, 1.0) if each else None for each in values]
            rows.append([name, row.round, 100 * row.edge_sparsity, 100 * row.weight_sparsity,
                         *cells])  # fmt: skip
    columns = {"edges removed, %": ".1f", "weights removed, %": ".1f"}
    columns |= {field.replace("_", " "): ".3f" for field in fields}
    measure = str(analyze["measure"]).replace("_", " ")
    return Table("measures", {"run": "", "round": "d"}, columns, rows, measure.capitalize())


def check_field(field: str, records: Sequence[Record], key: str = "fields") -> None:
    """Refuse a field, as `key` of a suite, that no record has, or that is no number in one."""
    found = [r[field] for r in records if field in r]
    if not found or not all(isinstance(value, int | float | None) for value in found):
        known = sorted(name for name, v in records[0].items() if isinstance(v, int | float))
        raise ValueError(f"`{key}` must be numbers that records of the measure have, "
                         f"{', '.join(known)}, got {field!r}")  # fmt: skip


def instability_table(runs: Runs) -> Table:
    """Instability by run and round, with the test metric of the same tickets beside it."""
    rows, scale = [], scale_of_runs(runs)
    for name, records in runs.items():
        for row in record.summary(records):
            rises, ends = ([r[n] for r in row.records] for n in ("instability", "end_error"))
            rows.append([
                name, row.records[0].get("first_iteration", 0), row.round,
                100 - 100 * row.edge_sparsity, 100 - 100 * row.weight_sparsity,
                mean_and_interval(rises, scale.factor), scale.factor * fmean(ends),
                test_value(row, scale),
            ])  # fmt: skip
    metric = metric_name(runs)
    forms = {"edges left, %": ".1f", "weights left, %": ".1f"} | dict.fromkeys(
        ("instability", "error of the copies", f"test {metric}"), scale.spec)  # fmt: skip
    text = INSTABILITY.format(metric=metric) + (IN_PERCENT if scale == PERCENT else "")
    return Table("instability", {"run": "", "k": "d", "round": "d"}, forms, rows, "Instability",
                 text)  # fmt: skip


def pair_warnings(runs: Runs, suite: Suite) -> list[str]:
    """Which pairs have no gaps in the tables, as their values are not of the same thing."""
    pairs = [(a, b) for a, b in compared_runs(runs, suite) if b]
    if "columns" in suite:
        first, *others = runs
        pairs = [(name, first) for name in others]
    found = {} if suite.get("tickets") else {
        f"{a} − {b}": find_difference(runs[a], runs[b]) for a, b in pairs
    }  # fmt: skip
    return [f"{pair}: no gaps, as the two runs are of different {what}"
            for pair, what in found.items() if what]  # fmt: skip


def run_warnings(runs: Runs) -> list[str]:
    """The warnings that stand in the records of every run, in the words of `graphlth show`."""
    return [
        f"{name}, {line}"
        for name, records in runs.items()
        for line in warning_lines(record.summary(records))
    ]


def band_claims(runs: Runs, suite: Suite, field: str = "test") -> list[Claim]:
    """A claim for every band that the suite expects of rounds that were run."""
    scale, claims = scale_of_runs(runs), []
    what = f"test {metric_name(runs)}" if field == "test" else field
    for name, bands in suite.get("expected" if field == "test" else field, {}).items():
        for r, (low, high) in bands.items():
            values = [each[field] for each in runs.get(name, []) if each["round"] == int(r)]
            if values:
                most = None if high == 1 and scale == PERCENT else scale.factor * high
                claims.append(Claim(
                    scale.head(f"{name}, round {r}: {what}"),
                    mean_and_interval(values, scale.factor), round(scale.factor * low, 4),
                    most and round(most, 4), f".{scale.decimals + 1}f",
                ))  # fmt: skip
    return claims
