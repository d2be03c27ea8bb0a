"""How values of a metric are told: fractions in per cent, gaps of them in points, others as is."""

from dataclasses import dataclass

from graphlth.metrics import HITS, METRICS
from graphlth.records.schema import Record, metric_of


@dataclass(frozen=True)
class Scale:
    """How values are told.

    Args:
        factor: what they are multiplied by: 100 for per cent, else 1.
        decimals: of the product.
    """

    factor: float
    decimals: int

    @property
    def spec(self) -> str:
        """The format of a product, as `format` takes it."""
        return f".{self.decimals}f"

    def text(self, value: float, sign: str = "") -> str:
        """A value as it is told; `sign` "+" shows that of positive ones and of zero, too."""
        return format(self.factor * value, f"{sign}z{self.spec}")

    def difference_text(self, value: float) -> str:
        """A difference of two values: `1 point` where they are told in per cent."""
        text = f"{self.factor * value:.4g}"
        return f"{text} point{'s' * (text != '1')}" if self.factor == 100 else text

    def head(self, name: str) -> str:
        """The heading of a column of values: with their unit, if they are told in per cent."""
        return f"{name}, %" if self.factor == 100 else name


PERCENT, PLAIN = Scale(100.0, 1), Scale(1.0, 3)


def scale_of(record: Record) -> Scale:
    """That of the record's metric."""
    return scale_of_metric(metric_of(record))


def scale_of_metric(name: str) -> Scale:
    """Per cent of accuracy, ROC-AUC, F1, average precision and hits@k.

    Of other metrics it is not known that they lie in [0, 1].
    """
    known = METRICS.get(name)
    is_fraction = HITS.fullmatch(name) or (known is not None and known.direction == "max")
    return PERCENT if is_fraction else PLAIN
