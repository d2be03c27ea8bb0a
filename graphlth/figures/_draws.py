"""What the figures of early-bird searches share: which runs they are, and when they drew."""

from collections.abc import Iterable
from dataclasses import replace

from graphlth.figures._style import Series, drop_settings, no_records_error
from graphlth.records.schema import Record
from graphlth.records.statistics import Row, run_of, summary


def early_bird_rows(records: Iterable[Record], *aside: str) -> list[Row]:
    """A summary of the runs that drew early-bird tickets; labels leave out the settings `aside`.

    Raises:
        ValueError: none of them has drawn.
    """
    records = list(records)
    found = [r for r in records if "draws" in r["settings"]]
    if not any("drawn_epoch" in record for record in found):
        raise no_records_error(
            "early-bird runs that drew a ticket (early_bird, geb or joint_early_bird)", records
        )
    rows = [
        replace(row, label=drop_settings(row.label, ("draws", *aside))) for row in summary(found)
    ]
    drew = {run_of(row) for row in rows if row.round}
    return [row for row in rows if run_of(row) in drew]


def draws_at_set_epochs(series: Series) -> bool:
    """Whether a run draws at set epochs; else it draws once, where its masks have settled."""
    draws: int = series[0].records[0]["settings"]["draws"]
    return draws > 1


def ticket_rows(series: Series) -> list[Row]:
    """The rounds that were drawn."""
    return [row for row in series if row.round]


def drawn_epochs(row: Row) -> list[int]:
    """When the seeds drew."""
    return [record["drawn_epoch"] for record in row.records]


def masks_have_settled(row: Row) -> bool:
    """Whether the masks of every seed had settled when drawn."""
    return all(record["settled"] for record in row.records)
