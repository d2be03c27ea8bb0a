"""What the graphs look like that the tickets of a run leave."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import graphlth.records as record
from graphlth.analysis._remaining_graph import RemainingGraph, remaining_graph
from graphlth.data.structure import GraphStructure, measure_structure
from graphlth.experiment.folder import check_records
from graphlth.experiment.measure import read_plan_at, select_rounds
from graphlth.experiment.plan import build_task
from graphlth.ticket import load_of_run


@dataclass(frozen=True)
class GraphChange:
    """The graph of a run in round 0 and in the last round that all of its seeds have."""

    last: int  # round
    before: GraphStructure
    after: list[GraphStructure]  # one a seed
    seed: int  # the lowest one
    graphs: tuple[RemainingGraph, RemainingGraph]  # before, and after in that seed


def run_structures(folder: Path, data_root: str | None = None) -> dict[int, list[GraphStructure]]:
    """For each round of a run the structure of the graph of each seed.

    Args:
        folder: that of the run.
        data_root: the folder of the data, where it is not that of the run.

    Raises:
        ValueError: the run has no graph, or what is stored of it, its data or its code is not what
            it was.
        FileNotFoundError: there is no run.
    """
    found = defaultdict(list)
    for line, graph in _remaining_graphs(folder, select_rounds(folder), data_root):
        found[line["round"]].append(measure_structure(*graph))
    return dict(sorted(found.items()))


def graph_change(folder: Path, data_root: str | None = None) -> GraphChange:
    """What a run has made of its graph; arguments and errors as of `run_structures`.

    Raises:
        ValueError: no round but the first is recorded of all seeds, too.
    """
    known = {seed: rounds for seed, rounds in select_rounds(folder).items() if rounds}
    last = max(set.intersection(*map(set, known.values())))
    seed = min(known)
    if not last or 0 not in known[seed]:
        raise ValueError(f"`run` must have round 0 and another in all seeds, got {str(folder)!r}")
    chosen = {s: [0, last] if s == seed else [last] for s in known}
    found = [*_remaining_graphs(folder, chosen, data_root)]
    (_, before), (_, after) = found[:2]
    return GraphChange(
        last, measure_structure(*before), [measure_structure(*graph) for _, graph in found[1:]],
        seed, (before, after),
    )  # fmt: skip


def _remaining_graphs(
    folder: Path, chosen: dict[int, list[int]], data_root: str | None
) -> Iterator[tuple[dict[str, Any], RemainingGraph]]:
    """The records of some rounds of each seed, and the graphs that their tickets leave."""
    plan = read_plan_at(folder, data_root)
    task = build_task(plan, "`run`")
    for seed, rounds in chosen.items():
        lines = folder / f"seed{seed}.jsonl"
        known: Sequence[dict[str, Any]] = record.read_file(lines)
        check_records(plan, lines, known)
        for line in (line for line in known if line["round"] in rounds):
            ticket = load_of_run(folder, line).to(plan.device)
            yield line, remaining_graph(task, ticket)
