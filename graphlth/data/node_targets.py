"""What is predicted of nodes, and which of them train, validate and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor

from graphlth.data import fields
from graphlth.data.losses import OF_NUMBERS, check_probabilities, find_loss, task_metric
from graphlth.metrics import Metric
from graphlth.settings.annotations import check_number
from graphlth.task import Loss

KnownClasses = Annotated[int, Interval(ge=1, le=fields.CLASSES)]


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
        if num_classes is not None:
            check_number("num_classes", num_classes, KnownClasses)
        if loss in OF_NUMBERS or (callable(loss) and fields.are_numbers(data)):
            if num_classes is not None:
                raise ValueError("`num_classes` must not be given where `data.y` are numbers, got "
                                 f"{num_classes}: each column is a target")  # fmt: skip
            y = fields.targets(data, num_nodes)
            check_probabilities(loss, y)
            names: tuple[str, ...] = ()
            alike = torch.zeros(num_nodes, dtype=torch.int64)  # no classes to split evenly
            rows, count = fields.rows(data, alike, split, split_seed), y.size(1)
        else:
            y, names = fields.labels(data, num_nodes)
            rows = fields.rows(data, y, split, split_seed)
            count = fields.classes(y, rows, num_classes)
        return cls(y, names, rows, count, found, task_metric(metric, loss, y, rows))
