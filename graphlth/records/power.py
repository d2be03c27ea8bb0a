"""How many seeds a margin needs, to be asked before a run."""

import math

from graphlth.records.gaps import LEVEL
from graphlth.records.statistics import MIN_SEEDS
from graphlth.settings.annotations import check_value
from graphlth.settings.types import NonNegative, Number, Positive, Tolerance
from graphlth.settings.validation import validate_settings

POWER = 0.8  # the probability that what holds is shown


@validate_settings
def seeds_needed(
    margin: float,
    sd: float,
    *,
    gap: float = 0.0,
    power: Tolerance = POWER,
    rounds: Number = 1,
) -> int:
    """The seeds with which a ticket is shown to be winning, at least 3.

    The paired one-sided test of `compare` at level 0.05 then has the wanted power.

    Args:
        margin: what is no worse, in the unit of the metric.
        sd: the standard deviation of the paired gaps between seeds, as a run of few seeds gives it.
        gap: the true mean gap of ticket and dense network that is assumed; above 0 is better.
        power: the probability that the ticket is shown to be winning, in (0, 1).
        rounds: how many rounds of a fixed sequence are all to be shown.

    Raises:
        ValueError: an argument is out of range, the gap is not above minus the margin, or so many
            seeds are needed that they are not counted.
    """
    check_value("margin", margin, Positive)
    check_value("sd", sd, NonNegative)
    if not -margin < gap < math.inf:
        raise ValueError(f"`gap` must be above -`margin` = {-margin:g}, got {gap:g}: what is worse "
                         "by the margin is never shown to be no worse")  # fmt: skip
    from statsmodels.stats.power import TTestPower  # loads slowly

    wanted = 1 - (1 - power) / rounds
    test, effect = TTestPower(), (gap + margin) / sd if sd else math.inf
    known = {"alpha": LEVEL, "alternative": "larger"}
    if effect > 10 or test.power(effect, MIN_SEEDS, **known) >= wanted:
        return MIN_SEEDS
    if effect < 1e-3:
        raise ValueError("`sd` must be at most 1,000 times `margin` + `gap`, "
                         f"{gap + margin:g}, got {sd:g}: more seeds than can be run are needed"
                         )  # fmt: skip
    return math.ceil(test.solve_power(effect, power=wanted, **known))


def largest_sd(margin: float, seeds: int, *, power: float = POWER) -> float | None:
    """Up to which standard deviation of the paired gaps some seeds suffice; None under 3 seeds."""
    if seeds < MIN_SEEDS:
        return None
    from statsmodels.stats.power import TTestPower  # loads slowly

    effect = TTestPower().solve_power(
        nobs=seeds, alpha=LEVEL, power=power, alternative="larger"
    )  # fmt: skip
    return float(margin / effect)
