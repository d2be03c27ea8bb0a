"""When each criterion of joint early-bird tickets draws, and the accuracy of what it draws.

Source: You et al., Early-Bird GCNs, AAAI 2022, arXiv:2103.00794, supplement.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from graphlth.figures._draws import drawn_epochs, early_bird_rows, ticket_rows
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
    empty_figure,
    finish_figure,
    half_width,
    interval_signs,
    key_of,
    looks_of,
    metric_axis,
    no_records_error,
    panel_title,
    plot_baseline,
    scale_of,
)
from graphlth.records.schema import Record
from graphlth.records.statistics import Row, check_metric

DISTANCES = {"edges": "$d_g$", "weights": "$d_w$", "both": "$d_g + d_w$"}  # of the paper
SEED: Sign = Line2D([], [], color="0.35", marker=".", markersize=7, linestyle=""), "a seed"
LATE: Sign = (
    Line2D([], [], color="0.35", marker="x", markersize=5, linestyle=""), "a seed, not settled"
)  # fmt: skip
BAR = Line2D([], [], color="0.35", marker="|", markersize=11, markeredgewidth=1.5, linestyle="")


def criteria(
    records: Iterable[Record], *, out: str, metric: str = "test", title: str | None = None
) -> None:
    """Draw drawing epoch and accuracy by criterion into a file; what `draw` shows.

    Args:
        records: what `graphlth.records.read` gives, of `joint_early_bird`.
        out: the file, ending in .png, .pdf or .svg.
        metric: which accuracy, "test" or "val".
        title: a title of your own above the panels.

    Raises:
        ValueError: another suffix, an unknown metric, or no runs whose criterion drew.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, metric, title=title), path)


def draw_figure(
    records: Iterable[Record], metric: str = "test", *, title: str | None = None
) -> Figure:
    """The figure: two panels per task, model, edge universe and metric, a place per criterion.

    Left the epoch of the draw, right the accuracy of the retrained ticket: every seed, the mean
    and its 95 % interval. Runs of several draws, which heed no criterion, are left out.
    """
    check_metric(metric)
    rows = _rows(records)
    looks, blocks = looks_of(map(key_of, rows)), blocks_of(rows)
    with rc_context(STYLE):
        figure = empty_figure(9.6, 3.7 * len(blocks))
        grid = figure.subplots(len(blocks), 2, squeeze=False)
        for axes, block in zip(grid, blocks, strict=True):
            _row(axes, block, metric, looks)
        finish_figure(figure, looks.values(), _signs(rows), title)
    return figure


def _rows(records: Iterable[Record]) -> list[Row]:
    records = list(records)
    found = [r for r in records if "criterion" in r["settings"] and r["settings"]["draws"] == 1]
    if not any("drawn_epoch" in record for record in found):
        raise no_records_error("tickets of joint_early_bird, run with `--draws 1`", records)
    return early_bird_rows(found, "criterion")


def _criterion(row: Row) -> str:
    name: str = row.records[0]["settings"]["criterion"]
    return name


def _row(
    axes: Sequence[Axes], block: Sequence[Series], metric: str, looks: Mapping[Key, Look]
) -> None:
    left, right = axes
    rows = [row for series in block for row in ticket_rows(series)]
    order = [*DISTANCES, *sorted({_criterion(row) for row in rows} - {*DISTANCES})]
    order = [name for name in order if name in map(_criterion, rows)]
    keys = sorted({key_of(row) for row in rows})
    plot_baseline(right, block, metric, looks)
    for row in rows:
        aside = 0.6 * ((keys.index(key_of(row)) + 0.5) / len(keys) - 0.5)
        place, look = order.index(_criterion(row)) + aside, looks[key_of(row)]
        late = [not record["settled"] for record in row.records]
        _dots(left, place, drawn_epochs(row), late, look)
        _dots(right, place, [scale_of(row) * r[metric] for r in row.records], late, look)
    for axis in axes:
        axis.set_xticks(range(len(order)), labels=[f"{n}\n{DISTANCES.get(n, '')}" for n in order])
        axis.set_xlim(-0.5, len(order) - 0.5)
        axis.set_xlabel("criterion: whose distance must be small")
        add_grid(axis)
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_ylim(0, 1.05 * max(left.get_ylim()))
    left.set_ylabel("epoch of the draw")
    left.set_title(panel_title(block, lines=2), loc="left")
    metric_axis(right, block[0][0], metric)


def _dots(
    axis: Axes, place: float, values: Sequence[float], late: Sequence[bool], look: Look
) -> None:
    """A dot a seed, and beside them the mean with its interval."""
    colour, label = look["color"], look["label"]
    axis.errorbar(
        [place], [fmean(values)], yerr=half_width(values), fmt=look["marker"], color=colour,
        label=label, markersize=8, markeredgecolor="white", markeredgewidth=0.8, elinewidth=1.2,
        capsize=2.5, zorder=4,
    )  # fmt: skip
    for marker, which in ((".", False), ("x", True)):
        shown = [value for value, is_late in zip(values, late, strict=True) if is_late == which]
        axis.plot(
            np.full(len(shown), place + 0.08), shown, marker, color=colour, alpha=0.6,
            markersize=5 if which else 7, label=f"_seeds of {label}", zorder=3,
        )  # fmt: skip


def _signs(rows: Sequence[Row]) -> list[Sign]:
    found = [row for row in rows if row.round]
    late = any(not record["settled"] for row in found for record in row.records)
    told = [
        (SEED, True),
        (LATE, late),
        (DENSE_SIGN, any(row.round == 0 for row in rows)),
    ]
    return [sign for sign, there in told if there] + interval_signs(found, BAR)
