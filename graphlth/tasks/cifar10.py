"""CIFAR-10: 60,000 small photographs (Krizhevsky, Learning Multiple Layers of Features, 2009)."""

import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch

from graphlth.data import published
from graphlth.data.archives import Array, one_line
from graphlth.data.files import download, find, library, pixels
from graphlth.data.images import ImageTask, hold_out
from graphlth.data.planetoid import load_pickle
from graphlth.settings.types import Augmentation, BatchSize, Count, Seed, Steps

NAMES = ("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py")
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
LAYOUTS = (
    [f"{batch}.bin" for batch in BATCHES],  # the originals,
    BATCHES,  # also as pickles;
    ["train.parquet", "test.parquet"],  # encoded, as Hugging Face lays images out
    ["train-00000-of-00001.parquet", "test-00000-of-00001.parquet"],
)
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE = "cifar-10-binary.tar.gz"
TRAIN, TEST = 50_000, 10_000
SHAPE = (3, 32, 32)
UNPACKED = 2**29  # bytes that a Parquet file may become


def cifar10(
    *,
    data_root: str | None = None,
    batch_size: BatchSize = 60,
    evaluate_every: Steps = 100,
    train_size: Count = 0,
    val_size: Count = 5000,
    test_size: Count = 0,
    augment: Augmentation = "crop-flip",
    grey: bool = False,
    data_seed: Seed = 0,
) -> ImageTask:
    """Photographs, 32 × 32 pixels in colour; an epoch is a span of `evaluate_every` iterations.

    Args:
        data_root: the folder with the six binary or pickled batches or two Parquet files, or with
            `cifar10` in it; else GRAPHLTH_DATA_ROOT or datasets.
        batch_size: images in a training batch.
        evaluate_every: iterations of training between two evaluations.
        train_size: images to train on; 0 for all of the 50,000 that do not validate.
        val_size: images of the 50,000 that validate.
        test_size: images that test, the first of the file; 0 for all of the 10,000.
        augment: none, or crop-flip: move by up to 4 pixels and mirror.
        grey: the central 28 × 28 pixels, without their colour: for the tickets of MNIST.
        data_seed: draws which images validate, and which train if not all do.
    """
    found = find(NAMES, LAYOUTS, data_root, fetch)
    notes = published.notes(found, "cifar10")  # before an unpickler sees them
    *train, test = (read(path) for path in found)
    y = [np.concatenate([labels for _, labels in train]), test[1]]
    for part, labels, count in (("train", y[0], TRAIN), ("test", y[1], TEST)):
        if (held := np.bincount(labels, minlength=10).tolist()) != [count // 10] * 10:
            raise ValueError(
                f"cifar10: the {part} files must hold {count // 10:,} images of each of 10 "
                f"classes, got {held}"
            )
    x = np.concatenate([*(images for images, _ in train), test[0]])
    x = to_grey(x) if grey else x
    if not 0 <= test_size <= TEST:
        raise ValueError(f"`test_size` must be in [0, {TEST}], got {test_size}")
    splits = hold_out(
        TRAIN, test_size or TEST,
        val_size=val_size, train_size=train_size, data_seed=data_seed,
    )  # fmt: skip
    task = ImageTask(
        torch.from_numpy(x), torch.from_numpy(np.concatenate(y)), splits,
        batch_size=batch_size, evaluate_every=evaluate_every, augment=augment, name="cifar10",
    )  # fmt: skip
    task.notes = notes
    return task


def to_grey(x: Array) -> Array:
    """The central part [n, 1, 28, 28] of colour images [n, 3, 32, 32], in luma (ITU-R BT.601)."""
    red, green, blue = (x[:, c : c + 1, 2:-2, 2:-2] for c in range(3))
    return (0.299 * red + 0.587 * green + 0.114 * blue).round().astype(np.uint8)


def fetch(folder: Path) -> None:
    """Download the binary batches into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        (archive,) = download(Path(scratch), {URL: published.digest("cifar10", ARCHIVE)})
        with tarfile.open(archive) as tar:
            for file in LAYOUTS[0]:
                packed = tar.extractfile(f"cifar-10-batches-bin/{file}")
                assert packed is not None  # a file in the archive of this digest
                with open(Path(scratch) / file, "wb") as out:
                    shutil.copyfileobj(packed, out)
                (Path(scratch) / file).replace(folder / file)


def read(path: Path) -> tuple[Array, Array]:
    """Images [n, 3, 32, 32] uint8 and classes [n] int64 in one file.

    Raises:
        ValueError: the file is damaged or holds anything else; a pickle asks for more than arrays.
    """
    readers = {".bin": binary, ".parquet": parquet}
    images, labels = readers.get(path.suffix, read_batch)(path)
    if not len(labels) or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{path}: must hold images of the classes 0 to 9")
    return images, labels.astype(np.int64)


def binary(path: Path) -> tuple[Array, Array]:
    """Of a binary batch: per image a byte for its class and 3,072 for its pixels."""
    content = np.fromfile(path, np.uint8)
    width = 1 + int(np.prod(SHAPE))
    if content.size % width:
        raise ValueError(f"{path}: must hold {width:,} bytes an image, got {content.size:,}: "
                         "it is cut or no binary batch of CIFAR-10")  # fmt: skip
    content = content.reshape(-1, width)
    return content[:, 1:].reshape(-1, *SHAPE), content[:, 0]


def read_batch(path: Path) -> tuple[Array, Array]:
    """Of a pickled batch, by an unpickler that knows arrays and containers only."""
    held = load_pickle(path)
    try:
        images, labels = held["data"], np.asarray(held["labels"])
        if images.dtype != np.uint8 or labels.dtype.kind != "i" or labels.ndim != 1:
            raise TypeError("it holds numbers of another kind")
        return images.reshape(len(labels), *SHAPE), labels
    except Exception as error:  # what a file holds can be of any type
        raise ValueError(f"{path}: must hold `data` [n, 3072] uint8 and `labels` [n] "
                         f"({one_line(error)})") from error  # fmt: skip


def parquet(path: Path) -> tuple[Array, Array]:
    """Of a Parquet file with encoded images: a column struct{bytes, path} and one `label`."""
    arrow, content = library("pyarrow.parquet"), path.read_bytes()
    try:
        file = arrow.ParquetFile(library("pyarrow").BufferReader(content))
        claimed = sum(file.metadata.row_group(i).total_byte_size
                      for i in range(file.metadata.num_row_groups))  # fmt: skip
        if file.metadata.num_rows > TRAIN or claimed > UNPACKED:
            raise ValueError(f"it claims {file.metadata.num_rows:,} rows of {claimed:,} bytes")
        table = file.read()
        (column,) = (f.name for f in table.schema if f.type.num_fields and f.type.field("bytes"))
        encoded = table[column].combine_chunks().field("bytes")
        labels = table["label"].to_numpy()
        if labels.dtype.kind not in "iu" or encoded.null_count:
            raise TypeError("a label or an image is missing")
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"{path}: must be a Parquet file with images struct{{bytes, path}} and "
                         f"a `label` ({one_line(error)})") from error  # fmt: skip
    images = np.empty((len(labels), *SHAPE), np.uint8)
    for row, each in enumerate(encoded.to_pylist()):
        image = pixels(each, f"{path}, row {row}")
        if image.shape != (32, 32, 3):
            raise ValueError(f"{path}, row {row}: must be a colour image of 32 × 32 pixels, "
                             f"got {list(image.shape)}")  # fmt: skip
        images[row] = image.transpose(2, 0, 1)
    return images, labels
