"""Edge weights of the data are A in A ⊙ m: for every model, in training, scores and compaction."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_dataset import small
from torch_geometric.data import Data
from torch_geometric.nn import GCN as PyGGCN
from torch_geometric.nn import GraphSAGE as PyGSAGE
from toys import GRAPH_MODELS, N, build, call, data

from graphlth import masks as M
from graphlth.analysis.latency import latency
from graphlth.compaction.layers import LAYOUTS
from graphlth.compaction.network import load_compact
from graphlth.data.node import NodeTask
from graphlth.data.published import DataWarning
from graphlth.experiment.export import export
from graphlth.experiment.run import run
from graphlth.masks import EDGES
from graphlth.records.files import read
from graphlth.registry import find, names, names_for
from graphlth.rewinding import snapshot
from graphlth.scores.edges import effective_resistance as resistance
from graphlth.scores.edges._pairs import Pairs
from graphlth.sparse.features import sparse_features
from graphlth.ticket import Ticket, dense, load, ticket_file
from graphlth.training import batched
from graphlth.training.evaluation import evaluate, predict
from graphlth.training.forward import forward
from graphlth.training.loop import train
from graphlth.training.retraining import fit

models = pytest.mark.parametrize("name", GRAPH_MODELS)
backends = pytest.mark.parametrize("backend", ["numba", "sparse", "scatter", "reference"])
universes = pytest.mark.parametrize("edges", ["undirected", "directed"])
pytestmark = pytest.mark.filterwarnings("default:.*:DeprecationWarning:torch_scatter")


def numbers(count, seed=0, low=0.25, high=3.0):
    draw = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(count, generator=draw, dtype=torch.float64)


def weighted(edges="undirected", weight=None, **about):
    """The toy graph with weights of its own in both directions of a pair."""
    graph = data(**about)
    graph.edge_weight = numbers(graph.num_edges) if weight is None else weight
    return NodeTask(graph, edges=edges, name="weighted")


def by_edge(task):
    """A of every edge."""
    a = torch.ones(task.graph.num_edges) if task.edge_weight is None else task.edge_weight
    return dict(zip(map(tuple, task.graph.edge_index.T.tolist()), a.tolist(), strict=True))


def soft_of(task, seed=1):
    mask = numbers(task.num_edges, seed, 0.1, 2.0).to(torch.get_default_dtype())
    return mask * (torch.rand(mask.shape, generator=torch.Generator().manual_seed(2)) < 0.7)


# --- what a task reads ---------------------------------------------------------------------------

ROWS = [  # small(): columns 0→0, 1→0, 0→1, 0→1, 2→1, 1→2, 3→2
    ([1, 2, 3, 4, 5, 6, 7], {(0, 0): 1, (1, 0): 2, (0, 1): 7, (2, 1): 5, (1, 2): 6, (3, 2): 7}, 0),
    ([1, 1, 0.5, 0.5, 1, 1, 1], None, 0),  # all 1, once the repeated edge is added up
    ([0, 2, 0, 0, 1, 1, 1], {(1, 0): 2, (2, 1): 1, (1, 2): 1, (3, 2): 1}, 2),
    ([1, 2, 0, 4, 5, 6, 0], {(0, 0): 1, (1, 0): 2, (0, 1): 4, (2, 1): 5, (1, 2): 6}, 1),
]


@pytest.mark.parametrize("shape", [(7,), (7, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("weight, expected, zeros", ROWS)
def test_repeated_edges_add_up_and_an_edge_of_weight_0_is_absent(
    weight, expected, zeros, dtype, shape
):
    task = NodeTask(small(edge_weight=torch.tensor(weight, dtype=dtype).view(shape)))
    assert (task.edge_weight is None) == (expected is None)
    assert (task.duplicate_edges, task.zero_edges) == (1, zeros)
    if expected is not None:
        assert by_edge(task) == expected and task.edge_weight.dtype == torch.float32
        assert task.graph.num_edges == task.entries.numel() == len(expected)
        pairs = {tuple(sorted(edge)) for edge in expected}
        assert task.num_edges == len(pairs)  # what is absent cannot be pruned


@pytest.mark.parametrize("weight", [[1, 2, 3, 4, 5, 6, 7], [True] * 7])
def test_whole_numbers_and_truth_values_are_weights(weight):
    task = NodeTask(small(edge_weight=torch.tensor(weight)))
    assert by_edge(task)[0, 1] == (7 if weight[1] is not True else 2)


def test_without_weights_a_repeated_edge_is_there_once():
    task = NodeTask(small())
    assert task.edge_weight is None and task.duplicate_edges == 1 and task.zero_edges == 0
    assert set(by_edge(task).values()) == {1}


def test_weights_are_the_same_for_every_order_of_the_edges():
    draw = torch.Generator().manual_seed(0)
    edge_index = torch.randint(5, (2, 400), generator=draw)  # each about 16 times
    weight = torch.rand(400, generator=draw, dtype=torch.float64) ** 9
    first, *others = [
        NodeTask(small(edge_index=edge_index[:, order], edge_weight=weight[order]))
        for order in (torch.randperm(400, generator=draw) for _ in range(5))
    ]
    for other in others:
        assert torch.equal(other.edge_weight, first.edge_weight)
        assert other.fingerprint() == first.fingerprint()


def test_the_fingerprint_tells_weights_apart_and_is_the_old_one_without():
    plain = NodeTask(small()).fingerprint()
    ones = small(edge_weight=torch.tensor([1, 1, 0.5, 0.5, 1, 1, 1]))
    two = small(edge_weight=torch.tensor([1, 1, 0.5, 0.5, 1, 1, 2]))
    other = small(edge_weight=torch.tensor([1, 1, 0.5, 0.5, 1, 2, 1]))
    assert NodeTask(ones).fingerprint() == plain
    assert len({plain, NodeTask(two).fingerprint(), NodeTask(other).fingerprint()}) == 3


def test_a_cut_and_a_moved_task_keep_the_weights_of_their_edges():
    task = weighted()
    known = by_edge(task)
    mask = (torch.arange(task.num_edges) % 3 > 0).float()
    cut = task.without(mask)
    assert 0 < cut.graph.num_edges < task.graph.num_edges
    assert by_edge(cut).items() <= known.items()
    assert by_edge(task.to("cpu")) == known
    assert next(cut.batches("val")).edge_weight is cut.edge_weight
    assert " weighted" in repr(task) and "weighted" not in repr(NodeTask(small()))


WRONG = [
    (torch.tensor([1, 2, -0.5, 1, 1, -1, 1]),
     r"must be at least 0, got -0\.5 for 2 of 7 edges: take these edges out, or use absolute"),
    (torch.tensor([1, torch.nan, 1, 1, 1, 1, 1]), "must be finite, got nan for 1 of 7 edges"),
    (torch.tensor([1, torch.inf, 1, 1, 1, 1, 1]), "must be finite, got inf for 1 of 7 edges"),
    (torch.full((7,), 1e38), r"must have a sum in the range of torch\.float32, got 6.99.*: scale"),
    (torch.ones(6), r"must be \[7\], a real number for each edge of `edge_index`, got .* \[6\]"),
    (torch.ones(7, 2), r"must be \[7\], .* \[7, 2\]"),
    (torch.ones(7, dtype=torch.complex64), r"must be \[7\], a real number .*complex64"),
    ([1.0] * 7, "must be a tensor, got list"),
]  # fmt: skip


@pytest.mark.parametrize("weight, message", WRONG)
def test_other_weights_are_refused(weight, message):
    with pytest.raises(ValueError, match="`data.edge_weight` " + message):
        NodeTask(small(edge_weight=weight))


def test_attributes_of_edges_that_nothing_reads_are_named_once():
    graph = small(edge_attr=torch.ones(7, 3), edge_type=torch.arange(7), edge_weight=torch.ones(7))
    with pytest.warns(UserWarning) as told:
        task = NodeTask(graph)
        task.without(torch.ones(task.num_edges)).to("cpu")
    [line] = task.notes
    assert [str(each.message) for each in told] == [line] and told[0].filename == __file__
    assert line.startswith("`data.edge_attr`, `data.edge_type` are not read:")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert NodeTask(small(edge_weight=torch.ones(7))).notes == ()


# --- models --------------------------------------------------------------------------------------


def pull(model, batch, x, mask, weights=None):
    """The output, and the gradients of x, of every weight, and of the mask."""
    x = x.clone().requires_grad_()
    batch = batch.__class__(**vars(batch) | {"inputs": (x, batch.inputs[1])})
    masks = {} if mask is None else {EDGES: mask}
    out = forward(model, batch, masks)
    pick = torch.randn(out.shape, generator=torch.Generator().manual_seed(5))
    leaves = [x, *model.parameters(), *([] if mask is None else [mask])]
    grads = torch.autograd.grad((out * pick).sum(), leaves, allow_unused=True)
    return out, [
        torch.zeros_like(t) if g is None else g for t, g in zip(leaves, grads, strict=True)
    ]


@pytest.mark.usefixtures("double_precision")
@backends
@universes
@models
def test_weights_are_what_a_mask_of_each_edge_would_be(name, edges, backend):
    task, plain = weighted(edges), NodeTask(data(), edges="directed")
    model = build(name, task, backend=backend)
    m = soft_of(task).requires_grad_()
    out, grads = pull(model, next(task.batches("train")), task.x, m)
    both = (task.edge_weight * m[task.entries]).detach().requires_grad_()  # A ⊙ m
    expected, theirs = pull(model, next(plain.batches("train")), task.x, both)
    torch.testing.assert_close(out, expected, atol=1e-11, rtol=1e-9)
    *ours, of_mask = grads
    *wanted, of_both = theirs
    sums = torch.zeros_like(m).index_add(0, task.entries, task.edge_weight * of_both)
    for a, b in zip([*ours, of_mask], [*wanted, sums], strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)
    assert (out - forward(model, next(plain.batches("train")), {})).abs().max() > 1e-3


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
@backends
@universes
@models
def test_a_zero_entry_is_an_absent_edge(name, edges, backend, kept):
    task = weighted(edges)
    model = build(name, task, backend=backend)
    alive = torch.rand(task.num_edges, generator=torch.Generator().manual_seed(2)) < kept
    mask = alive.double().requires_grad_()
    out, (*grads, of_mask) = pull(model, next(task.batches("train")), task.x, mask)
    cut = task.without(mask)
    expected, theirs = pull(model, next(cut.batches("train")), task.x, None)
    torch.testing.assert_close(out, expected, atol=1e-11, rtol=1e-9)
    assert of_mask.isfinite().all()
    for a, b in zip(grads, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)


@pytest.mark.usefixtures("double_precision")
@backends
@models
def test_a_whole_weight_is_as_many_edges(name, backend):
    count = data().num_edges
    weight = torch.arange(count) % 3 + 1
    task = weighted(weight=weight)
    model = build(name, task, backend=backend)
    many = task.graph.edge_index.repeat_interleave(task.edge_weight.long(), dim=1)
    assert many.size(1) > count
    torch.testing.assert_close(forward(model, next(task.batches("test")), {}),
                               model(task.x, many), atol=1e-11, rtol=1e-9)  # fmt: skip


@pytest.mark.usefixtures("double_precision")
@models
def test_one_size_of_all_weights_is_felt_only_where_it_should_be(name):
    """A mean, of softmax weights too, does not change; a sum, and what stands beside a loop, do."""
    graph = data().coalesce()
    graph.edge_weight = torch.full((graph.num_edges,), 7.0)
    one, seven = NodeTask(data()), NodeTask(graph)
    assert one.edge_weight is None and seven.edge_weight is not None
    model = build(name, one)
    outs = [forward(model, next(task.batches("test")), {}) for task in (one, seven)]
    assert torch.allclose(*outs) == (name in ("sage", "resgen"))  # attention has a loop of 1


@models
def test_training_and_what_is_left_of_it_agree(name):
    task = weighted()
    model = build(name, task)
    *_, ticket = call("ugs", model, task, rounds=2, epochs=4, drop_edges=0.3, drop_weights=0.3)
    best = fit(model, task, ticket, epochs=8, lr=0.05)
    assert evaluate(model, task, ticket.masks, ("val", "test")) == [best.val, best.test]
    logits = predict(model, task, best)
    whole = forward(model, next(task.batches("test")), ticket.masks)[task.rows["test"]]
    torch.testing.assert_close(logits, whole, atol=1e-5, rtol=1e-4)
    plain = NodeTask(data())
    assert not torch.allclose(logits, predict(model, plain, best.ticket), atol=1e-4)
    left = ticket.prune(Data(**data().to_dict() | {"edge_weight": numbers(data().num_edges)}))
    assert by_edge(NodeTask(left)) == by_edge(task.without(ticket.masks[EDGES]))


def test_a_step_of_training_is_that_of_a_layer_with_these_weights():
    task = weighted(loops=False)
    ours, theirs = (build("gcn", task, dropout=0.0) for _ in range(2))
    for _ in train(ours, task, {}, epochs=3, lr=0.01, weight_decay=5e-4):
        pass
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    index, norm = gcn_norm(task.graph.edge_index, task.edge_weight, N)
    a = torch.zeros(N, N).index_put((index[1], index[0]), norm)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, weight_decay=5e-4)
    for _ in range(3):
        out = a @ (a @ (task.x @ theirs.weights[0])).relu() @ theirs.weights[1]
        adam.zero_grad()
        F.cross_entropy(out[task.rows["train"]], task.y[task.rows["train"]]).backward()
        adam.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_pyg_model_is_given_the_weights():
    task = weighted(loops=False)
    model = PyGGCN(task.num_features, 4, 2, task.num_classes)
    out = forward(model.eval(), next(task.batches("test")), {})
    wanted = model(task.x, task.graph.edge_index, task.edge_weight)
    torch.testing.assert_close(out, wanted)
    best = fit(model, task, dense(model, edges=False), epochs=2)
    assert predict(model, task, best).isfinite().all()
    small = best.compact(model, task)
    torch.testing.assert_close(small(task.x), forward(model, next(task.batches("test")), {}))


class Deaf(torch.nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.layers = PyGSAGE(*sizes)

    def forward(self, x, edge_index, edge_weight=None):
        return self.layers(x, edge_index)


class Unweighted(torch.nn.Module):
    def __init__(self, task):
        super().__init__()
        self.linear = torch.nn.Linear(task.num_features, task.num_classes)

    def forward(self, x, edge_index):
        return self.linear(x)


@pytest.mark.parametrize("make, message", [
    (Unweighted, "`model` must read the edge weights that the data have"),
    (lambda task: Deaf(task.num_features, 4, 2, task.num_classes),
     "`model` must read the edge weights that the data have"),
])  # fmt: skip
def test_a_model_that_ignores_the_weights_is_refused(make, message):
    task = weighted(loops=False)
    model = make(task)
    fit(model, NodeTask(data(loops=False)), dense(model, edges=False), epochs=1)
    with pytest.raises(ValueError, match=message):
        fit(model, task, dense(model, edges=False), epochs=1)


@models
def test_many_seeds_at_once_see_the_weights(name):
    task = weighted()
    model = build(name, task, dropout=0.0, input_dropout=0.0)
    tickets = []
    for seed in range(2):
        weights = snapshot(build(name, task, seed=seed))
        masks = {EDGES: (numbers(task.num_edges, seed, 0, 1) > 0.3).float()}
        tickets.append(Ticket(weights, masks, 1))
    together = batched.retrain(model, task, tickets, seeds=[0, 1], epochs=5)
    for ticket, found in zip(tickets, together, strict=True):
        alone = fit(model, task, ticket, epochs=5)
        assert found.best.loss == pytest.approx(alone.loss, rel=1e-4)
        assert (found.best.val, found.best.test) == (alone.val, alone.test)


# --- compaction ----------------------------------------------------------------------------------

COMPACT = [name for name in GRAPH_MODELS if hasattr(build(name, NodeTask(data())), "parts")]


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("layout", LAYOUTS[1:])
@pytest.mark.parametrize("name", COMPACT)
def test_a_compacted_network_keeps_the_weights(name, layout, tmp_path):
    task = weighted()
    model = build(name, task)
    masks = {n: (torch.rand(m.shape, generator=torch.Generator().manual_seed(4)) < 0.6).to(m)
             for n, m in M.ones(model, task.num_edges).items()}  # fmt: skip
    ticket = Ticket(snapshot(model), masks, 1)
    small = ticket.compact(model, task, layout=layout)
    wanted = forward(model, next(task.batches("test")), masks)
    small.save(tmp_path / "small")
    for network in (small, load_compact(tmp_path / "small")):
        torch.testing.assert_close(network(task.x), wanted, atol=1e-10, rtol=1e-9)
    other = small.network(task.x, small.edge_index, small.edge_weight)
    torch.testing.assert_close(other, wanted, atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(small(sparse_features(task.x)), wanted, atol=1e-10, rtol=1e-9)
    plain = NodeTask(data())
    assert len(small.to_bytes()) >= len(ticket.compact(model, plain, layout=layout).to_bytes())


def test_a_model_without_parts_keeps_its_weights_in_a_module():
    task = weighted()
    model = build("resgcn", task)
    mask = (torch.arange(task.num_edges) % 4 > 0).float()
    small = Ticket(snapshot(model), {EDGES: mask}, 1).compact(model, task)
    wanted = forward(model, next(task.batches("test")), {EDGES: mask})
    torch.testing.assert_close(small(task.x), wanted, atol=1e-5, rtol=1e-4)
    assert small.edge_weight is not None


@pytest.mark.parametrize("name", COMPACT)
def test_what_is_measured_is_the_weighted_network(name):
    task = weighted()
    model = build(name, task)
    mask = (torch.arange(task.num_edges) % 4 > 0).float()
    found = latency(model, task, Ticket(snapshot(model), {EDGES: mask}, 1), repeats=1)
    assert found.difference < 1e-5


# --- scores --------------------------------------------------------------------------------------

UNWEIGHTED = {"degree", "jaccard", "similarity", "magnitude", "magnitude_increase", "random"}


OF_GRAPHS = sorted({*names_for("scores", "weights"), *names_for("scores", "edges")})


@pytest.mark.parametrize("name", sorted({*names("scores")} - {*OF_GRAPHS}))
def test_scores_of_channels_do_not_read_the_edges(name):
    """Nor do they rank them; the norm of a filter ranks the hidden units, by their weights."""
    task = weighted()
    model = build("gcn", task)
    found, others = (
        find("scores", name)(model, each, M.ones(model, each.num_edges))
        for each in (task, NodeTask(data()))
    )
    assert list(found) == list(others) == (["weights.0"] if name == "filter_norm" else [])
    assert all(torch.equal(found[n], others[n]) for n in found)


@pytest.mark.parametrize("name", OF_GRAPHS)
def test_scores_read_the_weights_or_say_that_they_do_not(name):
    task, plain = weighted(), NodeTask(data())
    model = build("gcn", task)
    masks = M.ones(model, task.num_edges)
    score = find("scores", name)
    how = {"init": snapshot(build("gcn", task, seed=1))} if name == "magnitude_increase" else {}
    ours, theirs = score(model, task, masks, **how), score(model, plain, masks, **how)
    assert all(t.isfinite().all() for t in ours.values())
    same = all(torch.allclose(ours[n].double(), theirs[n].double()) for n in ours)
    assert same == (name in UNWEIGHTED)
    if EDGES in ours and same and name != "random":
        assert "weights of the data are not read" in score.__doc__.replace("\n    ", " ")


def test_resistances_of_weights_obey_foster_and_the_pseudo_inverse():
    ends = np.array(np.triu_indices(12, 1))[:, ::2]
    pairs = Pairs(12, ends, numbers(ends.shape[1]).numpy())
    a = np.zeros((12, 12))
    a[ends[0], ends[1]] = a[ends[1], ends[0]] = pairs.weight
    inverse, (i, j) = np.linalg.pinv(np.diag(a.sum(0)) - a), ends
    r = resistance.exact_resistance(pairs)
    np.testing.assert_allclose(r, inverse[i, i] + inverse[j, j] - 2 * inverse[i, j], atol=1e-10)
    assert (pairs.weight * r).sum() == pytest.approx(11)
    near = resistance.approximate_resistance(pairs, 0.3, 0)
    assert (abs(near / r - 1) < 0.3).all()


def test_edges_of_one_weight_score_as_those_of_weight_1():
    count = data().num_edges
    model = build("gcn", NodeTask(data()))
    masks = M.ones(model, NodeTask(data()).num_edges)
    for name in ("effective_resistance", "spectral"):
        one, seven = (
            find("scores", name)(model, weighted(weight=torch.full((count,), a)), masks)[EDGES]
            for a in (1.0, 7.0)
        )
        torch.testing.assert_close(one, seven, atol=1e-9, rtol=1e-6)


# --- files ---------------------------------------------------------------------------------------


def arrays(pairs, weight, **more):
    held = {key: value.numpy() for key, value in small().to_dict().items() if key != "edge_index"}
    return held | {"edge_index": np.array(pairs).T, "edge_weight": np.array(weight), **more}


FILES = [  # pairs, weights, what is directed, and A of every edge
    ([[0, 1], [1, 2]], [2.0, 3.0], False, {(0, 1): 2, (1, 0): 2, (1, 2): 3, (2, 1): 3}),
    ([[0, 1], [2, 2]], [2.0, 3.0], False, {(0, 1): 2, (1, 0): 2, (2, 2): 3}),
    ([[0, 1], [0, 1]], [2.0, 3.0], False, {(0, 1): 5, (1, 0): 5}),
    ([[0, 1], [1, 2]], [2.0, 3.0], True, {(0, 1): 2, (1, 2): 3}),
    ([[0, 1], [1, 0]], [[2.0], [3.0]], False, {(0, 1): 2, (1, 0): 3}),
]


@pytest.mark.parametrize("pairs, weight, directed, expected", FILES)
def test_a_file_gives_its_weights_to_both_directions(tmp_path, pairs, weight, directed, expected):
    np.savez(tmp_path / "g.npz", **arrays(pairs, weight, directed=directed))
    held = {k: torch.from_numpy(np.asarray(v)) for k, v in arrays(pairs, weight).items()}
    torch.save(held | {"directed": directed}, tmp_path / "g.pt")
    torch.save(Data(**held), tmp_path / "data.pt")
    for name in ("g.npz", "g.pt"):
        task = find("tasks", "file")(path=str(tmp_path / name))
        assert by_edge(task) == expected, name
        assert task.duplicate_edges == (2 if [0, 1] == pairs[1] else 0)
    whole = find("tasks", "file")(path=str(tmp_path / "data.pt"))  # a `Data` is taken as it is
    assert sum(by_edge(whole).values()) == pytest.approx(np.sum(weight))


def test_a_file_says_what_it_has_that_nothing_reads(tmp_path):
    held = arrays([[0, 1], [1, 2]], [2.0, 3.0], edge_attr=np.ones((2, 4)))
    np.savez(tmp_path / "g.npz", **held)
    [line] = find("tasks", "file")(path=str(tmp_path / "g.npz")).notes  # which a run tells
    assert line.startswith("`data.edge_attr` is not read:")


def test_anything_with_attributes_may_have_weights():
    held = SimpleNamespace(**small(edge_weight=torch.arange(7) + 1.0).to_dict())
    assert by_edge(NodeTask(held))[3, 2] == 7


def test_a_run_records_duplicates_says_what_is_not_read_and_ships_the_weights(tmp_path):
    graph = data()
    graph.edge_weight, graph.edge_attr = numbers(graph.num_edges), torch.ones(graph.num_edges)
    graph.edge_weight[-1] = 0
    torch.save(graph, tmp_path / "own.pt")
    settings = {"path": str(tmp_path / "own.pt"), "rounds": 1, "epochs": 3, "hidden": 4}
    with pytest.warns(DataWarning) as told:
        folder = run("ugs", "file", "gat", settings, out=tmp_path)
    lines = [str(each.message) for each in told]  # each once, however often the data are read
    assert sum(line.startswith("`data.edge_attr` is not read:") for line in lines) == 1
    assert sum("have no reverse" in line for line in lines) == len(lines) - 1 == 1
    with pytest.warns(DataWarning):
        task = NodeTask(graph)
    for record in read(folder):
        assert record["duplicate_edges"] == task.duplicate_edges > 0
        assert (record["zero_edges"], record["num_edges"]) == (1, task.num_edges)
        assert not {*lines} & {*record.get("warnings", ())}  # the result is as good as any
    ticket = load(ticket_file(folder, 0, 1))
    assert ticket.provenance["graph"] == task.fingerprint()
    assert torch.equal(
        ticket.prune(graph).edge_index.unique(dim=1),
        task.without(ticket.masks[EDGES]).graph.edge_index.unique(dim=1),
    )
    small, best = export(str(ticket_file(folder, 0, 1)), out=str(tmp_path / "small"), epochs=3)
    wanted = small(task.x)[task.rows["test"]].argmax(-1) == task.y[task.rows["test"]]
    assert wanted.float().mean().item() == best.test
    again = load_compact(tmp_path / "small")
    torch.testing.assert_close(again(task.x), small(task.x))
    assert again.edge_weight is not None
