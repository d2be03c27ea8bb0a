"""Accuracy against edge sparsity, weight sparsity and MACs, as in the figures of UGS.

Source: Chen et al., A Unified Lottery Ticket Hypothesis for Graph Neural Networks, ICML 2021,
arXiv 2102.06790, figures 3 and 4.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    Formatter,
    FuncFormatter,
    LogLocator,
    NullLocator,
)

from graphlth.record import Record, Row, check_metric, replacing, run_of, summary, winners

# Okabe and Ito (2008), safe for colour-blind readers; black is kept for the dense baseline
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C7A00")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
DASHES = ("-", "--", ":")
DENSE = "black"
LETTERS = 150  # that a line of the legend holds
SUFFIXES = (".png", ".pdf", ".svg")
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "pdf.fonttype": 42,
    "svg.hashsalt": "graphlth",
}
CROWDED = 90  # %: beyond it, rounds are told apart only by the ratios of what is left
TICKS = (0, 20, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99)  # %

Series = Sequence[Row]  # the rounds of one run
Key = tuple[str, str]  # algorithm and label: what one colour stands for
Look = dict[str, Any]


def sparsity(
    records: Iterable[Record],
    *,
    out: str,
    metric: str = "test",
    title: str | None = None,
    floor: float | None = None,
) -> None:
    """Draw accuracy against sparsity and MACs into a file; what `draw` shows.

    Args:
        records: what `graphlth.record.read` gives.
        out: the file, ending in .png, .pdf or .svg.
        metric: which accuracy, "test" or "val".
        title: a title of your own instead of task, model and seeds.
        floor: the lowest accuracy shown, in [0, 1); what falls below leaves the panel.

    Raises:
        ValueError: another suffix, an unknown metric, a floor out of range or no records.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = Path(out)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"`out` must end in one of {', '.join(SUFFIXES)}, got {out!r}")
    figure = draw(records, metric, title=title, floor=floor)
    undated = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}[path.suffix]
    with rc_context(STYLE), replacing(path) as draft:
        figure.savefig(draft, dpi=160, metadata=undated)


def draw(
    records: Iterable[Record],
    metric: str = "test",
    *,
    title: str | None = None,
    floor: float | None = None,
) -> Figure:
    """The figure: a row of three panels per task, model and edge universe, a line per run.

    Lines are means over seeds, bands their 95 % Student-t intervals (none with one seed), stars
    the winning tickets: rounds whose mean is at least the dense mean of their own run.
    """
    check_metric(metric)
    if floor is not None and not 0 <= floor < 1:
        raise ValueError(f"`floor` must be in [0, 1), got {floor}")
    rows = summary(records)
    if not rows:
        raise ValueError("`records` must hold at least one record, got none")
    stars = winners(rows, metric=metric)
    looks = _looks(rows)
    blocks = [
        [list(s) for _, s in groupby(block, run_of)]
        for _, block in groupby(sorted(rows, key=_block), _block)
    ]
    with rc_context(STYLE):
        size = (12, 3.5 * len(blocks) + 0.3 + 0.25 * (len(looks) // 3) + (0.3 if title else 0))
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
        grid = figure.subplots(len(blocks), 3, sharey="row", squeeze=False)
        for axes, block in zip(grid, blocks, strict=True):
            _row(axes, block, metric, looks, stars)
            if floor is not None:
                axes[0].set_ylim(bottom=100 * floor)  # the others share it
        _legend(figure, rows, metric, looks, stars)
        if title:
            figure.suptitle(title, fontsize=13)
    return figure


def _block(row: Row) -> tuple[str, str, str]:
    return row.task, row.model, row.edges or ""


def _key(row: Row) -> Key:
    return row.algorithm, row.label


def _looks(rows: Sequence[Row]) -> dict[Key, Look]:
    """A colour and a marker for each series, the same in every panel."""
    return {
        key: {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": DASHES[i // len(COLOURS) % len(DASHES)],
            "label": key[0].replace("_", " ") + (f" ({key[1]})" if key[1] else ""),
        }
        for i, key in enumerate(sorted({_key(row) for row in rows}))
    }


def _row(
    axes: Sequence[Axes],
    block: Sequence[Series],
    metric: str,
    looks: dict[Key, Look],
    stars: Series,
) -> None:
    """One task, model and edge universe: the three panels."""
    left, middle, right = axes
    panels: list[tuple[Axes, Callable[[Row], float | None]]] = [
        (left, lambda row: 100 * row.edge_sparsity),
        (middle, lambda row: 100 * row.weight_sparsity),
        (right, lambda row: row.macs or None),  # a logarithm knows no 0
    ]
    for axis, x in panels:
        _baseline(axis, block, metric, looks)
        for i, series in enumerate(block):
            prunes = axis is right or any(x(row) for row in series)
            shown = [row for row in series if x(row) is not None and (prunes or row.round == 0)]
            look = looks[_key(series[0])]
            _line(axis, shown, [x(row) for row in shown], metric, look)
            won = [row for row in shown if row in stars]
            _stars(axis, won, [x(row) for row in won], metric, look, 16 - 7 * i / len(block))
        axis.grid(axis="y", color="0.92", linewidth=0.8)
        axis.set_axisbelow(True)
    _per_cent(left, "edges removed (%)")
    _per_cent(middle, "weights removed (%)")
    _macs(right, block)
    low, high = left.get_ylim()
    left.set_ylim(max(low, -1), min(high, 101))  # a wide interval of few seeds may leave [0, 100]
    left.set_ylabel(f"{metric} accuracy (%)")
    left.set_title(_heading(block), loc="left")


def _values(series: Series, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Means and half-widths in per cent; a half-width is NaN where there is one seed."""
    half = [getattr(row, f"{metric}_interval") for row in series]
    mean = 100 * np.array([getattr(row, metric) for row in series])
    return mean, 100 * np.array([np.nan if h is None else h for h in half])


def _line(axis: Axes, series: Series, x: Sequence[float | None], metric: str, look: Look) -> None:
    if not series:
        return
    mean, half = _values(series, metric)
    white = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    axis.plot(x, mean, **look, **white, linewidth=1.6, markersize=4.5, zorder=3)  # type: ignore[arg-type]
    if np.isfinite(half).any():
        band = {"color": look["color"], "alpha": 0.15, "linewidth": 0, "zorder": 1}
        axis.fill_between(x, mean - half, mean + half, **band)  # type: ignore[arg-type]


def _stars(
    axis: Axes, won: Series, x: Sequence[float | None], metric: str, look: Look, size: float
) -> None:
    """Winning tickets; sizes differ between series so that no star hides another."""
    look = {"color": look["color"], "label": f"_stars of {look['label']}"}
    white = {"markeredgecolor": "white", "markeredgewidth": 0.8}
    axis.plot(x, _values(won, metric)[0], "*", **look, **white, markersize=size, zorder=4)  # type: ignore[arg-type]


def _baseline(axis: Axes, block: Sequence[Series], metric: str, looks: dict[Key, Look]) -> None:
    """The dense level: one black line when the runs share it, else one a run in its colour."""
    dense = [series[0] for series in block if series[0].round == 0]
    levels = {(getattr(row, metric), getattr(row, f"{metric}_interval")) for row in dense}
    for row in dense[:1] if len(levels) == 1 else dense:
        colour = DENSE if len(levels) == 1 else looks[_key(row)]["color"]
        (mean,), (half,) = _values([row], metric)
        axis.axhline(mean, color=colour, linestyle=(0, (5, 3)), linewidth=1.1, label="_dense")
        if np.isfinite(half):
            axis.axhspan(mean - half, mean + half, color=colour, alpha=0.07, linewidth=0, zorder=0)


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
    axis.set_xlabel("MACs of one inference (log scale)")
    if not _points(axis):
        axis.set_xticks([])
        axis.text(0.5, 0.5, "MACs not counted", transform=axis.transAxes, ha="center", color="0.5")
        return
    axis.set_xscale("log")
    _log_ticks(axis, EngFormatter(sep=" "))
    axis.invert_xaxis()
    dense = {series[0].macs for series in block if series[0].round == 0 and series[0].macs}
    for macs in dense:
        axis.axvline(macs, color=DENSE, linestyle=(0, (1, 2)), linewidth=1, label="_dense")
    fewest = min(float(np.min(line.get_xdata())) for line in _points(axis))
    if len(dense) != 1 or max(dense) < 1.5 * fewest:
        return
    (macs,) = dense
    above = axis.secondary_xaxis("top", functions=(_times(macs), _times(macs)))
    above.set_xlabel("times fewer than dense", color="0.35", fontsize=9)
    above.spines["top"].set_visible(True)
    above.spines["top"].set_color("0.7")
    above.tick_params(color="0.7", labelcolor="0.35", labelsize=9)
    _log_ticks(above, FuncFormatter(lambda value, _: f"{value:g}×"))


def _log_ticks(axis: Any, formatter: Formatter) -> None:
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(formatter)
    axis.xaxis.set_minor_locator(NullLocator())


def _times(dense: float) -> Callable[[Any], Any]:
    """The function dense / x, which is its own inverse."""
    return lambda x: dense / np.maximum(np.asarray(x, dtype=float), 1e-9)


def _heading(block: Sequence[Series]) -> str:
    first = block[0][0]
    seeds = sorted({row.n for series in block for row in series})
    many = f"{seeds[0]}–{seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    universe = f"{first.num_edges:,} {first.edges} edges" if first.edges else "no graph"
    return " · ".join(
        (
            first.task,
            first.model,
            universe,
            f"{first.num_weights:,} weights",
            f"{many} seed{'' if many == '1' else 's'}",
        )
    )


def _legend(
    figure: Figure, rows: Sequence[Row], metric: str, looks: dict[Key, Look], stars: Series
) -> None:
    handles: list[Any] = [Line2D([], [], **look, linewidth=1.6) for look in looks.values()]
    names = [look["label"] for look in looks.values()]
    if any(row.round == 0 for row in rows):
        handles.append(Line2D([], [], color=DENSE, linestyle=(0, (5, 3)), linewidth=1.1))
        names.append("dense")
    if stars:
        handles.append(Line2D([], [], color="0.35", marker="*", markersize=12, linestyle=""))
        names.append("winning ticket: mean at least dense")
    if any(getattr(row, f"{metric}_interval") is not None for row in rows):
        handles.append(Patch(color="0.35", alpha=0.2, linewidth=0))
        names.append("95 % interval over seeds")
    handles, names, columns = _table(list(zip(handles, names, strict=True)), len(looks))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)


def _table(entries: list[tuple[Any, str]], first: int) -> tuple[list[Any], list[str], int]:
    """Handles, names and columns of a legend: the `first` entries stand in rows of their own."""
    rows = [entries]
    for columns in range(len(entries), 0, -1):
        if sum(max(map(len, c)) + 8 for c in zip_longest(*_names(rows), fillvalue="")) <= LETTERS:
            break
        series, keys = entries[:first], entries[first:]
        width = max(1, columns - 1)
        rows = [part[i : i + width] for part in (series, keys) for i in range(0, len(part), width)]
    blank = (Line2D([], [], linestyle=""), "")
    by_column = [cell for column in zip_longest(*rows, fillvalue=blank) for cell in column]
    return [h for h, _ in by_column], [n for _, n in by_column], max(map(len, rows))


def _names(rows: list[list[tuple[Any, str]]]) -> list[list[str]]:
    return [[name for _, name in row] for row in rows]
