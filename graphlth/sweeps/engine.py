"""Seeds computed by workers, and written by this process alone, which holds their locks.

A seed is sent with what is recorded of it and comes back with the rounds that are not. Rounds are
written as soon as they are here, in whatever order seeds end; nothing else is held of them.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from graphlth.experiment.folder import lock_seed, recover_records, save_rounds
from graphlth.experiment.plan import Plan, Step
from graphlth.settings.lists import planned_rounds
from graphlth.storage import remove_drafts
from graphlth.sweeps.seed_task import (
    Rounds,
    SeedTask,
    decisive_versions,
    new_rounds,
    seed_files,
    source_files,
)
from graphlth.sweeps.workers import Workers

POLL = 0.2  # seconds between two looks at what the workers have written


@dataclass
class SeedRun:
    """A seed of a run, as the client follows it."""

    name: str  # of the run, in the sweep
    chosen: Plan
    folder: Path
    seed: int
    recorded: int = 0  # rounds
    losses: int = 0  # workers that have died since the last round
    error: str = ""  # why it could not be computed

    @property
    def is_done(self) -> bool:
        """Whether all rounds are recorded."""
        return self.recorded == len(planned_rounds(self.chosen.settings))


@dataclass
class Attempt:
    """A seed that a worker computes."""

    run: SeedRun
    task: SeedTask
    folder: Path | None  # where its rounds appear; None where they come at the end
    lock: AbstractContextManager[Any]


@dataclass
class Engine:
    """Computes seeds by `workers`; `watch` is called after every round that is recorded."""

    workers: Workers
    retries: int  # how many workers a seed may lose between two rounds
    watch: Callable[[Step], None]
    computing: dict["Future[Rounds]", Attempt] = field(default_factory=dict)

    def compute(self, runs: Iterable[SeedRun]) -> None:
        """Bring seeds to their end; one that cannot be has an `error`, and others go on.

        Raises:
            ValueError: another process runs a seed, or its files are damaged.
            OSError: there is nobody left to compute; or a file cannot be written.
        """
        waiting = deque(runs)
        try:
            while waiting or self.computing:
                while waiting and len(self.computing) < self.workers.capacity():
                    self._start(waiting.popleft())
                done, _ = wait(self.computing, POLL, FIRST_COMPLETED)
                for attempt in self.computing.values():
                    self._receive(attempt)
                waiting.extend(run for future in done if (run := self._finish(future)))
        finally:
            for attempt in self.computing.values():
                with suppress(ValueError, OSError):  # the error that ends this is another
                    self._receive(attempt)
                attempt.lock.__exit__(None, None, None)
            self.computing.clear()

    def _start(self, run: SeedRun) -> None:
        """Send what is not recorded of a seed to a worker, if anything is."""
        lock = lock_seed(run.folder, run.seed)
        try:
            remove_drafts(run.folder, f"seed{run.seed}")
            done = recover_records(run.chosen, run.folder, run.seed)
            for line in done[run.recorded :]:
                self.watch(Step(run.seed, line["round"], None, line, is_new=False, run=run.name))
            run.recorded = len(done)
            if run.is_done:
                lock.__exit__(None, None, None)
                return
            task = SeedTask(run.chosen, run.seed, decisive_versions(),
                            seed_files(run.folder, run.seed, done),
                            source_files(run.chosen, run.seed))  # fmt: skip
            future, folder = self.workers.submit(task)
        except BaseException:
            lock.__exit__(None, None, None)
            raise
        task = replace(task, files={}, source={})  # of many seeds they would be much to hold
        self.computing[future] = Attempt(run, task, folder, lock)

    def _receive(self, attempt: Attempt) -> None:
        """Store the rounds that a worker has written since the last time."""
        if attempt.folder is not None:
            self._store(attempt.run, new_rounds(attempt.task, attempt.folder, attempt.run.recorded))

    def _store(self, run: SeedRun, rounds: Rounds) -> None:
        if not rounds:
            return
        lines = save_rounds(run.chosen, run.folder, run.seed, rounds)
        run.recorded, run.losses = run.recorded + len(lines), 0
        for line in lines:
            self.watch(Step(run.seed, line["round"], None, line, run=run.name))

    def _finish(self, future: "Future[Rounds]") -> SeedRun | None:
        """Store what a worker returns; the seed again, where it was lost."""
        attempt = self.computing[future]
        run = attempt.run
        try:
            rounds = future.result()
        except self.workers.lost:
            run.losses += 1
            if run.losses <= self.retries:
                return run
            often = "once" if run.losses == 1 else f"{run.losses} times"
            run.error = (f"its worker died {often}, perhaps for want of memory: give it more, or "
                         "try fewer `workers`")  # fmt: skip
        except self.workers.gone:
            raise self.workers.gone_error() from None
        except (Exception, SystemExit) as error:  # what a user's own model raises, too
            run.error = " ".join(str(error).split()) or type(error).__name__
        else:
            self._store(run, rounds)
        finally:
            attempt.lock.__exit__(None, None, None)
            del self.computing[future]
            if attempt.folder is not None:
                shutil.rmtree(attempt.folder.parent, ignore_errors=True)
        return None
