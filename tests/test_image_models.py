"""Every model of images obeys the mask contract; a new file is tested by existing."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from toys import IMAGE_MODELS, Pictures, build, toy

from graphlth import masks as M
from graphlth.cost.macs import input_macs, macs
from graphlth.registry import find
from graphlth.rewinding import snapshot
from graphlth.ticket import dense
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training.forward import forward
from graphlth.training.loop import train

images = pytest.mark.parametrize("name", IMAGE_MODELS)
MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def task_of(shape):
    return SimpleNamespace(shape=shape, num_features=math.prod(shape), num_classes=10, num_edges=0)


def pictures(number=4, shape=CIFAR):
    return torch.randn(number, *shape, generator=torch.Generator().manual_seed(1))


def some_masks(model, share=0.4):
    draw = torch.Generator().manual_seed(0)
    return {n: (torch.rand(m.shape, generator=draw) >= share).to(m)
            for n, m in M.ones(model).items()}  # fmt: skip


# Weights: Frankle & Carbin's table, Han et al.'s 431k; convolutions and linear layers counted by
# hand for the others. Multiply-accumulates of one image: the published 313 M of VGG-16; the 40.6 M
# of ResNet-20 are those without 1×1 shortcuts, which add 512 · 16² + 2048 · 8².
SIZES = [
    ("lenet_300_100", MNIST, 266_200, 266_200),
    ("lenet_5", MNIST, 430_500, 20 * 25 * 24**2 + 50 * 20 * 25 * 8**2 + 405_000),
    ("conv_2", CIFAR, 4_300_992, 38_592 * 32**2 + 4_262_400),
    ("conv_4", CIFAR, 2_425_024, 38_592 * 32**2 + 221_184 * 16**2 + 2_165_248),
    ("conv_6", CIFAR, 2_261_184, 38_592 * 32**2 + 221_184 * 16**2 + 884_736 * 8**2 + 1_116_672),
    ("resnet_20", CIFAR, 270_896, 40_551_040 + 512 * 16**2 + 2048 * 8**2),
    ("resnet_56", CIFAR, 851_504, 125_485_696 + 512 * 16**2 + 2048 * 8**2),
    ("resnet_18", CIFAR, 11_164_352, 555_422_720),
    ("vgg_16", CIFAR, 14_715_584, 313_201_664),
    ("vgg_19", CIFAR, 20_024_000, 398_136_320),
    ("mlp", MNIST, 784 * 256 + 256 * 256 + 2560, 784 * 256 + 256 * 256 + 2560),
]


def test_convolutions_read_images_channels_last():
    model, x = build("resnet_20", task_of(CIFAR)).eval(), pictures()
    read = []
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            m.register_forward_pre_hook(lambda m, given: read.append(given[0].stride(1)))
    logits = model(x)
    assert len(read) == 21 and {*read} == {1}
    torch.testing.assert_close(logits, model.layers(x), atol=1e-5, rtol=1e-4)
    assert x.is_contiguous()


@pytest.mark.parametrize(("name", "shape", "weights", "counted"), SIZES)
def test_weights_and_multiplications_are_those_of_the_papers(name, shape, weights, counted):
    task = task_of(shape)
    model = build(name, task, hidden=256)
    assert M.count(M.ones(model)) == weights
    assert sum(macs(model, task, {}).values()) == counted


@pytest.mark.parametrize("depth", [20, 56, 101])
def test_a_preresnet_has_as_many_layers_as_its_name_says(depth):
    model = build(f"preresnet_{depth}", task_of(CIFAR))
    shortcuts = [n for n in M.prunable(model) if "shortcut" in n]
    assert len(M.prunable(model)) - len(shortcuts) == depth
    assert len(shortcuts) == 3
    stages = [16 * 4, 32 * 4, 64 * 4]
    blocks, channels, expected = (depth - 2) // 9, 16, 3 * 9 * 16 + 2560
    for out in stages:
        inside = out // 4
        expected += channels * inside + 9 * inside**2 + inside * out + channels * out
        expected += (blocks - 1) * (out * inside + 9 * inside**2 + inside * out)
        channels = out
    assert M.count(M.ones(model)) == expected


@images
def test_a_graph_and_too_small_images_are_refused(name):
    with pytest.raises(ValueError, match=r"`task` must have images: a `shape` .* got None"):
        find("models", name)(toy())
    with pytest.raises(ValueError, match=r"`task` must have images: .* got \(3, 0, 5\)"):
        find("models", name)(task_of((3, 0, 5)))


@images
@pytest.mark.parametrize("shape", [MNIST, (2, 17, 30)])
def test_images_of_other_shapes_are_taken(name, shape):
    model = build(name, task_of(shape))
    a, b = model(pictures(2, shape))
    assert a.shape == (10,) and not torch.allclose(a, b)


@images
def test_gradients_reach_every_weight(name):
    model = build(name, task_of(CIFAR), hidden=256).train()
    nn.functional.cross_entropy(model(pictures(8)), torch.arange(8)).backward()
    for n, p in model.named_parameters():
        reached = (p.grad != 0).double().mean().item()
        assert p.grad.isfinite().all() and reached > 0.3, (n, reached)


@images
def test_a_zero_entry_is_an_absent_weight(name):
    """Output, gradients and norm statistics do not depend on what it holds."""
    batch, pulls = next(Pictures().batches("train")), []
    for value in (0.0, 1e25):
        model = build(name, Pictures()).train()
        masks = some_masks(model)
        with torch.no_grad():
            for n, p in M.prunable(model).items():
                p[masks[n] == 0] = value
        out = forward(model, batch, masks)
        out.square().sum().backward()
        for n, p in M.prunable(model).items():
            assert not p.grad[masks[n] == 0].any()
        grads = {n: p.grad for n, p in model.named_parameters()}
        pulls.append({"out": out.detach(), **grads, **dict(model.named_buffers())})
    for n, t in pulls[0].items():
        assert torch.equal(t, pulls[1][n]), n
    assert not torch.equal(forward(model, batch, M.ones(model)), pulls[0]["out"])


@pytest.mark.parametrize(("init", "variance"), [
    ("glorot_normal", [2 / 1084, 2 / 400, 2 / 110]),
    ("kaiming_normal", [2 / 784, 2 / 300, 2 / 100]),
])  # fmt: skip
def test_lenet_is_drawn_as_in_the_paper_or_in_open_lth(init, variance):
    model = build("lenet_300_100", task_of(MNIST), model_init=init)
    found = [w.var().item() for w in M.matrices(model).values()]
    assert found == pytest.approx(variance, rel=0.15)
    with pytest.raises(ValueError, match="`model_init` must be one of glorot_normal, kaiming_nor"):
        build("lenet_300_100", task_of(MNIST), model_init="zeros")


@pytest.mark.parametrize("name", ["resnet_20", "vgg_16", "vgg_19"])
def test_scales_of_norms_start_at_1_or_uniformly(name):
    plain, drawn = (build(name, task_of(CIFAR), batchnorm_init=i) for i in ("fixed", "uniform"))
    norms = [[m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
             for model in (plain, drawn)]  # fmt: skip
    assert all((m.weight == 1).all() for m in norms[0])
    scales = torch.cat([m.weight for m in norms[1]])
    assert scales.min() < 0.02 and 0.98 < scales.max() < 1 and abs(scales.mean() - 0.5) < 0.05
    assert not any(m.bias.any() for m in norms[1])


@images
def test_parameters_are_drawn_anew_and_follow_the_seed(name):
    model = build(name, task_of(CIFAR)).train()
    before = snapshot(model)
    model(pictures())
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model.reset_parameters()
        states.append(snapshot(model))
    one, again, other = states
    for n, t in before.items():
        assert torch.equal(one[n], again[n])
        if t.dim() > 1:
            for drawn in (t, other[n]):  # of a million floats some pairs are equal
                assert (one[n] == drawn).double().mean() < 1e-3, n
        else:
            assert torch.equal(one[n], t), n  # biases, norms, their statistics


@images
def test_weights_start_as_published_and_biases_at_0(name):
    model = build(name, task_of(CIFAR), hidden=256)
    for n, p in model.named_parameters():
        if p.dim() > 1:
            inside, out = nn.init._calculate_fan_in_and_fan_out(p)
            residual = any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
            std = math.sqrt(2 / (inside if residual else inside + out))  # Kaiming or Glorot, normal
            near = 6 / math.sqrt(p.numel())  # of a standard deviation, relatively
            assert p.std().item() == pytest.approx(std, rel=near), n
            kurtosis = (p / p.std()).pow(4).mean().item()  # normal: 3, uniform: 1.8
            assert p.numel() < 2000 or 2.5 < kurtosis < 3.5, n
    norms = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    for n, p in model.named_parameters():
        assert p.dim() > 1 or (p == float(n in norms)).all(), n


@images
def test_multiplications_fall_exactly_with_the_masks(name):
    task = task_of(CIFAR)
    model = build(name, task)
    masks = some_masks(model)
    whole, left = macs(model, task, {}), macs(model, task, masks)
    assert whole.keys() == left.keys() == masks.keys()
    assert whole == macs(model, task, M.ones(model))
    for n, m in masks.items():
        assert left[n] * m.numel() == whole[n] * int(m.sum())
    assert sum(macs(model, task, {n: 0 * m for n, m in masks.items()}).values()) == 0


@images
def test_training_keeps_removed_weights_out_and_repeats_its_digits(name):
    def once(value):
        task = Pictures()
        model = build(name, task)
        masks = some_masks(model, 0.3)
        with torch.no_grad():
            for n, p in M.prunable(model).items():
                p[masks[n] == 0] = value
        check_ticket_fits(dense(model), model, 0)
        epochs = list(train(model, task, masks, epochs=2, lr=1e-3, weight_decay=1e-4))
        return epochs, M.masked_values(snapshot(model), masks)

    (first, a), (again, b) = once(0.0), once(1e3)
    assert first == again and first[0].loss != first[1].loss
    assert all(torch.equal(t, b[n]) for n, t in a.items())


def test_a_perceptron_takes_vectors_too():
    model = build("mlp", task_of(CIFAR))
    x = pictures()
    assert torch.equal(model(x), model(x.flatten(1)))


def test_multiplications_of_any_model_are_counted_where_it_computes():
    """Strides, padding and groups; a layer used twice; neither mode nor statistics change."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)  # 9 × 7 -> 5 × 4
            self.norm = nn.BatchNorm2d(6)
            self.twice = nn.Conv2d(6, 6, (1, 3))  # 5 × 4 -> 5 × 2
            self.last = nn.Linear(60, 3)
            self.unused = nn.Linear(5, 5)

        def forward(self, x):
            x = nn.functional.pad(self.twice(self.norm(self.conv(x))), (1, 1))
            return self.last(self.twice(x).flatten(1))

    model = Own().train()
    before = snapshot(model)
    conv, twice = 5 * 4 * (6 * 2 * 9), 2 * 5 * 2 * (6 * 6 * 3)
    expected = {"conv.weight": conv, "twice.weight": twice, "last.weight": 180}
    assert input_macs(model, (4, 9, 7), {}) == expected
    masks = {"conv.weight": torch.zeros(6, 2, 3, 3), "last.weight": torch.eye(3, 60)}
    assert input_macs(model, (4, 9, 7), masks) == expected | {"conv.weight": 0, "last.weight": 3}
    assert model.training and not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_what_cannot_be_counted_on_a_graph_is_none():
    assert macs(nn.Linear(6, 2), toy(), {}) is None
