"""`{plugins} KIND`: the signature and docstring of every plug-in of a kind; no list to keep."""

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from graphlth import registry


class Plugins(SphinxDirective):
    """The reference of all plug-ins of one kind, sorted by name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes that `autofunction` makes of each."""
        lines = StringList()
        for name, module in sorted(registry.modules(self.arguments[0]).items()):
            lines.append(f".. autofunction:: {module}.{name}", self.get_source_info()[0])
            lines.append("", self.get_source_info()[0])
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"]))


def escape_bars(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Write `|θ|` so that reStructuredText does not take it for a substitution."""
    for i, line in enumerate(lines):
        parts = line.split("`")  # every second one is code
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[i] = "`".join(parts)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("plugins", Plugins)
    app.connect("autodoc-process-docstring", escape_bars, priority=400)
    return {"parallel_read_safe": True}
