"""Image classification on one tensor, trained in spans of an endless stream of shuffled epochs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlth.edge_masks import EdgeMask
from graphlth.settings.checks import check_device
from graphlth.settings.types import Augmentation, BatchSize, Steps
from graphlth.settings.validation import check_settings, settings_of
from graphlth.streams import stream
from graphlth.task import SPLITS, Batch, Task, content_digest, shuffle_rows

PAD = 4  # pixels by which "crop-flip" moves an image at most
CLASSES = 100_000  # the most that are taken
EVALUATED, ON_CPU = 1000, 200  # images in a batch of an evaluation; what the caches serve best


class ImageTask(Task):
    """Classification of images; a span of training is `evaluate_every` iterations.

    A batch holds (x - mean) / std, where mean and standard deviation are those of each channel over
    the training split. The images themselves stay as they are given: a batch of uint8 is converted
    in the time that copying it out of a float tensor would take, from a quarter of the memory.

    Every pass over the training split is a permutation of its own, drawn from the seed and the
    number of the pass. A span may end within a pass; the next one goes on from there. The last
    batch of a pass is short, not dropped: each pass sees every image once.

    Args:
        x: images [N, C, H, W], uint8 or finite floating-point numbers.
        y: class numbers [N].
        splits: for each of "train", "val" and "test" its images: index tensors, or three numbers
            of images, which are then taken from the first on in this order.
        batch_size: images in a training batch.
        evaluate_every: iterations in a span.
        augment: "none"; or "crop-flip": training images are moved by up to 4 pixels, zeros coming
            in, and mirrored, drawn anew in every iteration from the seed.
        name: what records call the data.

    Raises:
        ValueError: images, classes or splits are of the wrong shape or type, not finite or out of
            range; a split is empty or overlaps another; a class has no training image; a setting
            is out of its range.
    """

    edges = None
    num_edges = 0
    notes: tuple[str, ...] = ()  # what has to be said of the data, a line each

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        splits: Mapping[str, Any],
        *,
        batch_size: BatchSize = 60,
        evaluate_every: Steps = 100,
        augment: Augmentation = "none",
        name: str = "images",
    ):
        given = {"batch_size": batch_size, "evaluate_every": evaluate_every, "augment": augment}
        check_settings(given, settings_of(ImageTask))
        self.name, self.augment = name, augment
        self.batch_size, self.evaluate_every = batch_size, evaluate_every
        self.x = _images(x)
        self.y = _labels(y, len(x))
        self.rows = _rows(splits, len(x))  # the images of each split
        self.num_classes = _classes(self.y, self.rows["train"])
        self.shape = tuple(x.shape[1:])  # (C, H, W)
        self.num_features = x[0].numel()
        self.mean, self.std = _moments(self.x, self.rows["train"])  # [C, 1, 1]

    @property
    def passing(self) -> int:
        """The iterations in which each training image is seen once."""
        return -(-self.rows["train"].numel() // self.batch_size)

    def batches(self, split: str, seed: int = 0, index: int = 0) -> Iterator[Batch]:
        """The `index`-th span of the training images in the order of `seed`, or a whole split.

        Validation and test images come as they lie and without augmentation.
        """
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}")
        if split != "train":
            yield from self.whole(split)
            return
        span = range(index * self.evaluate_every, (index + 1) * self.evaluate_every)
        for iteration, rows in shuffle_rows(self.rows["train"], self.batch_size, seed, span):
            x = self.x.index_select(0, rows)
            if self.augment == "crop-flip":
                x = crop_flip(x, stream(seed, "augment", iteration))
            yield self._batch(rows, x)

    def whole(self, split: str) -> Iterator[Batch]:
        """The images of `split`, of "train" too, as they lie and without augmentation."""
        for rows in self.rows[split].split(ON_CPU if self.x.is_cpu else EVALUATED):
            yield self._batch(rows, self.x.index_select(0, rows))

    def _batch(self, rows: Tensor, x: Tensor) -> Batch:
        x = x.to(self.mean.dtype).sub_(self.mean).div_(self.std)  # [rows, C, H, W]
        return Batch((x,), self.y.index_select(0, rows))

    def without(self, mask: EdgeMask) -> ImageTask:
        """The task itself: there is no graph."""
        return self

    def to(self, device: torch.device | str) -> ImageTask:
        """The same task on `device`; its batches hold the same images as on any other."""
        check_device(device)
        task = copy.copy(self)
        task.x, task.y = self.x.to(device), self.y.to(device)
        task.mean, task.std = self.mean.to(device), self.std.to(device)
        task.rows = {split: rows.to(device) for split, rows in self.rows.items()}
        return task

    def fingerprint(self) -> str:
        """Which images these are: 16 hex digits over their shape, type and pixels.

        Labels and splits are left out: a ticket for these images is one on every split of them.
        """
        return self._digest

    def content(self) -> str:
        """Everything that is learnt from: the images, their classes and splits."""
        return content_digest(self._digest, self.y, rows=self.rows)

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(f"{list(self.x.shape)} {self.x.dtype}".encode())
        digest.update(self.x.cpu().numpy().data)
        return digest.hexdigest()[:16]

    def __repr__(self) -> str:
        return (
            f"ImageTask({self.name!r}, images={len(self.x)}, shape={self.shape}, "
            f"classes={self.num_classes})"
        )


def hold_out(
    train: int, test: int, *, val_size: int, train_size: int = 0, data_seed: int = 0
) -> dict[str, Tensor]:
    """The images of each split, of `train` that may be trained on and `test` after them.

    `val_size` at random, drawn from `data_seed` alone, validate; of the others `train_size` (0:
    all) train, fewer of them being a part of more.
    """
    if not 1 <= val_size < train:
        raise ValueError(f"`val_size` must be in [1, {train}), got {val_size}")
    if not 0 <= train_size <= train - val_size:
        raise ValueError(f"`train_size` must be in [0, {train - val_size}], got {train_size}")
    order = torch.randperm(train, generator=stream(data_seed, "split"))
    val, rest = order[:val_size], order[val_size:]
    return {"train": rest[: train_size or None], "val": val, "test": train + torch.arange(test)}


def crop_flip(x: Tensor, random: torch.Generator) -> Tensor:
    """The images [B, C, H, W] moved by up to `PAD` pixels, zeros coming in; about half mirrored."""
    b, c, h, w = x.shape
    top, left = torch.randint(2 * PAD + 1, (2, b, 1), generator=random)
    mirrored = torch.randint(2, (b, 1), generator=random).bool()
    line, column = top + torch.arange(h), torch.arange(w)
    column = left + torch.where(mirrored, column.flip(0), column)  # [B, W]
    at = line[:, :, None] * (w + 2 * PAD) + column[:, None, :]  # [B, H, W] in the padded image
    at = at.view(b, 1, h * w).to(x.device).expand(b, c, h * w)
    return F.pad(x, [PAD] * 4).view(b, c, -1).gather(2, at).view(b, c, h, w)


def _moments(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [C, 1, 1] of each channel of `rows`; 1 for a std of 0."""
    total, square = torch.zeros(2, x.size(1), 1, 1, dtype=torch.float64)
    for part in rows.split(EVALUATED):
        pixels = x.index_select(0, part).to(torch.get_default_dtype())
        total += pixels.sum((2, 3), keepdim=True).double().sum(0)
        square += pixels.square().sum((2, 3), keepdim=True).double().sum(0)
    count = rows.numel() * x[0, 0].numel()
    mean = total / count
    std = (square / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 0, std, 1)
    return mean.to(torch.get_default_dtype()), std.to(torch.get_default_dtype())


def _images(x: Any) -> Tensor:
    if not isinstance(x, Tensor) or x.dim() != 4 or 0 in x.shape:
        got = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"`x` must be images [N, C, H, W], got {got}")
    x = x.detach().cpu().contiguous()
    if x.dtype == torch.uint8:
        return x
    if not x.is_floating_point():
        raise ValueError(f"`x` must be uint8 or floating-point, got {x.dtype}")
    if not x.isfinite().all():
        raise ValueError("`x` must be finite, got NaN or infinity")
    return x.to(torch.get_default_dtype())


def _labels(y: Any, count: int) -> Tensor:
    if not isinstance(y, Tensor) or y.shape != (count,):
        got = list(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"`y` must be [{count}], one class an image, got {got}")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"`y` must hold int64 class numbers, got {y.dtype}")
    y = y.detach().cpu().long()
    if not 0 <= int(y.min()) <= int(y.max()) < CLASSES:
        wrong = int(y.min()) if int(y.min()) < 0 else int(y.max())
        raise ValueError(f"`y` must be in [0, {CLASSES:,}), got {wrong}")
    return y


def _rows(splits: Mapping[str, Any], count: int) -> dict[str, Tensor]:
    if not isinstance(splits, Mapping) or set(splits) != set(SPLITS):
        raise ValueError(f"`splits` must have {', '.join(SPLITS)}, got {list(splits)}")
    if all(isinstance(splits[part], int) for part in SPLITS):
        splits = _consecutive(splits)
    for part in SPLITS:
        rows = splits[part]
        if not isinstance(rows, Tensor) or rows.dtype != torch.int64 or rows.dim() != 1:
            raise ValueError("`splits` must be three numbers or three int64 index tensors [images]")
        if not rows.numel():
            raise ValueError(f"`splits` must give {part!r} at least one image, got none")
        wrong = rows[(rows < 0) | (rows >= count)]
        if wrong.numel():
            raise ValueError(f"`splits` must be in [0, {count}), got {int(wrong[0])} in {part!r}")
    taken = torch.cat([splits[part].cpu() for part in SPLITS]).bincount()
    if int(taken.max()) > 1:
        raise ValueError(f"`splits` must not overlap or repeat, got image {int(taken.argmax())} "
                         f"{int(taken.max())} times")  # fmt: skip
    return {part: splits[part].cpu() for part in SPLITS}


def _consecutive(sizes: Mapping[str, int]) -> dict[str, Tensor]:
    train, val = sizes["train"], sizes["train"] + sizes["val"]
    ends = {"train": (0, train), "val": (train, val), "test": (val, val + sizes["test"])}
    return {part: torch.arange(a, max(a, b)) for part, (a, b) in ends.items()}


def _classes(y: Tensor, train: Tensor) -> int:
    """The number of classes, each of which has a training image."""
    count = y[train].bincount(minlength=int(y.max()) + 1)
    if int(count.min()) == 0:
        raise ValueError(f"`splits` must give 'train' an image of every class, got none of class "
                         f"{int(count.argmin())}")  # fmt: skip
    return count.numel()
