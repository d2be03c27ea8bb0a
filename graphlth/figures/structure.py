"""What the graphs of tickets look like, against the edges that are removed."""

from collections.abc import Iterable

from matplotlib.figure import Figure

from graphlth.figures._files import figure_path, save_figure
from graphlth.figures._measures import Panels, draw_measures, percent
from graphlth.records.schema import Record

NEEDED = "components"  # a field of a record
PANELS: Panels = (
    ("connected components", lambda r: r["components"]),
    ("isolated nodes (%)", lambda r: 100 * r["isolated_nodes"] / max(r["nodes"], 1)),
    ("mean degree", lambda r: r["degree_mean"]),
    ("homophily of the edges (%)", lambda r: percent(r["homophily"])),
    ("spectral gap, largest component", lambda r: r["spectral_gap"]),
    ("edges at training nodes (%)", lambda r: percent(r["training_share"])),
)


def structure(records: Iterable[Record], *, out: str, title: str | None = None) -> None:
    """Draw what the graphs of tickets look like into a file; what `draw_figure` shows.

    Args:
        records: what `graphlth.records.read` gives, of `graphlth analyze structure`.
        out: the file, ending in .png, .pdf or .svg.
        title: a title of your own above the panels.

    Raises:
        ValueError: another suffix, or no record of a structure.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, title=title), path)


def draw_figure(records: Iterable[Record], *, title: str | None = None) -> Figure:
    """The figure: for each task, model and edge universe a panel for each measure.

    Components, isolated nodes, mean degree, homophily, spectral gap and the share of the edges at
    training nodes, against the share of removed edges. Means over seeds with 95 % Student-t
    intervals. A panel of what no record has, such as homophily without labels, is left out.
    """
    missing = "structures, as `graphlth analyze structure` adds them"
    return draw_measures(records, PANELS, needed=NEEDED, missing=missing, columns=3, title=title)
