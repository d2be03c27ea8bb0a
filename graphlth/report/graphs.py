"""The graph before and after: pictures of what a run has made of its graph, and its measures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from graphlth.figures._style import (
    BROKEN,
    COLOURS,
    STYLE,
    add_grid,
    empty_figure,
    set_log_ticks,
)
from graphlth.records.statistics import format_number, format_percent
from graphlth.report.panels import Drawing, cut_figure

if TYPE_CHECKING:  # with torch
    from graphlth.analysis._remaining_graph import RemainingGraph
    from graphlth.experiment.structure import GraphChange

MOST_NODES, MOST_PAIRS = 400, 2500  # of a graph whose nodes and pairs are drawn one by one
SAMPLE = 200  # nodes, of many small graphs
SMALL = 100  # nodes, of a small graph
BINS = 64  # of an adjacency matrix, along a side
FEW_DEGREES = 60  # up to which their axis is not logarithmic
REMOVED = "#D55E00"
Array = Any  # of numpy


@dataclass(frozen=True)
class ShownGraph:
    """What a page shows of the graph of a run; or why it does not."""

    name: str  # of the run
    text: str
    table: Sequence[Sequence[str]]
    drawing: Drawing | None
    reason: str = ""


def show_graph(folder: Path, label: str, name: str, data_root: str | None) -> ShownGraph:
    """The graph of the run in `folder`, called `label`; `name` distinguishes ids on the page."""
    from graphlth.experiment.structure import graph_change

    try:
        change = graph_change(folder, data_root)
    except (ValueError, OSError) as error:
        return ShownGraph(label, "", [], None, str(error))
    drawing = cut_figure(draw_change(change), name)
    return ShownGraph(label, _describe(change), measure_table(change), drawing)


def _describe(change: "GraphChange") -> str:
    many = len(change.after)
    text = f"Before: round 0. After: round {change.last}, "
    return text + (
        f"in the picture of seed {change.seed}, in the table the mean over {many} seeds."
        if many > 1 else f"of seed {change.seed}."
    )  # fmt: skip


def measure_table(change: "GraphChange") -> list[list[str]]:
    """A line per measure: its name, its value before, and its mean after."""
    fields = {
        "pairs of neighbours": "pairs", "connected components": "components",
        "isolated nodes": "isolated_nodes", "mean degree": "degree_mean",
        "largest degree": "degree_max", "spectral gap, largest component": "spectral_gap",
        "pairs of one label (%)": "homophily", "pairs at training nodes (%)": "training_share",
    }  # fmt: skip
    table = []
    for text, field in fields.items():
        write = format_percent if text.endswith("(%)") else format_number
        columns = [[getattr(change.before, field)], [getattr(s, field) for s in change.after]]
        known = [[value for value in column if value is not None] for column in columns]
        if any(known):
            table.append([text, *(write(column) if column else "" for column in known)])
    return table


# --- pictures ------------------------------------------------------------------------------------


def draw_change(change: "GraphChange") -> Figure:
    """The figure: before, after, and the degrees of both.

    A small graph is drawn node by node; of many small ones the first are. A large one is drawn as
    its adjacency matrix, nodes sorted by class and degree, in cells of many.
    """
    before, after = change.graphs
    nodes = _chosen_nodes(before)
    with rc_context(STYLE):
        figure = empty_figure(13.2, 4.3)
        left, middle, right = figure.subplots(1, 3)
        if nodes is None:
            _draw_matrices((left, middle), before, after)
            signs = []
        else:
            signs = _draw_nodes((left, middle), before, after, nodes)
        left.set_title("before", loc="left")
        middle.set_title("after", loc="left")
        signs += _draw_degrees(right, before, after)
        figure.legend(handles=signs, loc="outside lower center", ncols=6, frameon=False)
    return figure


def pairs_of(graph: "RemainingGraph") -> Array:
    """Every pair of different neighbours once [P, 2], the lower number first."""
    ends = np.sort(graph.edge_index.cpu().numpy().T, axis=1)
    return np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0).reshape(-1, 2)


def _chosen_nodes(graph: "RemainingGraph") -> list[list[int]] | None:
    """The components of a graph that are drawn node by node; None for a matrix."""
    whole = nx.Graph()
    whole.add_nodes_from(range(graph.num_nodes))
    whole.add_edges_from(pairs_of(graph).tolist())
    parts = [sorted(part) for part in nx.connected_components(whole)]
    if graph.num_nodes <= MOST_NODES and whole.number_of_edges() <= MOST_PAIRS:
        return parts
    if max(map(len, parts)) > SMALL:
        return None
    counts = np.cumsum([len(part) for part in parts])
    return parts[: max(1, int((counts <= SAMPLE).sum()))]


def place_nodes(pairs: Array, parts: Sequence[Sequence[int]]) -> dict[int, Array]:
    """A place for each node: one component fills the picture, several stand in a grid."""
    whole = nx.Graph()
    whole.add_nodes_from(node for part in parts for node in part)
    whole.add_edges_from(pair for pair in pairs.tolist() if {*pair} <= {*whole})
    if max(map(len, parts)) > len(whole) / 2:
        return dict(nx.spring_layout(whole, seed=0, iterations=120))
    side = int(np.ceil(np.sqrt(len(parts))))
    return {
        node: 0.42 * place + (i % side, -(i // side))
        for i, part in enumerate(parts)
        for node, place in nx.spring_layout(whole.subgraph(part), seed=0, iterations=120).items()
    }


def _draw_nodes(
    axes: Sequence[Axes], before: "RemainingGraph", after: "RemainingGraph",
    parts: Sequence[Sequence[int]],
) -> list[Line2D]:  # fmt: skip
    places = place_nodes(pairs_of(before), parts)
    labels = None if before.labels is None else before.labels.cpu().numpy()
    kept = {tuple(pair) for pair in pairs_of(after).tolist()}
    all_pairs = [tuple(pair) for pair in pairs_of(before).tolist() if {*pair} <= {*places}]
    gone = [pair for pair in all_pairs if pair not in kept]
    here = [pair for pair in all_pairs if pair in kept]
    for axis, shown in zip(axes, (all_pairs, here), strict=True):
        if axis is axes[1] and gone:
            axis.add_collection(_lines(gone, places, REMOVED, "removed", alpha=0.3))
        axis.add_collection(_lines(shown, places, "0.45", "kept", alpha=0.6))
        _dots(axis, places, labels)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.margins(0.04)
    signs = [Line2D([], [], color="0.45", label="kept")]
    signs += [Line2D([], [], color=REMOVED, alpha=0.5, label="removed")] if gone else []
    return [*signs, *_class_signs(labels)]


def _lines(
    pairs: Sequence[tuple[int, ...]], places: dict[int, Array], colour: str, name: str, alpha: float
) -> LineCollection:
    ends = [[places[i] for i in pair] for pair in pairs]
    return LineCollection(
        ends, colors=colour, linewidths=0.9, alpha=alpha, label=f"_pairs of {name}"
    )


def _dots(axis: Axes, places: dict[int, Array], labels: Array | None) -> None:
    nodes = sorted(places)
    size = 4 if len(nodes) > 100 else 6
    classes = {node: -1 if labels is None else int(labels[node]) for node in nodes}
    for number in sorted({*classes.values()}):
        xy = np.array([places[node] for node in nodes if classes[node] == number])
        axis.plot(*xy.T, "o", color=_class_colour(number), markersize=size, zorder=3,
                  label=f"_nodes of {_class_name(number)}", markeredgecolor="white",
                  markeredgewidth=0.5)  # fmt: skip


def _class_signs(labels: Array | None) -> Iterator[Line2D]:
    for number in [-1] if labels is None else np.unique(labels).tolist():
        colour, name = _class_colour(number), _class_name(number)
        yield Line2D([], [], color=colour, marker="o", linestyle="", markersize=6, label=name)


def _class_name(number: int) -> str:
    return "nodes" if number < 0 else f"class {number}"


def _class_colour(number: int) -> str:
    return "0.45" if number < 0 else COLOURS[number % len(COLOURS)]


def _draw_matrices(axes: Sequence[Axes], before: "RemainingGraph", after: "RemainingGraph") -> None:
    order = _matrix_order(before)
    counts = [_binned(pairs_of(graph), order) for graph in (before, after)]
    scale = LogNorm(1, max(2, int(counts[0].max())))
    for axis, cells in zip(axes, counts, strict=True):
        image = axis.imshow(np.where(cells > 0, cells, np.nan), cmap="cividis_r", norm=scale,
                            interpolation="nearest")  # fmt: skip
        axis.set(xticks=[], yticks=[], xlabel="nodes, by class and degree", ylabel="nodes")
        bar = axis.figure.colorbar(image, ax=axis, shrink=0.8, label="edges in a cell")
        bar.outline.set_visible(False)


def _matrix_order(graph: "RemainingGraph") -> Array:
    """The place of each node in a matrix, in [0, 1): sorted by class, then by falling degree."""
    degree = np.bincount(pairs_of(graph).ravel(), minlength=graph.num_nodes)
    labels = np.zeros(graph.num_nodes) if graph.labels is None else graph.labels.cpu().numpy()
    place = np.empty(graph.num_nodes)
    place[np.lexsort((-degree, labels))] = np.arange(graph.num_nodes) / graph.num_nodes
    return place


def _binned(pairs: Array, place: Array) -> Array:
    i, j = (BINS * place[pairs]).astype(int).T
    cells = np.zeros((BINS, BINS))
    np.add.at(cells, (np.r_[i, j], np.r_[j, i]), 1)
    return cells


def _draw_degrees(axis: Axes, before: "RemainingGraph", after: "RemainingGraph") -> list[Line2D]:
    signs, most = [], 0
    kinds = (("degrees before", before, "0.25", BROKEN), ("degrees after", after, COLOURS[0], "-"))
    for name, graph, colour, dash in kinds:
        degree = np.bincount(pairs_of(graph).ravel(), minlength=graph.num_nodes)
        count = np.bincount(degree)
        share = 100 * count[::-1].cumsum()[::-1] / max(1, graph.num_nodes)
        look: Any = {"color": colour, "linestyle": dash, "label": name}
        axis.plot(range(len(share)), share, **look, drawstyle="steps-mid")
        signs.append(Line2D([], [], **look))
        most = max(most, len(share))
    if most > FEW_DEGREES:
        axis.set_xscale("log")
        set_log_ticks(axis, FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_xlim(left=1 if most > FEW_DEGREES else 0)
    axis.set_ylim(0, 103)
    axis.set(xlabel="degree d", ylabel="nodes of degree d or more (%)")
    add_grid(axis)
    return signs
