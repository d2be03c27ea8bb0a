"""Labels of whole graphs, of which some may be missing; their splits, losses and metrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from graphlth.data import fields
from graphlth.data.losses import OF_NUMBERS, check_probabilities, find_loss, task_metric
from graphlth.metrics import METRICS, Metric
from graphlth.task import SPLITS, Batch, Loss

RANKINGS = ("roc_auc", "average_precision")  # they need a 0 and a 1 of a target
WITHOUT_MISSING = (*RANKINGS, "rmse", "mae")  # computed of the labels that are known
TENTHS = ("train", "val", "test", *["train"] * 7)  # of a class's graphs, in a random order
Rows = dict[str, Tensor]


def graph_labels(graphs: Sequence[Any], loss: str | Loss) -> tuple[Tensor, tuple[str, ...]]:
    """What is learnt of each graph, and what the data call each class; () without names.

    Classes [G] int64, or for a `loss` of numbers [G, T], NaN where a label is missing.

    Raises:
        ValueError: a label has another shape than that of the first graph, or is out of range.
    """
    ys = [_label(graph, i) for i, graph in enumerate(graphs)]
    for i, y in enumerate(ys):
        if y.shape != ys[0].shape or not y.numel() or y.is_complex():
            raise ValueError(f"`graphs[{i}].y` must be real numbers of one shape in all graphs, "
                             f"{list(ys[0].shape)}, got {y.dtype} {list(y.shape)}")  # fmt: skip
    y = torch.stack(ys).reshape(len(ys), -1)  # [G, T]
    real = y.is_floating_point() or y.size(1) > 1
    if loss in OF_NUMBERS or (callable(loss) and real):
        return _numbers(y, loss), ()
    if real:
        raise ValueError(f"`graphs[0].y` must be the number of a class, int64 [1], got {y.dtype} "
                         f"[{y.size(1)}]: give a `loss` of numbers, binary_cross_entropy for "
                         "several labels or mse")  # fmt: skip
    try:
        return fields.labels(SimpleNamespace(y=y[:, 0]), len(y))
    except ValueError as error:
        raise ValueError(_of_graphs(error)) from None


def graph_rows(split: Any, y: Tensor, split_seed: int) -> Rows:
    """The graphs of each split: those given, or "random" ones, 80 / 10 / 10 % of every class.

    Raises:
        ValueError: a split is missing, empty, out of range, or overlaps another.
    """
    if isinstance(split, str) and split == "random":
        return _draw_split(y, split_seed)
    if not isinstance(split, Mapping):
        raise ValueError('`split` must be "random", or graphs by "train", "val" and "test", got '
                         f"{split if isinstance(split, str) else type(split).__name__!r}"
                         )  # fmt: skip
    rows = {part: _graphs_of(split, part, len(y)) for part in SPLITS}
    taken = torch.cat([*rows.values()]).bincount(minlength=len(y))
    if int(taken.max()) > 1:
        raise ValueError(f"`split` must not overlap or repeat, got graph {int(taken.argmax())} "
                         f"{int(taken.max())} times")  # fmt: skip
    return rows


def count_classes(y: Tensor, rows: Rows) -> int:
    """The columns of an output: classes, each of which has a training graph, or targets.

    Raises:
        ValueError: a graph of a split has no class, or a class no training graph; or no label of
            a split is known.
    """
    if not y.is_floating_point():
        try:
            return fields.classes(y, rows)
        except ValueError as error:
            raise ValueError(_of_graphs(error)) from None
    for part, graphs in rows.items():
        if bool(y[graphs].isnan().all()):
            raise ValueError(f"`y` must be known of a graph that is in {part}, got NaN for all "
                             f"{len(graphs)}")  # fmt: skip
    return y.size(1)


def graph_loss(loss: str | Loss, y: Tensor) -> Loss:
    """The loss of that name, of those labels alone that are known; or the given function."""
    found = find_loss(loss)
    if isinstance(loss, str) and y.is_floating_point() and bool(y.isnan().any()):
        return partial(known_loss, found)
    return found


def known_loss(loss: Loss, output: Tensor, batch: Batch) -> Tensor:
    """`loss` of the outputs whose label is not NaN, as a list of them; 0 where none is."""
    known = ~batch.target.isnan()
    if not bool(known.any()):
        return (output * 0).sum()
    return loss(output[known], replace(batch, target=batch.target[known]))


def graph_metric(metric: str | Metric | None, loss: str | Loss, y: Tensor, rows: Rows) -> Metric:
    """The metric that is asked for, or that of the loss: of labels alone that are known.

    Raises:
        ValueError: there is none of this name, or it cannot be computed of these labels.
    """
    found = task_metric(metric, loss, y.nan_to_num(), rows)
    if not y.is_floating_point() or found != METRICS.get(found.name):
        return found
    missing = bool(y.isnan().any())
    if missing and found.name not in WITHOUT_MISSING:
        raise ValueError(f"`metric` must be one of {', '.join(WITHOUT_MISSING)} where labels are "
                         f"missing, got {found.name!r}")  # fmt: skip
    if found.name in RANKINGS:
        _check_rankings(found.name, y, rows)
    if not missing and found.name not in RANKINGS:
        return found
    assert found.function is not None  # `find_metric` refuses one without
    function = partial(mean_of_targets, found.function, found.name in RANKINGS)
    return Metric(found.name, found.direction, function)


def mean_of_targets(
    function: Callable[[Tensor, Tensor], Any], ranks: bool, output: Tensor, target: Tensor
) -> float:
    """The mean over the targets [.., T] of a metric, each of the rows whose label is known (OGB).

    Of one that `ranks`, only targets count of which a 0 and a 1 are known.

    Raises:
        ValueError: it can be computed of no target.
    """
    values = []
    for t in range(target.size(1)):
        known = ~target[:, t].isnan()
        y = target[known, t : t + 1]
        if len(y) if not ranks else len(y.unique()) > 1:
            values.append(torch.as_tensor(function(output[known, t : t + 1], y)).double().mean())
    if not values:
        raise ValueError("no target has a label" + (" of 0 and one of 1" if ranks else ""))
    return float(torch.stack(values).mean())


def _label(graph: Any, index: int) -> Tensor:
    try:
        return fields.field(graph, "y")
    except ValueError as error:
        raise ValueError(str(error).replace("`data.", f"`graphs[{index}].")) from None


def _numbers(y: Tensor, loss: str | Loss) -> Tensor:
    y = y.to(torch.get_default_dtype())
    if y.isinf().any():
        raise ValueError(f"`graphs[{int(y.isinf().any(1).nonzero()[0])}].y` must be finite, or NaN "
                         "where a label is missing, got infinity")  # fmt: skip
    check_probabilities(loss, y, ", or NaN where a label is missing,")
    return y


def _draw_split(y: Tensor, split_seed: int) -> Rows:
    """Of ten graphs of a class eight train, one validates and one tests, in a random order.

    Graphs whose labels are numbers are all of one class.
    """
    kind = torch.zeros(len(y), dtype=torch.int64) if y.is_floating_point() else y
    return fields.draw_split(kind, split_seed, TENTHS, "graph", "graphs")


def _graphs_of(split: Mapping[str, Any], part: str, count: int) -> Tensor:
    """The numbers of the graphs of a `part` of `split`, which may be a boolean mask."""
    name = part if part in split or part != "val" else "valid"
    if name not in split:
        got = ", ".join(map(str, split)) or "none"
        raise ValueError(f"`split` must have train, val (or valid) and test, got {got}")
    try:
        rows = torch.as_tensor(split[name])
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"`split` must be numbers of graphs, or a mask of {count}, in {name!r}, "
                         f"got {type(split[name]).__name__}") from None  # fmt: skip
    if rows.dtype == torch.bool and rows.shape == (count,):
        rows = rows.nonzero().view(-1)
    if rows.shape == (0,):
        raise ValueError(f"`split` must give {name!r} at least one graph, got none")
    if rows.dim() != 1 or rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
        raise ValueError(f"`split` must be numbers of graphs, or a mask of {count}, in {name!r}, "
                         f"got {rows.dtype} {list(rows.shape)}")  # fmt: skip
    wrong = rows[(rows < 0) | (rows >= count)]
    if wrong.numel():
        raise ValueError(f"`split` must be in [0, {count}), got {int(wrong[0])} in {name!r}")
    return rows.cpu().long()


def _check_rankings(name: str, y: Tensor, rows: Rows) -> None:
    for part in ("val", "test"):
        own = y[rows[part]]
        both = ((own == 0).any(0) & (own == 1).any(0)).any()
        if not both:
            raise ValueError(f"`metric` must be one that the data have, got {name!r}, which needs "
                             f"a 0 and a 1 of a target in each split, and {part} has none: use "
                             "another `split_seed`, or mae")  # fmt: skip


def _of_graphs(error: ValueError) -> str:
    text = str(error).replace("`data.train_mask`", "`split`").replace("`data.y`", "`y`")
    return re.sub(r"\bnode(s?)\b", r"graph\1", text)
