"""An epoch of mask training against the number of edges, and one graph of the size of ogbn-arxiv.

Power-law graphs of a fixed mean degree, generated, and two real topologies; features and labels are
random. Every graph has a process of its own, which is where its memory is read. Agreement first:
on the smallest graph the first epochs reach the losses of the `reference` backend.

    python benchmarks/speed_scale.py --data_root DIR [--out FOLDER]
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
    load_edges,
    peak_memory,
    power_law,
    random_task,
    result_folder,
    run_in_child,
    run_main,
)
from machine import measurement, name_file

from graphlth.models.graph.gcn import GCN
from graphlth.reproduction.result import Claim, Result, Table, Value, median_and_range, write
from graphlth.storage import replace_file
from graphlth.task import Task
from graphlth.ticket import dense
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks

ABOUT = (
    "GCN with 2 layers, hidden 16, 16 random features, 8 random classes; half of the nodes train; "
    "evaluation included. An epoch trains weights, weight masks and a mask entry for every "
    "undirected edge. Generated graphs have mean degree 10 and a power law of exponent 2.5; "
    "Cornell5 and NELL are real topologies. Agreement is with the `reference` backend over three "
    "epochs on the smallest. Medians of the epochs after a first, range in brackets."
)
LARGE = "A generated power-law graph, 128 features, 40 classes, 3 layers, hidden 256, 2 threads."
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


def power_law_size(num_edges: int) -> Size:
    """A power-law graph of the mean degree."""
    return Size(f"{num_edges:.0e}".replace("e+0", "e"), 2 * num_edges // DEGREE, num_edges)


def arxiv_size(num_nodes: int = 169_343, num_edges: int = 1_166_243) -> Size:
    """The size of ogbn-arxiv (Hu et al., NeurIPS 2020), and the widths of its GCN."""
    return Size(ARXIV, num_nodes, num_edges, 128, 40, 256, 3, threads=2)


def make_task(size: Size, data_root: Path | None) -> Task:
    """The task."""
    pairs, num_nodes = (
        (power_law(size.num_nodes, size.num_edges), size.num_nodes) if size.num_nodes
        else load_edges(REAL[size.name], data_root)
    )  # fmt: skip
    return random_task(pairs, num_nodes, features=size.features, classes=size.classes)


def epochs(task: Task, size: Size, count: int, backend: str = "auto"):
    """Train weights and masks together, pausing after every epoch."""
    torch.manual_seed(0)
    model = GCN(task.num_features, size.hidden, task.num_classes, size.layers, backend=backend)
    masks = dense(model, task.num_edges).masks
    soft = {n: m.clone().requires_grad_() for n, m in masks.items()}

    return train(model, task, masks, epochs=count, soft=SoftMasks(soft, dict.fromkeys(soft, L1)))


def check_agreement(size: Size) -> float:
    """The largest difference of the losses over three epochs from those of plain gathers."""
    task = make_task(size, None)
    ours, plain = (list(epochs(task, size, 3, backend)) for backend in ("auto", "reference"))
    worst = max(abs(a.loss - b.loss) for a, b in zip(ours, plain, strict=True))
    assert worst < 1e-4, f"the backends differ by {worst}"
    return worst


def train_size(size: Size, data_root: Path | None, count: int) -> dict[str, object]:
    """Seconds of every epoch after the first, which warms up, and the memory of this process."""
    torch.set_num_threads(size.threads)
    start = peak_memory()
    task = make_task(size, data_root)
    before, seconds = peak_memory(), []
    steps = epochs(task, size, count + 1)
    next(steps)
    last = time.perf_counter()
    for _ in steps:
        seconds.append((now := time.perf_counter()) - last)
        last = now
    return {
        "edges": task.num_edges, "nodes": task.num_nodes, "seconds": seconds, "start": start,
        "before": before, "after": peak_memory(),
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
    with replace_file(path) as draft:
        figure.savefig(draft, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--edges", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7])
    parser.add_argument("--only", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        return print(json.dumps(train_size(Size(**args.only), args.data_root, args.repeats)))
    if args.data_root is None and not args.quick:
        raise ValueError("`--data_root` must be the folder of the real graphs, got none")
    torch.set_num_threads(1)
    if args.quick:
        args.repeats, args.edges = 2, [1e3, 1e4]
    sizes = [power_law_size(int(e)) for e in args.edges]
    worst = check_agreement(sizes[0])
    found = measure_sizes(args, sizes)
    fitted = [f for n, f in found.items() if n not in REAL and n != ARXIV]
    law = np.polyfit([np.log(f["edges"]) for f in fitted],
                     [np.log(statistics.median(f["seconds"])) for f in fitted], 1)  # fmt: skip
    about = measurement(repeats=args.repeats, agreement=f"losses within {worst:.0e}")
    folder, picture = result_folder(args, "speed_scale"), name_file("time", about)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        draw(found, law, folder / picture)
    large = found[ARXIV]
    write(Result(
        "speed_scale", "An epoch of mask training against the number of edges", ABOUT, about,
        [time_table({n: f for n, f in found.items() if n != ARXIV}, sizes[0].features),
         law_table(law), arxiv_table(large)],
        [Claim("exponent of time against edges, generated graphs", Value(law[0]), at_most=1.1),
         Claim(f"{ARXIV}, peak memory, GB", Value(large["after"] * 2**20 / 1e9, n=1), at_most=4)],
        {picture: "time against edges"} if folder else {},
    ), folder, together=True)  # fmt: skip


def measure_sizes(args: argparse.Namespace, sizes: list[Size]) -> dict[str, dict]:
    """Seconds and memory of every size, the real topologies and that of ogbn-arxiv."""
    if args.quick:
        found = {size.name: train_size(size, None, args.repeats) for size in sizes}
        others = [arxiv_size(2000, 10_000)]
    else:
        found, others = {}, [*sizes, *(Size(name, 0, 0) for name in REAL), arxiv_size()]
    options = ["--data_root", args.data_root] if args.data_root else []
    for size in others:
        found[size.name] = run_in_child(
            "--only", json.dumps(asdict(size)), "--repeats", args.repeats, *options
        )
        print(size.name, found[size.name], flush=True)
    return found


def time_table(found: dict[str, dict], d: int) -> Table:
    """Time and memory of every graph."""
    rows = [
        [name, f["nodes"], f["edges"], median_and_range(f["seconds"], 1e3),
         1e9 * statistics.median(f["seconds"]) / f["edges"], f["after"], f["before"],
         (f["after"] - f["start"]) * 2**20 / (f["edges"] + f["nodes"] * d)]
        for name, f in found.items()
    ]  # fmt: skip
    columns = {"ms per epoch": ".2f", "ns per edge": ".0f", "peak memory, MiB": ".0f",
               "of it before the first epoch": ".0f",
               "bytes beyond the imports / (E + N d)": ".0f"}  # fmt: skip
    return Table("times", {"graph": "", "nodes": ",d", "edges": ",d"}, columns, rows)


def law_table(law: Sequence[float]) -> Table:
    """The power of the number of edges that time grows with."""
    return Table("law", {}, {"exponent": ".2f"}, [[float(law[0])]], "Time ∝ edges^exponent",
                 "Fitted to the generated graphs.")  # fmt: skip


def arxiv_table(large: dict) -> Table:
    """Time and memory at the size of ogbn-arxiv."""
    columns = {
        "s per epoch": ".2f",
        "peak memory, MiB": ".0f",
        "of it before the first epoch": ".0f",
    }
    rows = [[large["nodes"], large["edges"], median_and_range(large["seconds"]), large["after"],
             large["before"]]]  # fmt: skip
    return Table("arxiv", {"nodes": ",d", "edges": ",d"}, columns, rows, ARXIV.capitalize(), LARGE)


if __name__ == "__main__":
    run_main(main)
