"""What the figures of instability share: which rounds were measured, their means and shades."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from graphlth.figures._style import DENSE, Look, Sign, half_width, no_records_error
from graphlth.records.schema import Record
from graphlth.records.statistics import Row, summary

STABLE = 2  # points of error; Frankle et al., ICML 2020, arXiv:1912.05671
STABLE_SIGN: Sign = Line2D([], [], color="0.35", linestyle=":", linewidth=1.3), "stable below 2"


def instability_rows(records: Iterable[Record]) -> list[Row]:
    """A summary of the tickets whose instability was measured.

    Raises:
        ValueError: there are none.
    """
    records = list(records)
    found = [record for record in records if "instability" in record]
    if not found:
        raise no_records_error("what `graphlth analyze instability` has recorded", records)
    return summary(found)


def first_iteration(row: Row) -> int:
    """The iterations that the weights of a ticket have had."""
    k: int = row.records[0].get("first_iteration", 0)
    return k


def round_looks(rows: Iterable[Row]) -> dict[int, Look]:
    """A colour for each round: black for the dense one, then from dark to light."""
    numbers = sorted({row.round for row in rows} - {0})
    steps = np.linspace(0.1, 0.85, len(numbers))
    colours: dict[int, Any] = {0: DENSE} if any(row.round == 0 for row in rows) else {}
    colours |= {r: colormaps["viridis"](step) for r, step in zip(numbers, steps, strict=True)}
    return {
        r: {"color": c, "linestyle": "-", "label": f"round {r}" if r else "round 0, dense"}
        for r, c in colours.items()
    }


def means_of_columns(columns: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Means and half-widths in per cent of some columns of seeds; NaN where there is one seed."""
    mean = 100 * np.array([fmean(column) for column in columns])
    return mean, 100 * np.array([half_width(column) for column in columns])


def plot_columns(
    axis: Axes, x: Sequence[float], columns: Sequence[Sequence[float]], look: Look
) -> None:
    """Means of the columns, joined, and the band of their 95 % intervals."""
    mean, half = means_of_columns(columns)
    white: Look = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    axis.plot(x, mean, **look, **white, linewidth=1.6, markersize=4.5, zorder=3)
    if np.isfinite(half).any():
        band: Look = {"color": look["color"], "alpha": 0.12, "linewidth": 0, "zorder": 1}
        axis.fill_between(x, mean - half, mean + half, **band, label=f"_band of {look['label']}")
