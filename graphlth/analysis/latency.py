"""Time, disk space and multiply–accumulates of a compacted ticket against the dense model."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn

from graphlth.compaction.compact import compact
from graphlth.compaction.network import Compact
from graphlth.compaction.own_models import (
    ModelOnData,
    SmallerModel,
    call_on_batch,
    lay_unchanged,
)
from graphlth.compaction.units import tensors_in
from graphlth.cost.macs import pass_macs
from graphlth.masks import only, sparsity
from graphlth.settings.types import Layout, Number, Repeats
from graphlth.settings.validation import check_settings, settings_of
from graphlth.task import Task, apply_edge_masks
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
    compact_bytes: (
        int  # what `Compact.to_bytes` gives; of images and of a model of a user's own all
    )
    # that is left, as safetensors, scattered zeros too
    difference: float  # the largest, between any output of the compacted and the masked model
    images: int | None = None  # in the batch; None: graphs
    graphs: int | None = None  # in the batch; None: one, of which all nodes are inferred
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
        model: of graphs or of images. Its weights do not change.
        task: the graph, of which all is inferred at once; or many graphs, of which the first batch
            of the test split is; or the images.
        ticket: the masks.
        layout: that of the compacted network; models of a user's own and images have one.
        batch: images inferred at once, of the test split and then from its start again.
        repeats: measurements.

    Raises:
        ValueError: the ticket does not fit, the model's units cannot be told apart, or a number
            is out of its range.
    """
    check_settings({"layout": layout, "repeats": repeats, "batch": batch}, settings_of(latency))
    small = compact(ticket, model.eval(), task, layout=layout)
    if isinstance(small, Compact):
        pair = _pair_of_layers(small, model, task, ticket)
    elif isinstance(small, SmallerModel):
        pair = _pair_of_own(small, model, task, ticket)
    else:
        pair = _pair_of_images(small, model, task, ticket, batch)
    outputs = zip(tensors_in(pair.compact()), tensors_in(pair.masked()), strict=True)
    difference = max((a - b).abs().max().item() for a, b in outputs)
    seconds = time_in_turns({"dense": pair.dense, "compact": pair.compact}, repeats)
    masks = ticket.masks
    return Latency(
        ticket.round, sparsity(only(masks, "edges")), sparsity(only(masks, "weights")),
        getattr(small, "layout", "dense"), seconds["dense"], seconds["compact"], *pair.sizes,
        difference, **pair.about,
    )  # fmt: skip


@dataclass(frozen=True)
class _Pair:
    """A model and what is left of it, each called with the same inputs."""

    dense: Callable[[], Any]
    compact: Callable[[], Any]
    masked: Callable[[], Any]  # what the compacted one should give
    sizes: tuple[int, int]  # bytes, dense and compacted
    about: dict[str, Any] = field(default_factory=dict)  # further fields of `Latency`


def _pair_of_layers(small: Compact, model: nn.Module, task: Task, ticket: Ticket) -> _Pair:
    whole = next(iter(task.batches("test")))
    x, given = whole.inputs[0], model_arguments(model, whole, None)
    edges = {"edge_index": whole.inputs[1].edge_index, "edge_weight": whole.edge_weight}
    sizes = _size_in_bytes(model, edges), len(small.to_bytes())
    return _Pair(
        lambda: model(*given), lambda: small(x), lambda: forward(model, whole, ticket.masks), sizes
    )


def _pair_of_own(small: SmallerModel, model: nn.Module, task: Task, ticket: Ticket) -> _Pair:
    """Both are called alike: with features on a graph of their own, or with many graphs."""
    whole, masks = next(iter(task.batches("test"))), ticket.masks
    dense = lay_unchanged(model, whole)
    given, about = whole, dict[str, Any]()
    if whole.of_graphs:  # which are not inside, and of which a task may prune those of a test, too
        given = next(iter(apply_edge_masks(task, masks).batches("test")))
        masks, about = only(masks, "weights"), {"graphs": len(whole.target)}
    return _Pair(
        lambda: call_on_batch(dense, whole), lambda: call_on_batch(small, given),
        lambda: forward(model, given, masks),
        (_size_in_bytes(dense, _edges_inside(dense)), _size_in_bytes(small, _edges_inside(small))),
        about,
    )  # fmt: skip


def _edges_inside(network: SmallerModel) -> dict[str, Tensor | None]:
    """The edges of a graph that a model of a user's own has inside besides its buffers."""
    stores = network.data.edge_stores if isinstance(network, ModelOnData) else []
    names = ("edge_index", "edge_weight")
    return {f"{i}.{n}": store.get(n) for i, store in enumerate(stores) for n in names}


def _pair_of_images(
    small: nn.Module, model: nn.Module, task: Task, ticket: Ticket, count: int
) -> _Pair:  # fmt: skip
    whole = next(iter(task.batches("test")))
    (images,) = whole.inputs  # [B, C, H, W]
    images = images[torch.arange(count) % len(images)]
    whole = replace(whole, inputs=(images,))
    about = {"images": count, "dense_macs": pass_macs(model, task, {})}
    about |= {"compact_macs": pass_macs(small, task, {})}
    return _Pair(
        lambda: model(images), lambda: small(images), lambda: forward(model, whole, ticket.masks),
        (_size_in_bytes(model, {}), _size_in_bytes(small, {})), about,
    )  # fmt: skip


def _size_in_bytes(model: nn.Module, besides: Mapping[str, Tensor | None]) -> int:
    """All tensors of `model`, each once, and those `besides`, as safetensors."""
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    tensors |= {n: t for n, t in besides.items() if t is not None}
    return len(serialise({n: t.detach().clone().contiguous() for n, t in tensors.items()}))


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
