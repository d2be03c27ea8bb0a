"""Plug-ins by name: files of this package, and entry points of other ones. No table to edit.

The file `graphlth/<kind>/**/<name>.py` defines `<name>`. Another package names its plug-ins in its
`pyproject.toml`, here a score in the module `my_package.scores`:

    [project.entry-points."graphlth.scores"]
    my_score = "my_package.scores:my_score"

Names are listed without loading a plug-in. A model, or a task, needs no name: an import path such
as `my_module:Net` stands for one, see `graphlth.import_paths`.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from inspect import isroutine
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from graphlth.import_paths import import_plugin, is_import_path

KINDS = ("algorithms", "analysis", "figures", "models", "scores", "tasks")
OF_RUN = ("algorithms", "tasks", "models")  # what a run is of: three names


def names(kind: str) -> list[str]:
    """The names of the plug-ins of `kind`, sorted.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, got {kind!r}")
    return sorted({*modules(kind), *installed_plugins(kind)})


def names_for(kind: str, part: str) -> list[str]:
    """Those names of `kind` that are for `part`, the folder "edges" of scores say, or for all.

    Of other packages these are all, as nothing says what they are for.
    """
    folders = {n: m.split(".")[2] for n, m in modules(kind).items()}
    return [n for n in names(kind) if not part or folders.get(n, n) in (n, part)]


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
    """The plug-in of `kind` that is called `name`, spelt with `_` or `-`, or that it is a path to.

    Raises:
        ValueError: there is none of this name, there are several, or it cannot be loaded.
    """
    known = names(kind)
    check_name(kind, name)
    if is_import_path(name):
        return import_plugin(kind, name)
    module = normalize_name(name)
    if module not in known:
        raise ValueError(choice_error(kind_noun(kind), name, known))
    plugin = _load(kind, module)
    if kind == "algorithms":
        return import_module("graphlth.algorithms").with_provenance(plugin)
    return plugin


def check_name(kind: str, name: Any) -> None:
    """Refuse what is no text where the name of a plug-in of `kind` is asked for.

    Raises:
        ValueError: it is another object; of those of a run it says what takes objects.
    """
    if isinstance(name, str):
        return
    noun = kind_noun(kind)
    remedy = f"graphlth.names({kind!r}) lists them"
    if kind in OF_RUN:
        remedy = ("a run takes names alone, such as 'my_module:Net' for a class of yours; with "
                  "objects use glt.ugs(model, task), or another algorithm, and glt.fit(model, "
                  "task, ticket)")  # fmt: skip
    raise ValueError(f"`{noun}` must be the name of one, got {type(name).__name__}: {remedy}")


def choice_error(setting: str, value: Any, known: Sequence[Any]) -> str:
    """What is said of a value that is none of the `known` ones, with that spelt most like it."""
    texts = [each for each in known if isinstance(each, str)]
    near = nearest_name(normalize_name(value), texts) if isinstance(value, str) else ""
    hint = f": did you mean `{near}`?" if near else ""
    return f"`{setting}` must be one of {', '.join(map(str, known))}, got {value!r}{hint}"


def nearest_name(name: str, known: Sequence[str]) -> str:
    """The known name that was most likely meant; "" where none is like it.

    Of names that hold the typed text as a word (`data_root` for `root`) the one that is spelt most
    like it; else a name that is spelt nearly so, one that holds the text, or one that is like it.
    """
    whole = [each for each in known if name in each.split("_")]
    part = [each for each in known if len(name) > 2 and name in each]
    for group, cutoff in ((whole, 0.0), (known, 0.8), (part, 0.0), (known, 0.6)):
        if near := get_close_matches(name, group, 1, cutoff):
            return near[0]
    return ""


def _load(kind: str, name: str) -> Any:
    if len(packages := packages_of(kind, name)) > 1:
        noun = kind_noun(kind)
        raise ValueError(f"`{noun}` must be of one package, got {name!r} of the packages "
                         f"{' and '.join(packages)}: rename it, or uninstall one")  # fmt: skip
    if name in modules(kind):
        return _load_file(kind, name)
    return _load_installed(kind, name, installed_plugins(kind)[name][0])


def _load_file(kind: str, name: str) -> Any:
    module = modules(kind)[name]
    place, file = f"`{kind_noun(kind)}` {name!r}", f"{module.replace('.', '/')}.py"
    try:
        plugin = getattr(import_module(module), name, None)
    except (Exception, SystemExit) as error:  # a file of a user's own can raise anything
        raise ValueError(f"{place} cannot be loaded from {file} ({type(error).__name__}: {error}): "
                         "mend or remove that file") from error  # fmt: skip
    if not callable(plugin):
        got = "no such name" if plugin is None else f"{name} of type {type(plugin).__name__}"
        raise ValueError(f"{place} must be a function {name!r} in {file}, got {got}: call the "
                         "function like its file, or the file _NAME.py if it is no plug-in"
                         )  # fmt: skip
    return plugin


def _load_installed(kind: str, name: str, point: EntryPoint) -> Any:
    place = f"`{kind_noun(kind)}` {name!r} of the package {package_of(point)!r}"
    try:
        plugin = point.load()
    except (Exception, SystemExit) as error:  # the import of another package can raise anything
        raise ValueError(f"{place} cannot be loaded from {point.value!r} ({type(error).__name__}: "
                         f"{error}): mend or uninstall it") from error  # fmt: skip
    if not (isinstance(plugin, type) or isroutine(plugin)):
        raise ValueError(f"{place} must be a function, got {type(plugin).__name__} at "
                         f"{point.value!r}: mend or uninstall it")  # fmt: skip
    return plugin


def package_of(point: EntryPoint) -> str:
    """The name of the package that an entry point is of."""
    return point.dist.name if point.dist is not None else re.split("[.:]", point.value)[0]


def packages_of(kind: str, name: str) -> list[str]:
    """The packages that have a plug-in of this name: one, or they clash."""
    own = ["graphlth"] if name in modules(kind) else []
    return [*own, *map(package_of, installed_plugins(kind).get(name, ()))]


def describe(kind: str, name: str) -> str:
    """The first line of a plug-in's documentation, which is read from its file and not run.

    It is that of the module where this is the only plug-in in it, else that of the function.
    """
    if len(packages := packages_of(kind, name)) > 1:
        return f"of the packages {' and '.join(packages)}: rename it, or uninstall one"
    if name in modules(kind):
        return _first_line(_source(modules(kind)[name]), name, alone=True)
    point = installed_plugins(kind)[name][0]
    if point.pattern.match(point.value) is None:
        return f"{point.value!r} is no function in a module (of the package {packages[0]!r})"
    text = _first_line(_source(point.module), point.attr, _is_alone(point))
    return f"{text or f'{point.value!r}, without a text'} (of the package {packages[0]!r})"


def _is_alone(point: EntryPoint) -> bool:
    """Whether no other plug-in, of whatever kind, comes from the module of an entry point."""
    every = (points for kind in KINDS for points in installed_plugins(kind).values())
    modules = [other.value.partition(":")[0] for points in every for other in points]
    return modules.count(point.value.partition(":")[0]) == 1


def _source(module: str) -> str:
    """The source of a module, which is not imported; "" where there is no such file."""
    package, *rest = module.split(".")
    try:
        spec = find_spec(package)  # finders, since no folder of sys.path holds editable packages
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return ""
    if not rest:
        return _read(Path(spec.origin)) if spec.origin else ""
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *rest)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return _read(file)
    return ""


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _first_line(source: str, function: str, alone: bool) -> str:
    """The first line of the documentation of a function in `source`, or of the module.

    That of the module goes first where the function is `alone` in it; the other stands in for one
    that is missing.
    """
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    nodes: list[ast.AsyncFunctionDef | ast.FunctionDef | ast.ClassDef | ast.Module] = [
        node
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == function
    ]
    nodes = [module, *nodes] if alone else [*nodes, module]
    return next(filter(None, map(ast.get_docstring, nodes)), "").partition("\n")[0]


def kind_noun(kind: str) -> str:
    """What a plug-in of `kind` is called."""
    return "measure" if kind == "analysis" else kind[:-1]


def normalize_name(name: str) -> str:
    """The name of a plug-in as its file spells it: fashion-mnist is fashion_mnist."""
    return name if is_import_path(name) else name.replace("-", "_")
