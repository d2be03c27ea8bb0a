"""Two runs compared round by round: against dense, and against one another, paired by seed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from graphlth.records.files import read
from graphlth.records.gaps import (
    BETTER,
    EQUAL,
    WINNING,
    WORSE,
    Gap,
    adjust_p_values,
    check_margin,
    find_verdict,
    make_gap,
    p_above,
    p_below,
    p_values,
    p_within,
    paired_gaps,
)
from graphlth.records.schema import Record, run_key
from graphlth.records.statistics import Row, run_of, summary, warned_seeds
from graphlth.records.winning import (
    are_ordered,
    gaps_to_dense,
    rows_by_paper_rule,
    rows_without_warnings,
)
from graphlth.settings.types import Positive
from graphlth.settings.validation import validate_settings

HALF_A_POINT = 0.005  # of sparsity: rounds that lie further apart are not compared by it
By = Literal["round", "sparsity"]
Split = Literal["test", "val"]


@dataclass(frozen=True)
class ComparedRound:
    """One round of run a: its gap to dense, and to a round of run b."""

    round: int
    other: int | None  # the round of b; None where it is not comparable
    edge_sparsity: float
    weight_sparsity: float
    to_dense: Gap | None  # None without a round 0 of a
    to_other: Gap | None  # None where it is not comparable
    by_paper_rule: bool  # the mean of a is at least that of its round 0, and beside no warning


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds; gaps above 0 are better, in the unit of the metric."""

    a: str  # the algorithms, with the settings in which the two runs differ
    b: str
    task: str
    model: str
    metric: str  # such as accuracy
    split: str  # "test" or "val"
    margin: float  # what is stated beforehand to be no worse, in the unit of the metric
    by: str  # "round" or "sparsity"
    ordered: bool  # each round of a removes more than the one before: a fixed sequence is tested
    rounds: tuple[ComparedRound, ...]
    seeds: tuple[int, ...]  # of both runs: those of the gaps between them
    seeds_of_a: tuple[int, ...]  # those of the gaps to dense
    seeds_of_one: tuple[int, ...]  # left out of the gaps between the runs
    unequal: tuple[int, ...]  # rounds of a whose sparsity is not that of the round of b
    warned: tuple[int, ...]  # rounds of a in which a seed, of a or of b, has a warning
    same_dense: bool | None  # the runs share round 0, seed by seed; None where one has none

    @property
    def winning(self) -> tuple[int, ...]:
        """The rounds of a that are not inferior to dense by the margin."""
        return tuple(r.round for r in self.rounds if r.to_dense and r.to_dense.verdict == WINNING)

    @property
    def better(self) -> tuple[int, ...]:
        """The rounds of a that are better than those of b."""
        return tuple(r.round for r in self.rounds if r.to_other and r.to_other.verdict == BETTER)


@validate_settings
def compare(
    a: str | Path,
    b: str | Path,
    *,
    margin: Positive | None = None,
    by: By = "round",
    metric: Split = "test",
) -> Comparison:
    """The gaps of run a to its dense network and to run b, paired by seed, with verdicts.

    - Of the gap to dense: "winning" if it is shown not to lie below 0 by the margin or more, in
      a fixed sequence of tests from round 1 on; by Holm's method where rounds have no order.
    - Of the gap to b: "better", "worse", or "no difference", which is equivalence within the
      margin; each by Holm's method over the rounds.
    - Of both: "doubtful" where it is shown with all seeds, but not without those that have a
      warning; "too few seeds" under 3, and "not shown".

    One-sided tests at level 0.05; intervals are simultaneous over the rounds, at 95 %.

    Args:
        a: the folder of a run.
        b: the folder of another, such as one of `random_tickets`.
        margin: what is no worse, in the unit of the metric, stated before the runs: of accuracy by
            default 0.01, one point; of another metric it must be given.
        by: which rounds are compared: those of one number, or the nearest in sparsity, if both
            edges and weights are within half a point.
        metric: which values: those of "test" or of "val" data.

    Raises:
        ValueError: a folder holds another number of runs than one; the runs are of different tasks,
            data or metrics, or share no seed or no round; or the margin is out of range.
        FileNotFoundError: a folder is missing or holds no record.
    """
    if Path(a).resolve() == Path(b).resolve():
        raise ValueError(f"`b` must be another run than `a`, got {str(b)!r} for both")
    ours, theirs = read_run("a", a), read_run("b", b)
    return compare_records(ours, theirs, margin=margin, by=by, metric=metric)


def compare_records(
    a: Sequence[Record],
    b: Sequence[Record],
    *,
    margin: float | None = None,
    by: str = "round",
    metric: str = "test",
) -> Comparison:
    """`compare` of the records of two runs."""
    ours, theirs = summary(a), summary(b)
    check_comparable(ours, theirs)
    stated = check_margin(margin, ours[0].metric)
    dense, tickets = _split_dense(ours)
    pairs = {row.round: other for row in tickets if (other := _partner(row, theirs, by))}
    if not pairs and by == "round":
        raise ValueError("`b` must have rounds of `a`, got none with the number of one of a: "
                         "compare them by sparsity (--by sparsity)")  # fmt: skip
    to_dense = gaps_to_dense(ours, margin=stated, metric=metric)
    couples = [(row, pairs[row.round]) for row in tickets if row.round in pairs]
    to_other = gaps_to_other(couples, margin=stated, metric=metric)
    by_rule = rows_without_warnings(rows_by_paper_rule(ours, metric=metric), ours)
    rounds = tuple(
        ComparedRound(
            row.round, pairs[row.round].round if row.round in pairs else None,
            row.edge_sparsity, row.weight_sparsity,
            to_dense.get(row.round), to_other.get(row.round), row in by_rule,
        )
        for row in tickets
    )  # fmt: skip
    seeds_a, seeds_b = _seeds(ours), _seeds(theirs)
    return Comparison(
        *_names(a, b), ours[0].task, ours[0].model, ours[0].metric, metric, stated, by,
        ordered=are_ordered(tickets), rounds=rounds,
        seeds=tuple(sorted(seeds_a & seeds_b)), seeds_of_a=tuple(sorted(seeds_a)),
        seeds_of_one=tuple(sorted(seeds_a ^ seeds_b)),
        unequal=tuple(row.round for row, other in couples if not _are_near(row, other)),
        warned=tuple(r.round for r in ours if warned_seeds(r, *filter(None, [pairs.get(r.round)]))),
        same_dense=_share_dense(dense, _split_dense(theirs)[0], metric),
    )  # fmt: skip


def gaps_to_other(
    pairs: Iterable[tuple[Row, Row]], *, margin: float, metric: str = "test"
) -> dict[int, Gap]:
    """By how much each round of a run is better than one of another, by the number of the first.

    Claims of one kind are adjusted over all rounds by Holm's method: against another run, unlike
    against dense, it is not known beforehand where the gap is largest.

    Args:
        pairs: a round of the run and the one that it is compared with.
        margin: within which two rounds are called equal, in the unit of the metric.
        metric: "test" or "val".
    """
    pairs = list(pairs)
    gaps = [paired_gaps(row.records, other.records, metric=metric) for row, other in pairs]
    warned = [warned_seeds(row, other) for row, other in pairs]
    tests = {BETTER: (p_above, 0.0), WORSE: (p_below, 0.0), EQUAL: (p_within, margin)}
    found = {}
    for claim, (test, bound) in tests.items():
        alone = [p_values(test, values, bound, w) for values, w in zip(gaps, warned, strict=True)]
        found[claim] = adjust_p_values(alone, ordered=False)
    rounds = [dict(zip(found, p, strict=True)) for p in zip(*found.values(), strict=True)]
    return {
        row.round: make_gap(values, len(pairs), p[BETTER].larger, find_verdict(p))
        for (row, _), values, p in zip(pairs, gaps, rounds, strict=True)
    }


# --- which runs and rounds -----------------------------------------------------------------------


def read_run(name: str, folder: str | Path) -> list[Record]:
    """The records of the one run in a folder; `name` is the argument that it is.

    Raises:
        ValueError: there are several.
    """
    records = read(folder)
    runs = sorted({run_of(row) for row in summary(records)})
    if len(runs) > 1:
        splits = {str(r["settings"].get("split")) for r in records}
        of_splits = len({run[:3] for run in runs}) == 1 and len(splits) == len(runs)
        reason = " of several splits, which are no independent repetitions" if of_splits else ""
        raise ValueError(f"`{name}` must be the folder of one run, got {len(runs)} runs in "
                         f"{str(folder)!r}{reason}: name one of the folders in it")  # fmt: skip
    return records


def check_comparable(ours: Sequence[Row], theirs: Sequence[Row]) -> None:
    """Refuse two runs, a and b, whose values are not of the same thing.

    Raises:
        ValueError: their task, metric, direction or data differ, or they share no seed.
    """
    a, b = ours[0], theirs[0]
    for what, one, other in (
        ("task", a.task, b.task),
        ("metric", f"{a.metric} ({a.direction})", f"{b.metric} ({b.direction})"),
    ):
        if one != other:
            raise ValueError(f"`b` must be of the {what} of `a`, {one}, got {other}: compare runs "
                             f"of one {what}")  # fmt: skip
    digest, got = (row.records[0].get("data") for row in (a, b))
    if None not in (digest, got) and digest != got:
        raise ValueError(f"`b` must be of the data of `a`, digest {digest}, got {got}: the graph, "
                         "labels or split is another; run b on the data and the split of a"
                         )  # fmt: skip
    if not _seeds(ours) & _seeds(theirs):
        known, got = (",".join(map(str, sorted(_seeds(rows)))) for rows in (ours, theirs))
        raise ValueError(f"`b` must share seeds with `a`, {known}, got {got}: gaps are paired by "
                         f"seed; run b with --seeds {known}")  # fmt: skip


def _seeds(rows: Sequence[Row]) -> set[int]:
    return {record["seed"] for row in rows for record in row.records}


def _split_dense(rows: Sequence[Row]) -> tuple[Row | None, list[Row]]:
    """The row of round 0, None where there is none, and the others."""
    return next((row for row in rows if row.round == 0), None), [row for row in rows if row.round]


def _partner(row: Row, others: Sequence[Row], by: str) -> Row | None:
    """The round of another run that a round is compared with."""
    tickets = [other for other in others if other.round]
    if by == "round":
        return next((other for other in tickets if other.round == row.round), None)
    nearest = min(tickets, default=None, key=lambda other: (
        round(_distance(row, other), 9), abs(other.round - row.round)))  # fmt: skip
    return nearest if nearest is not None and _are_near(row, nearest) else None


def _distance(row: Row, other: Row) -> float:
    """How far apart two rounds are in sparsity, of edges or of weights."""
    return max(abs(row.edge_sparsity - other.edge_sparsity),
               abs(row.weight_sparsity - other.weight_sparsity))  # fmt: skip


def _are_near(row: Row, other: Row) -> bool:
    return _distance(row, other) <= HALF_A_POINT + 1e-9  # of rounding


def _share_dense(ours: Row | None, theirs: Row | None, metric: str) -> bool | None:
    if ours is None or theirs is None:
        return None
    return not any(paired_gaps(ours.records, theirs.records, metric=metric).values())


def _names(a: Sequence[Record], b: Sequence[Record]) -> tuple[str, str]:
    """The algorithms of two runs, with the settings in which runs of one algorithm differ."""
    keys = [run_key(side[0]) for side in (a, b)]
    rows = {run_of(row): row for row in summary([*a, *b] if keys[0] != keys[1] else a)}
    one, other = (f"{r.algorithm} ({r.label})" if r.label else r.algorithm
                  for r in (rows[key] for key in keys))  # fmt: skip
    return one, other
