"""Records in the files of other programs say what the records say."""

import csv
import json
import math
import shutil
import sys
from pathlib import Path

import pytest

import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.experiment.run import run
from graphlth.records.exporters import export_records, flatten, series, table

QUICK = {"rounds": 1, "epochs": 3, "hidden": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    run("ugs", "karate", "gcn", QUICK, seeds=2, out=out)
    run("random_tickets", "karate", "gcn", QUICK | {"drop_edges": 0.2}, out=out)
    return out


def as_text(value):
    return "" if value is None else str(value)


def test_a_csv_file_has_every_field_of_every_record(folder, tmp_path, capsys):
    out = tmp_path / "records.csv"
    assert cli.main(["records", str(folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"6 records: {out}\n"
    rows = [*csv.DictReader(out.read_text().splitlines(keepends=True))]
    records = record.read(folder)
    assert len(rows) == len(records) == 6
    for row, known in zip(rows, records, strict=True):
        flat = flatten(known)
        assert {n: row[n] for n in flat} == {n: as_text(v) for n, v in flat.items()}
        assert {row[n] for n in row.keys() - flat.keys()} <= {""}
        assert float(row["test"]) == known["test"]
        assert row["settings.hidden"] == "8" and json.loads(row["warnings"]) == known["warnings"]


def test_a_parquet_file_has_every_field_in_its_type(folder, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert export_records([folder], out=tmp_path / "records.parquet") == 6
    read = parquet.read_table(tmp_path / "records.parquet")
    records = record.read(folder)
    assert read.to_pydict() == table(records)
    types = {name: str(read.schema.field(name).type)
             for name in ("test", "seed", "algorithm", "settings.hidden")}  # fmt: skip
    assert types == {"test": "double", "seed": "int64", "algorithm": "string",
                     "settings.hidden": "int64"}  # fmt: skip


def test_a_column_is_of_one_type():
    rows = [{"a": 1, "b": {"c": 0.5, "d": [1, 2]}, "e": True}, {"a": 2.5, "b": {"c": "x"}}]
    assert table(rows) == {"a": [1.0, 2.5], "b.c": ["0.5", "x"], "b.d": ["[1, 2]", None],
                           "e": [True, None]}  # fmt: skip


def test_tensorboard_draws_every_seed_over_its_rounds(folder, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # the second time the same, not twice as much
        export_records([folder], tensorboard=tmp_path / "board")
    places = {p.parent for p in (tmp_path / "board").rglob("events.out.tfevents.*")}
    assert len(places) == 3
    for known in record.read(folder):
        (place,) = [p for p in places if p.name == f"seed{known['seed']}"
                    and p.parent.name.startswith(known["algorithm"])]  # fmt: skip
        events = EventAccumulator(str(place)).Reload()
        tags = events.Tags()["scalars"]
        scalars = {t: {e.step: e.value for e in events.Scalars(t)} for t in tags}
        assert {t: by[known["round"]] for t, by in scalars.items() if known["round"] in by} == {
            tag: pytest.approx(value) for tag, value in series(known).items()
        }
        assert all(len(events.Scalars(t)) <= 2 for t in scalars)


def test_mlflow_has_a_run_for_every_seed(folder, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    for _ in range(2):
        export_records([folder], mlflow=uri)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("graphlth").experiment_id
    runs = client.search_runs([experiment])
    assert len(runs) == 3 and {each.info.status for each in runs} == {"FINISHED"}
    for known in record.read(folder):
        (own,) = [r for r in runs if r.data.params["seed"] == str(known["seed"])
                  and r.data.params["algorithm"] == known["algorithm"]]  # fmt: skip
        assert own.data.params["hidden"] == "8"
        for name, value in series(known).items():
            logged = {m.step: m.value for m in client.get_metric_history(own.info.run_id, name)}
            assert logged[known["round"]] == pytest.approx(value) and math.isfinite(value)


@pytest.mark.parametrize(
    ("flags", "hidden", "words"),
    [
        ({"out": "a.parquet"}, "pyarrow", "`pyarrow` is not installed: pip install graphlth[exp"),
        ({"tensorboard": "a"}, "tensorboard", "graphlth[export-tensorboard]"),
        ({"mlflow": "file:a"}, "mlflow", "graphlth[export-mlflow]"),
        ({"out": "a.xlsx"}, "none", "`out` must end in .csv or .parquet, got 'a.xlsx'"),
        ({}, "none", "one of `out`, `tensorboard`, `mlflow` must be given"),
    ],
)
def test_what_cannot_be_written_is_told_in_one_line(
    folder, tmp_path, monkeypatch, capsys, flags, hidden, words
):
    monkeypatch.chdir(tmp_path)
    for name in [n for n in sys.modules if n.partition(".")[0] == hidden]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, hidden, None)
    argv = ["records", str(folder), *(f"--{n}={v}" for n, v in flags.items())]
    assert cli.main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line and [*Path().iterdir()] == []


def test_a_copy_of_a_run_is_not_written_as_more_seeds(folder, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(folder, tmp_path / name)
    with pytest.raises(ValueError, match="occurs twice at round 0: leave out the copy"):
        export_records([tmp_path], out=tmp_path / "all.csv")
    assert not (tmp_path / "all.csv").exists()


def test_a_record_file_is_not_written_over(folder, tmp_path, capsys):
    (target,) = folder.glob("ugs*/seed0.jsonl")
    link = tmp_path / "records.csv"
    link.symlink_to(target)
    assert cli.main(["records", str(folder), "--out", str(link)]) == 2
    assert "`out` must not be" in capsys.readouterr().err
