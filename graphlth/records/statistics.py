"""Statistics over seeds: means with intervals, paired differences, costs and warnings."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from graphlth.records.schema import (
    ACCURACY,
    FIELDS,
    Record,
    Run,
    labelled_settings,
    metric_of,
    run_key,
)
from graphlth.storage import printable

CONFIDENCE = 0.95
MIN_SEEDS = 3  # values that an interval is given for; of fewer the range says more
EACH_SPLIT = "each"  # the setting `split` of a run over several splits, whose seeds are the splits
FAR_APART = 0.2  # between two seeds, from which on an interval of accuracies means nothing
METRICS = ("test", "val")
UNITS = ("macs", "seconds", "epochs", "joules")  # what work is counted in


@dataclass(frozen=True)
class Row:
    """One round of one run, over its seeds; an interval is the half-width, None under 3 seeds."""

    algorithm: str
    task: str
    model: str
    edges: str | None
    settings: str  # their hash
    label: str  # the settings in which runs of this algorithm, task, model and edges differ
    round: int
    n: int  # seeds, or splits
    test: float  # the mean of the metric
    test_interval: float | None
    val: float
    val_interval: float | None
    edge_sparsity: float
    weight_sparsity: float
    num_edges: int  # 100 % of the prunable edges
    num_weights: int
    macs: float | None
    records: Sequence[Record] = field(repr=False, compare=False)  # by seed

    @property
    def metric(self) -> str:
        """What `val` and `test` are: accuracy, in [0, 1], or another metric."""
        return metric_of(self.records[0])

    @property
    def repetition(self) -> str:
        """What a value of the round is of: "seed", or "split" of a run over several splits."""
        split = self.records[0]["settings"].get("split")
        return "split" if split == EACH_SPLIT else "seed"

    @property
    def direction(self) -> str:
        """Which values of the metric are better: "max" or "min"."""
        direction: str = self.records[0].get("direction", "max")
        return direction

    @property
    def sign(self) -> int:
        """What differences are multiplied by, so that above 0 is better."""
        return 1 if self.direction == "max" else -1


def interval(values: Sequence[float]) -> float | None:
    """Half-width of the 95 % Student-t confidence interval of the mean; None under 3 values."""
    if len(values) < MIN_SEEDS:
        return None
    if len({*values}) == 1:
        return 0.0  # not the rounding of their mean
    from scipy import stats  # 50 MB that a run has no use for

    t = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return float(t * stats.sem(values))


def format_percent(values: Sequence[float]) -> str:
    """The mean in per cent: `81.3 ± 0.4` with its interval, `81.3 (81.0–81.6)` with a range."""
    return _format_mean(values, 100, "z.1f")


def format_metric(values: Sequence[float], metric: str) -> str:
    """The mean with its interval or a range: of accuracy in per cent, of another metric as is."""
    return format_percent(values) if metric == ACCURACY else format_number(values)


def format_number(values: Sequence[float]) -> str:
    """The mean of some numbers, of four digits, with its interval or a range."""
    rounded = [float(f"{value:.12g}") for value in values]  # of equal ones the interval is 0
    return _format_mean(rounded, 1, "z.4g")


def format_value(value: float, metric: str) -> str:
    """One value of a metric: `81.3%` of accuracy, another as it is."""
    return f"{value:.1%}" if metric == ACCURACY else f"{value:.4g}"


def _format_mean(values: Sequence[float], scale: float, form: str) -> str:
    mean, half = f"{scale * fmean(values):{form}}", interval(values)
    if half is not None:
        return f"{mean} ± {scale * half:{form}}"
    low, high = f"{scale * min(values):{form}}", f"{scale * max(values):{form}}"
    joint = "–" if min(values) >= 0 else " to "
    return mean if len(values) == 1 else f"{mean} ({low}{joint}{high})"


def _differing_settings(settings: Mapping[str, Record]) -> dict[str, str]:
    """For each of some runs, by hash: the settings that not all of them share, in words."""
    texts = {h: {k: json.dumps(v).strip('"') for k, v in s.items()} for h, s in settings.items()}
    keys = sorted({key for text in texts.values() for key in text})
    differ = [key for key in keys if len({text.get(key) for text in texts.values()}) > 1]
    return {
        h: printable(", ".join(f"{key}={text[key]}" for key in differ if key in text))
        for h, text in texts.items()
    }


def records_by_seed(records: Iterable[Record]) -> dict[int, Record]:
    """The records of one round of one run by seed, rising.

    Errors: ValueError when one seed occurs twice.
    """
    found: dict[int, Record] = {}
    for record in records:
        seed = record["seed"]
        if seed in found:
            name = "-".join(run_key(record)[:3])
            raise ValueError(f"seed {seed} of {name} occurs twice at round {record['round']}: "
                             "leave out the copy of its folder or file")  # fmt: skip
        found[seed] = record
    return dict(sorted(found.items()))


def summary(records: Iterable[Record]) -> list[Row]:
    """One row per run and round: means over seeds, with 95 % Student-t intervals.

    Runs are told apart by algorithm, task, model, edges and settings with the metric, and come in
    that order.
    Errors: ValueError when one seed occurs twice in a round (a copied folder).
    """
    rounds: dict[Run, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    settings: dict[tuple[str, ...], dict[str, Record]] = defaultdict(dict)
    for record in records:
        rounds[run := run_key(record)][record["round"]].append(record)
        settings[run[:4]][run[4]] = labelled_settings(record)
    labels = {names: _differing_settings(group) for names, group in settings.items()}
    rows = []
    for run, numbers in sorted(rounds.items()):
        for number, members in sorted(numbers.items()):
            group = list(records_by_seed(members).values())
            column = {f: [r[f] for r in group] for f in FIELDS}
            counted = [macs for macs in column["macs"] if macs is not None]
            rows.append(
                Row(
                    algorithm=run[0],
                    task=run[1],
                    model=run[2],
                    edges=group[0]["edges"],
                    settings=run[4],
                    label=labels[run[:4]][run[4]],
                    round=number,
                    n=len(group),
                    test=fmean(column["test"]),
                    test_interval=interval(column["test"]),
                    val=fmean(column["val"]),
                    val_interval=interval(column["val"]),
                    edge_sparsity=fmean(column["edge_sparsity"]),
                    weight_sparsity=fmean(column["weight_sparsity"]),
                    num_edges=group[0]["num_edges"],
                    num_weights=group[0]["num_weights"],
                    macs=fmean(counted) if counted else None,
                    records=group,
                )
            )
    return rows


class IncompleteRecordsError(ValueError):
    """Records lack a run, a round or a field that is asked for."""


def check_metric(metric: str) -> str:
    """The same name; ValueError when it is no split whose metric every record holds."""
    if metric not in METRICS:
        raise ValueError(f"`metric` must be one of {', '.join(METRICS)}, got {metric!r}")
    return metric


def paired_differences(
    records_a: Iterable[Record], records_b: Iterable[Record], round: int, *, metric: str = "test"
) -> list[float]:
    """The metric of run a minus that of run b at `round`, of every common seed.

    Errors: ValueError without a common seed, when one side holds more than one run, or when the
    two are measured by different metrics.
    """
    check_metric(metric)
    sides = ([r for r in side if r["round"] == round] for side in (records_a, records_b))
    a, b = map(records_by_seed, sides)
    measured = sorted({metric_of(record) for side in (a, b) for record in side.values()})
    if len(measured) > 1:
        got = " and ".join(measured)
        raise ValueError(f"`records_b` must be of the metric of `records_a`, got {got}: compare "
                         "runs of one metric")  # fmt: skip
    differences = [a[seed][metric] - b[seed][metric] for seed in a if seed in b]
    if not differences:
        raise ValueError(f"`round` must be one that both runs share a seed in, got {round}")
    return differences


def check_unit(unit: str) -> str:
    """The same name; ValueError when no work is counted in it."""
    if unit not in UNITS:
        raise ValueError(f"`unit` must be one of {', '.join(UNITS)}, got {unit!r}")
    return unit


def total_cost(records: Iterable[Record], round: int, unit: str = "macs") -> float:
    """What it cost to obtain the ticket of `round`, trained: every search up to it, its retraining.

    The dense network, round 0, is only trained: it needs no search.

    Args:
        records: those of one seed of one run.
        round: whose ticket.
        unit: "macs" (multiply–accumulates of training), "seconds", "epochs" or "joules".

    Raises:
        ValueError: an unknown unit; as `IncompleteRecordsError` a round that is missing, or a
            record without the unit's field.
    """
    check_unit(unit)
    known = {record["round"]: record for record in records}
    searched = range(round + 1) if round else ()
    if missing := [number for number in (*searched, round) if number not in known]:
        where = f" of {_seed_name(next(iter(known.values())))}" if known else ""
        raise IncompleteRecordsError(
            f"`records` must hold rounds 0 to {round}{where}, lack round {missing[0]}: leave out "
            "the folder of that run, or run it without `only`"
        )
    spent = [(known[number], f"{unit}_search") for number in searched]
    return sum(_cost(record, name) for record, name in [*spent, (known[round], f"{unit}_retrain")])


def _cost(record: Record, name: str) -> float:
    if name not in record:
        raise IncompleteRecordsError(f"`records` must hold `{name}`, which that of "
                                     f"{_seed_name(record)}, round {record['round']} lacks"
                                     )  # fmt: skip
    cost: float = record[name]
    return cost


def _seed_name(record: Record) -> str:
    return f"{'-'.join(run_key(record)[:3])}, seed {record['seed']}"


def row_warnings(row: Row) -> dict[str, list[int]]:
    """The warnings of a round, each with the seeds that it is about.

    To those of the records comes one where seeds lie more than `FAR` apart in an accuracy.
    """
    found: dict[str, list[int]] = defaultdict(list)
    for record in row.records:
        for text in record.get("warnings", ()):
            found[text].append(record["seed"])
    for metric in METRICS if row.metric == ACCURACY else ():
        values = [record[metric] for record in row.records]
        if max(values) - min(values) > FAR_APART:
            text = f"{metric} differs by more than {100 * FAR_APART:.0f} points between "
            text += f"{row.repetition}s"
            found[f"{text}: an interval means nothing"] = [r["seed"] for r in row.records]
    return dict(found)


def warned_seeds(*rows: Row) -> set[int]:
    """The seeds that have a warning in any of some rounds."""
    return {seed for row in rows for seeds in row_warnings(row).values() for seed in seeds}


def run_of(row: Row) -> Run:
    """What one run is: rows with the same answer differ in their round alone."""
    return row.algorithm, row.task, row.model, row.edges or "", row.settings
