"""The command `graphlth sweep`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from graphlth._exit import raise_on_signal
from graphlth.cli.arguments import add_settings, parse_arguments
from graphlth.cli.tables import print_table, print_text
from graphlth.settings.validation import settings_of

if TYPE_CHECKING:  # at run time each command loads what it needs
    from graphlth.sweeps.estimate import Estimate

USAGE = "graphlth sweep FILE [--workers N | --cluster ADDRESS] [--dry-run] [--SETTING VALUE ...]"


def sweep(argv: list[str]) -> None:
    """Run all seeds of all runs of a file; or say what that would take."""
    from graphlth.sweeps import run

    parser = ArgumentParser(prog="graphlth sweep", usage=USAGE, exit_on_error=False)
    parser.add_argument("file", help="a .toml file of runs")
    parser.add_argument(
        "--dry_run", action="store_true",
        help="run nothing: print the command of each run, and what it would take",
    )  # fmt: skip
    parser.add_argument(
        "--search", action="store_true",
        help="search the settings of the file's run by its validation metric, as its table says",
    )  # fmt: skip
    own = settings_of(run.sweep)
    add_settings(parser, run.sweep, {n: p for n, p in own.items() if n != "watch"})
    given = parse_arguments(parser, argv)
    dry_run, search = given.pop("dry_run"), given.pop("search")
    if dry_run and search:
        raise ValueError("`dry_run` must not be given with `search`, whose runs are not known yet")
    (show_estimates if dry_run else _search if search else _sweep)(given)


def _sweep(given: dict[str, Any]) -> None:
    from graphlth.cli.progress import sweep_progress
    from graphlth.sweeps import run
    from graphlth.sweeps.file import read_sweep

    total = run.count_rounds(read_sweep(given["file"]))
    with raise_on_signal(), sweep_progress(total) as watch:
        folders = run.sweep(given.pop("file"), **given, watch=watch)
    for name, folder in folders.items():
        print(f"{folder}  {name}")


def _search(given: dict[str, Any]) -> None:
    from graphlth.cli.progress import sweep_progress
    from graphlth.sweeps import search

    run, table = search.read_search(given["file"])
    total = table.trials * search.count_rounds(run, table)
    with raise_on_signal(), sweep_progress(total) as watch:
        trials = search.search_settings(given.pop("file"), **given, watch=watch)
    names = [*table.space]
    print_table(
        ("trial", *names, "val", "folder"),
        [[str(t.number), *(format_setting(t.settings[n]) for n in names),
          "failed" if t.val is None else f"{t.val:.4f}", str(t.folder)] for t in trials],
        left=("folder",),
    )  # fmt: skip


def format_setting(value: Any) -> str:
    """A setting in a cell of a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show_estimates(given: dict[str, Any]) -> None:
    """Print what each run of a sweep would take, all of them together, and the commands."""
    from graphlth.cli.progress import format_clock
    from graphlth.sweeps.estimate import estimate_sweep

    with raise_on_signal():
        found = [*estimate_sweep(given["file"], given["out"], given["data_root"])]
    print_table(
        ("run", "seeds", "done", "time", "memory", "from"),
        [[e.run.name, str(len(e.run.seeds)), str(e.done),
          "?" if e.seconds is None else format_clock(e.seconds),
          "" if e.memory is None else f"{e.memory / 2**20:,.0f} MiB", e.source] for e in found],
        left=("run", "from"),
    )  # fmt: skip
    print_text(_total(found, given["workers"], given["cluster"]))
    for each in found:
        print(each.command)


def _total(found: Sequence["Estimate"], workers: int, cluster: str | None) -> str:
    """A line: what all runs take together."""
    from graphlth.cli.progress import format_clock

    seconds = sum(each.seconds or 0 for each in found)
    memory = max((each.memory or 0 for each in found), default=0)
    runs = f"{len(found)} run{'s' * (len(found) != 1)}"
    text = f"{runs}: at most about {format_clock(seconds)} of one process"
    if cluster is None:
        text += (f", {format_clock(seconds / workers)} and {workers * memory / 2**20:,.0f} MiB "
                 f"with {workers} worker{'s' * (workers > 1)}")  # fmt: skip
    unknown = sum(each.seconds is None for each in found)
    return text + (f"; without {unknown} that read tickets not found yet" if unknown else "")
