"""The file of a sweep: runs by name, what they share, grids, seeds; also a suite.

seeds = 5                      # or "3,7", or [3, 7]; splits = 10: seed k on split k, or, beside
                               # seeds, all of these on each
[settings]                     # of every run: also algorithm, task, model, protocol, device
task = "cora"
model = "gcn"
[grid]                         # a run for each combination
lr = [0.01, 0.001]
[runs.ugs]
algorithm = "ugs"
[runs.random]
algorithm = "control"
tickets = "ugs"                # those of another run of the file, or a folder
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from graphlth.experiment.seeds import parse_seeds
from graphlth.experiment.settings import GRAPH_FILES, plugin_settings
from graphlth.registry import OF_RUN, kind_noun, names, nearest_name

LARGEST = 1 << 20  # bytes
MOST_RUNS = 10_000
NAMES = tuple(map(kind_noun, OF_RUN))  # algorithm, task, model
RESOURCES = ("protocol", "device", "threads")  # what a run is given beside its settings
OWN = ("seeds", "splits", "settings", "grid", "runs", "search")
OPTIONS = ("out", "workers", "cluster", "keep_tickets", "retries")  # of the command alone
REPORT = (  # what `graphlth reproduce` reads besides
    "title", "source", "notes", "published", "expected", "instability", "claims", "pairs",
    "columns", "tickets", "compare", "extreme", "mask_epochs", "analyze", "figures", "quick",
)  # fmt: skip


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep.

    Args:
        name: its name in the file, with its values of the grid.
        names: algorithm, task and model.
        settings: by name; others have their preset or default.
        seeds: their numbers.
        resources: protocol, device and threads, where the file says them.
        source: the name of the run of the file whose tickets it reads; "" for none.
    """

    name: str
    names: tuple[str, str, str]
    settings: Mapping[str, Any]
    seeds: tuple[int, ...]
    resources: Mapping[str, Any]
    source: str = ""


@dataclass(frozen=True)
class Sweep:
    """The runs of a file, sources before those that read them, and its table of a search."""

    runs: tuple[SweepRun, ...]
    search: Mapping[str, Any] | None = None


def read_sweep(file: str | Path | Mapping[str, Any]) -> Sweep:
    """The sweep in a TOML file, or in a mapping of the same form.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: names the file and what is wrong in it.
    """
    if isinstance(file, Mapping):
        return _read_runs(file)
    table = read_table(file)
    try:
        return _read_runs(table)
    except ValueError as error:
        raise ValueError(f"{error}; in `file` {str(file)!r}") from None


def read_table(file: str | Path, argument: str = "file") -> dict[str, Any]:
    """The content of a TOML file, which is this `argument` of a function.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is too large, or no TOML.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"`{argument}` must be a file, got {str(path)!r}")
    if path.suffix != ".toml" or path.stat().st_size > LARGEST:
        raise ValueError(
            f"`{argument}` must be a .toml of at most {LARGEST:,} bytes, got {str(path)!r}"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{argument}` {str(path)!r} is not TOML: {error}") from None


def _read_runs(table: Mapping[str, Any]) -> Sweep:
    for name in table:
        _refuse_option(name)
        if name not in (*OWN, *REPORT):
            near = nearest_name(name, OWN)
            hint = f"did you mean `{near}`?" if near else "give it to its runs under [settings];"
            raise ValueError(f"`{name}` is no setting of a sweep; {hint} there are "
                             f"{', '.join(OWN)}")  # fmt: skip
    for name in ("settings", "grid", "runs", "search"):
        if not isinstance(table.get(name, {}), Mapping):
            raise ValueError(f"`{name}` must be a table, got {table[name]!r}")
    for name, own in table.get("runs", {}).items():
        if not isinstance(own, Mapping):
            raise ValueError(f"`runs` must be tables, got {own!r} for {name!r}")
    runs: dict[str, SweepRun] = {}
    points: dict[str, list[tuple[Mapping[str, Any], str]]] = {}  # of each run: grid values, name
    for name, own in (table.get("runs") or {"": {}}).items():
        points[name] = []
        for run, choice in _expand(name, own, table):
            runs[run.name] = _with_source(run, choice, points)
            points[name].append((choice, run.name))
            if len(runs) > MOST_RUNS:
                raise ValueError(f"`grid` must make at most {MOST_RUNS:,} runs, got more")
    return Sweep(tuple(runs.values()), table.get("search"))


def _expand(
    name: str, own: Mapping[str, Any], table: Mapping[str, Any]
) -> Iterator[tuple[SweepRun, Mapping[str, Any]]]:
    """The runs that a table of the file stands for, each with its values of the grid."""
    settings = {**table.get("settings", {}), **own}
    seeds = settings.pop("seeds", table.get("seeds"))
    grid = {**table.get("grid", {}), **settings.pop("grid", {})}
    for each, values in grid.items():
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise ValueError(f"`grid` must hold lists of values, got {values!r} for `{each}`")
    if "splits" in table:
        _check_beside_splits({**settings, **grid})
        grid["split"] = parse_seeds(table["splits"], "splits")
    for values in product(*grid.values()):
        choice = dict(zip(grid, values, strict=True))
        default = [choice["split"]] if "splits" in table else 1
        numbers = parse_seeds(default if seeds is None else seeds)
        yield _run(name, {**settings, **choice}, choice, numbers), choice


def _check_beside_splits(settings: Mapping[str, Any]) -> None:
    """Refuse what says otherwise than `splits`, and a task of which graphlth knows no splits."""
    if "split" in settings:
        raise ValueError(f"`split` must not be given beside `splits`, got {settings['split']!r}")
    task = settings.get("task")
    if task in names("tasks") and "split" not in plugin_settings("tasks", task):
        raise ValueError(f"`splits` must be of a task with the setting `split`, got {task!r}")


def _run(
    name: str, settings: Mapping[str, Any], choice: Mapping[str, Any], seeds: Sequence[int]
) -> SweepRun:
    plain: dict[str, Any] = {n: None if v == "null" else v for n, v in settings.items()}
    for each in plain:
        _refuse_option(each)
    for each in NAMES:
        if not isinstance(plain.get(each), str):
            near = nearest_name(each, [*plain])
            hint = f": did you mean `{each}` by `{near}`?" if near else ""
            raise ValueError(f"`{each}` must be given for every run, got none for {name!r}{hint}")
    label = ", ".join([name or plain["algorithm"], *(f"{n} {v}" for n, v in choice.items())])
    algorithm, task, model = (plain.pop(n) for n in NAMES)
    if Path(task).suffix in GRAPH_FILES:
        task, plain = "file", {"path": task, **plain}
    resources = {n: plain.pop(n) for n in RESOURCES if n in plain}
    return SweepRun(label, (algorithm, task, model), plain, tuple(seeds), resources)


def _refuse_option(name: str) -> None:
    """Refuse in a file what is given to the command or the function that runs it."""
    if name in OPTIONS:
        raise ValueError(f"`{name}` must not be in the file: give it to the command, as --{name}, "
                         "or to glt.sweep")  # fmt: skip


def _with_source(
    run: SweepRun,
    choice: Mapping[str, Any],
    points: Mapping[str, Sequence[tuple[Mapping[str, Any], str]]],
) -> SweepRun:
    """The run with the name of the one whose tickets it reads: at the same values of the grid.

    Raises:
        ValueError: there is not one such run alone.
    """
    named = run.settings.get("tickets")
    if not isinstance(named, str) or named not in points:
        return run  # a folder, or none
    found = [name for other, name in points[named]
             if all(other[n] == choice[n] for n in other.keys() & choice.keys())]  # fmt: skip
    if len(found) != 1:
        raise ValueError(f"`tickets` must name one run above, got {named!r} for {run.name!r}, "
                         f"which is {len(found)} runs at those values of the grid")  # fmt: skip
    settings = {n: v for n, v in run.settings.items() if n != "tickets"}
    return SweepRun(run.name, run.names, settings, run.seeds, run.resources, found[0])
