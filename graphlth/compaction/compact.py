"""A ticket made small: without its pruned edges, its dead units and its dead channels."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from torch import Tensor, nn

from graphlth.arguments import reads_data
from graphlth.compaction.channels import shrink
from graphlth.compaction.layers import Parts, check_layout
from graphlth.compaction.network import Compact
from graphlth.compaction.own_models import SmallerModel, compact_on_data, compact_on_graph
from graphlth.edge_masks import EdgeMask, edge_mask, kept_edges, map_edges
from graphlth.masks import masked_values
from graphlth.model import CompactableModel
from graphlth.model_checks import check_model
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_last_fit, check_ticket_fits

TRIALS = 15  # calls that `auto` times of each layout
LARGE = 1 << 27  # numbers, from which sparse features are not made dense for a trial
ORIGIN = ("algorithm", "task", "model", "seed")  # what a compacted network tells of its ticket


@torch.no_grad()
def compact(
    ticket: Ticket,
    model: nn.Module,
    task: Task | Graph | Tensor,
    *,
    x: Tensor | Features | None = None,
    layout: str = "auto",
) -> Compact | SmallerModel | nn.Module:
    """`model`, with the weights that it has now, under the masks of `ticket`, as small as possible.

    It computes the function of the masked model: rounding apart, every output is equal. Of
    graphlth's models the pruned edges, the dead units and the features that no weight reads are
    gone, and the weights lie in the fastest layout (see `graphlth.compaction.network`). Of any
    other model the edges go, and the features and hidden units of which one forward pass shows that
    they can (see `graphlth.compaction.smaller`): the result has `model`, of ordinary, smaller
    layers, `removed` and `whole`, which tell what is gone and why the rest stays, and `network`,
    which takes other graphs. Of `resgcn` and `resgen` only the edges go. Of a task of images the
    dead channels go (see `graphlth.compaction.channels.shrink`): the result is an ordinary network
    of smaller layers, in which scattered zeros stay as zeros.

    Args:
        ticket: the masks.
        model: trained under this ticket.
        task: an `ImageTask` or a `NodeTask`; or a `Graph` or edge_index [2, E] whose edges are, in
            order, the entries of the edge mask (of a task with undirected entries, or whose edges
            have weights, only the task will do).
        x: the features [N, F] that `auto` measures with; of a `NodeTask` its own.
        layout: "dense", "blocks", "sparse", or "auto" for the fastest, measured now; of images
            there is only the dense one.

    Raises:
        ValueError: the ticket is not one of this model and graph, `model` has the weights that a
            fit of another ticket left (see `Fit.compact`), or `layout` is unknown.
    """
    check_model(model, task, "task")
    if not hasattr(task, "fingerprint") and not isinstance(task, Graph | Tensor):
        kind = type(task).__name__
        raise ValueError(f"`task` must be a task, a Graph or an edge_index, got {kind}")
    check_last_fit(model, ticket, "fit.compact(model, task)")
    check_layout(layout)
    if not isinstance(task, Graph | Tensor) and hasattr(task, "shape"):
        if layout not in ("auto", "dense"):
            raise ValueError(f"`layout` must be auto or dense for images, got {layout!r}")
        check_ticket_fits(ticket, model, task.num_edges, task.fingerprint())
        return shrink(model, ticket.masks)
    return _compact_on_graph(ticket, model, task, x, layout)


def about_ticket(ticket: Ticket) -> dict[str, Any]:
    """What the file of a compacted network says of where it comes from."""
    known = {n: ticket.provenance[n] for n in ORIGIN if n in ticket.provenance}
    return known | {"round": ticket.round}


def _compact_on_graph(
    ticket: Ticket, model: nn.Module, task: Any, x: Tensor | Features | None, layout: str
) -> Compact | SmallerModel:
    about = about_ticket(ticket)
    if not isinstance(model, CompactableModel) and hasattr(task, "batches"):
        own = _compact_own(ticket, model, task, about)
        if own is not None:
            return own
    graph, entries, num_edges, fingerprint = task, None, 0, ""
    weight: EdgeMask | None = getattr(task, "edge_weight", None)  # A [E]
    if hasattr(task, "entries"):
        x, graph, entries = task.x if x is None else x, task.graph, task.entries
        num_edges, fingerprint = task.num_edges, task.fingerprint()
    elif isinstance(task, Tensor):
        if x is None:
            raise ValueError("`x` must be given with an edge_index: it tells the nodes")
        graph = Graph.of(task, x.shape[0])
    num_edges = graph.num_edges if entries is None else num_edges
    check_ticket_fits(ticket, model, num_edges, fingerprint)
    if (mask := edge_mask(ticket.masks)) is not None:
        m = mask if entries is None else map_edges(lambda each: each[entries], mask)
        assert m is not None
        keep, weight = kept_edges(m, weight, next(model.parameters()).dtype)
        graph = graph.subgraph(keep)
    if not isinstance(model, CompactableModel):
        return compact_on_graph(_multiply_masks(model, ticket), x, graph, weight, about)
    weights = masked_values(dict(model.named_parameters()), ticket.masks)
    return choose_layout(model.parts(weights, graph, weight), x, layout, about)


def _multiply_masks(model: nn.Module, ticket: Ticket) -> nn.Module:
    """A copy of `model` with the masks of `ticket` multiplied into its weights."""
    masked = copy.deepcopy(model).eval()
    for name, parameter in masked.named_parameters():
        if name in ticket.masks:
            parameter.mul_(ticket.masks[name])
    return masked


def _compact_own(
    ticket: Ticket, model: nn.Module, task: Task, about: dict[str, Any]
) -> SmallerModel | None:
    """A model of a user's own that is given what it names of PyG's data; None of any other."""
    mask = edge_mask(ticket.masks)
    if not reads_data(model, next(iter(task.batches("test")))):
        return None
    check_ticket_fits(ticket, model, task.num_edges, task.fingerprint())
    pruned = task if mask is None else task.without(mask)
    batch = next(iter(pruned.batches("test")))
    return compact_on_data(_multiply_masks(model, ticket), batch, about)


def choose_layout(
    parts: Parts,
    x: Tensor | Features | None = None,
    layout: str = "auto",
    about: dict[str, Any] | None = None,
) -> Compact:
    """`parts` in a layout; `auto` is the fastest on the features `x`, without any `dense`.

    Raises:
        ValueError: the parts do not fit together, or `layout` is unknown.
    """
    if layout != "auto":
        return Compact(parts, layout, about)
    simple = Compact(parts, "dense", about)
    if x is None or not simple.is_compiled:
        return simple
    large = isinstance(x, Features) and x.shape[0] * x.shape[1] > LARGE
    names = ["blocks"] if large else ["blocks", "sparse"]
    networks = {"dense": simple} | {name: Compact(parts, name, about) for name in names}
    seconds = time_layouts(networks, x)
    return networks[min(seconds, key=lambda name: seconds[name])]


def time_layouts(
    networks: dict[str, Compact], x: Tensor | Features, trials: int = TRIALS
) -> dict[str, float]:
    """The least seconds of a call of each network with `x`.

    They are called by turns; one that takes five times as long as the fastest is called once.
    """
    seconds: dict[str, float] = {}
    for name, network in networks.items():
        network(x)  # compiles, and lays out `x`
        seconds[name] = _time_call(network, x)
    near = [name for name in networks if seconds[name] < 5 * min(seconds.values())]
    for _ in range(trials):
        for name in near:
            seconds[name] = min(seconds[name], _time_call(networks[name], x))
    return seconds


def _time_call(network: Compact, x: Tensor | Features) -> float:
    start = time.perf_counter()
    network(x)
    return time.perf_counter() - start
