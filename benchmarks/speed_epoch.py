"""A mask-training epoch of GCN on a task: the sparse engine, by hand with PyG, and dense N × N.

Agreement first: all take the same steps from the same weights, without dropout, and must reach
the same losses and masks. Then time, with dropout and one evaluation an epoch, alternating between
them in one run; then peak memory, each in a process of its own, and that of a whole run of UGS.
Full matrices are left out of graphs of which they would be too large.

    python benchmarks/speed_epoch.py --task cora --data_root DIR [--out FOLDER]
    python benchmarks/speed_epoch.py --task pubmed --data_root DIR --rounds 3 [--out FOLDER]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from bench import (
    Seconds,
    arguments,
    peak_memory,
    ratios,
    result_folder,
    run_in_child,
    run_main,
)
from machine import measurement
from torch import Tensor
from torch.func import functional_call

import graphlth as glt
from graphlth.experiment.plan import build_plugin
from graphlth.masks import EDGES
from graphlth.reproduction.result import Claim, Result, Table, Value, median_and_range, write
from graphlth.settings.presets import preset
from graphlth.ticket import dense
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks

ABOUT = (
    "Medians of alternating runs, range in brackets. `sparse` is the engine of graphlth. PyG is "
    "the step by hand: `GCNConv` on dense features, the edge mask as `edge_weight`, fused Adam "
    "over weights and masks. The dense formulation holds features, adjacency and edge mask as full "
    "matrices. Both evaluate all nodes; the sparse one evaluates those of validation. –: not "
    "measured."
)
MEMORY = "Each way in a process of its own; `before`: before its first epoch."
RUN = "`graphlth.run` with one seed, every ticket retrained and saved, in a process of its own."
L1 = 1e-2
HOW = {"lr": 8e-3, "weight_decay": 8e-5}


class DenseGCN(torch.nn.Module):
    """The same network with features, adjacency and edge mask as full matrices."""

    def __init__(self, model: torch.nn.Module, task):
        super().__init__()
        x, graph = next(task.batches("train")).inputs
        self.weights = [w.detach().clone().requires_grad_() for w in model.weights]
        self.register_buffer("x", x if isinstance(x, Tensor) else x.to_dense())
        source, target = graph.edge_index
        adjacency = torch.zeros(graph.size).index_put((source, target), torch.ones(graph.num_edges))
        self.register_buffer("adjacency", adjacency)  # [N, N], from row to column
        self.dropout, self.degree = model.dropout, model.degree

    def forward(self, edge_mask: Tensor, weight_masks: list[Tensor]) -> Tensor:
        a = self.adjacency * edge_mask + torch.eye(self.adjacency.size(0))
        root = a.sum(dim=0 if self.degree == "in" else 1).rsqrt()
        a = (root.unsqueeze(1) * a * root).t()
        h = self.x
        for layer, (w, m) in enumerate(zip(self.weights, weight_masks, strict=True)):
            if layer:
                h = F.dropout(h.relu(), self.dropout, self.training)
            h = a @ (h @ (w * m))
        return h

    def start(self) -> Tensor:
        """The edge mask [N, N] before training."""
        return (self.adjacency != 0).float()

    @staticmethod
    def of_edges(mask: Tensor, task) -> Tensor:
        """The entries [E] of an edge mask."""
        source, target = task.graph.edge_index
        return mask[source, target]


class PyGGCN(torch.nn.Module):
    """The same network of PyG's `GCNConv`: dense features, an edge mask as edge weights [E]."""

    def __init__(self, model: torch.nn.Module, task):
        from torch_geometric.nn import GCNConv  # takes 80 MiB, which are not those of the others

        super().__init__()
        x, graph = next(task.batches("train")).inputs
        self.convs = torch.nn.ModuleList(GCNConv(*w.shape, bias=False) for w in model.weights)
        for conv, w in zip(self.convs, model.weights, strict=True):
            conv.lin.weight.data = w.detach().t().contiguous()
        self.weights = [conv.lin.weight for conv in self.convs]
        self.register_buffer("x", x if isinstance(x, Tensor) else x.to_dense())
        self.register_buffer("edge_index", graph.edge_index)
        self.dropout = model.dropout

    def forward(self, edge_mask: Tensor, weight_masks: list[Tensor]) -> Tensor:
        h = self.x
        for layer, (conv, m) in enumerate(zip(self.convs, weight_masks, strict=True)):
            if layer:
                h = F.dropout(h.relu(), self.dropout, self.training)
            w = {"lin.weight": conv.lin.weight * m}
            h = functional_call(conv, w, (h, self.edge_index, edge_mask))
        return h

    def start(self) -> Tensor:
        """The edge mask [E] before training."""
        return torch.ones(self.edge_index.size(1))

    @staticmethod
    def of_edges(mask: Tensor, task) -> Tensor:
        """The entries [E] of an edge mask."""
        return mask


def epochs_by_hand(network, model, task, epochs: int) -> Iterator[tuple[float, Tensor]]:
    """Train θ, m_g and m_θ together; yield the loss and the edge mask [E] after every epoch."""
    net = network(model, task)
    edge_mask = net.start().requires_grad_()
    masks = [torch.ones_like(w).requires_grad_() for w in net.weights]
    optimizer = torch.optim.Adam([*net.weights, edge_mask, *masks], fused=True, **HOW)
    for _ in range(epochs):
        net.train()
        loss = F.cross_entropy(
            net(edge_mask, masks)[task.rows["train"]], task.y[task.rows["train"]]
        )
        penalty = L1 * (edge_mask.abs().sum() + sum(m.abs().sum() for m in masks))
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
        net.eval()
        with torch.no_grad():
            rows = task.rows["val"]
            (net(edge_mask, masks)[rows].argmax(-1) == task.y[rows]).float().mean().item()
        yield loss.item(), net.of_edges(edge_mask.detach(), task)


def sparse_epochs(model, task, epochs: int) -> Iterator[tuple[float, Tensor]]:
    """The same with the engine; the edge mask is [num_edges]."""
    masks = dense(model, task.num_edges).masks
    soft = {n: m.clone().requires_grad_() for n, m in masks.items()}

    how = {"epochs": epochs, "scoring": ("val",), **HOW}  # as UGS: test data are not looked at
    for epoch in train(model, task, masks, soft=SoftMasks(soft, dict.fromkeys(soft, L1)), **how):
        yield epoch.loss, soft[EDGES].detach()


WAYS = {
    "sparse": sparse_epochs,
    "PyG": partial(epochs_by_hand, PyGGCN),
    "dense": partial(epochs_by_hand, DenseGCN),
}
MATRIX = 5000  # nodes, from which full matrices are too large


def available_ways(task) -> list[str]:
    """What is measured on `task`."""
    return [way for way in WAYS if way != "dense" or task.num_nodes < MATRIX]


def published_settings(task: str) -> dict[str, object]:
    """The settings of UGS, of its released code where it has some, on `task`."""
    protocol = "paper" if task == "sbm" else "released"
    return {"hidden": 16, **preset("ugs", task, "gcn", protocol=protocol).settings}


def own_settings(args: argparse.Namespace) -> dict[str, object]:
    """The settings that differ from the preset."""
    return {"data_root": str(args.data_root)} if args.data_root else {}


def make_setting(args: argparse.Namespace, dropout: float):
    """The task and a fresh model, the same every time."""
    settings = {
        **published_settings(args.task),
        "edges": "directed",
        "dropout": dropout,
        **own_settings(args),
    }
    settings["degree"] = "in"  # as PyG counts
    task = build_plugin("tasks", args.task, settings)
    torch.manual_seed(0)
    return task, build_plugin("models", "gcn", settings, task)


def check_agreement(args: argparse.Namespace) -> float:
    """The largest difference from the engine over five epochs without dropout."""
    worst = 0.0
    task, model = make_setting(args, 0.0)
    # The engine steps last: it trains in place the weights that the others copy.
    steps = [WAYS[way](model, task, 5) for way in reversed(available_ways(task))]
    for *others, (loss, mask) in zip(*steps, strict=True):
        for other_loss, other_mask in others:
            worst = max(worst, abs(loss - other_loss), (mask - other_mask).abs().max().item())
    assert worst < 1e-4, f"the formulations differ by {worst}"
    return worst


def time_epochs(args: argparse.Namespace) -> Seconds:
    """Seconds per epoch of each way, in alternating runs of a few epochs."""
    measured = available_ways(make_setting(args, 0.5)[0])
    seconds: Seconds = {way: [] for way in measured}
    for repeat in range(args.repeats + 1):
        for way in measured:
            epochs = 20 if way == "sparse" else 2
            steps = WAYS[way](*reversed(make_setting(args, 0.5)), epochs + 1)
            next(steps)  # warm-up
            start = time.perf_counter()
            for _ in steps:
                pass
            if repeat:  # the first is warm-up too
                seconds[way].append((time.perf_counter() - start) / epochs)
    return seconds


def whole_run(args: argparse.Namespace) -> None:
    """All rounds of UGS on the task, recorded and saved, in a folder that is then removed."""
    settings = own_settings(args) | {"edges": "directed", "rounds": args.rounds}
    settings |= {"epochs": 2} if args.quick else {}
    with tempfile.TemporaryDirectory() as folder:
        glt.run("ugs", args.task, "gcn", settings, out=folder)


def measure_memory(args: argparse.Namespace, what: str) -> dict[str, float]:
    """MiB that a process has at its peak, and had before its first epoch."""
    options = ["--task", args.task, "--rounds", args.rounds, "--only", what]
    options += ["--data_root", args.data_root] if args.data_root else []
    return run_in_child(*options, *(["--quick"] if args.quick else []))


def run_only(args: argparse.Namespace) -> None:
    """Do one thing, and print the memory of this process."""
    start = time.perf_counter()
    if args.only == "run":
        before = peak_memory()
        whole_run(args)
    else:
        task, model = make_setting(args, 0.5)
        before = peak_memory()
        for _ in WAYS[args.only](model, task, 3):
            pass
    seconds = time.perf_counter() - start
    print(json.dumps({"before": before, "after": peak_memory(), "seconds": seconds}))


def claims(task: str, gain: Value, peak: float) -> list[Claim]:
    """What is asked for on some tasks."""
    if task == "cora":
        value = Value(peak * 1.048576, n=1)
        return [Claim("peak memory of the whole run of UGS, MB", value, at_most=600)]
    return [Claim("PyG / sparse", gain, at_least=40)] if task == "pubmed" else []


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--task", default="cora")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of the whole run of UGS")
    parser.add_argument("--only", choices=[*WAYS, "run"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.rounds = 1, 1
        args.task = args.task if args.data_root else "sbm"
    torch.set_num_threads(1)
    if args.only:
        return run_only(args)
    worst, seconds = check_agreement(args), time_epochs(args)
    gains = {way: median_and_range(ratios(seconds, way, "sparse"))
             for way in seconds if way != "sparse"}  # fmt: skip
    memory = {} if args.quick else {way: measure_memory(args, way) for way in seconds}
    run, hidden = measure_memory(args, "run"), published_settings(args.task)["hidden"]
    write(Result(
        "speed_epoch", "A mask-training epoch of a GCN, with evaluation", ABOUT,
        measurement(case=f"{args.task}, GCN-{hidden}", repeats=args.repeats, rounds=args.rounds,
                    agreement=f"{worst:.1e} over five epochs without dropout"),
        [epoch_table(seconds, gains), memory_table(memory), run_table(run)],
        claims(args.task, gains["PyG"], run["after"]),
    ), result_folder(args, "speed_epoch"), together=True)  # fmt: skip


def epoch_table(seconds: Seconds, gains: dict[str, Value]) -> Table:
    """Milliseconds of an epoch, and how many times longer each way takes than the engine."""
    cells = {f"{way}, ms": median_and_range(s, 1e3) for way, s in seconds.items()}
    cells |= {f"{way} / sparse": gain for way, gain in gains.items()}
    return Table("epoch", {}, dict.fromkeys(cells, ".1f"), [[*cells.values()]], "An epoch")


def memory_table(memory: dict[str, dict[str, float]]) -> Table:
    """The peak memory of every way, in a process of its own, and how much was there before."""
    cells = {}
    for way, found in memory.items():
        cells |= {way: found["after"], f"{way}, before": found["before"]}
    ratios = {f"{way} / sparse": found["after"] / memory["sparse"]["after"]
              for way, found in memory.items() if way != "sparse"}  # fmt: skip
    columns = dict.fromkeys(cells, ".0f") | dict.fromkeys(ratios, ".1f")
    rows = [[*cells.values(), *ratios.values()]] if memory else []
    return Table("memory", {}, columns, rows, "Peak memory, MiB", MEMORY)


def run_table(run: dict[str, float]) -> Table:
    """Time and memory of a whole run of UGS."""
    columns = dict.fromkeys(("seconds", "peak memory, MiB", "before the run, MiB"), ".0f")
    rows = [[run["seconds"], run["after"], run["before"]]]
    return Table("run", {}, columns, rows, "A whole run of UGS", RUN)


if __name__ == "__main__":
    run_main(main)
