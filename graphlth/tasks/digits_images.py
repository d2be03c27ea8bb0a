"""Digit images: scikit-learn's 1,797 hand-written digits as what they are, without a download."""

import torch
from sklearn.datasets import load_digits

from graphlth.data.images import ImageTask, hold_out
from graphlth.settings.types import Augmentation, BatchSize, Count, Seed, Steps


def digits_images(
    *,
    batch_size: BatchSize = 60,
    evaluate_every: Steps = 20,
    train_size: Count = 0,
    val_size: Count = 300,
    test_size: Count = 300,
    augment: Augmentation = "none",
    data_seed: Seed = 0,
) -> ImageTask:
    """Hand-written digits, 8 × 8 grey pixels; an epoch is a span of `evaluate_every` iterations.

    Args:
        batch_size: images in a training batch.
        evaluate_every: iterations of training between two evaluations; a pass over all takes 20.
        train_size: images to train on; 0 for all that neither validate nor test.
        val_size: images that validate.
        test_size: images that test: the last of the file.
        augment: none, or crop-flip: move by up to 4 pixels and mirror.
        data_seed: draws which images validate, and which train if not all do.
    """
    held = load_digits()
    x = torch.from_numpy(held.images).to(torch.uint8).unsqueeze(1)  # [1797, 1, 8, 8], 0 to 16
    if not 1 <= test_size < len(x):
        raise ValueError(f"`test_size` must be in [1, {len(x)}), got {test_size}")
    splits = hold_out(
        len(x) - test_size, test_size,
        val_size=val_size, train_size=train_size, data_seed=data_seed,
    )  # fmt: skip
    return ImageTask(
        x, torch.from_numpy(held.target), splits,
        batch_size=batch_size, evaluate_every=evaluate_every, augment=augment,
        name="digits_images",
    )  # fmt: skip
