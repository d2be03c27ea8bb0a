"""Early-bird tickets of channels against one shot: when they are drawn, accuracy and cost.

    python benchmarks/early_bird_channels.py benchmarks/suites/early_bird_cifar10.toml \\
        --data_root DIR

Runs that exist under --out are continued, not run again. The result goes to
benchmarks/results/<suite>/, or to the folder --result. The first run of the suite is the early-bird
one, the second that of one shot.
"""

from collections.abc import Mapping
from operator import truediv
from statistics import fmean
from typing import Any

from bench import run_main
from early_bird import Runs, by_seed, column, gap
from report import Claim, Result, Table, exact_value, mean_and_interval, write
from reproduce import (
    OVER_SEEDS,
    describe_runs,
    parse_suite,
    read_records,
    run_folders,
    run_warnings,
)

from graphlth.figures.distances import distances
from graphlth.records import Record, paired_differences

COST = (
    "Training MACs are those of search and retraining, three times a forward pass for each image; "
    "one in 8 bits counts as any other."
)
COLUMNS = {
    "seeds": "d", "drawn after, % of training": "", "test, %": ".1f", "minus dense, points": ".1f",
    "training MACs, T": ".2f", "MACs of inference / dense": ".2f",
}  # fmt: skip


def drawing_times(records: list[Record]) -> list[float]:
    """The part of the search that each seed had behind it when its ticket was drawn."""
    epochs = records[0]["settings"]["epochs"]
    return [r.get("drawn_epoch", epochs) / epochs for r in records if r["round"]]


def training_macs(records: list[Record]) -> dict[int, float]:
    """MACs of finding and retraining a ticket, by seed."""
    return {r["seed"]: r["macs_search"] + r["macs_retrain"] for r in records if r["round"]}


def row(name: str, records: list[Record]) -> list[Any]:
    """The line of a run."""
    parts = drawing_times(records)
    return [
        name, len(parts), " / ".join(f"{100 * part:.0f}" for part in sorted({*parts})),
        mean_and_interval(column(records, "test")), gap(records),
        fmean(training_macs(records).values()) / 1e12,
        fmean(column(records, "macs")) / fmean(column(records, "macs", 0)),
    ]  # fmt: skip


def claims(runs: Runs, suite: Mapping[str, Any]) -> list[Claim]:
    """What is asked for of the first run against the second."""
    early, shot, *_ = runs.values()
    latest = max(drawing_times(early)) if all(column(early, "settled")) else 1.0
    ours, theirs = training_macs(early), training_macs(shot)
    common = sorted(ours.keys() & theirs.keys())
    fewer = by_seed([theirs[s] for s in common], [ours[s] for s in common], truediv)
    return [
        Claim("drawn after, % of training: the latest of these seeds", exact_value(100 * latest),
              at_most=round(100 * suite["early"], 4)),
        Claim("minus one shot, points", mean_and_interval(paired_differences(early, shot, 1)),
              at_least=-100 * suite["behind"], format=".1f"),
        Claim("times fewer training MACs than one shot", mean_and_interval(fewer, 1.0), at_least=1),
    ]  # fmt: skip


def main() -> None:
    args, suite = parse_suite(str(__doc__).splitlines()[0])
    runs = read_records(run_folders(suite, args), suite)
    settings = suite["settings"]
    args.result.mkdir(parents=True, exist_ok=True)
    searches = [r for rs in runs.values() for r in rs if "draws" in r["settings"]]
    distances(searches, out=str(args.result / "distances.png"))
    command = f"python benchmarks/early_bird_channels.py benchmarks/suites/{args.suite.name} "
    write(Result(
        args.suite.stem, suite["title"],
        f"{settings['train_size']:,} training and {settings['test_size']:,} test images, "
        f"{settings['epochs']} epochs, {100 * settings['drop_channels']:.0f} % of the hidden "
        f"channels removed. {OVER_SEEDS} {COST}",
        describe_runs(runs, suite, command + "--data_root DIR"),
        [Table("tickets", {"run": ""}, COLUMNS, [row(n, records) for n, records in runs.items()])],
        claims(runs, suite), {"distances.png": "distances"}, run_warnings(runs), suite["notes"],
    ), args.result)  # fmt: skip


if __name__ == "__main__":
    run_main(main)
