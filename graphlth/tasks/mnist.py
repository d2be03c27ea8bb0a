"""MNIST: 70,000 hand-written digits (LeCun, Bottou, Bengio, Haffner, Proc. IEEE 1998)."""

from graphlth.data import idx as _idx
from graphlth.data.images import ImageTask
from graphlth.settings.types import Augmentation, BatchSize, Count, Seed, Steps

URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
PER_CLASS = {
    "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
}


def mnist(
    *,
    data_root: str | None = None,
    batch_size: BatchSize = 60,
    evaluate_every: Steps = 100,
    train_size: Count = 0,
    val_size: Count = 5000,
    augment: Augmentation = "none",
    data_seed: Seed = 0,
) -> ImageTask:
    """Hand-written digits, 28 × 28 grey pixels; an epoch is a span of `evaluate_every` iterations.

    Args:
        data_root: the folder with the four IDX files, packed (.gz) or not, or with `mnist` in it;
            else GRAPHLTH_DATA_ROOT or datasets.
        batch_size: images in a training batch.
        evaluate_every: iterations of training between two evaluations.
        train_size: images to train on; 0 for all of the 60,000 that do not validate.
        val_size: images of the 60,000 that validate.
        augment: none, or crop-flip: move by up to 4 pixels and mirror.
        data_seed: draws which images validate, and which train if not all do.
    """
    return _idx.task(
        ["mnist"], URL, PER_CLASS, data_root,
        train_size=train_size, val_size=val_size, data_seed=data_seed,
        batch_size=batch_size, evaluate_every=evaluate_every, augment=augment,
    )  # fmt: skip
