"""Settings that are lists of numbers: each may be written as a list, or as text such as "7,15".

Records, hashes and the names of folders hold the text, as they did before there were lists.
"""

from collections.abc import Iterable, Sequence

MOST_ROUNDS = 10_000


def list_text(value: str | Iterable[float], empty: str) -> str:
    """The text of a list, as records hold it: "0.5,0.75", or `empty`; a text stays as it is."""
    return value if isinstance(value, str) else ",".join(map(str, value)) or empty


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
                         f"got {value!r}")  # fmt: skip
    return fractions


def parse_rounds(value: str | Sequence[int], rounds: int = MOST_ROUNDS) -> list[int]:
    """The rounds from 1 to `rounds` that `value` lists: "all" of them, or some, as 7, 15.

    Raises:
        ValueError: it lists no rounds, others, or not in their order.
    """
    known = range(1, rounds + 1)
    if value == "all":
        return [*known]
    try:
        parts = list_text(value, "").split(",")
    except TypeError:  # one number is no list
        parts = [""]
    found = [int(part) for part in parts if part.isdecimal()]
    if len(found) < len(parts) or found != sorted(n for n in {*found} if n in known):
        raise ValueError(f"`only` must be all, or rising rounds from 1 to {rounds}, such as 7,15, "
                         f"got {value!r}")  # fmt: skip
    return found
