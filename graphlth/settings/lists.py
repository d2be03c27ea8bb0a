"""Settings that are lists of numbers: each may be written as a list, or as text such as "7,15".

Records, hashes and the names of folders hold the text, as they did before there were lists.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Any

MOST_ROUNDS = 10_000
DIGITS = 300  # of a number
SHOWN = 100  # characters of a value in an error


def list_text(value: str | Sequence[float], empty: str) -> str:
    """The text of a list, as records hold it: "0.5,0.75", or `empty`; a text stays as it is.

    Raises:
        TypeError: it is no list: a generator can be read but once, and a set has no order.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Set | Mapping) or not hasattr(value, "__len__"):
        raise TypeError(f"{type(value).__name__} is no list")
    return ",".join(map(str, value)) or empty


def shorten(value: Any) -> str:
    """A value as an error shows it: its first characters, and how many there are."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of too many digits
        return f"a {type(value).__name__} that is too long"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…, {len(text):,} characters"


def parse_milestones(value: str | Sequence[float]) -> tuple[float, ...]:
    """The fractions of a training, in (0, 1), that `value` lists; of "none" there are none.

    Raises:
        ValueError: it lists something else.
    """
    try:
        text = list_text(value, "none")
        fractions = () if text == "none" else tuple(map(float, text.split(",")))
    except (TypeError, ValueError):
        fractions = (-1.0,)
    if not all(0 < fraction < 1 for fraction in fractions):
        raise ValueError("`milestones` must be fractions in (0, 1), such as 0.5,0.75, or none, "
                         f"got {shorten(value)}")  # fmt: skip
    return fractions


def parse_rounds(value: str | Sequence[int], rounds: int = MOST_ROUNDS) -> list[int]:
    """The rounds from 1 to `rounds` that `value` lists: "all" of them, or some, as 7, 15.

    Raises:
        ValueError: it lists no rounds, others, or not in their order.
    """
    known = range(1, rounds + 1)
    if isinstance(value, str) and value == "all":
        return [*known]
    try:
        parts = list_text(value, "").split(",")
    except (TypeError, ValueError):  # one number is no list
        parts = [""]
    found = [int(part) for part in parts if part.isdecimal() and len(part) <= DIGITS]
    if len(found) < len(parts) or found != sorted(n for n in {*found} if n in known):
        raise ValueError(f"`only` must be all, or rising rounds from 1 to {rounds}, such as 7,15, "
                         f"got {shorten(value)}")  # fmt: skip
    return found


def planned_rounds(settings: Mapping[str, Any]) -> list[int]:
    """The rounds of a run: 0, the dense ticket's, and those of the tickets that it finds."""
    last: int = settings.get("rounds", settings.get("draws", 1))
    return [0, *parse_rounds(settings.get("only", "all"), last)]
