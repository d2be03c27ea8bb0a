"""ogbn-proteins: 132,534 proteins, 112 functions (Hu et al., NeurIPS 2020, arXiv 2005.00687)."""

import warnings

import torch

from graphlth.data.node import NodeTask
from graphlth.data.ogb import ogb_metric
from graphlth.data.ogb_graphs import OgbGraph, load_nodes, mean_of_edges
from graphlth.data.published import DataWarning
from graphlth.settings.types import Edges

KNOWN = OgbGraph(
    "ogbn-proteins", "nodeproppred/proteins.zip", "species", nodes=132534, edges=39561252,
    features=8, targets=112, parts=(86619, 21236, 24679),
)  # fmt: skip


def ogbn_proteins(
    *, data_root: str | None = None, edge_attr: bool = False, edges: Edges = "undirected"
) -> NodeTask:
    """Proteins and their associations; which of 112 functions each has, species by species.

    Proteins have no features but their species: those of a protein are the mean of the 8 features
    of its associations, as in OGB's own examples. Results are the mean ROC-AUC of the functions.

    Args:
        data_root: the folder with `ogbn_proteins/raw` or its parent; else GRAPHLTH_DATA_ROOT or
            datasets.
        edge_attr: keep `edge_attr`, the features of every edge, for models that read them; they
            take 2.5 GB.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    data = load_nodes(KNOWN, data_root, both_directions=False)
    data.x = mean_of_edges(data.edge_index, data.edge_attr, KNOWN.nodes)
    data.edge_index = torch.cat([data.edge_index, data.edge_index.flip(0)], 1)
    if edge_attr:
        data.edge_attr = torch.cat([data.edge_attr, data.edge_attr])
    else:
        del data.edge_attr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # in its `notes`, which a run tells
        task = NodeTask(data, edges=edges, name="ogbn_proteins", loss="binary_cross_entropy",
                        metric=ogb_metric("node", KNOWN.name))  # fmt: skip
    task.notes += ("the features of a node are the mean of those of its edges",)
    return task
