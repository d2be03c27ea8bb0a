"""Flags: the settings of the plug-ins, read from their signatures."""

import inspect
import json
import re
from argparse import ArgumentError
from argparse import ArgumentParser as PlainParser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union

from jsonargparse import ArgumentParser

from graphlth.cli.config import check_plain, read_config
from graphlth.cli.errors import told
from graphlth.registry import names, one
from graphlth.settings.checks import check_setting, type_names

Names = dict[str, str]  # of settings: where each comes from


def dashed(argv: list[str]) -> list[str]:
    """The same arguments, options spelt with underscores: --data-root=a-b is --data_root=a-b."""
    split = [arg.partition("=") if arg.startswith("--") else (arg, "", "") for arg in argv]
    return [
        ("--" + name[2:].replace("-", "_") if name.startswith("--") else name) + equals + value
        for name, equals, value in split
    ]


def first(argv: list[str]) -> tuple[str | None, list[str]]:
    """The leading argument, None where an option leads; and the others."""
    return (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else (None, argv)


def chosen(argv: list[str], *options: str) -> dict[str, str]:
    """The values that some options have in `argv`, whatever else is there."""
    parser = PlainParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in options:
        parser.add_argument(f"--{option}")
    return {n: v for n, v in vars(parser.parse_known_args(argv)[0]).items() if v is not None}


def every(argv: list[str], option: str) -> list[str]:
    """All values that an option has in `argv`."""
    parser = PlainParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(f"--{option}", action="append", default=[])
    found: list[str] = vars(parser.parse_known_args(argv)[0])[option]
    return found


def with_config(algorithm: str | None, argv: list[str]) -> tuple[str | None, list[str], Names]:
    """What a file says put before what was typed, as if it had been typed: the last one holds.

    Also where the settings come from that the file alone says.
    """
    if "config" not in (paths := chosen(argv, "config")):
        return algorithm, argv, {}
    if sum(arg.partition("=")[0] == "--config" for arg in argv) > 1:
        raise ValueError("`config` must be given once: put all settings into one file")
    path = Path(paths["config"])
    told = read_config(path)
    named = told.pop("algorithm", None)
    flags = [f"--{n}={v if isinstance(v, str) else json.dumps(v)}" for n, v in told.items()]
    typed = {arg[2:].partition("=")[0] for arg in argv}
    origin = {n: f"`config` {str(path)!r}" for n in told if n not in typed}
    found = algorithm or (None if named is None else str(named))
    return found, [*dashed(flags), *argv], origin


@contextmanager
def traced(origin: Names) -> Iterator[None]:
    """Inside, an error that names a setting first says also which file it is from.

    Raises:
        ValueError: there is one.
    """
    try:
        yield
    except (ValueError, ArgumentError) as error:
        text = told(error)
        name = re.match(r"`(\w+)`", text)
        if name is None or name[1] not in origin:
            raise
        raise ValueError(f"{text}; it is set in {origin[name[1]]}") from None


def keyword_only(plugin: Any) -> list[str]:
    """The names of a plug-in's settings."""
    parameters = inspect.signature(plugin).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def add_settings(parser: ArgumentParser, plugin: Any, settings: Iterable[str]) -> set[str]:
    """The settings of a plug-in that `parser` knows from now on."""
    known = parser.get_defaults()
    signature = inspect.signature(plugin)
    own = [plain_parameter(signature.parameters[n]) for n in settings if n not in known]

    def stand_in() -> None:  # the parser imports whatever is called like what it is given
        pass

    _, arguments, rest = (inspect.getdoc(plugin) or "").partition("Args:")
    vars(stand_in)["__signature__"] = signature.replace(parameters=own)
    stand_in.__name__ = plugin.__name__
    stand_in.__doc__ = f"settings of {plugin.__name__}\n\n{arguments}{rest}"
    parser.add_function_arguments(stand_in, fail_untyped=False)
    typed = vars(parser).setdefault("kinds", {})  # what `parsed` checks, as the parser knows YAML:
    typed |= {p.name: type_names(p.annotation) for p in own}  # 1:30 and 0x10, tags and aliases
    return set(settings)


def plain_parameter(parameter: inspect.Parameter) -> inspect.Parameter:
    """The same of plain types; a sequence is a tuple, as a list would have a flag `--name+` too.

    Ranges and choices are checked with all settings together.
    """
    if parameter.annotation == int | str | Sequence[int]:
        return parameter.replace(annotation=int | str | tuple[int, ...])
    types = type_names(parameter.annotation)
    plain = {"bool": bool, "int": int, "float": float, "str": str, "None": None}
    if isinstance(parameter.annotation, type) or not {*plain} & types:
        return parameter
    return parameter.replace(annotation=Union[*(plain[t] for t in plain if t in types)])


def parsed(parser: ArgumentParser, argv: list[str]) -> dict[str, Any]:
    """What `argv` says, over the defaults of `parser`.

    Raises:
        ValueError: an option is unknown.
        ArgumentError: a value is missing or of the wrong type.
    """
    known = sorted(parser.get_defaults().keys())
    for arg in argv:
        name = arg[2:].partition("=")[0]
        if arg.startswith("--") and name != "help":
            check_setting(name, known, "here")
    typed: dict[str, set[str]] = vars(parser).get("kinds", {})
    for name in typed:
        for text in every(argv, name):
            check_plain(name, text, typed[name])
    return parser.parse_args(argv).as_dict()


def offer(kinds: Mapping[str, str | None], argv: list[str]) -> str:
    """What help says where a plug-in is not chosen yet: which there are.

    Raises:
        ValueError: one is not chosen, and `argv` does not ask for help.
    """
    lines = []
    for kind in (kind for kind, name in kinds.items() if name is None):
        if not {"-h", "--help"} & {*argv}:
            raise ValueError(f"`{one(kind)}` must be given: one of {', '.join(names(kind))}")
        lines.append(f"{kind}: {', '.join(names(kind))}")
    return " · ".join([*lines, "the help of those named lists their settings"] if lines else [])


def about_preset(sources: Mapping[str, Sequence[str]]) -> str:
    """What help says of where defaults come from."""
    return " · ".join(f"{', '.join(sorted(given))}: {source}" for source, given in sources.items())
