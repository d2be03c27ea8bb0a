"""Two compared runs in words: a table of gaps and verdicts, and what it means."""

from collections.abc import Sequence
from statistics import median

from graphlth.records.comparison import ComparedRound, Comparison
from graphlth.records.gaps import BETTER, EQUAL, WINNING, WORSE, Gap, format_margin
from graphlth.records.power import POWER, seeds_needed
from graphlth.records.schema import ACCURACY
from graphlth.records.tables import format_numbers

WORDS = ("ticket", "verdict")  # columns of words


def comparison_title(found: Comparison) -> str:
    """What is compared: runs, data, metric, margin, and the seeds of the gaps."""
    margin, seeds = (format_margin(found.margin, found.metric),
                     format_numbers("seed", found.seeds_of_a))  # fmt: skip
    if found.seeds != found.seeds_of_a:
        seeds += f" against dense, {format_numbers('seed', found.seeds)} against {found.b}"
    return (f"{found.a} against {found.b} on {found.task} with {found.model}: {found.split} "
            f"{found.metric.replace('_', ' ')}, margin {margin}, {seeds}")  # fmt: skip


def comparison_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """The head and a line per round: its gaps to dense and to the other run, with verdicts."""
    unit = " (points)" if found.metric == ACCURACY else ""
    head = ["round", "edges removed", "weights removed", f"− dense{unit}", "at least", WORDS[0],
            f"− {found.b}{unit}", WORDS[1]]  # fmt: skip
    if found.by == "sparsity":
        head.insert(1, f"of {found.b}")
    return head, [_cells(each, found) for each in found.rounds]


def comparison_notes(found: Comparison) -> list[str]:
    """What columns and verdicts of the table mean, and what its reader should know of the runs."""
    return [*_meanings(found, format_margin(found.margin, found.metric)), *_remarks(found)]


def _cells(each: ComparedRound, found: Comparison) -> list[str]:
    other = [] if found.by == "round" else ["" if each.other is None else str(each.other)]
    dense, gap = each.to_dense, each.to_other
    rule = " °" if each.by_paper_rule else ""
    return [
        str(each.round), *other, f"{each.edge_sparsity:.1%}", f"{each.weight_sparsity:.1%}",
        _format_gap(dense, found.metric),
        _format_number(dense.bound, found.metric) if dense and dense.bound is not None else "",
        f"{dense.verdict if dense else ''}{rule}",
        _format_gap(gap, found.metric), gap.verdict if gap else "not comparable",
    ]  # fmt: skip


def _format_gap(gap: Gap | None, metric: str) -> str:
    if gap is None or not gap.n:
        return ""
    mean = _format_number(gap.mean, metric)
    if gap.interval is None:
        return mean
    low, high = (_format_number(end, metric) for end in gap.interval)
    return f"{mean} ({low} to {high})"


def _format_number(value: float, metric: str) -> str:
    """A gap with its sign: of accuracy in points."""
    return f"{100 * value:+z.1f}" if metric == ACCURACY else f"{value:+z.3g}"


def _meanings(found: Comparison, margin: str) -> list[str]:
    """What the columns and the verdicts of the table mean, as far as they occur."""
    order = ("rounds in sequence from the first on" if found.ordered else
             "adjusted over the rounds by Holm's method, as they have no order")  # fmt: skip
    lines = ["gaps: means over the seeds of both sides, above 0 better; simultaneous 95 % "
             "intervals over the rounds (Bonferroni); at least: one-sided 95 % lower bound of a "
             "round alone"]  # fmt: skip
    verdicts = {gap.verdict for r in found.rounds for gap in (r.to_dense, r.to_other) if gap}
    if WINNING in verdicts:
        lines.append(f"winning: shown to be less than {margin} below dense (one-sided test at 5 %, "
                     f"{order})")  # fmt: skip
    if verdicts & {BETTER, WORSE}:
        lines.append("better, worse: one-sided tests at 5 %, adjusted over the rounds by Holm's "
                     "method, which shows more than the intervals")  # fmt: skip
    if EQUAL in verdicts:
        lines.append(f"no difference: shown to be less than {margin} apart (two one-sided tests)")
    if found.warned:
        lines.append(f"{format_numbers('round', found.warned)}: seeds have warnings, which "
                     "`graphlth show` lists: a verdict is shown with these seeds and also without "
                     "them, else it is doubtful")  # fmt: skip
    if any(r.by_paper_rule for r in found.rounds):
        lines.append("° paper's rule: mean at least dense")
    return lines


def _remarks(found: Comparison) -> list[str]:
    """What a reader of the table should know of the two runs."""
    lines = []
    if found.seeds_of_one:
        lines.append(f"{format_numbers('seed', found.seeds_of_one)} of one run alone: left out of "
                     f"the gaps to {found.b}")  # fmt: skip
    if found.same_dense is False:
        lines.append("the dense networks of the two runs differ: so do the gaps between the runs, "
                     "by more than the tickets")  # fmt: skip
    if found.unequal:
        lines.append(f"{format_numbers('round', found.unequal)}: the runs differ in sparsity by "
                     "more than half a point; --by sparsity compares those that do not"
                     )  # fmt: skip
    sds = [r.to_dense.sd for r in found.rounds if r.to_dense and r.to_dense.sd is not None]
    if sds:
        lines.append(_seeds_line(found, sds))
    return lines


def _seeds_line(found: Comparison, sds: Sequence[float]) -> str:
    """How many new seeds show a ticket that is as good as dense, by the gaps of these."""
    needs = []
    for name, sd in (("median", median(sds)), ("largest", max(sds))):
        try:
            needs.append(f"{seeds_needed(found.margin, sd):,} at the {name} standard deviation")
        except ValueError:  # the margin is a thousandth of it
            needs.append(f"more than can be run at the {name} standard deviation")
    return (f"seeds that a new run needs to show a ticket as good as dense with power {POWER:g}: "
            f"{', '.join(needs)} of these gaps")  # fmt: skip
