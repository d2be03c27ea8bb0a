"""ogbl-collab: who of 235,868 authors write together (Hu et al., NeurIPS 2020, 2005.00687)."""

import warnings

from graphlth.data.links import LinkTask
from graphlth.data.ogb_graphs import OgbGraph, load_links
from graphlth.data.published import DataWarning
from graphlth.settings.types import Edges, Seed

KNOWN = OgbGraph(
    "ogbl-collab", "linkproppred/collab.zip", "time", nodes=235868, edges=1179052, features=128,
    targets=0, parts=(1179052, 60084, 46329),
)  # fmt: skip


def ogbl_collab(
    *,
    data_root: str | None = None,
    weighted: bool = True,
    split_seed: Seed = 0,
    edges: Edges = "undirected",
) -> LinkTask:
    """Authors, what they wrote together up to 2017, and the mean embedding of their words.

    The links of 2018 validate and those of 2019 test, each beside OGB's 100,000 pairs that are
    none. An edge may be there several times, once a year.

    Args:
        data_root: the folder with `ogbl_collab/raw` or its parent; else GRAPHLTH_DATA_ROOT or
            datasets.
        weighted: an edge weighs what two authors wrote together in its year; else 1.
        split_seed: draws the pairs without a link that training is shown, beside the run's seed.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    data, splits = load_links(KNOWN, data_root, extra=("edge_weight", "edge_year"))
    if weighted:
        data.edge_weight = data.edge_weight.view(-1).float()
    else:
        del data.edge_weight
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # in its `notes`, which a run tells
        return LinkTask(data, edges=edges, splits=splits, split_seed=split_seed,
                        name="ogbl_collab", metric="hits@50")  # fmt: skip
