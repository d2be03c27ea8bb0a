"""What a sweep would do, and what it would take: a run at a time, of which nothing is written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import graphlth.records as record
from graphlth.cost.macs import pass_macs
from graphlth.cost.meters import measure_cost
from graphlth.experiment.commands import join_command
from graphlth.experiment.plan import Plan, build_plugin, build_task
from graphlth.experiment.seeds import format_seeds
from graphlth.experiment.settings import RETRAINING
from graphlth.records import Record
from graphlth.registry import find
from graphlth.settings.lists import planned_rounds
from graphlth.settings.validation import settings_of
from graphlth.streams import stream_seed
from graphlth.sweeps.file import SweepRun, read_sweep
from graphlth.sweeps.run import ordered_runs, plan_run
from graphlth.ticket import dense
from graphlth.training.epoch import epochs_of
from graphlth.training.recipe import Recipe
from graphlth.training.retraining import retrain

TRIAL = 5  # epochs that are run to see how long one takes; the first is not counted


@dataclass(frozen=True)
class Estimate:
    """What a run of a sweep is still to do.

    Args:
        run: the run.
        command: that would run it alone.
        done: seeds that are recorded.
        seconds: of one process, for what is left; None where it cannot be said yet.
        memory: bytes, the peak of one process; None where it is unknown.
        source: what the numbers come from: "records" or "a few epochs"; "" for none.
    """

    run: SweepRun
    command: str
    done: int
    seconds: float | None
    memory: int | None
    source: str


def estimate_sweep(
    file: str | Path | Mapping[str, Any], out: str | Path = "runs", data_root: str | None = None
) -> Iterator[Estimate]:
    """What each run of a sweep would take.

    Of a run with recorded seeds it is what they have taken; else what `TRIAL` epochs of the dense
    network take, for as many trainings as it has. Of a run that reads the tickets of another run of
    the file it can be said when that one has been run.

    Raises:
        ValueError: something in the file is wrong.
    """
    folders: dict[str, Path] = {}
    for batch in ordered_runs(read_sweep(file)):
        for run in batch:
            source = folders.get(run.source)
            if run.source and (source is None or not any(source.glob("seed*.jsonl"))):
                later = f"TICKETS OF {run.source}"
                yield Estimate(run, command(run, out, data_root, later), 0, None, None, "")
                continue
            chosen = plan_run(run, data_root, source)
            folders[run.name] = folder = Path(out) / chosen.name
            text = command(run, out, data_root, str(source) if source else None)
            yield Estimate(run, text, *_remaining(run, chosen, folder))


def command(run: SweepRun, out: str | Path, data_root: str | None, tickets: str | None) -> str:
    """The command that runs a run of a sweep alone."""
    algorithm, task, model = run.names
    flags = {"task": task, "model": model, **run.settings, **run.resources}
    flags |= {n: v for n, v in (("data_root", data_root), ("tickets", tickets)) if v is not None}
    flags |= {"seeds": format_seeds(run.seeds), "out": str(out)}
    return join_command(["graphlth", "run", algorithm], flags)


def _remaining(
    run: SweepRun, chosen: Plan, folder: Path
) -> tuple[int, float | None, int | None, str]:
    """How many seeds are done; seconds, bytes and where they are from, of what is left."""
    rounds = len(planned_rounds(chosen.settings))
    files = [folder / f"seed{seed}.jsonl" for seed in run.seeds]
    known = [record.read_file(file) if file.exists() else [] for file in files]
    left = sum(rounds - len(lines) for lines in known)
    done = sum(len(lines) == rounds for lines in known)
    if not left:
        return done, 0.0, None, ""
    lines = [line for each in known for line in each]
    if any(line["round"] for line in lines):
        return done, left * _seconds_of_round(lines), _peak_memory(lines), "records"
    seconds, memory = _time_training(chosen)
    return done, seconds * _trainings(chosen) * left / rounds, memory, "a few epochs"


def _seconds_of_round(lines: Sequence[Record]) -> float:
    return fmean(line["seconds_search"] + line["seconds_retrain"] for line in lines)


def _peak_memory(lines: Sequence[Record]) -> int | None:
    names = ("memory_search", "memory_retrain")
    return max((line[n] for line in lines for n in names if n in line), default=None)


def _trainings(chosen: Plan) -> int:
    """The trainings of one seed, at most: each round's retraining and, if it trains, its search."""
    rounds = len(planned_rounds(chosen.settings))
    searches = "epochs" in settings_of(find("algorithms", chosen.algorithm))
    return 2 * rounds - 1 if searches else rounds


def _time_training(chosen: Plan) -> tuple[float, int | None]:
    """The seconds of a training of the dense network, and the bytes that this process then holds.

    They are those of the first `TRIAL` epochs, without the very first, for as many as there are.
    """
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(stream_seed(0, "initialise"))
    task = build_task(chosen)
    model = build_plugin("models", chosen.model, chosen.settings, task).to(chosen.device)
    ticket = dense(model, task.num_edges, ignore=chosen.settings.get("ignore", ""))
    how = Recipe(**{n: chosen.settings[n] for n in RETRAINING if n in chosen.settings})
    epochs = retrain(model, task, ticket, seed=0, recipe=how)
    next(epochs)
    with measure_cost(pass_macs, chosen.device) as cost:
        taken = sum(1 for _ in islice(epochs, TRIAL - 1))
    return cost.seconds / max(taken, 1) * epochs_of(how, task), cost.memory
