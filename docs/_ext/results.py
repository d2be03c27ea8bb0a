"""Figures in the documentation come from `benchmarks/results/*/data.json`, never from a keyboard.

- `{result}` in a line: ``{result}`ugs_cora_gcn/accuracy?round=9&column=ugs` `` is "78.0 ± 0.4".
- `{result-table} ugs_cora_gcn/accuracy` is a table, of some `:rows:` and `:columns:` if asked for.
- `results/<name>` is the page of every result, copied with its pictures before the site is built.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.typing import ExtensionMetadata

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
EXACT = "exact"
PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"
RANGE = "smallest and largest measurement"
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
    value, low, high = (format_number(cell[n], spec) for n in ("value", "low", "high"))
    if cell["interval"] in (None, EXACT) or cell["low"] is None:
        return value
    if cell["interval"] == RANGE:
        return f"{value} ({low} – {high})"
    return f"{value}{PLUS_MINUS}{format_number((cell['high'] - cell['low']) / 2, spec)}"


def format_number(value: Any, spec: str) -> str:
    """A number by its format, a minus sign in front where it is negative; `–` where unknown."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return format(value, spec).replace("-", "−")


def lay_out(
    data: Data, name: str, columns: Sequence[str] = (), rows: Sequence[str] = ()
) -> list[list[str]]:
    """Heading and lines of a table, as text: of some columns and of some first keys, if named.

    Raises:
        ValueError: a column or a row that is named is not there.
    """
    table = find_table(data, name)
    formats = {**table["keys"], **table["columns"]}
    lines: dict[tuple[Any, ...], dict[str, str]] = {}
    several = len({row["machine"] for row in data["rows"]}) > 1
    for row in data["rows"]:
        if row["table"] != name:
            continue
        keys = [format_number(row[n], spec) for n, spec in table["keys"].items()]
        keys += [row["machine"]] if several else []
        spec = formats[row["column"]]
        lines.setdefault(tuple(keys), {})[row["column"]] = format_cell(row, spec)
    shown = list(columns) or list(table["columns"])
    if unknown := [*({*shown} - {*table["columns"]}), *({*rows} - {keys[0] for keys in lines})]:
        raise ValueError(f"{data['name']}/{name} has no {', '.join(unknown)}")
    head = [*table["keys"], *(["machine"] if several else []), *shown]
    body = [
        [*keys, *(cells.get(column, "–") for column in shown)]
        for keys, cells in lines.items()
        if not rows or keys[0] in rows
    ]
    return [head, *body]


def to_markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    head, *body = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["-"] * len(head), *body))


class ResultRole(SphinxRole):
    """One figure with its interval."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The text of the figure."""
        path, _, query = self.text.partition("?")
        name, _, table = path.partition("/")
        data = read_result(name)
        cell = find_cell(data, table, **{n: v for n, (v,) in parse_qs(query).items()})
        spec = find_table(data, table)["columns"][cell["column"]]
        return [nodes.Text(format_cell(cell, spec))], []


class ResultTable(SphinxDirective):
    """A table of a result."""

    required_arguments = 1
    option_spec: ClassVar = {"columns": directives.unchanged, "rows": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """The table, its numbers to be read from the data file."""
        name, _, table = self.arguments[0].partition("/")
        data = read_result(name)
        self.env.note_dependency(str(RESULTS / name / "data.json"))
        chosen = {n: [w.strip() for w in text.split(";")] for n, text in self.options.items()}
        return self.parse_text_to_nodes(to_markdown(lay_out(data, table, **chosen)))


def copy_pages(app: Sphinx) -> None:
    """Put the page and the pictures of every result where the site finds them."""
    target = Path(app.srcdir, "results")
    shutil.rmtree(target, ignore_errors=True)
    for source in sorted(RESULTS.glob("*/*")):
        folder = target / source.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        if source.name == "README.md":
            text = source.read_text(encoding="utf-8").replace(" ± ", PLUS_MINUS)
            folder.joinpath("index.md").write_text(text, encoding="utf-8")
        elif source.suffix == ".png":
            shutil.copy(source, folder)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register role, directive and the copying of pages."""
    app.add_role("result", ResultRole())
    app.add_directive("result-table", ResultTable)
    app.connect("builder-inited", copy_pages)
    return {"parallel_read_safe": True}
