"""The panels of a matplotlib figure as pieces of SVG for a page: each by itself, with its points.

matplotlib lays out and draws; what is cut out of its SVG are the groups of the axes and the samples
of the legend. Series are told by their labels (see `graphlth.figures._style.RoundPoints`): what
belongs to one has the attribute `data-series` with its number in the legend.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from graphlth.figures._style import STYLE, RoundPoints, draw_names_as_text
from graphlth.records.statistics import Row, format_metric
from graphlth.records.tables import format_count
from graphlth.report.colours import for_both_schemes

SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
POINTS_PER_INCH = 72  # of the SVG backend: a pixel of matplotlib is a unit of the SVG
WIDTH = 3.8  # inches of a panel at most: three stand beside one another, one fills a phone
PAD = 3.0  # points around a panel, as fonts of browsers differ
SAMPLE = (26.0, 11.0)  # points, of a sample of the legend
MOST_POINTS = 2000  # of a panel, that are told of
STANDARD = ("edges removed", "weights removed", "MACs of one inference", "test ")  # told anyway
Element = ElementTree.Element


@dataclass(frozen=True)
class Panel:
    """One panel: its SVG, what stands above it, and what is told of its points."""

    title: str
    svg: Markup
    points: Sequence[tuple[float, float, int, Sequence[str]]]  # x, y, series or −1, lines of text


@dataclass(frozen=True)
class Entry:
    """One entry of a legend."""

    label: str
    sample: Markup
    number: int  # of the series; −1 of a sign that is none


@dataclass(frozen=True)
class Drawing:
    """A figure as a page shows it."""

    panels: Sequence[Panel]
    legend: Sequence[Entry]


def cut_figure(figure: Figure, name: str, about: str = "\n") -> Drawing:
    """The panels and the legend of a figure.

    Args:
        figure: its legend names the series.
        name: distinguishes the ids of this figure on a page.
        about: what lines of titles begin with that the page says elsewhere.
    """
    draw_names_as_text(figure)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    axes = [axis for axis in figure.axes if axis.axison and axis.get_label() != "<colorbar>"]
    series = _series_in(axes, labels)
    legend.remove()
    figure.set_figwidth(min(figure.get_figwidth(), WIDTH * _columns(figure)))
    titles = [_take_title(axis, about) for axis in axes]
    for axis in axes:
        _show_shared_axis(axis)
        _mark_series(axis, series, f"{name}-")
    pieces = _cut(figure, [_with_colour_bars(axis) for axis in axes], f"{name}-panel")
    height = POINTS_PER_INCH * figure.get_figheight()
    panels = [
        Panel(title, svg, [*_points(axis, series, height)])
        for title, svg, axis in zip(titles, pieces, axes, strict=True)
    ]
    return Drawing(panels, _cut_legend(legend, labels, series, name))


def _cut_legend(
    legend: Legend, labels: Sequence[str], series: Mapping[str, int], name: str
) -> list[Entry]:
    """The entries of a legend, drawn again by themselves: the series, then the signs."""
    known = {
        label: h for label, h in zip(labels, legend.legend_handles, strict=True) if label and h
    }
    figure = Figure((4, 0.3 * len(known) + 0.5))
    drawn = figure.legend([*known.values()], [*known], loc="center", frameon=False)
    parts = [[handle] for handle in drawn.legend_handles]
    samples = _cut(figure, parts, f"{name}-sample", SAMPLE)
    entries = [
        Entry(label, sample, series.get(label, -1))
        for label, sample in zip(known, samples, strict=True)
    ]
    return sorted(entries, key=lambda entry: entry.number if entry.number >= 0 else len(labels))


def _columns(figure: Figure) -> int:
    """How many panels stand beside one another."""
    specs = [axis.get_subplotspec() for axis in figure.axes]
    return max(spec.get_gridspec().ncols for spec in specs if spec is not None)


# --- before it is drawn --------------------------------------------------------------------------


def _series_in(axes: Sequence[Axes], labels: Sequence[str]) -> dict[str, int]:
    """The number of each label of the legend that something in the panels belongs to."""
    drawn = dict.fromkeys(_series_name(artist) for axis in axes for artist in _labelled(axis))
    return {name: i for i, name in enumerate(name for name in drawn if name and name in labels)}


def _labelled(axis: Axes) -> Iterator[Any]:
    yield from (*axis.lines, *axis.collections, *axis.texts, *axis.containers)


def _series_name(artist: Any) -> str:
    """The label of the series that an artist belongs to: its own, or what follows " of "."""
    label = str(artist.get_label())
    return label.partition(" of ")[2] if label.startswith("_") else label


def _mark_series(axis: Axes, series: Mapping[str, int], prefix: str) -> None:
    number = 0
    for artist in _labelled(axis):
        if (name := _series_name(artist)) not in series:
            continue
        for part in _drawn_parts(artist):
            part.set_gid(f"{prefix}series{series[name]}-{number}")
            number += 1


def _drawn_parts(artist: Any) -> Iterator[Artist]:
    """An artist, or the lines of error bars and their caps."""
    for part in artist if isinstance(artist, tuple) else (artist,):
        if isinstance(part, tuple):
            yield from _drawn_parts(part)
        elif part is not None:
            yield part


def _take_title(axis: Axes, about: str) -> str:
    """The lines of a panel's title that say more than `about` and sizes; the title is taken off."""
    lines = axis.get_title(loc="left").split("\n")
    axis.set_title("", loc="left")
    known = (line.startswith(about) or line.endswith(" weights") for line in lines)
    return " · ".join(line for line, is_known in zip(lines, known, strict=True) if not is_known)


def _show_shared_axis(axis: Axes) -> None:
    """Name and number the vertical axis of a panel that shares that of its row."""
    siblings = axis.get_shared_y_axes().get_siblings(axis)
    names = [name for one in siblings if (name := one.get_ylabel())]
    if len(siblings) > 1 and names:
        axis.set_ylabel(names[0])
        axis.tick_params(labelleft=True)


def _with_colour_bars(axis: Axes) -> list[Axes]:
    return [axis, *(bar.ax for image in axis.images if (bar := image.colorbar) is not None)]


def _draw_svg(figure: Figure) -> Element:
    file = io.BytesIO()
    with rc_context({**STYLE, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return ElementTree.fromstring(file.getvalue())


# --- cut out -------------------------------------------------------------------------------------


def _cut(
    figure: Figure,
    parts: Sequence[Sequence[Any]],
    name: str,
    size: tuple[float, float] | None = None,
) -> list[Markup]:
    """Parts of a figure, of one artist or several, each as an SVG.

    Args:
        figure: is drawn.
        parts: of it.
        name: distinguishes their ids on a page.
        size: of all, around their middle; else what they fill.
    """
    figure.set_dpi(POINTS_PER_INCH)
    for i, artists in enumerate(parts):
        for j, artist in enumerate(artists):
            artist.set_gid(f"{name}{i}-{j}")
    tree, height = _draw_svg(figure), POINTS_PER_INCH * figure.get_figheight()
    groups = {element.get("id", ""): element for element in tree.iter(f"{{{SVG}}}g")}
    shared = {e.get("id", ""): e for defs in tree.iter(f"{{{SVG}}}defs") for e in defs}
    found = []
    for i, artists in enumerate(parts):
        box = Bbox.union([artist.get_tightbbox() for artist in artists])
        if size is not None:
            x, y = box.x0 + box.width / 2 - size[0] / 2, box.y0 + box.height / 2 - size[1] / 2
            box = Bbox.from_bounds(x, y, *size)
        mine = [groups[f"{name}{i}-{j}"] for j in range(len(artists))]
        found.append(_svg(mine, shared, box.padded(0 if size else PAD), height, f"{name}{i}"))
    return found


def _svg(
    groups: Sequence[Element], shared: Mapping[str, Element], box: Bbox, height: float, name: str
) -> Markup:
    """The groups as one SVG that shows `box`, in matplotlib's points from below.

    What they refer to, such as markers, goes with them from the `shared` definitions.
    """
    view = f"{box.x0:.1f} {height - box.y1:.1f} {box.width:.1f} {box.height:.1f}"
    look = {"viewBox": view, "style": f"width: {box.width:.0f}pt"}
    whole = Element("svg", look)
    used = {i for group in groups for e in group.iter() for i in _references(e)}
    if used:
        defs = ElementTree.SubElement(whole, "defs")
        defs.extend(_copy(shared[i], name) for i in sorted(used & {*shared}))
    whole.extend(_copy(group, name) for group in groups)
    return Markup(ElementTree.tostring(whole, encoding="unicode"))


def _references(element: Element) -> Iterator[str]:
    """The ids that an element refers to."""
    for key, value in element.attrib.items():
        yield from re.findall(r"url\(#(.+?)\)", value)
        if key == f"{{{LINK}}}href" and value.startswith("#"):
            yield value[1:]


def _copy(element: Element, name: str) -> Element:
    """The same element for a page: plain names, ids of this panel, colours of both schemes."""
    copied = Element(element.tag.rpartition("}")[2])
    copied.text, copied.tail = element.text, element.tail
    for key, value in element.attrib.items():
        key = key.rpartition("}")[2]
        if key == "id" and copied.tag == "g":
            found = re.search(r"-series(\d+)-\d+$", value)
            if found:
                copied.set("data-series", found[1])
        elif key == "id":
            copied.set("id", f"{name}-{value}")
        elif key == "href" and value.startswith("#"):
            copied.set("href", f"#{name}-{value[1:]}")
        else:
            value = re.sub(r"url\(#", f"url(#{name}-", value)
            copied.set(key, for_both_schemes(value) if key == "style" else value)
    copied.extend(_copy(child, name) for child in element if child.tag != f"{{{SVG}}}defs")
    return copied


# --- what is told of a point ---------------------------------------------------------------------


def _points(
    axis: Axes, series: Mapping[str, int], height: float
) -> Iterator[tuple[float, float, int, list[str]]]:
    """The points of a panel: rounds of runs, else points of lines, else the cells of a matrix."""
    known: list[Line2D] = [line for line in axis.lines if isinstance(line, RoundPoints)]
    lines = known or [line for line in axis.lines if line.get_label() in series]
    for line in lines:
        xy = np.column_stack([np.asarray(v, float) for v in line.get_data()])
        name = _series_name(line)
        rows: Sequence[Row | None] = (
            line.rows if isinstance(line, RoundPoints) else [None] * len(xy)
        )
        places = line.get_transform().transform(xy)
        step = -(-len(xy) * len(lines) // MOST_POINTS)
        for value, place, row in [*zip(xy, places, rows, strict=True)][:: max(step, 1)]:
            if np.isfinite(place).all() and axis.bbox.padded(1).contains(*place):
                text = [name, *_axis_lines(axis, value, row)]
                if row is not None:
                    text = [f"{name}, {_round_name(row)}", *text[1:], *row_lines(row)]
                yield round(place[0], 1), round(height - place[1], 1), series.get(name, -1), text
    yield from _cells(axis, height)


def _axis_lines(axis: Axes, value: Sequence[float], row: Row | None) -> Iterator[str]:
    """The two coordinates in words, but those that are told of every round anyway."""
    for name, number in zip((axis.get_xlabel(), axis.get_ylabel()), value, strict=True):
        name = re.sub(r" \(log scale\)|, log scale.*", "", name)
        name, percent = name.removesuffix(" (%)"), " %" if name.endswith("(%)") else ""
        if row is None or not name.startswith((*STANDARD, f"test {row.metric}")):
            yield f"{name}: {number:,.4g}{percent}"


def _round_name(row: Row) -> str:
    return f"round {row.round}" if row.round else "dense (round 0)"


def row_lines(row: Row) -> list[str]:
    """What is told of a round: what it removes, its metric, its MACs."""
    unit = " %" if row.metric == "accuracy" else ""
    told = [
        f"removed: {row.edge_sparsity:.1%} of the edges, {row.weight_sparsity:.1%} of the weights"
    ]
    for split in ("test", "val"):
        value = format_metric([record[split] for record in row.records], row.metric)
        told.append(f"{split} {row.metric.replace('_', ' ')}: {value}{unit}")
    told += [f"{format_count(row.macs)} MACs of one inference"] if row.macs is not None else []
    return [*told, f"{row.n} seed{'' if row.n == 1 else 's'}"]


def _cells(axis: Axes, height: float) -> Iterator[tuple[float, float, int, list[str]]]:
    for image in axis.images:
        if image.colorbar is None or (values := np.asarray(image.get_array())).size > MOST_POINTS:
            continue
        for i, j in np.ndindex(values.shape):
            x, y = axis.transData.transform((j, i))
            name = image.colorbar.ax.get_ylabel()
            text = [f"draws {j + 1} and {i + 1}", f"{name}: {values[i, j]:.3g}"]
            yield round(x, 1), round(height - y, 1), -1, text
