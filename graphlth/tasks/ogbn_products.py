"""ogbn-products: 2,449,029 products, 47 kinds (Hu et al., NeurIPS 2020, arXiv 2005.00687)."""

from graphlth.data.node import NodeTask
from graphlth.data.ogb import ogb_metric
from graphlth.data.ogb_graphs import OgbGraph, load_nodes
from graphlth.settings.types import Edges

KNOWN = OgbGraph(
    "ogbn-products", "nodeproppred/products.zip", "sales_ranking", nodes=2449029, edges=61859140,
    features=100, targets=1, parts=(196615, 39323, 2213091),
)  # fmt: skip


def ogbn_products(*, data_root: str | None = None, edges: Edges = "undirected") -> NodeTask:
    """Products that are bought together, and the principal components of their descriptions.

    The best-sold products train, the next validate, and all others test.

    Args:
        data_root: the folder with `ogbn_products/raw` or its parent; else GRAPHLTH_DATA_ROOT or
            datasets.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    data = load_nodes(KNOWN, data_root, both_directions=True)
    return NodeTask(data, edges=edges, name="ogbn_products", num_classes=47,
                    metric=ogb_metric("node", KNOWN.name))  # fmt: skip
