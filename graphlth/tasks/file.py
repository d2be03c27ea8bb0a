"""A graph of your own from a `.pt` or `.npz` file; neither format runs code here."""

import warnings
from pathlib import Path
from types import SimpleNamespace

from graphlth.data.graph_files import read_graph
from graphlth.data.losses import find_loss
from graphlth.data.node import NodeTask
from graphlth.data.published import DataWarning
from graphlth.metrics import find_metric
from graphlth.settings.types import Edges, LossName, MetricName, Seed


def file(
    *,
    path: str,
    edges: Edges = "undirected",
    labels: str = "y",
    split: int | str = 0,
    split_seed: Seed = 0,
    loss: LossName = "cross_entropy",
    metric: MetricName = None,
) -> NodeTask:
    """The graph in `path`; what it must hold stands at `graphlth.data.node.NodeTask`.

    `.pt`: a PyG `Data`, or a dict of tensors with the keys x, edge_index, y, train_mask, val_mask,
    test_mask and, if edges have weights, edge_weight. `.npz`: arrays under the same keys; x may
    also be compressed sparse rows (x_data, x_indices, x_indptr, x_shape). Masks are [N], or
    [splits, N] as train_masks, val_masks, test_masks. Where plain arrays list no edge in both
    directions, they are read as undirected pairs and the reverses are added, with the same weights,
    unless they hold `directed` = True. What stands under other keys is not read.

    Args:
        path: the file.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
        labels: the key of the class labels: numbers from 0 or from 1, or text.
        split: which of several splits; or random: 60 / 20 / 20 % of every class.
        split_seed: draws the random split, the same for every seed of a run.
        loss: what training minimises: cross_entropy of classes, or binary_cross_entropy, mse or
            mae of numbers under `labels`, [N] or [N, targets].
        metric: what results are measured by: accuracy, roc_auc, average_precision, f1_micro,
            f1_macro, rmse, mae or hits@<k>; where not given, accuracy of classes, and of numbers
            roc_auc, rmse or mae.
    """
    find_loss(loss)
    if metric is not None:
        find_metric(metric)
    data = read_graph(Path(path), labels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # in its `notes`, which a run tells
            task = NodeTask(data, edges=edges, split=split, split_seed=split_seed,
                            name=Path(path).stem, loss=loss, metric=metric)  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    task.notes += _directions(task, data)
    if not data.has_checksums:
        task.notes += (
            f"{path}: in the format of torch before 1.6, which has no checksums: damage to it "
            "would not be noticed; torch.save(torch.load(PATH), PATH) writes the other",
        )
    return task


def _directions(task: NodeTask, data: SimpleNamespace) -> tuple[str, ...]:
    """A line about edges that are listed in one direction, unless the file says `directed`."""
    if task.one_way_edges and not getattr(data, "directed", False):
        return (f"{task.one_way_edges:,} of {task.graph.num_edges:,} edges have no reverse, and "
                "messages go one way along them: torch_geometric.transforms.ToUndirected() adds "
                "the reverses",)  # fmt: skip
    return ()
