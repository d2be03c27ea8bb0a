"""At which epoch the mask phase of UGS has its best masks, and what the ticket loses.

Source: UGS (Chen et al., ICML 2021, arXiv:2102.06790), whose released code keeps the masks of the
epoch of the best validation accuracy.
"""

from collections.abc import Iterable, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from graphlth.figures._files import figure_path, save_figure
from graphlth.figures._style import (
    BROKEN,
    DENSE,
    DENSE_SIGN,
    STYLE,
    Series,
    Sign,
    add_grid,
    blocks_of,
    finish_figure,
    key_of,
    looks_of,
    make_panels,
    no_records_error,
    panel_title,
    scale_of,
)
from graphlth.records.gaps import paired_gaps
from graphlth.records.schema import ACCURACY, Record, metric_title
from graphlth.records.statistics import summary

FIELD = "mask_epoch"  # of a record
SEED: Sign = (
    Line2D([], [], color="0.35", marker="o", markersize=4.5, linestyle=""), "a seed in a round"
)  # fmt: skip


def mask_epoch(records: Iterable[Record], *, out: str, title: str | None = None) -> None:
    """Draw the loss of tickets against the epoch of their masks into a file; see `draw_figure`.

    Args:
        records: what `graphlth.records.read` gives, of `ugs`.
        out: the file, ending in .png, .pdf or .svg.
        title: a title of your own above the panels.

    Raises:
        ValueError: another suffix, or no ticket with the epoch of its masks and a dense network.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, title=title), path)


def draw_figure(records: Iterable[Record], *, title: str | None = None) -> Figure:
    """The figure: a panel per run, a dot for the ticket of each seed in each round.

    Horizontally the epoch of the mask phase whose masks the ticket is pruned by, vertically its
    test value against the dense network of its seed (above 0 better); colours are rounds. A run
    without round 0 is left out.
    """
    records = list(records)
    kept = [r for r in records if r["round"] == 0 or FIELD in r]
    series = [run for block in blocks_of(summary(kept)) for run in block
              if run[0].round == 0 and len(run) > 1]  # fmt: skip
    if not series:
        raise no_records_error(f"tickets of `ugs` with `{FIELD}`, and their round 0", records)
    last = max(row.round for run in series for row in run)
    looks = looks_of(key_of(run[0]) for run in series)
    with rc_context(STYLE):
        figure, axes = make_panels(len(series), columns=2)
        for axis, run in zip(axes, series, strict=True):
            dots = _panel(axis, run, last)
            axis.set_title(f"{panel_title([run], lines=2)}\n{looks[key_of(run[0])]['label']}",
                           loc="left")  # fmt: skip
        figure.colorbar(dots, ax=axes, label="round", ticks=MaxNLocator(integer=True, nbins=8))
        finish_figure(figure, [], [SEED, DENSE_SIGN], title)
    return figure


def _panel(axis: Axes, run: Series, last: int) -> PathCollection:
    """The dots of a run; rounds up to `last` have a colour."""
    x, y, rounds = dots_of(run)
    dots = axis.scatter(x, y, c=rounds, cmap="viridis_r", vmin=1, vmax=max(last, 2), s=22,
                        linewidths=0.4, edgecolors="white", zorder=3)  # fmt: skip
    axis.axhline(0, color=DENSE, linestyle=BROKEN, linewidth=1.1, label="_dense")
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("epoch of the masks")
    axis.set_ylabel(gap_label(run[0].metric, run[0].direction))
    add_grid(axis)
    return dots


def gap_label(metric: str, direction: str) -> str:
    """What the axis of gaps is called, which are above 0 where the ticket is better."""
    sides = [f"test {metric_title(metric)}", "dense"]
    gap = " − ".join(sides if direction == "max" else sides[::-1])
    return f"{gap} (points)" if metric == ACCURACY else gap


def dots_of(run: Series) -> tuple[Sequence[int], Sequence[float], Sequence[int]]:
    """Epoch of the masks, gap to the dense network and round of every ticket of a run."""
    dense, *tickets = run
    found = []
    for row in tickets:
        gaps = paired_gaps(row.records, dense.records)
        found += [(r[FIELD], scale_of(row) * gaps[r["seed"]], row.round)
                  for r in row.records if r["seed"] in gaps]  # fmt: skip
    epochs, losses, rounds = zip(*found, strict=True) if found else ((), (), ())
    return epochs, losses, rounds
