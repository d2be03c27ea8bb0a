"""Streams of random numbers, each with a name: a seed, what it is drawn for, and a number.

Streams are never told apart by sums of seeds and numbers: with `seed + round`, round 2 of seed 0
would draw what round 1 of seed 1 does.
"""

import hashlib
import json

import torch


def stream_seed(seed: int, purpose: str, *parts: str | int) -> int:
    """A seed in [0, 2⁶³) of its own for every seed, purpose and number."""
    name = json.dumps([int(seed), purpose, *parts])
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def stream(seed: int, purpose: str, *parts: str | int) -> torch.Generator:
    """The stream of random numbers, on the CPU, that `stream_seed` starts."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, *parts))
