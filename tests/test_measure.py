"""Measures over a run: records beside its own, what is there stays, errors in one line."""

import json
import shutil

import pytest
from torch_geometric.datasets import KarateClub

import graphlth as glt
import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.experiment import measure
from graphlth.experiment.measure import analyze
from graphlth.experiment.run import run
from graphlth.registry import find, names
from graphlth.storage import add_digest
from graphlth.task import SPLITS
from graphlth.ticket import load

QUICK = {"hidden": 4, "epochs": 4, "rounds": 2, "rewind_to": 1, "lr": 0.05}
SETTINGS = {
    "epoch_selection": {}, "instability": {"points": 3, "pairs": 1}, "latency": {"repeats": 1},
    "removed_edges": {}, "structure": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return run("imp", "karate", "gcn", QUICK, seeds=2, out=tmp_path_factory.mktemp("runs"))


def rows(folder):
    """What is recorded, but for what differs from one time to the next."""
    return [
        {n: v for n, v in r.items() if not n.startswith(record.COST_PREFIXES)}
        for r in record.read(folder)
    ]


@pytest.mark.parametrize("name", names("analysis"))
def test_a_measure_stands_beside_the_record_of_its_ticket(folder, tmp_path, name):
    found = record.read(analyze(name, str(folder), SETTINGS[name], out=str(tmp_path)))
    own = record.read(folder)
    assert len(found) == len(own) == 6
    for line, known in zip(found, own, strict=True):
        assert {n: line[n] for n in known} == known
        assert line["measure"] == name and line["seconds_measure"] > 0
        assert SETTINGS[name].items() <= line["measure_settings"].items()
        assert line["measure_environment"]["torch"]
        added = line.keys() - known.keys()
        assert len([n for n in added if not n.endswith("measure") and "measure_" not in n]) >= 4


def test_instability_is_that_of_the_recipe_of_the_run(folder, tmp_path):
    target = analyze("instability", str(folder), SETTINGS["instability"], out=str(tmp_path))
    (line,) = [r for r in record.read(target) if (r["seed"], r["round"]) == (1, 2)]
    assert line["epochs_measure"] == 2 * (4 - 1)  # two copies, from θ_1 to the end of 4 epochs
    task = find("tasks", "karate")()
    model = find("models", "gcn")(task, hidden=4)
    direct = find("analysis", "instability")(
        model, task, load(folder / "seed1-round2.safetensors"), points=3, pairs=1, seed=1,
        epochs=4, lr=0.05,
    )  # fmt: skip
    assert vars(direct).items() <= line.items()


def test_epochs_are_chosen_in_the_training_of_the_run(folder, tmp_path):
    """And what is seen of the test data moves nothing of it."""
    for line in record.read(analyze("epoch_selection", str(folder), out=str(tmp_path))):
        assert line["selected_by_val"] == line["test"]
        assert line["epoch_by_val"] == line["best_epoch"]
        assert line["of_last_epoch"] == line["test_last"]
        assert line["optimism"] == line["selected_by_test"] - line["test"] >= 0
        assert line["early_peak"] == line["test"] - line["test_last"]
        assert line["epoch_by_test"] in range(4)


def test_of_two_epochs_of_the_best_test_value_the_first_is_told():
    task = glt.NodeTask(KarateClub()[0], split="random")
    model = find("models", "gcn")(task, hidden=4)
    found = find("analysis", "epoch_selection")(
        model, task, glt.dense(model, task.num_edges), epochs=3, lr=1e-12
    )
    assert (found.epoch_by_test, found.epoch_by_val, found.optimism) == (0, 0, 0)


def test_what_exists_is_not_measured_again_and_a_torn_line_is_mended(folder, tmp_path, monkeypatch):
    how = {"settings": SETTINGS["instability"], "out": str(tmp_path)}
    target = analyze("instability", str(folder), **how)
    whole = rows(target)
    lines = target / "seed0.jsonl"
    lines.write_bytes(lines.read_bytes()[:-10])
    taken, seen = measure.measure_ticket, []

    def noted(study, task, line):
        seen.append((line["seed"], line["round"]))
        return taken(study, task, line)

    monkeypatch.setattr(measure, "measure_ticket", noted)
    steps = []
    assert analyze("instability", str(folder), **how, watch=steps.append) == target
    assert seen == [(0, 2)]
    assert rows(target) == whole
    assert [(step.seed, step.round) for step in steps] == [(s, r) for s in (0, 1) for r in range(3)]


def test_some_seeds_and_rounds_then_the_others(folder, tmp_path):
    how = {"settings": SETTINGS["instability"], "out": str(tmp_path / "a")}
    target = analyze("instability", str(folder), **how, seeds="1-1", rounds="0,2")
    assert [(r["seed"], r["round"]) for r in record.read(target)] == [(1, 0), (1, 2)]
    assert analyze("instability", str(folder), **how) == target
    assert rows(target) == rows(
        analyze("instability", str(folder), **how | {"out": str(tmp_path / "b")}, jobs=2)
    )


def test_runs_and_measures_are_told_apart(folder, tmp_path):
    for points in (3, 4):
        analyze("instability", str(folder), {"points": points, "pairs": 1}, out=str(tmp_path))
    found = record.summary(record.read(folder, tmp_path))
    assert [row.n for row in found] == [2] * 9  # three rounds of the run and of either measure
    assert len({row.settings for row in found}) == 3
    assert len({row.label for row in found}) == 3


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another run, in a folder of the name that the first has in its copy."""
    place = tmp_path_factory.mktemp("other")
    found = run("imp", "karate", "gcn", QUICK | {"lr": 0.1}, seeds=2, out=place)
    return found.rename(place / "run")


def test_runs_whose_folders_have_one_name_are_measured_each(folder, other, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "run")
    how = {"settings": SETTINGS["latency"], "out": str(tmp_path / "out"), "rounds": "0"}
    first, second = (analyze("latency", str(run), **how) for run in (copy, other))
    assert first.name.startswith("run-latency-") and first != second
    for target, own in ((first, folder), (second, other)):
        tickets = {r["ticket"] for r in record.read(own) if not r["round"]}
        assert {r["ticket"] for r in record.read(target)} == tickets


def test_what_was_measured_of_another_ticket_is_not_taken_for_that_of_this_one(
    folder, other, tmp_path
):
    how = {"settings": SETTINGS["latency"], "rounds": "0", "seeds": "0-0"}
    first = analyze("latency", str(folder), **how, out=str(tmp_path / "a"))
    second = analyze("latency", str(other), **how, out=str(tmp_path / "b"))
    shutil.copy(second / "seed0.jsonl", first / "seed0.jsonl")
    with pytest.raises(ValueError, match=r"seed0.jsonl` is of another run: .* round 0 .*`out`"):
        analyze("latency", str(folder), **how, out=str(tmp_path / "a"))


def test_show_lists_a_run_once_and_a_measure_where_its_run_is_not_there(
    folder, other, tmp_path, capsys
):
    target = analyze("latency", str(folder), SETTINGS["latency"], out=str(tmp_path))
    for beside, titles in ((folder, 1), (other, 2)):
        assert cli.main(["show", str(beside), str(target)]) == 0
        assert capsys.readouterr().out.count("imp on karate") == titles


# --- the command ---------------------------------------------------------------------------------


def test_the_command_takes_the_settings_of_the_measure(folder, tmp_path, capsys):
    argv = ["analyze", "instability", str(folder), "--out", str(tmp_path), "--pairs=1",
            "--points", "3", "--rounds", "0", "--split", SPLITS[0]]  # fmt: skip
    assert cli.main(argv) == 0
    told = capsys.readouterr()
    target = told.out.strip()
    assert {json.dumps(r["measure_settings"], sort_keys=True) for r in record.read(target)} == {
        '{"pairs": 1, "points": 3, "split": "train"}'
    }
    assert "seed 1 round 0" in told.err and "instability" in told.err


def spoilt(folder, name, text):
    (folder / name).write_text(text)
    return folder


def altered(folder, **settings):
    about = json.loads((folder / "settings.json").read_text())
    about["settings"] |= settings.pop("settings", {})
    return spoilt(folder, "settings.json", json.dumps(add_digest(about | settings)))


def both(folder, **told):
    """`folder`, altered, and its records too."""
    for path in folder.glob("*.jsonl"):
        lines = record.read_file(path)
        settings = {"settings": lines[0]["settings"] | told.get("settings", {})}
        path.write_text("".join(json.dumps(add_digest(r | told | settings)) + "\n" for r in lines))
    return altered(folder, **told)


BAD = [  # what is done to a copy of the run, the arguments, the one line
    (None, "nope",
     "`measure` must be one of epoch_selection, instability, latency, removed_edges, structure, "
     "got 'nope'"),
    (shutil.rmtree, "instability", "`run` must be a folder, got"),
    (lambda f: (f / "settings.json").unlink(), "instability", "without a settings.json"),
    (lambda f: spoilt(f, "settings.json", "{"), "instability", "settings.json` is not that of a"),
    (lambda f: spoilt(f, "settings.json", "[]"), "instability", "settings.json` is not that of a"),
    (lambda f: [p.unlink() for p in f.glob("*.jsonl")], "instability", "`run` must have tickets"),
    (lambda f: (f / "seed0-round0.safetensors").unlink(), "instability", "no ticket at"),
    (lambda f: spoilt(f, "seed0-round0.safetensors", "x"), "instability", "is not a whole graph"),
    (lambda f: spoilt(f, "settings.json", (f / "settings.json").read_text().replace("4", "5")),
     "instability", "damaged: its digest is not that of what it says; the command of the run"),
    (lambda f: altered(f, task="digits"), "instability", "`run` is of other data: features, edges"),
    (lambda f: altered(f, settings={"edges": "directed"}), "instability", "`run` is of other data"),
    (lambda f: altered(f, model="sage"), "instability", "must hold model sage in line 1, got gcn"),
    (lambda f: altered(f, settings={"lr": 0.5}), "instability",
     "anew; or put the settings.json of its run back"),
    (lambda f: both(f, model="sage"), "instability", "`ticket` does not fit `model`"),
    (lambda f: shutil.copy(f / "seed0-round1.safetensors", f / "seed0-round0.safetensors"),
     "instability", "its SHA-256 is not that of its record"),
    (lambda f: both(f, settings={"dropout": 0.0}), "instability", "`model` must train under"),
    (None, "instability --rounds 3",
     "`rounds` must be of the run's, 0, 1, 2, got 3: not in `run/seed0.jsonl`"),
    (None, "instability --seeds 3", "`seeds` must be of the run's, 0, 1, got 2: not in `run`"),
    (None, "instability --rounds first", "`rounds` must be all, or numbers as in 0,2, got 'first'"),
    (None, "instability --points 1", "`points` must be in [2, 10000], got 1"),
    (None, "instability --jobs 0", "`jobs` must be in [1, 1024], got 0"),
    (None, "instability --epochs 3", "`epochs` is no setting here"),
    (None, "instability --out settings.json", "cannot write `out`"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "arguments", "told"), BAD)
def test_bad_input_is_one_line(folder, tmp_path, monkeypatch, capsys, spoil, arguments, told):
    monkeypatch.chdir(tmp_path)
    copy = shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "settings.json").write_text("a file")
    if spoil:
        spoil(copy)
    name, *others = arguments.split()
    assert cli.main(["analyze", name, "run", "--out", "out", "--pairs", "1", *others]
                    if name != "nope" else ["analyze", name, "run"]) == 2  # fmt: skip
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("graphlth: error: ") and told in line


def test_a_measure_must_be_named(capsys):
    assert cli.main(["analyze"]) == 2
    assert "`measure` must be given: one of epoch_selection, instab" in capsys.readouterr().err


def test_a_setting_that_the_measure_lacks_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"^`repeats` is no setting of instability; there are pai"):
        analyze("instability", str(folder), {"repeats": 1}, out=str(tmp_path))


def test_only_files_that_are_called_after_a_seed_are_read(folder, tmp_path, capsys):
    copy = shutil.copytree(folder, tmp_path / folder.name)
    for name in ("seedx.jsonl", "seed.jsonl", "seed0.old.jsonl", "seed-1.jsonl"):
        (copy / name).write_text("not a record")
    assert (
        measure.select_rounds(copy) == measure.select_rounds(folder) == {0: [0, 1, 2], 1: [0, 1, 2]}
    )
    assert record.read(copy) == record.read(folder)
    shutil.copy(copy / "seed0.jsonl", copy / "seed00.jsonl")
    out = str(tmp_path / "out")
    for command in (["analyze", "latency", str(copy), "--out", out], ["show", str(copy)]):
        assert cli.main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "records of seed 0 must be in `seed0.jsonl`, got `" in line
        assert line.endswith("seed00.jsonl`: move it aside")
