"""The folder of a result, made before anything is run."""

import json
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any


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
    if (page.exists() or data.exists()) and name_of_result(data) != name:
        raise ValueError(f"`result` must be a new folder or one of a result of {name}, got "
                         f"{str(folder)!r}, which holds other files: name another")  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"cannot write `result` {str(folder)!r}: {error.strerror or error}; "
                      "name another folder") from None  # fmt: skip


def name_of_result(file: Path) -> Any:
    """The name in a data file; None where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found.get("name") if isinstance(found, dict) else None
