"""The rounds of one seed as a function of its plan: what a worker is sent, and what it sends back.

A worker writes nothing but a folder of its own. The client, which alone writes the folders of runs,
says what is recorded of a seed; the worker computes the rest and returns it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

import graphlth.records as record
from graphlth.experiment.folder import keeps_ticket
from graphlth.experiment.plan import Plan
from graphlth.experiment.run import run_seeds
from graphlth.records import Record
from graphlth.records.environment import environment, package_versions
from graphlth.settings.lists import planned_rounds
from graphlth.ticket import ticket_file

Rounds = list[tuple[Record, bytes | None]]  # of a seed: a record, and its ticket's file if kept
PACKAGES = ("graphlth", "torch", "torch-geometric", "torch-scatter", "numba", "numpy")


@dataclass(frozen=True)
class SeedTask:
    """One seed of a plan: everything that decides its rounds.

    Args:
        plan: with the digests of data and code, which the worker compares with its own.
        seed: its number.
        versions: of the packages that decide digits, as the client has them.
        files: what is recorded of the seed, by the names of the files: records, the last ticket.
        source: the files of the earlier run whose tickets it reads, likewise.
    """

    plan: Plan
    seed: int
    versions: Mapping[str, str]
    files: Mapping[str, bytes]
    source: Mapping[str, bytes]

    @property
    def recorded(self) -> int:
        """How many rounds the client has."""
        return self.files.get(f"seed{self.seed}.jsonl", b"").count(b"\n")


_computing = Lock()  # a seed at a time in a process of many threads: torch has one state of draws


def decisive_versions() -> dict[str, str]:
    """The versions of the packages that decide digits."""
    return package_versions(PACKAGES)


def seed_files(folder: Path, seed: int, done: list[Record]) -> dict[str, bytes]:
    """What a worker needs of the recorded rounds: the records, and the ticket of the last."""
    if not done:
        return {}
    paths = [folder / f"seed{seed}.jsonl", ticket_file(folder, seed, done[-1]["round"])]
    return {path.name: path.read_bytes() for path in paths}


def source_files(chosen: Plan, seed: int) -> dict[str, bytes]:
    """The files of a seed of the run whose tickets a plan reads; none where it reads none."""
    if not chosen.source:
        return {}
    folder = Path(chosen.here["tickets"])
    paths = [*folder.glob(f"seed{seed}.jsonl"), *folder.glob(f"seed{seed}-round*.safetensors")]
    return {p.name: p.read_bytes() for p in (folder / "settings.json", *paths)}


def compute_seed(task: SeedTask, folder: str | None = None, within: str | None = None) -> Rounds:
    """The rounds of a seed that are not recorded yet.

    Args:
        task: the seed.
        folder: where the worker writes, if the client reads the rounds there; then none come back.
        within: else the folder of the one that it makes for itself; that of the system by default.

    Raises:
        ValueError: the worker has other packages, data or code than the client; or what a run says.
    """
    check_versions(task.versions)
    with _computing, _folder_or_own(folder, within) as place:
        run, source = place / "run", place / "source"
        for target, files in ((run, task.files), (source, task.source)):
            target.mkdir()
            for name, content in files.items():
                (target / name).write_bytes(content)
        chosen = task.plan
        if task.source:
            chosen = replace(chosen, places={**chosen.places, "tickets": str(source)})
        run_seeds(chosen, run, environment(), False, [task.seed], lambda step: None)
        return [] if folder else new_rounds(task, run, task.recorded)


@contextmanager
def _folder_or_own(folder: str | None, within: str | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with TemporaryDirectory(prefix="graphlth-", dir=within) as own:
        yield Path(own)


def check_versions(expected: Mapping[str, str]) -> None:
    """Refuse to compute with other packages than the client's, which may give other digits.

    Raises:
        ValueError: names the first that differs.
    """
    here = decisive_versions()
    for name in {**expected, **here}:
        if here.get(name) != expected.get(name):
            raise ValueError(f"`cluster` must have workers with the client's packages, got {name} "
                             f"{here.get(name, 'not at all')}, not {expected.get(name, 'without')}"
                             ": install the same versions")  # fmt: skip


def new_rounds(task: SeedTask, run: Path, known: int) -> Rounds:
    """The rounds of a seed in the folder `run` of its worker, but for the first `known`.

    The last of them has its ticket, from which the seed can go on, or is the last of the plan.
    """
    lines = run / f"seed{task.seed}.jsonl"
    done = record.read_file(lines) if lines.exists() else []
    rounds = [(line, _ticket_content(run, line)) for line in done[known:]]
    whole = len(done) == len(planned_rounds(task.plan.settings))
    while rounds and rounds[-1][1] is None and not whole:
        rounds.pop()  # its ticket has just been removed: the next round is recorded
    return rounds


def _ticket_content(run: Path, line: Record) -> bytes | None:
    try:
        return ticket_file(run, line["seed"], line["round"]).read_bytes()
    except FileNotFoundError:
        if keeps_ticket(line):
            raise
        return None
