"""All that is promised of a CUDA device, in one command; without a device it ends with code 2.

The masked sum of every backend at the size of ogbn-arxiv against the bandwidth of a copy; then, on
Cora, an epoch of mask training as a CUDA graph, a whole run of UGS, and ten seeds at once against
one. Agreement comes first each time.

    python benchmarks/speed_gpu.py --data_root DIR [--out FOLDER]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from bench import (
    arguments,
    clock,
    difference,
    power_law,
    result_folder,
    run_main,
    undirected_graph,
)
from machine import measurement
from roofline import compulsory_bytes, copy_bandwidth, gathered_bytes
from torch import Tensor, nn

from graphlth.algorithms.ugs import batched_ugs
from graphlth.experiment.plan import build_plugin, plan
from graphlth.masks import EDGES
from graphlth.reproduction.result import Claim, Result, Table, Value, median_and_range, write
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import weighted_sum
from graphlth.task import Task
from graphlth.ticket import dense
from graphlth.training import batched as seeds

BACKENDS = ("triton", "sparse", "scatter", "reference")
ARXIV, D = (169_343, 1_166_243), 256  # nodes and undirected edges; channels
MANY = 10  # seeds at once
ABOUT = "Medians of alternating measurements, range in brackets."
Step = Callable[[], tuple[Tensor, ...]]


def steps(graph: Graph, d: int) -> tuple[dict[str, Step], dict[str, Step], str]:
    """Of every backend that runs here: the sum; the sum and both gradients; and what is missing."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(graph.num_nodes, d, generator=draw).cuda().requires_grad_()
    weight = torch.rand(graph.num_edges, generator=draw).cuda().requires_grad_()
    grad = torch.randn(graph.num_nodes, d, generator=draw).cuda()

    def forward(backend: str) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (weighted_sum(graph, x, weight, backend=backend),)

    def both(backend: str) -> tuple[Tensor, ...]:
        out = weighted_sum(graph, x, weight, backend=backend)
        return out.detach(), *torch.autograd.grad(out, (x, weight), grad)

    found, missing = [], []
    for backend in BACKENDS:
        try:
            both(backend)
            found.append(backend)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            missing.append(f"{backend}: {str(error).splitlines()[0]}")
    ways = [{b: lambda b=b, way=way: way(b) for b in found} for way in (forward, both)]
    return ways[0], ways[1], "; ".join(missing)


def kernel(args: argparse.Namespace) -> tuple[list[Table], list[Claim]]:
    """The masked sum at the size of ogbn-arxiv."""
    nodes, edges = (2000, 10_000) if args.quick else ARXIV
    graph = undirected_graph(power_law(nodes, edges), nodes).to("cuda")
    forward, both, missing = steps(graph, D)
    expected = both["triton"]()
    worst = max(difference(name, expected, way(), 1e-3) for name, way in both.items())
    bandwidth = copy_bandwidth(1 << (24 if args.quick else 28), "cuda")
    once, each = (count(graph.num_nodes, graph.num_edges, D) for count in
                  (compulsory_bytes, gathered_bytes))  # fmt: skip
    alone = clock(forward, args.repeats, wait=torch.cuda.synchronize)
    seconds = clock(both, args.repeats, wait=torch.cuda.synchronize)
    middle = {name: statistics.median(s) for name, s in seconds.items()}
    rows = []
    for name, found in seconds.items():
        copies = [median_and_range([s * bandwidth / size for s in found]) for size in (each, once)]
        times = [median_and_range(s, 1e3) for s in (alone[name], found)]
        rows.append([name, *times, *copies, middle[name] / middle["triton"]])
    text = (
        f"{graph.num_nodes:,} nodes, {graph.num_edges:,} directed edges of a generated power-law "
        f"graph, d = {D}, float32. A large copy moves {bandwidth / 1e12:.2f} TB/s, read and "
        f"written. Each step reads and writes at least {once / 1e6:,.0f} MB, and "
        f"{each / 1e6:,.0f} MB where no row is served to two edges from a cache. All agree within "
        f"{worst:.0e} of the largest entry. {'Not run: ' + missing + '.' if missing else ''}"
    ).strip()
    columns = dict.fromkeys(("sum, ms", "sum and both gradients, ms", "of the copy, rows per edge",
                             "of the copy, rows once", "of triton"), ".2f")  # fmt: skip
    copy = next(row[3] for row in rows if row[0] == "triton")
    return [
        Table("sum", {"backend": ""}, columns, rows, "Masked sum at the size of ogbn-arxiv", text)
    ], [Claim("time of triton by that of a copy of the rows per edge", copy, at_most=2)]


class Setting:
    """UGS on a task, with its published settings, on a device."""

    def __init__(self, args: argparse.Namespace, device: str):
        chosen = {"data_root": str(args.data_root)} if args.data_root else {}
        self.settings = dict(plan("ugs", args.task, "gcn", chosen).settings)
        self.task: Task = build_plugin("tasks", args.task, self.settings).to(device)
        self.device = device
        self.how = {name: self.settings[name] for name in ("lr", "weight_decay")}
        self.rates = {name: self.settings[name] for name in ("l1_edges", "l1_weights")}

    def models(self, count: int) -> list[nn.Module]:
        """A fresh model for every seed."""
        made = []
        for seed in range(count):
            torch.manual_seed(seed)
            made.append(build_plugin("models", "gcn", self.settings, self.task).to(self.device))
        return made

    def masks(self, count: int, epochs: int, graphs: bool) -> list[seeds.Trained]:
        """Train the masks of the first round."""
        models = self.models(count)
        tickets = [dense(model, self.task.num_edges) for model in models]
        whole = [ticket.masks for ticket in tickets]
        rates = {n: self.rates["l1_edges" if n == EDGES else "l1_weights"] for n in whole[0]}
        return seeds.train(
            models[0], self.task, [t.init for t in tickets], whole, seeds=range(count),
            epochs=epochs, soft=whole, rates=rates, graphs=graphs, **self.how,
        )  # fmt: skip

    def run(self, rounds: int, epochs: int, graphs: bool) -> float:
        """Every round of UGS for one seed, each ticket retrained; the last test accuracy."""
        [model] = self.models(1)
        names = ("drop_edges", "drop_weights", "scope", "mask_noise")
        settings = self.how | self.rates | {name: self.settings[name] for name in names}
        test = 0.0
        for tickets in batched_ugs(
            [model], self.task, rounds=rounds, epochs=epochs, seeds=[0], graphs=graphs, **settings
        ):
            [trained] = seeds.retrain(
                model, self.task, tickets, seeds=[0], epochs=epochs, graphs=graphs, **self.how
            )
            test = trained.best.test
        return test


def seconds_of(step: Callable[[], object]) -> float:
    """Seconds of a call."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def training(args: argparse.Namespace) -> tuple[list[Table], list[Claim]]:
    """Mask training, a whole run and many seeds."""
    here, cpu = Setting(args, "cuda"), Setting(args, "cpu")
    losses = [[epoch.loss for epoch in setting.masks(1, 5, graphs)[0].epochs]
              for setting, graphs in ((here, True), (here, False), (cpu, False))]  # fmt: skip
    worst = max(abs(a - b) for other in losses[1:] for a, b in zip(losses[0], other, strict=True))
    assert worst < 1e-2, f"CUDA graphs, the device and the CPU differ by {worst}"
    few, many = (20, 60) if args.quick else (200, 1000)
    ways = {(count, graphs): [] for count in (1, MANY) for graphs in (True, False)}
    for repeat in range(args.repeats + 1):
        for (count, graphs), found in ways.items():
            times = [
                seconds_of(lambda n=n, c=count, g=graphs: here.masks(c, n, g)) for n in (few, many)
            ]
            if repeat:  # the first warms up
                found.append((times[1] - times[0]) / (many - few))
    rounds, epochs = (2, 10) if args.quick else (20, here.settings["epochs"])
    run = [seconds_of(lambda: here.run(rounds, epochs, True)) for _ in range(2)][-1]
    gain = median_and_range(
        [a / b for a, b in zip(ways[MANY, True], ways[1, True], strict=True)]
    )  # fmt: skip
    rows = [[count, "yes" if graphs else "no", median_and_range(found, 1e3)]
            for (count, graphs), found in ways.items()]  # fmt: skip
    title = f"Mask training of GCN-{here.settings['hidden']} on {args.task}, with evaluation"
    text = (
        f"Losses of five epochs with a CUDA graph, without, and on the CPU agree within "
        f"{worst:.0e}. An epoch is the difference of {many} and {few} epochs, divided by "
        f"{many - few}."
    )
    whole = f"{rounds} rounds of {epochs} + {epochs} epochs, every ticket retrained, one seed."
    return [
        Table("epoch", {"seeds at once": "d", "CUDA graph": ""}, {"ms per epoch": ".3f"}, rows,
              title, text),
        Table("run", {}, {"seconds of the whole run": ".1f"}, [[run]], "A whole run of UGS", whole),
    ], [
        Claim("ms per epoch, one seed", median_and_range(ways[1, True], 1e3), at_most=0.3),
        Claim("seconds of the whole run", Value(run, n=1), at_most=10),
        Claim(f"{MANY} seeds at once / one", gain, at_most=3),
    ]  # fmt: skip


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--task", default="cora")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(2, "speed_gpu.py needs a CUDA device, and torch finds none\n")
    if args.quick:
        args.repeats = 1
        args.task = args.task if args.data_root else "sbm"
    parts = kernel(args), training(args)
    device = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    about = measurement(
        device, f"{torch.cuda.get_device_name()}, {args.task}", repeats=args.repeats
    )
    write(Result(
        "speed_gpu", "On a CUDA device", ABOUT, about,
        [table for tables, _ in parts for table in tables],
        [claim for _, claims in parts for claim in claims],
    ), result_folder(args, "speed_gpu"), together=True)  # fmt: skip


if __name__ == "__main__":
    run_main(main)
