"""One file per algorithm; the file name is its name on the command line."""

from collections.abc import Callable, Iterator
from functools import cache, wraps
from inspect import signature
from typing import Any


@cache
def with_provenance(algorithm: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """`algorithm`, whose tickets tell where they come from: what `graphlth.registry.find` gives."""

    @wraps(algorithm)
    def tickets(model: Any, task: Any, **settings: Any) -> Iterator[Any]:
        from graphlth.provenance import add_provenance  # loads torch, a list of names does not

        seed = settings.get("seed", signature(algorithm).parameters["seed"].default)
        about = {"algorithm": algorithm.__name__, "seed": seed}
        yield from add_provenance(algorithm(model, task, **settings), model, task, about)

    return tickets
