"""Settings from a .toml or .yaml file: names and single values, and nothing else."""

import math
import re
import tomllib
from collections.abc import Mapping, Set
from datetime import date, time
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode

SUFFIXES = (".toml", ".yaml", ".yml")
LARGEST = 1 << 16  # bytes
DIGITS = 300  # of a number
DEEPEST = 8  # levels; settings need one
TRUTH, WHOLE = "true|True|TRUE|false|False|FALSE", "[-+]?(0|[1-9][0-9]*)"
OTHER = r"[-+]?[0-9][0-9a-fA-FxXoO_:.]*"  # what YAML 1.1 may take for a number, too
REAL = (
    r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a file: texts, finite numbers, true, false, nothing or lists of numbers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: names the file and the setting that is wrong, or that it is of another kind, too
            large, damaged or no table of settings.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"`config` must end in .toml, .yaml or .yml, got {str(path)!r}")
    if not path.is_file():
        raise FileNotFoundError(f"`config` must be a file, got {str(path)!r}")
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"`config` must have at most {LARGEST:,} bytes, got {str(path)!r} "
                         f"of {size:,}")  # fmt: skip
    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without a byte-order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"`config` {str(path)!r} is not text in UTF-8: {error}") from None
    kind = "TOML" if path.suffix == ".toml" else "YAML"
    try:
        table = tomllib.loads(text) if kind == "TOML" else yaml.load(text, Loader)
    except ConstructorError as error:  # YAML, but no settings
        raise ValueError(f"`config` {str(path)!r}, {_where(error)}") from None
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"`config` {str(path)!r} is not YAML: {_where(error)}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"`config` {str(path)!r} is not {kind}: {error}") from None
    except RecursionError:
        raise ValueError(f"`config` {str(path)!r} is nested too deeply: settings are names and "
                         "single values") from None  # fmt: skip
    if not isinstance(table, dict):
        raise ValueError(f"`config` must hold names and values, got {str(path)!r}")
    return _settings(table, path)


def _settings(table: Mapping[Any, Any], path: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in table.items():
        name = str(key).replace("-", "_")
        if not (isinstance(key, str) and name.isidentifier()):
            raise ValueError(f"{key!r} in `config` {str(path)!r} must be the name of a setting")
        if name in ("config", "help"):
            raise ValueError(f"`{name}` must not be set in a `config` file, got {str(path)!r}")
        if name in settings:
            raise ValueError(f"`{name}` must be set once, got it twice in `config` {str(path)!r}")
        if wrong := _wrong(value):
            raise ValueError(f"`{name}` in `config` {str(path)!r} must be a single value, a text, "
                             "a finite number, true or false, or a list of numbers, "
                             f"got {wrong}")  # fmt: skip
        settings[name] = value
    return settings


def _wrong(value: Any) -> str:
    """What is wrong with the value of a setting; nothing where it is plain."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        numbers = all(type(v) in (int, float) and math.isfinite(v) for v in value)
        return "" if value and numbers else "such a list"
    if isinstance(value, (date, time)):
        return f"the date or time {value}: put quotes around it if it is a text"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return "" if value is None or isinstance(value, (str, bool, int, float)) else repr(value)


class Loader(yaml.SafeLoader):
    """YAML without what a table of settings has no use for, and without the surprises of 1.1.

    Aliases, tags, merge keys, keys given twice and deep nesting are refused. `no`, `1:30` and
    `2026-01-01` are texts; numbers are decimal.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, unless it repeats another, is made of something else, or lies too deep."""
        event = self.peek_event()
        if (anchor := getattr(event, "anchor", None)) is not None:
            raise _refused(f"anchors and aliases are not taken, got {anchor!r}", event.start_mark)
        if (tag := getattr(event, "tag", None)) is not None:
            raise _refused(f"tags are not taken, got {tag!r}", event.start_mark)
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refused("it is nested too deeply: settings are names and single values",
                           event.start_mark)  # fmt: skip
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A table whose keys are texts, each given once."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key.value, str):
                raise _refused("a name must be a text", key.start_mark)
            if key.value in seen:
                raise _refused(f"{key.value!r} is set twice", key.start_mark)
            seen.add(key.value)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


def _where(error: yaml.MarkedYAMLError) -> str:
    line = error.problem_mark.line + 1 if error.problem_mark else "?"
    return f"line {line}: {error.problem or error.context}"


def _refused(problem: str, mark: Any) -> yaml.YAMLError:
    return ConstructorError(None, None, problem, mark)


Loader.yaml_implicit_resolvers = {}
for _tag, _form, _first in (  # the core of YAML 1.2: what else looks special in 1.1 is a text
    ("bool", TRUTH, "tTfF"),
    ("null", "~|null|Null|NULL|", "~nN"),
    ("int", WHOLE, "-+0123456789"),
    ("float", REAL, "-+.0123456789"),
):
    Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_form})$"), [*_first, ""]
    )


def check_plain(name: str, text: str, kinds: Set[str]) -> None:
    """Refuse a text, typed or from a file, that is no value of any of the types `kinds`.

    Raises:
        ValueError: a number is written otherwise than in decimal, or it is no number at all.
    """
    forms = {"int": WHOLE, "float": f"{REAL}|{WHOLE}", "bool": TRUTH, "None": "null", "str": ".*"}
    if not any(re.fullmatch(forms.get(kind, ".*"), text, re.DOTALL) for kind in kinds):
        kind = min(kinds - {"None"})
        shown = text if len(text) < 40 else f"{text[:40]}…, {len(text)} characters"
        raise ValueError(f"`{name}` must be of type {kind}, got {shown!r}")
    plain = re.fullmatch(f"{REAL}|{WHOLE}", text)
    if {"int", "str"} <= kinds and re.fullmatch(OTHER, text) and not plain:
        raise ValueError(f"`{name}` must be decimal, got {text!r}")
    if kinds & {"int", "float"} and len(text) > DIGITS:
        raise ValueError(f"`{name}` must have at most {DIGITS} characters, got {len(text)}")
