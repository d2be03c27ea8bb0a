"""Channels are removed in exact counts, stay removed, and the smaller network is the same."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from toys import Pictures, build, toy

from graphlth import masks as M
from graphlth.compaction import channels as C
from graphlth.cost.macs import input_macs
from graphlth.models.image._vgg import vgg
from graphlth.rewinding import snapshot
from graphlth.ticket import Ticket, load
from graphlth.training.loop import train
from graphlth.training.retraining import fit

MODELS = ["vgg_16", "conv_4", "lenet_5", "lenet_300_100", "resnet_20", "preresnet_20"]
models = pytest.mark.parametrize("name", MODELS)


pytestmark = pytest.mark.usefixtures("double_precision")


@torch.no_grad()
def shaken(model, seed=0):
    """`model` with biases, norms and statistics away from where they start, in eval mode."""
    draw = torch.Generator().manual_seed(seed)
    for n, t in model.state_dict().items():
        if n.endswith("running_var"):
            t.copy_(0.5 + torch.rand(t.shape, generator=draw))
        elif t.dim() == 1:
            t.copy_(torch.randn(t.shape, generator=draw))
    return model.eval()


def random_channels(model, fraction, seed=0):
    """Masks without a random `fraction` of the hidden channels, and without some weights."""
    draw = torch.Generator().manual_seed(seed)
    levels = {v.maker: torch.rand(v.size, generator=draw) for v in C.hidden_levels(model)}
    masks = C.channel_masks(model, levels, fraction)
    return {n: m * (torch.rand(m.shape, generator=draw) < 0.9 if m.dim() > 1 else 1)
            for n, m in masks.items()}  # fmt: skip


@torch.no_grad()
def agree(model, masks, shape):
    """The smaller network, after its outputs are compared with those of the masked model."""
    small = C.shrink(model, masks)
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(9))
    want = functional_call(model, M.masked_values(dict(model.named_parameters()), masks), x)
    scale = want.abs().max().item() + 1e-3
    torch.testing.assert_close(small(x), want, atol=1e-10 * scale, rtol=1e-9)
    return small


def narrow_vgg(task):
    torch.manual_seed(0)
    return vgg(task, (1, 1, 2, 1, 1), (8, 8, 12, 16, 16))


def size(model):
    return sum(p.numel() for p in model.parameters())


# --- where channels are --------------------------------------------------------------------------

HIDDEN = [  # layers with hidden channels, channels
    ("vgg_16", 13, 4224), ("vgg_19", 16, 5504), ("conv_2", 4, 640), ("conv_6", 8, 1408),
    ("lenet_5", 3, 570), ("lenet_300_100", 2, 400), ("mlp", 2, 8),
    ("resnet_20", 9, 3 * (16 + 32 + 64)), ("resnet_18", 8, 2 * 960), ("resnet_56", 27, 1008),
    ("preresnet_20", 12, 4 * (16 + 32 + 64)), ("preresnet_101", 66, 22 * 112),
]  # fmt: skip


@pytest.mark.parametrize(("name", "layers", "hidden"), HIDDEN)
def test_hidden_channels_are_found(name, layers, hidden):
    found = C.hidden_levels(build(name, Pictures()))
    assert (len(found), sum(v.size for v in found)) == (layers, hidden)


def test_only_the_inner_channels_of_a_residual_block_are_hidden():
    found = C.hidden_levels(build("resnet_20", Pictures()))
    assert {(v.maker.split(".")[2], v.reader.split(".")[2]) for v in found} == {("body", "body")}
    assert not C.hidden_levels(build("gcn", toy()))


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def tied():
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    return nn.Sequential(a, nn.ReLU(), b, nn.ReLU(), nn.Linear(4, 2))


class Apart(nn.Sequential):
    def forward(self, x):
        first, *_ = self
        return first(x)


def repeated():
    twice = nn.Linear(4, 4)
    return nn.Sequential(twice, nn.ReLU(), twice, nn.Linear(4, 4))


KEPT = {  # what could be changed by the loss of a channel
    "tied weights": tied(),
    "a layer used twice": repeated(),
    "a class of one's own": nn.Sequential(nn.Linear(4, 4), Doubled(4, 4), nn.Linear(4, 2)),
    "a forward of one's own": Apart(nn.Linear(4, 4), nn.Linear(4, 4)),
    "made in groups": nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1)),
    "read in groups": nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2)),
    "no Flatten": nn.Sequential(nn.Conv2d(4, 4, 1), nn.Linear(4, 4)),
    "half a Flatten": nn.Sequential(nn.Conv2d(4, 4, 1), nn.Flatten(2), nn.Linear(4, 4)),
    "a norm over other channels": nn.Sequential(
        nn.Conv2d(4, 4, 1), nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 2)),
    "no statistics": nn.Sequential(
        nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), nn.Conv2d(4, 4, 1)),
    "softmax": nn.Sequential(nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 2)),
    "padded average": nn.Sequential(
        nn.Conv2d(4, 4, 1), nn.AvgPool2d(2, padding=1), nn.Conv2d(4, 4, 1)),
}  # fmt: skip


@pytest.mark.parametrize("why", KEPT)
def test_channels_that_others_could_see_stay(why):
    assert C.hidden_levels(KEPT[why]) == []


def test_nested_sequences_are_one_chain():
    inner = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 3), nn.ReLU())
    model = nn.Sequential(inner, nn.Sequential(nn.Conv2d(5, 4, 3), inner[2]), nn.Flatten(),
                          nn.Linear(16, 2))  # fmt: skip
    found = C.hidden_levels(model)
    assert [(v.maker, v.between, v.reader) for v in found] == [
        ("0.0", (), "0.1"), ("0.1", ("0.2",), "1.0"), ("1.0", ("1.1", "2"), "3"),
    ]  # fmt: skip
    agree(shaken(model), random_channels(model, 0.5), (3, 6, 6))


# --- masks ---------------------------------------------------------------------------------------


@models
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.777])
def test_exactly_as_many_channels_go_as_are_asked_for(name, fraction):
    model = build(name, Pictures())
    for scope in ("global", "layer"):
        masks = C.channel_masks(model, C.filter_norms(model), fraction, scope)
        kept = {
            v.maker: masks[f"{v.maker}.weight"].flatten(1).any(1) for v in C.hidden_levels(model)
        }
        gone = {n: int((~k).sum()) for n, k in kept.items()}
        sizes = {n: k.numel() for n, k in kept.items()}
        if scope == "global":
            assert sum(gone.values()) == round(fraction * sum(sizes.values()))
        else:
            assert gone == {n: round(fraction * c) for n, c in sizes.items()}
        assert all(k.any() for k in kept.values())


def test_the_smallest_scales_go_whatever_their_sign():
    model = build("vgg_16", Pictures())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    shaken(model)
    scales = torch.cat([m.weight.detach().abs() for m in norms])
    masks = C.channel_masks(model, C.norm_scales(model), 0.4)
    kept = torch.cat([masks[f"{v.norms[0]}.weight"] for v in C.hidden_levels(model)]).bool()
    assert scales[~kept].max() < scales[kept].min()
    assert (~kept).sum() == round(0.4 * 4224)


def test_filters_are_ranked_by_the_sum_of_their_absolute_weights():
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Conv2d(3, 1, 1))
    with torch.no_grad():
        filters = torch.tensor([[1.0, 1, 1, 1], [0, -5, 0, 0], [2, 0, 0, 0]])
        model[0].weight.copy_(filters.view(3, 1, 2, 2))
    assert C.filter_norms(model)["0"].tolist() == [4, 5, 2]
    masks = C.channel_masks(model, C.filter_norms(model), 0.3)
    assert masks["0.bias"].tolist() == [1, 1, 0]


def test_a_channel_takes_all_its_parameters_with_it():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(),
                          nn.Linear(3 * 4, 5), nn.ReLU(), nn.Linear(5, 2))  # fmt: skip
    masks = C.expand_channels(model, {"0": torch.tensor([1.0, 0.0, 1.0])})
    gone = {n: int((m == 0).sum()) for n, m in masks.items()}
    assert gone == {"0.weight": 18, "0.bias": 1, "1.weight": 1, "1.bias": 1, "4.weight": 4 * 5,
                    "6.weight": 0}  # fmt: skip
    assert not masks["0.weight"][1].any() and not masks["4.weight"][:, 4:8].any()
    assert M.sparsity(masks) == pytest.approx(41 / (54 + 3 + 3 + 3 + 60 + 10))


@models
def test_no_layer_loses_all_its_channels(name):
    """The layers with the lowest scores keep their best channel."""
    model = build(name, Pictures())
    scores = {
        v.maker: torch.arange(v.size) + 1000.0 * i for i, v in enumerate(C.hidden_levels(model))
    }
    total = sum(s.numel() for s in scores.values())
    masks = C.channel_masks(model, scores, (total - len(scores)) / total)
    for v in C.hidden_levels(model):
        kept = masks[f"{v.maker}.weight"].flatten(1).any(1).nonzero().flatten()
        assert kept.tolist() == [v.size - 1]
    with pytest.raises(
        ValueError, match=r"`fraction` must leave every layer a channel, got 0\.999"
    ):
        C.channel_masks(model, scores, 0.999)


def test_wrong_scores_fractions_and_masks_are_refused():
    model = build("lenet_300_100", Pictures())
    scores = C.filter_norms(model)
    with pytest.raises(ValueError, match="`scores` must hold a layer, got none"):
        C.channel_masks(model, C.norm_scales(model), 0.5)
    with pytest.raises(ValueError, match=r"`fraction` must be in \[0, 1\), got 1"):
        C.channel_masks(model, scores, 1.0)
    with pytest.raises(ValueError, match="`scope` must be one of"):
        C.channel_masks(model, scores, 0.5, "galaxy")
    with pytest.raises(ValueError, match=r"`kept` .* got 'layers\.9' of 2 where there are none"):
        C.expand_channels(model, {"layers.9": torch.ones(2)})
    with pytest.raises(ValueError, match=r"`kept` .* of 2 where there are 300"):
        C.expand_channels(model, {"layers.1": torch.ones(2)})
    for masks in ({"edges": torch.ones(3)}, {"layers.1.weight": torch.ones(3, 300)}):
        with pytest.raises(ValueError, match="`masks` must be of parameters of `model`"):
            C.shrink(model, masks)


@pytest.mark.parametrize("name", ["vgg", "resnet_20", "lenet_5"])
def test_a_removed_channel_is_0_throughout_training(name):
    task = Pictures()
    model = shaken(narrow_vgg(task) if name == "vgg" else build(name, task))
    scores = C.norm_scales(model) or C.filter_norms(model)
    masks = C.channel_masks(model, scores, 0.5)
    ends, seen = {v.between[-1]: v.maker for v in C.hidden_levels(model)}, {v: 0 for v in scores}

    def look(end):
        def check(layer, inputs, output):
            kept = masks[f"{ends[end]}.weight"].flatten(1).any(1)
            size = len(kept)
            of_channel = output.detach().reshape(len(output), size, -1)
            assert not of_channel[:, ~kept].any()
            seen[ends[end]] += int(of_channel[:, kept].any()) * layer.training

        return check

    for end in ends:
        model.get_submodule(end).register_forward_hook(look(end))
    ticket = Ticket(snapshot(model), masks, 1)
    best = fit(model, task, ticket, epochs=3, lr=0.01, weight_decay=1e-2)
    assert best.index >= 0
    assert all(count >= 3 for count in seen.values())  # the others live
    statistics = [b for n, b in model.named_buffers() if b.dim()]
    assert all(b.isfinite().all() for b in statistics)
    for m in model.modules():
        m._forward_hooks.clear()
    agree(model.eval(), masks, task.shape)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_masked_scale_does_not_return_through_adam_and_decay(share):
    """However few of a norm's scales survive."""

    def once(value):
        task = Pictures()
        model = build("resnet_20", task)
        masks = C.channel_masks(model, C.filter_norms(model), share)
        with torch.no_grad():
            for n, m in masks.items():
                dict(model.named_parameters())[n][m == 0] = value
        epochs = list(train(model, task, masks, epochs=2, lr=0.01, weight_decay=0.01))
        return epochs, M.masked_values(snapshot(model), masks)

    (first, a), (again, b) = once(0.0), once(50.0)
    assert first == again
    assert all(torch.equal(t, b[n]) for n, t in a.items())


def test_masks_of_scales_are_kept_in_a_ticket(tmp_path):
    model = build("resnet_20", Pictures())
    masks = C.channel_masks(model, C.filter_norms(model), 0.5)
    assert {n for n in masks if n not in M.prunable(model)}
    Ticket(snapshot(model), masks, 1).save(tmp_path / "t")
    back = load(tmp_path / "t").masks
    assert list(back) == list(masks) and all(torch.equal(back[n], m) for n, m in masks.items())


# --- the smaller network -------------------------------------------------------------------------


@models
@pytest.mark.parametrize("fraction", [0.0, 0.4, 0.9])
def test_the_smaller_network_computes_what_the_masked_one_does(name, fraction):
    task = Pictures()
    model = shaken(build(name, task))
    masks = random_channels(model, fraction)
    before = snapshot(model)
    small = agree(model, masks, task.shape)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    for v in C.hidden_levels(small):
        w = dict(small.named_parameters())[f"{v.maker}.weight"]
        assert w.flatten(1).any(1).all() or len(w) == 1
    assert not small.training


@models
def test_parameters_and_multiplications_fall_by_what_is_gone(name):
    """Half of the hidden channels: an inner layer of a chain keeps a quarter of its weights."""
    task = Pictures()
    model = shaken(build(name, task))
    masks = C.channel_masks(model, C.filter_norms(model), 0.5, "layer")
    small = agree(model, masks, task.shape)
    whole, left = (input_macs(m, task.shape, {}) for m in (model, small))
    assert left == input_macs(model, task.shape, masks)
    kept = sum(int(m.sum()) for m in masks.values())
    unmasked = [p.numel() for n, p in model.named_parameters() if n not in masks]
    assert size(small) == kept + sum(unmasked) < size(model)
    makers, readers = (
        {getattr(v, end) for v in C.hidden_levels(model)} for end in ("maker", "reader")
    )
    for n in whole:
        layer = n.removesuffix(".weight")
        assert left[n] * 2 ** ((layer in makers) + (layer in readers)) == whole[n], n


def test_it_can_be_trained_on_and_drawn_anew():
    task = Pictures()
    model = shaken(narrow_vgg(task))
    small = C.shrink(model, random_channels(model, 0.5))
    parameters = dict(small.named_parameters())
    first, *_, last = train(small, task, M.ones(small), epochs=4, lr=1e-3)
    assert last.loss < first.loss and all(p.requires_grad for p in parameters.values())
    small.reset_parameters()
    assert small(task.x).isfinite().all()


def chain(*, padding, reader=None, scale=0.0, shift=1.5):
    """Two convolutions with a norm that makes one number, act(shift), of channel 0."""
    model = shaken(nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
        *(reader or [nn.Conv2d(4, 5, 3, padding=padding, bias=False)]),
    ))  # fmt: skip
    with torch.no_grad():
        model[1].weight[0], model[1].bias[0] = scale, shift
    return model


FOLDED = [  # what becomes of the channel: (padding, shift) -> channels left, bias made
    (0, 1.5, 3, True),
    ("valid", 1.5, 3, True),
    (1, 1.5, 4, False),  # at the border the padding is not 1.5
    ("same", 1.5, 4, False),
    (1, -1.5, 3, False),  # ReLU makes it 0
    (1, 0.0, 3, False),
]


@pytest.mark.parametrize(("padding", "shift", "left", "bias"), FOLDED)
def test_a_constant_channel_moves_into_the_next_bias_if_that_is_exact(padding, shift, left, bias):
    model = chain(padding=padding, shift=shift)
    small = agree(model, {}, (3, 8, 8))
    assert (small[0].out_channels, small[1].num_features, small[3].in_channels) == (left,) * 3
    assert (small[3].bias is not None) == bias


def test_a_constant_channel_moves_through_pooling_into_a_linear_layer():
    reader = [nn.MaxPool2d(2, padding=1), nn.AvgPool2d(2), nn.Dropout(), nn.Flatten(),
              nn.Linear(16, 3)]  # fmt: skip
    small = agree(chain(padding=0, reader=reader), {}, (3, 8, 8))
    assert (small[0].out_channels, small[7].in_features) == (3, 12)


def test_a_channel_without_weights_is_the_norm_of_its_bias():
    """Its statistics need not be those of a 0."""
    model = chain(padding=0, scale=0.7, shift=0.3)
    masks = {"0.weight": torch.ones(4, 3, 3, 3)}
    masks["0.weight"][0] = 0
    assert agree(model, masks, (3, 8, 8))[0].out_channels == 3


def test_a_channel_that_nobody_reads_goes_and_takes_along_what_only_it_reads():
    model = shaken(nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)
    ))  # fmt: skip
    masks = {"4.weight": torch.ones(3, 5), "2.weight": torch.ones(5, 6)}
    masks["4.weight"][:, 2] = 0
    masks["2.weight"][[0, 1, 3, 4], 5] = 0  # unit 5 is read by unit 2 alone
    small = agree(model, masks, (4,))
    assert [small[i].weight.shape for i in (0, 2, 4)] == [(5, 4), (4, 5), (3, 4)]


@models
def test_a_network_without_any_weight_is_still_the_same(name):
    task = Pictures()
    model = shaken(build(name, task))
    none = {n: torch.zeros_like(p) for n, p in M.prunable(model).items()}
    small = agree(model, none, task.shape)
    assert size(small) <= size(model)


@st.composite
def networks(draw):
    """A chain of convolutions with norms, activations, pooling and padding, then linear layers."""
    layers, width, side = [], draw(st.integers(1, 3)), 13
    shape = (width, side, side)
    for _ in range(draw(st.integers(1, 3))):
        out, padding = draw(st.integers(1, 4)), draw(st.integers(0, 1)) if side > 2 else 1
        layers.append(nn.Conv2d(width, out, 3, padding=padding, bias=draw(st.booleans())))
        layers += [nn.BatchNorm2d(out)] if draw(st.booleans()) else []
        kinds = (nn.ReLU, nn.Tanh, nn.ELU, nn.Identity)
        layers.append(draw(st.sampled_from(kinds))())
        width, side = out, side - 2 + 2 * padding
        if side > 4 and draw(st.booleans()):
            layers.append(draw(st.sampled_from((nn.MaxPool2d, nn.AvgPool2d)))(2))
            side //= 2
    layers += [nn.Flatten(), nn.Linear(width * side**2, 3), nn.ReLU(), nn.Linear(3, 2)]
    return nn.Sequential(*layers), shape


@settings(max_examples=60, derandomize=True)
@given(networks(), st.integers(0, 999), st.sampled_from([0.3, 0.6, 0.9]))
def test_any_chain_under_any_masks_is_the_same_when_smaller(network, seed, kept):
    """Whole filters, whole inputs, single weights, biases, scales and shifts are masked."""
    model, shape = network
    shaken(model, seed)
    draw = torch.Generator().manual_seed(seed)
    masks = {}
    for n, p in model.named_parameters():
        masks[n] = (torch.rand(p.shape, generator=draw) < kept).to(p)
        if p.dim() > 1:
            masks[n] *= torch.rand(p.size(0), *[1] * (p.dim() - 1), generator=draw) < kept
            masks[n] *= torch.rand(1, p.size(1), *[1] * (p.dim() - 2), generator=draw) < kept
    agree(model, masks, shape)
