"""Compiled selection on the CPU, draw after draw, from arrays that change little in between.

Vectors tell of 64 entries at a time which lie below a narrow band and which above; the threshold
that is sought lies among the few in the band. A threshold that moves keeps its direction, so the
band is laid where the last two point to. Where the threshold is not in it, Newton's step lays the
next: the band tells how many entries there are too many or too few, and how dense they lie. Where
it lies changes the time, never the result.

Magnitudes are compared as the whole numbers of their bits, which have the same order.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numba import carray

from graphlth.sparse.kernels._arithmetic import outside, whole
from graphlth.sparse.kernels._compiled import compiled
from graphlth.sparse.kernels._vector import load, load_some, lowest, pointer, population, prefetch

Array = np.ndarray[Any, Any]

WORD = 64  # entries whose bits are one number
AHEAD = 1024  # entries ahead of those compared, that are fetched
WIDER, EMPTY = 2, 16  # times the width, where the threshold was missed; where no entry was met
SURER = 3  # times the error of the last guess is the width; it falls by a quarter at most
MOST = 1 / 64  # of all entries, which a band is to hold at most: as much as to compare them anew
FIRST = 1 << 13  # of all numbers, the part on either side of the first guess
LAST = 6  # where the memory of draws tells which of two places was written last

Ranking = tuple[Sequence[Array], Sequence[Array], float]


class Redraw:
    """Draws, of arrays as they then are, who is left without those of lowest magnitude.

    Of each ranking `round(fraction · survivors)` entries go, of equal magnitudes the earlier.

    Args:
        parts: the rankings of each: its arrays [n], of one type, float32 or float64; arrays of
            these sizes that are 0 where an entry has gone before; and the fraction, in [0, 1).

    Attributes:
        draw: draws, and tells how many entries are NaN, in the first ranking that has any; the
            draw is in vain then. To be called only as long as this object is there.
        moved: after every draw, what fraction of each part differs from the draw before.
    """

    def __init__(self, parts: Sequence[Sequence[Ranking]]):
        rankings = [each for part in parts for each in part]
        self.arrays = [a for group, _, _ in rankings for a in group]
        dtype = self.arrays[0].dtype
        where = np.array([(a.ctypes.data, a.size) for a in self.arrays])
        infinity = np.array(np.inf, dtype).view(f"i{dtype.itemsize}")
        alive = [pack_bits(m).view(np.int64) for _, group, _ in rankings for m in group]
        ends = np.cumsum([len(group) for group, _, _ in rankings])
        go = [round(share * sum(map(np.count_nonzero, group))) for _, group, share in rankings]
        part = [p for p, each in enumerate(parts) for _ in each]
        some = [next((a[0] for a in group if a.size), 0) for group, _, _ in rankings]
        guess = np.minimum(np.abs(some, dtype=dtype).view(infinity.dtype), infinity)
        zeros, width = np.zeros_like(ends), np.full_like(ends, infinity // FIRST)
        state = np.stack([ends, go, part, guess, width, zeros], 1)  # the last three are the band
        sizes = [sum(a.size for group, _, _ in each for a in group) for each in parts]
        most = max(sum(a.size for a in group) for group, _, _ in rankings)
        words = sum(a.size for a in alive)
        # All in one array, the addresses of the others too: to hand over an array costs more than
        # to compare a thousand entries. After `left` comes room for words and entries of the band.
        shape = np.array([len(self.arrays), len(state), len(sizes), words, most, infinity, 0])
        before = np.concatenate([shape, sizes, sizes, where.ravel(), state.ravel(), *alive])
        left = len(before) + 2 * words  # with two places for who is left
        self._memory = memory = np.zeros(left + 2 * words + 2 * most, np.int64)
        memory[:left] = np.concatenate([before, *alive, *alive])
        self._both = memory[len(before) : left].reshape(2, -1).view(np.uint64)
        self.moved: Array = memory[len(shape) :][: len(sizes)].view(np.float64)
        self.draw: Callable[[], int] = partial(_drawing(dtype.type), memory)

    def left(self) -> Array:
        """A copy of who is left (see `unpacked`)."""
        bits: Array = self._both[self._memory[LAST]].copy()
        return bits


def pack_bits(alive: Array) -> Array:
    """A bit for each entry of `alive` [n] that is not 0, in words."""
    words = np.zeros(-(-alive.size // WORD), "<u8")
    bits = np.packbits(alive != 0, bitorder="little")
    words.view(np.uint8)[: bits.size] = bits
    return words


def unpack_bits(words: Array, sizes: Sequence[int]) -> list[Array]:
    """The bits that `words` hold of arrays of these sizes, one after the other, as 0 and 1."""
    ends = np.cumsum([-(-size // WORD) for size in sizes])
    return [
        np.unpackbits(part.view(np.uint8), count=size, bitorder="little")
        for part, size in zip(np.split(words, ends[:-1]), sizes, strict=True)
    ]


@lru_cache
def _drawing(kind: type) -> Callable[[Array], int]:
    @compiled
    def draw(memory):  # type: ignore[no-untyped-def]
        return _draw(memory, kind)

    return draw


@compiled
def _draw(memory, kind):  # type: ignore[no-untyped-def]
    """How many entries of a ranking are NaN; else write who is left, what moved, the next bands.

    Of two places for who is left, `memory[LAST]` tells which was written last.
    """
    arrays, rankings, parts, words, most, infinity, last_one = memory[:7]
    moved, rest = memory[7 : 7 + parts].view(np.float64), memory[7 + parts :]
    sizes, rest = rest[:parts], rest[parts:]
    where, rest = rest[: 2 * arrays].reshape(arrays, 2), rest[2 * arrays :]
    state, rest = rest[: 6 * rankings].reshape(rankings, 6), rest[6 * rankings :]
    alive, both = rest[:words].view(np.uint64), rest[words : 3 * words].view(np.uint64)
    before, left = both[:words], both[words:]
    if last_one:
        before, left = left, before
    bands, offsets = rest[3 * words : 4 * words].view(np.uint64), rest[4 * words : 5 * words]
    bits, places = rest[5 * words : 5 * words + most], rest[5 * words + most :]
    moved[:] = at = first = 0
    for r in range(rankings):
        start = at
        end, go, part, guess, width, last = state[r]
        reach = infinity & -infinity  # numbers between a power of 2 and the next
        while True:
            low, high = guess - min(width, guess), guess + min(width, infinity - guess)
            at, below, count, nan = start, 0, 0, 0
            for a in range(first, end):
                array = carray(pointer(where[a, 0]), where[a, 1], kind)
                at, below, count, nan = _sift(
                    array, low, high, alive, left, at, bands, offsets, bits, places,
                    below, count, nan,
                )  # fmt: skip
            if nan:
                return nan
            if below <= go <= below + count:
                break
            each = (high - low) / max(count, 1)  # numbers to an entry
            if go < below:
                guess = low - int(min(each * (below - go), reach, low))
            else:
                guess = high + int(min(each * (go - below - count), reach, infinity - high))
            times = WIDER if count else EMPTY
            width = infinity if width > infinity // times else times * width
            reach = min(reach, infinity // 2) * 2
        threshold = _threshold(bits, count, go - below, low, high)
        _keep(bits, places, count, threshold, go - below, left)
        moved[part] += _differing(before, left, start, at)
        share = count / (WORD * (at - start))
        state[r, 3:] = _band(threshold, guess, width, last, infinity, share)
        first = end
    for p in range(parts):
        moved[p] /= sizes[p]
    memory[LAST] = 1 - last_one
    return 0


@compiled
def _band(threshold, guess, width, last, infinity, share):  # type: ignore[no-untyped-def]
    """The next guess, the width on either side of it, and the threshold.

    This band held a `share` of all entries.
    """
    error = min(abs(threshold - guess), infinity // SURER)
    width = max(SURER * error, width - width // 4)
    if share > MOST:
        width = int(width * (MOST / share))
    move = min(threshold - last, infinity - threshold) if last else 0  # after the first
    return max(0, threshold + move), max(width, 1), threshold


@compiled
def _sift(  # type: ignore[no-untyped-def]
    array, low, high, alive, left, at, bands, offsets, bits, places, below, count, nan
):
    """Write into `left`, from word `at` on, which entries are above `high`.

    Those from `low` to `high` are put into `bits`, and where they lie among all into `places`,
    once all words are compared: which of them have any cannot be foretold.
    """
    first, some = WORD * at, 0
    for offset in range(0, array.size, WORD):
        prefetch(array, offset + AHEAD, WORD, 1)
        if offset + WORD <= array.size:
            less, more = outside(load(array, offset, WORD, WORD), low, high)
        else:
            rest = array.size - offset
            less, more = outside(load_some(array, offset, rest, WORD, True), low, high)
        lives = alive[at]
        nan += population(less & more & lives)
        below += population(less & lives)
        left[at] = more & lives
        bands[some], offsets[some] = lives & ~(less | more), offset
        some += bands[some] != 0
        at += 1
    for word in range(some):
        band, offset = bands[word], offsets[word]
        while True:
            place = offset + lowest(band)
            bits[count], places[count] = whole(array[place]), first + place
            count += 1
            band &= band - np.uint64(1)
            if band == 0:
                break
    return at, below, count, nan


@compiled
def _threshold(bits, count, rank, low, high):  # type: ignore[no-untyped-def]
    """The least number from `low` to `high` that at least `rank` of `bits` do not exceed."""
    while low < high:
        middle = low + (high - low) // 2
        if _at_most(bits, count, middle) < rank:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _at_most(bits, count, most):  # type: ignore[no-untyped-def]
    found = 0
    for i in range(count):  # in vectors
        found += bits[i] <= most
    return found


@compiled
def _keep(bits, places, count, threshold, go, left):  # type: ignore[no-untyped-def]
    """Write into `left` which entries of the band stay when `go` of them go."""
    ties = go - _at_most(bits, count, threshold - 1)
    for i in range(count):
        tie = (bits[i] == threshold) & (ties > 0)
        ties -= tie
        stays = (bits[i] >= threshold) & (not tie)
        left[places[i] // WORD] |= np.uint64(stays) << np.uint64(places[i] % WORD)


@compiled
def _differing(a, b, start, end):  # type: ignore[no-untyped-def]
    found = 0
    for at in range(start, end):
        found += population(a[at] ^ b[at])
    return found
