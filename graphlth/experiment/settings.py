"""The settings of a run: those of its algorithm, task and model, and of the scores chosen.

A setting of a score, or one that is `AddedLater`, stands in the settings of a run, and in their
hash, where it is not the default: runs that were recorded before there was one keep their names.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from types import ModuleType
from typing import Any

from graphlth.experiment.resources import Resources
from graphlth.registry import find, kind_noun, normalize_name
from graphlth.settings.annotations import check_value, members, plugin_kind, unpack
from graphlth.settings.types import AddedLater
from graphlth.settings.validation import defaults_of, field_parameters, settings_of
from graphlth.training.pretraining import pretrain_start
from graphlth.training.recipe import Recipe

RETRAINING = tuple(field.name for field in fields(Recipe))  # those of them that an algorithm has
OWN: Mapping[str, Sequence[str]] = {  # of each kind: what a run or an algorithm gives, no setting
    "algorithms": ("seed", "last"), "analysis": ("seed", *RETRAINING), "scores": ("seed", "init"),
}  # fmt: skip
GRAPH_FILES = (".npz", ".pt")  # as a task: the graph in that file
PRETRAINING = ("self_supervised", "self_supervised_epochs", "self_supervised_lr")
RUN_FLAGS = (  # what `graphlth run` and `graphlth.run` take themselves
    "algorithm", "task", "model", "settings", "seeds", "out", "protocol", "keep_tickets", "watch",
    "config", "help", "resources", *(field.name for field in fields(Resources)), *PRETRAINING,
)  # fmt: skip
FLAGS: Mapping[str, Sequence[str]] = {  # of a kind: what its command takes; of others RUN_FLAGS
    "analysis": (
        "measure", "run", "settings", "out", "seeds", "rounds", "jobs", "data_root", "watch",
        "folders", "help",
    ),
}  # fmt: skip


def plugin_settings(kind: str, name: str) -> dict[str, inspect.Parameter]:
    """The settings of a run that are those of a plug-in; of an algorithm also of retraining."""
    plugin = find(kind, name)
    known = settings_of(plugin)
    if kind == "algorithms":
        known = known | recipe_settings(plugin)
    own = {n: p for n, p in known.items() if n not in OWN.get(kind, ())}
    _check_own_settings(kind, name, own)
    return own


def _check_own_settings(kind: str, name: str, own: Mapping[str, inspect.Parameter]) -> None:
    """Refuse settings of a plug-in that no flag and no file can set.

    Raises:
        ValueError: one is called like a flag of the command, or has no type, or a default
            that can change.
    """
    place = f"`{kind_noun(kind)}` {name!r}"
    for each, parameter in own.items():
        if each in FLAGS.get(kind, RUN_FLAGS):
            command = "analyze" if kind == "analysis" else "run"
            raise ValueError(f"{place} must have settings of its own, got `{each}`, which is a "
                             f"flag of `graphlth {command}`: rename that setting")  # fmt: skip
        if parameter.annotation is parameter.empty:
            raise ValueError(f"{place} must say the type of each setting, got `{each}` without: "
                             f"annotate it, as in `{each}: float = 1.0`")  # fmt: skip
        if isinstance(parameter.default, list | dict | set):
            raise ValueError(f"{place} must have defaults that cannot change, got `{each}` = "
                             f"{parameter.default!r}: write a tuple")  # fmt: skip


def recipe_settings(algorithm: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The fields of `Recipe` in runs of an algorithm, with the defaults that it has for them."""
    defaults = getattr(defining_module(algorithm), "RECIPE", None) or asdict(Recipe())
    known = field_parameters(Recipe)
    return {n: known[n].replace(default=value) for n, value in defaults.items()}


def batched_form(algorithm: str) -> Callable[..., Any] | None:
    """The function that finds the tickets of many seeds at once; None where there is none."""
    module = defining_module(find("algorithms", algorithm))
    form: Callable[..., Any] | None = getattr(module, f"batched_{algorithm}", None)
    return form


def defining_module(function: Callable[..., Any]) -> ModuleType:
    """The module in which a plug-in is written."""
    return sys.modules[inspect.unwrap(function).__module__]


def scores_of(algorithm: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The scores of an algorithm by the setting that names each: {"edge_score": "degree"}.

    Args:
        algorithm: name of the plug-in.
        settings: those that are chosen; of others the default holds.

    Raises:
        ValueError: there is no such score.
    """
    known = {n: p for n, p in plugin_settings("algorithms", algorithm).items() if names_score(p)}
    chosen = {n: settings.get(n, p.default) for n, p in known.items()}
    for name, value in chosen.items():
        if not isinstance(value, str):
            raise ValueError(f"`{name}` must be the name of a score in a run, got {value!r}: "
                             "put the score into a package with an entry point")  # fmt: skip
        check_value(name, value, known[name].annotation)
    return chosen


def names_score(parameter: inspect.Parameter) -> bool:
    """Whether the value of a setting is the name of a score."""
    return plugin_kind(parameter.annotation) == "scores"


def settings_of_scores(
    algorithm: str, settings: Mapping[str, Any]
) -> dict[str, dict[str, inspect.Parameter]]:
    """The settings of each score of an algorithm, by the setting that names the score."""
    chosen = scores_of(algorithm, settings)
    return {name: plugin_settings("scores", score) for name, score in chosen.items()}


def settings_of_run(
    algorithm: str, task: str, model: str, settings: Mapping[str, Any] | None = None
) -> dict[str, inspect.Parameter]:
    """The settings of a run of the three, and of the scores that `settings` choose.

    Raises:
        ValueError: there is no such plug-in, or one has a setting that is one of another, too.
    """
    known = _settings_of_three({"algorithms": algorithm, "tasks": task, "models": model})
    owners = dict.fromkeys(known, "the run")
    scores = scores_of(algorithm, settings or {})
    for part, own in settings_of_scores(algorithm, settings or {}).items():
        for name, parameter in own.items():
            if owners.setdefault(name, scores[part]) != scores[part]:
                raise ValueError(f"`{part}` must have settings of its own, got {scores[part]!r}, "
                                 f"whose `{name}` is one of {owners[name]}, too: choose another "
                                 "score, or rename that setting")  # fmt: skip
            known[name] = parameter
    return known | settings_of_pretraining(settings or {})


def _settings_of_three(plugins: Mapping[str, str]) -> dict[str, inspect.Parameter]:
    """The settings of an algorithm, a task and a model; one of two of them must be one setting.

    Raises:
        ValueError: two have one of the same name, of another range or default.
    """
    known: dict[str, inspect.Parameter] = {}
    owners: dict[str, str] = {}
    for kind, plugin in plugins.items():
        owner = f"{kind_noun(kind)} {normalize_name(plugin)!r}"
        for name, parameter in plugin_settings(kind, plugin).items():
            other = owners.setdefault(name, owner)
            if other != owner and not _is_same(known[name], parameter):
                raise ValueError(f"`{name}` must be a setting of one plug-in of a run, got it of "
                                 f"{other} and of {owner}, with another range or default: rename "
                                 "it in one of them")  # fmt: skip
            known[name] = parameter
    return known


def _is_same(one: inspect.Parameter, other: inspect.Parameter) -> bool:
    return (one.annotation, one.default) == (other.annotation, other.default)


def settings_of_pretraining(settings: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
    """The settings of a run that tell of its θ₀: whether it is self-supervised and, if so, how."""
    known = settings_of(pretrain_start)
    shown = PRETRAINING if settings.get("self_supervised", "none") != "none" else PRETRAINING[:1]
    return {n: known[n] for n in shown}


def unrecorded_defaults(
    algorithm: str, settings: Mapping[str, Any], known: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    """The defaults that settings of a run and their hash leave out.

    They are those of its scores, and of the `known` settings that are `AddedLater`.
    """
    later = {n: p for n, p in known.items() if _is_added_later(p.annotation)}
    groups = [*settings_of_scores(algorithm, settings).values(), later]
    return {n: default for own in groups for n, default in defaults_of(own).items()}


def _is_added_later(annotation: Any) -> bool:
    rules = (rule for member in members(annotation) for rule in unpack(member)[1])
    return any(isinstance(rule, AddedLater) for rule in rules)


def bind_scores(algorithm: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of an algorithm that have settings of their own in a run, as functions.

    They are keyed by the setting that names the score.
    """
    scores = scores_of(algorithm, settings)
    own = {
        part: {n: settings[n] for n in known if n in settings}
        for part, known in settings_of_scores(algorithm, settings).items()
    }
    return {
        part: partial(find("scores", scores[part]), **given) for part, given in own.items() if given
    }
