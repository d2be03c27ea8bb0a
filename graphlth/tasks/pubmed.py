"""PubMed: 19,717 papers on diabetes, 3 types (Namata et al., MLG 2012; Planetoid files)."""

from graphlth.data.node import NodeTask
from graphlth.data.planetoid import CITATION, load
from graphlth.settings.types import Edges, OptionalWidth, ProtectedEdges, SelfLoops

COUNTS = CITATION["PubMed"]


def pubmed(
    *,
    data_root: str | None = None,
    split: int | str = "public",
    normalize: bool = True,
    project: OptionalWidth = 0,
    self_loops: SelfLoops = False,
    edges: Edges = "undirected",
    protected_edges: ProtectedEdges = "none",
) -> NodeTask:
    """The PubMed citation graph.

    Args:
        data_root: the folder with `PubMed/raw` or its parent; else GRAPHLTH_DATA_ROOT or datasets.
        split: "public" (60 / 500 / 1,000 nodes), or one of ten of 48 / 32 / 20 %:
            0 to 9, or "geom-gcn-0" … "geom-gcn-9".
        normalize: scale every node's features to sum 1.
        project: keep this many strongest directions of the features; 0: all words.
        self_loops: add one to every node, an edge like others, for a model that adds none.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
        protected_edges: which edges stay: "none", or "training", those at training nodes.
    """
    data = load(
        "PubMed", COUNTS, data_root=data_root, split=split, normalize=normalize, project=project,
        self_loops=self_loops,
    )  # fmt: skip
    return NodeTask(data, edges=edges, name="pubmed", protected_edges=protected_edges)
