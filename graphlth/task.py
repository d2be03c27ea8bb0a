"""What a task gives the trainer. Graphs and images differ here and nowhere above."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Protocol

import torch
from torch import Tensor

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs."""

    inputs: tuple[Any, ...]  # what the model's `forward` takes, but for the edge weights
    target: Tensor  # [rows]
    rows: Tensor | EllipsisType = ...  # rows of the output that are scored
    entries: Tensor | None = None  # [E] the mask entry that each edge reads; None without a graph


class Task(Protocol):
    """Data with a training, a validation and a test split."""

    name: str
    edges: str | None  # "undirected" or "directed"; None without a graph
    num_features: int
    num_classes: int
    num_edges: int  # prunable edges; 0 when there is no graph
    evaluate_every: int  # iterations in a span of training; 1 on a whole graph

    def batches(self, split: str, seed: int = 0, index: int = 0) -> Iterator[Batch]:
        """The batches of `split`; of "train" the `index`-th span of the order that `seed` gives.

        A span is what is trained on between two evaluations: what the trainer calls an epoch.
        """
        ...

    def whole(self, split: str) -> Iterator[Batch]:
        """Every row of `split` once, of "train" too, as it lies and without augmentation."""
        ...

    def without(self, mask: Tensor) -> "Task":
        """The same task on the graph without the edges whose entry of `mask` is 0."""
        ...

    def fingerprint(self) -> str:
        """A digest of the data: equal for equal data."""
        ...

    def to(self, device: torch.device | str) -> "Task":
        """The same task on `device`."""
        ...
