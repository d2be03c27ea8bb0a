"""The seeds of a run in several processes."""

import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.queues import SimpleQueue
from threading import Thread
from types import ModuleType
from typing import Any

from graphlth._exit import block_interrupts, delay_signals, ignore_interrupts, skip_last_collection
from graphlth.experiment.plan import Step

EPOCHS_PER_SECOND = 5


@dataclass
class Throttle:
    """Tells of every round, and of few epochs: telling another process costs much of an epoch."""

    put: Callable[[Step], None]
    last: float = 0.0  # when an epoch was told of

    def __call__(self, step: Step) -> None:
        """Pass `step` on, or not."""
        now = time.monotonic()
        if step.epoch is None or now - self.last >= 1 / EPOCHS_PER_SECOND:
            self.put(step)
            self.last = now


def run_in_processes(
    work: Callable[[Sequence[int], Callable[[Step], None]], None],
    groups: Sequence[Sequence[int]],
    jobs: int,
    watch: Callable[[Step], None],
) -> None:
    """Do the `work` of every group of seeds in `jobs` processes, of which this is one."""
    context = get_context("spawn")
    steps: SimpleQueue[Step | None] = context.SimpleQueue()
    begun = context.Value("i", 0)  # how many groups are, in whatever process
    others, extra = set(active_children()), min(jobs, len(groups)) - 1
    start = list(warnings.filters), steps, begun
    told: deque[Step] = deque()
    # While this process searches it looks at no step, and a full queue would stop the others.
    ear = Thread(target=lambda: told.extend(iter(steps.get, None)), daemon=True)
    running: set[Future[None]] = set()
    with ProcessPoolExecutor(extra, context, _start_worker, start) as pool:

        def listen(step: Step | None = None) -> None:
            if step is not None:
                watch(step)
            while told:
                watch(told.popleft())
            for future in [f for f in running if f.done()]:
                running.remove(future)
                future.result()

        try:
            with delay_signals(), block_interrupts(), _without_main_script():
                running |= {pool.submit(_work, work, groups) for _ in range(extra)}
            ear.start()
            for group in _take_groups(groups, begun):
                work(group, listen)
            while running:
                listen()
                time.sleep(0.1)
            steps.put(None)  # after all of theirs
            ear.join()
            listen()
        except BaseException as error:  # what is recorded stays; a seed lost half-way continues
            for worker in set(active_children()) - others:
                worker.terminate()
            if isinstance(error, BrokenProcessPool):
                raise OSError("a process was killed, perhaps for want of memory: try fewer `jobs`; "
                              "the same run continues") from None  # fmt: skip
            raise


@contextmanager
def _without_main_script() -> Iterator[None]:
    """Inside, processes that start do not run the script of this one, of which they need nothing.

    They would start others in turn, if it asks for them whatever its `__name__` is.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _take_groups(groups: Sequence[Sequence[int]], begun: Any) -> Iterator[Sequence[int]]:
    """One group after another that no process has begun."""
    while True:
        with begun.get_lock():
            number = begun.value
            begun.value += 1
        if number >= len(groups):
            return
        yield groups[number]


def _start_worker(filters: list[Any], steps: "SimpleQueue[Step | None]", begun: Any) -> None:
    """Make this process warn as its parent does, leave interrupts to it, and end when it ends."""
    skip_last_collection()
    _work.shared = steps, begun  # type: ignore[attr-defined]  # can be inherited, not sent
    warnings.filters[:] = filters  # type: ignore[index]
    ignore_interrupts()
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()


def _work(work: Callable[..., None], groups: Sequence[Sequence[int]]) -> None:
    """Do the `work` of groups in this process, and tell its parent of the steps."""
    steps, begun = _work.shared  # type: ignore[attr-defined]
    for group in _take_groups(groups, begun):
        work(group, Throttle(steps.put))
