"""Where tickets come from: the model, the graph and the data that they were found with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from graphlth.masks import only
from graphlth.model import find_surrogates
from graphlth.ticket import Ticket


def model_fingerprint(model: nn.Module) -> str:
    """A digest of the names and shapes of the model's parameters."""
    shapes = sorted((n, list(p.shape)) for n, p in model.named_parameters())
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16]


def add_provenance(
    tickets: Iterable[Ticket], model: nn.Module, task: Any, about: Mapping[str, Any]
) -> Iterator[Ticket]:
    """The same tickets, whose provenance tells of what model and graph they are, and `about` it.

    That of a run, which tells more, takes its place.

    Raises:
        ValueError: `tickets` are none.
    """
    if not isinstance(tickets, Iterable):
        raise ValueError(f"`algorithm` {about['algorithm']!r} must yield tickets, got "
                         f"{type(tickets).__name__}")  # fmt: skip
    for ticket in tickets:
        known = {**about, "model": type(model).__name__, "graph": task.fingerprint(),
                 "network": model_fingerprint(model)}  # fmt: skip
        if only(ticket.masks, "edges") and (surrogate := find_surrogates(model)):
            known["surrogate"] = surrogate
        yield replace(ticket, provenance=known | ticket.provenance)


def check_same_data(known: Mapping[str, Any], task: Any, what: str) -> None:
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
