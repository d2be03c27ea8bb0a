"""What is refused at the border: numbers, devices and files to write."""

import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

RUN_FILE = re.compile(r"settings\.json|seed\d+(-round\d+)?\.(jsonl|lock|safetensors)")


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may be; what is not finite is in no range."""

    low: float
    high: float = math.inf  # the maximum; with `below` the first number that is too high
    above: bool = False  # `low` itself is too low
    below: bool = False

    def __contains__(self, number: float) -> bool:
        low = number > self.low if self.above else number >= self.low
        low = low and number <= sys.float_info.max  # or it overflows where a float is needed
        return bool(low and (number < self.high if self.below else number <= self.high))

    def __str__(self) -> str:
        ends = "[("[self.above], "])"[self.below or self.high == math.inf]
        return f"{ends[0]}{self.low}, {self.high}{ends[1]}"


def _least(low: float) -> Range:
    return Range(low, below=True)


FRACTION = Range(0, 1, below=True)
POSITIVE = Range(0, above=True, below=True)
SEED = Range(0, 2**32 - 1)
UP_TO = {n: Range(1, most) for n, most in {"few": 1024, "many": 10_000, "most": 1_000_000}.items()}

# Of every setting that is a number, under whatever plug-in; a plug-in may allow fewer. Maxima are
# those of memory and time: what lies above is a slip of the finger, or an attack.
RANGES: dict[str, Range] = {
    "rounds": Range(0, 10_000), "draws": UP_TO["many"], "window": UP_TO["many"],
    "epochs": UP_TO["most"], "iterations": Range(0, 10**9), "evaluate_every": UP_TO["most"],
    "rewind_to": Range(0, 10**9), "pretrain": Range(0, 1_000_000), "admm_steps": UP_TO["most"],
    "warmup": Range(0, 10**9),
    "lr": POSITIVE, "lr_edges": POSITIVE, "lr_scores": POSITIVE, "epsilon": POSITIVE,
    "weight_decay": _least(0), "momentum": FRACTION, "rho": _least(0), "l1_edges": _least(0),
    "l1_weights": _least(0), "l1_norms": _least(0), "mask_noise": FRACTION,
    "drop_edges": FRACTION, "drop_weights": FRACTION, "drop_channels": FRACTION,
    "drop_convs": FRACTION, "drop_output": FRACTION,
    "hidden": Range(1, 65_536), "layers": UP_TO["few"], "heads": UP_TO["few"],
    "dropout": FRACTION, "input_dropout": FRACTION, "edge_dropout": FRACTION,
    "seed": SEED, "data_seed": SEED, "split_seed": SEED,
    "batch_size": UP_TO["most"], "context": Range(1, 8192), "project": Range(0, 65_536),
    "train_size": Range(0, 10**9), "val_size": Range(0, 10**9), "test_size": Range(0, 10**9),
    "split": Range(0, 1_000_000), "discount": Range(0, 1, above=True),
    "size": Range(0, 10_000), "classes": UP_TO["many"], "num_features": UP_TO["most"],
    "num_edges": _least(0), "inside": Range(0, 1), "across": Range(0, 1), "noise": _least(0),
    "neighbors": UP_TO["many"], "labels": UP_TO["many"],
    "batch": UP_TO["many"], "repeats": UP_TO["most"], "points": Range(2, 10_000),
    "pairs": UP_TO["many"], "threads": UP_TO["few"], "jobs": UP_TO["few"], "floor": FRACTION,
    "temperature": POSITIVE, "tolerance": Range(0, 1, above=True, below=True),
    "components": UP_TO["many"], "approximate_above": Range(0, 10**9),
}  # fmt: skip


def check_setting(name: str, known: Iterable[str], where: str) -> None:
    """Refuse a setting that is not one of the `known` ones; `where` ends "is no setting".

    Raises:
        ValueError: it is not; the known one that is spelt most like it is named, and all of them.
    """
    if name not in (names := sorted(known)):
        near = get_close_matches(name, names, 1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise ValueError(f"`{name}` is no setting {where}; {hint}there are {', '.join(names)}")


def check_number(name: str, value: Any, whole: bool = True) -> None:
    """Refuse what is no number, no whole one where it must be, or outside the range of `name`.

    Raises:
        ValueError: it is.
    """
    kind: Any = Integral if whole else Real
    if isinstance(value, bool) or not isinstance(value, kind):
        raise ValueError(f"`{name}` must be a {'whole ' * whole}number, got {value!r}")
    if value not in (allowed := RANGES.get(name, Range(-math.inf, above=True, below=True))):
        raise ValueError(f"`{name}` must be in {allowed}, got {value}")


def type_names(annotation: Any) -> set[str]:
    """The names of the types in an annotation, which may be text: {"float", "None"}."""
    if get_origin(annotation) is Annotated:
        return type_names(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return {type(value).__name__ for value in get_args(annotation)}
    if get_origin(annotation) in (Union, UnionType):
        return set[str]().union(*map(type_names, get_args(annotation)))
    if annotation is NoneType:
        return {"None"}
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return set(text.split(" | "))


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
    target, whole = Path(path), _resolved(name, path)
    places = [read.resolve() for read in map(Path, reads)]
    written = [p for p in whole.iterdir() if p.is_file()] if folder and whole.is_dir() else [whole]
    if folder:
        wrong = whole in places
    elif not whole.parent.is_dir() or (whole.exists() and not whole.is_file()):
        raise ValueError(f"`{name}` must be a file in a folder that exists, got {str(path)!r}")
    else:
        if any(_of_run(each) for each in (whole, target.parent.resolve() / target.name)):
            raise ValueError(f"`{name}` must not be a file of a run, got {str(path)!r}: "
                             "name another file")  # fmt: skip
        wrong = whole.exists() and bool({whole, *whole.parents} & {*places})
    if wrong or any(_linked(each, places) for each in written):
        raise ValueError(f"`{name}` must not be what is read, got {str(path)!r}: name another")


def _resolved(name: str, path: str | Path) -> Path:
    try:
        whole = Path(path).resolve()
        whole.exists()  # a name can be too long
        return whole
    except (OSError, ValueError, RuntimeError) as error:  # as of a loop of links
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"`{name}` cannot be written: {reason}, got {str(path)!r}") from None


def _linked(target: Path, places: Sequence[Path]) -> bool:
    """Whether the file `target` is, under another name, one of `places` or in one of them."""
    if not target.exists() or (target.stat().st_nlink < 2 and not target.is_symlink()):
        return False
    files = (f for p in places for f in (p.rglob("*") if p.is_dir() else [p]) if f.is_file())
    return any(target.samefile(file) for file in files)


def _of_run(path: Path) -> bool:
    """Whether a run keeps, or would keep, one of its files at `path`."""
    folder = path.parent
    if not RUN_FILE.fullmatch(path.name):
        return False
    return (folder / "settings.json").exists() or any(folder.glob("seed*.jsonl"))
