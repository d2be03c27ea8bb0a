"""Every algorithm that searches: counts, rewinding, resuming, seeds, controls."""

import re
from itertools import combinations, pairwise

import pytest
import torch
from torch import nn
from torch_geometric import nn as pyg
from toys import ALGORITHMS, GRAPH_MODELS, Pictures, build, call, toy

from graphlth import masks as M
from graphlth.registry import find
from graphlth.rewinding import snapshot
from graphlth.settings.validation import settings_of
from graphlth.ticket import load
from graphlth.training import loop as train
from graphlth.training.optimizers import Adam
from graphlth.training.retraining import fit

every = pytest.mark.parametrize("name", ALGORITHMS)
universes = pytest.mark.parametrize("edges", ["undirected", "directed"])
SHORT = {"rounds": 3, "draws": 3, "epochs": 4, "pretrain": 4, "drop_edges": 0.1,
         "drop_weights": 0.3, "mask_noise": 1e-2}  # fmt: skip
SEEDED = {"score": "random", "edge_score": "random"}  # where an algorithm asks: scores with a seed


def takes(name, setting):
    return setting in settings_of(find("algorithms", name))


# What an algorithm is, its settings say: a new one needs no change here.
DRAWN = [
    n for n in ALGORITHMS if takes(n, "draws")
]  # several tickets, each a cut of the dense masks
ROUNDS = [n for n in ALGORITHMS if takes(n, "rounds")]  # each ticket a cut of the one before
DRAWN_ANEW = ("random_edges", "random_tickets", "sgcn")  # masks, in every round
AT_ONCE = ("sgcn",)  # each ticket a cut of the dense graph, as large as rounds would have made it
SINGLE = [n for n in ALGORITHMS if n not in DRAWN + ROUNDS]  # one ticket
TICKETS = {n: 1 if n in SINGLE else 3 for n in ALGORITHMS}  # after the dense one
RATES = {n: [s for s in ("drop_edges", "drop_weights") if takes(n, s)] for n in ALGORITHMS}
PARTS = {n: rate.removeprefix("drop_") for n, [rate, *more] in RATES.items() if not more}
SEARCHED = [n for n in ALGORITHMS if takes(n, "lr_scores")]  # under weights that stay


class User(nn.Module):
    """A PyG model with a bias and with a norm that counts as it trains."""

    def __init__(self, task):
        super().__init__()
        self.first = pyg.GCNConv(task.num_features, 5)
        self.norm = nn.BatchNorm1d(5)
        self.last = pyg.GCNConv(5, task.num_classes)

    def forward(self, x, edge_index, edge_weight=None):
        x = self.norm(self.first(x, edge_index, edge_weight)).relu()
        return self.last(x, edge_index, edge_weight)


def user(task, seed=0):
    torch.manual_seed(seed)
    return User(task)


def bits(tensors):
    return {n: t.detach().numpy().tobytes() for n, t in tensors.items()}


def digits(tickets):
    return [(t.round, bits(t.init), bits(t.masks)) for t in tickets]


def run(name, model=None, task=None, **about):
    task = task or toy()
    return list(call(name, model or build("gcn", task), task, **SHORT | about))


def counts(ticket):
    """MaskedParameter: edges, all weights, weights of each layer."""
    weights = M.only(ticket.masks, "weights")
    edges = int(ticket.masks[M.EDGES].sum()) if M.EDGES in ticket.masks else None
    return edges, sum(int(m.sum()) for m in weights.values())


@every
def test_rounds_are_numbered_from_the_dense_one(name):
    tickets = run(name)
    assert [t.round for t in tickets] == [*range(TICKETS[name] + 1)]
    assert all(bool((m == 1).all()) for m in tickets[0].masks.values())
    assert all(set(t.masks) == set(tickets[0].masks) for t in tickets)


@universes
@every
def test_every_round_removes_exactly_its_share_of_the_survivors(name, edges):
    task = toy(edges)
    tickets = run(name, task=task, drop_edges=0.07, drop_weights=0.23)
    survivors = {n: m.numel() for n, m in tickets[0].masks.items()}
    left_edges, left_weights = task.num_edges, sum(v for n, v in survivors.items() if n != M.EDGES)
    for ticket in tickets[1 : 2 if name in (*DRAWN, *AT_ONCE) else None]:
        left_edges -= round(0.07 * left_edges)
        left_weights -= round(0.23 * left_weights)
        for n in survivors:
            if n != M.EDGES:
                survivors[n] -= round(0.23 * survivors[n])
        has_edges, has_weights = counts(ticket)
        assert has_edges == (None if PARTS.get(name) == "weights" else left_edges)
        by_layer = [int(m.sum()) for m in M.only(ticket.masks, "weights").values()]
        by_layer_expected = [v for n, v in survivors.items() if n != M.EDGES]
        # What ranks layer by layer leaves a total that is within the rounding of each.
        if takes(name, "scope") or by_layer != by_layer_expected:
            assert has_weights == (0 if PARTS.get(name) == "edges" else left_weights)
        assert all(bool(((m == 0) | (m == 1)).all()) for m in ticket.masks.values())
    if name in DRAWN:
        assert {counts(t) for t in tickets[1:]} == {counts(tickets[1])}


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("name", [n for n in ALGORITHMS if takes(n, "scope")])
def test_the_scope_is_obeyed(name, scope):
    task = toy()
    model = build("gcn", task, hidden=32)
    how = {"rounds": 1, "draws": 1, "drop_weights": 0.5, "score": "snip"}
    first = run(name, model, task, scope=scope, **how)[1]
    by_layer = [int(m.sum()) / m.numel() for m in M.only(first.masks, "weights").values()]
    assert (by_layer == [0.5, 0.5]) == (scope == "layer")


@pytest.mark.parametrize("name", [n for n in ROUNDS if n not in DRAWN_ANEW])
def test_what_is_removed_never_returns(name):
    tickets = run(name, lr=0.05, weight_decay=0.1)
    for before, after in pairwise(tickets):
        assert all(bool((after.masks[n] <= before.masks[n]).all()) for n in after.masks)
        assert any(bool((after.masks[n] < before.masks[n]).any()) for n in after.masks)


def test_with_equal_scores_everywhere_the_counts_hold():
    """No noise, no learning: every mask entry scores 1."""
    tickets = run("ugs", lr=0.0, mask_noise=0.0, drop_edges=0.25, drop_weights=0.5)
    assert [counts(t) for t in tickets] == [(25, 32), (19, 16), (14, 8), (10, 4)]


@every
def test_every_ticket_starts_from_the_same_weights_bit_for_bit(name):
    task = toy(loops=False)
    model = user(task)
    start = bits(snapshot(model))
    tickets = []
    for ticket in call(name, model, task, **SHORT):
        tickets.append(ticket)
        torch.rand(3)
        with torch.no_grad():  # whatever happens to the model in between
            for t in model.state_dict().values():
                t.add_(1)
    assert len(tickets) == 1 + TICKETS[name]
    of_search = name in DRAWN  # by default a ticket inherits the weights of the search
    assert [bits(t.init) == start for t in tickets] == [True, *[not of_search] * TICKETS[name]]
    addresses = {t.data_ptr() for t in model.state_dict().values()}
    for ticket in tickets:
        assert not addresses & {t.data_ptr() for t in [*ticket.init.values()]}
        assert not addresses & {t.data_ptr() for t in [*ticket.masks.values()]}


@pytest.mark.parametrize("name", ["ugs", "imp", "one_shot"])
def test_every_training_starts_from_the_ticket(name, monkeypatch):
    """Weights and the statistics of a norm; and Adam has forgotten."""
    task = toy(loops=False)
    model, starts = user(task), []
    start, real = bits(snapshot(model)), Adam

    def watched(leaves, **how):
        starts.append(bits(snapshot(model)))
        optimizer = real(leaves, **how)
        assert not any(m.any() for m in optimizer.means + optimizer.squares + optimizer.steps)
        return optimizer

    monkeypatch.setattr("graphlth.training.optimizers.Adam", watched)
    list(call(name, model, task, **SHORT))
    assert len(starts) == {"ugs": 3, "imp": 4, "one_shot": 1}[name]  # imp trains to θ_k first
    assert all(s == start for s in starts)


@every
def test_tickets_do_not_change_as_the_search_goes_on(name):
    kept, seen = [], []
    task = toy()
    for ticket in call(name, build("gcn", task), task, **SHORT):
        kept.append(ticket)
        seen.append(digits([ticket]))
    assert [digits([t]) for t in kept] == seen


def test_ugs_draws_other_noise_in_every_round(monkeypatch):
    seeds, real = [], train.train_masks

    def watched(*about, seed, **how):
        seeds.append(seed)
        return real(*about, seed=seed, **how)

    monkeypatch.setattr("graphlth.algorithms.ugs.train_masks", watched)
    run("ugs")
    assert len(set(seeds)) == 3


def test_a_ticket_tells_at_which_epoch_its_masks_were_taken():
    for name in ("ugs", "one_shot"):
        dense, *tickets = run(name)
        assert "mask_epoch" not in dense.search
        assert all(t.search["mask_epoch"] in range(SHORT["epochs"]) for t in tickets)


def test_imp_rewinds_to_epoch_k():
    task = toy()
    model = build("gcn", task)
    early, late = (run("imp", build("gcn", task), task, rewind_to=k) for k in (0, 3))
    assert bits(early[0].init) == bits(snapshot(model))
    assert bits(late[0].init) != bits(early[0].init)
    assert len({str(bits(t.init)) for t in late}) == 1


@every
def test_the_same_seed_gives_the_same_tickets_and_another_seed_others(name):
    first, again, other = (digits(run(name, seed=s, **SEEDED)) for s in (0, 0, 1))
    assert first == again
    assert first[0] == other[0]  # the same dense model
    assert first[1:] != other[1:]


@every
def test_a_search_does_not_depend_on_the_global_random_state(name):
    task, found = toy(), []
    for seed in (1, 2):
        model = build("gcn", task)
        torch.manual_seed(seed)
        found.append(digits(run(name, model, task)))
    assert found[0] == found[1]


@every
def test_what_is_done_to_the_model_between_tickets_does_not_matter(name):
    task, found = toy(), []
    for meddle in (False, True):
        model, tickets = build("gcn", task, dropout=0.5), []
        for ticket in call(name, model, task, **SHORT):
            tickets.append(ticket)
            if meddle:
                fit(model, task, ticket, epochs=2)
        found.append(digits(tickets))
    assert found[0] == found[1]


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize("through_file", [False, True])
@every
def test_a_continued_search_equals_an_uninterrupted_one(name, after, through_file, tmp_path):
    task = toy()
    whole = run(name, build("gin", task, layers=3), task, **SEEDED)
    last = whole[min(after, TICKETS[name])]
    if through_file:
        last.save(tmp_path / "ticket")
        last = load(tmp_path / "ticket")
    model = build("gin", task, layers=3, seed=0 if name in DRAWN else 99)  # else of the ticket
    rest = run(name, model, task, last=last, **SEEDED)
    assert digits(rest) == digits(whole[last.round + 1 :])
    assert [t.search for t in rest] == [t.search for t in whole[last.round + 1 :]]


@pytest.mark.parametrize("name", [n for n in ALGORITHMS if n not in {*PARTS, *SINGLE, *AT_ONCE}])
@pytest.mark.parametrize("off", ["drop_edges", "drop_weights"])
def test_a_part_that_is_dropped_at_rate_0_has_no_mask(name, off):
    for ticket in run(name, **{off: 0.0}):
        assert (M.EDGES in ticket.masks) == (off != "drop_edges")
        assert bool(M.only(ticket.masks, "weights")) == (off != "drop_weights")
    assert M.sparsity(ticket.masks) > 0


@pytest.mark.parametrize("name", SINGLE)
def test_a_graph_is_sparsified_alone_or_with_the_weights(name):
    for ticket in run(name, drop_weights=0.0):
        assert list(ticket.masks) == [M.EDGES]
    assert M.sparsity(M.only(run(name)[1].masks, "weights")) > 0


def test_imp_removes_weights_only():
    assert all(M.EDGES not in t.masks for t in run("imp"))


def test_imp_removes_the_smallest_trained_weights():
    task = toy()
    model = build("gcn", task)
    first = run("imp", model, task, rounds=1)[1]
    trained = torch.cat([p.detach().abs().flatten() for p in model.parameters()])
    kept = torch.cat([m.flatten() for m in first.masks.values()]) > 0
    assert trained[~kept].max() <= trained[kept].min()


def test_one_shot_cuts_one_ranking():
    """Its first ticket is that of UGS with UGS's first seed; later rounds only cut further."""
    shot, ugs = run("one_shot"), run("ugs")
    assert digits(shot[:2]) == digits(ugs[:2])
    assert digits(shot[2:]) != digits(ugs[2:])


CONTROLS = [  # what differs between two runs of random tickets
    {"seed": 1},
    {"drop_edges": 0.2},
    {"drop_weights": 0.5},
]


def test_random_tickets_are_not_those_of_ugs_but_as_sparse():
    for edges in ("undirected", "directed"):
        task = toy(edges)
        about = {"rounds": 5, "scope": "layer"}
        drawn, found = (
            run(n, build("gcn", task, hidden=16), task, **about) for n in ("random_tickets", "ugs")
        )
        for ours, theirs in list(zip(drawn, found, strict=True))[1:]:
            for n in ours.masks:
                assert int(ours.masks[n].sum()) == int(theirs.masks[n].sum())
                assert not torch.equal(ours.masks[n], theirs.masks[n])
            assert bits(ours.init) == bits(theirs.init)


@pytest.mark.parametrize("change", CONTROLS)
def test_random_tickets_change_with_every_setting(change):
    plain, other = run("random_tickets"), run("random_tickets", **change)
    for a, b in zip(plain[1:], other[1:], strict=True):
        assert bits(a.masks) != bits(b.masks)


def test_random_tickets_are_drawn_afresh_in_every_round():
    tickets = run("random_tickets", rounds=4, seed=6)
    for before, after in pairwise(tickets[1:]):
        for n in after.masks:
            assert bool((after.masks[n] > before.masks[n]).any())  # some return: no nesting


def test_random_tickets_of_two_seeds_and_rounds_are_no_cuts_of_one_draw():
    task = toy()
    tickets = [
        t for seed in range(4) for t in run("random_tickets", task=task, seed=seed, rounds=4)[1:]
    ]
    for a, b in combinations(tickets, 2):
        few, many = sorted((a, b), key=lambda t: -t.round)
        assert any(bool((few.masks[n] > many.masks[n]).any()) for n in few.masks)


@pytest.mark.parametrize("model", GRAPH_MODELS)
@every
def test_every_algorithm_stays_finite_on_every_model_down_to_nothing(name, model):
    task = toy()
    share = 0.9 if name in ROUNDS else 0.9999  # of the survivors, four times or once
    about = {"rounds": 4, "epochs": 3, "drop_edges": share, "drop_weights": share}
    for ticket in run(name, build(model, task), task, **about):
        assert all(t.isfinite().all() for t in ticket.init.values())
    edges, weights = counts(ticket)
    assert edges in (0, None)
    assert weights <= 1
    last = fit(build(model, task), task, ticket, epochs=2)
    assert torch.tensor(last.loss).isfinite()


@pytest.mark.parametrize("on", ["graph", "images"])
@pytest.mark.parametrize(
    ("name", "zero"),
    [(n, zero) for n, rates in RATES.items() for zero in (*({r} for r in rates), {*rates})],
)
def test_a_rate_of_0_leaves_its_part_whole_or_is_refused_in_a_line(name, zero, on):
    task = toy() if on == "graph" else Pictures()
    model = build("gcn" if on == "graph" else "mlp", task)
    rates = {rate: 0 if rate in zero else 0.3 for rate in RATES[name]}
    found = call(name, model, task, rounds=1, draws=1, epochs=2, pretrain=1, **rates)
    parts = {"drop_weights": True, "drop_edges": on == "graph"}
    refused = None
    if (name not in ROUNDS or name in AT_ONCE) and on == "images":  # a graph is trained, or drawn
        refused = "`task` must have edges to remove, got 'pictures' without any"
    elif name in SEARCHED and not any(rates[rate] for rate in rates if parts[rate]):
        names = "`drop_weights` or `drop_edges`" if on == "graph" else "`drop_weights`"
        refused = f"{names} must be above 0, got 0: nothing is left to search"
    if refused:
        with pytest.raises(ValueError, match=f"^{re.escape(refused)}$"):
            list(found)
        return
    last = list(found)[-1]
    cut = {n for n, m in last.masks.items() if not m.all()}
    assert (M.EDGES in cut) == (parts["drop_edges"] and rates.get("drop_edges", 0) > 0)
    assert bool(cut - {M.EDGES}) == (rates.get("drop_weights", 0) > 0)
