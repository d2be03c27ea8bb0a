"""Plug-ins by file name: `graphlth/<kind>/**/<name>.py` defines `<name>`. No table to edit."""

from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

KINDS = ("algorithms", "analysis", "figures", "models", "scores", "tasks")


def names(kind: str) -> list[str]:
    """The names of the plug-ins of `kind`, sorted."""
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, got {kind!r}")
    return sorted(modules(kind))


@cache
def modules(kind: str) -> dict[str, str]:
    """The module of every plug-in of `kind`, by its name."""
    package = import_module(f"graphlth.{kind}")
    found = walk_packages(package.__path__, f"{package.__name__}.")
    names = {m.name.rpartition(".")[2]: m.name for m in found if not m.ispkg}
    return {name: module for name, module in names.items() if not name.startswith("_")}


def find(kind: str, name: str) -> Any:
    """The plug-in of `kind` that is called `name`, spelt with `_` or `-`."""
    known, module = names(kind), spelt(name)
    if module not in known:
        raise ValueError(f"`{one(kind)}` must be one of {', '.join(known)}, got {name!r}")
    plugin = getattr(import_module(modules(kind)[module]), module)
    offered = getattr(import_module(f"graphlth.{kind}"), "offered", None)  # what its kind adds
    return offered(plugin) if offered else plugin


def one(kind: str) -> str:
    """What a plug-in of `kind` is called."""
    return "measure" if kind == "analysis" else kind[:-1]


def spelt(name: str) -> str:
    """The name of a plug-in as its file spells it: fashion-mnist is fashion_mnist."""
    return name.replace("-", "_")
