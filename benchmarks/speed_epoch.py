"""A mask-training epoch of GCN on a task: the sparse engine against the dense N × N formulation.

Agreement first: both take the same steps from the same weights, without dropout, and must reach
the same losses and masks. Then time, with dropout and evaluation, alternating between the two in
one run; then peak memory, each in a process of its own.

    python benchmarks/speed_epoch.py --task cora --data_root DIR [--out FILE.md]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlth.experiment import build, preset
from graphlth.masks import EDGES, Masks
from graphlth.record import environment
from graphlth.ticket import dense
from graphlth.train import train

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


def dense_epochs(model, task, epochs: int) -> Iterator[tuple[float, Tensor]]:
    """Train θ, m_g and m_θ together; yield the loss and the edge mask [N, N] after every epoch."""
    net = DenseGCN(model, task)
    edge_mask = (net.adjacency != 0).float().requires_grad_()
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
            hits = net(edge_mask, masks).argmax(-1) == task.y
            [hits[task.rows[s]].float().mean().item() for s in ("val", "test")]
        yield loss.item(), edge_mask.detach()


def sparse_epochs(model, task, epochs: int) -> Iterator[tuple[float, Tensor]]:
    """The same with the engine; the edge mask is [num_edges]."""
    masks = dense(model, task.num_edges).masks
    soft = {n: m.clone().requires_grad_() for n, m in masks.items()}

    def penalty(soft: Masks) -> Tensor:
        return L1 * sum(m.sum() for m in soft.values())  # ‖m‖₁, m ≥ 0

    for epoch in train(model, task, masks, epochs=epochs, soft=soft, penalty=penalty, **HOW):
        yield epoch.loss, soft[EDGES].detach()


WAYS = {"sparse": sparse_epochs, "dense": dense_epochs}


def setting(args: argparse.Namespace, dropout: float):
    """The task and a fresh model, the same every time."""
    told = preset(args.task, "gcn") | {"edges": "directed", "dropout": dropout}
    told |= {"data_root": args.data_root} if args.data_root else {}
    task = build("tasks", args.task, told)
    torch.manual_seed(0)
    return task, build("models", "gcn", told, task)


def agree(args: argparse.Namespace) -> float:
    """The largest difference between the two over five epochs without dropout."""
    worst = 0.0
    task, model = setting(args, 0.0)
    source, target = task.graph.edge_index
    # The dense one steps first: it copies the weights that the other trains in place.
    steps = zip(dense_epochs(model, task, 5), sparse_epochs(model, task, 5), strict=True)
    for (loss_full, mask_full), (loss, mask) in steps:
        worst = max(worst, abs(loss - loss_full))
        worst = max(worst, (mask - mask_full[source, target]).abs().max().item())
    assert worst < 1e-4, f"the two formulations differ by {worst}"
    return worst


def clock(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds per epoch of each way, in alternating runs of a few epochs."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for repeat in range(args.repeats + 1):
        for way, epochs in (("sparse", 20), ("dense", 2)):
            steps = WAYS[way](*reversed(setting(args, 0.5)), epochs + 1)
            next(steps)  # warm-up
            start = time.perf_counter()
            for _ in steps:
                pass
            if repeat:  # the first is warm-up too
                seconds[way].append((time.perf_counter() - start) / epochs)
    return seconds


def high_water() -> float:
    """MiB of memory that this process has held at most (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def peak(args: argparse.Namespace, way: str) -> tuple[float, float]:
    """MiB that a process has at its peak, and had before its first epoch."""
    command = [sys.executable, __file__, "--task", args.task, "--only", way]
    command += ["--data_root", args.data_root] if args.data_root else []
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    before, after = json.loads(out.splitlines()[-1])
    return after, before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="cora")
    parser.add_argument("--data_root")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.only:
        task, model = setting(args, 0.5)
        before = high_water()
        for _ in WAYS[args.only](model, task, 3):
            pass
        print(json.dumps([before, high_water()]))
        return
    worst = agree(args)
    seconds = clock(args)
    ratios = [d / s for d, s in zip(seconds["dense"], seconds["sparse"], strict=True)]
    memory = {way: peak(args, way) for way in WAYS}
    about = environment()
    lines = [
        f"# A mask-training epoch of GCN-512 on {args.task}, with evaluation",
        "",
        f"`python benchmarks/speed_epoch.py --task {args.task} --data_root DIR`, "
        f"{date.today()}, {about['cpu']}, one thread, torch {about['torch']}, "
        f"commit {about.get('commit', 'unknown')[:12]}.",
        "",
        f"Agreement over five epochs without dropout: within {worst:.1e}.",
        f"Medians of {args.repeats} alternating runs, range in brackets.",
        "",
        "| | ms per epoch | peak memory, MiB | of it before the first epoch |",
        "|-|-|-|-|",
    ]
    for way, s in seconds.items():
        ms = [1e3 * x for x in s]
        after, before = memory[way]
        lines.append(f"| {way} | {statistics.median(ms):.1f} ({min(ms):.1f} – {max(ms):.1f}) "
                     f"| {after:.0f} | {before:.0f} |")  # fmt: skip
    spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} – {max(ratios):.1f})"
    less = memory["dense"][0] / memory["sparse"][0]
    lines.append(f"| dense / sparse | {spread} | {less:.1f} | |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
