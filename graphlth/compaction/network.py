"""A compacted network: pruned edges gone, dead units removed, the rest laid out to run fast.

What is here needs none of graphlth's models, tasks and training. A network is a list of layers
`A (h W) + h V + b` over one graph, where A is constant edge weights, or attention (which may have
edge weights, too). Nearly all
weights are those of the first layer; it has three layouts, which compute the same function:

- `dense`: every weight between the features and units that are left, kept or not.
- `blocks`: as `dense`, but each strip of units reads only the features that it has a weight
  for. It tells for sparse features; dense ones are multiplied at once.
- `sparse`: the kept weights alone, each of them times the column of a (then dense) feature.

`auto` is the one that was fastest on given features, on the machine at hand.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise
from torch import Tensor, nn

from graphlth.sparse.graph import Features, Graph
from graphlth.sparse.kernels._memory import STRIP
from graphlth.sparse.message import attention, product, weighted_sum
from graphlth.storage import arrays_digest, printable, replacing

LAYOUTS = ("auto", "dense", "blocks", "sparse")
FORMAT, FORMATS = "graphlth-compact-2", ("graphlth-compact-1", "graphlth-compact-2")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "elu": F.elu}
TRIALS = 15  # calls that `auto` times of each layout
LARGE = 1 << 27  # numbers, from which sparse features are not made dense for a trial

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Layer:
    """One layer `A (h W) + h V + b`; the last of them gives the logits."""

    weight: Tensor  # [in, out] W
    edges: Tensor | None = None  # [E] the weights of A, or of attention; None: attention, all 1
    own: Tensor | None = None  # [in, out] V
    sent: Tensor | None = None  # [heads, d] a_s, heads · d = out
    received: Tensor | None = None  # [heads, d] a_t
    bias: Tensor | None = None  # [out] b


NAMES = [field.name for field in fields(Layer)]


@dataclass(frozen=True)
class Parts:
    """What a model consists of once its masks are applied and its dead units are gone."""

    graph: Graph  # the edges of A, loops that the model adds among them
    layers: list[Layer]
    features: Tensor  # [F'] the columns of the input that any weight reads, ascending
    num_features: int  # F
    activation: str  # between the layers: "relu" or "elu"


def live(
    maps: Sequence[Tensor],
    biases: Sequence[Tensor] = (),
    heeded: Sequence[Tensor] = (),
) -> list[Tensor]:
    """Which units [d] of each level lie on a path of weights from an input to an output.

    A hidden unit without incoming weights and bias is always 0, one without outgoing weights is
    never read: removing either changes nothing, and may leave others so.

    Args:
        maps: the matrices [in, out] from each level to the next. The first level are the inputs,
            the last the outputs, all of which stay.
        biases: of the units of each level after the inputs, where there are any.
        heeded: for the same levels [heads, d], whether attention reads a unit of a head that is
            read itself.
    """
    links = [m != 0 for m in maps]
    reached = [links[0].new_ones(links[0].size(0))]
    for i, link in enumerate(links):
        reached.append((link & reached[-1].unsqueeze(1)).any(0))
        if biases:
            reached[-1] |= biases[i] != 0
    read = [links[-1].new_ones(links[-1].size(1))]
    for i, link in reversed([*enumerate(links)]):
        read.insert(0, (link & read[0]).any(1))
        if heeded and i:
            heads = heeded[i - 1].size(0)
            used = (reached[i] & read[0]).view(heads, -1).any(1, keepdim=True)
            read[0] |= (heeded[i - 1] & used).flatten()
    return [a & b for a, b in zip(reached[:-1], read[:-1], strict=True)] + read[-1:]


def ordered(maps: Sequence[Tensor], kept: Sequence[Tensor]) -> list[Tensor]:
    """The numbers of the units `kept`, in hidden levels those that read alike side by side.

    A strip of units then reads few features.
    """
    numbers = [k.nonzero().squeeze(1) for k in kept]
    for level in range(1, len(maps)):
        links = maps[level - 1][numbers[level - 1]][:, numbers[level]] != 0
        numbers[level] = numbers[level][alike(links, STRIP)]
    return numbers


def alike(links: Tensor, size: int) -> Tensor:
    """The columns of `links` [in, out] in an order that makes the rows of each `size` of them few.

    The first of these is the fullest that is left, each next one that which adds the fewest rows.
    """
    counts, order = links.sum(0), torch.empty(links.size(1), dtype=torch.long)
    left = torch.ones_like(counts, dtype=torch.bool)
    for place in range(len(order)):
        if place % size == 0:
            rest, added = links.clone(), counts.clone()  # beyond the rows that are read already
            column = torch.where(left, counts, -1).argmax()
        else:
            column = torch.where(left, added, len(links) + 1).argmin()
        order[place], left[column] = column, False
        new = rest[:, column].nonzero().squeeze(1)
        added -= rest[new].sum(0)
        rest[new] = False
    return order.to(links.device)


def between(maps: Sequence[Tensor], kept: Sequence[Tensor]) -> list[Tensor]:
    """The rows and columns of each of `maps` whose numbers are in `kept`, a list a level."""
    return [m[a][:, b] for m, (a, b) in zip(maps, pairwise(kept), strict=True)]


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
        _check(parts, layout)
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
        return self._once("layers", lambda: _layers(self, self.depth))

    @property
    def graph(self) -> Graph:
        """The edges that are left, loops that the model adds among them, sorted by target."""
        return self._once("graph", lambda: Graph(self.edge_index, self.num_nodes))

    @property
    def parts(self) -> Parts:
        """What it consists of."""
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
            return _network(self.layers, self.activation, ready, self._multiply, self._message)

    def plain(self) -> nn.Module:
        """The same function of dense `x` [N, F] in torch's own operators, for `torch.export`."""
        return _Plain(self)

    def train(self, mode: bool = True) -> Compact:
        """Itself: there is nothing to train."""
        return super().train(False)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, all of it or nothing."""
        content = encoded(self)
        with replacing(path) as draft:
            draft.write_bytes(content)

    # --- how it is computed ----------------------------------------------------------------------

    @property
    def _compiled(self) -> bool:
        like = self.layers[0].weight
        return like.is_cpu and like.dtype in (torch.float32, torch.float64)

    @property
    def _convolves(self) -> bool:
        """Whether the loops over strips know all of it."""
        known = all(layer.sent is None and layer.bias is None for layer in self.layers)
        return self._compiled and known and self.activation == "relu"

    def _by_strips(self, x: Any) -> Tensor:
        """Convolutions with ReLU, by strips; a hidden matrix is written if the next is wide."""
        from graphlth.sparse.kernels import _strips as loops  # loads slowly

        layers, h = self.layers, x
        if not isinstance(x, loops.Product):
            h = _matrix([self._multiply(x, layers[0], name) for name in _maps(layers[0])])
        for i, layer in enumerate(layers):
            assert layer.edges is not None
            d, rest = layer.weight.size(1), layers[i + 1 :]
            a = self._once(("edges", i), partial(loops.edges, self.graph, layer.edges))
            following = self._once(("next", i), partial(_following, rest))
            out = loops.convolve(
                a, h, d, layer.weight,
                own=layer.own is not None, following=following, positive=bool(rest),
                turn=i % 2,
            )  # fmt: skip
            if following is not None:
                h = loops.Matrix(out.reshape(-1), out.shape[1], 0, rest[0].weight.size(1))
            elif rest:
                made = torch.from_numpy(out)[:, :d]
                h = _matrix([made @ getattr(rest[0], name) for name in _maps(rest[0])])
        return loops.copied(out, layer.weight, d)

    def _multiply(self, h: Tensor | Features | _Columnwise, layer: Layer, name: str) -> Tensor:
        """`h` times the matrix `name` of `layer`."""
        w = getattr(layer, name)
        if w.numel() == 0:
            return w.new_zeros(self.num_nodes, w.size(1))
        if not isinstance(h, _Columnwise):
            return product(h, w)
        graph, values = self._once(("sparse", name), lambda: _links(w))
        return weighted_sum(graph, h.columns, values).t().contiguous()

    def _message(self, layer: Layer, h: Tensor) -> Tensor:
        """`A h`."""
        if layer.sent is None:
            return weighted_sum(self.graph, h, layer.edges)
        assert layer.received is not None
        h = h.view(-1, *layer.sent.shape)
        sent, received = (h * layer.sent).sum(-1), (h * layer.received).sum(-1)
        return attention(self.graph, h, sent, received, layer.edges).flatten(1)

    def _ready(self, x: Tensor | Features, values: Tensor) -> Any:
        """`x` without the features that no weight reads, as the layout needs it."""
        version = None if values.is_inference() else values._version
        known = self._made.get("ready")
        if known and known[0]() is x and version is not None and known[1] == version:
            return known[2]
        ready: Any = x
        if self.features.numel() < self.num_features:
            ready = _some(x, self.features)
        if self._compiled and self.layout == "sparse":
            full = ready.to_dense() if isinstance(ready, Features) else ready
            ready = _Columnwise(full.t().contiguous())
        elif self._convolves and isinstance(ready, Features):
            ready = _product(ready, self.layers[0], self.layout == "blocks")
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


MAPS = ("weight", "own")


def _layers(module: nn.Module, depth: int) -> list[Layer]:
    """The layers that the buffers of `module` make up."""
    held = dict(module.named_buffers())
    return [
        Layer(**{n: held[f"{n}_{i}"] for n in NAMES if f"{n}_{i}" in held}) for i in range(depth)
    ]


def _maps(layer: Layer) -> tuple[str, ...]:
    return MAPS if layer.own is not None else MAPS[:1]


def _network(
    layers: Sequence[Layer],
    activation: str,
    x: Any,
    multiply: Callable[[Any, Layer, str], Tensor],
    message: Callable[[Layer, Tensor], Tensor],
) -> Tensor:
    """Layer by layer `act(A (h W) + h V + b)`, without `act` after the last."""
    h = x
    for i, layer in enumerate(layers):
        h = ACTIVATIONS[activation](h) if i else h
        out = message(layer, multiply(h, layer, "weight"))
        out = out if layer.own is None else out + multiply(h, layer, "own")
        h = out if layer.bias is None else out + layer.bias
    return h


class _Plain(nn.Module):
    """A network in `index_select` and `index_add`; for any device, number type and compiler."""

    features: Tensor
    source: Tensor
    target: Tensor

    def __init__(self, network: Compact):
        super().__init__()
        self.activation, self.depth = network.activation, network.depth
        for name, value in network.named_buffers():
            self.register_buffer(name, value)
        source, target = network.edge_index
        self.register_buffer("source", source.contiguous())
        self.register_buffer("target", target.contiguous())
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        layers = _layers(self, self.depth)
        x = x.index_select(1, self.features)
        return _network(layers, self.activation, x, lambda h, layer, m: h @ getattr(layer, m),
                        self.message)  # fmt: skip

    def message(self, layer: Layer, h: Tensor) -> Tensor:
        """`A h`."""
        n = h.size(0)
        if layer.sent is None:
            assert layer.edges is not None
            sent = layer.edges.unsqueeze(1) * h.index_select(0, self.source)
            return h.new_zeros(h.shape).index_add(0, self.target, sent)
        assert layer.received is not None
        h = h.reshape(n, *layer.sent.shape)
        out = (h * layer.sent).sum(-1).index_select(0, self.source)
        into = (h * layer.received).sum(-1).index_select(0, self.target)
        logits = F.leaky_relu(out + into, 0.2)  # [E, heads]
        place = self.target.unsqueeze(1).expand_as(logits)
        top = logits.new_full((n, logits.size(1)), -torch.inf).scatter_reduce(
            0, place, logits, "amax"
        )
        share = (logits - top.index_select(0, self.target)).exp()
        share = share if layer.edges is None else share * layer.edges.unsqueeze(1)
        total = share.new_zeros(top.shape).index_add(0, self.target, share)
        alpha = share / total.index_select(0, self.target)
        sent = alpha.unsqueeze(-1) * h.index_select(0, self.source)
        return h.new_zeros(h.shape).index_add(0, self.target, sent).flatten(1)


# --- what the layouts make of weights and features -----------------------------------------------


@dataclass(frozen=True)
class _Columnwise:
    """Dense features by column."""

    columns: Tensor  # [F', N]


def _product(x: Features, layer: Layer, blocks: bool) -> Any:
    """`x` and the strips of the maps of `layer`, with `blocks` each with the rows that it has."""
    from graphlth.sparse.kernels import _strips as loops

    strips = [strip for name in _maps(layer) for strip in loops.strips(getattr(layer, name))]
    if not blocks or not strips:
        return loops.product_of([loops.edges(x.graph, x.values)], [w.numpy() for w in strips])
    rows = [(w != 0).any(1).nonzero().squeeze(1) for w in strips]
    parts = [_some(x, r) for r in rows]
    return loops.product_of(
        [loops.edges(part.graph, part.values) for part in parts],
        [w[r].numpy() for w, r in zip(strips, rows, strict=True)],
    )


def _matrix(maps: list[Tensor]) -> Any:
    """The matrices [N, d] of one layer, each padded to whole strips, side by side."""
    from graphlth.sparse.kernels import _strips as loops

    d = maps[0].size(1)
    width, padded = loops.lanes(d), loops.count(d) * loops.lanes(d)
    both = torch.cat([F.pad(m, (0, padded - d)) for m in maps], dim=1)
    return loops.Matrix(both.view(-1).numpy(), padded * len(maps), width, padded)


def _following(layers: Sequence[Layer]) -> Array | None:
    """The maps of the first of `layers`, transposed and in strips, if they are narrow."""
    from graphlth.sparse.kernels import _strips as loops

    if not layers:
        return None
    both = torch.cat([getattr(layers[0], m) for m in _maps(layers[0])], dim=1)
    return loops.strips_after(both) if both.size(1) <= loops.NARROW else None


def _links(w: Tensor) -> tuple[Graph, Tensor]:
    """The weights of `w` that are not 0, as edges from inputs to outputs."""
    source, target = w.nonzero(as_tuple=True)
    return Graph(torch.stack([source, target]), (w.size(0), w.size(1))), w[source, target]


def _some(x: Tensor | Features, columns: Tensor) -> Any:
    """Those `columns` of `x`."""
    if isinstance(x, Tensor):
        return x.index_select(1, columns)
    n, f = x.shape
    place = torch.full((f,), -1, device=columns.device)
    place[columns] = torch.arange(columns.numel(), device=columns.device)
    column, row = x.graph.edge_index
    inside = place[column] >= 0
    pairs = torch.stack([place[column[inside]], row[inside]])
    return Features(Graph(pairs, (columns.numel(), n)), x.values[inside])


def _check(parts: Parts, layout: str) -> None:
    if layout not in LAYOUTS[1:]:
        raise ValueError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if parts.activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"`activation` must be one of {known}, got {parts.activation!r}")
    if not parts.layers:
        raise ValueError("`layers` must hold at least one layer, got none")
    columns = parts.features
    if columns.numel() and not (
        0 <= int(columns.min()) and int(columns.max()) < parts.num_features
    ):
        raise ValueError(f"`features` must be in [0, {parts.num_features}), got {columns.tolist()}")
    before = parts.features.numel()
    for i, layer in enumerate(parts.layers):
        if layer.weight.dim() != 2:
            raise ValueError(f"layer {i}: `weight` must be a matrix, got {layer.weight.dim()}-d")
        out = layer.weight.size(1)
        attends = layer.edges is None or layer.sent is not None
        wanted: dict[str, tuple[int, ...]] = {
            "weight": (before, out), "own": (before, out), "bias": (out,),
            "edges": (parts.graph.num_edges,),
        }  # fmt: skip
        if attends:
            heads = 0 if layer.sent is None or layer.sent.dim() != 2 else layer.sent.size(0)
            if heads == 0 or out % heads or layer.received is None:
                raise ValueError(f"layer {i}: `sent` and `received` must be [heads, {out} / heads]")
            wanted |= dict.fromkeys(("sent", "received"), (heads, out // heads))
        for name, shape in wanted.items():
            value = getattr(layer, name)
            if value is not None and tuple(value.shape) != shape:
                got = list(value.shape)
                raise ValueError(f"layer {i}: `{name}` must be {list(shape)}, got {got}")
        before = out


# --- making one ----------------------------------------------------------------------------------


def compacted(
    parts: Parts,
    x: Tensor | Features | None = None,
    layout: str = "auto",
    about: dict[str, Any] | None = None,
) -> Compact:
    """`parts` in a layout; `auto` is the fastest on the features `x`, without any `dense`.

    Raises:
        ValueError: the parts do not fit together, or `layout` is unknown.
    """
    if layout != "auto":
        return Compact(parts, layout, about)
    simple = Compact(parts, "dense", about)
    if x is None or not simple._compiled:
        return simple
    large = isinstance(x, Features) and x.shape[0] * x.shape[1] > LARGE
    names = ["blocks"] if large else ["blocks", "sparse"]
    networks = {"dense": simple} | {name: Compact(parts, name, about) for name in names}
    seconds = measured(networks, x)
    return networks[min(seconds, key=lambda name: seconds[name])]


def measured(
    networks: dict[str, Compact], x: Tensor | Features, trials: int = TRIALS
) -> dict[str, float]:
    """The least seconds of a call with `x`, by turns; what is far behind is called only once."""
    seconds: dict[str, float] = {}
    for name, network in networks.items():
        network(x)  # compiles, and lays out `x`
        seconds[name] = _timed(network, x)
    near = [name for name in networks if seconds[name] < 5 * min(seconds.values())]
    for _ in range(trials):
        for name in near:
            seconds[name] = min(seconds[name], _timed(networks[name], x))
    return seconds


def _timed(network: Compact, x: Tensor | Features) -> float:
    start = time.perf_counter()
    network(x)
    return time.perf_counter() - start


class Bound(nn.Module):
    """A model of somebody else's with its masks multiplied into its weights and its edges gone.

    Its units stay: which of them are dead only the model itself could tell. It is called with the
    features alone and needs the model's own code.
    """

    def __init__(
        self, model: nn.Module, weights: dict[str, Tensor], edge_index: Tensor,
        edge_weight: Tensor | None = None,
    ):  # fmt: skip
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        for name, parameter in self.model.named_parameters():
            parameter.copy_(weights[name].detach())
        self.register_buffer("edge_index", edge_index)
        self.register_buffer("edge_weight", edge_weight)

    def forward(self, x: Tensor | Features) -> Tensor:
        """What the model makes of `x` [N, F] on the edges that are left."""
        edges = [self.edge_index, *([] if self.edge_weight is None else [self.edge_weight])]
        output: Tensor = self.model(x.dense if isinstance(x, Features) else x, *edges)
        return output


# --- files ---------------------------------------------------------------------------------------


def encoded(network: Compact) -> bytes:
    """The file of a network: every tensor in the shortest of four forms, none of which rounds.

    `dense`; `bits` (which entries are not 0, and those); `index` (the columns of those in each
    row, and those); `palette` (each value once, and which one every entry has).
    """
    held: dict[str, Array] = {}
    forms: dict[str, Any] = {}
    seen: dict[str, Tensor] = {}
    for i, layer in enumerate(network.layers):
        for name in NAMES:
            value = getattr(layer, name)
            if value is None:
                continue
            if name in seen and torch.equal(seen[name], value):
                forms[f"{i}.{name}"] = None  # that of the layer before
                continue
            seen[name] = value
            form, arrays = _shortest(value.cpu().numpy())
            forms[f"{i}.{name}"] = [form, list(value.shape), str(value.dtype).partition(".")[2]]
            held |= {f"{i}.{name}.{part}": array for part, array in arrays.items()}
    source, target = network.edge_index.cpu().numpy()
    read = np.zeros(network.num_features, bool)
    read[network.features.cpu().numpy()] = True
    held["features"] = np.packbits(read)
    held["sources"] = _small(source)
    held["counts"] = _small(np.bincount(target, minlength=network.num_nodes))
    about = {
        "format": FORMAT, "layout": network.layout, "activation": network.activation,
        "depth": network.depth, "nodes": network.num_nodes, "features": network.num_features,
        "forms": forms, "about": network.about,
    }  # fmt: skip
    about = json.loads(json.dumps(about))  # as it will be read
    about["digest"] = arrays_digest(_arrays(held), about)
    return serialise(held, {"graphlth": json.dumps(about, sort_keys=True)})


def load(path: str | Path) -> Compact:
    """The network in the file `path`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or is not a compacted network.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no compacted network at {path}")
    try:
        with safe_open(path, "np") as file:
            about = json.loads((file.metadata() or {})["graphlth"])
            if about["format"] not in FORMATS:
                raise ValueError(f"its format is {about['format']!r}, not {FORMAT!r}")
            held = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        said = {n: v for n, v in about.items() if n != "digest"}
        if about["format"] == FORMAT and about["digest"] != arrays_digest(_arrays(held), said):
            raise ValueError("its digest is not that of what it holds")
        return _decoded(about, held)
    except (
        SafetensorError, KeyError, ValueError, TypeError, IndexError, RecursionError
    ) as error:  # fmt: skip
        reason = printable((str(error).splitlines() or ["?"])[0])
        raise ValueError(f"{path} is not a whole compacted network: {reason}; export its ticket "
                         "again") from None  # fmt: skip


def _arrays(held: Mapping[str, Array]) -> Iterator[tuple[str, str, tuple[int, ...], Any]]:
    for name, array in held.items():
        yield name, str(array.dtype), array.shape, np.ascontiguousarray(array).tobytes()


def _decoded(about: dict[str, Any], held: dict[str, Array]) -> Compact:
    layers: list[Layer] = []
    for i in range(about["depth"]):
        values: dict[str, Tensor] = {}
        for name in NAMES:
            key = f"{i}.{name}"
            if key not in about["forms"]:
                continue
            if about["forms"][key] is None:
                values[name] = getattr(layers[-1], name)
                continue
            form, shape, kind = about["forms"][key]
            own = {n.rpartition(".")[2]: a for n, a in held.items() if n.rpartition(".")[0] == key}
            values[name] = torch.from_numpy(_restored(form, shape, own)).to(getattr(torch, kind))
        layers.append(Layer(**values))
    nodes = about["nodes"]
    target = np.repeat(np.arange(nodes), held["counts"].astype(np.int64))
    edge_index = torch.from_numpy(np.stack([held["sources"].astype(np.int64), target]))
    read = np.unpackbits(held["features"], count=about["features"])
    parts = Parts(
        Graph(edge_index, nodes), layers, torch.from_numpy(read.nonzero()[0]),
        about["features"], about["activation"],
    )  # fmt: skip
    return Compact(parts, about["layout"], about["about"])


def _shortest(value: Array) -> tuple[str, dict[str, Array]]:
    there = value != 0
    forms = {
        "dense": {"values": np.ascontiguousarray(value)},
        "bits": {"bits": np.packbits(there), "values": value[there]},
    }
    if value.ndim == 2:
        columns = there.nonzero()[1]
        forms["index"] = {
            "counts": _small(there.sum(1)), "columns": _small(columns), "values": value[there],
        }  # fmt: skip
    few, which = np.unique(value, return_inverse=True)
    forms["palette"] = {"values": few, "which": _small(which.reshape(-1))}
    sizes = {form: sum(a.nbytes for a in arrays.values()) for form, arrays in forms.items()}
    best = min(forms, key=lambda form: sizes[form])
    return best, forms[best]


def _restored(form: str, shape: list[int], parts: dict[str, Array]) -> Array:
    values = parts["values"]
    if form == "dense":
        return values.reshape(shape)
    if form == "palette":
        return values[parts["which"].astype(np.int64)].reshape(shape)
    out = np.zeros(shape, values.dtype)
    if form == "bits":
        out[np.unpackbits(parts["bits"], count=out.size).reshape(shape).astype(bool)] = values
    elif form == "index":
        rows = np.repeat(np.arange(shape[0]), parts["counts"].astype(np.int64))
        out[rows, parts["columns"].astype(np.int64)] = values
    else:
        raise ValueError(f"a tensor has the unknown form {form!r}")
    return out


def _small(numbers: Array) -> Array:
    """Whole numbers of at least 0 in as few bytes as they need."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))
