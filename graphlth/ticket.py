"""A ticket: where to start, and what is left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from graphlth.compaction.channels import shrink
from graphlth.compaction.network import FORMATS as COMPACTED
from graphlth.compaction.network import LAYOUTS, Bound, Compact, compacted
from graphlth.data.pruned import pruned
from graphlth.masks import EDGES, Masks, masked, ones, only, tied
from graphlth.model import check_cached, check_model, check_weights
from graphlth.records.schema import check_search
from graphlth.settings.checks import check_device, check_number
from graphlth.sparse.graph import Features, Graph
from graphlth.storage import arrays_digest, file_digest, printable, replacing
from graphlth.streams import stream_seed

FORMAT, FORMATS = "graphlth-ticket-2", ("graphlth-ticket-1", "graphlth-ticket-2")
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

    def save(self, path: str | Path) -> str:
        """Write a safetensors file, all of it or nothing, and return its SHA-256.

        Raises:
            ValueError: a weight is not finite.
            OSError: the file cannot be written.
        """
        for name, t in self.init.items():
            if not _is_finite(t, name in self.masks):
                raise ValueError(f"`init` must be finite, got NaN or infinity in {name!r}: the "
                                 "training has diverged, try a smaller `lr`")  # fmt: skip
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
        about = json.loads(json.dumps(about))  # as it will be read
        about["digest"] = arrays_digest(_arrays(tensors), about)
        content = save(tensors, {"graphlth": json.dumps(about, sort_keys=True)})
        with replacing(path) as draft:
            draft.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def to(self, device: torch.device | str) -> Ticket:
        """The same ticket on `device`."""
        check_device(device)
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
        in the fastest layout (see `graphlth.compaction.network`). Of any other, and of `resgcn`,
        only the edges go: its weights are multiplied by the masks, but its units stay, so that it
        is hardly faster. Of a task of images the dead channels go (see `channels.shrink` there): an
        ordinary network of smaller layers, in which scattered zeros stay as zeros.

        Args:
            model: trained under this ticket.
            graph: an `ImageTask` or a `NodeTask`; or a `Graph` or edge_index [2, E] whose edges
                are, in order, the entries of the edge mask (of a task with undirected entries, or
                whose edges have weights, only the task will do).
            x: the features [N, F] that `auto` measures with; of a `NodeTask` its own.
            layout: "dense", "blocks", "sparse", or "auto" for the fastest, measured now; of images
                there is only the dense one.

        Raises:
            ValueError: the ticket is not one of this model and graph, `model` has the weights that
                a fit of another one left (see `Fit.compact`), or `layout` is unknown.
        """
        check_model(model, graph, "graph")
        if not hasattr(graph, "fingerprint") and not isinstance(graph, Graph | Tensor):
            raise ValueError("`graph` must be a task, a Graph or an edge_index, got "
                             f"{type(graph).__name__}")  # fmt: skip
        refuse_another(model, self, "fit.compact(model, task)")
        if layout not in LAYOUTS:
            raise ValueError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {layout!r}")
        if hasattr(graph, "shape") and not isinstance(graph, Tensor):
            if layout not in ("auto", "dense"):
                raise ValueError(f"`layout` must be auto or dense for images, got {layout!r}")
            fit_together(self, model, graph.num_edges, graph.fingerprint())
            return shrink(model, self.masks)
        entries, name = getattr(graph, "entries", None), ""
        weight: Tensor | None = getattr(graph, "edge_weight", None)  # [E] A
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
            keep = keep if entries is None else keep[entries]
            graph, weight = graph.subgraph(keep), None if weight is None else weight[keep]
        weights = masked(dict(model.named_parameters()), self.masks)
        parts: Any = getattr(model, "parts", None)
        if parts is None:
            return Bound(model, weights, graph.edge_index, weight)
        about = {n: self.provenance[n] for n in TOLD if n in self.provenance}
        kept = parts(weights, graph) if weight is None else parts(weights, graph, weight)
        return compacted(kept, x, layout, about | {"round": self.round})

    def prune(self, data: Any, *, edges: str | None = None) -> Any:
        """A PyG `Data` like `data`, without the edges that this ticket has removed.

        Nodes and everything that `data` holds stay, as does the order of the edges. Attributes of
        edges (see `graphlth.data.edge_list`) lose what belongs to edges that go: all
        repetitions of one, and with undirected masks both directions. Edges of weight 0, which are
        absent for every model, go too. The weights of the ticket are not looked at.

        Args:
            data: the PyG `Data` that the ticket's `NodeTask` was made of, in any order of edges.
            edges: what an entry of the edge mask stands for, "undirected" or "directed"; where not
                given, what the ticket says or what alone fits.

        Raises:
            ValueError: `data` is no `Data`, the ticket is not one of this graph, or both kinds of
                entries fit.
        """
        known = self.provenance.get("settings", {}).get("edges", self.provenance.get("edges"))
        mask, graph = self.masks.get(EDGES), self.provenance.get("graph", "")
        return pruned(data, mask, edges=edges or known, graph=graph)


def load(path: str | Path, digest: str | None = None) -> Ticket:
    """The ticket in the file `path`, of that SHA-256 if a `digest` is given.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, is not a ticket, or is another one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no ticket at {path}")
    try:
        if digest is not None and file_digest(path) != digest:
            raise ValueError("its SHA-256 is not that of its record")
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["graphlth"])
            tensors = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        _check(about, tensors)
        init = {n: tensors[f"init.{n}"] for n in about["init"]}
        masks = {n: tensors[f"mask.{n}"].float() for n in about["masks"]}
        return Ticket(init, masks, about["round"], about["provenance"], about.get("search", {}))
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        reason = printable((str(error).splitlines() or ["?"])[0])
        raise ValueError(f"{path} is not a whole graphlth ticket: {reason}; give another, or run "
                         "again what has found it") from None  # fmt: skip


def _arrays(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str, list[int], Any]]:
    for name, t in tensors.items():
        plain = t.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        yield name, str(t.dtype), list(t.shape), plain.numpy().data


def _is_finite(t: Tensor, pruned: bool) -> bool:
    """Whether no number of `t` is NaN or, among weights that can be `pruned`, infinite.

    A buffer may well hold infinities, as the mask of attention does.
    """
    if not t.is_floating_point():
        return True
    return bool(t.isfinite().all()) if pruned else not bool(t.isnan().any())


PROVENANCE: Mapping[str, tuple[type, str]] = {
    "algorithm": (str, "text"), "task": (str, "text"), "model": (str, "text"),
    "graph": (str, "text"), "network": (str, "text"), "data": (str, "text"),
    "seed": (int, "a whole number of at least 0"),
    "settings": (dict, "an object"), "environment": (dict, "an object"),
}  # fmt: skip


def _check(about: Any, tensors: Mapping[str, Tensor]) -> None:
    """Refuse what a ticket's file says, field by field.

    Raises:
        ValueError, KeyError, TypeError: the reason.
    """
    if not isinstance(about, dict) or about["format"] not in FORMATS:
        form = about["format"] if isinstance(about, dict) else about
        if form in COMPACTED:
            raise ValueError(
                "it is a compacted network, which `graphlth.compaction.network.load` reads"
            )
        raise ValueError(f"its format is {form!r}, not {FORMAT!r}")
    said = {n: v for n, v in about.items() if n != "digest"}
    if about["format"] == FORMAT and about["digest"] != arrays_digest(_arrays(tensors), said):
        raise ValueError("its digest is not that of what it holds")
    if type(about["round"]) is not int or about["round"] < 0:
        raise ValueError(f"`round` must be a whole number of at least 0, got {about['round']!r}")
    for part in ("init", "masks"):
        names = about[part]
        if not isinstance(names, list) or len(set(names)) < len(names):
            raise ValueError(f"`{part}` must be a list of names, each once")
    for name in about["init"]:
        if not _is_finite(tensors[f"init.{name}"], name in about["masks"]):
            raise ValueError(f"`init` must be finite, got NaN or infinity in {name!r}")
    for name in about["masks"]:
        mask = tensors[f"mask.{name}"]
        if mask.dtype != torch.bool or bool((mask.view(torch.uint8) > 1).any()):
            raise ValueError(f"`masks` must be 0 or 1, got others in {name!r}")
    provenance = about["provenance"]
    if not isinstance(provenance, dict):
        raise ValueError(f"`provenance` must be an object, got {type(provenance).__name__}")
    for name, (kind, rule) in PROVENANCE.items():
        value: Any = provenance.get(name, kind())
        if type(value) is not kind or (isinstance(value, int) and value < 0):
            raise ValueError(f"`provenance.{name}` must be {rule}, got {value!r}")
    check_search(about.get("search", {}))


def of_run(folder: Path, line: Mapping[str, Any]) -> Ticket:
    """The ticket that a record is of.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is damaged, or is that of another round, seed or algorithm.
    """
    path = ticket_file(folder, line["seed"], line["round"])
    ticket = load(path, line.get("ticket"))
    known = ticket.provenance | {"round": ticket.round}
    for name in ("round", "seed", "algorithm"):
        if name in line and known.get(name, line[name]) != line[name]:
            raise ValueError(f"{path} must be the ticket of its record, with `{name}` "
                             f"{line[name]!r}, got {known[name]!r}; put the right one back, or "
                             "remove it and its record")  # fmt: skip
    return ticket


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
        ValueError: the weights of `model` are computed from others; `num_edges` is no whole number;
            a layer caches its graph, where edges are asked for; or there is nothing to mask.
    """
    check_weights(model)
    check_number("num_edges", num_edges)
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


# Which ticket's training left the weights that a model has, and the versions of these: what a fit
# left lies in the model alone, and nothing in it tells of which ticket. It changes no result.
_LEFT: WeakKeyDictionary[nn.Module, tuple[Ticket, list[int]]] = WeakKeyDictionary()


def remember(model: nn.Module, ticket: Ticket) -> None:
    """Keep in mind that a training of `ticket` left the weights that `model` has now."""
    _LEFT[model] = ticket, [p._version for p in model.parameters()]


def check_ticket(ticket: Any) -> None:
    """Refuse what is no ticket.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(ticket, Ticket):
        got = f"the path {ticket!r}" if isinstance(ticket, str | Path) else type(ticket).__name__
        raise ValueError(f"`ticket` must be a Ticket (see `graphlth.load`), got {got}")


def refuse_another(model: nn.Module, ticket: Ticket, remedy: str) -> None:
    """Refuse a ticket whose training did not leave the weights that `model` has.

    Of weights that something else has made or changed since, nothing is known: they pass.

    Raises:
        ValueError: `ticket` is none; or they are those of a fit of another, and `remedy` is a call
            that tells which.
    """
    check_ticket(ticket)
    known = _LEFT.get(model)
    if known is None or known[1] != [p._version for p in model.parameters()]:
        return
    if not _same(known[0], ticket):
        raise ValueError(
            f"`model` has the weights of a fit of another ticket, of round {known[0].round}, not "
            f"of this one, of round {ticket.round}: give the `Fit` that `fit` returned for it, "
            f"{remedy}, or fit it again"
        )


def _same(a: Ticket, b: Ticket) -> bool:
    pairs = ((a.init, b.init), (a.masks, b.masks))
    return a is b or all(
        x.keys() == y.keys() and all(torch.equal(t.cpu(), y[n].cpu()) for n, t in x.items())
        for x, y in pairs
    )


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


def with_origin(
    tickets: Iterator[Ticket], model: nn.Module, task: Any, about: Mapping[str, Any]
) -> Iterator[Ticket]:
    """The same tickets, whose provenance tells of what model and graph they are, and `about` it.

    That of a run, which tells more, takes its place.
    """
    for ticket in tickets:
        known = {**about, "model": type(model).__name__, "graph": task.fingerprint(),
                 "network": fingerprint(model)}  # fmt: skip
        yield replace(ticket, provenance=known | ticket.provenance)


def fit_together(ticket: Ticket, model: nn.Module, num_edges: int, graph: str = "") -> None:
    """Refuse a ticket that is not one of this model and this graph.

    `graph` is the task's fingerprint; it is compared where the ticket's provenance has one. A
    weight that was frozen after the ticket was made fits: it starts from the ticket's value, is
    masked as the ticket says, and is not trained.

    Raises:
        ValueError: `ticket` is none; names, shapes or fingerprints differ; weights that are tied in
            `model` do in the ticket; or a layer caches its graph, where the ticket has a mask on
            edges.
    """
    check_ticket(ticket)
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


def check_data(known: Mapping[str, Any], task: Any, what: str) -> None:
    """Refuse a `task` whose content is not that which `what` is of, by its provenance or plan.

    Of version 0.1.0 the content is not known; then the graphs are compared, where a ticket is used.

    Raises:
        ValueError: says what differs, and what to do.
    """
    if not (data := known.get("data")) or data == (here := task.content()):
        return
    graph = known.get("graph")
    part = "features or edges" if graph != task.fingerprint() else "labels or splits"
    part = part if graph else "features, edges, labels or splits"
    raise ValueError(f"{what} is of other data: {part} of {task.name!r} are not those that it was "
                     f"run on (content {here}, not {data}); give those, or run anew")  # fmt: skip
