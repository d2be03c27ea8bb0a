"""Tickets and their controls by learning rate: accuracy against the weights that remain.

Source: Liu et al., Rethinking the Value of Network Pruning, ICLR 2019, arXiv:1810.05270.
"""

from collections.abc import Iterable, Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlth.figures._files import figure_path, save_figure
from graphlth.figures._remaining import rows_with_weights, set_weights_axis, weights_remaining
from graphlth.figures._style import (
    DENSE_SIGN,
    STYLE,
    Key,
    Look,
    Series,
    blocks_of,
    check_floor,
    finish_figure,
    interval_signs,
    key_of,
    looks_of,
    make_panels,
    metric_axis,
    no_records_error,
    panel_title,
    plot_baseline,
    plot_curve,
)
from graphlth.records.schema import Record
from graphlth.records.statistics import check_metric, summary
from graphlth.settings.types import Fraction


def learning_rate(
    records: Iterable[Record],
    *,
    out: str,
    metric: str = "test",
    title: str | None = None,
    floor: Fraction | None = None,
) -> None:
    """Draw accuracy against the weights that remain, by learning rate, into a file.

    Args:
        records: what `graphlth.records.read` gives.
        out: the file, ending in .png, .pdf or .svg.
        metric: which accuracy, "test" or "val".
        title: a title of your own above the panels.
        floor: the lowest accuracy shown, in [0, 1); what falls below leaves the panel.

    Raises:
        ValueError: another suffix, an unknown metric, a floor out of range, or no run with `lr`.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, metric, title=title, floor=floor), path)


def draw_figure(
    records: Iterable[Record],
    metric: str = "test",
    *,
    title: str | None = None,
    floor: Fraction | None = None,
) -> Figure:
    """The figure: a panel per task, model and learning rate, a line per run.

    Lines are means over seeds, bands their 95 % intervals; the panels of a task and model share
    their vertical axis. Runs that differ in learning rate and in the tickets that they read alone
    share a colour.
    """
    check_metric(metric)
    check_floor(floor)
    records = list(records)
    rows = rows_with_weights(summary(r for r in records if "lr" in r["settings"]), "lr", "tickets")
    if not rows:
        raise no_records_error("runs that have a learning rate (`lr`)", records)
    looks = looks_of(map(key_of, rows))
    shown = [
        (block, lr) for block in blocks_of(rows) for lr in sorted({*map(learning_rate_of, block)})
    ]
    with rc_context(STYLE):
        figure, axes = make_panels(len(shown))
        for axis, (block, lr) in zip(axes, shown, strict=True):
            first = axes[[other is block for other, _ in shown].index(True)]
            if axis is not first:
                axis.sharey(first)
            _panel(
                axis, [series for series in block if learning_rate_of(series) == lr], metric, looks
            )
        for axis, (block, _) in zip(axes, shown, strict=True):
            metric_axis(axis, block[0][0], metric, floor)
        signs = [DENSE_SIGN] if any(row.round == 0 for row in rows) else []
        finish_figure(figure, looks.values(), [*signs, *interval_signs(rows)], title)
    return figure


def learning_rate_of(series: Series) -> float:
    """The learning rate of a run."""
    lr: float = series[0].records[0]["settings"]["lr"]
    return lr


def _panel(axis: Axes, block: Sequence[Series], metric: str, looks: Mapping[Key, Look]) -> None:
    plot_baseline(axis, block, metric, looks)
    for series in block:
        plot_curve(axis, series, weights_remaining(series), metric, looks[key_of(series[0])])
    about = panel_title(block, lines=2).partition("\n")[0]
    axis.set_title(f"{about}\nlearning rate {learning_rate_of(block[0]):g}", loc="left")
    set_weights_axis(axis)
