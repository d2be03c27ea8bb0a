"""Which operators can be masked, and how."""

from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch_geometric.nn import aggr, conv
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.conv import MessagePassing

SCATTERED = (
    aggr.SumAggregation, aggr.MeanAggregation, aggr.MaxAggregation, aggr.MinAggregation,
    aggr.MulAggregation, aggr.VarAggregation, aggr.StdAggregation, aggr.SoftmaxAggregation,
    aggr.PowerMeanAggregation, aggr.MultiAggregation, aggr.DegreeScalerAggregation,
)  # fmt: skip
REMOVAL = (aggr.MaxAggregation, aggr.MinAggregation, aggr.MulAggregation)


@dataclass(frozen=True)
class Support:
    """How an operator can be masked, and why not otherwise."""

    kind: Literal["exact", "removal", "refused"]
    reason: str = ""


def reduces_by_scatter(module: Aggregation) -> bool:
    """Whether an aggregation is made of torch's reductions alone, which are weighed themselves."""
    return type(module) in SCATTERED


def operator_support(module: nn.Module) -> Support:
    """How `module` itself, not what it holds, can be masked."""
    if isinstance(module, MessagePassing):
        if getattr(module, "cached", False):
            return Support("refused", "it keeps the degrees of the first graph that it sees: set "
                                      "cached=False")  # fmt: skip
        if isinstance(module, (conv.DynamicEdgeConv, conv.GravNetConv)):
            return Support("refused", "it makes its own edges: give it an edge_index")
    if isinstance(module, Aggregation) and (
        not reduces_by_scatter(module) or isinstance(module, REMOVAL)
    ):
        return Support("removal", "a weight between 0 and 1 has no meaning in it")
    return Support("exact")


def check_operators(model: nn.Module) -> None:
    """Refuse a model with an operator that cannot be masked.

    Raises:
        ValueError: it has one; the message says which, why, and what to do.
    """
    for name, module in model.named_modules():
        support = operator_support(module)
        if support.kind == "refused":
            raise ValueError(
                f"`model` must have operators whose edges can be masked, got "
                f"{type(module).__name__} as {name!r}: {support.reason}"
            )
