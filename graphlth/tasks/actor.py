"""Actor: 7,600 actors of films, 5 kinds of them (Tang et al., KDD 2009; Geom-GCN's files)."""

from graphlth.data.geom_gcn import load_task
from graphlth.data.node import NodeTask
from graphlth.data.planetoid import Counts
from graphlth.settings.types import Edges, Seed

COUNTS = Counts(nodes=7600, edges=26659, features=932, classes=5)


def actor(
    *,
    data_root: str | None = None,
    split: int | str = 0,
    split_seed: Seed = 0,
    normalize: bool = True,
    edges: Edges = "undirected",
) -> NodeTask:
    """Actors who stand on one page of Wikipedia; the keywords of their own page tell their kind.

    Args:
        data_root: the folder with `Actor/raw` or its parent; else GRAPHLTH_DATA_ROOT or datasets.
        split: which of the ten splits (48 / 32 / 20 % of the nodes), from 0; or random: 60 / 20 /
            20 % of every class.
        split_seed: draws the random split, the same for every seed of a run.
        normalize: scale every node's features to sum 1.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    return load_task(
        "actor", COUNTS, data_root=data_root, split=split, split_seed=split_seed,
        normalize=normalize, edges=edges, called="film",
    )  # fmt: skip
