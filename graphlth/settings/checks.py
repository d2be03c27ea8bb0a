"""What is refused before any work: unknown settings, devices that fail, files not to overwrite."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from graphlth.registry import nearest_name

RUN_FILE = re.compile(r"settings\.json|seed\d+(-round\d+)?\.(jsonl|lock|safetensors)")


def check_setting(name: str, known: Iterable[str], where: str) -> None:
    """Refuse a setting that is not one of the `known` ones; `where` ends "is no setting".

    Raises:
        ValueError: it is not; the known one that is spelt most like it is named, and all of them.
    """
    if name not in (names := sorted(known)):
        near = nearest_name(str(name), names)
        hint = f"did you mean `{near}`? " if near else ""
        raise ValueError(f"`{name}` is no setting {where}; {hint}there are {', '.join(names)}")


def check_device(device: Any) -> None:
    """Refuse a device on which nothing can be computed here.

    Raises:
        ValueError: it says why, and names those that there are.
    """
    import torch  # figures need none

    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ValueError(f"`device` {str(device)!r} cannot be used: {reason}; "
                         f"there are {', '.join(there)}") from None  # fmt: skip


def check_written(
    name: str, path: str | Path, reads: Iterable[str | Path] = (), *, folder: bool = False
) -> None:
    """Refuse to write over what is read, or over any file of a run; call it before any work.

    Files are the same by where they lie and by inode, whatever they are called: through links,
    relative paths and other spellings.

    Args:
        name: the argument that `path` is.
        path: the file, or the folder of files, that will be written.
        reads: files, and folders of files, that the command reads.
        folder: whether `path` is a folder.

    Raises:
        ValueError: it is one of them, or no file in a folder that exists.
    """
    target, whole = Path(path), _resolve(name, path)
    inside = next((p for p in whole.parents if _is_run(p)), None) if folder else None
    if inside is not None:
        raise ValueError(f"`{name}` must not be in the folder of a run, whose records it would "
                         f"join, got {str(path)!r} in {str(inside)!r}: name another"
                         )  # fmt: skip
    places = [read.resolve() for read in map(Path, reads)]
    written = [p for p in whole.iterdir() if p.is_file()] if folder and whole.is_dir() else [whole]
    if folder:
        wrong = whole in places
    elif not whole.parent.is_dir() or (whole.exists() and not whole.is_file()):
        raise ValueError(f"`{name}` must be a file in a folder that exists, got {str(path)!r}")
    else:
        if any(_is_run_file(each) for each in (whole, target.parent.resolve() / target.name)):
            raise ValueError(f"`{name}` must not be a file of a run, got {str(path)!r}: "
                             "name another file")  # fmt: skip
        wrong = whole.exists() and bool({whole, *whole.parents} & {*places})
    if wrong or any(_is_link_to_any(each, places) for each in written):
        raise ValueError(f"`{name}` must not be what is read, got {str(path)!r}: name another")


def _resolve(name: str, path: str | Path) -> Path:
    try:
        whole = Path(path).resolve()
        whole.exists()  # a name can be too long
        return whole
    except (OSError, ValueError, RuntimeError) as error:  # as of a loop of links
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"`{name}` cannot be written: {reason}, got {str(path)!r}") from None


def _is_link_to_any(target: Path, places: Sequence[Path]) -> bool:
    """Whether the file `target` is, under another name, one of `places` or in one of them."""
    if not target.exists() or (target.stat().st_nlink < 2 and not target.is_symlink()):
        return False
    files = (f for p in places for f in (p.rglob("*") if p.is_dir() else [p]) if f.is_file())
    return any(target.samefile(file) for file in files)


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of a run: where only one of these is, it may be another thing."""
    return (folder / "settings.json").is_file() and any(folder.glob("seed*.jsonl"))


def _is_run_file(path: Path) -> bool:
    """Whether a run keeps, or would keep, one of its files at `path`."""
    folder = path.parent
    if not RUN_FILE.fullmatch(path.name):
        return False
    return (folder / "settings.json").exists() or any(folder.glob("seed*.jsonl"))
