"""Tickets: snapshots that share nothing, files that come back bit for bit, strangers refused."""

import json
import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import BatchNorm1d, Linear, Sequential
from toys import build, toy

import graphlth as glt
from graphlth.provenance import model_fingerprint
from graphlth.rewinding import rewind, snapshot
from graphlth.ticket import Ticket, dense, load
from graphlth.ticket_checks import check_ticket_fits


def network(seed=0):
    torch.manual_seed(seed)
    return Sequential(Linear(3, 4), BatchNorm1d(4), Linear(4, 2))


def shake(model):
    """Change every parameter and buffer of `model` in place."""
    for t in model.state_dict().values():
        t.add_(1)


def same(a, b):
    """Whether two dicts of tensors hold the same names, types and bits."""
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype
        and a[n].shape == b[n].shape
        and a[n].contiguous().numpy().tobytes() == b[n].contiguous().numpy().tobytes()
        for n in a
    )


def test_a_snapshot_is_untouched_by_training():
    model = network()
    state, copy = snapshot(model), {n: t.clone() for n, t in model.state_dict().items()}
    assert {"1.running_mean", "1.num_batches_tracked"} < state.keys()
    shake(model)
    assert same(state, copy)
    assert not any(t.requires_grad for t in state.values())


def test_rewinding_restores_every_bit_and_shares_nothing():
    model = network()
    state = snapshot(model)
    copy = {n: t.clone() for n, t in state.items()}
    shake(model)
    assert not same(snapshot(model), state)
    assert rewind(model, state) is model
    assert same(snapshot(model), state)
    shake(model)  # training after the rewind does not reach the ticket
    assert same(state, copy)


@pytest.mark.parametrize(
    ("edges", "weights", "names"),
    [
        (True, True, {"0.weight", "2.weight", "edges"}),
        (True, False, {"edges"}),
        (False, True, {"0.weight", "2.weight"}),
    ],
)
def test_the_dense_ticket_is_the_model_as_it_is(edges, weights, names):
    model = network()
    ticket = dense(model, 6, edges=edges, weights=weights)
    assert ticket.round == 0
    assert same(ticket.init, snapshot(model))
    assert ticket.masks.keys() == names
    assert all(bool((m == 1).all()) for m in ticket.masks.values())


def test_a_ticket_is_frozen():
    with pytest.raises(FrozenInstanceError):
        dense(network()).round = 3


def odd_ticket():
    """Every kind of number that a file could spoil, strided tensors, and words of any language."""
    init = {
        "w": torch.tensor([[0.0, -0.0, 1e-45], [3e38, -1.0, 1 / 3]]).T,
        "attended": torch.tensor([0.0, -torch.inf]),
        "double": torch.tensor([1 / 3, 1e-310], dtype=torch.float64),
        "half": torch.tensor([1 / 3]).bfloat16(),
        "steps": torch.tensor(7),
        "none": torch.zeros(0, 3),
    }
    masks = {"w": torch.tensor([[1.0, 0], [0, 1], [1, 1]]), "edges": torch.tensor([0.0, 1.0, 0.0])}
    return Ticket(init, masks, 4, {"seed": 3, "lr": 0.01, "task": "Übung\n", "deep": {"a": [1]}})


def bits(tensors):
    view = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return {
        n: (t.dtype, list(t.shape), t.contiguous().view(view[t.element_size()]).tolist())
        for n, t in tensors.items()
    }


def test_a_file_brings_the_ticket_back_bit_for_bit(tmp_path):
    ticket = odd_ticket()
    ticket.save(tmp_path / "t.safetensors")
    back = load(tmp_path / "t.safetensors")
    assert bits(back.init) == bits(ticket.init)
    assert bits(back.masks) == bits(dict(ticket.masks))
    assert (back.round, back.provenance) == (ticket.round, ticket.provenance)


def test_a_file_keeps_the_order_of_the_masks(tmp_path):
    """Noise and ties follow that order: without it a continued run has other digits."""
    task = toy()
    ticket = dense(build("gin", task, layers=12), task.num_edges)
    ticket.save(tmp_path / "t")
    assert list(load(tmp_path / "t").masks) == list(ticket.masks)
    assert list(load(tmp_path / "t").init) == list(ticket.init)


def test_equal_tickets_have_equal_files(tmp_path):
    for name in "ab":
        odd_ticket().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_saving_replaces_a_file_whole_and_leaves_nothing_else(tmp_path):
    dense(network(0)).save(tmp_path / "t")
    (tmp_path / "old").hardlink_to(tmp_path / "t")
    dense(network(1)).save(str(tmp_path / "t"))
    assert same(load(tmp_path / "t").init, snapshot(network(1)))
    assert same(load(tmp_path / "old").init, snapshot(network(0)))  # never half of each
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old", "t"]


def test_a_failed_save_keeps_the_old_file_and_says_why_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "t"
    dense(network(0)).save(path)
    before = path.read_bytes()

    def full(draft, content):
        with open(draft, "wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match=r"cannot write `.*No space left") as caught:
        dense(network(1)).save(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_a_folder_that_is_not_there_is_named_in_one_line(tmp_path):
    with pytest.raises(OSError, match=f"cannot write `{tmp_path}/no/t`") as caught:
        dense(network()).save(tmp_path / "no" / "t")
    assert "\n" not in str(caught.value)


def test_no_file_is_named(tmp_path):
    for path in (tmp_path / "t", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no ticket at {path}"):
            load(path)


def refuse(path):
    with pytest.raises(ValueError, match=f"{path} is not a whole graphlth ticket: .") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    odd_ticket().save(tmp_path / "t")
    whole = (tmp_path / "t").read_bytes()
    for size in [*range(0, len(whole), 37), len(whole) - 1]:
        (tmp_path / "cut").write_bytes(whole[:size])
        refuse(tmp_path / "cut")


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('this file ran code')",)


@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_a_pickle_is_refused_without_running(write, tmp_path):
    with open(tmp_path / "t.safetensors", "wb") as file:
        write({"init.w": Bomb()}, file)
    refuse(tmp_path / "t.safetensors")


STRANGERS = [  # what a whole safetensors file says of itself, if it is no ticket
    lambda about: None,
    lambda about: {"format": "pt"},
    lambda about: {"graphlth": "not json"},
    lambda about: {"graphlth": "[1]"},
    lambda about: {"graphlth": json.dumps({n: v for n, v in about.items() if n != "round"})},
    lambda about: {"graphlth": json.dumps(about | {"round": "one"})},
    lambda about: {"graphlth": json.dumps(about | {"round": None})},
    lambda about: {"graphlth": json.dumps(about | {"format": "graphlth-ticket-9"})},
    lambda about: {"graphlth": json.dumps(about | {"provenance": 3})},
]


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_safetensors_file_of_another_kind_is_refused(stranger, tmp_path):
    path = tmp_path / "t"
    dense(network(), 3).save(path)
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["graphlth"])
    tensors = load_file(path)
    save_file(tensors, path, {"graphlth": json.dumps(about)})
    assert same(load(path).init, snapshot(network()))  # nothing else is wrong
    save_file(tensors, path, stranger(about))
    refuse(path)


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path):
    path = tmp_path / "t"
    dense(network(), 3).save(path)
    with safe_open(path, "pt") as file:
        about, tensors = file.metadata(), load_file(path)
    for name in ("init.2.bias", "mask.edges"):
        save_file({n: t for n, t in tensors.items() if n != name}, path, about)
        refuse(path)


def test_a_fingerprint_tells_names_and_shapes_not_values():
    assert model_fingerprint(network(0)) == model_fingerprint(network(1))
    others = [Linear(3, 4), Linear(4, 3), Linear(3, 4, bias=False), Sequential(Linear(3, 4))]
    assert len({model_fingerprint(m) for m in [network(), *others]}) == 5


NUM_EDGES = 6
MISFITS = [  # what differs: weights, masks or provenance (None: that weight is missing), message
    ({"0.weight": torch.ones(9, 3)}, {}, {}, r"'0.weight' is \[9, 3\]"),
    ({"9.weight": torch.ones(1)}, {}, {}, r"'9.weight' .*no such"),
    ({"2.bias": None}, {}, {}, r"no '2.bias'"),
    ({}, {"edges": torch.ones(7)}, {}, r"mask 'edges' .*\[7\], not \[6\]"),
    ({}, {"0.weight": torch.ones(3, 4)}, {}, r"mask '0.weight' has shape \[3, 4\]"),
    ({}, {"0.bias": torch.ones(5)}, {}, r"mask '0.bias' has shape \[5\], not \[4\]"),
    ({}, {"1.running_mean": torch.ones(4)}, {}, r"mask '1.running_mean' .*not a parameter"),
    ({}, {}, {"graph": "f00d"}, r"another graph: .*f00d, not beef"),
]


@pytest.mark.parametrize(("init", "masks", "provenance", "message"), MISFITS)
def test_a_ticket_of_another_model_or_graph_is_refused(init, masks, provenance, message):
    model = network()
    whole = dense(model, NUM_EDGES)
    check_ticket_fits(whole, model, NUM_EDGES, "beef")  # as it is, it fits
    init = {n: t for n, t in (whole.init | init).items() if t is not None}
    ticket = Ticket(init, whole.masks | masks, 0, provenance)
    with pytest.raises(ValueError, match=message) as caught:
        check_ticket_fits(ticket, model, NUM_EDGES, "beef")
    assert "\n" not in str(caught.value)


def test_a_ticket_of_the_same_graph_fits():
    model = network()
    ticket = Ticket(snapshot(model), {}, 0, {"graph": "beef"})
    check_ticket_fits(ticket, model, NUM_EDGES, "beef")
    check_ticket_fits(ticket, model, NUM_EDGES)  # an unknown graph is not compared


def test_a_ticket_is_shown_by_what_it_keeps():
    model = torch.nn.Linear(2, 3)
    ticket = glt.dense(model, 4)
    assert repr(ticket) == "Ticket(round=0, edges=4 of 4, weights=6 of 6)"
    masks = ticket.masks | {"edges": torch.tensor([0.5, 0.0, 1.0, 1.0])}
    other = glt.Ticket(ticket.init, masks, 3, {"algorithm": "ugs"})
    assert str(other) == "Ticket('ugs', round=3, edges=3 of 4, weights=6 of 6)"
    assert repr(glt.dense(model, edges=False)) == "Ticket(round=0, weights=6 of 6)"
