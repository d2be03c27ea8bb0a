"""Early-bird tickets of channels: when one is drawn, what it is, and searches in few bits."""

from typing import get_args

import pytest
import torch
from test_structured import CHANNEL_SCORES, bits, digits, left, network
from toys import Pictures, build, call

import graphlth as glt
from graphlth.algorithms import early_bird as module
from graphlth.algorithms._channels import penalise_norms
from graphlth.algorithms._quantise import Bits, quantise
from graphlth.compaction.channels import (
    channel_masks,
    hidden_levels,
    norm_scales,
    surviving_channels,
)
from graphlth.cost.macs import input_macs, pass_macs
from graphlth.cost.meters import measure_cost
from graphlth.drawing import Queue
from graphlth.rewinding import reinitialise, snapshot
from graphlth.streams import stream_seed
from graphlth.ticket import load
from graphlth.training.loop import train

SHORT = {"epochs": 6, "lr": 0.05, "optimizer": "sgd"}
few = pytest.mark.parametrize("few", [2, 3, 8])


def run(model=None, **about):
    return list(call("early_bird", model or network(), Pictures(), **SHORT | about))


def searched(epochs, of=6, net=None, **about):
    """The model after some epochs of the search by hand, of so many."""
    model = network()
    slimming = penalise_norms(hidden_levels(model), 1e-4)
    how = {"lr": 0.05, "optimizer": "sgd", "weight_decay": 5e-4} | about
    how["seed"] = stream_seed(0, "search")
    for _ in train(net(model) if net else model, Pictures(), {}, epochs=of, until=epochs,
                   penalty=slimming, scoring=(), **how):  # fmt: skip
        pass
    return model


# --- the queue -----------------------------------------------------------------------------------


def test_the_distance_is_the_fraction_of_channels_that_differ():
    """Whatever the channels weigh: of one layer they have 27 weights each, of the other 54."""
    model, queue = network(), Queue(2, 0.2, ("weights",))
    size = sum(v.size for v in hidden_levels(model))
    told, before = [], None
    for ticket in run(model, draws=6)[1:]:
        kept = torch.cat([*surviving_channels(model, ticket.masks).values()])
        queue.push(surviving_channels(model, ticket.masks))
        if before is not None:
            told.append(int((kept != before).sum()) / size)
        before = kept
    assert ticket.search["mask_distances"] == told == queue.path
    assert any(told)
    assert ticket.search["distances_to_earlier"][-1] == told[-1]


@pytest.mark.parametrize(("window", "at"), [(1, 2), (2, 3), (5, 6)])
def test_a_ticket_is_drawn_once_as_many_distances_as_asked_for_are_small(window, at):
    """Nothing moves: the first distance is that from the first draw to the second."""
    _, ticket = run(lr=1e-12, window=window, epochs=9)
    told = ticket.search
    assert told["mask_distances"] == [0] * window
    assert (told["drawn_epoch"], told["settled"]) == (at, True)


def test_channels_that_never_settle_are_drawn_at_the_last_epoch():
    _, ticket = run(channel_score="random")  # anew in every epoch
    assert (ticket.search["drawn_epoch"], ticket.search["settled"]) == (6, False)
    assert min(ticket.search["mask_distances"]) > 0.1


# --- what is drawn -------------------------------------------------------------------------------


@pytest.mark.parametrize("score", CHANNEL_SCORES)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_every_draw_removes_exactly_its_share_of_the_channels(score, share):
    model = network()
    size = sum(v.size for v in hidden_levels(model))
    dense, *drawn = run(model, channel_score=score, drop_channels=share, draws=3)
    assert all(m.all() for m in dense.masks.values())
    for ticket in drawn:
        assert sum(left(ticket, model).values()) == size - round(share * size)
        assert ticket.masks.keys() == dense.masks.keys()


@pytest.mark.parametrize("at", [2, 4, 6])
def test_the_draw_of_an_epoch_is_the_ranking_of_its_scales(at):
    by_hand = searched(at, milestones="0.5", warmup=5)
    ticket = run(draws=3, milestones="0.5", warmup=5)[at // 2]
    masks = channel_masks(by_hand, norm_scales(by_hand), 0.5)
    assert ticket.search["drawn_epoch"] == at
    assert bits(ticket.masks) == bits(masks)
    assert bits(ticket.init) == bits(snapshot(by_hand))


def test_a_search_is_the_head_of_a_whole_training():
    """One that is drawn at epoch 2 of 6 has had the rates of 6 epochs, and costs 2."""
    with measure_cost(pass_macs) as cost:
        _, ticket = run(window=1, epsilon=2.0, milestones="0.3,0.5")
    assert ticket.search["drawn_epoch"] == cost.epochs == 2
    assert bits(ticket.init) == bits(snapshot(searched(2, of=6, milestones="0.3,0.5")))
    assert bits(ticket.init) != bits(snapshot(searched(2, of=2, milestones="0.3,0.5")))
    one = sum(input_macs(network(), Pictures().shape, {}).values())
    assert cost.macs == 3 * 2 * 12 * one  # two epochs of 12 images


def test_iterations_take_the_place_of_epochs():
    assert digits(run(iterations=12, epochs=99)) == digits(run())


@pytest.mark.parametrize("start", ["inherit", "rewind", "reinit"])
def test_a_ticket_inherits_rewinds_or_starts_anew(start):
    model = network()
    wanted = {"rewind": snapshot(model), "reinit": reinitialise(model, 0)}
    dense, ticket = run(model, start=start)
    assert bits(dense.init) == bits(wanted["rewind"])
    assert bits(ticket.init) == bits(wanted.get(start) or snapshot(model))


def test_what_is_done_to_the_model_between_tickets_does_not_matter():
    model, found = network(), []
    for ticket in call("early_bird", model, Pictures(), **SHORT, draws=3):
        found.append(ticket)
        with torch.no_grad():
            for t in model.state_dict().values():
                t.add_(1)
    assert digits(found) == digits(run(draws=3))


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("about", [{}, {"bits": 4}, {"channel_score": "random", "start": "reinit"}])
def test_a_continued_search_equals_an_uninterrupted_one(about, after, tmp_path):
    whole = run(draws=3, **about)
    whole[after].save(tmp_path / "ticket")
    rest = run(draws=3, last=load(tmp_path / "ticket"), **about)
    assert digits(rest) == digits(whole[after + 1 :])
    assert [t.search for t in rest] == [t.search for t in whole[after + 1 :]]


CHANGES = [{"l1_norms": 0.5}, {"lr": 0.2}, {"weight_decay": 0.5}, {"optimizer": "adam"},
           {"momentum": 0.1}, {"milestones": "0.2"}, {"warmup": 9}, {"seed": 1}, {"bits": 2},
           {"channel_score": "filter_norm"}, {"drop_channels": 0.3}, {"scope": "layer"},
           {"draws": 3}]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_setting_changes_the_search(change):
    (_, plain, *_), (_, other, *_) = run(), run(**change)
    assert (digits([plain]), plain.search) != (digits([other]), other.search)


# --- few bits ------------------------------------------------------------------------------------


def seen(net, x):
    """What every convolution and linear map of `net` multiplies in a pass: inputs and weights."""
    values = []
    real = torch.nn.functional.conv2d, torch.nn.functional.linear

    def watch(function):
        return lambda x, w, *more: (values.extend([x, w]), function(x, w, *more))[1]

    with pytest.MonkeyPatch.context() as patch:
        for name, function in zip(("conv2d", "linear"), real, strict=True):
            patch.setattr(torch.nn.functional, name, watch(function))
        net(x)
    return values


@few
@pytest.mark.parametrize("name", ["network", "resnet_20", "preresnet_20", "lenet_5"])
def test_every_product_is_of_as_many_levels_as_the_bits_allow(name, few):
    model = network() if name == "network" else build(name, Pictures())
    plain, rounded = (seen(net.train(), Pictures().x) for net in (model, quantise(model, few)))
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(plain) == len(rounded) == 2 * len(layers)
    assert max(len(t.unique()) for t in rounded) <= 2**few < max(len(t.unique()) for t in plain)
    assert max(len(t.unique()) for t in rounded) > 2 ** (few - 1)
    first, weight = rounded[:2]
    for whole, few_levels in ((Pictures().x, first), (plain[1], weight)):
        step = (whole.max() - whole.min()) / (2**few - 1)
        assert (whole - few_levels).abs().max() <= 1.01 * step  # 0 is a level: ends may move


def test_what_was_seen_before_does_not_change_how_a_tensor_is_rounded():
    model = network()
    net, x = quantise(model, 3).train(), Pictures().x
    before = [t.clone() for t in seen(net, x)[:2]]
    net(100 * x), net(torch.zeros_like(x))
    assert all(map(torch.equal, before, seen(net, x)[:2]))


def test_a_network_of_few_bits_trains_the_weights_and_the_statistics_of_the_model_itself():
    model = network()
    before, net = bits(snapshot(model)), quantise(model, 4)
    assert [n for n, _ in net.named_parameters()] == [n for n, _ in model.named_parameters()]
    for a, b in zip(net.parameters(), model.parameters(), strict=True):
        assert a is b
    for _ in train(net, Pictures(), {}, epochs=1, lr=0.05, optimizer="sgd"):
        pass
    after = bits(snapshot(model))
    assert all(after[n] != before[n] for n in before)
    assert pass_macs(net, Pictures(), {}) == pass_macs(model, Pictures(), {})


@few
def test_a_search_of_few_bits_draws_by_the_weights_that_it_trains(few):
    by_hand = searched(4, net=lambda model: quantise(model, few))
    ticket = run(draws=3, bits=few)[2]
    assert bits(ticket.masks) == bits(channel_masks(by_hand, norm_scales(by_hand), 0.5))
    assert bits(ticket.init) == bits(snapshot(by_hand))
    assert any(len(t.unique()) > 2**few for t in ticket.init.values())  # kept in full precision


def test_32_bits_are_the_model_itself():
    model = network()
    assert quantise(model, 32) is model
    assert digits(run(bits=32)) == digits(run()) != digits(run(bits=8))


def test_a_ticket_of_a_search_in_few_bits_is_retrained_in_all(monkeypatch):
    """What follows a ticket is handed the model, which no search has touched but in its values."""
    model = network()
    layers = [type(m) for m in model.modules()]
    asked, real = [], module.quantise
    monkeypatch.setattr(
        module, "quantise", lambda model, few: asked.append(few) or real(model, few)
    )
    run(model, bits=3)
    assert asked == [3]
    assert [type(m) for m in model.modules()] == layers
    assert not any(m._forward_pre_hooks for m in model.modules())
    plain = seen(model, Pictures().x)
    assert max(len(t.unique()) for t in plain) > 2**8


@pytest.mark.parametrize("wrong", [0, 1, 9, 16, 33])
def test_other_bits_are_refused(wrong):
    assert wrong not in get_args(Bits)
    with pytest.raises(ValueError, match=rf"`bits` must be one of 2, 3, .* 8, 32, got {wrong}$"):
        glt.early_bird(network(), Pictures(), **SHORT, bits=wrong)
