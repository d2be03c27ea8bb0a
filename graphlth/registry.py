"""Plug-ins by name: files of this package, and entry points of other ones. No table to edit.

The file `graphlth/<kind>/**/<name>.py` defines `<name>`. Another package names its plug-ins in its
`pyproject.toml`, here a score in the module `my_package.scores`:

    [project.entry-points."graphlth.scores"]
    my_score = "my_package.scores:my_score"

Names are listed without loading a plug-in.
"""

import ast
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

KINDS = ("algorithms", "analysis", "figures", "models", "scores", "tasks")


def names(kind: str) -> list[str]:
    """The names of the plug-ins of `kind`, sorted.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, got {kind!r}")
    return sorted({*modules(kind), *installed_plugins(kind)})


@cache
def modules(kind: str) -> dict[str, str]:
    """The module of every plug-in of `kind` in this package, by its name."""
    package = import_module(f"graphlth.{kind}")
    found = walk_packages(package.__path__, f"{package.__name__}.")
    names = {m.name.rpartition(".")[2]: m.name for m in found if not m.ispkg}
    return {name: module for name, module in names.items() if not name.startswith("_")}


@cache
def installed_plugins(kind: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """The entry points of other packages for plug-ins of `kind`, by name; several clash."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in _entry_points().select(group=f"graphlth.{kind}"):
        if point not in found.get(name := normalize_name(point.name), ()):
            found[name] = (*found.get(name, ()), point)
    return found


@cache
def _entry_points() -> Any:
    return entry_points()  # reads the metadata of every installed package, so once


def find(kind: str, name: str) -> Any:
    """The plug-in of `kind` that is called `name`, spelt with `_` or `-`.

    Raises:
        ValueError: there is none of this name, there are several, or it cannot be loaded.
    """
    known, module = names(kind), normalize_name(name)
    if module not in known:
        raise ValueError(f"`{kind_noun(kind)}` must be one of {', '.join(known)}, got {name!r}")
    plugin = _load(kind, module)
    if kind == "algorithms":
        return import_module("graphlth.algorithms").with_provenance(plugin)
    return plugin


def _load(kind: str, name: str) -> Any:
    if len(packages := packages_of(kind, name)) > 1:
        noun = kind_noun(kind)
        raise ValueError(f"`{noun}` must be of one package, got {name!r} of the packages "
                         f"{' and '.join(packages)}: rename it, or uninstall one")  # fmt: skip
    if name in modules(kind):
        return getattr(import_module(modules(kind)[name]), name)
    return _load_installed(kind, name, installed_plugins(kind)[name][0])


def _load_installed(kind: str, name: str, point: EntryPoint) -> Any:
    place = f"`{kind_noun(kind)}` {name!r} of the package {package_of(point)!r}"
    try:
        plugin = point.load()
    except Exception as error:  # the import of another package can raise anything
        raise ValueError(f"{place} cannot be loaded from {point.value!r} ({type(error).__name__}: "
                         f"{error}): mend or uninstall it") from error  # fmt: skip
    if not callable(plugin):
        raise ValueError(f"{place} must be a function, got {type(plugin).__name__} at "
                         f"{point.value!r}: mend or uninstall it")  # fmt: skip
    return plugin


def package_of(point: EntryPoint) -> str:
    """The name of the package that an entry point is of."""
    return point.dist.name if point.dist is not None else point.module.partition(".")[0]


def packages_of(kind: str, name: str) -> list[str]:
    """The packages that have a plug-in of this name: one, or they clash."""
    own = ["graphlth"] if name in modules(kind) else []
    return [*own, *map(package_of, installed_plugins(kind).get(name, ()))]


def describe(kind: str, name: str) -> str:
    """The first line of a plug-in's documentation, which is read from its file and not run."""
    if len(packages := packages_of(kind, name)) > 1:
        return f"of the packages {' and '.join(packages)}: rename it, or uninstall one"
    if name in modules(kind):
        return _first_line(_source(modules(kind)[name]))
    point = installed_plugins(kind)[name][0]
    text = _first_line(_source(point.module), point.attr) or f"{point.value!r}, without a text"
    return f"{text} (of the package {packages[0]!r})"


def _source(module: str) -> str:
    """The source of a module, which is not imported; "" where there is no such file."""
    path = Path(*module.split("."))
    for folder in map(Path, sys.path):
        for file in (folder / path.with_suffix(".py"), folder / path / "__init__.py"):
            if file.is_file():
                return file.read_text(encoding="utf-8")
    return ""


def _first_line(source: str, function: str = "") -> str:
    """The first line of the documentation of a function in `source`, or of the module."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    nodes: Sequence[ast.AST] = [
        node
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == function
    ]
    texts = (ast.get_docstring(node) for node in (*nodes, module))  # type: ignore[arg-type]
    return (next(filter(None, texts), None) or "").partition("\n")[0]


def kind_noun(kind: str) -> str:
    """What a plug-in of `kind` is called."""
    return "measure" if kind == "analysis" else kind[:-1]


def normalize_name(name: str) -> str:
    """The name of a plug-in as its file spells it: fashion-mnist is fashion_mnist."""
    return name.replace("-", "_")
