"""A search for settings, by optuna, among runs of a sweep: what decides is validation alone.

The table of a file says which settings are searched, and where:

[search]
trials = 20                    # how many choices of settings are tried
round = 5                      # whose validation metric is compared; the last one by default
at_once = 4                    # trials whose results are awaited together
seed = 0                       # of the sampler
[search.space]
lr = { low = 1e-4, high = 1e-1, log = true }
hidden = [16, 32, 64]

A trial is a run of its settings, so a search that is given again reads what is recorded and goes
on: `at_once` stands in the file since it decides, with the seed, which settings are tried.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import graphlth.records as record
from graphlth.experiment.plan import Step, build_task
from graphlth.settings.annotations import Range, check_value, has_type
from graphlth.settings.checks import check_setting
from graphlth.settings.lists import planned_rounds
from graphlth.settings.types import Draws, KeptTickets, Retries, Rounds, Seed, Threads
from graphlth.sweeps import run as sweeps
from graphlth.sweeps.engine import Engine, SeedRun
from graphlth.sweeps.file import Sweep, SweepRun, read_sweep
from graphlth.sweeps.run import (
    Prepared,
    check_engine_arguments,
    plan_run,
    prepare_run,
    seed_runs,
)
from graphlth.sweeps.workers import choose_workers

Direction = Literal["max", "min"]  # which values of a metric are better
OPTUNA = "pip install graphlth[search]"
FIELDS: Mapping[str, Any] = {"trials": Draws, "round": Rounds, "at_once": Threads, "seed": Seed}
ENDS = ("low", "high", "log", "step")  # of a number's range


@dataclass(frozen=True)
class Trial:
    """A choice of settings that was tried.

    Args:
        number: the first is 0.
        settings: those that are searched.
        val: the mean over seeds of the validation metric of the search's round, at each seed's best
            epoch; None where a seed could not be computed.
        folder: the folder of its run.
        error: why a seed could not be computed; "" where all were.
    """

    number: int
    settings: Mapping[str, Any]
    val: float | None
    folder: Path
    error: str = ""


@dataclass(frozen=True)
class Search:
    """What the table of a search says."""

    space: Mapping[str, Any]
    trials: int = 20
    round: int | None = None
    at_once: int = 4
    seed: int = 0


def search_settings(
    file: str | Path | Mapping[str, Any],
    *,
    out: str | Path = "runs",
    workers: Threads = 1,
    cluster: str | None = None,
    data_root: str | None = None,
    keep_tickets: KeptTickets = "all",
    retries: Retries = 3,
    watch: Callable[[Step], None] = lambda step: None,
) -> list[Trial]:
    """Search the settings of a file's run by validation alone; return the trials, the best first.

    Args:
        file: see `graphlth.sweep`; it must be of one run, and have a table `search`.
        out: see `graphlth.sweep`, as for all others.
        workers: see there.
        cluster: see there.
        data_root: see there.
        keep_tickets: see there.
        retries: see there.
        watch: see there.

    Raises:
        ValueError: something in the file is wrong, or optuna is not installed; or no trial could be
            computed.
        OSError: a folder cannot be written, or there is no scheduler.
    """
    check_engine_arguments(workers, retries, keep_tickets)
    run, table = read_search(file)
    direction = _direction(run, table, data_root)
    study = _start_study(table, direction)
    found: list[Trial] = []
    with closing(choose_workers(workers, cluster)) as those:
        engine = Engine(those, retries, watch)
        while len(found) < table.trials:
            asked = [study.ask() for _ in range(min(table.at_once, table.trials - len(found)))]
            runs = [_with_settings(run, _suggest(trial, table)) for trial in asked]
            prepared = [prepare_run(each, out, data_root, keep_tickets) for each in runs]
            seeds = seed_runs(prepared)
            engine.compute(seeds)
            for trial, each in zip(asked, prepared, strict=True):
                found.append(_finished_trial(trial.number, table, each, seeds))
                _tell(study, trial, found[-1].val)
    done = [trial for trial in found if trial.val is not None]
    if not done:
        raise ValueError(f"no trial could be computed: {found[0].error}")
    sign = -1 if direction == "max" else 1
    order = sorted(done, key=lambda trial: (sign * (trial.val or 0.0), trial.number))
    return [*order, *(trial for trial in found if trial.val is None)]


def read_search(file: str | Path | Mapping[str, Any]) -> tuple[SweepRun, Search]:
    """The run of a file whose settings are searched, and how.

    Raises:
        ValueError: there is another number of runs, no table `search`, or that is wrong.
    """
    sweep = read_sweep(file)
    if sweep.search is None:
        raise ValueError("`search` must be a table of the file, with one `search.space`")
    if len(sweep.runs) != 1 or sweep.runs[0].source:
        raise ValueError(f"a search must be of one run of the file, got {len(sweep.runs)}: name "
                         "the others in a file of their own")  # fmt: skip
    known = {n: v for n, v in sweep.search.items() if n != "space"}
    for name, value in known.items():
        check_setting(name, (*FIELDS, "space"), "of a search")
        check_value(name, value, FIELDS[name])
    space = sweep.search.get("space")
    if not isinstance(space, Mapping) or not space:
        raise ValueError(f"`search.space` must be a table of settings, got {space!r}")
    for name, values in space.items():
        _check_range(name, values)
    return sweep.runs[0], Search(space, **known)


def _check_range(name: str, values: Any) -> None:
    """Refuse what is neither a list of values nor the ends of a range of numbers."""
    if isinstance(values, list) and values:
        return
    ends = isinstance(values, Mapping) and {"low", "high"} <= values.keys() <= {*ENDS}
    numbers = ends and all(has_type(values[n], float) and values[n] in Range()
                           for n in values.keys() - {"log"})  # fmt: skip
    if not numbers or not values["low"] < values["high"]:
        raise ValueError(f"`search.space` must give `{name}` a list of values, or finite low and "
                         f"high, and log or step if need be, got {values!r}")  # fmt: skip
    if values.get("step", 1) <= 0:
        raise ValueError(f"`search.space` must give `{name}` a step above 0, got {values!r}")
    log = values.get("log", False)
    if not isinstance(log, bool) or (log and ("step" in values or values["low"] <= 0)):
        raise ValueError(f"`search.space` must give `{name}` either a log, from above 0 on, or a "
                         f"step, got {values!r}")  # fmt: skip


def count_rounds(run: SweepRun, table: Search) -> int:
    """The rounds of all seeds of a trial."""
    return sweeps.count_rounds(Sweep((_with_settings(run, _any_point(table)),)))


def _any_point(table: Search) -> dict[str, Any]:
    """A choice of settings in the space."""
    return {n: v[0] if isinstance(v, list) else v["low"] for n, v in table.space.items()}


def _direction(run: SweepRun, table: Search, data_root: str | None) -> Direction:
    """Whether more of the metric is better, "max", or less; the round is checked, too."""
    chosen = plan_run(_with_settings(run, _any_point(table)), data_root)
    rounds = planned_rounds(chosen.settings)
    if table.round is not None and table.round not in rounds:
        raise ValueError(f"`search.round` must be one of the run's, {', '.join(map(str, rounds))}, "
                         f"got {table.round}")  # fmt: skip
    return build_task(chosen).metric.direction


def _with_settings(run: SweepRun, chosen: Mapping[str, Any]) -> SweepRun:
    label = ", ".join([run.name, *(f"{n} {v}" for n, v in chosen.items())])
    return replace(run, name=label, settings={**run.settings, **chosen})


def _start_study(table: Search, direction: Direction) -> Any:
    """A study of optuna, which asks for the same choices where it is told the same results.

    The sampler is the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), which takes
    a trial whose result is awaited for a bad one, so that it asks for different ones at once.
    """
    try:
        import optuna
    except ImportError:
        raise ValueError(f"`search` needs optuna: {OPTUNA}") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=table.seed, constant_liar=True)
    more = direction == "max"
    return optuna.create_study(direction="maximize" if more else "minimize", sampler=sampler)


def _suggest(trial: Any, table: Search) -> dict[str, Any]:
    """The settings that a trial of optuna tries."""
    found = {}
    for name, values in table.space.items():
        if isinstance(values, list):
            found[name] = trial.suggest_categorical(name, values)
        elif all(isinstance(values[n], int) for n in values.keys() - {"log"}):
            found[name] = trial.suggest_int(name, **values)
        else:
            found[name] = trial.suggest_float(name, **values)
    return found


def _finished_trial(
    number: int, table: Search, prepared: Prepared, seeds: Sequence[SeedRun]
) -> Trial:
    """What a trial has reached: of its records, the validation metric alone is read."""
    run, folder = prepared.run, prepared.folder
    chosen = {n: run.settings[n] for n in table.space}
    errors = [f"seed {s.seed}: {s.error}" for s in seeds if s.folder == folder and s.error]
    if errors:
        return Trial(number, chosen, None, folder, "; ".join(errors))
    last = planned_rounds(prepared.chosen.settings)[-1]
    wanted = last if table.round is None else table.round
    lines = (line for seed in run.seeds for line in record.read_file(folder / f"seed{seed}.jsonl"))
    return Trial(number, chosen, fmean(r["val"] for r in lines if r["round"] == wanted), folder)


def _tell(study: Any, trial: Any, val: float | None) -> None:
    if val is None:
        from optuna.trial import TrialState

        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, val)
