"""What claims read of the runs of a suite: the rounds, gaps, costs and stops of their seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from graphlth.records.gaps import paired_gaps
from graphlth.records.schema import Record
from graphlth.records.statistics import IncompleteRecordsError, total_cost
from graphlth.reproduction.scale import PERCENT, scale_of

SAME = ("task", "data", "metric")  # of two runs whose values are compared
Runs = Mapping[str, Sequence[Record]]


class NotComparableError(ValueError):
    """The runs say nothing of a claim."""


def records_of_round(
    runs: Runs, name: str, r: int, field: str = "test", *, dense: bool = False
) -> list[Record]:
    """The records of a round of a run, with another field of tickets as their test value.

    Args:
        runs: the records of each run.
        name: the run.
        r: the round.
        field: the field.
        dense: whether it is also that of round 0, whose test value is its own otherwise; then it
            need not be a value of the metric.

    Raises:
        NotComparableError: it has none, or one of a seed of which the field is no value of the
            metric: to leave out such seeds would be to choose seeds by what is found.
    """
    wanted = field if r or dense else "test"
    found = [
        {**record, "test": record.get(wanted)} for record in runs[name] if record["round"] == r
    ]
    if not found:
        raise NotComparableError(f"{name} has no round {r}")
    fraction = wanted != "test" and not dense and scale_of(found[0]) == PERCENT
    if not all(is_number(x["test"]) and (not fraction or 0 <= x["test"] <= 1) for x in found):
        rule = "a number" + " in [0, 1]" * fraction
        raise NotComparableError(f"{name} has no round {r} whose {wanted} is {rule} for each seed")
    return found


def is_number(value: Any) -> bool:
    """Whether a value of a record is one that has a mean."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def gaps_to_own_dense(records: Sequence[Record], dense: Sequence[Record]) -> list[Record]:
    """The records of a round with their difference to round 0 of the seed as their test value."""
    known = {r["seed"]: r["test"] for r in dense}
    return [{**r, "test": r["test"] - known[r["seed"]]} for r in records if r["seed"] in known]


def find_difference(
    ours: Sequence[Record], theirs: Sequence[Record], same: Sequence[str] = SAME
) -> str:
    """The first of what two runs must have in common that they have not; "" if there is none."""
    return next((what for what in same if ours[0].get(what) != theirs[0].get(what)), "")


def gaps_of(
    ours: Sequence[Record], theirs: Sequence[Record], same: Sequence[str] = SAME
) -> dict[int, float]:
    """By how much a round is better than another, by seed.

    Args:
        ours: the records of the one.
        theirs: those of the other.
        same: what they must have in common.

    Raises:
        NotComparableError: they are of different tasks, data or metrics, or share no seed.
    """
    if ours and theirs and (what := find_difference(ours, theirs, same)):
        raise NotComparableError(f"the two runs are of different {what}")
    if not (gaps := paired_gaps(ours, theirs)):
        raise NotComparableError("the two runs share no seed")
    return gaps


def macs_by_seed(records: Sequence[Record], last: int, name: str) -> dict[int, float]:
    """The MACs of search and retraining up to a round, of each seed.

    Raises:
        NotComparableError: rounds are missing, or MACs are not counted.
    """
    seeds = {record["seed"] for record in records}
    try:
        found = {seed: total_cost([r for r in records if r["seed"] == seed], last)
                 for seed in seeds}  # fmt: skip
    except IncompleteRecordsError as error:
        raise NotComparableError(f"the cost of {name} is not known: {error}") from None
    if not all(found.values()):
        raise NotComparableError(f"the MACs of {name} are not counted")
    return found


def stops_by_seed(runs: Runs, name: str, r: int) -> dict[int, int]:
    """The iterations of early stop in a round of a run, at least 1, by seed."""
    records = records_of_round(runs, name, r, "stop_iteration", dense=True)
    return {record["seed"]: max(1, record["stop_iteration"]) for record in records}
