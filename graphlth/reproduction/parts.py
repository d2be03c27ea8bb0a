"""What is in a suite, and the suites that are made of one: in small, or with other seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from graphlth.experiment.seeds import format_seeds, parse_seeds
from graphlth.sweeps.file import SweepRun, read_sweep

Suite = Mapping[str, Any]
SWEEP = ("seeds", "splits", "settings", "grid", "runs")  # what `graphlth sweep` reads
QUICK_SEEDS = 3


def sweep_part(suite: Suite) -> dict[str, Any]:
    """What `graphlth.sweeps.sweep` reads of a suite."""
    return {name: suite[name] for name in SWEEP if name in suite}


def suite_runs(suite: Suite) -> dict[str, list[SweepRun]]:
    """The runs of a suite by their names; those of a name on all splits together."""
    found: dict[str, list[SweepRun]] = {}
    for run in read_sweep(sweep_part(suite)).runs:
        split = f", split {run.settings['split']}" if "splits" in suite else ""
        found.setdefault(run.name.removesuffix(split), []).append(run)
    return found


def shown_names(suite: Suite) -> list[str]:
    """The names of the runs that are shown: those of `compare`, or all."""
    runs = suite_runs(suite)
    return [name for name in suite.get("compare", runs) if name in runs]


def first_run(suite: Suite) -> str:
    """The run that published rounds are of, which may be left out in small."""
    return str(suite.get("first") or shown_names(suite)[0])


def suite_seeds(suite: Suite) -> list[int]:
    """The seeds of a suite, or the splits where these alone are given."""
    return parse_seeds(suite.get(_seeds_key(suite), 1))


def _seeds_key(suite: Suite) -> str:
    return "splits" if "splits" in suite and "seeds" not in suite else "seeds"


def published_values(suite: Suite) -> dict[str, dict[str, dict[int, float]]]:
    """What is published, by its source, run and round; where it is of rounds."""
    table = suite.get("published", {})
    if isinstance(table, str) or suite.get("tickets"):
        return {}
    first = first_run(suite)
    by_run = table if "columns" in suite else {s: {first: values} for s, values in table.items()}
    return {source: {name: {int(r): v for r, v in values.items()} for name, values in runs.items()}
            for source, runs in by_run.items()}  # fmt: skip


# --- other suites --------------------------------------------------------------------------------


def with_seeds(suite: Suite, seeds: int | str | Sequence[int]) -> dict[str, Any]:
    """The suite with other seeds, of all its runs; or with other splits, where it has no seeds."""
    runs = {name: {n: v for n, v in own.items() if n != "seeds"}
            for name, own in suite.get("runs", {}).items()}  # fmt: skip
    numbers = parse_seeds(seeds)
    return {**suite, "runs": runs, _seeds_key(suite): numbers, "other_seeds": format_seeds(numbers)}


def quick_suite(suite: Suite) -> dict[str, Any]:
    """The suite in small: as its table `quick` says, by default of its first three seeds."""
    settings = dict(suite.get("quick", {}))
    count, runs = settings.pop("seeds", QUICK_SEEDS), suite.get("runs", {})
    names = settings.pop("runs", runs)
    return {
        **suite,
        "in_small": True,
        "first": first_run(suite),
        "runs": {n: _quick_run(own, settings, count) for n, own in runs.items() if n in names},
        "settings": {**suite.get("settings", {}), **settings},
        **({"splits": parse_seeds(suite["splits"])[:count]} if "splits" in suite else {}),
        _seeds_key(suite): suite_seeds(suite)[:count],
    }


def _quick_run(own: Mapping[str, Any], settings: Mapping[str, Any], count: int) -> dict[str, Any]:
    """A run's own table with the settings of all runs over it, and so many of its seeds."""
    small = {name: settings.get(name, value) for name, value in own.items()}
    return small | ({"seeds": parse_seeds(own["seeds"])[:count]} if "seeds" in own else {})
