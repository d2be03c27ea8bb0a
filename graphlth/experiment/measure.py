"""Measures over the tickets of a run folder, recorded beside what the run has recorded of them.

The records go, a line per ticket, to

    OUT/<name of the run's folder>-<measure>-<hash of its settings and of the run>/seed<k>.jsonl
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import graphlth.records as record
from graphlth.cost.macs import pass_macs
from graphlth.cost.meters import measure_cost
from graphlth.experiment.folder import check_records, lock_seed, read_plan
from graphlth.experiment.plan import Plan, Step, build_task
from graphlth.experiment.run import restore_seed
from graphlth.experiment.seeds import parse_seeds
from graphlth.experiment.settings import RETRAINING, plugin_settings
from graphlth.experiment.workers import run_in_processes
from graphlth.records.environment import environment
from graphlth.records.files import record_files
from graphlth.registry import find, normalize_name
from graphlth.rewinding import rewind
from graphlth.settings.annotations import check_number
from graphlth.settings.checks import check_setting, check_written
from graphlth.settings.lists import list_text
from graphlth.settings.types import Threads
from graphlth.settings.validation import check_settings
from graphlth.task import Task
from graphlth.ticket import load_of_run
from graphlth.ticket_checks import check_ticket_fits


@dataclass(frozen=True)
class Study:
    """A measure, its settings, and the run whose tickets it takes."""

    measure: str
    settings: Mapping[str, Any]  # every setting of the measure, defaults filled in
    run: Path
    plan: Plan  # of the run
    todo: Mapping[int, Sequence[int]]  # the rounds of each seed

    @property
    def name(self) -> str:
        """The name of the folder of its records: another one for a run of the same folder name."""
        known = {"run": self.plan.name, "settings": self.settings}
        return f"{self.run.name}-{self.measure}-{record.settings_hash(known)}"


def analyze(
    measure: str,
    run: str,
    settings: Mapping[str, Any] | None = None,
    *,
    out: str,
    seeds: int | str | Sequence[int] = "all",
    rounds: str | Sequence[int] = "all",
    jobs: Threads = 1,
    data_root: str | None = None,
    watch: Callable[[Step], None] = lambda step: None,
) -> Path:
    """Measure the tickets of a run and return the folder of the records; what is there stays.

    A record is the run's own of that seed and round, the fields that the measure gives, `measure`,
    `measure_settings`, `measure_environment` and what it cost (`seconds_measure` and so on).

    Args:
        measure: name of the plug-in.
        run: the run's folder.
        settings: settings of the measure that differ from the default.
        out: the folder of the records' folder.
        seeds: which of the run: all; how many, from 0; or which, as in 3,7 or 10-14 or 0-4,9.
        rounds: which of the run: all, or numbers as in 0 7.
        jobs: processes, one seed each at a time.
        data_root: the folder of the data, where it is not that of the run.
        watch: is called after every ticket.

    Raises:
        ValueError: a name, a setting, a file or a ticket is wrong.
        OSError: a folder cannot be read or written.
    """
    check_number("jobs", jobs, Threads)
    whole, folder = complete_settings(measure, settings or {}), Path(run)
    plan = read_plan_at(folder, data_root)
    study = Study(
        normalize_name(measure), whole, folder, plan, select_rounds(folder, seeds, rounds)
    )
    build_task(plan, "`run`")  # errors come before anything is written
    target = Path(out) / study.name
    check_written("out", target, [folder], folder=True)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot write `out` {out!r}: {error.strerror or error}; name another folder"
                      ) from None  # fmt: skip
    work = partial(_measure_seeds, study, target, environment())
    groups = [[seed] for seed in study.todo]
    if jobs > 1 and len(groups) > 1:
        run_in_processes(work, groups, jobs, watch)
    else:
        for group in groups:
            work(group, watch)
    return target


def complete_settings(measure: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a measure: `settings` over its defaults.

    Raises:
        ValueError: the measure or a setting is unknown.
    """
    known = plugin_settings("analysis", measure)
    for name in settings:
        check_setting(name, known, f"of {measure}")
    whole = {n: p.default for n, p in known.items()} | dict(settings)
    check_settings(whole, known)
    return whole


def read_plan_at(folder: Path, data_root: str | None = None) -> Plan:
    """The plan of the run in `folder`.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: its `settings.json` is damaged.
    """
    plan = read_plan(folder)
    there = {} if data_root is None else {"data_root": data_root}
    return replace(plan, settings={**plan.settings, **there})


def find_runs(*folders: str | Path) -> list[Path]:
    """The run folders among `folders` and under them, each once; what a measure recorded is none.

    Raises:
        FileNotFoundError: a folder is missing, or neither is a run nor holds any.
    """
    found: dict[Path, Path] = {}
    for top in map(Path, folders):
        if not top.is_dir():
            raise FileNotFoundError(f"`run` must be a folder, got {str(top)!r}")
        below = sorted({p.parent for p in record_files(top)} | {top})
        mine = [f for f in below if (f / "settings.json").is_file()]
        if not mine:
            raise FileNotFoundError(f"`run` must be a run folder or hold some, got {str(top)!r} "
                                    "without a settings.json in or below it")  # fmt: skip
        found |= {folder.resolve(): folder for folder in mine}
    return list(found.values())


def select_rounds(
    folder: Path, seeds: int | str | Sequence[int] = "all", rounds: str | Sequence[int] = "all"
) -> dict[int, list[int]]:
    """The recorded rounds of a run that are chosen, seed by seed.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the run has none, or not one that is named.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"`run` must be a folder, got {str(folder)!r}")
    found = sorted(
        s for p in folder.glob("seed*.jsonl") if (s := record.seed_of_file(p)) is not None
    )
    chosen = found if seeds == "all" else check_recorded("seeds", parse_seeds(seeds), found, folder)
    known = {s: [r["round"] for r in record.read_file(_record_file(folder, s))] for s in chosen}
    if not any(known.values()):
        raise ValueError(f"`run` must have tickets, got none in {str(folder)!r}")
    text = list_text(rounds, "all")
    return {
        s: parse_numbers("rounds", text, there, _record_file(folder, s))
        for s, there in known.items()
    }


def parse_numbers(name: str, text: str, known: Sequence[int], where: Path | str) -> list[int]:
    """The numbers in `text`, each one of `known`; of "all" those. `where` is named in errors.

    Raises:
        ValueError: it holds anything else, or one that is not known.
    """
    if text == "all":
        return list(known)
    try:
        numbers = sorted({int(number) for number in text.split(",")})
    except ValueError:
        raise ValueError(f"`{name}` must be all, or numbers as in 0,2, got {text!r}") from None
    return check_recorded(name, numbers, known, where)


def check_recorded(
    name: str, numbers: Sequence[int], known: Sequence[int], where: Path | str
) -> list[int]:
    """`numbers`, rising.

    Raises:
        ValueError: one of them is not known, as it is not there `where`.
    """
    for number in numbers:
        if number not in known:
            there = ", ".join(map(str, known)) or "none"
            raise ValueError(
                f"`{name}` must be of the run's, {there}, got {number}: not in `{where}`"
            )
    return sorted(numbers)


def _record_file(folder: Path, seed: int) -> Path:
    return folder / f"seed{seed}.jsonl"


def _measure_seeds(study: Study, target: Path, environment: Mapping[str, Any],
           seeds: Sequence[int], watch: Callable[[Step], None]) -> None:  # fmt: skip
    torch.set_num_threads(study.plan.threads)
    task = build_task(study.plan, "`run`")
    for seed in seeds:
        with lock_seed(target, seed):
            done = {line["round"]: line for line in record.repair(_record_file(target, seed))}
            known = record.read_file(_record_file(study.run, seed))
            check_records(study.plan, _record_file(study.run, seed), known)
            own = {line["round"]: line for line in known}
            for r in study.todo[seed]:
                about = {"measure": study.measure, "measure_settings": dict(study.settings)}
                if is_new := r not in done:
                    found = measure_ticket(study, task, own[r])
                    about["measure_environment"] = environment
                    done[r] = {**found, **own[r], **about}
                    record.append(_record_file(target, seed), done[r])
                else:
                    check_same_record(done[r], {**own[r], **about}, _record_file(target, seed))
                watch(Step(seed, r, None, done[r], is_new))


def check_same_record(line: Mapping[str, Any], known: Mapping[str, Any], file: Path) -> None:
    """Refuse a `line` of a measure in `file` that does not say what is `known`, but for its cost.

    Raises:
        ValueError: names the first field that differs.
    """
    for name, value in known.items():
        if line.get(name) != value and not name.startswith(record.COST_PREFIXES):
            raise ValueError(f"`{file}` is of another run: the record of round {line['round']} has "
                             f"another {name} than the run's; give another `out`, or "
                             "move the file aside")  # fmt: skip


def measure_ticket(study: Study, task: Task, line: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the measure gives of the ticket of a record, and what it cost."""
    plan, seed = study.plan, line["seed"]
    model, _ = restore_seed(plan, study.run, seed, task, [])
    ticket = load_of_run(study.run, line).to(plan.device)
    check_ticket_fits(ticket, model, task.num_edges, task.fingerprint())
    measure = find("analysis", study.measure)
    with measure_cost(pass_macs, plan.device) as cost:
        gain = measure(rewind(model, ticket.init), task, ticket,
                       **study.settings, **implied_arguments(measure, plan, seed))  # fmt: skip
    fields = gain if isinstance(gain, Mapping) else vars(gain)
    return {**fields, **cost.record_fields("measure")}


def implied_arguments(measure: Callable[..., Any], plan: Plan, seed: int) -> dict[str, Any]:
    """What a measure is given without being asked for: its `seed`, and the run's `recipe`."""
    parameters = inspect.signature(measure).parameters
    recipe = {n: plan.settings[n] for n in RETRAINING if n in plan.settings}
    how = recipe if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else {}
    return how | ({"seed": seed} if "seed" in parameters else {})
