"""At which nodes the removed edges lie, against how many are removed."""

from collections.abc import Iterable

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from graphlth.figures._files import figure_path, save_figure
from graphlth.figures._measures import Panels, draw_measures, percent
from graphlth.records.schema import Record

NEEDED = "removed_from_training"  # a field of a record
PANELS: Panels = (
    ("leave a training node (%)", lambda r: percent(r["removed_from_training"])),
    ("enter a training node (%)", lambda r: percent(r["removed_into_training"])),
    ("out-degree of the source", lambda r: r["removed_source_degree"]),
    ("in-degree of the target", lambda r: r["removed_target_degree"]),
)
WHOLE: Panels = (
    (PANELS[0][0], lambda r: percent(r["all_from_training"])),
    (PANELS[1][0], lambda r: percent(r["all_into_training"])),
    (PANELS[2][0], lambda r: r["all_source_degree"]),
    (PANELS[3][0], lambda r: r["all_target_degree"]),
)
ALL_EDGES = (Line2D([], [], color="0.3", linestyle="--", linewidth=1), "all edges of the graph")


def removed_edges(records: Iterable[Record], *, out: str, title: str | None = None) -> None:
    """Draw at which nodes the removed edges lie into a file; what `draw_figure` shows.

    Args:
        records: what `graphlth.records.read` gives, of `graphlth analyze removed_edges`.
        out: the file, ending in .png, .pdf or .svg.
        title: a title of your own above the panels.

    Raises:
        ValueError: another suffix, or no record of removed edges.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, title=title), path)


def draw_figure(records: Iterable[Record], *, title: str | None = None) -> Figure:
    """The figure: for each task, model and edge universe a panel for each measure.

    The shares of the removed edges that leave and that enter a training node, and the mean degrees
    of their ends in the whole graph, against the share of removed edges; dashed, all edges. Means
    over seeds with 95 % Student-t intervals.
    """
    missing = "removed edges, as `graphlth analyze removed_edges` adds them"
    return draw_measures(
        records, PANELS, needed=NEEDED, missing=missing, columns=2, title=title, whole=WHOLE,
        signs=[ALL_EDGES],
    )  # fmt: skip
