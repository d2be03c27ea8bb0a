"""ENZYMES: enzymes and their classes (Borgwardt et al., Bioinformatics 2005); TU's files."""

from graphlth.data.graphs import GraphTask
from graphlth.data.tu import Counts, tu_task
from graphlth.settings.types import EdgeBudget, Edges, OptionalBatchSize, Seed

COUNTS = Counts(graphs=600, nodes=19580, edges=74564, classes=6, tables=("node_attributes",))


def enzymes(
    *,
    data_root: str | None = None,
    attributes: bool = False,
    split_seed: Seed = 0,
    edges: Edges = "undirected",
    budget: EdgeBudget = "graph",
    unseen: str = "whole",
    batch_size: OptionalBatchSize = 0,
) -> GraphTask:
    """600 enzymes, 6 classes.

    Args:
        data_root: the folder with `ENZYMES/raw` or its parent; else GRAPHLTH_DATA_ROOT or
            datasets.
        attributes: read the attributes of nodes, too, before their labels.
        split_seed: draws which graphs train, validate and test: 80 / 10 / 10 % of each class.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
        budget: "graph": each training graph loses its own share of its edges; "global": the edges
            of all are ranked together.
        unseen: edges of graphs that validate and test stay "whole", or go by this score of edges.
        batch_size: graphs in a training batch; 0: all in one.
    """
    return tu_task(
        "ENZYMES", COUNTS, data_root, attributes=attributes, split_seed=split_seed,
        edges=edges, budget=budget, unseen=unseen, batch_size=batch_size,
    )  # fmt: skip
