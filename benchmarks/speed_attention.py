"""Graph attention under a trainable edge mask, forward and all gradients: graphlth against PyG.

Both compute `α ∝ m · exp(LeakyReLU(a_s·W x_j + a_t·W x_i))`: as the whole layer (product, scores,
attention) on dense random features; as the attention alone; and, where a graph has features, as
the first layer on these, constant and sparse, which PyG's layer takes as a dense matrix. Agreement
first, on a mask with zeros, then alternating measurements on one thread. Real topologies.

    python benchmarks/speed_attention.py --data_root DIR [--out FOLDER]
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

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
from machine import measurement
from torch import Tensor
from torch.nn.functional import leaky_relu
from torch_geometric.nn import GATConv
from torch_geometric.utils import scatter

import graphlth as glt
from graphlth.models.graph.gat import GAT
from graphlth.reproduction.result import Claim, Result, Table, median_and_range, write
from graphlth.sparse.blocks import Block
from graphlth.sparse.cache import StepCache
from graphlth.sparse.features import Features, sparse_features
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import attention

ABOUT = (
    "Milliseconds: median (range) of alternating measurements; ratios are medians over their "
    "turns. Real topologies, 64 random features or those of the graph, no dropout, no bias, no "
    "added loops. PyG is `GATConv` whose shares are multiplied by the mask before they are "
    "normalised. –: its messages do not fit in the memory."
)
SHAPES = ((8, 8), (8, 64))  # heads, channels of each
FEATURES = 64
COPIES = 5  # of the messages, that must fit in the memory; PyG holds 4.1 at once
LARGE = 1 << 27  # numbers in the messages, from which three measurements must do
Step = Callable[[], tuple[Tensor, ...]]


class MaskedGATConv(GATConv):
    """PyG's layer; an edge's share of the attention is multiplied by its mask entry."""

    def edge_update(
        self, alpha_j: Tensor, alpha_i: Tensor, edge_attr: Tensor, index: Tensor, dim_size: int
    ) -> Tensor:
        logit = leaky_relu(alpha_j + alpha_i, self.negative_slope)  # as PyG's `softmax`, with m
        top = scatter(logit.detach(), index, 0, dim_size, reduce="max").index_select(0, index)
        share = edge_attr.view(-1, 1) * (logit - top).exp()
        total = scatter(share, index, 0, dim_size, reduce="sum") + 1e-16
        return share / total.index_select(0, index)


def layers(heads: int, d: int, features: int = FEATURES) -> tuple[GAT, MaskedGATConv]:
    """A layer of each, with the same weights."""
    torch.manual_seed(0)
    ours = GAT(features, d, 2, heads=heads, bias=False, dropout=0.0, input_dropout=0.0).eval()
    peer = MaskedGATConv(features, d, heads, bias=False, add_self_loops=False).eval()
    with torch.no_grad():
        peer.lin.weight.copy_(ours.weights[0].t())
        peer.att_src.copy_(ours.source_attention[0][None])
        peer.att_dst.copy_(ours.target_attention[0][None])
    return ours, peer


def random_mask(graph: Graph, draw: torch.Generator) -> Tensor:
    """An edge mask with zeros among its entries; every node keeps its first edge.

    Without one, `0 / 0`, PyG's gradient to the mask is of the order of 1e16.
    """
    weight = torch.rand(graph.num_edges, generator=draw)
    first = graph.by_target.offsets.long().clamp(max=graph.num_edges - 1)
    kept = weight.where(weight > 0.1, 0)
    kept[first] = weight[first] + 0.1
    return kept.requires_grad_()


def with_gradients(out: Tensor, grad: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The output and its gradients."""
    out = out.flatten(1)
    return out.detach(), *torch.autograd.grad(out, leaves, grad)


def whole_layer(graph: Graph, heads: int, d: int) -> dict[str, Step]:
    """The layer, with gradients to features, weights, both attention vectors and the mask."""
    draw = torch.Generator().manual_seed(0)
    ours, peer = layers(heads, d)
    x = torch.randn(graph.num_nodes, FEATURES, generator=draw).requires_grad_()
    grad, m = torch.randn(graph.num_nodes, heads * d, generator=draw), random_mask(graph, draw)
    own = (x, ours.weights[0], ours.source_attention[0], ours.target_attention[0], m)
    theirs = (x, peer.lin.weight, peer.att_src, peer.att_dst, m)

    def pyg() -> tuple[Tensor, ...]:
        out, to_x, to_w, *others = with_gradients(peer(x, graph.edge_index, m), grad, theirs)
        to_source, to_target, to_mask = others
        return out, to_x, to_w.t(), to_source[0], to_target[0], to_mask

    block = Block(graph)
    return {
        "graphlth": lambda: with_gradients(ours.attend(0, x, block, m, StepCache()), grad, own),
        "PyG": pyg,
    }


def first_layer(graph: Graph, heads: int, d: int, x: Features) -> dict[str, Step]:
    """The layer on constant features, with gradients to all but them."""
    draw = torch.Generator().manual_seed(0)
    ours, peer = layers(heads, d, x.shape[1])
    grad, m = torch.randn(graph.num_nodes, heads * d, generator=draw), random_mask(graph, draw)
    own = (ours.weights[0], ours.source_attention[0], ours.target_attention[0], m)
    theirs = (peer.lin.weight, peer.att_src, peer.att_dst, m)

    def pyg() -> tuple[Tensor, ...]:
        out, to_w, to_source, to_target, to_mask = with_gradients(
            peer(x.dense, graph.edge_index, m), grad, theirs
        )
        return out, to_w.t(), to_source[0], to_target[0], to_mask

    block = Block(graph)
    return {
        "graphlth": lambda: with_gradients(ours.attend(0, x, block, m, StepCache()), grad, own),
        "PyG": pyg,
    }


def attention_alone(graph: Graph, heads: int, d: int) -> dict[str, Step]:
    """The attention, with gradients to features, both scores and the mask."""
    draw = torch.Generator().manual_seed(0)
    _, peer = layers(heads, d)
    x = torch.randn(graph.num_nodes, heads, d, generator=draw).requires_grad_()
    sent, received = torch.randn(2, graph.num_nodes, heads, generator=draw).unbind()
    grad, m = torch.randn(graph.num_nodes, heads * d, generator=draw), random_mask(graph, draw)
    leaves = (x, sent.requires_grad_(), received.requires_grad_(), m)
    pairs = graph.edge_index

    def pyg() -> tuple[Tensor, ...]:
        alpha = peer.edge_updater(pairs, alpha=(sent, received), edge_attr=m, size=None)
        return with_gradients(peer.propagate(pairs, x=(x, x), alpha=alpha, size=None), grad, leaves)

    def ours() -> tuple[Tensor, ...]:
        return with_gradients(attention(graph, x, sent, received, m), grad, leaves)

    return {"graphlth": ours, "PyG": pyg}


PARTS = {"layer": whole_layer, "attention alone": attention_alone}
FIRST = "layer, own features"


def compare(steps: dict[str, Step], large: bool, repeats: int) -> tuple[Seconds, float]:
    """Seconds of both, and by how much they differ."""
    worst = difference("PyG", steps["graphlth"](), steps["PyG"](), 1e-3)
    return clock(steps, min(3, repeats) if large else repeats), worst


def graphs(args: argparse.Namespace) -> dict[str, tuple[Graph, Features | None]]:
    """The graphs by name, with the features that they have; without --data_root generated ones."""
    if args.data_root is None:
        draw = torch.Generator().manual_seed(0)
        sparse = sparse_features((torch.rand(1000, 200, generator=draw) > 0.95).float())
        return {"generated": (undirected_graph(power_law(1000, 5000), 1000), sparse)}
    cora = glt.find("tasks", "cora")(data_root=str(args.data_root))
    found = {"Cora": (cora.graph, cora.x)}
    if not args.quick:
        found["Cornell5"] = (undirected_graph(*load_edges("fb100_cornell5", args.data_root)), None)
    return found


def main() -> None:
    args = arguments(__doc__, repeats=7).parse_args()
    if args.data_root is None and not args.quick:
        raise ValueError("`--data_root` must be the folder of the real graphs, got none")
    torch.set_num_threads(1)
    rows, gains, worst = [], {part: [] for part in (*PARTS, FIRST)}, 0.0
    for name, (graph, x) in graphs(args).items():
        for heads, d in SHAPES[:1] if args.quick else SHAPES:
            size = graph.num_edges * heads * d
            parts = PARTS | ({} if x is None else {FIRST: partial(first_layer, x=x)})
            for part, ways in parts.items():
                steps = ways(graph, heads, d)
                case = [name, graph.num_edges, f"{heads} × {d}", part]
                if available_memory() < COPIES * 4 * size:
                    seconds = clock({"graphlth": steps["graphlth"]}, args.repeats)
                    rows.append([*case, median_and_range(seconds["graphlth"], 1e3), None, None])
                    continue
                seconds, apart = compare(steps, size > LARGE, 2 if args.quick else args.repeats)
                gains[part].append(median_and_range(ratios(seconds, "PyG", "graphlth")))
                worst = max(worst, apart)
                cells = [median_and_range(s, 1e3) for s in seconds.values()]
                rows.append([*case, *cells, gains[part][-1]])
                print(rows[-1], flush=True)
    keys = {"graph": "", "edges": ",d", "heads × d": "", "what": ""}
    heads = {"graphlth": ".2f", "PyG": ".2f", "PyG / graphlth": ".1f"}
    write(Result(
        "speed_attention", "Attention under an edge mask, forward and all gradients", ABOUT,
        measurement(repeats=args.repeats, agreement=f"{worst:.0e} of the largest entry"),
        [Table("times", keys, heads, rows)],
        [Claim(f"smallest ratio, {part}", min(found, key=lambda gain: gain.value), at_least=5)
         for part, found in gains.items() if found],
    ), result_folder(args, "speed_attention"), together=True)  # fmt: skip


if __name__ == "__main__":
    run_main(main)
