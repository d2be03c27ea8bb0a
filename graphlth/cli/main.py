"""The command line: one function a command."""

import inspect
import re
import signal
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from graphlth._exit import (
    finish,
    output_failure,
    prepare,
    print_error_line,
    raise_on_signal,
    signal_message,
)
from graphlth.cli.arguments import (
    Settings,
    about_preset,
    add_settings,
    list_choices,
    name_file_in_errors,
    option_values,
    parse_arguments,
    split_first,
    with_config,
    with_underscores,
)
from graphlth.cli.errors import format_error
from graphlth.cli.show import show_benchmarks, show_runs, show_ticket
from graphlth.cli.tables import print_list
from graphlth.data.published import DataWarning
from graphlth.registry import KINDS, describe, find, names
from graphlth.settings.checks import check_written
from graphlth.settings.validation import check_settings, settings_of
from graphlth.storage import printable

OVERVIEW = """usage: graphlth COMMAND ...

Find, study and use lottery tickets in graph neural networks.

commands:
  run ALGORITHM --task T --model M   find tickets, retrain and record them
  analyze MEASURE DIR... --out DIR   measure the tickets of recorded runs
  plot FIGURE DIR... --out FILE      draw recorded runs
  show DIR|TICKET...                 tables of recorded runs, what is in a ticket file
  export TICKET --out FILE           retrain a ticket and write it compacted
  bench TICKET...                    its time and disk space, compacted and dense
  verify DIR|FILE...                 check that everything stored is as it was written
  list [KIND]                        the plug-ins, all or of one kind

options:
  -h, --help   this text; after a command, that of the command
  --version    the version

An interrupted run, or analysis, continues when the same command is given again."""
RUN = "graphlth run ALGORITHM --task T --model M [--config FILE] [--SETTING VALUE ...]"
NOT_FLAGS = ("algorithm", "settings", "watch", "resources")  # what `run` takes and is no flag
GRAPH_FILES = (".npz", ".pt")  # as a task: the graph in that file
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
            code = COMMANDS[command](with_underscores(rest)) or 0
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


def run(argv: list[str]) -> None:
    """Find tickets, retrain and record them; then show the records."""
    algorithm, argv = split_first(argv)
    algorithm, argv, origin = with_config(algorithm, argv)
    with name_file_in_errors(origin):
        _run(algorithm, argv)


def _run(algorithm: str | None, argv: list[str]) -> None:
    from graphlth.cli.progress import run_progress
    from graphlth.experiment import run as experiment
    from graphlth.experiment.seeds import parse_seeds
    from graphlth.experiment.settings import plugin_settings, settings_of_run
    from graphlth.settings import presets
    from graphlth.settings.lists import planned_rounds

    which = option_values(argv, "task", "model")
    if Path(which.get("task", "")).suffix in GRAPH_FILES:
        argv, which = [*argv, "--task=file", f"--path={which['task']}"], which | {"task": "file"}
    named = {"algorithms": algorithm, "tasks": which.get("task"), "models": which.get("model")}
    parser = ArgumentParser(prog="graphlth run", usage=RUN, exit_on_error=False,
                            epilog=list_choices(named, argv))  # fmt: skip
    parser.add_argument("--config", help="settings from a .toml or .yaml file; a flag goes first")
    own = dict(inspect.signature(experiment.run).parameters) | settings_of(experiment.run)
    add_settings(parser, experiment.run, {n: p for n, p in own.items() if n not in NOT_FLAGS})
    settings: set[str] = set()
    for kind, name in named.items():
        if name is not None:
            add_settings(parser, find(kind, name), plugin_settings(kind, name))
            settings |= plugin_settings(kind, name).keys()
    preset = presets.Preset()
    if algorithm is not None and which.keys() == {"task", "model"}:
        how = option_values(argv, "epochs", "protocol")
        protocol = how.pop("protocol", "paper")
        preset = presets.preset(algorithm, **which, protocol=protocol, given=how)
    if algorithm is not None:
        for score, known in chosen_scores(algorithm, preset.settings, argv):
            add_settings(parser, find("scores", score), known)
            settings |= known.keys()
    if preset.settings:
        defaults = {n: v for n, v in preset.settings.items() if n in settings}
        parser.set_defaults(defaults)
        parser.epilog = about_preset(preset.sources_in_use(defaults))
    given = parse_arguments(parser, argv)
    given.pop("config")
    values = {n: given.pop(n) for n in settings}
    check_settings(values, settings_of_run(str(algorithm), which["task"], which["model"], values))
    span = max(1, values.get("evaluate_every", 1))
    epochs = values.get("iterations", 0) // span or values["epochs"]
    rounds = planned_rounds(values)
    seeds = parse_seeds(given["seeds"])
    with raise_on_signal(), run_progress(len(seeds), rounds, epochs, given["jobs"]) as watch:
        folder = experiment.run(str(algorithm), settings=values, watch=watch, **given)
    print(folder)
    show_runs([folder])


def chosen_scores(
    algorithm: str, preset: Mapping[str, Any], argv: list[str]
) -> Iterator[tuple[str, Settings]]:
    """The scores of a run, by flag, preset or default, and the settings of each."""
    from graphlth.experiment.settings import scores_of, settings_of_scores

    typed = option_values(argv, *scores_of(algorithm, {}))
    values = {**preset, **typed}
    known = settings_of_scores(algorithm, values)
    chosen = {score: name for name, score in scores_of(algorithm, values).items()}  # each once
    yield from ((score, known[name]) for score, name in chosen.items())


def analyze(argv: list[str]) -> None:
    """Measure the tickets of runs, and record it."""
    from graphlth.cli.progress import measure_progress
    from graphlth.experiment import measure
    from graphlth.experiment.settings import plugin_settings

    name, argv = split_first(argv)
    usage = "graphlth analyze MEASURE DIR... --out DIR [--SETTING VALUE ...]"
    parser = ArgumentParser(prog="graphlth analyze", usage=usage, exit_on_error=False,
                            epilog=list_choices({"analysis": name}, argv))  # fmt: skip
    parser.add_argument("folders", nargs="+", help="run folders, or folders of run folders")
    own = settings_of(measure.analyze)
    add_settings(parser, measure.analyze, {n: p for n, p in own.items() if n != "watch"})
    settings: set[str] = set()
    if name is not None:
        settings = {*plugin_settings("analysis", name)}
        add_settings(parser, find("analysis", name), plugin_settings("analysis", name))
    given = parse_arguments(parser, argv)
    values = {n: given.pop(n) for n in settings}
    runs = measure.find_runs(*given.pop("folders"))
    todo = [measure.select_rounds(run, given["seeds"], given["rounds"]) for run in runs]
    with (
        raise_on_signal(),
        measure_progress(sum(len(rounds) for run in todo for rounds in run.values())) as watch,
    ):
        for run in runs:
            print(measure.analyze(str(name), str(run), values, watch=watch, **given))


def plot(argv: list[str]) -> None:
    """Draw recorded runs."""
    figure, argv = split_first(argv)
    usage = "graphlth plot FIGURE DIR... --out FILE [--SETTING VALUE ...]"
    parser = ArgumentParser(prog="graphlth plot", usage=usage, exit_on_error=False,
                            epilog=list_choices({"figures": figure}, argv))  # fmt: skip
    parser.add_argument("folders", nargs="+", help="run folders, or folders of run folders")
    if figure is not None:
        draw = find("figures", figure)
        add_settings(parser, draw, settings_of(draw))
    given = parse_arguments(parser, argv)
    import graphlth.records as record

    folders = given.pop("folders")
    read = (file for folder in folders for file in Path(folder).rglob("seed*.jsonl"))
    check_written("out", given["out"], read)
    with raise_on_signal():
        draw(record.read(*folders), **given)
    print(given["out"])


def show(argv: list[str]) -> None:
    """Tables of recorded runs, or what is in a ticket file."""
    parser = ArgumentParser(prog="graphlth show", exit_on_error=False)
    parser.add_argument("paths", nargs="+", help="run folders, folders of them, or ticket files")
    for path in map(Path, parse_arguments(parser, argv)["paths"]):
        if path.is_file():
            show_ticket(path)
        else:
            show_runs([path])


def export(argv: list[str]) -> None:
    """Retrain a ticket and write it compacted."""
    from graphlth.cli.progress import retraining_progress
    from graphlth.compaction.network import Compact
    from graphlth.experiment import export
    from graphlth.records.statistics import format_value

    usage = "graphlth export TICKET --out FILE [--SETTING VALUE ...]"
    parser = ArgumentParser(prog="graphlth export", usage=usage, exit_on_error=False)
    parser.add_argument("ticket", help="a ticket file")
    own = settings_of(export.export)
    add_settings(parser, export.export, {n: p for n, p in own.items() if n != "watch"})
    given = parse_arguments(parser, argv)
    with raise_on_signal(), retraining_progress() as watch:
        network, best = export.export(given.pop("ticket"), **given, watch=watch)
    size = Path(given["out"]).stat().st_size
    if isinstance(network, Compact):
        print(f"{given['out']}: {size:,} bytes, layout {network.layout}")
        units = " → ".join(f"{layer.weight.size(1):,}" for layer in network.layers)
        print(f"  {network.features.numel():,} of {network.num_features:,} features → {units} "
              f"units, {network.graph.num_edges:,} edges")  # fmt: skip
    else:
        weights = [p for p in network.parameters() if p.dim() > 1]
        print(f"{given['out']}: {size:,} bytes, a program for batches of any size")
        print(f"  {sum(p.numel() for p in weights):,} weights, "
              f"{sum(int(p.count_nonzero()) for p in weights):,} of them not 0")  # fmt: skip
    val, test = (format_value(value, best.metric) for value in (best.val, best.test))
    print(f"  val {val}, test {test}, retrained to epoch {best.index + 1}")


def bench(argv: list[str]) -> None:
    """A table of what compaction gains, a line per ticket."""
    from graphlth.experiment.export import bench

    usage = "graphlth bench TICKET... [--SETTING VALUE ...]"
    parser = ArgumentParser(prog="graphlth bench", usage=usage, exit_on_error=False)
    parser.add_argument("tickets", nargs="+", help="ticket files")
    add_settings(parser, bench, settings_of(bench))
    given = parse_arguments(parser, argv)
    show_benchmarks([bench(path, **given) for path in given.pop("tickets")], given["batch"])


def verify(argv: list[str]) -> int:
    """A line per fault in stored files; where there is none, how much was verified."""
    from graphlth.experiment.verify import verify

    parser = ArgumentParser(prog="graphlth verify", exit_on_error=False)
    parser.add_argument("paths", nargs="+", help="run folders, folders of them, or files")
    report = verify(parse_arguments(parser, argv)["paths"])
    for fault in report.faults:
        print(f"graphlth: {fault}", file=sys.stderr)
    if not report.faults:
        print(report.summary)
    return 2 if report.faults else 0


def list_plugins(argv: list[str]) -> None:
    """The plug-ins of one kind, or of all."""
    parser = ArgumentParser(prog="graphlth list", exit_on_error=False)
    parser.add_argument("kind", nargs="?", help=f"one of {', '.join(KINDS)}")
    kind = parse_arguments(parser, argv)["kind"]
    for each in [kind] if kind else KINDS:
        entries = [(name, describe(each, name)) for name in names(each)]
        print(f"{each}:")
        print_list(entries)


COMMANDS: dict[str, Callable[[list[str]], int | None]] = {  # None: all went well
    "run": run,
    "analyze": analyze,
    "plot": plot,
    "show": show,
    "export": export,
    "bench": bench,
    "verify": verify,
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
