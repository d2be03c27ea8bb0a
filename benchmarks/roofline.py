"""The roofline of the masked sum: what memory and arithmetic of a machine allow.

A step is the sum and its gradients to features and edge weights. However it is computed, it reads
or writes everything in `compulsory_bytes` once, and multiplies and adds `operations` times
(Williams, Waterman and Patterson, CACM 2009).
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from graphlth.sparse.graph import Graph
from graphlth.storage import replace_file

NUMBER = INDEX = 4  # bytes of a float32, and of an int32
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44")
SHAPES = ("o", "s", "D", "^")


def compulsory_bytes(num_nodes: int, num_edges: int, d: int) -> int:
    """x and ∂out read, out and ∂x written; m read, ∂m written; columns and offsets, both ways."""
    dense = 4 * num_nodes * d
    masks = 2 * num_edges
    structure = 2 * (num_edges + num_nodes + 1)
    return NUMBER * (dense + masks) + INDEX * structure


def gathered_bytes(num_nodes: int, num_edges: int, d: int) -> int:
    """As `compulsory_bytes`, where no cache serves a row of x or ∂out to a second edge.

    Forward reads x for every edge; backward reads ∂out for every edge, m again, and x once.
    """
    dense = 2 * num_edges * d + 3 * num_nodes * d
    return NUMBER * (dense + 3 * num_edges) + 2 * INDEX * (num_edges + num_nodes + 1)


def operations(num_edges: int, d: int) -> int:
    """A product and a sum for every edge and channel, in `A x`, `Aᵀ ∂out` and `⟨x_j, ∂out_i⟩`."""
    return 3 * 2 * num_edges * d


@dataclass(frozen=True)
class Roof:
    """What a number of threads, or a device, can do."""

    threads: int
    bandwidth: float  # bytes read and written per second, by a copy too large for the caches
    cached: float  # the same, within the caches
    rates: Mapping[str, float]  # floating-point operations per second of products, by library

    @property
    def rate(self) -> float:
        """Floating-point operations per second of the fastest product of matrices."""
        return max(self.rates.values())

    def seconds(self, graph: Graph, d: int) -> float:
        """The least time of a step."""
        memory = compulsory_bytes(graph.num_nodes, graph.num_edges, d) / self.bandwidth
        return max(memory, operations(graph.num_edges, d) / self.rate)


def measure(threads: int, *, quick: bool = False) -> Roof:
    """The roof of this machine's CPU with the threads that torch has."""
    rates = product_rates(256 if quick else 2048)
    large = 1 << (20 if quick else 26)  # numbers: 256 MiB, and as much to write
    return Roof(threads, copy_bandwidth(large, "cpu"), copy_bandwidth(1 << 16, "cpu"), rates)


def copy_bandwidth(numbers: int, device: str) -> float:
    """Bytes read and written per second by a copy of `numbers` float32."""
    source = torch.ones(numbers, device=device)
    target = torch.zeros(numbers, device=device)
    return 2 * NUMBER * numbers / fastest_call(lambda: target.copy_(source), device)


def product_rates(n: int) -> dict[str, float]:
    """Operations per second of the product of two n × n matrices of float32, by library.

    `torch.mm` calls MKL, which leaves half of the vectors of some AMD processors unused.
    """
    a, out = torch.ones(n, n), torch.empty(n, n)
    steps: dict[str, Callable[[], Any]] = {"torch.mm": lambda: torch.mm(a, a, out=out)}
    if torch.backends.mkldnn.is_available():
        packed = a.to_mkldnn()
        steps["oneDNN"] = lambda: torch.nn.functional.linear(packed, packed)
    return {name: 2 * n**3 / fastest_call(step, "cpu") for name, step in steps.items()}


def fastest_call(step: Callable[[], Any], device: str, repeats: int = 10) -> float:
    """The least seconds of a call: a roof is what the machine can do."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    step()
    wait()
    start = time.perf_counter()
    step()
    wait()
    calls = max(1, min(10_000, round(0.02 / (time.perf_counter() - start))))
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            step()
        wait()
        found.append((time.perf_counter() - start) / calls)
    return min(found)


@dataclass(frozen=True)
class Point:
    """A measured case."""

    graph: str
    d: int
    intensity: float  # operations per compulsory byte
    rates: Sequence[float]  # operations per second, under each roof


def draw(points: Sequence[Point], roofs: Sequence[Roof], path: Path) -> None:
    """The roofline picture, a panel for each roof."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    size = (6 * len(roofs), 5.2)
    figure, panels = plt.subplots(1, len(roofs), figsize=size, sharey=True, squeeze=False, dpi=150)
    left = min(p.intensity for p in points) / 4
    right = 3 * max(*(p.intensity for p in points), *(r.rate / r.bandwidth for r in roofs))
    panels[0][0].set_ylim(
        min(min(p.rates) for p in points) / 3e9, 2.2 * max(r.rate for r in roofs) / 1e9
    )
    panels[0][0].set_ylabel("GFLOP/s")
    for panel, roof in zip(panels[0], roofs, strict=True):
        panel.set(xscale="log", yscale="log", xlim=(left, right))
        panel.set_xlabel("operations per compulsory byte")
        panel.set_title(f"{roof.threads} thread{'s' * (roof.threads > 1)}", loc="left")
        panel.grid(True, color="0.92")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout(w_pad=3)  # before labels are placed, which depends on it
    for at, (panel, roof) in enumerate(zip(panels[0], roofs, strict=True)):
        label_points(panel, [(p, p.rates[at] / 1e9) for p in points], draw_roof(panel, roof))
    with replace_file(path) as draft:
        figure.savefig(draft)
    plt.close(figure)


def draw_roof(panel: Any, roof: Roof) -> list[Any]:
    """Draw the roofs with their names; return where they lie, as boxes on the screen."""
    left, right = panel.get_xlim()
    taken, top, inside = [], roof.rate / 1e9, panel.get_window_extent()
    for name, bandwidth, style, aside, side in (
        ("copy", roof.bandwidth, "-", (14, -9), "left"),
        ("in cache", roof.cached, "--", (-8, 7), "right"),
    ):
        steps = [left * (right / left) ** (i / 150) for i in range(151)]
        line = [(x, min(bandwidth * x / 1e9, top)) for x in steps]
        panel.plot(*zip(*line, strict=True), style, color="black", lw=1.4 if style == "-" else 0.9)
        taken += [box_around(panel, x, y, 2) for x, y in line]
        text = f"{name}: {bandwidth / 1e9:.0f} GB/s"
        for place in line:
            named = write_label(panel, text, place, aside, side, "black")
            if text_box(named).x0 > inside.x0 and text_box(named).y0 > inside.y0:
                taken.append(text_box(named))
                break
            named.remove()
    text = f"product of matrices: {top:.0f} GFLOP/s"
    named = write_label(panel, text, (right, top), (0, 7), "right", "black")
    return [*taken, text_box(named)]


def label_points(panel: Any, points: Sequence[tuple[Point, float]], taken: list[Any]) -> None:
    """Draw the points, and the name of each in the nearest place that is free."""
    graphs = list(dict.fromkeys(p.graph for p, _ in points))
    widths = sorted({p.d for p, _ in points})
    taken = [*taken, *(box_around(panel, p.intensity, y, 9) for p, y in points)]
    inside = panel.get_window_extent()
    for p, y in points:
        colour = COLOURS[graphs.index(p.graph) % len(COLOURS)]
        shape = SHAPES[widths.index(p.d) % len(SHAPES)]
        panel.plot(p.intensity, y, shape, color=colour, ms=7, markeredgecolor="white", zorder=3)
        for place in offsets_around():
            side = "left" if place[0] > 0 else "right"
            text = write_label(
                panel, f"{p.graph}, d = {p.d}", (p.intensity, y), place, side, colour
            )
            lies = text_box(text)
            free = lies.x0 > inside.x0 and lies.x1 < inside.x1 and lies.y0 > inside.y0
            if free and not any(lies.overlaps(other) for other in taken):
                break
            text.remove()
        else:  # no room at all
            lies = text_box(write_label(panel, p.graph, (p.intensity, y), place, side, colour))
        if math.hypot(*place) > 14:
            panel.annotate("", (p.intensity, y), place, textcoords="offset points",
                           arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6})  # fmt: skip
        taken.append(lies)


def offsets_around() -> Iterator[tuple[float, float]]:
    """Offsets from a point, in points of print, the nearest first."""
    for radius in range(9, 120, 6):
        for degrees in (0, 180, 25, -25, 155, 205, 50, -50, 130, 230, 75, -75, 105, 255):
            turn = math.radians(degrees)
            yield radius * math.cos(turn), radius * math.sin(turn)


def write_label(
    panel: Any, text: str, at: tuple[float, float], offset: tuple[float, float], side: str,
    colour: str,
) -> Any:  # fmt: skip
    """The text, beside a place in the data."""
    return panel.annotate(text, at, offset, textcoords="offset points", ha=side, va="center",
                          fontsize=8.5, color=colour)  # fmt: skip


def text_box(text: Any) -> Any:
    """Where a text lies on the screen."""
    return text.get_window_extent(text.figure.canvas.get_renderer()).padded(2)


def box_around(panel: Any, x: float, y: float, half: float) -> Any:
    """A box on the screen around a place in the data."""
    from matplotlib.transforms import Bbox

    across, up = panel.transData.transform((x, y))
    return Bbox([[across - half, up - half], [across + half, up + half]])
