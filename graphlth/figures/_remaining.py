"""What figures against the weights that remain share: their axis, and who is drawn."""

from collections.abc import Iterable
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from graphlth.figures._style import Series, add_grid, drop_settings, set_log_ticks
from graphlth.records.statistics import Row


def weights_remaining(series: Series) -> list[float]:
    """The weights that remain in each round, in per cent."""
    return [100 * (1 - row.weight_sparsity) for row in series]


def set_weights_axis(axis: Axes) -> None:
    """A logarithmic axis of the weights that remain, falling to the right."""
    axis.set_xscale("log")
    axis.set_xlabel("weights remaining (%, log scale)")
    axis.invert_xaxis()
    set_log_ticks(axis, FuncFormatter(lambda value, _: f"{value:g}"))
    add_grid(axis)


def rows_with_weights(rows: Iterable[Row], *aside: str) -> list[Row]:
    """The rows in which weights remain, with labels that leave out the settings `aside`."""
    kept = [row for row in rows if row.weight_sparsity < 1]  # a logarithm knows no 0
    return [replace(row, label=drop_settings(row.label, ("only", *aside))) for row in kept]
