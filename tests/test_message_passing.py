"""Models run with masked edges: edges are followed, the model stays as it was."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch_geometric import EdgeIndex
from torch_geometric.nn import Sequential, to_hetero
from torch_geometric.nn.conv import (
    EdgeConv,
    GATConv,
    GCNConv,
    GINConv,
    MessagePassing,
    RGCNConv,
    SAGEConv,
    gat_conv,
)
from torch_geometric.nn.models import DeepGCNLayer
from torch_geometric.nn.pool import TopKPooling
from torch_geometric.utils import (
    add_self_loops,
    coalesce,
    degree,
    scatter,
    softmax,
    sort_edge_index,
    to_dense_adj,
)

from graphlth.message_passing import collect_surrogates, masked_edges, operator_support

N = 6
EDGE_INDEX = torch.tensor([[0, 1, 2, 3, 3, 0, 2, 2], [1, 2, 3, 3, 1, 1, 2, 0]])  # loops, a double
WEIGHT = torch.tensor([1, 0, 0.5, 0, 1, 0.2, 1, 0], dtype=torch.float64)
KEPT = WEIGHT != 0


def features(wide=3):
    return torch.randn(N, wide, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def assert_absent(model, *rest, edges=EDGE_INDEX, weight=WEIGHT):
    """With weights 0 the model gives what it gives without these edges."""
    kept = weight != 0
    fewer = edges[:, kept]
    with masked_edges(model, [(edges, weight)]):
        masked = model(features(), edges, *rest)
    with masked_edges(model, [(fewer, weight[kept])]):
        close(masked, model(features(), fewer, *(r[kept] for r in rest)))
    with masked_edges(model, [(edges, kept.double())]):
        close(
            model(features(), edges, *rest), model_without(model, fewer, *(r[kept] for r in rest))
        )


def model_without(model, edges, *rest):
    with masked_edges(model, [(edges, torch.ones(edges.size(1)).double())]):
        masked = model(features(), edges, *rest)
    plain = model(features(), edges, *rest)
    close(masked, plain)
    return plain


class Tutorial(MessagePassing):
    """The layer of PyG's tutorial "Creating message passing networks"."""

    def __init__(self):
        super().__init__(aggr="add")
        self.lin = nn.Linear(3, 3)

    def forward(self, x, edge_index):
        edge_index, _ = add_self_loops(edge_index, num_nodes=x.size(0))
        row, col = edge_index
        deg_inv_sqrt = degree(col, x.size(0), dtype=x.dtype).pow(-0.5)
        deg_inv_sqrt[deg_inv_sqrt == float("inf")] = 0
        return self.propagate(edge_index, x=self.lin(x), norm=deg_inv_sqrt[row] * deg_inv_sqrt[col])

    def message(self, x_j, norm):
        return norm.view(-1, 1) * x_j


class ByHand(nn.Module):
    """No operator of PyG at all."""

    def forward(self, x, edge_index):
        source, target = edge_index
        messages = (x[source] - x[target]).relu()
        total = torch.zeros_like(x).index_add_(0, target, messages)
        count = (
            torch.zeros(len(x)).double().scatter_add(0, target, torch.ones(len(target)).double())
        )
        return total / count.clamp(min=1).unsqueeze(1)


class Rearranging(nn.Module):
    """Sorts, joins, names anew and stacks its edges before it uses them."""

    def __init__(self, ways):
        super().__init__()
        self.ways, self.conv = ways, SAGEConv(3, 3)

    def forward(self, x, edge_index):
        return self.conv(x, self.ways(edge_index))


WAYS = {
    "sorted": lambda e: sort_edge_index(e, num_nodes=N, sort_by_row=False),
    "permuted": lambda e: e[:, torch.arange(e.size(1)).flip(0)],
    "stacked of its rows": lambda e: torch.stack([e[0], e[1]]),
    "reversed": lambda e: e.flip(0),
    "joined with its reverse": lambda e: torch.cat([e, e.flip([0])], dim=1),
    "in two parts": lambda e: torch.cat(e.split(3, dim=1), dim=1),
    "of other nodes": lambda e: torch.arange(N).flip(0)[e],
    "shifted and back": lambda e: (e + 2) - 2,
    "copied": lambda e: e.clone().contiguous().to(torch.int64),
    "without loops": lambda e: e[:, e[0] != e[1]],
    "assigned": lambda e: _assigned(e),
    "transposed": lambda e: e.t().contiguous().t(),
    "by int32": lambda e: e.int().long(),
}


def _assigned(edges):
    edges = edges.clone()
    edges[0] += 1
    edges[0] -= 1
    return edges


@pytest.mark.parametrize("name", WAYS)
def test_edges_are_followed_however_a_model_rearranges_them(name):
    torch.manual_seed(0)
    assert_absent(Rearranging(WAYS[name]).double())


def test_edges_that_come_by_unknown_ways_are_known_by_their_ends():
    edges, weight = coalesce(EDGE_INDEX), torch.tensor([1, 0, 0.3, 0, 1, 1, 0.5]).double()
    anew = Rearranging(lambda e: torch.tensor(e.tolist()).view(2, -1)).double()
    assert_absent(anew, edges=edges, weight=weight)


@pytest.mark.parametrize("conv", [GATConv, GCNConv])
@pytest.mark.parametrize("count", [0, 3])
def test_loops_added_to_edges_of_ones_own_are_no_loops_of_the_data(conv, count):
    torch.manual_seed(0)
    layer = conv(3, 2).double()
    own = torch.tensor([[5, 4, 5], [4, 5, 0]])[:, :count]  # none of them masked
    expected = layer(features(), own)
    with masked_edges(layer, [(EDGE_INDEX, WEIGHT)]):
        close(layer(features(), own.clone()), expected)


def test_an_edge_index_in_the_same_memory_is_the_same():
    assert_absent(Rearranging(lambda e: e.detach().data).double())


@pytest.mark.parametrize("model", [Tutorial, ByHand])
def test_classes_of_ones_own_are_masked_too(model):
    torch.manual_seed(0)
    assert_absent(model().double())


def test_a_dense_adjacency_made_of_the_edges_is_masked():
    class Dense(nn.Module):
        def forward(self, x, edge_index):
            return to_dense_adj(edge_index, max_num_nodes=N)[0].double().t() @ x

    with masked_edges(Dense(), [(EDGE_INDEX, KEPT.double())]):
        masked = Dense()(features(), EDGE_INDEX)
    close(masked, Dense()(features(), EDGE_INDEX[:, KEPT]))


def test_pooling_keeps_the_weights_of_edges_that_stay():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.conv = TopKPooling(3, ratio=4), SAGEConv(3, 3)

        def forward(self, x, edge_index):
            x, edge_index, *_ = self.pool(x, edge_index)
            return self.conv(x, edge_index)

    torch.manual_seed(0)
    assert_absent(Pooled().double())


def test_edges_of_each_type_keep_their_weights():
    torch.manual_seed(0)
    assert_absent(RGCNConv(3, 2, 3).double(), torch.tensor([0, 1, 2, 0, 1, 2, 2, 0]))


def test_batch_norm_within_messages_weighs_edges():
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Tanh())
    conv, other = EdgeConv(mlp, aggr="mean").double(), None
    other = copy.deepcopy(conv)
    with masked_edges(conv, [(EDGE_INDEX, KEPT.double())]):
        masked = conv(features(), EDGE_INDEX)
    close(masked, other(features(), EDGE_INDEX[:, KEPT]))
    for one, two in zip(conv.buffers(), other.buffers(), strict=True):
        close(one, two)


def test_relations_of_a_heterogeneous_model_have_weights_of_their_own():
    torch.manual_seed(0)
    net = Sequential("x, edge_index", [(SAGEConv((-1, -1), 4), "x, edge_index -> x"), nn.ReLU(),
                                       (SAGEConv((-1, -1), 2), "x, edge_index -> x")])  # fmt: skip
    types = [("a", "to", "b"), ("b", "back", "a")]
    model = to_hetero(net, (["a", "b"], types)).double()
    x = {"a": features(), "b": features().flip(0)}
    edges = dict(zip(types, (EDGE_INDEX, EDGE_INDEX.flip(0)), strict=True))
    fewer = {types[0]: EDGE_INDEX[:, KEPT], types[1]: edges[types[1]][:, ::2]}
    weights = KEPT.double(), (torch.arange(8) % 2 == 0).double()
    model(x, edges)  # for its lazy shapes
    with masked_edges(model, list(zip(edges.values(), weights, strict=True))):
        masked = model(x, edges)
    expected = model(x, fewer)
    for kind in ("a", "b"):
        close(masked[kind], expected[kind])


def net():
    torch.manual_seed(0)
    return nn.ModuleList([GATConv(3, 3, heads=2), SAGEConv(6, 3, aggr="max"), GCNConv(3, 2)])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = net()

    def forward(self, x, edge_index):
        for conv in self.convs:
            x = conv(x, edge_index).tanh()
        return x


def traces(model):
    return {name: [*vars(module).items()] for name, module in model.named_modules()}


def test_nothing_stays_on_a_model_not_after_an_error_either():
    model = Net().double()
    expected, before = model(features(), EDGE_INDEX), traces(model)
    for x in (features(), features(5)):
        try:
            with masked_edges(model, [(EDGE_INDEX, WEIGHT)]):
                model(x, EDGE_INDEX)
        except RuntimeError:
            assert x.size(1) == 5
        for name, held in traces(model).items():
            assert [key for key, _ in held] == [key for key, _ in before[name]]
        assert gat_conv.softmax is softmax
        assert torch.equal(model(features(), EDGE_INDEX), expected)


def test_a_model_is_copied_pickled_and_saved_as_ever():
    model = Net().double()
    state = [*model.state_dict()]
    with masked_edges(model, [(EDGE_INDEX, WEIGHT.clone().requires_grad_())]):
        assert [*model.state_dict()] == state
        assert len([*model.parameters()]) == len(state)
        out = model(features(), EDGE_INDEX)
    out.sum().backward()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        close(other(features(), EDGE_INDEX), model(features(), EDGE_INDEX))


def test_contexts_within_contexts_multiply():
    model, other = SAGEConv(3, 2, aggr="sum").double(), torch.rand(8).double()
    with masked_edges(model, [(EDGE_INDEX, WEIGHT)]), masked_edges(model, [(EDGE_INDEX, other)]):
        twice = model(features(), EDGE_INDEX)
    with masked_edges(model, [(EDGE_INDEX, WEIGHT * other)]):
        close(twice, model(features(), EDGE_INDEX))


def test_a_context_is_that_of_its_thread():
    masked, plain, found = Net().double(), Net().double(), []
    expected = plain(features(), EDGE_INDEX)
    with masked_edges(masked, [(EDGE_INDEX, WEIGHT)]):
        thread = threading.Thread(target=lambda: found.append(plain(features(), EDGE_INDEX)))
        thread.start()
        thread.join()
    close(found[0], expected)


LOW = {
    "GCN": lambda: GCNConv(4, 4), "SAGE": lambda: SAGEConv(4, 4), "GAT": lambda: GATConv(4, 4),
    "GIN": lambda: GINConv(nn.Linear(4, 4)),
}  # fmt: skip


@pytest.mark.parametrize("make", LOW.values(), ids=LOW.keys())
def test_under_autocast_messages_keep_their_type_and_sums_are_exact(make):
    """300 messages of 1 add up: in bfloat16 they would stop at 256."""
    torch.manual_seed(0)
    conv, x = make(), torch.ones(301, 4)
    edges = torch.stack([torch.arange(1, 301), torch.zeros(300, dtype=torch.long)])
    weight = torch.ones(300)
    weight[::3] = 0
    with torch.autocast("cpu", torch.bfloat16):
        with masked_edges(conv, [(edges, weight)]):
            masked = conv(x, edges)
        low = conv(x, edges[:, weight != 0])
    assert masked.dtype == low.dtype
    torch.testing.assert_close(masked.float(), conv(x, edges[:, weight != 0]), rtol=0.05, atol=0.05)


def test_sums_of_low_precision_messages_are_in_float32():
    edges = torch.stack([torch.arange(1, 301), torch.zeros(300, dtype=torch.long)])
    conv, x = GINConv(nn.Identity()), torch.ones(301, 1, dtype=torch.bfloat16)
    for add in (conv, ByNothing()):
        with masked_edges(add, [(edges, torch.ones(300))]):
            assert add(x, edges)[0].item() >= 300


class ByNothing(nn.Module):
    def forward(self, x, edge_index):
        return torch.zeros_like(x).index_add_(0, edge_index[1], x[edge_index[0]])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mask_0_removes_an_edge_of_a_compiled_model():
    model = Net().double()
    compiled = torch.compile(model, backend="eager")
    close(compiled(features(), EDGE_INDEX), model(features(), EDGE_INDEX))

    expected = model(features(), EDGE_INDEX[:, KEPT])
    with masked_edges(compiled, [(EDGE_INDEX, KEPT.double())]):
        close(compiled(features(), EDGE_INDEX), expected)
    close(compiled(features(), EDGE_INDEX), model(features(), EDGE_INDEX))


def test_attention_of_an_absent_edge_cannot_outshine_the_others():
    """Its logit is 1000 above theirs."""
    conv = GATConv(1, 1, add_self_loops=False, bias=False, negative_slope=1.0)
    with torch.no_grad():
        for p in conv.parameters():
            p.fill_(1)
    x, edges = torch.tensor([[1000.0], [1.0], [2.0]]), torch.tensor([[0, 1], [2, 2]])
    weight = torch.tensor([0.0, 1.0], requires_grad=True)
    with masked_edges(conv, [(edges, weight)]):
        out = conv(x, edges)[2]
    assert out.item() == pytest.approx(1)
    assert torch.autograd.grad(out, weight)[0].isfinite().all()


@pytest.mark.parametrize("make", [lambda: GCNConv(3, 2, add_self_loops=False),
                                  lambda: GATConv(3, 2, add_self_loops=False),
                                  lambda: SAGEConv(3, 2), Tutorial])  # fmt: skip
def test_gradients_are_finite_with_every_weight_at_0(make):
    conv, weight = make().double(), torch.zeros(8, dtype=torch.float64, requires_grad=True)
    with masked_edges(conv, [(EDGE_INDEX, weight)]):
        out = conv(features(), EDGE_INDEX)
    (slope,) = torch.autograd.grad(out.square().sum() + out.sum(), weight)
    assert slope.isfinite().all()
    assert slope.abs().max() < 1e6


BAD = {
    "adj_t": (lambda: SAGEConv(3, 2), EDGE_INDEX.to_sparse(), WEIGHT, "edge_index"),
    "EdgeIndex": (lambda: SAGEConv(3, 2), EdgeIndex(EDGE_INDEX), WEIGHT, "not adj_t or EdgeIndex"),
    "too few": (lambda: SAGEConv(3, 2), EDGE_INDEX, WEIGHT[:3], r"8 columns, got \[3\]"),
    "whole numbers": (lambda: SAGEConv(3, 2), EDGE_INDEX, KEPT, "floating-point"),
    "cached": (lambda: GCNConv(3, 2, cached=True), EDGE_INDEX, WEIGHT, "set cached=False"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_masked_is_refused_in_one_line(name):
    make, edges, weight, said = BAD[name]
    with (
        pytest.raises(ValueError, match=said) as error,
        masked_edges(make(), [(edges, weight)]),
    ):
        pass
    assert "\n" not in str(error.value)


def test_fused_sums_within_a_model_are_refused():
    adj_t = torch.sparse_coo_tensor(EDGE_INDEX.flip(0), torch.ones(8), (N, N)).to_sparse_csr()
    conv = SAGEConv(3, 2)
    with (
        pytest.raises(ValueError, match="give edge_index instead of adj_t"),
        masked_edges(conv, [(EDGE_INDEX, WEIGHT)]),
    ):
        conv(features().float(), adj_t)


def test_a_class_of_ones_own_is_supported_by_its_aggregation():
    kinds = {aggr: {operator_support(m).kind for m in EdgeConv(nn.Identity(), aggr).modules()}
             for aggr in ("add", "mean", "max")}  # fmt: skip
    assert kinds == {"add": {"exact"}, "mean": {"exact"}, "max": {"exact", "removal"}}


class Checkpointed(nn.Module):
    """Runs a layer again in the backward pass."""

    def __init__(self, reentrant):
        super().__init__()
        self.conv, self.reentrant = GATConv(3, 3), reentrant

    def forward(self, x, edge_index):
        return checkpoint(self.conv, x, edge_index, use_reentrant=self.reentrant)


DEEP = {"reentrant": lambda: Checkpointed(True), "not reentrant": lambda: Checkpointed(False),
        "of PyG": lambda: DeepGCNLayer(SAGEConv(3, 3), ckpt_grad=True)}  # fmt: skip


@pytest.mark.parametrize("name", DEEP)
def test_steps_that_a_model_would_run_again_have_the_gradients_of_the_graph_without_the_edges(name):
    model = DEEP[name]().double()
    slopes = []
    for edges, weight in ((EDGE_INDEX, WEIGHT), (EDGE_INDEX[:, KEPT], WEIGHT[KEPT])):
        x, weight = features().requires_grad_(), weight.clone().requires_grad_()
        with masked_edges(model, [(edges, weight)]):
            out = model(x, edges)
        found = torch.autograd.grad(out.square().sum(), [x, weight, *model.parameters()])
        slopes.append([found[0], found[1][weight != 0], *found[2:]])
    for one, other in zip(*slopes, strict=True):
        close(one, other)


def test_checkpoints_outside_masks_run_again_as_ever():
    runs = []

    def step(x):
        runs.append(1)
        return x.sin()

    for reentrant in (True, False):
        x = features().requires_grad_()
        with masked_edges(GCNConv(3, 2), []):
            kept = checkpoint(step, x, use_reentrant=reentrant)
        checkpoint(step, x, use_reentrant=reentrant).sum().backward()
        close(kept, x.sin())
    assert len(runs) == 6


class Copying(nn.Module):
    """Calls a copy of its layer, made within its forward."""

    def __init__(self):
        super().__init__()
        self.conv = SAGEConv(3, 3)

    def forward(self, x, edge_index):
        return copy.deepcopy(self.conv)(x, edge_index)


def test_a_copy_made_within_forward_gives_the_mask_its_gradient():
    model = Copying().double()
    slopes = []
    for called in (model, model.conv):
        weight = WEIGHT.clone().requires_grad_()
        with masked_edges(model, [(EDGE_INDEX, weight)]):
            out = called(features(), EDGE_INDEX)
        slopes += torch.autograd.grad(out.square().sum(), weight)
    close(*slopes)


SURROGATES = {
    "a sum": (lambda m, i: torch.zeros(N, 3).index_add(0, i, m), set()),
    "a maximum": (lambda m, i: scatter(m, i, 0, N, "max"), {"amax of `scatter_reduce_`"}),
    "whole numbers": (lambda m, i: degree(i, N, dtype=torch.long),
                      {"a count in whole numbers, of edges whose weight is not 0"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SURROGATES)
def test_reductions_of_ones_own_that_weights_mean_little_to_are_named(name):
    reduce, said = SURROGATES[name]
    with collect_surrogates() as found, masked_edges(nn.Identity(), [(EDGE_INDEX, WEIGHT)]):
        reduce(features().float()[EDGE_INDEX[0]], EDGE_INDEX[1])
    assert found == said
