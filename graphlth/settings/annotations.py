"""What an annotation says of a value: its type, its range and its choices."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt

from graphlth.registry import choice_error, names, names_for, normalize_name
from graphlth.settings.types import NumberList, Plugin

NAMES: Mapping[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list",
}  # fmt: skip


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; what is not finite is in no range."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # `low` itself is too low
    below: bool = False  # `high` itself is too high

    def __contains__(self, number: float) -> bool:
        low = number > self.low if self.above else number >= self.low
        high = number < self.high if self.below else number <= self.high
        return bool(low and high and _is_finite(number))

    def __str__(self) -> str:
        first = "[("[self.above or self.low == -math.inf]
        return f"{first}{self.low}, {self.high}{'])'[self.below or self.high == math.inf]}"


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that is too large for a float
        return False


def range_of(annotation: Any) -> Range:
    """The numbers that an annotation allows: all of them where it has no `Interval`."""
    ends: dict[str, Any] = {}
    for rule in unpack(annotation)[1]:
        for bound in rule if isinstance(rule, GroupedMetadata) else (rule,):
            match bound:
                case Ge(ge=low):
                    ends["low"] = low
                case Gt(gt=low):
                    ends |= {"low": low, "above": True}
                case Le(le=high):
                    ends["high"] = high
                case Lt(lt=high):
                    ends |= {"high": high, "below": True}
    return Range(**ends)


def range_text(annotation: Any) -> str:
    """The numbers that an annotation allows, as help shows them: "in (0, 8]"; "" for all."""
    numbers = [m for m in members(annotation) if plain_type(m) in (int, float)]
    ranges = [range_of(m) for m in numbers if range_of(m) != Range()]
    return f"in {ranges[0]}" if ranges else ""


def unpack(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type in an annotation, and what `Annotated` says beside it."""
    if get_origin(annotation) is Annotated:
        kind, *rules = get_args(annotation)
        return kind, tuple(rules)
    return annotation, ()


def members(annotation: Any) -> list[Any]:
    """The annotations of a union, in their order; of anything else that alone.

    What is said beside a union is said of every member: the range in `Fraction | None`.
    """
    kind, rules = unpack(annotation)
    if get_origin(kind) not in (Union, UnionType):
        return [annotation]
    return [Annotated[m, *rules] if rules else m for m in get_args(kind)]


def choices(annotation: Any) -> tuple[Any, ...]:
    """The values that an annotation lists; none where any value of its type will do."""
    kind, _ = unpack(annotation)
    if get_origin(kind) is Literal:
        return get_args(kind)
    plugins = plugin_kind(annotation)
    return tuple(names(plugins)) if plugins is not None and kind is str else ()


def plugin_kind(annotation: Any) -> str | None:
    """The kind of the plug-ins that an annotation says are named; None for another setting."""
    return next((rule.kind for rule in _plugin_rules(annotation)), None)


def _plugin_rules(annotation: Any) -> list[Plugin]:
    return [rule for rule in unpack(annotation)[1] if isinstance(rule, Plugin)]


def plain_type(annotation: Any) -> Any:
    """bool, int, float, str or list, where an annotation is one of them; else what it is."""
    kind, _ = unpack(annotation)
    if get_origin(kind) is Literal:
        return type(get_args(kind)[0])
    return list if get_origin(kind) in (list, tuple, Sequence) else kind


def number_list(annotation: Any) -> NumberList | None:
    """What an annotation says of a list of numbers that may be text."""
    return next((r for r in unpack(annotation)[1] if isinstance(r, NumberList)), None)


def check_value(name: str, value: Any, annotation: Any) -> None:
    """Refuse a value that is not of the type, in the range or among the choices of `annotation`.

    Raises:
        ValueError: names the setting, the rule and the value.
    """
    if (numbers := number_list(annotation)) is not None:
        numbers.parse(value)
        return
    allowed = members(annotation)
    if value is None and NoneType in allowed:
        return
    allowed = [member for member in allowed if member is not NoneType]
    fitting = [m for m in allowed if len(allowed) == 1 or has_type(value, plain_type(m))]
    if not fitting:
        kinds = " or ".join(map(_type_name, allowed))
        raise ValueError(f"`{name}` must be {kinds}, got {value!r}")
    _check_member(name, value, fitting[0])


def _type_name(annotation: Any) -> str:
    kind = plain_type(annotation)
    return "a function" if get_origin(kind) is Callable else NAMES.get(kind, str(kind))


def _check_member(name: str, value: Any, annotation: Any) -> None:
    kind = plain_type(annotation)
    if kind in (int, float):
        check_number(name, value, annotation)
    elif kind in NAMES and not has_type(value, kind):
        raise ValueError(f"`{name}` must be {NAMES[kind]}, got {value!r}")
    named = normalize_name(value) if isinstance(value, str) and plugin_kind(annotation) else value
    if (known := choices(annotation)) and named not in known:
        shown = next((names_for(r.kind, r.part) for r in _plugin_rules(annotation)), known)
        raise ValueError(choice_error(name, value, shown))
    if kind is list:
        for item in value:
            check_value(name, item, next(iter(get_args(unpack(annotation)[0])), Any))


def check_number(name: str, value: Any, annotation: Any) -> None:
    """Refuse what is no number, no whole one where it must be, or outside the annotated range.

    Raises:
        ValueError: names the setting, the rule and the value.
    """
    whole = plain_type(annotation) is int
    if not has_type(value, int if whole else float):
        raise ValueError(f"`{name}` must be a {'whole ' * whole}number, got {value!r}")
    if value not in (allowed := range_of(annotation)):
        raise ValueError(f"`{name}` must be in {allowed}, got {value}")


def has_type(value: Any, kind: Any) -> bool:
    """Whether `value` can be read as a `kind`: a whole number as a float, a path as text."""
    tests: Mapping[Any, Callable[[], bool]] = {
        bool: lambda: isinstance(value, bool),
        int: lambda: isinstance(value, Integral) and not isinstance(value, bool),
        float: lambda: isinstance(value, Real) and not isinstance(value, bool),
        str: lambda: isinstance(value, str | os.PathLike),
        list: lambda: isinstance(value, Sequence) and not isinstance(value, str),
    }
    if get_origin(kind) is Callable:
        return callable(value)
    return tests[kind]() if kind in tests else True
