"""What the graphs look like that the tickets of a run leave."""

from collections import defaultdict
from pathlib import Path

import graphlth.records as record
from graphlth.data.structure import GraphStructure
from graphlth.experiment.folder import check_records
from graphlth.experiment.measure import read_plan_at, select_rounds
from graphlth.experiment.plan import build_task
from graphlth.registry import find
from graphlth.ticket import load_of_run


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
    plan = read_plan_at(folder, data_root)
    task = build_task(plan, "`run`")
    measure = find("analysis", "structure")
    found = defaultdict(list)
    for seed in select_rounds(folder):
        lines = folder / f"seed{seed}.jsonl"
        known = record.read_file(lines)
        check_records(plan, lines, known)
        for line in known:
            ticket = load_of_run(folder, line).to(plan.device)
            found[line["round"]].append(measure(None, task, ticket))
    return dict(sorted(found.items()))
