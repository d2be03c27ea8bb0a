"""Coauthor CS: 18,333 authors, 15 fields (Shchur et al., arXiv 1811.05868)."""

from graphlth.data.array_graphs import load_task
from graphlth.data.node import NodeTask
from graphlth.data.planetoid import Counts
from graphlth.settings.types import Edges, Seed

COUNTS = Counts(nodes=18333, edges=81894, features=6805, classes=15)


def coauthor_cs(
    *,
    data_root: str | None = None,
    split: int | str = 0,
    split_seed: Seed = 0,
    normalize: bool = False,
    edges: Edges = "undirected",
) -> NodeTask:
    """Authors who have written a paper together, with the keywords of their papers.

    Args:
        data_root: the folder with `coauthor_cs/coauthor_cs.npz`, or PyG's with
            `CS/raw/ms_academic_cs.npz`; or its parent; else
            GRAPHLTH_DATA_ROOT or datasets.
        split: the number that draws 20 nodes of each class to train, 30 to validate, and all others
            to test; or random: 60 / 20 / 20 % of every class.
        split_seed: draws the random split, the same for every seed of a run.
        normalize: scale every node's features to sum 1.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    return load_task(
        "coauthor_cs", COUNTS, others=["CS"], archive="ms_academic_cs.npz",
        data_root=data_root, split=split,
        split_seed=split_seed, normalize=normalize, edges=edges,
    )  # fmt: skip
