"""The evaluators of the package `ogb`, imported without network and terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

ONLINE = "outdated"  # asks the network for a newer version, in a thread that OGB's import starts
WRITES = "dgl"  # asks for a backend and writes one into the home folder


def import_ogb(module: str, purpose: str) -> Any:
    """The module `module` of the package `ogb`, such as "ogb.utils.features".

    OGB asks the network for its newest version when it is imported, and DGL, which it imports where
    it is installed, chooses a backend. Neither is imported here. (What asks on the terminal are
    OGB's classes of data sets: none is made here; `graphlth.data.ogb` reads their files.)

    Raises:
        ValueError: `ogb` is not installed; `purpose` says what it is needed for.
    """
    try:
        with _without(ONLINE), _without(*{WRITES} - {*sys.modules}):
            return import_module(module)
    except ImportError:
        raise ValueError(f"`ogb` is needed to {purpose} and is not installed: "
                         "pip install 'graphlth[ogb]'") from None  # fmt: skip


def ogb_evaluator(kind: Literal["node", "link", "graph"], name: str, purpose: str) -> Any:
    """OGB's `Evaluator` of the data set `name`, such as "ogbl-collab".

    Raises:
        ValueError: `ogb` is not installed, or knows no such data set.
    """
    return import_ogb(f"ogb.{kind}proppred", purpose).Evaluator(name)


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Within, importing one of these modules fails as if it were not installed."""
    known = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None is how this is said
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(known)
