"""The seeds of a run in one process and in two: wall time, and the same digits.

The records of both must agree in everything but their times. Wall time has all in it that the
second process does: it starts, imports its modules and loads its data; the first has them before.
While one or two run, alike, the way from core to core is measured, and told of two: processes that
share a third cache slow each other down, and the cores of a virtual machine move.

    python benchmarks/speed_seeds.py --data_root DIR [--out FILE.md]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import Seconds, arguments, hardware, lined, plainly, ratios, report, spread, verdict
from cores import latencies

import graphlth as glt
import graphlth.records as record


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
    return [{k: v for k, v in line.items() if not k.startswith(record.MEASURED)}
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
            told = f"{statistics.fmean(way):.0f} ({min(way):.0f} – {max(way):.0f})"
            ways += [told] if jobs == "2" else []
            assert found[-1] == found[0], f"{jobs} processes: records differ in more than times"
            seconds[jobs].append(whole)
            print(f"jobs={jobs}: {whole:.1f} s", flush=True)
    gain = ratios(seconds, "1", "2")
    turns = zip(*seconds.values(), gain, ways, strict=True)
    rows = [[f"{one:.1f}", f"{two:.1f}", f"{ratio:.2f}", way] for one, two, ratio, way in turns]
    rows += [[*(f"{statistics.median(times):.1f}" for times in seconds.values()), spread(gain), ""]]
    report(
        args.out, "The seeds of a run in one process and in two",
        [hardware("one thread a process")],
        [f"UGS on {args.task} with {args.model}: {args.seeds} seeds, {args.rounds} rounds, "
         f"{args.epochs} + {args.epochs} epochs a round. All {len(found[0])} records agree in "
         f"everything but their times, in all {len(found)} runs. A row for each of {args.repeats} "
         "turns, then the medians, ranges in brackets. From core to core, in the mean of "
         "every 10 s, a cache line takes 20 to 80 ns while both share a third cache, for which the "
         "processes compete, and about 200 while they do not."],
        lined(["1 process, s", "2 processes, s", "1 / 2", "core to core, mean, ns"], rows),
        [verdict("wall time, 1 process / 2", statistics.median(gain), least=1.8)],
    )  # fmt: skip


if __name__ == "__main__":
    plainly(main)
