"""Accuracy against the epoch at which early-bird tickets are drawn.

Sources: You et al., Drawing Early-Bird Tickets, ICLR 2020 (openreview BJxsrgStvr); You et al.,
Early-Bird GCNs, AAAI 2022, arXiv:2103.00794.
"""

from collections.abc import Iterable, Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from graphlth.figures._draws import (
    drawn_epochs,
    draws_at_set_epochs,
    early_bird_rows,
    masks_have_settled,
    ticket_rows,
)
from graphlth.figures._files import figure_path, save_figure
from graphlth.figures._style import (
    DENSE_SIGN,
    STYLE,
    Key,
    Look,
    Series,
    Sign,
    add_grid,
    blocks_of,
    finish_figure,
    interval_signs,
    key_of,
    looks_of,
    make_panels,
    metric_axis,
    panel_title,
    plot_baseline,
    plot_curve,
    plot_point,
)
from graphlth.records.schema import Record
from graphlth.records.statistics import check_metric

DRAWN = Line2D([], [], color="0.35", marker="o", markersize=8, linestyle="")
LATE = Line2D([], [], color="0.35", marker="o", markersize=8, markerfacecolor="white", linestyle="")


def drawing(
    records: Iterable[Record], *, out: str, metric: str = "test", title: str | None = None
) -> None:
    """Draw accuracy against drawing epoch into a file; what `draw` shows.

    Args:
        records: what `graphlth.records.read` gives, of `early_bird`, `geb` or
            `joint_early_bird`.
        out: the file, ending in .png, .pdf or .svg.
        metric: which accuracy, "test" or "val".
        title: a title of your own above the panels.

    Raises:
        ValueError: another suffix, an unknown metric, or no early-bird runs.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, metric, title=title), path)


def draw_figure(
    records: Iterable[Record], metric: str = "test", *, title: str | None = None
) -> Figure:
    """The figure: a panel per task, model, edge universe and metric.

    A run of several draws (`--draws 20`) is a curve of means over seeds with their 95 % intervals,
    one of a single draw a mark where its criterion drew: the mean epoch, with a bar from the
    earliest seed to the latest; hollow if a seed drew at the last epoch without having settled.
    """
    check_metric(metric)
    rows = early_bird_rows(records)
    looks, blocks = looks_of(map(key_of, rows)), blocks_of(rows)
    with rc_context(STYLE):
        figure, axes = make_panels(len(blocks))
        for axis, block in zip(axes, blocks, strict=True):
            _panel(axis, block, metric, looks)
        finish_figure(figure, looks.values(), _signs(blocks, metric), title)
    return figure


def _panel(axis: Axes, block: Sequence[Series], metric: str, looks: Mapping[Key, Look]) -> None:
    plot_baseline(axis, block, metric, looks)
    for series in block:
        look, drawn = looks[key_of(series[0])], ticket_rows(series)
        if draws_at_set_epochs(series):
            plot_curve(axis, drawn, [drawn_epochs(row)[0] for row in drawn], metric, look)
            continue
        for row in drawn:
            plot_point(
                axis, row, drawn_epochs(row), metric, look, hollow=not masks_have_settled(row)
            )
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("epoch of the search at which the ticket is drawn")
    axis.set_title(panel_title(block, lines=2), loc="left")
    metric_axis(axis, block[0][0], metric)
    add_grid(axis)


def _signs(blocks: Sequence[Sequence[Series]], metric: str) -> list[Sign]:
    runs = [series for block in blocks for series in block]
    once = [
        row for series in runs if not draws_at_set_epochs(series) for row in ticket_rows(series)
    ]
    signs = [DENSE_SIGN] if any(series[0].round == 0 for series in runs) else []
    signs += [(DRAWN, "drawn by the criterion (bar: first to last seed)")] if once else []
    signs += [(LATE, "not settled in every seed")] if not all(map(masks_have_settled, once)) else []
    return signs + interval_signs([row for series in runs for row in series])
