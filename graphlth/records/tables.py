"""A run in words: its heading, table and warnings, as `graphlth show` and reports have them."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from graphlth.records.statistics import Row, format_metric, row_warnings

HEAD = ("round", "edges removed", "weights removed", "val", "test", "MACs", "fewer")


def run_title(rows: Sequence[Row]) -> str:
    """Of what a run is: algorithm, task, model, what 100 % is, and how many seeds."""
    run, seeds = rows[0], sorted({row.n for row in rows})
    edges = f"{run.num_edges:,} {run.edges} edges" if run.edges else "no graph"
    title = f"{run.algorithm} on {run.task} with {run.model}: {edges}, {run.num_weights:,} weights"
    many = "–".join(map(str, sorted({seeds[0], seeds[-1]})))
    label = f" ({run.label})" if run.label else ""
    return f"{title}, {many} seed{'' if many == '1' else 's'}{label}"


def run_table(rows: Sequence[Row], stars: Sequence[Row]) -> list[list[str]]:
    """The cells of a run, a line per round, under `HEAD`; the `stars` among the rows have one."""
    dense = rows[0].macs if rows[0].round == 0 else None
    star = {row.round: " *" if row in stars else "" for row in rows}
    width = max(map(len, star.values()))
    table = []
    for row in rows:
        val, test = (
            format_metric([r[split] for r in row.records], row.metric) for split in ("val", "test")
        )
        fewer = f"{dense / row.macs:.1f}×" if dense and row.macs else ""
        table.append([
            str(row.round), f"{row.edge_sparsity:.1%}", f"{row.weight_sparsity:.1%}",
            val, f"{test}{star[row.round]:{width}}",
            "" if row.macs is None else format_count(row.macs), fewer,
        ])  # fmt: skip
    return table


def warning_lines(rows: Sequence[Row]) -> list[str]:
    """The warnings of a run, each once, with the rounds and seeds that it is about."""
    about: dict[str, tuple[set[int], set[int]]] = {}
    for row in rows:
        for text, seeds in row_warnings(row).items():
            rounds, whose = about.setdefault(text, (set(), set()))
            rounds.add(row.round)
            whose |= {*seeds}
    return [
        f"warning: {text} ({format_numbers('round', rounds)}; {format_numbers('seed', seeds)})"
        for text, (rounds, seeds) in about.items()
    ]


def format_count(number: float) -> str:
    """A count in thousands or millions."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= 10 * size:
            return f"{number / size:,.0f} {unit}"
    return f"{number:,.0f}"


def format_numbers(name: str, numbers: Iterable[int]) -> str:
    """`round 3`, or `rounds 0, 2–5` where there are several."""
    ordered = sorted(numbers)
    groups: list[list[int]] = [ordered[:1]]
    for before, after in pairwise(ordered):
        if after == before + 1:
            groups[-1].append(after)
        else:
            groups.append([after])
    spans = [f"{g[0]}–{g[-1]}" if len(g) > 2 else ", ".join(map(str, g)) for g in groups]
    return f"{name}{'s' * (len(ordered) > 1)} {', '.join(spans)}"
