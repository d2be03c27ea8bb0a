"""What a paper claims, and whether the runs of a suite show it.

A table of the suite's list `claims` has its `text`, where it stands (`source`), and one of

    winning = "ugs", rounds = [1, 4]          not worse than dense by `margin` or more
    no_worse = ["ugs", "imp"], rounds = [9]   not worse than the other run by `margin` or more
    better = ["ugs", "random_tickets"], rounds = [9]    than the other run, by more than `margin`;
                                              with to_dense = true, each is taken as its gap to its
                                              own dense network, as of two models
    equal = ["ugs", "imp"], rounds = [9]      within `margin` of the other run
    value = 0.807, run = "ugs", rounds = [0]  the mean is within `margin` of this
    cheaper = ["joint", "ugs"], rounds = [1, 4], times = 10
                                              search and retraining of the first run's round take
                                              more than so many times fewer MACs
    drawn = "joint", epoch = 30               most tickets are drawn by this epoch
    sooner = "imp", rounds = [7], times = 2   early stop comes more than so many times sooner than
                                              in the dense network
    stable = "imp", rounds = [0, 7]           the instability is below `margin`
    unstable = "imp", rounds = [0]            it is above
    reason = "..."                            why the claim cannot be compared here

each in all of its rounds. A run compared with "dense" is compared with its own round 0. Claims of
the first five forms may have a `field`, such as "untrained_test", which is then what tickets are
compared by: a value of the metric, of every seed. `margin` is in the unit of the metric: where not
given it is 0 of `better`, 0.02 of instability, else 0.01; of a metric that is no fraction it must
be given.

But for `drawn`, each says between which bounds a mean over seeds lies, of gaps paired by seed, of
values or of ratios. The claim is reproduced where one-sided tests of Student's t at level 0.05 show
it at every bound in every round, which needs no adjustment (Berger, Technometrics 24, 1982), and
not reproduced where one shows its contrary, adjusted by Holm's method. So at most 5 % of the false
claims are called reproduced, and at most 5 % of the true ones not reproduced. Beside a warning
either must be shown with all seeds, and also without those that have a warning; of `cheaper` alone
not, as what a training costs is the same whatever comes of it.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from graphlth.records.gaps import DIGITS, LEVEL, MARGIN
from graphlth.records.schema import Record, metric_of, metric_title
from graphlth.reproduction.decisions import (
    CONTRARY,
    NOT_COMPARABLE,
    REPRODUCED,
    Finding,
    Sample,
    decide,
    describe,
    undecided,
)
from graphlth.reproduction.result import Verdict
from graphlth.reproduction.rounds import (
    SAME,
    NotComparableError,
    Runs,
    find_difference,
    gaps_of,
    gaps_to_own_dense,
    macs_by_seed,
    records_of_round,
    stops_by_seed,
)
from graphlth.reproduction.scale import PERCENT, Scale, scale_of

FORMS = {  # what each form of a claim has besides its text: needed, and may have
    "winning": (("rounds",), ("margin", "field")),
    "no_worse": (("rounds",), ("margin", "field")),
    "better": (("rounds",), ("margin", "field", "to_dense")),
    "equal": (("rounds",), ("margin", "field")),
    "value": (("run", "rounds"), ("margin", "field")),
    "cheaper": (("rounds", "times"), ()),
    "drawn": (("epoch",), ()),
    "sooner": (("rounds", "times"), ()),
    "stable": (("rounds",), ("margin",)),
    "unstable": (("rounds",), ("margin",)),
    "reason": ((), ()),
}
DENSE = "dense"
STABLE = 0.02  # what the instability of a stable ticket is below, as its paper has it
TIMES = Scale(1.0, 2)
Claim = Mapping[str, Any]


def form_of(claim: Claim) -> str:
    """Which of `FORMS` a claim has."""
    return next(form for form in FORMS if form in claim)


def named_runs(claim: Claim) -> list[str]:
    """The runs that a claim is of, and "dense"."""
    named = claim.get("run", [] if "reason" in claim else claim[form_of(claim)])
    return [named] if isinstance(named, str) else [*named]


def claimed_rounds(claim: Claim) -> list[tuple[str, int]]:
    """The runs that a claim is of, each with every round of it that the claim is about."""
    runs, rounds = named_runs(claim), claim.get("rounds", [])
    if "cheaper" in claim:
        return [*zip(runs, rounds, strict=True)]
    return [(name, r) for r in rounds for name in runs if name != DENSE]


def add_measures(runs: Runs, measured: Runs) -> dict[str, list[Record]]:
    """The records of the runs, with those that were measured in place of their own."""
    found = {name: {(r["seed"], r["round"]): r for r in records}
             for name, records in measured.items()}  # fmt: skip
    return {name: [found.get(name, {}).get((r["seed"], r["round"]), r) for r in records]
            for name, records in runs.items()}  # fmt: skip


def find_verdicts(claims: Sequence[Claim], runs: Runs, source: str = "") -> list[Verdict]:
    """What the records of some runs show of some claims.

    Args:
        claims: as in a suite.
        runs: the records of each run, by its name.
        source: where a claim stands that does not say it.
    """
    scale = scale_of(next(iter(runs.values()))[0])
    findings = [assess(claim, runs) for claim in claims]
    return [Verdict(claim["text"], claim.get("source", source), describe_test(claim, scale),
                    found.text, found.verdict)
            for claim, found in zip(claims, findings, strict=True)]  # fmt: skip


def describe_test(claim: Claim, scale: Scale) -> str:
    """What is tested of a claim, in each of its rounds, with its margin; "–" if nothing is."""
    form = form_of(claim)
    if form == "reason":
        return "–"
    one, other = [*named_runs(claim), DENSE][:2]
    margin = claim.get("margin", STABLE if "stable" in form else MARGIN)
    apart = scale.difference_text(margin) if "margin" in claim or scale == PERCENT else "a margin"
    percent = " %" * (scale == PERCENT)
    told = {
        "better": f"{one} is better than {other}{f' by more than {apart}' * ('margin' in claim)}",
        "equal": f"{one} is less than {apart} from {other}",
        "value": f"{one} is less than {apart} from {scale.text(claim.get('value', 0))}{percent}",
        "cheaper": f"{one} takes more than {claim.get('times')} times fewer MACs than {other}",
        "drawn": f"most seeds of {one} have drawn a ticket by epoch {claim.get('epoch')}",
        "sooner": f"{one} stops more than {claim.get('times')} times sooner than dense",
        "stable": f"the instability of {one} is below {apart}",
        "unstable": f"the instability of {one} is above {apart}",
    }.get(form, f"{one} is less than {apart} worse than {other}")
    told += ", each as its gap to its own dense network" * bool(claim.get("to_dense"))
    return told + (f", of {claim['field'].replace('_', ' ')}" if "field" in claim else "")


def assess(claim: Claim, runs: Runs) -> Finding:
    """What the runs show of a claim; "not comparable" where they lack a run or a round of it."""
    if "reason" in claim:
        return Finding(claim["reason"], NOT_COMPARABLE)
    try:
        for name in named_runs(claim):
            if name != DENSE and not runs.get(name):
                raise NotComparableError(f"{name} was not run")
        return ASSESS[form_of(claim)](claim, runs)
    except NotComparableError as error:
        return Finding(str(error), NOT_COMPARABLE)


# --- gaps and values -----------------------------------------------------------------------------


def assess_gaps(claim: Claim, runs: Runs) -> Finding:
    """Of a claim that compares a run with another, or with its own dense network."""
    samples, scale = sample_gaps(claim, runs), scale_of(runs[compared_sides(claim)[2]][0])
    return Finding(describe(samples, scale, "+"), decide(samples))


def sample_gaps(claim: Claim, runs: Runs) -> list[Sample]:
    """The gaps of every round that a claim is of, and their bounds."""
    (*sides, run), dense = compared_sides(claim), []
    if claim.get("to_dense"):
        dense = [records_of_round(runs, name, 0) for name in sides]
    margin = margin_of(claim, runs[run][0])
    low, high = margin if "better" in claim else -margin, margin if "equal" in claim else inf
    samples = []
    for r in claim["rounds"]:
        ours, theirs = (records_of_round(runs, run if side == DENSE else side,
                                         0 if side == DENSE else r, field_of(claim))
                        for side in sides)  # fmt: skip
        if dense:
            ours, theirs = map(gaps_to_own_dense, (ours, theirs), dense)
        gaps = gaps_of(ours, theirs, ("task", "metric") if claim.get("to_dense") else SAME)
        sign = -1 if ours[0].get("direction") == "min" else 1  # what is told is ours − theirs
        differences = [sign * gap for gap in gaps.values()]
        samples.append(Sample(f"round {r}", differences, gaps, low, high, (ours, theirs, *dense)))
    return samples


def compared_sides(claim: Claim) -> tuple[str, str, str]:
    """The two sides of a comparison, one of which may be "dense", and the run that this is of."""
    ours, theirs = [*named_runs(claim), DENSE][:2]
    return ours, theirs, theirs if ours == DENSE else ours


def field_of(claim: Claim) -> str:
    """The field of records that tickets are compared by."""
    return str(claim.get("field", "test"))


def assess_value(claim: Claim, runs: Runs) -> Finding:
    """Of a claim that states the mean of a run."""
    samples, scale = sample_values(claim, runs), scale_of(runs[claim["run"]][0])
    return Finding(describe(samples, scale), decide(samples))


def sample_values(claim: Claim, runs: Runs) -> list[Sample]:
    """The values of every round that a claim is of, and their bounds."""
    margin, samples = margin_of(claim, runs[claim["run"]][0]), []
    for r in claim["rounds"]:
        records = records_of_round(runs, claim["run"], r, field_of(claim))
        values = [record["test"] for record in records]
        gaps = {x["seed"]: round(x["test"] - claim["value"], DIGITS) for x in records}
        samples.append(Sample(f"round {r}", values, gaps, -margin, margin, (records,)))
    return samples


def assess_instability(claim: Claim, runs: Runs) -> Finding:
    """Of a claim that tickets are stable, or that they are not."""
    name = claim[form_of(claim)]
    bound = margin_of(claim, runs[name][0], STABLE)
    low, high = (-inf, bound) if "stable" in claim else (bound, inf)
    samples = []
    for r in claim["rounds"]:
        records = records_of_round(runs, name, r, "instability", dense=True)
        values = {record["seed"]: record["instability"] for record in records}
        warned = (records_of_round(runs, name, r),)
        samples.append(Sample(f"round {r}", [*values.values()], values, low, high, warned))
    return Finding(describe(samples, scale_of(runs[name][0])), decide(samples))


def margin_of(claim: Claim, record: Record, default: float = MARGIN) -> float:
    """The margin of a claim: its own, else 0 of "better" and `default` of the others.

    Raises:
        NotComparableError: there is no default, as the metric is no fraction.
    """
    if "margin" in claim or "better" in claim:
        return float(claim.get("margin", 0))
    if scale_of(record) != PERCENT:
        metric = metric_title(metric_of(record))
        raise NotComparableError(f"`margin` must be stated for {metric}, in its unit, got none")
    return default


# --- costs and epochs ----------------------------------------------------------------------------


def assess_cost(claim: Claim, runs: Runs) -> Finding:
    """Of a claim that compares what finding and training two tickets costs."""
    a, b = claim["cheaper"]
    if what := find_difference(runs[a], runs[b], ("task", "data")):
        raise NotComparableError(f"the two runs are of different {what}")
    tickets = zip((a, b), claim["rounds"], strict=True)
    ours, theirs = (macs_by_seed(runs[name], last, name) for name, last in tickets)
    times = {seed: theirs[seed] / ours[seed] for seed in sorted(ours.keys() & theirs.keys())}
    if not times:
        raise NotComparableError("the two runs share no seed")
    samples = [Sample("", [*times.values()], times, claim["times"])]
    return Finding(f"{describe(samples, TIMES)} times fewer MACs", decide(samples))


def assess_stops(claim: Claim, runs: Runs) -> Finding:
    """Of a claim that tickets stop sooner than the dense network, by their validation loss."""
    name, samples = claim["sooner"], []
    dense, records = stops_by_seed(runs, name, 0), records_of_round(runs, name, 0)
    for r in claim["rounds"]:
        own = stops_by_seed(runs, name, r)
        times = {seed: dense[seed] / own[seed] for seed in sorted(own.keys() & dense.keys())}
        samples.append(Sample(f"round {r}", [*times.values()], times, claim["times"],
                              records=(records_of_round(runs, name, r), records)))  # fmt: skip
    if not all(sample.values for sample in samples):
        raise NotComparableError(f"{name} shares no seed with its dense network")
    return Finding(f"{describe(samples, TIMES)} times sooner", decide(samples))


def assess_epochs(claim: Claim, runs: Runs) -> Finding:
    """Of a claim on when tickets are drawn: exact binomial bounds (Clopper & Pearson, 1934)."""
    from statsmodels.stats.proportion import proportion_confint  # loads slowly

    name = claim["drawn"]
    tickets = [record for record in runs[name] if record["round"] and "drawn_epoch" in record]
    if not tickets:
        raise NotComparableError(f"{name} draws no tickets")
    seeds = {r["seed"] for r in tickets}
    drawn = {r["seed"]: r["drawn_epoch"] for r in tickets if r.get("settled")}
    early = sum(epoch <= claim["epoch"] for epoch in drawn.values())
    low, high = proportion_confint(early, len(seeds), alpha=2 * LEVEL, method="beta")
    span = f", at epochs {min(drawn.values())} to {max(drawn.values())}" if drawn else ""
    verdict = REPRODUCED if low > 0.5 else CONTRARY if high < 0.5 else undecided(len(seeds))
    return Finding(f"{early} of {len(seeds)} seeds{span}", verdict)


ASSESS: Mapping[str, Callable[[Claim, Runs], Finding]] = {
    "winning": assess_gaps, "no_worse": assess_gaps, "better": assess_gaps, "equal": assess_gaps,
    "value": assess_value, "cheaper": assess_cost, "drawn": assess_epochs, "sooner": assess_stops,
    "stable": assess_instability, "unstable": assess_instability,
}  # fmt: skip
