"""How far the masks drawn at different epochs of an early-bird search lie from one another.

Sources: You et al., Drawing Early-Bird Tickets, ICLR 2020 (openreview BJxsrgStvr); You et al.,
Early-Bird GCNs, AAAI 2022, arXiv:2103.00794.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from graphlth.figures._draws import drawn_epochs, draws_at_set_epochs, early_bird_rows, ticket_rows
from graphlth.figures._files import figure_path, save_figure
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
    empty_figure,
    finish_figure,
    key_of,
    looks_of,
    panel_title,
    set_log_ticks,
)
from graphlth.records.schema import Record
from graphlth.records.statistics import IncompleteRecordsError

COLOUR_MAP = "cividis"  # even in lightness, and the same to colour-blind readers
LEAST = 1e-3  # of a distance on the logarithmic axis: below it lies 0
THRESHOLD: Sign = (
    Line2D([], [], color=DENSE, linestyle=BROKEN, linewidth=1.1), "threshold of the criterion"
)  # fmt: skip
DRAWN: Sign = Line2D([], [], color="0.35", marker="o", markersize=7, linestyle=""), "a seed draws"
WHOLE: Sign = Line2D([], [], color="0.35", linestyle=":", linewidth=1.2), "search of several draws"
SPREAD: Sign = Patch(color="0.35", alpha=0.2, linewidth=0), "least to greatest over seeds"


def distances(records: Iterable[Record], *, out: str, title: str | None = None) -> None:
    """Draw the distances between drawn masks into a file; what `draw` shows.

    Args:
        records: what `graphlth.records.read` gives, of `early_bird`, `geb` or
            `joint_early_bird`.
        out: the file, ending in .png, .pdf or .svg.
        title: a title of your own above the panels.

    Raises:
        ValueError: another suffix, or no early-bird runs.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, title=title), path)


def draw_figure(records: Iterable[Record], *, title: str | None = None) -> Figure:
    """The figure: a row of panels per task, model, edge universe and metric.

    Left, for each run of several draws, the mean over seeds of the fraction of the mask in which
    two draws differ. Right, for every run, the distance from one draw to the next as its criterion
    sees it (of graphs relative to the first): the mean over the seeds that still search.
    """
    rows = early_bird_rows(records)
    looks, blocks = looks_of(map(key_of, rows)), blocks_of(rows)
    wide = max(len(_matrices(block)) for block in blocks)
    with rc_context(STYLE):
        figure = empty_figure(5.6 + 4.8 * wide, 4.1 * len(blocks))
        ratios = [1.0] * wide + [1.15]
        grid = figure.subplots(len(blocks), wide + 1, squeeze=False, width_ratios=ratios)
        for axes, block in zip(grid, blocks, strict=True):
            *left, right = axes
            _trajectories(right, block, looks)
            for axis, series in zip(left, _matrices(block), strict=False):
                _matrix(figure, axis, series, looks)
            for empty in left[len(_matrices(block)) :]:
                empty.set_axis_off()
            if left and not _matrices(block):
                note = {"transform": left[0].transAxes, "ha": "center", "color": "0.5"}
                left[0].text(0.5, 0.5, "no run of several draws", **note)
        finish_figure(figure, looks.values(), _signs(blocks), title)
    return figure


def _matrices(block: Sequence[Series]) -> list[Series]:
    return [series for series in block if len(ticket_rows(series)) > 1]


def distances_of_draws(series: Series) -> np.ndarray:
    """The distance between any two draws of a run: symmetric, [draws, draws], mean over seeds.

    Raises:
        IncompleteRecordsError: the record of a draw is missing.
    """
    drawn = ticket_rows(series)
    matrix = np.zeros((len(drawn), len(drawn)))
    for i, row in enumerate(drawn):
        if row.round != i + 1:
            raise IncompleteRecordsError(
                f"`records` of {row.algorithm} must hold every draw, lack {i + 1}"
            )
        earlier = [record["distances_to_earlier"] for record in row.records]
        matrix[i, :i] = matrix[:i, i] = np.mean(earlier, axis=0)
    return matrix


def _matrix(figure: Figure, axis: Axes, series: Series, looks: Mapping[Key, Look]) -> None:
    when = [drawn_epochs(row)[0] for row in ticket_rows(series)]
    image = axis.imshow(
        100 * distances_of_draws(series), cmap=COLOUR_MAP, vmin=0, interpolation="nearest"
    )
    step = -(-len(when) // 5)
    places = range(step - 1, len(when), step)
    for side in (axis.xaxis, axis.yaxis):
        side.set_ticks(places, labels=[str(when[i]) for i in places])
    axis.spines[:].set_visible(False)
    axis.set(xlabel="epoch of one draw", ylabel="epoch of the other")
    bar = figure.colorbar(image, ax=axis, shrink=0.85, label="part of the mask that differs (%)")
    bar.outline.set_visible(False)
    axis.set_title(_run_label(series, looks), loc="left")


def _run_label(series: Series, looks: Mapping[Key, Look]) -> str:
    first = series[0]
    label = looks[key_of(first)]["label"]
    return f"{first.task} · {first.model} · {panel_title([series]).rpartition(' · ')[2]}\n{label}"


def trajectories(series: Series) -> list[list[float]]:
    """For each seed of a run, the distance from one draw to the next after each epoch."""
    return [record["mask_distances"] for record in ticket_rows(series)[-1].records]


def first_epoch(series: Series) -> int:
    """The epoch of a run's first distance: 2, or 1 if it is that from the dense masks."""
    row = ticket_rows(series)[-1]
    return drawn_epochs(row)[0] - len(row.records[0]["mask_distances"]) + 1


def _trajectories(axis: Axes, block: Sequence[Series], looks: Mapping[Key, Look]) -> None:
    for series in block:
        _trajectory(axis, series, looks[key_of(series[0])])
    thresholds = sorted({series[0].records[0]["settings"]["epsilon"] for series in block})
    for threshold in thresholds:
        axis.axhline(threshold, color=DENSE, linestyle=BROKEN, linewidth=1.1, label="_threshold")
    told = [d for series in block for seed in trajectories(series) for d in seed]
    if min(told, default=0) > 0:
        axis.set_yscale("log")
    else:
        axis.set_yscale("symlog", linthresh=LEAST, linscale=0.3)
        axis.set_ylim(bottom=0)
    axis.set_ylim(top=1.3 * max(told + thresholds))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xscale("log")
    set_log_ticks(axis, FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set(xlabel="epoch of the search (log scale)", ylabel="distance to the draw before")
    axis.set_title(panel_title(block, lines=2), loc="left")
    add_grid(axis)


def _trajectory(axis: Axes, series: Series, look: Look) -> None:
    """A run: the mean and range of the seeds that still search, and the last step of each."""
    seeds, colour, first = trajectories(series), look["color"], first_epoch(series)
    if not all(seeds):  # drawn at the first epoch: there was none before
        return
    steps = range(first, first + max(map(len, seeds)))
    still = [[seed[t - first] for seed in seeds if len(seed) > t - first] for t in steps]
    broken = (
        {"linestyle": ":", "linewidth": 1.2} if draws_at_set_epochs(series) else {"linewidth": 1.6}
    )
    mean = [float(np.mean(now)) for now in still]
    axis.plot(steps, mean, color=colour, label=look["label"], zorder=2, **broken)
    band = {"color": colour, "alpha": 0.15, "linewidth": 0, "zorder": 1}
    low, high = [*map(min, still)], [*map(max, still)]
    axis.fill_between(steps, low, high, **band, label=f"_band of {look['label']}")
    if not draws_at_set_epochs(series):
        axis.plot(
            drawn_epochs(ticket_rows(series)[-1]), [seed[-1] for seed in seeds], look["marker"],
            color=colour, label=f"_draws of {look['label']}", markersize=7, zorder=3,
            markeredgecolor="white", markeredgewidth=0.8,
        )  # fmt: skip


def _signs(blocks: Sequence[Sequence[Series]]) -> list[Sign]:
    kinds = {draws_at_set_epochs(series) for block in blocks for series in block}
    several = any(row.n > 1 for block in blocks for series in block for row in series)
    told = [(DRAWN, False in kinds), (WHOLE, True in kinds), (SPREAD, several)]
    return [THRESHOLD, *(sign for sign, there in told if there)]
