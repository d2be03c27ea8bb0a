"""Panels of measures of tickets against the share of the edges that are removed, or the round."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlth.figures._style import (
    STYLE,
    Look,
    Series,
    Sign,
    add_grid,
    blocks_of,
    empty_figure,
    finish_figure,
    half_width,
    interval_signs,
    key_of,
    looks_of,
    no_records_error,
    panel_title,
    plot_band,
)
from graphlth.records.schema import Record
from graphlth.records.statistics import Row, summary

Panels = Sequence[tuple[str, Callable[[Record], Any]]]  # the name of an axis, and its values
Places = tuple[str, Callable[[Row], float]]  # the name of the horizontal axis, and the places
EDGES_REMOVED: Places = ("edges removed (%)", lambda row: 100 * row.edge_sparsity)
ROUND: Places = ("round", lambda row: row.round)


def draw_measures(
    records: Iterable[Record],
    panels: Panels,
    *,
    needed: str,
    missing: str,
    columns: int,
    title: str | None = None,
    whole: Panels = (),
    signs: Sequence[Sign] = (),
    places: Places = EDGES_REMOVED,
) -> Figure:
    """For each task, model and edge universe a panel for each measure.

    Means over seeds with 95 % Student-t intervals. A panel of what no record has is left out.

    Args:
        records: of a measure.
        panels: what is drawn.
        needed: the field that records of the measure have.
        missing: what they are called where there are none.
        columns: of panels.
        title: above the panels.
        whole: values that the whole graph has, by the name of their panel: a dashed line.
        signs: what the legend says besides.
        places: the horizontal axis.
    """
    records = list(records)
    rows = summary(record for record in records if needed in record)
    if not rows:
        raise no_records_error(missing, records)
    looks, blocks, levels = looks_of(map(key_of, rows)), blocks_of(rows), dict(whole)
    with rc_context(STYLE):
        lines = -(-len(panels) // columns)
        figure = empty_figure(0.6 + 4.0 * columns, 3.1 * lines * len(blocks))
        grid = figure.subplots(lines * len(blocks), columns, squeeze=False)
        for i, block in enumerate(blocks):
            axes = grid[i * lines : (i + 1) * lines].flat
            axes[0].set_title(panel_title(block), loc="left")
            for axis, (name, value) in zip(axes, panels, strict=True):
                if name in levels:
                    level = levels[name](block[0][0].records[0])
                    axis.axhline(level, color="0.3", linestyle="--", linewidth=1, label="_whole")
                own = [looks[key_of(each[0])] for each in block]
                _panel(axis, block, name, value, own, places)
        finish_figure(figure, looks.values(), [*signs, *interval_signs(rows)], title)
    return figure


def _panel(
    axis: Axes,
    block: Sequence[Series],
    name: str,
    value: Callable[[Record], Any],
    looks: Sequence[Look],
    places: Places,
) -> None:
    lowest, (horizontal, place) = np.inf, places
    for series, look in zip(block, looks, strict=True):
        known = [(row, _values(row, value)) for row in series]
        known = [(row, values) for row, values in known if values]
        if known:
            x = [place(row) for row, _ in known]
            mean = np.array([fmean(values) for _, values in known])
            half = np.array([half_width(values) for _, values in known])
            rows = [row for row, _ in known]
            plot_band(axis, x, mean, mean - half, mean + half, look, rows)
            lowest = min(lowest, mean.min())
    if lowest == np.inf:
        axis.set_axis_off()
    low, high = axis.get_ylim()
    if lowest >= 0:  # an interval may leave what can be
        axis.set_ylim(max(low, -0.03 * high), min(high, 103) if name.endswith("(%)") else high)
    axis.set_ylabel(name)
    axis.set_xlabel(horizontal)
    add_grid(axis)


def _values(row: Row, value: Callable[[Record], Any]) -> list[float]:
    return [found for record in row.records if (found := value(record)) is not None]


def percent(value: float | None) -> float | None:
    """A share in %; None where it is unknown."""
    return None if value is None else 100 * value
