"""Whether what is stored is as it was written: every record, ticket, network and data file."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

import graphlth.records as record
from graphlth import ticket
from graphlth.compaction.network import load_compact
from graphlth.data import published
from graphlth.experiment.folder import check_records, keeps_ticket, read_plan
from graphlth.settings.lists import planned_rounds
from graphlth.storage import check_archive, file_digest, printable

NAMES = ("settings file", "record", "ticket", "network", "program", "data file")


@dataclass
class Report:
    """What was verified, and the faults that were found, a line each."""

    faults: list[str] = field(default_factory=list)
    verified: Counter[str] = field(default_factory=Counter)  # by kind
    unverified: int = 0  # whole, but written before there were digests
    unknown: int = 0  # files of other kinds

    @property
    def summary(self) -> str:
        """One line: how much was verified, and what could not be."""
        found = [(name, n) for name in NAMES if (n := self.verified[name])]
        counts = [f"{n:,} {name}{'' if n == 1 else 's'}" for name, n in found]
        text = "verified " + (", ".join(counts) or "nothing")
        if self.unverified:
            text += f"; {self.unverified:,} of version 0.1.0 without a digest"
        if self.unknown:
            text += f"; {self.unknown:,} other file{'' if self.unknown == 1 else 's'}"
        return text


def verify(paths: Sequence[str | Path]) -> Report:
    """What is wrong with some files, and with all in some folders.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    report = Report()
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"`paths` must be files or folders, got {str(path)!r}")
        named = path.is_file()
        for file in [path] if named else sorted(p for p in path.rglob("*") if p.is_file()):
            try:
                _verify_file(file, report, named)
            except (ValueError, OSError) as error:
                _add_fault(report, file, error)
    return report


def _add_fault(report: Report, file: Path, what: Any) -> None:
    text = printable(" ".join(str(what).split()))
    report.faults.append(text if str(file) in text else f"`{printable(file)}`: {text}")


def _verify_file(file: Path, report: Report, named: bool) -> None:
    """Count what is verified; a fault is raised, or added to the report where there are several."""
    if file.suffix == ".lock" and not file.stat().st_size:
        return  # says nothing: it keeps other processes from a seed
    if (kind := _kind_of_file(file)) is None:
        report.unknown += 1
        if named:
            raise ValueError("is no file that graphlth knows how to verify")
        return
    KINDS[kind](file, report)


def _kind_of_file(file: Path) -> str | None:
    if file.name == "settings.json":
        return "settings"
    if record.seed_of_file(file) is not None:
        return "records"
    if file.suffix == ".pt2":
        return "program"
    if file.suffix in (".npz", ".pt") or _is_published(file):
        return "data"
    with open(file, "rb") as start:
        head = start.read(1 << 16)
    if b"graphlth-compact" in head:
        return "network"
    if file.suffix == ".safetensors" or b"graphlth-ticket" in head:
        return "ticket"
    return None


def _count(report: Report, kind: str, verified: bool) -> None:
    report.verified[kind] += verified
    report.unverified += not verified


def _settings(file: Path, report: Report) -> None:
    _count(report, "settings file", read_plan(file.parent).data != "")


def _has_digest(file: Path) -> bool:
    """Whether a whole ticket or network has a digest: those of version 0.1.0 do not."""
    with safe_open(file, "np") as held:
        return "digest" in json.loads(held.metadata()["graphlth"])


def _network(file: Path, report: Report) -> None:
    load_compact(file)
    _count(report, "network", _has_digest(file))


def _program(file: Path, report: Report) -> None:
    check_archive(file, needed=True)
    _count(report, "program", True)


def _data(file: Path, report: Report) -> None:
    """A published file, by its digest; an archive of one's own by the checksums in it."""
    if _is_published(file):
        if (fault := published.check(file)) is not None:
            raise ValueError(fault)
    else:
        check_archive(file, needed=False)
    _count(report, "data file", True)


def _is_published(file: Path) -> bool:
    names = {file.name, file.name.removesuffix(".gz")}
    return any(names & listed.keys() for listed in published.published_files().values())


def _ticket(file: Path, report: Report) -> None:
    """A ticket, and that a run's has a record: but for one that its run was killed after."""
    ticket.load(file)
    _count(report, "ticket", _has_digest(file))
    own = re.fullmatch(r"seed(\d+)-round(\d+)\.safetensors", file.name)
    if own and (file.parent / "settings.json").is_file():
        seed, number = map(int, own.groups())
        lines = file.parent / f"seed{seed}.jsonl"
        known = [line["round"] for line in record.read_file(lines)] if lines.exists() else []
        whole = planned_rounds(read_plan(file.parent).settings)
        if number not in known and whole[len(known) : len(known) + 1] != [number]:
            raise ValueError(f"no record in `{lines}` is of round {number}; remove the ticket")


def _records(file: Path, report: Report) -> None:
    """The records of a seed; those of a run, that they are its own and have their tickets."""
    lines = record.read_file(file)
    old = record.count_unverified(file)
    report.verified["record"] += len(lines) - old
    report.unverified += old
    if not (file.parent / "settings.json").is_file():
        return  # of a measure: the tickets are elsewhere
    chosen = read_plan(file.parent)
    check_records(chosen, file, lines)
    for i, line in enumerate(lines, start=1):
        path = ticket.ticket_file(file.parent, line["seed"], line["round"])
        if not path.is_file() and not keeps_ticket(line):
            continue
        if not path.is_file():
            report.faults.append(printable(f"`{file}`, line {i}: no ticket at {path}"))
        elif line.get("ticket", digest := file_digest(path)) != digest:
            report.faults.append(printable(f"`{path}`: its SHA-256 is not that of its record, "
                                           f"`{file}`, line {i}"))  # fmt: skip


KINDS: Mapping[str, Callable[[Path, Report], None]] = {
    "settings": _settings, "records": _records, "ticket": _ticket, "network": _network,
    "program": _program, "data": _data,
}  # fmt: skip
