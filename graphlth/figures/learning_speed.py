"""How fast and how well tickets learn: early stopping against the weights that remain.

Source: Frankle & Carbin, ICLR 2019, arXiv:1803.03635, figures 1 and 4.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import StrMethodFormatter

from graphlth.figures._files import figure_path, save_figure
from graphlth.figures._remaining import rows_with_weights, set_weights_axis, weights_remaining
from graphlth.figures._style import (
    BROKEN,
    DENSE,
    DENSE_SIGN,
    STYLE,
    Key,
    Look,
    Series,
    Sign,
    blocks_of,
    check_floor,
    empty_figure,
    finish_figure,
    key_of,
    looks_of,
    metric_axis,
    metric_label,
    no_records_error,
    panel_title,
    plot_band,
    scale_of,
)
from graphlth.records.schema import Record
from graphlth.records.statistics import summary
from graphlth.settings.types import Fraction

STOP, REACHED = "stop_iteration", "test_at_stop"  # fields of a record
SEEDS: Sign = Patch(color="0.35", alpha=0.2, linewidth=0), "from the lowest seed to the highest"


def learning_speed(
    records: Iterable[Record], *, out: str, title: str | None = None, floor: Fraction | None = None
) -> None:
    """Draw early stopping against the weights that remain into a file; what `draw` shows.

    Args:
        records: what `graphlth.records.read` gives, of images.
        out: the file, ending in .png, .pdf or .svg.
        title: a title of your own above the panels.
        floor: the lowest accuracy shown, in [0, 1); what falls below leaves the panel.

    Raises:
        ValueError: another suffix, a floor out of range, or no record of an early stop.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, title=title, floor=floor), path)


def draw_figure(
    records: Iterable[Record], *, title: str | None = None, floor: Fraction | None = None
) -> Figure:
    """The figure: a row of two panels per task and model, a line per run.

    Training would stop early at the lowest validation loss: on the left the test accuracy there,
    on the right the iteration. Lines are means over seeds, bands go from the lowest seed to the
    highest, as in the paper.
    """
    check_floor(floor)
    records = list(records)
    rows = rows_with_weights(summary(record for record in records if STOP in record))
    if not rows:
        raise no_records_error("early stops, as runs of images do (`stop_iteration`)", records)
    looks, blocks = looks_of(map(key_of, rows)), blocks_of(rows)
    with rc_context(STYLE):
        figure = empty_figure(10.6, 3.9 * len(blocks))
        grid = figure.subplots(len(blocks), 2, squeeze=False)
        for (reached, stop), block in zip(grid, blocks, strict=True):
            first = block[0][0]
            _panel(reached, block, REACHED, scale_of(first), looks)
            metric_axis(reached, first, "test", floor)
            reached.set_ylabel(metric_label(first, "test", " at early stop"))
            reached.set_title(panel_title(block, lines=2), loc="left")
            _panel(stop, block, STOP, 1, looks)
            stop.set_ylim(bottom=0)
            stop.set_ylabel("iteration of early stop")
            stop.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        signs = [DENSE_SIGN] if any(dense_levels(block, REACHED) for block in blocks) else []
        signs += [SEEDS] if any(row.n > 1 for row in rows) else []
        finish_figure(figure, looks.values(), signs, title)
    return figure


def _panel(
    axis: Axes, block: Sequence[Series], field: str, scale: float, looks: Mapping[Key, Look]
) -> None:
    for series in block:
        seeds = [[scale * record[field] for record in row.records] for row in series]
        mean, low, high = (np.array([*map(of, seeds)]) for of in (fmean, min, max))
        look = looks[key_of(series[0])]
        plot_band(axis, weights_remaining(series), mean, low, high, look, series)
    for level in dense_levels(block, field):
        axis.axhline(scale * level, color=DENSE, linestyle=BROKEN, linewidth=1.1, label="_dense")
    set_weights_axis(axis)


def dense_levels(block: Sequence[Series], field: str) -> set[float]:
    """The mean of the dense network, if it is the same in all runs."""
    known = [series[0].records for series in block if series[0].round == 0]
    found = {fmean(record[field] for record in records) for records in known}
    return found if len(found) == 1 else set()
