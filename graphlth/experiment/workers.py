"""The seeds of a run in several processes."""

import os
import pickle
import sys
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from threading import Thread
from types import ModuleType
from typing import Any

from graphlth._exit import block_interrupts, delay_signals, ignore_interrupts, skip_last_collection
from graphlth.experiment.plan import Step

EPOCHS_PER_SECOND = 5
KILLED = (
    "a process was killed, perhaps for want of memory: try fewer `jobs`; the same run continues"
)
Work = Callable[[Sequence[int], Callable[[Step], None]], None]  # of a group of seeds; calls `watch`


@dataclass
class Throttle:
    """Passes on every round, but only some epochs: a message costs a good part of an epoch."""

    put: Callable[[Step], None]
    last: float = 0.0  # when an epoch was passed on

    def __call__(self, step: Step) -> None:
        """Pass `step` on, or not."""
        now = time.monotonic()
        if step.epoch is None or now - self.last >= 1 / EPOCHS_PER_SECOND:
            self.put(step)
            self.last = now


@dataclass
class Listener:
    """Passes the steps of all processes to `watch`, in the thread that calls it."""

    messages: "SimpleQueue[Step | Exception | None]"  # of the workers; None is the last one
    workers: Sequence[BaseProcess]
    watch: Callable[[Step], None]
    received: deque[Step | Exception] = field(default_factory=deque)

    def __post_init__(self) -> None:
        # While this process searches it reads no message, and a full queue would stop the others.
        self.thread = Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self) -> None:
        while (message := self.messages.get()) is not None:
            self.received.append(message)

    def __call__(self, step: Step | None = None) -> None:
        """Pass on `step` of this process, and what the workers have sent.

        Raises:
            Exception: what a worker has raised.
            OSError: a worker was killed.
        """
        if step is not None:
            self.watch(step)
        while self.received:
            message = self.received.popleft()
            if isinstance(message, Exception):
                raise message
            self.watch(message)
        if any(worker.exitcode for worker in self.workers):
            raise OSError(KILLED)

    def finish(self) -> None:
        """Pass on everything until all workers have ended."""
        while any(worker.is_alive() for worker in self.workers):
            self()
            time.sleep(0.1)
        self.messages.put(None)
        self.thread.join()
        self()


def run_in_processes(
    work: Work, groups: Sequence[Sequence[int]], jobs: int, watch: Callable[[Step], None]
) -> None:
    """Do the `work` of every group of seeds in `jobs` processes, of which this is one.

    Raises:
        Exception: what `work` raises in any process; the others are then ended. What is recorded
            stays, and a seed that was interrupted continues in the next run.
        OSError: a process was killed.
    """
    context = get_context("spawn")
    messages: SimpleQueue[Step | Exception | None] = context.SimpleQueue()
    begun = context.Value("i", 0)  # how many groups are, in whatever process
    shared = work, groups, messages, begun, list(warnings.filters)
    extra = min(jobs, len(groups)) - 1
    workers = [context.Process(target=_work, args=shared, daemon=True) for _ in range(extra)]
    try:
        with delay_signals(), block_interrupts(), without_main_script():
            for worker in workers:
                worker.start()
        listener = Listener(messages, workers, watch)
        for group in _take_groups(groups, begun):
            work(group, listener)
        listener.finish()
    except BaseException:
        for worker in (w for w in workers if w.pid is not None):
            worker.terminate()
            worker.join()
        raise


@contextmanager
def without_main_script() -> Iterator[None]:
    """Inside, processes that start do not run the script of this one: they need nothing of it.

    They would start others in turn, if it starts some whatever its `__name__` is.
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


def _work(
    work: Work, groups: Sequence[Sequence[int]], messages: "SimpleQueue[Step | Exception | None]",
    begun: Any, filters: list[Any],
) -> None:  # fmt: skip
    """Do the `work` of groups in this process, and send its parent the steps, or the error."""
    skip_last_collection()
    warnings.filters[:] = filters  # type: ignore[index]
    ignore_interrupts()
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        for group in _take_groups(groups, begun):
            work(group, Throttle(messages.put))
    except Exception as error:
        messages.put(_sendable(error))


def _end_with_parent() -> None:
    """End this process when its parent ends."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _sendable(error: Exception) -> Exception:
    """The error with its traceback as a note; its text alone if it cannot be sent as it is."""
    error.add_note(f"in another process:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
