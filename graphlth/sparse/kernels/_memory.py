"""Memory for large results on the CPU."""

from math import prod
from pathlib import Path

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_features
from torch import Tensor

LARGE = 1 << 22  # bytes, from which NumPy asks for huge pages
LINE = 64  # bytes that a processor reads at once
CACHE = 1 << 20  # bytes of a matrix from which its rows are fetched ahead
NUMBERS_AHEAD = 256  # of a permutation, that are fetched ahead
REGISTERS = 512  # bytes of a row that vectors of 512 bits hold twice
# Bytes that one strip has if it is the only one, and that each has if a row has several.
FEATURES = get_host_cpu_features()
WIDE, HELD = (REGISTERS, 256) if FEATURES.get("avx512f") else (128, 128)
PACKED = bool(FEATURES.get("avx512f") and FEATURES.get("avx512vl"))  # lanes can be moved together
STRIP = 64  # channels of a matrix that are made and used up at a time


def new_empty(like: Tensor, *shape: int) -> Tensor:
    """A tensor of the type of `like`, not cleared; a large one in huge pages, if there are any.

    The first touch of every page of fresh memory costs as much as to fill it, and memory of more
    than 32 MB is fresh every time.
    """
    size, item = prod(shape), like.element_size()
    if size * item < LARGE or like.dtype not in (torch.float32, torch.float64):
        return like.new_empty(shape)
    whole = np.empty(size + LINE // item, f"f{item}")
    start = -whole.ctypes.data % LINE // item
    return torch.from_numpy(whole[start : start + size]).view(shape)


def cache_size(file: str) -> int:
    """Bytes of a cache, as Linux tells them in `file`; 0 where it does not."""
    try:
        return int(Path(file).read_text().strip().removesuffix("K")) << 10  # as "2048K"
    except (OSError, ValueError):
        return 0


SECOND = cache_size("/sys/devices/system/cpu/cpu0/cache/index2/size")  # of a core
# Where the second cache is large, and the third slow: bytes read in turn that stay inside, and from
# which rows are fetched to the second, too. Below, that costs more than to wait for the third.
NEAR, BEYOND = (SECOND * 3 // 4, 20 * SECOND) if SECOND > CACHE else (1 << 62, CACHE)
REUSED, THIRD = 12, 1 << 23  # readings of a row, from which so many bytes stay in the third cache


def prefetch_levels(size: int, readings: float = 1.0) -> int:
    """To how many caches rows of a matrix of `size` bytes are fetched; each has `readings`."""
    beyond = max(BEYOND, THIRD) if readings >= REUSED else BEYOND
    return (size >= CACHE) + (size >= beyond)


def lanes_of(d: int, x: Tensor, most: int = REGISTERS) -> tuple[int, bool]:
    """How many of `d` channels make a strip of up to `most` bytes; whether the last has fewer."""
    lanes = min(most // x.element_size(), max(8, 1 << (d - 1).bit_length()))
    return lanes, d % lanes != 0
