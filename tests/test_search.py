"""A search decides by validation alone, goes on where it was, and finds what is best."""

import re
import sys

import pytest
from sweeping import Inline

import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.experiment import run as experiment
from graphlth.sweeps import search as searches
from graphlth.sweeps.search import read_search, search_settings
from graphlth.sweeps.workers import ExecutorWorkers

pytest.importorskip("optuna")

FILE = {
    "seeds": 2,
    "settings": {"algorithm": "random_tickets", "task": "karate", "model": "gcn", "rounds": 1,
                 "epochs": 4},
    "search": {"trials": 4, "at_once": 2,
               "space": {"lr": {"low": 1e-4, "high": 0.5, "log": True}, "hidden": [4, 8]}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def inline(monkeypatch):
    made = []

    def choose(count, cluster):
        made.append(Inline())
        return ExecutorWorkers(made[-1], 64)

    monkeypatch.setattr(searches, "choose_workers", choose)
    return made


def mean_of(trial, field, number=1):
    values = [r[field] for r in record.read(trial.folder) if r["round"] == number]
    return sum(values) / len(values)


def test_trials_are_ordered_by_the_validation_metric_of_the_last_round(tmp_path):
    trials = search_settings(FILE, out=tmp_path)
    assert sorted(t.number for t in trials) == [0, 1, 2, 3]
    assert [t.val for t in trials] == sorted((mean_of(t, "val") for t in trials), reverse=True)
    for trial in trials:
        assert 1e-4 <= trial.settings["lr"] <= 0.5 and trial.settings["hidden"] in (4, 8)
        (settings, *_) = [r["settings"] for r in record.read(trial.folder)]
        assert {n: settings[n] for n in trial.settings} == trial.settings
    own = FILE | {"search": FILE["search"] | {"round": 0}}
    assert search_settings(own, out=tmp_path)[0].val == max(
        mean_of(t, "val", 0) for t in search_settings(own, out=tmp_path)
    )


def test_no_test_label_moves_a_choice(tmp_path, monkeypatch):
    plain = search_settings(FILE, out=tmp_path / "plain")
    whole = experiment.describe_retraining

    def worse(epochs, task):
        return whole(epochs, task) | {"test": 0.0, "test_last": 0.0}

    monkeypatch.setattr(experiment, "describe_retraining", worse)
    blind = search_settings(FILE, out=tmp_path / "blind")
    assert {r["test"] for t in blind for r in record.read(t.folder)} == {0.0}
    assert any(mean_of(t, "test") for t in plain)
    assert [(t.number, t.settings, t.val) for t in blind] == [
        (t.number, t.settings, t.val) for t in plain
    ]


def test_a_search_that_is_given_again_goes_on(tmp_path, inline):
    class Stop(BaseException):
        pass

    def stop(step):
        if len([*tmp_path.rglob("seed*.jsonl")]) > 5:
            raise Stop

    with pytest.raises(Stop):
        search_settings(FILE, out=tmp_path, watch=stop)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    trials = search_settings(FILE, out=tmp_path)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len({t.folder for t in trials}) == 4 == len([*tmp_path.iterdir()])
    assert search_settings(FILE, out=tmp_path) == trials and inline[-1].tasks == []


def test_an_error_to_lower_is_lowered(tmp_path, monkeypatch):
    monkeypatch.setattr(searches, "_direction", lambda *given: "min")
    trials = search_settings(FILE, out=tmp_path)
    assert [t.val for t in trials] == sorted(t.val for t in trials)


def test_a_trial_that_fails_is_last(tmp_path):
    space = {"lr": [0.01, 1e30]}
    trials = search_settings(
        FILE | {"search": {"trials": 6, "space": space, "seed": 1}}, out=tmp_path
    )
    assert {t.settings["lr"] for t in trials if t.val is not None} == {0.01}
    assert {t.settings["lr"] for t in trials if t.val is None} <= {1e30}


WRONG = [
    ({"space": {}}, "`search.space` must be a table of settings, got {}"),
    (
        {"space": {"lr": {"low": 0.1, "high": float("inf")}}},
        "`search.space` must give `lr` a list of values, or finite low and high",
    ),
    (
        {"space": {"hidden": {"low": 2, "high": 9, "step": 0}}},
        "`search.space` must give `hidden` a step above 0",
    ),
    ({"space": {"lr": 0.1}}, "`search.space` must give `lr` a list of values, or finite low"),
    (
        {"space": {"lr": {"low": 0.1, "high": 0.01}}},
        "must give `lr` a list of values, or finite low",
    ),
    ({"space": {"lr": {"low": 0, "high": 0.01, "log": True}}}, "`lr` either a log, from above 0"),
    ({"trials": 0}, "`trials` must be in [1, 10000], got 0"),
    ({"trails": 3}, "`trails` is no setting of a search; did you mean `trials`"),
    ({"round": 7}, "`search.round` must be one of the run's, 0, 1, got 7"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_what_is_wrong_is_told_in_one_line(change, words, tmp_path):
    with pytest.raises(ValueError, match=re.escape(words)):
        search_settings(FILE | {"search": FILE["search"] | change}, out=tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_search_is_of_one_run_and_of_a_table(tmp_path):
    with pytest.raises(ValueError, match="`search` must be a table of the file"):
        read_search({n: v for n, v in FILE.items() if n != "search"})
    with pytest.raises(ValueError, match="a search must be of one run of the file, got 2"):
        read_search(FILE | {"grid": {"dropout": [0.1, 0.5]}})


def test_without_optuna_a_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r"needs optuna: pip install graphlth\[search\]"):
        search_settings(FILE, out=tmp_path)


def test_the_command_shows_the_trials(tmp_path, capsys):
    file = tmp_path / "file.toml"
    file.write_text(
        '[settings]\nalgorithm = "random_tickets"\ntask = "karate"\nmodel = "gcn"\nrounds = 1\n'
        "epochs = 2\n[search]\ntrials = 2\n[search.space]\nhidden = { low = 2, high = 9 }\n"
    )
    assert cli.main(["sweep", str(file), "--search", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    head, _, *rows = [line for line in told.out.splitlines() if line.strip()]
    assert head.split() == ["trial", "hidden", "val", "folder"] and len(rows) == 2
    assert [line.split()[0] for line in told.err.splitlines()][-1] == "4/4"
    assert cli.main(["sweep", str(file), "--search", "--dry-run"]) == 2
    assert "`dry_run` must not be given with `search`" in capsys.readouterr().err
