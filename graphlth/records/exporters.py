"""Records for other programs: CSV, Parquet, TensorBoard and MLflow.

A table has a column for each field; those of an object have its name before them, as in
`settings.lr` and `environment.torch`, and a list is JSON. What a program needs is loaded here, and
here alone: torch never, but by TensorBoard's writer.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from graphlth.records.files import read
from graphlth.records.schema import Record, metric_of, run_key
from graphlth.records.statistics import records_by_seed
from graphlth.storage import replace_file

SERIES = (  # what a program draws over rounds
    "val", "test", "val_last", "test_last", "edge_sparsity", "weight_sparsity", "macs",
    "seconds_search", "seconds_retrain", "memory_search", "memory_retrain", "joules_search",
    "joules_retrain",
)  # fmt: skip
MOST_AT_ONCE = 100  # parameters, and metrics, that MLflow takes in one call
EXPERIMENT = "graphlth"  # of MLflow
Value = str | float | bool | None


def export_records(
    folders: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    tensorboard: str | Path | None = None,
    mlflow: str | None = None,
) -> int:
    """Write the records of runs for other programs, and return how many.

    Args:
        folders: run folders, or folders of run folders.
        out: a file of all records, .csv or .parquet.
        tensorboard: a folder for TensorBoard, with one of each seed of each run; those that it has
            already are made anew.
        mlflow: the address of MLflow's tracking, such as sqlite:///mlflow.db or http://host:5000:
            a run of the experiment `graphlth` for each seed of each run; those there stay.

    Raises:
        ValueError: nothing is asked for, `out` has another ending, or a package is missing; or a
            seed occurs twice in a round, as in a copied folder.
        OSError: a file cannot be read or written.
    """
    asked = {"out": out, "tensorboard": tensorboard, "mlflow": mlflow}
    if all(value is None for value in asked.values()):
        raise ValueError(f"one of {', '.join(f'`{n}`' for n in asked)} must be given")
    writers = {".csv": write_csv, ".parquet": write_parquet}
    if out is not None and Path(out).suffix not in writers:
        raise ValueError(f"`out` must end in .csv or .parquet, got {str(out)!r}")
    records = read(*folders)
    _check_seeds(records)
    if out is not None:
        writers[Path(out).suffix](records, Path(out))
    if tensorboard is not None:
        write_tensorboard(records, Path(tensorboard))
    if mlflow is not None:
        write_mlflow(records, mlflow)
    return len(records)


def _check_seeds(records: Sequence[Record]) -> None:
    """Refuse a seed that occurs twice in a round of a run."""
    rounds: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        rounds[run_key(record), record["round"]].append(record)
    for each in rounds.values():
        records_by_seed(each)


def _missing(package: str, extra: str) -> ValueError:
    return ValueError(f"`{package}` is not installed: pip install graphlth[{extra}]")


# --- tables --------------------------------------------------------------------------------------


def flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """The fields of a record, those of objects with their names before them; lists as JSON."""
    found: dict[str, Value] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = json.dumps(value) if isinstance(value, list) else value
    return found


def table(records: Sequence[Record]) -> dict[str, list[Value]]:
    """The columns of some records, in the order in which their names first stand.

    A column of several types, as a setting that is a number in some runs and text in others, is
    text.
    """
    rows = [flatten(record) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _of_one_type([row.get(name) for row in rows]) for name in names}


def _of_one_type(column: list[Value]) -> list[Value]:
    kinds = {type(value) for value in column if value is not None}
    if len(kinds) < 2:
        return column
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in column]
    return [v if v is None or isinstance(v, str) else json.dumps(v) for v in column]


def write_csv(records: Sequence[Record], out: Path) -> None:
    """Write a line for each record below one of names; what a record lacks is empty."""
    columns = table(records)
    with replace_file(out) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def write_parquet(records: Sequence[Record], out: Path) -> None:
    """Write a column for each field; what a record lacks is null.

    Raises:
        ValueError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise _missing("pyarrow", "export-parquet") from None
    with replace_file(out) as draft:
        parquet.write_table(pyarrow.table(table(records)), draft)


# --- series --------------------------------------------------------------------------------------


def seeds_of_runs(records: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
    """The rounds of every seed of every run, with a name of both."""

    def name(record: Record) -> str:
        *names, _, digest = run_key(record)
        return f"{'-'.join(names).replace('/', '_')}-{digest}/seed{record['seed']}"

    for key, group in groupby(sorted(records, key=lambda r: (name(r), r["round"])), name):
        yield key, list(group)


def series(record: Record) -> dict[str, float]:
    """The numbers of a record that are drawn over rounds; metrics have their name before them."""
    known = {n: float(record[n]) for n in SERIES if record.get(n) is not None}
    metric = metric_of(record)
    split = ("val", "test", "val_last", "test_last")
    return {f"{metric}/{n}" if n in split else n: value for n, value in known.items()}


def write_tensorboard(records: Sequence[Record], folder: Path) -> None:
    """Write the series of every seed, with its settings as text, to a folder of its own.

    Raises:
        ValueError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise _missing("tensorboard", "export-tensorboard") from None
    for name, rounds in seeds_of_runs(records):
        own = folder / name
        for old in own.glob("events.out.tfevents.*"):
            old.unlink()
        with SummaryWriter(str(own)) as writer:
            writer.add_text("settings", json.dumps(rounds[0]["settings"], indent=1))
            for record in rounds:
                for tag, value in series(record).items():
                    writer.add_scalar(tag, value, record["round"])


def write_mlflow(records: Sequence[Record], uri: str) -> None:
    """Write a run of MLflow for every seed: its settings, and its series by round.

    One that MLflow has already, with as many rounds, stays; one with fewer is replaced.

    Raises:
        ValueError: mlflow is not installed.
        OSError: MLflow cannot be reached, or refuses.
    """
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise _missing("mlflow-skinny", "export-mlflow") from None
    try:
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
        for name, rounds in seeds_of_runs(records):
            _write_mlflow_run(client, experiment, name, rounds)
    except MlflowException as error:
        raise OSError(f"cannot write to `mlflow` {uri!r}: {str(error).splitlines()[0]}") from None


def _write_mlflow_run(client: Any, experiment: str, name: str, rounds: list[Record]) -> None:
    from mlflow.entities import Metric, Param

    last, count = rounds[-1], str(len(rounds))
    for run in client.search_runs([experiment], f"tags.`graphlth.seed` = '{name}'"):
        if run.data.tags.get("graphlth.rounds") == count and run.info.status == "FINISHED":
            return
        client.delete_run(run.info.run_id)
    tags = {"graphlth.seed": name, "graphlth.rounds": count,
            "commit": str(last["environment"].get("commit", "unknown"))}  # fmt: skip
    run_id = client.create_run(experiment, tags=tags, run_name=name).info.run_id
    names = ("algorithm", "task", "model", "seed")
    settings = {n: last[n] for n in names} | flatten(last["settings"])
    parameters = [Param(n, str(value)) for n, value in settings.items()]
    metrics = [Metric(n, value, 0, record["round"])
               for record in rounds for n, value in series(record).items()]  # fmt: skip
    _in_parts(lambda part: client.log_batch(run_id, params=part), parameters)
    _in_parts(lambda part: client.log_batch(run_id, metrics=part), metrics)
    client.set_terminated(run_id)


def _in_parts(log: Callable[[list[Any]], None], values: Sequence[Any]) -> None:
    for first in range(0, len(values), MOST_AT_ONCE):
        log([*values[first : first + MOST_AT_ONCE]])
