"""What the tests of sweeps share: small files of runs, and what is compared of their folders."""

import re
from concurrent.futures import BrokenExecutor, Executor, Future

SPENT = re.compile(rb'"(seconds|memory|joules)_\w+": [^,}]+|, "digest": "[0-9a-f]{16}"(?=}\n)')
SMALL = {"task": "karate", "model": "gcn", "rounds": 2, "epochs": 5, "hidden": 8}


def content(folder):
    """The bytes of every record and ticket of a run, but for what was spent."""
    return {p.name: SPENT.sub(b"", p.read_bytes()) for p in sorted(folder.glob("seed*"))
            if p.suffix != ".lock"}  # fmt: skip


class Inline(Executor):
    """Computes at once; what it is sent in the places `lost` never comes back."""

    def __init__(self, lost=(), error=BrokenExecutor):
        self.lost, self.error, self.tasks = lost, error, []

    def submit(self, function, *given):
        future, place = Future(), len(self.tasks)
        self.tasks.append(given[0])
        if place in self.lost:
            future.set_exception(self.error("the worker has died"))
            return future
        try:
            future.set_result(function(*given))
        except Exception as error:
            future.set_exception(error)
        return future
