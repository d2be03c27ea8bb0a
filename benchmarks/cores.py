"""How long a cache line takes from one core to another: whether they share a third cache.

On an AMD EPYC it takes 20 to 80 ns where they do, for which two processes then compete, and about
200 from one die to another. A virtual machine does not say which it is, and may move.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from graphlth.sparse.kernels._compiled import compiled

LINE, TURNS, TRIES = 16, 200, 10  # numbers of a line and its neighbour; passes to and fro of a try


@intrinsic
def _read(typing: Any, line: Any) -> Any:
    """The first number of `line` as another thread has left it."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_first(context, builder, signature, arguments), "acquire", 8)

    return types.int64(line), emit


@intrinsic
def _write(typing: Any, line: Any, value: Any) -> Any:
    """Leave `value` there for another thread."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _first(context, builder, signature, arguments)
        builder.store_atomic(arguments[1], place, "release", 8)
        return context.get_dummy_value()

    return types.void(line, types.int64), emit


def _first(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(data, ir.IntType(64).as_pointer())


@compiled
def _pass_on(line, mine, turns):  # type: ignore[no-untyped-def]
    """Wait until the line says `mine`, and then hand it over, so many times."""
    for _ in range(turns):
        while _read(line) != mine:
            pass
        _write(line, np.int64(1 - mine))


def latency(cpus: tuple[int, int]) -> float:
    """Nanoseconds that a line takes from one of two cores to the other, the least of some tries."""
    line = np.zeros(LINE, np.int64)

    def side(mine: int) -> float:
        os.sched_setaffinity(0, {cpus[mine]})  # of this thread alone
        seconds = []
        for _ in range(TRIES):
            start = time.perf_counter()
            _pass_on(line, mine, TURNS)
            seconds.append(time.perf_counter() - start)
        return min(seconds) / (2 * TURNS) * 1e9

    _pass_on(line, 0, 0)  # compiles
    with ThreadPoolExecutor(2) as threads:
        return min(threads.map(side, (0, 1)))


@contextmanager
def latencies(every: float = 10.0) -> Iterator[list[float]]:
    """What `latency` finds between the first two cores at the start, and `every` so many seconds.

    One measurement takes a few milliseconds of both, where they are busy up to some hundred.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise ValueError("two processes must have two cores, got 1")
    found, done = [latency((first, others[0]))], Event()

    def measure() -> None:
        while not done.wait(every):
            found.append(latency((first, others[0])))

    thread = Thread(target=measure)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
