"""Reads `benchmarks/results/*/data.json`: figures and tables as the documentation shows them."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphlth.reproduction.result import format_value, lay_out

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"
Data = Mapping[str, Any]


def read_result(name: str) -> dict[str, Any]:
    """The data of a benchmark.

    Raises:
        ValueError: there is none of that name.
    """
    file = RESULTS / name / "data.json"
    if not file.is_file():
        known = ", ".join(sorted(f.parent.name for f in RESULTS.glob("*/data.json")))
        raise ValueError(f"`result` must be one of {known}, got {name!r}")
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


def find_table(data: Data, name: str) -> Data:
    """The description of a table.

    Raises:
        ValueError: there is none of that name.
    """
    for table in data["tables"]:
        if table["name"] == name:
            return dict(table)
    known = ", ".join(table["name"] for table in data["tables"])
    raise ValueError(f"`table` of {data['name']} must be one of {known}, got {name!r}")


def find_cell(data: Data, table: str, **keys: str) -> Data:
    """The one row of the data with these keys, which are compared as text.

    Raises:
        ValueError: there is no such row, or there are several.
    """
    found = [
        row
        for row in data["rows"]
        if row["table"] == table and all(str(row.get(n)) == v for n, v in keys.items())
    ]
    if len(found) != 1:
        raise ValueError(f"{data['name']}/{table} has {len(found)} rows with {keys}, not one")
    return dict(found[0])


def format_cell(cell: Data, spec: str) -> str:
    """`82.5 ± 0.1` with an interval, `8.0 (6.7 – 8.3)` with a range, else the value."""
    return typeset(format_value(cell, spec))


def typeset(text: str) -> str:
    """The text of a cell with a minus sign for a hyphen, and in one line around `±`."""
    minus = re.sub(r"^-(?=\d)", "−", text).replace(" ± ", PLUS_MINUS)
    return re.sub(r"(?<=\d) (?=[–(])|(?<=–) (?=\d)", "\N{NO-BREAK SPACE}", minus)


def select(
    data: Data, name: str, columns: Sequence[str] = (), rows: Sequence[str] = ()
) -> list[list[str]]:
    """Heading and lines of a table, as text: of some columns and of some first keys, if named.

    Raises:
        ValueError: a column or a row that is named is not there.
    """
    table = find_table(data, name)
    head, *body = lay_out(data, table)
    if unknown := [*({*columns} - {*table["columns"]}), *({*rows} - {line[0] for line in body})]:
        raise ValueError(f"{data['name']}/{name} has no {', '.join(unknown)}")
    shown = [
        i for i, text in enumerate(head)
        if not columns or text in columns or text not in table["columns"]
    ]  # fmt: skip
    kept = [head, *(line for line in body if not rows or line[0] in rows)]
    return [[typeset(line[i]) for i in shown] for line in kept]


def to_markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    head, *body = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["-"] * len(head), *body))
