"""The command line: which command is called, and what its errors become."""

import re
import signal
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from graphlth._exit import (
    finish,
    output_failure,
    prepare,
    print_error_line,
    signal_message,
)
from graphlth.cli.errors import format_error
from graphlth.cli.tables import print_list
from graphlth.data.published import DataWarning
from graphlth.registry import KINDS, describe, names
from graphlth.storage import printable

OVERVIEW = """usage: graphlth COMMAND ...

Find, study and use lottery tickets in graph neural networks.

commands:
  run ALGORITHM --task T --model M   find tickets, retrain and record them
  reproduce NAME|--list              a published figure: its runs, a verdict per claim
  sweep FILE --workers N             run all seeds of all runs of a file, also on a cluster
  analyze MEASURE DIR... --out DIR   measure the tickets of recorded runs
  plot FIGURE DIR... --out FILE      draw recorded runs
  compare A B                        two runs, round by round, with tested verdicts
  show DIR|TICKET...                 tables of recorded runs, what is in a ticket file
  report DIR... --out FILE           a page of recorded runs, to be read in a browser
  records DIR... --out FILE          records as CSV or Parquet, for TensorBoard or MLflow
  export TICKET --out FILE           retrain a ticket and write it compacted
  bench TICKET...                    its time and disk space, compacted and dense
  verify DIR|FILE...                 check that everything stored is as it was written
  list [KIND]                        the plug-ins, all or of one kind

options:
  -h, --help   this text; after a command, that of the command
  --version    the version

An interrupted run, sweep or analysis continues when the same command is given again."""
PARSED = (  # see `commands`
    "run", "reproduce", "sweep", "analyze", "plot", "compare", "show", "report", "records",
    "export", "bench", "verify",
)  # fmt: skip
NO_MEMORY = "out of memory: lower `hidden`, `layers`, `batch_size` or `jobs`, or take smaller data"


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 2 after an error (one line on stderr), 130 after an interrupt.

    It is 141 where nobody reads the output to its end, as in `graphlth list | head -1`.
    """
    own = argv is None  # a process of graphlth's own
    if own:
        prepare()
    code, text = run_command([*(sys.argv[1:] if argv is None else argv)] or ["--help"])
    if own:
        finish(text)
    elif text is not None:
        print_error_line(text)
    return code


def run_command(argv: Sequence[str]) -> tuple[int, str | None]:
    """The exit code of a command, and the line to write to stderr."""
    command, *rest = argv
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # they are of torch, about its own plans
                warnings.filterwarnings("default", "compiled code is not kept")
                warnings.filterwarnings("default", category=DataWarning)
            warnings.showwarning = print_warning
            if command not in COMMANDS:
                raise ValueError(
                    f"`command` must be one of {', '.join(COMMAND_NAMES)}, got {command!r}"
                )
            code = COMMANDS[command](rest) or 0
            if (failure := output_failure()) is not None:
                return output_error(failure)
    except (ValueError, OSError, ArgumentError) as error:
        if (failure := output_failure()) is not None:
            return output_error(failure)
        return 2, f"graphlth: error: {format_error(error)}"
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("memory|bad_alloc", str(error)):
            raise
        return 2, f"graphlth: error: {NO_MEMORY}"
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args else signal.SIGINT
        return 128 + number, signal_message(number, argv)
    except SystemExit:  # of help, and of it alone
        if (failure := output_failure()) is not None:
            return output_error(failure)
        raise
    return code, None


def output_error(failure: OSError) -> tuple[int, str | None]:
    """As `run_command`, of a command whose output could not be written."""
    if isinstance(failure, BrokenPipeError):
        return 141, None  # as of a process that SIGPIPE ends
    return 2, f"graphlth: error: cannot write standard output: {failure.strerror}"


def print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Write a warning in one line on stderr."""
    print(printable(f"graphlth: {message}"), file=sys.stderr)


def list_plugins(argv: list[str]) -> None:
    """The plug-ins of one kind, or of all."""
    kind = call_command("parse_kind", argv) if argv else None
    for each in [kind] if kind else KINDS:
        entries = [(name, describe(each, name)) for name in names(each)]
        print(f"{each}:")
        print_list(entries)


def call_command(name: str, argv: list[str]) -> Any:
    """What a function of `graphlth.cli.commands` makes of `argv`; its parser loads slowly."""
    from graphlth.cli.arguments import with_underscores

    return getattr(import_module("graphlth.cli.commands"), name)(with_underscores(argv))


COMMANDS: dict[str, Callable[[list[str]], int | None]] = {  # None: all went well
    **{name: partial(call_command, name) for name in PARSED},
    "list": list_plugins,
    "-h": lambda _: print(OVERVIEW),
    "--help": lambda _: print(OVERVIEW),
    "--version": lambda _: print(f"graphlth {installed_version()}"),
}
COMMAND_NAMES = [name for name in COMMANDS if name.isalpha()]


def installed_version() -> str:
    """The version of the installed package."""
    try:
        return version("graphlth")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
