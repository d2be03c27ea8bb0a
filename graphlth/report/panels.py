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
from matplotlib.transforms import Bbox

from graphlth.figures._style import STYLE, RoundPoints
from graphlth.records.statistics import Row, format_metric
from graphlth.records.tables import format_count
from graphlth.report.colours import for_both_schemes

SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
POINTS_PER_INCH = 72  # of the SVG backend: a pixel of matplotlib is a unit of the SVG
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


def cut_figure(figure: Figure, name: str, known_titles: Sequence[str] = ()) -> Drawing:
    """The panels and the legend of a figure.

    Args:
        figure: its legend names the series.
        name: distinguishes the ids of this figure on a page.
        known_titles: lines of titles that the page says elsewhere.
    """
    figure.set_dpi(POINTS_PER_INCH)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    axes = [axis for axis in figure.axes if axis.axison and axis.get_label() != "<colorbar>"]
    series = _series_in(axes, labels)
    titles = [_take_title(axis, known_titles) for axis in axes]
    for axis in axes:
        _show_shared_axis(axis)
        _mark_series(axis, series, f"{name}-")
    parts = {f"{name}-panel{i}": _with_colour_bars(axis) for i, axis in enumerate(axes)}
    samples = {f"{name}-sample{i}": handle for i, handle in enumerate(legend.legend_handles)}
    for prefix, artists in parts.items():
        for i, artist in enumerate(artists):
            artist.set_gid(f"{prefix}-{i}")
    for gid, handle in samples.items():
        handle.set_gid(gid) if handle is not None else None
    tree = _draw_svg(figure)
    groups = {element.get("id", ""): element for element in tree.iter(f"{{{SVG}}}g")}
    clips = {e.get("id", ""): e for e in tree.iter(f"{{{SVG}}}clipPath")}
    height = POINTS_PER_INCH * figure.get_figheight()
    panels = []
    for (prefix, artists), title in zip(parts.items(), titles, strict=True):
        box = Bbox.union([artist.get_tightbbox() for artist in artists]).padded(PAD)
        found = [groups[f"{prefix}-{i}"] for i in range(len(artists))]
        svg = _svg(found, clips, box, height, prefix)
        panels.append(Panel(title, svg, [*_points(artists[0], series, height)]))
    entries = [
        Entry(label, _sample(groups[gid], clips, handle, height, gid), series.get(label, -1))
        for (gid, handle), label in zip(samples.items(), labels, strict=True)
        if label and handle is not None
    ]
    return Drawing(panels, entries)


# --- before it is drawn --------------------------------------------------------------------------


def _series_in(axes: Sequence[Axes], labels: Sequence[str]) -> dict[str, int]:
    """The number of each label of the legend that something in the panels belongs to."""
    there = {_series_name(artist) for axis in axes for artist in _labelled(axis)}
    return {label: i for i, label in enumerate(labels) if label and label in there}


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


def _take_title(axis: Axes, known: Sequence[str]) -> str:
    """The lines of a panel's title that are not `known`; the title is taken off."""
    lines = axis.get_title(loc="left").split("\n")
    axis.set_title("", loc="left")
    return " · ".join(line for line in lines if line and line not in known)


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


def _svg(
    groups: Sequence[Element], clips: Mapping[str, Element], box: Bbox, height: float, name: str
) -> Markup:
    """The groups as one SVG that shows `box`, in matplotlib's points from below."""
    view = f"{box.x0:.1f} {height - box.y1:.1f} {box.width:.1f} {box.height:.1f}"
    whole = Element("svg", {"viewBox": view, "style": f"width: {box.width:.0f}pt"})
    used = {i for g in groups for e in g.iter() for i in re.findall(r"url\(#(.+?)\)", _text(e))}
    if used:
        defs = ElementTree.SubElement(whole, "defs")
        defs.extend(_copy(clips[i], name) for i in sorted(used))
    whole.extend(_copy(group, name) for group in groups)
    return Markup(ElementTree.tostring(whole, encoding="unicode"))


def _text(element: Element) -> str:
    return " ".join(element.attrib.values())


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
    copied.extend(_copy(child, name) for child in element if child.tag != f"{{{SVG}}}style")
    return copied


def _sample(
    group: Element, clips: Mapping[str, Element], handle: Any, height: float, name: str
) -> Markup:
    """A sample of the legend, in the middle of a small box."""
    box = handle.get_window_extent()
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    wide, high = SAMPLE
    frame = Bbox.from_bounds(x - wide / 2, y - high / 2, wide, high)
    return _svg([group], clips, frame, height, name)


# --- what is told of a point ---------------------------------------------------------------------


def _points(
    axis: Axes, series: Mapping[str, int], height: float
) -> Iterator[tuple[float, float, int, list[str]]]:
    """The points of a panel: rounds of runs, else points of lines, else the cells of a matrix."""
    known = [line for line in axis.lines if isinstance(line, RoundPoints)]
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
            text = [f"draws {j + 1} and {i + 1}", f"{image.colorbar._label}: {values[i, j]:.3g}"]
            yield round(x, 1), round(height - y, 1), -1, text
