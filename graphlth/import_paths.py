"""Models and tasks by import path: `my_module:Net`, `path/to/file.py:Net`, `package.module:Net`.

What stands there becomes a plug-in: its parameters are settings, but for those that the task gives.

A parameter of a model that is called `task` is given the task; one that is called as in `FROM_TASK`
the number of features or of classes, whatever its default; one that is called as in `FROM_DATA`
what the graph says, if it has no default. Every other one is a setting, of the type that its
annotation or its default says. What no flag can say, such as a function, stays at its default.
"""

import ast
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, reduce
from importlib import import_module
from operator import or_
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

FROM_TASK: Mapping[str, str] = {
    **dict.fromkeys(("in_channels", "in_features", "in_dim", "input_dim", "nfeat",
                     "num_features", "num_node_features"), "num_features"),
    **dict.fromkeys(("out_channels", "out_features", "out_dim", "output_dim", "nclass",
                     "num_classes"), "num_classes"),
}  # fmt: skip
FROM_DATA: Mapping[str, Callable[[Any], Any]] = {
    "edge_dim": lambda data: data.num_edge_features,
    "metadata": lambda data: data.metadata(),
    "num_nodes": lambda data: data.num_nodes,
    "num_relations": lambda data: int(data.edge_type.max()) + 1,
}
KINDS = ("models", "tasks")
PLAIN = (bool, int, float, str)
MAKERS = {"models": "that takes the task and makes the model", "tasks": "without it"}
FORM = "my_module:Name or path/to/file.py:Name"


def is_import_path(name: str) -> bool:
    """Whether the name of a plug-in is an import path."""
    return ":" in name


def short_name(name: str) -> str:
    """The name of a plug-in without the folder that its file lies in: `file:Net`."""
    place, colon, attribute = name.rpartition(":")
    place = Path(place).stem if place.endswith(".py") else place
    return f"{place}{colon}{attribute}"


def import_plugin(kind: str, name: str) -> Callable[..., Any]:
    """The function of keyword-only settings that makes the model, or the task, of an import path.

    Raises:
        ValueError: there is no such module, file or name, it cannot be imported, it is neither a
            class nor a function, it has been changed since it was imported, or a parameter can
            neither be a setting nor be given.
    """
    target = _import_target(kind, name)
    if _digest(_source_files(target)) != _first_digest(target):
        raise ValueError(f"`{kind[:-1]}` {name!r} must be as it was when it was imported, got "
                         "another text in its file: start Python anew")  # fmt: skip
    return _as_plugin(kind, name, target)


@cache
def _as_plugin(kind: str, name: str, target: Callable[..., Any]) -> Callable[..., Any]:
    noun, parameters = kind[:-1], _parameters(kind, name, target)
    by_place = _names_by_place(target)
    given = {n for n, p in parameters.items() if kind == "models" and _is_given(p)}
    settings = [p for n, p in parameters.items() if n not in given]

    def build(*inputs: Any, **values: Any) -> Any:
        known = _values_of_task(name, given, *inputs) | values
        places = [known.pop(n) for n in by_place if n in known]
        try:
            built = target(*places, **known)
        except (Exception, SystemExit) as error:  # a class of a user's own can raise anything
            text = ", ".join(f"{n}={value!r}" for n, value in values.items())
            raise ValueError(f"`{noun}` {name!r} cannot be made with {text or 'no settings'} "
                             f"({_one_line(error)})") from error  # fmt: skip
        _check_built(kind, name, built)
        return built

    task = inspect.Parameter("task", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([*([task] if kind == "models" else []), *settings])
    vars(build)["__signature__"] = signature
    build.__name__, build.__doc__ = target.__name__, _documentation(target)
    return build


def _names_by_place(target: Callable[..., Any]) -> list[str]:
    """The parameters of a class or function that can be given by their place alone."""
    found = inspect.signature(target).parameters.values()
    return [p.name for p in found if p.kind is p.POSITIONAL_ONLY]


def source_digest(kind: str, name: str) -> str:
    """16 hex digits over the files that an import path is written in, wherever they lie.

    They are the file of the class or function, those of the classes that it inherits from, and
    what these import from their own folder or package; of an installed package the first alone.
    """
    return _first_digest(_import_target(kind, name))


@cache
def _first_digest(target: Callable[..., Any]) -> str:
    """What the files of a class or function held when it was first asked for."""
    return _digest(_source_files(target))


def _digest(files: Sequence[Path]) -> str:
    parts = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def _import_target(kind: str, name: str) -> Callable[..., Any]:
    """The class or function at an import path."""
    noun = kind[:-1]
    place, _, attribute = name.rpartition(":")
    if kind not in KINDS:
        raise ValueError(f"`{noun}` must be the name of a plug-in, got {name!r}: models and tasks "
                         "alone may be import paths")  # fmt: skip
    if not place or not all(part.isidentifier() for part in attribute.split(".")):
        raise ValueError(f"`{noun}` must be a name or {FORM}, got {name!r}")
    module = _import_module(noun, name, place)
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None or found is module:
        there = ", ".join(_own_names(module)) or "none"
        raise ValueError(f"`{noun}` must name what {place!r} defines, got {attribute!r}: there "
                         f"are {there}")  # fmt: skip
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        raise ValueError(f"`{noun}` must name a class or a function, got {name!r} of type "
                         f"{type(found).__name__}: name what makes it")  # fmt: skip
    return found


def _import_module(noun: str, name: str, place: str) -> ModuleType:
    try:
        return _import_file(noun, place) if place.endswith(".py") else _import_name(noun, place)
    except ValueError as error:
        if error.__cause__ is None and str(error).startswith(f"`{noun}`"):
            raise
        raise ValueError(f"`{noun}` {name!r} cannot be imported ({_one_line(error)})") from error
    except (Exception, SystemExit) as error:  # a module of a user's own can raise anything
        raise ValueError(f"`{noun}` {name!r} cannot be imported ({_one_line(error)})") from error


def _import_name(noun: str, place: str) -> ModuleType:
    _search_in(Path.cwd())
    parts = place.split(".")
    try:
        if place != "__main__" and all(part.isidentifier() for part in parts):
            return import_module(place)
    except ModuleNotFoundError as error:
        if error.name not in {".".join(parts[: i + 1]) for i in range(len(parts))}:
            raise  # a module that it imports in turn
    raise ValueError(f"`{noun}` must name a module that can be imported, got {place!r}: name its "
                     "file, path/to/file.py:Name, or start where it lies")  # fmt: skip


def _import_file(noun: str, place: str) -> ModuleType:
    """The module in a file, under a name of its own: two files may be called alike."""
    path = Path(place).resolve()
    if not path.is_file():
        raise ValueError(f"`{noun}` must name a file that exists, got {place!r}")
    module_name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    _search_in(path.parent)  # as Python does for the script that it runs
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None  # its name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _search_in(folder: Path) -> None:
    if not {"", str(folder)} & {*sys.path}:
        sys.path.append(str(folder))


def _own_names(module: ModuleType) -> list[str]:
    """The first ten public classes that a module defines; functions where it defines none."""
    here = module.__name__
    own = {n: v for n, v in vars(module).items() if getattr(v, "__module__", "") == here}
    own = {n: v for n, v in own.items() if not n.startswith("_")}
    classes = [n for n, value in own.items() if inspect.isclass(value)]
    return sorted(classes or [n for n, v in own.items() if inspect.isfunction(v)])[:10]


def _parameters(kind: str, name: str, target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What can be given to a class or function, as keyword-only parameters of types for flags."""
    try:
        found = inspect.signature(target).parameters.values()
        types = get_type_hints(target.__init__ if inspect.isclass(target) else target,
                               include_extras=True)  # fmt: skip
    except (ValueError, NameError, TypeError, AttributeError) as error:
        raise ValueError(f"`{kind[:-1]}` {name!r} must have a signature that can be read, got: "
                         f"{_one_line(error)}") from error  # fmt: skip
    known = {}
    for parameter in found:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if kind == "models" and _is_given(parameter):
            known[parameter.name] = parameter
        elif (own := _as_setting(parameter, types.get(parameter.name))) is not None:
            known[parameter.name] = own
        elif parameter.default is parameter.empty:
            raise ValueError(f"`{kind[:-1]}` {name!r} must have parameters that are numbers, texts "
                             f"or true and false, got `{parameter.name}`: annotate it, give it a "
                             f"default, or name a function {MAKERS[kind]}")  # fmt: skip
    return known


def _is_given(parameter: inspect.Parameter) -> bool:
    """Whether the task says what a parameter of a model is; see the module."""
    without = parameter.default is parameter.empty
    return parameter.name in ("task", *FROM_TASK) or (without and parameter.name in FROM_DATA)


def _as_setting(parameter: inspect.Parameter, annotation: Any) -> inspect.Parameter | None:
    """A parameter as a setting; None where no flag can say what it is."""
    default = parameter.default
    if annotation is None:
        annotation = type(default) if type(default) in PLAIN else None
    kind = None if annotation is None else _flag_annotation(annotation)
    if isinstance(default, list):
        default = tuple(default)  # it cannot change
    numbers = isinstance(default, tuple) and all(type(each) in PLAIN for each in default)
    if default is None and kind is not None:
        kind = kind | None if NoneType not in get_args(kind) else kind
    elif default is not parameter.empty and not (type(default) in PLAIN or numbers):
        return None
    if kind is None:
        return None
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def _flag_annotation(annotation: Any) -> Any:
    """What of an annotation a flag can say; None where that is nothing."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind = _flag_annotation(arguments[0])
        return None if kind is None else Annotated[kind, *arguments[1:]]
    if origin in (Union, UnionType):
        kinds = [kind for each in arguments if (kind := _flag_annotation(each)) is not None]
        return reduce(or_, kinds) if {*kinds} - {NoneType} else None
    if origin is Literal or annotation in (*PLAIN, NoneType):
        return annotation
    if origin in (list, tuple, Sequence) and {*arguments} - {...} <= {int}:
        return Sequence[int]
    return None


def _values_of_task(name: str, given: set[str], *inputs: Any) -> dict[str, Any]:
    """The values of the parameters that the task gives."""
    if not given:
        return {}
    (task,) = inputs
    data = None
    if given & FROM_DATA.keys():
        data = next(iter(task.batches("train"))).data
    values: dict[str, Any] = {}
    for each in given:
        if each == "task":
            values[each] = task
        elif each in FROM_TASK:
            values[each] = getattr(task, FROM_TASK[each])
        else:
            try:
                values[each] = FROM_DATA[each](data)
            except (AttributeError, TypeError, RuntimeError) as error:
                raise ValueError(f"`model` {name!r} must have a default for `{each}`, which this "
                                 f"task does not say ({_one_line(error)})") from None  # fmt: skip
    return values


def _check_built(kind: str, name: str, built: Any) -> None:
    """Refuse what is no model, or no task."""
    if kind == "models":
        from torch import nn  # a list of names needs none

        fits, rule = isinstance(built, nn.Module), "an nn.Module"
    else:
        fits, rule = hasattr(built, "batches"), "a task, such as glt.NodeTask(data)"
        fits = fits and hasattr(built, "num_classes")
    if not fits:
        raise ValueError(f"`{kind[:-1]}` {name!r} must make {rule}, got {type(built).__name__}")


def _documentation(target: Callable[..., Any]) -> str:
    """The documentation of a function, or of a class and of how it is made."""
    texts = [inspect.getdoc(target) or ""]
    if inspect.isclass(target) and "__init__" in vars(target):
        texts.append(inspect.getdoc(target.__init__) or "")
    return max(texts, key=lambda text: "Args:" in text)


def _source_files(target: Callable[..., Any]) -> list[Path]:
    """The files that a class or function is written in; see `source_digest`."""
    classes = target.__mro__ if inspect.isclass(target) else (target,)
    found: dict[Path, None] = {}
    for each in classes:
        module = sys.modules.get(each.__module__)
        if module is not None and each.__module__.partition(".")[0] not in ("torch", "builtins"):
            _add_files(module, _folder(module), found)
    return [*found]


def _folder(module: ModuleType) -> Path | None:
    """The folder of a module, or of its package; None for an installed one."""
    if (file := getattr(module, "__file__", None)) is None:
        return None
    path = Path(file).resolve()
    if _is_installed(path):
        return None
    depth = module.__name__.count(".") + (path.name == "__init__.py")
    return path.parents[depth]


def _is_installed(file: Path) -> bool:
    """Whether a file is one of an installed package, be its environment in the user's folder."""
    return "site-packages" in file.parts


def _add_files(module: ModuleType, folder: Path | None, found: dict[Path, None]) -> None:
    """Add the file of a module, and those of the modules that it imports from `folder`."""
    if (file := getattr(module, "__file__", None)) is None or not file.endswith(".py"):
        return
    path = Path(file).resolve()
    is_own = folder is None or (path.is_relative_to(folder) and not _is_installed(path))
    if path in found or not is_own:
        return
    found[path] = None
    for name in _imported_names(path, module.__package__ or "") if folder is not None else ():
        if name in sys.modules:
            _add_files(sys.modules[name], folder, found)


def _imported_names(path: Path, package: str) -> Iterator[str]:
    """The names of the modules that a file of a package imports, and of some attributes."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            if node.level:
                base = importlib.util.resolve_name(base, package) if package else base.lstrip(".")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
