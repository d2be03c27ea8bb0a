"""Reproduce a figure or a table: its runs, what they show of what is published, a page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import graphlth.records as record
from graphlth.experiment.measure import analyze
from graphlth.experiment.plan import Step
from graphlth.experiment.seeds import parse_seeds
from graphlth.records import Record
from graphlth.registry import find
from graphlth.reproduction.claims import add_measures, find_verdicts
from graphlth.reproduction.result import (
    Data,
    Result,
    Table,
    Verdict,
    name_machine,
    save,
    shorten_commit,
    to_data,
)
from graphlth.reproduction.suite import Suite, quick_suite, read_suite, sweep_part
from graphlth.reproduction.tables import (
    Runs,
    band_claims,
    describe_values,
    gap_table,
    measure_table,
    published_values,
    round_table,
    run_table,
    run_warnings,
    ticket_table,
)
from graphlth.settings.types import Threads
from graphlth.sweeps.run import sweep

QUICK = "In small (--quick): no reproduction."
FIGURES_OF = {"instability": ("instability", "barrier")}  # of measures; others have their own
Watch = Callable[[Step], None]


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` gives: the folder of data, page and figures, and the verdicts."""

    folder: Path
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Places:
    """Where runs and data lie, and who computes."""

    out: str
    workers: int = 1
    cluster: str | None = None
    data_root: str | None = None


def reproduce(
    name: str | Path,
    *,
    out: str | Path = "runs",
    result: str | Path | None = None,
    seeds: int | str | Sequence[int] | None = None,
    quick: bool = False,
    workers: Threads = 1,
    cluster: str | None = None,
    data_root: str | None = None,
    watch: Watch = lambda step: None,
) -> Reproduction:
    """Run a suite, and write what it shows: data, a page with a verdict per claim, figures.

    What is recorded already is not run again.

    Args:
        name: a suite, such as "ugs-cora-gcn", or a .toml file of your own; see
            `graphlth.reproduction.suite`.
        out: the folder of the runs' folders.
        result: the folder of the result; by default reproduced/NAME, with -quick where it is.
        seeds: instead of those of the suite: so many from 0, or which, as in 3,7 or 100-129.
        quick: the suite in small, in minutes, to see that it runs; pages and figures say so.
        workers: processes of this machine, a seed each at a time.
        cluster: the address of the scheduler of a Dask cluster, or its file.
        data_root: the folder of the data.
        watch: is called after every round and every measured ticket.

    Raises:
        ValueError: there is no such suite, something in it is wrong, or seeds could not be run.
        OSError: a file cannot be read or written.
    """
    suite = choose_suite(name, seeds, quick)
    folder = Path(result or Path("reproduced") / (suite["name"] + "-quick" * quick))
    places = Places(str(out), workers, cluster, data_root)
    folders = run_folders(suite, places, watch)
    runs = read_runs(suite, folders)
    measured = measure_runs(suite, folders, places, watch) if "analyze" in suite else {}
    found = make_result(suite, runs, measured, folder, quick)
    save(folder, to_data(found))
    return Reproduction(folder, tuple(found.verdicts))


def choose_suite(
    name: str | Path, seeds: int | str | Sequence[int] | None = None, quick: bool = False
) -> Suite:
    """The suite of `reproduce` with these arguments."""
    suite: Suite = read_suite(name)
    if seeds is not None:
        suite = with_seeds(suite, seeds)
    return quick_suite(suite) if quick else suite


def with_seeds(suite: Suite, seeds: int | str | Sequence[int]) -> dict[str, Any]:
    """The suite with other seeds, of all its runs; or with other splits, where it has these."""
    runs = {name: {n: v for n, v in own.items() if n != "seeds"}
            for name, own in suite.get("runs", {}).items()}  # fmt: skip
    place = "splits" if "splits" in suite else "seeds"
    return {**suite, "runs": runs, place: parse_seeds(seeds)}


# --- runs ----------------------------------------------------------------------------------------


def run_folders(suite: Suite, places: Places, watch: Watch) -> dict[str, list[Path]]:
    """The folders of every run of a suite, one for each split."""
    readers = "analyze" in suite or any("tickets" in own for own in suite["runs"].values())
    found = sweep(
        sweep_part(suite), out=places.out, workers=places.workers, cluster=places.cluster,
        data_root=places.data_root, keep_tickets="all" if readers else "none", watch=watch,
    )  # fmt: skip
    folders: dict[str, list[Path]] = {}
    for name, folder in found.items():
        known = name.rpartition(", split ")[0] if "splits" in suite else name
        folders.setdefault(known, []).append(folder)
    return {name: folders[name] for name in suite.get("compare", folders)}


def read_runs(suite: Suite, folders: Mapping[str, Sequence[Path]]) -> dict[str, list[Record]]:
    """The records of every run, of the seeds that the suite asks for.

    Those of all splits are one run, as seeds are.
    """
    return {name: [one for place, folder in enumerate(own)
                   for one in _read_folder(suite, name, place, folder)]
            for name, own in folders.items()}  # fmt: skip


def _read_folder(suite: Suite, name: str, place: int, folder: Path) -> list[Record]:
    if "splits" in suite:
        split = parse_seeds(suite["splits"])[place]
        return [_of_all_splits(r) for r in record.read(folder) if r["seed"] == split]
    seeds = {*run_seeds(suite, name)}
    return [r for r in record.read(folder) if r["seed"] in seeds]


def run_seeds(suite: Suite, name: str) -> list[int]:
    """The seeds of a run: its own, else those of the suite."""
    own = suite.get("runs", {}).get(name, {})
    return parse_seeds(own.get("seeds", suite.get("splits", suite.get("seeds", 1))))


def _of_all_splits(r: Record) -> Record:
    """A record without what tells its split from others."""
    known = {name: value for name, value in r.items() if name not in ("data", "source")}
    return known | {"settings": {**r["settings"], "split": "each"}}


def measure_runs(
    suite: Suite, folders: Mapping[str, Sequence[Path]], places: Places, watch: Watch
) -> dict[str, list[Record]]:
    """The records of what [analyze] measures of every run."""
    settings = dict(suite["analyze"])
    measure, rounds = settings.pop("measure"), settings.pop("rounds", "all")
    settings.pop("fields", None)
    measured = {
        name: [analyze(measure, str(folder), settings, seeds=run_seeds(suite, name), rounds=rounds,
                       out=str(Path(places.out) / "measures"), jobs=places.workers,
                       data_root=places.data_root, watch=watch) for folder in own]
        for name, own in folders.items()
    }  # fmt: skip
    return read_runs(suite, measured)


# --- result --------------------------------------------------------------------------------------


def make_result(
    suite: Suite, runs: Runs, measured: Runs, folder: Path, quick: bool = False
) -> Result:
    """What a suite's runs show; figures are drawn into the folder."""
    tables, claims = suite_tables(suite, runs), band_claims(runs, suite)
    pictures = draw_figures(suite, runs, suite.get("figures", {}), folder, quick)
    if measured:
        tables.append(measure_table(measured, suite["analyze"]))
        claims += band_claims(measured, suite, "instability")
        figures = FIGURES_OF.get(suite["analyze"]["measure"], (suite["analyze"]["measure"],))
        drawn: dict[str, Any] = {name: {} for name in figures}
        pictures |= draw_figures(suite, measured, drawn, folder, quick)
    settings = next(iter(runs.values()))[0]["settings"]
    span = "iterations" if settings.get("iterations") else "epochs"
    about = [f"{suite['source']}." if suite["source"] else "", QUICK if quick else "",
             f"{describe_seeds(suite)}, {settings[span]:,} {span} a training.",
             describe_values(runs)]  # fmt: skip
    if isinstance(suite.get("published"), str):
        about.append(f"Published values: {suite['published']}.")
    verdicts = find_verdicts(tested_claims(suite), add_measures(runs, measured), suite["source"])
    return Result(
        suite["name"], suite["title"], " ".join(filter(None, about)),
        describe_runs(suite, runs, quick, **{span: settings[span]}), tables, claims, verdicts,
        pictures, run_warnings(runs), suite["notes"],
    )  # fmt: skip


def suite_tables(suite: Suite, runs: Runs) -> list[Table]:
    """The tables that a suite asks for."""
    if suite.get("tickets"):
        return [ticket_table(runs, suite)]
    if "columns" in suite:
        return [run_table(runs, suite)]
    return [round_table(runs, suite), gap_table(runs, suite)]


def tested_claims(suite: Suite) -> list[Mapping[str, Any]]:
    """The claims of a suite; of one with splits none can be tested as seeds are."""
    claims = suite.get("claims", [])
    if "splits" not in suite:
        return list(claims)
    reason = "splits share nodes, and are no independent repetitions"
    return [{"text": c["text"], "source": c.get("source", suite["source"]),
             "reason": c.get("reason", reason)} for c in claims]  # fmt: skip


def draw_figures(
    suite: Suite, runs: Runs, figures: Mapping[str, Any], folder: Path, quick: bool
) -> dict[str, str]:
    """The figures of a suite, drawn into the folder of its result: the caption of every file."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = {}
    for name, settings in figures.items():
        how = {"title": figure_title(suite, quick, name), **settings}
        shown = [n for n in how.pop("runs", runs) if n in runs]
        records = [r for n in shown for r in runs[n]]
        path = str(folder / f"{name}.png")
        if name == "sparsity":
            draw_sparsity(records, published_values(suite), path, **how)
        else:
            find("figures", name)(records, out=path, **how)
        captions[f"{name}.png"] = name.replace("_", " ")
    return captions


def draw_sparsity(
    records: Sequence[Record], published: Mapping[str, Mapping[int, float]], path: str, **how: Any
) -> None:
    """The figure of UGS with the published points in it."""
    from graphlth.figures._style import figure_path, save_figure  # loads slowly
    from graphlth.figures.sparsity import draw_figure

    save_figure(draw_figure(records, published=published, **how), figure_path(path))


def figure_title(suite: Suite, quick: bool, name: str) -> str:
    """The title of a figure: what it reproduces, whether in small, and where published points are.

    That of sparsity has them in it.
    """
    title = str(suite["title"]) + (f" (in small: {describe_seeds(suite)})" if quick else "")
    if isinstance(suite.get("published"), str):
        title += f"\npublished points: {suite['published']}"
    elif suite.get("published") and (name != "sparsity" or not published_values(suite)):
        title += "\npublished points: in the table of the page"
    return title


def describe_seeds(suite: Suite) -> str:
    """How many seeds a suite has, and of which splits."""
    if "splits" in suite:
        count = len(parse_seeds(suite["splits"]))
        return f"{count} splits with one seed each (below, seeds are splits)"
    seeds = parse_seeds(suite.get("seeds", 1))
    return f"{len(seeds)} seeds" + (f", from {seeds[0]} up" if seeds[0] else "")


def describe_runs(suite: Suite, runs: Runs, quick: bool, **more: Any) -> Data:
    """Machine, versions, commits, seeds and settings of the runs, and the day."""
    about = next(iter(runs.values()))[0]["environment"]
    commits = {shorten_commit(r["environment"].get("commit", "unknown"))
               for rs in runs.values() for r in rs}  # fmt: skip
    hardware = {"cpu": about["cpu"], "core": None, "vector_bits": None, "second_cache_kib": None,
                "cores": about["cores"], "threads": "one thread per run"}  # fmt: skip
    told = {n: suite[n] for n in ("settings", "grid", "runs", "analyze") if n in suite}
    return {
        "machine": name_machine(hardware), "case": None,
        "command": f"graphlth reproduce {suite['called']}{' --quick' * quick} --data_root DIR",
        "date": str(date.today()), "commits": sorted(commits), "hardware": hardware, "load": None,
        "versions": {name: about.get(name) for name in ("python", "torch", "numba")},
        "seeds": len(parse_seeds(suite.get("splits", suite.get("seeds", 1)))),
        "settings": told | more, "remark": None,
    }  # fmt: skip
