"""Tables that fit: no number is cut or broken, whatever the width of the terminal.

What is too wide for a line has its headings broken, and then its columns: a part of them stands
below the other, each beside the first column.
"""

import os
import shutil
import textwrap
from collections.abc import Collection, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from graphlth.storage import printable

UNLIMITED = 10_000  # letters: off a terminal no line is broken
GAP = 2  # letters between columns that are crowded


def line_width() -> int:
    """The letters that a line of standard output holds."""
    console = Console()
    if console.file.isatty():  # `is_terminal` is also true where FORCE_COLOR is set, in a pipe
        return console.width
    return (
        shutil.get_terminal_size((UNLIMITED, 0)).columns if os.environ.get("COLUMNS") else UNLIMITED
    )


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str] = ()
) -> None:
    """Print a table; columns stand to the right but those that are named `left`."""
    room, rows = line_width(), [[*map(printable, row)] for row in rows]
    natural = [max(map(cell_len, column)) for column in zip(head, *rows, strict=True)]
    if 2 + sum(natural) + 3 * (len(head) - 1) <= room:
        print_part(head, rows, left, padding=1)
        return
    narrow = [
        max(map(cell_len, [*name.split(), *column]), default=0)
        for name, *column in zip(head, *rows, strict=True)
    ]
    broken = [textwrap.fill(n, max(w, 1)) for n, w in zip(head, narrow, strict=True)]
    named = {one for name, one in zip(head, broken, strict=True) if name in left}
    for part in split_columns(narrow, room):
        print_part([broken[i] for i in part], [[row[i] for i in part] for row in rows], named)


def split_columns(widths: Sequence[int], room: int) -> list[list[int]]:
    """Which columns stand in each part of a table: the first in all of them."""
    found, used = [[0]], 2 + widths[0]
    for i, wide in enumerate(widths[1:], start=1):
        if len(found[-1]) > 1 and used + GAP + wide > room:
            found.append([0])
            used = 2 + widths[0]
        found[-1].append(i)
        used += GAP + wide
    return found


def print_part(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: Collection[str],
    padding: int = 0,
) -> None:
    """Print one part of a table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, padding))
    for name in head:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False, emoji=False, width=UNLIMITED)
    with console.capture() as drawn:
        console.print(table)
    print(drawn.get(), end="")  # rich would end the process when nobody reads


def print_text(text: str, indent: str = "") -> None:
    """Print a paragraph, broken between its words; lines after the first begin with `indent`."""
    text, room = printable(text), line_width()
    if len(text) <= room:
        print(text)
        return
    words = text.lstrip()
    lines = textwrap.wrap(
        words, max(room, 1), initial_indent=" " * (len(text) - len(words)),
        subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    print("\n".join(lines))


def print_list(entries: Sequence[tuple[str, str]]) -> None:
    """Print names and what they are: beside one another, or below in a narrow terminal."""
    longest = max((len(name) for name, _ in entries), default=0)
    beside = line_width() >= 2 * longest + 30
    for name, text in entries:
        if beside:
            print_text(f"  {name:{longest}}  {text}".rstrip(), " " * (longest + 4))
        else:
            print(f"  {name}")
            print_text(f"    {text}", " " * 4)


def join_fitting(pieces: Sequence[tuple[int, str]], room: int) -> str:
    """The pieces that fit in a line, joined; of too many those of the lowest rank stay away."""
    kept = list(pieces)
    while len(kept) > 1 and len(join_pieces(kept)) > room:
        kept.remove(min(kept, key=lambda piece: piece[0]))
    return join_pieces(kept)


def join_pieces(pieces: Sequence[tuple[int, str]]) -> str:
    """The texts of all pieces in a line."""
    return "  ".join(text for _, text in pieces)
