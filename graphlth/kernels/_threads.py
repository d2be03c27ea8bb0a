"""The threads that compiled loops share, started when first used."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

SHARED = 1 << 18  # multiplications from which threads are worth their start


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """So many threads, the same for every caller."""
    return ThreadPoolExecutor(threads, "graphlth")
