"""The seeds of a run in one process and in two: wall time, start-up, and the same digits.

The records of both must agree in everything but their times. The start-up lasts until every
process has done its first epoch: processes are started, modules imported and data loaded.

    python benchmarks/speed_seeds.py --data_root DIR [--out FILE.md]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bench import Seconds, arguments, hardware, lined, ratios, report, spread, verdict

import graphlth as glt
from graphlth import record


def run(args: argparse.Namespace, jobs: int, out: Path) -> tuple[Path, float, float]:
    """The run's folder, the seconds that it took, and those until all processes were at work."""
    settings = {"rounds": args.rounds, "epochs": args.epochs}
    settings |= {"data_root": str(args.data_root)} if args.data_root else {}
    first: dict[int, float] = {}  # when each seed had done an epoch
    start = time.perf_counter()
    folder = glt.run(
        "ugs", args.task, args.model, settings, seeds=args.seeds, out=out, jobs=jobs,
        watch=lambda step: first.setdefault(step.seed, time.perf_counter()),
    )  # fmt: skip
    return folder, time.perf_counter() - start, sorted(first.values())[jobs - 1] - start


def digits(folder: Path) -> list[dict[str, object]]:
    """The records without what is measured."""
    return [{k: v for k, v in line.items() if not k.startswith(record.MEASURED)}
            for line in record.read(folder)]  # fmt: skip


def main() -> None:
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--task", default="cora")
    parser.add_argument("--model", default="gcn")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=200)
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.seeds, args.rounds, args.epochs = 1, 2, 1, 2
        args.task = args.task if args.data_root else "sbm"
    seconds: Seconds = {"1": [], "2": []}
    started: Seconds = {"1": [], "2": []}
    found = []
    for repeat in range(args.repeats + (not args.quick)):
        for jobs in seconds:
            with tempfile.TemporaryDirectory() as out:
                folder, whole, start = run(args, int(jobs), Path(out))
                found.append(digits(folder))
            assert found[-1] == found[0], f"{jobs} processes: records differ in more than times"
            if repeat or args.quick:  # the first is warm-up
                seconds[jobs].append(whole)
                started[jobs].append(start)
            print(f"jobs={jobs}: {whole:.1f} s, of it start-up {start:.1f} s", flush=True)
    gain = ratios(seconds, "1", "2")
    work = {jobs: [a - b for a, b in zip(seconds[jobs], started[jobs], strict=True)]
            for jobs in seconds}  # fmt: skip
    rows = [[jobs, spread(seconds[jobs]), spread(started[jobs]), spread(work[jobs])]
            for jobs in seconds]  # fmt: skip
    report(
        args.out, "The seeds of a run in one process and in two",
        [hardware("one thread a process")],
        [f"UGS on {args.task} with {args.model}: {args.seeds} seeds, {args.rounds} rounds, "
         f"{args.epochs} + {args.epochs} epochs a round. All {len(found[0])} records agree in "
         f"everything but their times, in all {len(found)} runs. Medians of {args.repeats} "
         "alternating runs, range in brackets."],
        lined(["processes", "wall time, s", "of it start-up, s", "the rest, s"],
              [*rows, ["1 / 2", spread(gain), "", spread(ratios(work, "1", "2"))]]),
        [verdict("wall time, 1 process / 2", statistics.median(gain), least=1.8)],
    )  # fmt: skip


if __name__ == "__main__":
    main()
