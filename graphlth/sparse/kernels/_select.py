"""Compiled selection on the CPU: the lowest scores, found without sorting them.

From one draw to the next a threshold hardly moves. So the entries below a narrow band round the
last one are only counted, and the rank that is sought lies among the few in the band; where it
does not, the band is everything. Where it lies changes the time, never the result.
"""

from collections.abc import Sequence
from threading import local
from typing import Any, NamedTuple

import numpy as np

from graphlth.sparse.kernels._compiled import compiled

Array = np.ndarray[Any, Any]

NARROW, WIDE = 1 / 256, 1 / 32  # of all entries: how many the band holds on either side, at least
_LOCAL = local()  # the bands of each thread


class Band(NamedTuple):
    """Where the threshold is sought: between two scores."""

    low: float = -np.inf
    high: float = np.inf
    middle: int | None = None  # how many entries lay in it below the last threshold; None: all did
    margin: int = 0  # how many it was to hold on either side


def without_lowest(
    alive: Sequence[Array], scores: Sequence[Array], fraction: float
) -> tuple[list[Array], int]:
    """`alive` without the `fraction` of its non-zero entries that score lowest, and how many NaN.

    Of equal scores the earlier entry goes. With NaN among the scores nothing does.

    Args:
        alive: arrays [n], of one type, float32 or float64.
        scores: arrays of the same sizes and type; only those of live entries count.
        fraction: in [0, 1).
    """
    bands: dict[Any, Band] = vars(_LOCAL).setdefault("bands", {})
    size = sum(s.size for s in scores)
    inside, flags = _scratch(size + 1, scores[0].dtype), _scratch(size // 8 + 1, np.dtype("u8"))
    known = bands.get((size, fraction), Band())
    for band in (known, Band()):
        survivors = numbers = below = count = 0
        for a, s in zip(alive, scores, strict=True):
            live, real, less, count = _sift(a, s, band.low, band.high, inside, count, flags)
            survivors, numbers, below = survivors + live, numbers + real, below + less
        rank = round(fraction * survivors) - below - 1  # of the threshold, in the band
        if 0 <= rank < count:
            break
    if numbers < survivors or rank < 0:
        return [a.copy() for a in alive], survivors - numbers
    moved = max(WIDE * survivors, 2 * known.margin)  # more than was thought
    if band.middle is not None:
        moved = 2 * abs(rank - band.middle)
    margin = int(moved + NARROW * survivors) + 1
    first, final = max(rank - margin, 0), min(rank + margin, count - 1)
    found = inside[:count]
    found.partition(rank)  # one rank a call: several are found without vectors
    if first < rank:
        found[:rank].partition(first)
    if rank < final:
        found[rank + 1 :].partition(final - rank - 1)
    low, threshold, high = found[[first, rank, final]].tolist()
    bands[size, fraction] = Band(low, high, rank - first, margin)
    left = [np.empty_like(a) for a in alive]
    excess = -(rank + below + 1)
    for a, s, out in zip(alive, scores, left, strict=True):
        excess += _remove(a, s, threshold, out)
    for a, s, out in zip(alive[::-1], scores[::-1], left[::-1], strict=True):
        excess = _restore(a, s, threshold, out, excess) if excess else 0
    return left, 0


def _scratch(size: int, dtype: np.dtype[Any]) -> Array:
    """Numbers, not cleared, in memory that each thread uses again: fresh pages cost as much."""
    known = vars(_LOCAL).get(dtype.char)
    if known is None or known.size < size:
        known = vars(_LOCAL)[dtype.char] = np.empty(size, dtype)
    return known


@compiled
def _sift(alive, scores, low, high, inside, count, words):  # type: ignore[no-untyped-def]
    """How many entries are alive, how many of them are numbers, and how many are below `low`.

    Those up to `high` are put into `inside` from `count` on, which comes back moved on.
    """
    n, zero = scores.size, alive.dtype.type(0)
    low, high = scores.dtype.type(low), scores.dtype.type(high)
    survivors = numbers = below = np.int32(0)
    used = (n + 7) // 8  # of the words, each of eight flags
    words[used - 1 : used] = 0
    flags = words.view(np.uint8)
    for i in range(n):  # in vectors: nothing depends on what came before
        lives, score = alive[i] != zero, scores[i]
        survivors = np.int32(survivors + np.int32(lives))
        numbers = np.int32(numbers + np.int32(lives & (score == score)))
        below = np.int32(below + np.int32(lives & (score < low)))
        flags[i] = lives & (score >= low) & (score <= high)
    for word in range(used):
        if words[word]:
            for i in range(8 * word, min(8 * word + 8, n)):
                inside[count] = scores[i]  # there is room for one more than all
                count += flags[i]
    return survivors, numbers, below, count


@compiled
def _remove(alive, scores, threshold, left):  # type: ignore[no-untyped-def]
    """How many live entries score at most `threshold`; `left` is `alive` without them."""
    zero, threshold = alive.dtype.type(0), scores.dtype.type(threshold)
    gone = np.int32(0)
    for i in range(scores.size):
        goes = scores[i] <= threshold
        left[i] = zero if goes else alive[i]
        gone = np.int32(gone + np.int32(goes & (alive[i] != zero)))
    return gone


@compiled
def _restore(alive, scores, threshold, left, most):  # type: ignore[no-untyped-def]
    """Put back the last `most` entries at the threshold, or all; how many are still to come."""
    for i in range(scores.size - 1, -1, -1):
        if most and scores[i] == threshold and alive[i] != 0:
            left[i] = alive[i]
            most -= 1
    return most
