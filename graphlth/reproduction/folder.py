"""The folder of a result, made before anything is run."""

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from graphlth.reproduction.result import Data


@contextmanager
def result_folder(folder: Path, name: str, pictures: Iterable[str]) -> Iterator[None]:
    """Make the folder of a result, so that what is wrong with it is known before any work.

    After an error it is removed, if it is still empty.

    Args:
        folder: of the result.
        name: of the suite.
        pictures: the files that will be drawn into it.

    Raises:
        ValueError: it is the folder of a run, or what it holds is no result of this name.
        OSError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:  # as of a name with a null byte
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot write `result` {str(folder)!r}: {reason}; name another folder"
                      ) from None  # fmt: skip
    if (folder / "settings.json").exists() or any(folder.glob("seed*.jsonl")):
        raise ValueError(f"`result` must not be the folder of a run, got {str(folder)!r}: "
                         "name another")  # fmt: skip
    data = folder / "data.json"
    written = (folder / file for file in ("README.md", "data.json", *pictures))
    if any(map(os.path.lexists, written)) and read_data(data).get("name") != name:
        raise ValueError(f"`result` must be a new folder or one of a result of {name}, got "
                         f"{str(folder)!r}, which holds other files: name another")  # fmt: skip
    old_pictures(data)
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def remove_pictures(folder: Path, kept: Collection[str]) -> None:
    """Remove the pictures of the result that the folder has, but for those of its next one."""
    for name in {*old_pictures(folder / "data.json")} - {*kept}:
        (folder / name).unlink(missing_ok=True)


def old_pictures(data: Path) -> list[str]:
    """The pictures that a data file names, .png files in its own folder.

    Raises:
        ValueError: it is damaged.
    """
    pictures = read_data(data).get("pictures", [])
    try:
        names = [picture["file"] for picture in pictures]
        if all(re.fullmatch(r"[\w-]+\.png", name) for name in names):
            return names
    except (TypeError, KeyError):
        pass
    raise ValueError(f"`result` must hold no damaged data.json, got {str(data)!r}, in which "
                     "`pictures` names no files of the folder: name another folder, or remove "
                     "the file")  # fmt: skip


def read_data(file: Path) -> Data:
    """The content of a data file; nothing where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
