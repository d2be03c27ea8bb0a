"""Metrics: the number that a result is measured by, with its name and its direction."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from graphlth.evaluators import ogb_evaluator

HITS_OF = "ogbl-collab"  # any data set whose metric is Hits@K
HITS = re.compile(r"hits@([1-9]\d*)")


@dataclass(frozen=True)
class Metric:
    """What a result is measured by.

    Args:
        name: what records, tables and figures call it.
        direction: "max" where more is better, "min" where less is.
        function: of outputs [rows, C] and targets ([rows] classes, or [rows, C] numbers), the
            metric; with `per_row`, one number for each row [rows]. None where a task's own `score`
            computes it otherwise.
        per_row: the metric is the mean of one number for each row. It is then computed batch by
            batch on the device of the model, and no outputs are kept.

    Raises:
        ValueError: the name is no text, there is no such direction, or the function cannot be
            called.
    """

    name: str
    direction: Literal["max", "min"]
    function: Callable[[Tensor, Tensor], Any] | None = None
    per_row: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"`name` must be the text that records call it by, got {self.name!r}")
        if self.direction not in ("max", "min"):
            raise ValueError(f"`direction` must be max or min, got {self.direction!r}")
        if self.function is not None and not callable(self.function):
            raise ValueError("`function` must be a function of (output, target), got "
                             f"{type(self.function).__name__}")  # fmt: skip

    @property
    def worst(self) -> float:
        """What every value is better than: an infinity."""
        return float("-inf") if self.direction == "max" else float("inf")

    def better(self, value: float, other: float) -> bool:
        """Whether `value` is better than `other`; NaN is not."""
        return value > other if self.direction == "max" else value < other

    def error(self, value: float) -> float:
        """The error that `value` stands for: itself where less is better, else 1 - `value`."""
        return value if self.direction == "min" else 1 - value


def find_metric(metric: "str | Metric") -> Metric:
    """The metric of that name, or the given one.

    Raises:
        ValueError: there is no metric of this name, and the known ones are listed; or it has no
            function.
    """
    if isinstance(metric, Metric):
        if metric.function is None:
            raise ValueError(f"`metric` must have a function of (output, target), got "
                             f"{metric.name!r} without one: give Metric({metric.name!r}, "
                             f"{metric.direction!r}, function)")  # fmt: skip
        return metric
    if isinstance(metric, str) and (hits := HITS.fullmatch(metric)):
        return Metric(metric, "max", _Hits(int(hits[1])))
    if not isinstance(metric, str) or metric not in METRICS:
        known = ", ".join([*sorted(METRICS), "hits@<k>"])
        got = repr(metric) if isinstance(metric, str) else type(metric).__name__
        raise ValueError(f"`metric` must be one of {known}, or a graphlth.metrics.Metric of your "
                         f"own, got {got}")  # fmt: skip
    return METRICS[metric]


def check_targets(metric: Metric, y: Tensor, rows: Mapping[str, Tensor]) -> None:
    """Refuse a metric of this module that cannot be computed of the targets `y`.

    Args:
        metric: any metric; one of a user's own passes.
        y: classes [N], or numbers [N, T].
        rows: the rows of `y` in each split.

    Raises:
        ValueError: it is one of numbers where these are classes, of classes where these are other
            numbers than 0 and 1, or one of rankings and a split that is scored lacks a class.
    """
    name = metric.name
    if metric != METRICS.get(name) and not HITS.fullmatch(name):
        return
    if not y.is_floating_point():
        if name in OF_NUMBERS:
            raise ValueError("`metric` must be one of classes where `data.y` are, such as "
                             f"accuracy, got {name!r}: or give a `loss` of numbers, such as mse"
                             )  # fmt: skip
        _check_classes(name, y, rows)
    elif metric is ACCURACY:
        raise ValueError("`metric` must be one of numbers where `data.y` are, such as rmse, "
                         "got 'accuracy'")  # fmt: skip
    elif name not in OF_NUMBERS and not bool(((y == 0) | (y == 1)).all()):
        raise ValueError("`metric` must be one of numbers where `data.y` are others than 0 and 1, "
                         f"such as rmse, got {name!r}")  # fmt: skip
    if hits := HITS.fullmatch(name):
        _check_negatives(int(hits[1]), y, rows)


def _check_negatives(k: int, y: Tensor, rows: Mapping[str, Tensor]) -> None:
    """Refuse hits@k of fewer than k negative rows, of which there is no k-th highest."""
    for split in ("val", "test"):
        if (count := int((y[rows[split]] == 0).sum())) < k:
            raise ValueError(f"`metric` must be hits@k of at most as many as there are negatives "
                             f"in each split, got hits@{k} with {count} of {split}: lower k, or "
                             "give more")  # fmt: skip


def _check_classes(name: str, y: Tensor, rows: Mapping[str, Tensor]) -> None:
    if name in ("roc_auc", "average_precision"):
        known = set(y[rows["train"]].tolist())
        for split in ("val", "test"):
            if gap := sorted(known - set(y[rows[split]].tolist())):
                raise ValueError(f"`metric` must be one that the data have, got {name!r}, which "
                                 f"needs a row of every class in each split, and none of {split} "
                                 f"is of class {gap[0]}: use accuracy")  # fmt: skip
    elif HITS.fullmatch(name) and int(y.max()) > 1:
        raise ValueError(f"`metric` must be one of several classes, such as accuracy, got {name!r},"
                         f" which is of two, for {int(y.max()) + 1}")  # fmt: skip


def _accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Whether the highest logit is that of the row's class [..., rows]."""
    return output.argmax(-1) == target


def _roc_auc(output: Tensor, target: Tensor) -> float:
    """The area under the ROC curve; of several classes the mean of one against the rest."""
    from sklearn.metrics import roc_auc_score  # loads slowly

    return float(roc_auc_score(*_ranking(output, target), multi_class="ovr"))


def _average_precision(output: Tensor, target: Tensor) -> float:
    """The area under the precision–recall curve; of several classes or targets the mean."""
    from sklearn.metrics import average_precision_score  # loads slowly

    return float(average_precision_score(*_ranking(output, target)))


@dataclass(frozen=True)  # and no function within one, which cannot be pickled
class _F1:
    average: str

    def __call__(self, output: Tensor, target: Tensor) -> float:
        from sklearn.metrics import f1_score  # loads slowly

        y, predicted = _array(target), output.argmax(-1) if target.dim() == 1 else output > 0
        return float(f1_score(y, _array(predicted), average=self.average, zero_division=0))


def _rmse(output: Tensor, target: Tensor) -> float:
    from sklearn.metrics import root_mean_squared_error  # loads slowly

    return float(root_mean_squared_error(*_numbers(output, target)))


def _mae(output: Tensor, target: Tensor) -> Tensor:
    """The mean absolute error of each row [..., rows]."""
    if target.dim() < 2 or output.shape[-target.dim() :] != target.shape:  # or they broadcast
        raise ValueError(f"targets must be numbers {list(output.shape)}, as outputs are, got "
                         f"{list(target.shape)}")  # fmt: skip
    return (output - target).abs().mean(-1)


@dataclass(frozen=True)
class _Hits:
    """The fraction of the positive rows that rank above the `k`-th highest negative one (OGB)."""

    k: int

    def __call__(self, output: Tensor, target: Tensor) -> float:
        evaluator = ogb_evaluator("link", HITS_OF, f"compute hits@{self.k}")
        evaluator.K = self.k
        y, score = _ranking(output, target)
        found = evaluator.eval({"y_pred_pos": score[y == 1], "y_pred_neg": score[y == 0]})
        return float(found[f"hits@{self.k}"])


def _ranking(output: Tensor, target: Tensor) -> tuple[Any, Any]:
    """Targets and the scores that rank rows: of two classes one score, else one a class."""
    if target.dim() == 1 and output.dim() == 2:
        if output.size(1) == 2:
            output = output[:, 1] - output[:, 0]
        else:
            output = output[:, 0] if output.size(1) == 1 else output.double().softmax(1)
    elif target.dim() == 2 and target.size(1) == 1:
        output, target = output[:, 0], target[:, 0]
    return _array(target), _array(output)


def _numbers(output: Tensor, target: Tensor) -> tuple[Any, Any]:
    """Targets and outputs of one shape."""
    return _array(target), _array(output.view_as(target))


def _array(values: Tensor) -> Any:
    return values.detach().cpu().numpy()


ACCURACY = Metric("accuracy", "max", _accuracy, per_row=True)
METRICS = {
    metric.name: metric
    for metric in (
        ACCURACY,
        Metric("roc_auc", "max", _roc_auc),
        Metric("average_precision", "max", _average_precision),
        Metric("f1_micro", "max", _F1("micro")),
        Metric("f1_macro", "max", _F1("macro")),
        Metric("rmse", "min", _rmse),
        Metric("mae", "min", _mae, per_row=True),
    )
}
OF_NUMBERS = ("rmse", "mae")  # their targets are numbers [rows, C]


class MetricSum:
    """A metric over the batches of a split, which come one after the other.

    Args:
        metric: the metric; it has a function.
    """

    def __init__(self, metric: Metric):
        if metric.function is None:
            raise ValueError(f"`metric` must have a function of (output, target), got "
                             f"{metric.name!r} without one: give it one, or the task an "
                             "`evaluate` of its own")  # fmt: skip
        self.metric = metric
        self.parts: list[tuple[Tensor, ...]] = []

    def add(self, output: Tensor, target: Tensor) -> None:
        """Take in a batch: outputs [rows, C] and targets.

        Raises:
            ValueError: the metric cannot be computed, or gives no number for each row where it is
                one `per_row`.
        """
        if self.metric.per_row:
            found = self._compute(output, target)
            if not isinstance(found, Tensor) or found.shape[:1] != output.shape[:1]:
                got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise ValueError(f"`metric` must give one number for each of {len(output)} rows "
                                 f"with `per_row`, got {got} of {self.metric.name}: return a "
                                 "tensor [rows], or leave `per_row` out")  # fmt: skip
            self.parts.append((found,))
        else:
            self.parts.append((output, target))

    def value(self) -> float:
        """The metric of all batches.

        Raises:
            ValueError: it cannot be computed, or is not finite.
        """
        whole = [torch.cat(parts) for parts in zip(*self.parts, strict=True)]
        value = _mean(whole[0]) if self.metric.per_row else self._compute(whole[0], whole[1], float)
        if not math.isfinite(value):
            raise ValueError(f"`metric` must be finite, got {value} for {self.metric.name} of "
                             f"{len(whole[0])} rows: use another")  # fmt: skip
        return value

    def _compute(self, output: Tensor, target: Tensor, kind: Callable[[Any], Any] = lambda v: v
                 ) -> Any:  # fmt: skip
        assert self.metric.function is not None  # without one a task has an `evaluate` of its own
        try:
            return kind(self.metric.function(output, target))
        except Exception as error:  # a function of a user's own can raise anything
            if isinstance(error, torch.OutOfMemoryError):
                raise
            first = (str(error).splitlines() or [""])[0]
            if not isinstance(error, ValueError):
                first = f"{type(error).__name__}: {first}"
            raise ValueError(f"`metric` must be one that the data have, but {self.metric.name} "
                             f"cannot be computed: {first}") from error  # fmt: skip


def _mean(values: Tensor) -> float:
    return (values.float() if values.dtype == torch.bool else values).mean().item()
