"""What a task gives the trainer. Graphs, images, text and games differ here and nowhere above."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Protocol

import torch
from torch import Tensor

from graphlth.streams import stream

SPLITS = ("train", "val", "test")

Policy = Callable[[Tensor], Tensor]  # logits [B, C] of observations [B, ...]


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs."""

    inputs: tuple[Any, ...]  # what the model's `forward` takes, but for the edge weights
    target: Tensor  # [rows]
    rows: Tensor | EllipsisType = ...  # rows of the output that are scored
    entries: Tensor | None = None  # [E] the mask entry that each edge reads; None without a graph
    weights: Tensor | None = None  # [rows] what each adds to the loss; None: 1 / rows each
    among: tuple[Tensor, Tensor] | None = None  # of a graph: what to evaluate, and where `rows` are
    edge_weight: Tensor | None = None  # [E] A, what the mask of each edge multiplies; None: ones


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
        """A digest of the graph, or of the images, texts or game: what a ticket fits."""
        ...

    def content(self) -> str:
        """A digest of everything: features, edges, labels and splits; what a run is.

        16 hex digits, equal for equal data whatever they are called and wherever they lie.
        """
        ...

    def to(self, device: torch.device | str) -> "Task":
        """The same task on `device`."""
        ...


class Game(Task, Protocol):
    """A task that the network plays: what it does gives the batches, what it wins is its accuracy.

    Before `played_by` is called, every choice is as likely as any other.
    """

    def played_by(self, policy: Policy) -> "Game":
        """The same game, whose batches `policy` plays, as it then is, when they are asked for."""
        ...

    def mean_return(self, split: str) -> float:
        """What the highest logits win in the episodes of `split`, in [0, 1]: 1 is the most."""
        ...


def content_digest(fingerprint: str, *labels: Tensor, rows: Mapping[str, Tensor]) -> str:
    """16 hex digits over what a ticket fits, labels [N] and the rows of each split."""
    digest = hashlib.sha256(fingerprint.encode())
    for part in (*labels, *(rows[split] for split in SPLITS)):
        digest.update(f"{list(part.shape)}".encode())
        digest.update(part.detach().cpu().long().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def shuffled(rows: Tensor, size: int, seed: int, span: range) -> Iterator[tuple[int, Tensor]]:
    """Every iteration of `span` with its rows: of one permutation of `rows` after another.

    Each permutation is drawn from `seed` and its number, and cut into batches of `size`, the last
    of which is short.
    """
    order: tuple[Tensor, ...] = ()
    for iteration in span:
        number, place = divmod(iteration, -(-rows.numel() // size))
        if not order or place == 0:
            drawn = torch.randperm(rows.numel(), generator=stream(seed, "order", number))
            order = rows[drawn.to(rows.device)].split(size)
        yield iteration, order[place]
