"""Time and disk space of a compacted ticket against the dense model."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import nn

from graphlth.compact import Compact, encoded
from graphlth.masks import Masks, only, sparsity
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.train import forward

LEAST = 0.02  # seconds that one measurement lasts, at least


@dataclass(frozen=True)
class Latency:
    """What compaction of one ticket gains."""

    round: int
    edge_sparsity: float
    weight_sparsity: float
    layout: str
    dense: list[float]  # seconds of a full-graph inference, of each measurement
    compact: list[float]
    dense_bytes: int  # all weights and edges, as safetensors
    compact_bytes: int  # what `Compact.save` writes
    difference: float  # the largest, between any output of the compacted and the masked model

    @property
    def faster(self) -> float:
        """How many times faster than the dense model; median of the measurements."""
        pairs = zip(self.dense, self.compact, strict=True)
        return statistics.median(a / b for a, b in pairs)


@torch.no_grad()
def latency(
    model: nn.Module, task: Task, ticket: Ticket, *, layout: str = "auto", repeats: int = 15
) -> Latency:
    """Full-graph inference of `model`, dense and compacted under `ticket`, measured by turns.

    Args:
        model: one that has `parts`, as graphlth's own but `resgcn`; its weights do not change.
        task: the graph.
        ticket: the masks.
        layout: that of the compacted network.
        repeats: measurements.

    Raises:
        ValueError: the ticket does not fit, or the model's units cannot be told apart.
    """
    if repeats < 1:
        raise ValueError(f"`repeats` must be at least 1, got {repeats}")
    small = ticket.compact(model.eval(), task, layout=layout)
    if not isinstance(small, Compact):
        raise ValueError(f"`model` must have `parts`, got {type(model).__name__}")
    batch = next(iter(task.batches("test")))
    x, graph = batch.inputs
    difference = (small(x) - forward(model, batch, ticket.masks)).abs().max().item()
    seconds = clock({"dense": lambda: model(x, graph), "compact": lambda: small(x)}, repeats)
    dense = {n: t.contiguous() for n, t in model.state_dict().items()}
    dense |= {"edge_index": graph.edge_index.contiguous()}
    masks: Masks = ticket.masks
    return Latency(
        ticket.round, sparsity(only(masks, "edges")), sparsity(only(masks, "weights")),
        small.layout, seconds["dense"], seconds["compact"],
        len(serialise(dense)), len(encoded(small)), difference,
    )  # fmt: skip


def clock(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds per call of each way, the ways by turns, after calls that warm up."""
    calls = {}
    for name, way in ways.items():
        way()
        start = time.perf_counter()
        way()
        calls[name] = 1 + int(LEAST / (time.perf_counter() - start))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                way()
            seconds[name].append((time.perf_counter() - start) / calls[name])
    return seconds
