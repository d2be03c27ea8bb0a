"""Early-bird tickets and sparsified graphs: ADMM, when a ticket is drawn, what it starts from."""

import pytest
import torch
from test_algorithms import bits, digits, run, user
from toys import GRAPH_MODELS, Pictures, build, toy

from graphlth import masks as M
from graphlth.algorithms._admm import Admm, GraphTraining, start_graph
from graphlth.rewinding import reinitialise, snapshot
from graphlth.streams import stream_seed
from graphlth.training.loop import train
from graphlth.training.retraining import fit

DRAWN = ("geb", "joint_early_bird")
searches = pytest.mark.parametrize("name", DRAWN)
ONE = {"draws": 1, "epochs": 6, "pretrain": 5}


# --- ADMM ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fraction", "kept"), [(0.0, 10), (0.25, 8), (0.5, 5), (0.9, 1)])
def test_z_has_k_entries_and_u_adds_up_what_is_missing(fraction, kept):
    a, u = torch.rand(10), torch.zeros(10)
    admm = Admm({M.EDGES: a}, fraction, GraphTraining(rho=1.0, admm_steps=1))
    for _ in range(5):
        a += torch.rand(10)
        admm.step()
        z = admm.z[M.EDGES]
        u += a - z
        assert int(z.count_nonzero()) == kept
        torch.testing.assert_close(admm.u[M.EDGES], u)
        largest = z != 0
        wanted = z + admm.u[M.EDGES]  # A + U of before
        assert torch.equal(z[largest], wanted[largest])
        assert kept == 10 or wanted[largest].min() >= wanted[~largest].max()


def test_the_penalty_pulls_towards_z():
    a = torch.rand(10, requires_grad=True)
    admm = Admm({M.EDGES: a}, 0.5, GraphTraining(rho=0.3, admm_steps=1))
    assert admm.penalty({}, {M.EDGES: a}).item() == 0  # at first Z is A
    admm.step()
    admm.penalty({}, {M.EDGES: a}).backward()
    z, u = admm.z[M.EDGES], admm.u[M.EDGES]
    torch.testing.assert_close(a.grad, 0.3 * (a - z + u).detach())
    assert a.grad.any()


def test_z_and_u_move_after_as_many_steps_on_a_as_are_asked_for():
    a = torch.rand(6)
    admm, moved = Admm({M.EDGES: a}, 0.5, GraphTraining(rho=1.0, admm_steps=3)), []
    for _ in range(7):
        before = [each[M.EDGES].clone() for each in (admm.z, admm.u)]
        admm.step()
        after = [each[M.EDGES] for each in (admm.z, admm.u)]
        moved.append(not all(map(torch.equal, before, after)))
    assert moved == [False, False, True, False, False, True, False]


def test_admm_finds_the_sparse_minimum():
    """Of ½‖A − c‖² with at most two entries: the two largest of c."""
    c = torch.tensor([0.9, 0.2, 1.5, 0.4])
    a = torch.ones(4, requires_grad=True)
    admm = Admm({M.EDGES: a}, 0.5, GraphTraining(rho=1.0, admm_steps=20))
    for _ in range(2000):
        a.grad = None
        ((a - c).square().sum() / 2 + admm.penalty({}, {M.EDGES: a})).backward()
        with torch.no_grad():
            a -= 0.2 * a.grad
        admm.step()
    expected = torch.tensor([0.9, 0, 1.5, 0])
    torch.testing.assert_close(admm.z[M.EDGES], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(a.detach(), expected, atol=1e-3, rtol=0)


def test_a_graph_starts_in_noise_around_1():
    [(name, a)] = start_graph(M.ones(build("gcn", toy()), 500), 0.25, 0).items()
    assert name == M.EDGES and a.shape == (500,)
    assert a.requires_grad
    low, high = a.detach().min(), a.detach().max()
    assert 0.75 <= low < 0.8 and 1.2 < high <= 1.25


# --- when a ticket is drawn ----------------------------------------------------------------------


@searches
@pytest.mark.parametrize("window", [1, 3])
def test_a_ticket_is_drawn_as_soon_as_its_masks_have_settled(name, window):
    """Nothing moves: 1 from the dense masks to the first draw, then 0."""
    still = {"lr": 1e-12, "lr_edges": 1e-12, "window": window}
    _, ticket = run(name, **ONE | still)
    parts = 1 if name == "geb" else 2
    told = ticket.search
    assert told["mask_distances"] == [parts, *[0] * window]
    assert (told["drawn_epoch"], told["settled"]) == (window + 1, True)


@searches
@pytest.mark.parametrize(("first_epoch", "at"), [(1, 3), (4, 4), (7, 6)])
def test_no_ticket_settles_before_the_first_epoch_that_is_told(name, first_epoch, at):
    still = {"lr": 1e-12, "lr_edges": 1e-12, "window": 2, "first_epoch": first_epoch}
    _, ticket = run(name, **ONE | still)
    assert (ticket.search["drawn_epoch"], ticket.search["settled"]) == (at, first_epoch < 7)


@searches
def test_lagged_distances_are_those_of_the_draws(name):
    about = {"lr_edges": 0.5, "drop_edges": 0.5, "epochs": 6, "draws": 6, "admm_steps": 1, "lr": 1}
    tickets = run(name, **about | {"distance": "lagged", "window": 2})[1:]
    moved = []
    for i in range(2, 6):
        parts = [M.only(tickets[i].masks, part) for part in ("edges", "weights")]
        moved.append([
            sum(max(M.distance({n: m}, tickets[j].masks) for j in (i - 1, i - 2)) * m.numel()
                for n, m in part.items())
            for part in parts if part
        ])  # fmt: skip
    assert all(moved[0])  # what counts as 1 of each part
    expected = [sum(d / u for d, u in zip(each, moved[0], strict=True)) / len(each)
                for each in moved]  # fmt: skip
    assert tickets[-1].search["mask_distances"] == pytest.approx(expected)
    assert any(expected[1:])


@searches
def test_a_search_that_does_not_settle_is_drawn_at_its_last_epoch(name):
    _, ticket = run(name, **ONE | {"epsilon": 1e-9, "window": 6})
    assert (ticket.search["drawn_epoch"], ticket.search["settled"]) == (6, False)
    assert len(ticket.search["mask_distances"]) == 6


@searches
@pytest.mark.parametrize(
    ("draws", "epochs", "at"), [(2, 6, [3, 6]), (3, 7, [3, 5, 7]), (4, 4, [1, 2, 3, 4])]
)
def test_draws_are_spread_evenly_whether_settled_or_not(name, draws, epochs, at):
    about = {"lr_edges": 0.5, "drop_edges": 0.5, "draws": draws, "epochs": epochs}
    tickets = run(name, **about)[1:]
    assert [t.search["drawn_epoch"] for t in tickets] == at
    for i, ticket in enumerate(tickets):
        earlier = [M.distance(ticket.masks, other.masks) for other in tickets[:i]]
        assert ticket.search["distances_to_earlier"] == earlier
    assert any(tickets[-1].search["distances_to_earlier"])


@searches
def test_the_draw_of_an_epoch_is_one_of_the_draws_at_every_epoch(name):
    _, *every = run(name, **ONE | {"draws": 6})
    _, last = run(name, **ONE | {"window": 7})
    assert bits(last.masks) == bits(every[-1].masks)
    assert bits(last.init) == bits(every[-1].init)


CHANGES = [  # each setting changes the search
    {"rho": 10.0, "admm_steps": 1}, {"admm_steps": 1, "rho": 0.1}, {"lr": 0.3}, {"lr_edges": 0.3},
    {"weight_decay": 0.5}, {"mask_noise": 0.3}, {"drop_edges": 0.4}, {"pretrain": 9},
    {"criterion": "edges"}, {"criterion": "weights"}, {"drop_weights": 0.6}, {"scope": "layer"},
]  # fmt: skip


@searches
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_setting_changes_the_search(name, change):
    if name == "geb" and set(change) & {"criterion", "drop_weights", "scope"}:
        pytest.skip("geb removes edges only")
    if name == "joint_early_bird" and "pretrain" in change:
        pytest.skip("there is none")
    task, about = toy(), {"draws": 1, "epochs": 12, "epsilon": 1e-9, "admm_steps": 3}
    found = [run(name, build("gcn", task, hidden=8), task, **about | more) for more in ({}, change)]
    (_, plain), (_, other) = found
    assert (digits([plain]), plain.search) != (digits([other]), other.search)


# --- what a ticket starts from -------------------------------------------------------------------


@searches
def test_a_ticket_inherits_rewinds_or_starts_anew(name):
    task = toy()
    theta, model = {}, build("gcn", task)
    theta_0 = bits(snapshot(model))
    for start in ("inherit", "rewind", "reinit"):
        model = build("gcn", task)
        _, ticket = run(name, model, task, start=start, **ONE)
        theta[start] = bits(ticket.init)
        if start == "inherit":
            assert theta[start] == bits(snapshot(model))
    assert theta["rewind"] == theta_0
    assert len({str(each) for each in theta.values()}) == 3
    _, other = run(name, build("gcn", task), task, start="reinit", seed=1, **ONE)
    assert bits(other.init) != theta["reinit"]


def test_new_weights_may_be_dense_under_the_graph_of_the_search():
    task = toy()
    tickets = [run("joint_early_bird", build("gcn", task), task, start=start, **ONE)[1]
               for start in ("reinit", "reinit-dense")]  # fmt: skip
    pruned, whole = tickets
    assert bits(pruned.init) == bits(whole.init)
    assert torch.equal(pruned.masks[M.EDGES], whole.masks[M.EDGES])
    assert pruned.masks.keys() == whole.masks.keys()
    assert M.sparsity(M.only(pruned.masks, "weights")) > 0
    assert M.sparsity(M.only(whole.masks, "weights")) == 0
    known = "inherit, rewind, reinit, reinit-dense"
    with pytest.raises(ValueError, match=f"`start` must be one of {known}, got 'x'"):
        run("joint_early_bird", start="x")
    with pytest.raises(ValueError, match="`start` must be one of inherit, rewind, reinit, got"):
        run("geb", start="reinit-dense")


def test_geb_inherits_the_pretrained_weights():
    task = toy()
    model, ours = build("gcn", task, dropout=0.5), build("gcn", task, dropout=0.5)
    _, ticket = run("geb", model, task, **ONE)
    for _ in train(ours, task, {}, epochs=ONE["pretrain"], seed=stream_seed(0, "pretraining")):
        pass
    assert bits(ticket.init) == bits(snapshot(ours))


@pytest.mark.parametrize("name", [*GRAPH_MODELS, "mlp", "lenet_5", "resnet_20"])
def test_weights_drawn_anew_are_not_those_that_the_same_seed_gave(name):
    task = toy() if name in GRAPH_MODELS else Pictures()
    model = build(name, task, seed=3)
    before, state = bits(snapshot(model)), torch.get_rng_state()
    fresh = reinitialise(model, 3)
    assert bits(snapshot(model)) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert bits(fresh) == bits(reinitialise(model, 3)) != before
    assert bits(fresh) != bits(reinitialise(model, 4))
    assert all(not torch.equal(fresh[n], t) for n, t in M.prunable(model).items())


def test_a_model_that_cannot_be_drawn_anew_is_named():
    class Bare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(2, 2))

    with pytest.raises(ValueError, match="`model` must have a method `reset_parameters`"):
        reinitialise(Bare(), 0)
    with pytest.raises(ValueError, match="`start` must be one of inherit, rewind, reinit, got 'x'"):
        run("geb", start="x")


# --- graphs --------------------------------------------------------------------------------------


def test_a_sparsified_graph_is_not_a_random_one():
    task = toy()
    _, found = run("sgcn", build("gcn", task), task, rounds=1, epochs=30, drop_edges=0.5)
    _, drawn = run("random_graph", build("gcn", task), task, epochs=30, drop_edges=0.5)
    assert not torch.equal(found.masks[M.EDGES], drawn.masks[M.EDGES])
    assert found.masks[M.EDGES].sum() == drawn.masks[M.EDGES].sum()
    for n, m in M.only(found.masks, "weights").items():  # the graph alone differs
        assert torch.equal(m, drawn.masks[n])


def test_rounds_of_sgcn_remove_what_ugs_has_removed_each_at_once():
    task = toy()
    how = {"drop_edges": 0.2, "drop_weights": 0.3, "epochs": 4, "pretrain": 3}
    tickets = run("sgcn", build("gcn", task), task, rounds=3, **how)
    assert [ticket.round for ticket in tickets] == [0, 1, 2, 3]
    alone = {"drop_edges": 1 - 0.8**3, "drop_weights": 1 - 0.7**3}
    [_, direct] = run("sgcn", build("gcn", task), task, rounds=1, **how | alone)
    later = run("sgcn", build("gcn", task), task, rounds=3, last=tickets[1], **how)
    assert [ticket.round for ticket in later] == [2, 3]
    for n, mask in direct.masks.items():
        assert torch.equal(tickets[3].masks[n], mask) and torch.equal(later[-1].masks[n], mask)
    assert run("sgcn", build("gcn", task), task, rounds=1, last=tickets[1], **how) == []


@pytest.mark.parametrize("name", ["geb", "joint_early_bird", "sgcn", "random_graph"])
def test_a_model_of_a_user_is_searched_too(name):
    task = toy(loops=False)
    ticket = run(name, user(task), task)[-1]
    assert M.sparsity(M.only(ticket.masks, "edges")) > 0
    assert fit(user(task), task, ticket, epochs=2).loss > 0
