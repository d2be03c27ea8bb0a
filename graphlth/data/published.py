"""Which files are published, by digest: what was damaged on its way here is not read.

The digests stand in `published.toml`, under the name of their task.
"""

import gzip
import hashlib
import re
import tomllib
import zlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO

UNPACKED = 2**26  # bytes; no packed file that is listed becomes longer
CHUNK = 2**20


class DataWarning(UserWarning):
    """What has to be said of data that are used all the same."""


Entry = str | Mapping[str, Any]  # "<algorithm>:<hex digits>", or that as `digest` beside `bytes`


@cache
def published_files() -> Mapping[str, Mapping[str, Entry]]:
    """What is listed of every task: its files and their digests."""
    return tomllib.loads(files("graphlth.data").joinpath("published.toml").read_text("utf-8"))


def digest(task: str, name: str) -> str:
    """The hex digits that are listed of the file `name`."""
    return _digest(published_files()[task][name]).partition(":")[2]


def check(path: str | Path) -> str | None:
    """The fault of a published file in one line; None where it verifies, or is none.

    Files are known by their name, and by the folder that is called after their task where
    several tasks have files of that name. Another edition, where there may be one, is no fault.
    """
    path = Path(path)
    tasks = [task for task, listed in published_files().items() if _entries(listed, path.name)]
    around = {re.sub("[-_]", "", part.lower()) for part in path.absolute().parts}
    faults = []
    for task in [task for task in tasks if task.replace("_", "") in around] or tasks:
        try:
            if not examine(path, task):
                return None
        except (ValueError, OSError) as error:
            faults.append(str(error))
    return faults[0] if faults else None


def notes(paths: Iterable[Path], task: str) -> tuple[str, ...]:
    """What `examine` says of the files of `task`, a line each; nothing of those that verify."""
    return tuple(filter(None, [examine(path, task) for path in paths]))


def examine(path: Path, task: str) -> str:
    """What has to be said of a file of `task`: "" where it is the published one.

    Raises:
        ValueError: it is damaged, or something else under a published name.
    """
    entries = _entries(published_files().get(task, {}), path.name)
    if not entries:
        return f"{path}: no digest of this file is known: damage to it would not be noticed"
    found = ""
    for name, entry in entries.items():
        algorithm, _, expected = _digest(entry).partition(":")
        found = _hashed(path, algorithm, unpack=name != path.name)
        if found == expected:
            return ""
    if isinstance(entry, Mapping) and path.stat().st_size != entry["bytes"]:
        return (
            f"{path}: another edition of {task} than that whose digest is known "
            f"({entry['bytes']:,} bytes): what it holds is taken as it is"
        )
    raise ValueError(
        f"{path}: must be the published file of {algorithm} {expected}, got {found}: it is damaged "
        "or another file; fetch it anew"
    )


def _entries(listed: Mapping[str, Entry], name: str) -> dict[str, Entry]:
    """What is listed of the file `name`, and of what it holds if it is packed."""
    return {each: listed[each] for each in (name, name.removesuffix(".gz")) if each in listed}


def _digest(entry: Entry) -> str:
    return entry if isinstance(entry, str) else entry["digest"]


def _hashed(path: Path, algorithm: str, unpack: bool) -> str:
    """The digest of a file, or of what is packed in it: hex digits."""
    sum_ = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with gzip.open(path) if unpack else path.open("rb") as file:
            _feed(sum_, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        return f"what cannot be unpacked ({error})"
    return sum_.hexdigest()


def _feed(sum_: Any, file: BinaryIO | gzip.GzipFile) -> None:
    for _ in range(UNPACKED // CHUNK):
        if not (chunk := file.read(CHUNK)):
            return
        sum_.update(chunk)
