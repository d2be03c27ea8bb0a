"""Every graph model in the folder obeys the mask contract; a new file is tested by existing."""

from dataclasses import replace
from itertools import count

import pytest
import torch
from torch_geometric import nn as pyg
from toys import ALONE, GRAPH_MODELS, LOOPS, Largest, N, build, toy

from graphlth import masks as M
from graphlth.models.graph.gat import GAT
from graphlth.models.graph.gcn import GCN
from graphlth.models.graph.gin import GIN
from graphlth.models.graph.sage import GraphSAGE
from graphlth.sparse.dropout import dropout_keys, edge_dropout
from graphlth.sparse.features import sparse_features
from graphlth.sparse.graph import Graph
from graphlth.training.forward import forward

pytestmark = [
    pytest.mark.filterwarnings("default:.*:DeprecationWarning:torch_scatter"),
    pytest.mark.usefixtures("double_precision"),
]
MODELS = [(name, {}) for name in GRAPH_MODELS]
MODELS += [("resgcn", {"layers": n}) for n in (1, 2, 3, 7)]
MODELS += [("gcn", {"degree": "out"}), ("gat", {"layers": 3}), ("gcn", {"layers": 1})]
MODELS[-1:-1] = [
    ("gin", {"aggregation": "mean", "readout": "layers"}),
    ("gin", {"readout": "layers", "layers": 3, "weight_initializer": "kaiming_uniform"}),
    ("gat", {"negative_slope": 0.01, "weight_initializer": "kaiming_uniform", "bias": False}),
]
LAYERS = [(name, {"layers": n}) for name in GRAPH_MODELS for n in (1, 2, 3, 7)]
LAYERS += [("gin", {"aggregation": "mean", "readout": "layers", "layers": 3})]
LAYERS += [("gat", {"add_self_loops": False, "layers": 2})]
models = pytest.mark.parametrize(("name", "settings"), MODELS)
backends = pytest.mark.parametrize("backend", ["numba", "sparse", "scatter", "reference"])
universes = pytest.mark.parametrize("edges", ["undirected", "directed"])


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-9)


def soft_masks(model, num_edges, seed=0):
    """Masks in [0.2, 1.8) with a quarter of the weights at 0."""
    draw = torch.Generator().manual_seed(seed)
    ones = M.ones(model, num_edges)
    soft = {n: 0.2 + 1.6 * torch.rand(m.shape, generator=draw) for n, m in ones.items()}
    return {
        n: m if n == M.EDGES else m * (torch.rand(m.shape, generator=draw) > 0.25)
        for n, m in soft.items()
    }


def batch_of(task, x=None):
    batch = next(task.batches("train"))
    return batch if x is None else replace(batch, inputs=(x, batch.inputs[1]))


def pull(model, task, masks, x):
    """The output, and the gradients of x, of every weight, of every mask."""
    x = x.clone().requires_grad_()
    masks = {n: m.clone().requires_grad_() for n, m in masks.items()}
    out = forward(model, batch_of(task, x), masks)
    pick = torch.randn(out.shape, generator=torch.Generator().manual_seed(5))
    wanted = {"x": x, **dict(model.named_parameters())}
    wanted |= {f"mask.{n}": m for n, m in masks.items()}
    grads = torch.autograd.grad((out * pick).sum(), list(wanted.values()), allow_unused=True)
    return out, {
        n: torch.zeros_like(t) if g is None else g
        for (n, t), g in zip(wanted.items(), grads, strict=True)
    }


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
@backends
@universes
@models
def test_a_zero_entry_is_an_absent_edge(name, settings, edges, backend, kept):
    task = toy(edges)
    model = build(name, task, backend=backend, **settings)
    masks = soft_masks(model, task.num_edges)
    alive = torch.rand(task.num_edges, generator=torch.Generator().manual_seed(2)) < kept
    masks[M.EDGES] = masks[M.EDGES] * alive
    out, grads = pull(model, task, masks, task.x)
    expected, cut = pull(model, task.without(masks[M.EDGES] != 0), masks, task.x)
    close(out, expected)
    assert grads["mask.edges"].isfinite().all()
    assert not cut["mask.edges"][~alive].any()
    grads["mask.edges"] = grads["mask.edges"] * alive
    for n, g in grads.items():
        close(g, cut[n])


@backends
@models
def test_a_node_cut_off_may_hold_any_number(name, settings, backend):
    """Its absent edges have huge messages and, in attention, huge logits."""
    task = toy("directed")
    model = build(name, task, backend=backend, **settings)
    source, _ = task.graph.edge_index
    mask = (source != 7).double()
    huge = task.x.clone()
    huge[7] *= 1e25
    others = torch.arange(N) != 7
    calm, wild = (pull(model, task, {M.EDGES: mask}, x)[0][others] for x in (task.x, huge))
    assert torch.equal(calm, wild)
    _, grads = pull(model, task, {M.EDGES: mask}, huge)
    assert all(g.isfinite().all() for g in grads.values())


@universes
@models
def test_nothing_of_an_earlier_mask_is_kept(name, settings, edges):
    task = toy(edges)
    used, fresh = (build(name, task, **settings) for _ in range(2))
    forward(used, batch_of(task), M.ones(used, task.num_edges))  # what is cached here is stale
    masks = soft_masks(used, task.num_edges, seed=4)
    assert torch.equal(forward(used, batch_of(task), masks), forward(fresh, batch_of(task), masks))


@models
def test_every_mask_is_felt(name, settings):
    task = toy()
    model = build(name, task, **settings)
    dense = M.ones(model, task.num_edges)
    _, grads = pull(model, task, dense, task.x)
    for n in dense:
        assert grads[f"mask.{n}"].isfinite().all()
        assert grads[f"mask.{n}"].any(), n
    close(forward(model, batch_of(task), dense), model(task.x, task.graph))


@models
def test_without_edges_a_node_sees_itself_and_nobody_else(name, settings):
    """The model's own loops, or its own term, are not prunable."""
    task = toy()
    model = build(name, task, hidden=32, **settings)
    nobody = {M.EDGES: torch.zeros(task.num_edges)}

    def seen(x):
        return forward(model, batch_of(task, x), nobody).sum(-1)

    influence = torch.autograd.functional.jacobian(seen, task.x).abs().sum(-1)  # [N, N]
    assert not influence[~torch.eye(N, dtype=torch.bool)].any()
    filled = task.x.any(1)
    assert influence.diagonal()[filled].all()


@universes
@models
def test_a_raw_loop_is_prunable(name, settings, edges):
    """Masking it moves its node and equals data that never had it; a second loop may remain."""
    task, plain = toy(edges), toy(edges, loops=False)
    source, target = task.graph.edge_index
    mask = torch.ones(task.num_edges)
    mask[task.entries[source == target]] = 0
    assert int((mask == 0).sum()) == len(LOOPS)
    model = build(name, task, **settings)
    out = forward(model, batch_of(task), {M.EDGES: mask})
    close(out, forward(model, batch_of(plain), {}))
    moved = (out - forward(model, batch_of(task), {})).abs().sum(1) > 1e-9
    assert moved[list(LOOPS)].all()


@pytest.mark.parametrize("level", [0.0, 1e-300, 1e-12, 1.0, 1e6])
@models
def test_outputs_and_gradients_are_finite_at_any_mask(name, settings, level):
    task = toy()
    model = build(name, task, **settings)
    for weight_level in (0.0, 1.0):
        masks = {n: m * weight_level for n, m in M.ones(model).items()}
        masks[M.EDGES] = torch.full((task.num_edges,), level)
        out, grads = pull(model, task, masks, task.x)
        assert out.isfinite().all()
        assert all(g.isfinite().all() for g in grads.values())


@backends
@models
def test_every_backend_is_the_reference(name, settings, backend):
    task = toy()
    ours, plain = (build(name, task, backend=b, **settings) for b in (backend, "reference"))
    masks = soft_masks(ours, task.num_edges)
    out, grads = pull(ours, task, masks, task.x)
    expected, theirs = pull(plain, task, masks, task.x)
    close(out, expected)
    for n, g in grads.items():
        close(g, theirs[n])


@models
def test_a_model_takes_an_edge_index_and_any_order_of_edges(name, settings):
    task = toy()
    model = build(name, task, **settings)
    weight = soft_masks(model, task.num_edges)[M.EDGES][task.entries]
    order = torch.randperm(task.graph.num_edges, generator=torch.Generator().manual_seed(0))
    expected = model(task.x, task.graph, weight)
    edge_index = task.graph.edge_index[:, order]
    close(model(task.x, edge_index, weight[order]), expected)
    close(model(task.x, Graph(edge_index, N), weight[order]), expected)
    close(model(task.x, edge_index), model(task.x, task.graph, torch.ones_like(weight)))


@models
def test_sparse_features_are_the_dense_ones(name, settings):
    task = toy(density=0.2)
    model = build(name, task, **settings)
    pick = torch.randn(N, task.num_classes, generator=torch.Generator().manual_seed(5))

    def run(x):
        out = model(x, task.graph)
        return out, torch.autograd.grad((out * pick).sum(), list(model.parameters()))

    (dense, by_dense), (sparse, by_sparse) = run(task.x), run(sparse_features(task.x))
    close(sparse, dense)
    for a, b in zip(by_sparse, by_dense, strict=True):
        close(a, b)


@pytest.mark.parametrize(("name", "settings"), MODELS[:-1])  # a single layer has nothing to drop
def test_dropout_acts_in_training_only_and_follows_the_seed(name, settings):
    task = toy()
    model = build(name, task, dropout=0.5, hidden=16, **settings)
    assert torch.equal(model(task.x, task.graph), model(task.x, task.graph))

    def draw(seed):
        torch.manual_seed(seed)
        return model.train()(task.x, task.graph)

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert not torch.equal(draw(0), model.eval()(task.x, task.graph))


@pytest.mark.parametrize("soft", [True, False])
@universes
@models
def test_a_dropped_edge_is_absent_from_a_training_step(name, settings, edges, soft):
    """From its output and gradients, degrees and all: one draw for all layers."""
    task = toy(edges)
    still = {"dropout": 0.0, "input_dropout": 0.0, **settings}
    model = build(name, task, edge_dropout=0.4, **still).train()
    weight = soft_masks(model, task.num_edges)[M.EDGES][task.entries].requires_grad_()
    keep = drawn(task, 0.4, key=3) == 1
    assert 0 < keep.sum() < keep.numel()
    with dropout_keys([3]):  # there is no key for a second draw
        out = model(task.x, task.graph, *[weight] * soft)
    plain = build(name, task, **still)
    expected = plain(task.x, task.graph.subgraph(keep), *[weight[keep]] * soft)
    close(out, expected)
    pick = torch.randn(out.shape, generator=torch.Generator().manual_seed(5))
    found = torch.autograd.grad((out * pick).sum(), [weight] * soft + [*model.parameters()])
    theirs = torch.autograd.grad((expected * pick).sum(), [weight] * soft + [*plain.parameters()])
    for a, b in zip(found, theirs, strict=True):
        close(a, b)


def drawn(task, p, key):
    """What DropEdge draws with `key`: 1 for an edge that is kept, else 0."""
    with dropout_keys([key]):
        return edge_dropout(task.graph, None, p, like=task.x)


@models
def test_edges_are_dropped_in_training_only_and_follow_the_seed(name, settings):
    task = toy()
    still = {"dropout": 0.0, "input_dropout": 0.0, **settings}
    model, plain = (build(name, task, edge_dropout=p, hidden=16, **still) for p in (0.4, 0.0))

    def draw(model, seed):
        torch.manual_seed(seed)
        return model.train()(task.x, task.graph)

    whole = plain(task.x, task.graph)
    assert torch.equal(model(task.x, task.graph), whole)
    assert torch.equal(draw(model, 0), draw(model, 0))
    assert not torch.equal(draw(model, 0), draw(model, 1))
    assert not torch.equal(draw(model, 0), whole)
    assert torch.equal(draw(plain, 0), whole)


@models
def test_at_probability_0_no_bits_are_drawn_for_edges(name, settings):
    task = toy()
    draws = []
    for p in (0.0, 0.4):
        counter = count()
        with dropout_keys(counter):
            build(name, task, dropout=0.5, edge_dropout=p, **settings).train()(task.x, task.graph)
        draws.append(next(counter))
    assert draws[1] == draws[0] + 1


@models
def test_isolated_nodes_get_their_own_prediction(name, settings):
    task = toy()
    out = build(name, task, **settings)(task.x, task.graph)
    with_feature = [i for i in ALONE if task.x[i].any()]
    assert out[with_feature].abs().sum(1).all()
    assert not torch.allclose(out[with_feature[0]], out[with_feature[1]])


@models
def test_no_tensor_has_edges_by_channels(name, settings):
    num_nodes, num_edges, width = 300, 6000, 40
    draw = torch.Generator().manual_seed(0)
    graph = Graph(torch.randint(0, num_nodes, (2, num_edges), generator=draw), num_nodes)
    x = torch.randn(num_nodes, 6, generator=draw)
    weight = torch.rand(num_edges, generator=draw).requires_grad_()
    most = {}
    for backend in ("sparse", "reference"):
        model = build(name, toy(), hidden=width, backend=backend, **settings)
        with Largest() as seen:
            model(x, graph, weight).sum().backward()
        most[backend] = seen.numel
    heads = 2 if name == "gat" else 1  # what an edge may hold is a number for each head
    assert most["sparse"] <= 2 * heads * 2 * (num_edges + num_nodes)
    if settings.get("layers") != 1:
        assert most["reference"] >= num_edges * width  # this would be seen


def test_gcn_is_pyg_gcn():
    task = toy(loops=False)
    ours, theirs = GCN(6, 0, 3, num_layers=1), pyg.GCNConv(6, 3, bias=False)
    theirs.lin.weight.data = ours.weights[0].data.T
    weight = 0.2 + torch.rand(task.graph.num_edges)
    expected = theirs(task.x, task.graph.edge_index, weight)
    close(ours(task.x, task.graph, weight), expected)


def test_gcn_counts_the_degree_that_it_is_told():
    task = toy("directed", loops=False)
    ours = GCN(6, 0, 3, num_layers=1, degree="out")
    source, target = task.graph.edge_index
    weight = 0.2 + torch.rand(task.graph.num_edges)
    a = torch.eye(N).index_put((target, source), weight)  # A + I
    root = a.sum(0).rsqrt()  # columns are sources
    close(ours(task.x, task.graph, weight), root[:, None] * a * root @ task.x @ ours.weights[0])
    with pytest.raises(ValueError, match="`degree` must be in or out, got 'both'"):
        GCN(6, 4, 3, degree="both")


def test_gat_is_pyg_gat():
    task = toy(loops=False)
    ours, theirs = GAT(6, 0, 3, num_layers=1).eval(), pyg.GATConv(6, 3, bias=False)
    theirs.lin.weight.data = ours.weights[0].data.T
    theirs.att_src.data = ours.source_attention[0].data[None]
    theirs.att_dst.data = ours.target_attention[0].data[None]
    close(ours(task.x, task.graph), theirs(task.x, task.graph.edge_index))


def test_gat_weighs_attention_by_the_mask():
    task = toy("directed", loops=False)
    ours = GAT(6, 0, 3, num_layers=1).eval()
    source, target = task.graph.edge_index
    weight = 0.2 + torch.rand(task.graph.num_edges)
    h = task.x @ ours.weights[0]
    logit = (h @ ours.source_attention[0].T).T + h @ ours.target_attention[0].T  # [target, source]
    mask = torch.eye(N).index_put((target, source), weight)
    share = mask * torch.nn.functional.leaky_relu(logit, 0.2).exp()
    close(ours(task.x, task.graph, weight), share / share.sum(1, keepdim=True) @ h)


def test_gat_heads_lie_side_by_side():
    task = toy(loops=False)
    torch.manual_seed(0)
    ours, theirs = GAT(6, 4, 3, heads=3), pyg.GAT(6, 12, 2, 3, v2=False, heads=3, act="elu")
    for i, conv in enumerate(theirs.convs):
        conv.lin.weight.data = ours.weights[i].data.T
        conv.att_src.data = ours.source_attention[i].data[None]
        conv.att_dst.data = ours.target_attention[i].data[None]
        conv.bias.data.zero_()
        conv.heads = ours.source_attention[i].size(0)
    theirs.convs[1].out_channels = 3
    close(ours.eval()(task.x, task.graph), theirs.eval()(task.x, task.graph.edge_index))


def test_sage_is_pyg_sage():
    task = toy()
    ours, theirs = GraphSAGE(6, 0, 3, num_layers=1), pyg.SAGEConv(6, 3, bias=False)
    theirs.lin_l.weight.data = ours.neighbour_weights[0].data.T
    theirs.lin_r.weight.data = ours.self_weights[0].data.T
    close(ours(task.x, task.graph), theirs(task.x, task.graph.edge_index))


def test_gin_is_pyg_gin():
    task = toy()
    ours = GIN(6, 0, 3, num_layers=1)
    ours.eps.data.fill_(0.3)
    linear = torch.nn.Linear(6, 3, bias=False)
    linear.weight.data = ours.weights[0].data.T
    theirs = pyg.GINConv(linear, eps=0.3)
    close(ours(task.x, task.graph), theirs(task.x, task.graph.edge_index))


def test_gin_takes_the_mean_of_the_neighbours_that_are_left():
    task = toy("directed")
    ours = GIN(6, 0, 3, num_layers=1, aggregation="mean")
    ours.eps.data.fill_(0.3)
    source, target = task.graph.edge_index
    weight = torch.rand(task.graph.num_edges) * (torch.rand(task.graph.num_edges) < 0.7)
    a = torch.zeros(N, N).index_put((target, source), weight)
    mean = a / a.sum(1, keepdim=True).where(a.sum(1, keepdim=True) > 0, torch.tensor(1.0))
    close(ours(task.x, task.graph, weight), (1.3 * task.x + mean @ task.x) @ ours.weights[0])


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_gin_reads_all_layers_out(layers):
    task = toy()
    ours = build("gin", task, layers=layers, readout="layers")
    plain = build("gin", task, layers=layers)
    hidden = []
    convolve = plain.convolve
    plain.convolve = lambda *given: hidden.append(convolve(*given)) or hidden[-1]
    plain.weights, plain.eps = ours.weights, ours.eps
    plain(task.x, task.graph)
    *inner, last = [h.relu() for h in hidden]
    read = [h @ w for h, w in zip(inner, ours.readouts, strict=True)]
    close(ours(task.x, task.graph), sum([last, *read]) / layers)
    assert ours.macs(N, 0, {n: 1 for n, _ in ours.named_parameters()})[f"weights.{layers - 1}"]
    assert len(ours.macs(N, 0, {n: 1 for n, _ in ours.named_parameters()})) == 2 * layers - 1


def test_gat_leaves_loops_to_the_data_and_has_the_slope_that_it_is_told():
    task = toy()
    ours = GAT(6, 0, 3, num_layers=1, add_self_loops=False, negative_slope=0.01).eval()
    theirs = pyg.GATConv(6, 3, bias=False, add_self_loops=False, negative_slope=0.01)
    theirs.lin.weight.data = ours.weights[0].data.T
    theirs.att_src.data = ours.source_attention[0].data[None]
    theirs.att_dst.data = ours.target_attention[0].data[None]
    close(ours(task.x, task.graph), theirs(task.x, task.graph.edge_index))
    nothing = torch.zeros(task.graph.num_edges)
    assert not ours(task.x, task.graph, nothing).any()
    costs = [GAT(6, 4, 3, add_self_loops=loops, heads=1).macs(N, 5, dict.fromkeys(
        [f"{n}.{i}" for n in ("weights", "source_attention", "target_attention") for i in (0, 1)],
        0)) for loops in (True, False)]  # fmt: skip
    assert [sum(each.values()) for each in costs] == [(5 + N) * 7, 5 * 7]


@pytest.mark.parametrize("name", ["gin", "gat"])
def test_weights_may_be_drawn_as_those_of_torchs_linear(name):
    task = toy(num_features=100)
    model = build(name, task, hidden=64, weight_initializer="kaiming_uniform")
    inputs = {"weights.0": 100, "weights.1": 64 * (2 if name == "gat" else 1)}
    inputs |= {"source_attention.0": 128, "target_attention.0": 128} if name == "gat" else {}
    for n, size in inputs.items():
        most = model.get_parameter(n).abs().max()
        assert 0.9 * size**-0.5 < most <= size**-0.5, n
    with pytest.raises(
        ValueError, match="`weight_initializer` must be one of glorot, kaiming_unif"
    ):
        build(name, task, weight_initializer="ones")


@pytest.mark.parametrize(("name", "settings"), LAYERS)
@pytest.mark.parametrize(("sparse", "most"), [(True, 1.0), (False, 0.0), (False, 1.0)])
def test_the_logits_of_some_nodes_are_those_of_all(name, settings, sparse, most, monkeypatch):
    monkeypatch.setattr(
        "graphlth.sparse.blocks.MOST", most
    )  # of the rows of dense features that are few
    task = toy("directed")
    model = build(name, task, **settings)
    x = sparse_features(batch_of(task).inputs[0]) if sparse else batch_of(task).inputs[0]
    rows = torch.tensor([9, 2, 13, 5])  # 13 is isolated, the others lie in no order
    masks = {n: m.requires_grad_() for n, m in soft_masks(model, task.num_edges).items()}
    pick = torch.randn(4, task.num_classes, generator=torch.Generator().manual_seed(1))
    weight = masks[M.EDGES]
    all_ = model(x, task.graph, weight)[rows]
    some = model(x, task.graph, weight, rows=rows)
    close(some, all_)
    leaves = [weight, *model.parameters()]
    expected = torch.autograd.grad((all_ * pick).sum(), leaves, allow_unused=True)
    found = torch.autograd.grad((some * pick).sum(), leaves, allow_unused=True)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        assert a is None or close(a, b) is None
