"""Early-bird graph tickets: the grid, the drawing epochs, the starts, the criteria and the cost.

    python benchmarks/early_bird.py benchmarks/suites/gebt_cora.toml --data_root DIR [--jobs 2]

Runs that exist under --out are continued, not run again. The report goes to
benchmarks/reports/<file>_<hardware>_<date>.md, its figures beside it.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench import plainly
from reproduce import OVER_SEEDS, doubts, lined, opened, origin, run, target

from graphlth.records.schema import Record
from graphlth.records.statistics import percent
from graphlth.registry import find

FIRST = {"drop_edges": 0.2, "drop_weights": 0.5}  # the corner of the grid that is looked at closely
LAST = {"drop_edges": 0.4, "drop_weights": 0.9}
UGS = (4, 5)  # rounds to FIRST: 5.4 % of the edges each, or 4.4 %; published are 5 %
SEARCH = {"epochs": 100}
EARLY = 30  # epochs within which tickets are to be drawn
Runs = dict[str, list[Record]]


def plans(bench: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of every run by its name here."""
    joint = SEARCH | {"algorithm": "joint_early_bird"}
    geb = SEARCH | {"algorithm": "geb"}
    grid = bench["grid"]
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
    named["ugs"] = bench["ugs"] | {"algorithm": "ugs", "epochs": 200, "rounds": 10}
    for rounds in UGS:
        rates = {n: round(1 - (1 - share) ** (1 / rounds), 4) for n, share in FIRST.items()}
        named[f"ugs 20/50 in {rounds}"] = named["ugs"] | rates | {"rounds": rounds}
    named["random_tickets"] = {"algorithm": "random_tickets", "epochs": 200, "rounds": 10}
    return {name: {**bench["settings"], **own} for name, own in named.items()}


def column(records: Sequence[Record], field: str, round: int = 1) -> list[Any]:
    """A field of one round, by seed."""
    return [r[field] for r in sorted(records, key=lambda r: r["seed"]) if r["round"] == round]


def gap(records: Sequence[Record], round: int = 1) -> str:
    """A ticket's accuracy minus that of its own dense network, paired by seed, in points."""
    sides = column(records, "test", round), column(records, "test", 0)
    differences = [ticket - dense for ticket, dense in zip(*sides, strict=True)]
    return percent(differences)


def drawn(records: Sequence[Record]) -> str:
    """`14 (13–15), 10 of 10`: median, range, and how many were drawn early."""
    epochs = sorted(column(records, "drawn_epoch"))
    soon = sum(epoch <= EARLY and settled
               for epoch, settled in zip(column(records, "drawn_epoch"),
                                         column(records, "settled"), strict=True))  # fmt: skip
    return f"{epochs[len(epochs) // 2]} ({epochs[0]}–{epochs[-1]}), {soon} of {len(epochs)}"


def grid(runs: Runs) -> list[str]:
    """A line for every run with one ticket."""
    rows = []
    for name, records in runs.items():
        if "settled" not in records[-1] or name == "draws":
            continue
        macs = fmean(column(records, "macs"))
        dense = fmean(column(records, "macs", 0))
        rows.append([name, percent(column(records, "test")), gap(records), drawn(records),
                     f"{macs / 1e6:.1f} of {dense / 1e6:.1f}"])  # fmt: skip
    head = ["run (edges / weights removed, %)", "test, %", "minus dense, points",
            f"drawn at epoch, within {EARLY}", "MACs of inference, M"]  # fmt: skip
    return lined(head, rows)


def others(runs: Runs) -> list[str]:
    """The baselines."""
    rows = [
        [name, percent(column(records, "test")), gap(records)]
        for name, records in runs.items() if name.split()[0] in ("sgcn", "random_graph")
    ]  # fmt: skip
    slow = [(f"ugs 20/50 in {r}", r) for r in UGS]
    for name, r in (*slow, ("ugs", 10), ("random_tickets", 4), ("random_tickets", 10)):
        records = runs[name]
        rows.append([f"{name}, round {r}", percent(column(records, "test", r)), gap(records, r)])
    return lined(["baseline", "test, %", "minus dense, points"], rows)


def costs(runs: Runs) -> tuple[list[str], dict[str, float]]:
    """What a ticket costs, and how many times more UGS pays at equal sparsity."""
    rows, ratios = [], {}
    first = [("joint 20/50", f"ugs 20/50 in {r}", r) for r in UGS]
    for name, found, r in (*first, ("joint 40/90", "ugs", 10)):
        for what in ("search", "in all"):
            spent = {}
            for each, round in ((name, 1), (found, r)):
                spent[each] = [
                    sum(x["macs_search"] for x in runs[each]
                        if x["seed"] == seed and x["round"] <= round)
                    + (what == "in all") * own
                    for seed, own in enumerate(column(runs[each], "macs_retrain", round))
                ]  # fmt: skip
            ratio = fmean(spent[found]) / fmean(spent[name])
            ratios[f"{name} in {r} rounds, {what}"] = ratio
            rows.append([f"{name} against {found}, round {r}: {what}",
                         f"{fmean(spent[name]) / 1e9:.1f}", f"{fmean(spent[found]) / 1e9:.1f}",
                         f"{ratio:.1f}"])  # fmt: skip
    return lined(["MACs of", "early-bird, G", "UGS, G", "times"], rows), ratios


def curve(runs: Runs) -> list[str]:
    """Retrain accuracy of the tickets drawn along the way."""
    records = runs["draws"]
    rounds = sorted({r["round"] for r in records if r["round"]})
    last = column(records, "test", rounds[-1])
    rows = [
        [str(column(records, "drawn_epoch", r)[0]), percent(column(records, "test", r)),
         percent([a - b for a, b in zip(column(records, "test", r), last, strict=True)])]
        for r in rounds
    ]  # fmt: skip
    return lined(["drawn at epoch", "test, %", "minus the last, points"], rows)


def verdicts(runs: Runs, ratios: Mapping[str, float]) -> list[str]:
    """A line for every claim: met or missed, with the figure."""
    joint = {n: rs for n, rs in runs.items() if n.startswith("joint ")}
    soon = {n: sum(e <= EARLY and s for e, s in zip(column(rs, "drawn_epoch"),
                                                    column(rs, "settled"), strict=True))
            for n, rs in joint.items()}  # fmt: skip
    least = min(soon, key=soon.__getitem__)
    seeds = len(column(joint[least], "seed"))
    first = joint["joint 20/50"]
    behind = fmean(column(first, "test", 0)) - fmean(column(first, "test"))
    early = [r for r in {x["round"] for x in runs["draws"]}
             if r and 10 <= column(runs["draws"], "drawn_epoch", r)[0] <= 20]  # fmt: skip
    at = {r: fmean(column(runs["draws"], "test", r)) for r in early}
    end = fmean(column(runs["draws"], "test", max(x["round"] for x in runs["draws"])))
    claims = [
        (f"drawn within {EARLY} epochs in at least 9 of 10 runs: fewest {soon[least]} of {seeds} "
         f"({least})", soon[least] >= 0.9 * seeds),
        (f"at 20 / 50 % within 1 point of dense: {100 * behind:.2f} below", behind <= 0.01),
        (f"tickets of epochs 10 to 20 at least as good as the last one's {100 * end:.1f}: "
         + ", ".join(f"{100 * v:.1f}" for _, v in sorted(at.items())), min(at.values()) >= end),
        *[(f"UGS pays at least 10 times the MACs ({name}): {ratio:.1f}", ratio >= 10)
          for name, ratio in ratios.items()],
    ]  # fmt: skip
    return [f"- {text}: {'met' if held else '**missed**'}" for text, held in claims]


FIGURES = {  # which runs each shows
    "drawing": ("draws", "joint 20/50"),
    "distances": ("draws", "joint 20/50", "criterion edges", "criterion weights"),
    "cost": ("joint 20/50", "joint 40/90", "sgcn 20/50", "random_graph 20/50",
             "ugs 20/50 in 4", "ugs", "random_tickets"),
    "inference": None,  # the grid and the baselines
    "criteria": ("joint 20/50", "criterion edges", "criterion weights"),
}  # fmt: skip


def main() -> None:
    args, bench = opened(str(__doc__).splitlines()[0])
    runs: Runs = {n: run(told, args, bench["seeds"]) for n, told in plans(bench).items()}
    to = target(args.file, runs)
    pictures = []
    for name, shown in FIGURES.items():
        names = shown or [n for n in runs if n.split()[0] in ("joint", "sgcn", "random_graph")]
        out = to.with_name(f"{to.name}_{name}.png")
        find("figures", name)([r for n in names for r in runs[n]], out=str(out))
        pictures += [f"![{name}]({out.name})", ""]
    table, ratios = costs(runs)
    published = bench["published"]
    text = [
        f"# {bench['title']}", "",
        f"`python benchmarks/early_bird.py benchmarks/suites/{args.file.name} --data_root DIR`: "
        f"{bench['seeds']} seeds, at most 100 epochs of search and 100 of retraining (UGS and "
        f"random tickets: 200 and 200 a round), undirected edges. {origin(runs)}", "",
        "Test accuracy at the epoch of best validation accuracy of the retraining: mean ± "
        f"{OVER_SEEDS}; gaps are paired by seed.", "",
        f"Dense network, 100 epochs: {percent(column(runs['joint 20/50'], 'test', 0))}. Published: "
        f"dense {100 * published['dense']:.1f}, ticket {100 * published['ticket']:.1f}, joint "
        f"tickets drawn at epochs {published['drawn'][0]}–{published['drawn'][1]}, those of the "
        f"graph alone at {published['drawn_graph'][0]}–{published['drawn_graph'][1]}.", "",
        *grid(runs), "", *others(runs), "",
        "## The drawing epoch", "", *curve(runs), "",
        "## What a ticket costs", "",
        "An epoch counts three times the MACs of an inference under the masks it trains; a joint "
        "search has two steps an epoch. Evaluation is not counted.", "", *table, "",
        *pictures,
        *doubts(runs),
        "## Claims", "", *verdicts(runs, ratios), "",
        "## What was chosen, and what was seen", "", bench["notes"].strip(), "",
    ]  # fmt: skip
    to.with_suffix(".md").write_text("\n".join(text))
    print(to.with_suffix(".md"))


if __name__ == "__main__":
    plainly(main)
