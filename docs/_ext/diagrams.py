"""Draws the diagrams as SVG before the site is built, from the boxes and arrows below."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

LINE = 17  # pixels from one line of text to the next
FILLS = {"data": "#e8f1fa", "step": "#fdf0e1", "store": "#e9f5ea"}


@dataclass(frozen=True)
class Box:
    """A box at (x, y), `width` wide, with lines of text; its kind gives the colour."""

    x: int
    y: int
    width: int
    text: str
    kind: str = "data"

    @property
    def height(self) -> int:
        """Pixels."""
        return LINE * len(self.text.splitlines()) + 16

    def draw(self) -> str:
        """The SVG of the box; its first line is bold."""
        left, lines = self.x + self.width / 2, self.text.splitlines()
        shape = (
            f'<rect x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="6" '
            f'fill="{FILLS[self.kind]}" stroke="#445566"/>'
        )
        for i, line in enumerate(lines):
            weight = "bold" if i == 0 else "normal"
            shape += (
                f'<text x="{left}" y="{self.y + 8 + LINE * i + 13}" text-anchor="middle" '
                f'font-weight="{weight}" xml:space="preserve">{escape(line)}</text>'
            )
        return shape


@dataclass(frozen=True)
class Arrow:
    """An arrow along `points`, with a label beside the middle of its first part."""

    points: tuple[tuple[int, int], ...]
    text: str = ""
    shift: tuple[int, int] = (0, -6)

    def draw(self) -> str:
        """The SVG of the arrow."""
        path = " ".join(f"{x},{y}" for x, y in self.points)
        shape = (
            f'<polyline points="{path}" fill="none" stroke="#445566" stroke-width="1.5" '
            'marker-end="url(#tip)"/>'
        )
        (x0, y0), (x1, y1) = self.points[:2]
        if self.text:
            x, y = (x0 + x1) / 2 + self.shift[0], (y0 + y1) / 2 + self.shift[1]
            shape += f'<text x="{x}" y="{y}" text-anchor="middle" fill="#223344">'
            shape += f"{escape(self.text)}</text>"
        return shape


@dataclass(frozen=True)
class Diagram:
    """What is drawn, on a canvas of that size, described for those who do not see it."""

    width: int
    height: int
    title: str
    parts: tuple[Box | Arrow, ...]

    def draw(self) -> str:
        """The whole SVG."""
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img" '
                'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="13">',
                f"<title>{escape(self.title)}</title>",
                '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
                'markerHeight="8" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#445566"/>'
                "</marker></defs>",
                *(part.draw() for part in self.parts),
                "</svg>\n",
            )
        )


ROUNDS = Diagram(
    820,
    262,
    "The loop of an experiment: train, score, remove, rewind; retrain and record each ticket",
    (
        Box(10, 20, 150, "Task\nx, edge_index, y,\nsplits"),
        Box(10, 150, 150, "Model\nθ₀, the weights at\nthe start"),
        Box(215, 85, 150, "Train\nθ (and soft masks)\nunder the masks", "step"),
        Box(420, 85, 150, "Score and remove\nexactly a fraction\nof what survives", "step"),
        Box(640, 85, 165, "Ticket\nmasks and the weights\nto start from"),
        Box(640, 200, 165, "Retrain, measure\none Record a ticket", "store"),
        Arrow(((160, 53), (190, 53), (190, 105), (213, 105))),
        Arrow(((160, 183), (190, 183), (190, 135), (213, 135))),
        Arrow(((365, 118), (418, 118))),
        Arrow(((570, 118), (638, 118)), "rewind"),
        Arrow(((722, 152), (722, 198))),
        Arrow(((722, 85), (722, 40), (290, 40), (290, 83)), "", (0, 0)),
        Arrow(((505, 40), (500, 40)), "next round", (0, -8)),
    ),
)
FORWARD = Diagram(
    820,
    300,
    "A forward pass: weights times their masks, edge weights times the edge mask",
    (
        Box(10, 10, 190, "θ\nweights [in, out]"),
        Box(10, 85, 190, "m_θ\nmask of each matrix\n[in, out], zeros and ones"),
        Box(10, 175, 190, "A\nedge weight [E], or ones"),
        Box(10, 245, 190, "m_g\nmask [entries]"),
        Box(300, 45, 160, "θ ⊙ m_θ\nfunctional_call", "step"),
        Box(300, 200, 160, "A ⊙ m_g[entries]\nedge weight [E]", "step"),
        Box(545, 115, 120, "Kernel\nout = Σ w x\nno [E, d] tensor", "step"),
        Box(715, 124, 95, "Output\nlogits [N, C]"),
        Arrow(((200, 35), (250, 35), (250, 62), (298, 62))),
        Arrow(((200, 118), (250, 118), (250, 84), (298, 84))),
        Arrow(((200, 200), (250, 200), (250, 217), (298, 217))),
        Arrow(((200, 268), (250, 268), (250, 239), (298, 239))),
        Arrow(((460, 70), (500, 70), (500, 138), (543, 138))),
        Arrow(((460, 225), (500, 225), (500, 165), (543, 165))),
        Arrow(((665, 149), (713, 149))),
    ),
)
ROWS = Diagram(
    820,
    250,
    "Compressed sparse rows: row pointers point into the sources, sorted by target",
    (
        Box(10, 10, 250, "edge_index [2, E]\nsource  0  2  1  0\ntarget   1  1  2  2"),
        Box(330, 10, 270, "indptr [N + 1]\n0   0   2   4\nedges of row i: indptr[i] … indptr[i+1]"),
        Box(330, 100, 270, "indices [E]\n0   2   0   1\nthe sources, row after row"),
        Box(330, 190, 270, "entries [E]\nwhich mask entry each edge reads", "store"),
        Box(660, 80, 150, "one loop over rows\nout[i] += w[e] · x[j]\nstrips of channels", "step"),
        Arrow(((260, 43), (328, 43)), "sort once"),
        Arrow(((600, 43), (735, 43), (735, 78))),
        Arrow(((600, 125), (658, 118))),
        Arrow(((600, 214), (735, 214), (735, 150))),
    ),
)
COMPACTION = Diagram(
    820,
    200,
    "Compaction: remove edges, find the live units, cut the matrices, choose a layout",
    (
        Box(10, 60, 150, "Ticket, retrained\nmasks of zeros,\nfull shapes"),
        Box(205, 60, 150, "Remove edges\nthose with a mask\nentry of 0", "step"),
        Box(400, 60, 160, "Find live units\non a path of weights\nfrom input to output", "step"),
        Box(
            605, 60, 200, "Cut and lay out\nrows and columns gone;\ndense, blocks or sparse", "step"
        ),
        Box(605, 150, 200, "One file, or torch.export", "store"),
        Arrow(((160, 93), (203, 93))),
        Arrow(((355, 93), (398, 93))),
        Arrow(((560, 93), (603, 93))),
        Arrow(((705, 127), (705, 148))),
    ),
)
DIAGRAMS = {
    "rounds": ROUNDS,
    "forward": FORWARD,
    "rows": ROWS,
    "compaction": COMPACTION,
}


def write(app: Sphinx) -> None:
    """Write every diagram beside the pages that show it."""
    folder = Path(app.srcdir, "_diagrams")
    folder.mkdir(exist_ok=True)
    for name, diagram in DIAGRAMS.items():
        folder.joinpath(f"{name}.svg").write_text(diagram.draw(), encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Draw before anything is read."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
