"""The masked sum, forward and both gradients, against its peers and against the machine's limits.

Agreement first, then alternating measurements on one thread. The graphs are real topologies
(`graphs/<name>/<name>.npz` below --data_root, and Cora); the features are random. The roofline is
measured in the same run, for one thread and for two.

    python benchmarks/speed_kernel.py --data_root DIR [--out FOLDER]
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
    available_memory,
    clock,
    difference,
    load_edges,
    power_law,
    ratios,
    result_folder,
    run_main,
    undirected_graph,
)
from machine import measurement, name_file
from roofline import Point, Roof, compulsory_bytes, draw, measure, operations
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_scatter import scatter, segment_csr

import graphlth as glt
from graphlth.reproduction.result import Claim, Result, Table, Value, median_and_range, write
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import weighted_sum

WIDTHS = (16, 128, 512)
COPIES = 5  # of the messages, that must fit in the memory; peers hold 4.0 at once
LARGE = 1 << 27  # numbers in the messages, from which three measurements must do
ABOUT = (
    "Milliseconds: median (range) of alternating measurements; ratios are medians over their "
    "turns. Real topologies, random features. –: not measured, or the messages do not fit in the "
    "memory."
)
LEAST = (
    "Least time: the larger of compulsory bytes / bandwidth and operations / the rate of the "
    "fastest product of two large matrices. Bytes: x and ∂out read, out and ∂x written, masks read "
    "and their gradients written, int32 columns and offsets of both orientations, each once. "
    "Operations: three products of 2 E d. graphlth is measured once more, without peers in "
    "between: medians."
)
Sum = Callable[[Graph, Tensor, Tensor], Tensor]


def graphlth_sum(graph: Graph, x: Tensor, weight: Tensor) -> Tensor:
    """graphlth with the backend that it chooses."""
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
    "graphlth": graphlth_sum, "graphlth, sparse": sparse_sum, "scatter": scatter_sum,
    "segment_csr": segment_sum, "PyG": pyg_sum, **({"DGL": dgl_sum} if find_spec("dgl") else {}),
}  # fmt: skip
SCATTER = ("scatter", "segment_csr")


def graphs(args: argparse.Namespace) -> dict[str, Graph]:
    """The graphs by name; a generated one without --data_root."""
    if args.data_root is None:
        return {"generated": undirected_graph(power_law(1000, 5000), 1000)}
    found = {"Cora": glt.find("tasks", "cora")(data_root=str(args.data_root)).graph}
    if not args.quick:
        found["PubMed"] = undirected_graph(*load_edges("pubmed_topology", args.data_root))
        found["Cornell5"] = undirected_graph(*load_edges("fb100_cornell5", args.data_root))
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


def compare_ways(graph: Graph, d: int, repeats: int, least: float) -> tuple[Seconds, float]:
    """Seconds of each way, and by how much they differ at most."""
    given = inputs(graph, d)
    large = graph.num_edges * d > LARGE
    fits = available_memory() > COPIES * 4 * graph.num_edges * d
    ways = {n: way for n, way in WAYS.items() if fits or n.startswith("graphlth")}
    expected, worst = step(graphlth_sum, graph, *given), 0.0
    for name, way in ways.items():
        worst = max(worst, difference(name, expected, step(way, graph, *given), 1e-4))
    steps = {name: lambda way=way: step(way, graph, *given) for name, way in ways.items()}
    return clock(steps, min(3, repeats) if large else repeats, least=least), worst


def time_graphlth(graph: Graph, d: int, repeats: int, least: float) -> float:
    """Seconds of graphlth with the threads that torch has."""
    given = inputs(graph, d)
    seconds = clock({"graphlth": lambda: step(graphlth_sum, graph, *given)}, repeats, least=least)
    return statistics.median(seconds["graphlth"])


def main() -> None:
    args = arguments(__doc__, repeats=7).parse_args()
    if args.data_root is None and not args.quick:
        raise ValueError("`--data_root` must be the folder of the real graphs, got none")
    how, widths = ((2, 0.01), (16,)) if args.quick else ((args.repeats, 0.1), WIDTHS)
    cases = [(name, graph, d) for name, graph in graphs(args).items() for d in widths]
    torch.set_num_threads(1)
    rows, gains, worst = [], [], 0.0
    for name, graph, d in cases:
        seconds, apart = compare_ways(graph, d, *how)
        worst = max(worst, apart)
        gain = best_gain(seconds)
        gains += [gain] if gain else []
        cells = [median_and_range(seconds[w], 1e3) if w in seconds else None for w in WAYS]
        rows.append([name, graph.num_edges, d, *cells, gain])
        print(rows[-1], flush=True)
    roofs, medians = [], [[] for _ in cases]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        roofs.append(measure(threads, quick=args.quick))
        for found, (_, graph, d) in zip(medians, cases, strict=True):
            found.append(time_graphlth(graph, d, *how))
    points = [
        Point(name, d, operations(graph.num_edges, d)
              / compulsory_bytes(graph.num_nodes, graph.num_edges, d),
              [operations(graph.num_edges, d) / s for s in found])
        for (name, graph, d), found in zip(cases, medians, strict=True)
    ]  # fmt: skip
    about = measurement("one thread where nothing else is said", repeats=how[0],
                        agreement=f"{worst:.0e} of the largest entry",
                        dgl="not installed" if "DGL" not in WAYS else None)  # fmt: skip
    folder, picture = result_folder(args, "speed_kernel"), name_file("roofline", about)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        draw(points, roofs, folder / picture)
    heads = {**dict.fromkeys(WAYS, ".2f"), "best torch-scatter / graphlth": ".1f"}
    keys = {"graph": "", "edges": ",d", "d": "d"}
    write(Result(
        "speed_kernel", "Masked sum, forward and gradients to features and edge weights", ABOUT,
        about,
        [Table("times", keys, heads, rows), roof_table(roofs),
         limit_table(cases, points, medians, roofs)],
        [Claim("geometric mean of the ratios",
               Value(statistics.geometric_mean([g.value for g in gains])), at_least=10),
         Claim("smallest ratio", min(gains, key=lambda gain: gain.value), at_least=3)],
        {picture: "roofline"} if folder else {},
    ), folder, together=True)  # fmt: skip


def best_gain(seconds: Seconds) -> Value | None:
    """Times of the faster variant of torch-scatter, where one fits in the memory."""
    gains = [
        median_and_range(ratios(seconds, way, "graphlth")) for way in SCATTER if way in seconds
    ]
    return min(gains, key=lambda gain: gain.value, default=None)


def roof_table(roofs: list[Roof]) -> Table:
    """What a number of threads can do."""
    columns = {"copy, GB/s": ".1f", "copy within the caches, GB/s": ".0f",
               **{f"product by {name}, GFLOP/s": ".0f" for name in roofs[0].rates}}  # fmt: skip
    rows = [[r.threads, r.bandwidth / 1e9, r.cached / 1e9, *(v / 1e9 for v in r.rates.values())]
            for r in roofs]  # fmt: skip
    return Table("roofs", {"threads": "d"}, columns, rows, "Roofline", LEAST)


def limit_table(
    cases: list[tuple[str, Graph, int]], points: list[Point], medians: list[list[float]],
    roofs: list[Roof],
) -> Table:  # fmt: skip
    """Least and achieved times, with one thread and with two."""
    rows = []
    for (name, graph, d), point, found in zip(cases, points, medians, strict=True):
        least = [roof.seconds(graph, d) for roof in roofs]
        times = [[1e3 * a, 1e3 * s, s / a] for a, s in zip(least, found, strict=True)]
        rows.append([name, d, point.intensity, *times[0], *times[1], found[0] / found[1],
                     found[1] / least[0]])  # fmt: skip
    heads = {f"{what}, {t}": spec for t in ("1 thread", "2 threads")
             for what, spec in (("least ms", ".3f"), ("graphlth ms", ".3f"),
                                ("achieved / least", ".1f"))}  # fmt: skip
    columns = {"operations / byte": ".1f", **heads, "1 thread / 2": ".2f",
               "2 threads / least, 1 thread": ".1f"}  # fmt: skip
    return Table("limits", {"graph": "", "d": "d"}, columns, rows)


if __name__ == "__main__":
    run_main(main)
