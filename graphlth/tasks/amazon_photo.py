"""Amazon Photo: 7,650 products, 8 kinds of them (Shchur et al., arXiv 1811.05868)."""

from graphlth.data.array_graphs import load_task
from graphlth.data.node import NodeTask
from graphlth.data.planetoid import Counts
from graphlth.settings.types import Edges, Seed

COUNTS = Counts(nodes=7650, edges=119081, features=745, classes=8)


def amazon_photo(
    *,
    data_root: str | None = None,
    split: int | str = 0,
    split_seed: Seed = 0,
    normalize: bool = False,
    edges: Edges = "undirected",
) -> NodeTask:
    """Products that are bought together, with the words of their reviews.

    Args:
        data_root: the folder with `amazon_photo/amazon_photo.npz`, or PyG's with
            `Photo/raw/amazon_electronics_photo.npz`; or its parent; else
            GRAPHLTH_DATA_ROOT or datasets.
        split: the number that draws 20 nodes of each class to train, 30 to validate, and all others
            to test; or random: 60 / 20 / 20 % of every class.
        split_seed: draws the random split, the same for every seed of a run.
        normalize: scale every node's features to sum 1.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    return load_task(
        "amazon_photo", COUNTS, others=["Photo"], archive="amazon_electronics_photo.npz",
        data_root=data_root, split=split,
        split_seed=split_seed, normalize=normalize, edges=edges,
    )  # fmt: skip
