"""What a paper claims, and whether the runs of a suite show it.

A table of the suite's list `claims` has its `text`, where it stands (`source`), and one of

    winning = "ugs", rounds = [1, 4]          not below dense by `margin`, in each of these rounds
    better = ["ugs", "random_tickets"], rounds = [9]               than the other run, in each round
    equal = ["ugs", "imp"], rounds = [9]      within `margin` of the other run, in each round
    value = 0.807, run = "ugs", rounds = [0]  the mean is within `margin` of this
    cheaper = ["joint", "ugs"], rounds = [1, 4], times = 10        search and retraining, in MACs
    drawn = "joint", epoch = 30               most tickets are drawn by this epoch
    sooner = "imp", rounds = [7], times = 2   early stop comes so many times sooner than dense
    stable = "imp", rounds = [0, 7]           instability is below `margin`, by default 0.02
    unstable = "imp", rounds = [0]            it is above
    reason = "..."                            why the claim cannot be compared here

In `better` and `equal` "dense" is round 0 of the other run. The first four may have a `field`, such
as "untrained_test", which is then what tickets are compared by. `margin` is in the unit of the
metric, 0.01 where not given. Tests are those of `graphlth compare`.
The contrary of "not below dense by the margin" is "below it by more", that of "better" is "worse"
or "within the margin", that of "within the margin" is "beyond it".
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from graphlth.records.comparison import compare_records
from graphlth.records.gaps import (
    BETTER,
    EQUAL,
    LEVEL,
    MARGIN,
    WINNING,
    WORSE,
    Gap,
    adjust_p,
    lower_bound,
    p_above,
    p_within,
    paired_gaps,
    simultaneous_interval,
)
from graphlth.records.schema import Record
from graphlth.records.statistics import MIN_SEEDS, summary, total_cost
from graphlth.records.winning import gaps_to_dense
from graphlth.reproduction.result import Verdict
from graphlth.settings.checks import check_setting

REPRODUCED, CONTRARY, OPEN = "reproduced", "not reproduced", "not decided"
NOT_COMPARABLE = "not comparable"
DENSE = "dense"
FORMS = {  # what each kind of claim has besides its text: needed, and may have
    "winning": (("rounds",), ("margin", "field")),
    "better": (("rounds",), ("margin", "field")),
    "equal": (("rounds",), ("margin", "field")),
    "value": (("run", "rounds"), ("margin", "field")),
    "cheaper": (("rounds", "times"), ()),
    "drawn": (("epoch",), ()),
    "sooner": (("rounds", "times"), ()),
    "stable": (("rounds",), ("margin",)),
    "unstable": (("rounds",), ("margin",)),
    "reason": ((), ()),
}
FIELDS = {"sooner": "stop_iteration", "stable": "instability", "unstable": "instability"}
STABLE = 0.02  # of instability, as the paper has it
Runs = Mapping[str, Sequence[Record]]
Claim = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What the runs show of a claim."""

    text: str  # the numbers
    verdict: str


def check_claims(claims: Any, runs: Collection[str] | None) -> None:
    """Refuse claims that have no form of the above, or that name another run than one of `runs`.

    Raises:
        ValueError: names the claim and what is wrong in it.
    """
    if not isinstance(claims, Sequence) or not all(isinstance(c, Mapping) for c in claims):
        raise ValueError(f"`claims` must be tables, written [[claims]], got {claims!r}")
    for claim in claims:
        kinds = [kind for kind in FORMS if kind in claim]
        if not isinstance(claim.get("text"), str) or len(kinds) != 1:
            raise ValueError(f"`claims` must each have a `text` and one of {', '.join(FORMS)}, "
                             f"got {dict(claim)!r}")  # fmt: skip
        needed, others = FORMS[kinds[0]]
        for name in claim:
            check_setting(name, ("text", "source", kinds[0], *needed, *others), "of such a claim")
        if lacking := [name for name in needed if name not in claim]:
            raise ValueError(f"`claims` must give {', '.join(lacking)} beside {kinds[0]}, got none "
                             f"in {claim['text']!r}")  # fmt: skip
        for name in named_runs(claim):
            if runs is not None and name not in (*runs, DENSE):
                raise ValueError(f"`claims` must name runs of the suite, {', '.join(runs)}, got "
                                 f"{name!r} in {claim['text']!r}")  # fmt: skip


def named_runs(claim: Claim) -> list[str]:
    """The runs that a claim is of; "dense" is none."""
    found: list[str] = []
    for kind in (*FORMS, "run"):
        if kind in ("value", "reason"):
            continue
        named = claim.get(kind, [])
        found += [named] if isinstance(named, str) else named
    return found


def find_verdicts(claims: Sequence[Claim], runs: Runs, source: str = "") -> list[Verdict]:
    """What the records of some runs show of some claims.

    Args:
        claims: as in a suite.
        runs: the records of each run, by its name.
        source: where a claim stands that does not say it.
    """
    found = []
    for claim in claims:
        finding = assess(claim, runs)
        found.append(Verdict(claim["text"], claim.get("source", source), finding.text,
                             finding.verdict))  # fmt: skip
    return found


def assess(claim: Claim, runs: Runs) -> Finding:
    """What the runs show of a claim; "not comparable" where a run or a round of it is missing."""
    if "reason" in claim:
        return Finding(claim["reason"], NOT_COMPARABLE)
    names = [name for name in named_runs(claim) if name != DENSE]
    for name in names:
        if name not in runs:
            return Finding(f"{name} was not run", NOT_COMPARABLE)
    kind = next(kind for kind in FORMS if kind in claim)
    field = FIELDS.get(kind, "test")
    chosen = choose_field(runs, claim["field"]) if "field" in claim else runs
    if kind not in ("cheaper", "drawn"):
        for name in names:
            known = {r["round"] for r in chosen[name] if field in r}
            if missing := [r for r in claim["rounds"] if r not in known]:
                what = "" if field == "test" else f" with {field}"
                return Finding(f"{name} has no round {', '.join(map(str, missing))}{what}",
                               NOT_COMPARABLE)  # fmt: skip
    return ASSESS[kind](claim, chosen)


def choose_field(runs: Runs, field: str) -> dict[str, list[Record]]:
    """The runs with another field of tickets as their test value, where tickets have it."""
    return {name: [{**r, "test": r[field]} if r["round"] else r
                   for r in records if not r["round"] or field in r]
            for name, records in runs.items()}  # fmt: skip


def add_measures(runs: Runs, measured: Runs) -> dict[str, list[Record]]:
    """The records of the runs, with those that were measured in place of their own."""
    found = {name: {(r["seed"], r["round"]): r for r in records}
             for name, records in measured.items()}  # fmt: skip
    return {name: [found.get(name, {}).get((r["seed"], r["round"]), r) for r in records]
            for name, records in runs.items()}  # fmt: skip


# --- gaps ----------------------------------------------------------------------------------------


def _rounds(records: Sequence[Record], rounds: Collection[int]) -> list[Record]:
    return [r for r in records if r["round"] in rounds]


def _decide(shown: Sequence[bool], contrary: Sequence[bool], seeds: int) -> str:
    """A verdict from what is shown in each round."""
    if all(shown):
        return REPRODUCED
    return CONTRARY if any(contrary) else f"{OPEN} by {seeds} seeds"


def _winning(claim: Claim, runs: Runs) -> Finding:
    records, margin = runs[claim["winning"]], claim.get("margin", MARGIN)
    rows = summary(_rounds(records, {0, *claim["rounds"]}))
    gaps = gaps_to_dense(rows, margin=margin)
    dense = next(row for row in rows if row.round == 0).records
    below = [p_above([-gap for gap in paired_gaps(row.records, dense)], margin)
             for row in rows if row.round]  # fmt: skip
    contrary = [p <= LEVEL for p in adjust_p(below, ordered=False)]
    shown = [gap.verdict == WINNING for gap in gaps.values()]
    return Finding(_tell(gaps, records[0]), _decide(shown, contrary, _fewest(gaps)))


def _other(claim: Claim, runs: Runs) -> Finding:
    kind, margin = ("better" if "better" in claim else "equal"), claim.get("margin", MARGIN)
    ours, theirs = (_side(runs, name, claim) for name in claim[kind])
    found = compare_records(ours, theirs, margin=margin)
    gaps = {r.round: r.to_other for r in found.rounds if r.to_other is not None}
    verdicts = [gap.verdict for gap in gaps.values()]
    if kind == "better":
        shown, contrary = [v == BETTER for v in verdicts], [v in (WORSE, EQUAL) for v in verdicts]
    else:
        pairs = [paired_gaps(_rounds(ours, {r}), _rounds(theirs, {r})) for r in gaps]
        p = [p_above([sign * gap for gap in pair], margin) for pair in pairs for sign in (1, -1)]
        shown = [v == EQUAL for v in verdicts]
        contrary = [each <= LEVEL for each in adjust_p(p, ordered=False)]
    return Finding(_tell(gaps, ours[0]), _decide(shown, contrary, _fewest(gaps)))


def _side(runs: Runs, name: str, claim: Claim) -> list[Record]:
    """The records of the rounds of a claim; of "dense", round 0 of the first run, as if of each."""
    if name != DENSE:
        return _rounds(runs[name], claim["rounds"])
    first = next(runs[other] for other in named_runs(claim) if other != DENSE)
    return [{**r, "round": round} for round in claim["rounds"] for r in _rounds(first, {0})]


def _fewest(gaps: Mapping[int, Gap]) -> int:
    return min(gap.n for gap in gaps.values())


def _tell(gaps: Mapping[int, Gap], record: Record) -> str:
    """`round 4: −1.2 (−1.8 to −0.6); round 9: ...`, with intervals simultaneous over them."""
    return "; ".join(
        f"round {r}: {_interval(gap.mean, gap.interval, unit_of(record), '+.1f')}"
        for r, gap in gaps.items()
    )


def _interval(mean: float, ends: tuple[float, float] | None, unit: float, form: str = ".1f") -> str:
    shown = [format(unit * number, form) for number in (mean, *(ends or ()))]
    return f"{shown[0]} ({shown[1]} to {shown[2]})" if ends else shown[0]


def unit_of(record: Record) -> float:
    """What values of the record's metric are multiplied by: 100 where more is better, in [0, 1].

    So are accuracy, ROC-AUC, F1, average precision and hits@k; errors such as RMSE are as they are.
    """
    return 1.0 if record.get("direction", "max") == "min" else 100.0


# --- values --------------------------------------------------------------------------------------


def _value(claim: Claim, runs: Runs) -> Finding:
    margin, texts, shown, contrary, fewest = claim.get("margin", MARGIN), [], [], [], 10**9
    for r in claim["rounds"]:
        records = _rounds(runs[claim["run"]], {r})
        values = [record["test"] for record in records]
        gaps = [value - claim["value"] for value in values]
        shown.append(p_within(gaps, margin) <= LEVEL)
        outside = [p_above([sign * gap for gap in gaps], margin) for sign in (1, -1)]
        contrary.append(min(outside) <= LEVEL / 2)
        told = _interval(fmean(values), _ends(values), unit_of(records[0]))
        texts.append(f"round {r}: {told}")
        fewest = min(fewest, len(values))
    return Finding("; ".join(texts), _decide(shown, contrary, fewest))


def _cheaper(claim: Claim, runs: Runs) -> Finding:
    sides = [
        {seed: total_cost([r for r in runs[name] if r["seed"] == seed], last)
         for seed in {r["seed"] for r in runs[name]}}
        for name, last in zip(claim["cheaper"], claim["rounds"], strict=True)
    ]  # fmt: skip
    ours, theirs = sides
    times = [theirs[seed] / ours[seed] for seed in sorted(ours.keys() & theirs.keys())]
    text, shown, contrary = _compare_times(times, claim["times"])
    return Finding(f"{text} times fewer MACs", _decide([shown], [contrary], len(times)))


def _sooner(claim: Claim, runs: Runs) -> Finding:
    records, found, fewest = runs[claim["sooner"]], [], 10**9
    dense = {r["seed"]: r["stop_iteration"] for r in _rounds(records, {0})}
    for round in claim["rounds"]:
        own = {r["seed"]: r["stop_iteration"] for r in _rounds(records, {round})}
        times = [dense[seed] / own[seed] for seed in sorted(own.keys() & dense.keys())]
        found.append((round, *_compare_times(times, claim["times"])))
        fewest = min(fewest, len(times))
    text = "; ".join(f"round {round}: {told} times sooner" for round, told, *_ in found)
    return Finding(text, _decide([s for *_, s, _ in found], [c for *_, c in found], fewest))


def _compare_times(times: Sequence[float], wanted: float) -> tuple[str, bool, bool]:
    """Their mean and interval, and whether it is shown to be, or not to be, the `wanted`."""
    if len(times) < MIN_SEEDS:
        return _interval(fmean(times), None, 1.0), False, False
    ends = simultaneous_interval(times, 1)
    below = -lower_bound([-t for t in times]) < wanted
    return _interval(fmean(times), ends, 1.0), lower_bound(times) >= wanted, below


def _stability(claim: Claim, runs: Runs) -> Finding:
    name, most = claim.get("stable", claim.get("unstable")), claim.get("margin", STABLE)
    values = {r: [record["instability"] for record in _rounds(runs[name], {r})]
              for r in claim["rounds"]}  # fmt: skip
    above = [p_above(each, most) <= LEVEL for each in values.values()]
    below = [p_above([-value for value in each], -most) <= LEVEL for each in values.values()]
    text = "; ".join(f"round {r}: {_interval(fmean(v), _ends(v), 100.0)}"
                     for r, v in values.items())  # fmt: skip
    shown, contrary = (below, above) if "stable" in claim else (above, below)
    return Finding(text, _decide(shown, contrary, min(map(len, values.values()))))


def _ends(values: Sequence[float]) -> tuple[float, float] | None:
    return simultaneous_interval(values, 1) if len(values) >= MIN_SEEDS else None


def _drawn(claim: Claim, runs: Runs) -> Finding:
    from statsmodels.stats.proportion import proportion_confint  # loads slowly

    drawn = {r["seed"]: r["drawn_epoch"] for r in runs[claim["drawn"]]
             if r["round"] and r.get("settled")}  # fmt: skip
    seeds = {r["seed"] for r in runs[claim["drawn"]]}
    early = sum(epoch <= claim["epoch"] for epoch in drawn.values())
    low, high = proportion_confint(early, len(seeds), alpha=2 * LEVEL, method="beta")
    epochs = sorted(drawn.values())
    span = f", at epochs {epochs[0]} to {epochs[-1]}" if epochs else ""
    return Finding(f"{early} of {len(seeds)} seeds{span}",
                   _decide([low > 0.5], [high < 0.5], len(seeds)))  # fmt: skip


ASSESS: dict[str, Callable[[Claim, Runs], Finding]] = {
    "winning": _winning, "better": _other, "equal": _other, "value": _value, "cheaper": _cheaper,
    "drawn": _drawn, "sooner": _sooner, "stable": _stability, "unstable": _stability,
}  # fmt: skip
