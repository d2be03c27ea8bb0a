"""MUTAG: molecules and whether they are mutagenic (Debnath et al., J. Med. Chem. 1991), of TU."""

from graphlth.data.graphs import GraphTask
from graphlth.data.tu import Counts, tu_task
from graphlth.settings.types import EdgeBudget, Edges, OptionalBatchSize, Seed

COUNTS = Counts(graphs=188, nodes=3371, edges=7442, classes=2, tables=("edge_labels",))


def mutag(
    *,
    data_root: str | None = None,
    split_seed: Seed = 0,
    edges: Edges = "undirected",
    budget: EdgeBudget = "graph",
    unseen: str = "whole",
    batch_size: OptionalBatchSize = 0,
) -> GraphTask:
    """188 molecules, 2 classes.

    Args:
        data_root: the folder with `MUTAG/raw` or its parent; else GRAPHLTH_DATA_ROOT or datasets.
        split_seed: draws which graphs train, validate and test: 80 / 10 / 10 % of each class.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
        budget: "graph": each training graph loses its own share of its edges; "global": the edges
            of all are ranked together.
        unseen: edges of graphs that validate and test stay "whole", or go by this score of edges.
        batch_size: graphs in a training batch; 0: all in one.
    """
    return tu_task(
        "MUTAG", COUNTS, data_root, split_seed=split_seed,
        edges=edges, budget=budget, unseen=unseen, batch_size=batch_size,
    )  # fmt: skip
