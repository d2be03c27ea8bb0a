"""Operators with kernels behind them: the same as without, and as PyG on the graph that is left."""

import pytest
import torch
from matrices import close
from torch import nn
from torch_geometric.nn import conv as pyg
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import remove_self_loops, softmax

from graphlth.message_passing import GraphCache, context, masked_edges, norm, operator
from graphlth.message_passing.kernels import EDGE_KERNELS, KERNELS, Scores
from graphlth.scores.weights.grasp import refuse_single_derivatives

N = 7
PLAIN = torch.tensor([[0, 1, 2, 0, 4, 5, 5, 1, 2, 6], [1, 2, 0, 4, 0, 1, 2, 5, 5, 1]])
LOOPS = torch.cat([PLAIN[:, :6], torch.arange(N).expand(2, -1)], dim=1)  # exactly N of them
DOUBLES = torch.cat([PLAIN, PLAIN[:, :4], torch.tensor([[3], [3]])], dim=1)
N_EDGES = PLAIN[:, :N]  # as many edges as nodes
GRAPHS = {"plain": PLAIN, "loops": LOOPS, "doubles": DOUBLES, "N = E": N_EDGES}
CONVS = {
    "GCN": lambda: pyg.GCNConv(3, 4),
    "GCN, improved": lambda: pyg.GCNConv(3, 4, improved=True),
    "GCN, no loops": lambda: pyg.GCNConv(3, 4, add_self_loops=False),
    "GCN, not normalised": lambda: pyg.GCNConv(3, 4, normalize=False),
    "GCN, mean": lambda: pyg.GCNConv(3, 4, aggr="mean"),
    "GCN, reversed": lambda: pyg.GCNConv(3, 4, flow="target_to_source"),
    "SAGE": lambda: pyg.SAGEConv(3, 4),
    "SAGE, sum": lambda: pyg.SAGEConv(3, 4, aggr="sum", normalize=True),
    "SAGE, reversed": lambda: pyg.SAGEConv(3, 4, flow="target_to_source"),
    "GIN": lambda: pyg.GINConv(nn.Linear(3, 4), train_eps=True),
    "GraphConv": lambda: pyg.GraphConv(3, 4),
    "GraphConv, mean": lambda: pyg.GraphConv(3, 4, aggr="mean"),
    "GAT": lambda: pyg.GATConv(3, 4, 2),
    "GAT, no loops": lambda: pyg.GATConv(3, 4, 3, concat=False, add_self_loops=False),
    "GAT, reversed": lambda: pyg.GATConv(3, 4, 2, flow="target_to_source"),
    "GATv2": lambda: pyg.GATv2Conv(3, 4, 2, residual=True),
    "GATv2, shared": lambda: pyg.GATv2Conv(3, 4, share_weights=True, add_self_loops=False),
    "GATv2, reversed": lambda: pyg.GATv2Conv(3, 4, 2, flow="target_to_source"),
    "TAG": lambda: pyg.TAGConv(3, 4, K=2),
    "SG": lambda: pyg.SGConv(3, 4, K=2),
    "SSG": lambda: pyg.SSGConv(3, 4, alpha=0.1, K=2),
    "APPNP": lambda: pyg.APPNP(K=3, alpha=0.1),
    "GCN2": lambda: Twice(pyg.GCN2Conv(3, alpha=0.1)),
    "LG": lambda: pyg.LGConv(),
    "MixHop": lambda: pyg.MixHopConv(3, 4),
    "GatedGraph": lambda: pyg.GatedGraphConv(4, 2),
}  # fmt: skip


class Twice(nn.Module):
    """GCN2, which is given the first features too."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x, edge_index):
        return self.conv(x, x, edge_index)


def make(name):
    torch.manual_seed(0)
    conv = CONVS[name]().double()
    with torch.no_grad():
        for p in conv.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return conv


def features(seed=1):
    return torch.randn(N, 3, generator=torch.Generator().manual_seed(seed)).double()


def gradients(conv, edge_index, weight, x=None, leaf=None):
    """The output under a weight, if there is one, and gradients to weight, `x` and parameters."""
    x = features().requires_grad_() if x is None else x
    pairs = [] if weight is None else [(edge_index, weight)]
    with masked_edges(conv, pairs):
        out = conv(x, edge_index)
    pick = torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).to(out)
    leaves = [x, *conv.parameters()] if weight is None else [weight, x, *conv.parameters()]
    grads = torch.autograd.grad((out * pick).sum(), leaves, allow_unused=True)
    return out, [
        torch.zeros_like(t) if g is None else g for g, t in zip(grads, leaves, strict=True)
    ]


def random_weight(count, *, zeros=True, seed=5):
    draw = torch.Generator().manual_seed(seed)
    weight = torch.rand(count, generator=draw).double() + 0.1
    weight[1::3] = 0 if zeros else 1
    return weight.requires_grad_()


@pytest.fixture
def without_kernels(monkeypatch):
    def turn_off():
        monkeypatch.setattr(operator, "find_kernel", lambda kernels, conv: None)
        monkeypatch.setattr(context, "_MASKED", {softmax: context._MASKED[softmax]})

    return turn_off


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", CONVS)
def test_a_kernel_computes_what_the_operator_does(name, graph, without_kernels):
    conv, edge_index = make(name), GRAPHS[graph]
    weight = random_weight(edge_index.size(1))
    out, found = gradients(conv, edge_index, weight)
    without_kernels()
    expected, plain = gradients(conv, edge_index, weight)
    close(out, expected)
    for a, b in zip(found, plain, strict=True):
        close(a, b)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", CONVS)
def test_a_zero_is_an_edge_that_pyg_does_not_have(name, graph):
    conv, edge_index = make(name), GRAPHS[graph]
    kept = torch.arange(edge_index.size(1)) % 3 != 1
    weight = kept.double().requires_grad_()
    out, (to_weight, *found) = gradients(conv, edge_index, weight)
    x = features().requires_grad_()
    expected = conv(x, edge_index[:, kept])
    pick = torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).to(out)
    leaves = [x, *conv.parameters()]
    plain = torch.autograd.grad((expected * pick).sum(), leaves, allow_unused=True)
    close(out, expected)
    for a, b in zip(found, plain, strict=True):
        close(a, torch.zeros_like(a) if b is None else b)
    assert to_weight.isfinite().all()


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", ["GCN", "GCN, improved", "GCN, no loops", "GCN, reversed"])
def test_weights_of_its_own_are_normalised_with_the_mask(name, graph, without_kernels):
    conv, edge_index, found = make(name), GRAPHS[graph], []
    weight = random_weight(edge_index.size(1))
    own = random_weight(edge_index.size(1), zeros=False, seed=6)
    for turn_off in (lambda: None, without_kernels):
        turn_off()
        with masked_edges(conv, [(edge_index, weight)]):
            out = conv(features(), edge_index, own)
        found.append([out, *torch.autograd.grad(out.square().sum(), [weight, own])])
    for a, b in zip(*found, strict=True):
        close(a, b)
    kept = weight.detach() != 0
    expected = conv(features(), edge_index[:, kept], own[kept])
    with masked_edges(conv, [(edge_index, kept.double())]):
        close(conv(features(), edge_index, own), expected)


@pytest.mark.parametrize("graph", ["plain", "loops"])
@pytest.mark.parametrize("name", ["GCN", "SAGE", "GAT", "GATv2"])
def test_a_pass_without_gradients_takes_none_from_the_next(name, graph):
    conv, edge_index = make(name), GRAPHS[graph]
    weight = random_weight(edge_index.size(1))
    with masked_edges(conv, [(edge_index, weight)]):
        with torch.no_grad():
            expected = conv(features(), edge_index)
        out = conv(features(), edge_index)
    close(out, expected)
    (found,) = torch.autograd.grad(out.square().sum(), weight)
    with masked_edges(conv, [(edge_index, weight)]):
        again = conv(features(), edge_index)
    close(found, torch.autograd.grad(again.square().sum(), weight)[0])


@pytest.mark.parametrize("name", ["GCN", "SAGE", "GAT", "GATv2"])
def test_edges_that_change_in_place_are_read_anew(name):
    conv, cache, edge_index = make(name), GraphCache(), LOOPS.clone()
    weight = random_weight(edge_index.size(1))
    for ends in (LOOPS, LOOPS.flip(0), DOUBLES[:, : LOOPS.size(1)]):
        edge_index.copy_(ends)
        with masked_edges(conv, [(edge_index, weight)], cache):
            found = conv(features(), edge_index)
        with masked_edges(conv, [(ends, weight)]):
            close(found, conv(features(), ends))


class Spoiler(nn.Module):
    """Takes the loops that GAT adds, and writes over them."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x, edge_index):
        out, (looped, _) = self.conv(x, edge_index, return_attention_weights=True)
        looped.zero_()
        return out


class OwnLoops(nn.Module):
    """Removes loops itself, and writes over what it has then."""

    def forward(self, x, edge_index):
        edge_index, _ = remove_self_loops(edge_index)
        out = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])
        edge_index.zero_()
        return out


@pytest.mark.parametrize("graph", ["plain", "loops"])
def test_a_model_may_write_over_what_it_makes_of_the_edges(graph):
    edge_index, cache = GRAPHS[graph].clone(), GraphCache()
    weight = random_weight(edge_index.size(1))
    for _ in range(3):
        with masked_edges(OwnLoops(), [(edge_index, weight)], cache):
            out = OwnLoops()(features(), edge_index)
        assert torch.equal(edge_index, GRAPHS[graph])
        m = weight * (edge_index[0] != edge_index[1])
        x = features()
        expected = torch.zeros_like(x).index_add(0, edge_index[1], m[:, None] * x[edge_index[0]])
        close(out, expected)


@pytest.mark.parametrize("graph", ["plain", "loops"])
def test_a_model_may_write_over_the_edges_that_it_is_given_back(graph):
    model, cache, edge_index = Spoiler(make("GAT")), GraphCache(), GRAPHS[graph]
    weight, found = random_weight(edge_index.size(1)), []
    for _ in range(3):
        with masked_edges(model, [(edge_index, weight)], cache):
            found.append(model(features(), edge_index))
            close(model(features(), edge_index), found[0])
    close(found[0], found[2])


def test_masks_within_masks_multiply():
    net = nn.ModuleList([make("GCN"), make("GAT")])
    one, other = random_weight(PLAIN.size(1)), random_weight(PLAIN.size(1), zeros=False, seed=6)
    for conv in net:
        with masked_edges(net, [(PLAIN, one * other)]):
            expected = conv(features(), PLAIN)
        with masked_edges(net, [(PLAIN, one)]):
            with masked_edges(net, [(PLAIN, other)]):
                close(conv(features(), PLAIN), expected)
            inside = conv(features(), PLAIN)
        with masked_edges(net, [(PLAIN, one)]):
            close(conv(features(), PLAIN), inside)
    assert vars(pyg.gcn_conv)["gcn_norm"] is gcn_norm
    assert vars(pyg.gat_conv)["softmax"] is softmax


def test_layers_share_what_is_normalised(monkeypatch):
    net, counts = nn.ModuleList([make("GCN"), pyg.GCNConv(4, 4).double(), make("SG")]), []
    plain = norm._normalise
    monkeypatch.setattr(norm, "_normalise", lambda *given: counts.append(1) or plain(*given))
    for seed in (5, 6):
        with masked_edges(net, [(PLAIN, random_weight(PLAIN.size(1), seed=seed))]):
            out = net[1](net[0](features(), PLAIN), PLAIN)
            net[2](features(), PLAIN)
            with torch.no_grad():
                close(net[1](net[0](features(), PLAIN), PLAIN), out)
    assert len(counts) == 4  # twice a pass: with gradients and without


@pytest.mark.parametrize("name", CONVS)
def test_kernels_are_used(name, monkeypatch):
    used = []
    find = operator.find_kernel

    def watched(kernels, conv):
        kernel = find(kernels, conv)

        def call(*args):
            out = kernel(*args)
            used.append(out is not None)
            return out

        return kernel and call

    monkeypatch.setattr(operator, "find_kernel", watched)
    gradients(make(name), PLAIN, random_weight(PLAIN.size(1)))
    assert used
    assert all(used)


@pytest.mark.parametrize("kind", [pyg.GATConv, pyg.GATv2Conv])
def test_dropout_of_attention_draws_what_pyg_draws(kind):
    conv, x = kind(3, 4, 2, dropout=0.5).double(), features()
    torch.manual_seed(4)
    expected = conv(x, PLAIN)
    torch.manual_seed(4)
    with masked_edges(conv, [(PLAIN, torch.ones(PLAIN.size(1)).double())]):
        close(conv(x, PLAIN), expected)


@pytest.mark.parametrize("kind", [pyg.GATConv, pyg.GATv2Conv])
@pytest.mark.parametrize("by_place", [True, False])
def test_attention_that_is_asked_for_is_a_tensor(kind, by_place):
    conv, x, weight = kind(3, 4, 2).double(), features(), random_weight(PLAIN.size(1))
    with masked_edges(conv, [(PLAIN, weight)]):
        plain = conv(x, PLAIN)
        rest = [None] * (kind is pyg.GATConv)
        asked = (
            conv(x, PLAIN, None, *rest, True) if by_place
            else conv(x, PLAIN, return_attention_weights=True)
        )  # fmt: skip
        out, (_, alpha) = asked
        close(conv(x, PLAIN), plain)
    close(out, plain)
    assert alpha.shape == (PLAIN.size(1) + N, 2)


@pytest.mark.parametrize("kind", [pyg.GATConv, pyg.GATv2Conv])
def test_edge_attributes_are_scored(kind, without_kernels):
    conv, weight = kind(3, 4, 2, edge_dim=2).double(), random_weight(PLAIN.size(1))
    attributes = torch.randn(PLAIN.size(1), 2).double()
    found = []
    for turn_off in (lambda: None, without_kernels):
        turn_off()
        with masked_edges(conv, [(PLAIN, weight)]):
            found.append(conv(features(), PLAIN, attributes))
    close(*found)
    with masked_edges(conv, [(PLAIN, weight)]):
        assert (conv(features(), PLAIN) - found[0]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["SAGE", "GIN", "GraphConv", "GAT", "GATv2"])
def test_sources_and_targets_may_be_other_nodes(name, without_kernels):
    torch.manual_seed(0)
    kinds = {
        "SAGE": lambda: pyg.SAGEConv((3, 5), 4), "GraphConv": lambda: pyg.GraphConv((3, 5), 4),
        "GIN": lambda: pyg.GINConv(nn.Linear(3, 4)),
        "GAT": lambda: pyg.GATConv((3, 5), 4, add_self_loops=False),
        "GATv2": lambda: pyg.GATv2Conv((3, 5), 4, add_self_loops=False),
    }  # fmt: skip
    conv, weight = kinds[name]().double(), random_weight(PLAIN.size(1))
    ends = features(), torch.randn(N + 2, 3 if name == "GIN" else 5).double()
    found = []
    for turn_off in (lambda: None, without_kernels):
        turn_off()
        with masked_edges(conv, [(PLAIN, weight)]):
            found.append(conv(ends, PLAIN))
    close(*found)


def test_what_looks_into_messages_is_not_passed_by():
    conv, seen = pyg.GINConv(nn.Identity()).double(), []
    conv.register_message_forward_hook(lambda *args: seen.append(args[-1].shape))
    with masked_edges(conv, [(PLAIN, random_weight(PLAIN.size(1)))]):
        conv(features(), PLAIN)
    assert seen == [(PLAIN.size(1), 3)]


@pytest.mark.parametrize("name", CONVS)
def test_messages_of_the_backend_reference_can_be_differentiated_twice(name):
    conv, x, weight = make(name), features().requires_grad_(), random_weight(PLAIN.size(1))
    for part in conv.modules():
        part.backend = "reference"
    with masked_edges(conv, [(PLAIN, weight)]):
        out = conv(x, PLAIN)
    (slope,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    refuse_single_derivatives(slope.sum())


class Doubled(pyg.GINConv):
    def message(self, x_j):
        return 2 * x_j


def test_a_derived_operator_keeps_its_messages():
    conv, weight = Doubled(nn.Identity()).double(), torch.ones(PLAIN.size(1)).double()
    with masked_edges(conv, [(PLAIN, weight)]):
        close(conv(features(), PLAIN), conv(features(), PLAIN))
    x = features()
    with masked_edges(conv, [(PLAIN, weight)]):
        close(conv(x, PLAIN) - x, 2 * torch.zeros_like(x).index_add(0, PLAIN[1], x[PLAIN[0]]))


def test_every_kernel_is_tested():
    tested = {type(m) for name in CONVS for m in make(name).modules()}
    assert KERNELS.keys() <= tested
    assert EDGE_KERNELS.keys() <= KERNELS.keys()
    assert Scores._fields == ("ends", "keep", "weight")
