"""A run keeps the tickets that it is asked to keep, and what needs another says so."""

import os

import pytest
from sweeping import content

import graphlth as glt
import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.experiment.run import run
from graphlth.sweeps.run import sweep

QUICK = {"rounds": 2, "epochs": 3, "hidden": 8}
KEPT = {"all": [0, 1, 2], "last": [2], "none": []}
ABSENT = (
    "its run did not keep it; move .* aside, with those of all seeds that you need, and give the "
    "command of the run again"
)


@pytest.fixture(autouse=True)
def no_commit(monkeypatch):
    monkeypatch.setenv("GIT_DIR", os.devnull)


def kept(folder, seed=0):
    return sorted(int(p.stem.partition("round")[2]) for p in folder.glob(f"seed{seed}-round*"))


def digits(folder):
    """The records without whether tickets are kept, and what was spent."""
    aside = ("ticket_kept", *record.COST_PREFIXES)
    return [{n: v for n, v in r.items() if not n.startswith(aside)} for r in record.read(folder)]


class Stop(BaseException):
    pass


@pytest.mark.parametrize(("keep", "rounds"), KEPT.items())
def test_a_run_keeps_what_it_is_asked_to(tmp_path, keep, rounds):
    whole = run("ugs", "karate", "gcn", QUICK, seeds=2, out=tmp_path / "all")
    folder = run("ugs", "karate", "gcn", QUICK, seeds=2, out=tmp_path / "own", keep_tickets=keep)
    assert folder.name == whole.name and digits(folder) == digits(whole)
    assert [kept(folder, seed) for seed in range(2)] == [rounds, rounds]
    for name in folder.glob("*.safetensors"):
        assert name.read_bytes() == (whole / name.name).read_bytes()
    told = [r.get("ticket_kept", True) for r in record.read_file(folder / "seed0.jsonl")]
    assert told == [r in rounds for r in range(3)]
    assert cli.main(["verify", str(folder)]) == 0


@pytest.mark.parametrize("keep", KEPT)
def test_what_is_done_is_not_run_again_and_what_is_kept_stays(tmp_path, keep):
    folder = run("ugs", "karate", "gcn", QUICK, out=tmp_path, keep_tickets=keep)
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("seed*[ls]")}
    for other in KEPT:
        run("ugs", "karate", "gcn", QUICK, out=tmp_path, keep_tickets=other)
        assert {p.name: p.stat().st_mtime_ns for p in folder.glob("seed*[ls]")} == before


@pytest.mark.parametrize("keep", ["last", "none"])
@pytest.mark.parametrize("number", [0, 1])
def test_an_interrupted_run_continues_from_its_last_ticket(tmp_path, keep, number):
    def stop(step):
        if step.round == number and step.epoch is None:
            raise Stop

    whole = run("ugs", "karate", "gcn", QUICK, out=tmp_path / "whole", keep_tickets=keep)
    with pytest.raises(Stop):
        run("ugs", "karate", "gcn", QUICK, out=tmp_path / "cut", keep_tickets=keep, watch=stop)
    assert kept(tmp_path / "cut" / whole.name) == [number]
    cut = run("ugs", "karate", "gcn", QUICK, out=tmp_path / "cut", keep_tickets=keep)
    assert content(cut) == content(whole)


@pytest.mark.parametrize(("keep", "rounds"), KEPT.items())
def test_a_sweep_keeps_what_a_run_keeps(tmp_path, keep, rounds):
    names = {"algorithm": "ugs", "task": "karate", "model": "gcn"}
    found = sweep({"settings": QUICK | names}, out=tmp_path / "sweep", keep_tickets=keep)["ugs"]
    alone = run("ugs", "karate", "gcn", QUICK, out=tmp_path / "alone", keep_tickets=keep)
    assert content(found) == content(alone) and kept(found) == rounds


def test_what_needs_a_ticket_that_was_not_kept_says_so(tmp_path, capsys):
    folder = run("ugs", "karate", "gcn", QUICK, out=tmp_path, keep_tickets="last")
    path = folder / "seed0-round1.safetensors"
    with pytest.raises(FileNotFoundError, match=ABSENT):
        glt.load(path)
    with pytest.raises(FileNotFoundError, match=ABSENT):
        run("control", "karate", "gcn", QUICK | {"tickets": str(folder)}, out=tmp_path / "control")
    out = str(tmp_path / "measures")
    for argv in (["export", str(path), "--out", str(tmp_path / "net.safetensors")],
                 ["bench", str(path)], ["show", "--graph", str(folder)],
                 ["analyze", "structure", str(folder), "--out", out]):  # fmt: skip
        assert cli.main(argv) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "its run did not keep it" in line
    assert cli.main(["analyze", "structure", str(folder), "--out", out, "--rounds", "2"]) == 0
    assert cli.main(["show", str(folder)]) == 0
    with pytest.raises(FileNotFoundError, match=r"no ticket at .*round9\.safetensors$"):
        glt.load(folder / "seed0-round9.safetensors")


def test_a_kept_ticket_that_is_lost_is_a_fault(tmp_path, capsys):
    folder = run("ugs", "karate", "gcn", QUICK, out=tmp_path, keep_tickets="last")
    (folder / "seed0-round2.safetensors").unlink()
    assert cli.main(["verify", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "line 3: no ticket at" in line


@pytest.mark.parametrize("keep", ["last", "none"])
def test_a_sweep_keeps_the_tickets_that_another_of_its_runs_reads(tmp_path, keep):
    """Without them it would fail when the first run is done, and its tickets are gone."""
    runs = {"a": {"algorithm": "ugs"}, "b": {"algorithm": "control", "tickets": "a"}}
    settings = QUICK | {"task": "karate", "model": "gcn"}
    with pytest.raises(ValueError, match=r"`keep_tickets` must be all where .*'b' those of 'a', "):
        sweep({"settings": settings, "runs": runs}, out=tmp_path / "sweep", keep_tickets=keep)
    assert not (tmp_path / "sweep").exists()


def test_another_word_is_refused(tmp_path, capsys):
    with pytest.raises(ValueError, match="`keep_tickets` must be one of all, last, none, got 'so"):
        run("ugs", "karate", "gcn", QUICK, out=tmp_path, keep_tickets="some")
    argv = ["run", "ugs", "--task=karate", "--model=gcn", "--keep-tickets=some"]
    assert cli.main(argv) == 2 and "keep_tickets" in capsys.readouterr().err
