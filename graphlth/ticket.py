"""A ticket: a sub-network and a sub-graph with the weights to start from, and its file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from graphlth.edge_masks import RelationCounts, edge_mask
from graphlth.masks import Masks, check_mask, count, is_binary, ones, only
from graphlth.model import check_layers, check_operators
from graphlth.model_checks import check_cached, check_model, check_weights
from graphlth.records.files import read_file
from graphlth.records.schema import check_search
from graphlth.rewinding import snapshot
from graphlth.settings.annotations import check_number
from graphlth.settings.checks import check_device
from graphlth.settings.types import Depth, EdgeCount
from graphlth.storage import arrays_digest, file_digest, printable, replace_file

FORMAT, FORMATS = "graphlth-ticket-2", ("graphlth-ticket-1", "graphlth-ticket-2")
FIRST_ITERATION = "first_iteration"  # in `search`: the iterations that the weights have had


@dataclass(frozen=True)
class Ticket:
    """A sub-network and a sub-graph, with the weights that they start from."""

    init: dict[str, Tensor]  # θ₀, or θ_k when rewound
    masks: Masks
    round: int
    provenance: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)  # what its search tells of it, plain JSON

    def __repr__(self) -> str:
        name = self.provenance.get("algorithm")
        parts = {part: only(self.masks, part) for part in ("edges", "weights")}
        kept = (
            f"{part}={sum(int(m.count_nonzero()) for m in masks.values())} of {count(masks)}"
            for part, masks in parts.items() if masks
        )  # fmt: skip
        origin = [repr(name)] if name else []
        return f"Ticket({', '.join([*origin, f'round={self.round}', *kept])})"

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
        tensors |= {f"mask.{n}": _stored_mask(n, m) for n, m in self.masks.items()}
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
        with replace_file(path) as draft:
            draft.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def to(self, device: torch.device | str) -> Ticket:
        """The same ticket on `device`."""
        check_device(device)
        init = {n: t.to(device) for n, t in self.init.items()}
        masks = {n: m.to(device) for n, m in self.masks.items()}
        return replace(self, init=init, masks=masks)

    def compact(self, model: nn.Module, task: Any, *, x: Any = None, layout: str = "auto") -> Any:
        """`graphlth.compact(self, model, task, x=x, layout=layout)`."""
        import graphlth

        return graphlth.compact(self, model, task, x=x, layout=layout)

    def prune(self, data: Any, *, edges: str | None = None) -> Any:
        """`graphlth.prune_data(data, self, edges=edges)`."""
        import graphlth

        return graphlth.prune_data(data, self, edges=edges)

    def to_networkx(self, data: Any, *, edges: str | None = None) -> Any:
        """What is left of the PyG `data` as a graph of networkx.

        It is a `Graph` where every edge has its reverse, else a `DiGraph`; parallel edges are one.
        Nodes have `y`, where the data do; edges have their attributes, also `edge_weight`. Of a
        `HeteroData` both have their `type` alone.

        Args:
            data: see `graphlth.prune_data`, as for `edges`.
            edges: what an entry of the edge mask stands for; where not given, what alone fits.

        Raises:
            ValueError: as `graphlth.prune_data`.
        """
        from torch_geometric.utils import is_undirected, to_networkx  # load slowly

        left = self.prune(data, edges=edges)
        if hasattr(left, "edge_types"):
            return to_networkx(left)
        both = is_undirected(left.edge_index, num_nodes=left.num_nodes)
        of_edges = [name for name in left.edge_attrs() if name != "edge_index"]
        of_nodes = [name for name in left.node_attrs() if name == "y"]
        return to_networkx(left, of_nodes, of_edges, to_undirected=both)


def load(path: str | Path, digest: str | None = None) -> Ticket:
    """The ticket in the file `path`, of that SHA-256 if a `digest` is given.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, is not a ticket, or is another one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(_absence(path))
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


def _absence(path: Path) -> str:
    """What is said of a ticket's file that is not there: also that its run did not keep it."""
    own = re.fullmatch(r"seed(\d+)-round(\d+)\.safetensors", path.name)
    lines = path.with_name(f"seed{own[1]}.jsonl") if own else path
    if own and lines.is_file():
        told = {line["round"]: line.get("ticket_kept", True) for line in read_file(lines)}
        if not told.get(int(own[2]), True):
            return (f"no ticket at {path}: its run did not keep it; move `{lines}` aside, "
                    "with those of all seeds that you need, and give the command of the run again "
                    "with `keep_tickets` all")  # fmt: skip
    return f"no ticket at {path}"


def _stored_mask(name: str, mask: Tensor) -> Tensor:
    """`mask` as it is stored: 0 and 1 as bits, other weights of edges as float32.

    Raises:
        ValueError: it is a mask of weights that are not 0 or 1, or a weight of an edge is negative
            or not finite.
    """
    check_mask(name, mask)
    if is_binary(mask):
        return mask.bool()
    return mask.float().contiguous()


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
    "graph": (str, "text"), "network": (str, "text"), "data": (str, "text"), "code": (str, "text"),
    "seed": (int, "a whole number of at least 0"),
    "surrogate": (str, "text"), "ignore": (str, "text"),
    "settings": (dict, "an object"), "environment": (dict, "an object"),
}  # fmt: skip


def _check(about: Any, tensors: Mapping[str, Tensor]) -> None:
    """Refuse what a ticket's file says, field by field.

    Raises:
        ValueError, KeyError, TypeError: the reason.
    """
    if not isinstance(about, dict) or about["format"] not in FORMATS:
        form = about["format"] if isinstance(about, dict) else about
        if str(form).startswith("graphlth-compact-"):
            raise ValueError("it is a compacted network, which `graphlth.load_compact` reads")
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
        if mask.dtype == torch.bool:
            mask = mask.view(torch.uint8)
        elif mask.dtype != torch.float32:
            raise ValueError(f"`masks` must be of bool or float32, got {mask.dtype} in {name!r}")
        check_mask(name, mask)
    edge_mask({n: tensors[f"mask.{n}"] for n in about["masks"]})
    provenance = about["provenance"]
    if not isinstance(provenance, dict):
        raise ValueError(f"`provenance` must be an object, got {type(provenance).__name__}")
    for name, (kind, rule) in PROVENANCE.items():
        value: Any = provenance.get(name, kind())
        if type(value) is not kind or (isinstance(value, int) and value < 0):
            raise ValueError(f"`provenance.{name}` must be {rule}, got {value!r}")
    check_search(about.get("search", {}))


def load_of_run(folder: Path, line: Mapping[str, Any]) -> Ticket:
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


def dense(
    model: nn.Module,
    num_edges: int = 0,
    *,
    edges: bool = True,
    weights: bool = True,
    layers: Depth | None = None,
    ignore: str | Sequence[str] = "",
) -> Ticket:
    """The ticket of round 0: the model as it is, with masks of ones on `edges` and `weights`.

    A weight that is frozen (`requires_grad` is False) has no mask. There is one mask of edges for
    all layers or, with `layers`, one for each of so many: pruning then ranks the edges of all
    layers together.

    Args:
        model: the network.
        num_edges: how many edges of the graph can be pruned; that of a task.
        edges: whether edges have masks.
        weights: whether weights have.
        layers: how many layers have edges of their own; None: all have the same.
        ignore: what stays dense, without a mask: patterns of the names of parameters, or of masks
            of relations, such as "encoder.*,edges.author__*", or the names of modules.

    Raises:
        ValueError: `model` is none, or its weights are computed from others; `num_edges` or
            `layers` is no whole number; `model` takes no edge weights for so many layers, or a
            layer caches its graph or makes one, where edges are asked for; a pattern of `ignore`
            matches nothing; or there is nothing to mask.
    """
    check_model(model, num_edges, "num_edges")
    check_weights(model)
    check_number("num_edges", num_edges, EdgeCount)
    if layers is not None:
        check_number("layers", layers, Depth)
        if isinstance(num_edges, RelationCounts):
            raise ValueError(f"`layers` must be None where each relation has a mask, got {layers}")
    masks = ones(model, num_edges, layers, ignore)
    check_layers(model, masks if edges else {})
    check_cached(model, masks if edges else {})
    check_operators(model, masks if edges else {})
    if weights and not only(masks, "weights") and not (edges and num_edges):
        raise ValueError("`model` must have a weight of two or more dimensions whose requires_grad "
                         f"is True, to be pruned; {type(model).__name__} has none")  # fmt: skip
    kept = (only(masks, "weights") if weights else {}) | (only(masks, "edges") if edges else {})
    return Ticket(snapshot(model), kept, 0)
