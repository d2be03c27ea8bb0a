"""Time, disk space and multiply–accumulates of a compacted ticket against the dense model."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn

from graphlth.compaction.compact import compact
from graphlth.compaction.network import Compact
from graphlth.compaction.own_models import SmallerModel
from graphlth.cost.macs import pass_macs
from graphlth.masks import only, sparsity
from graphlth.settings.types import Layout, Number, Repeats
from graphlth.settings.validation import check_settings, settings_of
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.forward import forward, model_arguments

LEAST = 0.02  # seconds that one measurement lasts, at least


@dataclass(frozen=True)
class Latency:
    """What compaction of one ticket gains."""

    round: int
    edge_sparsity: float
    weight_sparsity: float
    layout: str
    seconds_dense: list[float]  # of a full-graph inference or a batch, of each measurement
    seconds_compact: list[float]
    dense_bytes: int  # all weights and edges, as safetensors
    compact_bytes: int  # what `Compact.save` writes; of images all weights, scattered zeros too
    difference: float  # the largest, between any output of the compacted and the masked model
    images: int | None = None  # in the batch; None: a graph
    dense_macs: int | None = None  # of one image, with all weights
    compact_macs: int | None = None  # with those that are stored, zeros or not

    @property
    def faster(self) -> float:
        """How many times faster than the dense model; median of the measurements."""
        pairs = zip(self.seconds_dense, self.seconds_compact, strict=True)
        return statistics.median(a / b for a, b in pairs)


@torch.no_grad()
def latency(
    model: nn.Module,
    task: Task,
    ticket: Ticket,
    *,
    layout: Layout = "auto",
    batch: Number = 64,
    repeats: Repeats = 15,
) -> Latency:
    """Inference of `model`, dense and compacted under `ticket`, measured by turns.

    Args:
        model: of images any; of a graph one that has `parts`, as graphlth's own but `resgcn`. Its
            weights do not change.
        task: the graph, of which all is inferred at once, or the images.
        ticket: the masks.
        layout: that of the compacted network.
        batch: images inferred at once, of the test split and then from its start again.
        repeats: measurements.

    Raises:
        ValueError: the ticket does not fit, the model's units cannot be told apart, or a number
            is out of its range.
    """
    check_settings({"layout": layout, "repeats": repeats, "batch": batch}, settings_of(latency))
    small = compact(ticket, model.eval(), task, layout=layout)
    if isinstance(small, SmallerModel):
        raise ValueError("`model` must be one of graphlth's, whose layers are laid out for speed, "
                         f"got {type(model).__name__}: time what `compact` gives of it yourself"
                         )  # fmt: skip
    whole, masks = next(iter(task.batches("test"))), ticket.masks
    of_images: dict[str, Any] = {}
    if isinstance(small, Compact):
        edges = {"edge_index": whole.inputs[1].edge_index}
        edges |= {} if whole.edge_weight is None else {"edge_weight": whole.edge_weight}
        dense, stored, chosen = (
            _size_in_bytes(model, edges),
            len(small.to_bytes()),
            small.layout,
        )
    else:
        (images,) = whole.inputs  # [B, C, H, W]
        whole = replace(whole, inputs=(images[torch.arange(batch) % len(images)],))
        dense, stored, chosen = _size_in_bytes(model, {}), _size_in_bytes(small, {}), "dense"
        of_images = {"images": batch, "dense_macs": pass_macs(model, task, {})}
        of_images |= {"compact_macs": pass_macs(small, task, {})}
    x = whole.inputs[0]
    difference = (small(x) - forward(model, whole, masks)).abs().max().item()
    given = model_arguments(model, whole, None)
    seconds = time_in_turns({"dense": lambda: model(*given), "compact": lambda: small(x)}, repeats)
    return Latency(
        ticket.round, sparsity(only(masks, "edges")), sparsity(only(masks, "weights")), chosen,
        seconds["dense"], seconds["compact"], dense, stored, difference, **of_images,
    )  # fmt: skip


def _size_in_bytes(model: nn.Module, besides: Mapping[str, Tensor]) -> int:
    """All tensors of `model`, and those `besides`, as safetensors."""
    tensors = model.state_dict() | dict(besides)
    return len(serialise({n: t.contiguous() for n, t in tensors.items()}))


def time_in_turns(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds per call of each function, called in turns, after calls that warm up."""
    calls = {}
    for name, function in functions.items():
        function()
        start = time.perf_counter()
        function()
        calls[name] = 1 + int(LEAST / (time.perf_counter() - start))
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                function()
            seconds[name].append((time.perf_counter() - start) / calls[name])
    return seconds
