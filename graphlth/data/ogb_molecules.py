"""Molecules of the Open Graph Benchmark as tasks of many graphs (Hu et al., NeurIPS 2020)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphlth.data import published
from graphlth.data.graphs import GraphTask
from graphlth.data.ogb import find_folder, ogb_metric, read_graphs, read_labels, read_split
from graphlth.metrics import Metric
from graphlth.task import SPLITS

ARCHIVES = {  # what OGB calls the file of a data set, where it is not the end of its name
    "molbace": "bace", "molbbbp": "bbbp", "molesol": "esol", "molfreesolv": "freesolv",
    "molhiv": "hiv", "molpcba": "pcba",
}  # fmt: skip
SPLIT = "scaffold"


def molecule_task(
    name: str, loss: str, data_root: str | None, *, metric: str | Metric | None, **settings: Any
) -> GraphTask:
    """The molecules of `name` ("ogbg-molhiv") in OGB's files; `settings` are those of `GraphTask`.

    Features of atoms and bonds are integers, categories. Files whose digests are known are compared
    with them before they are read.

    Raises:
        FileNotFoundError: the folder, or a file in it, is missing.
        ValueError: a file is damaged or not the published one; or `ogb`, whose evaluator gives the
            metric where none is given, is not installed.
    """
    plain = name.replace("-", "_")
    kind = name.partition("-")[2]
    archive = f"graphproppred/csv_mol_download/{ARCHIVES.get(kind, kind)}.zip"
    folder = find_folder(plain, data_root, archive)
    _examine(folder, plain)
    graphs = read_graphs(folder, both_directions=True)
    for graph, y in zip(graphs, read_labels(folder, "graph", len(graphs)).split(1), strict=True):
        graph.y = y  # [1, T]
    split = read_split(folder, SPLIT, len(graphs))
    return GraphTask(
        graphs, split={part: split[part] for part in SPLITS}, name=plain, loss=loss,
        metric=ogb_metric("graph", name) if metric is None else metric, **settings,
    )  # fmt: skip


def _examine(folder: Path, task: str) -> None:
    """Refuse files that are not those whose digests are known, and a folder without features."""
    for table in ("node-feat", "edge-feat"):  # `read_graphs` takes graphs without either, too
        if not (path := folder / "raw" / f"{table}.csv.gz").is_file():
            raise FileNotFoundError(f"{path} is missing")
    listed = published.published_files().get(task, {})
    for place in (folder / "raw", folder / "split" / SPLIT):
        for path in sorted(place.glob("*.csv.gz")):
            if path.name.removesuffix(".gz") in listed:
                published.examine(path, task)
