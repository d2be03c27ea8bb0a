"""The masked sum, forward and both gradients: the `sparse` backend against gather–scatter.

Agreement first, then medians of alternating runs on one thread. The graphs are real topologies
(`graphs/<name>/<name>.npz` below --data_root, and Cora); the features are random.

    python benchmarks/speed_kernel.py --data_root DIR [--out FILE.md]
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch_scatter import scatter, segment_csr

import graphlth as glt
from graphlth.graph import Graph
from graphlth.message import weighted_sum
from graphlth.record import environment

WIDTHS = (16, 128, 512)
Sum = Callable[[Graph, Tensor, Tensor], Tensor]


def scatter_sum(graph: Graph, x: Tensor, weight: Tensor) -> Tensor:
    """torch-scatter's `scatter`, as PyG's message passing calls it."""
    source, target = graph.edge_index
    return scatter(x[source] * weight[:, None], target, dim=0, dim_size=graph.num_nodes)


def segment_sum(graph: Graph, x: Tensor, weight: Tensor) -> Tensor:
    """torch-scatter's `segment_csr` over gathered messages; edges lie in order of their target."""
    return segment_csr(x.index_select(0, graph.edge_index[0]) * weight[:, None],
                       graph.by_target.offsets, reduce="sum")  # fmt: skip


PEERS: dict[str, Sum] = {"scatter": scatter_sum, "segment_csr": segment_sum}
WAYS: dict[str, Sum] = {"sparse": lambda g, x, w: weighted_sum(g, x, w, backend="sparse"), **PEERS}


def graphs(data_root: Path) -> dict[str, Graph]:
    """The topologies, both directions of every edge, sorted by target."""
    found = {"cora": glt.find("tasks", "cora")(data_root=str(data_root)).graph}
    for name in ("pubmed_topology", "fb100_cornell5"):
        with np.load(data_root / "graphs" / name / f"{name}.npz", allow_pickle=False) as file:
            pairs, num_nodes = torch.from_numpy(file["edge_index"]).long(), int(file["num_nodes"])
        both = torch.cat([pairs, pairs.flip(0)], dim=1)
        found[name] = Graph(both[:, (both[1] * num_nodes + both[0]).argsort()], num_nodes)
    return found


def step(way: Sum, graph: Graph, x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """The sum and its gradients to features and weights."""
    out = way(graph, x, weight)
    return out.detach(), *torch.autograd.grad(out, (x, weight), grad)


def clock(graph: Graph, d: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each way, after it agreed with the first."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(graph.num_nodes, d, generator=draw).requires_grad_()
    weight = torch.rand(graph.num_edges, generator=draw).requires_grad_()
    grad = torch.randn(graph.num_nodes, d, generator=draw)
    expected = step(WAYS["sparse"], graph, x, weight, grad)
    for name, way in PEERS.items():
        for a, b in zip(expected, step(way, graph, x, weight, grad), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3, msg=f"{name} does not agree")
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    calls = max(1, min(50, int(2e7 / graph.num_edges / d)))  # in one measurement
    for _ in range(repeats):
        for name, way in WAYS.items():
            gc.collect()
            if calls > 1:
                step(way, graph, x, weight, grad)  # warm-up
            start = time.perf_counter()
            for _ in range(calls):
                step(way, graph, x, weight, grad)
            seconds[name].append((time.perf_counter() - start) / calls)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_root", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines, ratios = [], []
    for name, graph in graphs(args.data_root).items():
        for d in WIDTHS:
            seconds = clock(graph, d, args.repeats if graph.num_edges < 1e6 else 3)
            ms = {way: 1e3 * statistics.median(s) for way, s in seconds.items()}
            ratios.append(min(ms[peer] for peer in PEERS) / ms["sparse"])
            cells = [f"{ms[way]:.2f} ({1e3 * min(s):.2f} – {1e3 * max(s):.2f})"
                     for way, s in seconds.items()]  # fmt: skip
            lines.append(" | ".join(["", name, f"{graph.num_edges:,}", str(d), *cells,
                                     f"{ratios[-1]:.1f}", ""]).strip())  # fmt: skip
            print(lines[-1], flush=True)
    about = environment()
    text = "\n".join([
        "# Masked sum, forward and gradients to features and edge weights", "",
        f"`python benchmarks/speed_kernel.py --data_root DIR`, {date.today()}, {about['cpu']}, one "
        f"thread, torch {about['torch']}, torch-scatter {about['torch-scatter']}, commit "
        f"{about.get('commit', 'unknown')[:12]}.", "",
        "Milliseconds: median (range). Real topologies, random features. All three agree within "
        "1e-3.", "",
        "| graph | edges | d | " + " | ".join(WAYS) + " | best peer / sparse |",
        "|-|-|-|" + "-|" * (len(WAYS) + 1), *lines, "",
        f"Geometric mean of the ratios: {statistics.geometric_mean(ratios):.1f}; smallest "
        f"{min(ratios):.1f}.", "",
    ])  # fmt: skip
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
