"""Run a suite, then write its result: data, page and figures.

    python benchmarks/reproduce.py benchmarks/suites/ugs_cora_gcn.toml --data_root DIR [--jobs 2]

Runs that exist under --out are continued, not run again; `compare` in the suite names those that
the result shows, where it is not all of them. A table [analyze] names a `measure`, its settings
and, where not all are taken, the `rounds`: it is taken of every run. With `splits = 10` in the
place of `seeds`, every run has one seed on each of the splits 0 to 9 of its task, numbered like the
split. The result goes to benchmarks/results/<suite>/, or to the folder --result.
"""

import argparse
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

from bench import run_main
from machine import name_machine, shorten_commit
from report import RESULTS, Claim, Data, Result, Table, Value, mean_and_interval, write

import graphlth as glt
import graphlth.records as record
from graphlth.experiment.settings import plugin_settings
from graphlth.records import Record
from graphlth.records.tables import warning_lines
from graphlth.registry import find

OVER_SEEDS = (
    "Test accuracy in % at the epoch of best validation accuracy of the retraining: mean ± "
    "half-width of the 95 % Student-t interval over seeds, or the range of 2 seeds; gaps are "
    "differences in points, paired by seed."
)
INSTABILITY = (
    "k: iterations that the ticket's weights have had. Instability: by how much the error on the "
    "line between two copies rises above the mean of the copies; a ticket is stable below 2 "
    "points. Both in %, as test accuracy."
)
ROUNDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 20)
Suite = Mapping[str, Any]  # the content of a .toml file
Runs = Mapping[str, list[Record]]


# --- runs ----------------------------------------------------------------------------------------


def run_settings(suite: Suite) -> dict[str, dict[str, Any]]:
    """The settings of every run of a suite, by its name there; "null" is None."""
    every = {name: {**suite["settings"], **own} for name, own in suite["runs"].items()}
    return {name: {n: None if v == "null" else v for n, v in settings.items() if n != "seeds"}
            for name, settings in every.items()}  # fmt: skip


def seed_count(suite: Suite, name: str) -> int:
    """How many seeds a run has: its own number, else that of the suite."""
    count: int = suite["runs"][name].get("seeds", suite.get("splits") or suite["seeds"])
    return count


def run_records(settings: Mapping[str, Any], args: argparse.Namespace, seeds: int) -> list[Record]:
    """The records of a run, which is brought to its end."""
    return [r for r in record.read(run_folder(settings, args, seeds)) if r["seed"] < seeds]


def run_folder(
    settings: Mapping[str, Any], args: argparse.Namespace, seeds: int | list[int]
) -> Path:
    """The folder of a run, which is brought to its end."""
    names, own, protocol = split_settings(settings)
    if args.data_root and "data_root" in plugin_settings("tasks", names[1]):
        own["data_root"] = args.data_root
    return glt.run(
        *names, own, seeds=seeds, out=args.out, jobs=args.jobs, watch=print_round, **protocol
    )


def split_settings(
    settings: Mapping[str, Any],
) -> tuple[list[str], dict[str, Any], dict[str, str]]:
    """Algorithm, task and model of a run, its settings, and its protocol where it names one."""
    own = dict(settings)
    names = [own.pop(n) for n in ("algorithm", "task", "model")]
    return names, own, {"protocol": own.pop("protocol")} if "protocol" in own else {}


def run_folders(suite: Suite, args: argparse.Namespace) -> dict[str, list[Path]]:
    """The folders of every run of a suite, one for each split; `tickets` may name a run above."""
    folders: dict[str, list[Path]] = {}
    for name, settings in run_settings(suite).items():
        count = seed_count(suite, name)
        splits = range(count) if "splits" in suite else [None]
        folders[name] = []
        for place, split in enumerate(splits):
            own = settings if split is None else {**settings, "split": split}
            if "tickets" in own:
                own = {**own, "tickets": str(folders[own["tickets"]][place])}
            folders[name].append(run_folder(own, args, count if split is None else [split]))
    return folders


def read_records(folders: Mapping[str, Sequence[Path]], suite: Suite) -> dict[str, list[Record]]:
    """The records of every run, of the seeds that the suite asks for.

    Those of all splits are one run, as seeds are.
    """
    runs: dict[str, list[Record]] = {}
    for name, own in folders.items():
        if "splits" in suite:
            runs[name] = [_of_all_splits(r) for split, folder in enumerate(own)
                          for r in record.read(folder) if r["seed"] == split]  # fmt: skip
        else:
            runs[name] = [r for folder in own for r in record.read(folder)
                          if r["seed"] < seed_count(suite, name)]  # fmt: skip
    return runs


def _of_all_splits(r: Record) -> Record:
    """A record without what tells its split from others."""
    known = {name: value for name, value in r.items() if name not in ("data", "source")}
    return known | {"settings": {**r["settings"], "split": "each"}}


def analysis_folders(
    suite: Suite, folders: Mapping[str, Sequence[Path]], args: argparse.Namespace
) -> dict[str, list[Path]]:
    """The folders of what [analyze] measures of every run."""
    settings = dict(suite["analyze"])
    measure, rounds = settings.pop("measure"), settings.pop("rounds", "all")
    how = {"out": str(Path(args.out) / "measures"), "jobs": args.jobs, "rounds": rounds,
           "data_root": args.data_root, "watch": print_ticket}  # fmt: skip
    return {n: [glt.analyze(measure, str(f), settings, seeds=seed_count(suite, n), **how)
                for f in own] for n, own in folders.items()}  # fmt: skip


def print_ticket(step: Any) -> None:
    """Print a line when a ticket is measured."""
    r = step.record
    print(f"{r['measure']} of {r['algorithm']} {r['task']} {r['model']} seed {step.seed} "
          f"round {step.round}: {r[r['measure']]:.4f}", flush=True)  # fmt: skip


def print_round(step: Any) -> None:
    """Print a line when a round is done."""
    if step.epoch is None:
        r = step.record
        print(f"{r['algorithm']} {r['task']} {r['model']} seed {step.seed} round {step.round}: "
              f"test {r['test']:.3f}", flush=True)  # fmt: skip


# --- tables --------------------------------------------------------------------------------------


def metric_name(runs: Runs) -> str:
    """What the results of the runs are: "accuracy", "ROC-AUC" and so on."""
    return record.metric_title(record.metric_of(next(iter(runs.values()))[0]))


def accuracy(row: record.Row) -> Value:
    """The metric of a round on the test rows, such as the accuracy, in %."""
    return mean_and_interval([r["test"] for r in row.records])


def rows_by_round(runs: Runs) -> dict[str, dict[int, record.Row]]:
    """The rounds of every run, over its seeds."""
    return {name: {row.round: row for row in record.summary(rs)} for name, rs in runs.items()}


def shown_rounds(known: Iterable[int]) -> list[int]:
    """Those of `ROUNDS` that are known, and the last of all."""
    rounds = sorted(known)
    return [r for r in rounds if r in ROUNDS or r == rounds[-1]]


def accuracy_table(runs: Runs, suite: Suite) -> Table:
    """The metric on the test rows by round, run by run, and the published numbers."""
    rows = rows_by_round(runs)
    first, published = next(iter(rows.values())), suite.get("published", {})
    keys = {"round": "d", "edges removed, %": ".1f", "weights removed, %": ".1f"}
    columns = {"MACs, M": ",.4g"} | dict.fromkeys((*rows, *published), ".1f")
    return Table("accuracy", keys, columns, [
        [r, 100 * first[r].edge_sparsity, 100 * first[r].weight_sparsity,
         None if first[r].macs is None else first[r].macs / 1e6,
         *[accuracy(own[r]) if r in own else None for own in rows.values()],
         *[100 * p[str(r)] if str(r) in p else None for p in published.values()]]
        for r in shown_rounds(first)
    ])  # fmt: skip


def gap_table(runs: Runs, suite: Suite) -> Table:
    """By how much runs are better than dense and than others, paired by seed.

    The suite's `pairs` name them; else they are the first run and each of the others.
    """
    first, *others = runs
    pairs = suite.get("pairs", [[first, name] for name in others])
    sides = [(a, b) for one in dict.fromkeys([*(a for a, _ in pairs)] or [first])
             for a, b in [(one, "dense"), *([a, b] for a, b in pairs if a == one)]]  # fmt: skip
    known = {r["round"] for a, _ in sides for r in runs[a]}
    return Table("gaps", {"round": "d"}, {f"{a} − {b}": ".1f" for a, b in sides}, [
        [r, *[paired_gap(runs[a], runs.get(b) or dense_records(runs[a], r), r) for a, b in sides]]
        for r in shown_rounds(known) if r
    ], "Gaps")  # fmt: skip


def dense_records(records: Sequence[Record], round: int) -> list[Record]:
    """The records of round 0, as if they were of another."""
    return [r | {"round": round} for r in records if r["round"] == 0]


def paired_gap(ours: Sequence[Record], theirs: Sequence[Record], round: int) -> Value | None:
    """The mean difference in points; None where one of them has no such round."""
    if not all(round in {r["round"] for r in side} for side in (ours, theirs)):
        return None
    return mean_and_interval(record.paired_differences(ours, theirs, round))


def variant_table(runs: Runs, suite: Suite) -> Table:
    """A line for every run: the test metric in the rounds `columns`, and the gap to the first run.

    The published numbers follow them.
    """
    ticket, *_ = runs
    rows, published = rows_by_round(runs), suite.get("published", {})
    left = {r: f"{100 - 100 * rows[ticket][r].weight_sparsity:.1f} % left"
            for r in suite["columns"]}  # fmt: skip
    heads = [text for weights in left.values() for text in (weights, f"{weights}, − {ticket}")]
    heads += [f"{source}: {weights}" for source in published for weights in left.values()]
    table = []
    for name, records in ({"dense": runs[ticket]} | dict(runs)).items():
        cells: list[Value | float | None] = []
        for r in left:
            own = rows[ticket][0] if name == "dense" else rows[name][r]
            other = dense_records(records, r) if name == "dense" else records
            cells += [accuracy(own), None if name == ticket else paired_gap(other, runs[ticket], r)]
        known = [values.get(name, {}) for values in published.values()]
        cells += [100 * v[str(r)] if str(r) in v else None for v in known for r in left]
        table.append([name, *cells])
    return Table("variants", {"run": ""}, dict.fromkeys(heads, ".1f"), table)


def instability_table(runs: Runs) -> Table:
    """Instability by run and round, with the test metric of the same tickets beside it."""
    rows = []
    for name, records in runs.items():
        for row in record.summary(records):
            rises, ends = ([r[n] for r in row.records] for n in ("instability", "end_error"))
            rows.append([
                name, row.records[0].get("first_iteration", 0), row.round,
                100 - 100 * row.edge_sparsity, 100 - 100 * row.weight_sparsity,
                mean_and_interval(rises), 100 * fmean(ends), accuracy(row),
            ])  # fmt: skip
    metric = metric_name(runs)
    columns = ("edges left, %", "weights left, %", "instability", "error of the copies",
               f"test {metric}")  # fmt: skip
    return Table("instability", {"run": "", "k": "d", "round": "d"}, dict.fromkeys(columns, ".1f"),
                 rows, "Instability", INSTABILITY.replace("accuracy", metric))  # fmt: skip


def run_warnings(runs: Runs) -> list[str]:
    """The warnings that stand in the records of every run, in the words of `graphlth show`."""
    return [
        f"{name}, {line}"
        for name, records in runs.items()
        for line in warning_lines(record.summary(records))
    ]


def draw_figures(runs: Runs, figures: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The figures of a suite, drawn into the folder of its result: the caption of every file."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = {}
    for name, settings in figures.items():
        how = dict(settings)
        shown = how.pop("runs", list(runs))
        find("figures", name)([r for n in shown for r in runs[n]], out=str(folder / f"{name}.png"),
                              **how)  # fmt: skip
        captions[f"{name}.png"] = name.replace("_", " ")
    return captions


def band_claims(runs: Runs, suite: Suite, field: str = "test") -> list[Claim]:
    """A claim for every band that the suite expects, in %."""
    claims = []
    for name, bands in suite.get("expected" if field == "test" else field, {}).items():
        rows = {row.round: row for row in record.summary(runs[name])}
        for r, (low, high) in bands.items():
            value = mean_and_interval([known[field] for known in rows[int(r)].records])
            what = f"test {metric_name(runs)}" if field == "test" else field
            claims.append(Claim(f"{name}, round {r}: {what}, %", value, round(100 * low, 4),
                                None if high == 1 else round(100 * high, 4), ".2f"))  # fmt: skip
    return claims


# --- result --------------------------------------------------------------------------------------


def parse_suite(about: str) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The arguments of a script that runs a suite, and the content of the suite."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--data_root")
    parser.add_argument("--out", default="runs", help="the folder of the runs")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--result", type=Path, help="the folder of the result")
    args = parser.parse_args()
    args.result = args.result or RESULTS / args.suite.stem
    return args, tomllib.loads(args.suite.read_text())


def describe_seeds(suite: Suite) -> str:
    """How many seeds a suite has, and of which splits."""
    if "splits" in suite:
        return f"{suite['splits']} splits with one seed each (below, seeds are splits)"
    return f"{suite['seeds']} seeds"


def describe_runs(runs: Runs, suite: Suite, command: str, **more: Any) -> Data:
    """Machine, versions, commits, seeds and settings of the runs, and the day."""
    about = next(iter(runs.values()))[0]["environment"]
    commits = {
        shorten_commit(r["environment"].get("commit", "unknown"))
        for rs in runs.values()
        for r in rs
    }
    hardware = {"cpu": about["cpu"], "core": None, "vector_bits": None, "second_cache_kib": None,
                "cores": about["cores"], "threads": "one thread per run"}  # fmt: skip
    settings = {n: suite[n] for n in ("settings", "runs", "analyze", "grid", "ugs") if n in suite}
    return {
        "machine": name_machine(hardware), "case": None, "command": command,
        "date": str(date.today()), "commits": sorted(commits), "hardware": hardware, "load": None,
        "versions": {name: about.get(name) for name in ("python", "torch", "numba")},
        "seeds": suite.get("splits") or suite["seeds"], "settings": settings | more, "remark": None,
    }  # fmt: skip


def main() -> None:
    args, suite = parse_suite(str(__doc__).splitlines()[0])
    folders = run_folders(suite, args)
    folders = {name: folders[name] for name in suite.get("compare", folders)}
    runs = read_records(folders, suite)
    settings = next(iter(runs.values()))[0]["settings"]
    unit = "iterations" if settings.get("iterations") else "epochs"
    tables = [variant_table(runs, suite)] if "columns" in suite else [
        accuracy_table(runs, suite), gap_table(runs, suite)
    ]  # fmt: skip
    claims = band_claims(runs, suite)
    pictures = draw_figures(runs, suite.get("figures", {}), args.result)
    if "analyze" in suite:
        measured = read_records(analysis_folders(suite, folders, args), suite)
        tables.append(instability_table(measured))
        claims += band_claims(measured, suite, "instability")
        pictures |= draw_figures(measured, {"instability": {}, "barrier": {}}, args.result)
    command = f"python benchmarks/reproduce.py benchmarks/suites/{args.suite.name} --data_root DIR"
    write(Result(
        args.suite.stem, suite["title"],
        f"{describe_seeds(suite)}, {settings[unit]} + {settings[unit]} {unit} a round. "
        f"{OVER_SEEDS.replace('accuracy', metric_name(runs))}",
        describe_runs(runs, suite, command, **{unit: settings[unit]}),
        tables, claims, pictures, run_warnings(runs), suite["notes"],
    ), args.result)  # fmt: skip


if __name__ == "__main__":
    run_main(main)
