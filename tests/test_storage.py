"""What is stored is known again: by its content, wherever it lies, and not after a change."""

import inspect
import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from toys import ALGORITHMS, build, call, data, of, toy

import graphlth as glt
import graphlth.records as record
from graphlth import storage
from graphlth.cli import main as cli
from graphlth.compaction.network import load_compact
from graphlth.data.images import ImageTask
from graphlth.data.node import NodeTask
from graphlth.data.text import TextTask
from graphlth.experiment.folder import read_plan
from graphlth.experiment.measure import analyze
from graphlth.experiment.plan import plan
from graphlth.experiment.run import run
from graphlth.experiment.verify import verify
from graphlth.provenance import model_fingerprint
from graphlth.records.files import _write_lines
from graphlth.ticket import Ticket, load, ticket_file

QUICK = {"hidden": 4, "epochs": 3, "rounds": 2}
KARATE = ["run", "ugs", "--task=karate", "--model=gcn", "--hidden=4", "--epochs=3", "--rounds=2"]


# --- the content of data -------------------------------------------------------------------------


def changed(**parts):
    whole = data()
    for name, change in parts.items():
        whole[name] = change(whole[name].clone())
    return whole


def first(value):
    def change(tensor):
        tensor.view(-1)[0] = value
        return tensor

    return change


def swapped(split, other):
    whole = data()
    whole[f"{split}_mask"], whole[f"{other}_mask"] = whole[f"{other}_mask"], whole[f"{split}_mask"]
    return whole


def weighted(value):
    whole = data()
    whole.edge_weight = first(value)(torch.ones(whole.edge_index.size(1)))
    return whole


def moved(split):
    """The last node of a split is in none."""
    return changed(**{f"{split}_mask": lambda mask: mask & (mask.cumsum(0) < mask.sum())})


OTHERS = {
    "a feature": lambda: changed(x=first(3.5)),
    "an edge": lambda: changed(edge_index=lambda e: e[:, 1:]),
    "an edge weight": lambda: weighted(2.0),
    "a label": lambda: changed(y=first(1)),
    "the training split": lambda: moved("train"),
    "the validation split": lambda: moved("val"),
    "the test split": lambda: moved("test"),
    "validation and test swapped": lambda: swapped("val", "test"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_any_change_of_a_graph_changes_its_content(what):
    assert NodeTask(OTHERS[what]()).content() != toy().content()
    labels = what not in ("a feature", "an edge", "an edge weight")
    assert (NodeTask(OTHERS[what]()).fingerprint() == toy().fingerprint()) == labels


SAME = {
    "another name": lambda: NodeTask(data(), name="other"),
    "int32": lambda: NodeTask(changed(y=lambda y: y.int(), edge_index=lambda e: e.int())),
    "edges in another order": lambda: NodeTask(changed(edge_index=lambda e: e.flip(1))),
    "sparse features": lambda: NodeTask(changed(x=lambda x: x.to_sparse())),
    "a copy": lambda: toy().to("cpu"),
}


@pytest.mark.parametrize("what", SAME)
def test_the_content_of_a_graph_is_not_how_it_is_stored(what):
    assert SAME[what]().content() == toy().content()
    assert len(toy().content()) == 16 and int(toy().content(), 16) >= 0


PIXELS, CLASSES = torch.arange(8 * 4).view(8, 1, 2, 2).byte(), torch.arange(8) % 2
SIZES = {"train": 4, "val": 2, "test": 2}


def test_the_content_of_images_is_pixels_classes_and_splits():
    known = ImageTask(PIXELS, CLASSES, SIZES).content()
    same = ImageTask(PIXELS, CLASSES.int(), SIZES, augment="crop-flip", batch_size=3, name="b")
    assert same.content() == same.to("cpu").content() == known
    others = [
        ImageTask(first(9)(PIXELS.clone()), CLASSES, SIZES),
        ImageTask(PIXELS, 1 - CLASSES, SIZES),
        ImageTask(PIXELS, CLASSES, {"train": 5, "val": 1, "test": 2}),
        ImageTask(PIXELS, CLASSES, {"train": 4, "val": 2, "test": 1}),
    ]
    assert len({known, *(task.content() for task in others)}) == 5


def test_the_content_of_a_text_is_its_words_and_splits():
    said = "the lottery ticket hypothesis, " * 40
    known = TextTask(said, context=5).content()
    assert TextTask(said, context=5, name="b", batch_size=3, evaluate_every=2).content() == known
    others = [TextTask(said.replace("y", "i", 1), context=5),
              TextTask(said, context=5, val_size=3),
              TextTask(said, context=5, test_size=3),
              TextTask(said, context=5, train_size=9)]  # fmt: skip
    assert len({known, *(task.content() for task in others)}) == 5


def test_the_content_of_a_game_is_its_constants():
    pytest.importorskip("gymnasium")
    known = glt.find("tasks", "cartpole")
    assert known().content() == known(batch_size=3, discount=0.5).content()
    others = [known(val_size=3), known(test_size=3), known(data_seed=1)]
    assert len({known().content(), *(task.content() for task in others)}) == 4


@pytest.mark.parametrize("path", ["photo.npz", "a/b/photo.pt", "photo.txt", "albums/photo"])
def test_a_folder_is_called_after_a_file_of_ones_own(path):
    assert plan("ugs", "file", "gcn", {"path": path}).name.startswith("ugs-photo-gcn-")


@pytest.mark.parametrize(
    ("path", "name"),
    [("my photos!.npz", "my_photos"), ("a-b.npz", "a_b"), ("...npz", "file"),
     ("\x1b[31m.npz", "31m"), ("größe.npz", "größe"), ("x" * 300 + ".npz", "x" * 64)],
)  # fmt: skip
def test_a_folder_name_holds_no_character_that_a_shell_or_terminal_reads(path, name):
    assert plan("ugs", "file", "gcn", {"path": path}).name.split("-")[1] == name


# --- what is compared ----------------------------------------------------------------------------


def ring(path, y=lambda r: r % 2):
    r = np.arange(12)
    masks = {f"{name}_mask": r // 2 % 3 == i for i, name in enumerate(("train", "val", "test"))}
    edge_index = np.stack([r, (r + 1) % 12])
    np.savez(path, x=np.eye(12, dtype="f4"), y=y(r), edge_index=edge_index, **masks)


@pytest.fixture
def relabelled(tmp_path, monkeypatch):
    """A run on a file whose labels have changed since."""
    monkeypatch.chdir(tmp_path)
    ring("my.npz")
    folder = run("ugs", "file", "gcn", QUICK | {"path": "my.npz"}, out="out")
    ring("my.npz", lambda r: 1 - r % 2)
    return folder


COMPARING = [
    "analyze latency RUN --out measured --repeats 1",
    "export RUN/seed0-round1.safetensors --out small",
    "bench RUN/seed0-round1.safetensors --repeats 1",
    "run control --task my.npz --model gcn --tickets RUN --epochs 3 --hidden 4 --out out",
]


@pytest.mark.parametrize("command", COMPARING, ids=lambda command: command.split()[0])
def test_other_labels_are_told_with_what_differs_and_the_remedy(relabelled, capsys, command):
    argv = command.replace("RUN", str(relabelled)).split()
    if argv[1] == "control":  # its tickets are read where it trains, in a folder of its own
        capsys.readouterr()
    assert cli.main(argv) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    part = "features, edges, labels or splits" if argv[0] == "analyze" else "labels or splits"
    assert f"is of other data: {part} of 'my' are not those that it was run on (content" in line
    assert "give those, or run anew" in line


def test_transferred_weights_need_no_data_of_their_own(relabelled):
    target = run("transfer", "file", "gcn", {"path": "my.npz", "tickets": str(relabelled), **QUICK})
    assert [r["round"] for r in record.read(target)] == [0, 1, 2]


# --- where a ticket comes from -------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_ticket_of_the_library_tells_where_it_comes_from(name, tmp_path):
    task = toy()
    model = build("gcn", task)
    settings = of(name, {"rounds": 1, "draws": 1, "epochs": 2, "pretrain": 2, "epsilon": 9.0})
    for ticket in call(name, model, task, seed=3, **settings):
        ticket.save(tmp_path / "t")
        assert load(tmp_path / "t").provenance == {
            "algorithm": name, "model": "GCN", "seed": 3, "graph": task.fingerprint(),
            "network": model_fingerprint(model),
        }  # fmt: skip


def test_an_algorithm_of_the_library_has_the_signature_and_the_words_of_its_file():
    from graphlth.algorithms.ugs import ugs

    assert inspect.signature(glt.ugs) == inspect.signature(ugs)
    assert inspect.getdoc(glt.ugs) == inspect.getdoc(ugs)


# --- flips ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run, and a compacted network of its last ticket."""
    place = tmp_path_factory.mktemp("stored")
    folder = run("ugs", "karate", "gcn", QUICK, out=place)
    task = glt.find("tasks", "karate")()
    ticket = load(folder / "seed0-round2.safetensors")
    model = glt.find("models", "gcn")(task, hidden=4)
    model.load_state_dict(ticket.init)
    ticket.compact(model, task, layout="dense").save(place / "small")
    return folder, place / "small"


def flipped(content, draw):
    bit = draw.randrange(8 * len(content))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def ticket_bytes(path):
    ticket = load(path)
    tensors = {**ticket.init, **{f"mask.{n}": m for n, m in ticket.masks.items()}}
    return ticket.round, ticket.provenance, ticket.search, [
        (n, t.numpy().tobytes()) for n, t in tensors.items()]  # fmt: skip


def network_bytes(path):
    network = load_compact(path)
    return network(torch.eye(34)).numpy().tobytes(), network.about


READERS = {
    "seed0.jsonl": record.read_file,
    "settings.json": lambda path: read_plan(path.parent),
    "seed0-round1.safetensors": ticket_bytes,
    "small": network_bytes,
}


@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_is_refused_or_changes_nothing(stored, tmp_path, name):
    folder, small = stored
    content = (small if name == "small" else folder / name).read_bytes()
    path, draw = tmp_path / name, random.Random(name)
    path.write_bytes(content)
    whole, refused = READERS[name](path), 0
    for _ in range(60):
        path.write_bytes(flipped(content, draw))
        try:
            assert READERS[name](path) == whole
        except ValueError as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 40


# --- what a ticket's file may say ----------------------------------------------------------------


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    for value in (torch.nan, torch.inf):
        ticket = Ticket({"w": torch.tensor([1.0, value])}, {"w": torch.ones(2)}, 0)
        with pytest.raises(ValueError, match=r"`init` must be finite.* in 'w'.* smaller `lr`"):
            ticket.save(tmp_path / "t")
    assert not list(tmp_path.iterdir())


WRONG = [  # what the metadata of a file of version 0.1.0 says, the words of the error
    ({"round": -1}, "`round` must be a whole number of at least 0, got -1"),
    ({"round": True}, "`round` must be a whole number"),
    ({"round": 1.0}, "`round` must be a whole number"),
    ({"init": ["w", "w"]}, "`init` must be a list of names, each once"),
    ({"masks": "w"}, "`masks` must be a list of names"),
    ({"provenance": []}, "`provenance` must be an object, got list"),
    ({"provenance": {"seed": -1}}, "`provenance.seed` must be a whole number of at least 0"),
    ({"provenance": {"seed": "0"}}, "`provenance.seed` must be"),
    ({"provenance": {"settings": 3}}, "`provenance.settings` must be an object, got 3"),
    ({"provenance": {"task": 3}}, "`provenance.task` must be text, got 3"),
    ({"provenance": {"graph": None}}, "`provenance.graph` must be text"),
    ({"search": []}, "`search` must be an object, got list"),
    ({"search": {"test": 1.0}}, "`search` must not hold `test`, a field of the record's own"),
    ({"search": {"macs_search": 1}}, "`search` must not hold `macs_search`"),
    ({"search": {"untrained_val": 2}}, r"`search.untrained_val` must be a fraction in \[0, 1\]"),
    (
        {"search": {"metric": "rmse", "untrained_val": math.nan}},
        "`search.untrained_val` must be a number, got nan",
    ),
    (
        {"search": {"metric": "rmse", "untrained_val": -math.inf}},
        "`search.untrained_val` must be a number, got -inf",
    ),
    ({"search": {"first_iteration": -1}}, "`search.first_iteration` must be a whole number"),
    ({"format": "\x1b[31m"}, r"its format is '\\x1b\[31m', not"),
]


def old_ticket(path, tensors=None, **said):
    from safetensors.torch import save_file

    about = {"format": "graphlth-ticket-1", "round": 1, "init": ["w"], "masks": ["w"],
             "provenance": {}, "search": {}}  # fmt: skip
    held = {"init.w": torch.ones(2), "mask.w": torch.tensor([True, False])}
    save_file(held | (tensors or {}), path, {"graphlth": json.dumps(about | said)})


def test_a_ticket_of_version_0_1_0_is_read(tmp_path):
    old_ticket(tmp_path / "t.safetensors")
    assert load(tmp_path / "t.safetensors").masks["w"].tolist() == [1, 0]
    assert verify([tmp_path]).summary == "verified nothing; 1 of version 0.1.0 without a digest"


def test_a_value_of_another_metric_than_accuracy_is_any_finite_number(tmp_path):
    told = {"metric": "rmse", "untrained_val": 2.5, "untrained_test": -1}
    old_ticket(tmp_path / "t", search=told)
    assert load(tmp_path / "t").search == told


@pytest.mark.parametrize(("said", "words"), WRONG)
def test_every_field_of_a_ticket_is_validated(tmp_path, said, words):
    old_ticket(tmp_path / "t", **said)
    with pytest.raises(ValueError, match=words) as caught:
        load(tmp_path / "t")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"init.w": torch.tensor([1.0, torch.nan])}, "`init` must be finite"),
        ({"init.w": torch.tensor([1.0, torch.inf])}, "`init` must be finite"),
        ({"mask.w": torch.tensor([0.5, 1.0])}, "`masks` must be 0 or 1"),
        ({"mask.w": torch.tensor([2, 1], dtype=torch.uint8).view(torch.bool)}, "`masks` must be 0"),
    ],
)
def test_the_tensors_of_a_ticket_are_validated(tmp_path, tensors, words):
    old_ticket(tmp_path / "t", tensors)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "t")


def test_what_a_search_tells_never_stands_in_for_the_record(tmp_path, monkeypatch):
    def liar(model, task, *, rounds=1, epochs=3, seed=0, last=None):
        yield replace(glt.dense(model, task.num_edges), search={"num_weights": 1})

    monkeypatch.setattr("graphlth.algorithms.ugs.ugs", liar)
    with pytest.raises(ValueError, match="`search` must not hold `num_weights`"):
        run("ugs", "karate", "gcn", {"rounds": 1, "epochs": 3}, out=tmp_path)


# --- the terminal --------------------------------------------------------------------------------

STEERING = "\x1b]0;title\x07\x9b31m\u202e\r\n\ud800"


def test_no_character_of_a_file_steers_the_terminal(stored, tmp_path, capsys):
    folder, _ = stored
    ticket = load(folder / "seed0-round1.safetensors")
    name = f"[/red]{STEERING[:-1]}"
    about = ticket.provenance | {"note": STEERING, "task": STEERING}
    replace(ticket, masks={name: torch.ones(1)}, provenance=about).save(tmp_path / "t.safetensors")
    assert cli.main(["show", str(tmp_path / "t.safetensors")]) == 0
    entry = record.read(folder)[0]
    for value in (STEERING, "plain"):
        settings = entry["settings"] | {"note": value}
        record.append(tmp_path / "seed0.jsonl", entry | {"algorithm": "[red]" + STEERING[:-1],
                                                         "settings": settings})  # fmt: skip
    assert cli.main(["show", str(tmp_path)]) == 0
    for path in ("t.safetensors", "seed0.jsonl"):
        (tmp_path / path).write_bytes((tmp_path / path).read_bytes().replace(b"plain", b"p\x1bain"))
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert cli.main(["show", f"no{STEERING[:-1]}"]) == 2
    told = "".join(capsys.readouterr())
    assert "title" in told and all(c.isprintable() or c == "\n" for c in told)


# --- leftovers -----------------------------------------------------------------------------------


def test_what_killed_writers_have_left_goes_when_the_run_is_resumed(tmp_path):
    folder = run("ugs", "karate", "gcn", QUICK, out=tmp_path)
    before = sorted(path.name for path in folder.iterdir())
    gone = 2**22 + 1  # more than any process
    left = [f".settings.{gone}.json", f"seed0-round1.safetensors.{gone}.part", ".seed0.1.jsonl",
            f".seed0-round1.{gone}.safetensors", ".seed0-round2.1.safetensors"]  # fmt: skip
    kept = [".seed1-round0.1.safetensors", "notes.txt", ".hidden", "figure.1.png"]
    for name in left + kept:
        (folder / name).write_text("half")
    run("ugs", "karate", "gcn", QUICK, out=tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(before + kept)


def test_a_file_is_on_disk_before_its_name_and_its_name_before_the_end(tmp_path, monkeypatch):
    done, synced, renamed = [], storage.os.fsync, storage.os.replace
    folder = tmp_path.stat().st_ino

    def sync(number):
        done.append("folder" if storage.os.fstat(number).st_ino == folder else "file")
        synced(number)

    monkeypatch.setattr(storage.os, "fsync", sync)
    monkeypatch.setattr(storage.os, "replace", lambda *a: done.append("name") or renamed(*a))
    for write in (glt.dense(build("gcn", toy())).save, lambda path: _write_lines(path, [])):
        done.clear()
        write(tmp_path / "t")
        assert done == ["file", "name", "folder"]


# --- verify --------------------------------------------------------------------------------------


def test_where_all_is_well_verify_says_so_in_one_line(stored, capsys):
    folder, small = stored
    assert cli.main(["verify", str(folder.parent)]) == 0
    output, error = capsys.readouterr()
    assert output == "verified 1 settings file, 3 records, 3 tickets, 1 network\n"
    assert error == ""
    assert cli.main(["verify", str(small), str(folder / "seed0-round0.safetensors")]) == 0


def about(folder, **settings):
    """`folder`, whose settings.json has other settings, as if it were that of another run."""
    told = json.loads((folder / "settings.json").read_text())
    told["settings"] |= settings
    (folder / "settings.json").write_text(json.dumps(storage.add_digest(told)))
    return folder


FAULTS = [  # what is done to a copy of the run, the lines
    (lambda f: (f / "settings.json").write_text("{}"), ["settings.json` is not that of a run"]),
    (lambda f: (f / "seed0-round1.safetensors").unlink(), ["line 2: no ticket at"]),
    (lambda f: shutil.copy(f / "seed0-round0.safetensors", f / "seed0-round1.safetensors"),
     ["SHA-256 is not that of its record"]),
    (lambda f: (f / "seed0.jsonl").unlink(), ["no record in", "no record in"]),
    (lambda f: shutil.copy(f / "seed0.jsonl", f / "seed1.jsonl"),
     ["must hold seed 1 in line 1, got 0"]),
    (lambda f: shutil.copy(f / "seed0.jsonl", f / "seed00.jsonl"),
     ["records of seed 0 must be in `seed0.jsonl`, got "]),
    (lambda f: about(f, rounds="2"), ["is not that of a run: `rounds` must be a whole number"]),
    (lambda f: about(f, lr=10**400), ["is not that of a run: `lr` must be in (0, inf), got 1000"]),
    (lambda f: about(f, epochs=4), ["seed0.jsonl` must hold epochs 4 in line 1, got 3; move the"]),
    (lambda f: [(f / n).write_text("x") for n in ("seed0.jsonl", "a.safetensors", "b.pt2")],
     ["a.safetensors is not a whole", "b.pt2`: damaged", "no record", "no record"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("algorithm", 3, "`algorithm` must be text, got 3"),
        ("algorithm", "nope", "`algorithm` must be one of"),
        ("task", None, "`task` must be text, got None"),
        ("settings", [], "`settings` must be an object, got []"),
        ("settings", {"rounds": -1}, "`rounds` must be in [0, 10000], got -1"),
        ("settings", {"epochs": 2.5}, "`epochs` must be a whole number, got 2.5"),
        ("settings", {"only": "x"}, "`only` must be all, or rising rounds"),
        ("device", 0, "`device` must be text, got 0"),
        ("threads", "1", "`threads` must be a whole number, got '1'"),
        ("batched", 1, "`batched` must be true or false, got 1"),
        ("protocol", 1, "`protocol` must be text or null, got 1"),
        ("data", [], "`data` must be text, got []"),
        ("source", 1, "`source` must be text, got 1"),
        ("more", 1, "more"),
    ],
)
def test_every_field_of_the_settings_of_a_run_is_validated(stored, tmp_path, field, value, words):
    told = json.loads((stored[0] / "settings.json").read_text())
    told[field] = told["settings"] | {"only": "all"} | value if isinstance(value, dict) else value
    (tmp_path / "settings.json").write_text(json.dumps(storage.add_digest(told)))
    with pytest.raises(ValueError, match=r"settings.json` is not that of a run: ") as caught:
        read_plan(tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"settings": {"hidden": 5}}, "`ticket` does not fit `model`: "),
        ({"settings": {"hidden": "x"}}, "got one in which `hidden` must be a whole number"),
        ({"settings": {"epochs": 0}}, "`epochs` must be in [1, 1000000], got 0"),
        ({"settings": {"lr": "abc"}}, "`lr` must be a number, got 'abc'"),
        ({"settings": {"backend": "x"}}, "`backend` must be one of"),
        ({"algorithm": "nope"}, "`algorithm` must be one of"),
        ({"seed": 2**70}, "`seed` must be in [0, 4294967295], got"),
    ],
)
def test_the_settings_in_a_ticket_are_validated_before_they_are_used(
    stored, tmp_path, capsys, told, words
):
    ticket = load(stored[0] / "seed0-round1.safetensors")
    about = ticket.provenance
    about = about | told | {"settings": about["settings"] | told.get("settings", {})}
    replace(ticket, provenance=about).save(tmp_path / "t")
    for how in (["bench", "--repeats=1"], ["export", f"--out={tmp_path / 'out'}"]):
        assert cli.main([*how, str(tmp_path / "t")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


@pytest.mark.parametrize(("harm", "lines"), FAULTS)
def test_verify_prints_a_line_for_each_fault(stored, tmp_path, capsys, harm, lines):
    copy = shutil.copytree(stored[0], tmp_path / stored[0].name)
    harm(copy)
    assert cli.main(["verify", str(copy)]) == 2
    output, error = capsys.readouterr()
    assert output == "" and "Traceback" not in error
    told = error.splitlines()
    for line, words in zip(sorted(told), sorted(lines), strict=False):
        assert any(words in each for each in told), (words, told, line)
    assert len(told) >= len(lines)


def test_verify_knows_the_program_of_an_export(stored, tmp_path, capsys):
    out = tmp_path / "net.pt2"
    ticket = str(stored[0] / "seed0-round2.safetensors")
    for path in (tmp_path / "net", out):
        assert cli.main(["export", ticket, "--out", str(path), "--epochs", "1"]) == 0
    assert verify([tmp_path]).summary == "verified 1 network, 1 program"
    content, draw, missed = out.read_bytes(), random.Random(0), 0
    for _ in range(30):
        out.write_bytes(flipped(content, draw))
        missed += not verify([out]).faults
    assert missed < 15  # dates and the like, which say nothing


def test_verify_names_what_is_not_there(capsys):
    assert cli.main(["verify", "gone"]) == 2
    assert "`paths` must be files or folders, got 'gone'" in capsys.readouterr().err


def test_records_of_version_0_1_0_are_shown_and_counted(stored, tmp_path, capsys):
    lines = record.read_file(stored[0] / "seed0.jsonl")
    old = [{n: v for n, v in line.items() if n not in ("data", "ticket")} for line in lines]
    (tmp_path / "seed0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    assert cli.main(["show", str(tmp_path)]) == 0
    assert verify([tmp_path]).summary.endswith("; 3 of version 0.1.0 without a digest")


def test_a_measure_compares_each_ticket_with_its_record(stored, tmp_path):
    copy = shutil.copytree(stored[0], tmp_path / "run")
    shutil.copy(copy / "seed0-round2.safetensors", copy / "seed0-round1.safetensors")
    with pytest.raises(ValueError, match="its SHA-256 is not that of its record"):
        analyze("latency", str(copy), {"repeats": 1}, out=str(tmp_path / "out"))
    assert Path(ticket_file(copy, 0, 1)).is_file()


def test_a_ticket_without_a_graph_in_it_is_still_one_of_any_graph():
    task = NodeTask(Data(**data().to_dict()))
    assert glt.fit(build("gcn", task), task, glt.dense(build("gcn", task)), epochs=1).index == 0
