"""The command that a recorded run, or a measure of its tickets, comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphlth.experiment.commands import join_command
from graphlth.experiment.seeds import format_seeds
from graphlth.records.schema import Record


def run_command(folder: Path, records: Sequence[Record]) -> str:
    """The command that runs what `folder` holds, or continues it.

    Settings that are the defaults of its protocol are left out where the defaults are known here.

    Args:
        folder: with the settings of the run in it.
        records: what was read from it.

    Raises:
        FileNotFoundError, ValueError: its settings are missing or damaged.
    """
    from graphlth.experiment.folder import read_plan  # with torch

    plan = read_plan(folder)
    flags = {"task": plan.task, "model": plan.model} | _own_settings(plan)
    flags |= {"protocol": plan.protocol} if plan.protocol not in (None, "paper") else {}
    flags |= {"device": plan.device} if plan.device != "cpu" else {}
    flags |= {"threads": plan.threads} if plan.threads != 1 else {}
    seeds = sorted({record["seed"] for record in records})
    flags |= {"batch": max(2, len(seeds))} if plan.batched else {}
    flags |= {"seeds": format_seeds(seeds), "out": str(folder.parent)}
    return join_command(["graphlth", "run", plan.algorithm], flags)


def measure_command(folder: Path, record: Record) -> str:
    """The command that measures the tickets of a run, whose records `folder` holds."""
    measure = record["measure"]
    name = folder.name.rpartition(f"-{measure}-")[0] or "RUN"
    run = str(beside) if (beside := folder.parent / name).is_dir() else name
    flags = {**record.get("measure_settings", {}), "out": str(folder.parent)}
    return join_command(["graphlth", "analyze", measure, run], flags)


def _own_settings(plan: Any) -> dict[str, Any]:
    """The settings that a command must name: those that differ from the defaults, or else all."""
    from graphlth.experiment.plan import plan as make_plan

    whole = dict(plan.settings)
    about = {"device": plan.device, "threads": plan.threads, "batched": plan.batched}
    about |= {"protocol": plan.protocol} if plan.protocol else {}
    names = (plan.algorithm, plan.task, plan.model)
    try:
        usual = make_plan(*names, _needed(whole), **about).settings
        own = {n: v for n, v in whole.items() if n not in usual or usual[n] != v}
        own |= _needed(whole)
        again = make_plan(*names, own, **about).settings
    except ValueError:  # a plug-in that is not here, or a device
        return whole
    return own if dict(again) == whole else whole


def _needed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without a default."""
    return {n: settings[n] for n in ("path", "tickets") if settings.get(n)}
