"""Flags: the settings of the plug-ins, read from their signatures."""

import inspect
import json
import re
from argparse import ArgumentError
from argparse import ArgumentParser as PlainParser
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import or_
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_origin

from jsonargparse import ArgumentParser

from graphlth.cli.config import check_plain, read_config
from graphlth.cli.errors import format_error
from graphlth.registry import kind_noun, names
from graphlth.settings.annotations import (
    check_number,
    check_value,
    members,
    number_list,
    plain_type,
    range_text,
    unpack,
)
from graphlth.settings.checks import check_setting
from graphlth.settings.validation import groups_of
from graphlth.training.recipe import Recipe

NUMBERS = r"[-+\d.][-+\d.,eE]*"  # of a list, or several with commas between them
Settings = Mapping[str, inspect.Parameter]
Names = dict[str, str]  # of settings: where each comes from


def with_underscores(argv: list[str]) -> list[str]:
    """The same arguments, options spelt with underscores: --data-root=a-b is --data_root=a-b."""
    split = [arg.partition("=") if arg.startswith("--") else (arg, "", "") for arg in argv]
    return [
        ("--" + name[2:].replace("-", "_") if name.startswith("--") else name) + equals + value
        for name, equals, value in split
    ]


def split_first(argv: list[str]) -> tuple[str | None, list[str]]:
    """The leading argument, None where an option leads; and the others."""
    return (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else (None, argv)


def option_values(argv: list[str], *options: str) -> dict[str, str]:
    """The values that some options have in `argv`, whatever else is there."""
    parser = PlainParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in options:
        parser.add_argument(f"--{option}")
    return {n: v for n, v in vars(parser.parse_known_args(argv)[0]).items() if v is not None}


def option_texts(argv: list[str], option: str) -> list[str]:
    """All values that an option has in `argv`."""
    parser = PlainParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(f"--{option}", action="append", default=[])
    found: list[str] = vars(parser.parse_known_args(argv)[0])[option]
    return found


def with_config(algorithm: str | None, argv: list[str]) -> tuple[str | None, list[str], Names]:
    """What a file says put before what was typed, as if it had been typed: the last one holds.

    Also where the settings come from that the file alone says.
    """
    if "config" not in (paths := option_values(argv, "config")):
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
    return found, [*with_underscores(flags), *argv], origin


@contextmanager
def name_file_in_errors(origin: Names) -> Iterator[None]:
    """Inside, an error that names a setting first says also which file it is from.

    Raises:
        ValueError: there is one.
    """
    try:
        yield
    except (ValueError, ArgumentError) as error:
        text = format_error(error)
        name = re.match(r"`(\w+)`", text)
        if name is None or name[1] not in origin:
            raise
        raise ValueError(f"{text}; it is set in {origin[name[1]]}") from None


def add_settings(
    parser: ArgumentParser, function: Callable[..., Any], settings: Settings, heading: str = ""
) -> None:
    """Make every setting of `function` that `parser` does not know yet a flag.

    Args:
        parser: what reads the command.
        function: its documentation tells of the settings.
        settings: the settings that are flags, as `settings_of` gives them.
        heading: of these flags in the help; "settings of", with the function's name, if empty.
    """
    known = parser.get_defaults()
    own = {name: p for name, p in settings.items() if name not in known}
    types = {name: flag_type(p.annotation) for name, p in own.items()}
    flags = [p.replace(annotation=types[name]) for name, p in own.items()]
    texts = documentation(function)

    def stand_in() -> None:  # the parser imports whatever is called like what it is given
        pass

    vars(stand_in)["__signature__"] = inspect.Signature(
        [flag.replace(kind=inspect.Parameter.KEYWORD_ONLY) for flag in flags]
    )
    stand_in.__name__ = function.__name__
    for name, p in own.items():
        if (text := range_text(p.annotation)) and text not in texts.get(name, ""):
            texts[name] = f"{texts[name].rstrip('.')}, {text}." if name in texts else text
    arguments = "\n".join(f"    {name}: {texts[name]}" for name in own if name in texts)
    heading = heading or f"settings of {function.__name__}"
    stand_in.__doc__ = f"{heading}\n\nArgs:\n{arguments}"
    parser.add_function_arguments(stand_in, fail_untyped=False)
    annotations = vars(parser).setdefault(
        "annotations", {}
    )  # that `parse_arguments` checks texts by:
    annotations |= {name: p.annotation for name, p in own.items()}  # the parser takes 1:30 and 0x10


def documentation(function: Callable[..., Any]) -> dict[str, str]:
    """What the documentation of a function says of each setting, also of those of a recipe."""
    import docstring_parser  # `graphlth list` needs none

    sources = [Recipe, *groups_of(function), function]
    return {
        argument.arg_name: " ".join((argument.description or "").split())
        for source in sources
        for argument in docstring_parser.parse(inspect.getdoc(source) or "").params
    }


def flag_type(annotation: Any) -> Any:
    """The type of a flag: the annotation without ranges; a list is text, its numbers joined."""
    if number_list(annotation) is not None:
        return str
    kinds = []
    for member in members(annotation):
        kind, _ = unpack(member)
        if get_origin(kind) is Sequence:  # a list would have a flag `--name+`, too
            kind = tuple[int, ...]
        if get_origin(kind) is Literal and plain_type(member) is not str:
            kind = plain_type(member)  # or the parser words what is wrong
        if get_origin(kind) is not Callable:  # a function cannot be typed
            kinds.append(kind)
    return reduce(or_, kinds)


def is_list(annotation: Any) -> bool:
    """Whether a setting may be a list of numbers."""
    return list in map(plain_type, members(annotation)) or number_list(annotation) is not None


def join_lists(argv: Sequence[str], lists: Collection[str]) -> list[str]:
    """The same arguments, the numbers of each list joined: --only 7 15 is --only=7,15.

    Args:
        argv: the arguments, options spelt with underscores.
        lists: the names of the options that are lists.
    """
    joined: list[list[str]] = []  # of each argument the option, and its numbers
    inside = False  # whether the next number is one of a list
    for arg in argv:
        name, equals, _ = arg.removeprefix("--").partition("=")
        in_brackets = inside and len(joined[-1]) == 1 and arg.startswith("[")
        if in_brackets or (inside and re.fullmatch(NUMBERS, arg)):
            joined[-1].append(arg)
            inside = not in_brackets
            continue
        inside = arg.startswith("--") and name in lists and not equals
        joined.append([arg])
    return ["=".join([first, *([",".join(numbers)] if numbers else [])])
            for first, *numbers in joined]  # fmt: skip


def without_brackets(arg: str, lists: Collection[str]) -> str:
    """The same argument; a list as a file has it, --only=[7, 15], is the text --only=7,15."""
    name, _, text = arg.removeprefix("--").partition("=")
    if name in lists and text.startswith("[") and text.endswith("]"):
        return f"--{name}={text[1:-1].replace(' ', '')}"
    return arg


def with_brackets(arg: str, annotations: Mapping[str, Any]) -> str:
    """The same argument; the numbers of a list, --sizes=7,15, as the parser reads it, [7,15].

    Where the setting may be one number, too, one is a number.
    """
    name, _, text = arg.removeprefix("--").partition("=")
    kinds = {plain_type(each) for each in members(annotations.get(name))}
    several = text.count(",") > 0 or int not in kinds
    if list in kinds and several and re.fullmatch(r"-?\d+(,-?\d+)*", text):
        return f"--{name}=[{text}]"
    return arg


def type_names(annotation: Any) -> set[str]:
    """The names of the types in an annotation: {"float", "None"}."""
    if number_list(annotation) is not None:
        return {"str"}
    plain = {plain_type(member) for member in members(annotation)}
    return {"None" if each is NoneType else getattr(each, "__name__", "") for each in plain}


def parse_arguments(parser: ArgumentParser, argv: list[str]) -> dict[str, Any]:
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
    annotations: dict[str, Any] = vars(parser).get("annotations", {})
    argv = join_lists(argv, {name for name, each in annotations.items() if is_list(each)})
    texts = {name for name, each in annotations.items() if number_list(each) is not None}
    argv = [without_brackets(arg, texts) for arg in argv]
    lists = {name: each for name, each in annotations.items() if name not in texts}
    argv = [with_brackets(arg, lists) for arg in argv]
    for name, annotation in annotations.items():
        for text in option_texts(argv, name):
            check_finite(name, text, annotation)
            check_plain(name, text, type_names(annotation))
            if plain_type(annotation) is str:
                check_value(name, text, annotation)
    return parser.parse_args(argv).as_dict()


def check_finite(name: str, text: str, annotation: Any) -> None:
    """Refuse the text of a number that is not finite, of whatever spelling, as out of the range.

    Raises:
        ValueError: it is one, and the setting a number.
    """
    spelt = text.strip().lstrip("+-.").lower()
    numbers = [m for m in members(annotation) if plain_type(m) in (int, float)]
    if numbers and spelt in ("nan", "inf", "infinity"):
        check_number(name, float(text.replace(".", "")), numbers[0])


def list_choices(kinds: Mapping[str, str | None], argv: list[str]) -> str:
    """What help says where a plug-in is not chosen yet: which there are.

    Raises:
        ValueError: one is not chosen, and `argv` does not ask for help.
    """
    lines = []
    for kind in (kind for kind, name in kinds.items() if name is None):
        if not {"-h", "--help"} & {*argv}:
            raise ValueError(f"`{kind_noun(kind)}` must be given: one of {', '.join(names(kind))}")
        lines.append(f"{kind}: {', '.join(names(kind))}")
    return " · ".join([*lines, "the help of those named lists their settings"] if lines else [])


def about_preset(sources: Mapping[str, Sequence[str]]) -> str:
    """What help says of where defaults come from."""
    return " · ".join(f"{', '.join(sorted(given))}: {source}" for source, given in sources.items())
