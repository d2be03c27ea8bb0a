"""Settings that belong together: a dataclass, whose fields are keywords of the functions it is for.

A function that takes the group `Recipe` has `**settings: Unpack[RecipeFields]`, a `TypedDict` with
the fields of `Recipe` and `recipe: Recipe`: callers give one or the other.
"""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

G = TypeVar("G")


def split_group(
    group: type[G], given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> tuple[G, dict[str, Any]]:
    """The group in the keywords `given`: itself, or its fields over `defaults`; and the others.

    Raises:
        ValueError: both are given, it is of another class, or a value is wrong.
    """
    known, name = [field.name for field in fields(group)], group_name(group)  # type: ignore[arg-type]
    own = {n: value for n, value in given.items() if n in known}
    others = {n: value for n, value in given.items() if n not in (*known, name)}
    whole = given.get(name)
    if whole is None:
        return group(**{**(defaults or {}), **own}), others
    if not isinstance(whole, group):
        raise ValueError(f"`{name}` must be a {group.__name__}, got {type(whole).__name__}")
    if first := next(iter(own), ""):
        raise ValueError(f"`{name}` and `{first}` must not both be given: put `{first}` into "
                         f"`{name}`")  # fmt: skip
    return whole, others


def group_name(group: type) -> str:
    """The keyword that takes a group as a whole: `layer_rates` of `LayerRates`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", group.__name__).lower()
