"""Accuracy against edge sparsity, weight sparsity and MACs, as in the figures of UGS.

Source: Chen et al., A Unified Lottery Ticket Hypothesis for Graph Neural Networks, ICML 2021,
arXiv 2102.06790, figures 3 and 4.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from graphlth.figures._files import figure_path, save_figure
from graphlth.figures._style import (
    DENSE,
    DENSE_SIGN,
    STYLE,
    Key,
    Look,
    Series,
    Sign,
    add_grid,
    add_legend,
    blocks_of,
    check_floor,
    empty_figure,
    interval_signs,
    key_of,
    looks_of,
    means_and_half_widths,
    metric_axis,
    no_records_error,
    panel_title,
    plot_baseline,
    plot_curve,
    published_look,
    published_signs,
    scale_of,
    set_log_ticks,
)
from graphlth.records.gaps import check_margin, format_margin
from graphlth.records.schema import Record, run_key
from graphlth.records.statistics import Row, check_metric, run_of, summary
from graphlth.records.winning import Marks, mark_rows
from graphlth.settings.annotations import check_value
from graphlth.settings.types import Fraction, Positive

CROWDED = 90  # %: beyond it, rounds are told apart only by the ratios of what is left
TICKS = (0, 20, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99)  # %
HARDLY = 1.01  # times fewer MACs, below which they are not worth a panel
STAR = Line2D([], [], color="0.35", marker="*", markersize=12, linestyle="")
HOLLOW_STAR = Line2D([], [], color="0.35", marker="*", markersize=12, linestyle="", mfc="white")
PANELS: dict[str, Callable[[Row], float | None]] = {  # the axis, and the place of a round on it
    "edges removed (%)": lambda row: 100 * row.edge_sparsity,
    "weights removed (%)": lambda row: 100 * row.weight_sparsity,
    "MACs of one inference (log scale)": lambda row: row.macs or None,  # a logarithm knows no 0
}
_, WEIGHTS, MACS = PANELS
Published = Mapping[str, Mapping[int, float]]  # source: round: value, in the unit of the metric


def sparsity(
    records: Iterable[Record],
    *,
    out: str,
    metric: str = "test",
    title: str | None = None,
    floor: Fraction | None = None,
    margin: Positive | None = None,
) -> None:
    """Draw accuracy against sparsity and MACs into a file; what `draw` shows.

    Args:
        records: what `graphlth.records.read` gives.
        out: the file, ending in .png, .pdf or .svg.
        metric: which accuracy, "test" or "val".
        title: a title of your own instead of task, model and seeds.
        floor: the lowest accuracy shown, in [0, 1); what falls below leaves the panel.
        margin: what is no worse than dense, in the unit of the metric: of accuracy by default 0.01;
            without one, tickets of another metric are not tested.

    Raises:
        ValueError: another suffix, an unknown metric, a floor or a margin out of range or no
            records.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, metric, title=title, floor=floor, margin=margin), path)


def draw_figure(
    records: Iterable[Record],
    metric: str = "test",
    *,
    title: str | None = None,
    floor: Fraction | None = None,
    margin: Positive | None = None,
    published: Published | None = None,
) -> Figure:
    """The figure: a row of panels per task, model, edge universe and metric, a line per run.

    There is one for edges and one for weights, where any are removed, and one for MACs where they
    are counted and change by more than a hundredth. Lines are means over seeds, bands their 95 %
    Student-t intervals (of two seeds their range, of one none). Full stars stand on winning rounds,
    shown to be not inferior to dense by the margin; hollow ones on the others whose mean is at
    least the dense mean of their own run, the paper's rule. Beside a warning of its records, or of
    those of the dense round, no hollow star stands, and a full one only where the test shows it
    also without the seeds that have a warning. Rounds over several splits are not tested and have
    no full star. `published` has points of others, by round, in the unit of the metric, under the
    name of their source; they stand where the run of the first record has that round.
    """
    check_metric(metric)
    check_floor(floor)
    records = list(records)
    rows = summary(records)
    if not rows:
        raise no_records_error("at least one record", records)
    check_value("margin", margin, Positive | None)
    marks = mark_rows(rows, margin=margin, metric=metric)
    first = run_key(records[0])  # whose rounds the published points are of
    looks = looks_of(map(key_of, rows))
    blocks = [(block, _shown(block)) for block in blocks_of(rows)]
    most = max(len(shown) for _, shown in blocks)
    with rc_context(STYLE):
        height = 3.5 * len(blocks) + 0.3 + 0.25 * ((len(looks) + 2 * len(published or {})) // 3)
        height += 0.3 * len((title or "").splitlines())
        figure = empty_figure((7.2, 9, 12)[most - 1], height)
        grid = figure.subplots(len(blocks), most, sharey="row", squeeze=False)
        for axes, (block, shown) in zip(grid, blocks, strict=True):
            for spare in axes[len(shown) :]:
                spare.remove()
            panels = dict(zip(shown, axes, strict=False))
            _row(panels, block, metric, looks, marks)
            of_first = [row for series in block for row in series if run_of(row) == first]
            _published_points(panels, of_first, published or {})
            metric_axis(axes[0], block[0][0], metric, floor)  # the others share it
        signs = [*_signs(rows, margin, marks), *published_signs(published or {})]
        add_legend(figure, looks.values(), signs)
        if title:
            figure.suptitle(title, fontsize=13)
    return figure


def _signs(rows: Series, margin: float | None, marks: Marks) -> list[Sign]:
    signs = [DENSE_SIGN] if any(row.round == 0 for row in rows) else []
    for metric in sorted({row.metric for row in marks.winning}):
        allowed = format_margin(check_margin(margin, metric), metric)
        signs.append((STAR, f"winning: shown to be less than {allowed} below dense"))
    if marks.by_rule_alone:
        signs.append((HOLLOW_STAR, "only the paper's rule: mean at least dense"))
    return signs + interval_signs(rows)


def _shown(block: Sequence[Series]) -> list[str]:
    """The panels that have something to show; of a dense network alone that of the weights."""
    rows = [row for series in block for row in series]
    tickets = [row for row in rows if row.round]
    found = [name for name, x in PANELS.items() if any(map(x, tickets))]
    macs = [row.macs for row in rows if row.macs]
    if len(found) > 1 and MACS in found and max(macs) < HARDLY * min(macs):
        found.remove(MACS)
    return found or [WEIGHTS]


def _row(
    panels: Mapping[str, Axes],
    block: Sequence[Series],
    metric: str,
    looks: Mapping[Key, Look],
    marks: Marks,
) -> None:
    """One task, model, edge universe and metric: its panels, the first with the heading."""
    for name, axis in panels.items():
        x = PANELS[name]
        plot_baseline(axis, block, metric, looks)
        for i, series in enumerate(block):
            prunes = name == MACS or any(x(row) for row in series)
            shown = [row for row in series if x(row) is not None and (prunes or row.round == 0)]
            look = looks[key_of(series[0])]
            plot_curve(axis, shown, [x(row) for row in shown], metric, look)
            for hollow, marked in enumerate((marks.winning, marks.by_rule_alone)):
                if own := [row for row in shown if row in marked]:
                    places, size = [x(row) for row in own], 16 - 7 * i / len(block)
                    _stars(axis, own, places, metric, look, size, bool(hollow))
        add_grid(axis)
        if name == MACS:
            _macs(axis, block)
        else:
            _per_cent(axis, name)
    first = next(iter(panels.values()))
    first.set_title(panel_title(block, lines=1 if len(panels) == 3 else 2), loc="left")


def _stars(
    axis: Axes,
    rows: Series,
    x: Sequence[float | None],
    metric: str,
    look: Look,
    size: float,
    hollow: bool,
) -> None:
    """The stars of a series; sizes differ from one to another so that none is hidden."""
    colour, kind = look["color"], "hollow stars" if hollow else "stars"
    fill, edge = ("white", colour) if hollow else (colour, "white")
    mean, _ = means_and_half_widths(rows, metric)
    axis.plot(
        x, mean, "*", label=f"_{kind} of {look['label']}", markersize=size, zorder=4,  # type: ignore[arg-type]
        color=colour, markerfacecolor=fill, markeredgecolor=edge, markeredgewidth=0.8,
    )  # fmt: skip


def _published_points(panels: Mapping[str, Axes], series: Series, published: Published) -> None:
    """The points of others, over the rounds of a series that they are of."""
    for name, axis in panels.items():
        x = PANELS[name]
        prunes = name == MACS or any(map(x, series))
        for source, values in published.items():
            rows = [row for row in series if row.round in values and x(row) is not None]
            shown = [row for row in rows if prunes or row.round == 0]
            axis.plot(
                [x(row) for row in shown],  # type: ignore[arg-type]
                [scale_of(row) * values[row.round] for row in shown],
                label=f"_{source}", **published_look(published, source),
            )  # fmt: skip


def _per_cent(axis: Axes, name: str) -> None:
    """A sparsity axis; where rounds crowd near 100 % it is logarithmic in what is left."""
    axis.set_xlabel(name)
    highest = max((float(np.max(line.get_xdata())) for line in _points(axis)), default=0.0)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if highest == 0:
        axis.set(xlim=(-4, 104), xticks=[0])
        axis.text(0.5, 0.06, "none removed", transform=axis.transAxes, ha="center", color="0.5")
        return
    if not CROWDED < highest < 100:
        axis.set_xlim(-0.04 * highest, 1.04 * highest)
        return
    left = 100 - highest
    span = np.log(100 / left)
    axis.set_xscale("function", functions=(_crowd, _uncrowd))
    axis.set_xlim(_uncrowd(-0.04 * span), _uncrowd(1.04 * span))
    axis.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if 100 - tick >= left / 1.1]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(f"{name}, log scale of what is left")


def _crowd(per_cent: Any) -> Any:
    return -np.log(np.maximum(100 - np.asarray(per_cent, dtype=float), 1e-9) / 100)


def _uncrowd(position: Any) -> Any:
    return 100 - 100 * np.exp(-np.asarray(position, dtype=float))


def _points(axis: Axes) -> list[Line2D]:
    """The lines that hold data, not the dense level."""
    data = [line for line in axis.lines if line.get_label() != "_dense"]
    return [line for line in data if np.size(line.get_xdata())]


def _macs(axis: Axes, block: Sequence[Series]) -> None:
    """MACs of one inference, falling to the right; above, how many times fewer than dense."""
    axis.set_xlabel(MACS)
    axis.set_xscale("log")
    set_log_ticks(axis, EngFormatter(sep=" "))
    axis.invert_xaxis()
    dense = {series[0].macs for series in block if series[0].round == 0 and series[0].macs}
    for macs in dense:
        axis.axvline(macs, color=DENSE, linestyle=(0, (1, 2)), linewidth=1, label="_dense")
    places = [float(x) for line in _points(axis) for x in np.asarray(line.get_xdata())]
    fewest = min(places)
    if max(places) < 5 * fewest:  # too short for ticks at 1, 2 and 5
        axis.xaxis.set_major_locator(MaxNLocator(4))
    if len(dense) != 1 or max(dense) < 1.5 * fewest:
        return
    (macs,) = dense
    above = axis.secondary_xaxis("top", functions=(_times(macs), _times(macs)))
    above.set_xlabel("times fewer than dense", color="0.35", fontsize=9)
    above.spines["top"].set_visible(True)
    above.spines["top"].set_color("0.7")
    above.tick_params(color="0.7", labelcolor="0.35", labelsize=9)
    set_log_ticks(above, FuncFormatter(lambda value, _: f"{value:g}×"))


def _times(dense: float) -> Callable[[Any], Any]:
    """The function dense / x, which is its own inverse."""
    return lambda x: dense / np.maximum(np.asarray(x, dtype=float), 1e-9)
