"""A model of a user's own without its pruned edges, its dead units and features that it ignores."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphlth.arguments import own_arguments, reads_data, reads_weights
from graphlth.compaction.program import PROGRAMS, call_by_place, export_network, write_program
from graphlth.compaction.smaller import Call, Inputs, Smaller, remove_units
from graphlth.edge_masks import EdgeMask
from graphlth.model import takes_graph
from graphlth.sparse.features import Features, dense_features
from graphlth.sparse.graph import Graph
from graphlth.sparse.memo import Memo
from graphlth.task import Batch

Forward = Callable[[Any, Any], Any]  # how a task calls a model with its data
_GRAPHS: Memo[Graph] = Memo()  # of the edges of models that are given a `Graph`
LABELS = ("y", "train_mask", "val_mask", "test_mask")  # of `data`, which no model is given


class SmallerModel(nn.Module):
    """A model of a user's own, smaller, which is called as the model is, with all features.

    It takes any graph: other nodes, other edges, batches of graphs.
    """

    def __init__(
        self,
        smaller: Smaller,
        shapes: Inputs | None = None,
        call: Forward | None = None,
        about: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.smaller = smaller
        self.model = smaller.model
        self.shapes = shapes or {}  # by name, empty tensors like those that the model reads
        self.call, self.about = call, about or {}
        for name, columns in smaller.features.items():
            if columns is not None:
                self.register_buffer(f"columns_{name}", columns)
        self.eval()

    @property
    def removed(self) -> dict[str, int]:
        """How many units are gone, by the name of the weight that made them."""
        return self.smaller.removed

    @property
    def whole(self) -> dict[str, str]:
        """Why units stay of which it could not be shown that they can go, by the same names."""
        return self.smaller.whole

    @property
    def network(self) -> SmallerModel:
        """The smaller model on any graph."""
        return SmallerModel(self.smaller, self.shapes, self.call, self.about)

    @property
    def kept_edges(self) -> Inputs:
        """The edges that are kept, by the name that the model knows them by; none without one."""
        return {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model returns of its arguments, the first of which are `x`, or PyG's data."""
        if args:
            return self.model(self.select_features(args[0]), *args[1:], **kwargs)
        name = next(iter(kwargs))
        return self.model(**kwargs | {name: self.select_features(kwargs[name])})

    def select_features(self, given: Any) -> Any:
        """Features, dense or of each type, or data that hold them, without ignored columns."""
        given = dense_features(given)
        if isinstance(given, Tensor):
            return self._select("", given)
        if isinstance(given, Mapping):
            return {n: self._select(n, x) for n, x in given.items()}
        return with_features(given, {n: self._select(n, x) for n, x in features_in(given).items()})

    def _select(self, name: str, x: Tensor) -> Tensor:
        columns = self._buffers.get(f"columns_{name}")
        return x if columns is None else x.index_select(1, columns)

    def train(self, mode: bool = True) -> SmallerModel:
        """This network, in evaluation mode: constants of units have moved into its biases."""
        return super().train(False)

    def save(self, path: str | Path) -> None:
        """Write it to a file that needs no code of the model: .pt2 (torch.export), or .onnx.

        The file takes any graph, and has no features and no labels in it. A .pt2 is read by
        `graphlth.load_compact`, or by torch alone; it has the kept edges, too.

        Raises:
            ValueError: the suffix is another, or the model cannot be exported; the reason.
        """
        if self.shapes and Path(path).suffix not in PROGRAMS:
            raise ValueError(f"`path` must end in .pt2 or .onnx, got {str(path)!r}")
        write_program(path, *self.program(path), self.kept_edges, self.about)

    def program(
        self, path: str | Path = "network.pt"
    ) -> tuple[torch.export.ExportedProgram, list[str]]:
        """What `torch.export` makes of it for any graph, and the names of its inputs.

        Raises:
            ValueError: it cannot be exported; the reason, and how to save it in `path` instead.
        """
        if not self.shapes:
            raise ValueError("`model` must have a method `parts` to be saved compacted, got "
                             f"{type(self.model).__name__}: use torch.save(network.state_dict(), "
                             f"{str(path)!r}), and load that into what glt.compact(...) returns"
                             )  # fmt: skip
        call = partial(call_with, call=self.call)
        return export_network(self.network, self.shapes, call)


class ModelOnGraph(SmallerModel):
    """A smaller model on a graph of kept edges, which is called with the features alone."""

    def __init__(
        self,
        smaller: Smaller,
        graph: Graph,
        weight: EdgeMask | None = None,
        shapes: Inputs | None = None,
        about: dict[str, Any] | None = None,
    ):
        super().__init__(smaller, shapes, call_by_place, about)
        self.num_nodes = graph.num_nodes
        self.register_buffer("edge_index", graph.edge_index)
        self.per_layer = isinstance(weight, tuple)
        layers = torch.stack(weight) if isinstance(weight, tuple) else weight
        self.register_buffer("edge_weight", layers)  # [E], or [layers, E]

    @property
    def kept_edges(self) -> Inputs:
        """The edges that are kept, and their weights if they have any."""
        return {n: t for n, t in self.named_buffers(recurse=False) if n.startswith("edge_")}

    def forward(self, x: Tensor | Features) -> Any:
        """The model's output for `x` [N, F] on the edges that are kept."""
        edges: Any = self.edge_index
        if takes_graph(self.model):
            edges = _GRAPHS(edges, partial(_copy_graph, edges, self.num_nodes))
        elif isinstance(x, Features):
            x = x.dense
        weight: Any = self.edge_weight
        weight = weight.unbind() if self.per_layer else weight
        x = x if isinstance(x, Features) else self._select("", x)
        return self.model(x, edges, *([] if weight is None else [weight]))


def _copy_graph(edge_index: Tensor, num_nodes: int) -> Graph:
    return Graph(edge_index.clone(), num_nodes)  # what a memo keeps must not refer to its key


class ModelOnData(SmallerModel):
    """A smaller model on PyG's data without pruned edges, which is called with the features alone.

    Where edges have weights that the model does not read, its operators multiply by them.
    """

    def __init__(self, smaller: Smaller, batch: Batch, shapes: Inputs, about: dict[str, Any]):
        super().__init__(smaller, shapes, batch.forward, about)
        self.data = without_labels(batch.data)
        self.weighted = not reads_weights(smaller.model, batch)
        self._name_arguments()

    def _name_arguments(self) -> None:
        """Tell what the model is called with besides features: `named`, where it takes no data."""
        self.features_name, self.named = "", dict[str, Any]()
        if self.call is not None:
            return
        x = {n: torch.zeros(0) for n in self.smaller.features}
        data = with_features(self.data, x)
        named = own_arguments(self.model, data)
        for n, value in named.items():
            parts = value.values() if isinstance(value, Mapping) else [value]
            if any(part is each for part in parts for each in x.values()):
                self.features_name = n
        self.named = {n: value for n, value in named.items() if n != self.features_name}

    @property
    def edge_index(self) -> Any:
        """The edges that are kept [2, E], or those of each relation."""
        return self.data.edge_index_dict if _is_typed(self.data) else self.data.edge_index

    @property
    def kept_edges(self) -> Inputs:
        """The edges that are kept.

        Raises:
            ValueError: they have weights that the model does not read.
        """
        if self.weighted and [*_weighted_edges(self.data)]:
            raise ValueError("`model` must read the weights of edges to be saved with them: give "
                             "its `forward` an argument `edge_weight`, or save `small.network`"
                             )  # fmt: skip
        return {"edge_index": self.data.edge_index}

    def forward(self, x: Tensor | Features | Inputs) -> Any:
        """The model's output for the features `x` [N, F], or those of each type of nodes."""
        x = x.dense if isinstance(x, Features) else x
        given = self.select_features({"": x} if isinstance(x, Tensor) else x)
        with self._edge_weights():
            if self.features_name:
                features = {self.features_name: given.get("", given)}
                return self.model(**features, **self.named)
            return call_with(self.model, with_features(self.data, given), self.call)

    def _edge_weights(self) -> AbstractContextManager[Any]:
        pairs = [*_weighted_edges(self.data)] if self.weighted else []
        if not pairs:
            return nullcontext()
        from graphlth.message_passing import masked_edges  # loads slowly

        return masked_edges(self.model, pairs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ModelOnData:
        self.data = copy.copy(self.data).apply(fn)
        self._name_arguments()
        return super()._apply(fn, recurse)


def _is_typed(data: Any) -> bool:
    return hasattr(data, "edge_types")


def _weighted_edges(data: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Each edge_index of `data` whose edges have weights, and these [E]."""
    for store in data.edge_stores:
        if (weight := store.get("edge_weight")) is not None:
            yield store.edge_index, weight.reshape(-1)


def call_with(model: nn.Module, data: Any, call: Forward | None) -> Any:
    """What a model of a user's own returns of `data`: by the task's own call, or by names."""
    if call is not None:
        return call(model, data)
    inner = model.model if isinstance(model, SmallerModel) else model
    return model(**own_arguments(inner, data))


def shapes_of(model: nn.Module, data: Any, call: Forward | None) -> Inputs:
    """Empty tensors like those of `data` that `model` reads, by name; none of several types."""
    if _is_typed(data):
        return {}
    read = data.to_dict() if call is not None else own_arguments(model, data)
    if any(value is data for value in read.values()):
        read = data.to_dict()
    tensors = {n: t for n, t in read.items() if isinstance(t, Tensor) and n != "ptr"}
    return {n: t[:, :0] if n == "edge_index" else t[:0] for n, t in tensors.items()}


def features_in(data: Any) -> Inputs:
    """The features [N, F] of `data`, or of each type of nodes that has any."""
    if _is_typed(data):
        return {n: data[n].x for n in data.node_types if data[n].get("x") is not None}
    return {} if data.x is None else {"": data.x}


def with_features(data: Any, inputs: Inputs) -> Any:
    """`data` with other features."""
    data = copy.copy(data)
    for n, x in inputs.items():
        (data[n] if n else data).x = x
    return data


def without_labels(data: Any, *kept: str) -> Any:
    """`data` without labels, and without features but for what is `kept`."""
    data = copy.copy(data)
    for store in data.stores:
        for name in {"x", *LABELS} - {*kept}:
            if name in store:
                del store[name]
    return data


# --- what is compacted ---------------------------------------------------------------------------


@torch.no_grad()
def compact_on_data(model: nn.Module, batch: Batch, about: dict[str, Any]) -> SmallerModel:
    """`model` without its dead units, on the data of `batch`; of many graphs, on none.

    Args:
        model: its masks multiplied into its weights.
        batch: its data are without the edges that are gone.
        about: where it comes from.
    """
    return lay_on_data(remove_units(model, *call_on_data(batch)), batch, about)


def lay_on_data(smaller: Smaller, batch: Batch, about: dict[str, Any]) -> SmallerModel:
    """A model on the data of `batch`; of many graphs, on none."""
    shapes = shapes_of(smaller.model, without_labels(batch.data, "x"), batch.forward)
    if "ptr" in batch.data:
        return SmallerModel(smaller, shapes, batch.forward, about)
    return ModelOnData(smaller, batch, shapes, about)


def lay_unchanged(model: nn.Module, batch: Batch) -> SmallerModel:
    """`model` itself, called as a smaller one is: on the graph or the data of `batch`."""
    if reads_data(model, batch):
        return lay_on_data(Smaller(model, dict.fromkeys(features_in(batch.data))), batch, {})
    return ModelOnGraph(Smaller(model, {}), batch.inputs[1], batch.edge_weight)


def call_on_batch(network: SmallerModel, batch: Batch) -> Any:
    """What `network` returns of the features of `batch`, and of its graphs if it has none."""
    if isinstance(network, ModelOnGraph):
        return network(batch.inputs[0])
    if isinstance(network, ModelOnData):
        return network(features_in(batch.data))
    return call_with(network, batch.data, batch.forward)


@torch.no_grad()
def compact_on_graph(
    model: nn.Module,
    x: Tensor | Features | None,
    graph: Graph,
    weight: EdgeMask | None,
    about: dict[str, Any],
) -> ModelOnGraph:
    """`model`, which is called with (x, edge_index, edge_weight), without its dead units.

    Of one that takes a `graph`, and without features, units stay.
    """
    if takes_graph(model) or x is None:
        whole = copy.deepcopy(model).requires_grad_(False)
        return ModelOnGraph(Smaller(whole.eval(), {}, {}, {}), graph, weight)
    x = dense_features(x)
    shapes = {"x": x[:0], "edge_index": graph.edge_index[:, :0]}
    if isinstance(weight, Tensor):
        shapes["edge_weight"] = weight[:0]

    smaller = remove_units(model, *call_on_graph(x, graph, weight))
    return ModelOnGraph(smaller, graph, weight, {} if isinstance(weight, tuple) else shapes, about)


def call_on_data(batch: Batch) -> tuple[Call, Inputs]:
    """How a model is called on the data of `batch` with features, and these."""

    def call(m: nn.Module, inputs: Inputs) -> Any:
        return call_with(m, _in_type(with_features(batch.data, inputs)), batch.forward)

    features = features_in(batch.data)
    return call, {n: x for n, x in features.items() if x.is_floating_point()}


def call_on_graph(
    x: Tensor | Features, graph: Graph, weight: EdgeMask | None
) -> tuple[Call, Inputs]:
    """How a model is called with (x, edge_index, edge_weight), and the features."""

    def call(m: nn.Module, inputs: Inputs) -> Any:
        h = inputs[""]
        if weight is None:
            return m(h, graph.edge_index)
        layers = tuple(w.to(h.dtype) for w in (weight if isinstance(weight, tuple) else [weight]))
        return m(h, graph.edge_index, layers if isinstance(weight, tuple) else layers[0])

    return call, {"": dense_features(x)}


def _in_type(data: Any) -> Any:
    """`data`, whose numbers are of the type of its features."""
    x = next(iter(features_in(data).values()), torch.zeros(0, dtype=torch.float64))
    dtype = x.dtype if x.is_floating_point() else torch.float64
    return copy.copy(data).apply(lambda t: t.to(dtype) if t.is_floating_point() else t)
