"""Prediction of links between nodes, or of their classes or numbers, from a PyG `Data`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlth.data import fields
from graphlth.data.edge_list import check_kind
from graphlth.data.hetero import EdgeType
from graphlth.data.infoclust import Corruption, InfoClust
from graphlth.data.link_fields import edge_kind, links_of
from graphlth.data.link_pairs import given_pairs, split_labelled, split_linked
from graphlth.data.losses import LOSSES, find_loss
from graphlth.data.whole_graph import WholeGraphTask, graph_data, warn_of
from graphlth.metrics import Metric, check_targets, find_metric
from graphlth.settings.annotations import check_number
from graphlth.settings.types import NonNegative, Seed, Width
from graphlth.task import SPLITS, Batch, Forward, Loss, call_own, content_digest

if TYPE_CHECKING:  # they load slowly
    from torch_geometric.data import Data, HeteroData

Compare = Callable[[Tensor, Tensor], Tensor]  # of outputs [rows, d] of two nodes: [rows, C]
UNSUPERVISED = "infoclust"
OF_LABELS = ("cross_entropy", "mse", "mae")  # losses of what is known of a pair but that it is one


class LinkTask(WholeGraphTask):
    """Prediction of pairs of nodes: whether they are linked, or of which class or number they are.

    No edge of a link that validates or tests, nor its reverse, is in the graph that the model
    reads: `num_edges` and masks are those of the training edges. What stands for no link is linked
    in no split, and is in one split alone. In training such pairs are drawn anew in every epoch
    from the run's seed: a network has more weights than there are pairs, and learns a fixed few of
    the many by heart. In validation and test they are fixed by `split_seed`.

    Args:
        data: a PyG `Data`, or anything else that has x and edge_index as `NodeTask` takes them; or
            a `HeteroData`. It is never changed.
        edges: what one entry of an edge mask stands for; see `NodeTask`.
        edge_type: of a `HeteroData`, the kind of edges to be predicted. Its reverse kind, as
            `ToUndirected` adds it, loses the same edges.
        splits: where links are not to be split here: the pairs of "train", "val" (or "valid") and
            "test", each with edge_label_index [2, n] and edge_label [n] as PyG's RandomLinkSplit
            gives them, or a dict of OGB with edge [n, 2] and edge_neg [m, 2]. `data` are then the
            graph that the model reads, and stay as they are.
        val: the fraction of links that validates, in [0, 1), or how many. Both directions of an
            undirected link are one, and go to one split.
        test: the same of those that test.
        negatives: pairs without a link for each pair with one, in every split.
        split_seed: draws the splits and the pairs without a link that validate and test.
        name: what records call the data.
        loss: binary_cross_entropy of whether a pair is linked; infoclust, which learns the outputs
            of nodes from the graph alone (`graphlth.data.infoclust`); cross_entropy of classes, or
            mse or mae of numbers, for which `data` have edge_label [n] of the pairs
            edge_label_index [2, n], or else of edge_index; or a function of the outputs of pairs
            [rows, 1] and their `Batch`, of whether they are linked.
        metric: roc_auc, average_precision, hits@<k> and so on, or a `graphlth.metrics.Metric`;
            where not given roc_auc, of classes accuracy, of numbers rmse or mae.
        decode: what is made of the outputs of the two nodes of a pair: "dot", the dot product of
            each of C equal parts of them for C classes or numbers, "cosine", of parts of length 1,
            or a function of both [rows, d] that gives [rows, C].
        out_channels: the outputs d of a node, for each of the C.
        forward: how a model of your own is called with `data`; see `NodeTask`.

    Raises:
        ValueError: something in `data` or `splits` is missing, of the wrong shape or type, or out
            of range; a split has no link; there are too few pairs without one.
    """

    pairs: Tensor  # [2, M] of all splits
    y: Tensor  # [M, targets] numbers, of which 1 is a link and 0 none; or [M] classes
    rows: dict[str, Tensor]  # "train", "val", "test": places in `pairs` and `y`

    def __init__(
        self,
        data: Data | HeteroData,
        *,
        edges: str = "undirected",
        edge_type: EdgeType | None = None,
        splits: Mapping[str, Any] | None = None,
        val: float = 0.05,
        test: float = 0.1,
        negatives: float = 1.0,
        split_seed: int = 0,
        name: str = "data",
        loss: str | Loss = "binary_cross_entropy",
        metric: str | Metric | None = None,
        decode: str | Compare = "dot",
        out_channels: int = 16,
        forward: Forward | None = None,
    ):
        check_kind(edges)
        check_number("negatives", negatives, NonNegative)
        check_number("split_seed", split_seed, Seed)
        self.name, self.forward, self.loss = name, forward, _find_loss(loss)
        kind = edge_kind(data, edge_type)
        if kind is not None and loss == UNSUPERVISED:
            raise ValueError(f"`loss` {UNSUPERVISED} must go with one kind of nodes, got a "
                             "HeteroData: use binary_cross_entropy")  # fmt: skip
        links = links_of(data, kind)
        if splits is not None:
            found = given_pairs(data, splits, kind, links, negatives, split_seed,
                                linked=loss not in OF_LABELS)  # fmt: skip
        elif loss in OF_LABELS:
            found = split_labelled(data, kind, links, val, test, split_seed)
        else:
            found = split_linked(data, kind, links, val, test, negatives, split_seed)
        self.graph_data = graph_data(found.data, edges, name, None if kind is None else kind[0])
        self.pairs, self.rows, self._negatives = found.pairs, found.rows, found.negatives
        if empty := [split for split in SPLITS if not len(self.rows[split])]:
            raise ValueError(f"`{empty[0]}` must be at least one link, got none of "
                             f"{self.pairs.size(1)} pairs: raise it")  # fmt: skip
        self.y, columns = _targets(found.labels, loss)
        self._decode = Decoder(decode, columns, None if kind is None else (kind[0], kind[2]))
        check_number("out_channels", out_channels, Width)
        self.num_classes = columns * out_channels
        self.metric = _metric(metric, loss, self.y, self.rows)
        self.notes = (*self.graph_data.notes, *found.notes)
        self._known = {}
        self._corruption: Corruption | None = None
        warn_of(self.notes)

    def batches(self, split: str, seed: int = 0, index: int = 0) -> Iterator[Batch]:
        """One batch, the whole graph with the pairs of `split`.

        Of "train", the pairs without a link are those that `seed` gives for epoch `index`; of a
        loss without labels there are no pairs, but the corrupted graph of that epoch.
        """
        if split == "train" and isinstance(self.loss, InfoClust):
            if self._corruption is None:
                self._corruption = Corruption(self._scored(self.y[:0]))
            yield self._corruption.draw(seed, index)
            return
        for batch in self.whole(split):
            if split == "train" and self._negatives is not None:
                drawn = self._negatives.draw(seed, index).to(self.pairs.device)
                assert batch.pairs is not None
                linked = batch.pairs[:, : batch.pairs.size(1) - drawn.size(1)]
                batch = replace(batch, pairs=torch.cat([linked, drawn], 1))
            yield batch

    def _batch(self, rows: Tensor) -> Batch:
        pairs = self.pairs[:, rows]
        return self._scored(self.y[rows], pairs=pairs, decode=self._decode)

    def _scored(self, target: Tensor, **scored: Any) -> Batch:
        return self.graph_data.batch(target, forward=self.forward, **scored)

    def to(self, device: torch.device | str) -> Self:
        """The same task on `device`."""
        return super().to(device)._with(pairs=self.pairs.to(device))

    def content(self) -> str:
        """Everything that is learnt from: the graph of `fingerprint`, pairs, labels and splits."""
        graph = self.fingerprint() + self.graph_data.attributes()
        return content_digest(graph, self.pairs, self.y, rows=self.rows)

    def _with(self, **changes: Any) -> Self:
        return super()._with(**changes, _corruption=None)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split}={len(self.rows[split])}" for split in SPLITS)
        return (f"LinkTask({self.name!r}, edges={self.num_edges} {self.edges}, "
                f"features={self.num_features}, pairs: {sizes})")  # fmt: skip


@dataclass(frozen=True)
class Decoder:
    """What is made of the outputs of the two nodes of each pair.

    Args:
        compare: "dot", "cosine", or a function of both outputs [rows, d].
        columns: C, what it gives for each pair.
        types: of a heterogeneous graph, whose outputs are those of the first and second nodes.
    """

    compare: str | Compare
    columns: int
    types: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if not callable(self.compare) and self.compare not in ("dot", "cosine"):
            raise ValueError("`decode` must be dot, cosine, or a function of the outputs of two "
                             f"nodes, got {self.compare!r}")  # fmt: skip

    def __call__(self, output: Any, pairs: Tensor) -> Tensor:
        """The outputs [rows, C] of `pairs` [2, rows], of those of all nodes [N, d].

        Raises:
            ValueError: there are no outputs of a type of nodes, or a function of a user's own
                raises something or gives something else.
        """
        ends = self._ends(output)
        source, target = (h.index_select(-2, i) for h, i in zip(ends, pairs, strict=True))
        if callable(self.compare):
            return self._call(self.compare, source, target)
        source, target = (h.unflatten(-1, (self.columns, -1)) for h in (source, target))
        if self.compare == "cosine":
            return F.cosine_similarity(source, target, dim=-1)
        return (source * target).sum(-1)

    def _ends(self, output: Any) -> tuple[Tensor, Tensor]:
        """The outputs of the nodes that are first in pairs, and of those that are second."""
        if self.types is None or not isinstance(output, Mapping):
            return output, output
        if gap := [kind for kind in self.types if kind not in output]:
            raise ValueError(f"`model` must return outputs of {' and '.join(self.types)}, got none "
                             f"of {gap[0]}")  # fmt: skip
        return output[self.types[0]], output[self.types[1]]

    def _call(self, compare: Compare, source: Tensor, target: Tensor) -> Tensor:
        """What a function of a user's own gives, if that is a number in each column."""
        wanted = f"`decode` must give [{len(source)}, {self.columns}], numbers for each pair, got "
        found = call_own(compare, source, target, refuse=lambda got: ValueError(wanted + got))
        if not isinstance(found, Tensor):
            raise ValueError(wanted + type(found).__name__)
        if found.shape != (len(source), self.columns) or not found.is_floating_point():
            kind = "" if found.is_floating_point() else f" of {found.dtype}"
            raise ValueError(f"{wanted}{list(found.shape)}{kind}")
        return found


def _find_loss(loss: str | Loss) -> Loss:
    """The loss of that name, or the given function.

    Raises:
        ValueError: there is none of this name.
    """
    if loss == UNSUPERVISED:
        return InfoClust()
    if isinstance(loss, str) and loss not in LOSSES:
        known = ", ".join(sorted({*LOSSES, UNSUPERVISED}))
        raise ValueError(f"`loss` must be one of {known}, or a function of (output, batch), got "
                         f"{loss!r}")  # fmt: skip
    return find_loss(loss)


def _targets(labels: Tensor, loss: str | Loss) -> tuple[Tensor, int]:
    """What is predicted of each pair, classes [M] or numbers [M, T], and how many columns it has.

    Raises:
        ValueError: labels are no classes where the loss is one of classes, not finite, or others
            than 0 and 1 of whether pairs are linked.
    """
    if loss == "cross_entropy":
        y = fields.whole(labels, "data.edge_label", "class numbers")
        y = y[:, 0] if y.dim() == 2 and y.size(1) == 1 else y
        if y.dim() != 1 or not y.numel() or int(y.min()) < 0 or int(y.max()) >= fields.CLASSES:
            raise ValueError("`data.edge_label` must be class numbers from 0, one for each pair, "
                             f"got {list(y.shape)} from {y.min().item()} on")  # fmt: skip
        return y, int(y.max()) + 1
    y = labels.to(torch.get_default_dtype())
    y = y[:, None] if y.dim() == 1 else y
    if not y.isfinite().all():
        raise ValueError("`data.edge_label` must be finite, got NaN or infinity")
    if loss not in OF_LABELS and not bool(((y == 0) | (y == 1)).all()):
        raise ValueError("`edge_label` of `splits` must be 1 for a link and 0 for none, got "
                         f"{float(y[(y != 0) & (y != 1)][0]):g}: or give a `loss` of numbers, such "
                         "as mse")  # fmt: skip
    return y, y.size(1)


def _metric(
    metric: str | Metric | None, loss: str | Loss, y: Tensor, rows: Mapping[str, Tensor]
) -> Metric:
    """The metric that is asked for, or that of classes, numbers or links `y`."""
    if metric is None:
        usual = {"cross_entropy": "accuracy", "mse": "rmse", "mae": "mae"}
        metric = usual.get(loss, "roc_auc") if isinstance(loss, str) else "roc_auc"
    found = find_metric(metric)
    check_targets(found, y, rows)
    if found.name in ("roc_auc", "average_precision") and y.is_floating_point():
        for split in ("val", "test"):
            if (each := y[rows[split]]).min() == each.max():
                raise ValueError(f"`metric` must be one that the data have, got {found.name!r}, "
                                 f"which needs pairs with and without a link, and {split} has none "
                                 f"{'with' if float(each[0, 0]) == 0 else 'without'}: raise "
                                 "`negatives`, or give such pairs")  # fmt: skip
    return found
