"""Accuracy against an amount on a logarithmic axis: a mark per ticket, a line over the rounds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import Formatter, MaxNLocator

from graphlth.figures._style import (
    BROKEN,
    DENSE,
    STYLE,
    Key,
    Look,
    Series,
    Sign,
    add_grid,
    blocks_of,
    check_floor,
    finish_figure,
    interval_signs,
    key_of,
    make_panels,
    means_and_half_widths,
    metric_axis,
    no_records_error,
    panel_title,
    plot_baseline,
    plot_curve,
    plot_point,
    published_look,
    published_signs,
    scale_of,
    set_log_ticks,
    shift_aside,
)
from graphlth.records.frontier import find_frontier
from graphlth.records.schema import Record, Run
from graphlth.records.statistics import Row, check_metric, run_of, summary

Amounts = Callable[[Series, Row], list[float]]  # of a round of a run: one a seed
Published = Mapping[str, Mapping[Run, float]]  # source: run: value, in the unit of the metric
Mark = Callable[[Row], dict[str, Any]]  # size and shift of the mark of a ticket, as of `point`
FRONTIER: Sign = (
    Line2D([], [], color="0.35", linewidth=5, alpha=0.2), "frontier, chosen by validation"
)  # fmt: skip
DENSE_MARK: Sign = (
    Line2D([], [], color=DENSE, linestyle=BROKEN, linewidth=1.1, marker="*", markersize=11), "dense"
)  # fmt: skip


def search_rows(records: Iterable[Record]) -> list[Row]:
    """A summary of the runs in which a ticket is what a search has come to.

    Runs of several draws are left out: one search, paid once, gives all of their tickets.

    Raises:
        ValueError: there is no ticket among them.
    """
    records = list(records)
    rows = summary(r for r in records if r["settings"].get("draws", 1) == 1)
    if not any(row.round for row in rows):
        raise no_records_error("runs that found a ticket, not in several draws", records)
    return rows


def draw_tradeoff(
    rows: Sequence[Row],
    amounts: Amounts,
    looks: Mapping[Key, Look],
    *,
    metric: str,
    cost: tuple[str, Formatter],
    numbered: bool = False,
    mark: Mark = lambda _: {},
    signs: Sequence[Sign] = (),
    frontier: bool = False,
    floor: float | None,
    title: str | None,
    published: Published | None = None,
) -> Figure:
    """The figure: a panel per task, model, edge universe and metric.

    Args:
        rows: what is drawn.
        amounts: the horizontal place of each seed of a round.
        looks: of each run; runs may share one.
        metric: which accuracy.
        cost: the name of the horizontal axis, and the formatter of its numbers.
        numbered: write the number of the last round at the end of a line.
        mark: how the mark of a single ticket differs from others of its run's look.
        signs: of the legend, what that means.
        frontier: draw a line over the networks of each panel that no other equals in both mean
            validation and mean amount and beats in one.
        floor: the lowest accuracy shown.
        title: above the panels.
        published: values of others, over the last round of the run that they are of.
    """
    check_metric(metric)
    check_floor(floor)
    blocks = blocks_of(rows)
    with rc_context(STYLE):
        figure, axes = make_panels(len(blocks))
        for axis, block in zip(axes, blocks, strict=True):
            _panel(axis, block, amounts, looks, metric, mark, numbered)
            _plot_published(axis, block, amounts, published or {}, mark)
            if frontier:
                _plot_frontier(axis, block, amounts, metric)
            name, formatter = cost
            axis.set_xlabel(f"{name} (log scale)")
            axis.set_xscale("log")
            axis.margins(x=0.09)
            set_log_ticks(axis, formatter)
            low, high = axis.get_xlim()
            if high < 3 * low:  # too short for ticks at 1, 2 and 5
                axis.xaxis.set_major_locator(MaxNLocator(5))
            metric_axis(axis, block[0][0], metric, floor)
        dense = [DENSE_MARK] if any(row.round == 0 for row in rows) else []
        told = {look["label"]: look for look in looks.values()}
        signs = [*signs, *dense, *([FRONTIER] if frontier else []), *interval_signs(rows),
                 *published_signs(published or {})]  # fmt: skip
        finish_figure(figure, told.values(), signs, title)
    return figure


def frontier_rows(block: Sequence[Series], amounts: Amounts) -> list[tuple[Row, float]]:
    """The rounds of a panel on its frontier, chosen by validation, and their mean amounts."""
    rows = [(row, fmean(amounts(series, row))) for series in block for row in series]
    sign = 1 if block[0][0].direction == "max" else -1
    places = find_frontier([cost for _, cost in rows], [sign * row.val for row, _ in rows])
    return [rows[i] for i in places]


def _plot_frontier(axis: Axes, block: Sequence[Series], amounts: Amounts, metric: str) -> None:
    found = frontier_rows(block, amounts)
    means, _ = means_and_half_widths([row for row, _ in found], metric)
    line, _ = FRONTIER
    axis.plot([cost for _, cost in found], means, color=line.get_color(), linewidth=5, alpha=0.2,
              solid_capstyle="round", label="_frontier", zorder=0)  # fmt: skip


def _plot_published(
    axis: Axes, block: Sequence[Series], amounts: Amounts, published: Published, mark: Mark
) -> None:
    for source, values in published.items():
        for series in block:
            last = series[-1]
            if (value := values.get(run_of(last))) is None:
                continue
            lines = axis.plot(
                [fmean(amounts(series, last))], [scale_of(last) * value], label=f"_{source}",
                **published_look(published, source),
            )  # fmt: skip
            shift_aside(axis, lines, mark(last).get("shift", 0))


def _panel(
    axis: Axes,
    block: Sequence[Series],
    amounts: Amounts,
    looks: Mapping[Key, Look],
    metric: str,
    mark: Mark,
    numbered: bool,
) -> None:
    places = {row: amounts(series, row) for series in block for row in series}
    for colour, rows in plot_baseline(axis, block, metric, looks):
        x = fmean(place for row in rows for place in places[row])
        mean, _ = means_and_half_widths(rows[:1], metric)
        axis.plot(
            [x], mean, "*", color=colour, label="_dense", markersize=13,
            markeredgecolor="white", markeredgewidth=0.8, zorder=5,
        )  # fmt: skip
    for series in block:
        look, found = looks[key_of(series[0])], [row for row in series if row.round]
        if len(found) == 1:
            plot_point(axis, found[0], places[found[0]], metric, look, **mark(found[0]))
            continue
        means = [fmean(places[row]) for row in found]
        plot_curve(axis, found, means, metric, look)
        if found and numbered:
            last = means[-1], means_and_half_widths(found, metric)[0][-1]
            axis.annotate(
                f"round {found[-1].round}", last, (0, -11),
                textcoords="offset points", ha="center", va="top", fontsize=8,
                color=look["color"], label=f"_name of {look['label']}",
            )  # fmt: skip
    axis.set_title(panel_title(block, lines=2), loc="left")
    add_grid(axis)
