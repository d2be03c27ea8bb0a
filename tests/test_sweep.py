"""A sweep writes what runs write, each result once, whoever computes it and whoever is lost."""

import json
import os
import subprocess
import sys
import tomllib
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from sweeping import SMALL, Inline, content

import graphlth as glt
import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.experiment.run import run
from graphlth.sweeps import run as sweeps
from graphlth.sweeps.estimate import command, estimate_sweep
from graphlth.sweeps.file import read_sweep
from graphlth.sweeps.run import sweep
from graphlth.sweeps.seed_task import compute_seed
from graphlth.sweeps.workers import ExecutorWorkers

ROOT = Path(__file__).parents[1]
OF_SPLITS = {"settings": SMALL | {"task": "texas"}}
FILE = {"seeds": 3, "settings": SMALL, "runs": {"ugs": {"algorithm": "ugs"}}}


@pytest.fixture(autouse=True)
def no_commit(monkeypatch):
    monkeypatch.setenv("GIT_DIR", os.devnull)  # a commit made during a test is no difference


@pytest.fixture
def executor(monkeypatch):
    """Gives sweeps the executor that it is called with."""

    def use(executor, at_once=64):
        workers = ExecutorWorkers(executor, at_once)
        monkeypatch.setattr(sweeps, "choose_workers", lambda count, cluster: workers)
        return executor

    return use


# --- the file ------------------------------------------------------------------------------------


def test_a_grid_is_a_run_for_each_combination():
    found = read_sweep(FILE | {
        "grid": {"lr": [0.1, 0.01]},
        "runs": {"a": {"algorithm": "ugs", "grid": {"hidden": [4, 8]}, "seeds": "3,7"},
                 "b": {"algorithm": "imp", "epochs": 7, "layers": "null"}},
    })  # fmt: skip
    assert [(r.name, r.settings["lr"], r.settings["hidden"], r.seeds) for r in found.runs] == [
        ("a, lr 0.1, hidden 4", 0.1, 4, (3, 7)), ("a, lr 0.1, hidden 8", 0.1, 8, (3, 7)),
        ("a, lr 0.01, hidden 4", 0.01, 4, (3, 7)), ("a, lr 0.01, hidden 8", 0.01, 8, (3, 7)),
        ("b, lr 0.1", 0.1, 8, (0, 1, 2)), ("b, lr 0.01", 0.01, 8, (0, 1, 2)),
    ]  # fmt: skip
    assert found.runs[-1].settings["epochs"] == 7 and found.runs[-1].settings["layers"] is None
    assert found.runs[0].names == ("ugs", "karate", "gcn")


def test_a_run_reads_the_tickets_of_another_at_the_same_values():
    runs = {"own": {"algorithm": "ugs"}, "copy": {"algorithm": "control", "tickets": "own"}}
    found = read_sweep(FILE | {"grid": {"lr": [0.1, 0.01]}, "runs": runs}).runs
    assert [r.source for r in found] == ["", "", "own, lr 0.1", "own, lr 0.01"]
    first, second = sweeps.ordered_runs(read_sweep(FILE | {"runs": runs}))
    assert [each.name for each in (*first, *second)] == ["own", "copy"]


def test_a_file_of_a_graph_is_a_task():
    (found,) = read_sweep(FILE | {"settings": SMALL | {"task": "data/my.pt"}}).runs
    assert found.names == ("ugs", "file", "gcn") and found.settings["path"] == "data/my.pt"


def test_with_splits_seed_k_is_on_split_k():
    table = {n: v for n, v in FILE.items() if n != "seeds"}
    found = read_sweep(table | OF_SPLITS | {"splits": 3}).runs
    assert [(r.settings["split"], r.seeds) for r in found] == [(0, (0,)), (1, (1,)), (2, (2,))]


SUITES = [p for p in sorted((ROOT / "graphlth" / "reproduction" / "suites").glob("*.toml"))
          if "runs" in tomllib.loads(p.read_text())]  # fmt: skip


@pytest.mark.parametrize("suite", SUITES, ids=lambda p: p.stem)
def test_a_suite_is_a_sweep(suite):
    table = tomllib.loads(suite.read_text())
    splits = table.get("splits", 1)
    assert len(read_sweep(suite).runs) == len(table["runs"]) * splits
    for each in read_sweep(suite).runs:
        own = table["runs"][each.name.partition(", split ")[0]]
        whole = {**table["settings"], **own}
        names = tuple(whole[n] for n in ("algorithm", "task", "model"))
        aside = ("algorithm", "task", "model", "seeds", "protocol", "tickets")
        told = {n: None if v == "null" else v for n, v in whole.items() if n not in aside}
        kept = {n: v for n, v in each.settings.items() if n not in ("split", "tickets")}
        assert (each.names, kept) == (names, told)
        seeds = own.get("seeds", table.get("seeds"))
        if seeds is None:
            assert each.seeds == (each.settings["split"],)
        elif isinstance(seeds, int):
            assert each.seeds == (*range(seeds),)
        else:
            low, high = map(int, seeds.split("-"))
            assert each.seeds == (*range(low, high + 1),)


@pytest.mark.parametrize(("seeds", "expected"), [
    ({}, [(0,), (1,)]), ({"seeds": "4-6"}, [(4, 5, 6)] * 2),
])  # fmt: skip
def test_a_split_has_the_seed_of_its_number_or_all_that_are_given(seeds, expected):
    runs = {"a": {"algorithm": "ugs", "task": "texas", "model": "gcn"}}
    found = read_sweep({"splits": 2, "runs": runs, **seeds}).runs
    assert [each.seeds for each in found] == expected
    assert [each.settings["split"] for each in found] == [0, 1]


WRONG = [
    ({"sedes": 3}, "`sedes` is no setting of a sweep; did you mean `seeds`"),
    ({"algorithm": "ugs"}, "`algorithm` is no setting of a sweep; give it to its runs under "
                           r"\[settings\]; there are seeds, splits, settings, grid, runs, search$"),
    ({"keep_tickets": "last"}, "`keep_tickets` must not be in the file: give it to the command, as "
                               "--keep_tickets, or to glt.sweep$"),
    ({"settings": {"workers": 2}}, "`workers` must not be in the file: give it to the command, "),
    ({"runs": 3}, "`runs` must be a table, got 3"),
    ({"runs": {"a": 3}}, "`runs` must be tables, got 3 for 'a'"),
    ({"grid": {"lr": 0.1}}, "`grid` must hold lists of values, got 0.1 for `lr`"),
    ({"grid": {"lr": []}}, "`grid` must hold lists of values"),
    ({"grid": {"lr": [*range(200)], "hidden": [*range(200)]}}, "`grid` must make at most 10,000"),
    ({"seeds": 0}, "`seeds` must be a count from 1"),
    ({"splits": -1} | OF_SPLITS, "`splits` must be a count from 1"),
    ({"splits": [1, 1]} | OF_SPLITS, "`splits` must name each split once, got 1 twice"),
    ({"splits": 2, "grid": {"split": [0, 5]}} | OF_SPLITS, "`split` must not be given beside "),
    ({"splits": 2}, "`splits` must be of a task with the setting `split`, got 'karate'"),
    ({"runs": {"a": {}}}, "`algorithm` must be given for every run, got none for 'a'"),
    ({"runs": {"a": {"algoritm": "ugs"}}}, "`algorithm` must be given for every run, got none for "
                                           "'a': did you mean `algorithm` by `algoritm`"),
    ({"runs": {"a": {"algorithm": "ugs", "grid": {"lr": [0.1, 0.2]}},
               "b": {"algorithm": "control", "tickets": "a"}}},
     "`tickets` must name one run above, got 'a' for 'b', which is 2 runs"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_what_is_wrong_in_a_file_is_told_in_one_line(change, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        read_sweep(FILE | change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": -1}, "`lr` must be in "),
        ({"hiden": 8}, "`hiden` is no setting of ugs, karate and gcn; did you mean `hidden`"),
        ({"model": "mlp2"}, "`model` must be one of .*'mlp2'"),
        ({"threads": 0}, "`threads` must be in"),
    ],
)
def test_a_wrong_run_is_named_before_anything_is_written(change, words, tmp_path, executor):
    tasks = executor(Inline()).tasks
    runs = {"first": {"algorithm": "ugs"}, "second": {"algorithm": "ugs"} | change}
    with pytest.raises(ValueError, match=rf"{words}.*in the run 'second' of the sweep"):
        sweep(FILE | {"runs": runs}, out=tmp_path)
    assert tasks == [] and not any(tmp_path.rglob("seed*"))


def test_a_file_that_is_none_is_told_in_one_line(tmp_path, capsys):
    (tmp_path / "a.toml").write_text("seeds = ")
    (tmp_path / "b.toml").write_text("sedes = 3")
    for name, words in (("none.toml", "`file` must be a file"), ("a.toml", "is not TOML"),
                        ("b.toml", "is no setting of a sweep")):  # fmt: skip
        assert cli.main(["sweep", str(tmp_path / name)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line and name in line


# --- results -------------------------------------------------------------------------------------


def test_a_sweep_writes_what_runs_write(tmp_path, executor):
    executor(Inline())
    runs = {"ugs": {"algorithm": "ugs"}, "imp": {"algorithm": "imp", "seeds": [5]}}
    steps = []
    found = sweep(FILE | {"runs": runs}, out=tmp_path / "sweep", watch=steps.append)
    for name, seeds in (("ugs", 3), ("imp", [5])):
        settings = {n: v for n, v in SMALL.items() if n not in ("task", "model")}
        alone = run(name, "karate", "gcn", settings, seeds=seeds, out=tmp_path / "runs")
        assert found[name].name == alone.name and content(found[name]) == content(alone)
        assert (found[name] / "settings.json").read_bytes() == (
            alone / "settings.json").read_bytes()  # fmt: skip
    assert len(steps) == 12 == sweeps.count_rounds(read_sweep(FILE | {"runs": runs}))
    assert {(each.run, each.record["algorithm"]) for each in steps} == {
        ("ugs", "ugs"), ("imp", "imp")
    }  # fmt: skip


def test_processes_of_this_machine_write_what_one_writes(tmp_path):
    runs = {"ugs": {"algorithm": "ugs"},
            "copy": {"algorithm": "control", "tickets": "ugs", "control": "shuffle"}}  # fmt: skip
    found = sweep(FILE | {"runs": runs}, out=tmp_path, workers=2)
    settings = {n: v for n, v in SMALL.items() if n not in ("task", "model")}
    ugs = run("ugs", "karate", "gcn", settings, seeds=3, out=tmp_path / "alone")
    assert content(found["ugs"]) == content(ugs)
    own = settings | {"tickets": str(found["ugs"]), "control": "shuffle"}
    copy = run("control", "karate", "gcn", own, seeds=3, out=tmp_path / "alone")
    assert content(found["copy"]) == content(copy) and len(content(copy)) == 12


def test_tickets_that_a_run_reads_are_sent_to_its_worker(tmp_path, executor):
    """Whose disk is another: the folder is not there when the seed is computed."""
    inline = executor(Inline())
    runs = {"ugs": {"algorithm": "ugs"},
            "copy": {"algorithm": "control", "tickets": "ugs", "control": "shuffle"}}  # fmt: skip
    found = sweep(FILE | {"runs": runs}, out=tmp_path / "here")
    sent = inline.tasks[-1]
    assert sent.plan.algorithm == "control" and len(sent.source) == 5
    os.rename(tmp_path / "here", tmp_path / "elsewhere")
    rounds = compute_seed(sent)
    there = tmp_path / "elsewhere" / found["copy"].name
    assert [r["round"] for r, _ in rounds] == [0, 1, 2]
    for line, ticket in rounds:
        assert ticket == (there / f"seed2-round{line['round']}.safetensors").read_bytes()


@pytest.mark.parametrize("lost", [(0,), (1, 3), (0, 1, 2, 3, 4, 5)])
def test_a_seed_whose_worker_dies_is_computed_again_and_recorded_once(tmp_path, executor, lost):
    inline = executor(Inline(lost))
    steps = []
    found = sweep(FILE, out=tmp_path / "lossy", watch=steps.append)["ugs"]
    executor(Inline())
    whole = sweep(FILE, out=tmp_path / "whole")["ugs"]
    assert content(found) == content(whole)
    assert len(inline.tasks) == 3 + len(lost)
    assert sorted((s.seed, s.round) for s in steps) == [(k, r) for k in range(3) for r in range(3)]


def test_a_seed_that_loses_all_its_workers_is_given_up_and_the_others_are_not(tmp_path, executor):
    executor(Inline([0, 1, 2]), 1)  # one at a time, the lost one at the end of the queue
    with pytest.raises(ValueError, match=r"not computed: ugs, seed 0: its worker died once"):
        sweep(FILE | {"seeds": "0-0"}, out=tmp_path, retries=0)
    inline = executor(Inline([0, 3]))
    with pytest.raises(ValueError, match=r"ugs, seed 0: its worker died 2 times.*tries again"):
        sweep(FILE, out=tmp_path, retries=1)
    (folder,) = tmp_path.iterdir()
    assert {r["seed"] for r in record.read(folder)} == {1, 2} and len(inline.tasks) == 4
    executor(Inline())
    sweep(FILE, out=tmp_path)
    assert {r["seed"] for r in record.read(folder)} == {0, 1, 2}


class Stop(BaseException):
    pass


def test_an_interrupted_sweep_continues_with_what_is_not_recorded(tmp_path, executor):
    def stop(step):
        if step.seed == 1:
            raise Stop

    executor(Inline(), 1)
    whole = sweep(FILE, out=tmp_path / "whole")["ugs"]
    with pytest.raises(Stop):
        sweep(FILE, out=tmp_path / "cut", watch=stop)
    cut = tmp_path / "cut" / whole.name
    before = {p.name: p.stat().st_mtime_ns for p in cut.glob("seed[01]*[ls]")}
    assert {r["seed"] for r in record.read(cut)} == {0, 1}
    inline, steps = executor(Inline()), []
    sweep(FILE, out=tmp_path / "cut", watch=steps.append)
    assert [task.seed for task in inline.tasks] == [2] and len(steps) == 9
    assert content(cut) == content(whole)
    assert {p.name: p.stat().st_mtime_ns for p in cut.glob("seed[01]*[ls]")} == before
    assert not any(p.name.startswith(".") for p in cut.iterdir())


def test_a_seed_continues_from_its_last_round(tmp_path, executor):
    executor(Inline())
    whole = sweep(FILE, out=tmp_path / "whole")["ugs"]
    cut = sweep(FILE, out=tmp_path / "cut")["ugs"]
    record.remove_last_line(cut / "seed1.jsonl")
    (cut / "seed1-round2.safetensors").unlink()
    (cut / "seed1-round0.safetensors").touch()
    inline = executor(Inline())
    sweep(FILE, out=tmp_path / "cut")
    (task,) = inline.tasks
    assert sorted(task.files) == ["seed1-round1.safetensors", "seed1.jsonl"] and task.recorded == 2
    assert [line["round"] for line, _ in compute_seed(task)] == [2]
    assert content(cut) == content(whole)


def test_a_result_that_comes_twice_is_recorded_once(tmp_path, executor):
    class Twice(Inline):
        def submit(self, function, *given):
            future = super().submit(function, *given)
            rounds = future.result()
            future = Future()
            future.set_result([*rounds, *rounds])
            return future

    executor(Twice())
    found = sweep(FILE, out=tmp_path / "twice")["ugs"]
    executor(Inline())
    assert content(found) == content(sweep(FILE, out=tmp_path / "once")["ugs"])


def test_a_ticket_that_is_damaged_on_its_way_is_refused(tmp_path, executor):
    class Damaging(Inline):
        def submit(self, function, *given):
            (line, ticket), *rest = super().submit(function, *given).result()
            future = Future()
            future.set_result([(line, ticket[:-1]), *rest])
            return future

    executor(Damaging())
    with pytest.raises(ValueError, match="must be the ticket of its record, got another"):
        sweep(FILE, out=tmp_path)
    assert not any(tmp_path.rglob("seed*.jsonl"))


def test_a_seed_that_fails_is_told_of_and_the_others_are_computed(tmp_path, executor):
    executor(Inline())
    runs = {"wild": {"algorithm": "ugs", "lr": 1e30}, "tame": {"algorithm": "ugs"}}
    with pytest.raises(ValueError, match=r"not computed: wild, seed 0: .*; wild, seed 1: "):
        sweep(FILE | {"runs": runs}, out=tmp_path)
    assert len({r["seed"] for r in record.read(tmp_path) if r["settings"]["lr"] < 1}) == 3


def test_what_the_caller_raises_is_no_fault_of_a_seed(tmp_path, executor):
    def refuse(step):
        raise ValueError("enough")

    executor(Inline())
    with pytest.raises(ValueError, match=r"^enough$"):
        sweep(FILE, out=tmp_path, watch=refuse)


def test_nobody_left_to_compute_is_told_in_one_line(tmp_path, executor):
    executor(Inline([1], CancelledError))
    with pytest.raises(OSError, match="what is recorded stays, and the same command continues"):
        sweep(FILE, out=tmp_path)
    executor(Inline())
    assert len(record.read(sweep(FILE, out=tmp_path)["ugs"])) == 9


def test_a_seed_that_another_process_runs_is_refused(tmp_path, executor):
    executor(Inline())
    folder = sweep(FILE, out=tmp_path)["ugs"]
    with FileLock(folder / "seed1.lock"), pytest.raises(ValueError, match=r"seed 1 .* another"):
        sweep(FILE, out=tmp_path)


def test_a_worker_with_other_packages_or_data_refuses(tmp_path, executor):
    inline = executor(Inline())
    sweep(FILE, out=tmp_path)
    task = inline.tasks[0]
    with pytest.raises(ValueError, match=r"`cluster` must have workers .* got torch .*, not 1\.0"):
        compute_seed(replace(task, versions=task.versions | {"torch": "1.0"}))
    with pytest.raises(ValueError, match="data"):
        compute_seed(replace(task, plan=replace(task.plan, data="0" * 16)))


# --- before it is run ----------------------------------------------------------------------------


def test_a_dry_run_writes_nothing_and_says_the_commands(tmp_path, capsys):
    file = tmp_path / "file.toml"
    file.write_text('seeds = 2\n[settings]\ntask = "karate"\nmodel = "gcn"\nrounds = 1\n'
                    'epochs = 3\n[runs.ugs]\nalgorithm = "ugs"\n'
                    '[runs.copy]\nalgorithm = "control"\ntickets = "ugs"\n')  # fmt: skip
    out = tmp_path / "out"
    assert cli.main(["sweep", str(file), "--dry-run", "--out", str(out), "--workers", "2"]) == 0
    told = capsys.readouterr().out
    assert not out.exists()
    assert "a few epochs" in told and "with 2 workers; without 1 that read tickets" in told
    (line,) = [line for line in told.splitlines() if line.startswith("graphlth run ugs")]
    assert cli.main(line.split()[1:]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[0])
    first, second = estimate_sweep(file, out)
    assert (first.done, first.seconds, second.done) == (2, 0, 0) and second.seconds > 0
    assert str(folder) in second.command
    (folder / "seed1.jsonl").unlink()
    first, second = estimate_sweep(file, out)
    assert (first.done, first.source) == (1, "records")
    spent = sum(r["seconds_search"] + r["seconds_retrain"] for r in record.read(folder))
    assert first.seconds == pytest.approx(spent) and first.memory > 1e6


def test_a_command_has_all_settings_of_its_run():
    (each,) = read_sweep({"seeds": "3-3", "settings": SMALL | {
        "only": [1, 2], "layers": "null", "normalize": True, "protocol": "released"},
        "runs": {"a b": {"algorithm": "ugs"}}}).runs  # fmt: skip
    assert command(each, "out", "/data", None) == (
        "graphlth run ugs --task karate --model gcn --rounds 2 --epochs 5 --hidden 8 --only 1,2 "
        "--layers null --normalize true --protocol released --data_root /data --seeds 3-3 --out out"
    )


def test_the_command_and_the_function_are_one(tmp_path, capsys):
    file = tmp_path / "file.toml"
    file.write_text('[settings]\ntask = "karate"\nmodel = "gcn"\nrounds = 1\nepochs = 2\n'
                    'algorithm = "random_tickets"\n')  # fmt: skip
    assert cli.main(["sweep", str(file), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    (line,) = told.out.splitlines()
    folder, name = line.split()
    assert name == "random_tickets" and len(record.read(folder)) == 2
    assert [line.split()[0] for line in told.err.splitlines()] == ["1/2", "2/2"]
    assert glt.sweep(file, out=tmp_path / "out") == {name: Path(folder)}
    assert json.loads((Path(folder) / "settings.json").read_text())["task"] == "karate"


# --- processes -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_process_that_is_killed_is_replaced_and_an_interrupt_leaves_nothing(tmp_path):
    file = tmp_path / "file.toml"

    def write(seeds):
        file.write_text(f'seeds = {seeds}\n[settings]\ntask = "sbm"\nmodel = "gcn"\nrounds = 3\n'
                        'epochs = 600\nhidden = 64\n[runs.ugs]\nalgorithm = "ugs"\n')  # fmt: skip

    write(seeds=100)  # too many to end before the interrupt, however slow this process is
    env = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-m", "graphlth", "sweep", str(file), f"--out={tmp_path / 'out'}",
            "--workers=2"]  # fmt: skip

    def start():
        return subprocess.Popen(argv, env=env, text=True, stderr=subprocess.PIPE,
                                stdout=subprocess.PIPE, start_new_session=True)  # fmt: skip

    def computing(process):
        pids = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)],
                              capture_output=True, text=True).stdout.splitlines()  # fmt: skip
        return [int(line.split()[0]) for line in pids if "spawn_main" in line]

    with start() as process:
        assert process.stderr.readline().startswith("1/400")
        os.kill(computing(process)[0], 9)
        assert process.stderr.readline().startswith("2/400")
        os.killpg(process.pid, 2)
        _, error = process.communicate(timeout=60)
    assert error.splitlines()[-1] == "graphlth: interrupted; the same command continues a run"
    assert process.returncode == 130 and not [*tmp_path.glob("graphlth-*")]
    write(seeds=4)
    with start() as process:
        output, error = process.communicate(timeout=300)
    assert process.returncode == 0 and error.splitlines()[-1].startswith("16/16")
    settings = {"rounds": 3, "epochs": 600, "hidden": 64}
    alone = run("ugs", "sbm", "gcn", settings, seeds=4, out=tmp_path / "alone")
    swept = content(Path(output.split()[0]))
    assert swept | content(alone) == swept
