"""The table of the epochs whose masks UGS prunes by, and of what seeds lose whose epoch is late."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from graphlth.records import Record
from graphlth.records.gaps import paired_gaps
from graphlth.reproduction.result import Table, Value, median_and_range
from graphlth.reproduction.rounds import Runs
from graphlth.reproduction.scale import PERCENT
from graphlth.reproduction.tables import check_field, scale_of_runs

FIELD = "mask_epoch"  # of a record
LATE = 2  # times the median of the round
TEXT = (
    "The epoch of the mask phase whose masks a ticket is pruned by, and by how much the ticket is "
    "better than its dense network{points}: medians with the smallest and the largest. A seed is "
    "late from twice the median of its round on; p: that such seeds lose as much as the others, by "
    "the one-sided test of Mann and Whitney."
)


def mask_epoch_table(runs: Runs, fields: Sequence[str] = ()) -> Table | None:
    """A line for each run and round: its epochs, and what late seeds lose beside the others.

    Args:
        runs: the records of every run.
        fields: of records, in which late seeds are told apart from the others, too.

    Returns:
        None where no record has such an epoch.

    Raises:
        ValueError: a field is none of the records, or no number in them.
    """
    rows, scale = [], scale_of_runs(runs)
    for field in fields:
        check_field(field, [r for own in runs.values() for r in own], "mask_epochs")
    for name, records in runs.items():
        dense = [r for r in records if r["round"] == 0]
        for number in sorted({r["round"] for r in records if FIELD in r}):
            own = [r for r in records if r["round"] == number and FIELD in r]
            rows.append(
                [name, number, *cells_of(own, paired_gaps(own, dense), scale.factor, fields)]
            )
    columns = {"epoch": ".0f", "late seeds": "d"}
    columns |= {f"to dense, {who}": scale.spec for who in ("late", "others")} | {"p": ".2g"}
    for field in fields:
        columns |= {f"{field.replace('_', ' ')}, {who}": ".3f" for who in ("late", "others")}
    text = TEXT.format(points=" in points" * (scale == PERCENT))
    table = Table("mask_epochs", {"run": "", "round": "d"}, columns, rows, "Mask phases", text)
    return table if rows else None


def cells_of(
    records: Sequence[Record], gaps: Mapping[int, float], factor: float, fields: Sequence[str]
) -> list[Any]:
    """The cells of a round of a run; those of seeds that there are none of are empty."""
    from scipy.stats import mannwhitneyu  # loads slowly

    sides = split_late(records)
    late, others = ([gaps[r["seed"]] for r in side if r["seed"] in gaps] for side in sides)
    p = mannwhitneyu(late, others, alternative="less").pvalue if late and others else None
    cells = [median_and_range([r[FIELD] for r in records]), len(sides[0]),
             middle(late, factor), middle(others, factor), p and float(p)]  # fmt: skip
    for field in fields:
        known = ([r[field] for r in side if r.get(field) is not None] for side in sides)
        cells += [middle(values) for values in known]
    return cells


def split_late(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """The records of a round whose epoch is late, and the others; the median itself never is."""
    bound = max(1, LATE * median(r[FIELD] for r in records))
    late = [r for r in records if r[FIELD] >= bound]
    return late, [r for r in records if r[FIELD] < bound]


def middle(values: Sequence[float], factor: float = 1.0) -> Value | None:
    """The median with the smallest and the largest; None of no values."""
    return median_and_range(values, factor) if values else None
