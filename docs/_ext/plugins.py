"""The reference is made from the package itself; there is no list to keep.

- `{plugins} KIND`: signature and docstring of every plug-in of a kind.
- `{library}`: those of every public name of `graphlth`.
- `{command} WORDS`: what `graphlth WORDS` prints.
- `{record-fields}`: the fields of a record and what each may be.
"""

import io
from contextlib import redirect_stdout, suppress
from inspect import isclass

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

import graphlth
from graphlth import registry
from graphlth.cli.main import main
from graphlth.records import schema


class Plugins(SphinxDirective):
    """The reference of all plug-ins of one kind, sorted by name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes that `autofunction` makes of each."""
        found = sorted(registry.modules(self.arguments[0]).items())
        return describe(self, [f".. autofunction:: {module}.{name}" for name, module in found])


class Library(SphinxDirective):
    """The reference of `graphlth`'s public names but the algorithms, which have their own page."""

    def run(self) -> list[nodes.Node]:
        """The nodes that `autoclass` and `autofunction` make of each."""
        names = [n for n in graphlth.__all__ if n not in registry.names("algorithms")]
        kinds = {n: "class" if isclass(getattr(graphlth, n)) else "function" for n in names}
        lines = []
        for kind, options in (("class", "   :members:\n   :undoc-members:"), ("function", "")):
            lines += [f".. auto{kind}:: graphlth.{n}\n{options}" for n in names if kinds[n] == kind]
        return describe(self, lines)


class Command(SphinxDirective):
    """What a command prints."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """A block of text, the command first."""
        out = io.StringIO()
        with redirect_stdout(out), suppress(SystemExit):
            main(self.arguments[0].split())
        text = f"$ graphlth {self.arguments[0]}\n{out.getvalue().rstrip()}"
        return [nodes.literal_block(text, text, language="text")]


class RecordFields(SphinxDirective):
    """The fields of a record."""

    def run(self) -> list[nodes.Node]:
        """Two tables: what every record has, and what it may have."""
        tables = []
        for title, fields in (("always", schema.FIELDS), ("optional", schema.OPTIONAL)):
            rows = [f"| `{name}` | {rule} |" for name, rule in fields.items()]
            tables.append("\n".join([f"| {title} | |", "|-|-|", *rows]))
        return self.parse_text_to_nodes("\n\n".join(tables))


def describe(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    """The nodes of some reStructuredText."""
    text = "\n\n".join(lines)
    return directive.parse_text_to_nodes(f"```{{eval-rst}}\n{text}\n```")


def escape_bars(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Write `|θ|` so that reStructuredText does not take it for a substitution."""
    for i, line in enumerate(lines):
        parts = line.split("`")  # every second one is code
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[i] = "`".join(parts)


def shorten_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, args: str | None,
    result: str | None,
) -> tuple[str | None, str | None]:  # fmt: skip
    """Write `Annotated[float, Interval(…)]` as `float`: the text of the argument says the range."""
    return args and strip_metadata(args), result and strip_metadata(result)


def strip_metadata(text: str) -> str:
    """`text` with the first part alone of every `Annotated[…]`."""
    start = text.find("Annotated[")
    if start < 0:
        return text
    depth, comma = 0, 0
    for i in range(start + len("Annotated["), len(text)):
        if text[i] in "[(":
            depth += 1
        elif text[i] == "," and depth == 0:
            comma = comma or i
        elif text[i] in "])":
            if depth == 0:
                break
            depth -= 1
    kind = text[start + len("Annotated[") : comma]
    return strip_metadata(text[:start] + kind + text[i + 1 :])


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives."""
    app.add_directive("plugins", Plugins)
    app.add_directive("library", Library)
    app.add_directive("command", Command)
    app.add_directive("record-fields", RecordFields)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-process-docstring", escape_bars, priority=400)
    return {"parallel_read_safe": True}
