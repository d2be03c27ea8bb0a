"""Chameleon without its duplicates: 890 pages of Wikipedia (Platonov et al., ICLR 2023)."""

from graphlth.data.array_graphs import load_task
from graphlth.data.node import NodeTask
from graphlth.data.planetoid import Counts
from graphlth.settings.types import Edges, Seed

COUNTS = Counts(nodes=890, edges=8854, features=2325, classes=5)


def chameleon_filtered(
    *,
    data_root: str | None = None,
    split: int | str = 0,
    split_seed: Seed = 0,
    normalize: bool = False,
    edges: Edges = "undirected",
) -> NodeTask:
    """Pages on chameleons and their links; the classes are how often a page is read.

    Args:
        data_root: the folder with `chameleon_filtered/chameleon_filtered.npz`, or its
            parent; else GRAPHLTH_DATA_ROOT or datasets.
        split: which of the ten splits of the file, from 0; or random: 60 / 20 / 20 % of every
            class.
        split_seed: draws the random split, the same for every seed of a run.
        normalize: scale every node's features to sum 1.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    return load_task(
        "chameleon_filtered", COUNTS, binary=False, data_root=data_root, split=split,
        split_seed=split_seed, normalize=normalize, edges=edges,
    )  # fmt: skip
