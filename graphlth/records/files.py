"""The files of records: written whole, verified when they are read."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from graphlth.records.schema import Record, run_key, validate_record
from graphlth.storage import add_digest, check_digest, printable, replace_file, sync_folder

REMEDY = "move the file aside and give the command again: it makes the records anew"


def append(path: str | Path, record: Mapping[str, Any]) -> None:
    """Nothing; `record` is on disk as the last line of `path` when this returns.

    A write that fails half-way is undone, so that the lines before it stay readable.
    Errors: ValueError names the field that is missing, not finite or outside its range, or says
    that the file ends in a torn line (`repair` it first). OSError says why it cannot be written.
    """
    whole = add_digest(validate_record(record))
    line = json.dumps(whole, allow_nan=False).encode() + b"\n"
    try:
        with open(path, "ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end and (file.seek(end - 1), file.read(1))[1] != b"\n":
                raise ValueError(f"`{path}` ends in a torn line: call `repair` before appending")
            try:
                if file.write(line) != len(line):
                    raise OSError(None, "the disk took only a part of the line")
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise
        sync_folder(Path(path).parent)
    except OSError as error:
        raise OSError(f"cannot write `{path}`: {error.strerror or error}") from error


def extend(path: str | Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Nothing; `records` are on disk as the last lines of `path`, all of them or none.

    Errors: as `append`.
    """
    lines, tail = _read_lines(path) if Path(path).exists() else ([], b"")
    if tail:
        raise ValueError(f"`{path}` ends in a torn line: call `repair` before appending")
    added = [add_digest(validate_record(each)) for each in records]
    _write_lines(path, [*lines, *(json.dumps(each, allow_nan=False).encode() for each in added)])


def _read_lines(path: str | Path) -> tuple[list[bytes], bytes]:
    """The lines of a file, and what stands behind the last newline."""
    try:
        *lines, tail = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        raise FileNotFoundError(f"no record file `{path}`") from None
    except OSError as error:
        raise OSError(f"cannot read `{path}`: {error.strerror or error}") from error
    return lines, tail


def _is_torn(tail: bytes) -> bool:
    """Whether a line was cut while it was written: it has no end."""
    try:
        json.JSONDecoder().raw_decode(tail.decode())
    except (ValueError, RecursionError):
        return True
    return False


def _parse(line: bytes) -> Record:
    """The record in a line, verified.

    Errors: ValueError says what is wrong with it.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not a line of JSON") from None
    if not isinstance(value, dict):
        raise ValueError(f"`record` must be an object, got {type(value).__name__}")
    try:
        return validate_record(check_digest(value, needed="data" in value or "ticket" in value))
    except RecursionError:
        raise ValueError("objects in objects without end") from None


def _parse_all(path: str | Path, lines: Sequence[bytes]) -> list[Record]:
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_parse(line))
        except ValueError as error:
            raise ValueError(f"`{path}`, line {number}: {printable(error)}; {REMEDY}") from None
    return records


def read_file(path: str | Path) -> list[Record]:
    """The records of one file, in the order written; a torn last line is left out.

    Errors: FileNotFoundError; ValueError names file and line of any other damage.
    """
    lines, tail = _read_lines(path)
    return _parse_all(path, lines if _is_torn(tail) else [*lines, tail])


def count_unverified(path: str | Path) -> int:
    """How many records of a file have no digest: those of version 0.1.0."""
    return sum("digest" not in json.loads(line) for line in _read_lines(path)[0])


def repair(path: str | Path) -> list[Record]:
    """The records of one file, which from now on ends in a whole line; [] when there is no file.

    A last line that is torn or does not verify is removed. Call this before appending to a file
    that an interrupted run left. Errors: as `read_file`, of any line but the last.
    """
    if not Path(path).exists():
        return []
    lines, tail = _read_lines(path)
    whole = [*lines, tail] if tail else lines
    if not whole:
        return []
    records = _parse_all(path, whole[:-1])
    with suppress(ValueError):
        records.append(_parse(whole[-1]))
    if tail or len(records) < len(whole):
        _write_lines(path, whole[: len(records)])
    return records


def remove_last_line(path: str | Path) -> None:
    """Remove the last line of a file."""
    _write_lines(path, _read_lines(path)[0][:-1])


def _write_lines(path: str | Path, lines: Sequence[bytes]) -> None:
    with replace_file(path) as draft:
        draft.write_bytes(b"".join(line + b"\n" for line in lines))


def seed_of_file(path: Path) -> int | None:
    """The seed whose records the file `path` is called after; None for any other file.

    Raises:
        ValueError: it is called after a seed in other digits, as a copy is: seed00.jsonl.
    """
    found = re.fullmatch(r"seed(\d+)\.jsonl", path.name)
    if found is None:
        return None
    seed = int(found[1])
    if path.name != (right := f"seed{seed}.jsonl"):
        raise ValueError(
            f"records of seed {seed} must be in `{right}`, got `{path}`: move it aside"
        )
    return seed


def record_files(folder: str | Path) -> Iterator[Path]:
    """The files of records under a folder, also in folders that are links; each folder once."""
    known: set[str] = set()
    for parent, inner, files in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(parent)) in known:
            inner.clear()  # as of a link to a folder above
            continue
        known.add(place)
        inner.sort()
        yield from (Path(parent) / name for name in sorted(files)
                    if name.startswith("seed") and name.endswith(".jsonl"))  # fmt: skip


def read(*folders: str | Path) -> list[Record]:
    """All records under run folders, or under folders of run folders, each file once.

    Sorted by algorithm, task, model, settings, seed and round.
    Errors: FileNotFoundError names a folder that is missing or holds no record; ValueError names
    file and line of a damaged record, or a file with a wrong name (see `seed_of_file`).
    """
    files: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder `{folder}`")
        found = [p for p in record_files(folder) if seed_of_file(p) is not None]
        if not any(path.stat().st_size for path in found):
            raise FileNotFoundError(f"no records (seed<k>.jsonl) under `{folder}`")
        files |= {path.resolve(): path for path in found}
    records = [record for path in files.values() for record in read_file(path)]
    if not records:
        raise FileNotFoundError(f"no whole record under {', '.join(f'`{f}`' for f in folders)}")
    return sorted(records, key=lambda r: (*run_key(r)[:3], run_key(r)[4], r["seed"], r["round"]))
