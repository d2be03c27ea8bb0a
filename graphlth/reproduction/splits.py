"""Suites of several splits: a split stands in the place of a seed, with the mean over its seeds.

Splits of one graph share nodes, and are no independent repetitions, so that claims are not tested
over them.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from graphlth.records import Record, summary
from graphlth.records.statistics import EACH_SPLIT
from graphlth.reproduction.result import Table, Value
from graphlth.reproduction.rounds import Runs, is_number
from graphlth.reproduction.scale import Scale
from graphlth.reproduction.tables import scale_of_runs, shown_rounds

OF_SEEDS = "test_of_seeds"  # of a mean record: the test value of every seed
TEXT = (
    "Standard deviations of the test value: of the means of the splits, and of the seeds of one "
    "split, pooled over the splits."
)


def records_of_split(records: Sequence[Record], split: int) -> list[Record]:
    """The records of one run on one split, a round each: with several seeds, their means.

    Args:
        records: of all seeds and rounds.
        split: takes the place of the seed.
    """
    rounds: dict[int, list[Record]] = {}
    for r in records:
        rounds.setdefault(r["round"], []).append(r)
    found = []
    for own in rounds.values():
        known = mean_record(own) if len(own) > 1 else own[0]
        same = {name: value for name, value in known.items() if name not in ("data", "source")}
        settings: Any = {**known["settings"], "split": EACH_SPLIT}
        found.append(same | {"seed": split, "settings": settings})
    return found


def mean_record(records: Sequence[Record]) -> Record:
    """A record with the mean of every number that differs, all warnings, and all test values.

    What is no number is that of the first record.
    """
    first = records[0]
    known = {name: [r[name] for r in records if name in r] for name in first}
    means = {name: fmean(values) for name, values in known.items()
             if all(map(is_number, values)) and len({*values}) > 1}  # fmt: skip
    warnings = dict.fromkeys(w for r in records for w in r.get("warnings", ()))
    return {**first, **means, "warnings": [*warnings], OF_SEEDS: [r["test"] for r in records]}


def spread_table(runs: Runs) -> Table | None:
    """How far test values differ between splits, and between the seeds of a split.

    None where each split has one seed, or there is one split.
    """
    rows = {name: {row.round: row for row in summary(records)} for name, records in runs.items()}
    scale = scale_of_runs(runs)
    cells = [
        [r, *(cell for own in rows.values()
              for cell in spread_cells(own[r].records if r in own else (), scale))]
        for r in shown_rounds({r for own in rows.values() for r in own})
    ]  # fmt: skip
    if all(cell is None for line in cells for cell in line[1:]):
        return None
    heads = [f"{name}, between {what}" for name in runs for what in ("splits", "seeds")]
    columns = dict.fromkeys(heads, f".{scale.decimals + 1}f")
    return Table("spread", {"round": "d"}, columns, cells, "Splits and seeds", TEXT)


def spread_cells(
    records: Sequence[Mapping[str, Any]], scale: Scale
) -> tuple[Value, Value] | tuple[None, None]:
    """The standard deviation of the means of splits, and that of the seeds of one.

    None where there are not two splits with several seeds.
    """
    of_seeds = [r[OF_SEEDS] for r in records if OF_SEEDS in r]
    if len(of_seeds) < 2:
        return None, None
    between = stdev(fmean(values) for values in of_seeds)
    freedom = sum(len(values) - 1 for values in of_seeds)
    within = sum((len(values) - 1) * stdev(values) ** 2 for values in of_seeds) / freedom
    n = len(of_seeds)
    return Value(scale.factor * between, n=n), Value(scale.factor * within**0.5, n=n)
