"""PyG's operators under a trainable edge mask, forward and gradients: graphlth behind them or not.

One propagation of an unchanged operator inside `masked_edges`, with gradients to the features and
the mask, against the same with PyG's messages multiplied by the mask by hand. The linear maps of
the operators are left out. Agreement first, on a mask with zeros, then measurements by turns on
one thread. What is measured is kept, so that an interrupted run goes on.

    python benchmarks/speed_operators.py --data_root DIR [--out FOLDER]
"""

import argparse
import math
from collections.abc import Callable

import torch
from bench import (
    Seconds,
    arguments,
    clock,
    difference,
    finish,
    power_law,
    ratios,
    result_folder,
    resume,
    run_main,
    undirected_graph,
)
from machine import measurement
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch_geometric.nn import conv as pyg
from torch_geometric.utils import scatter

import graphlth as glt
from graphlth.message_passing import GraphCache, masked_edges
from graphlth.reproduction.result import Claim, Result, Table, median_and_range, write
from graphlth.sparse.graph import Graph

ABOUT = (
    "Milliseconds: median (range) of measurements by turns; ratios are medians over their turns. "
    "64 random features; no dropout, no bias. PyG: sums are given the mask as `edge_weight`, or "
    "their messages are multiplied by it; a mean is such a sum divided by that of the mask; shares "
    "of attention are multiplied by the mask before they are normalised. graphlth: the unchanged "
    "operator inside `masked_edges`. Loops that an operator adds are added by both. The geometric "
    "mean is over all operators and graphs."
)
CHANNELS = 64
MILLION = 100_000, 500_000  # nodes, undirected edges
Step = Callable[[], tuple[Tensor, ...]]


class MaskedSum(pyg.MessagePassing):
    """`Σ m x_j`, or `Σ m x_j / Σ m`: GIN and SAGE with messages multiplied by the mask."""

    def __init__(self, mean: bool = False):
        super().__init__(aggr="add")
        self.mean = mean

    def forward(self, x: Tensor, edge_index: Tensor, m: Tensor) -> Tensor:
        out = self.propagate(edge_index, x=x, m=m)
        if not self.mean:
            return out + x  # GIN's own features
        total = scatter(m, edge_index[1], 0, x.size(0), reduce="sum")
        return out / total.where(total > 0, 1).view(-1, 1)

    def message(self, x_j: Tensor, m: Tensor) -> Tensor:
        return m.view(-1, 1) * x_j


def masked_softmax(logits: Tensor, m: Tensor, index: Tensor, dim_size: int) -> Tensor:
    """`m eˡ / Σ m eˡ`, as PyG's `softmax` does it without m."""
    top = scatter(logits.detach(), index, 0, dim_size, reduce="max").index_select(0, index)
    share = m.view(-1, 1) * (logits - top).exp()
    total = scatter(share, index, 0, dim_size, reduce="sum") + 1e-16
    return share / total.index_select(0, index)


class MaskedGAT(pyg.GATConv):
    """GAT; an edge's share of the attention is multiplied by its mask entry, `edge_attr`."""

    def edge_update(
        self, alpha_j: Tensor, alpha_i: Tensor, edge_attr: Tensor, index: Tensor, dim_size: int
    ) -> Tensor:
        logits = leaky_relu(alpha_j + alpha_i, self.negative_slope)
        return masked_softmax(logits, edge_attr, index, dim_size)


class MaskedGATv2(pyg.GATv2Conv):
    """GATv2 likewise."""

    def edge_update(
        self, x_j: Tensor, x_i: Tensor, edge_attr: Tensor, index: Tensor, dim_size: int
    ) -> Tensor:
        logits = (leaky_relu(x_i + x_j, self.negative_slope) * self.att).sum(dim=-1)
        return masked_softmax(logits, edge_attr, index, dim_size)


def plain_maps(conv: nn.Module) -> nn.Module:
    """`conv` with its linear maps as identities."""
    for name in [name for name, part in conv.named_children() if name.startswith("lin")]:
        part = getattr(conv, name)
        many = isinstance(part, nn.ModuleList)
        setattr(conv, name, nn.ModuleList([nn.Identity() for _ in part]) if many else nn.Identity())
    return conv


def operators() -> dict[str, tuple[nn.Module, nn.Module]]:
    """By name, the operator and what it is compared with, of the same weights."""
    d, none = CHANNELS, {"bias": False}

    def twice(make: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
        return plain_maps(make()), plain_maps(make())

    found = {
        "GCN": twice(lambda: pyg.GCNConv(d, d, **none)),
        "SAGE, mean": (plain_maps(pyg.SAGEConv(d, d, root_weight=False)), MaskedSum(mean=True)),
        "GIN": (pyg.GINConv(nn.Identity()), MaskedSum()),
        "GraphConv": twice(lambda: pyg.GraphConv(d, d, **none)),
        "TAG, 1 step": twice(lambda: pyg.TAGConv(d, d, K=1, **none)),
        "SG, 1 step": twice(lambda: pyg.SGConv(d, d, K=1, **none)),
        "APPNP, 1 step": twice(lambda: pyg.APPNP(K=1, alpha=0.1)),
    }  # fmt: skip
    for heads, width in ((8, 8), (1, 64)):
        for name, kind, masked in (
            ("GAT", pyg.GATConv, MaskedGAT),
            ("GATv2", pyg.GATv2Conv, MaskedGATv2),
        ):
            pair = (plain_maps(k(d, width, heads, fill_value=1.0, **none)) for k in (kind, masked))
            ours, peer = pair
            peer.load_state_dict(ours.state_dict())
            found[f"{name}, {heads} × {width}"] = ours, peer
    return found


def random_mask(graph: Graph, draw: torch.Generator) -> Tensor:
    """An edge mask with zeros among its entries; every node keeps its first edge.

    Without one, `0 / 0` and the roots of degrees 0, gradients of PyG are no numbers.
    """
    weight = torch.rand(graph.num_edges, generator=draw)
    kept = weight.where(weight > 0.1, 0)
    first = graph.by_target.offsets.long().clamp(max=graph.num_edges - 1)
    kept[first] = weight[first] + 0.1
    return kept.requires_grad_()


def steps(ours: nn.Module, peer: nn.Module, graph: Graph) -> dict[str, Step]:
    """Both ways: the output, and the gradients to the features and the mask."""
    draw = torch.Generator().manual_seed(0)
    x, grad = torch.randn(2, graph.num_nodes, CHANNELS, generator=draw)
    x, m = x.clone().requires_grad_(), random_mask(graph, draw)
    pairs, cache = graph.edge_index, GraphCache()

    def with_gradients(out: Tensor) -> tuple[Tensor, ...]:
        return out.detach(), *torch.autograd.grad(out, (x, m), grad)

    def masked() -> tuple[Tensor, ...]:
        with masked_edges(ours, [(pairs, m)], cache):
            out = ours(x, pairs)
        return with_gradients(out)

    return {"graphlth": masked, "PyG": lambda: with_gradients(peer(x, pairs, m))}


def measure(pair: tuple[nn.Module, nn.Module], graph: Graph, repeats: int) -> dict[str, object]:
    """Seconds of both, and by how much they differ."""
    ways = steps(*pair, graph)
    worst = difference("PyG", ways["graphlth"](), ways["PyG"](), 1e-3)
    return {"seconds": clock(ways, repeats), "agreement": worst}


def graphs(args: argparse.Namespace) -> dict[str, Graph]:
    """The graphs by name; small ones of a small case."""
    if args.quick:
        return {"generated": undirected_graph(power_law(1000, 5000), 1000)}
    nodes, edges = MILLION
    return {
        "Cora": glt.find("tasks", "cora")(data_root=str(args.data_root)).graph,
        "generated": undirected_graph(power_law(nodes, edges), nodes),
    }


def main() -> None:
    args = arguments(__doc__, repeats=7).parse_args()
    if args.data_root is None and not args.quick:
        raise ValueError("`--data_root` must be the folder of Cora, got none")
    args.repeats = 2 if args.quick else args.repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder, rows, gains, worst = result_folder(args, "speed_operators"), [], [], 0.0
    for name, graph in graphs(args).items():
        for operator, pair in operators().items():
            found = resume(
                folder, f"{name}, {operator}", lambda g=graph, p=pair: measure(p, g, args.repeats)
            )
            seconds: Seconds = found["seconds"]
            worst = max(worst, found["agreement"])
            gains.append(ratios(seconds, "PyG", "graphlth"))
            cells = [median_and_range(s, 1e3) for s in seconds.values()]
            rows.append([operator, name, graph.num_edges, *cells, median_and_range(gains[-1])])
            print(rows[-1], flush=True)
    means = [math.exp(sum(map(math.log, turn)) / len(turn)) for turn in zip(*gains, strict=True)]
    least = min(map(median_and_range, gains), key=lambda gain: gain.value)
    keys = {"operator": "", "graph": "", "edges": ",d"}
    heads = {"graphlth": ".2f", "PyG": ".2f", "PyG / graphlth": ".1f"}
    write(Result(
        "speed_operators", "PyG's operators under an edge mask, forward and gradients", ABOUT,
        measurement(repeats=args.repeats, agreement=f"{worst:.0e} of the largest entry"),
        [Table("times", keys, heads, rows)],
        [Claim("geometric mean of the ratios", median_and_range(means), at_least=3),
         Claim("smallest ratio", least, at_least=1.2)],
    ), folder, together=True)  # fmt: skip
    finish(folder)


if __name__ == "__main__":
    run_main(main)
