"""Sparse against dense features: epochs with either form, on both sides of where they cost alike.

What `graphlth.sparse.features.sparse_is_faster` chooses is marked; its constants are from this.

    python benchmarks/speed_features.py [--model gcn] [--out FOLDER]
"""

import argparse
import itertools
import statistics
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from bench import (
    arguments,
    clock,
    power_law,
    ratios,
    result_folder,
    run_main,
)
from machine import measurement

from graphlth.data.node import NodeTask
from graphlth.experiment.plan import build_plugin
from graphlth.reproduction.result import Result, Table, median_and_range, write
from graphlth.sparse.features import Features, sparse_features, sparse_is_faster
from graphlth.ticket import dense
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks

SHAPES = [(3000, 50), (3000, 100), (3000, 1000), (20_000, 500)]  # nodes, features
DENSITIES = [0.02, 0.1, 0.2, 0.3, 0.5]
HIDDEN = [16, 128, 512]
SPLITS = {"few": (60, 500), "half": (0.5, 0.25)}  # of the nodes that train, that validate
LARGEST = 3e9  # multiplications of a dense product, above which half of the nodes are too many

ABOUT = (
    "Ratios dense / sparse, medians of alternating measurements, range in brackets; above 1 the "
    "sparse form is faster. `few`: 60 nodes train and 500 validate; `half`: half and a quarter of "
    "them. `lost`: by how much the form that is chosen is slower, at worst."
)


def forms(nodes: int, features: int, density: float, split: str) -> dict[str, NodeTask]:
    """The same random task with its features in either form."""
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(nodes, features, generator=draw)
    x = x * (torch.rand(nodes, features, generator=draw) < density)
    pairs, part = power_law(nodes, 4 * nodes), torch.rand(nodes, generator=draw)
    train, val = (n if n < 1 else n / nodes for n in SPLITS[split])
    data = SimpleNamespace(
        x=x,
        edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
        y=torch.randint(3, (nodes,), generator=draw),
        train_mask=part < train,
        val_mask=(part >= train) & (part < train + val),
        test_mask=part >= train + val,
    )
    task = NodeTask(data, name="random")
    graphs = {"dense": replace(task.graph_data, x=x),
              "sparse": replace(task.graph_data, x=sparse_features(x))}  # fmt: skip
    return {form: task._with(graph_data=graph) for form, graph in graphs.items()}


def epochs(task: NodeTask, name: str, hidden: int, soft: bool) -> Callable[[], object]:
    """What trains for one epoch more, with `soft` masks or without."""
    torch.manual_seed(0)
    model = build_plugin("models", name, {"hidden": hidden}, task)
    masks = dense(model, task.num_edges).masks
    leaves = {n: m.clone().requires_grad_() for n, m in masks.items()} if soft else {}
    steps = train(
        model, task, masks, soft=SoftMasks(leaves, dict.fromkeys(leaves, 1e-4)), epochs=1_000_000,
        scoring=("val",), lr=1e-4,
    )  # fmt: skip
    return lambda: next(steps)


def row(args: argparse.Namespace, case: tuple[Any, ...]) -> list[Any]:
    """The case, the ratio of epochs with masks and without, and what is chosen."""
    split, (nodes, features), hidden, density = case
    tasks = forms(nodes, features, density, split)
    x = tasks["sparse"].x
    assert isinstance(x, Features)
    gains = []
    for soft in (True, False):
        ways = {form: epochs(task, args.model, hidden, soft) for form, task in tasks.items()}
        gains.append(ratios(clock(ways, args.repeats), "dense", "sparse"))
    chosen = "sparse" if sparse_is_faster(nodes, features, x.values.numel()) else "dense"
    middle = [statistics.median(gain) for gain in gains]
    lost = max(1 / m if chosen == "sparse" else m for m in middle)
    return [f"{nodes} × {features}", split, hidden, 100 * density, *map(median_and_range, gains),
            chosen, 100 * max(0.0, lost - 1)]  # fmt: skip


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--model", default="gcn")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cases = itertools.product(SPLITS, SHAPES, HIDDEN, DENSITIES)
    cases = [c for c in cases if c[0] == "few" or c[1][0] * c[1][1] * c[2] < LARGEST]
    if args.quick:
        args.repeats, cases = 1, [("half", (200, 20), 4, 0.1)]
    keys = {"N × F": "", "nodes": "", "hidden": "d", "non-zeros, %": ".0f"}
    columns = {"mask epoch": ".2f", "training epoch": ".2f", "chosen": "", "lost, %": ".0f"}
    write(Result(
        "speed_features", "Sparse against dense features: an epoch with evaluation", ABOUT,
        measurement(case=args.model, repeats=args.repeats),
        [Table("ratios", keys, columns, [row(args, case) for case in cases])],
    ), result_folder(args, "speed_features"), together=True)  # fmt: skip


if __name__ == "__main__":
    run_main(main)
