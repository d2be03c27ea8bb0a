"""Plug-ins by file name: `graphlth/<kind>/<name>.py` defines `<name>`. No table to edit."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

KINDS = ("algorithms", "analysis", "figures", "models", "scores", "tasks")


def names(kind: str) -> list[str]:
    """The names of the plug-ins of `kind`, sorted."""
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, got {kind!r}")
    path = import_module(f"graphlth.{kind}").__path__
    return sorted(m.name for m in iter_modules(path) if not m.name.startswith("_"))


def find(kind: str, name: str) -> Any:
    """The plug-in of `kind` that is called `name`, spelt with `_` or `-`."""
    known, module = names(kind), spelt(name)
    if module not in known:
        raise ValueError(f"`{one(kind)}` must be one of {', '.join(known)}, got {name!r}")
    plugin = getattr(import_module(f"graphlth.{kind}.{module}"), module)
    offered = getattr(import_module(f"graphlth.{kind}"), "offered", None)  # what its kind adds
    return offered(plugin) if offered else plugin


def one(kind: str) -> str:
    """What a plug-in of `kind` is called."""
    return "measure" if kind == "analysis" else kind[:-1]


def spelt(name: str) -> str:
    """The name of a plug-in as its file spells it: fashion-mnist is fashion_mnist."""
    return name.replace("-", "_")
