"""Image tasks: spans of a shuffled stream, standardised and augmented batches, splits, training."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import graphlth as glt
import graphlth.records as record
from graphlth.data import images
from graphlth.data.images import PAD, ImageTask, crop_flip, hold_out
from graphlth.experiment.describe import describe_ticket
from graphlth.experiment.plan import Plan
from graphlth.records.schema import validate_record
from graphlth.registry import find
from graphlth.ticket import dense
from graphlth.training.evaluation import evaluate
from graphlth.training.loop import train

N, SIZES = 23, {"train": 13, "val": 4, "test": 6}


def numbered(**settings):
    """Images whose every pixel is their number; 13 train, in passes of 5, 5 and 3."""
    x = torch.arange(N, dtype=torch.uint8).view(N, 1, 1, 1).repeat(1, 2, 5, 4)
    return ImageTask(x, torch.arange(N) % 3, SIZES, **{"batch_size": 5} | settings)


def noisy(dtype=torch.uint8, **settings):
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (N, 3, 6, 7), generator=draw).to(dtype)
    return ImageTask(x, torch.arange(N) % 3, SIZES, **{"batch_size": 5} | settings)


def shown(task, batches):
    """The numbers of the images in each batch of a `numbered` task."""
    return [(b.inputs[0][:, 0, 0, 0] * task.std[0] + task.mean[0]).round().long().flatten().tolist()
            for b in batches]  # fmt: skip


def stream(task, seed=0, spans=1):
    return [b for index in range(spans) for b in task.batches("train", seed, index)]


# --- the stream ----------------------------------------------------------------------------------


def test_spans_one_after_another_are_passes_one_after_another():
    task = numbered(evaluate_every=4)
    assert task.passing == 3
    assert all(len(list(task.batches("train", 0, index))) == 4 for index in range(6))
    batches = shown(task, stream(task, spans=6))
    passes = [batches[3 * p : 3 * p + 3] for p in range(8)]
    for each in passes:
        assert [len(batch) for batch in each] == [5, 5, 3]  # the last is short, not dropped
        assert sorted(n for batch in each for n in batch) == list(range(13))  # every image once
    assert len({str(each) for each in passes}) == 8


@pytest.mark.parametrize("every", [1, 2, 3, 7, 28])
def test_the_stream_is_the_same_in_spans_of_any_length(every):
    there, here = numbered(evaluate_every=14), numbered(evaluate_every=every)
    found = shown(here, stream(here, spans=math.ceil(28 / every)))
    assert found[:28] == shown(there, stream(there, spans=2))


def test_seeds_and_passes_never_share_an_order():
    task = numbered(evaluate_every=3)  # a span is a pass
    orders = {str(shown(task, task.batches("train", seed, index)))
              for seed in range(6) for index in range(6)}  # fmt: skip
    assert len(orders) == 36


@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_the_seed_alone_decides(augment):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = stream(noisy(augment=augment, evaluate_every=6), seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = stream(noisy(augment=augment, evaluate_every=6), seed=5)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.inputs[0], b.inputs[0]) and torch.equal(a.target, b.target)


def test_a_target_is_the_class_of_its_image():
    task = numbered()
    for split in ("train", "val", "test"):
        batches = list(task.batches(split))
        for batch, numbers in zip(batches, shown(task, batches), strict=True):
            assert batch.target.tolist() == [n % 3 for n in numbers]
            assert batch.entries is None and batch.rows is ...


def test_a_split_is_evaluated_in_order_and_in_large_batches(monkeypatch):
    task = numbered(augment="crop-flip")
    assert shown(task, task.batches("test", 3, 1)) == [list(range(17, 23))]
    monkeypatch.setattr(images, "ON_CPU", 4)
    assert shown(task, task.batches("test")) == [[17, 18, 19, 20], [21, 22]]
    assert shown(task, task.batches("val")) == [[13, 14, 15, 16]]


def test_a_batch_can_be_viewed_as_vectors():
    for split in ("train", "val"):
        (x,) = next(numbered().batches(split)).inputs
        assert x.view(len(x), -1).shape == (len(x), x[0].numel())


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="`split` must be one of train, val, test, got 'all'"):
        next(numbered().batches("all"))


# --- pixels --------------------------------------------------------------------------------------


def test_batches_are_standardised_by_the_training_split():
    task = noisy(evaluate_every=3)
    x = task.x.numpy().astype(np.float64)
    mean, std = (f(x[:13], axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    (batch,) = task.batches("test")
    np.testing.assert_allclose(batch.inputs[0], (x[17:] - mean) / std, atol=1e-5)
    whole = torch.cat([b.inputs[0] for b in stream(task)]).double()
    assert whole.mean((0, 2, 3)).abs().max() < 1e-6
    assert (whole.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-6


def test_a_channel_without_contrast_becomes_zero():
    x = torch.full((N, 1, 2, 2), 7, dtype=torch.uint8)
    task = ImageTask(x, torch.arange(N) % 3, SIZES)
    assert not next(task.batches("train")).inputs[0].any()


def test_bytes_and_floats_give_the_same_batches():
    a, b = (stream(noisy(dtype, augment="crop-flip")) for dtype in (torch.uint8, torch.float64))
    for here, there in zip(a, b, strict=True):
        assert there.inputs[0].dtype == torch.get_default_dtype()
        assert torch.equal(here.inputs[0], there.inputs[0])


def test_batches_never_change_the_images():
    task = noisy(torch.float32, augment="none")
    before = task.x.clone()
    stream(task), list(task.batches("test"))
    assert torch.equal(task.x, before)


def variants(image):
    """Every image that "crop-flip" may make of [C, H, W]."""
    c, h, w = image.shape
    padded = np.zeros((c, h + 2 * PAD, w + 2 * PAD), image.dtype)
    padded[:, PAD : PAD + h, PAD : PAD + w] = image
    cuts = [padded[:, t : t + h, s : s + w] for t in range(2 * PAD + 1) for s in range(2 * PAD + 1)]
    return cuts, [cut[:, :, ::-1] for cut in cuts]


def test_crop_flip_moves_by_up_to_four_pixels_and_mirrors_half():
    image = np.arange(1, 2 * 9 * 10 + 1, dtype=np.uint8).reshape(2, 9, 10)
    upright, mirrored = ({v.tobytes() for v in side} for side in variants(image))
    x = torch.from_numpy(image).repeat(2000, 1, 1, 1)
    found = [each.numpy().tobytes() for each in crop_flip(x, torch.Generator().manual_seed(0))]
    assert set(found) == upright | mirrored and len(set(found)) == 162
    assert 0.45 < sum(each in mirrored for each in found) / 2000 < 0.55


def test_augmentation_changes_pixels_of_training_images_and_nothing_else():
    plain, moved = noisy(evaluate_every=6), noisy(evaluate_every=6, augment="crop-flip")
    for a, b in zip(stream(plain), stream(moved), strict=True):
        assert torch.equal(a.target, b.target) and not torch.equal(a.inputs[0], b.inputs[0])
    for split in ("val", "test"):
        (a,), (b,) = plain.batches(split), moved.batches(split)
        assert torch.equal(a.inputs[0], b.inputs[0])


def test_every_iteration_and_seed_moves_images_in_its_own_way():
    x = torch.randint(0, 256, (3, 1, 9, 9), generator=torch.Generator().manual_seed(0)).byte()
    task = ImageTask(x, torch.zeros(3).long(), {"train": 1, "val": 1, "test": 1},
                     evaluate_every=9, augment="crop-flip")  # fmt: skip
    seen = {b.inputs[0].numpy().tobytes() for seed in range(3) for b in stream(task, seed)}
    assert len(seen) > 20  # 27 draws of 162


# --- the task as a whole -------------------------------------------------------------------------


def test_it_says_what_a_model_needs():
    task = noisy()
    assert (task.shape, task.num_features, task.num_classes) == ((3, 6, 7), 126, 3)
    assert (task.edges, task.num_edges, task.name) == (None, 0, "images")
    assert task.without(torch.ones(0)) is task


def test_the_fingerprint_is_that_of_the_pixels():
    task = numbered()
    other = {"train": 12, "val": 5, "test": 6}
    same = ImageTask(task.x, (torch.arange(N) + 1) % 3, other, augment="crop-flip")
    assert task.fingerprint() == same.fingerprint() == task.to("cpu").fingerprint()
    assert task.fingerprint() == "5cdd468706e7493b"
    x = task.x.clone()
    x[3, 1, 2, 2] += 1
    turned = task.x.view(N, 2, 4, 5)
    for changed in (x, turned, task.x.float()):
        assert ImageTask(changed, task.y, SIZES).fingerprint() != task.fingerprint()


def test_all_of_it_moves_to_a_device(monkeypatch):
    monkeypatch.setattr(
        "graphlth.data.images.check_device", lambda device: None
    )  # nothing is computed
    task = noisy(augment="crop-flip")
    moved = task.to("meta")  # computes shapes alone, and refuses tensors from elsewhere
    for split in ("train", "val", "test"):
        for batch, here in zip(moved.batches(split), task.batches(split), strict=True):
            assert batch.inputs[0].is_meta and batch.target.is_meta
            assert batch.inputs[0].shape == here.inputs[0].shape
    assert not task.x.is_meta


X, Y = torch.zeros(6, 1, 2, 2), torch.tensor([0, 1, 0, 1, 0, 1])
PARTS = {"train": 2, "val": 2, "test": 2}
INDEX = {"train": torch.tensor([0, 1]), "val": torch.tensor([2]), "test": torch.tensor([3])}


@pytest.mark.parametrize(("change", "says"), [
    ({"x": X[0]}, "`x` must be images [N, C, H, W], got [1, 2, 2]"),
    ({"x": X.numpy()}, "`x` must be images [N, C, H, W], got ndarray"),
    ({"x": X[:0]}, "`x` must be images [N, C, H, W], got [0, 1, 2, 2]"),
    ({"x": X.int()}, "`x` must be uint8 or floating-point, got torch.int32"),
    ({"x": X / 0}, "`x` must be finite, got NaN or infinity"),
    ({"y": Y[:5]}, "`y` must be [6], one class an image, got [5]"),
    ({"y": [0, 1]}, "`y` must be [6], one class an image, got list"),
    ({"y": Y.float()}, "`y` must hold int64 class numbers, got torch.float32"),
    ({"y": Y - 1}, "`y` must be in [0, 100,000), got -1"),
    ({"y": Y * 2}, "'train' an image of every class, got none of class 1"),
    ({"splits": [2, 2, 2]}, "`splits` must have train, val, test, got [2, 2, 2]"),
    ({"splits": {"train": 6}}, "`splits` must have train, val, test, got ['train']"),
    ({"splits": PARTS | {"val": 0}}, "`splits` must give 'val' at least one image, got none"),
    ({"splits": PARTS | {"val": -1}}, "`splits` must give 'val' at least one image, got none"),
    ({"splits": PARTS | {"test": 3}}, "`splits` must be in [0, 6), got 6 in 'test'"),
    ({"splits": PARTS | {"test": 2.0}}, "must be three numbers or three int64 index tensors"),
    ({"splits": INDEX | {"val": torch.tensor([-1])}}, "must be in [0, 6), got -1 in 'val'"),
    ({"splits": INDEX | {"val": torch.tensor([1])}}, "overlap or repeat, got image 1 2 times"),
    ({"splits": INDEX | {"val": torch.tensor([2, 2])}}, "overlap or repeat, got image 2 2 times"),
    ({"splits": INDEX | {"val": torch.ones(6).bool()}}, "three int64 index tensors [images]"),
    ({"batch_size": 0}, "`batch_size` must be in [1, 1000000], got 0"),
    ({"evaluate_every": 0}, "`evaluate_every` must be in [1, 1000000], got 0"),
    ({"augment": "spin"}, "`augment` must be one of none, crop-flip, got 'spin'"),
])  # fmt: skip
def test_what_is_no_task_is_refused_in_one_line(change, says):
    given = {"x": X, "y": Y, "splits": PARTS} | change
    with pytest.raises(ValueError) as error:
        ImageTask(**given)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_what_is_held_out_is_fixed_and_apart():
    whole = hold_out(50, 7, val_size=10)
    assert [len(whole[part]) for part in ("train", "val", "test")] == [40, 10, 7]
    assert torch.cat(list(whole.values())).sort().values.tolist() == list(range(57))
    assert whole["test"].tolist() == list(range(50, 57))
    few, fewer = (hold_out(50, 7, val_size=10, train_size=size) for size in (20, 5))
    assert torch.equal(few["val"], whole["val"]) and torch.equal(fewer["val"], whole["val"])
    assert torch.equal(whole["train"][:20], few["train"])
    assert torch.equal(few["train"][:5], fewer["train"])
    assert not torch.equal(hold_out(50, 7, val_size=10, data_seed=1)["val"], whole["val"])


@pytest.mark.parametrize(("sizes", "says"), [
    ({"val_size": 0}, r"`val_size` must be in \[1, 50\), got 0"),
    ({"val_size": 50}, r"`val_size` must be in \[1, 50\), got 50"),
    ({"val_size": 10, "train_size": 41}, r"`train_size` must be in \[0, 40\], got 41"),
    ({"val_size": 10, "train_size": -1}, r"`train_size` must be in \[0, 40\], got -1"),
])  # fmt: skip
def test_more_than_there_is_cannot_be_held_out(sizes, says):
    with pytest.raises(ValueError, match=says):
        hold_out(50, 7, **sizes)


# --- training ------------------------------------------------------------------------------------


def linear(task, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(task.num_features, task.num_classes))


def test_a_linear_model_learns_the_digits_and_so_does_its_ticket():
    task = find("tasks", "digits_images")()
    model = linear(task)
    chance = evaluate(model, task, {}, ("test",))[0]
    tickets = list(glt.imp(model, task, rounds=2, epochs=5, drop_weights=0.5))
    assert [glt.sparsity(t.masks) for t in tickets] == [0, 0.5, 0.75]
    best = glt.fit(model, task, tickets[-1], epochs=5)
    assert chance < 0.2 and best.val > 0.9 and best.test > 0.85
    guess = glt.predict(model, task, tickets[-1]).argmax(-1)
    assert (guess == task.y[task.rows["test"]]).float().mean().item() == pytest.approx(best.test)


def test_training_follows_the_stream_of_its_seed():
    task = find("tasks", "digits_images")(evaluate_every=3, augment="crop-flip")

    def curve(seed):
        return [e.loss for e in train(linear(task), task, {}, epochs=3, seed=seed)]

    assert curve(0) == curve(0) != curve(1)
    assert not set(curve(0)) & set(curve(1))


def test_an_epoch_of_training_is_the_next_span_of_its_seed(monkeypatch):
    task, asked = numbered(evaluate_every=2), []
    batches = task.batches

    def told(split, seed=0, index=0):
        asked.append((split, seed, index))
        return batches(split, seed, index)

    monkeypatch.setattr(task, "batches", told)
    assert len(list(train(linear(task), task, {}, epochs=3, seed=7))) == 3
    assert [a for a in asked if a[0] == "train"] == [("train", 7, index) for index in range(3)]


def test_a_record_of_images_has_no_edges():
    task = find("tasks", "digits_images")()
    model = linear(task)
    told = describe_ticket(Plan("imp", "digits_images", "linear", {}), task, model,
                    dense(model, task.num_edges), 0)  # fmt: skip
    assert (told["edges"], told["num_edges"], told["edge_sparsity"]) == (None, 0, 0)
    rest = {n: 0 for n in record.FIELDS if n not in told} | {"settings": {}, "environment": {}}
    validate_record(told | rest)


@pytest.mark.parametrize("name", ["digits_images", "digits-images"])
def test_a_plug_in_is_found_by_either_spelling(name):
    assert find("tasks", name).__name__ == "digits_images"
