"""The seeds of a run in one process and in two: wall time, and the same digits.

The records of both must agree in everything but their times. Wall time has all in it that the
second process does: it starts, imports its modules and loads its data; the first has them before.
While one or two processes run, the latency from core to core is measured; the result has that of
two: processes that share a third cache slow each other down, and the cores of a virtual machine
move.

    python benchmarks/speed_seeds.py --data_root DIR [--out FOLDER]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import (
    Seconds,
    arguments,
    ratios,
    result_folder,
    run_main,
)
from cores import latencies
from machine import measurement

import graphlth as glt
import graphlth.records as record
from graphlth.reproduction.result import RANGE, Claim, Result, Table, Value, median_and_range, write

ABOUT = (
    "UGS on Cora with GCN: all records agree in everything but their times, in all runs. Medians "
    "of alternating runs, range in brackets. From core to core, in the mean of every 10 s, "
    "a cache line takes 20 to 80 ns while both share a third cache, for which the processes "
    "compete, and about 200 while they do not."
)


def run(args: argparse.Namespace, jobs: int, out: Path, **settings: Any) -> tuple[Path, float]:
    """The run's folder, and the seconds that it took."""
    settings |= {"data_root": str(args.data_root)} if args.data_root else {}
    start = time.perf_counter()
    folder = glt.run(
        "ugs", args.task, args.model, settings, seeds=args.seeds, out=out, jobs=jobs
    )  # fmt: skip
    return folder, time.perf_counter() - start


def digits(folder: Path) -> list[dict[str, object]]:
    """The records without what is measured."""
    return [{k: v for k, v in line.items() if not k.startswith(record.COST_PREFIXES)}
            for line in record.read(folder)]  # fmt: skip


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--task", default="cora")
    parser.add_argument("--model", default="gcn")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=200)
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.seeds, args.rounds, args.epochs = 1, 2, 1, 2
        args.task = args.task if args.data_root else "sbm"
    seconds: Seconds = {"1": [], "2": []}
    found, ways = [], []
    with tempfile.TemporaryDirectory() as out:
        run(args, 1, Path(out), rounds=1, epochs=2)  # compiles
    for _ in range(args.repeats):
        for jobs in seconds:
            with tempfile.TemporaryDirectory() as out, latencies() as way:
                folder, whole = run(
                    args, int(jobs), Path(out), rounds=args.rounds, epochs=args.epochs
                )
                found.append(digits(folder))
            if jobs == "2":
                ways.append(Value(statistics.fmean(way), min(way), max(way), RANGE, len(way)))
            assert found[-1] == found[0], f"{jobs} processes: records differ in more than times"
            seconds[jobs].append(whole)
            print(f"jobs={jobs}: {whole:.1f} s", flush=True)
    gain = ratios(seconds, "1", "2")
    turns = zip(range(1, args.repeats + 1), *seconds.values(), gain, ways, strict=True)
    columns = {"1 process, s": ".1f", "2 processes, s": ".1f", "1 / 2": ".2f"}
    middle = [median_and_range(values) for values in (*seconds.values(), gain)]
    write(Result(
        "speed_seeds", "The seeds of a run in one process and in two", ABOUT,
        measurement("one thread a process", f"{args.task}, {args.model}", args.seeds,
                    repeats=args.repeats, rounds=args.rounds, epochs=args.epochs,
                    records=len(found[0])),
        [Table("wall_time", {}, columns, [middle]),
         Table("turns", {"turn": "d"}, columns | {"core to core, mean, ns": ".0f"},
               [list(turn) for turn in turns], "Every turn")],
        [Claim("wall time, 1 process / 2", middle[-1], at_least=1.8)],
    ), result_folder(args, "speed_seeds"), together=True)  # fmt: skip


if __name__ == "__main__":
    run_main(main)
