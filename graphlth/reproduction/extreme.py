"""The table of extreme sparsity: how much tickets remove that still match the dense network.

As in ACE-GLT (Wang et al., ECAI 2023, arXiv:2308.02916), which has it of weights alone and of edges
alone.
"""

from collections.abc import Sequence

from graphlth.records import Row, metric_of, summary
from graphlth.records.extreme import TicketSparsity, can_be_extreme, extreme_of_rows
from graphlth.records.gaps import default_margin, format_margin
from graphlth.reproduction.parts import Suite
from graphlth.reproduction.result import BOOTSTRAP, Table, Value
from graphlth.reproduction.rounds import Runs

REMOVED = ("edges", "weights")
TEXT = (
    "The largest sparsity, in %, of a winning ticket. By the papers' rule it is that of the last "
    "round whose mean is at least dense, in brackets with its 95 % interval over resampled seeds; "
    "by the test, that of the last round up to which all are shown to be less than {margin} below "
    "dense; 0.0 where there is no such round. Published values are by the rule."
)


def extreme_table(runs: Runs, suite: Suite) -> Table | None:
    """A line for each run, and for each published value, of the suite's table `extreme`.

    None where none of the runs has rounds that each remove more, or the metric has no margin.
    """
    metric = metric_of(next(iter(runs.values()))[0])
    if (margin := default_margin(metric)) is None:
        return None
    rows = []
    for what in REMOVED:
        asked = suite.get("extreme", {}).get(what, {})
        known = {name: summary(runs[name]) for name in asked.get("runs", ()) if name in runs}
        ours = [[what, name, *extreme_cells(own, what, margin)]
                for name, own in known.items() if can_be_extreme(own)]  # fmt: skip
        theirs = [[what, source, Value(100 * value), None]
                  for source, value in asked.get("published", {}).items()]  # fmt: skip
        rows += [*ours, *theirs] if ours else []
    columns = dict.fromkeys(("by the papers' rule", "by the test"), ".1f")
    text = TEXT.format(margin=format_margin(margin, metric))
    table = Table("extreme", {"removed": "", "method": ""}, columns, rows, "Extreme sparsity", text)
    return table if rows else None


def extreme_cells(rows: Sequence[Row], what: str, margin: float) -> list[Value]:
    """How many edges, or weights, a run removes at most: by the rule and by the test."""
    found = extreme_of_rows(rows, margin)
    low, high = (removed_percent(end, what) for end in found.interval or (None, None))
    n = len(found.seeds)
    kind = BOOTSTRAP if found.interval else None
    by_rule = Value(removed_percent(found.by_paper_rule, what), low, high, kind, n)
    return [by_rule, Value(removed_percent(found.shown, what), n=n)]


def removed_percent(ticket: TicketSparsity | None, what: str) -> float | None:
    """The share of the edges, or of the weights, that a ticket removes, in %."""
    if ticket is None:
        return None
    return 100 * (ticket.edge_sparsity if what == "edges" else ticket.weight_sparsity)
