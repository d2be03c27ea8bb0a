"""A sweep: all seeds of all runs of a file, computed by many workers, written by this process."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graphlth.experiment.folder import prepare_folder
from graphlth.experiment.plan import Plan, Step, plan
from graphlth.experiment.resources import Resources
from graphlth.experiment.run import check_out, check_plan
from graphlth.experiment.settings import plugin_settings
from graphlth.settings.annotations import check_number, check_value
from graphlth.settings.lists import planned_rounds
from graphlth.settings.types import KeptTickets, Retries, Threads
from graphlth.sweeps.engine import Engine, SeedRun
from graphlth.sweeps.file import Sweep, SweepRun, read_sweep
from graphlth.sweeps.workers import choose_workers

MOST_ERRORS = 5  # that are told of a sweep


def sweep(
    file: str | Path | Mapping[str, Any],
    *,
    out: str | Path = "runs",
    workers: Threads = 1,
    cluster: str | None = None,
    data_root: str | None = None,
    keep_tickets: KeptTickets = "all",
    retries: Retries = 3,
    watch: Callable[[Step], None] = lambda step: None,
) -> dict[str, Path]:
    """Run all seeds of all runs of a file, and return the folder of each run by its name.

    What is recorded already is not run again. A seed that cannot be computed is told of in the
    end; the others are.

    Args:
        file: a .toml file, or a mapping of the same form; see `graphlth.sweeps.file`.
        out: the folder of the runs' folders.
        workers: processes of this machine, a seed each at a time.
        cluster: the address of the scheduler of a Dask cluster, or its file; its workers compute
            in the place of processes.
        data_root: the folder of the data, here and where the workers are.
        keep_tickets: which files of tickets stay when a seed is done: all, that of the last
            round, or none.
        retries: how many workers a seed may lose between two rounds; then it is given up.
        watch: is called after every round.

    Raises:
        ValueError: something in the file is wrong, before anything is run; or, in the end, seeds
            could not be computed.
        OSError: a folder cannot be written, or there is no scheduler.
    """
    check_engine_arguments(workers, retries, keep_tickets)
    batches = ordered_runs(read_sweep(file))
    if keep_tickets != "all" and len(batches) > 1:
        reader = batches[1][0]
        raise ValueError(f"`keep_tickets` must be all where a run reads the tickets of another, as "
                         f"{reader.name!r} those of {reader.source!r}, got {keep_tickets!r}"
                         )  # fmt: skip
    first = [prepare_run(run, out, data_root, keep_tickets) for run in batches[0]]
    folders: dict[str, Path] = {}
    failed: list[str] = []
    with closing(choose_workers(workers, cluster)) as those:
        engine = Engine(those, retries, watch)
        for number, batch in enumerate(batches):
            prepared = first
            if number:
                prepared, wrong = _prepare_readers(batch, folders, out, data_root, keep_tickets)
                failed += wrong
            seeds = seed_runs(prepared)
            engine.compute(seeds)
            failed += [f"{s.name}, seed {s.seed}: {s.error}" for s in seeds if s.error]
            folders |= {each.run.name: each.folder for each in prepared}
    if failed:
        raise ValueError(_failure(failed))
    return folders


def check_engine_arguments(workers: Any, retries: Any, keep_tickets: Any) -> None:
    """Refuse numbers out of their range, and another word for the tickets that are kept."""
    check_number("workers", workers, Threads)
    check_number("retries", retries, Retries)
    check_value("keep_tickets", keep_tickets, KeptTickets)


@dataclass(frozen=True)
class Prepared:
    """A run of a sweep with its plan and its folder."""

    run: SweepRun
    chosen: Plan
    folder: Path


def ordered_runs(sweep: Sweep) -> list[list[SweepRun]]:
    """The runs of a sweep in batches: those that read others' tickets come after these."""
    batches: list[list[SweepRun]] = []
    known, rest = {""}, [*sweep.runs]
    while rest:
        batches.append([run for run in rest if run.source in known])
        known |= {run.name for run in batches[-1]}
        rest = [run for run in rest if run.name not in known]
    return batches


def plan_run(run: SweepRun, data_root: str | None = None, source: Path | None = None) -> Plan:
    """The plan of a run of a sweep, checked with its data.

    Args:
        run: the run.
        data_root: the folder of the data, where its task has some.
        source: the folder of the run whose tickets it reads.

    Raises:
        ValueError: a name or a setting is wrong; names the run.
    """
    settings = dict(run.settings) | ({} if source is None else {"tickets": str(source)})
    where = {n: v for n, v in run.resources.items() if n != "protocol"}
    try:
        if data_root is not None and "data_root" in plugin_settings("tasks", run.names[1]):
            settings["data_root"] = data_root
        chosen = plan(*run.names, settings, **run.resources)
        return check_plan(chosen, Resources(**where), run.seeds[0])
    except ValueError as error:
        raise ValueError(f"{error}; in the run {run.name!r} of the sweep") from None


def prepare_run(
    run: SweepRun, out: str | Path, data_root: str | None, keep_tickets: KeptTickets,
    source: Path | None = None,
) -> Prepared:  # fmt: skip
    """A run with its plan, and its folder with its settings in it."""
    chosen = replace(plan_run(run, data_root, source), keep_tickets=keep_tickets)
    check_out(chosen, out)
    return Prepared(run, chosen, prepare_folder(chosen, Path(out)))


def _prepare_readers(
    runs: Sequence[SweepRun], folders: Mapping[str, Path], out: str | Path, data_root: str | None,
    keep_tickets: KeptTickets,
) -> tuple[list[Prepared], list[str]]:  # fmt: skip
    """Those of the runs that read tickets of others that can, and why the others cannot."""
    prepared, wrong = [], []
    for run in runs:
        try:
            source = folders[run.source]
            prepared.append(prepare_run(run, out, data_root, keep_tickets, source))
        except (ValueError, OSError) as error:
            wrong.append(f"{run.name}: {error}")
        except KeyError:
            wrong.append(f"{run.name}: {run.source!r}, whose tickets it reads, could not be run")
    return prepared, wrong


def seed_runs(prepared: Sequence[Prepared]) -> list[SeedRun]:
    """The seeds of the runs, each once where two runs are one."""
    found = {
        (each.folder, seed): SeedRun(each.run.name, each.chosen, each.folder, seed)
        for each in prepared
        for seed in each.run.seeds
    }
    return [*found.values()]


def _failure(failed: Sequence[str]) -> str:
    """What is said of seeds that could not be computed."""
    more = len(failed) - MOST_ERRORS
    shown = [*failed[:MOST_ERRORS], *([f"and {more} more"] if more > 0 else [])]
    return f"not computed: {'; '.join(shown)}; the same command tries again"


def count_rounds(sweep: Sweep) -> int:
    """The rounds of all seeds of a sweep, where two runs are one counted once.

    Raises:
        ValueError: a name or a setting is wrong; names the run.
    """
    rounds: dict[tuple[str, str, int], int] = {}
    for each in sweep.runs:
        chosen = plan_without_data(each)
        count = len(planned_rounds(chosen.settings))
        rounds |= {(chosen.name, each.source, seed): count for seed in each.seeds}
    return sum(rounds.values())


def plan_without_data(run: SweepRun) -> Plan:
    """The plan of a run of a sweep, of which neither data nor earlier tickets are read.

    Raises:
        ValueError: a name or a setting is wrong; names the run.
    """
    tickets = {"tickets": "."} if run.source else {}  # where they lie changes no setting
    try:
        return plan(*run.names, {**run.settings, **tickets}, **run.resources)
    except ValueError as error:
        raise ValueError(f"{error}; in the run {run.name!r} of the sweep") from None
