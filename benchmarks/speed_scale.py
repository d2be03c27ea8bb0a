"""An epoch of mask training against the number of edges, and one graph of the size of ogbn-arxiv.

Power-law graphs of a fixed mean degree, generated, and two real topologies; features and labels are
random. Every graph has a process of its own, which is where its memory is read. Agreement first:
on the smallest graph the first epochs reach the losses of the `reference` backend.

    python benchmarks/speed_scale.py --data_root DIR [--out FILE.md] [--figure FILE.png]
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from bench import (
    arguments,
    child,
    hardware,
    high_water,
    lined,
    plainly,
    power_law,
    random_task,
    report,
    spread,
    topology,
    verdict,
    written,
)

from graphlth.models.graph.gcn import GCN
from graphlth.storage import replacing
from graphlth.task import Task
from graphlth.ticket import dense
from graphlth.training.loop import train

DEGREE = 10  # mean degree of the generated graphs
REAL = {"Cornell5": "fb100_cornell5", "NELL": "nell_topology"}
ARXIV = "arxiv size"
L1 = 1e-4


@dataclass(frozen=True)
class Size:
    """What is trained."""

    name: str
    num_nodes: int  # 0: as many as the real topology has
    num_edges: int  # undirected; a mask entry each
    features: int = 16
    classes: int = 8
    hidden: int = 16
    layers: int = 2
    threads: int = 1


def generated(num_edges: int) -> Size:
    """A power-law graph of the mean degree."""
    return Size(f"{num_edges:.0e}".replace("e+0", "e"), 2 * num_edges // DEGREE, num_edges)


def arxiv(num_nodes: int = 169_343, num_edges: int = 1_166_243) -> Size:
    """The size of ogbn-arxiv (Hu et al., NeurIPS 2020), and the widths of its GCN."""
    return Size(ARXIV, num_nodes, num_edges, 128, 40, 256, 3, threads=2)


def built(size: Size, data_root: Path | None) -> Task:
    """The task."""
    pairs, num_nodes = (
        (power_law(size.num_nodes, size.num_edges), size.num_nodes) if size.num_nodes
        else topology(REAL[size.name], data_root)
    )  # fmt: skip
    return random_task(pairs, num_nodes, features=size.features, classes=size.classes)


def epochs(task: Task, size: Size, count: int, backend: str = "auto"):
    """Train weights and masks together, pausing after every epoch."""
    torch.manual_seed(0)
    model = GCN(task.num_features, size.hidden, task.num_classes, size.layers, backend=backend)
    masks = dense(model, task.num_edges).masks
    soft = {n: m.clone().requires_grad_() for n, m in masks.items()}

    return train(model, task, masks, epochs=count, soft=soft, rates=dict.fromkeys(soft, L1))


def agree(size: Size) -> float:
    """The largest difference of the losses over three epochs from those of plain gathers."""
    task = built(size, None)
    ours, plain = (list(epochs(task, size, 3, backend)) for backend in ("auto", "reference"))
    worst = max(abs(a.loss - b.loss) for a, b in zip(ours, plain, strict=True))
    assert worst < 1e-4, f"the backends differ by {worst}"
    return worst


def only(size: Size, data_root: Path | None, count: int) -> dict[str, object]:
    """Seconds of every epoch after the first, which warms up, and the memory of this process."""
    torch.set_num_threads(size.threads)
    start = high_water()
    task = built(size, data_root)
    before, seconds = high_water(), []
    steps = epochs(task, size, count + 1)
    next(steps)
    last = time.perf_counter()
    for _ in steps:
        seconds.append((now := time.perf_counter()) - last)
        last = now
    return {
        "edges": task.num_edges, "nodes": task.num_nodes, "seconds": seconds, "start": start,
        "before": before, "after": high_water(),
    }  # fmt: skip


def draw(found: dict[str, dict], law: Sequence[float], path: Path) -> None:
    """Time against edges, with the power law fitted to the generated graphs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(6.4, 4.6))
    small = {n: f for n, f in found.items() if n != ARXIV}
    for name, kind, colour, shape in (
        ("generated, power law", [n for n in small if n not in REAL], "#1b6ca8", "o"),
        ("real topology", [n for n in small if n in REAL], "#c8553d", "s"),
    ):
        if kind:
            x = [small[n]["edges"] for n in kind]
            y = [1e3 * statistics.median(small[n]["seconds"]) for n in kind]
            panel.plot(x, y, shape, color=colour, ms=8, label=name, zorder=3)
            for n, *at in zip(kind, x, y, strict=True):
                if n in REAL:  # on the side of the line where the point lies
                    above = at[1] > 1e3 * np.exp(law[1]) * at[0] ** law[0]
                    side = "right" if above else "left"
                    panel.annotate(n, at, (-9, 3) if above else (9, -9), ha=side, color=colour,
                                   textcoords="offset points")  # fmt: skip
    ends = [min(f["edges"] for f in small.values()), max(f["edges"] for f in small.values())]
    panel.plot(ends, [1e3 * np.exp(law[1]) * x ** law[0] for x in ends], color="0.4", lw=1,
               label=f"time ∝ edges$^{{{law[0]:.2f}}}$")  # fmt: skip
    panel.set(xscale="log", yscale="log", xlabel="undirected edges",
              ylabel="milliseconds per epoch of mask training")  # fmt: skip
    panel.grid(True, color="0.92")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, loc="upper left")
    figure.tight_layout()
    with replacing(path) as draft:
        figure.savefig(draft, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument(
        "--figure", type=written, help="where the picture of time against edges goes"
    )
    parser.add_argument("--edges", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7])
    parser.add_argument("--only", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        return print(json.dumps(only(Size(**args.only), args.data_root, args.repeats)))
    if args.data_root is None and not args.quick:
        parser.error("--data_root is needed without --quick")
    torch.set_num_threads(1)
    if args.quick:
        args.repeats, args.edges = 2, [1e3, 1e4]
    sizes = [generated(int(e)) for e in args.edges]
    worst = agree(sizes[0])
    if args.quick:
        found = {size.name: only(size, None, args.repeats) for size in sizes}
        sizes += [arxiv(2000, 10_000)]
    else:
        found, sizes = {}, [*sizes, *(Size(name, 0, 0) for name in REAL), arxiv()]
    for size in sizes:
        if size.name not in found:
            options = ["--data_root", args.data_root] if args.data_root else []
            found[size.name] = child(
                "--only", json.dumps(asdict(size)), "--repeats", args.repeats, *options
            )
            print(size.name, found[size.name], flush=True)
    fitted = [f for n, f in found.items() if n not in REAL and n != ARXIV]
    law = np.polyfit([np.log(f["edges"]) for f in fitted],
                     [np.log(statistics.median(f["seconds"])) for f in fitted], 1)  # fmt: skip
    large, size = found[ARXIV], sizes[-1]
    report(
        args.out, "An epoch of mask training against the number of edges", [hardware()],
        [f"GCN with {sizes[0].layers} layers, hidden {sizes[0].hidden}, {sizes[0].features} random "
         f"features, {sizes[0].classes} random classes; half of the nodes train; evaluation "
         f"included. An epoch trains weights, weight masks and a mask entry for every undirected "
         f"edge. Generated graphs have mean degree {DEGREE} and a power law of exponent 2.5; "
         f"{' and '.join(REAL)} are real topologies. Agreement with the `reference` backend over "
         f"three epochs on the smallest: losses within {worst:.0e}. Medians of {args.repeats} "
         "epochs after a first, range in brackets."],
        table({n: f for n, f in found.items() if n != ARXIV}, sizes[0].features),
        [verdict("exponent of time against edges, generated graphs", law[0], most=1.1)],
        [f"## {ARXIV.capitalize()}"],
        [f"{large['nodes']:,} nodes and {large['edges']:,} undirected edges of a generated "
         f"power-law graph, {size.features} features, {size.classes} classes, {size.layers} "
         f"layers, hidden {size.hidden}, {size.threads} threads: "
         f"{spread(large['seconds'])} s an epoch; peak memory {large['after']:.0f} MiB, of it "
         f"{large['before']:.0f} before the first epoch."],
        [verdict("peak memory, GB", large["after"] * 2**20 / 1e9, most=4)],
        [f"![time against edges]({args.figure.name})"] if args.figure else [],
    )  # fmt: skip
    if args.figure:
        draw(found, law, args.figure)


def table(found: dict[str, dict], d: int) -> list[str]:
    """Time and memory of every graph."""
    rows = []
    for name, f in found.items():
        size = f["edges"] + f["nodes"] * d
        added = f["after"] - f["start"]
        rows.append([
            name, f"{f['nodes']:,}", f"{f['edges']:,}", spread(f["seconds"], 1e3),
            f"{1e9 * statistics.median(f['seconds']) / f['edges']:.0f}", f"{f['after']:.0f}",
            f"{f['before']:.0f}", f"{added * 2**20 / size:.0f}",
        ])  # fmt: skip
    head = ["graph", "nodes", "edges", "ms per epoch", "ns per edge", "peak memory, MiB",
            "of it before the first epoch", "bytes beyond the imports / (E + N d)"]  # fmt: skip
    return lined(head, rows)


if __name__ == "__main__":
    plainly(main)
