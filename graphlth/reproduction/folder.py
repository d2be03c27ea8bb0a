"""The folder of a result, made before anything is run."""

import json
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryFile

from graphlth.reproduction.result import Data


def prepare_folder(folder: Path, name: str) -> None:
    """Make the folder of a result, so that what is wrong with it is known before any work.

    Raises:
        ValueError: it is the folder of a run, or what it holds is no result of this name.
        OSError: it cannot be written.
    """
    if (folder / "settings.json").exists() or any(folder.glob("seed*.jsonl")):
        raise ValueError(f"`result` must not be the folder of a run, got {str(folder)!r}: "
                         "name another")  # fmt: skip
    page, data = folder / "README.md", folder / "data.json"
    if (page.exists() or data.exists()) and read_data(data).get("name") != name:
        raise ValueError(f"`result` must be a new folder or one of a result of {name}, got "
                         f"{str(folder)!r}, which holds other files: name another")  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"cannot write `result` {str(folder)!r}: {error.strerror or error}; "
                      "name another folder") from None  # fmt: skip


def remove_pictures(folder: Path, kept: Collection[str]) -> None:
    """Remove the pictures of the result that the folder has, but for those of its next one."""
    old = read_data(folder / "data.json").get("pictures", [])
    for name in {picture["file"] for picture in old} - {*kept}:
        (folder / name).unlink(missing_ok=True)


def read_data(file: Path) -> Data:
    """The content of a data file; nothing where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
