"""The command line: flags are the settings of the plug-ins, read from their signatures."""

import ast
import inspect
import json
import re
import signal
import sys
import warnings
from argparse import ArgumentError
from argparse import ArgumentParser as PlainParser
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from graphlth._exit import complain, end, farewell, orderly, output_failure, prepare
from graphlth.cli.config import check_plain, read_config
from graphlth.cli.tables import fitting, joined, numbered, print_list, print_table, print_text
from graphlth.data.published import DataWarning
from graphlth.registry import KINDS, find, modules, names, one
from graphlth.settings.checks import check_setting, check_written, type_names
from graphlth.storage import printable

if TYPE_CHECKING:  # at run time each command loads what it needs: a figure is drawn without torch
    from graphlth.experiment.run import Step
    from graphlth.records.schema import Row
    from graphlth.training.epoch import Epoch

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
APART = ("algorithm", "settings", "watch")  # what `run` takes and is no flag
ROOMY = 60  # letters of a line, from which on it has room for a bar
FILES = (".npz", ".pt")  # as a task: the graph in that file
LONGEST = 2000  # characters of an error's line
NO_MEMORY = "out of memory: lower `hidden`, `layers`, `batch_size` or `jobs`, or take smaller data"
Names = dict[str, str]  # of settings: where each comes from


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 2 after an error (one line on stderr), 130 after an interrupt.

    It is 141 where nobody reads the output to its end, as in `graphlth list | head -1`.
    """
    own = argv is None  # a process of graphlth's own
    if own:
        prepare()
    code, text = attempt([*(sys.argv[1:] if argv is None else argv)] or ["--help"])
    if own:
        end(text)
    elif text is not None:
        complain(text)
    return code


def attempt(argv: Sequence[str]) -> tuple[int, str | None]:
    """The exit code of a command, and what is to be said of it."""
    command, *rest = argv
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # they are of torch, about its own plans
                warnings.filterwarnings("default", "compiled code is not kept")
                warnings.filterwarnings("default", category=DataWarning)
            warnings.showwarning = say
            if command not in COMMANDS:
                raise ValueError(f"`command` must be one of {', '.join(NAMES)}, got {command!r}")
            code = COMMANDS[command](dashed(rest)) or 0
            if (failure := output_failure()) is not None:
                return unwritten(failure)
    except (ValueError, OSError, ArgumentError) as error:
        if (failure := output_failure()) is not None:
            return unwritten(failure)
        return 2, f"graphlth: error: {told(error)}"
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("memory|bad_alloc", str(error)):
            raise
        return 2, f"graphlth: error: {NO_MEMORY}"
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args else signal.SIGINT
        return 128 + number, farewell(number, argv)
    except SystemExit:  # of help, and of it alone
        if (failure := output_failure()) is not None:
            return unwritten(failure)
        raise
    return code, None


def unwritten(failure: OSError) -> tuple[int, str | None]:
    """As `attempt`, of a command whose output could not be written."""
    if isinstance(failure, BrokenPipeError):
        return 141, None  # as of a process that SIGPIPE ends
    return 2, f"graphlth: error: cannot write standard output: {failure.strerror}"


def say(message: Warning | str, *_: Any, **__: Any) -> None:
    """Write a warning in one line on stderr."""
    print(printable(f"graphlth: {message}"), file=sys.stderr)


# --- commands ------------------------------------------------------------------------------------


def run(argv: list[str]) -> None:
    """Find tickets, retrain and record them; then show the records."""
    algorithm, argv = first(argv)
    algorithm, argv, origin = with_config(algorithm, argv)
    with traced(origin):
        _run(algorithm, argv)


def _run(algorithm: str | None, argv: list[str]) -> None:
    from graphlth.experiment import run as experiment
    from graphlth.settings import presets
    from graphlth.settings.validation import check

    which = chosen(argv, "task", "model")
    if Path(which.get("task", "")).suffix in FILES:
        argv, which = [*argv, "--task=file", f"--path={which['task']}"], which | {"task": "file"}
    named = {"algorithms": algorithm, "tasks": which.get("task"), "models": which.get("model")}
    parser = ArgumentParser(prog="graphlth run", usage=RUN, exit_on_error=False,
                            epilog=offer(named, argv))  # fmt: skip
    parser.add_argument("--config", help="settings from a .toml or .yaml file; a flag goes first")
    own = inspect.signature(experiment.run).parameters
    add_settings(parser, experiment.run, [n for n in own if n not in APART])
    settings: set[str] = set()
    for kind, name in named.items():
        if name is not None:
            settings |= add_settings(parser, find(kind, name), experiment.accepted(kind, name))
    if algorithm is not None and which.keys() == {"task", "model"}:
        how = chosen(argv, "epochs", "protocol")
        protocol = how.pop("protocol", "paper")
        preset = presets.preset(algorithm, **which, protocol=protocol, given=how)
        defaults = {n: v for n, v in preset.settings.items() if n in settings}
        parser.set_defaults(defaults)
        parser.epilog = about_preset(preset.kept(defaults))
    given = parsed(parser, argv)
    given.pop("config")
    values = {n: given.pop(n) for n in settings}
    check(values, experiment.settings_of(*map(str, named.values())))
    span = max(1, values.get("evaluate_every", 1))
    epochs = values.get("iterations", 0) // span or values["epochs"]
    rounds = experiment.planned(values)
    seeds = experiment.parse_seeds(given["seeds"])
    with orderly(), watching(len(seeds), rounds, epochs, given["jobs"]) as watch:
        folder = experiment.run(str(algorithm), settings=values, watch=watch, **given)
    print(folder)
    show_runs([folder])


def analyze(argv: list[str]) -> None:
    """Measure the tickets of runs, and record it."""
    from graphlth.experiment import measure
    from graphlth.experiment import run as experiment

    name, argv = first(argv)
    usage = "graphlth analyze MEASURE DIR... --out DIR [--SETTING VALUE ...]"
    parser = ArgumentParser(prog="graphlth analyze", usage=usage, exit_on_error=False,
                            epilog=offer({"analysis": name}, argv))  # fmt: skip
    parser.add_argument("folders", nargs="+", help="run folders, or folders of run folders")
    own = [n for n in keyword_only(measure.analyze) if n != "watch"]
    add_settings(parser, measure.analyze, own)
    settings: set[str] = set()
    if name is not None:
        settings = add_settings(
            parser, find("analysis", name), experiment.accepted("analysis", name)
        )
    given = parsed(parser, argv)
    values = {n: given.pop(n) for n in settings}
    runs = measure.runs(*given.pop("folders"))
    todo = [measure.tickets(run, given["seeds"], given["rounds"]) for run in runs]
    with orderly(), measuring(sum(len(rounds) for run in todo for rounds in run.values())) as watch:
        for run in runs:
            print(measure.analyze(str(name), str(run), values, watch=watch, **given))


def plot(argv: list[str]) -> None:
    """Draw recorded runs."""
    figure, argv = first(argv)
    usage = "graphlth plot FIGURE DIR... --out FILE [--SETTING VALUE ...]"
    parser = ArgumentParser(prog="graphlth plot", usage=usage, exit_on_error=False,
                            epilog=offer({"figures": figure}, argv))  # fmt: skip
    parser.add_argument("folders", nargs="+", help="run folders, or folders of run folders")
    if figure is not None:
        draw = find("figures", figure)
        add_settings(parser, draw, keyword_only(draw))
    given = parsed(parser, argv)
    from graphlth.records import schema as record

    folders = given.pop("folders")
    read = (file for folder in folders for file in Path(folder).rglob("seed*.jsonl"))
    check_written("out", given["out"], read)
    with orderly():
        draw(record.read(*folders), **given)
    print(given["out"])


def show(argv: list[str]) -> None:
    """Tables of recorded runs, or what is in a ticket file."""
    parser = ArgumentParser(prog="graphlth show", exit_on_error=False)
    parser.add_argument("paths", nargs="+", help="run folders, folders of them, or ticket files")
    for path in map(Path, parsed(parser, argv)["paths"]):
        if path.is_file():
            show_ticket(path)
        else:
            show_runs([path])


def export(argv: list[str]) -> None:
    """Retrain a ticket and write it compacted."""
    from graphlth.compaction.network import Compact
    from graphlth.experiment import export

    usage = "graphlth export TICKET --out FILE [--SETTING VALUE ...]"
    parser = ArgumentParser(prog="graphlth export", usage=usage, exit_on_error=False)
    parser.add_argument("ticket", help="a ticket file")
    add_settings(parser, export.export, [n for n in keyword_only(export.export) if n != "watch"])
    given = parsed(parser, argv)
    with orderly(), retraining() as watch:
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
    print(f"  val {best.val:.1%}, test {best.test:.1%}, retrained to epoch {best.index + 1}")


def bench(argv: list[str]) -> None:
    """A table of what compaction gains, a line per ticket."""
    from graphlth.experiment.export import bench

    usage = "graphlth bench TICKET... [--SETTING VALUE ...]"
    parser = ArgumentParser(prog="graphlth bench", usage=usage, exit_on_error=False)
    parser.add_argument("tickets", nargs="+", help="ticket files")
    add_settings(parser, bench, keyword_only(bench))
    given = parsed(parser, argv)
    rows = [bench(path, **given) for path in given.pop("tickets")]
    head = ["round", "edges removed", "weights removed", "layout", "dense bytes",
            "compact bytes", "smaller", "dense MACs", "fewer", "dense ms", "compact ms", "faster",
            "max |Δ|"]  # fmt: skip
    table = []
    for row in rows:
        macs = row.dense_macs and row.compact_macs and row.dense_macs / row.compact_macs
        table.append([
            str(row.round), f"{row.edge_sparsity:.1%}", f"{row.weight_sparsity:.1%}", row.layout,
            f"{row.dense_bytes:,}", f"{row.compact_bytes:,}",
            f"{row.dense_bytes / row.compact_bytes:.1f}×",
            amount(row.dense_macs) if row.dense_macs else "", f"{macs:.1f}×" if macs else "",
            milliseconds(row.seconds_dense), milliseconds(row.seconds_compact),
            f"{row.faster:.2f}×", f"{row.difference:.1e}",
        ])  # fmt: skip
    if not any(row.dense_macs for row in rows):  # they are counted of images alone
        shown = [i for i, name in enumerate(head) if name not in ("dense MACs", "fewer")]
        head, table = [head[i] for i in shown], [[line[i] for i in shown] for line in table]
    print_table(head, table, left=["layout"])
    if any(row.images is None for row in rows):
        print_text("milliseconds: median (least – most) of a full-graph inference, "
                   "features laid out before")  # fmt: skip
    if any(row.images is not None for row in rows):
        print_text(f"milliseconds: median (least – most) of {given['batch']} inputs at once; bytes "
                   "and MACs: zeros among the weights of living channels count")  # fmt: skip


def verify(argv: list[str]) -> int:
    """A line per fault in stored files; where there is none, how much was verified."""
    from graphlth.experiment.verify import verify

    parser = ArgumentParser(prog="graphlth verify", exit_on_error=False)
    parser.add_argument("paths", nargs="+", help="run folders, folders of them, or files")
    report = verify(parsed(parser, argv)["paths"])
    for fault in report.faults:
        print(f"graphlth: {fault}", file=sys.stderr)
    if not report.faults:
        print(report.summary)
    return 2 if report.faults else 0


def list_(argv: list[str]) -> None:
    """The plug-ins of one kind, or of all."""
    parser = ArgumentParser(prog="graphlth list", exit_on_error=False)
    parser.add_argument("kind", nargs="?", help=f"one of {', '.join(KINDS)}")
    kind = parsed(parser, argv)["kind"]
    for each in [kind] if kind else KINDS:
        entries = [(name, about(each, name)) for name in names(each)]
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
    "list": list_,
    "-h": lambda _: print(OVERVIEW),
    "--help": lambda _: print(OVERVIEW),
    "--version": lambda _: print(f"graphlth {installed()}"),
}


NAMES = [name for name in COMMANDS if name.isalpha()]


# --- arguments -----------------------------------------------------------------------------------


def dashed(argv: list[str]) -> list[str]:
    """The same arguments, options spelt with underscores: --data-root=a-b is --data_root=a-b."""
    split = [arg.partition("=") if arg.startswith("--") else (arg, "", "") for arg in argv]
    return [
        ("--" + name[2:].replace("-", "_") if name.startswith("--") else name) + equals + value
        for name, equals, value in split
    ]


def first(argv: list[str]) -> tuple[str | None, list[str]]:
    """The leading argument, None where an option leads; and the others."""
    return (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else (None, argv)


def chosen(argv: list[str], *options: str) -> dict[str, str]:
    """The values that some options have in `argv`, whatever else is there."""
    parser = PlainParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in options:
        parser.add_argument(f"--{option}")
    return {n: v for n, v in vars(parser.parse_known_args(argv)[0]).items() if v is not None}


def every(argv: list[str], option: str) -> list[str]:
    """All values that an option has in `argv`."""
    parser = PlainParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(f"--{option}", action="append", default=[])
    found: list[str] = vars(parser.parse_known_args(argv)[0])[option]
    return found


def with_config(algorithm: str | None, argv: list[str]) -> tuple[str | None, list[str], Names]:
    """What a file says put before what was typed, as if it had been typed: the last one holds.

    Also where the settings come from that the file alone says.
    """
    if "config" not in (paths := chosen(argv, "config")):
        return algorithm, argv, {}
    if sum(arg.partition("=")[0] == "--config" for arg in argv) > 1:
        raise ValueError("`config` must be given once: put all settings into one file")
    path = Path(paths["config"])
    told = read_config(path)
    named = told.pop("algorithm", None)
    flags = [f"--{n}={v if isinstance(v, str) else json.dumps(v)}" for n, v in told.items()]
    typed = {arg[2:].partition("=")[0] for arg in argv}
    origin = {n: f"`config` {str(path)!r}" for n in told if n not in typed}
    found = algorithm or (None if named is None else str(named))
    return found, [*dashed(flags), *argv], origin


@contextmanager
def traced(origin: Names) -> Iterator[None]:
    """Inside, an error that names a setting first says also which file it is from.

    Raises:
        ValueError: there is one.
    """
    try:
        yield
    except (ValueError, ArgumentError) as error:
        text = told(error)
        name = re.match(r"`(\w+)`", text)
        if name is None or name[1] not in origin:
            raise
        raise ValueError(f"{text}; it is set in {origin[name[1]]}") from None


def keyword_only(plugin: Any) -> list[str]:
    """The names of a plug-in's settings."""
    parameters = inspect.signature(plugin).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def add_settings(parser: ArgumentParser, plugin: Any, settings: Iterable[str]) -> set[str]:
    """The settings of a plug-in that `parser` knows from now on."""
    known = parser.get_defaults()
    signature = inspect.signature(plugin)
    own = [without_sequences(signature.parameters[n]) for n in settings if n not in known]

    def stand_in() -> None:  # the parser imports whatever is called like what it is given
        pass

    _, arguments, rest = (inspect.getdoc(plugin) or "").partition("Args:")
    vars(stand_in)["__signature__"] = signature.replace(parameters=own)
    stand_in.__name__ = plugin.__name__
    stand_in.__doc__ = f"settings of {plugin.__name__}\n\n{arguments}{rest}"
    parser.add_function_arguments(stand_in, fail_untyped=False)
    typed = vars(parser).setdefault("kinds", {})  # what `parsed` checks, as the parser knows YAML:
    typed |= {p.name: type_names(p.annotation) for p in own}  # 1:30 and 0x10, tags and aliases
    return set(settings)


def without_sequences(parameter: inspect.Parameter) -> inspect.Parameter:
    """The same; a sequence of numbers is a tuple, as a list would have a flag `--name+` too."""
    if parameter.annotation != int | str | Sequence[int]:
        return parameter
    return parameter.replace(annotation=int | str | tuple[int, ...])


def parsed(parser: ArgumentParser, argv: list[str]) -> dict[str, Any]:
    """What `argv` says, over the defaults of `parser`.

    Raises:
        ValueError: an option is unknown.
        ArgumentError: a value is missing or of the wrong type.
    """
    known = sorted(parser.get_defaults().keys())
    for arg in argv:
        name = arg[2:].partition("=")[0]
        if arg.startswith("--") and name != "help":
            check_setting(name, known, "here")
    typed: dict[str, set[str]] = vars(parser).get("kinds", {})
    for name in typed:
        for text in every(argv, name):
            check_plain(name, text, typed[name])
    return parser.parse_args(argv).as_dict()


def offer(kinds: Mapping[str, str | None], argv: list[str]) -> str:
    """What help says where a plug-in is not chosen yet: which there are.

    Raises:
        ValueError: one is not chosen, and `argv` does not ask for help.
    """
    lines = []
    for kind in (kind for kind, name in kinds.items() if name is None):
        if not {"-h", "--help"} & {*argv}:
            raise ValueError(f"`{one(kind)}` must be given: one of {', '.join(names(kind))}")
        lines.append(f"{kind}: {', '.join(names(kind))}")
    return " · ".join([*lines, "the help of those named lists their settings"] if lines else [])


def about_preset(sources: Mapping[str, Sequence[str]]) -> str:
    """What help says of where defaults come from."""
    return " · ".join(f"{', '.join(sorted(given))}: {source}" for source, given in sources.items())


def about(kind: str, name: str) -> str:
    """The first line of a plug-in's file, which is read and not run."""
    spec = find_spec(modules(kind)[name])
    assert spec is not None and spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return (text or "").partition("\n")[0]


def installed() -> str:
    """The version of the installed package."""
    try:
        return version("graphlth")
    except PackageNotFoundError:
        return "(not installed)"


def told(error: Exception) -> str:
    """An error in one line, in the words of the house."""
    text = printable(" ".join(str(error).split()))
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
    text = re.sub(r"^Parser key \"(.+?)\": Expected an? <class '(\w+)'>\. Got value: (.*)$",
                  r"`\1` must be of type \2, got '\3'", text)  # fmt: skip
    text = re.sub(r"^Parser key \"(.+?)\": Does not validate .*?<class '(\w+)'>.* value: (.*)$",
                  r"`\1` must be of type \2, got '\3'", text)  # fmt: skip
    text = re.sub(r"^the following arguments are required: (\w+).*$", r"`\1` must be given", text)
    return re.sub(r"^argument (?:--)?(\w+): ", r"`\1`: ", text)


# --- progress ------------------------------------------------------------------------------------


@contextmanager
def watching(
    seeds: int, rounds: Sequence[int], epochs: int, jobs: int
) -> Iterator[Callable[["Step"], None]]:
    """What to call after every step: it moves a bar, or off a terminal writes a line per round."""
    console = Console(stderr=True)
    bar_room = 9 if console.width >= ROOMY else 0
    columns = [TextColumn("{task.description}"), *[BarColumn(8)] * (bar_room > 0),
               TextColumn("{task.fields[left]} left")]  # fmt: skip
    at: dict[int, float] = {}  # seed: rounds that it has behind it
    took: list[float] = []  # seconds of each round after the first, those of earlier calls too
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=seeds * len(rounds), left="?")

        def watch(step: "Step") -> None:
            known, epoch = step.record, step.epoch
            done = 1 if epoch is None else (epoch.index % epochs + 1) / epochs
            at[step.seed] = rounds.index(step.round) + done
            if epoch is None and step.round:
                took.append(known["seconds_search"] + known["seconds_retrain"])
            remaining = seeds * len(rounds) - sum(at.values())
            left = clock(remaining * sum(took) / len(took) / min(jobs, seeds)) if took else "?"
            val = known["val"] if epoch is None else epoch.val
            gone = f"edges −{known['edge_sparsity']:.1%} weights −{known['weight_sparsity']:.1%}"
            pieces = [(2, f"seed {step.seed} round {step.round}/{rounds[-1]}"), (0, gone),
                      (1, f"val {val:.1%}")]  # fmt: skip
            room = console.width - len(f"{left} left") - 1 - bar_room
            bar.update(task, completed=sum(at.values()), description=fitting(pieces, room),
                       left=left)  # fmt: skip
            if epoch is None and not console.is_terminal:
                print(f"{joined(pieces)}  {left} left", file=sys.stderr)

        yield watch


@contextmanager
def measuring(count: int) -> Iterator[Callable[["Step"], None]]:
    """What to call after every ticket: it moves a bar, or off a terminal writes a line."""
    console = Console(stderr=True)
    columns: list[ProgressColumn] = [TextColumn("{task.description}")]
    columns += [BarColumn(8), TimeRemainingColumn()] if console.width >= ROOMY else []
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=count)

        def watch(step: "Step") -> None:
            known = step.record
            pieces = [(2, f"seed {step.seed} round {step.round}"),
                      (0, f"test {known['test']:.1%}")]  # fmt: skip
            if (name := known["measure"]) in known:  # a number called like its measure
                pieces.append((1, f"{name} {known[name]:.1%}"))
            room = console.width - (17 if len(columns) > 1 else 0)
            bar.update(task, advance=1, description=fitting(pieces, room))
            if not console.is_terminal:
                print(joined(pieces), file=sys.stderr)

        yield watch


@contextmanager
def retraining() -> Iterator[Callable[["Epoch", int], None]]:
    """What to call after every epoch: it moves a bar; off a terminal nothing is written."""
    console = Console(stderr=True)
    columns: list[ProgressColumn] = [TextColumn("{task.description}")]
    columns += [BarColumn(), TimeRemainingColumn()] if console.width >= ROOMY else []
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("retraining", total=None)

        def watch(epoch: "Epoch", epochs: int) -> None:
            text = f"retraining {epoch.index + 1}/{epochs}  val {epoch.val:.1%}"
            bar.update(task, completed=epoch.index + 1, total=epochs, description=text)

        yield watch


def clock(seconds: float) -> str:
    """Seconds as m:ss, from an hour on as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


# --- tables --------------------------------------------------------------------------------------


def show_runs(folders: Sequence[Path]) -> None:
    """Print a table for every run under `folders`, a line per round, and warnings below it."""
    from graphlth.records import schema as record

    rows = record.summary(record.read(*folders))
    stars = record.starred(rows)
    for _, group in groupby(rows, record.run_of):
        show_run(list(group), stars)
    if stars:
        print_text("* paper's rule: mean at least dense, of test accuracy")
    if len(stars) < len(record.winners(rows)):
        print_text("no star stands beside a warning, be it of the same round or of round 0")


def show_run(rows: Sequence["Row"], stars: Sequence["Row"]) -> None:
    """Print the table of one run, and the warnings that its records give."""
    from graphlth.records.schema import percent

    run = rows[0]
    seeds = sorted({row.n for row in rows})
    edges = f"{run.num_edges:,} {run.edges} edges" if run.edges else "no graph"
    title = f"{run.algorithm} on {run.task} with {run.model}: {edges}, {run.num_weights:,} weights"
    many = "–".join(map(str, sorted({seeds[0], seeds[-1]})))
    head = ("round", "edges removed", "weights removed", "val", "test", "MACs", "fewer")
    dense = run.macs if run.round == 0 else None
    star = {row.round: " *" if row in stars else "" for row in rows}
    width = max(map(len, star.values()))
    table = []
    for row in rows:
        val, test = (percent([r[metric] for r in row.records]) for metric in ("val", "test"))
        fewer = f"{dense / row.macs:.1f}×" if dense and row.macs else ""
        table.append([
            str(row.round), f"{row.edge_sparsity:.1%}", f"{row.weight_sparsity:.1%}",
            val, f"{test}{star[row.round]:{width}}",
            "" if row.macs is None else amount(row.macs), fewer,
        ])  # fmt: skip
    print()
    label = f" ({run.label})" if run.label else ""
    print_text(f"{title}, {many} seed{'' if many == '1' else 's'}{label}")
    print_table(head, table)
    for line in warning_lines(rows):
        print_text(line, "  ")


def warning_lines(rows: Sequence["Row"]) -> list[str]:
    """The warnings of a run, each once, with the rounds and seeds that it is about."""
    from graphlth.records.schema import doubts

    about: dict[str, tuple[set[int], set[int]]] = {}
    for row in rows:
        for text, seeds in doubts(row).items():
            rounds, whose = about.setdefault(text, (set(), set()))
            rounds.add(row.round)
            whose |= {*seeds}
    return [
        f"warning: {text} ({numbered('round', rounds)}; {numbered('seed', seeds)})"
        for text, (rounds, seeds) in about.items()
    ]


def milliseconds(seconds: Sequence[float]) -> str:
    """`median (least – most)`."""
    low, middle, high = (1e3 * f(seconds) for f in (min, median, max))
    return f"{middle:.3f} ({low:.3f} – {high:.3f})"


def amount(number: float) -> str:
    """A count in thousands or millions."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= 10 * size:
            return f"{number / size:,.0f} {unit}"
    return f"{number:,.0f}"


def show_ticket(path: Path) -> None:
    """Print what is in a ticket file."""
    from graphlth.masks import count, only, sparsity
    from graphlth.ticket import load

    ticket = load(path)
    print_text(f"{path}: ticket of round {ticket.round}")
    for name, value in ticket.provenance.items():
        text = json.dumps(value) if isinstance(value, dict) else value
        print_text(f"  {name}: {text}", "    ")
    parts = {name: {name: mask} for name, mask in ticket.masks.items()}
    weights = only(ticket.masks, "weights")
    parts |= {"all weights": weights} if len(weights) > 1 else {}
    table = [
        [name, f"{count(masks):,}", f"{sum(int(m.count_nonzero()) for m in masks.values()):,}",
         f"{sparsity(masks):.1%}"]
        for name, masks in parts.items()
    ]  # fmt: skip
    print_table(("mask", "entries", "kept", "removed"), table, left=["mask"])


if __name__ == "__main__":
    sys.exit(main())
