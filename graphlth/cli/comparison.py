"""What `graphlth compare` prints, and what a run says of its seeds before it starts."""

import sys

from graphlth.cli.tables import print_table, print_text
from graphlth.records.comparison import Comparison
from graphlth.records.comparison_tables import (
    WORDS,
    comparison_notes,
    comparison_table,
    comparison_title,
)
from graphlth.records.power import POWER, largest_sd
from graphlth.records.statistics import MIN_SEEDS, format_number


def show_comparison(found: Comparison) -> None:
    """Print a table of the gaps of a run, a line per round, and what its words mean."""
    print()
    print_text(comparison_title(found))
    print_table(*comparison_table(found), left=WORDS)
    for line in comparison_notes(found):
        print_text(line)


def print_power(margin: float, seeds: int) -> None:
    """Say on stderr what some seeds can show, before they are run."""
    sd = largest_sd(margin, seeds)
    if sd is None:
        text = f"`margin` {margin:g}: nothing is tested under {MIN_SEEDS} seeds, got {seeds}"
    else:
        text = (f"`margin` {margin:g}: {seeds} seeds show a ticket as good as dense with power "
                f"{POWER:g} if paired gaps have a standard deviation of at most "
                f"{format_number([sd])} between seeds")  # fmt: skip
    print(f"graphlth: {text}", file=sys.stderr)
