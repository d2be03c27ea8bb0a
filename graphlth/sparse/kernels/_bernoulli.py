"""Numbers 0 and 1 as torch draws them on a CPU, by compiled loops.

MT19937 of Matsumoto & Nishimura (ACM TOMACS 8, 1998), whose words are made 624 at a time. A number
takes two of them: 53 bits of the pair, the first word being the high half, are a chance in [0, 1).
"""

from typing import Any

import numpy as np

from graphlth.sparse.kernels._compiled import compiled

WORDS, AHEAD = 624, 397
HIGH, LOW = np.uint32(1 << 31), np.uint32((1 << 31) - 1)
TWIST = np.uint32(0x9908B0DF)
MASKS = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)
TOP = np.uint32((1 << 21) - 1)  # of the high word: 53 - 32 bits
ONE, S7, S11, S15, S18 = (np.uint32(n) for n in (1, 7, 11, 15, 18))


@compiled
def _next_words(state: Any, words: Any) -> None:
    """The next 624 words; `state` [624] moves on."""
    for i in range(WORDS - AHEAD):
        y = (state[i] & HIGH) | (state[i + 1] & LOW)
        state[i] = state[i + AHEAD] ^ (y >> ONE) ^ (TWIST * (y & ONE))
    for i in range(WORDS - AHEAD, WORDS - 1):
        y = (state[i] & HIGH) | (state[i + 1] & LOW)
        state[i] = state[i + AHEAD - WORDS] ^ (y >> ONE) ^ (TWIST * (y & ONE))
    y = (state[WORDS - 1] & HIGH) | (state[0] & LOW)
    state[WORDS - 1] = state[AHEAD - 1] ^ (y >> ONE) ^ (TWIST * (y & ONE))
    _temper(state, words)


@compiled
def _temper(state: Any, words: Any) -> None:
    for i in range(WORDS):
        y = state[i]
        y ^= y >> S11
        y ^= (y << S7) & MASKS[0]
        y ^= (y << S15) & MASKS[1]
        words[i] = y ^ (y >> S18)


@compiled
def draw(state: Any, place: int, high: Any, low: Any, value: Any, out: Any) -> int:
    """Fill `out` [n] with `value`, or 0 where the chance is not below (high, low) / 2^53.

    `state` [624] and `place`, the first word that is not used up, are those of the generator; the
    new place comes back.
    """
    words = np.empty(WORDS, np.uint32)
    _temper(state, words)
    zero, done = out.dtype.type(0), 0
    while done < out.size:
        if place == WORDS:
            _next_words(state, words)
            place = 0
        if place == WORDS - 1:  # a pair of two times
            first = words[place] & TOP
            _next_words(state, words)
            is_below = first < high or (first == high and words[0] < low)
            out[done] = value if is_below else zero
            done, place = done + 1, 1
            continue
        count = min((WORDS - place) // 2, out.size - done)
        for i in range(count):
            first = words[place + 2 * i] & TOP
            is_below = (first < high) | ((first == high) & (words[place + 2 * i + 1] < low))
            out[done + i] = value if is_below else zero
        done, place = done + count, place + 2 * count
    return place
