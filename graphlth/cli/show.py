"""What `graphlth show` prints: recorded runs and ticket files."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

from graphlth.cli.tables import print_table, print_text

if TYPE_CHECKING:  # at run time each command loads what it needs: a figure is drawn without torch
    from graphlth.analysis.latency import Latency
    from graphlth.records.statistics import Row
    from graphlth.records.winning import Marks


def show_runs(folders: Sequence[Path], margin: float | None = None) -> None:
    """Print a table for every run under `folders`, a line per round, and warnings below it.

    What measures have recorded of the tickets of these runs is left out. Without a `margin` it is
    one point of accuracy; rounds of another metric are not tested then.
    """
    import graphlth.records as record
    from graphlth.records.tables import mark_lines

    rows = record.summary(record.run_records(record.read(*folders)))
    marks = record.mark_rows(rows, margin=margin)
    for _, group in groupby(rows, record.run_of):
        show_run(list(group), marks, margin)
    for line in mark_lines(rows, marks, margin):
        print_text(line)


def show_run(rows: Sequence["Row"], marks: "Marks", margin: float | None = None) -> None:
    """Print the table of one run, its largest sparsity and the warnings that its records give."""
    from graphlth.records.tables import HEAD, extreme_line, run_table, run_title, warning_lines

    print()
    print_text(run_title(rows))
    print_table(HEAD, run_table(rows, marks))
    for line in (*extreme_line(rows, margin), *warning_lines(rows)):
        print_text(line, "  ")


def show_structure(folder: Path, data_root: str | None = None) -> None:
    """Print what the graphs look like that the tickets of a run leave, a line per round."""
    from graphlth.experiment.structure import run_structures
    from graphlth.records.statistics import format_number, format_percent

    head = ("round", "pairs", "components", "isolated", "mean degree", "most",
            "at 25 / 50 / 75 / 95 %", "homophily", "spectral gap", "at training")  # fmt: skip
    found, table = run_structures(folder, data_root), []
    for number, each in found.items():
        quantiles = [fmean(q) for q in zip(*(s.degree_quantiles for s in each), strict=True)]
        shares = [
            format_percent(known) if (known := [v for v in values if v is not None]) else ""
            for values in ([s.homophily for s in each], [s.training_share for s in each])
        ]
        gaps = [s.spectral_gap for s in each if s.spectral_gap is not None]
        table.append([
            str(number), *(format_number([getattr(s, name) for s in each]) for name in
                           ("pairs", "components", "isolated_nodes", "degree_mean", "degree_max")),
            " / ".join(f"{q:.3g}" for q in quantiles), shares[0],
            format_number(gaps) if gaps else "", shares[1],
        ])  # fmt: skip
    seeds = max(map(len, found.values()))
    print()
    print_text(f"{folder}: the graph of each ticket, {seeds} seed{'' if seeds == 1 else 's'}")
    print_table(head, table)
    print_text("directions, repetitions and self-loops do not count; homophily: % of the pairs of "
               "one label; spectral gap: of I − D^-½ A D^-½, largest component; at training: % of "
               "the pairs with an end among the training nodes")  # fmt: skip


def format_milliseconds(seconds: Sequence[float]) -> str:
    """`median (least – most)`."""
    low, middle, high = (1e3 * f(seconds) for f in (min, median, max))
    return f"{middle:.3f} ({low:.3f} – {high:.3f})"


def show_ticket(path: Path) -> None:
    """Print what is in a ticket file."""
    from graphlth.masks import count, only, sparsity
    from graphlth.ticket import load

    ticket = load(path)
    print_text(f"{path}: ticket of round {ticket.round}")
    for name, value in ticket.provenance.items():
        text = json.dumps(value) if isinstance(value, dict) else value
        print_text(f"  {name}: {text}", "    ")
    parts = {name: {name: mask} for name, mask in ticket.masks.items()}
    weights = only(ticket.masks, "weights")
    parts |= {"all weights": weights} if len(weights) > 1 else {}
    table = [
        [name, f"{count(masks):,}", f"{sum(int(m.count_nonzero()) for m in masks.values()):,}",
         f"{sparsity(masks):.1%}"]
        for name, masks in parts.items()
    ]  # fmt: skip
    print_table(("mask", "entries", "kept", "removed"), table, left=["mask"])


def show_benchmarks(rows: Sequence["Latency"], batch: int) -> None:
    """Print what compaction gains, a line per ticket; `batch` inputs were timed at once."""
    from graphlth.records.tables import format_count

    head = ["round", "edges removed", "weights removed", "layout", "dense bytes",
            "compact bytes", "smaller", "dense MACs", "fewer", "dense ms", "compact ms", "faster",
            "max |Δ|"]  # fmt: skip
    table = []
    for row in rows:
        macs = row.dense_macs and row.compact_macs and row.dense_macs / row.compact_macs
        table.append([
            str(row.round), f"{row.edge_sparsity:.1%}", f"{row.weight_sparsity:.1%}", row.layout,
            f"{row.dense_bytes:,}", f"{row.compact_bytes:,}",
            f"{row.dense_bytes / row.compact_bytes:.1f}×",
            format_count(row.dense_macs) if row.dense_macs else "", f"{macs:.1f}×" if macs else "",
            format_milliseconds(row.seconds_dense), format_milliseconds(row.seconds_compact),
            f"{row.faster:.2f}×", f"{row.difference:.1e}",
        ])  # fmt: skip
    if not any(row.dense_macs for row in rows):  # they are counted of images alone
        shown = [i for i, name in enumerate(head) if name not in ("dense MACs", "fewer")]
        head, table = [head[i] for i in shown], [[line[i] for i in shown] for line in table]
    print_table(head, table, left=["layout"])
    if any(row.graphs is not None for row in rows):
        print_text("milliseconds: median (least – most) of the first batch of test graphs at once")
    if any(row.images is None and row.graphs is None for row in rows):
        print_text("milliseconds: median (least – most) of a full-graph inference, "
                   "features laid out before")  # fmt: skip
    if any(row.images is not None for row in rows):
        print_text(f"milliseconds: median (least – most) of {batch} inputs at once; bytes "
                   "and MACs: zeros among the weights of living channels count")  # fmt: skip
