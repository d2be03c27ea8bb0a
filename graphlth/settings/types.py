"""The types of settings: the range and the choices of each stand in its annotation.

A plug-in writes `drop_edges: Fraction = 0.05`; the same annotation checks flags, files and calls.
Maxima are those of memory and time: a value above them is a typing error or an attack.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval

from graphlth.settings.lists import parse_milestones, parse_rounds


@dataclass(frozen=True)
class Plugin:
    """In an annotation: text is the name of a plug-in of this kind, such as "scores".

    Args:
        kind: the kind.
        part: what it is for, a folder of the kind such as "edges"; "": for anything.
    """

    kind: str
    part: str = ""


@dataclass(frozen=True)
class NumberList:
    """In an annotation: a list of numbers, or the same as text, such as "7,15"; see `lists`.

    Args:
        parse: reads both, with the value of the setting `last` beside it where there is one.
        empty: the text without numbers, such as "none" or "all".
        last: the setting that is the largest number of the list.
    """

    parse: Callable[..., Sequence[float]]
    empty: str
    last: str | None = None


@dataclass(frozen=True)
class Below:
    """In an annotation: the number is below the first of these settings that is not 0."""

    settings: tuple[str, ...]


@dataclass(frozen=True)
class ZeroWith:
    """In an annotation: the number is 0 where another setting has this value."""

    setting: str
    value: str


@dataclass(frozen=True)
class AddedLater:
    """In an annotation: the default stands neither in the settings of a run nor in their hash.

    Runs that were recorded before there was this setting keep their names.
    """


Fraction = Annotated[float, Interval(ge=0, lt=1)]
Probability = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Discount = Annotated[float, Interval(gt=0, le=1)]
Tolerance = Annotated[float, Interval(gt=0, lt=1)]

Rounds = Annotated[int, Interval(ge=0, le=10_000)]
Draws = Annotated[int, Interval(ge=1, le=10_000)]
Window = Draws
Epochs = Annotated[int, Interval(ge=1, le=1_000_000)]
OptionalEpochs = Annotated[int, Interval(ge=0, le=1_000_000)]  # 0: none
Steps = Annotated[int, Interval(ge=1, le=1_000_000)]
Iterations = Annotated[int, Interval(ge=0, le=10**9)]
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]

Width = Annotated[int, Interval(ge=1, le=65_536)]
OptionalWidth = Annotated[int, Interval(ge=0, le=65_536)]  # 0: as the data are
Depth = Annotated[int, Interval(ge=1, le=1024)]
Heads = Depth
BatchSize = Annotated[int, Interval(ge=1, le=1_000_000)]
OptionalBatchSize = Annotated[int, Interval(ge=0, le=1_000_000)]  # 0: all in one
Context = Annotated[int, Interval(ge=1, le=8192)]
Count = Annotated[int, Interval(ge=0, le=10**9)]
EdgeCount = Annotated[int, Ge(0)]
Number = Annotated[int, Interval(ge=1, le=10_000)]  # of classes, of neighbours, of components
Pixels = Annotated[int, Interval(ge=0, le=10_000)]
Features = Annotated[int, Interval(ge=1, le=1_000_000)]
Repeats = Annotated[int, Interval(ge=1, le=1_000_000)]
Points = Annotated[int, Interval(ge=2, le=10_000)]
Threads = Annotated[int, Interval(ge=1, le=1024)]
Retries = Annotated[int, Interval(ge=0, le=1000)]

Ignore = Annotated[str, AddedLater()]  # patterns of names, with commas between; "": none
Score = Annotated[str | Callable[..., Any], Plugin("scores")]  # by name, or with settings bound
WeightScore = Annotated[str | Callable[..., Any], Plugin("scores", "weights")]
EdgeScore = Annotated[str | Callable[..., Any], Plugin("scores", "edges")]
ChannelScore = Annotated[str | Callable[..., Any], Plugin("scores", "channels")]
Milestones = Annotated[str | Sequence[float], NumberList(parse_milestones, "none")]
RoundNumbers = Annotated[str | Sequence[int], NumberList(parse_rounds, "all", last="rounds")]
RewindTo = Annotated[
    Iterations, Below(("iterations", "epochs")), ZeroWith("rewind", "finetune")
]  # an epoch; an iteration where the training is counted in them

Scope = Literal["global", "layer"]
Optimizer = Literal["adam", "sgd"]
Start = Literal["inherit", "rewind", "reinit"]
JointStart = Literal["inherit", "rewind", "reinit", "reinit-dense"]
DrawDistance = Annotated[Literal["consecutive", "lagged"], AddedLater()]
FirstEpoch = Annotated[int, Interval(ge=1, le=1_000_000), AddedLater()]
BackendName = Literal["auto", "numba", "triton", "sparse", "scatter", "reference"]
Layout = Literal["auto", "dense", "blocks", "sparse"]
Edges = Literal["undirected", "directed"]
EdgeBudget = Literal["graph", "global"]
Part = Literal["train", "val", "test"]
KeptTickets = Literal["all", "last", "none"]
Augmentation = Literal["none", "crop-flip"]
LossName = Annotated[
    Literal["cross_entropy", "binary_cross_entropy", "mse", "mae"], AddedLater()
]  # the keys of `graphlth.data.losses.LOSSES`
Aggregation = Annotated[Literal["sum", "mean"], AddedLater()]
Readout = Annotated[Literal["last", "layers"], AddedLater()]
WeightInitializer = Annotated[Literal["glorot", "kaiming_uniform"], AddedLater()]  # as PyG's Linear
NormalInitializer = Annotated[Literal["glorot_normal", "kaiming_normal"], AddedLater()]
NormInitializer = Annotated[Literal["fixed", "uniform"], AddedLater()]
AddSelfLoops = Annotated[bool, AddedLater()]
ProtectedEdges = Annotated[Literal["none", "training"], AddedLater()]
SelfLoops = Annotated[bool, AddedLater()]
NegativeSlope = Annotated[float, Interval(ge=0, le=1), AddedLater()]
SelfSupervised = Annotated[Literal["none", "dgi"], AddedLater()]  # of θ₀
LinkLoss = Literal["infoclust", "binary_cross_entropy"]
MetricName = Annotated[str, AddedLater()] | None  # None: that of the loss
