"""The command `graphlth reproduce`."""

from typing import Any

from jsonargparse import ArgumentParser

from graphlth._exit import raise_on_signal
from graphlth.cli.arguments import add_settings, parse_arguments
from graphlth.cli.sweep import show_estimates
from graphlth.cli.tables import print_table, print_text
from graphlth.settings.validation import settings_of

USAGE = "graphlth reproduce NAME|FILE [--quick] [--dry-run] [--SETTING VALUE ...] | --list"


def reproduce(argv: list[str]) -> None:
    """Run a suite and write what it shows; or say which there are, or what one would take."""
    from graphlth.reproduction import run

    parser = ArgumentParser(prog="graphlth reproduce", usage=USAGE, exit_on_error=False)
    parser.add_argument("name", nargs="?", help="a suite, or a .toml file of your own")
    parser.add_argument("--list", action="store_true", help="print the suites there are")
    parser.add_argument("--quick", action="store_true", help="the suite in small, in minutes")
    parser.add_argument(
        "--dry_run", action="store_true",
        help="run nothing: print the command of each run, and what it would take",
    )  # fmt: skip
    own = settings_of(run.reproduce)
    add_settings(
        parser, run.reproduce, {n: p for n, p in own.items() if n not in ("watch", "quick")}
    )
    given = parse_arguments(parser, argv)
    name, listed, dry_run = (given.pop(n) for n in ("name", "list", "dry_run"))
    if listed and name is None:
        return list_suites()
    if listed or name is None:
        raise ValueError(f"`name` must be {'left out with' if listed else 'a suite, or give'} "
                         f"--list, got {'none' if name is None else repr(name)}")  # fmt: skip
    (_show_estimates if dry_run else _reproduce)(name, given)
    return None


def list_suites() -> None:
    """Print a line for each suite that comes with graphlth."""
    from graphlth.reproduction.parts import suite_seeds
    from graphlth.reproduction.suite import read_suite, suite_names

    suites = map(read_suite, suite_names())
    print_table(
        ("name", "seeds", "claims", "what", "source"),
        [[suite["called"], str(len(suite_seeds(suite))), str(len(suite.get("claims", []))),
          suite["title"], suite["source"]] for suite in suites],
        left=("name", "what", "source"),
    )  # fmt: skip


def _reproduce(name: str, given: dict[str, Any]) -> None:
    from graphlth.cli.progress import sweep_progress
    from graphlth.reproduction import run

    suite = run.choose_suite(name, given["seeds"], given["quick"])
    with raise_on_signal(), sweep_progress(run.count_steps(suite)) as watch:
        found = run.reproduce(name, **given, watch=watch)
    for each in found.verdicts:
        print_text(f"{each.verdict}: {each.claim} ({each.found})")
    print(found.folder / "README.md")


def _show_estimates(name: str, given: dict[str, Any]) -> None:
    from graphlth.reproduction.parts import sweep_part
    from graphlth.reproduction.run import choose_suite

    suite = choose_suite(name, given["seeds"], given["quick"])
    show_estimates({"file": sweep_part(suite), **given})
