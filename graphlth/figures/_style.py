"""What all figures share: colours, panels, means with their intervals, and legends."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby, zip_longest
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import Formatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from graphlth.records.schema import ACCURACY, Record, metric_title
from graphlth.records.statistics import IncompleteRecordsError, Row, interval, run_of
from graphlth.settings.annotations import check_value
from graphlth.settings.types import Fraction

# Okabe and Ito (2008), safe for colour-blind readers; black is kept for the dense baseline
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C7A00")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
DASHES = ("-", "--", ":")
DENSE = "black"
BROKEN = (0, (5, 3))
NUMBER = re.compile(r"(\d+(?:\.\d+)?)")
LETTERS = 12.5  # that an inch of the legend's lines holds
LISTED = ", "  # between the settings of a label
ROW = 0.24  # inches, of the legend
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "pdf.fonttype": 42,
    "svg.hashsalt": "graphlth",
}

Series = Sequence[Row]  # the rounds of one run
Key = tuple[str, str]  # algorithm and label: what one colour stands for
RUN_NAME = "run_name"  # of records whose run has a name of its own, which is then its label
Look = dict[str, Any]
Sign = tuple[Any, str]  # of a legend: what is drawn, what it means

DENSE_SIGN: Sign = Line2D([], [], color=DENSE, linestyle=BROKEN, linewidth=1.1), "dense"
SHADE = Patch(color="0.35", alpha=0.2, linewidth=0)


# --- what is drawn -------------------------------------------------------------------------------


def check_floor(floor: float | None) -> None:
    """Nothing; ValueError when `floor` is no accuracy."""
    check_value("floor", floor, Fraction | None)


class NoRecordsError(IncompleteRecordsError):
    """There is no record of what a figure shows."""


def no_records_error(need: str, records: Iterable[Record]) -> NoRecordsError:
    """The error of a figure that finds no record to draw: what it needs, and what it was given."""
    given = sorted({record["algorithm"] for record in records})
    return NoRecordsError(f"`records` must hold {need}, got {', '.join(given) or 'none'}")


def blocks_of(rows: Iterable[Row]) -> list[list[Series]]:
    """The runs of each task, model, edge universe and metric: what one panel, or row, shows."""
    return [
        [list(series) for _, series in groupby(block, run_of)]
        for _, block in groupby(sorted(rows, key=_universe), _universe)
    ]


def _universe(row: Row) -> tuple[str, str, str, str]:
    return row.task, row.model, row.edges or "", row.metric


def key_of(row: Row) -> Key:
    """Algorithm and label of a run, or its name; a control is called by what it changes.

    The metric is no part of the label: each has a panel, whose axis names it.
    """
    if name := row.records[0].get(RUN_NAME):
        return name, ""
    control = row.records[0]["settings"].get("control", "")
    parts = drop_settings(row.label, ("control",)).split(LISTED)
    return control or row.algorithm, LISTED.join(p for p in parts if p != f"metric={row.metric}")


def drop_settings(label: str, aside: Sequence[str]) -> str:
    """The label of a run without some of the settings in it."""
    return LISTED.join(p for p in label.split(LISTED) if p.partition("=")[0] not in aside)


def looks_of(keys: Iterable[Key]) -> dict[Key, Look]:
    """A colour and a marker for each series, the same in every panel."""
    return {
        key: {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
            "linestyle": DASHES[i // len(COLOURS) % len(DASHES)],
            "label": key[0].replace("_", " ") + (f" ({key[1]})" if key[1] else ""),
        }
        for i, key in enumerate(sorted(set(keys), key=_by_value))
    }


def _by_value(key: Key) -> list[list[tuple[str, float]]]:
    """What sorts series by name, and the numbers in a name by their value."""
    return [
        [("", float(part)) if i % 2 else (part, 0.0) for i, part in enumerate(NUMBER.split(name))]
        for name in key
    ]


def panel_title(block: Sequence[Series], lines: int = 1) -> str:
    """What a panel is about; in two lines where it is narrow."""
    first = block[0][0]
    rows = [row for series in block for row in series]
    many = format_span(row.n for row in rows)
    universe = f"{format_span(row.num_edges for row in rows)} {first.edges} edges"
    size = [universe if first.edges else "no graph"]
    size += [f"{format_span(row.num_weights for row in rows)} weights"]
    count = f"{many} {first.repetition}{'' if many == '1' else 's'}"
    names = [first.task, first.model]
    if lines == 1:
        return " · ".join([*names, *size, count])
    return " · ".join([*names, count]) + "\n" + " · ".join(size)


def format_span(numbers: Iterable[int]) -> str:
    """`5`, or `3–5` where numbers differ."""
    found = sorted(set(numbers))
    return "–".join(f"{n:,}" for n in dict.fromkeys((found[0], found[-1])))


# --- panels --------------------------------------------------------------------------------------


def empty_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    return Figure((width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def make_panels(count: int, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, `columns` of them beside one another."""
    across = min(count, columns)
    down = -(-count // across)
    figure = empty_figure(max(7.2, 0.6 + 5.0 * across), 3.9 * down)
    grid = list(figure.subplots(down, across, squeeze=False).flat)
    for empty in grid[count:]:
        empty.remove()
    return figure, grid[:count]


def add_grid(axis: Axes) -> None:
    """Faint lines behind the data."""
    axis.grid(axis="y", color="0.92", linewidth=0.8)
    axis.set_axisbelow(True)


def scale_of(row: Row) -> int:
    """What values of its metric are multiplied by: accuracy is drawn in per cent."""
    return 100 if row.metric == ACCURACY else 1


def metric_label(row: Row, split: str, when: str = "") -> str:
    """What a vertical axis of the metric is called, such as "test accuracy (%)"."""
    unit = " (%)" if row.metric == ACCURACY else ""
    return f"{split} {metric_title(row.metric)}{when}{unit}"


def metric_axis(axis: Axes, row: Row, split: str, floor: float | None = None) -> None:
    """A vertical axis of the metric of `row`; of accuracy the interval may leave [0, 100] %."""
    low, high = axis.get_ylim()
    if row.metric == ACCURACY:
        low, high = max(low, -1), min(high, 101)
    axis.set_ylim(low if floor is None else scale_of(row) * floor, high)
    axis.set_ylabel(metric_label(row, split))


def set_log_ticks(axis: Any, formatter: Formatter) -> None:
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(formatter)
    axis.xaxis.set_minor_locator(NullLocator())


# --- published points ----------------------------------------------------------------------------

PUBLISHED: dict[str, Any] = {
    "color": "0.2", "linestyle": "", "markersize": 6, "mfc": "none", "zorder": 5,
}  # fmt: skip
PUBLISHED_MARKS = ("D", "s", "^", "v", "P", "X")


def published_look(sources: Iterable[str], source: str) -> dict[str, Any]:
    """How the published points of one of some sources are drawn."""
    return {**PUBLISHED, "marker": PUBLISHED_MARKS[[*sources].index(source) % len(PUBLISHED_MARKS)]}


def published_signs(sources: Collection[str]) -> list[Sign]:
    """What the legend says of published points."""
    return [(Line2D([], [], **published_look(sources, source)), f"published: {source}")
            for source in sources]  # fmt: skip


# --- marks ---------------------------------------------------------------------------------------


class RoundPoints(Line2D):
    """Where the rounds of a run stand in a panel: not drawn, but what a page tells of each.

    Its label, and those of all else that belongs to a series, ends in " of " and the series' own.
    """

    def __init__(self, x: Any, y: Any, rows: Series, label: str) -> None:
        super().__init__(x, y, visible=False, label=f"_rounds of {label}")
        self.rows = rows


def means_and_half_widths(series: Series, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Means and half-widths, of accuracy in per cent; that of one seed is NaN."""
    columns = [[record[metric] for record in row.records] for row in series]
    scale = scale_of(series[0]) if series else 1
    means, halves = [fmean(c) for c in columns], [*map(half_width, columns)]
    return scale * np.array(means), scale * np.array(halves)


def half_width(column: Sequence[float]) -> float:
    """That of the mean's 95 % interval; of two values that of their range, of one NaN."""
    half = (max(column) - min(column)) / 2 if len(column) == 2 else interval(column)
    return np.nan if half is None else half


def plot_curve(
    axis: Axes, series: Series, x: Sequence[float | None], metric: str, look: Look
) -> None:
    """Means over seeds, joined, and the band of their intervals; bars where x turns or stays."""
    if series:
        mean, half = means_and_half_widths(series, metric)
        plot_band(axis, x, mean, mean - half, mean + half, look, series)


def plot_band(
    axis: Axes,
    x: Sequence[float | None],
    mean: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    look: Look,
    rows: Series,
) -> None:
    """The means of some rounds, joined, and the band from `low` to `high`, NaN where none is."""
    white = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    axis.plot(x, mean, **look, **white, linewidth=1.6, markersize=4.5, zorder=3)  # type: ignore[arg-type]
    axis.add_line(RoundPoints(x, mean, rows, look["label"]))
    steps = np.diff(np.array(x, dtype=float))
    if np.isfinite(low).any() and not ((steps > 0).all() or (steps < 0).all()):
        sides = [mean - low, high - mean]
        bars = {"ecolor": look["color"], "label": f"_bars of {look['label']}"}
        axis.errorbar(x, mean, sides, fmt="none", alpha=0.4, zorder=2, **bars)  # type: ignore[arg-type]
    elif np.isfinite(low).any():
        shade = {"color": look["color"], "alpha": 0.15, "linewidth": 0, "zorder": 1}
        axis.fill_between(x, low, high, **shade, label=f"_band of {look['label']}")  # type: ignore[arg-type]


def plot_point(
    axis: Axes,
    row: Row,
    x: Sequence[float],
    metric: str,
    look: Look,
    *,
    hollow: bool = False,
    size: float = 8,
    shift: float = 0,
) -> None:
    """The mean of `x` and of the metric; bars from the least to the greatest x, and the interval.

    `size` and `shift`, to the right of the true place, are points (1/72 inch).
    """
    (mean,), (half,) = means_and_half_widths([row], metric)
    centre = fmean(x)
    sides = [[centre - min(x)], [max(x) - centre]] if max(x) > min(x) else None
    line, caps, bars = axis.errorbar(
        [centre], [mean], xerr=sides, yerr=[half] if np.isfinite(half) else None,
        fmt=look["marker"], color=look["color"], label=look["label"], markersize=size,
        markerfacecolor="white" if hollow else look["color"],
        markeredgecolor=look["color"] if hollow else "white",
        markeredgewidth=1.4 if hollow else 0.8, elinewidth=1.2, capsize=2.5, zorder=4,
    )  # fmt: skip
    for bar in (*caps, *bars):
        bar.set_alpha(0.6)
    point = axis.add_line(RoundPoints([centre], [mean], [row], look["label"]))
    shift_aside(axis, (line, point, *caps, *bars), shift)


def shift_aside(axis: Axes, artists: Iterable[Any], shift: float) -> None:
    """Move what is drawn to the right of its true place by points (1/72 inch).

    The true place has told the axes how far they reach.
    """
    aside = ScaledTranslation(shift / 72, 0, axis.figure.dpi_scale_trans)
    for artist in artists if shift else ():
        artist.set_transform(axis.transData + aside)


def plot_baseline(
    axis: Axes, block: Sequence[Series], metric: str, looks: Mapping[Key, Look]
) -> list[tuple[str, list[Row]]]:
    """The dense level: one black line when the runs share it, else one a run in its colour.

    What comes back is the colour of each line and the rows of round 0 that it stands for.
    """
    dense = [series[0] for series in block if series[0].round == 0]
    levels = {tuple(record[metric] for record in row.records) for row in dense}
    groups = [(DENSE, dense)] if len(levels) == 1 else []
    groups = groups or [(looks[key_of(row)]["color"], [row]) for row in dense]
    for colour, rows in groups:
        (mean,), (half,) = means_and_half_widths(rows[:1], metric)
        axis.axhline(mean, color=colour, linestyle=BROKEN, linewidth=1.1, label="_dense")
        if np.isfinite(half):
            axis.axhspan(mean - half, mean + half, color=colour, alpha=0.07, linewidth=0, zorder=0)
    return groups


def interval_signs(rows: Series, mark: Any = SHADE) -> list[Sign]:
    """What a band, or another `mark`, is: the 95 % interval, or the range of two values."""
    many = sorted({row.repetition for row in rows if row.n > 2})
    two = sorted({row.repetition for row in rows if row.n == 2})
    told = [f"95 % interval over {' or '.join(f'{what}s' for what in many)}"] if many else []
    told += [f"range of 2 {' or '.join(f'{what}s' for what in two)}"] if two else []
    return [(mark, ", ".join(told))] if told else []


# --- legends -------------------------------------------------------------------------------------


def add_legend(figure: Figure, looks: Iterable[Look], signs: Sequence[Sign]) -> int:
    """How many lines the legend takes that is put below the panels: the series, then the signs."""
    series = [(Line2D([], [], **look, linewidth=1.6), look["label"]) for look in looks]
    letters = LETTERS * figure.get_figwidth()
    handles, names, columns = _table([*series, *signs], len(series), letters)
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
    return -(-len(handles) // columns)


def finish_figure(
    figure: Figure, looks: Iterable[Look], signs: Sequence[Sign], title: str | None
) -> None:
    """Add legend and title, and the height that they need."""
    lines = add_legend(figure, looks, signs)
    figure.set_figheight(figure.get_figheight() + ROW * lines + (0.3 if title else 0))
    if title:
        figure.suptitle(title, fontsize=13)


def draw_names_as_text(figure: Figure) -> None:
    """Draw a `$` of titles, legends and labels as it is: in names it begins no formula."""
    sides = [side for axis in figure.axes for side in (axis.xaxis, axis.yaxis)]
    ticks = {label for side in sides for label in side.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if text not in ticks:
            text.set_parse_math(False)


def _table(entries: list[Sign], first: int, letters: float) -> tuple[list[Any], list[str], int]:
    """Handles, names and columns of a legend: the `first` entries stand in rows of their own."""
    rows = [entries]
    for columns in range(len(entries), 0, -1):
        if sum(max(map(len, c)) + 8 for c in zip_longest(*_names(rows), fillvalue="")) <= letters:
            break
        series, keys = entries[:first], entries[first:]
        width = max(1, columns - 1)
        rows = [part[i : i + width] for part in (series, keys) for i in range(0, len(part), width)]
    blank = (Line2D([], [], linestyle=""), "")
    by_column = [cell for column in zip_longest(*rows, fillvalue=blank) for cell in column]
    return [h for h, _ in by_column], [n for _, n in by_column], max(map(len, rows))


def _names(rows: list[list[Sign]]) -> list[list[str]]:
    return [[name for _, name in row] for row in rows]
