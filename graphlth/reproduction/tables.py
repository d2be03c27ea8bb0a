"""The tables of a suite's result."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import graphlth.records as record
from graphlth.records import Record
from graphlth.records.tables import warning_lines
from graphlth.reproduction.claims import unit_of
from graphlth.reproduction.result import (
    Claim,
    Table,
    Value,
    mean_and_interval,
    median_and_range,
)
from graphlth.reproduction.suite import Suite

OVER_SEEDS = (
    "Test {metric}{percent} at the epoch of best validation value of the retraining: mean ± "
    "half-width of the 95 % Student-t interval over seeds, or the range of 2 seeds; gaps are "
    "differences{points}, paired by seed."
)
INSTABILITY = (
    "k: iterations that the ticket's weights have had. Instability: by how much the error on the "
    "line between two copies rises above the mean of the copies; a ticket is stable below 2 "
    "points. Both in %, as test {metric}."
)
COST = (
    "Training MACs are those of search and retraining: a pass that trains counts three times a "
    "forward pass. Evaluation is not counted."
)
ROUNDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 20)
Runs = Mapping[str, Sequence[Record]]


def metric_name(runs: Runs) -> str:
    """What the results of the runs are: "accuracy", "ROC-AUC" and so on."""
    return record.metric_title(record.metric_of(next(iter(runs.values()))[0]))


def unit(runs: Runs) -> float:
    """What their metric is multiplied by: 100, or 1 of an error."""
    return unit_of(next(iter(runs.values()))[0])


def describe_values(runs: Runs) -> str:
    """How the numbers of the tables are to be read."""
    percent, points = (" in %", " in points") if unit(runs) == 100 else ("", "")
    return OVER_SEEDS.format(metric=metric_name(runs), percent=percent, points=points)


def rows_by_round(runs: Runs) -> dict[str, dict[int, record.Row]]:
    """The rounds of every run, over its seeds."""
    return {name: {row.round: row for row in record.summary(rs)} for name, rs in runs.items()}


def shown_rounds(known: Iterable[int]) -> list[int]:
    """Those of `ROUNDS` that are known, and the last of all."""
    rounds = sorted(known)
    return [r for r in rounds if r in ROUNDS or r == rounds[-1]]


def test_value(row: record.Row, scale: float) -> Value:
    """The metric of a round on the test rows."""
    return mean_and_interval([r["test"] for r in row.records], scale)


def round_table(runs: Runs, suite: Suite) -> Table:
    """The metric on the test rows by round, run by run, and the published numbers."""
    rows, scale = rows_by_round(runs), unit(runs)
    first, published = next(iter(rows.values())), published_values(suite)
    keys = {"round": "d", "edges removed, %": ".1f", "weights removed, %": ".1f"}
    form = ".1f" if scale == 100 else ".3f"
    columns = {"MACs, M": ",.4g"} | dict.fromkeys((*rows, *published), form)
    return Table("accuracy", keys, columns, [
        [r, 100 * first[r].edge_sparsity, 100 * first[r].weight_sparsity,
         macs_in_millions(first[r]),
         *[test_value(own[r], scale) if r in own else None for own in rows.values()],
         *[scale * p[r] if r in p else None for p in published.values()]]
        for r in shown_rounds(first)
    ])  # fmt: skip


def macs_in_millions(row: record.Row) -> float | None:
    """Of one inference; None where they are not counted."""
    return None if row.macs is None else row.macs / 1e6


def published_values(suite: Suite) -> dict[str, dict[int, float]]:
    """What is published of the first run, round by round, by its source."""
    found = suite.get("published", {})
    if isinstance(found, str) or "columns" in suite or suite.get("tickets"):
        return {}
    return {source: {int(r): v for r, v in values.items()} for source, values in found.items()}


def gap_table(runs: Runs, suite: Suite) -> Table:
    """By how much runs are better than dense and than others, paired by seed.

    The suite's `pairs` name them; else they are the first run and each of the others.
    """
    first, *others = runs
    pairs = suite.get("pairs", [[first, name] for name in others])
    pairs = [[a, b] for a, b in pairs if a in runs and b in runs]
    sides = [(a, b) for one in dict.fromkeys([*(a for a, _ in pairs)] or [first])
             for a, b in [(one, "dense"), *([a, b] for a, b in pairs if a == one)]]  # fmt: skip
    known, scale = {r["round"] for a, _ in sides for r in runs[a]}, unit(runs)
    form = ".1f" if scale == 100 else ".3f"
    return Table("gaps", {"round": "d"}, {f"{a} − {b}": form for a, b in sides}, [
        [r, *[paired_gap(runs[a], runs.get(b) or dense_records(runs[a], r), r, scale)
              for a, b in sides]]
        for r in shown_rounds(known) if r
    ], "Gaps")  # fmt: skip


def dense_records(records: Sequence[Record], round: int) -> list[Record]:
    """The records of round 0, as if they were of another."""
    return [r | {"round": round} for r in records if r["round"] == 0]


def paired_gap(
    ours: Sequence[Record], theirs: Sequence[Record], round: int, scale: float
) -> Value | None:
    """The mean difference; None where one of them has no such round."""
    if not all(round in {r["round"] for r in side} for side in (ours, theirs)):
        return None
    return mean_and_interval(record.paired_differences(ours, theirs, round), scale)


def run_table(runs: Runs, suite: Suite) -> Table:
    """A line for every run: the test metric in the rounds `columns`, and the gap to the first run.

    The published numbers follow them.
    """
    ticket, *_ = runs
    rows, published, scale = rows_by_round(runs), suite.get("published", {}), unit(runs)
    published = {} if isinstance(published, str) else published
    left = {r: f"{100 - 100 * rows[ticket][r].weight_sparsity:.1f} % left"
            for r in suite["columns"]}  # fmt: skip
    heads = [text for weights in left.values() for text in (weights, f"{weights}, − {ticket}")]
    heads += [f"{source}: {weights}" for source in published for weights in left.values()]
    table = []
    for name, records in ({"dense": runs[ticket]} | dict(runs)).items():
        cells: list[Value | float | None] = []
        for r in left:
            own = rows[ticket][0] if name == "dense" else rows[name][r]
            other = dense_records(records, r) if name == "dense" else records
            gap = None if name == ticket else paired_gap(other, runs[ticket], r, scale)
            cells += [test_value(own, scale), gap]
        known = [values.get(name, {}) for values in published.values()]
        cells += [scale * v[str(r)] if str(r) in v else None for v in known for r in left]
        table.append([name, *cells])
    return Table("variants", {"run": ""}, dict.fromkeys(heads, ".1f"), table)


def ticket_table(runs: Runs, suite: Suite) -> Table:
    """A line for the last round of every run: accuracy, when its ticket was drawn, and the cost.

    What is published of it stands beside the accuracy.
    """
    rows, scale, published = [], unit(runs), suite.get("published", {})
    published = {} if isinstance(published, str) else published
    for name, records in runs.items():
        last = max(r["round"] for r in records)
        own, dense = ([r for r in records if r["round"] == n] for n in (last, 0))
        macs, whole = (fmean(r["macs"] or 0 for r in side) for side in (own, dense))
        drawn = [r["drawn_epoch"] for r in own if "drawn_epoch" in r]
        spent = [record.total_cost([r for r in records if r["seed"] == each["seed"]], last)
                 for each in own]  # fmt: skip
        rows.append([
            name, len(own), mean_and_interval([r["test"] for r in own], scale),
            *[scale * v[name] if name in v else None for v in published.values()],
            paired_gap(records, dense_records(records, last), last, scale) if last else None,
            median_and_range(drawn) if drawn else None,
            mean_and_interval(spent, 1e-9), macs / 1e6 or None, macs / whole if macs else None,
        ])  # fmt: skip
    columns = {"seeds": "d", "test, %" if scale == 100 else "test": ".1f",
               **dict.fromkeys(published, ".1f"), "− dense": ".1f",
               "drawn at epoch": ".0f", "training MACs, G": ",.4g",
               "MACs of an inference, M": ",.4g", "of dense": ".2f"}  # fmt: skip
    return Table("tickets", {"run": ""}, columns, rows, "", COST)


def measure_table(runs: Runs, analyze: Mapping[str, Any]) -> Table:
    """What [analyze] measures, by run and round: its `fields`, or the table of instability."""
    if analyze["measure"] == "instability":
        return instability_table(runs)
    fields, rows = analyze["fields"], []
    for name, records in runs.items():
        for row in record.summary(records):
            values = [[r[f] for r in row.records if r[f] is not None] for f in fields]
            rows.append([name, row.round, 100 * row.edge_sparsity, 100 * row.weight_sparsity,
                         *[mean_and_interval(v, 1.0) if v else None for v in values]])  # fmt: skip
    columns = {"edges removed, %": ".1f", "weights removed, %": ".1f"}
    columns |= {field.replace("_", " "): ".3f" for field in fields}
    measure = str(analyze["measure"]).replace("_", " ")
    return Table("measures", {"run": "", "round": "d"}, columns, rows, measure.capitalize())


def instability_table(runs: Runs) -> Table:
    """Instability by run and round, with the test metric of the same tickets beside it."""
    rows, scale = [], unit(runs)
    for name, records in runs.items():
        for row in record.summary(records):
            rises, ends = ([r[n] for r in row.records] for n in ("instability", "end_error"))
            rows.append([
                name, row.records[0].get("first_iteration", 0), row.round,
                100 - 100 * row.edge_sparsity, 100 - 100 * row.weight_sparsity,
                mean_and_interval(rises), 100 * fmean(ends), test_value(row, scale),
            ])  # fmt: skip
    metric = metric_name(runs)
    columns = ("edges left, %", "weights left, %", "instability", "error of the copies",
               f"test {metric}")  # fmt: skip
    return Table("instability", {"run": "", "k": "d", "round": "d"}, dict.fromkeys(columns, ".1f"),
                 rows, "Instability", INSTABILITY.format(metric=metric))  # fmt: skip


def run_warnings(runs: Runs) -> list[str]:
    """The warnings that stand in the records of every run, in the words of `graphlth show`."""
    return [
        f"{name}, {line}"
        for name, records in runs.items()
        for line in warning_lines(record.summary(records))
    ]


def band_claims(runs: Runs, suite: Suite, field: str = "test") -> list[Claim]:
    """A claim for every band that the suite expects of rounds that were run."""
    claims, scale = [], 100.0 if field == "instability" else unit(runs)
    for name, bands in suite.get("expected" if field == "test" else field, {}).items():
        rows: dict[int, Any] = {row.round: row for row in record.summary(runs.get(name, []))}
        for r, (low, high) in bands.items():
            if int(r) not in rows:
                continue
            value = mean_and_interval([known[field] for known in rows[int(r)].records], scale)
            what = f"test {metric_name(runs)}" if field == "test" else field
            text = f"{name}, round {r}: {what}{', %' if scale == 100 else ''}"
            most = None if high == 1 and scale == 100 else round(scale * high, 4)
            claims.append(Claim(text, value, round(scale * low, 4), most, ".2f"))
    return claims
