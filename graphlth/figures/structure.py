"""What the graphs of tickets look like, against the edges that are removed."""

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
    add_grid,
    blocks_of,
    empty_figure,
    figure_path,
    finish_figure,
    half_width,
    interval_signs,
    key_of,
    looks_of,
    no_records_error,
    panel_title,
    plot_band,
    save_figure,
)
from graphlth.records.schema import Record
from graphlth.records.statistics import Row, summary

NEEDED = "components"  # a field of a record
PANELS: tuple[tuple[str, Callable[[Record], Any]], ...] = (
    ("connected components", lambda r: r["components"]),
    ("isolated nodes (%)", lambda r: 100 * r["isolated_nodes"] / max(r["nodes"], 1)),
    ("mean degree", lambda r: r["degree_mean"]),
    ("homophily of the edges (%)", lambda r: _percent(r["homophily"])),
    ("spectral gap, largest component", lambda r: r["spectral_gap"]),
    ("edges at training nodes (%)", lambda r: _percent(r["training_share"])),
)
COLUMNS = 3


def structure(records: Iterable[Record], *, out: str, title: str | None = None) -> None:
    """Draw what the graphs of tickets look like into a file; what `draw_figure` shows.

    Args:
        records: what `graphlth.records.read` gives, of `graphlth analyze structure`.
        out: the file, ending in .png, .pdf or .svg.
        title: a title of your own above the panels.

    Raises:
        ValueError: another suffix, or no record of a structure.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, title=title), path)


def draw_figure(records: Iterable[Record], *, title: str | None = None) -> Figure:
    """The figure: for each task, model and edge universe a panel for each measure.

    Components, isolated nodes, mean degree, homophily, spectral gap and the share of the edges at
    training nodes, against the share of removed edges. Means over seeds with 95 % Student-t
    intervals. A panel of what no record has, such as homophily without labels, is left out.
    """
    records = list(records)
    rows = summary(record for record in records if NEEDED in record)
    if not rows:
        raise no_records_error("structures, as `graphlth analyze structure` adds them", records)
    looks, blocks = looks_of(map(key_of, rows)), blocks_of(rows)
    with rc_context(STYLE):
        lines = -(-len(PANELS) // COLUMNS)
        figure = empty_figure(0.6 + 4.0 * COLUMNS, 3.1 * lines * len(blocks))
        grid = figure.subplots(lines * len(blocks), COLUMNS, squeeze=False)
        for i, block in enumerate(blocks):
            axes = grid[i * lines : (i + 1) * lines].flat
            axes[0].set_title(panel_title(block), loc="left")
            for axis, (name, value) in zip(axes, PANELS, strict=True):
                _panel(axis, block, name, value, [looks[key_of(each[0])] for each in block])
        finish_figure(figure, looks.values(), interval_signs(rows), title)
    return figure


def _panel(
    axis: Axes,
    block: Sequence[Series],
    name: str,
    value: Callable[[Record], Any],
    looks: Sequence[Look],
) -> None:
    drawn = False
    for series, look in zip(block, looks, strict=True):
        known = [(row, _values(row, value)) for row in series]
        known = [(row, values) for row, values in known if values]
        if known:
            x = [100 * row.edge_sparsity for row, _ in known]
            mean = np.array([fmean(values) for _, values in known])
            half = np.array([half_width(values) for _, values in known])
            rows = [row for row, _ in known]
            plot_band(axis, x, mean, mean - half, mean + half, look, rows)
            drawn = True
    if not drawn:
        axis.set_axis_off()
    low, high = axis.get_ylim()  # an interval may leave what can be
    axis.set_ylim(max(low, -0.03 * high), min(high, 103) if name.endswith("(%)") else high)
    axis.set_ylabel(name)
    axis.set_xlabel("edges removed (%)")
    add_grid(axis)


def _values(row: Row, value: Callable[[Record], Any]) -> list[float]:
    return [found for record in row.records if (found := value(record)) is not None]


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
