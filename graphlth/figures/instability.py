"""Instability of tickets against k and sparsity, and whether it tells the winning ones.

Source: Frankle, Dziugaite, Roy, Carbin, Linear Mode Connectivity and the Lottery Ticket Hypothesis,
ICML 2020, arXiv:1912.05671, figures 3 to 6.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from statistics import fmean

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

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
    interval_signs,
    key_of,
    looks_of,
    metric_axis,
    panel_title,
    plot_baseline,
    plot_curve,
    plot_point,
    set_log_ticks,
)
from graphlth.records.schema import Record
from graphlth.records.statistics import Row, check_metric

PARTS = ("weights", "edges")
FEW = 4  # rounds that a panel over k shows
HOLLOW: Sign = (
    Line2D([], [], color="0.35", marker="o", markerfacecolor="white", linestyle=""),
    "the dense network",
)  # fmt: skip


def instability(
    records: Iterable[Record],
    *,
    out: str,
    metric: str = "test",
    against: str = "weights",
    title: str | None = None,
) -> None:
    """Draw instability and accuracy of tickets into a file; what `draw` shows.

    Args:
        records: what `graphlth.records.read` gives, of `graphlth analyze instability`.
        out: the file, ending in .png, .pdf or .svg.
        metric: which accuracy, "test" or "val".
        against: what is left of the weights or of the edges.
        title: a title of your own above the panels.

    Raises:
        ValueError: another suffix, an unknown metric or part, or no record of instability.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, metric, against=against, title=title), path)


def draw_figure(
    records: Iterable[Record],
    metric: str = "test",
    *,
    against: str = "weights",
    title: str | None = None,
) -> Figure:
    """The figure: a row of panels per task, model, edge universe and metric.

    Instability against k (some rounds; where several k were measured), instability and accuracy
    against what is left (where anything was removed), and accuracy against instability. Means over
    seeds with 95 % Student-t intervals.
    """
    check_metric(metric)
    if against not in PARTS:
        raise ValueError(f"`against` must be one of {', '.join(PARTS)}, got {against!r}")
    rows = instability_rows(records)
    looks, blocks = looks_of(map(key_of, rows)), blocks_of(rows)
    kinds: list[Callable[[Axes, Sequence[Series]], None]] = []
    if any(_later(block) for block in blocks):
        kinds.append(_over_k)
    if any(_left(row, against) < 100 for row in rows):
        kinds.append(lambda axis, block: _over_left(axis, block, against, looks))
        kinds.append(lambda axis, block: _accuracy(axis, block, against, metric, looks))
    kinds.append(lambda axis, block: _both(axis, block, metric, looks))
    with rc_context(STYLE):
        figure = empty_figure(max(7.2, 0.6 + 4.4 * len(kinds)), 3.9 * len(blocks))
        grid = figure.subplots(len(blocks), len(kinds), squeeze=False)
        for axes, block in zip(grid, blocks, strict=True):
            for axis, panel in zip(axes, kinds, strict=True):
                panel(axis, block)
                add_grid(axis)
            axes[0].set_title(panel_title(block), loc="left")
        finish_figure(figure, looks.values(), _signs(rows), title)
    return figure


def _signs(rows: Series) -> list[Sign]:
    told = [
        (STABLE_SIGN, True),
        (HOLLOW, any(row.round == 0 for row in rows)),
        (DENSE_SIGN, any(row.round == 0 for row in rows)),
    ]
    return [sign for sign, there in told if there] + interval_signs(rows)


def _rises(row: Row) -> list[float]:
    return [record["instability"] for record in row.records]


def _left(row: Row, part: str) -> float:
    removed = row.edge_sparsity if part == "edges" else row.weight_sparsity
    return 100 * (1 - removed)


def _later(block: Sequence[Series]) -> list[list[Row]]:
    """The tickets of one algorithm and round that differ in k, where there are several k."""

    def same(row: Row) -> tuple[str, str, int]:
        return row.algorithm, re.sub(r"(, )?rewind_to=\d+", "", row.label), row.round

    rows = sorted((row for series in block for row in series), key=same)
    groups = [sorted(group, key=first_iteration) for _, group in groupby(rows, same)]
    return [group for group in groups if len({first_iteration(row) for row in group}) > 1]


def _over_k(axis: Axes, block: Sequence[Series]) -> None:
    groups = _later(block)
    numbers = sorted({group[0].round for group in groups})
    some = {numbers[i * (len(numbers) - 1) // max(1, FEW - 1)] for i in range(FEW) if numbers}
    shown = [group for group in groups if group[0].round in some]
    looks = round_looks([row for group in shown for row in group])
    for group in shown:
        look = looks[group[0].round] | {"marker": "o"}
        plot_columns(
            axis, [first_iteration(row) for row in group], [_rises(row) for row in group], look
        )
    if shown:
        axis.legend(frameon=False, fontsize=9)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_xlabel("k: iterations before the copies part")
    _instability(axis)


def _instability(axis: Axes) -> None:
    axis.axhline(STABLE, color="0.35", linestyle=":", linewidth=1.3, label="_stable")
    axis.set_ylabel("instability (points)")
    axis.set_ylim(min(0, *axis.get_ylim()), max(1.1 * STABLE, *axis.get_ylim()))


def _over_left(axis: Axes, block: Sequence[Series], part: str, looks: Mapping[Key, Look]) -> None:
    for series in block:
        x = [_left(row, part) for row in series]
        plot_columns(axis, x, [_rises(row) for row in series], looks[key_of(series[0])])
    _falling(axis, part)
    _instability(axis)


def _accuracy(
    axis: Axes, block: Sequence[Series], part: str, metric: str, looks: Mapping[Key, Look]
) -> None:
    plot_baseline(axis, block, metric, looks)
    for series in block:
        plot_curve(
            axis, series, [_left(row, part) for row in series], metric, looks[key_of(series[0])]
        )
    _falling(axis, part)
    metric_axis(axis, block[0][0], metric)


def _falling(axis: Axes, part: str) -> None:
    """An axis of what is left, falling to the right in equal ratios."""
    axis.set_xscale("log")
    set_log_ticks(axis, FuncFormatter(lambda value, _: f"{value:g}"))
    axis.invert_xaxis()
    axis.set_xlabel(f"{part} left (%), log scale")


def _both(axis: Axes, block: Sequence[Series], metric: str, looks: Mapping[Key, Look]) -> None:
    """A point per ticket: stable ones left of the line, winning ones above that of the dense."""
    plot_baseline(axis, block, metric, looks)
    for row in (row for series in block for row in series):
        x = [100 * fmean(_rises(row))]
        plot_point(axis, row, x, metric, looks[key_of(row)], hollow=row.round == 0, size=6)
    axis.axvline(STABLE, color="0.35", linestyle=":", linewidth=1.3, label="_stable")
    axis.set(xlabel="instability (points)", xlim=(min(0, axis.get_xlim()[0]), None))
    metric_axis(axis, block[0][0], metric)
