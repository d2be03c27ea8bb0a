"""How files are stored: whole or not at all, with a digest of their content.

torch is never imported here.
"""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

DIGITS = 16  # hex digits of a digest that tells contents apart; a file's own has all 64
DRAFT = re.compile(r"\.(?P<stem>.+)\.(?P<pid>\d+)(\.[^.]*)?")  # what `replace_file` writes to
PART = re.compile(r"(?P<stem>.+)\.(?P<pid>\d+)\.part(\..+)?")  # and version 0.1.0 wrote to


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """A file name beside `path` to write to; it takes the place of `path` only if all went well.

    The file is on disk before it is renamed, and so is its new name when this ends.

    Raises:
        OSError: in one line, with `path` left as it was.
    """
    path = Path(path)
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        if path.exists() and not path.is_file():  # a device is not to be replaced
            raise OSError(None, "not a file")
        yield draft
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
        sync_folder(path.parent)
    except OSError as error:
        raise OSError(f"cannot write `{path}`: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # gone already, or never there
            draft.unlink()


def sync_folder(folder: Path) -> None:
    """Bring the names of the files in `folder` to disk, where the system can."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_drafts(folder: Path, mine: str = "") -> None:
    """Remove what killed processes have left half-written in `folder`.

    Those are the drafts of processes that are no more, and all of files called `mine`…, which the
    caller keeps others from.
    """
    for path in folder.iterdir():
        found = DRAFT.fullmatch(path.name) or PART.fullmatch(path.name)
        if found is None:
            continue
        own = mine and re.match(rf"{re.escape(mine)}(?!\d)", found["stem"])
        if own or not _is_alive(int(found["pid"])):
            with suppress(OSError):
                path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def digest(value: Any) -> str:
    """16 hex digits over plain JSON, in whatever order the names of its objects stand."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def add_digest(value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` with a field `digest` over all its other fields."""
    rest = {n: v for n, v in value.items() if n != "digest"}
    return {**rest, "digest": digest(rest)}


def check_digest(value: Mapping[str, Any], *, needed: bool) -> dict[str, Any]:
    """`value` without its digest, which is checked.

    Raises:
        ValueError: the digest is another, or is absent where it is `needed`.
    """
    rest = {n: v for n, v in value.items() if n != "digest"}
    if "digest" not in value:
        if needed:
            raise ValueError("damaged: its digest is missing")
    elif value["digest"] != digest(rest):
        raise ValueError("damaged: its digest is not that of what it says")
    return rest


def file_digest(path: str | Path) -> str:
    """The SHA-256 of a file, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def arrays_digest(
    arrays: Iterable[tuple[str, str, Sequence[int], Any]], about: Mapping[str, Any]
) -> str:
    """64 hex digits over arrays (name, type, shape, bytes), in order of name, and what is said."""
    whole = hashlib.sha256(digest(about).encode())
    for name, kind, shape, content in sorted(arrays, key=lambda array: array[0]):
        whole.update(json.dumps([name, kind, list(shape)]).encode())
        whole.update(content)
    return whole.hexdigest()


def base_name(path: str | Path) -> str:
    """The name of a file or folder, the last part of `path`; of `.` and `..` that of the folder."""
    path = Path(path)
    return path.name if path.name not in ("", "..") else path.resolve().name


def printable(text: Any) -> str:
    """The words of `text` in which no character steers a terminal: such are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


# --- archives of torch.export --------------------------------------------------------------------

ARCHIVE_DIGEST = "extra/graphlth_sha256"  # the place in the archive of a digest of all else in it


def add_archive_digest(path: str | Path) -> None:
    """Put a digest of all that a .pt2 archive holds into it; torch reads it as before."""
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/{ARCHIVE_DIGEST}", _archive_digest(archive))


def check_archive(path: str | Path, *, needed: bool) -> bool:
    """Whether a zip archive has a digest of all else in it; its own checksums are checked too.

    Raises:
        ValueError: it is damaged, or the digest is absent where it is `needed`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (name := archive.testzip()) is not None:
                raise ValueError(f"its checksum of {printable(name)} is wrong")
            seals = [
                name for name in archive.namelist() if name.partition("/")[2] == ARCHIVE_DIGEST
            ]
            if seals and archive.read(seals[0]).decode() != _archive_digest(archive):
                raise ValueError("its digest is not that of what it holds")
    except OSError:
        raise
    except Exception as error:  # zlib, struct, zipfile and decoders have no common base
        raise ValueError(f"damaged: {printable(error)}") from None
    if needed and not seals:
        raise ValueError("damaged, or not written by `graphlth export`: its digest is missing")
    return bool(seals)


def _archive_digest(archive: zipfile.ZipFile) -> str:
    held = {name.partition("/")[2]: name for name in archive.namelist()}  # the root is any name
    content = {n: archive.read(name) for n, name in held.items() if n != ARCHIVE_DIGEST}
    return arrays_digest(((n, "", (), c) for n, c in content.items()), {})
