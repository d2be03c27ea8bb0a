"""What a task gives the trainer: the contract of every task type, and `Batch`, what it yields.

Graphs, images, text and games differ here and nowhere above.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlth.edge_masks import EdgeMask, edge_mask
from graphlth.masks import Masks
from graphlth.metrics import ACCURACY, Metric, MetricSum
from graphlth.streams import stream

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Later:
    """In place of a field of a batch: what makes its value when that is first read."""

    make: Callable[[], Any]


class _MadeWhenRead:
    """A field of a dataclass, None by default, that may be given `Later`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, batch: Any, owner: type | None = None) -> Any:
        if batch is None:
            return None  # the default
        value = vars(batch)[self.name]
        if isinstance(value, Later):
            value = vars(batch)[self.name] = value.make()
        return value

    def __set__(self, batch: Any, value: Any) -> None:
        vars(batch)[self.name] = value


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs, and what its output is compared with."""

    inputs: tuple[Any, ...]  # what the model's `forward` takes, but for the edge weights
    target: Tensor  # [rows] classes, or [rows, C] numbers
    rows: Tensor | EllipsisType = ...  # rows of the output that are scored
    entries: Tensor | None = None  # [E] the mask entry that each edge reads; None without a graph
    weights: Tensor | None = None  # [rows] of a game: what each row counts in the loss
    among: tuple[Tensor, Tensor] | None = None  # of a graph: what to evaluate, and where `rows` are
    edge_weight: EdgeMask | None = None  # A [E], of all layers or of each; None: ones
    data: Any = _MadeWhenRead()  # of a graph: the PyG `Data` that a model of a user's own reads
    columns: Mapping[str, Tensor] = field(default_factory=dict)  # by edge mask: the entry [E] that
    # each column of its edge_index in `data` reads; −1: none, its weight is 1
    node_type: str = ""  # of a heterogeneous graph: whose outputs are scored
    forward: "Forward | None" = None  # the task's way to call a model of a user's
    # own with `data`; None: by the names of the parameters of its `forward`
    pairs: Tensor | None = None  # [2, rows] of links: whose outputs are compared
    copies: int = 1  # of a graph: how often it is in the inputs, as beside a corrupted copy
    of_graphs: bool = False  # a row of the output is one of a whole graph, not of a node
    decode: "Decode | None" = None  # what is made of the outputs of `pairs`; None: dot products

    def select(self, output: Any) -> Tensor:
        """What is scored [rows, C] of the output for every row: `rows`, or of links `pairs`."""
        if self.pairs is None:
            output = output[self.node_type] if isinstance(output, Mapping) else output
            scored: Tensor = output[self.rows]
            return scored
        return (self.decode or dot_product)(output, self.pairs)


Decode = Callable[[Any, Tensor], Tensor]  # of the output of a model and `pairs`: [rows, C]


def dot_product(output: Tensor, pairs: Tensor) -> Tensor:
    """The dot product [rows, 1] of the outputs [N, d] of each of `pairs` [2, rows]."""
    return (output[pairs[0]] * output[pairs[1]]).sum(-1, keepdim=True)


Forward = Callable[[Any, Any], Any]  # of a model and its data: what the model returns
Policy = Callable[[Tensor], Tensor]  # logits [B, C] of observations [B, ...]
Loss = Callable[[Tensor, Batch], Tensor]  # of the outputs [rows, C] of a batch: a number to lower


LOSS_CONTRACT = "loss(output, batch) -> scalar tensor with a gradient"


def call_own(function: Callable[..., Any], *given: Any, refuse: Callable[[str], ValueError]) -> Any:
    """What a function of a user's own returns.

    Args:
        function: what is called.
        given: what it is called with.
        refuse: makes the error of what it was got to be, "one that raises ...".

    Raises:
        ValueError: that of `refuse`, if the function raises anything but a lack of memory.
    """
    try:
        return function(*given)
    except Exception as error:  # a function of a user's own can raise anything
        if isinstance(error, torch.OutOfMemoryError):
            raise
        first = (str(error).splitlines() or [""])[0]
        raise refuse(f"one that raises {type(error).__name__}: {first}") from error


def compute_loss(loss: Loss, output: Tensor, batch: Batch) -> Tensor:
    """The loss of the outputs [rows, C] of a batch, which may be a function of a user's own.

    Raises:
        ValueError: it cannot be computed, is no tensor or more than a number, or has no gradient
            where `output` has one.
    """
    remedy = "mend it; targets are batch.target"
    found = call_own(loss, output, batch, refuse=lambda got: _loss_error(got, remedy))
    if not isinstance(found, Tensor):
        raise _loss_error(type(found).__name__, "return the tensor that torch computes")
    if found.dim():
        raise _loss_error(f"a tensor {list(found.shape)}", "return its mean()")
    if found.is_complex():
        raise _loss_error(f"a tensor of {found.dtype}", "return a real number")
    if output.requires_grad and not found.requires_grad:
        raise _loss_error("one that is detached from the output",
                          "remove no_grad, detach, item and argmax from it")  # fmt: skip
    return found


def _loss_error(got: str, remedy: str) -> ValueError:
    return ValueError(f"`loss` must be a function {LOSS_CONTRACT}, got {got}: {remedy}")


def cross_entropy(output: Tensor, batch: Batch) -> Tensor:
    """The mean cross-entropy of logits [rows, C] against the classes of the batch."""
    return F.cross_entropy(output, batch.target)


class Task(Protocol):
    """Data with a training, a validation and a test split, and what is learned from them.

    A task of your own inherits from this class, and with it the methods that have a body here.
    """

    name: str  # what records call the data
    edges: str | None  # "undirected" or "directed"; None without a graph
    num_features: int
    num_classes: int  # columns of a model's output: classes, or numbers for each row
    num_edges: int  # prunable edges; 0 when there is no graph; of relations `RelationCounts`
    edge_groups: Tensor | None = None  # [num_edges] of many graphs: the one that has each edge,
    # where each loses its own share of its edges; -1: the edge stays; None: one ranking over all
    evaluate_every: int  # iterations in a span of training; 1 on a whole graph
    loss: Loss = staticmethod(cross_entropy)  # what training minimises, batch by batch
    metric: Metric = ACCURACY  # what a result is measured by; its direction says what is best

    def batches(self, split: str, seed: int = 0, index: int = 0) -> Iterator[Batch]:
        """The batches of `split`; of "train" the `index`-th span of the order that `seed` gives.

        A span is what is trained on between two evaluations: what the trainer calls an epoch.
        """
        ...

    def whole(self, split: str) -> Iterator[Batch]:
        """Every row of `split` once, of "train" too, as it lies and without augmentation."""
        ...

    def without(self, mask: EdgeMask) -> "Task":
        """The same task on the graph without the edges whose entry of `mask` [num_edges] is 0.

        These edges are gone; other entries multiply the weight of their edge. Of one mask for each
        layer, the edges that no layer keeps are gone, and the others have a weight in each layer.
        `num_edges` and the numbers of the entries stay.
        """
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

    def with_policy(self, policy: Policy) -> "Task":
        """The same task, whose batches `policy` may decide: of a game, what is done in it.

        `policy` is asked whenever a batch is, and is then what the network has become. Data do not
        depend on it.
        """
        return self

    def evaluate(self, split: str, output: Callable[[Batch], Tensor]) -> tuple[float, float]:
        """The metric on `split`, and the mean loss, of the outputs that `output` gives for batches.

        The loss is NaN but on the rows that validate where there is no graph: of a small network
        on a graph it would cost 3 % of an epoch.
        """
        total, losses, rows = MetricSum(self.metric), [], 0
        for batch in self.batches(split):
            out = output(batch)
            total.add(out, batch.target)
            if batch.entries is None and split == "val":
                losses.append(compute_loss(self.loss, out, batch).double() * len(batch.target))
                rows += len(batch.target)
        return total.value(), torch.stack(losses).sum().item() / rows if rows else math.nan


def apply_edge_masks(task: Task, masks: Masks) -> Task:
    """`task` on the graph that the edge masks of `masks` leave; itself if there are none."""
    mask = edge_mask(masks)
    return task if mask is None else task.without(mask)


def content_digest(fingerprint: str, *labels: Tensor, rows: Mapping[str, Tensor]) -> str:
    """16 hex digits over what a ticket fits, classes [N] or numbers [N, T], and rows of splits."""
    digest = hashlib.sha256(fingerprint.encode())
    for part in (*labels, *(rows[split] for split in SPLITS)):
        digest.update(f"{list(part.shape)}".encode())
        whole = part.detach().cpu() if part.is_floating_point() else part.detach().cpu().long()
        digest.update(whole.contiguous().numpy().data)
    return digest.hexdigest()[:16]


def shuffle_rows(rows: Tensor, size: int, seed: int, span: range) -> Iterator[tuple[int, Tensor]]:
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
