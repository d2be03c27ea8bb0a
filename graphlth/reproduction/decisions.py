"""Verdicts on means over seeds: whether they lie between the bounds that a claim states."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean

from graphlth.records.gaps import LEVEL, adjust_p, p_above, simultaneous_interval
from graphlth.records.schema import Record
from graphlth.records.statistics import MIN_SEEDS, row_warnings, summary
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
        values: the same as it is tested: above 0 is better, where it is a gap.
        low: what the mean of `values` is above.
        high: what it is below.
        records: of the rounds that they are of.
    """

    name: str
    shown: Sequence[float]
    values: Sequence[float]
    low: float = -inf
    high: float = inf
    records: Sequence[Sequence[Record]] = ()


def decide(samples: Sequence[Sample]) -> str:
    """The verdict of a claim on the means of some samples."""
    shown, contrary = [], []
    for sample in samples:
        for sign, bound in ((1, sample.low), (-1, -sample.high)):
            if bound > -inf:
                shown.append(p_above([sign * v for v in sample.values], bound))
                contrary.append(p_above([-sign * v for v in sample.values], -bound))
    if max(shown) <= LEVEL:
        found = REPRODUCED
    elif min(adjust_p(contrary, ordered=False)) <= LEVEL:
        found = CONTRARY
    else:
        return f"{OPEN} by {min(len(sample.values) for sample in samples)} seeds"
    return f"{OPEN}, beside warnings" if any(map(has_warnings, samples)) else found


def has_warnings(sample: Sample) -> bool:
    """Whether a warning stands beside a round that a sample is of."""
    return any(row_warnings(row) for side in sample.records for row in summary(side))


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
