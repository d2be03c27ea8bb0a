"""Run a benchmark file, then write its report and its figure.

    python benchmarks/reproduce.py benchmarks/suites/ugs_cora_gcn.toml --data_root DIR [--jobs 2]

Runs that exist under --out are continued, not run again; `compare` in the file names those that
the report shows, where it is not all of them. A table [analyze] names a `measure`, its settings
and, where not all are taken, the `rounds`: it is taken of every run. The report goes to
benchmarks/reports/<file>_<hardware>_<date>.md, its figures beside it.
"""

import argparse
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

from bench import plainly

import graphlth as glt
import graphlth.records as record
from graphlth.cli.show import warning_lines
from graphlth.experiment.plan import accepted
from graphlth.records.schema import Record
from graphlth.records.statistics import percent
from graphlth.registry import find

HERE = Path(__file__).parent
OVER_SEEDS = "half-width of the 95 % Student-t interval over seeds (of 2 seeds, their range)"
ROUNDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 20)


def plans(bench: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of every run of a benchmark file, by its name there; "null" is None."""
    every = {name: {**bench["settings"], **own} for name, own in bench["runs"].items()}
    return {name: {n: None if v == "null" else v for n, v in told.items() if n != "seeds"}
            for name, told in every.items()}  # fmt: skip


def seeds_of(bench: Mapping[str, Any], name: str) -> int:
    """How many seeds a run has: its own number, else that of the file."""
    found: int = bench["runs"][name].get("seeds", bench["seeds"])
    return found


def run(settings: dict[str, Any], args: argparse.Namespace, seeds: int) -> list[Record]:
    """The records of a run, which is brought to its end."""
    return [r for r in record.read(folder(settings, args, seeds)) if r["seed"] < seeds]


def folder(settings: dict[str, Any], args: argparse.Namespace, seeds: int) -> Path:
    """The folder of a run, which is brought to its end."""
    names, told, how = named(settings)
    if args.data_root and "data_root" in accepted("tasks", names[1]):
        told["data_root"] = args.data_root
    return glt.run(
        *names, told, seeds=seeds, out=args.out, jobs=args.jobs, watch=report_round, **how
    )


def named(settings: Mapping[str, Any]) -> tuple[list[str], dict[str, Any], dict[str, str]]:
    """Algorithm, task and model of a run, its settings, and its protocol where that is told."""
    told = dict(settings)
    names = [told.pop(n) for n in ("algorithm", "task", "model")]
    return names, told, {"protocol": told.pop("protocol")} if "protocol" in told else {}


def folders_of(bench: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Path]:
    """The folder of every run of a benchmark file; `tickets` may name a run above."""
    folders: dict[str, Path] = {}
    for name, told in plans(bench).items():
        if "tickets" in told:
            told["tickets"] = str(folders[told["tickets"]])
        folders[name] = folder(told, args, seeds_of(bench, name))
    return folders


def records_of(folders: Mapping[str, Path], bench: Mapping[str, Any]) -> dict[str, list[Record]]:
    """The records in every folder, of the seeds that the benchmark file asks for."""
    return {n: [r for r in record.read(f) if r["seed"] < seeds_of(bench, n)]
            for n, f in folders.items()}  # fmt: skip


def analyses(
    bench: Mapping[str, Any], folders: Mapping[str, Path], args: argparse.Namespace
) -> dict[str, Path]:
    """The folder of what [analyze] measures of every run."""
    settings = dict(bench["analyze"])
    measure, rounds = settings.pop("measure"), settings.pop("rounds", "all")
    how = {"out": str(Path(args.out) / "measures"), "jobs": args.jobs, "rounds": rounds,
           "data_root": args.data_root, "watch": report_ticket}  # fmt: skip
    return {n: glt.analyze(measure, str(f), settings, seeds=seeds_of(bench, n), **how)
            for n, f in folders.items()}  # fmt: skip


def report_ticket(step: Any) -> None:
    """Print a line when a ticket is measured."""
    r = step.record
    print(f"{r['measure']} of {r['algorithm']} {r['task']} {r['model']} seed {step.seed} "
          f"round {step.round}: {r[r['measure']]:.4f}", flush=True)  # fmt: skip


def report_round(step: Any) -> None:
    """Print a line when a round is done."""
    if step.epoch is None:
        r = step.record
        print(f"{r['algorithm']} {r['task']} {r['model']} seed {step.seed} round {step.round}: "
              f"test {r['test']:.3f}", flush=True)  # fmt: skip


def accuracy(row: record.Row) -> str:
    """The test accuracy of a round, with its interval or its range."""
    return percent([r["test"] for r in row.records])


def lined(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["-"] * len(head), *rows)]


def accuracies(runs: Mapping[str, list[Record]], bench: Mapping[str, Any]) -> list[str]:
    """Test accuracy by round, run by run, and the published numbers."""
    rows = {name: {row.round: row for row in record.summary(rs)} for name, rs in runs.items()}
    first, published = next(iter(rows.values())), bench.get("published", {})
    head = ["round", "edges / weights removed, %", "MACs, M", *rows, *published]
    return lined(head, [[
        str(r), f"{100 * first[r].edge_sparsity:.1f} / {100 * first[r].weight_sparsity:.1f}",
        f"{(first[r].macs or 0) / 1e6:.3g}",
        *[accuracy(own[r]) if r in own else "–" for own in rows.values()],
        *[f"{100 * p[str(r)]:.1f}" if str(r) in p else "–" for p in published.values()],
    ] for r in ROUNDS if r in first])  # fmt: skip


def gaps(runs: Mapping[str, list[Record]], bench: Mapping[str, Any]) -> list[str]:
    """By how much runs are better than dense and than others, paired by seed.

    Which ones the file's `pairs` tell; else they are the first run and each of the others.
    """
    first, *others = runs
    pairs = bench.get("pairs", [[first, name] for name in others])
    sides = [(a, b) for one in dict.fromkeys([*(a for a, _ in pairs)] or [first])
             for a, b in [(one, "dense"), *([a, b] for a, b in pairs if a == one)]]  # fmt: skip
    known = {r["round"] for a, _ in sides for r in runs[a]}
    return lined(["round", *[f"{a} − {b}" for a, b in sides]], [
        [str(r), *[gap(runs[a], runs.get(b) or dense(runs[a], r), r) for a, b in sides]]
        for r in ROUNDS if r and r in known
    ])  # fmt: skip


def dense(records: list[Record], round: int) -> list[Record]:
    """The records of round 0, as if they were of another."""
    return [r | {"round": round} for r in records if r["round"] == 0]


def gap(ours: list[Record], theirs: list[Record], round: int) -> str:
    """The mean difference with its interval; `–` where one of them has no such round."""
    if not all(round in {r["round"] for r in side} for side in (ours, theirs)):
        return "–"
    return percent(record.paired_differences(ours, theirs, round))


def variants(runs: Mapping[str, list[Record]], bench: Mapping[str, Any]) -> list[str]:
    """A line for every run: test accuracy in the rounds `columns`, and the gap to the first run.

    The published numbers follow them.
    """
    ticket, *_ = runs
    rows = {name: {row.round: row for row in record.summary(rs)} for name, rs in runs.items()}
    columns, published = bench["columns"], bench.get("published", {})
    left = {r: f"{100 - 100 * rows[ticket][r].weight_sparsity:.1f} % left" for r in columns}
    head = ["run", *[text for r in columns for text in (left[r], f"− {ticket}")],
            *[f"{source}: {left[r]}" for source in published for r in columns]]  # fmt: skip
    sides = {"dense": runs[ticket]} | dict(runs)
    table = []
    for name, records in sides.items():
        cells = []
        for r in columns:
            own = rows[ticket][0] if name == "dense" else rows[name][r]
            other = dense(records, r) if name == "dense" else records
            cells += [accuracy(own),
                      "–" if name == ticket else gap(other, runs[ticket], r)]  # fmt: skip
        told = [values.get(name, {}) for values in published.values()]
        cells += [f"{100 * v[str(r)]:.1f}" if str(r) in v else "–" for v in told for r in columns]
        table.append([name, *cells])
    return lined(head, table)


def doubts(runs: Mapping[str, list[Record]]) -> list[str]:
    """The warnings that stand in the records of every run, in the words of `graphlth show`."""
    lines = [
        f"- {name}, {line}"
        for name, records in runs.items()
        for line in warning_lines(record.summary(records))
    ]
    return ["## Warnings", "", *lines, ""] if lines else []


def pictures(runs: Mapping[str, list[Record]], bench: Mapping[str, Any], out: Path) -> list[str]:
    """The `figures` that a benchmark file asks for, drawn beside its report, as lines of it."""
    asked = {n: dict(how) for n, how in bench.get("figures", {}).items()}
    text = []
    for name, how in asked.items():
        shown = how.pop("runs", list(runs))
        path = out.with_name(out.name + (f"_{name}" if len(asked) > 1 else "") + ".png")
        find("figures", name)([r for n in shown for r in runs[n]], out=str(path), **how)
        text += [f"![{name.replace('_', ' ')}]({path.name})", ""]
    return text


def instabilities(runs: Mapping[str, list[Record]]) -> list[str]:
    """Instability by run and round, with the accuracy of the same tickets beside it."""
    rows = []
    for name, records in runs.items():
        for row in record.summary(records):
            rises, ends = ([r[n] for r in row.records] for n in ("instability", "end_error"))
            rows.append([
                name, str(row.records[0].get("first_iteration", 0)), str(row.round),
                f"{100 - 100 * row.edge_sparsity:.1f} / {100 - 100 * row.weight_sparsity:.1f}",
                percent(rises), percent([fmean(ends)]), accuracy(row),
            ])  # fmt: skip
    return lined(["run", "k", "round", "edges / weights left, %", "instability", "error of the "
                  "copies", "test accuracy"], rows)  # fmt: skip


def verdicts(
    runs: Mapping[str, list[Record]], bench: Mapping[str, Any], field: str = "test"
) -> list[str]:
    """A line for every expected band: met or missed, with the figure."""
    lines = []
    for name, bands in bench.get("expected" if field == "test" else field, {}).items():
        rows = {row.round: row for row in record.summary(runs[name])}
        for r, (low, high) in bands.items():
            mean = fmean(known[field] for known in rows[int(r)].records)
            state = "met" if low <= mean <= high else "**missed**"
            band = f"at least {100 * low:.1f}" if high == 1 else f"{100 * low:.1f}–{100 * high:.1f}"
            lines.append(f"- {name}, round {r}: {100 * mean:.2f} (expected {band}): {state}")
    return lines


def opened(about: str) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The arguments of a script that runs a benchmark file, and what is in the file."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("file", type=Path)
    parser.add_argument("--data_root")
    parser.add_argument("--out", default="runs")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    return args, tomllib.loads(args.file.read_text())


def target(file: Path, runs: Mapping[str, list[Record]]) -> Path:
    """Where the report goes, without its suffix: named by file, hardware and date."""
    cpu = next(iter(runs.values()))[0]["environment"]["cpu"]
    hardware = re.sub(r"\W+", "-", re.sub(r"\(R\)|\(TM\)|Processor", "", cpu)).strip("-").lower()
    return HERE / "reports" / f"{file.stem}_{hardware}_{date.today()}"


def origin(runs: Mapping[str, list[Record]]) -> str:
    """Machine, versions, commits and day, in a sentence."""
    about = next(iter(runs.values()))[0]["environment"]
    commits = {r["environment"].get("commit", "unknown")[:12] for rs in runs.values() for r in rs}
    return (f"{about['cpu']}, {about['cores']} cores, one thread per run, torch {about['torch']}, "
            f"commit {', '.join(sorted(commits))}, {date.today()}.")  # fmt: skip


def analysed(bench: Mapping[str, Any], folders: Mapping[str, Path], args: argparse.Namespace,
             out: Path) -> list[str]:  # fmt: skip
    """The part of the report on what [analyze] measures: instability, with its figures."""
    found = records_of(analyses(bench, folders, args), bench)
    text = [
        "## Instability", "",
        "k: iterations that the ticket's weights have had. Instability: by how much the error on "
        "the line between two copies rises above the mean of the copies; stable below 2 points. "
        "Both in %, as test accuracy.", "",
        *instabilities(found), "", *verdicts(found, bench, "instability"), "",
    ]  # fmt: skip
    asked = {"figures": {"instability": {}, "barrier": {}}}
    return text + pictures(found, asked, out)


def main() -> None:
    args, bench = opened(str(__doc__).splitlines()[0])
    folders = folders_of(bench, args)
    folders = {name: folders[name] for name in bench.get("compare", folders)}
    runs = records_of(folders, bench)
    out = target(args.file, runs)
    settings = next(iter(runs.values()))[0]["settings"]
    unit = "iterations" if settings.get("iterations") else "epochs"
    tables = variants(runs, bench) if "columns" in bench else [
        *accuracies(runs, bench), "", "Gaps in points:", "", *gaps(runs, bench)
    ]  # fmt: skip
    text = [
        f"# {bench['title']}", "",
        f"`python benchmarks/reproduce.py benchmarks/suites/{args.file.name} --data_root DIR`: "
        f"{bench['seeds']} seeds, {settings[unit]} + {settings[unit]} {unit} a round. "
        f"{origin(runs)}", "",
        "Test accuracy in %, at the epoch of best validation accuracy of the retraining: mean ± "
        f"{OVER_SEEDS}; gaps are paired by seed.", "",
        *tables, "",
        *doubts(runs),
        *pictures(runs, bench, out),
        *(analysed(bench, folders, args, out) if "analyze" in bench else []),
        *(["## Expected bands", "", *verdicts(runs, bench), ""] if "expected" in bench else []),
        "## What differs, and what was seen", "", bench["notes"].strip(), "",
    ]  # fmt: skip
    out.with_suffix(".md").write_text("\n".join(text))
    print(out.with_suffix(".md"))


if __name__ == "__main__":
    plainly(main)
