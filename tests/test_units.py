"""Models of a user's own lose their dead units, and compute what they computed."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import (
    APPNP,
    GAT,
    GCN,
    GIN,
    PNA,
    BatchNorm,
    GATConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    GraphConv,
    GraphSAGE,
    SAGEConv,
    TransformerConv,
    global_mean_pool,
)

from graphlth.compaction.smaller import remove_units

N, FEATURES, HIDDEN, CLASSES = 20, 12, 8, 3
DRAW = torch.Generator().manual_seed(0)
X = torch.randn(N, FEATURES, generator=DRAW)
EDGES = torch.randint(0, N - 2, (2, 60), generator=DRAW)  # the last two nodes are alone


def gin_conv(a, b):
    return GINConv(nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, b)), train_eps=True)


class Residual(nn.Module):
    """Two convolutions with norms, a residual stream, jumping knowledge and a head."""

    def __init__(self, conv, norm=True):
        super().__init__()
        self.first = nn.Linear(FEATURES, HIDDEN)
        self.convs = nn.ModuleList([conv(HIDDEN, HIDDEN) for _ in range(2)])
        self.norms = nn.ModuleList(
            [nn.BatchNorm1d(HIDDEN), BatchNorm(HIDDEN)] if norm else [nn.Identity()] * 2
        )
        self.head = nn.Sequential(nn.Linear(2 * HIDDEN, HIDDEN), nn.ReLU(),
                                  nn.Linear(HIDDEN, CLASSES))  # fmt: skip

    def forward(self, x, edge_index):
        h = self.first(x).relu()
        every = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.dropout(norm(conv(h, edge_index)).relu(), 0.5, self.training) + h
            every.append(h)
        return self.head(torch.cat(every, -1))


class Plain(nn.Module):
    def __init__(self, conv, **settings):
        super().__init__()
        self.a = conv(FEATURES, HIDDEN, **settings)
        self.b = conv(HIDDEN, HIDDEN, **settings)
        self.c = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x, edge_index):
        return self.c(F.elu(self.b(F.elu(self.a(x, edge_index)), edge_index)))


class Heads(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.a = conv(FEATURES, 2, heads=4)
        self.b = conv(8, 2, heads=4)
        self.c = conv(8, CLASSES, heads=1)

    def forward(self, x, edge_index):
        h = F.elu(self.a(x, edge_index))
        return self.c(F.elu(self.b(h, edge_index)), edge_index)


class Propagated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, CLASSES)
        self.p = APPNP(3, 0.1)

    def forward(self, x, edge_index):
        return self.p(self.b(self.a(x).relu()), edge_index)


class OfGraphs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = gin_conv(FEATURES, HIDDEN), nn.Linear(HIDDEN, CLASSES)

    def forward(self, x, edge_index):
        return self.b(global_mean_pool(self.a(x, edge_index), torch.arange(N) // 5))


def kill(model, share=0.4, biases=True, seed=0):
    """Set rows and columns of weights to 0, and the biases of some units."""
    draw = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-0.5, 0.5, generator=draw)
            module.running_var.uniform_(0.5, 2, generator=draw)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p[torch.rand(p.size(0), generator=draw) < share] = 0
                p[:, torch.rand(p.size(1), generator=draw) < share] = 0
            elif p.dim() == 1 and biases:
                p[torch.rand(p.size(0), generator=draw) < share] = 0
    return model.eval()


def shrink(model, edges=EDGES):
    return remove_units(model, lambda m, inputs: m(inputs[""], edges), {"": X})


def select(small, x):
    return x if small.features[""] is None else x[:, small.features[""]]


def size(model):
    return sum(p.numel() for p in model.parameters())


MODELS = {  # the model, and whether hidden units of it go
    "gcn": (lambda: Residual(GCNConv), True),
    "sage": (lambda: Residual(SAGEConv), True),
    "sage max": (lambda: Residual(lambda a, b: SAGEConv(a, b, aggr="max"), norm=False), True),
    "gin": (lambda: Residual(gin_conv, norm=False), True),
    "graphconv": (lambda: Residual(GraphConv, norm=False), True),
    "a chain": (lambda: Plain(GCNConv), True),
    "PyG's GCN": (lambda: GCN(FEATURES, HIDDEN, 3, CLASSES, jk="cat", norm="batch_norm"), True),
    "PyG's GraphSAGE": (lambda: GraphSAGE(FEATURES, HIDDEN, 3, CLASSES), True),
    "PyG's GIN": (lambda: GIN(FEATURES, HIDDEN, 3, CLASSES, jk="max"), True),
    "PyG's GAT": (lambda: GAT(FEATURES, HIDDEN, 3, CLASSES, heads=4), False),
    "PyG's PNA": (lambda: PNA(FEATURES, HIDDEN, 2, CLASSES, aggregators=["mean", "max"],
                              scalers=["identity"], deg=torch.tensor([1, 2, 3])), False),
    "layer norm": (lambda: GIN(FEATURES, HIDDEN, 3, CLASSES, norm="layer_norm"), False),
    "APPNP": (Propagated, True),
    "a read-out": (OfGraphs, True),
}  # fmt: skip


@pytest.mark.parametrize(("build", "goes"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_smaller_model_computes_the_same_on_every_graph(build, goes, seed):
    torch.manual_seed(seed)
    model = kill(build().double(), seed=seed)
    small = shrink(model)
    assert goes <= (sum(small.removed.values()) > 0)
    for edges in (EDGES, EDGES.flip(0)[:, :7], EDGES[:, :0]):
        x = torch.randn(N, FEATURES, generator=DRAW, dtype=torch.float64)
        close(small.model(select(small, x), edges), model(x, edges))
    assert not any("computes something else" in why for why in small.whole.values())


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("build", [v[0] for v in MODELS.values()], ids=MODELS)
def test_they_are_equal_when_statistics_are_renewed(build):
    torch.manual_seed(0)
    model = kill(build().double())
    small = shrink(model)
    x = torch.randn(N, FEATURES, generator=DRAW, dtype=torch.float64)
    for net, given in ((model, x), (small.model, select(small, x))):
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.train()
                module.momentum = 1.0
        net(given, EDGES)
        net.eval()
    close(small.model(select(small, x), EDGES), model(x, EDGES))


@pytest.mark.parametrize("conv", [GATConv, GATv2Conv, TransformerConv])
def test_whole_heads_of_attention_go(conv):
    torch.manual_seed(0)
    model = Heads(conv).double().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.startswith("a.") and p.dim() < 3:
                p[2:4] = 0  # the second head is 0
            if name.startswith("c.") and p.dim() == 2 and p.size(1) == 8:
                p[:, :2] = 0  # nothing reads the first head
    small = shrink(model)
    assert (small.model.a.heads, small.model.b.heads) == (3, 3)
    close(small.model(select(small, X.double()), EDGES), model(X.double(), EDGES))


def chain(*layers):
    return nn.Sequential(*layers).double()


def dead(model, unit=0):
    """The first layer's `unit` is 0 in every row."""
    with torch.no_grad():
        model[0].weight[unit] = 0
        model[0].bias[unit] = 0
    return model


class Shifted(nn.Module):
    def forward(self, x):
        return x + 1


class Scaled(nn.Module):
    """Divides by the root of the width, which no operation shows."""

    def forward(self, x):
        return x / x.size(-1) ** 0.5


IN, OUT = (lambda: nn.Linear(FEATURES, 4)), (lambda: nn.Linear(4, CLASSES))
CHAINS = [  # the layers between two maps, how many of four units stay, and why if all do
    ([nn.ReLU], 3, ""),
    ([nn.Sigmoid], 3, ""),  # 1/2 everywhere, which moves into the next bias
    ([Shifted, nn.Tanh], 3, ""),
    ([lambda: nn.LayerNorm(4)], 4, "LayerNorm takes its mean over all units"),
    ([lambda: nn.Softmax(-1)], 4, "softmax reads its columns together"),
    ([Scaled], 4, "without dead units it computes something else"),
    ([lambda: nn.BatchNorm1d(4)], 4, ""),  # its statistics may change: the shift may not move
    ([lambda: nn.Unflatten(1, (2, 2)), nn.Flatten], 4, "reads its columns together"),
]  # fmt: skip


@pytest.mark.parametrize(("between", "left", "reason"), CHAINS)
def test_a_unit_that_is_zero_goes_where_that_is_safe(between, left, reason):
    torch.manual_seed(0)
    model = dead(chain(IN(), *(layer() for layer in between), OUT())).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.fill_(0.3)
    small = remove_units(model, lambda m, inputs: m(inputs[""]), {"": X.double()})
    assert small.model[0].weight.size(0) == left
    assert reason in small.whole.get("0.weight", "") and (reason or "0.weight" not in small.whole)
    close(small.model(select(small, X.double())), model(X.double()))


def test_a_constant_moves_into_a_bias_that_is_new():
    model = dead(chain(IN(), nn.ReLU(), nn.Linear(4, CLASSES, bias=False)))
    with torch.no_grad():
        model[0].bias[0] = 2.0
    small = remove_units(model, lambda m, inputs: m(inputs[""]), {"": X.double()})
    assert small.model[2].bias is not None and small.removed == {"0.weight": 1}
    close(small.model(X.double()), model(X.double()))


def test_a_constant_that_is_summed_over_neighbours_stays():
    """Its sum is another number at each node."""
    model = Plain(GraphConv).double().eval()
    with torch.no_grad():
        for p in (model.a.lin_rel.weight, model.a.lin_root.weight):
            p[0] = 0
        model.a.lin_rel.bias[0] = 1.0
    assert shrink(model).removed == {}
    with torch.no_grad():
        model.a.lin_rel.bias[0] = 0.0
    assert shrink(model).removed == {"a.lin_rel.weight": 1, "a.lin_root.weight": 1}


class Tied(nn.Module):
    """One weight reads and makes units, as a decoder that is tied to its encoder does."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(FEATURES, 4, bias=False)

    def forward(self, x):
        return self.a(x).relu() @ self.a.weight


def test_a_weight_that_is_used_twice_keeps_its_units_consistent():
    torch.manual_seed(0)
    shared = nn.Linear(4, 4)
    model = chain(IN(), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(), OUT())
    with torch.no_grad():
        model[0].weight[0] = model[0].bias[0] = shared.weight[0] = shared.bias[0] = 0
    for net in (model, Tied().double()):
        if isinstance(net, Tied):
            net.a.weight.data[1] = 0
        small = remove_units(net, lambda m, inputs: m(inputs[""]), {"": X.double()})
        assert size(small.model) < size(net)
        close(small.model(select(small, X.double())), net(X.double()))


def test_features_that_no_weight_reads_are_not_asked_for():
    model = Plain(GCNConv).double().eval()
    with torch.no_grad():
        model.a.lin.weight[:, [1, 5, 7]] = 0
    assert shrink(model).features[""].tolist() == [0, 2, 3, 4, 6, 8, 9, 10, 11]


def test_a_layer_keeps_a_unit_and_the_model_itself_is_not_changed():
    model = kill(Plain(GCNConv), share=1.1)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    small = shrink(model)
    assert {n: tuple(p.shape) for n, p in small.model.named_parameters() if p.dim() == 2} == {
        "a.lin.weight": (1, 1), "b.lin.weight": (1, 1), "c.weight": (CLASSES, 1),
    }  # fmt: skip
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.dtype == torch.float32 for p in small.model.parameters())
