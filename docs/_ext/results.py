"""Figures in the documentation come from `benchmarks/results/*/data.json`, never from a keyboard.

- `{result}` in a line: ``{result}`ugs_cora_gcn/accuracy?round=9&column=ugs` `` is "78.0 ± 0.4".
- `{result-table} ugs_cora_gcn/accuracy` is a table, of some `:rows:` and `:columns:` if asked for.
- `{suites}` is a table of all suites, by paper, with a link to the page of each that was run.
- `{result-verdicts} ugs_cora_gcn` is the table of its claims, with what was found.
- `results/<name>` is the page of every result, copied with its pictures before the site is built.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

from docutils import nodes
from docutils.parsers.rst import directives
from result_data import (
    PLUS_MINUS,
    RESULTS,
    find_cell,
    find_table,
    format_cell,
    read_result,
    select,
    to_markdown,
    typeset,
)
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.typing import ExtensionMetadata

from graphlth.reproduction.result import lay_out_verdicts
from graphlth.reproduction.suite import read_suite, suite_names


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
        return self.parse_text_to_nodes(to_markdown(select(data, table, **chosen)))


class ResultVerdicts(SphinxDirective):
    """The claims of a result, what was found, and the verdicts."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table, its numbers to be read from the data file."""
        name = self.arguments[0]
        self.env.note_dependency(str(RESULTS / name / "data.json"))
        lines = [[typeset(cell) for cell in line] for line in lay_out_verdicts(read_result(name))]
        return self.parse_text_to_nodes(to_markdown(lines))


class Suites(SphinxDirective):
    """The suites that come with graphlth."""

    def run(self) -> list[nodes.Node]:
        """A table sorted by source: name, what it is, paper and figure, claims."""
        suites = [read_suite(name) for name in suite_names()]
        rows = [
            f"| {name_suite(s)} | {s['title']} | {s['source']} | {len(s.get('claims', []))} |"
            for s in sorted(suites, key=lambda s: (s["source"], s["name"]))
        ]
        head = ["| suite | what | source | claims |", "|-|-|-|-|"]
        return self.parse_text_to_nodes("\n".join([*head, *rows]))


def name_suite(suite: Mapping[str, Any]) -> str:
    """How the suite is called, with a link where there is a result."""
    if not (RESULTS / suite["name"] / "data.json").is_file():
        return f"`{suite['called']}`"
    return f"[`{suite['called']}`](/results/{suite['name']}/index.md)"


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
    app.add_directive("result-verdicts", ResultVerdicts)
    app.add_directive("suites", Suites)
    app.connect("builder-inited", copy_pages)
    return {"parallel_read_safe": True}
