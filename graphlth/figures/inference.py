"""Accuracy against the MACs of one inference, a mark per ticket.

Source: You et al., Early-Bird GCNs, AAAI 2022, arXiv:2103.00794.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from graphlth.figures._files import figure_path, save_figure
from graphlth.figures._style import Series, Sign, key_of, looks_of
from graphlth.figures._tradeoff import Published, search_rows
from graphlth.figures._tradeoff import draw_tradeoff as draw_tradeoff
from graphlth.records.schema import Record
from graphlth.records.statistics import IncompleteRecordsError, Row, run_of
from graphlth.settings.types import Fraction

SIZES = 3.5, 9.5  # points: of a mark without edges, and with all of them
APART = 14.0  # points, of marks side by side


def inference(
    records: Iterable[Record],
    *,
    out: str,
    metric: str = "test",
    title: str | None = None,
    floor: Fraction | None = None,
    frontier: bool = False,
) -> None:
    """Draw accuracy against inference MACs into a file; what `draw` shows.

    Args:
        records: what `graphlth.records.read` gives.
        out: the file, ending in .png, .pdf or .svg.
        metric: which accuracy, "test" or "val".
        title: a title of your own above the panels.
        floor: the lowest accuracy shown, in [0, 1); what falls below leaves the panel.
        frontier: join the networks that no cheaper one equals, chosen by validation.

    Raises:
        ValueError: another suffix, an unknown metric, a floor out of range, no ticket, or MACs
            that are not counted.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = figure_path(out)
    save_figure(draw_figure(records, metric, title=title, floor=floor, frontier=frontier), path)


def draw_figure(
    records: Iterable[Record],
    metric: str = "test",
    *,
    title: str | None = None,
    floor: Fraction | None = None,
    frontier: bool = False,
    published: Published | None = None,
) -> Figure:
    """The figure: a panel per task, model, edge universe and metric, a colour per algorithm.

    A run of a single round is a mark, the smaller the more edges are removed; a run of several
    rounds is a line over them. Marks of different algorithms stand side by side where their MACs
    are the same. `published` has values of others, by source and run, which stand at the MACs of
    the run's last round.
    """
    rows = search_rows(records)
    by_name = looks_of((row.algorithm, "") for row in rows)
    looks = {key_of(row): by_name[row.algorithm, ""] for row in rows}
    single = _single(rows)
    order = sorted({row.algorithm for row in single})

    def mark(row: Row) -> dict[str, float]:
        aside = order.index(row.algorithm) - (len(order) - 1) / 2
        return {"size": _size(row.edge_sparsity), "shift": APART * aside}

    return draw_tradeoff(
        rows, _macs, looks, metric=metric,
        cost=("MACs of one inference", EngFormatter(sep=" ")), mark=mark, signs=_signs(single),
        frontier=frontier, floor=floor, title=title, published=published,
    )  # fmt: skip


def _single(rows: Sequence[Row]) -> list[Row]:
    """The tickets of runs of a single round."""
    runs = Counter(run_of(row) for row in rows if row.round)
    return [row for row in rows if row.round and runs[run_of(row)] == 1]


def _size(edge_sparsity: float) -> float:
    return SIZES[0] + (SIZES[1] - SIZES[0]) * (1 - edge_sparsity)


def _signs(single: Sequence[Row]) -> list[Sign]:
    """What the sizes of marks mean: the least and the greatest."""
    removed = sorted({round(row.edge_sparsity, 3) for row in single})
    ends = dict.fromkeys((removed[0], removed[-1])) if len(removed) > 1 else ()
    look = {"color": "0.35", "marker": "o", "linestyle": ""}
    return [
        (Line2D([], [], **look, markersize=_size(part)), f"{100 * part:.3g} % of the edges removed")  # type: ignore[arg-type]
        for part in ends
    ]


def _macs(series: Series, row: Row) -> list[float]:
    macs = [record["macs"] for record in row.records]
    if None in macs:
        run = f"{row.algorithm}-{row.task}-{row.model}"
        raise IncompleteRecordsError(f"`records` must hold `macs`, which is not counted in {run}")
    return macs
