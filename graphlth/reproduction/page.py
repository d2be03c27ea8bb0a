"""The result of a suite: its tables, verdicts and figures, and what they were measured with."""

import shlex
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from graphlth.experiment.seeds import parse_seeds
from graphlth.records import Record, run_key
from graphlth.records.statistics import IncompleteRecordsError
from graphlth.registry import find, names, normalize_name
from graphlth.reproduction.claims import Claim, add_measures, claimed_rounds, find_verdicts
from graphlth.reproduction.extreme import extreme_table
from graphlth.reproduction.mask_epochs import mask_epoch_table
from graphlth.reproduction.parts import Suite, first_run, published_values, suite_seeds
from graphlth.reproduction.result import Data, Result, Table, name_machine, shorten_commit
from graphlth.reproduction.rounds import Runs
from graphlth.reproduction.splits import spread_table
from graphlth.reproduction.tables import (
    band_claims,
    describe_values,
    gap_table,
    measure_table,
    pair_warnings,
    round_table,
    run_table,
    run_warnings,
    ticket_table,
)

QUICK = "In small (--quick): no reproduction."
NOTES_OF_WHOLE = "Of the whole suite; in small not all of it can be seen:"
SPLITS = "splits share nodes, and are no independent repetitions"
NO_TABLE = {  # why a table that a suite asks for is not there
    "extreme": "no table of extreme sparsity: no run that it names has round 0, rounds that each "
    "remove more, and a metric whose margin is known",
    "mask_epochs": "no table of mask phases: no run records the epoch of its masks",
}
NAMED_IN = ("sparsity", "cost", "epoch_selection", "mask_epoch", "removed_edges")  # a run, a series
FIGURES_OF = {"instability": ("instability", "barrier")}  # of measures; others have their own
TITLE_LETTERS = 72  # of a line


def make_result(suite: Suite, runs: Runs, measured: Runs, folder: Path) -> Result:
    """What the runs of a suite show; figures are drawn into the folder."""
    tables, claims = suite_tables(suite, runs), band_claims(runs, suite)
    of_runs, of_measure = figures_of(suite)
    pictures, warnings = draw_figures(suite, runs, of_runs, folder)
    whole = add_measures(runs, measured)
    others = {"extreme": extreme_table(runs, suite), "spread": spread_table(runs)}
    if "mask_epochs" in suite:
        others["mask_epochs"] = mask_epoch_table(whole, suite["mask_epochs"])
    tables += [table for table in others.values() if table]
    warnings += [text for name, text in NO_TABLE.items() if name in suite and not others[name]]
    if measured:
        tables.append(measure_table(measured, suite["analyze"]))
        claims += band_claims(measured, suite, "instability")
        more, wrong = draw_figures(suite, measured, of_measure, folder)
        pictures, warnings = pictures | more, warnings + wrong
    verdicts = find_verdicts(tested_claims(suite, runs), whole, suite["source"])
    notes = suite["notes"]
    if notes and suite.get("in_small"):
        notes = f"{NOTES_OF_WHOLE}\n\n{notes}"
    return Result(
        suite["name"], suite["title"], describe_result(suite, runs), describe_runs(suite, runs),
        tables, claims, pictures, run_warnings(runs) + pair_warnings(runs, suite) + warnings,
        notes, verdicts,
    )  # fmt: skip


def suite_tables(suite: Suite, runs: Runs) -> list[Table]:
    """The tables that a suite asks for."""
    if suite.get("tickets"):
        return [ticket_table(runs, suite)]
    if "columns" in suite:
        return [run_table(runs, suite)]
    return [round_table(runs, suite), gap_table(runs, suite)]


def tested_claims(suite: Suite, runs: Runs) -> list[Claim]:
    """The claims of a suite, with a `reason` where they cannot be tested.

    Of splits none can be, as over seeds; in small there are rounds that are not run.
    """
    return [claim if (why := why_untested(claim, suite, runs)) is None or "reason" in claim else
            {"text": claim["text"], "source": claim.get("source", suite["source"]), "reason": why}
            for claim in suite.get("claims", [])]  # fmt: skip


def why_untested(claim: Claim, suite: Suite, runs: Runs) -> str | None:
    """Why a claim of a suite cannot be tested; None if it can."""
    if "splits" in suite:
        return SPLITS
    if not suite.get("in_small") or "reason" in claim:
        return None
    known = {(name, record["round"]) for name, records in runs.items() for record in records}
    missing = [f"{name} has no round {r}" for name, r in claimed_rounds(claim)
               if name in runs and (name, r) not in known]  # fmt: skip
    return f"in small {missing[0]}" if missing else None


# --- words ---------------------------------------------------------------------------------------


def describe_result(suite: Suite, runs: Runs) -> str:
    """What a page says above its tables."""
    ((span, length),) = training_length(runs).items()
    parts = [
        f"{' '.join(suite['source'].split()).rstrip('.')}." if suite["source"].strip() else "",
        QUICK if suite.get("in_small") else "",
        f"{describe_seeds(suite)}, {length:,} {span} a training.", describe_values(runs),
    ]  # fmt: skip
    if isinstance(suite.get("published"), str):
        parts.append(f"Published values: {suite['published'].rstrip('.')}.")
    return " ".join(filter(None, parts))


def training_length(runs: Runs) -> dict[str, int]:
    """The epochs, or the iterations, of a training of the first run."""
    settings = next(iter(runs.values()))[0]["settings"]
    span = "iterations" if settings.get("iterations") else "epochs"
    return {span: settings[span]}


def describe_seeds(suite: Suite) -> str:
    """How many seeds a suite has, and of which splits."""
    seeds = suite_seeds(suite)
    if "splits" in suite:
        splits = count_text(parse_seeds(suite["splits"]), "split")
        many = f"{count_text(seeds, 'seed')} each" if "seeds" in suite else "one seed each"
        return f"{splits} with {many}"
    return count_text(seeds, "seed") + (f", from {seeds[0]} up" if seeds[0] else "")


def count_text(numbers: Sequence[int], noun: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{len(numbers)} {noun}{'s' * (len(numbers) > 1)}"


def describe_runs(suite: Suite, runs: Runs) -> Data:
    """Machine, versions, commits, seeds and settings of the runs, and the day."""
    about = next(iter(runs.values()))[0]["environment"]
    commits = {shorten_commit(r["environment"].get("commit", "unknown"))
               for rs in runs.values() for r in rs}  # fmt: skip
    hardware = {"cpu": about["cpu"], "core": None, "vector_bits": None, "second_cache_kib": None,
                "cores": about["cores"], "threads": "one thread per run"}  # fmt: skip
    told = {n: suite[n] for n in ("settings", "grid", "runs", "analyze") if n in suite}
    remark = f"{describe_seeds(suite)}." if "splits" in suite else None
    return {
        "machine": name_machine(hardware), "case": None, "command": command_of(suite),
        "date": str(date.today()), "commits": sorted(commits), "hardware": hardware, "load": None,
        "versions": {name: about.get(name) for name in ("python", "torch", "numba")},
        "seeds": len(suite_seeds(suite)), "settings": told | training_length(runs),
        "remark": remark,
    }  # fmt: skip


def command_of(suite: Suite) -> str:
    """The command that reproduces a suite."""
    words = ["graphlth", "reproduce", suite["called"], *["--quick"] * bool(suite.get("in_small"))]
    seeds = ["--seeds", suite["other_seeds"]] if "other_seeds" in suite else []
    return shlex.join([*words, *seeds, "--data_root", "DIR"])


# --- figures -------------------------------------------------------------------------------------


def figures_of(suite: Suite) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of the runs of a suite, and those of what [analyze] measures of them.

    Those of the measure are drawn also where [figures] does not name them.
    """
    asked = suite.get("figures", {})
    measure = normalize_name(suite.get("analyze", {}).get("measure", ""))
    own = [n for n in FIGURES_OF.get(measure, (measure,)) if n in names("figures")]
    return {n: how for n, how in asked.items() if n not in own}, {n: asked.get(n, {}) for n in own}


def picture_files(suite: Suite) -> list[str]:
    """The files of all figures of a suite."""
    return [f"{name}.png" for figures in figures_of(suite) for name in figures]


def draw_figures(
    suite: Suite, runs: Runs, figures: Mapping[str, Any], folder: Path
) -> tuple[dict[str, str], list[str]]:
    """Draw figures into the folder: the caption of every file, and what could not be drawn."""
    captions, wrong = {}, []
    for name, settings in figures.items():
        how = dict(settings)
        shown = {n: runs[n] for n in how.pop("runs", runs) if n in runs}
        points = POINTS_IN[name](suite, shown) if name in POINTS_IN else {}
        of_measure = name in figures_of(suite)[1]  # of which nothing is published
        title = how.get("title") or suite["title"]
        how["title"] = figure_title(suite, title, bool(points) or of_measure)
        try:
            draw_figure(name, shown, points, folder, how)
        except IncompleteRecordsError as error:
            wrong.append(f"the figure {name} is not drawn: {error}")
        else:
            captions[f"{name}.png"] = name.replace("_", " ")
    return captions, wrong


def draw_figure(
    name: str, runs: Runs, published: Mapping[str, Any], folder: Path, how: Mapping[str, Any]
) -> None:
    """Draw a figure of some runs; those of `POINTS_IN` with the published points in them."""
    from graphlth.figures import inference, sparsity  # load slowly
    from graphlth.figures._files import save_figure

    called = runs_with_names(runs) if name in NAMED_IN else runs
    records: list[Record] = [r for own in called.values() for r in own]
    path = folder / f"{name}.png"
    if name in POINTS_IN:
        draw: Any = {"sparsity": sparsity, "inference": inference}[name].draw_figure
        save_figure(draw(records, published=published, **how), path)
    else:
        find("figures", name)(records, out=str(path), **how)


def runs_with_names(runs: Runs) -> Runs:
    """Runs whose records have the name that the suite gives them, by which figures call them."""
    from graphlth.figures._style import RUN_NAME  # loads slowly

    return {name: [{**r, RUN_NAME: name} for r in own] for name, own in runs.items()}


def published_points(suite: Suite, runs: Runs) -> dict[str, dict[int, float]]:
    """What is published of the first of some runs by its source, if that is the suite's first."""
    first = first_run(suite)
    if next(iter(runs), None) != first:
        return {}
    return {source: of[first] for source, of in published_values(suite).items() if first in of}


def published_tickets(suite: Suite, runs: Runs) -> dict[str, dict[Any, float]]:
    """What is published of tickets, by its source and the run that the ticket is of."""
    table = suite.get("published", {})
    if isinstance(table, str) or not suite.get("tickets"):
        return {}
    known = {source: {run_key(runs[name][0]): value for name, value in values.items()
                      if name in runs} for source, values in table.items()}  # fmt: skip
    return {source: values for source, values in known.items() if values}


POINTS_IN: Mapping[str, Callable[[Suite, Runs], Mapping[str, Any]]] = {
    "sparsity": published_points, "inference": published_tickets,
}  # fmt: skip


def figure_title(suite: Suite, title: str, has_points: bool) -> str:
    """The title of a figure: what it shows, whether in small, and where published points are.

    Args:
        suite: the suite.
        title: what the figure shows.
        has_points: whether the published points are in the figure, or none are of what it shows.
    """
    published = suite.get("published")
    text = title + (f" (in small: {describe_seeds(suite)})" if suite.get("in_small") else "")
    lines = textwrap.wrap(text, TITLE_LETTERS)
    if published and not has_points:
        where = published if isinstance(published, str) else "in the table of the page"
        lines += textwrap.wrap(f"published points: {where}", TITLE_LETTERS)
    return "\n".join(lines)
