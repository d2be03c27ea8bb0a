"""The masked sum, forward and both gradients, against its peers and against the machine's limits.

Agreement first, then alternating measurements on one thread. The graphs are real topologies
(`graphs/<name>/<name>.npz` below --data_root, and Cora); the features are random. The roofline is
measured in the same run, for one thread and for two.

    python benchmarks/speed_kernel.py --data_root DIR [--out FILE.md] [--figure FILE.png]
"""

import argparse
import statistics
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from bench import (
    Seconds,
    arguments,
    available,
    both_ways,
    clock,
    difference,
    hardware,
    lined,
    plainly,
    power_law,
    ratios,
    report,
    spread,
    topology,
    verdict,
    written,
)
from roofline import Point, Roof, compulsory_bytes, draw, measure, operations
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_scatter import scatter, segment_csr

import graphlth as glt
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import weighted_sum

WIDTHS = (16, 128, 512)
HELD = 5  # tensors of the size of the messages; peers hold 4.0 at once
LARGE = 1 << 27  # numbers in the messages, from which three measurements must do
Sum = Callable[[Graph, Tensor, Tensor], Tensor]


def ours(graph: Graph, x: Tensor, weight: Tensor) -> Tensor:
    """graphlth with the backend that it picks."""
    return weighted_sum(graph, x, weight)


def sparse_sum(graph: Graph, x: Tensor, weight: Tensor) -> Tensor:
    """graphlth with torch's compressed sparse rows."""
    return weighted_sum(graph, x, weight, backend="sparse")


def scatter_sum(graph: Graph, x: Tensor, weight: Tensor) -> Tensor:
    """torch-scatter's `scatter` over gathered messages."""
    source, target = graph.edge_index
    return scatter(x[source] * weight[:, None], target, dim=0, dim_size=graph.num_nodes)


def segment_sum(graph: Graph, x: Tensor, weight: Tensor) -> Tensor:
    """torch-scatter's `segment_csr` over gathered messages; edges lie in order of their target."""
    messages = x.index_select(0, graph.edge_index[0]) * weight[:, None]
    return segment_csr(messages, offsets(graph), reduce="sum")


@cache
def offsets(graph: Graph) -> Tensor:
    """Where the edges into every node start, as torch-scatter takes it."""
    return graph.by_target.offsets.long()


class Messages(MessagePassing):
    """PyG's message passing with a trainable edge weight, as in `GCNConv`."""

    def __init__(self):
        super().__init__(aggr="add")

    def forward(self, x: Tensor, edge_index: Tensor, weight: Tensor) -> Tensor:
        return self.propagate(edge_index, x=x, weight=weight, size=None)

    def message(self, x_j: Tensor, weight: Tensor) -> Tensor:
        return weight.view(-1, 1) * x_j


MESSAGES = Messages()


def pyg_sum(graph: Graph, x: Tensor, weight: Tensor) -> Tensor:
    """PyG's `propagate`."""
    return MESSAGES(x, graph.edge_index, weight)


@cache
def dgl_graph(graph: Graph):
    """The graph as DGL keeps it."""
    import dgl

    return dgl.graph(tuple(graph.edge_index), num_nodes=graph.num_nodes)


def dgl_sum(graph: Graph, x: Tensor, weight: Tensor) -> Tensor:
    """DGL's fused sum."""
    from dgl.ops import u_mul_e_sum

    return u_mul_e_sum(dgl_graph(graph), x, weight[:, None])


WAYS: dict[str, Sum] = {
    "graphlth": ours, "graphlth, sparse": sparse_sum, "scatter": scatter_sum,
    "segment_csr": segment_sum, "PyG": pyg_sum, **({"DGL": dgl_sum} if find_spec("dgl") else {}),
}  # fmt: skip
SCATTER = ("scatter", "segment_csr")


def graphs(args: argparse.Namespace) -> dict[str, Graph]:
    """The graphs by name; a generated one without --data_root."""
    if args.data_root is None:
        return {"generated": both_ways(power_law(1000, 5000), 1000)}
    found = {"Cora": glt.find("tasks", "cora")(data_root=str(args.data_root)).graph}
    if not args.quick:
        found["PubMed"] = both_ways(*topology("pubmed_topology", args.data_root))
        found["Cornell5"] = both_ways(*topology("fb100_cornell5", args.data_root))
    return found


def inputs(graph: Graph, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random features, edge weights with zeros among them, and a gradient."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(graph.num_nodes, d, generator=draw).requires_grad_()
    weight = torch.rand(graph.num_edges, generator=draw)
    weight = weight.where(weight > 0.1, 0).requires_grad_()
    return x, weight, torch.randn(graph.num_nodes, d, generator=draw)


def step(way: Sum, graph: Graph, x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """The sum and its gradients to features and weights."""
    out = way(graph, x, weight)
    return out.detach(), *torch.autograd.grad(out, (x, weight), grad)


def compare(graph: Graph, d: int, repeats: int, least: float) -> tuple[Seconds, float]:
    """Seconds of each way, and by how much they differ at most."""
    given = inputs(graph, d)
    large = graph.num_edges * d > LARGE
    fits = available() > HELD * 4 * graph.num_edges * d
    ways = {n: way for n, way in WAYS.items() if fits or n.startswith("graphlth")}
    expected, worst = step(ours, graph, *given), 0.0
    for name, way in ways.items():
        worst = max(worst, difference(name, expected, step(way, graph, *given), 1e-4))
    steps = {name: lambda way=way: step(way, graph, *given) for name, way in ways.items()}
    return clock(steps, min(3, repeats) if large else repeats, least=least), worst


def alone(graph: Graph, d: int, repeats: int, least: float) -> float:
    """Seconds of graphlth with the threads that torch has."""
    given = inputs(graph, d)
    seconds = clock({"graphlth": lambda: step(ours, graph, *given)}, repeats, least=least)
    return statistics.median(seconds["graphlth"])


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--figure", type=written, help="where the roofline picture goes")
    args = parser.parse_args()
    if args.data_root is None and not args.quick:
        parser.error("--data_root is needed without --quick")
    how, widths = ((2, 0.01), (16,)) if args.quick else ((args.repeats, 0.1), WIDTHS)
    cases = [(name, graph, d) for name, graph in graphs(args).items() for d in widths]
    torch.set_num_threads(1)
    rows, gains, worst, fewer = [], [], 0.0, False
    for name, graph, d in cases:
        seconds, apart = compare(graph, d, *how)
        worst, fewer = max(worst, apart), fewer or len(seconds) < len(WAYS)
        peers = [way for way in SCATTER if way in seconds]
        if peers:
            gains.append(min(statistics.median(ratios(seconds, way, "graphlth")) for way in peers))
        cells = [spread(seconds[way], 1e3) if way in seconds else "–" for way in WAYS]
        rows.append([name, f"{graph.num_edges:,}", str(d), *cells,
                     f"{gains[-1]:.1f}" if peers else "–"])  # fmt: skip
        print(" | ".join(rows[-1]), flush=True)
    roofs, medians = [], [[] for _ in cases]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        roofs.append(measure(threads, quick=args.quick))
        for found, (_, graph, d) in zip(medians, cases, strict=True):
            found.append(alone(graph, d, *how))
    points = [
        Point(name, d, operations(graph.num_edges, d)
              / compulsory_bytes(graph.num_nodes, graph.num_edges, d),
              [operations(graph.num_edges, d) / s for s in found])
        for (name, graph, d), found in zip(cases, medians, strict=True)
    ]  # fmt: skip
    report(
        args.out, "Masked sum, forward and gradients to features and edge weights",
        [hardware("one thread where nothing else is said")],
        [f"Milliseconds: median (range) of alternating measurements; ratios are medians over their "
         f"turns. Real topologies, random features. All agree within {worst:.0e} of the largest "
         f"entry. "
         + ("" if "DGL" in WAYS else "DGL is not installed here. ")
         + ("–: the messages do not fit in the memory." if fewer else "")],
        lined(["graph", "edges", "d", *WAYS, "best torch-scatter / graphlth"], rows),
        [verdict("geometric mean of the ratios", statistics.geometric_mean(gains), least=10),
         verdict("smallest ratio", min(gains), least=3)],
        ["## Roofline"],
        ["Least time: the larger of compulsory bytes / bandwidth and operations / the rate of the "
         "fastest product of two large matrices. Bytes: x and ∂out read, out and ∂x written, masks "
         "read and their gradients written, int32 columns and offsets of both orientations, each "
         "once. Operations: three products of 2 E d. "
         f"graphlth is measured once more, without peers in between: medians of {how[0]}."],
        lined(["threads", "copy, GB/s", "copy within the caches, GB/s",
               *(f"product by {name}, GFLOP/s" for name in roofs[0].rates)],
              [[str(r.threads), f"{r.bandwidth / 1e9:.1f}", f"{r.cached / 1e9:.0f}",
                *(f"{rate / 1e9:.0f}" for rate in r.rates.values())] for r in roofs]),
        limits(cases, points, medians, roofs),
        [f"![roofline]({args.figure.name})"] if args.figure else [],
    )  # fmt: skip
    if args.figure:
        draw(points, roofs, args.figure)


def limits(
    cases: list[tuple[str, Graph, int]], points: list[Point], medians: list[list[float]],
    roofs: list[Roof],
) -> list[str]:  # fmt: skip
    """A table of least and achieved times, with one thread and with two."""
    rows = []
    for (name, graph, d), point, found in zip(cases, points, medians, strict=True):
        least = [roof.seconds(graph, d) for roof in roofs]
        times = [[f"{1e3 * a:.3f}", f"{1e3 * s:.3f}", f"{s / a:.1f}"]
                 for a, s in zip(least, found, strict=True)]  # fmt: skip
        rows.append([name, str(d), f"{point.intensity:.1f}", *times[0], *times[1],
                     f"{found[0] / found[1]:.2f}", f"{found[1] / least[0]:.1f}"])  # fmt: skip
    head = [f"{what}, {t}" for t in ("1 thread", "2 threads")
            for what in ("least ms", "graphlth ms", "achieved / least")]  # fmt: skip
    return lined(["graph", "d", "operations / byte", *head, "1 thread / 2",
                  "2 threads / least, 1 thread"], rows)  # fmt: skip


if __name__ == "__main__":
    plainly(main)
