"""A compacted network: pruned edges gone, dead units removed, the rest laid out to run fast.

Nothing here needs graphlth's models, tasks or training. A network is a list of layers
`A (h W) + h V + b` over one graph, where A is constant edge weights, or attention, which may have
edge weights, too. An edge of weight 0 is absent in that layer. Nearly all weights are those of the
first layer; it has three layouts, which compute the same function:

- `dense`: every weight between the features and the units that are alive, kept or not.
- `blocks`: as `dense`, but each strip of units reads only the features that it has a weight for,
  which is faster for sparse features; dense features are multiplied at once.
- `sparse`: the kept weights alone, each of them times the column of a (then dense) feature.

`auto` is the one that was fastest on given features, on the machine at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref
from zipfile import is_zipfile

import torch
from torch import Tensor, nn

from graphlth.compaction.codec import decode, encode
from graphlth.compaction.layers import Layer, Parts, check_parts, lay_edges
from graphlth.compaction.layouts import (
    Columns,
    map_names,
    next_strips,
    product_by_strips,
    select_columns,
    strip_matrix,
    weight_graph,
)
from graphlth.compaction.plain import PlainNetwork, apply_layers, check_takes_graphs
from graphlth.compaction.program import (
    PROGRAMS,
    LoadedProgram,
    call_by_place,
    export_network,
    load_program,
    write_program,
)
from graphlth.edge_masks import EdgeMask, map_edges
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import attention, weighted_sum
from graphlth.sparse.products import product
from graphlth.sparse.untraced import untraced
from graphlth.storage import replace_file


class Compact(nn.Module):
    """A compacted network with its graph inside; `about` says where it comes from.

    Called with the features of all nodes, a tensor [N, F] or `Features`, it returns their logits
    [N, C]. `network` is the same for any graph, in torch's own operators; `on` lays it on another
    graph, compiled. It is a constant: always in evaluation mode, and no gradient flows. On a CPU,
    in float32 or float64, its loops are compiled and `layout` holds; elsewhere
    `graphlth.sparse.message` chooses. What depends on the features alone is kept for the next call
    with the same features.

    Raises:
        ValueError: the parts do not fit together, or `layout` is unknown.
    """

    edge_index: Tensor  # [2, E] the edges that are kept, sorted by target
    edge_weight: Tensor | None  # [E], or [layers, E]

    def __init__(self, parts: Parts, layout: str = "dense", about: dict[str, Any] | None = None):
        super().__init__()
        check_parts(parts, layout)
        self.num_nodes, self.layout, self.about = parts.graph.num_nodes, layout, about or {}
        edge_index, layers, weight = _sort_edges(parts)
        self.network = PlainNetwork(replace(parts, layers=layers))
        self.register_buffer("edge_index", edge_index)
        self.per_layer = isinstance(weight, tuple)
        weight = torch.stack(weight) if isinstance(weight, tuple) else weight
        self.register_buffer("edge_weight", None if weight is None else weight.detach())
        self._made: dict[Any, Any] = {}
        self.eval()

    @property
    def features(self) -> Tensor:
        """The columns [F'] of the input that any weight reads, ascending."""
        return self.network.features

    @property
    def num_features(self) -> int:
        """F of the input."""
        return self.network.num_features

    @property
    def layers(self) -> list[Layer]:
        """The layers, with `edges` in the order of `graph`."""
        return self._once("laid", self._lay)[1]

    @property
    def graph(self) -> Graph:
        """The edges that are left, loops that the model adds among them, sorted by target."""
        return self._once("laid", self._lay)[0]

    @property
    def parts(self) -> Parts:
        """The graph that is kept and its layers, as a model tells them."""
        weight: Any = self.edge_weight
        network = self.network
        return Parts(
            Graph(self.edge_index, self.num_nodes), network.layers, network.features,
            network.num_features, network.activation, network.adjacency,
            weight.unbind() if self.per_layer else weight, network.slope,
        )  # fmt: skip

    @untraced
    def forward(self, x: Tensor | Features) -> Tensor:
        """Logits [N, C] of the features `x` [N, F] of all nodes.

        Raises:
            ValueError: `x` has another shape or number type than this network.
        """
        like = self.layers[0].weight
        values = x.values if isinstance(x, Features) else x
        if tuple(x.shape) != (self.num_nodes, self.num_features) or values.dtype != like.dtype:
            raise ValueError(
                f"`x` must be {like.dtype} [{self.num_nodes}, {self.num_features}], "
                f"got {values.dtype} {list(x.shape)}"
            )
        with torch.no_grad():
            ready = self._ready(x, values)
            if self._convolves:
                return self._by_strips(ready)
            activation = self.network.activation
            return apply_layers(self.layers, activation, ready, self._multiply, self._message)

    def on(self, graph: Graph, edge_weight: EdgeMask | None = None) -> Compact:
        """The same network on another graph, whose edges have the weights [E]; None: all are 1.

        Raises:
            ValueError: the network is one of its own graph alone, or the weights do not fit.
        """
        check_takes_graphs(self.network.adjacency)
        parts = replace(self.parts, graph=graph, weight=edge_weight)
        return Compact(parts, self.layout, self.about)

    def train(self, mode: bool = True) -> Compact:
        """This network, in evaluation mode: there is nothing to train."""
        return super().train(False)

    def save(self, path: str | Path) -> None:
        """Write it to a file, all of it or nothing: .pt2 and .onnx any graph, else safetensors.

        A .pt2 (`torch.export`) and an .onnx are programs of dense features and of the edges and
        their weights, if those that are kept have any; there are no features and no labels in them.
        A .pt2 has the kept edges, so that `graphlth.load_compact` gives a network that can be
        called with the features alone; not those that each layer has for itself.

        Raises:
            ValueError: it cannot be a program of any graph; the reason.
        """
        if Path(path).suffix in PROGRAMS:
            write_program(path, *self.program(), self._kept_edges, self.about)
            return
        content = self.to_bytes()
        with replace_file(path) as draft:
            draft.write_bytes(content)

    def program(self) -> tuple[torch.export.ExportedProgram, list[str]]:
        """What `torch.export` makes of it for any graph, and the names of its inputs.

        Raises:
            ValueError: it is one of its own graph alone, or torch cannot export it.
        """
        check_takes_graphs(self.network.adjacency)
        weight = self.layers[0].weight
        edges = self._kept_edges or {"edge_index": self.edge_index}
        shapes = {n: t[..., :0] for n, t in edges.items()}
        shapes = {"x": weight.new_empty(0, self.num_features)} | shapes
        return export_network(self.network, shapes, call_by_place)

    @property
    def _kept_edges(self) -> dict[str, Tensor]:
        """The edges that are kept, and their weights if they have any; none if layers differ."""
        if self.per_layer:
            return {}
        weight = {} if self.edge_weight is None else {"edge_weight": self.edge_weight}
        return {"edge_index": self.edge_index, **weight}

    def to_bytes(self) -> bytes:
        """The content of its file of safetensors, in which no number is rounded."""
        return encode(self.parts, self.layout, self.about)

    # --- how it is computed ----------------------------------------------------------------------

    @property
    def is_compiled(self) -> bool:
        """Whether its loops are compiled: on a CPU, in float32 or float64."""
        like = self.layers[0].weight
        return like.is_cpu and like.dtype in (torch.float32, torch.float64)

    @property
    def _convolves(self) -> bool:
        """Whether the loops over strips know all of it."""
        known = all(layer.sent is None and layer.bias is None for layer in self.layers)
        return self.is_compiled and known and self.network.activation == "relu"

    def _by_strips(self, x: Any) -> Tensor:
        """Convolutions with ReLU, by strips; a hidden matrix is written if the next is wide."""
        from graphlth.sparse.kernels import _strips as loops  # loads slowly

        layers, h = self.layers, x
        if not isinstance(x, loops.Product):
            h = strip_matrix([self._multiply(x, layers[0], name) for name in map_names(layers[0])])
        for i, layer in enumerate(layers):
            graph, weight = self._edges(i)
            assert weight is not None
            d, rest = layer.weight.size(1), layers[i + 1 :]
            a = self._once(("edges", i), partial(loops.edges, graph, weight))
            following = self._once(("next", i), partial(next_strips, rest))
            out = loops.convolve(
                a, h, d, layer.weight,
                own=layer.own is not None, following=following, positive=bool(rest),
                turn=i % 2,
            )  # fmt: skip
            if following is not None:
                h = loops.Matrix(out.reshape(-1), out.shape[1], 0, rest[0].weight.size(1))
            elif rest:
                made = torch.from_numpy(out)[:, :d]
                h = strip_matrix([made @ getattr(rest[0], name) for name in map_names(rest[0])])
        return loops.copy_columns(out, layer.weight, d)

    def _multiply(self, h: Tensor | Features | Columns, layer: Layer, name: str) -> Tensor:
        """`h` times the matrix `name` of `layer`."""
        w = getattr(layer, name)
        if w.numel() == 0:
            return w.new_zeros(self.num_nodes, w.size(1))
        if not isinstance(h, Columns):
            return product(h, w)
        graph, values = self._once(("sparse", name), lambda: weight_graph(w))
        return weighted_sum(graph, h.columns, values).t().contiguous()

    def _lay(self) -> tuple[Graph, list[Layer]]:
        """The edges of A, sorted by target, and the layers with their entries of it."""
        parts = self.parts
        if parts.adjacency is None:
            return parts.graph, parts.layers
        edge_index, layers = lay_edges(
            parts.layers, parts.adjacency, self.edge_index, parts.weight, self.num_nodes
        )
        laid = replace(parts, graph=Graph(edge_index, self.num_nodes), layers=layers, weight=None)
        edge_index, layers, _ = _sort_edges(laid)
        return Graph(edge_index, self.num_nodes), layers

    def _edges(self, i: int) -> tuple[Graph, Tensor | None]:
        """The edges of layer `i` and their weights, without those of weight 0."""
        weight = self.layers[i].edges
        if weight is None:
            return self.graph, None
        return self._once(("graph", i), lambda: without_zeros(self.graph, weight))

    def _message(self, i: int, h: Tensor) -> Tensor:
        """`A h` of layer `i`."""
        layer, (graph, weight) = self.layers[i], self._edges(i)
        if layer.sent is None:
            assert weight is not None
            return weighted_sum(graph, h, weight)
        assert layer.received is not None
        h = h.view(-1, *layer.sent.shape)
        sent, received = (h * layer.sent).sum(-1), (h * layer.received).sum(-1)
        slope = self.network.slope
        return attention(graph, h, sent, received, weight, slope=slope).flatten(1)

    def _ready(self, x: Tensor | Features, values: Tensor) -> Any:
        """`x` without the features that no weight reads, as the layout needs it."""
        version = None if values.is_inference() else values._version
        known = self._made.get("ready")
        if known and known[0]() is x and version is not None and known[1] == version:
            return known[2]
        ready: Any = x
        if self.features.numel() < self.num_features:
            ready = select_columns(x, self.features)
        if self.is_compiled and self.layout == "sparse":
            full = ready.to_dense() if isinstance(ready, Features) else ready
            ready = Columns(full.t().contiguous())
        elif self._convolves and isinstance(ready, Features):
            ready = product_by_strips(ready, self.layers[0], self.layout == "blocks")
        self._made["ready"] = ref(x), version, ready
        return ready

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _apply(self, *how: Any, **also: Any) -> Compact:  # moved, or of another type
        self._made = {}
        return super()._apply(*how, **also)

    def _load_from_state_dict(self, *how: Any) -> None:
        self._made = {}
        super()._load_from_state_dict(*how)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_made": {}}


def _sort_edges(parts: Parts) -> tuple[Tensor, list[Layer], EdgeMask | None]:
    """The edges of `parts` sorted by target, the layers, and the weights in that order."""
    source, target = parts.graph.edge_index
    order = (target * parts.graph.num_nodes + source).argsort(stable=True)
    layers = [a if a.edges is None else replace(a, edges=a.edges[order]) for a in parts.layers]
    weight = map_edges(lambda m: m[order], parts.weight)
    return parts.graph.edge_index[:, order], layers, weight


def without_zeros(graph: Graph, weight: Tensor) -> tuple[Graph, Tensor]:
    """`graph` without the edges whose entry of `weight` [E] is 0, and the weights of the others."""
    keep = weight != 0
    return (graph, weight) if bool(keep.all()) else (graph.subgraph(keep), weight[keep])


def load_compact(path: str | Path) -> Compact | LoadedProgram:
    """The compacted network in the file `path`: a `Compact`, or of a .pt2 its program.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or is not a compacted network, or it is ONNX.
    """
    if Path(path).suffix == ".onnx":
        raise ValueError("`path` must be a .pt2 or .safetensors file, got "
                         f"{str(path)!r}: onnxruntime.InferenceSession reads it")  # fmt: skip
    if Path(path).is_file() and is_zipfile(path):
        return load_program(path)
    return Compact(*decode(path))
