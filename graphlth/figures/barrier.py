"""The error on the line between copies of a ticket, trained under other noise.

Source: Frankle, Dziugaite, Roy, Carbin, Linear Mode Connectivity and the Lottery Ticket Hypothesis,
ICML 2020, arXiv:1912.05671.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlth.figures._connected import (
    STABLE,
    STABLE_SIGN,
    first_iteration,
    instability_rows,
    plot_columns,
    round_looks,
)
from graphlth.figures._files import figure_path, save_figure
from graphlth.figures._style import (
    STYLE,
    Look,
    Series,
    add_grid,
    blocks_of,
    finish_figure,
    interval_signs,
    key_of,
    looks_of,
    make_panels,
    panel_title,
)
from graphlth.records.schema import Record


def barrier(records: Iterable[Record], *, out: str, title: str | None = None) -> None:
    """Draw the error between copies of tickets into a file; what `draw` shows.

    Args:
        records: what `graphlth.records.read` gives, of `graphlth analyze instability`.
        out: the file, ending in .png, .pdf or .svg.
        title: a title of your own above the panels.

    Raises:
        ValueError: another suffix, or no record of instability.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, title=title), path)


def draw_figure(records: Iterable[Record], *, title: str | None = None) -> Figure:
    """The figure: a panel per run, a curve per round, from one copy (α = 0) to the other (α = 1).

    0 is the mean error of the two; a ticket is stable whose curve stays below 2 points. Curves are
    means over pairs of copies and seeds, bands their 95 % Student-t intervals over seeds.
    """
    rows = instability_rows(records)
    looks, blocks = round_looks(rows), blocks_of(rows)
    names = {key: look["label"] for key, look in looks_of(map(key_of, rows)).items()}
    with rc_context(STYLE):
        figure, axes = make_panels(sum(map(len, blocks)))
        left = iter(axes)
        for block in blocks:
            shown = [next(left) for _ in block]
            ordered = sorted(
                block, key=lambda series: (series[0].algorithm, first_iteration(series[0]))
            )
            for axis, series in zip(shown, ordered, strict=True):
                _panel(axis, series, looks)
                axis.set_title(
                    f"{panel_title([series], 2)}\n{names[key_of(series[0])]}", loc="left"
                )
            low, high = zip(*(axis.get_ylim() for axis in shown), strict=True)
            for axis in shown:  # what is compared has one scale
                axis.set_ylim(min(low), max(high))
        finish_figure(figure, looks.values(), [STABLE_SIGN, *interval_signs(rows)], title)
    return figure


def _panel(axis: Axes, series: Series, looks: Mapping[int, Look]) -> None:
    for row in series:
        rises = [
            [error - record["end_error"] for error in record["barrier_error"]]
            for record in row.records
        ]
        alphas = np.linspace(0, 1, len(rises[0]))
        plot_columns(axis, alphas.tolist(), list(zip(*rises, strict=True)), looks[row.round])
    axis.axhline(STABLE, color="0.35", linestyle=":", linewidth=1.3, label="_stable")
    axis.set(xlabel="α", xlim=(0, 1), ylabel="error above that of the copies (points)")
    add_grid(axis)
