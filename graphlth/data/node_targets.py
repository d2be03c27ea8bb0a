"""What is predicted of nodes, and which of them train, validate and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphlth.data import fields
from graphlth.data.losses import OF_NUMBERS, find_loss
from graphlth.metrics import ACCURACY, Metric, check_targets, find_metric
from graphlth.task import Loss


@dataclass(frozen=True)
class NodeTargets:
    """The classes or numbers of N nodes, their splits, and what is learned and measured by."""

    y: Tensor  # [N] classes, or [N, targets] numbers
    label_names: tuple[str, ...]  # what the data call each class; () where numbered from 0
    rows: dict[str, Tensor]  # "train", "val", "test": the nodes of each split
    num_classes: int  # or targets
    loss: Loss
    metric: Metric

    @classmethod
    def of(
        cls, data: Any, num_nodes: int, split: int | str, split_seed: int, loss: str | Loss,
        metric: str | Metric | None, num_classes: int | None = None,
    ) -> NodeTargets:  # fmt: skip
        """Those that `data` have in y, train_mask, val_mask and test_mask.

        Raises:
            ValueError: see `NodeTask`.
        """
        found = find_loss(loss)
        if loss in OF_NUMBERS or (callable(loss) and fields.are_numbers(data)):
            if num_classes is not None:
                raise ValueError("`num_classes` must not be given where `data.y` are numbers, got "
                                 f"{num_classes}: each column is a target")  # fmt: skip
            y = fields.targets(data, num_nodes)
            names: tuple[str, ...] = ()
            alike = torch.zeros(num_nodes, dtype=torch.int64)  # no classes to split evenly
            rows, count = fields.rows(data, alike, split, split_seed), y.size(1)
        else:
            y, names = fields.labels(data, num_nodes)
            rows = fields.rows(data, y, split, split_seed)
            count = fields.classes(y, rows, num_classes)
        return cls(y, names, rows, count, found, _metric(metric, loss, y, rows))


def _metric(
    metric: str | Metric | None, loss: str | Loss, y: Tensor, rows: dict[str, Tensor]
) -> Metric:
    """The metric that is asked for, or that of classes or numbers `y`."""
    if metric is not None:
        check_targets(found := find_metric(metric), y, rows)
        return found
    of_numbers = OF_NUMBERS.get(loss, "rmse") if isinstance(loss, str) else "rmse"
    return find_metric(of_numbers if y.is_floating_point() else ACCURACY)
