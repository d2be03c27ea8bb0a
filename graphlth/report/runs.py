"""The runs of a report: where they lie, whether they are finished, what they are told to be."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import graphlth.records as record
from graphlth.figures._style import Series, key_of, looks_of
from graphlth.records.files import record_files
from graphlth.records.schema import Record
from graphlth.records.statistics import Row, run_of
from graphlth.records.tables import HEAD, format_numbers, run_table, run_title, warning_lines
from graphlth.records.winning import Marks
from graphlth.report.commands import measure_command, run_command
from graphlth.settings.lists import planned_rounds


@dataclass(frozen=True)
class Run:
    """One run of a section: its name in the figures, its table and what makes it doubtful."""

    name: str
    title: str
    table: Sequence[Sequence[str]]
    warnings: Sequence[str]
    unfinished: Sequence[str]  # a line per seed
    commands: Sequence[str]  # one for each folder
    settings: Mapping[str, str]
    folders: Sequence[Path]
    series: Series

    head = HEAD


def find_folders(folders: Iterable[str | Path]) -> dict[Path, list[Record]]:
    """The folders with records under some folders, each once, and their records."""
    files = {
        path.resolve(): path
        for folder in map(Path, folders)
        for path in sorted(record_files(folder))
        if record.seed_of_file(path) is not None
    }
    found: dict[Path, list[Record]] = {}
    for path in sorted(files.values()):
        found.setdefault(path.parent, []).extend(record.read_file(path))
    return found


def names_of(rows: Sequence[Row]) -> dict[tuple[str, ...], str]:
    """What each run is called in figures and tables: its algorithm, and what distinguishes it."""
    looks = looks_of(map(key_of, rows))
    return {run_of(row): looks[key_of(row)]["label"] for row in rows}


def describe_run(
    series: Series, name: str, marks: Marks, folders: Mapping[Path, Sequence[Record]]
) -> Run:
    """What a report tells of a run whose records lie in some of the `folders`."""
    keys = {record.run_key(series[0].records[0])}
    mine = {
        folder: own
        for folder, records in folders.items()
        if (own := [r for r in records if record.run_key(r) in keys])
    }
    return Run(
        name, run_title(series), run_table(series, marks), warning_lines(series),
        [line for folder, own in mine.items() for line in unfinished_lines(folder, own)],
        [command_of(folder, own) for folder, own in mine.items()],
        settings_texts(series[0].records[0]), [*mine], series,
    )  # fmt: skip


def unfinished_lines(folder: Path, records: Sequence[Record]) -> list[str]:
    """The seeds of a folder that lack rounds of their plan, or have none yet, in words."""
    lines = []
    begun = {int(p.stem[4:]) for p in folder.glob("seed*.lock") if p.stem[4:].isdecimal()}
    by_seed = groupby(sorted(records, key=lambda r: int(r["seed"])), lambda r: int(r["seed"]))
    found = {seed: [*group] for seed, group in by_seed}
    for seed, own in found.items():
        missing = {*_planned(own[0])} - {r["round"] for r in own}
        if missing:
            lines.append(f"seed {seed} lacks {format_numbers('round', missing)}")
    if none := begun - {*found}:
        lines.append(f"{format_numbers('seed', none)} {'has' if len(none) == 1 else 'have'} "
                     "no round yet")  # fmt: skip
    return lines


def _planned(line: Record) -> list[int]:
    """The rounds that a seed is to have; of what a measure recorded those that are there."""
    if "measure" in line:
        return []
    try:
        return planned_rounds(line["settings"])
    except (ValueError, TypeError):  # settings of another version
        return []


def command_of(folder: Path, records: Sequence[Record]) -> str:
    """The command of a run or a measure; where it cannot be known, why."""
    if "measure" in records[0]:
        return measure_command(folder, records[0])
    try:
        return run_command(folder, records)
    except (ValueError, OSError) as error:
        return f"# not known: {error}"


def settings_texts(line: Record) -> dict[str, str]:
    """All settings of a run, and what it was run with, in words."""
    about: dict[str, Any] = dict(line["settings"])
    about |= {n: line[n] for n in ("protocol", "source", "data", "code") if line.get(n)}
    about |= {f"with {n}": v for n, v in line["environment"].items()}
    return {n: v if isinstance(v, str) else json.dumps(v) for n, v in about.items()}
