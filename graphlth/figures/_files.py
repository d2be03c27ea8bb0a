"""The files of figures."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from graphlth.figures._style import STYLE, draw_names_as_text
from graphlth.storage import replace_file

SUFFIXES = (".png", ".pdf", ".svg")


def figure_path(out: str) -> Path:
    """The file that a figure goes to.

    Raises:
        ValueError: its suffix names no format that figures have.
    """
    path = Path(out)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"`out` must end in one of {', '.join(SUFFIXES)}, got {out!r}")
    return path


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure without a date; what was at `path` stays if that fails."""
    undated = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}[path.suffix]
    draw_names_as_text(figure)
    with rc_context(STYLE), replace_file(path) as draft:
        figure.savefig(draft, dpi=160, metadata=undated)
