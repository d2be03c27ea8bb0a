"""The training loop: what a mask does to a model, to its gradients, to Adam and to the digits."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric import nn as pyg
from toys import GRAPH_MODELS, build, toy

from graphlth import masks as M
from graphlth.prune import drop_jointly
from graphlth.rewinding import rewind, snapshot
from graphlth.scores.random import random
from graphlth.sparse.cache import StepCache
from graphlth.streams import stream_seed
from graphlth.task import SPLITS, Batch
from graphlth.ticket import Ticket, dense
from graphlth.training.checks import check_edges
from graphlth.training.epoch import Epoch
from graphlth.training.evaluation import Evaluator, evaluate, predict
from graphlth.training.forward import call_model, forward, forward_rows
from graphlth.training.loop import train, train_masks
from graphlth.training.masked import MaskedParameter, SoftMasks, apply_masks
from graphlth.training.optimizers import Adam
from graphlth.training.retraining import fit, retrain

models = pytest.mark.parametrize("name", GRAPH_MODELS)
universes = pytest.mark.parametrize("edges", ["undirected", "directed"])
L1 = {"l1_edges": 1e-4, "l1_weights": 1e-4}
HOW = {"lr": 0.01, "weight_decay": 5e-4, "noise": 1e-5, "seed": 0}


class User(nn.Module):
    """What a PyG user has: two layers with biases and a norm with running statistics."""

    def __init__(self, conv, task, **about):
        super().__init__()
        self.first = conv(task.num_features, 6, **about)
        self.norm = nn.BatchNorm1d(6)
        self.last = conv(6, task.num_classes, **about)

    def forward(self, x, edge_index, *edge_weight):
        x = self.norm(self.first(x, edge_index, *edge_weight)).relu()
        return self.last(F.dropout(x, 0.5, self.training), edge_index, *edge_weight)


def user(conv, task, seed=0, **about):
    torch.manual_seed(seed)
    return User(conv, task, **about)


def some_masks(model, task, share=0.4, seed=0):
    whole = M.ones(model, task.num_edges)
    return drop_jointly(whole, random(model, task, whole, seed=seed), share, share)


def run(epochs):
    return list(epochs)


def bits(tensors):
    return {n: t.detach().numpy().tobytes() for n, t in tensors.items()}


def test_forward_leaves_the_model_as_it_is():
    task = toy()
    model = build("gcn", task)
    before = bits(snapshot(model))
    forward(model, next(task.batches("train")), some_masks(model, task))
    assert bits(snapshot(model)) == before


@pytest.mark.parametrize("improved", [False, True])
@universes
def test_edge_weights_reach_a_pyg_model_and_zero_is_absent(edges, improved):
    task = toy(edges, loops=False)  # PyG merges loops of the data with its own
    model = user(pyg.GCNConv, task, improved=improved).eval()
    masks = some_masks(model, task)
    batch, cut = (next(t.batches("train")) for t in (task, task.without(masks[M.EDGES] != 0)))
    leaf, rest = (masks[M.EDGES].clone().requires_grad_() for _ in range(2))
    grads = []
    for b, m in ((batch, leaf), (cut, rest)):
        model.zero_grad()
        forward(model, b, masks | {M.EDGES: m}).square().sum().backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters()})
    out, expected = forward(model, batch, masks), forward(model, cut, masks)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(out, forward(model, batch, M.only(masks, "weights")))
    for n, g in grads[0].items():
        torch.testing.assert_close(g, grads[1][n], atol=1e-4, rtol=1e-4)
    alive = masks[M.EDGES] > 0
    torch.testing.assert_close(leaf.grad[alive], rest.grad[alive], atol=1e-4, rtol=1e-4)
    assert leaf.grad.isfinite().all()
    assert leaf.grad[~alive].any()


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("conv", [pyg.GCNConv, pyg.SAGEConv, pyg.GATConv])
@pytest.mark.parametrize("few", [0.0, 1.0])
@universes
def test_a_pyg_model_without_edge_weights_trains_on_the_cut_graph(edges, few, conv, monkeypatch):
    monkeypatch.setattr("graphlth.training.masked.MaskedParameter.FEW", few)
    task = toy(edges, loops=False)
    masks = some_masks(user(conv, task), task)
    ours, theirs = user(conv, task), user(conv, task)
    first = snapshot(ours)
    run(train(ours, task, masks, epochs=3, seed=1))
    cut = task.graph.edge_index[:, masks[M.EDGES][task.entries] > 0]
    # The same by hand: the weights are masked, the graph has fewer edges.
    torch.manual_seed(stream_seed(1, "dropout"))
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, weight_decay=5e-4, fused=True)
    for _ in range(3):
        theirs.train()
        weights = M.masked_values(dict(theirs.named_parameters()), M.only(masks, "weights"))
        out = torch.func.functional_call(theirs, weights, (task.x, cut))
        adam.zero_grad()
        F.cross_entropy(out[task.rows["train"]], task.y[task.rows["train"]]).backward()
        adam.step()
    for n, t in theirs.state_dict().items():
        if few and n in masks:  # trained as a vector: what is removed stays, in theirs it decays
            t = torch.where(masks[n] > 0, t, first[n])
        torch.testing.assert_close(ours.state_dict()[n], t, atol=1e-9, rtol=1e-9)


def test_sparse_features_reach_a_pyg_model_dense():
    task = toy(num_features=40, density=0.05)
    assert not isinstance(task.x, torch.Tensor)
    model = user(pyg.SAGEConv, task).eval()
    out = forward(model, next(task.batches("train")), {})
    torch.testing.assert_close(out, model(task.x.to_dense(), task.graph.edge_index))


def test_a_model_without_a_graph_is_masked_like_any_other():
    model = nn.Linear(3, 2)
    mask = torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    x = torch.randn(5, 3)
    out = forward(model, Batch((x,), torch.zeros(5)), {"weight": mask, M.EDGES: torch.ones(4)})
    torch.testing.assert_close(out, x @ (model.weight * mask).T + model.bias)


@universes
@models
def test_physical_removal_is_the_soft_masked_forward(name, edges):
    """The task without its edges and weights of 0 compute what the masks did."""
    task = toy(edges)
    model = build(name, task)
    masks = some_masks(model, task)
    soft = forward(model, next(task.batches("train")), masks)
    with torch.no_grad():
        for n, p in M.prunable(model).items():
            p.mul_(masks[n])
    x, graph = next(task.without(masks[M.EDGES] != 0).batches("train")).inputs
    assert graph.num_edges < task.graph.num_edges
    torch.testing.assert_close(model(x, graph), soft, atol=1e-5, rtol=1e-4)


@universes
@models
def test_a_removed_weight_has_no_influence_through_adam_and_decay(name, edges):
    task = toy(edges)
    model = build(name, task, hidden=8)
    masks, start = some_masks(model, task), snapshot(model)
    moved = {n: t + 1e3 * (1 - masks[n]) if n in masks else t for n, t in start.items()}
    how = {"epochs": 12, "lr": 0.05, "weight_decay": 0.1, "seed": 3}
    ends = []
    for init in (start, moved):
        model.load_state_dict(init)
        epochs = run(train(model, task, masks, **how))
        ends.append((epochs, predict(model, task, Ticket(init, masks, 1)).tolist()))
    assert ends[0] == ends[1]
    assert bits(snapshot(model)) != bits(moved)


def test_a_removed_edge_has_no_influence():
    task = toy("directed")
    a, b = (build("gat", task) for _ in range(2))
    masks = {M.EDGES: (task.graph.edge_index[0] != 7).float()}  # node 7 is heard by nobody
    other = toy("directed")
    other.x[7] += 100
    rows = task.rows["train"]
    task.rows["train"] = other.rows["train"] = rows[rows != 7]
    losses = [[e.loss for e in train(m, t, masks, epochs=4)] for m, t in ((a, task), (b, other))]
    assert losses[0] == losses[1]


@models
def test_150_mask_epochs_that_drive_masks_to_0_stay_finite(name):
    """The published code was NaN at epoch 127: a degree had turned negative."""
    task = toy()
    model = build(name, task)
    task.x[:4] = 0
    soft = {n: m.requires_grad_() for n, m in M.ones(model, task.num_edges).items()}
    lowest = torch.inf

    def penalty(_, soft):
        return sum(0.5 * m.sum() for m in soft.values())

    for epoch in train(
        model,
        task,
        M.ones(model, task.num_edges),
        epochs=150,
        soft=SoftMasks(soft),
        penalty=penalty,
    ):
        lowest = min(lowest, *(float(m.detach().min()) for m in soft.values()))
        assert torch.tensor([epoch.loss, epoch.val]).isfinite().all()
    assert lowest == 0  # they reached 0 and were held there
    assert int((soft[M.EDGES] == 0).sum()) > task.num_edges / 2
    for t in [*model.parameters(), *soft.values(), *(m.grad for m in soft.values())]:
        assert t.isfinite().all()


@models
def test_training_with_every_edge_and_every_weight_gone_is_finite(name):
    task = toy()
    model = build(name, task)
    nothing = {n: 0 * m for n, m in M.ones(model, task.num_edges).items()}
    for parameter, value in model.named_parameters():
        if "bias" in parameter and parameter not in nothing:
            nn.init.zeros_(value)  # the best there is, as both classes have as many rows
    epochs = run(train(model, task, nothing, epochs=3))
    assert [e.loss for e in epochs] == pytest.approx(3 * [math.log(2)])  # nothing left to learn
    assert predict(model, task, Ticket({}, nothing, 1)).isfinite().all()


def search(seed, name="gcn", l1_edges=1e-4, noise=1e-2, lr=0.01, epochs=6):
    task = toy()
    model = build(name, task)
    soft, _ = train_masks(
        model, task, M.ones(model, task.num_edges), epochs=epochs, l1_edges=l1_edges,
        l1_weights=1e-4, lr=lr, weight_decay=5e-4, noise=noise, seed=seed,
    )  # fmt: skip
    return soft


def test_few_masks_written_back_seldom_are_those_written_back_after_every_epoch():
    task = toy()
    model = build("gcn", task)
    few = {n: (torch.arange(m.numel()) % 4 == 0).view(m.shape).to(m)
           for n, m in M.ones(model, task.num_edges).items()}  # fmt: skip
    how = {"epochs": 8, "lr": 0.1, "weight_decay": 5e-4, "seed": 3}
    theta = snapshot(model)
    seldom, when = train_masks(model, task, few, l1_edges=1e-2, l1_weights=1e-2, noise=1e-2, **how)
    soft, vals, found = (
        {n: m.requires_grad_() for n, m in M.add_noise(few, 1e-2, 3).items()},
        [-1],
        {},
    )
    rates = dict.fromkeys(soft, 1e-2)
    for epoch in train(rewind(model, theta), task, few, soft=SoftMasks(soft, rates),
                       scoring=("val",), **how):  # fmt: skip
        if epoch.val > max(vals):
            found = {n: m.clone() for n, m in soft.items()}
        vals.append(epoch.val)
    assert max(vals) > vals[1]  # the best epoch is not the first
    assert bits(seldom) == bits(found) and when == vals.index(max(vals)) - 1


@models
def test_the_same_seed_gives_the_same_digits(name):
    def once(seed):
        task = toy()
        model = build(name, task)
        epochs = run(train(model, task, some_masks(model, task), epochs=5, seed=seed))
        return [e.loss for e in epochs], bits(snapshot(model)), bits(search(seed, name))

    assert once(0) == once(0)
    for a, b in zip(once(0), once(1), strict=True):
        assert a != b


def test_the_global_random_state_does_not_matter():
    torch.manual_seed(5)
    first = search(0)
    torch.rand(7)
    assert bits(search(0)) == bits(first)


def test_soft_masks_train_and_start_in_noise_around_1():
    start = search(0, lr=0.0, noise=0.25)
    for m in start.values():
        assert not m.requires_grad
        assert 0.75 <= float(m.min()) and float(m.max()) <= 1.25
        assert m.unique().numel() > m.numel() / 2  # nobody ties
    assert all(bool((m == 1).all()) for m in search(0, lr=0.0, noise=0.0).values())
    for other in (search(0), search(1, lr=0.0, noise=0.25)):  # they move; the noise has a seed
        assert not any(torch.equal(m, other[n]) for n, m in start.items())


def test_a_stronger_l1_makes_smaller_masks():
    weak, strong = (search(0, l1_edges=l1, epochs=30, noise=0)[M.EDGES].sum() for l1 in (0, 1))
    assert strong < weak


def test_masks_come_from_the_first_epoch_of_best_validation(monkeypatch):
    seen = []

    def scripted(model, task, masks, *, soft, **how):
        for index, val in enumerate([0.2, 0.6, 0.6, 0.1]):
            with torch.no_grad():
                soft.values[M.EDGES].fill_(index)
            seen.append(index)
            yield Epoch(index, 0.0, val, 0.0)

    monkeypatch.setattr("graphlth.training.loop.train", scripted)
    assert search(0)[M.EDGES].unique().tolist() == [1]
    assert seen == [0, 1, 2, 3]


def test_an_entry_of_0_takes_no_part_in_the_search():
    """Its soft mask sees L1 and decay alone, and no other mask depends on it."""
    task = toy("directed")
    model = build("gcn", task)
    masks = some_masks(model, task)
    start = snapshot(model)
    found = []
    for bump in (0.0, 50.0):
        model.load_state_dict(start)
        ones = M.ones(model, task.num_edges)
        soft = {n: (m + bump * (masks[n] == 0)).requires_grad_() for n, m in ones.items()}
        run(train(model, task, masks, epochs=4, soft=SoftMasks(soft)))
        found.append(bits({n: m[masks[n] > 0] for n, m in soft.items()}))
    assert found[0] == found[1]


def test_a_loss_that_is_not_finite_is_named_in_one_line():
    task = toy()
    model = build("gin", task, hidden=8)
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) in epoch \d+: .*`lr`, got 1e\+30"):
        run(train(model, task, {}, epochs=20, lr=1e30))


def test_accuracy_is_that_of_the_rows_of_each_split():
    task = toy()
    model = build("gcn", task)
    masks = some_masks(model, task)
    guess = forward(model, next(task.batches("test")), masks).argmax(-1)
    expected = [
        (guess[task.rows[s]] == task.y[task.rows[s]]).float().mean().item() for s in ("val", "test")
    ]
    assert evaluate(model.train(), task, masks, ("val", "test")) == expected
    assert 0 < sum(expected) < 2


def test_splits_share_the_forward_pass_of_a_model_that_computes_all_rows(monkeypatch):
    task, calls = toy(), []
    model = user(pyg.GCNConv, task)
    monkeypatch.setattr(
        "graphlth.training.evaluation.call_model",
        lambda *about: calls.append(0) or call_model(*about),
    )
    judge = Evaluator(model, task, dict(model.named_parameters()), None)
    assert [judge(s)[0] for s in SPLITS] == evaluate(model, task, {}, SPLITS)
    calls.clear()
    judge = Evaluator(model, task, dict(model.named_parameters()), None)
    for split in SPLITS:
        judge(split)
    assert len(calls) == 1


def scripted_vals(monkeypatch, vals):
    """Training whose epoch i leaves every weight at i and has validation accuracy vals[i]."""

    def scripted(model, task, masks, **how):
        for index, val in enumerate(vals):
            with torch.no_grad():
                for p in model.parameters():
                    p.fill_(index)
            yield Epoch(index, 1.0, val, 0.5)

    monkeypatch.setattr("graphlth.training.retraining.train", scripted)


@pytest.mark.parametrize(
    ("vals", "best"), [([0.1, 0.7, 0.7, 0.3], 1), ([0.5], 0), ([0.0, 0.0], 0), ([0.1, 0.2], 1)]
)
def test_fit_leaves_the_weights_of_the_first_best_epoch(vals, best, monkeypatch):
    task = toy()
    model = build("gcn", task)
    scripted_vals(monkeypatch, vals)
    epoch = fit(model, task, dense(model, task.num_edges))
    assert (epoch.index, epoch.val) == (best, vals[best])
    assert all(bool((p == best).all()) for p in model.parameters())


def test_a_best_epoch_that_fit_reports_is_what_the_model_predicts():
    task = toy()
    model = user(pyg.GCNConv, task)
    ticket = dense(model, task.num_edges)
    best = fit(model, task, ticket, epochs=15, lr=0.05)
    for split, accuracy in (("val", best.val), ("test", best.test)):
        guess = predict(model, task, ticket, split).argmax(-1)
        assert (guess == task.y[task.rows[split]]).float().mean().item() == accuracy


@pytest.mark.parametrize("share", [0.3, 0.8])  # of the weights removed: as a matrix, as a vector
@models
def test_what_fit_reports_is_what_its_weights_reach(name, share):
    task = toy()
    model = build(name, task)
    masks = M.only(some_masks(model, task, share), "weights")
    best = fit(model, task, Ticket(snapshot(model), masks, 1), epochs=15, lr=0.05)
    assert evaluate(model, task, masks, ("val", "test")) == [best.val, best.test]


@pytest.mark.parametrize("few", [0.0, 0.5, 1.1])  # of all nodes
@models
def test_an_evaluation_reads_no_more_than_the_rows_it_scores_and_those_of_training(
    monkeypatch, name, few
):
    """Or the whole graph, where these are not few; and finds the accuracies of the whole graph."""
    monkeypatch.setattr("graphlth.data.node.FEW", few)
    task = toy()
    model = build(name, task).eval()
    output = call_model(model, next(task.batches("val")), dict(model.named_parameters()), None)
    for split in ("train", "val", "test"):
        (batch,) = task.batches(split)
        read = {*task.rows[split].tolist(), *task.rows["train"].tolist()}
        assert (batch.among is None) == (len(read) >= few * task.num_nodes)
        if batch.among is not None:
            nodes, places = batch.among
            assert set(nodes.tolist()) == read and torch.equal(nodes[places], batch.rows)
        expected = (output[batch.rows].argmax(-1) == batch.target).float().mean().item()
        assert evaluate(model, task, {}, (split,)) == [expected]


def test_test_data_are_looked_at_last_and_where_validation_is_the_best_so_far(monkeypatch):
    task, judged = toy(), []
    real = Evaluator.__call__
    monkeypatch.setattr(Evaluator, "__call__", lambda self, s: judged.append(s) or real(self, s))
    epochs = run(train(build("gcn", task, dropout=0.5), task, {}, epochs=30, seed=1, lr=0.1))
    best = [e.val > max([o.val for o in epochs[:i]], default=-1) for i, e in enumerate(epochs)]
    assert not best[-1]
    assert [not math.isnan(e.test) for e in epochs] == [*best[:-1], True]
    assert judged.count("test") == sum(best) + 1 < judged.count("val") == 30


def test_retraining_starts_from_the_ticket_whatever_the_model_was():
    """Weights, and the statistics of a norm, are the ticket's; Adam is fresh."""
    task = toy()
    model = user(pyg.GCNConv, task)
    ticket = Ticket(snapshot(model), some_masks(model, task), 2)
    before = bits(ticket.init), bits(ticket.masks)
    losses = []
    for _ in range(2):
        losses.append([e.loss for e in retrain(model, task, ticket, epochs=5, lr=0.05)])
        with torch.no_grad():
            for t in model.state_dict().values():
                t.add_(1)
    assert losses[0] == losses[1]
    assert (bits(ticket.init), bits(ticket.masks)) == before


def test_the_first_epoch_of_a_retraining_sees_theta_0_bit_for_bit():
    task = toy()
    model = user(pyg.GCNConv, task)
    ticket = dense(model, task.num_edges)
    run(train(model, task, {}, epochs=3))
    assert bits(snapshot(model)) != bits(ticket.init)
    run(retrain(model, task, ticket, epochs=1, lr=0.0, weight_decay=0.0))
    weights = {n: p for n, p in model.named_parameters()}
    assert bits(weights) == bits({n: ticket.init[n] for n in weights})


@pytest.mark.parametrize("epochs", [0, -1])
def test_no_epochs_are_refused(epochs):
    task = toy()
    model = build("gcn", task)
    with pytest.raises(ValueError, match=rf"`epochs` must be in \[1, 1000000\], got {epochs}"):
        fit(model, task, dense(model, task.num_edges), epochs=epochs)


def test_a_ticket_of_another_graph_is_not_retrained():
    task, other = toy(), toy("directed")
    model = build("gcn", task)
    with pytest.raises(ValueError, match="mask 'edges'"):
        fit(model, other, dense(model, task.num_edges))
    stranger = Ticket(snapshot(model), {}, 1, {"graph": task.fingerprint()})
    fit(model, task, stranger, epochs=1)
    with pytest.raises(ValueError, match="another graph"):
        fit(model, other, stranger)


def test_predictions_are_those_of_the_rows_of_a_split():
    task = toy()
    model = build("gcn", task)
    masks = some_masks(model, task)
    out = forward(model, next(task.batches("test")), masks)
    for split in ("train", "val", "test"):
        logits = predict(model.train(), task, Ticket({}, masks, 1), split)
        torch.testing.assert_close(logits, out[task.rows[split]], atol=1e-5, rtol=1e-5)
        assert not logits.requires_grad


class Plain(User):
    """Takes no edge weights."""

    def forward(self, x, edge_index):
        return super().forward(x, edge_index)


class Deaf(User):
    """Takes edge weights and does not listen to them."""

    def forward(self, x, edge_index, edge_weight=None):
        return super().forward(x, edge_index)


class Averse(User):
    """Multiplies messages by the mask, but divides by the degree without it."""

    def forward(self, x, edge_index, edge_weight=None):
        weight = x.new_ones(edge_index.size(1)) if edge_weight is None else edge_weight
        rows = x.new_zeros(len(x), len(x)).index_put((edge_index[1], edge_index[0]), weight)
        degree = (rows != 0).sum(1) if edge_weight is None else edge_index[1].bincount(None, len(x))
        return self.last.lin(rows @ self.first.lin(x) / degree.clamp(min=1)[:, None])


class Blind(User):
    """Reads no edges."""

    def forward(self, x, edge_index):
        return self.last.lin(self.first.lin(x))


REFUSED = [  # model, message
    (
        lambda task: user(pyg.GCNConv, task, cached=True),
        r"`model` must not cache its graph .* `cached=True`",
    ),
    (lambda task: Averse(pyg.GCNConv, task), r"`model` must treat an edge of weight 0 as absent"),
    (lambda task: Blind(pyg.GCNConv, task), r"`model` must read the edges that masks remove"),
]
FOLLOWED = [  # takes no weights, or does not listen to them: its operators are masked
    lambda task: Plain(pyg.SAGEConv, task),
    lambda task: user(pyg.GATConv, task),
    lambda task: Deaf(pyg.GCNConv, task),
    lambda task: user(pyg.GCNConv, task),
]


@universes
@pytest.mark.parametrize("make", FOLLOWED)
def test_operators_follow_edge_masks_that_their_model_knows_nothing_of(make, edges):
    task = toy(edges)  # with loops, which PyG's GCNConv puts in place of its own
    model, draw = make(task), torch.Generator().manual_seed(0)
    masks = {M.EDGES: (torch.rand(task.num_edges, generator=draw) < 0.5).float()}
    soft = {M.EDGES: torch.ones(task.num_edges).requires_grad_()}
    next(train(model, task, {M.EDGES: torch.ones_like(masks[M.EDGES])}, epochs=1,
               soft=SoftMasks(soft)))  # fmt: skip
    assert (soft[M.EDGES] != 1).any()
    batch, left = (next(t.batches("val")) for t in (task, task.without(masks[M.EDGES])))
    how = StepCache(masked_inside=check_edges(model, task, masks, soft=True))
    out = forward(model.eval(), batch, masks, how)
    torch.testing.assert_close(out, forward(model, left, {}), atol=1e-5, rtol=1e-5)
    assert not torch.equal(out, forward(model, batch, {}))


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_a_model_that_does_not_follow_edge_masks_is_refused_before_it_trains(make, message):
    task = toy(loops=False)
    model = make(task)
    before = bits(snapshot(model))
    soft = {M.EDGES: torch.ones(task.num_edges).requires_grad_()}
    with pytest.raises(ValueError, match=message) as caught:
        next(
            train(
                model, task, {M.EDGES: torch.ones(task.num_edges)}, epochs=1, soft=SoftMasks(soft)
            )
        )
    assert "\n" not in str(caught.value)
    assert bits(snapshot(model)) == before


def test_a_cached_layer_is_refused_wherever_edges_are_masked_or_gone():
    task = toy(loops=False)
    model = user(pyg.GCNConv, task, cached=True)
    masks = {M.EDGES: torch.ones(task.num_edges)}
    ticket = Ticket(snapshot(model), masks, 0)
    for attempt in (
        lambda: next(train(model, task, masks, epochs=1)),
        lambda: fit(model, task, ticket, epochs=1),
        lambda: predict(model, task, ticket),
        lambda: evaluate(model, task, masks, ("val",)),
        lambda: ticket.compact(model, task),
    ):
        with pytest.raises(ValueError, match=r"`cached=True`, which ignores a new edge mask: .*=F"):
            attempt()
    fit(model, task, Ticket(snapshot(model), {}, 0), epochs=1)


@pytest.mark.parametrize("kept", [0.2, 0.9])
@pytest.mark.parametrize("features", [{}, {"num_features": 40, "density": 0.05}])
@models
def test_few_survivors_train_as_many_do(name, features, kept, monkeypatch):
    """As a vector of their own or as part of the whole, entry for entry the same."""
    task = toy("directed", **features)
    results = []
    for few in (0.0, 1.0):
        monkeypatch.setattr("graphlth.training.masked.MaskedParameter.FEW", few)
        model = build(name, task)
        draw = torch.Generator().manual_seed(0)
        masks = {
            n: (torch.rand(m.shape, generator=draw) < kept).float()
            for n, m in M.ones(model, task.num_edges).items()
        }
        start = snapshot(model)
        soft = {n: m.clone().requires_grad_() for n, m in masks.items()}
        losses = [e.loss for e in train(model, task, masks, epochs=4, seed=1, soft=SoftMasks(soft))]
        results.append((losses, snapshot(model), soft))
        if few:
            for n, mask in M.only(masks, "weights").items():
                w = model.get_parameter(n)
                assert torch.equal(w[mask == 0], start[n][mask == 0])
                assert not torch.equal(w[mask == 1], start[n][mask == 1]) or not mask.any()
    (losses, state, soft), (vector_losses, vector_state, vector_soft) = results
    assert losses == pytest.approx(vector_losses, abs=1e-6)
    for n in state:
        mask = masks.get(n, torch.ones(()))
        torch.testing.assert_close(state[n] * mask, vector_state[n] * mask)
    for n, mask in masks.items():
        torch.testing.assert_close(soft[n] * mask, vector_soft[n] * mask)


def test_survivors_of_a_tensor_with_gaps_are_trained_as_the_whole():
    mask = torch.zeros(6, 4)
    mask[1, 2] = 1
    assert MaskedParameter(torch.ones(6, 4), mask).pattern is not None
    assert MaskedParameter(torch.ones(4, 6).t(), mask).pattern is None


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("share", [0.4, 0.97])  # of the weights and edges removed
@models
def test_a_ticket_learns_what_the_plain_formulation_does(name, share):
    """Sparse features, survivors alone, constant edges: the gradients of dense masked matrices."""
    task = toy("directed", num_features=40, density=0.1)
    model = build(name, task, hidden=20, dropout=0.0, input_dropout=0.0).train()
    masks = some_masks(model, task, share)
    task = task.without(masks[M.EDGES] != 0)
    masks = M.only(masks, "weights")
    batch = next(task.batches("train"))
    theta = {n: MaskedParameter(p, masks.get(n)) for n, p in model.named_parameters()}
    with torch.no_grad():
        call_model(model.eval(), batch, apply_masks(theta, {})[0], None)
    out = forward_rows(model.train(), batch, apply_masks(theta, {})[0], None)
    x, graph = batch.inputs
    plain = Batch((x.to_dense(), graph.edge_index), batch.target)
    expected = call_model(
        model, plain, M.masked_values(dict(model.named_parameters()), masks), None
    )
    torch.testing.assert_close(out, expected[batch.rows])
    out.square().sum().backward()
    expected[batch.rows].square().sum().backward()
    for n, part in theta.items():
        if part.pattern is not None:
            whole = model.get_parameter(n).grad.view(-1)
            torch.testing.assert_close(part.leaf.grad, whole[part.pattern.index])


# --- trainings that take turns -------------------------------------------------------------------


def by_turns(task, model, a, masks, penalty, epochs=4):
    """The losses of a step on the weights and one on the graph, an epoch each."""
    weights = train(model, task, masks, epochs=epochs, seed=1, scoring=(),
                    soft=SoftMasks({M.EDGES: a}, learn=("weights",)))  # fmt: skip
    graph = train(model, task, masks, epochs=epochs, lr=0.1, weight_decay=0, seed=2,
                  soft=SoftMasks({M.EDGES: a}, learn=("soft",)), scoring=(),
                  penalty=penalty)  # fmt: skip
    return [(w.loss, g.loss) for w, g in zip(weights, graph, strict=True)]


def l2(_, soft):
    return soft[M.EDGES].square().sum()


def graph_of(task):
    return torch.linspace(0.1, 1, task.num_edges).requires_grad_()


@universes
def test_two_trainings_that_take_turns_are_the_alternation_by_hand(edges):
    task, losses = toy(edges), []
    ours, theirs = (build("gcn", task, hidden=8, dropout=0.5) for _ in range(2))
    a, b = graph_of(task), graph_of(task)
    found = by_turns(task, ours, a, M.ones(ours, task.num_edges), l2)
    theta, batch = dict(theirs.named_parameters()), next(task.batches("train"))
    on_theta = Adam([*theta.values()], lr=0.01, weight_decay=5e-4)
    on_graph = Adam([b], lr=0.1, weight_decay=0)
    for epoch in range(4):
        pair = []
        for seed, optimizer in ((1, on_theta), (2, on_graph)):
            if epoch == 0:
                torch.manual_seed(stream_seed(seed, "dropout"))
            values = theta if seed == 1 else {n: t.detach() for n, t in theta.items()}
            theirs.train()
            out = forward_rows(theirs, batch, values, b.detach() if seed == 1 else b)
            loss = F.cross_entropy(out, batch.target)
            optimizer.zero_grad()
            (loss + (0 if seed == 1 else l2({}, {M.EDGES: b}))).backward()
            optimizer.step()
            with torch.no_grad():
                b.clamp_(min=0)
            pair.append(loss.item())
        losses.append(tuple(pair))
    assert found == losses
    assert bits(snapshot(ours)) == bits(snapshot(theirs))
    assert torch.equal(a, b) and int((a == 0).sum()) > 0


@pytest.mark.parametrize("few", [0.0, 1.0])
@pytest.mark.parametrize("part", ["weights", "soft"])
@models
def test_what_is_not_learned_stays_bit_for_bit(name, part, few, monkeypatch):
    monkeypatch.setattr("graphlth.training.masked.MaskedParameter.FEW", few)
    task = toy()
    model = build(name, task)
    masks = some_masks(model, task)
    soft = {n: (m + 0.1).requires_grad_() for n, m in M.ones(model, task.num_edges).items()}
    before = {"weights": bits(snapshot(model)), "soft": bits(soft)}
    run(train(model, task, masks, epochs=3, lr=0.1, soft=SoftMasks(soft, learn=(part,))))
    after = {"weights": bits(snapshot(model)), "soft": bits(soft)}
    assert {p for p in before if before[p] != after[p]} == {part}


@pytest.mark.parametrize("few", [0.0, 1.0])
@pytest.mark.parametrize("learn", [("weights",), ("soft",), ("weights", "soft")])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_change_from_outside_is_seen_in_the_next_epoch(learn, share, few, monkeypatch):
    """Weights of 0 give every class the same logit; and they are not set back."""
    monkeypatch.setattr("graphlth.training.masked.MaskedParameter.FEW", few)
    task = toy()
    model = build("gcn", task)
    soft = {M.EDGES: graph_of(task)}
    training = train(model, task, some_masks(model, task, share), epochs=2, lr=0.0, weight_decay=0,
                     soft=SoftMasks(soft, learn=learn))  # fmt: skip
    first = next(training)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    second = next(training)
    assert second.loss == pytest.approx(math.log(task.num_classes), abs=1e-6) != first.loss
    assert not any(p.any() for p in model.parameters())


def test_turns_with_few_survivors_are_turns_with_many(monkeypatch):
    task, found = toy(), []
    for few in (0.0, 1.0):
        monkeypatch.setattr("graphlth.training.masked.MaskedParameter.FEW", few)
        model = build("gcn", task, hidden=8)
        start = snapshot(model)
        a, masks = graph_of(task), some_masks(model, task, share=0.6)
        found.append((by_turns(task, model, a, masks, l2), snapshot(model), a))
        for n, p in model.named_parameters():
            assert not torch.equal(p, start[n])
    (losses, theta, a), (other_losses, other_theta, b) = found
    assert torch.allclose(torch.tensor(losses), torch.tensor(other_losses), atol=1e-6)
    for n, t in theta.items():
        torch.testing.assert_close(t * masks[n], other_theta[n] * masks[n])
    torch.testing.assert_close(a, b)


def test_without_scoring_accuracies_are_nan_and_weights_the_same():
    task, ends = toy(), []
    for scoring in (("val", "test"), ()):
        model = build("gcn", task, dropout=0.5)
        epochs = run(train(model, task, {}, epochs=3, seed=1, scoring=scoring))
        ends.append(([e.loss for e in epochs], bits(snapshot(model))))
        assert all(math.isnan(e.val) is not bool(scoring) for e in epochs)
        assert math.isnan(epochs[0].test) is not bool(scoring)
    assert ends[0] == ends[1]
