"""What a run is: the plug-ins and the settings that decide its digits."""

import inspect
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import graphlth.records as record
from graphlth.experiment.settings import (
    batched_form,
    bind_scores,
    plugin_settings,
    settings_of_run,
    unrecorded_defaults,
)
from graphlth.import_paths import is_import_path, short_name, source_digest
from graphlth.model_checks import check_model_size
from graphlth.provenance import check_same_data
from graphlth.registry import OF_RUN, check_name, find, names, normalize_name
from graphlth.settings.annotations import check_number
from graphlth.settings.checks import check_device, check_setting
from graphlth.settings.lists import planned_rounds
from graphlth.settings.presets import preset
from graphlth.settings.types import Threads
from graphlth.settings.validation import as_recorded, check_settings, defaults_of, settings_of
from graphlth.storage import base_name
from graphlth.task import Task
from graphlth.training.epoch import Epoch


@dataclass(frozen=True)
class Plan:
    """Everything that decides the digits of a run but the seed."""

    algorithm: str
    task: str
    model: str
    settings: Mapping[str, Any]  # every setting of the three, defaults filled in
    device: str = "cpu"
    threads: int = 1
    batched: bool = (
        False  # by `graphlth.training.batched`: its dropout and sums go in another order
    )
    protocol: str | None = None  # of the preset; decides no digit that the settings do not
    preset: Mapping[str, Sequence[str]] = field(default_factory=dict)  # source: settings as it says
    data: str = ""  # the digest of the task's content; "" where it is not known yet
    source: str = ""  # the name of the run whose tickets are read; "" where none are
    code: str = ""  # the digest of the files of a model or task that is an import path; else ""
    keep_tickets: str = "all"  # which files of tickets stay; decides no digit
    places: Mapping[str, str] = field(default_factory=dict)  # see `here`

    @property
    def here(self) -> dict[str, Any]:
        """The settings with what lies elsewhere on this machine than on that of the plan."""
        return {**self.settings, **self.places}

    @property
    def decisive(self) -> dict[str, Any]:
        """The settings that can change a digit: where data and tickets lie is none of them."""
        aside = (*record.LOCATIONS, "tickets") if self.source else record.LOCATIONS
        return {n: v for n, v in self.settings.items() if n not in aside}

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        known = self.decisive | {"device": self.device, "threads": self.threads}
        known |= {n: v for n in ("data", "source", "code") if (v := getattr(self, n))}
        known |= {"names": others} if (others := self._other_names) else {}
        digest = record.settings_hash(known | ({"batched": True} if self.batched else {}))
        names = (self.algorithm, self._task_name, file_name(self.model), digest)
        return "-".join(names)

    @property
    def _other_names(self) -> list[str]:
        """Import paths that the name of a folder cannot hold as they are: two may look alike."""
        paths = [short_name(each) for each in (self.task, self.model) if is_import_path(each)]
        return [path for path in paths if file_name(path) != path.replace(":", ".")]

    @property
    def _task_name(self) -> str:
        """The name of the task, or of the file or folder of a user's own data."""
        given = self.settings.get("path")
        if not given:
            return file_name(self.task)
        path = Path(base_name(given))
        name = path.stem if path.suffix in (".npz", ".pt", ".txt") else path.name
        return file_name(name) or self.task


def file_name(name: str) -> str:
    """A name of a plug-in or a file as a part of a folder's: `models/net.py:Net` is net.Net."""
    text = short_name(name).replace(":", ".") if is_import_path(name) else name
    return re.sub(r"[^\w.]+", "_", text).strip("._")[:64]


@dataclass(frozen=True)
class Step:
    """How far a seed of a run is: after an epoch of retraining, or after a round."""

    seed: int
    round: int
    epoch: Epoch | None  # None: the round is done, and recorded
    record: Mapping[str, Any]  # of the round, or what is known of it
    is_new: bool = True  # else it was recorded before the call
    run: str = ""  # the name of its run in a sweep


def plan(
    algorithm: str,
    task: str,
    model: str,
    settings: Mapping[str, Any] | None = None,
    *,
    device: str = "cpu",
    threads: Threads = 1,
    batched: bool = False,
    protocol: str = "paper",
) -> Plan:
    """The plan of a run: `settings` over the preset of `protocol` over the defaults.

    How many seeds are trained at once is no part of it, but whether any are is: see `Plan`.

    Raises:
        ValueError: a name or a setting is unknown, a setting is missing or out of its range.
    """
    for kind, name in zip(OF_RUN, (algorithm, task, model), strict=True):
        check_name(kind, name)
    algorithm, task, model = normalize_name(algorithm), normalize_name(task), normalize_name(model)
    settings = settings or {}
    if not isinstance(settings, Mapping):
        raise ValueError("`settings` must be a mapping of names to values, got "
                         f"{type(settings).__name__}")  # fmt: skip
    chosen = preset(algorithm, task, model, protocol=protocol, given=settings)
    known = settings_of_run(algorithm, task, model, {**chosen.settings, **settings})
    for name in settings:
        check_setting(name, known, f"of {algorithm}, {task} and {model}")
    values = defaults_of(known)
    values |= {n: v for n, v in chosen.settings.items() if n in known}
    values |= {n: os.fspath(v) if isinstance(v, os.PathLike) else v for n, v in settings.items()}
    for name in known:
        if name not in values:
            raise ValueError(f"`{name}` must be given for {algorithm} on {task}")
    check_settings(values, known)
    check_number("threads", threads, Threads)
    check_device(device)
    if batched and batched_form(algorithm) is None:
        able = ", ".join(name for name in names("algorithms") if batched_form(name))
        raise ValueError(f"`batch` above 1 and `graphs` are for {able} alone, got {algorithm!r}")
    usual = unrecorded_defaults(algorithm, values, known)
    values = {n: v for n, v in values.items() if n not in usual or v != usual[n]}
    values = dict(sorted(as_recorded(values, known).items()))
    return Plan(algorithm, task, model, values, device, threads, batched, chosen.protocol,
                chosen.sources_in_use(values), code=code_digest(task, model))  # fmt: skip


def code_digest(task: str, model: str) -> str:
    """A digest of the files of those of the two that are import paths; "" where neither is."""
    kinds = {"tasks": task, "models": model}
    own = [source_digest(kind, name) for kind, name in kinds.items() if is_import_path(name)]
    return record.settings_hash({"code": own}) if len(own) > 1 else "".join(own)


def duration_setting(settings: Mapping[str, Any]) -> str:
    """The name of the setting that says how long a run trains."""
    return "iterations" if settings.get("iterations") else "epochs"


def build_plugin(
    kind: str, name: str, settings: Mapping[str, Any], *before: Any, **also: Any
) -> Any:
    """What the plug-in makes of those of `settings` that it takes."""
    plugin = find(kind, name)
    known = plugin_settings(kind, name).keys() & settings_of(plugin).keys()
    mine = {n: value for n, value in settings.items() if n in known}
    mine |= bind_scores(name, settings) if kind == "algorithms" else {}
    if kind == "models":
        try:
            check_model_size(plugin, *before, **mine)
        except ValueError as error:
            if error.__cause__ is None:
                raise  # else it cannot be made without numbers, or says below why it cannot at all
    return plugin(*before, **mine, **also)


def check_stored_settings(
    settings: Mapping[str, Any], known: Mapping[str, inspect.Parameter]
) -> None:
    """Refuse settings of a file that lack one, or of which one is wrong; see `check_settings`.

    Raises:
        ValueError: names the first of them.
    """
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in settings:
            raise ValueError(f"`settings` must hold `{name}`")
    whole = defaults_of(known) | dict(settings)  # an earlier version may have had fewer
    check_settings(whole, known)
    planned_rounds(whole)


def build_task(chosen: Plan, what: str = "the run") -> Task:
    """The task of a plan, on its device; refused where its content is no longer that of the plan.

    So are a model and a task whose code is not.

    Raises:
        ValueError: see `check_same_code` and `graphlth.provenance.check_same_data`, and what the
            task says.
    """
    check_same_code({"code": chosen.code}, chosen.task, chosen.model, what)
    task: Task = build_plugin("tasks", chosen.task, chosen.here)
    check_same_data({"data": chosen.data}, task, what)
    return task.to(chosen.device)


def check_same_code(known: Mapping[str, Any], task: str, model: str, what: str) -> None:
    """Refuse a model or a task of a user's own that is written otherwise than that of `what`.

    Args:
        known: what is told of `what`: the digest under "code", if any.
        task: its name; where it is an import path, its files must be the same.
        model: likewise.
        what: "the run", or an argument.

    Raises:
        ValueError: the files differ.
    """
    told, here = known.get("code", ""), code_digest(task, model)
    if told != here:
        paths = " and ".join(repr(name) for name in (task, model) if is_import_path(name))
        raise ValueError(f"{what} is of other code: the files of {paths} are not those that it was "
                         f"run with (digest {here}, not {told}); put those back, or run anew"
                         )  # fmt: skip
