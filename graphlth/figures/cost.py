"""Accuracy against what a trained ticket has cost: all of its searches, and its retraining."""

from collections.abc import Iterable

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from graphlth.figures._files import figure_path, save_figure
from graphlth.figures._style import Series, key_of, looks_of
from graphlth.figures._tradeoff import draw_tradeoff as draw_tradeoff
from graphlth.figures._tradeoff import search_rows
from graphlth.records.schema import Record
from graphlth.records.statistics import Row, check_unit, total_cost
from graphlth.settings.types import Fraction

NAMES = {  # of a unit: the axis, and the symbol
    "macs": ("MACs to find and train the ticket", ""),
    "seconds": ("time to find and train the ticket", "s"),
    "epochs": ("epochs to find and train the ticket", ""),
    "joules": ("energy to find and train the ticket", "J"),
}


def cost(
    records: Iterable[Record],
    *,
    out: str,
    unit: str = "macs",
    metric: str = "test",
    title: str | None = None,
    floor: Fraction | None = None,
    frontier: bool = False,
) -> None:
    """Draw accuracy against total cost into a file; what `draw` shows.

    Args:
        records: what `graphlth.records.read` gives.
        out: the file, ending in .png, .pdf or .svg.
        unit: of the cost: "macs" (of training), "seconds", "epochs" or "joules".
        metric: which accuracy, "test" or "val".
        title: a title of your own above the panels.
        floor: the lowest accuracy shown, in [0, 1); what falls below leaves the panel.
        frontier: join the networks that no cheaper one equals, chosen by validation.

    Raises:
        ValueError: another suffix, an unknown unit or metric, a floor out of range, no ticket, or
            a record without the unit's field.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(
        draw_figure(records, unit, metric, title=title, floor=floor, frontier=frontier), path
    )


def draw_figure(
    records: Iterable[Record],
    unit: str = "macs",
    metric: str = "test",
    *,
    title: str | None = None,
    floor: Fraction | None = None,
    frontier: bool = False,
) -> Figure:
    """The figure: a panel per task, model, edge universe and metric.

    A run of several rounds is a line over them, one of a single round a mark with a bar from the
    cheapest seed to the dearest. The dense network costs its training alone.
    """
    name, symbol = NAMES[check_unit(unit)]
    rows = search_rows(records)

    def amounts(series: Series, row: Row) -> list[float]:
        every = [record for other in series for record in other.records]
        seeds = [record["seed"] for record in row.records]
        return [total_cost((r for r in every if r["seed"] == s), row.round, unit) for s in seeds]

    return draw_tradeoff(
        rows, amounts, looks_of(map(key_of, rows)), metric=metric,
        cost=(name, EngFormatter(symbol, sep=" ")), numbered=True, frontier=frontier,
        floor=floor, title=title,
    )  # fmt: skip
