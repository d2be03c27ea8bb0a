"""Images of your own: a folder for each class."""

from pathlib import Path

import numpy as np
import torch

from graphlth.data.files import pixels
from graphlth.data.images import ImageTask
from graphlth.data.planetoid import folders
from graphlth.settings.types import Augmentation, BatchSize, Count, Pixels, Seed, Steps
from graphlth.storage import base_name
from graphlth.streams import stream
from graphlth.task import SPLITS

ENDINGS = (".png", ".jpg", ".jpeg")

Labelled = list[tuple[Path, int]]


def image_folder(
    *,
    path: str,
    size: Pixels = 0,
    batch_size: BatchSize = 60,
    evaluate_every: Steps = 100,
    train_size: Count = 0,
    val_size: Count = 0,
    test_size: Count = 0,
    augment: Augmentation = "none",
    data_seed: Seed = 0,
) -> ImageTask:
    """The PNG and JPEG images in `path`/CLASS; or in `path`/train/CLASS, …/val/… and …/test/….

    A split without a folder is drawn from the images to train on. Classes are numbered by name;
    hidden folders and files, and `__MACOSX`, are none. The images are all grey or all in colour.

    Args:
        path: the folder.
        size: resize images to this many pixels each way; 0: as they are, all of one shape.
        batch_size: images in a training batch.
        evaluate_every: iterations of training between two evaluations.
        train_size: images to train on; 0 for all that neither validate nor test.
        val_size: images that validate, without a folder `val`; 0 for a tenth.
        test_size: images that test, without a folder `test`; 0 for a tenth.
        augment: none, or crop-flip: move by up to 4 pixels and mirror.
        data_seed: draws the splits that have no folder, and which images train if not all do.
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"`path` must be a folder, got {path!r}")
    if size < 0:
        raise ValueError(f"`size` must be at least 0, got {size}")
    where = {part: root / part for part in SPLITS if (root / part).is_dir()}
    if "train" not in where:
        where = {"train": root}
    classes = [folder.name for folder in shown(where["train"])]
    parts = {part: list_images(folder, classes) for part, folder in where.items()}
    for number, name in enumerate(classes):
        if number not in {label for _, label in parts["train"]}:
            raise ValueError(f"{where['train'] / name}: must hold *.png or *.jpg, as a class does")
    train = shuffle_files(parts["train"], data_seed)
    for part, count in (("test", test_size), ("val", val_size)):
        if part not in parts:
            parts[part], train = take(part, train, count)
    if not 0 <= train_size <= len(train):
        raise ValueError(f"`train_size` must be in [0, {len(train)}], got {train_size}")
    parts["train"] = train[: train_size or None]
    return ImageTask(
        *read([file for part in SPLITS for file in parts[part]], size),
        {part: len(parts[part]) for part in SPLITS},
        batch_size=batch_size, evaluate_every=evaluate_every, augment=augment,
        name=base_name(root) or "images",  # the root of a disk has no name
    )  # fmt: skip


def shown(parent: Path) -> list[Path]:
    """The folders in `parent` but hidden ones and those that packing on a Mac leaves."""
    return [each for each in folders(parent) if each.name[0] != "." and each.name != "__MACOSX"]


def list_images(folder: Path, classes: list[str]) -> Labelled:
    """The images in the folders of `folder`, each with the number of its class."""
    found = []
    for each in shown(folder):
        if each.name not in classes:
            raise ValueError(f"{each}: must be one of the classes {', '.join(classes)}")
        visible = (file for file in each.iterdir() if not file.name.startswith("."))
        files = sorted(file for file in visible if file.suffix.lower() in ENDINGS)
        found += [(file, classes.index(each.name)) for file in files]
    if not found:
        raise ValueError(f"{folder}: must hold CLASS/*.png or CLASS/*.jpg, got none")
    return found


def shuffle_files(files: Labelled, data_seed: int) -> Labelled:
    """The same images in an order drawn from `data_seed`."""
    order = torch.randperm(len(files), generator=stream(data_seed, "order"))
    return [files[row] for row in order]


def take(part: str, files: Labelled, count: int) -> tuple[Labelled, Labelled]:
    """The first `count` images (0: a tenth), for the split `part`; and the others."""
    if not 0 <= count < len(files):
        raise ValueError(f"`{part}_size` must be in [0, {len(files)}), got {count}")
    count = count or -(-len(files) // 10)
    return files[:count], files[count:]


def read(files: Labelled, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [N, C, H, W] uint8 and classes [N].

    Raises:
        ValueError: a file is damaged, or of another shape than the first.
    """
    images = []
    for file, _ in files:
        images.append(pixels(file.read_bytes(), str(file), size))
        if images[-1].shape != images[0].shape:
            raise ValueError(
                f"{file}: must have the height, width and channels of {files[0][0]}, "
                f"{list(images[0].shape)}, got {list(images[-1].shape)}"
            )
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return x, torch.tensor([label for _, label in files])
