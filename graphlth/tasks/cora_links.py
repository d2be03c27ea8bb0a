"""Links of Cora: 5,278 links between 2,708 papers (Sen et al., AI Magazine 2008)."""

from graphlth.data.links import LinkTask
from graphlth.settings.types import Edges, LinkLoss, MetricName, Seed, Width
from graphlth.tasks._links import citation_links


def cora_links(
    *,
    data_root: str | None = None,
    normalize: bool = True,
    edges: Edges = "undirected",
    split_seed: Seed = 0,
    loss: LinkLoss = "infoclust",
    metric: MetricName = None,
    out_channels: Width = 16,
) -> LinkTask:
    """Which papers of Cora cite one another: 85 / 5 / 10 % of the links, as UGS has them.

    Args:
        data_root: the folder with `Cora/raw` or its parent; else GRAPHLTH_DATA_ROOT or datasets.
        normalize: scale every node's features to sum 1.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
        split_seed: draws the split and the pairs without a link, the same for every seed of a run.
        loss: infoclust (Graph InfoClust, without labels, as UGS), or binary_cross_entropy of
            training links and as many pairs without, which are drawn anew in every epoch.
        metric: what results are measured by: roc_auc where not given, average_precision, hits@<k>.
        out_channels: the outputs of a node, whose cosine tells whether two are linked.
    """
    return citation_links("Cora", "cora_links", data_root=data_root, normalize=normalize,
                          edges=edges, split_seed=split_seed, loss=loss, metric=metric,
                          out_channels=out_channels)  # fmt: skip
