"""What a model and a task must be for each other, before masks are trained or applied."""

import math
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from graphlth.edge_masks import edge_mask, map_edges
from graphlth.masks import EDGES, Masks, is_binary, masked_values, only
from graphlth.model import check_layers, takes_graph
from graphlth.model_checks import (
    check_arguments,
    check_cached,
    check_inputs,
    check_masks,
    check_output,
    check_trainable,
    check_weights,
    example,
    passing,
    undisturbed,
)
from graphlth.task import Batch, Task
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training.forward import call_model, forward, model_arguments

READS = (  # what masks of edges need, as the end of an error
    "use layers that read `edge_weight` and add messages up, as PyG's GraphConv(aggr='add'), and "
    "no mean or max, in which an edge of weight 0 counts; or one of graphlth.models"
)


def check_contract(model: nn.Module, task: Task, masks: Masks = MappingProxyType({})) -> None:
    """Refuse a model or a task that cannot be what the other needs, under `masks`.

    The model is given what it will be given, once; neither it nor any random state changes.

    Raises:
        ValueError: one of them is something else, or the model fails on the task's inputs, or its
            output is not one number for each class in every row; or kept edges have weights, and
            the model fails `check_edges`.
    """
    check_arguments(model, task)
    check_weights(model)
    check_cached(model, masks)
    check_layers(model, masks)
    check_masks(model, getattr(task, "num_edges", None), masks)
    for module in model.modules():  # what a layer has cached may be of another graph
        if getattr(module, "cached", False):
            vars(module).update({n: None for n in vars(module) if n.startswith("_cached_")})
    with undisturbed(model):
        batch = example(task)
        check_inputs(model, batch.inputs)
        # Of copies: a task remembers what it has made of the weights that are trained.
        copies = {n: p.detach().clone() for n, p in model.named_parameters()}
        weights = masked_values(copies, only(masks, "weights"))
        with passing(
            model, model_arguments(model, batch, None), getattr(task, "num_features", None)
        ):
            output = call_model(model, batch, weights, None)
        check_output(output, batch, getattr(task, "num_classes", None))
        entries = batch.entries
        has_weights = batch.edge_weight is not None and entries is not None and entries.numel() > 0
        if has_weights and not takes_graph(model):
            check_reads_weights(call_model(model, _other_weights(batch), weights, None), output)
    edges = only(masks, "edges")
    if edges.keys() - {EDGES} or not all(map(is_binary, edges.values())):
        check_edges(model, task, edges)


def check_reads_weights(other: Tensor, output: Tensor) -> None:
    """Refuse a model of your own whose output is the same with `other` edge weights of the data.

    Raises:
        ValueError: it is.
    """
    if torch.equal(other, output):
        raise ValueError(
            "`model` must read the edge weights that the data have, but its output is the same "
            "with others: use layers that take `edge_weight`, as PyG's GraphConv(aggr='add'), or "
            "give data without them, `del data.edge_weight`"
        )


def _other_weights(batch: Batch) -> Batch:
    """`batch` with every other edge of twice its weight, and the rest of none."""
    assert batch.edge_weight is not None
    assert batch.entries is not None
    some = torch.arange(len(batch.entries), device=batch.entries.device) % 2
    return replace(batch, edge_weight=map_edges(lambda w: 2 * some * w, batch.edge_weight))


def check_start(model: nn.Module, task: Task, last: Ticket | None = None) -> None:
    """Refuse, before an algorithm begins or goes on after `last`, what it cannot train.

    Raises:
        ValueError: as `check_contract`; or nothing of the model is to be trained; or `last` is not
            a ticket of this model, or has a mask on a weight that is frozen now.
    """
    check_arguments(model, task)
    check_weights(model)
    if last is not None:
        check_ticket_fits(last, model, task.num_edges)
    check_contract(model, task, {} if last is None else last.masks)
    check_trainable(model)
    values = dict(model.named_parameters())
    for n in only(last.masks, "weights") if last is not None else ():
        if not values[n].requires_grad:
            raise ValueError(f"`last` must have masks on weights that are trained, got one on "
                             f"{n!r}, whose requires_grad is False now: set it to True, or start "
                             "without `last`")  # fmt: skip


@torch.no_grad()
def check_edges(model: nn.Module, task: Task, masks: Masks) -> None:
    """Refuse a model of your own whose output would not follow the edge masks.

    One half of the edge weights and then the other are set to 0, of all layers or, as in `masks`,
    of each, and the output must be that on the graph without those edges.

    Raises:
        ValueError: the model takes no edge weights, or fails that comparison.
    """
    if takes_graph(model):
        return
    names = [*only(masks, "edges")]
    half = (torch.arange(task.num_edges) % 2).float().to(next(model.parameters()).device)
    with undisturbed(model):
        worst = max(_moved(model, task, kept, names) for kept in (half, 1 - half))
        if worst <= 1e-4:
            return
        loops = self_loops(task)
        apart = loops.any() and max(
            _moved(model, task, kept.masked_fill(loops, 1), names) for kept in (half, 1 - half)
        )
    if loops.any() and apart <= 1e-4:
        raise ValueError(
            "`model` must treat an edge of weight 0 as absent, but in place of a self-loop of the "
            f"data, of which there are {int(loops.sum())}, it has its own when that is absent: "
            "remove them from the data with torch_geometric.transforms.RemoveSelfLoops(), or use "
            "one of graphlth's models"
        )
    raise ValueError(
        f"`model` must treat an edge of weight 0 as absent, but its output moves by {worst:.2g}: "
        f"{READS}"
    )


def _moved(model: nn.Module, task: Task, kept: Tensor, names: Sequence[str]) -> float:
    """How far the output with weights 0 lies from that without those edges, against its size."""
    batch, masks = next(iter(task.batches("train"))), dict.fromkeys(names, kept)
    features = getattr(task, "num_features", None)
    try:
        with passing(model, model_arguments(model, batch, edge_mask(masks)), features):
            soft = forward(model, batch, masks)
    except ValueError as error:
        raise ValueError(f"`model` must read an edge weight to mask edges: {error}; {READS}"
                         ) from error  # fmt: skip
    hard = forward(model, next(iter(task.without(kept).batches("train"))), {})
    moved = (soft - hard).abs().max().item() / max(1.0, hard.abs().max().item())
    return math.inf if math.isnan(moved) else moved


def self_loops(task: Task) -> Tensor:
    """Which mask entries [num_edges] are self-loops of the data."""
    batch = next(iter(task.batches("train")))
    assert batch.entries is not None
    source, target = batch.inputs[1].edge_index
    loops = torch.zeros(task.num_edges, dtype=torch.bool, device=batch.entries.device)
    loops[batch.entries[source == target]] = True
    return loops
