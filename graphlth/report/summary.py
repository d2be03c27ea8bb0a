"""What the runs of a section come to, in sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

from graphlth.records.statistics import Row, format_metric, winning_rows
from graphlth.records.tables import format_numbers
from graphlth.report.runs import Run


@dataclass(frozen=True)
class Summary:
    """Sentences on each run, by its name."""

    runs: Sequence[tuple[str, Sequence[str]]]


def summarise(runs: Sequence[Run], margin: float | None) -> Summary:
    """The summary of the runs of one section."""
    return Summary([(run.name, run_sentences(run)) for run in runs])


def run_sentences(run: Run) -> list[str]:
    """What is found of one run."""
    dense = next((row for row in run.series if row.round == 0), None)
    tickets = [row for row in run.series if row.round]
    sentences = [f"Dense: test {value_text(dense)}."] if dense else []
    if tickets:
        last = tickets[-1]
        sentences.append(f"Round {last.round}, with {removed_text(last)}: test {value_text(last)}.")
    if dense and tickets:
        sentences.append(rule_sentence(winning_rows(run.series)))
    return sentences


def rule_sentence(rows: Sequence[Row]) -> str:
    """By the paper's rule."""
    if not rows:
        return "By the paper's rule, mean at least dense, no round wins."
    return (f"By the paper's rule, mean at least dense, {format_numbers('round', [r.round for r in rows])} "
            f"win{'s' if len(rows) == 1 else ''}; the last with {removed_text(rows[-1])}.")  # fmt: skip


def value_text(row: Row) -> str:
    """The metric of a round with its interval."""
    unit = " %" if row.metric == "accuracy" else ""
    values = [record["test"] for record in row.records]
    return f"{row.metric.replace('_', ' ')} {format_metric(values, row.metric)}{unit}"


def removed_text(row: Row) -> str:
    """What a round removes."""
    weights = f"{row.weight_sparsity:.1%} of the weights"
    edges = f"{row.edge_sparsity:.1%} of the edges and " if row.edge_sparsity else ""
    return f"{edges}{weights} removed"
