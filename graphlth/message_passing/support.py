"""Which operators can be masked, and how."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import nn
from torch_geometric.nn import aggr
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.aggr.fused import FusedAggregation
from torch_geometric.nn.conv import MessagePassing

SCATTERED = (
    aggr.SumAggregation, aggr.MeanAggregation, aggr.VarAggregation, aggr.StdAggregation,
    aggr.SoftmaxAggregation, aggr.PowerMeanAggregation, aggr.MultiAggregation,
    aggr.DegreeScalerAggregation, aggr.AttentionalAggregation, aggr.DeepSetsAggregation,
    aggr.VariancePreservingAggregation, aggr.Set2Set, FusedAggregation,
)  # fmt: skip

_FUSED = "its sums are fused in compiled code: use {} instead"
_OWN_EDGES = "it makes its own edges from features or positions: use {} with an edge_index"
_DENSE = "it reads a dense adjacency matrix: use {} with an edge_index"
_CONTRACTS = "it merges nodes over edges, whatever their weight: use TopKPooling or SAGPooling"
_AGAIN = "it runs again in the backward pass, where edges are not masked: {}"
REFUSED: Mapping[str, str] = MappingProxyType({  # classes of PyG, and why
    "CuGraphSAGEConv": _FUSED.format("SAGEConv"),
    "CuGraphGATConv": _FUSED.format("GATConv"),
    "CuGraphRGCNConv": _FUSED.format("RGCNConv"),
    "FusedGATConv": _FUSED.format("GATConv"),
    "DynamicEdgeConv": _OWN_EDGES.format("EdgeConv"),
    "GravNetConv": _OWN_EDGES.format("EdgeConv"),
    "XConv": _OWN_EDGES.format("PointNetConv"),
    "PANConv": "it multiplies sparse matrices, whose entries are paths: use MixHopConv",
    "WLConv": "its output is a colour for each node, without a gradient: use WLConvContinuous",
    "MeshCNNConv": "its edge_index is a mesh with exactly four columns for each edge, of which "
                   "none can go",
    "DenseGATConv": _DENSE.format("GATConv"),
    "DenseGCNConv": _DENSE.format("GCNConv"),
    "DenseGINConv": _DENSE.format("GINConv"),
    "DenseGraphConv": _DENSE.format("GraphConv"),
    "DenseSAGEConv": _DENSE.format("SAGEConv"),
    "DMoNPooling": _DENSE.format("TopKPooling"),
    "EdgePooling": _CONTRACTS,
    "ClusterPooling": _CONTRACTS,
    "ASAPooling": "it makes its own edges between clusters: use TopKPooling or SAGPooling",
    "PANPooling": "it multiplies sparse matrices, whose entries are paths: use TopKPooling",
})  # fmt: skip
REMOVAL: Mapping[str, str] = MappingProxyType({
    "MFConv": "its weights are chosen by whole degrees, which are those of the edges of weight "
              "above 0",
})  # fmt: skip
SURROGATE = "in training an edge counts as message × weight, and is absent at 0"


@dataclass(frozen=True)
class Support:
    """How an operator can be masked, and why not otherwise.

    `kind` is "exact" if an edge of weight 0 is absent and weights between 0 and 1 weigh what is
    added up; "removal" if these have no meaning in the operator, so that training has a surrogate
    while weights of 0 and 1 are exact; or "refused".
    """

    kind: Literal["exact", "removal", "refused"]
    reason: str = ""


def reduces_by_scatter(module: Aggregation) -> bool:
    """Whether an aggregation is made of torch's sums alone, which are weighed themselves."""
    return type(module) in SCATTERED


def operator_support(module: nn.Module) -> Support:
    """How `module` itself can be masked: the aggregations that it holds have their own support."""
    reason = _refusal(module)
    if reason is not None:
        return Support("refused", reason)
    if (reason := _by_name(module, REMOVAL)) is not None:
        return Support("removal", f"{reason}; {SURROGATE}")
    weightless = [name for name in getattr(module, "aggregators", ()) if name in ("max", "min")]
    if isinstance(module, Aggregation) and not reduces_by_scatter(module):
        weightless = [type(module).__name__.removesuffix("Aggregation").lower()]
    if weightless and isinstance(module, MessagePassing | Aggregation):
        return Support(
            "removal", f"weights have no meaning in {', '.join(weightless)}; {SURROGATE}"
        )
    return Support("exact")


def _refusal(module: nn.Module) -> str | None:
    if isinstance(module, torch.jit.ScriptModule):
        return "it is compiled by TorchScript, which knows no masks: give the module as written"
    if isinstance(module, MessagePassing) and getattr(module, "cached", False):
        return "it keeps the degrees of the first graph that it sees: set cached=False"
    kind = _pyg_classes(module)
    if "InvertibleModule" in kind and not getattr(module, "disable", False):
        return _AGAIN.format("set disable=True")
    return _by_name(module, REFUSED)


def _pyg_classes(module: nn.Module) -> tuple[str, ...]:
    kind: Any = type(module)
    return _class_names(kind)


@lru_cache(maxsize=1024)
def _class_names(kind: type) -> tuple[str, ...]:
    """The names of PyG's classes among `kind` and its bases."""
    found = [cls for cls in kind.__mro__ if cls.__module__.startswith("torch_geometric.")]
    return tuple(cls.__name__ for cls in found)


def _by_name(module: nn.Module, reasons: Mapping[str, str]) -> str | None:
    return next((reasons[name] for name in _pyg_classes(module) if name in reasons), None)


def check_operators(model: nn.Module) -> None:
    """Refuse a model with an operator that cannot be masked.

    Raises:
        ValueError: it has one; the message says which, why, and what to do.
    """
    for name, module in model.named_modules():
        support = operator_support(module)
        if support.kind == "refused":
            where = f"as {name!r}: " if name else ": "
            raise ValueError(
                f"`model` must have operators whose edges can be masked, got "
                f"{type(module).__name__}{' ' if name else ''}{where}{support.reason}"
            )
