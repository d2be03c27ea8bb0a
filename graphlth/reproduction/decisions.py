"""Verdicts on means over seeds: whether they lie between the bounds that a claim states."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from statistics import fmean

from graphlth.records.gaps import (
    DOUBTFUL,
    NOT_SHOWN,
    PValues,
    adjust_p_values,
    find_verdict,
    p_above,
    p_below,
    p_values,
    simultaneous_interval,
)
from graphlth.records.schema import Record
from graphlth.records.statistics import MIN_SEEDS, summary, warned_seeds
from graphlth.reproduction.scale import Scale

REPRODUCED, CONTRARY, OPEN = "reproduced", "not reproduced", "not decided"
NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Finding:
    """What the runs show of a claim."""

    text: str  # the numbers
    verdict: str


@dataclass(frozen=True)
class Sample:
    """Values of the seeds of a round, and the bounds between which a claim says that they lie.

    Args:
        name: of the round.
        shown: a value for each seed, as it is told.
        values: the same by seed as it is tested: above 0 is better, where it is a gap.
        low: what the mean of `values` is above.
        high: what it is below.
        records: of the rounds that they are of.
    """

    name: str
    shown: Sequence[float]
    values: Mapping[int, float]
    low: float = -inf
    high: float = inf
    records: Sequence[Sequence[Record]] = ()


def decide(samples: Sequence[Sample]) -> str:
    """The verdict of a claim on the means of some samples."""
    tests = [p for sample in samples for p in p_of_bounds(sample)]
    shown, contrary = zip(*tests, strict=True)
    every = PValues(*map(max, zip(*shown, strict=True)))
    one = PValues(*map(min, zip(*adjust_p_values(contrary, ordered=False), strict=True)))
    found = find_verdict({REPRODUCED: every, CONTRARY: one})
    if found == DOUBTFUL:
        return f"{OPEN}, beside warnings"
    fewest = min(len(sample.values) for sample in samples)
    return undecided(fewest) if found == NOT_SHOWN else found


def undecided(count: int) -> str:
    """What is said of a claim that so many seeds leave open."""
    return f"{OPEN} by {count} seed{'s' * (count != 1)}"


def p_of_bounds(sample: Sample) -> Iterator[tuple[PValues, PValues]]:
    """For each bound of a sample: the p-values of the claim, and those of its contrary."""
    warned = warned_seeds(*(row for side in sample.records for row in summary(side)))
    tests = (sample.low, p_above, p_below), (sample.high, p_below, p_above)
    for bound, *sides in tests:
        if isfinite(bound):
            claim, contrary = (p_values(p, sample.values, bound, warned) for p in sides)
            yield claim, contrary


def describe(samples: Sequence[Sample], scale: Scale, sign: str = "") -> str:
    """`round 4: -1.2 (-1.8 to -0.6); round 9: ...`, with intervals simultaneous over the rounds."""
    texts = []
    for sample in samples:
        text = scale.text(fmean(sample.shown), sign)
        if len(sample.shown) >= MIN_SEEDS:
            low, high = simultaneous_interval(sample.shown, len(samples))
            text += f" ({scale.text(low, sign)} to {scale.text(high, sign)})"
        texts.append(f"{sample.name}: {text}" if sample.name else text)
    return "; ".join(texts)
