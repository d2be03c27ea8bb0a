"""ogbn-arxiv: 169,343 papers, 40 fields (Hu et al., NeurIPS 2020, arXiv 2005.00687)."""

from graphlth.data.node import NodeTask
from graphlth.data.ogb import ogb_metric
from graphlth.data.ogb_graphs import OgbGraph, load_nodes
from graphlth.settings.types import Edges

KNOWN = OgbGraph(
    "ogbn-arxiv", "nodeproppred/arxiv.zip", "time", nodes=169343, edges=1166243, features=128,
    targets=1, parts=(90941, 29799, 48603),
)  # fmt: skip


def ogbn_arxiv(
    *, data_root: str | None = None, self_loops: bool = False, edges: Edges = "undirected"
) -> NodeTask:
    """Papers of arXiv on computer science, their citations, and the mean embedding of their words.

    Messages go both ways along a citation, as in OGB's own examples. Papers up to 2017 train, those
    of 2018 validate, and later ones test.

    Args:
        data_root: the folder with `ogbn_arxiv/raw` or its parent; else GRAPHLTH_DATA_ROOT or
            datasets.
        self_loops: add one to every node, an edge like others, as UGS does.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    from torch_geometric.utils import add_self_loops, to_undirected  # loads slowly

    data = load_nodes(KNOWN, data_root, both_directions=False)
    data.edge_index = to_undirected(data.edge_index, num_nodes=KNOWN.nodes)
    notes = ["citations are edges in both directions"]
    if self_loops:
        data.edge_index = add_self_loops(data.edge_index, num_nodes=KNOWN.nodes)[0]
        notes.append("every node has a self-loop, which is an edge of the data")
    task = NodeTask(data, edges=edges, name="ogbn_arxiv", num_classes=40,
                    metric=ogb_metric("node", KNOWN.name))  # fmt: skip
    task.notes += tuple(notes)
    return task
