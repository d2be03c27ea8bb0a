"""Who computes the seeds of a sweep: processes of this machine, or the workers of a Dask cluster.

Both are a `concurrent.futures.Executor` behind; what differs is how a lost worker shows.
"""

import logging
import os
import warnings
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Protocol

from graphlth._exit import block_interrupts, delay_signals, ignore_interrupts, skip_last_collection
from graphlth.experiment.workers import without_main_script
from graphlth.sweeps.pickled_call import pickle_call, run_pickled
from graphlth.sweeps.seed_task import Rounds, SeedTask, compute_seed

LEAST_AT_ONCE = 8  # seeds that a cluster is sent, which may start workers when it has some
CONTINUES = "what is recorded stays, and the same command continues"
DASK = "pip install graphlth[dask]"


class Workers(Protocol):
    """What computes seeds."""

    lost: tuple[type[BaseException], ...]  # what a future raises whose worker has died
    gone: tuple[type[BaseException], ...]  # what it raises when nobody is left to compute

    def capacity(self) -> int:
        """How many seeds it takes at once."""

    def submit(self, task: SeedTask) -> tuple["Future[Rounds]", Path | None]:
        """The rounds of a seed to come, and the folder where they appear as they are done."""

    def gone_error(self) -> OSError:
        """What is said where nobody is left to compute."""

    def close(self) -> None:
        """End what is being computed."""


class ExecutorWorkers:
    """The workers of any executor, which return the rounds of a seed when all are done."""

    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)
    gone: tuple[type[BaseException], ...] = (CancelledError,)

    def __init__(self, executor: Executor, at_once: int) -> None:
        self.executor, self.at_once = executor, at_once

    def capacity(self) -> int:
        """See `Workers`."""
        return self.at_once

    def submit(self, task: SeedTask) -> tuple["Future[Rounds]", Path | None]:
        """See `Workers`."""
        return self.executor.submit(compute_seed, task), None

    def gone_error(self) -> OSError:
        """See `Workers`."""
        return OSError(f"the executor has cancelled what it was to compute; {CONTINUES}")

    def close(self) -> None:
        """See `Workers`."""
        self.executor.shutdown(wait=False)


class DaskWorkers(ExecutorWorkers):
    """The workers of a Dask cluster.

    Args:
        address: of its scheduler, such as tcp://host:8786; or the scheduler's file, a .json.

    Raises:
        ValueError: Dask is not installed.
        OSError: there is no scheduler.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client, KilledWorker
        except ImportError:
            raise ValueError(f"`cluster` needs Dask: {DASK}") from None
        where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
        try:
            self.client = Client(**where, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise OSError(f"no scheduler at `cluster` {address!r}: {reason}") from None
        self.address, self.lost = address, (KilledWorker, BrokenExecutor)
        # Two attempts at a seed are two tasks, which `pure` would make one.
        super().__init__(self.client.get_executor(pure=False), LEAST_AT_ONCE)

    def capacity(self) -> int:
        """Twice as many seeds as there are workers now: none waits for the client."""
        with suppress(Exception):  # the scheduler may be gone, which `submit` tells
            self.at_once = max(LEAST_AT_ONCE, 2 * len(self.client.nthreads()))
        return self.at_once

    def submit(self, task: SeedTask) -> tuple["Future[Rounds]", Path | None]:
        """See `Workers`.

        Raises:
            OSError: the scheduler is gone.
        """
        if self.client.status != "running":
            raise self.gone_error()
        # The scheduler unpickles what it passes on.
        return self.executor.submit(run_pickled, pickle_call(_compute_on_dask, task)), None

    def gone_error(self) -> OSError:
        """See `Workers`."""
        return OSError(f"the scheduler at `cluster` {self.address!r} is gone; {CONTINUES}")

    def close(self) -> None:
        """See `Workers`."""
        log = logging.getLogger("distributed.client")
        before, log.disabled = log.disabled, self.client.status != "running"  # which is told
        with suppress(Exception):  # the scheduler may be gone
            super().close()
        with suppress(Exception):
            self.client.close()
        log.disabled = before


def _compute_on_dask(task: SeedTask) -> Rounds:
    """The rounds of a seed, computed within the worker's folder: Dask removes those of the dead."""
    from distributed import get_worker

    return compute_seed(task, within=get_worker().local_directory)


class LocalWorkers:
    """Processes of this machine, which write each round to a folder of their own.

    Processes that are lost, perhaps for want of memory, are replaced.
    """

    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)
    gone: tuple[type[BaseException], ...] = ()

    def __init__(self, count: int) -> None:
        self.count = count
        self.folder = TemporaryDirectory(prefix="graphlth-")
        self.context = get_context("spawn")
        self.submitted = 0
        self._start()

    def capacity(self) -> int:
        """See `Workers`."""
        return self.count

    def _start(self) -> None:
        alive, self.owner = self.context.Pipe(duplex=False)
        how = alive, list(warnings.filters)
        self.executor = ProcessPoolExecutor(self.count, self.context, _prepare_process, how)

    def submit(self, task: SeedTask) -> tuple["Future[Rounds]", Path | None]:
        """See `Workers`."""
        self.submitted += 1
        folder = Path(self.folder.name) / str(self.submitted)
        folder.mkdir()
        try:
            future = self._submit(task, folder)
        except BrokenExecutor:
            self._stop()
            self._start()
            future = self._submit(task, folder)
        return future, folder / "run"

    def _submit(self, task: SeedTask, folder: Path) -> "Future[Rounds]":
        with delay_signals(), block_interrupts(), without_main_script():  # it may start a process
            return self.executor.submit(compute_seed, task, str(folder))

    def _stop(self) -> None:
        self.owner.close()  # which ends its processes
        self.executor.shutdown(wait=True, cancel_futures=True)

    def gone_error(self) -> OSError:
        """See `Workers`."""
        return OSError(f"the processes have ended; {CONTINUES}")

    def close(self) -> None:
        """See `Workers`."""
        self._stop()
        self.folder.cleanup()


def _prepare_process(alive: Connection, filters: list[Any]) -> None:
    """Let this process end as soon as its client ends, or closes its end of a pipe."""
    skip_last_collection()
    warnings.filters[:] = filters  # type: ignore[index]
    ignore_interrupts()
    Thread(target=_end_with_owner, args=(alive,), daemon=True).start()


def _end_with_owner(alive: Connection) -> None:
    with suppress(EOFError, OSError):
        alive.recv()
    os._exit(1)


def choose_workers(count: int, cluster: str | None) -> Workers:
    """The workers of a `cluster`, else `count` processes."""
    return LocalWorkers(count) if cluster is None else DaskWorkers(cluster)
