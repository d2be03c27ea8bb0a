"""Text: nothing is read ahead of what it predicts, and tickets are found as anywhere."""

import pytest
import torch
import torch.nn.functional as F
from test_experiment import lines, tickets
from toys import TEXT_MODELS, build, call

from graphlth import masks as M
from graphlth.cost.macs import macs
from graphlth.data.text import TextTask
from graphlth.experiment.run import run
from graphlth.registry import find
from graphlth.training.evaluation import Evaluator, evaluate
from graphlth.training.forward import forward
from graphlth.training.loop import train

SAID = "the quick brown fox jumps over the lazy dog; " * 40  # 1,800 characters
SMALL = {"context": 8, "batch_size": 5, "evaluate_every": 3}
models = pytest.mark.parametrize("name", TEXT_MODELS)


@pytest.fixture(autouse=True)
def no_commit(monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/dev/null")  # a commit made during a test is no difference


def said(**settings):
    return TextTask(SAID, **SMALL | settings)


def spoken(task, windows):
    """What windows [B, T + 1] say."""
    return ["".join((task.alphabet + "?")[c] for c in window) for window in windows]


def whole(batch, context=8):
    """The windows [B, T + 1] of a batch: its inputs and its last targets."""
    return torch.cat([batch.inputs[0], batch.target.view(-1, context)[:, -1:]], 1)


# --- the task ------------------------------------------------------------------------------------


def test_a_target_is_the_character_after_its_input():
    task = said()
    for split in ("train", "val", "test"):
        for batch in task.batches(split):
            assert torch.equal(batch.inputs[0][:, 1:], batch.target.view(-1, 8)[:, :-1])
            assert all(window in SAID for window in spoken(task, whole(batch)))


def test_the_splits_are_stretches_of_the_text_that_share_no_character():
    task = said(train_size=20, val_size=30, test_size=40)
    assert len(task.windows) == 200
    train, val, test = (task.rows[split].tolist() for split in ("train", "val", "test"))
    assert (train, val, test) == (
        list(range(20)), list(range(130, 160)), list(range(160, 200))
    )  # fmt: skip
    assert "".join(spoken(task, task.windows[train])) == SAID[: 20 * 9]
    assert "".join(spoken(task, task.windows[test])) == SAID[160 * 9 :]
    default = said()
    assert [len(default.rows[split]) for split in ("train", "val", "test")] == [160, 20, 20]


def test_a_pass_sees_every_window_once_in_an_order_of_its_seed():
    task = said(train_size=13, batch_size=5)  # 3 iterations a pass: a span is one

    def order(seed, index):
        seen = [whole(batch) for batch in task.batches("train", seed, index)]
        assert [len(part) for part in seen] == [5, 5, 3]
        return torch.cat(seen)

    first = order(0, 0)
    rows = lambda x: sorted(map(tuple, x.tolist()))  # noqa: E731
    assert rows(first) == rows(task.windows[:13])
    assert torch.equal(first, order(0, 0))
    assert not torch.equal(first, order(0, 1)) and not torch.equal(first, order(1, 0))


def test_a_span_goes_on_in_the_pass_where_the_last_one_ended():
    fine, coarse = said(evaluate_every=2), said(evaluate_every=6)
    parts = [b.target for index in (0, 1, 2) for b in fine.batches("train", 3, index)]
    once = [b.target for b in coarse.batches("train", 3, 0)]
    assert all(torch.equal(a, b) for a, b in zip(parts, once, strict=True))


def test_a_character_that_training_has_not_is_one_class_of_its_own():
    task = TextTask("abab" * 100 + "xyz" * 100, **SMALL, val_size=1, test_size=10, train_size=20)
    assert task.alphabet == "ab" and task.num_classes == task.num_features == 3
    (batch,) = task.batches("test")
    assert batch.target.unique().tolist() == [2]


def test_another_text_is_another_fingerprint():
    prints = {
        said().fingerprint(),
        said(context=9).fingerprint(),
        TextTask(SAID.upper()).fingerprint(),
    }
    assert len(prints) == 3
    assert said().fingerprint() == said(batch_size=7, evaluate_every=1).fingerprint()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"context": 0}, r"`context` must be in \[1, 8192\], got 0"),
        ({"batch_size": 0}, r"`batch_size` must be in \[1, 1000000\], got 0"),
        ({"evaluate_every": 0}, r"`evaluate_every` must be in \[1, 1000000\], got 0"),
        (
            {"context": 700},
            "`text` must have 2103 characters or more with `context` = 700, got 1800",
        ),
        ({"train_size": 161}, r"`train_size` must be in \[0, 160\], got 161"),
        ({"train_size": -1}, r"`train_size` must be in \[0, 160\], got -1"),
        ({"val_size": 180}, r"`val_size` must be in \[0, 179\], got 180"),
        ({"test_size": 199}, r"`test_size` must be in \[0, 198\], got 199"),
        ({"val_size": -1}, r"`val_size` must be in \[0, 179\], got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        said(**settings)


def test_a_file_of_your_own_is_read(tmp_path):
    (tmp_path / "tale.txt").write_text("Käse" * 100, "utf-8")
    task = find("tasks", "text")(path=str(tmp_path / "tale.txt"), **SMALL)
    assert task.name == "tale" and task.alphabet == "Kesä"
    (tmp_path / "old.txt").write_bytes("Käse".encode("latin-1") * 100)
    with pytest.raises(
        ValueError,
        match=r"`path` must be UTF-8, or begin with a byte-order mark, got .*old\.txt.*0xe4",
    ):
        find("tasks", "text")(path=str(tmp_path / "old.txt"))
    with pytest.raises(FileNotFoundError, match="`path` must be a file, got"):
        find("tasks", "text")(path=str(tmp_path))


@pytest.mark.parametrize("encoding", [
    "utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be",
])  # fmt: skip
def test_a_byte_order_mark_names_the_encoding_and_is_no_character(tmp_path, encoding):
    said = "Käse für 3 €\n" * 40
    mark = "" if encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    (tmp_path / "tale.txt").write_bytes((mark + said).encode(encoding))
    task = find("tasks", "text")(path=str(tmp_path / "tale.txt"), **SMALL)
    assert task.alphabet == "".join(sorted(set(said)))
    assert task.fingerprint() == TextTask(said, **SMALL).fingerprint()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("Käse".encode("utf-16-le") * 100, r"`path` must be UTF-8, or begin with a byte-order"),
        (
            "Kasten".encode("utf-16-le") * 100,
            r"with NUL characters: of UTF-16, save it with a byte-",
        ),
        (b"\xef\xbb\xbf" + b"\xff" * 100, "`path` must be UTF-8, or begin with a byte-order mark"),
        (b"\xff\xfe" + b"\x00\xd8" * 100, "`path` must be UTF-8, or begin with a byte-order mark"),
        (b"\xff\xfe\x00", "`path` must be UTF-8, or begin with a byte-order mark"),
        (b"", "`text` must have 27 characters or more"),
    ],
)
def test_what_is_no_text_is_told(tmp_path, content, says):
    (tmp_path / "own.txt").write_bytes(content)
    with pytest.raises(ValueError, match=says) as error:
        find("tasks", "text")(path=str(tmp_path / "own.txt"), **SMALL)
    assert "\n" not in str(error.value)


def test_a_text_beyond_the_longest_is_refused_unread(tmp_path):
    with (tmp_path / "own.txt").open("wb") as file:
        file.truncate(10**12)  # a hole: it takes no space
    with pytest.raises(ValueError, match=r"`path` must be at most 100,000,000 bytes, got 1,000,0"):
        find("tasks", "text")(path=str(tmp_path / "own.txt"))


def test_without_a_file_the_text_is_pythons_reference():
    task = find("tasks", "text")()
    assert len(task.windows) > 5000 and 90 < task.num_classes < 130
    assert 'The "assert" statement' in "".join(spoken(task, task.windows[:100]))


# --- the models ----------------------------------------------------------------------------------


@models
def test_what_comes_later_changes_no_earlier_logit(name):
    task = said()
    model = build(name, task, hidden=8)
    x = task.windows[:2, :8]
    before = model(x).view(2, 8, -1)
    for t in range(8):
        changed = x.clone()
        changed[:, t] = (changed[:, t] + 1) % task.num_classes
        after = model(changed).view(2, 8, -1)
        assert torch.equal(after[:, :t], before[:, :t])
        assert all(not torch.equal(after[:, s], before[:, s]) for s in range(t, 8))


@models
def test_a_zero_entry_is_an_absent_weight(name):
    """Output and gradients do not depend on what it holds; embeddings and positions too."""
    task, pulls = said(), []
    batch = next(task.batches("train"))
    for value in (0.0, 1e3):
        model, draw = build(name, task, hidden=8), torch.Generator().manual_seed(1)
        masks = {n: (torch.rand(m.shape, generator=draw) < 0.5).float()
                 for n, m in M.ones(model).items()}  # fmt: skip
        assert set(masks) == {n for n, p in model.named_parameters() if p.dim() > 1}
        with torch.no_grad():
            for n, p in M.prunable(model).items():
                p[masks[n] == 0] = value
        F.cross_entropy(forward(model, batch, masks), batch.target).backward()
        pulls.append([p.grad * masks.get(n, 1) for n, p in model.named_parameters()])
    for a, b in zip(*pulls, strict=True):
        assert torch.equal(a, b)


@models
def test_macs_are_those_of_every_surviving_weight_at_every_character(name):
    task = said()
    model = build(name, task, hidden=8)
    linear = {n: p.numel() for n, p in M.prunable(model).items()
              if n.removesuffix(".weight") not in ("embedding", "position")}  # fmt: skip
    assert macs(model, task, {}) == {n: 8 * count for n, count in linear.items()}
    half = {"head.weight": torch.arange(model.head.weight.numel()).view_as(model.head.weight) % 2}
    assert macs(model, task, half)["head.weight"] == 8 * linear["head.weight"] // 2


@models
def test_new_weights_are_as_wide_as_the_first(name):
    model = build(name, said(), hidden=64)
    first = {n: p.detach().clone() for n, p in M.prunable(model).items()}
    model.reset_parameters()
    for n, p in M.prunable(model).items():
        assert not torch.equal(p, first[n])
        assert p.std().item() == pytest.approx(first[n].std().item(), rel=0.2), n


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="`hidden` must be a multiple of `heads` = 4, got 6"):
        find("models", "transformer")(said(), hidden=6)


# --- the engine ----------------------------------------------------------------------------------


def test_training_learns_the_text_and_accuracy_is_of_the_next_character():
    task = said(evaluate_every=60, batch_size=16)
    torch.manual_seed(0)
    model = find("models", "transformer")(task, hidden=16, heads=2)
    masks = M.ones(model)
    (reached,) = train(model, task, masks, epochs=1, lr=1e-2, weight_decay=0.0)
    assert reached.val > 0.5 > evaluate(build("transformer", task), task, {}, ("val",))[0]
    batches = list(task.batches("val"))
    logits = torch.cat([forward(model.eval(), b, masks) for b in batches])
    target = torch.cat([b.target for b in batches])
    assert reached.val == pytest.approx((logits.argmax(-1) == target).float().mean().item())
    assert reached.val_loss == pytest.approx(F.cross_entropy(logits, target).item(), rel=1e-5)
    val, loss = Evaluator(model, task, dict(model.named_parameters()), None)("val")
    assert (val, loss) == (reached.val, reached.val_loss)


def test_tickets_are_found_rewound_and_left_exact():
    task = said()
    model = build("transformer", task, hidden=8)
    about = {"rounds": 2, "epochs": 4, "rewind_to": 2, "drop_weights": 0.2}
    dense, first, second = call("imp", model, task, **about)
    count = M.count(dense.masks)
    assert int(sum(m.sum() for m in first.masks.values())) == count - round(0.2 * count)
    assert all(torch.equal(first.init[n], dense.init[n]) for n in dense.init)
    assert second.search == {"first_iteration": 6}


SETTINGS = {
    "rounds": 2, "iterations": 6, "rewind_to": 3, "hidden": 8, "heads": 2, "train_size": 20,
    "val_size": 2, "test_size": 2, **SMALL,
}  # fmt: skip


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = run("imp", "text", "transformer", SETTINGS, out=tmp_path / "whole")

    def stop(step):
        if step.epoch is not None and step.round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("imp", "text", "transformer", SETTINGS, out=tmp_path / "cut", watch=stop)
    cut = run("imp", "text", "transformer", SETTINGS, out=tmp_path / "cut")
    assert lines(cut) == lines(whole) and tickets(cut) == tickets(whole)
