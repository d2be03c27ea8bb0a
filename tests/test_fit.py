"""A `Fit` holds the weights of its best epoch, and a ticket alone is not taken for one."""

import copy
import dataclasses
import gc
import weakref

import pytest
import torch
from torch import nn
from torch_geometric.nn import GCN as PyGGCN
from toys import GRAPH_MODELS, IMAGE_MODELS, Pictures, build, call, toy

import graphlth as glt
from graphlth.rewinding import rewind, snapshot
from graphlth.ticket import Ticket, dense, load
from graphlth.ticket_checks import _LAST_FIT
from graphlth.training.epoch import Epoch, Fit
from graphlth.training.evaluation import predict
from graphlth.training.forward import forward
from graphlth.training.retraining import fit, retrain

models = pytest.mark.parametrize("name", GRAPH_MODELS)


def tickets_of(model, task, rounds=3):
    return list(call("ugs", model, task, rounds=rounds, epochs=3, drop_edges=0.2, drop_weights=0.4))


def accuracy(logits, task, split="test"):
    return (logits.argmax(-1) == task.y[task.rows[split]]).float().mean().item()


@models
def test_each_fit_predicts_what_it_reached_whatever_was_fitted_later(name):
    task = toy()
    model = build(name, task)
    fits = [fit(model, task, ticket, epochs=6, lr=0.05) for ticket in tickets_of(model, task)]
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(torch.nan)
    for best in fits:
        assert accuracy(predict(model, task, best), task) == best.test
        assert accuracy(predict(model, task, best, "val"), task, "val") == best.val
    assert all(p.isnan().all() for p in model.parameters())  # and changes nothing in the model


def test_the_best_of_many_is_chosen_by_its_accuracy_and_used():
    task = toy(loops=False)
    model = PyGGCN(task.num_features, 4, 2, task.num_classes)
    best = max(
        (fit(model, task, t, epochs=5) for t in tickets_of(model, task)), key=lambda f: f.val
    )
    assert accuracy(glt.predict(model, task, best), task) == best.test


def test_a_fit_has_what_its_best_epoch_has_and_tells_of_the_last_one():
    task = toy()
    model = build("gcn", task)
    ticket = dense(model, task.num_edges)
    epochs, steps = [], retrain(model, task, ticket, epochs=7, lr=0.05)
    while True:
        try:
            epochs.append(next(steps))
        except StopIteration as end:
            found = end.value
            break
    first = max(epochs, key=lambda epoch: epoch.val)
    assert isinstance(found, Fit) and isinstance(found, Epoch)
    for field in dataclasses.fields(Epoch):
        assert str(getattr(found, field.name)) == str(getattr(first, field.name))
    assert found.last is epochs[-1] and found.ticket is ticket
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in found.state.items())
    assert repr(found).startswith("Fit(index=") and len(repr(found)) < 200
    assert "tensor" not in repr(found) and found == found
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.val = 1.0


def test_the_weights_of_a_fit_stay_when_the_model_is_trained_on():
    task = toy()
    model = build("gcn", task)
    found = fit(model, task, dense(model, task.num_edges), epochs=3)
    before = {n: t.clone() for n, t in found.state.items()}
    fit(model, task, dense(build("gcn", task, seed=4), task.num_edges), epochs=5, lr=0.1)
    assert all(torch.equal(found.state[n], t) for n, t in before.items())


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_running_statistics_belong_to_the_weights(name):
    task = Pictures()
    model = build(name, task)
    found = fit(model, task, dense(model), epochs=2)
    wanted = predict(model, task, found.ticket)
    fit(model, task, dense(build(name, task, seed=3)), epochs=1)
    assert torch.equal(predict(model, task, found), wanted)


# --- a ticket alone ------------------------------------------------------------------------------


def fitted_twice():
    task = toy()
    model = build("gcn", task)
    first, second = tickets_of(model, task)[1:3]
    fit(model, task, first, epochs=2)
    fit(model, task, second, epochs=2)
    return model, task, first, second


ANOTHER = ("`model` has the weights of a fit of another ticket, of round 2, not of this one, of "
           "round 1: give the `Fit` that `fit` returned for it")  # fmt: skip
USES = {
    "predict": lambda model, task, ticket: predict(model, task, ticket),
    "compact": lambda model, task, ticket: ticket.compact(model, task),
}
uses = pytest.mark.parametrize("use", USES.values(), ids=USES)


@uses
def test_a_ticket_is_refused_with_the_weights_of_a_fit_of_another(use):
    model, task, first, second = fitted_twice()
    use(model, task, second)
    with pytest.raises(ValueError, match=ANOTHER):
        use(model, task, first)
    fit(model, task, first, epochs=1)
    use(model, task, first)


@uses
def test_equal_masks_on_other_weights_are_another_ticket(use):
    model, task, first, _ = fitted_twice()
    other = Ticket(snapshot(build("gcn", task, seed=9)), first.masks, first.round)
    fit(model, task, other, epochs=1)
    with pytest.raises(ValueError, match="of another ticket"):
        use(model, task, first)


@uses
def test_the_same_ticket_from_a_file_or_a_copy_is_the_same(use, tmp_path):
    model, task, _, second = fitted_twice()
    second.save(tmp_path / "t.safetensors")
    use(model, task, load(tmp_path / "t.safetensors"))
    use(model, task, copy.deepcopy(second))


@uses
@pytest.mark.parametrize("change", [
    lambda model: rewind(model, snapshot(model)),
    lambda model: nn.init.ones_(next(model.parameters())),
], ids=["loaded", "changed"])  # fmt: skip
def test_weights_that_the_user_has_put_there_are_used(use, change):
    model, task, first, _ = fitted_twice()
    change(model)
    use(model, task, first)


def test_no_model_is_kept_alive():
    model, _, _, _ = fitted_twice()
    gone = weakref.ref(model)
    assert model in _LAST_FIT
    del model
    gc.collect()
    assert gone() is None


def test_a_fit_of_another_model_or_graph_is_refused():
    task = toy()
    model = build("gcn", task)
    found = fit(model, task, dense(model, task.num_edges), epochs=1)
    other = build("gcn", task, hidden=5)
    for use in (lambda: predict(other, task, found), lambda: found.compact(other, task)):
        with pytest.raises(ValueError, match="`ticket` does not fit `model`"):
            use()
    with pytest.raises(ValueError, match="`ticket` does not fit: its mask 'edges'"):
        predict(model, toy("directed"), found)


# --- compaction ----------------------------------------------------------------------------------


@models
def test_a_fit_is_compacted_with_its_own_weights(name):
    task = toy()
    model = build(name, task)
    fits = [fit(model, task, ticket, epochs=3) for ticket in tickets_of(model, task)[1:]]
    held = snapshot(model)
    for best in fits:
        small = best.compact(model, task)
        wanted = forward(rewind(copy.deepcopy(model), best.state), next(task.batches("test")),
                         best.ticket.masks)  # fmt: skip
        torch.testing.assert_close(small(task.x), wanted, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(t, held[n]) for n, t in snapshot(model).items())
