"""The share of drawing in an epoch of the joint search for early-bird tickets.

Agreement first: at every draw of a search the masks are those of a stable sort. Then whole searches
that never settle, without that comparison: the share in the median epoch, and in the sum of the
first 30, as searches end early and masks move most at the start. Drawing is all that a search does
for it, in its place between two epochs: thresholds, who is left, the distance to the last draw and
the queue. Masks are made as tensors only of a draw that becomes a ticket. The process stays on one
core (Linux): where the system moves it about, a draw takes a fifth more, as its data lie in the
other core's cache.

    python benchmarks/speed_detector.py --data_root DIR [--out FOLDER]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from bench import (
    arguments,
    result_folder,
    run_main,
)
from machine import measurement
from torch import Tensor

from graphlth.algorithms import _draw
from graphlth.drawing import distances
from graphlth.experiment.plan import build_plugin, plan
from graphlth.experiment.settings import plugin_settings
from graphlth.masks import Masks, count, only
from graphlth.prune import make_redraw
from graphlth.reproduction.result import Claim, Result, Table, median_and_range, write

SEARCH = "graphlth.algorithms.joint_early_bird"
TARGET = 0.01  # of an epoch, at most
EARLY = 30  # epochs, in which tickets are drawn
ABOUT = (
    "Joint searches, each epoch of which takes a step on the weights and one on the graph. All "
    "masks of a search before agree with a stable sort. Medians over the epochs of a search; of "
    "the searches the median, range in brackets. The process stays on one core."
)
CASES = [  # task, settings of a GCN
    ("cora", {"hidden": 16}),
    ("citeseer", {"hidden": 16}),
    ("cora", {"hidden": 512}),
    ("cora", {"hidden": 16, "layers": 28}),
]


class Clock:
    """Seconds of the epochs of a search, and of the draws between them."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.draws: list[float] = []

    def time_training(self, training: Iterator[Any]) -> Iterator[Any]:
        while True:
            start = time.perf_counter()
            if next(training, self) is self:
                return
            self.epochs.append(time.perf_counter() - start)
            yield

    def draw_tickets(
        self, training: Iterator[Any], draw: Callable[[], Masks], start: Any, queue: Any,
        **how: Any,
    ) -> list[Any]:  # fmt: skip
        """`_draw.draw_tickets`, timed."""

        def time_draw() -> Masks:
            begin = time.perf_counter()
            masks = draw()
            queue.push(masks)  # here, so that the time of a snapshot is not in it
            self.draws.append(time.perf_counter() - begin)
            return masks

        never = type("Never", (), {"push": lambda *_: False, "path": queue.path})()
        return _draw.draw_tickets(self.time_training(training), time_draw, start, never, **how)

    @property
    def share(self) -> float:
        """Of drawing, in the median epoch."""
        epoch, draw = map(statistics.median, (self.epochs, self.draws))
        return draw / (epoch + draw)

    @property
    def early(self) -> float:
        """Of drawing, in the sum of the first epochs."""
        epochs, draws = sum(self.epochs[:EARLY]), sum(self.draws[:EARLY])
        return draws / (epochs + draws)


def compare_with_sort(masks: Masks, values: Masks, weights: float, edges: float, *_: Any) -> Any:
    """`make_redraw`, every draw of which is compared with a stable sort, and its distance too."""
    draw, last = make_redraw(masks, values, weights, edges), masks

    def draw_and_compare() -> Masks:
        nonlocal last
        found = draw()
        for part, fraction in (("weights", weights), ("edges", edges)):
            whole, left = only(masks, part), only(found, part)
            order = flatten({n: values[n].detach().abs() for n in whole}).argsort(stable=True)
            expected = torch.ones(order.numel())
            expected[order[: round(fraction * order.numel())]] = 0
            assert torch.equal(flatten(left), expected), f"{part}: not what a stable sort removes"
        assert found.moved == distances(last, found), "not the distance to the last draw"
        last = dict(found)
        return found

    return draw_and_compare


def flatten(tensors: Masks) -> Tensor:
    return torch.cat([t.flatten() for t in tensors.values()])


def search(task: str, change: dict[str, Any], args: argparse.Namespace) -> tuple[Clock, int]:
    """The times of a search of so many epochs, and how many entries its masks have."""
    settings = {"epochs": args.epochs, "epsilon": 1e-12, "normalize": False, **change}
    settings |= {"data_root": str(args.data_root)} if args.data_root else {}
    plugins = ("algorithms", "joint_early_bird"), ("tasks", task), ("models", "gcn")
    known = {n for kind, name in plugins for n in plugin_settings(kind, name)}
    settings = {n: v for n, v in settings.items() if n in known}
    settings = dict(plan("joint_early_bird", task, "gcn", settings).settings)
    data = build_plugin("tasks", task, settings)
    torch.manual_seed(0)
    model = build_plugin("models", "gcn", settings, data)
    clock = Clock()
    with patch(f"{SEARCH}.draw_tickets", clock.draw_tickets):
        *_, ticket = build_plugin("algorithms", "joint_early_bird", settings, model, data)
    return clock, count(ticket.masks)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep the process on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def measure_case(
    task: str, change: dict[str, Any], args: argparse.Namespace
) -> tuple[list[Any], Claim]:
    """The line of a case in the table, and what is asked for of it."""
    name = f"{task}, GCN " + ", ".join(f"{n} {v}" for n, v in change.items())
    with patch(f"{SEARCH}.make_redraw", compare_with_sort):
        search(task, change, args)
    found = [search(task, change, args) for _ in range(args.repeats)]
    clocks = [clock for clock, _ in found]
    share = median_and_range([clock.share for clock in clocks], 100)
    row = [
        name, found[0][1],
        median_and_range([statistics.median(clock.epochs) for clock in clocks], 1e3),
        median_and_range([statistics.median(clock.draws) for clock in clocks], 1e6),
        share, median_and_range([clock.early for clock in clocks], 100),
    ]  # fmt: skip
    return row, Claim(f"{name}, share of drawing, %", share, at_most=100 * TARGET)


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--epochs", type=int, default=100, help="of a search")
    args = parser.parse_args()
    cases = CASES
    if args.quick:
        args.repeats, args.epochs = 1, 5
        cases = [("cora" if args.data_root else "sbm", {"hidden": 16})]
    torch.set_num_threads(1)
    with one_core():
        measured = [measure_case(task, change, args) for task, change in cases]
    rows, claims = [row for row, _ in measured], [claim for _, claim in measured]
    columns = {"entries": ",d", "training, ms per epoch": ".2f", "drawing, µs per epoch": ".0f",
               "share of drawing, %": ".2f", f"of the first {EARLY} epochs, %": ".2f"}  # fmt: skip
    write(Result(
        "speed_detector", "What it costs to know when to draw a ticket", ABOUT,
        measurement(repeats=args.repeats, epochs=args.epochs),
        [Table("shares", {"search": ""}, columns, rows)], claims,
    ), result_folder(args, "speed_detector"), together=True)  # fmt: skip


if __name__ == "__main__":
    run_main(main)
