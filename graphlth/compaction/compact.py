"""A ticket made small: without its pruned edges, its dead units and its dead channels."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from graphlth.compaction.channels import shrink
from graphlth.compaction.layers import Parts, check_layout
from graphlth.compaction.network import Compact
from graphlth.edge_masks import EdgeMask, edge_mask, kept_edges, map_edges
from graphlth.masks import masked_values
from graphlth.model import CompactableModel, takes_graph
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
) -> Compact | ModelOnGraph | nn.Module:
    """`model`, with the weights that it has now, under the masks of `ticket`, as small as possible.

    It computes the function of the masked model: rounding apart, every output is equal. Of
    graphlth's models the pruned edges, the dead units and the features that no weight reads are
    gone, and the weights lie in the fastest layout (see `graphlth.compaction.network`). Of any
    other model, and of `resgcn`, only the edges go: its weights are multiplied by the masks, but
    its units stay, so that it is hardly faster. Of a task of images the dead channels go (see
    `graphlth.compaction.channels.shrink`): the result is an ordinary network of smaller layers, in
    which scattered zeros stay as zeros.

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


def _compact_on_graph(
    ticket: Ticket, model: nn.Module, task: Any, x: Tensor | Features | None, layout: str
) -> Compact | ModelOnGraph:
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
    weights = masked_values(dict(model.named_parameters()), ticket.masks)
    if not isinstance(model, CompactableModel):
        return ModelOnGraph(model, weights, graph, weight)
    about = {n: ticket.provenance[n] for n in ORIGIN if n in ticket.provenance}
    return choose_layout(
        model.parts(weights, graph, weight), x, layout, about | {"round": ticket.round}
    )


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


class ModelOnGraph(nn.Module):
    """A model whose units stay, its weights multiplied by their masks, on a graph of kept edges.

    Which units are dead only a model with `parts` can tell. It is called with the features alone
    and needs the model's own code.
    """

    def __init__(
        self, model: nn.Module, weights: dict[str, Tensor], graph: Graph,
        weight: EdgeMask | None = None,
    ):  # fmt: skip
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        for name, parameter in self.model.named_parameters():
            parameter.copy_(weights[name].detach())
        self.num_nodes = graph.num_nodes
        self.register_buffer("edge_index", graph.edge_index)
        self.per_layer = isinstance(weight, tuple)
        layers = torch.stack(weight) if isinstance(weight, tuple) else weight
        self.register_buffer("edge_weight", layers)  # [E], or [layers, E]

    @property
    def _kind(self) -> str:
        return type(self.model).__name__

    def forward(self, x: Tensor | Features) -> Tensor:
        """The model's output for `x` [N, F] on the edges that are kept."""
        edges: Any = self.edge_index
        if takes_graph(self.model):
            edges = Graph(edges, self.num_nodes)
        elif isinstance(x, Features):
            x = x.dense
        weight: Any = self.edge_weight
        weight = weight.unbind() if self.per_layer else weight
        output: Tensor = self.model(x, edges, *([] if weight is None else [weight]))
        return output

    def save(self, path: str | Path) -> NoReturn:
        """There is no such file: the model's own code is needed.

        Raises:
            ValueError: always; it says what to do.
        """
        raise ValueError("`model` must have a method `parts` to be saved compacted, got "
                         f"{self._kind}: use torch.save(network.state_dict(), {str(path)!r}), and "
                         "load that into what glt.compact(...) returns")  # fmt: skip

    def plain(self) -> NoReturn:
        """There is no such network: the model's own code is needed.

        Raises:
            ValueError: always; it says what to do.
        """
        raise ValueError("`model` must have a method `parts` to be made plain, got "
                         f"{self._kind}: use it as it is, an nn.Module that is called with "
                         "the features alone"
                         )  # fmt: skip
