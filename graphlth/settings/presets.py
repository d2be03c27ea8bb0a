"""Default settings by algorithm, task and model, and where each comes from: `presets.toml`."""

import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from graphlth.registry import normalize_name

PROTOCOLS = ("paper", "released")
OWN = "own"  # the protocol of a run of which no setting is published


@dataclass(frozen=True)
class Preset:
    """The default settings of an algorithm on a task with a model.

    Args:
        settings: by name.
        sources: the names of those that each source gives, by what is to be said of it.
        protocol: "paper" or "released" where some are published, else "own"; None without any.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    protocol: str | None = None

    def sources_in_use(self, settings: Mapping[str, Any]) -> dict[str, list[str]]:
        """Of each source the names of those that have its value in `settings`; none is left out."""
        found = {
            source: [n for n in given if n in settings and settings[n] == self.settings[n]]
            for source, given in self.sources.items()
        }
        return {source: given for source, given in found.items() if given}


def preset(
    algorithm: str, task: str, model: str, *, protocol: str = "paper", given: Collection[str] = ()
) -> Preset:
    """What is listed for `algorithm` on `task` with `model`.

    Args:
        algorithm: name of the plug-in, as those of `task` and `model`.
        task: see there.
        model: see there.
        protocol: "paper", or "released" for what the authors' code does instead.
        given: names of settings that are given; published iterations do not stand beside epochs
            that are.

    Raises:
        ValueError: there is no such protocol, or none of a released code for these.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"`protocol` must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    every = [
        *_matching_entries(normalize_name(algorithm), normalize_name(task), normalize_name(model))
    ]
    if protocol != "paper" and protocol not in [entry.get("protocol") for _, entry in every]:
        raise ValueError(f"`protocol` must be paper for {algorithm} on {task} with {model}, of "
                         f"which no {protocol} one is listed, got {protocol!r}")  # fmt: skip
    settings: dict[str, Any] = {}
    sources: dict[str, tuple[str, ...]] = {}
    named = None
    for table, entry in every:
        if entry.get("protocol", protocol) != protocol:
            continue
        own = {n: v for n, v in entry["settings"].items()
               if n != "iterations" or "epochs" not in given}  # fmt: skip
        settings |= own
        text = _source(table, entry, normalize_name(algorithm))
        sources[text] = (*sources.get(text, ()), *own)
        published = "published" in entry and normalize_name(algorithm) in table["algorithms"]
        named = protocol if published or named == protocol else OWN
    return Preset(settings, sources, named)


def _source(table: Mapping[str, Any], entry: Mapping[str, Any], algorithm: str) -> str:
    """What is said of where an entry comes from."""
    if "chosen" in entry:
        return f"not published, chosen here: {entry['chosen']}"
    where = f"{table['paper']}, {entry['published']}"
    if algorithm in table["algorithms"]:
        return where
    others = ", ".join(table["algorithms"])
    return f"not published for {algorithm}, trained like {others}: {where}"


def _matching_entries(
    algorithm: str, task: str, model: str
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The tables and entries for these, in the order of the file."""
    for table in _tables().values():
        for entry in table["preset"]:
            for_all = [*table.get("algorithms", [algorithm]), *table.get("beside", [])]
            if (
                algorithm in entry.get("algorithms", for_all)
                and task in entry.get("tasks", [task])
                and model in entry.get("models", [model])
            ):
                yield table, entry


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(
        files("graphlth.settings").joinpath("presets.toml").read_text(encoding="utf-8")
    )
