"""The types of settings: the numbers that each may be stand in its annotation.

A plug-in writes `drop_edges: Fraction = 0.05`; the same annotation checks flags, files and calls.
Maxima are those of memory and time: what lies above them is a slip of the finger, or an attack.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Interval, Lt

Fraction = Annotated[float, Interval(ge=0, lt=1)]
Share = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]

Rounds = Annotated[int, Interval(ge=0, le=10_000)]
Draws = Annotated[int, Interval(ge=1, le=10_000)]
Epochs = Annotated[int, Interval(ge=1, le=1_000_000)]
OptionalEpochs = Annotated[int, Interval(ge=0, le=1_000_000)]  # 0: none
Iterations = Annotated[int, Interval(ge=0, le=10**9)]
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]

Width = Annotated[int, Interval(ge=1, le=65_536)]
Depth = Annotated[int, Interval(ge=1, le=1024)]
BatchSize = Annotated[int, Interval(ge=1, le=1_000_000)]
Count = Annotated[int, Interval(ge=0, le=10**9)]

__all__ = [
    "BatchSize", "Count", "Depth", "Draws", "Epochs", "Fraction", "Ge", "Gt", "Interval",
    "Iterations", "Lt", "NonNegative", "OptionalEpochs", "Positive", "Rounds", "Seed", "Share",
    "Width",
]  # fmt: skip
