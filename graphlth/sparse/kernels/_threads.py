"""The threads that compiled loops share, started when first used."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

SHARED = 1 << 23  # multiplications from which it pays to wake another thread


def run_together(parts: Iterable[Callable[[], None]]) -> None:
    """Do all of `parts` at once, the first on the thread that asks: it need not be woken."""
    first, *others = parts
    running = [pool(len(others)).submit(part) for part in others]
    try:
        first()
    finally:
        for part in running:
            part.result()


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """So many threads, the same for every caller."""
    return ThreadPoolExecutor(threads, "graphlth")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # a child has none of its parent's threads
