"""Early-bird tickets of channels against one shot: when they are drawn, accuracy and cost.

    python benchmarks/early_bird_channels.py benchmarks/suites/early_bird_cifar10.toml --data_root DIR

Runs that exist under --out are continued, not run again. The report goes to
benchmarks/reports/<file>_<hardware>_<date>.md, its figure beside it. The first run of the file is
the early-bird one, the second that of one shot.
"""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from bench import plainly
from early_bird import Runs, column, gap
from reproduce import OVER_SEEDS, doubts, folders_of, lined, opened, origin, records_of, target

from graphlth.figures.distances import distances
from graphlth.records.schema import Record
from graphlth.records.statistics import paired_differences, percent


def drawn(records: list[Record]) -> list[float]:
    """The part of the search that each seed had behind it when its ticket was drawn."""
    epochs = records[0]["settings"]["epochs"]
    return [r.get("drawn_epoch", epochs) / epochs for r in records if r["round"]]


def spent(records: list[Record]) -> float:
    """MACs of finding and retraining a ticket, mean over seeds."""
    return fmean(r["macs_search"] + r["macs_retrain"] for r in records if r["round"])


def table(runs: Runs) -> list[str]:
    """A line for every run."""
    rows = [
        [name, str(len(drawn(records))),
         " / ".join(f"{100 * part:.0f}" for part in sorted({*drawn(records)})),
         percent(column(records, "test")), gap(records), f"{spent(records) / 1e12:.2f}",
         f"{fmean(column(records, 'macs')) / fmean(column(records, 'macs', 0)):.2f}"]
        for name, records in runs.items()
    ]  # fmt: skip
    head = ["run", "seeds", "drawn after, % of training", "test, %", "minus dense, points",
            "training MACs, T", "MACs of inference / dense"]  # fmt: skip
    return lined(head, rows)


def verdicts(runs: Runs, bench: Mapping[str, Any]) -> list[str]:
    """A line for every claim: met or missed, with the figure."""
    early, shot, *_ = runs.values()
    latest, lost = max(drawn(early)), paired_differences(shot, early, 1)
    ratio = spent(shot) / spent(early)
    settled = all(column(early, "settled"))
    claims = [
        (f"drawn before {bench['early']:.0%} of training: the latest at {latest:.0%}",
         settled and latest < bench["early"]),
        (f"within {100 * bench['behind']:.1f} points of one shot: "
         f"{percent(lost)} below", fmean(lost) <= bench["behind"]),
        (f"fewer training MACs than one shot: {ratio:.2f} times fewer", ratio > 1),
    ]  # fmt: skip
    return [f"- {text}: {'met' if held else '**missed**'}" for text, held in claims]


def main() -> None:
    args, bench = opened(str(__doc__).splitlines()[0])
    runs = records_of(folders_of(bench, args), bench)
    to, told = target(args.file, runs), bench["settings"]
    picture = to.with_name(f"{to.name}_distances.png")
    distances([r for rs in runs.values() for r in rs if "draws" in r["settings"]], out=str(picture))
    text = [
        f"# {bench['title']}", "",
        f"`python benchmarks/early_bird_channels.py benchmarks/suites/{args.file.name} --data_root DIR`: "
        f"{told['train_size']:,} training and {told['test_size']:,} test "
        f"images, {told['epochs']} epochs, {told['drop_channels']:.0%} of the hidden channels "
        f"removed. {origin(runs)}", "",
        "Test accuracy at the epoch of best validation accuracy of the retraining: mean ± "
        f"{OVER_SEEDS}; gaps are paired by seed. Training "
        "MACs are those of search and retraining, three times a forward pass for each image; one "
        "in 8 bits counts as any other.", "",
        *table(runs), "",
        *doubts(runs),
        f"![distances]({picture.name})", "",
        "## Claims", "", *verdicts(runs, bench), "",
        "## What was chosen, and what was seen", "", bench["notes"].strip(), "",
    ]  # fmt: skip
    to.with_suffix(".md").write_text("\n".join(text))
    print(to.with_suffix(".md"))


if __name__ == "__main__":
    plainly(main)
