"""A run in words: its heading, table and warnings, as `graphlth show` and reports have them."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from graphlth.records.extreme import TicketSparsity, can_be_extreme, extreme_of_rows
from graphlth.records.gaps import check_margin, default_margin, format_margin
from graphlth.records.statistics import Row, format_metric, row_warnings
from graphlth.records.winning import Marks

HEAD = ("round", "edges removed", "weights removed", "val", "test", "MACs", "fewer")


def run_title(rows: Sequence[Row]) -> str:
    """Of what a run is: algorithm, task, model, what 100 % is, and how many seeds."""
    run, seeds = rows[0], sorted({row.n for row in rows})
    edges = f"{run.num_edges:,} {run.edges} edges" if run.edges else "no graph"
    title = f"{run.algorithm} on {run.task} with {run.model}: {edges}, {run.num_weights:,} weights"
    many = "–".join(map(str, sorted({seeds[0], seeds[-1]})))
    label = f" ({run.label})" if run.label else ""
    return f"{title}, {many} seed{'' if many == '1' else 's'}{label}"


def run_table(rows: Sequence[Row], marks: Marks) -> list[list[str]]:
    """The cells of a run, a line per round, under `HEAD`: * is winning, ° by the rule alone."""
    dense = rows[0].macs if rows[0].round == 0 else None
    star = {r.round: " *" if r in marks.winning else " °" if r in marks.by_rule_alone else ""
            for r in rows}  # fmt: skip
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


def mark_lines(rows: Sequence[Row], marks: Marks, margin: float | None) -> list[str]:
    """What the marks of `run_table` mean, as far as they occur, and where none are."""
    lines = []
    for metric in sorted({row.metric for row in marks.winning}):
        allowed = format_margin(check_margin(margin, metric), metric)
        lines.append(f"* winning: shown to be less than {allowed} below dense, of test {metric} "
                     "(one-sided test at 5 %)")  # fmt: skip
    if marks.by_rule_alone:
        lines.append("° only the paper's rule: mean at least dense")
    if marks.beside_warning:
        lines.append("beside a warning, its own or one of round 0, a round has no °, and * only if "
                     "it is winning without the seeds that have the warning, too")  # fmt: skip
    for metric in sorted({row.metric for row in rows}) if margin is None else ():
        if default_margin(metric) is None:
            lines.append(f"rounds of {metric} are not tested: state a margin in its unit, --margin")
    return lines


def extreme_line(rows: Sequence[Row], margin: float | None) -> list[str]:
    """A line of the largest sparsity of a winning ticket of one run, where it can be estimated."""
    metric = rows[0].metric
    if not can_be_extreme(rows) or (margin is None and default_margin(metric) is None):
        return []
    found = extreme_of_rows(rows, check_margin(margin, metric))
    if found.interval is None or found.shown is None:
        return []
    low, high = map(format_sparsity, found.interval)
    span = low if low == high else f"from {low} to {high}"
    return [f"largest sparsity of a winning ticket: by the paper's rule "
            f"{format_sparsity(found.by_paper_rule)}; over resampled seeds, 95 % interval, {span}; "
            f"by the test within the margin {format_sparsity(found.shown)}"]  # fmt: skip


def format_sparsity(ticket: TicketSparsity) -> str:
    """The round of a ticket and what it removes; `no round` of round 0, which removes nothing."""
    if not ticket.round:
        return "no round"
    return (f"round {ticket.round} ({ticket.edge_sparsity:.1%} of the edges, "
            f"{ticket.weight_sparsity:.1%} of the weights)")  # fmt: skip


def warning_lines(rows: Sequence[Row]) -> list[str]:
    """The warnings of a run, each once, with the rounds and seeds that it is about."""
    about: dict[str, tuple[set[int], set[int]]] = {}
    for row in rows:
        for text, seeds in row_warnings(row).items():
            rounds, whose = about.setdefault(text, (set(), set()))
            rounds.add(row.round)
            whose |= {*seeds}
    what = rows[0].repetition
    return [
        f"warning: {text} ({format_numbers('round', rounds)}; {format_numbers(what, seeds)})"
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
