"""Structured tickets: whole channels go, by each score, and the network gets smaller."""

import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import torch
from torch import nn
from toys import Pictures, build, call, toy

import graphlth.records as record
from graphlth import masks as M
from graphlth.algorithms._channels import penalise_norms
from graphlth.analysis.latency import latency
from graphlth.cli import main as cli
from graphlth.compaction.channels import hidden_levels, surviving_channels
from graphlth.cost.macs import input_macs
from graphlth.experiment.export import export
from graphlth.models.image._vgg import vgg
from graphlth.registry import find
from graphlth.rewinding import snapshot
from graphlth.scores.channels.thinet import contributions, greedy_order, thinet
from graphlth.streams import stream_seed
from graphlth.task import Batch
from graphlth.ticket import dense, load
from graphlth.training.forward import forward
from graphlth.training.loop import train
from graphlth.training.retraining import fit

CHANNEL_SCORES = ["norm_scale", "filter_norm", "thinet", "random"]
scores = pytest.mark.parametrize("score", CHANNEL_SCORES)
starts = pytest.mark.parametrize("start", ["inherit", "rewind", "reinit"])
SHORT = {"rounds": 3, "epochs": 2, "drop_channels": 0.3, "lr": 1e-2}


def network(seed=0):
    torch.manual_seed(seed)
    return vgg(Pictures(), (1, 1, 1), (6, 8, 9))


def run(model=None, **about):
    return list(call("channels", model or network(), Pictures(), **SHORT | about))


def left(ticket, model):
    return {n: int(k.sum()) for n, k in surviving_channels(model, ticket.masks).items()}


def bits(tensors):
    return {n: t.detach().numpy().tobytes() for n, t in tensors.items()}


def digits(tickets):
    return [(t.round, bits(t.init), bits(t.masks)) for t in tickets]


# --- tickets -------------------------------------------------------------------------------------


@scores
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_every_round_removes_exactly_its_share_of_the_surviving_channels(score, scope):
    model = network()
    first, *rest = run(model, channel_score=score, scope=scope)
    assert [t.round for t in rest] == [1, 2, 3] and all(m.all() for m in first.masks.values())
    assert all(t.masks.keys() == first.masks.keys() for t in rest)
    want = {v.maker: v.size for v in hidden_levels(model)}
    for ticket in rest:
        if scope == "layer":
            want = {n: c - round(0.3 * c) for n, c in want.items()}
            assert left(ticket, model) == want
        else:
            want = {"all": sum(want.values()) - round(0.3 * sum(want.values()))}
            assert sum(left(ticket, model).values()) == want["all"]
            assert min(left(ticket, model).values()) > 0


@scores
def test_a_channel_that_is_gone_never_returns_and_takes_all_its_parameters(score):
    model = network()
    tickets = run(model, channel_score=score)
    for before, after in pairwise(tickets):
        assert all(bool((after.masks[n] <= before.masks[n]).all()) for n in after.masks)
    for v in hidden_levels(model):
        kept = surviving_channels(model, tickets[-1].masks)[v.maker]
        rows = tickets[-1].masks[f"{v.maker}.weight"].flatten(1)
        columns = tickets[-1].masks[f"{v.reader}.weight"].transpose(0, 1).flatten(1)
        assert not rows[~kept].any() and not columns[~kept].any()
        for norm in v.norms:
            assert torch.equal(tickets[-1].masks[f"{norm}.bias"].bool(), kept)


@starts
def test_a_ticket_starts_from_what_is_asked_for(start):
    model = network()
    theta_0 = bits(snapshot(model))
    inits = [bits(t.init) for t in run(model, start=start)]
    assert inits[0] == theta_0
    assert (inits[1] == theta_0) == (start == "rewind")
    assert (inits[1] == inits[2] == inits[3]) == (start != "inherit")
    if start == "inherit":  # the trained ones
        trained, slimming = network(), penalise_norms(hidden_levels(model), 1e-4)
        first = stream_seed(0, "training", 1)
        for _ in train(trained, Pictures(), {}, epochs=2, lr=1e-2, seed=first, penalty=slimming):
            pass
        assert inits[1] == bits(snapshot(trained))


def test_a_round_trains_by_the_recipe_for_as_many_iterations_as_asked_for():
    recipe = {"optimizer": "sgd", "momentum": 0.5, "milestones": "0.5", "warmup": 3, "lr": 0.05}
    ticket = run(rounds=1, epochs=99, iterations=8, **recipe)[1]
    trained, slimming = network(), penalise_norms(hidden_levels(network()), 1e-4)
    first = stream_seed(0, "training", 1)
    for _ in train(trained, Pictures(), {}, epochs=4, seed=first, penalty=slimming, **recipe):
        pass
    assert bits(ticket.init) == bits(snapshot(trained))


@scores
@starts
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_continued_search_equals_an_uninterrupted_one(score, start, after, tmp_path):
    about = {"channel_score": score, "start": start}
    whole = run(**about)
    whole[after].save(tmp_path / "ticket")
    rest = run(network(99), last=load(tmp_path / "ticket"), **about)
    assert digits(rest) == digits(whole[after + 1 :])


@scores
def test_the_seed_alone_decides(score):
    found = []
    for seed, chance in ((0, 1), (0, 2), (1, 1)):
        model = network()
        torch.manual_seed(chance)
        found.append(digits(run(model, seed=seed, channel_score=score)))
    assert found[0] == found[1] and found[0][1:] != found[2][1:]


def test_every_score_removes_other_channels():
    masks = [bits(run(channel_score=s, rounds=1)[1].masks) for s in CHANNEL_SCORES]
    assert all(a != b for a, b in combinations(masks, 2))


def test_weights_that_read_a_removed_channel_no_longer_count():
    """Filter 3 of the second layer is large only where channel 0 was read."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(),
                          nn.Flatten(), nn.Linear(4 * 256, 2))  # fmt: skip
    with torch.no_grad():
        for p, sizes in ((model[0].weight, [1.0, 2, 3, 4]), (model[2].weight, [1.0, 2, 3, 0.1])):
            p.copy_(torch.tensor(sizes).view(4, 1, 1, 1).expand_as(p))
        model[2].weight[3, 0] = 99
    about = {"channel_score": "filter_norm", "scope": "layer", "drop_channels": 0.26, "lr": 1e-9}
    _, one, two, _ = run(model, **about)
    assert surviving_channels(model, one.masks)["2"].tolist() == [False, True, True, True]
    assert surviving_channels(model, two.masks)["2"].tolist() == [False, True, True, False]


def test_what_has_no_hidden_channels_is_refused_before_it_trains():
    for model, task, says in [
        (build("gcn", toy(), layers=1), toy(), "hidden channels to remove, .* got GCN"),
        (build("gcn", toy()), toy(), "channels that 'norm_scale' can score, got GCN"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(768, 2)),
            Pictures(),
            "hidden channels to remove, .* got Sequential",
        ),
        (build("lenet_5", Pictures()), Pictures(), "channels that 'norm_scale' can score"),
    ]:
        with pytest.raises(ValueError, match=f"`model` must .*{says}"):
            next(call("channels", model, task))
    with pytest.raises(ValueError, match=r"`channel_score` must be one of .*norm_scale, .*'luck'"):
        next(call("channels", network(), Pictures(), channel_score="luck"))
    with pytest.raises(ValueError, match=r"`fraction` must leave every layer a channel"):
        run(drop_channels=0.95)


# --- the smaller network -------------------------------------------------------------------------


def scattered(model, share=0.4):
    draw = torch.Generator().manual_seed(0)
    return {n: (torch.rand(m.shape, generator=draw) >= share).to(m)
            for n, m in M.ones(model).items()}  # fmt: skip


def own():
    """A model of somebody else."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(7), nn.Flatten(),
                         nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 2))  # fmt: skip


NETWORKS = {"vgg": network, "own": own,
            "resnet_20": lambda: build("resnet_20", Pictures())}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_compacted_ticket_is_the_masked_network_with_less(name):
    task, model = Pictures(), NETWORKS[name]()
    ticket = run(model, channel_score="filter_norm", scope="layer", rounds=1, epochs=1)[1]
    fit(model, task, ticket, epochs=2)
    small = ticket.compact(model, task)
    torch.testing.assert_close(small(task.x), forward(model.eval(), whole(task), ticket.masks))
    kept = sum(int(m.sum()) for m in ticket.masks.values())
    unmasked = [p.numel() for n, p in model.named_parameters() if n not in ticket.masks]
    assert sum(p.numel() for p in small.parameters()) == kept + sum(unmasked) < size(model)
    assert input_macs(small, task.shape, {}) == input_macs(model, task.shape, ticket.masks)


@pytest.mark.parametrize("name", NETWORKS)
def test_scattered_zeros_stay_where_channels_live_and_are_counted(name):
    task, model = Pictures(), NETWORKS[name]()
    masks = scattered(model)
    first = hidden_levels(model)[0].maker + ".weight"
    masks[first][0] = 0
    ticket = replace(dense(model), masks=masks)
    small = ticket.compact(model.eval(), task, layout="dense")
    torch.testing.assert_close(small(task.x), forward(model, whole(task), masks))
    assert dict(small.named_parameters())[first].size(0) == masks[first].size(0) - 1
    gain = latency(model, task, ticket, batch=3, repeats=1)
    assert gain.images == 3 and gain.difference < 1e-5
    assert gain.weight_sparsity > 0.3 and 0.6 < gain.compact_bytes / gain.dense_bytes < 1
    assert gain.dense_macs == sum(input_macs(model, task.shape, {}).values())
    assert gain.compact_macs == sum(input_macs(small, task.shape, {}).values()) < gain.dense_macs


def whole(task):
    return Batch((task.x,), task.y)


def size(model):
    return sum(p.numel() for p in model.parameters())


def test_tickets_of_other_images_and_other_layouts_are_not_compacted():
    model = network()
    ticket = dense(model)
    with pytest.raises(ValueError, match="`layout` must be auto or dense for images, got 'sparse'"):
        ticket.compact(model, Pictures(), layout="sparse")
    with pytest.raises(ValueError, match="`ticket` does not fit `model`"):
        ticket.compact(own(), Pictures())
    with pytest.raises(ValueError, match="`ticket` is of another graph"):
        replace(ticket, provenance={"graph": "0123"}).compact(model, Pictures())
    with pytest.raises(ValueError, match=r"`batch` must be in \[1, 10000\], got 0"):
        latency(model, Pictures(), ticket, batch=0)


@pytest.fixture
def found(tmp_path, monkeypatch, capsys):
    """A ticket of images that a run has found."""
    monkeypatch.chdir(tmp_path)
    argv = ["run", "channels", "--task=digits-images", "--model=conv_2", "--lr=1e-3", "--epochs=1",
            "--channel-score=filter_norm", "--drop-channels=0.6", "--out=out"]  # fmt: skip
    assert cli.main(argv) == 0
    return Path(capsys.readouterr().out.splitlines()[0]) / "seed0-round1.safetensors"


def test_export_of_images_is_a_program_with_the_accuracy_that_it_says(found, capsys):
    assert cli.main(["export", str(found), "--out=small.pt2"]) == 0
    first, weights, reached = capsys.readouterr().out.splitlines()
    about = f"{Path('small.pt2').stat().st_size:,} bytes, a program for batches of any size"
    assert first == f"small.pt2: {about}"
    small, task = torch.export.load("small.pt2").module(), find("tasks", "digits_images")()
    batches = [*task.batches("test")]
    hits = torch.cat([small(*b.inputs).argmax(-1) == b.target for b in batches])
    test = hits.float().mean().item()
    assert test == record.read_file(found.parent / "seed0.jsonl")[-1]["test"]
    assert f"test {test:.1%}, retrained to epoch 1" in reached
    (x,) = batches[0].inputs
    torch.testing.assert_close(small(x[:1]), small(x)[:1])
    held = sum(p.numel() for p in small.parameters() if p.dim() > 1)
    assert weights == f"  {held:,} weights, {held:,} of them not 0"
    assert held == sum(int(m.sum()) for n, m in load(found).masks.items() if m.dim() > 1)
    code = ("import sys, torch; m = torch.export.load('small.pt2').module(); "
            "sys.exit('graphlth' in sys.modules)")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert sorted(p.name for p in Path().iterdir()) == ["out", "small.pt2"]


@pytest.mark.parametrize(("flags", "says"), [
    ("--out=small.safetensors", "`out` must end in .pt2 or .onnx for a ticket of images, got 'sm"),
    ("--out=a.pt2 --layout=sparse", "`layout` must be auto or dense .*, got 'sparse'"),
])  # fmt: skip
def test_an_export_of_images_that_cannot_be_written_is_told_before_it_trains(
    found, capsys, flags, says
):
    assert cli.main(["export", str(found), *flags.split()]) == 2
    assert re.search(says, capsys.readouterr().err)
    assert [p.name for p in Path().iterdir()] == ["out"]


def test_onnxruntime_runs_an_export_of_images_in_batches_of_any_size(found):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network, _ = export(str(found), out="small.onnx", epochs=1)
    session = onnxruntime.InferenceSession("small.onnx")
    (images,) = next(find("tasks", "digits_images")().batches("test")).inputs
    for x in (images[:1], images[:5]):
        (got,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(got), network(x), atol=1e-4, rtol=1e-4)


def test_bench_of_images_tells_bytes_and_multiplications(found, capsys):
    tickets = [str(found.with_name(f"seed0-round{r}.safetensors")) for r in (0, 1)]
    assert cli.main(["bench", *tickets, "--batch=2", "--repeats=1"]) == 0
    output = capsys.readouterr().out
    rows = [line.split() for line in output.splitlines() if "×" in line]
    records = record.read_file(found.parent / "seed0.jsonl")
    for cells, line in zip(rows, records, strict=True):
        whole, small = (int(cell.replace(",", "")) for cell in cells[4:6])
        assert cells[6] == f"{whole / small:.1f}×" and float(cells[-1]) < 1e-5
        assert cells[9] == f"{records[0]['macs'] / line['macs']:.1f}×"
    assert rows[0][4] == rows[1][4] and "of 2 inputs at once" in output


# --- the L1 norm of scales -----------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.8])  # few survivors are trained as a vector of their own
def test_l1_adds_its_rate_to_the_gradient_of_every_surviving_scale(share):
    """One step of Adam from 0 moments goes by the sign of the gradient: here that of γ alone."""
    model, name = network(), "layers.1.weight"
    mask = (torch.arange(6) >= 6 * share).float()
    with torch.no_grad():
        model.layers[1].weight.copy_(torch.tensor([1.0, -1, 1, -1, 1, -1]))
    before = model.layers[1].weight.detach().clone()
    for _ in train(model, Pictures(batch=1), {name: mask}, epochs=1, lr=1e-3, weight_decay=0,
                   penalty=penalise_norms(hidden_levels(model), 1e6), scoring=()):  # fmt: skip
        pass
    moved = model.layers[1].weight.detach() - before
    torch.testing.assert_close(moved, -2e-3 * before.sign() * mask, atol=2e-6, rtol=0)  # 2 batches


def test_slimming_makes_scales_smaller():
    def total(l1_norms):
        ticket = run(rounds=1, epochs=20, l1_norms=l1_norms)[1]
        return sum(
            ticket.init[f"{n}.weight"].abs().sum()
            for v in hidden_levels(network())
            for n in v.norms
        )

    assert total(0.1) < 0.9 * total(0.0)


# --- ThiNet --------------------------------------------------------------------------------------


def error(parts, gone):
    return parts[:, list(gone)].sum(1).square().sum().item()


@pytest.mark.parametrize("seed", range(5))
def test_the_greedy_order_takes_the_least_at_every_step(seed):
    parts = torch.randn(20, 6, generator=torch.Generator().manual_seed(seed)).double()
    order = greedy_order(parts).tolist()
    assert sorted(order) == list(range(6))
    for step, c in enumerate(order):
        others = set(range(6)) - set(order[:step])
        assert c == min(others, key=lambda o: error(parts, [*order[:step], o]))


def test_what_cancels_goes_together():
    """After channel 0 the larger 2 takes less away than 1 does."""
    assert greedy_order(torch.tensor([[1.0, 1.5, -1.6]])).tolist() == [0, 2, 1]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_of_channels_that_do_not_interact_the_best_of_all_sets_goes(size):
    parts = torch.diag(torch.tensor([3.0, 1, 4, 2]))
    best = min(combinations(range(4), size), key=lambda gone: error(parts, gone))
    assert set(greedy_order(parts)[:size].tolist()) == set(best)


READERS = {
    "convolution": (nn.Conv2d(4, 3, 3, padding=1, stride=2, bias=False), (2, 4, 7, 7)),
    "same": (nn.Conv2d(4, 3, 3, padding="same", bias=False), (2, 4, 5, 5)),
    "linear": (nn.Linear(12, 3, bias=False), (5, 12)),
}


@pytest.mark.parametrize("kind", READERS)
def test_what_channels_contribute_adds_up_to_the_output(kind):
    reader, shape = READERS[kind]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    parts = contributions(reader, 4, x, torch.Generator().manual_seed(1))
    want = reader(x).sort(dim=1).values.flatten().sort().values
    torch.testing.assert_close(parts.sum(1).sort().values, want)


def test_thinet_misses_first_what_the_next_layer_does_not_read():
    model = network().eval()
    with torch.no_grad():
        model.layers[4].weight[:, 2] = 0
    whole = {v.maker: torch.ones(v.size) for v in hidden_levels(model)}
    late = thinet(model, Pictures(), whole)["layers.0"]
    assert late.argmin() == 2 and sorted(late.tolist()) == pytest.approx(
        [(i + 1) / 6 for i in range(6)]
    )
