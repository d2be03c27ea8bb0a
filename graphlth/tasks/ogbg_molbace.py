"""ogbg-molbace (Hu et al., NeurIPS 2020, arXiv:2005.00687; MoleculeNet), split by scaffold."""

from graphlth.data.graphs import GraphTask
from graphlth.data.ogb_molecules import molecule_task
from graphlth.settings.types import EdgeBudget, Edges, MetricName, OptionalBatchSize


def ogbg_molbace(
    *,
    data_root: str | None = None,
    edges: Edges = "undirected",
    budget: EdgeBudget = "graph",
    unseen: str = "whole",
    batch_size: OptionalBatchSize = 128,
    metric: MetricName = None,
) -> GraphTask:
    """1,513 molecules and whether they inhibit BACE-1: ROC-AUC.

    Args:
        data_root: the folder with `ogbg_molbace` in OGB's layout, or its parent; else
            GRAPHLTH_DATA_ROOT or datasets.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
        budget: "graph": each training graph loses its own share of its edges; "global": the edges
            of all are ranked together.
        unseen: edges of graphs that validate and test stay "whole", or go by this score of edges.
        batch_size: graphs in a training batch; 0: all in one.
        metric: of results; where not given, that of OGB's evaluator.
    """
    return molecule_task(
        "ogbg-molbace", "binary_cross_entropy", data_root, edges=edges, budget=budget,
        unseen=unseen, batch_size=batch_size, metric=metric,
    )  # fmt: skip
