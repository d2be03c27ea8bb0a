"""Many seeds at once: each is what it is alone, in float tolerance; an epoch asks nothing back."""

import json
import re
from dataclasses import replace

import pytest
import torch
from test_experiment import Stop, stop_at
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric import nn as pyg
from toys import GRAPH_MODELS, build, data, toy

import graphlth.records as record
from graphlth import masks as M
from graphlth.algorithms.ugs import batched_ugs, ugs
from graphlth.data.node import NodeTask
from graphlth.experiment import run as experiment
from graphlth.experiment.plan import plan
from graphlth.experiment.run import run
from graphlth.rewinding import snapshot
from graphlth.sparse import dropout
from graphlth.sparse.kernels.reference import BACKEND as REFERENCE
from graphlth.sparse.message import edge_softmax, weighted_sum
from graphlth.sparse.products import product
from graphlth.ticket import dense, load, ticket_file
from graphlth.training import batched as seeds
from graphlth.training.loop import train_masks
from graphlth.training.retraining import retrain

models = pytest.mark.parametrize("name", GRAPH_MODELS)
double = pytest.mark.usefixtures("double_precision")
features = pytest.mark.parametrize("about", [{}, {"num_features": 40, "density": 0.05}])
MASKS = {"epochs": 6, "l1_edges": 1e-2, "l1_weights": 1e-2, "lr": 0.01, "weight_decay": 5e-4}
UGS = {**MASKS, "rounds": 2, "drop_edges": 0.1, "drop_weights": 0.2, "scope": "global",
       "mask_noise": 1e-3}  # fmt: skip
CLOSE = {"atol": 1e-6, "rtol": 1e-6}  # metrics are of float32


def three(name, task, **settings):
    return [build(name, task, seed, **settings) for seed in range(3)]


def tickets(models, task):
    return [dense(model, task.num_edges) for model in models]


def curves(epochs):
    return torch.tensor([[e.loss, e.val, e.test] for e in epochs])


def same(a, b):
    assert a.keys() == b.keys()
    for n in a:
        torch.testing.assert_close(a[n], b[n], **CLOSE)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


# --- what one seed is ----------------------------------------------------------------------------


@double
@features
@models
def test_seeds_retrained_at_once_are_those_retrained_one_by_one(name, about):
    """Their losses, accuracies, best epochs and weights, dropout and all."""
    task = toy(**about)
    networks = three(name, task)
    start = tickets(networks, task)
    found = seeds.retrain(networks[0], task, start, seeds=[3, 4, 5], epochs=8)
    for seed, (network, ticket, result) in enumerate(zip(networks, start, found, strict=True), 3):
        alone = list(retrain(network, task, ticket, epochs=8, seed=seed))
        torch.testing.assert_close(curves(result.epochs), curves(alone), equal_nan=True, **CLOSE)
        assert result.best.index == max(alone, key=lambda e: e.val).index
        same(result.state, snapshot(network))  # after the best epoch


@double
@features
@models
def test_masks_trained_at_once_are_those_trained_one_by_one(name, about):
    task = toy(**about)
    networks = three(name, task)
    start = tickets(networks, task)
    found = seeds.train_masks(
        networks[0], task, [t.init for t in start], [t.masks for t in start],
        seeds=[3, 4, 5], noise=1e-3, **MASKS,
    )  # fmt: skip
    for seed, (network, ticket, of_seed) in enumerate(zip(networks, start, found, strict=True), 3):
        alone, epoch = train_masks(network, task, ticket.masks, noise=1e-3, seed=seed, **MASKS)
        same(of_seed[0], {n: m.detach() for n, m in alone.items()})
        assert of_seed[1] == epoch


@double
@models
def test_edges_dropped_at_once_are_those_dropped_one_by_one(name):
    task = toy()
    networks = three(name, task, edge_dropout=0.5)
    start = tickets(networks, task)
    found = seeds.retrain(networks[0], task, start, seeds=[3, 4, 5], epochs=5)
    for seed, (network, ticket, result) in enumerate(zip(networks, start, found, strict=True), 3):
        alone = list(retrain(network, task, ticket, epochs=5, seed=seed))
        torch.testing.assert_close(curves(result.epochs), curves(alone), equal_nan=True, **CLOSE)


@double
@models
def test_tickets_found_at_once_are_those_found_one_by_one(name):
    """Over two rounds; without dropout, whose places move when an edge leaves the graph."""
    task = toy()
    networks = three(name, task, dropout=0.0, input_dropout=0.0)
    starts = [snapshot(network) for network in networks]
    rounds = list(batched_ugs(networks, task, seeds=[0, 1, 2], **UGS))
    assert all(equal(snapshot(n), s) for n, s in zip(networks, starts, strict=True))
    for seed, network in enumerate(networks):
        alone = list(ugs(network, task, seed=seed, **UGS))
        for r, ticket in enumerate(alone):
            assert rounds[r][seed].round == ticket.round == r
            assert equal(rounds[r][seed].masks, ticket.masks)
            assert equal(rounds[r][seed].init, ticket.init)
        assert not equal(alone[2].masks, rounds[2][(seed + 1) % 3].masks)


@double
@models
def test_a_removed_entry_has_no_influence(name):
    task = toy()
    network = build(name, task, dropout=0.0, input_dropout=0.0)
    *_, [ticket] = batched_ugs([network], task, seeds=[0], **UGS)
    [result] = seeds.retrain(network, task, [ticket], seeds=[0], epochs=6)
    alone = list(retrain(network, task, ticket, epochs=6))
    torch.testing.assert_close(curves(result.epochs), curves(alone), equal_nan=True, **CLOSE)
    masks = ticket.masks
    moved = {n: t + 1e3 * (1 - masks[n]) if n in masks else t for n, t in ticket.init.items()}
    [other] = seeds.retrain(network, task, [replace(ticket, init=moved)], seeds=[0], epochs=6)
    assert other.epochs == result.epochs


@models
def test_a_seed_does_not_depend_on_those_beside_it(name):
    task = toy()
    networks = three(name, task)
    whole = list(batched_ugs(networks, task, seeds=[0, 1, 2], **UGS))
    pair = list(batched_ugs(networks[:0:-1], task, seeds=[2, 1], **UGS))
    for all_, two in zip(whole, pair, strict=True):
        assert equal(all_[2].masks, two[0].masks) and equal(all_[1].masks, two[1].masks)


def test_the_run_continues_after_given_tickets():
    task = toy()
    networks = three("gcn", task)
    first, second, third = batched_ugs(networks, task, seeds=[0, 1, 2], **UGS)
    [again] = batched_ugs(networks, task, seeds=[0, 1, 2], last=second, **UGS)
    assert [t.round for t in first + again] == [0] * 3 + [2] * 3
    assert all(equal(a.masks, b.masks) for a, b in zip(third, again, strict=True))


@pytest.mark.parametrize("part", ["drop_edges", "drop_weights"])
def test_a_part_that_is_not_pruned_has_no_mask(part):
    task = toy()
    networks = three("gcn", task)
    *_, last = batched_ugs(networks, task, seeds=[0, 1, 2], **UGS | {part: 0.0})
    alone = list(ugs(networks[1], task, seed=1, **UGS | {part: 0.0}))
    assert last[1].masks.keys() == alone[-1].masks.keys()
    if part == "drop_edges":  # no edge is removed, so dropout has its places
        assert equal(last[1].masks, alone[-1].masks)


# --- messages and dropout inside torch.vmap ------------------------------------------------------

S, D = 3, 4


def stacked(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=draw).requires_grad_()


@pytest.mark.parametrize("heads", [(), (2,)])
@pytest.mark.parametrize("of_x", [None, 0, 1, 2])
@pytest.mark.parametrize("of_weight", ["none", None, 0, 1])
def test_a_sum_of_each_is_the_sum_of_each(heads, of_x, of_weight):
    graph = toy().graph
    x, w = stacked(S, graph.num_nodes, *heads, D), stacked(S, graph.num_edges, *heads, seed=1)
    moved = [x[0] if of_x is None else x.movedim(0, of_x)]
    if of_weight != "none":
        moved.append(w[0] if of_weight is None else w.movedim(0, of_weight))
    dims = (of_x, of_weight)[: len(moved)]
    if all(dim is None for dim in dims):  # torch.vmap wants one
        return
    out = torch.vmap(lambda *given: weighted_sum(graph, *given), in_dims=dims)(*moved)
    grads = torch.autograd.grad(out.square().sum(), [x, w], allow_unused=True)

    def alone(s):
        mine = [x[0 if of_x is None else s], w[0 if of_weight is None else s]][: len(moved)]
        flat = [t.flatten(0, 1) if heads else t for t in mine]
        out = REFERENCE.weighted_sum(graph.heads(2) if heads else graph, flat[0], (*flat, None)[1])
        return out.view(graph.num_nodes, *heads, D)

    expected = torch.stack([alone(s) for s in range(S)])
    theirs = torch.autograd.grad(expected.square().sum(), [x, w], allow_unused=True)
    torch.testing.assert_close(out, expected)
    if of_x is not None:
        torch.testing.assert_close(grads[0], theirs[0])
    if of_weight not in ("none", None):
        torch.testing.assert_close(grads[1], theirs[1])


def test_features_and_softmax_work_inside_vmap():
    task = toy(num_features=40, density=0.05)
    w, logits = stacked(S, 40, D), stacked(S, task.graph.num_edges)
    out = torch.vmap(lambda w: product(task.x, w))(w)
    torch.testing.assert_close(out, task.x.dense @ w)
    alpha = torch.vmap(lambda e: edge_softmax(task.graph, e))(logits)
    expected = [edge_softmax(task.graph, e) for e in logits]
    torch.testing.assert_close(alpha, torch.stack(expected))


@pytest.mark.parametrize("drop", [dropout.dropout, dropout.relu_dropout])
@pytest.mark.parametrize("dim", [None, 0, 1, 2])
def test_dropout_of_each_has_the_keys_of_each(drop, dim):
    x = stacked(S, 5, 7).sub(0.3)
    keys = torch.stack([dropout.draw_keys(2, seed) for seed in (3, 4, 5)])  # [S, calls]

    def twice(x, keys):
        with dropout.dropout_keys(keys.unbind()):
            return drop(drop(x, 0.5), 0.2)

    given = x[0] if dim is None else x.movedim(0, dim)
    out = torch.vmap(twice, in_dims=(dim, 0))(given, keys)
    for s in range(S):
        torch.manual_seed(3 + s)
        assert torch.equal(out[s], drop(drop(x[0 if dim is None else s], 0.5), 0.2))


def test_dropout_inside_vmap_needs_keys():
    with pytest.raises(ValueError, match=r"needs stacked keys: see `dropout_keys`"):
        torch.vmap(lambda x: dropout.dropout(x, 0.5), randomness="same")(torch.ones(2, 3))


@pytest.mark.parametrize("shape", [(5,), (4097,), (300, 30), (0, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")
def test_the_device_draws_the_bits_of_the_cpu(shape, dtype):
    pytest.importorskip("triton")
    from graphlth.sparse.kernels._dropout import drop

    device = "cuda" if torch.cuda.is_available() else "cpu"
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(2, *shape, dtype=dtype, generator=draw)
    keys = torch.tensor([(1 << 63) - 1, dropout.draw_keys(1, 0).item()])
    for keep, positive in ((1, False), (26214, True), (65535, False)):
        expected = [dropout._drop(part, keep, int(k), positive) for part, k in zip(x, keys)]  # noqa: B905
        for dim in range(x.dim()):
            moved = x.movedim(0, dim).to(device)
            out = drop(moved, keep, keys.to(device), dim, positive)
            assert torch.equal(out.movedim(dim, 0).cpu(), torch.stack(expected))


# --- an epoch ------------------------------------------------------------------------------------


class Waits(TorchDispatchMode):
    """Refuses what needs an answer of the device, or a size that it decides."""

    ASKS = re.compile(r"_local_scalar_dense|nonzero|unique|masked_select|equal\.default|is_nonzero")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not self.ASKS.search(str(func)), f"an epoch must not wait for {func}"
        out = func(*args, **(kwargs or {}))
        if "index" in str(func):
            assert not any(
                isinstance(i, torch.Tensor) and i.dtype == torch.bool
                for part in args if isinstance(part, (list, tuple)) for i in part
            ), "an epoch must not index by a mask"  # fmt: skip
        return out


@models
def test_an_epoch_never_waits_for_its_device(name, monkeypatch):
    """Nor keeps count outside of it: what a CUDA graph replays is any epoch."""
    epochs = []

    def repeat(epoch, times, graphs):
        for index in range(times):
            if index < seeds.WARM:
                epoch()
            else:
                with Waits():
                    epoch()
            epochs.append(epoch)

    monkeypatch.setattr(seeds, "_repeat", repeat)
    task = toy(num_features=40, density=0.05)
    network = build(name, task)
    list(batched_ugs([network, network], task, seeds=[0, 1], **UGS | {"rounds": 1}))
    assert len(epochs) == UGS["epochs"] > seeds.WARM
    assert len({id(epoch) for epoch in epochs}) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@models
def test_a_cuda_graph_gives_the_digits_of_the_cpu(name):
    task = toy()
    networks = three(name, task)
    start = tickets(networks, task)
    expected = seeds.retrain(networks[0], task, start, seeds=[0, 1, 2], epochs=12)
    there = [t.to("cuda") for t in start]
    for graphs in (False, True):
        network = build(name, task).to("cuda")
        found = seeds.retrain(
            network, task.to("cuda"), there, seeds=[0, 1, 2], epochs=12, graphs=graphs
        )
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(curves(a.epochs)[:, 0], curves(b.epochs)[:, 0],
                                       atol=1e-3, rtol=1e-3)  # fmt: skip


# --- a run ---------------------------------------------------------------------------------------

QUICK = {"size": 15, "hidden": 8, "rounds": 2, "epochs": 4, "dropout": 0.0, "mask_noise": 0.5}


def lines(folder):
    return {p.name: record.read_file(p) for p in sorted(folder.glob("*.jsonl"))}


def told(folder):
    """Every record but for what is measured, and for a seed's share of what its batch computed."""
    aside = (*record.COST_PREFIXES, "macs_")
    return {
        name: [
            {n: v for n, v in line.items() if n == "macs_per_layer" or not n.startswith(aside)}
            for line in found
        ]
        for name, found in lines(folder).items()
    }


def test_a_batched_run_records_what_a_run_records(tmp_path):
    steps = []
    plain = run("ugs", "sbm", "gcn", QUICK, seeds=3, out=tmp_path)
    folder = run("ugs", "sbm", "gcn", QUICK, seeds=3, out=tmp_path, batch=2, watch=steps.append)
    assert folder != plain
    assert json.loads((folder / "settings.json").read_text())["batched"] is True
    assert told(folder) == told(plain)
    for r in range(3):
        for field in ("macs_search", "macs_retrain"):
            batched, apart = (sum(each[r][field] for each in lines(f).values())
                              for f in (folder, plain))  # fmt: skip
            assert abs(batched - apart) < 3  # shares are rounded down
    for seed in range(3):
        for r in range(3):
            a, b = (load(ticket_file(f, seed, r)) for f in (folder, plain))
            assert equal(a.masks, b.masks) and equal(a.init, b.init)
            assert a.provenance == b.provenance
    assert sorted((s.seed, s.round) for s in steps if s.epoch is None) == [
        (seed, r) for seed in range(3) for r in range(3)
    ]
    assert len(steps) == 9 * (QUICK["epochs"] + 1)


@pytest.mark.parametrize(("number", "epoch"), [(0, 2), (1, 1), (1, None)])
def test_an_interrupted_batch_ends_with_the_same_digits(tmp_path, number, epoch):
    how = {"seeds": 3, "batch": 3}
    whole = run("ugs", "sbm", "gcn", QUICK, out=tmp_path / "whole", **how)
    with pytest.raises(Stop):  # of the seeds some have the round behind them, some not
        run("ugs", "sbm", "gcn", QUICK, out=tmp_path / "cut", watch=stop_at(number, epoch), **how)
    cut = run("ugs", "sbm", "gcn", QUICK, out=tmp_path / "cut", **how)
    assert told(cut) == told(whole)
    before = {p.name: p.stat().st_mtime_ns for p in cut.glob("seed*")}
    steps = []
    run("ugs", "sbm", "gcn", QUICK, out=tmp_path / "cut", watch=steps.append, **how)
    assert {p.name: p.stat().st_mtime_ns for p in cut.glob("seed*")} == before
    assert len(steps) == 9


def test_processes_share_out_the_batches(tmp_path, monkeypatch):
    seen = []

    def in_processes(work, groups, jobs, watch):
        for group in groups[::-1]:
            seen.append((jobs, list(group)))
            work(group, watch)

    how = {"seeds": 3, "batch": 2}
    one = run("ugs", "sbm", "gcn", QUICK, out=tmp_path / "one", **how)
    monkeypatch.setattr(experiment, "run_in_processes", in_processes)
    two = run("ugs", "sbm", "gcn", QUICK, out=tmp_path / "two", jobs=2, **how)
    assert seen == [(2, [2]), (2, [0, 1])]
    assert told(one) == told(two) and len(told(one)) == 3


def test_how_many_seeds_are_at_once_does_not_name_a_run_but_that_they_are_does():
    plain, batched = plan("ugs", "sbm", "gcn"), plan("ugs", "sbm", "gcn", batched=True)
    assert plain.name != batched.name
    assert plain.settings == batched.settings


@double
def test_seeds_of_another_loss_and_an_error_to_lower_are_those_one_by_one():
    graph = data()
    graph.y = graph.x[:, 0] * 2 + 1
    task = NodeTask(graph, loss="mse", metric="mae")
    networks = three("gcn", task, dropout=0.0)
    start = tickets(networks, task)
    found = seeds.retrain(networks[0], task, start, seeds=[3, 4, 5], epochs=12, lr=0.05)
    for seed, (network, ticket, result) in enumerate(zip(networks, start, found, strict=True), 3):
        alone = list(retrain(network, task, ticket, epochs=12, lr=0.05, seed=seed))
        torch.testing.assert_close(curves(result.epochs), curves(alone), equal_nan=True, **CLOSE)
        assert result.best.val == min(e.val for e in result.epochs)
        same(result.state, snapshot(network))


def test_a_metric_that_is_no_mean_over_rows_is_refused_for_many_seeds():
    task = NodeTask(data(), metric="roc_auc")
    network = build("gcn", task)
    with pytest.raises(ValueError, match=r"a metric that is a mean over rows .* got roc_auc"):
        seeds.retrain(network, task, tickets([network], task), seeds=[0], epochs=1)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "task", "model", "how", "wrong"),
    [
        ("ugs", "sbm", "gcn", {"batch": 0}, r"`batch` must be in \[1, 10000\], got 0"),
        ("imp", "sbm", "gcn", {"batch": 2}, "`batch` above 1 and `graphs` are for ugs alone"),
        ("ugs", "sbm", "gcn", {"graphs": True}, "`graphs` must go with a CUDA device, got 'cpu'"),
    ],
)
def test_a_run_that_cannot_be_batched_is_refused(tmp_path, algorithm, task, model, how, wrong):
    with pytest.raises(ValueError, match=wrong):
        run(algorithm, task, model, {"rounds": 1, "epochs": 2}, out=tmp_path, seeds=2, **how)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"seeds": []}, "`seeds` must hold at least 1, got none"),
        ({"seeds": [0, 1]}, "`theta` must be one for each of 2 seeds, got 3"),
        ({"masks": [{}, {}]}, "`masks` must be one for each of 3 seeds, got 2"),
        ({"masks": [{}, {}, {"weights.0": None}]}, "`masks` must hold the same names"),
        ({"epochs": 0}, r"`epochs` must be in \[1, 1000000\], got 0"),
        ({"graphs": True}, "`graphs` must go with a CUDA device, got 'cpu'"),
        ({"lr": 1e30}, r"the loss of seed \d is \w+ in epoch \d: lower `lr`, got 1e\+30"),
    ],
)
def test_seeds_that_do_not_fit_are_refused(change, wrong):
    task = toy()
    start = tickets(three("gcn", task), task)
    how = {"theta": [t.init for t in start], "masks": [t.masks for t in start],
           "seeds": [0, 1, 2], "epochs": 3} | change  # fmt: skip
    with pytest.raises(ValueError, match=wrong):
        seeds.train(build("gcn", task), task, **how)


def test_models_and_tasks_of_another_kind_are_refused():
    task = toy()
    network = pyg.GCNConv(task.num_features, 2)
    with pytest.raises(ValueError, match=r"`model` must take a `graph` .* got GCNConv"):
        seeds.retrain(network, task, tickets([network], task), seeds=[0], epochs=1)
    network = build("gcn", task)
    network.norm = torch.nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="and have no buffers"):
        seeds.retrain(network, task, tickets([network], task), seeds=[0], epochs=1)
    network, many = build("gcn", task), toy()
    many.batches = lambda split, seed=0, index=0: [*task.batches(split)] * 2
    with pytest.raises(ValueError, match=r"`task` must have one training batch .* got 2"):
        seeds.retrain(network, many, tickets([network], task), seeds=[0], epochs=1)
    with pytest.raises(ValueError, match="`ticket` does not fit"):
        other = tickets([build("gcn", task, hidden=5)], task)
        seeds.retrain(network, task, other, seeds=[0], epochs=1)
    assert M.EDGES in tickets([network], task)[0].masks
