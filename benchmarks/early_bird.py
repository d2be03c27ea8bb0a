"""Early-bird graph tickets: the grid, the drawing epochs, the starts, the criteria and the cost.

    python benchmarks/early_bird.py benchmarks/suites/gebt_cora.toml --data_root DIR [--jobs 2]

Runs that exist under --out are continued, not run again. The result goes to
benchmarks/results/<suite>/, or to the folder --result.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import sub, truediv
from statistics import fmean
from typing import Any

from bench import run_main
from report import (
    EXACT,
    Claim,
    Result,
    Table,
    Value,
    mean_and_interval,
    median_and_range,
    write,
)
from reproduce import (
    OVER_SEEDS,
    describe_runs,
    draw_figures,
    parse_suite,
    run_records,
    run_warnings,
)

from graphlth.records import Record

FIRST = {"drop_edges": 0.2, "drop_weights": 0.5}  # the corner of the grid that is looked at closely
LAST = {"drop_edges": 0.4, "drop_weights": 0.9}
UGS = (4, 5)  # rounds to FIRST: 5.4 % of the edges each, or 4.4 %; published are 5 %
SEARCH = {"epochs": 100}
LATER = "; this comparison was added when that with 4 rounds had missed"
COST = (
    "An epoch counts three times the MACs of an inference under the masks it trains; a joint "
    "search has two steps an epoch. Evaluation is not counted."
)
EARLY = 30  # epochs within which tickets are to be drawn
Runs = dict[str, list[Record]]


def run_settings(suite: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of every run by its name here."""
    joint = SEARCH | {"algorithm": "joint_early_bird"}
    geb = SEARCH | {"algorithm": "geb"}
    grid = suite["grid"]
    named: dict[str, dict[str, Any]] = {
        f"joint {100 * g:.0f}/{100 * w:.0f}": joint | {"drop_edges": g, "drop_weights": w}
        for g in grid["drop_edges"] for w in grid["drop_weights"]
    }  # fmt: skip
    for g in grid["drop_edges"]:
        named[f"geb {100 * g:.0f}"] = geb | {"drop_edges": g}
    for corner in (FIRST, LAST):
        share = "{drop_edges:.0%}/{drop_weights:.0%}".format(**corner).replace("%", "")
        for name in ("sgcn", "random_graph"):
            named[f"{name} {share}"] = SEARCH | corner | {"algorithm": name}
    for start in ("rewind", "reinit"):
        named[f"start {start}"] = joint | FIRST | {"start": start}
    for criterion in ("edges", "weights"):
        named[f"criterion {criterion}"] = joint | FIRST | {"criterion": criterion}
    named["draws"] = joint | FIRST | {"draws": 20}
    named["normalised"] = joint | FIRST | {"normalize": True}
    named["ugs"] = suite["ugs"] | {"algorithm": "ugs", "epochs": 200, "rounds": 10}
    for rounds in UGS:
        rates = {n: round(1 - (1 - share) ** (1 / rounds), 4) for n, share in FIRST.items()}
        named[f"ugs 20/50 in {rounds}"] = named["ugs"] | rates | {"rounds": rounds}
    named["random_tickets"] = {"algorithm": "random_tickets", "epochs": 200, "rounds": 10}
    return {name: {**suite["settings"], **own} for name, own in named.items()}


def column(records: Sequence[Record], field: str, round: int = 1) -> list[Any]:
    """A field of one round, by seed."""
    return [r[field] for r in sorted(records, key=lambda r: r["seed"]) if r["round"] == round]


def by_seed(
    left: Sequence[float], right: Sequence[float], function: Callable[[float, float], float] = sub
) -> list[float]:
    """The differences of two columns, or another function of both, by seed."""
    return [function(a, b) for a, b in zip(left, right, strict=True)]


def gap(records: Sequence[Record], round: int = 1) -> Value:
    """A ticket's accuracy minus that of its own dense network, paired by seed, in points."""
    return mean_and_interval(by_seed(column(records, "test", round), column(records, "test", 0)))


def early_count(records: Sequence[Record]) -> Value:
    """How many tickets were drawn within `EARLY` epochs because their masks had settled."""
    pairs = zip(column(records, "drawn_epoch"), column(records, "settled"), strict=True)
    count = sum(epoch <= EARLY and settled for epoch, settled in pairs)
    return Value(count, count, count, EXACT, len(column(records, "seed")))


def ticket_table(runs: Runs) -> Table:
    """A line for every run with one ticket."""
    rows = []
    for name, records in runs.items():
        if "settled" not in records[-1] or name == "draws":
            continue
        early = early_count(records)
        rows.append([
            name, mean_and_interval(column(records, "test")), gap(records),
            median_and_range(column(records, "drawn_epoch")), early, early.n,
            fmean(column(records, "macs")) / 1e6, fmean(column(records, "macs", 0)) / 1e6,
        ])  # fmt: skip
    columns = {"test, %": ".1f", "minus dense, points": ".1f", "drawn at epoch": ".0f",
               f"within {EARLY} epochs": "d", "of": "d", "MACs of inference, M": ".1f",
               "dense, M": ".1f"}  # fmt: skip
    return Table("tickets", {"run (edges / weights removed, %)": ""}, columns, rows)


def baseline_table(runs: Runs) -> Table:
    """The baselines."""
    rows = [
        [name, mean_and_interval(column(records, "test")), gap(records)]
        for name, records in runs.items() if name.split()[0] in ("sgcn", "random_graph")
    ]  # fmt: skip
    slow = [(f"ugs 20/50 in {r}", r) for r in UGS]
    for name, r in (*slow, ("ugs", 10), ("random_tickets", 4), ("random_tickets", 10)):
        records = runs[name]
        rows.append([f"{name}, round {r}", mean_and_interval(column(records, "test", r)),
                     gap(records, r)])  # fmt: skip
    return Table("baselines", {"baseline": ""}, {"test, %": ".1f", "minus dense, points": ".1f"},
                 rows, "Baselines")  # fmt: skip


def drawing_table(runs: Runs) -> Table:
    """Retrain accuracy of the tickets drawn along the way."""
    records = runs["draws"]
    rounds = sorted({r["round"] for r in records if r["round"]})
    last = column(records, "test", rounds[-1])
    rows = [
        [column(records, "drawn_epoch", r)[0], mean_and_interval(column(records, "test", r)),
         mean_and_interval(by_seed(column(records, "test", r), last))]
        for r in rounds
    ]  # fmt: skip
    columns = {"test, %": ".1f", "minus the last, points": ".1f"}
    return Table("drawing", {"drawn at epoch": "d"}, columns, rows, "The drawing epoch")


def macs_spent(records: Sequence[Record], last: int, retrained: bool) -> list[float]:
    """MACs of every seed: all rounds of search, and the retraining of the last where asked for."""
    return [
        sum(r["macs_search"] for r in records if r["seed"] == seed and r["round"] <= last)
        + retrained * own
        for seed, own in enumerate(column(records, "macs_retrain", last))
    ]


def compare_costs(runs: Runs) -> list[tuple[str, str, list[float], list[float], str]]:
    """Of an early-bird ticket and of one of UGS at equal sparsity: names, MACs and remark."""
    found = []
    first = [("joint 20/50", f"ugs 20/50 in {r}", r) for r in UGS]
    for name, other, r in (*first, ("joint 40/90", "ugs", 10)):
        for retrained, what in enumerate(("search", "in all")):
            remark = f"{name} in {r} rounds, {what}" + (LATER if r == UGS[1] else "")
            found.append((f"{name} against {other}, round {r}: {what}", remark,
                          macs_spent(runs[name], 1, bool(retrained)),
                          macs_spent(runs[other], r, bool(retrained)), what))  # fmt: skip
    return found


def cost_table(runs: Runs) -> Table:
    """What a ticket costs, and how many times more UGS pays at equal sparsity."""
    rows = [[line, fmean(ours) / 1e9, fmean(theirs) / 1e9, times(theirs, ours)]
            for line, _, ours, theirs, _ in compare_costs(runs)]  # fmt: skip
    columns = dict.fromkeys(("early-bird, G", "UGS, G", "times"), ".1f")
    return Table("costs", {"MACs of": ""}, columns, rows, "What a ticket costs", COST)


def times(theirs: Sequence[float], ours: Sequence[float]) -> Value:
    """How many times more one pays than the other, mean over seeds."""
    return mean_and_interval(by_seed(theirs, ours, truediv), 1.0)


def claims(runs: Runs) -> list[Claim]:
    """What the paper says, and what is found."""
    joint = {n: rs for n, rs in runs.items() if n.startswith("joint ")}
    early = {n: early_count(rs) for n, rs in joint.items()}
    fewest = min(early, key=lambda name: early[name].value)
    seeds, last = early[fewest].n, max(r["round"] for r in runs["draws"])
    along = [r for r in sorted({r["round"] for r in runs["draws"]})
             if r and 10 <= column(runs["draws"], "drawn_epoch", r)[0] <= 20]  # fmt: skip
    return [
        Claim(f"drawn within {EARLY} epochs, of {seeds} runs: fewest, {fewest}", early[fewest],
              at_least=0.9 * seeds),
        Claim("at 20 / 50 %, minus dense, points", gap(joint["joint 20/50"]), at_least=-1,
              format=".2f"),
        *[Claim(f"ticket of epoch {column(runs['draws'], 'drawn_epoch', r)[0]} minus that of the "
                "last, points", mean_and_interval(by_seed(column(runs["draws"], "test", r),
                                                         column(runs["draws"], "test", last))),
                at_least=0, format=".1f") for r in along],
        *[Claim(f"times the MACs that UGS pays ({remark})", times(theirs, ours), at_least=10,
                format=".1f") for _, remark, ours, theirs, _ in compare_costs(runs)],
    ]  # fmt: skip


FIGURES = {  # which runs each shows
    "drawing": ("draws", "joint 20/50"),
    "distances": ("draws", "joint 20/50", "criterion edges", "criterion weights"),
    "cost": ("joint 20/50", "joint 40/90", "sgcn 20/50", "random_graph 20/50",
             "ugs 20/50 in 4", "ugs", "random_tickets"),
    "inference": None,  # the grid and the baselines
    "criteria": ("joint 20/50", "criterion edges", "criterion weights"),
}  # fmt: skip


def figures(runs: Runs) -> dict[str, dict[str, Any]]:
    """The runs of every figure, as a suite names them."""
    every = [n for n in runs if n.split()[0] in ("joint", "sgcn", "random_graph")]
    return {name: {"runs": shown or every} for name, shown in FIGURES.items()}


def main() -> None:
    args, suite = parse_suite(str(__doc__).splitlines()[0])
    runs: Runs = {n: run_records(settings, args, suite["seeds"])
                  for n, settings in run_settings(suite).items()}  # fmt: skip
    published = suite["published"]
    dense = mean_and_interval(column(runs["joint 20/50"], "test", 0))
    pictures = draw_figures(runs, figures(runs), args.result)
    command = f"python benchmarks/early_bird.py benchmarks/suites/{args.suite.name} --data_root DIR"
    columns = dict.fromkeys(("here, 100 epochs", "published", "published ticket"), ".1f")
    columns |= dict.fromkeys(("published, joint tickets drawn at epochs",
                              "published, graph alone at epochs"), "")  # fmt: skip
    write(Result(
        args.suite.stem, suite["title"],
        f"{suite['seeds']} seeds, at most 100 epochs of search and 100 of retraining (UGS and "
        f"random tickets: 200 and 200 a round), undirected edges. {OVER_SEEDS}",
        describe_runs(runs, suite, command),
        [ticket_table(runs), baseline_table(runs),
         Table("dense", {}, columns, [[
             dense, 100 * published["dense"], 100 * published["ticket"],
             "–".join(map(str, published["drawn"])), "–".join(map(str, published["drawn_graph"])),
         ]], "Dense network, and what is published"),
         drawing_table(runs), cost_table(runs)],
        claims(runs), pictures, run_warnings(runs), suite["notes"],
    ), args.result)  # fmt: skip


if __name__ == "__main__":
    run_main(main)
