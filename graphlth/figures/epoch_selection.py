"""What the choice of the epoch is worth, round by round."""

from collections.abc import Iterable

from matplotlib.figure import Figure

from graphlth.figures._files import figure_path, save_figure
from graphlth.figures._measures import ROUND, Panels, draw_measures
from graphlth.records.schema import ACCURACY, Record, metric_of

NEEDED = "optimism"  # a field of a record


def epoch_selection(records: Iterable[Record], *, out: str, title: str | None = None) -> None:
    """Draw what the choice of the epoch is worth into a file; what `draw_figure` shows.

    Args:
        records: what `graphlth.records.read` gives, of `graphlth analyze epoch_selection`.
        out: the file, ending in .png, .pdf or .svg.
        title: a title of your own above the panels.

    Raises:
        ValueError: another suffix, or no record of a choice of epochs.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, title=title), path)


def draw_figure(records: Iterable[Record], *, title: str | None = None) -> Figure:
    """The figure: for each task, model and edge universe a panel for each measure.

    By how much the best test value of all epochs is better than the test value at the epoch of the
    best validation value, by how much this is better than the last epoch, and both epochs, by
    round. Means over seeds with 95 % Student-t intervals.
    """
    records = list(records)
    missing = "the choice of epochs, as `graphlth analyze epoch_selection` adds it"
    return draw_measures(
        records, panels_of(records), needed=NEEDED, missing=missing, columns=2, title=title,
        places=ROUND,
    )  # fmt: skip


def panels_of(records: Iterable[Record]) -> Panels:
    """The panels, in points where the metric is accuracy."""
    in_points = all(metric_of(record) == ACCURACY for record in records)
    factor, unit = (100, " (points)") if in_points else (1, "")
    return (
        (f"best test − at best val{unit}", lambda r: factor * r["optimism"]),
        (f"at best val − last epoch{unit}", lambda r: factor * r["early_peak"]),
        ("epoch of the best val", lambda r: r["epoch_by_val"]),
        ("epoch of the best test", lambda r: r["epoch_by_test"]),
    )
