"""The commands: one function each, which reads its arguments and does it."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from graphlth._exit import (
    raise_on_signal,
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
)
from graphlth.cli.reproduction import reproduce as reproduce
from graphlth.cli.show import show_benchmarks, show_runs, show_structure, show_ticket
from graphlth.cli.sweep import sweep as sweep
from graphlth.registry import KINDS, find
from graphlth.settings.annotations import check_value
from graphlth.settings.checks import check_written
from graphlth.settings.types import Positive
from graphlth.settings.validation import check_settings, settings_of

RUN = "graphlth run ALGORITHM --task T --model M [--config FILE] [--SETTING VALUE ...]"
NOT_FLAGS = ("algorithm", "settings", "watch", "resources")  # what `run` takes and is no flag


def run(argv: list[str]) -> None:
    """Find tickets, retrain and record them; then show the records."""
    algorithm, argv = split_first(argv)
    algorithm, argv, origin = with_config(algorithm, argv)
    with name_file_in_errors(origin):
        _run(algorithm, argv)


def _run(algorithm: str | None, argv: list[str]) -> None:
    from graphlth.cli.comparison import print_power
    from graphlth.cli.progress import run_progress
    from graphlth.experiment import run as experiment
    from graphlth.experiment.seeds import parse_seeds
    from graphlth.experiment.settings import (
        GRAPH_FILES,
        plugin_settings,
        settings_of_pretraining,
        settings_of_run,
    )
    from graphlth.settings import presets
    from graphlth.settings.lists import planned_rounds
    from graphlth.training.pretraining import pretrain_start

    which = option_values(argv, "task", "model")
    if Path(which.get("task", "")).suffix in GRAPH_FILES:
        argv, which = [*argv, "--task=file", f"--path={which['task']}"], which | {"task": "file"}
    named = {"algorithms": algorithm, "tasks": which.get("task"), "models": which.get("model")}
    parser = ArgumentParser(prog="graphlth run", usage=RUN, exit_on_error=False,
                            epilog=list_choices(named, argv))  # fmt: skip
    parser.add_argument("--config", help="settings from a .toml or .yaml file; a flag goes first")
    own = dict(inspect.signature(experiment.run).parameters) | settings_of(experiment.run)
    add_settings(parser, experiment.run, {n: p for n, p in own.items() if n not in NOT_FLAGS})
    add_margin(parser)
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
    start = settings_of_pretraining(option_values(argv, "self_supervised"))
    add_settings(parser, pretrain_start, start, "settings of self-supervised weights")
    settings |= start.keys()
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
    seeds, margin = parse_seeds(given["seeds"]), given.pop("margin")
    if margin is not None:
        check_planned_margin(margin, which["task"], values)
        print_power(margin, len(seeds))
    with raise_on_signal(), run_progress(len(seeds), rounds, epochs, given["jobs"]) as watch:
        folder = experiment.run(str(algorithm), settings=values, watch=watch, **given)
    print(folder)
    show_runs([folder], margin)


def check_planned_margin(margin: float, task: str, values: Mapping[str, Any]) -> None:
    """Refuse a margin that is none of the metric of a task.

    Raises:
        ValueError: it is not above 0, or not below 1 where the metric is accuracy.
    """
    from graphlth.experiment.plan import build_plugin
    from graphlth.records import check_margin

    check_value("margin", margin, Positive | None)
    if margin >= 1:  # data are read for that alone
        check_margin(margin, build_plugin("tasks", task, values).metric.name)


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
    from graphlth.records.files import record_files

    folders = given.pop("folders")
    read = (file for folder in folders for file in record_files(folder))
    check_written("out", given["out"], read)
    with raise_on_signal():
        draw(record.read(*folders), **given)
    print(given["out"])


def compare(argv: list[str]) -> None:
    """Compare two runs round by round, with verdicts."""
    from graphlth.cli.comparison import show_comparison
    from graphlth.records.comparison import compare

    usage = "graphlth compare A B [--margin 0.01] [--by round|sparsity] [--metric test|val]"
    parser = ArgumentParser(prog="graphlth compare", usage=usage, exit_on_error=False)
    parser.add_argument("runs", nargs="*", help="the folders of two runs, A and B; B may be one of "
                        "random_tickets")  # fmt: skip
    add_settings(parser, compare, settings_of(compare))
    given = parse_arguments(parser, argv)
    runs = given.pop("runs")
    if len(runs) != 2:
        raise ValueError(f"`runs` must be two folders, A and B, got {len(runs)}"
                         f"{': ' if runs else ''}{', '.join(runs)}; compare two at a time, or see "
                         "all of them with `graphlth show`")  # fmt: skip
    show_comparison(compare(*runs, **given))


def add_margin(parser: ArgumentParser) -> None:
    """Add the flag that says what is no worse than dense."""
    from graphlth.records.comparison import compare

    add_settings(
        parser, compare, {"margin": settings_of(compare)["margin"]}, "settings of verdicts"
    )


def show(argv: list[str]) -> None:
    """Tables of recorded runs, or what is in a ticket file."""
    parser = ArgumentParser(prog="graphlth show", exit_on_error=False)
    parser.add_argument("paths", nargs="+", help="run folders, folders of them, or ticket files")
    parser.add_argument(
        "--graph", action="store_true", help="what the graphs of the tickets look like, by round"
    )
    parser.add_argument("--data_root", help="with --graph, the folder of the data")
    add_margin(parser)
    given = parse_arguments(parser, argv)
    check_value("margin", given["margin"], Positive | None)
    paths = [*map(Path, given["paths"])]
    if given["graph"]:
        from graphlth.experiment.measure import find_runs

        for folder in find_runs(*paths):
            show_structure(folder, given["data_root"])
        return
    for are_files, group in groupby(paths, Path.is_file):
        if are_files:
            for path in group:
                show_ticket(path)
        else:  # together, so that each is told by what differs
            show_runs([*dict.fromkeys(group)], given["margin"])


def records(argv: list[str]) -> None:
    """Write recorded runs for other programs."""
    from graphlth.records.exporters import export_records
    from graphlth.records.files import record_files

    usage = "graphlth records DIR... [--out FILE] [--tensorboard DIR] [--mlflow URI]"
    parser = ArgumentParser(prog="graphlth records", usage=usage, exit_on_error=False)
    parser.add_argument("folders", nargs="+", help="run folders, or folders of run folders")
    add_settings(parser, export_records, settings_of(export_records), "settings of records")
    given = parse_arguments(parser, argv)
    folders = given.pop("folders")
    if given["out"] is not None:
        read = (file for folder in folders for file in record_files(folder))
        check_written("out", given["out"], read)
    with raise_on_signal():
        count = export_records(folders, **given)
    print(f"{count:,} records: {', '.join(str(v) for v in given.values() if v is not None)}")


def report(argv: list[str]) -> None:
    """Write a page of recorded runs."""
    from graphlth.report.page import write_report

    usage = "graphlth report DIR... --out FILE [--SETTING VALUE ...]"
    parser = ArgumentParser(prog="graphlth report", usage=usage, exit_on_error=False)
    parser.add_argument("folders", nargs="+", help="run folders, or folders of run folders")
    add_settings(parser, write_report, settings_of(write_report), "settings of report")
    given = parse_arguments(parser, argv)
    with raise_on_signal():
        write_report(given.pop("folders"), **given)
    print(given["out"])


def export(argv: list[str]) -> None:
    """Retrain a ticket and write it compacted."""
    from graphlth.cli.progress import retraining_progress
    from graphlth.compaction.network import Compact
    from graphlth.compaction.program import PROGRAMS
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
    if Path(given["out"]).suffix in PROGRAMS:
        many = isinstance(network, Compact) or hasattr(network, "removed")
        kind = f"a program for {'any graph' if many else 'batches of any size'}"
    else:
        kind = f"layout {network.layout}"
    print(f"{given['out']}: {size:,} bytes, {kind}")
    if isinstance(network, Compact):
        units = " → ".join(f"{layer.weight.size(1):,}" for layer in network.layers)
        print(f"  {network.features.numel():,} of {network.num_features:,} features → {units} "
              f"units, {network.graph.num_edges:,} edges")  # fmt: skip
    else:
        weights = [p for p in network.parameters() if p.dim() > 1]
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


def parse_kind(argv: list[str]) -> str | None:
    """The kind of plug-ins that `list` is asked for; None for all."""
    parser = ArgumentParser(prog="graphlth list", exit_on_error=False)
    parser.add_argument("kind", nargs="?", help=f"one of {', '.join(KINDS)}")
    kind: str | None = parse_arguments(parser, argv)["kind"]
    return kind
