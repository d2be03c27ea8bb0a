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
from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref
from zipfile import is_zipfile

import torch
from torch import Tensor, nn

from graphlth.compaction.codec import decode, encode
from graphlth.compaction.layers import NAMES, Layer, Parts, check_parts
from graphlth.compaction.layouts import (
    Columns,
    map_names,
    next_strips,
    product_by_strips,
    select_columns,
    strip_matrix,
    weight_graph,
)
from graphlth.compaction.plain import PlainNetwork, apply_layers, layers_of
from graphlth.compaction.program import LoadedProgram, load_program
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.sparse.message import attention, weighted_sum
from graphlth.sparse.products import product
from graphlth.storage import replace_file


class Compact(nn.Module):
    """A compacted network with its graph inside; `about` says where it comes from.

    Called with the features of all nodes, a tensor [N, F] or `Features`, it returns their logits
    [N, C]. It is a constant: always in evaluation mode, and no gradient flows. On a CPU, in float32
    or float64, its loops are compiled and `layout` holds; elsewhere `graphlth.sparse.message`
    chooses. What depends on the features alone is kept for the next call with the same features.

    Raises:
        ValueError: the parts do not fit together, or `layout` is unknown.
    """

    edge_index: Tensor
    features: Tensor

    def __init__(self, parts: Parts, layout: str = "dense", about: dict[str, Any] | None = None):
        super().__init__()
        check_parts(parts, layout)
        self.num_nodes, self.num_features = parts.graph.num_nodes, parts.num_features
        self.activation, self.layout, self.about = parts.activation, layout, about or {}
        self.depth = len(parts.layers)
        source, target = parts.graph.edge_index
        order = (target * self.num_nodes + source).argsort(stable=True)
        self.register_buffer("edge_index", parts.graph.edge_index[:, order])
        self.register_buffer("features", parts.features)
        for i, layer in enumerate(parts.layers):
            for name in NAMES:
                value = getattr(layer, name)
                value = value[order] if name == "edges" and value is not None else value
                self.register_buffer(f"{name}_{i}", None if value is None else value.detach())
        self._made: dict[Any, Any] = {}
        self.eval()

    @property
    def layers(self) -> list[Layer]:
        """The layers, with `edges` in the order of `graph`."""
        return self._once("layers", lambda: layers_of(self, self.depth))

    @property
    def graph(self) -> Graph:
        """The edges that are left, loops that the model adds among them, sorted by target."""
        return self._once("graph", lambda: Graph(self.edge_index, self.num_nodes))

    @property
    def parts(self) -> Parts:
        """Its graph and its layers."""
        return Parts(self.graph, self.layers, self.features, self.num_features, self.activation)

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
            return apply_layers(self.layers, self.activation, ready, self._multiply, self._message)

    def plain(self) -> nn.Module:
        """The same function of dense `x` [N, F] in torch's own operators, for `torch.export`."""
        return PlainNetwork(self, self.activation, self.depth)

    def train(self, mode: bool = True) -> Compact:
        """This network, in evaluation mode: there is nothing to train."""
        return super().train(False)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, all of it or nothing."""
        content = self.to_bytes()
        with replace_file(path) as draft:
            draft.write_bytes(content)

    def to_bytes(self) -> bytes:
        """The content of its file, in which no number is rounded."""
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
        return self.is_compiled and known and self.activation == "relu"

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
        return attention(graph, h, sent, received, weight).flatten(1)

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


def without_zeros(graph: Graph, weight: Tensor) -> tuple[Graph, Tensor]:
    """`graph` without the edges whose entry of `weight` [E] is 0, and the weights of the others."""
    keep = weight != 0
    return (graph, weight) if bool(keep.all()) else (graph.subgraph(keep), weight[keep])


def load_compact(path: str | Path) -> Compact | LoadedProgram:
    """The compacted network in the file `path`: a `Compact`, or of a .pt2 its program.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or is not a compacted network.
    """
    if Path(path).is_file() and is_zipfile(path):
        return load_program(path)
    return Compact(*decode(path))
