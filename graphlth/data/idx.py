"""MNIST's file format, IDX, and the task that each of the two data sets in it is."""

import gzip
import io
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphlth.data import published
from graphlth.data.archives import Array, one_line
from graphlth.data.files import download, find
from graphlth.data.images import ImageTask, hold_out

FILES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip
TRAIN, TEST, SIDE = 60_000, 10_000, 28
BYTES = 0x08  # IDX's number for unsigned bytes


def task(
    names: Sequence[str],
    url: str,
    per_class: Mapping[str, Sequence[int]],
    data_root: str | None,
    *,
    train_size: int,
    val_size: int,
    data_seed: int,
    **how: Any,
) -> ImageTask:
    """The task of what `load` gives; of the 60,000 `val_size` validate. `how` is `ImageTask`'s."""
    x, y, notes = load(names, url, per_class, data_root)
    splits = hold_out(TRAIN, TEST, val_size=val_size, train_size=train_size, data_seed=data_seed)
    made = ImageTask(x, y, splits, name=names[0], **how)
    made.notes = notes
    return made


def load(
    names: Sequence[str], url: str, per_class: Mapping[str, Sequence[int]], data_root: str | None
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Images [70000, 1, 28, 28] uint8 and classes [70000], the 60,000 to train on first; and notes.

    The packed files lie at `url`; `per_class` counts the images of each class that "train" and
    "test" must hold: file names do not tell one data set from another.
    """
    layouts = [[file + ending for file in FILES] for ending in (".gz", "")]

    def fetch(folder: Path) -> None:
        download(folder, {url + file: published.digest(names[0], file) for file in layouts[0]})

    found = find(names, layouts, data_root, fetch)
    images, labels = [], []
    for part, count, files in (("train", TRAIN, found[:2]), ("test", TEST, found[2:])):
        images.append(read(files[0], (count, SIDE, SIDE)))
        labels.append(read(files[1], (count,)).astype(np.int64))
        held = np.bincount(labels[-1], minlength=10).tolist()
        if held != list(per_class[part]):
            raise ValueError(f"{files[1]}: must hold {names[0]}'s classes, "
                             f"{list(per_class[part])}, got {held}")  # fmt: skip
    x, y = np.concatenate(images)[:, None], np.concatenate(labels)
    notes = published.notes(found, names[0])
    return torch.from_numpy(x), torch.from_numpy(y), notes


def read(path: Path, shape: tuple[int, ...]) -> Array:
    """The unsigned bytes of `shape` in an IDX file, compressed by gzip or not.

    Raises:
        ValueError: the file is damaged, cut, longer, or holds another type or shape.
    """
    content = path.read_bytes()
    size = math.prod(shape)
    try:
        packed = content[:2] == b"\x1f\x8b"
        with gzip.open(io.BytesIO(content)) if packed else io.BytesIO(content) as file:
            zeros, kind, dims = file.read(2), file.read(1), file.read(1)
            if zeros != b"\0\0" or kind != bytes([BYTES]) or dims != bytes([len(shape)]):
                raise ValueError("it does not begin as one of unsigned bytes in "
                                 f"{len(shape)} dimensions does")  # fmt: skip
            held = np.frombuffer(file.read(4 * len(shape)), ">u4").tolist()
            if held != list(shape):
                raise ValueError(f"it must hold {list(shape)}, got {held}")
            values = file.read(size + 1)  # no more than that, whatever a packed file would become
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: not a readable IDX file ({one_line(error)})") from error
    if len(values) != size:
        state = "is cut" if len(values) < size else "is longer than it says"
        raise ValueError(f"{path}: not a readable IDX file (it {state})")
    return np.frombuffer(values, np.uint8).reshape(shape)
