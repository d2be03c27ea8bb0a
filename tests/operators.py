"""Every operator of PyG with a small instance: what the table of operators is proved on."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch_geometric.nn import aggr as aggregations
from torch_geometric.nn import conv as operators

from graphlth.message_passing import Support, operator_support
from graphlth.message_passing.support import REFUSED as REASONS

N, C = 7, 4  # nodes, of which the last is isolated, and channels


@dataclass(frozen=True)
class Case:
    """An operator, how it is made and how it is called."""

    name: str
    make: Callable[[], nn.Module]
    call: Callable[[Any, Any], Any] = lambda conv, d: conv(d.x, d.edge_index)
    relations: int = 1  # how many tensors of edges it takes
    sorts: bool = False  # whether edges must be sorted by target
    is_mean: bool = False  # whether only the shares of weights count
    needs_edges: bool = False  # whether PyG's own fails where the first node gets none

    @property
    def splits(self) -> bool:
        """Whether edges of each type are aggregated apart."""
        return self.call is _types


def _mlp(wide, out=C):
    return nn.Sequential(nn.Linear(wide, out), nn.Tanh())


def _attributes(conv, d):
    return conv(d.x, d.edge_index, edge_attr=d.edge_attr)


def _types(conv, d):
    return conv(d.x, d.edge_index, d.edge_type)


def _weights(conv, d):
    return conv(d.x, d.edge_index, edge_weight=d.edge_weight)


def _positive(conv, d):
    return conv(d.x.abs() + 0.1, d.edge_index)


def _points(conv, d):
    return conv(d.x, d.pos, d.edge_index)


def _spline():
    """SplineConv with a basis of one spline, in place of the compiled ones of pyg-lib."""
    file = import_module("torch_geometric.nn.conv.spline_conv")
    file.spline_basis = lambda attr, *_: (attr.tanh(), None)
    file.spline_weighting = lambda x, weight, basis, _: x @ weight[0] * basis.sum(1, True)
    return operators.SplineConv(C, C, dim=2, kernel_size=2)


TYPES = [("a", "to", "b"), ("b", "back", "a")]


def _hetero(conv, d):
    out = conv({"a": d.x, "b": d.x.flip(0)}, dict(zip(TYPES, d.edges, strict=True)))
    return torch.cat([out["a"], out["b"]])


o = operators
a = aggregations
METADATA = (["a", "b"], TYPES)
DEG = torch.tensor([1, 3, 4, 2])
CASES = [
    Case("SimpleConv", lambda: o.SimpleConv()),
    Case("SimpleConv(aggr='mean', combine_root='self_loop')",
         lambda: o.SimpleConv("mean", combine_root="self_loop")),
    Case("SimpleConv(aggr='max')", lambda: o.SimpleConv("max")),
    Case("GCNConv", lambda: o.GCNConv(C, C)),
    Case("GCNConv(improved=True), weights", lambda: o.GCNConv(C, C, improved=True), _weights),
    Case("GCNConv(normalize=False)", lambda: o.GCNConv(C, C, normalize=False)),
    Case("GCNConv(add_self_loops=False)", lambda: o.GCNConv(C, C, add_self_loops=False), _weights),
    Case("ChebConv", lambda: o.ChebConv(C, C, K=3)),
    Case("ChebConv(normalization=None)", lambda: o.ChebConv(C, C, K=3, normalization=None),
         lambda conv, d: conv(d.x, d.edge_index, d.edge_weight, lambda_max=torch.tensor(9.0))),
    Case("ChebConv(normalization='rw')", lambda: o.ChebConv(C, C, K=2, normalization="rw"),
         lambda conv, d: conv(d.x, d.edge_index, lambda_max=torch.tensor(2.0))),
    Case("SAGEConv", lambda: o.SAGEConv(C, C)),
    Case("SAGEConv(aggr='max')", lambda: o.SAGEConv(C, C, aggr="max")),
    Case("SAGEConv(aggr=['mean', 'std'])", lambda: o.SAGEConv(C, C, aggr=["mean", "std"])),
    Case("GraphConv", lambda: o.GraphConv(C, C), _weights),
    Case("GraphConv(aggr='mean')", lambda: o.GraphConv(C, C, aggr="mean")),
    Case("GatedGraphConv", lambda: o.GatedGraphConv(C, 2)),
    Case("ResGatedGraphConv", lambda: o.ResGatedGraphConv(C, C, edge_dim=2), _attributes),
    Case("GATConv", lambda: o.GATConv(C, C, heads=2, edge_dim=2), _attributes),
    Case("GATConv(add_self_loops=False)", lambda: o.GATConv(C, C, add_self_loops=False)),
    Case("GATv2Conv", lambda: o.GATv2Conv(C, C, heads=2, edge_dim=2), _attributes),
    Case("TransformerConv", lambda: o.TransformerConv(C, C, heads=2, beta=True, edge_dim=2),
         _attributes),
    Case("AGNNConv", lambda: o.AGNNConv()),
    Case("TAGConv", lambda: o.TAGConv(C, C)),
    Case("GINConv", lambda: o.GINConv(_mlp(C), train_eps=True)),
    Case("GINEConv", lambda: o.GINEConv(_mlp(C), edge_dim=2), _attributes),
    Case("ARMAConv", lambda: o.ARMAConv(C, C, num_stacks=2, num_layers=2)),
    Case("SGConv", lambda: o.SGConv(C, C, K=2)),
    Case("SSGConv", lambda: o.SSGConv(C, C, alpha=0.1, K=2)),
    Case("APPNP", lambda: o.APPNP(K=3, alpha=0.1), _weights),
    Case("MFConv", lambda: o.MFConv(C, C)),
    Case("RGCNConv", lambda: o.RGCNConv(C, C, 3, num_bases=2), _types),
    Case("RGCNConv(num_blocks=2)", lambda: o.RGCNConv(C, C, 3, num_blocks=2), _types),
    Case("RGCNConv(aggr='max')", lambda: o.RGCNConv(C, C, 3, aggr="max"), _types),
    Case("FastRGCNConv", lambda: o.FastRGCNConv(C, C, 3, num_bases=2), _types),
    Case("RGATConv", lambda: o.RGATConv(C, C, 3, heads=2), _types),
    Case("RGATConv(within-relation)",
         lambda: o.RGATConv(C, C, 3, attention_mechanism="within-relation", mod="additive"),
         _types),
    Case("RGATConv(mod='f-scaled')", lambda: o.RGATConv(C, C, 3, mod="f-scaled"), _types),
    Case("SignedConv", lambda: o.SignedConv(C, C, first_aggr=True),
         lambda conv, d: conv(d.x, *d.edges), relations=2),
    Case("DNAConv", lambda: o.DNAConv(C, heads=2),
         lambda conv, d: conv(torch.stack([d.x, d.x.flip(1)], 1), d.edge_index)),
    Case("PointNetConv", lambda: o.PointNetConv(_mlp(C + 3), _mlp(C)), _points),
    Case("PointNetConv(aggr='add')", lambda: o.PointNetConv(_mlp(C + 3), aggr="add"), _points),
    Case("GMMConv", lambda: o.GMMConv(C, C, dim=2, kernel_size=3), _attributes),
    Case("NNConv", lambda: o.NNConv(C, C, _mlp(2, C * C), aggr="mean"), _attributes),
    Case("CGConv", lambda: o.CGConv(C, dim=2), _attributes),
    Case("EdgeConv", lambda: o.EdgeConv(_mlp(2 * C))),
    Case("EdgeConv(aggr='add')", lambda: o.EdgeConv(_mlp(2 * C), aggr="add")),
    Case("PPFConv", lambda: o.PPFConv(_mlp(C + 4), _mlp(C)),
         lambda conv, d: conv(d.x, d.pos, d.normal, d.edge_index)),
    Case("FeaStConv", lambda: o.FeaStConv(C, C, heads=2)),
    Case("PointTransformerConv", lambda: o.PointTransformerConv(C, C), _points),
    Case("HypergraphConv", lambda: o.HypergraphConv(C, C),
         lambda conv, d: conv(d.x, d.edge_index, num_edges=N)),
    Case("HypergraphConv(use_attention=True)",
         lambda: o.HypergraphConv(C, C, use_attention=True, heads=2),
         lambda conv, d: conv(d.x, d.edge_index, hyperedge_attr=d.pos_wide, num_edges=N)),
    Case("LEConv", lambda: o.LEConv(C, C), _weights),
    Case("PNAConv", lambda: o.PNAConv(C, C, ["mean", "min", "max", "std"],
                                      ["identity", "amplification", "attenuation"], DEG,
                                      edge_dim=2), _attributes),
    Case("PNAConv(mean, std; linear)", lambda: o.PNAConv(C, C, ["mean", "sum", "std", "var"],
                                      ["identity", "linear", "inverse_linear"], DEG)),
    Case("ClusterGCNConv", lambda: o.ClusterGCNConv(C, C, diag_lambda=0.5)),
    Case("GENConv", lambda: o.GENConv(C, C, norm="layer", learn_t=True, edge_dim=2), _attributes),
    Case("GENConv(aggr=PowerMeanAggregation(2, learn=True))",
         lambda: o.GENConv(C, C, a.PowerMeanAggregation(2.0, True), norm="layer"), _positive),
    Case("GCN2Conv", lambda: o.GCN2Conv(C, alpha=0.2, theta=0.5, layer=1),
         lambda conv, d: conv(d.x, d.x.flip(0), d.edge_index)),
    Case("WLConvContinuous", lambda: o.WLConvContinuous()),
    Case("WLConvContinuous, weights", lambda: o.WLConvContinuous(), _weights),
    Case("FiLMConv", lambda: o.FiLMConv(C, C, num_relations=3), _types),
    Case("SuperGATConv", lambda: o.SuperGATConv(C, C, heads=2)),
    Case("FAConv", lambda: o.FAConv(C),
         lambda conv, d: conv(d.x, d.x.flip(0), d.edge_index)),
    Case("EGConv", lambda: o.EGConv(C, C, ["sum", "mean", "symnorm", "var"], num_heads=2)),
    Case("EGConv(aggregators=['max', 'symnorm'])",
         lambda: o.EGConv(C, C, ["max", "symnorm"], num_heads=2)),
    Case("PDNConv", lambda: o.PDNConv(C, C, edge_dim=2, hidden_channels=3), _attributes),
    Case("GeneralConv", lambda: o.GeneralConv(C, C, in_edge_channels=2), _attributes),
    Case("GeneralConv(attention=True)",
         lambda: o.GeneralConv(C, C, attention=True, heads=2, directed_msg=False)),
    Case("HGTConv", lambda: o.HGTConv(C, C, METADATA, heads=2), _hetero, relations=2),
    Case("HEATConv", lambda: o.HEATConv(C, C, 2, 3, 2, 2, 2, heads=2),
         lambda conv, d: conv(d.x, d.edge_index, torch.arange(N) % 2, d.edge_type, d.edge_attr)),
    Case("HeteroConv", lambda: o.HeteroConv(
        {TYPES[0]: o.SAGEConv(C, C), TYPES[1]: o.GATConv(C, C, add_self_loops=False)}),
        _hetero, relations=2),
    Case("HANConv", lambda: o.HANConv(C, C, METADATA, heads=2), _hetero, relations=2),
    Case("LGConv", lambda: o.LGConv()),
    Case("PointGNNConv", lambda: o.PointGNNConv(_mlp(C, 3), _mlp(C + 3), _mlp(C)), _points),
    Case("PointGNNConv(aggr='add')",
         lambda: o.PointGNNConv(_mlp(C, 3), _mlp(C + 3), _mlp(C), aggr="add"), _points),
    Case("GPSConv", lambda: o.GPSConv(C, o.GINConv(_mlp(C)), heads=2, norm="layer_norm")),
    Case("AntiSymmetricConv", lambda: o.AntiSymmetricConv(C, num_iters=2)),
    Case("DirGNNConv", lambda: o.DirGNNConv(o.SAGEConv(C, C))),
    Case("SplineConv", _spline, _attributes),
    Case("MixHopConv", lambda: o.MixHopConv(C, C, powers=[0, 1, 2])),
]  # fmt: skip


def _aggregation(name, make, **how):
    """An operator that does nothing but aggregate."""
    return Case(name, lambda: o.SimpleConv(aggr=make()), **how)


AGGREGATIONS = [
    _aggregation("SumAggregation", lambda: a.SumAggregation()),
    _aggregation("MeanAggregation", lambda: a.MeanAggregation(), is_mean=True),
    _aggregation("MaxAggregation", lambda: a.MaxAggregation()),
    _aggregation("MinAggregation", lambda: a.MinAggregation()),
    _aggregation("MulAggregation", lambda: a.MulAggregation()),
    _aggregation("VarAggregation", lambda: a.VarAggregation(), is_mean=True),
    _aggregation("StdAggregation", lambda: a.StdAggregation(), is_mean=True),
    _aggregation("SoftmaxAggregation", lambda: a.SoftmaxAggregation(learn=True), is_mean=True),
    _aggregation("PowerMeanAggregation", lambda: a.PowerMeanAggregation(2.0, True),
                 call=_positive, is_mean=True),
    _aggregation("MedianAggregation", lambda: a.MedianAggregation(),
                 needs_edges=True),
    _aggregation("QuantileAggregation", lambda: a.QuantileAggregation(0.3),
                 needs_edges=True),
    _aggregation("MultiAggregation",
                 lambda: a.MultiAggregation(["mean", "std", "var"], mode="sum"), is_mean=True),
    _aggregation("MultiAggregation(with max)",
                 lambda: a.MultiAggregation(["mean", "max", "median"], mode="sum"),
                 needs_edges=True),
    _aggregation("DegreeScalerAggregation", lambda: a.DegreeScalerAggregation(
        ["mean", "sum"], ["identity", "amplification", "attenuation"], DEG)),
    _aggregation("LSTMAggregation", lambda: a.LSTMAggregation(C, C), sorts=True, needs_edges=True),
    _aggregation("GRUAggregation", lambda: a.GRUAggregation(C, C), sorts=True, needs_edges=True),
    _aggregation("Set2Set", lambda: a.Set2Set(C, 2)),
    _aggregation("SortAggregation", lambda: a.SortAggregation(2), sorts=True, needs_edges=True),
    _aggregation("GraphMultisetTransformer",
                 lambda: a.GraphMultisetTransformer(C, 2, heads=2), sorts=True, needs_edges=True),
    _aggregation("AttentionalAggregation",
                 lambda: a.AttentionalAggregation(nn.Linear(C, 1), _mlp(C)), is_mean=True),
    _aggregation("MLPAggregation",
                 lambda: a.MLPAggregation(C, C, 24, num_layers=1),
                 sorts=True, needs_edges=True),
    _aggregation("DeepSetsAggregation", lambda: a.DeepSetsAggregation(_mlp(C), _mlp(C))),
    _aggregation("SetTransformerAggregation",
                 lambda: a.SetTransformerAggregation(C, heads=2), sorts=True, needs_edges=True),
    _aggregation("LCMAggregation", lambda: a.LCMAggregation(C, C), sorts=True, needs_edges=True),
    _aggregation("VariancePreservingAggregation", lambda: a.VariancePreservingAggregation()),
    _aggregation("PatchTransformerAggregation", lambda: a.PatchTransformerAggregation(
        C, C, patch_size=2, hidden_channels=C, num_transformer_blocks=1, heads=2),
                 sorts=True, needs_edges=True),
    _aggregation("EquilibriumAggregation", lambda: a.EquilibriumAggregation(
        C, C, num_layers=[3], grad_iter=2)),
]  # fmt: skip
REFUSED = (
    "CuGraphSAGEConv", "CuGraphGATConv", "CuGraphRGCNConv", "FusedGATConv", "GravNetConv",
    "DynamicEdgeConv", "XConv", "PANConv", "WLConv", "MeshCNNConv",
)  # fmt: skip


def graph(kind: str, sorts: bool = False, generator: int = 0) -> torch.Tensor:
    """An edge_index [2, E] of N nodes, whose last is isolated but for loops."""
    draw = torch.Generator().manual_seed(generator)
    pairs = torch.cartesian_prod(torch.arange(N - 1), torch.arange(N - 1))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    edges = pairs[torch.randperm(len(pairs), generator=draw)[:22]].T
    loops = torch.arange(N)[torch.randperm(N, generator=draw)].expand(2, N)
    if kind == "loops":
        edges = torch.cat([edges[:, :4], loops[:, :3], edges[:, 4:]], 1)
    elif kind == "duplicates":
        edges = torch.cat([edges, edges[:, 2:5], loops[:, :2], loops[:, :2]], 1)
    elif kind == "N loops":
        edges = torch.cat([loops, edges], 1)
    elif kind == "N = E":
        edges = torch.cat([edges[:, : N - 2], loops[:, :2]], 1)
    elif kind == "edgeless":
        edges = edges[:, :0]
    return edges[:, edges[1].argsort(stable=True)] if sorts else edges


GRAPHS = ("plain", "loops", "duplicates", "N loops", "N = E", "edgeless")


def example(case: Case, kind: str, dtype: torch.dtype = torch.float64) -> SimpleNamespace:
    """What a case is called with, on a graph of `kind`."""
    draw = torch.Generator().manual_seed(1)
    edges = [graph(kind, case.sorts, number) for number in range(case.relations)]
    if case.needs_edges:
        first, last = torch.tensor([[1], [0]]), torch.tensor([[0], [N - 1]])
        edges = [torch.cat([first, e, last], 1) for e in edges]
    count = edges[0].size(1)

    def normal(*size):
        return torch.randn(*size, generator=draw, dtype=torch.float64).to(dtype)

    return SimpleNamespace(
        x=normal(N, C), edges=edges, edge_index=edges[0], pos=normal(N, 3), normal=normal(N, 3),
        pos_wide=normal(N, C), edge_attr=normal(count, 2), edge_weight=normal(count).abs() + 0.2,
        edge_type=torch.randint(0, 3, (count,), generator=draw),
    )  # fmt: skip


def without(d: SimpleNamespace, kept: list[torch.Tensor]) -> SimpleNamespace:
    """The same without the columns that are not `kept` [E], a tensor for each relation."""
    edges = [e[:, k] for e, k in zip(d.edges, kept, strict=True)]
    part = {n: getattr(d, n)[kept[0]] for n in ("edge_attr", "edge_weight", "edge_type")}
    return SimpleNamespace(**{**vars(d), **part, "edges": edges, "edge_index": edges[0]})


def names() -> list[str]:
    """The operators and aggregations of the installed PyG."""
    return [*operators.classes, *aggregations.classes]


PAGE = Path(__file__).parents[1] / "docs" / "engine" / "operators.md"
LABELS = {"exact": "exact", "removal": "removal only", "refused": "refused"}
START, END = "<!-- table -->\n", "<!-- end of the table -->\n"


def kind(case: Case) -> Support:
    """How an instance can be masked: as the operator in it that follows least."""
    found = [operator_support(module) for module in case.make().modules()]
    return max(found, key=lambda support: [*LABELS].index(support.kind))


def table() -> str:
    """The table of the documentation."""
    lines = ["| operator | masks | why |", "|-|-|-|"]
    for case in sorted([*CASES, *AGGREGATIONS], key=lambda case: case.name.lower()):
        support = kind(case)
        lines.append(f"| `{case.name}` | {LABELS[support.kind]} | {support.reason} |")
    for name in sorted(REFUSED, key=str.lower):
        lines.append(f"| `{name}` | refused | {REASONS[name]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = PAGE.read_text()
    head, rest = text.split(START)
    PAGE.write_text(head + START + table() + END + rest.split(END)[1])
