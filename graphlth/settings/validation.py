"""The settings of a function, and their checks, as its annotations say.

The same checks serve flags, files and calls; see `graphlth.settings.types` for the annotations.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, wraps
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar, Unpack, get_args, get_origin, get_type_hints

from graphlth.registry import normalize_name
from graphlth.settings.annotations import (
    check_value,
    has_type,
    members,
    number_list,
    plain_type,
    plugin_kind,
    unpack,
)
from graphlth.settings.checks import check_setting
from graphlth.settings.lists import list_text
from graphlth.settings.types import Below, NumberList, ZeroWith

Parameters = Mapping[str, inspect.Parameter]
REFUSES = "refuses_settings"  # an attribute of functions that refuse unknown settings themselves
P = ParamSpec("P")
R = TypeVar("R")


@cache
def settings_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The settings of a function: its keyword-only parameters, their annotations read.

    In place of `**settings: Unpack[T]` stand the keys of the `TypedDict` T. Where one of these, or
    a parameter, is a dataclass of settings, such as `recipe: Recipe`, its fields are settings too,
    and give the keys their defaults.

    Raises:
        ValueError: an annotation cannot be read.
    """
    keywords, groups = keywords_of(function), groups_of(function)
    settings = {n: p for n, p in keywords.items() if _dataclass(p.annotation) is None}
    others = {n: p for group in groups for n, p in field_parameters(group).items()}
    return settings | others if settings.keys().isdisjoint(others) else settings


def keywords_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keywords of a function, those of `**settings: Unpack[T]` too, their annotations read."""
    parameters = inspect.signature(function).parameters.values()
    found = {p.name: with_type_of_default(p) for p in parameters
             if p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD)}  # fmt: skip
    types = _resolve(function, {n: p.annotation for n, p in found.items()})
    keywords: dict[str, inspect.Parameter] = {}
    for name, parameter in found.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[name] = parameter.replace(annotation=types[name])
        else:
            keywords |= _keys(types[name])
    return keywords


def with_type_of_default(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter; one without an annotation has that of its default: `power=2.0` is a float."""
    kind = type(parameter.default)
    if parameter.annotation is not parameter.empty or kind not in (bool, int, float, str):
        return parameter
    return parameter.replace(annotation=kind)


def groups_of(function: Callable[..., Any]) -> list[type]:
    """The dataclasses of settings, such as `Recipe`, that a function has among its keywords."""
    groups = (_dataclass(p.annotation) for p in keywords_of(function).values())
    return [group for group in groups if group is not None]


def _resolve(function: Callable[..., Any], annotations: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of a function, those that are text read where it is defined."""
    own = inspect.unwrap(function)
    names = own.__globals__ if inspect.isfunction(own) else vars(sys.modules[own.__module__])
    try:
        stand_in = SimpleNamespace(__annotations__=dict(annotations))
        return get_type_hints(stand_in, globalns=names, include_extras=True)
    except (NameError, AttributeError, TypeError) as error:
        name = getattr(function, "__name__", str(function))
        raise ValueError(f"the annotations of `{name}` must be importable when it runs, "
                         f"got: {error}") from None  # fmt: skip


def _dataclass(annotation: Any) -> type | None:
    """The dataclass of settings in an annotation, also of an optional one.

    It is one whose fields all have defaults, as those of `Recipe`; a `Ticket` is none.
    """
    kinds = [unpack(member)[0] for member in members(annotation)]
    classes = [kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)]
    complete = (c for c in classes if all(f.default is not MISSING for f in fields(c)))
    return next(complete, None)


def field_parameters(group: type) -> dict[str, inspect.Parameter]:
    """The fields of a dataclass as parameters."""
    types = get_type_hints(group, include_extras=True)
    return {f.name: _parameter(f.name, types[f.name], f.default) for f in fields(group)}


def _keys(annotation: Any) -> dict[str, inspect.Parameter]:
    """The keys of the `TypedDict` in `Unpack[...]` as parameters; of anything else none."""
    if get_origin(annotation) is not Unpack:
        return {}
    types = get_type_hints(get_args(annotation)[0], include_extras=True)
    groups = [group for each in types.values() if (group := _dataclass(each)) is not None]
    defaults = {n: p.default for group in groups for n, p in field_parameters(group).items()}
    empty = inspect.Parameter.empty
    return {name: _parameter(name, each, defaults.get(name, empty)) for name, each in types.items()}


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)


def defaults_of(known: Parameters) -> dict[str, Any]:
    """The default of every parameter that has one."""
    return {n: p.default for n, p in known.items() if p.default is not p.empty}


def check_settings(values: Mapping[str, Any], known: Parameters) -> None:
    """Refuse settings of the wrong type, outside their range or choices, or that do not agree.

    Args:
        values: all of them, defaults too.
        known: the parameters that they are.

    Raises:
        ValueError: names the first of them.
    """
    for name in [name for name in values if name in known]:
        numbers = number_list(known[name].annotation)
        if numbers is None or numbers.last not in values:  # else a rule below, with that limit
            check_value(name, values[name], known[name].annotation)
    for name, rule in _rules(values, known):
        _check_rule(name, rule, values)


def _rules(values: Iterable[str], known: Parameters) -> Iterator[tuple[str, Any]]:
    """What annotations say of settings beside others, by the name of the setting."""
    for name in [name for name in values if name in known]:
        annotation = known[name].annotation
        yield from ((name, rule) for rule in unpack(annotation)[1])


def _check_rule(name: str, rule: Any, values: Mapping[str, Any]) -> None:
    value = values[name]
    if isinstance(rule, Below) and value:
        limit = next((n for n in rule.settings if values.get(n)), None)
        if limit is not None and value >= values[limit]:
            raise ValueError(f"`{name}` must be below `{limit}` = {values[limit]}, got {value}")
    if isinstance(rule, ZeroWith) and value and values.get(rule.setting) == rule.value:
        raise ValueError(f"`{name}` must be 0 with `{rule.setting}` {rule.value!r}, got {value}")
    if isinstance(rule, NumberList) and rule.last is not None and rule.last in values:
        rule.parse(value, values[rule.last])


def check_fields(instance: Any, but: Sequence[str] = ()) -> None:
    """Refuse a dataclass of which a field is not as its annotation says; see `check_settings`.

    Args:
        instance: the dataclass.
        but: names of fields that are not checked.

    Raises:
        ValueError: names the first wrong field.
    """
    known = {name: p for name, p in field_parameters(type(instance)).items() if name not in but}
    check_settings({name: getattr(instance, name) for name in known}, known)


def as_recorded(values: Mapping[str, Any], known: Parameters) -> dict[str, Any]:
    """The same settings in the form that records and hashes hold.

    Lists of numbers are text, names of plug-ins are spelt as their files are, and a whole number is
    a float where the setting is one.
    """
    found = dict(values)
    for name in values.keys() & known.keys():
        annotation, value = known[name].annotation, values[name]
        if (numbers := number_list(annotation)) is not None:
            found[name] = list_text(value, numbers.empty)
        elif plugin_kind(annotation) is not None and isinstance(value, str):
            found[name] = normalize_name(value)
        elif has_type(value, int) and float in (kinds := [*map(plain_type, members(annotation))]):
            found[name] = value if int in kinds else float(value)
    return found


@cache
def validate_settings(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which checks its settings when it is called.

    Raises:
        ValueError: when called, if a setting is unknown, wrong, or does not agree with another.
    """
    known, names = settings_of(function), keywords_of(function)
    parameters = inspect.signature(function).parameters
    any_keyword = bool(names) and any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    defaults = defaults_of(known)

    @wraps(function)
    def call(*inputs: P.args, **given: P.kwargs) -> R:
        for name in given if any_keyword and not hasattr(function, REFUSES) else ():
            if name not in parameters:
                check_setting(name, names, f"of {function.__name__}")
        check_settings(defaults | {n: given[n] for n in known if n in given}, known)
        return function(*inputs, **given)

    return call
