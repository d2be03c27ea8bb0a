"""The numbers of the seeds of a run, as a user names them."""

import operator
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby, islice
from typing import Any

MAX_SEEDS = 10_000
RULE = "a count from 1, such as 5, or numbers, such as 3,7 or 10-14"


def parse_seeds(seeds: int | str | Sequence[int], name: str = "seeds") -> list[int]:
    """The numbers of the seeds that `seeds` means: so many from 0, or those that are named.

    A number is a count: 5, or "5", is 0 to 4. In a text with a comma or a dash, and in a sequence,
    numbers are seeds: "3,7", "10-14" (with both ends), "0-2,7", [3, 7]; one alone is "7-7" or [7].
    `name` is the argument that they are.

    Raises:
        ValueError: it means none, more than `MAX_SEEDS`, one twice, or one not below 2³¹.
    """
    if isinstance(seeds, str):
        parts = [part.strip() for part in seeds.split(",")]
        ranges = [_parse_range(part, seeds, name, alone=len(parts) == 1) for part in parts]
    elif isinstance(seeds, Iterable):
        ranges = [range(n, n + 1) for n in map(_whole_number, islice(seeds, MAX_SEEDS + 1))]
    else:
        ranges = [range(_whole_number(seeds))]
    least = min((each.start for each in ranges), default=-1)
    if least < 0 or not any(ranges):
        raise ValueError(f"`{name}` must be {RULE}, got {seeds!r}")
    if (most := max(each.stop for each in ranges)) > 2**31:
        raise ValueError(f"`{name}` must be numbers below 2**31, got {most - 1}")
    if sum(map(len, ranges)) > MAX_SEEDS:
        raise ValueError(f"`{name}` must be at most {MAX_SEEDS:,}, got more: {seeds!r}")
    numbers = [n for each in ranges for n in each]
    if twice := [n for n, times in Counter(numbers).items() if times > 1]:
        raise ValueError(f"`{name}` must name each {name[:-1]} once, got {twice[0]} twice")
    return numbers


def format_seeds(seeds: Sequence[int]) -> str:
    """Some seeds as `parse_seeds` reads them: 3 of 0 to 2, else 3-5, 7-7 or 0-2,7."""
    numbers = sorted(seeds)
    if numbers == [*range(len(numbers))]:
        return str(len(numbers))
    if len(numbers) == 1:
        return f"{numbers[0]}-{numbers[0]}"
    by_gap = groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    rows = [[number for _, number in row] for _, row in by_gap]
    return ",".join(f"{row[0]}-{row[-1]}" if len(row) > 1 else str(row[0]) for row in rows)


def _whole_number(number: Any) -> int:
    """A whole number; -1 where it is none."""
    try:
        return -1 if isinstance(number, bool) else operator.index(number)
    except TypeError:
        return -1


def _parse_range(part: str, seeds: str, name: str, *, alone: bool) -> range:
    """The seeds that a part between two commas means: 7, or 10-14; a number `alone` is a count."""
    found = re.fullmatch(r"([0-9]{1,12})(?:-([0-9]{1,12}))?", part)
    if found is None:
        raise ValueError(f"`{name}` must be {RULE}, got {seeds!r}")
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high:
        raise ValueError(f"`{name}` must go upwards in a range, as in {high}-{low}, got {part!r}")
    return range(low) if alone and found[2] is None else range(low, high + 1)
