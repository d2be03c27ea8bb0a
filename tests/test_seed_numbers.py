"""Seeds are a count or numbers, for the library, `run` and `analyze` alike."""

import numpy as np
import pytest

import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.experiment.measure import analyze, select_rounds
from graphlth.experiment.run import run
from graphlth.experiment.seeds import MAX_SEEDS, parse_seeds

QUICK = {"hidden": 4, "epochs": 2, "rounds": 1}

MEANT = [
    (1, [0]),
    (5, [0, 1, 2, 3, 4]),
    ("5", [0, 1, 2, 3, 4]),
    (np.int64(2), [0, 1]),
    ("10-14", [10, 11, 12, 13, 14]),
    ("7-7", [7]),
    ("3,7", [3, 7]),
    ("7, 3", [7, 3]),
    ("0-2,7", [0, 1, 2, 7]),
    ("9,0-1", [9, 0, 1]),
    ([3, 7], [3, 7]),
    ((3,), [3]),
    (range(2, 4), [2, 3]),
    (np.array([1, 0]), [1, 0]),
    ("2147483647,0", [2**31 - 1, 0]),
]


@pytest.mark.parametrize(("seeds", "numbers"), MEANT)
def test_seeds_are_a_count_or_numbers(seeds, numbers):
    assert parse_seeds(seeds) == numbers


REFUSED = [
    *[(seeds, "must be a count from 1, such as 5, or numbers, such as 3,7 or 10-14, got ")
      for seeds in (0, -1, "0", "-3", "", " ", ",", "3,", "3,,4", "a", "all", "1.5", 1.5, None,
                    True, [], [-1], [1.5], [True], [None], "5-", "-5", "1-2-3", "0x5", "1e3",
                    "9" * 50, "10\u201314")],
    ("14-10", "must go upwards in a range, as in 10-14, got '14-10'"),
    ("3,3", "must name each seed once, got 3 twice"),
    ("0-4,2", "must name each seed once, got 2 twice"),
    ([1, 1], "must name each seed once, got 1 twice"),
    (2**31 + 1, "must be numbers below 2**31, got 2147483648"),
    ("2147483648,1", "must be numbers below 2**31, got 2147483648"),
    ([2**31], "must be numbers below 2**31, got 2147483648"),
    (10**40, "must be numbers below 2**31, got "),
    (MAX_SEEDS + 1, "must be at most 10,000, got more: 10001"),
    ("0-10000", "must be at most 10,000, got more: '0-10000'"),
    (range(2**30), "must be at most 10,000, got more: range(0, 1073741824)"),
]  # fmt: skip


@pytest.mark.parametrize(("seeds", "message"), REFUSED)
def test_what_means_no_seeds_is_refused(seeds, message):
    with pytest.raises(ValueError) as error:
        parse_seeds(seeds)
    assert str(error.value).startswith(f"`seeds` {message}")
    assert "\n" not in str(error.value)


def digits(folder):
    told = ("seed", "round", "val", "test", "loss", "best_epoch")
    return {(r["seed"], r["round"]): [r.get(n) for n in told] for r in record.read(folder)}


def test_a_seed_is_the_same_whichever_others_are_run(tmp_path):
    whole = digits(run("ugs", "karate", "gcn", QUICK, seeds=4, out=tmp_path / "whole"))
    folder = run("ugs", "karate", "gcn", QUICK, seeds="3,1", out=tmp_path / "some")
    assert digits(folder) == {at: line for at, line in whole.items() if at[0] in (1, 3)}
    assert run("ugs", "karate", "gcn", QUICK, seeds=[0, 2], out=tmp_path / "some") == folder
    assert digits(folder) == whole


def test_batches_are_of_whichever_seeds(tmp_path):
    steps = []
    folder = run("ugs", "karate", "gcn", QUICK, seeds="5,2,9", batch=2, out=tmp_path,
                 watch=steps.append)  # fmt: skip
    assert {at[0] for at in digits(folder)} == {2, 5, 9}
    recorded = [step.seed for step in steps if step.epoch is None]
    assert [*dict.fromkeys(recorded)] == [5, 2, 9] and len(recorded) == 6


ARGV = ["run", "ugs", "--task=karate", "--model=gcn", "--hidden=4", "--epochs=2", "--rounds=0"]


@pytest.mark.parametrize(("said", "numbers"), [
    ("--seeds=2", [0, 1]), ("--seeds=4-5", [4, 5]), ("--seeds=3,7", [3, 7]), ("--seeds=[2]", [2]),
    ("--seeds=01-02", [1, 2]), ("--seeds=6-6", [6]),
])  # fmt: skip
def test_the_command_takes_the_same_seeds(tmp_path, said, numbers):
    assert cli.main([*ARGV, said, f"--out={tmp_path}"]) == 0
    assert sorted(r["seed"] for r in record.read(tmp_path)) == numbers


@pytest.mark.parametrize(("name", "text", "numbers"), [
    ("a.toml", 'seeds = "4-5"', [4, 5]), ("b.toml", "seeds = [3, 7]", [3, 7]),
    ("c.toml", "seeds = 2", [0, 1]), ("d.yaml", "seeds: 4-5", [4, 5]),
    ("e.yaml", "seeds: [7]", [7]),
])  # fmt: skip
def test_a_file_of_settings_takes_them_too(tmp_path, name, text, numbers):
    (tmp_path / name).write_text(text)
    assert cli.main([*ARGV, f"--config={tmp_path / name}", f"--out={tmp_path}"]) == 0
    assert sorted(r["seed"] for r in record.read(tmp_path)) == numbers


def test_the_progress_counts_the_seeds_that_are_named(tmp_path, capsys):
    assert cli.main([*ARGV[:-1], "--rounds=1", "--seeds=8,3,5", f"--out={tmp_path}"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("seed ")]
    assert [line.split()[1] for line in lines] == ["8", "8", "3", "3", "5", "5"]
    assert lines[-1].endswith("0:00 left")


def test_analysis_takes_the_seeds_of_a_run_in_the_same_words(tmp_path):
    folder = run("imp", "karate", "gcn", QUICK, seeds="0-2,7", out=tmp_path / "runs")
    for seeds, numbers in [("all", [0, 1, 2, 7]), (2, [0, 1]), ("2", [0, 1]), ("1-2", [1, 2]),
                           ("7,0", [0, 7]), ([7], [7])]:  # fmt: skip
        assert [*select_rounds(folder, seeds)] == numbers
    with pytest.raises(ValueError, match=r"^`seeds` must be of the run's, 0, 1, 2, 7, got 3"):
        select_rounds(folder, "3-4")
    target = analyze("latency", str(folder), {"repeats": 1}, seeds="7-7", rounds="0",
                     out=str(tmp_path / "measures"))  # fmt: skip
    assert [r["seed"] for r in record.read(target)] == [7]
