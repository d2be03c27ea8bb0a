"""Wisconsin: 251 web pages, 5 kinds of them (WebKB, Craven et al., 1998; Geom-GCN's files)."""

from graphlth.data.geom_gcn import load_task
from graphlth.data.node import NodeTask
from graphlth.data.planetoid import Counts
from graphlth.settings.types import Edges, Seed

COUNTS = Counts(nodes=251, edges=450, features=1703, classes=5)


def wisconsin(
    *,
    data_root: str | None = None,
    split: int | str = 0,
    split_seed: Seed = 0,
    normalize: bool = True,
    edges: Edges = "undirected",
) -> NodeTask:
    """Pages of a computer science department and their links.

    Args:
        data_root: the folder with `WebKB/wisconsin/raw`, or its parent; else GRAPHLTH_DATA_ROOT or
            datasets.
        split: which of the ten splits (48 / 32 / 20 % of the nodes), from 0; or random: 60 / 20 /
            20 % of every class.
        split_seed: draws the random split, the same for every seed of a run.
        normalize: scale every node's features to sum 1.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    return load_task(
        "wisconsin", COUNTS, data_root=data_root, split=split, split_seed=split_seed,
        normalize=normalize, edges=edges,
    )  # fmt: skip
