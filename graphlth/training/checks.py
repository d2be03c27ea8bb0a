"""What a model and a task must be for each other, before masks are trained or applied."""

import copy
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from graphlth.arguments import own_arguments, reads_data
from graphlth.edge_masks import AnyEdgeMask, edge_mask, map_edges
from graphlth.masks import Masks, is_binary, masked_values, only
from graphlth.model import (
    SURROGATES,
    check_layers,
    check_operators,
    find_surrogates,
    takes_graph,
)
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
    reporting,
    restored,
    undisturbed,
)
from graphlth.sparse.cache import StepCache
from graphlth.task import Batch, Task, apply_edge_masks
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training.forward import call_model, forward, model_arguments

READS = (  # what masks of edges need, as the end of an error
    "use layers that read `edge_weight` and add messages up, as PyG's GraphConv(aggr='add'), and "
    "no mean or max, in which an edge of weight 0 counts; or one of graphlth.models"
)
TOLERANCE = 1e-4  # of an output, against its size
ADAPTER = (
    "; if it must be given others, give the task forward=lambda model, data: "
    "model(data.x, data.edge_index)"
)
OPERATORS = "use PyG's operators on the edge_index that is given, or one of graphlth.models"


_WARNED: WeakSet[nn.Module] = WeakSet()  # models whose surrogates have been told


class SurrogateWarning(UserWarning):
    """A search weighs edges in a way that says little of what their removal does."""


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
    check_operators(model, masks)
    for module in model.modules():  # what a layer has cached may be of another graph
        if getattr(module, "cached", False):
            vars(module).update({n: None for n in vars(module) if n.startswith("_cached_")})
    with undisturbed(model):
        batch = example(task)
        check_inputs(model, batch.inputs)
        # Of copies: a task remembers what it has made of the weights that are trained.
        copies = {n: p.detach().clone() for n, p in model.named_parameters()}
        weights = masked_values(copies, only(masks, "weights"))
        if batch.of_graphs and takes_graph(model):
            raise ValueError("`model` must return a row for each graph, got "
                             f"{type(model).__name__}, a model of nodes: use graph_gin, or a "
                             "module of yours that pools them")  # fmt: skip
        with passing_batch(model, batch, None, getattr(task, "num_features", None)):
            output = call_model(model, batch, weights, None)
        check_output(output, batch, getattr(task, "num_classes", None))
        entries = batch.entries
        has_weights = batch.edge_weight is not None and entries is not None and entries.numel() > 0
        if has_weights and not takes_graph(model):
            check_reads_weights(call_model(model, _other_weights(batch), weights, None), output)
    edges = only(masks, "edges")
    if isinstance(edge_mask(edges), tuple) or not all(map(is_binary, edges.values())):
        check_edges(model, task, edges)


@contextmanager
def passing_batch(
    model: nn.Module,
    batch: Batch,
    edges: AnyEdgeMask | None,
    features: int | None,
    masked_inside: bool = False,
) -> Iterator[None]:
    """What `model` raises of `batch`, of so many `features`, is told as one line about it.

    Raises:
        ValueError: it raises something.
    """
    if reads_data(model, batch, masked_inside):
        given = "a Data" if batch.forward else named_arguments(model, batch.data)
        with reporting(given, features, "" if batch.forward else ADAPTER):
            yield
    else:
        with passing(model, model_arguments(model, batch, edges), features):
            yield


def named_arguments(model: nn.Module, data: Any) -> str:
    """The names of what `model.forward` is given of `data`: `x, edge_index, edge_attr`."""
    try:
        return f"{', '.join(own_arguments(model, data))} of the data"
    except ValueError:  # it asks for what they lack, which the call says itself
        return "what its forward names of the data"


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
    data = copy.copy(batch.data)
    if data is not None and isinstance(data.edge_weight, Tensor):
        data.edge_weight = _alternate(data.edge_weight)
    return replace(batch, edge_weight=map_edges(_alternate, batch.edge_weight), data=data)


def _alternate(weight: Tensor) -> Tensor:
    return 2 * (torch.arange(len(weight), device=weight.device) % 2) * weight


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
def check_edges(model: nn.Module, task: Task, masks: Masks, soft: bool = False) -> bool:
    """Refuse a model of your own whose output would not follow the edge masks.

    One half of the edge weights and then the other are set to 0, of all layers or, as in `masks`,
    of each, and the output must be that on the graph without those edges. A model that takes
    `edge_weight` but does not follow it is masked in its operators where the masks are `soft`, if
    they follow: this is what is returned. Weights that stay with a ticket are its own to read.

    Raises:
        ValueError: the model fails that comparison; an operator of it cannot be masked; or it has
            none and takes no edge weights.
    """
    if takes_graph(model):
        return False
    check_operators(model, masks)
    batch = next(iter(task.batches("train")))
    halves = _halves(model, only(masks, "edges"))
    with undisturbed(model):
        if reads_data(model, batch):
            _check_operators_follow(model, task, halves)
            return False
        try:
            _check_weights_follow(model, task, halves)
            return False
        except ValueError as error:
            if not soft or batch.data is None or not _can_be_masked_inside(model, task, halves):
                raise error from error.__cause__
            return True


def _halves(model: nn.Module, masks: Masks) -> list[dict[str, Tensor]]:
    """One half of the entries of `masks`, drawn at random but always the same, and the other."""
    device, draws = next(model.parameters()).device, torch.Generator().manual_seed(0)
    half = {n: (torch.randperm(len(m), generator=draws) % 2).float().to(device)
            for n, m in masks.items()}  # fmt: skip
    return [half, {n: 1 - m for n, m in half.items()}]


def _can_be_masked_inside(model: nn.Module, task: Task, halves: Sequence[Masks]) -> bool:
    """Whether a model that takes `edge_weight` follows masks in its operators."""
    try:
        _check_operators_follow(model, task, halves, masked_inside=True)
    except ValueError:
        return False
    return True


def _check_operators_follow(
    model: nn.Module, task: Task, halves: Sequence[Masks], masked_inside: bool = False
) -> None:
    batch, how = next(iter(task.batches("train"))), StepCache(masked_inside)
    features = getattr(task, "num_features", None)
    with restored(model), passing_batch(model, batch, None, features, masked_inside):
        whole = _output(model, batch, {}, how)
    from graphlth.message_passing import collect_surrogates  # loads PyG

    with collect_surrogates() as surrogates:
        worst, removed = _compare(model, task, halves, how)
    if worst > TOLERANCE:
        raise ValueError("`model` must treat an edge of weight 0 as absent, but its output moves "
                         f"by {worst:.2g}: {OPERATORS}")  # fmt: skip
    if all(torch.equal(hard, whole) for hard in removed):
        raise ValueError("`model` must read the edges that masks remove, but its output is the "
                         f"same without any half of them: {OPERATORS}")  # fmt: skip
    if surrogates:
        SURROGATES[model] = ", ".join(sorted(surrogates))
    _check_batch_norms(model, task, halves[0], how)
    if (line := find_surrogates(model)) and model not in _WARNED:
        _WARNED.add(model)
        warnings.warn(line, SurrogateWarning, stacklevel=2)


def _check_batch_norms(model: nn.Module, task: Task, masks: Masks, how: StepCache) -> None:
    """Refuse batch norms over edges outside operators: in training they would count all edges."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    with restored(model):
        for norm in norms:
            norm.training = True
        moved, _ = _compare(model, task, [masks], how)
    if moved > TOLERANCE:
        raise ValueError(
            "`model` must treat an edge of weight 0 as absent, but in training its batch norms "
            f"count such edges, and its output moves by {moved:.2g}: put norms over edges into "
            "`message` of a MessagePassing, or use LayerNorm there"
        )


def _check_weights_follow(model: nn.Module, task: Task, halves: Sequence[Masks]) -> None:
    worst, _ = _compare(model, task, halves)
    if worst <= TOLERANCE:
        return
    loops = self_loops(task)
    with_loops = [{n: m.masked_fill(loops, 1) for n, m in kept.items()} for kept in halves]
    if loops.any() and _compare(model, task, with_loops)[0] <= TOLERANCE:
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


def _compare(
    model: nn.Module, task: Task, masks: Sequence[Masks], how: StepCache | None = None
) -> tuple[float, list[Tensor]]:
    """How far outputs with weights 0 lie from those without the edges at most, and the latter.

    Each of the latter is of a model that has seen no other graph. The former come one after
    another, and then edges go once more: so a model that keeps edges or degrees of a call moves.
    """
    with restored(model):
        removed = []
        for each in masks:
            with restored(model):
                removed.append(_remove_edges(model, task, each, how))
        moved = [_distance(_weigh_edges(model, task, each, how), hard)
                 for each, hard in zip(masks, removed, strict=True)]  # fmt: skip
        moved.append(_distance(_remove_edges(model, task, masks[0], how), removed[0]))
    return max(moved), removed


def _distance(soft: Tensor, hard: Tensor) -> float:
    """How far two outputs lie apart, against their size; inf if they are of different sizes."""
    if soft.shape != hard.shape:
        return math.inf
    moved = (soft - hard).abs().max().item() / max(1.0, hard.abs().max().item())
    return math.inf if math.isnan(moved) else moved


def _weigh_edges(model: nn.Module, task: Task, masks: Masks, how: StepCache | None) -> Tensor:
    batch, inside = next(iter(task.batches("train"))), how is not None and how.masked_inside
    features = getattr(task, "num_features", None)
    try:
        with passing_batch(model, batch, edge_mask(masks), features, inside):
            return _output(model, batch, masks, how)
    except ValueError as error:
        if reads_data(model, batch, inside):
            raise
        raise ValueError(f"`model` must read an edge weight to mask edges: {error}; {READS}"
                         ) from error  # fmt: skip


def _remove_edges(model: nn.Module, task: Task, masks: Masks, how: StepCache | None) -> Tensor:
    left = next(iter(apply_edge_masks(task, masks).batches("train")))
    with reporting("the graph without half of its edges", None):
        return _output(model, left, {}, how)


def _output(model: nn.Module, batch: Batch, masks: Masks, how: StepCache | None) -> Tensor:
    """What `model` returns, of all types of nodes together."""
    found = forward(model, batch, masks, how)
    parts = found.values() if isinstance(found, Mapping) else [found]
    return torch.cat([part.flatten() for part in parts if isinstance(part, Tensor)])


def self_loops(task: Task) -> Tensor:
    """Which mask entries [num_edges] are self-loops of the data."""
    batch = next(iter(task.batches("train")))
    assert batch.entries is not None
    source, target = batch.inputs[1].edge_index
    loops = torch.zeros(task.num_edges, dtype=torch.bool, device=batch.entries.device)
    loops[batch.entries[source == target]] = True
    return loops
