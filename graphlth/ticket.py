"""A ticket: where to start, and what is left."""

from __future__ import annotations

import hashlib
import json
import os
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from graphlth.channels import shrink
from graphlth.compact import LAYOUTS, Bound, Compact, compacted
from graphlth.contract import check_cached, check_weights
from graphlth.graph import Features, Graph
from graphlth.masks import EDGES, Masks, masked, ones, only, tied
from graphlth.streams import stream_seed

FORMAT = "graphlth-ticket-1"
BEHIND = "first_iteration"  # in a ticket's `search`: the iterations that its weights have had
TOLD = ("algorithm", "task", "model", "seed")  # of its provenance, in a compacted network


@dataclass(frozen=True)
class Ticket:
    """A sub-network and a sub-graph, with the weights that they start from."""

    init: dict[str, Tensor]  # θ₀, or θ_k when rewound
    masks: Masks
    round: int
    provenance: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)  # what its search tells of it, plain JSON

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, all of it or nothing."""
        path = Path(path)
        tensors = {f"init.{n}": t.contiguous() for n, t in self.init.items()}
        tensors |= {f"mask.{n}": m.bool() for n, m in self.masks.items()}
        about = {
            "format": FORMAT,
            "round": self.round,
            "init": list(self.init),  # the tensors lie sorted by name,
            "masks": list(self.masks),  # noise and ties go by this order
            "provenance": self.provenance,
            "search": self.search,
        }
        draft = path.with_name(path.name + f".{os.getpid()}.part")
        try:
            save_file(tensors, draft, {"graphlth": json.dumps(about, sort_keys=True)})
            draft.replace(path)
        except (OSError, SafetensorError) as error:
            raise OSError(f"cannot write ticket {path}: {error}") from None
        finally:
            draft.unlink(missing_ok=True)

    def to(self, device: torch.device | str) -> Ticket:
        """The same ticket on `device`."""
        init = {n: t.to(device) for n, t in self.init.items()}
        masks = {n: m.to(device) for n, m in self.masks.items()}
        return replace(self, init=init, masks=masks)

    @torch.no_grad()
    def compact(
        self,
        model: nn.Module,
        graph: Any,
        *,
        x: Tensor | Features | None = None,
        layout: str = "auto",
    ) -> Compact | Bound | nn.Module:
        """`model`, with the weights that it has now, under these masks, as small as they allow.

        Its function is that of the masked model; rounding apart, every output is equal. Of
        graphlth's models pruned edges, dead units and unread features are gone, and the weights lie
        in the fastest layout (see `graphlth.compact`). Of any other, and of `resgcn`, only the
        edges go: its weights are multiplied by the masks, but its units stay, so that it is hardly
        faster. Of a task of images the dead channels go (see `graphlth.channels.shrink`): an
        ordinary network of smaller layers, in which scattered zeros stay as zeros.

        Args:
            model: trained under this ticket.
            graph: an `ImageTask` or a `GraphTask`; or a `Graph` or edge_index [2, E] whose edges
                are, in order, the entries of the edge mask (of a task with undirected entries only
                the task will do).
            x: the features [N, F] that `auto` measures with; of a `GraphTask` its own.
            layout: "dense", "blocks", "sparse", or "auto" for the fastest, measured now; of images
                there is only the dense one.

        Raises:
            ValueError: the ticket is not one of this model and graph, or `layout` is unknown.
        """
        if layout not in LAYOUTS:
            raise ValueError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {layout!r}")
        if hasattr(graph, "shape") and not isinstance(graph, Tensor):
            if layout not in ("auto", "dense"):
                raise ValueError(f"`layout` must be auto or dense for images, got {layout!r}")
            fit_together(self, model, graph.num_edges, graph.fingerprint())
            return shrink(model, self.masks)
        entries, name = getattr(graph, "entries", None), ""
        if entries is not None:
            x, num_edges, name = graph.x if x is None else x, graph.num_edges, graph.fingerprint()
            graph = graph.graph
        else:
            if isinstance(graph, Tensor) and x is None:
                raise ValueError("`x` must be given with an edge_index: it tells the nodes")
            graph = graph if isinstance(graph, Graph) else Graph.of(graph, x.shape[0])  # type: ignore[union-attr]
            num_edges = graph.num_edges
        fit_together(self, model, num_edges, name)
        if EDGES in self.masks:
            keep = self.masks[EDGES] != 0
            graph = graph.subgraph(keep if entries is None else keep[entries])
        weights = masked(dict(model.named_parameters()), self.masks)
        parts: Any = getattr(model, "parts", None)
        if parts is None:
            return Bound(model, weights, graph.edge_index)
        about = {n: self.provenance[n] for n in TOLD if n in self.provenance}
        return compacted(parts(weights, graph), x, layout, about | {"round": self.round})


def load(path: str | Path) -> Ticket:
    """The ticket in the file `path`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or is not a ticket.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no ticket at {path}")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["graphlth"])
            if about["format"] != FORMAT or not isinstance(about["provenance"], dict):
                raise ValueError(f"its format is {about['format']!r}, not {FORMAT!r}")
            tensors = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        init = {n: tensors[f"init.{n}"] for n in about["init"]}
        masks = {n: tensors[f"mask.{n}"].float() for n in about["masks"]}
        return Ticket(
            init, masks, int(about["round"]), about["provenance"], about.get("search", {})
        )
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is not a whole graphlth ticket: {reason}") from None


def ticket_file(folder: Path, seed: int, round: int) -> Path:
    """Where a run keeps the ticket of a round."""
    return folder / f"seed{seed}-round{round}.safetensors"


def picked(only: str, rounds: int) -> list[int]:
    """The rounds from 1 to `rounds` that `only` names: "all" of them, or some, as "7,15".

    Raises:
        ValueError: it names no rounds, others, or not in their order.
    """
    known = list(range(1, rounds + 1))
    if only == "all":
        return known
    parts = str(only).split(",")
    found = [int(part) for part in parts if part.isdecimal()]
    if len(found) < len(parts) or found != sorted({*found} & {*known}):
        raise ValueError(f"`only` must be all, or rising rounds from 1 to {rounds}, such as 7,15, "
                         f"got {only!r}")  # fmt: skip
    return found


def dense(
    model: nn.Module, num_edges: int = 0, *, edges: bool = True, weights: bool = True
) -> Ticket:
    """The ticket of round 0: the model as it is, with masks of ones on `edges` and `weights`.

    A weight that is frozen (`requires_grad` is False) has no mask.

    Raises:
        ValueError: the weights of `model` are computed from others; a layer caches its graph, where
            edges are asked for; or there is nothing to mask.
    """
    check_weights(model)
    masks = ones(model, num_edges)
    check_cached(model, masks if edges else {})
    if weights and not only(masks, "weights") and not (edges and num_edges):
        raise ValueError("`model` must have a weight of two or more dimensions whose requires_grad "
                         f"is True, to be pruned; {type(model).__name__} has none")  # fmt: skip
    kept = (only(masks, "weights") if weights else {}) | (only(masks, "edges") if edges else {})
    return Ticket(snapshot(model), kept, 0)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's parameters and buffers."""
    return {n: t.detach().clone() for n, t in model.state_dict().items()}


def rewind(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """`model` with its parameters and buffers set back to `state`, bit for bit."""
    model.load_state_dict(state)
    return model


def reinitialised(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """The state of `model` with weights drawn anew from `seed`; the model itself stays as it is.

    Weights that are frozen (`requires_grad` is False) stay, too.

    Raises:
        ValueError: neither the model nor any part of it has a `reset_parameters`.
    """
    fresh = deepcopy(model)
    parts: list[Any] = [fresh] if hasattr(fresh, "reset_parameters") else [*fresh.modules()]
    redraws = [part.reset_parameters for part in parts if hasattr(part, "reset_parameters")]
    if not redraws:
        raise ValueError("`model` must have a method `reset_parameters` to be drawn anew")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "reinitialise"))
        for redraw in redraws:
            redraw()
    frozen = {id(p) for p in model.parameters() if not p.requires_grad}
    named = model.named_parameters(remove_duplicate=False)
    return snapshot(fresh) | {n: p.detach().clone() for n, p in named if id(p) in frozen}


def fingerprint(model: nn.Module) -> str:
    """A digest of the names and shapes of the model's parameters."""
    shapes = sorted((n, list(p.shape)) for n, p in model.named_parameters())
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16]


def fit_together(ticket: Ticket, model: nn.Module, num_edges: int, graph: str = "") -> None:
    """Refuse a ticket that is not one of this model and this graph.

    `graph` is the task's fingerprint; it is compared where the ticket's provenance has one. A
    weight that was frozen after the ticket was made fits: it starts from the ticket's value, is
    masked as the ticket says, and is not trained.

    Raises:
        ValueError: names, shapes or fingerprints differ; weights that are tied in `model` do in the
            ticket; or a layer caches its graph, where the ticket has a mask on edges.
    """
    check_cached(model, ticket.masks)
    state = model.state_dict()
    for n, t in ticket.init.items():
        if n not in state or state[n].shape != t.shape:
            has = list(state[n].shape) if n in state else "no such parameter"
            raise ValueError(f"`ticket` does not fit `model`: {n!r} is {list(t.shape)}, not {has}")
    if missing := sorted(set(state) - set(ticket.init)):
        raise ValueError(f"`ticket` does not fit `model`: it has no {missing[0]!r}")
    for n, others in tied(model).items():
        for other in others:
            if not torch.equal(ticket.init[n], ticket.init[other]):
                raise ValueError(f"`ticket` does not fit `model`: {n!r} and {other!r} are one "
                                 "parameter of it, but differ in the ticket")  # fmt: skip
    shapes = {n: p.shape for n, p in model.named_parameters()} | {EDGES: torch.Size([num_edges])}
    for n, m in ticket.masks.items():
        if shapes.get(n) != m.shape:
            raise ValueError(
                f"`ticket` does not fit: its mask {n!r} has shape {list(m.shape)}, "
                f"not {list(shapes[n]) if n in shapes else 'a parameter'}"
            )
    known = ticket.provenance.get("graph", graph)
    if graph and known != graph:
        raise ValueError(f"`ticket` is of another graph: fingerprint {known}, not {graph}")
