"""Reproduce a figure or a table: its runs, what they show of what is published, a page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import graphlth.records as record
from graphlth.experiment.measure import analyze, parse_numbers
from graphlth.experiment.plan import Step, build_task
from graphlth.records import Record
from graphlth.reproduction.checks import check_fractions, check_rounds, no_fractions
from graphlth.reproduction.folder import remove_pictures, result_folder
from graphlth.reproduction.page import make_result, picture_files
from graphlth.reproduction.parts import (
    Suite,
    quick_suite,
    shown_names,
    suite_runs,
    sweep_part,
    with_seeds,
)
from graphlth.reproduction.result import Verdict, save, to_data
from graphlth.reproduction.splits import records_of_split
from graphlth.reproduction.suite import read_suite
from graphlth.settings.lists import list_text, planned_rounds
from graphlth.settings.types import Threads
from graphlth.storage import replace_file
from graphlth.sweeps.file import SweepRun, read_sweep
from graphlth.sweeps.run import count_rounds, plan_run, plan_without_data, sweep

Watch = Callable[[Step], None]
Folders = Mapping[str, Sequence[Path]]  # of every run, one for each split


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` gives: the folder of data, page and figures, and the verdicts."""

    folder: Path
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Places:
    """Where runs and data lie, and who computes."""

    out: str
    workers: int = 1
    cluster: str | None = None
    data_root: str | None = None


def reproduce(
    name: str | Path,
    *,
    out: str | Path = "runs",
    result: str | Path | None = None,
    seeds: int | str | Sequence[int] | None = None,
    quick: bool = False,
    workers: Threads = 1,
    cluster: str | None = None,
    data_root: str | None = None,
    watch: Watch = lambda step: None,
) -> Reproduction:
    """Run a suite, and write what it shows: data, a page with a verdict per claim, figures.

    What is recorded already is not run again.

    Args:
        name: a suite, such as "ugs-cora-gcn", or a .toml file of your own; see
            `graphlth.reproduction.suite`.
        out: the folder of the runs' folders.
        result: the folder of the result; by default reproduced/NAME, with -quick where it is.
        seeds: instead of those of the suite: so many from 0, or which, as in 3,7 or 100-129.
        quick: the suite in small, in minutes, to see that it runs; pages and figures say so.
        workers: processes of this machine, a seed each at a time.
        cluster: the address of the scheduler of a Dask cluster, or its file.
        data_root: the folder of the data.
        watch: is called after every round and every measured ticket.

    Raises:
        ValueError: there is no such suite, something in it is wrong, the folder of the result
            holds something else, or seeds could not be run.
        OSError: a file cannot be read or written.
    """
    suite = choose_suite(name, seeds, quick)
    count_steps(suite)  # what is wrong in a run is told before one is run
    check_numbers(suite, data_root)
    folder = Path(result or Path("reproduced") / (suite["name"] + "-quick" * quick))
    with result_folder(folder, suite["name"], picture_files(suite)):
        places = Places(str(out), workers, cluster, data_root)
        folders = run_folders(suite, places, watch)
        measured = measure_runs(suite, folders, places, watch) if "analyze" in suite else {}
        folder.mkdir(parents=True, exist_ok=True)  # while empty, a refused command may remove it
        with TemporaryDirectory(prefix="graphlth-") as drawn:
            found = make_result(suite, read_runs(suite, folders), read_runs(suite, measured),
                                Path(drawn))  # fmt: skip
            remove_pictures(folder, found.pictures)
            save(folder, to_data(found))
            for file in found.pictures:
                with replace_file(folder / file) as draft:
                    copyfile(Path(drawn) / file, draft)
    return Reproduction(folder, tuple(found.verdicts))


def choose_suite(
    name: str | Path, seeds: int | str | Sequence[int] | None = None, quick: bool = False
) -> Suite:
    """The suite of `reproduce` with these arguments."""
    suite: Suite = read_suite(name)
    if quick:
        suite = quick_suite(suite)
    return suite if seeds is None else with_seeds(suite, seeds)


def count_steps(suite: Suite) -> int:
    """The rounds of the runs of a suite, and the tickets that [analyze] measures.

    Raises:
        ValueError: a name or a setting of a run is wrong; names the run. Or there is no such round.
    """
    count = count_rounds(read_sweep(sweep_part(suite)))  # of two runs that are one counted once
    runs = suite_runs(suite)
    check_runs_differ({name: runs[name] for name in shown_names(suite)})
    if not suite.get("in_small"):  # which may have fewer rounds
        check_rounds(suite, {name: run_rounds(own[0]) for name, own in runs.items()})
    if "analyze" not in suite:
        return count
    own = [run for name in shown_names(suite) for run in runs[name]]
    return count + sum(len(run.seeds) * len(measured_rounds(suite, run)) for run in own)


def check_numbers(suite: Suite, data_root: str | None) -> None:
    """Refuse numbers in points of a metric that is a fraction; only such suites need the data."""
    if no_fractions(suite):
        runs = [run for own in suite_runs(suite).values() for run in own if not run.source]
        check_fractions(suite, build_task(plan_run(runs[0], data_root)).metric.name)


def check_runs_differ(runs: Mapping[str, Sequence[SweepRun]]) -> None:
    """Refuse two runs of a suite that are one, which its figures could not tell apart."""
    known: dict[tuple[str, str, str], str] = {}
    for name, own in runs.items():
        for run in own:
            tickets = str(run.settings.get("tickets", ""))
            other = known.setdefault((plan_without_data(run).name, run.source, tickets), name)
            if other != name:
                raise ValueError(f"`runs` must differ in a setting, got {other!r} and {name!r}, "
                                 "which are one run")  # fmt: skip


def run_rounds(run: SweepRun) -> list[int]:
    """The rounds that a run will have."""
    return planned_rounds(plan_without_data(run).settings)


def measured_rounds(suite: Suite, run: SweepRun) -> list[int]:
    """The rounds of a run that [analyze] measures; in small those of them that it has, or all.

    Raises:
        ValueError: the run has no such rounds.
    """
    planned = run_rounds(run)
    text = list_text(suite["analyze"].get("rounds", "all"), "all")
    if not suite.get("in_small") or text == "all":
        return parse_numbers("rounds", text, planned, f"the plan of {run.name}")
    return [r for r in planned if str(r) in map(str.strip, text.split(","))] or planned


def run_folders(suite: Suite, places: Places, watch: Watch) -> Folders:
    """The folders of every run of a suite, which are run where they are not recorded."""
    runs = suite_runs(suite)
    read = "analyze" in suite or any(run.source for own in runs.values() for run in own)
    folders = sweep(
        sweep_part(suite), out=places.out, workers=places.workers, cluster=places.cluster,
        data_root=places.data_root, keep_tickets="all" if read else "none", watch=watch,
    )  # fmt: skip
    return {name: [folders[run.name] for run in runs[name]] for name in shown_names(suite)}


def measure_runs(suite: Suite, folders: Folders, places: Places, watch: Watch) -> Folders:
    """The folders of what [analyze] measures of every run."""
    settings, runs = dict(suite["analyze"]), suite_runs(suite)
    measure, asked = settings.pop("measure"), settings.pop("rounds", "all")
    settings.pop("fields", None)  # of its table

    def measure_run(run: SweepRun, folder: Path) -> Path:
        rounds = "all" if asked == "all" else measured_rounds(suite, run)
        return analyze(
            measure, str(folder), settings, seeds=run.seeds, rounds=rounds, jobs=places.workers,
            out=str(Path(places.out) / "measures"), data_root=places.data_root, watch=watch,
        )  # fmt: skip

    return {name: [measure_run(run, folder) for run, folder in zip(runs[name], own, strict=True)]
            for name, own in folders.items()}  # fmt: skip


def read_runs(suite: Suite, folders: Folders) -> dict[str, list[Record]]:
    """The records of every run, of the seeds that the suite asks for.

    Those of all splits are one run, in which a split is a seed.
    """
    runs = suite_runs(suite)
    found: dict[str, list[Record]] = {}
    for name, own in folders.items():
        found[name] = []
        for run, folder in zip(runs[name], own, strict=True):
            records = [r for r in record.read(folder) if r["seed"] in run.seeds]
            if "splits" in suite:
                records = records_of_split(records, run.settings["split"])
            found[name] += records
    return found
