"""Models as people have them: frozen, tied, computed and wrong ones, by every algorithm alike."""

import pytest
import torch
import torch_geometric.nn as pyg
from test_algorithms import bits
from torch import nn
from torch.nn.utils import parametrizations, prune
from toys import Pictures, build, call, data, toy

import graphlth as glt
from graphlth import masks as M
from graphlth.algorithms._controls import CONTROLS
from graphlth.model_checks import check_model_size
from graphlth.registry import find, names
from graphlth.rewinding import snapshot
from graphlth.settings.validation import settings_of
from graphlth.sparse.cache import StepCache
from graphlth.task import Batch, Task
from graphlth.ticket import Ticket, dense, load, ticket_file
from graphlth.training.checks import check_contract, check_edges, self_loops
from graphlth.training.evaluation import evaluate, predict
from graphlth.training.forward import forward
from graphlth.training.retraining import fit, retrain

SHORT = {"rounds": 2, "draws": 2, "epochs": 3, "pretrain": 2, "drop_edges": 0.2, "lr": 0.05,
         "drop_weights": 0.5, "drop_channels": 0.3, "weight_decay": 0.1}  # fmt: skip
SETTINGS = {n: settings_of(find("algorithms", n)) for n in names("algorithms")}
EARLIER = [n for n in SETTINGS if "tickets" in SETTINGS[n]]  # change the tickets of another run
OF_CHANNELS = [n for n in SETTINGS if "drop_channels" in SETTINGS[n]]
ON_GRAPHS = [n for n in names("algorithms") if n not in OF_CHANNELS]
OTHERS = (*EARLIER, *OF_CHANNELS)
EDGES_ALONE = [n for n in SETTINGS if n not in OTHERS and "drop_weights" not in SETTINGS[n]]
WEIGHTS_ALONE = [n for n in ON_GRAPHS if "drop_edges" not in SETTINGS[n]]
every = pytest.mark.parametrize("name", names("algorithms"))
on_graphs = pytest.mark.parametrize("name", ON_GRAPHS)


class Chain(nn.Module):
    """Three convolutions in a row and a linear map, for `Pictures`; the first may be frozen."""

    def __init__(self, classes=2):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU(),
            nn.Conv2d(5, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


def case(name):
    """A model and a task that the algorithm `name` takes."""
    if name in OF_CHANNELS:
        return Chain(), Pictures()
    task = toy(loops=False)
    return build("gcn", task, layers=3), task


@pytest.fixture
def tickets(tmp_path):
    """Write the tickets of a run of `imp` of a model; its folder."""

    def write(model, task):
        for ticket in call("imp", model, task, **SHORT):
            about = {"graph": task.fingerprint()}
            named = Ticket(ticket.init, ticket.masks, ticket.round, about)
            named.save(ticket_file(tmp_path, 0, ticket.round))
        return str(tmp_path)

    return write


def run(name, model, task, folder="", **about):
    return list(call(name, model, task, **SHORT | {"tickets": folder} | about))


# --- frozen weights ------------------------------------------------------------------------------


def frozen_of(name, model):
    chosen = ["layers.0.weight", "layers.1.weight"] if name in OF_CHANNELS else ["weights.1"]
    for n, p in model.named_parameters():
        p.requires_grad_(n not in chosen)
    return {n: p.detach().clone() for n, p in model.named_parameters() if n in chosen}


@every
def test_a_frozen_weight_has_no_mask_and_never_moves(name, tickets):
    model, task = case(name)
    folder = tickets(model, task) if name in EARLIER else ""
    if name == "control":  # its tickets are those of a model frozen alike
        frozen_of(name, model)
        folder = tickets(model, task)
    before = frozen_of(name, model)
    found = run(name, model, task, folder)
    assert len(found) > 1
    for ticket in found:
        assert not before.keys() & ticket.masks.keys()
        assert {n: ticket.init[n].tolist() for n in before} == {
            n: t.tolist() for n, t in before.items()
        }
    start = snapshot(model)
    fit(model, task, found[-1], epochs=3, lr=0.05, weight_decay=0.1)
    after = dict(model.named_parameters())
    assert all(torch.equal(after[n], t) for n, t in before.items())
    assert any(not torch.equal(after[n], start[n]) for n in after if n not in before)
    if name not in EDGES_ALONE:
        assert M.sparsity(M.only(found[-1].masks, "weights")) > 0


@every
def test_a_model_of_which_all_is_frozen_is_refused_in_one_line(name, tickets):
    model, task = case(name)
    folder = tickets(model, task) if name in EARLIER else ""
    model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"`model` must have a parameter to train, .*set it to Tr"):
        run(name, model, task, folder)


def test_a_model_without_a_weight_to_prune_is_refused_where_there_is_nothing_else():
    task = toy(loops=False)
    model = pyg.GraphConv(task.num_features, task.num_classes)
    for p in M.prunable(model).values():
        p.requires_grad_(False)
    with pytest.raises(ValueError, match=r"`model` must have a weight .* to be pruned; GraphConv "):
        list(glt.imp(model, task, rounds=1, epochs=1))
    _, last = glt.ugs(model, task, rounds=1, epochs=2)  # the graph alone is left
    assert list(last.masks) == [M.EDGES]


@pytest.mark.parametrize("few", [0.0, 1.0])
def test_a_weight_frozen_after_its_ticket_is_masked_and_starts_from_it_but_is_not_trained(
    few, monkeypatch
):
    monkeypatch.setattr("graphlth.training.masked.MaskedParameter.FEW", few)
    model, task = case("imp")
    *_, ticket = run("imp", model, task)
    fit(model, task, ticket, epochs=2)
    model.weights[1].requires_grad_(False)
    fit(model, task, ticket, epochs=3)
    assert torch.equal(model.weights[1], ticket.init["weights.1"])
    assert not torch.equal(model.weights[0], ticket.init["weights.0"])
    logits = predict(model, task, ticket)
    with torch.no_grad():
        model.weights[1] *= 2 - ticket.masks["weights.1"]  # what is removed is not seen
    assert torch.equal(predict(model, task, ticket), logits)


@on_graphs
def test_a_search_does_not_go_on_with_a_mask_on_what_is_frozen_now(name, tickets):
    model, task = case(name)
    folder = tickets(model, task) if name in EARLIER else ""
    first = next(call(name, model, task, **SHORT | {"tickets": folder}))
    masks = M.ones(model)
    last = Ticket(first.init, masks, 0)
    model.weights[1].requires_grad_(False)
    with pytest.raises(ValueError, match=r"`last` must have masks on .* 'weights.1', .*set it"):
        run(name, model, task, folder, last=last)


def test_what_is_frozen_is_not_drawn_anew():
    model, task = case("imp")
    before = frozen_of("imp", model)
    ticket = run("imp", model, task)[-1]
    for name in ("reinit", "random"):
        init = CONTROLS[name](ticket, model, task, 0).init
        assert torch.equal(init["weights.1"], before["weights.1"])
        assert not torch.equal(init["weights.0"], ticket.init["weights.0"])


def test_dead_channels_of_a_network_that_is_frozen_when_done_still_go():
    model, task = Chain(), Pictures()
    ticket = run("channels", model, task)[-1]
    x = next(task.batches("test")).inputs[0]
    model.eval().requires_grad_(False)
    small = ticket.compact(model, task)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    masked = torch.func.functional_call(model, M.masked_values(dict(model.named_parameters()),
                                                        ticket.masks), (x,))  # fmt: skip
    torch.testing.assert_close(small(x), masked)


# --- tied weights --------------------------------------------------------------------------------


class Tied(nn.Module):
    """Two convolutions of one weight, by two names."""

    def __init__(self, task):
        super().__init__()
        torch.manual_seed(0)
        self.first = pyg.GraphConv(task.num_features, task.num_features)
        self.middle = pyg.GraphConv(task.num_features, task.num_features)
        self.middle.lin_rel.weight = self.first.lin_rel.weight
        self.last = pyg.GraphConv(task.num_features, task.num_classes)

    def reset_parameters(self):
        for layer in (self.first, self.middle, self.last):
            layer.reset_parameters()

    def forward(self, x, edge_index, edge_weight=None):
        x = self.first(x, edge_index, edge_weight).relu()
        x = self.middle(x, edge_index, edge_weight).relu()
        return self.last(x, edge_index, edge_weight)


A, B = "first.lin_rel.weight", "middle.lin_rel.weight"


@on_graphs
def test_tied_weights_have_one_mask_and_stay_tied(name, tickets, tmp_path):
    task = toy(loops=False)
    model = Tied(task)
    found = run(name, model, task, tickets(model, task) if name in EARLIER else "")
    for ticket in found:
        assert A in ticket.masks or name in EDGES_ALONE
        assert B not in ticket.masks
    found[-1].save(tmp_path / "ticket")
    ticket = load(tmp_path / "ticket")
    assert torch.equal(ticket.init[A], ticket.init[B])
    fit(model, task, ticket, epochs=2, lr=0.05)
    assert model.middle.lin_rel.weight is model.first.lin_rel.weight
    state = model.state_dict()
    assert torch.equal(state[A], state[B])
    assert not torch.equal(state[A], ticket.init[A])


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_changes_a_tied_weight_by_both_names(name):
    task = toy(loops=False)
    model = Tied(task)
    ticket = run("imp", model, task)[-1]
    changed = CONTROLS[name](ticket, model, task, 0)
    assert torch.equal(changed.init[A], changed.init[B])
    fit(model, task, changed, epochs=1)


def test_a_ticket_whose_tied_weights_differ_is_refused():
    task = toy(loops=False)
    model = Tied(task)
    init = snapshot(model) | {B: torch.zeros(6, 6)}
    with pytest.raises(ValueError, match=f"'{A}' and '{B}' are one parameter of it, but differ"):
        fit(model, task, Ticket(init, {}, 0), epochs=1)


# --- weights that are computed, and layers that are cached ---------------------------------------


def pruned(layer):
    prune.l1_unstructured(layer, "weight", amount=0.5)


def old(layer):
    with pytest.warns(FutureWarning, match="weight_norm"):
        nn.utils.weight_norm(layer)


COMPUTED = {  # what does it, the remedy
    "pruned": (
        pruned,
        r"torch\.nn\.utils\.prune\.remove\(model\.get_submodule\('{}'\), 'weight'\)",
    ),
    "weight norm": (parametrizations.weight_norm, "parametrize.remove_parametrizations"),
    "spectral norm": (parametrizations.spectral_norm, "parametrize.remove_parametrizations"),
    "old weight norm": (old, "torch.nn.utils.remove_weight_norm"),
    "old spectral norm": (
        nn.utils.spectral_norm,
        "torch.nn.utils.parametrizations.spectral_norm in",
    ),
}


@pytest.mark.parametrize("how", COMPUTED)
@every
def test_a_model_whose_weights_are_computed_from_others_is_refused_with_the_remedy(
    name, how, tickets
):
    model, task = (Chain(), Pictures()) if name in OF_CHANNELS else (Tied(toy()), toy())
    folder = tickets(model, task) if name in EARLIER else ""
    path = "layers.3" if name in OF_CHANNELS else "last.lin_rel"
    change, remedy = COMPUTED[how]
    change(model.get_submodule(path))
    with pytest.raises(ValueError, match="`model` must have plain w.*" + remedy.format(path)) as e:
        run(name, model, task, folder)
    if how != "old spectral norm":
        eval(str(e.value).partition(": use ")[2], {"torch": torch, "model": model})
        assert next(call(name, model, task, **SHORT | {"tickets": folder})).round == 0


@on_graphs
def test_a_layer_that_caches_its_graph_is_refused_only_where_edges_are_masked(name, tickets):
    task = toy(loops=False)
    model = pyg.GCN(task.num_features, 4, 2, task.num_classes, cached=True)
    folder = tickets(model, task) if name in EARLIER else ""
    if name in WEIGHTS_ALONE:
        assert len(run(name, model, task, folder)) > 1
        return
    with pytest.raises(ValueError, match=r"`model` must not cache .* 'convs.0' .*cached=False"):
        run(name, model, task, folder)


def test_what_a_layer_has_cached_of_another_graph_is_forgotten():
    one, other = toy(loops=False), toy(loops=False).without(torch.arange(23) % 3 > 0)
    made = [pyg.GCN(one.num_features, 4, 2, one.num_classes, cached=c) for c in (True, False)]
    made[1].load_state_dict(made[0].state_dict())
    for task in (one, other):
        logits = [predict(model, task, dense(model, edges=False)) for model in made]
        torch.testing.assert_close(*logits)


# --- what a model and a task must be -------------------------------------------------------------


class Conv(nn.Module):
    """A model of one's own that does what `change` says to its output."""

    def __init__(self, task, change=lambda logits: logits, width=0, classes=0):
        super().__init__()
        torch.manual_seed(0)
        self.conv = pyg.GraphConv(width or task.num_features, classes or task.num_classes)
        self.drop, self.norm, self.change = nn.Dropout(0.5), nn.BatchNorm1d(classes or 2), change

    def forward(self, x, edge_index, edge_weight=None):
        return self.change(self.norm(self.drop(self.conv(x, edge_index, edge_weight))))


class OfPositions(Conv):
    def forward(self, x, edge_index, positions):
        return super().forward(x, edge_index)


class Lazy(nn.Module):
    def __init__(self, task):
        super().__init__()
        self.conv = pyg.GraphConv(-1, task.num_classes)

    def forward(self, x, edge_index, edge_weight=None):
        return self.conv(x, edge_index, edge_weight)


class Empty(nn.Module):
    def forward(self, x, edge_index, edge_weight=None):
        return x[:, :2]


WRONG = {  # model, what is said of it
    "few outputs": (
        lambda t: Conv(t, classes=3),
        r"logits \[16, 2\], one for .*, got \[16, 3\]",
    ),
    "one row": (lambda t: Conv(t, lambda o: o[:1]), r"a row for each node, got float32 \[1, 2\]"),
    "three dimensions": (lambda t: Conv(t, lambda o: o[None]), r"got float32 \[1, 16, 2\]"),
    "classes": (lambda t: Conv(t, lambda o: o.argmax(1)), r"must return logits .* int64 \[16\]"),
    "a tuple": (lambda t: Conv(t, lambda o: (o, None)), "got a tuple: return the logits alone"),
    "a dict": (lambda t: Conv(t, lambda o: {"logits": o}), "got a dict: return the logits alone"),
    "float64": (lambda t: Conv(t).double(), r"torch.float32, .* torch.float64: use model.to\(torc"),
    "half": (lambda t: Conv(t).half(), r"torch.float32, .* torch.float16: use model.to\(torch.flo"),
    "lazy": (Lazy, "must be initialised, got a lazy 'conv.lin_rel.weight': call it once on the d"),
    "positions": (
        OfPositions,
        r"`model.forward` must take \(x, edge_index, edge_weight=None",
    ),
    "input width": (lambda t: Conv(t, width=9), r"\[16, 6\], .*RuntimeError: .*num_features` = 6"),
    "no parameters": (lambda t: Empty(), "must have parameters, got Empty without any"),
    "device": (
        lambda t: Conv(t).to("meta"),
        r"on the device of `task`, cpu, .*model.to\('cpu'",
    ),
    "a class": (lambda t: Conv, "must be a torch.nn.Module, got the class Conv: build it first"),
    "no module": (lambda t: "gcn", "`model` must be a torch.nn.Module, got str"),
}
CALLS = {
    **{name: lambda m, t, n=name: run(n, m, t) for name in ON_GRAPHS},
    "fit": lambda m, t: fit(m, t, ticket_of(m)),
    "retrain": lambda m, t: next(retrain(m, t, ticket_of(m))),
    "predict": lambda m, t: predict(m, t, ticket_of(m)),
    "evaluate": lambda m, t: evaluate(m, t, {}, ("val",)),
}
IN_MACS = ("lazy", "no parameters", "a class", "no module")


def ticket_of(model):
    """A ticket of whatever it is."""
    known = isinstance(model, nn.Module) and "conv.lin_rel.weight" in model.state_dict()
    lazy = known and nn.parameter.is_lazy(model.state_dict()["conv.lin_rel.weight"])
    return Ticket(snapshot(model) if known and not lazy else {}, {}, 0)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", CALLS)
def test_a_model_that_does_not_fit_its_task_is_named_in_one_line(name, wrong):
    task = toy(loops=False)
    make, said = WRONG[wrong]
    with pytest.raises(ValueError, match=said) as caught:
        CALLS[name](make(task), task)
    assert str(caught.value).startswith("`model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", IN_MACS)
def test_macs_refuse_what_is_no_model(wrong):
    make, said = WRONG[wrong]
    with pytest.raises(ValueError, match=said):
        glt.macs(make(toy()), toy(), {})


TASKS = {
    "Data": (data, r"`task` must be a task, got Data: use graphlth.NodeTask\(data\)"),
    "name": (lambda: "cora", r"`task` must be a task, got str: use graphlth.find\('tasks', 'cora'"),
    "loader": (lambda: [1], "`task` must be a task, got list: use graphlth.NodeTask, graphlth.I"),
}


@pytest.mark.parametrize("wrong", TASKS)
@pytest.mark.parametrize("name", [*CALLS, "macs"])
def test_what_is_no_task_is_named_with_the_remedy(name, wrong):
    calls = {**CALLS, "macs": lambda m, t: glt.macs(m, t, {})}
    make, said = TASKS[wrong]
    with pytest.raises(ValueError, match=said):
        calls[name](build("gcn", toy()), make())


@pytest.mark.parametrize("name", [*CALLS, "macs"])
def test_swapped_arguments_are_named(name):
    calls = {**CALLS, "macs": lambda m, t: glt.macs(m, t, {})}
    with pytest.raises(ValueError, match="`model` must come before `task`, got NodeTask and GCN"):
        calls[name](toy(), build("gcn", toy()))


@pytest.mark.parametrize("name", ["fit", "imp", "ugs", "geb", "edge_popup", "snip"])
def test_an_output_without_gradients_is_refused(name):
    task = toy(loops=False)
    model = Conv(task, lambda logits: logits.detach())
    with pytest.raises(ValueError, match="its weights, got one that is detached: remove no_grad"):
        {**CALLS, "snip": lambda m, t: run("at_init", m, t, score="snip")}[name](model, task)


# --- what a ticket must be -----------------------------------------------------------------------

TAKING_TICKETS = {
    "fit": lambda m, t, ticket: glt.fit(m, t, ticket, epochs=1),
    "retrain": lambda m, t, ticket: next(glt.retrain(m, t, ticket, epochs=1)),
    "predict": lambda m, t, ticket: glt.predict(m, t, ticket),
}


@pytest.mark.parametrize(
    ("wrong", "got"),
    [(None, "NoneType"), ([], "list"), ("a.safetensors", "the path 'a.safetensors'")],
)
@pytest.mark.parametrize("name", TAKING_TICKETS)
def test_what_is_no_ticket_is_named(name, wrong, got):
    task = toy()
    said = rf"^`ticket` must be a Ticket \(see `graphlth.load`\), got {got}$"
    with pytest.raises(ValueError, match=said):
        TAKING_TICKETS[name](build("gcn", task), task, wrong)


def test_a_setting_that_no_training_has_is_named_with_those_that_there_are():
    task = toy()
    model = build("gcn", task)
    said = "`epoch` is no setting of fit; did you mean `epochs`. there are epochs, first, .*warmup"
    with pytest.raises(ValueError, match=said):
        glt.fit(model, task, dense(model, task.num_edges), epoch=1)


MIXED = {  # a call with arguments that are mixed up, what is said of it
    "dense": (
        lambda m, t, fit: glt.dense(m, t),
        "`num_edges` must be a whole number, got NodeTask",
    ),
    "evaluate": (
        lambda m, t, fit: glt.evaluate(m, t, fit.ticket, ("val",)),
        "`masks` must be a mapping .*, such as `ticket.masks`, got Ticket",
    ),
    "fit.compact": (
        lambda m, t, fit: fit.compact(t, m),
        "`model` must come before `task`, got NodeTask and GCN",
    ),
    "ticket.compact": (
        lambda m, t, fit: fit.ticket.compact(t, m),
        "`model` must come before `task`, got NodeTask and GCN",
    ),
    "no graph": (
        lambda m, t, fit: fit.compact(m, None),
        "`task` must be a task, a Graph or an edge_index, got NoneType",
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_arguments_that_are_mixed_up_are_named(name):
    task = toy()
    model = build("gcn", task)
    trained = fit(model, task, dense(model, task.num_edges), epochs=1)
    mixed, said = MIXED[name]
    with pytest.raises(ValueError, match=said):
        mixed(model, task, trained)


# --- and of images -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_CHANNELS)
def test_images_have_the_same_contract(name):
    with pytest.raises(ValueError, match=r"must return logits \[2, 2\], .* got \[2, 5\]: change"):
        run(name, Chain(classes=5), Pictures())
    with pytest.raises(ValueError, match=r"`model.forward` must take \(x\), .* \[2, 3, 16, 16\]"):
        run(name, build("gcn", toy()), Pictures())


@pytest.mark.parametrize("training", [True, False])
def test_looking_changes_nothing(training):
    task = toy(loops=False)
    model = Conv(task).train(training)
    model.drop.eval()  # what is partly frozen stays so
    modes = [m.training for m in model.modules()]
    state, random = bits(snapshot(model)), torch.get_rng_state()
    check_contract(model, task)
    assert [m.training for m in model.modules()] == modes
    assert bits(snapshot(model)) == state
    assert torch.equal(torch.get_rng_state(), random)


def test_a_model_of_rows_of_text_is_looked_at_by_its_targets():
    """A task may have several targets in a row of the input."""
    batch = Batch((torch.zeros(3, 4, dtype=torch.long),), torch.zeros(12, dtype=torch.long))

    class Characters(Task):
        num_classes, num_features, num_edges = 5, 7, 0

        def batches(self, split, seed=0, index=0):
            yield batch

    task = Characters()
    model = nn.Sequential(nn.Embedding(7, 5), nn.Flatten(0, 1))
    check_contract(model, task)


# --- self-loops ----------------------------------------------------------------------------------


@pytest.mark.parametrize("edges", ["undirected", "directed"])
def test_a_model_that_has_its_own_loop_where_one_is_absent_is_masked_in_its_operators(edges):
    task = toy(edges)
    model = pyg.GCN(task.num_features, 4, 2, task.num_classes)
    *_, ticket = glt.ugs(model, task, rounds=1, drop_edges=0.5, epochs=2)
    loops = {M.EDGES: torch.ones(task.num_edges)}
    loops[M.EDGES][self_loops(task)] = 0
    how = StepCache(masked_inside=check_edges(model, task, loops, soft=True))
    soft, hard = (forward(model.eval(), next(t.batches("val")), masks, how)
                  for t, masks in ((task, loops), (task.without(loops[M.EDGES]), {})))  # fmt: skip
    torch.testing.assert_close(soft, hard)
    assert fit(model, task, ticket, epochs=2).val >= 0


def test_a_model_that_treats_loops_as_edges_is_not():
    task = toy()
    assert len(list(glt.ugs(Conv(task), task, rounds=1, epochs=2))) == 2


def test_a_lazy_model_is_no_reason_not_to_know_its_size():
    check_model_size(lambda: nn.LazyLinear(3))
    with pytest.raises(ValueError, match="must have at most"):
        check_model_size(lambda: nn.Sequential(nn.LazyLinear(3), nn.Linear(1 << 15, 1 << 15)))
