"""Compiled loops for the CPU: each row of the result is summed in registers and written once.

The backward pass visits the edges by source and takes both gradients from one gathered row. Rows
are cut into strips of as many channels as the registers hold. With `torch.set_num_threads` above 1
the rows are shared out among threads. Functions are compiled when first used and kept on disk.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphlth.sparse.graph import Features, Graph, Places, Rows
from graphlth.sparse.kernels import _attention, _narrow, _normalise, _vector
from graphlth.sparse.kernels._compiled import compiled
from graphlth.sparse.kernels._memory import (
    CACHE,
    HELD,
    NEAR,
    NUMBERS_AHEAD,
    PACKED,
    REUSED,
    STRIP,
    WIDE,
    ahead,
    fresh,
    lanes_of,
)
from graphlth.sparse.kernels._threads import SHARED, together
from graphlth.sparse.kernels._vector import (
    add,
    axpy,
    dot,
    entry,
    fetch,
    load_some,
    prefetch,
    store_picked,
    store_some,
    store_spread,
    zeros,
)

FAR = 1 << 21  # numbers of often read rows, from which each strip is laid out on its own
NEXT = 2  # rows ahead, whose own numbers are fetched
MOVE = 16  # multiplications that cost as much as to move a number
MANY = 0.25  # of all entries
PART = 8  # edges of a row from which it pays to take it up again for a part of its columns

Array = np.ndarray[Any, Any]
Loop = Callable[..., None]


def weighted_sum(graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
    """`A(weight) @ x` for float32 or float64 `x` [N, d] on the CPU and `weight` [E] or None."""
    return _Sum.apply(graph, x, weight)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, x: Tensor, weight: Tensor | None) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(x, weight)
        return sums(graph.by_target, x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        graph, (x, weight) = ctx.graph, ctx.saved_tensors
        _, to_x, to_weight = ctx.needs_input_grad
        if not to_weight:
            return None, sums(graph.by_source, grad, weight), None
        grad_x, grad_weight = sums_and_dots(graph.by_source, grad, weight, x)
        return None, grad_x if to_x else None, grad_weight


def sums(rows: Rows, x: Tensor, weight: Tensor | None) -> Tensor:
    """`Σ_e w_e x_e` [R, d] over the edges of each row; `x_e` [d] is the row of `x` at e's end."""
    out, values = fresh(x, rows.offsets.numel() - 1, x.size(1)), _values(rows, x, weight)
    for strip, into, near in _strips(rows, out, x):
        loop = _sum(strip.lanes, strip.some, strip.far)
        loop = partial(loop, *strip.edges, values, *strip.place, _flat(into), near.size(1))
        _share(rows, near.size(1), loop)
    return out


def sums_and_dots(rows: Rows, x: Tensor, weight: Tensor | None, y: Tensor) -> tuple[Tensor, Tensor]:
    """`sums`, and `⟨x_e, y_r⟩` [E] for every edge e of every row r of `y` [R, d]."""
    made = x.new_empty if x.size(1) else x.new_zeros  # without channels there is nothing to add up
    out, dots, values = fresh(x, *y.shape), made(rows.count), _values(rows, x, weight)
    for before, (strip, into, near, own) in enumerate(_strips(rows, out, x, y)):
        loop = partial(
            _sum_and_dots(strip.lanes, strip.some, strip.far), *strip.edges, values, *strip.place,
            _flat(into), near.size(1), *_matrix(own), dots.numpy(), before,
        )  # fmt: skip
        _share(rows, near.size(1), loop)
    return out, restored(rows, dots)


def propagate(
    graph: Graph, x: Features, w: Tensor, weight: Tensor, known: Tensor, summed: Tensor | None,
    places: Places | None,
) -> Tensor:  # fmt: skip
    """`A(weight) (x @ w)`, where `x @ w` is `known`: differentiable in `w` and `weight`.

    It is `summed`, if that is known, too. With `places`, `w` is the entries of the matrix that may
    differ from 0.
    """
    return _Propagate.apply(graph, x, w, weight, known, summed, places)


class _Propagate(torch.autograd.Function):
    """The gradient of `x @ w` is made and used up strip by strip, while it lies in the cache."""

    @staticmethod
    def forward(
        ctx: Any, graph: Graph, x: Features, w: Tensor, weight: Tensor, known: Tensor,
        summed: Tensor | None, places: Places | None,
    ) -> Tensor:  # fmt: skip
        ctx.graph, ctx.x, ctx.places = graph, x, places
        ctx.save_for_backward(weight, known)
        return sums(graph.by_target, known, weight) if summed is None else summed.view_as(summed)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight, known), rows, back = ctx.saved_tensors, ctx.graph.by_source, ctx.x.graph.by_source
        (n, d), places = known.shape, ctx.places
        if d <= STRIP or n * STRIP * grad.element_size() > CACHE:
            to_known, to_weight = sums_and_dots(rows, grad, weight, known)
            if places is None:
                to_w = sums(back, to_known, ctx.x.values)
            else:
                to_w = sums_at(back, to_known, ctx.x.values, places)
            return None, None, to_w, to_weight, None, None, None
        strip, to_weight = _flat(grad.new_empty(n, STRIP)), grad.new_empty(rows.count)
        (given, stride), (own, across) = _matrix(grad), _matrix(known)
        made = rows.arrays[0], 1, rows.arrays[1], _values(rows, grad, weight), given, stride
        (offsets, columns), near = back.arrays, (_values(back, grad, ctx.x.values), strip, STRIP)
        size = [back.offsets.numel() - 1, d] if places is None else [places.index.numel()]
        to_w = fresh(grad, *size)
        for first in range(0, d, STRIP):
            width = min(STRIP, d - first)
            lanes, some = lanes_of(width, grad, HELD)
            loop = partial(_sum_and_dots(lanes, some, 0), *made, first, width, 0, width, strip)
            loop = partial(loop, STRIP, own[first:], across, to_weight.numpy(), first)
            _share(rows, width, loop)
            if places is None:
                loop = partial(_sum(lanes, some, 0), offsets, 1, columns, *near, 0, width, 0, width)
                loop = partial(loop, _flat(to_w)[first:], d)
            else:
                ends = first // lanes, -(-(first + width) // lanes)
                loop = partial(_sum_at(lanes, some), offsets, columns, *near, first, d, *ends)
                loop = partial(loop, *places.by_strips(lanes), _flat(to_w))
            _share(back, width, loop)
        return None, None, to_w, restored(rows, to_weight), None, None, None


def relu_product(graph: Graph, x: Tensor, weight: Tensor | None, w: Tensor) -> Tensor:
    """`relu(A(weight) @ x) @ w` for `w` of few columns, without the matrix between or gradients."""
    rows, d = graph.by_target, x.size(1)
    lanes, some = _narrow_lanes(d, x)
    columns, out = _narrow.columns(w, lanes), _padded(graph.num_nodes, w)
    far = ahead(graph.num_sources * lanes * x.element_size(), _readings(rows, x))
    loop = partial(_narrow.relu_product(lanes, some, far), *rows.arrays, _values(rows, x, weight))
    _share(rows, d, partial(loop, _flat(x), d, _flat(columns), out.size(1), _flat(out)))
    return out[:, : w.size(1)].contiguous()


def convolve(
    graph: Graph, x: Features, w: Tensor, weight: Tensor, v: Tensor,
    made: tuple[Tensor, int] | None, kept: tuple[Tensor, int] | None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """`relu(A(weight) (x @ w)) @ v` for `v` of few columns, and some rows of what is on the way.

    A strip of channels is made and used up while it lies in the cache; no gradients.

    Args:
        graph: the edges.
        x: [N, F].
        w: [F, d].
        weight: [E].
        v: [d, C].
        made: which of so many rows each of `x @ w` becomes, [N] with −1 for none, if any are asked
            for; what no row becomes is not written.
        kept: the same of `A(weight) (x @ w)`.
    """
    from graphlth.sparse.kernels import _strips as loops  # loads slowly

    w, d = w.detach(), w.size(1)
    h = loops.product_with(loops.edges(x.graph, x.values), w)
    rows = [p and (p[0], w.new_empty(p[1], loops.count(d) * loops.lanes(d))) for p in (made, kept)]
    early, late = (p and loops.Kept(p[0].numpy(), _flat(p[1])) for p in rows)
    out = loops.convolve(
        loops.edges(graph, weight), h, d, w, own=False, following=loops.strips_after(v.detach()),
        made=early, keep=late,
    )  # fmt: skip
    product, sums = (p and p[1][:, :d].contiguous() for p in rows)
    return loops.copied(out, w, v.size(1)), product, sums


def normalise(graph: Graph, weight: Tensor, side: str) -> Tensor:
    """`message.normalise` for float32 or float64 on the CPU."""
    return _Normalise.apply(graph, weight, side)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, weight: Tensor, side: str) -> Tensor:
        source, target = graph.edge_index.numpy()
        ctx.ends = source, target, target if side == "in" else source
        degree, root = weight.new_zeros(2, graph.num_nodes)
        out = weight.new_empty(graph.num_edges)
        numbers = map(_flat, (weight, degree, root, out))
        _normalise.forward(*ctx.ends, *numbers)
        ctx.save_for_backward(weight, degree, root)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        weight, degree, root = ctx.saved_tensors
        slope, to_weight = torch.zeros_like(root), torch.empty_like(weight)
        numbers = map(_flat, (weight, degree, root, grad, slope, to_weight))
        _normalise.backward(*ctx.ends, *numbers)
        return None, to_weight, None


def blank(like: Tensor) -> Tensor:
    """`message.blank` for float32 or float64 on the CPU."""
    from graphlth.sparse.kernels import _strips as loops  # loads slowly

    return loops.roomy(like) if like.dim() == 2 else torch.zeros_like(like)


def put(values: Tensor, places: Places, out: Tensor) -> None:
    """Write `values` to `places` of `out`, of float32 or float64 on the CPU, and nothing else."""
    matrix = out.detach() if out.dim() == 2 else out.detach().view(1, -1)
    flat, stride = _matrix(matrix)
    if _many(places, out):
        lanes = lanes_of(matrix.size(1), out, HELD)[0]
        _put(lanes)(*places.by_strips(lanes), _flat(values), flat, stride, len(matrix))
    else:
        _put_each(_flat(values), places.within(out).numpy(), flat)
    torch.autograd.graph.increment_version(out)


@cache
def _put(lanes: int) -> Loop:
    @compiled
    def loop(words, starts, strips, values, out, stride, rows):  # type: ignore[no-untyped-def]
        for r in range(rows):
            for s in range(strips):
                bits, start = words[r * strips + s], entry(starts, r * strips + s)
                if bits:
                    store_spread(out, r * stride + s * lanes, values, start, bits, lanes)

    return loop


@compiled
def _put_each(values, index, out):  # type: ignore[no-untyped-def]
    for i in range(index.size):
        out[index[i]] = values[i]


def take(values: Tensor, places: Places) -> Tensor:
    """The entries of `values` at `places`, for float32 or float64 on the CPU."""
    if not _many(places, values):
        return values.reshape(-1).index_select(0, places.index)
    matrix = values if values.dim() == 2 else values.reshape(1, -1)
    lanes, some = lanes_of(matrix.size(1), values, HELD)
    out = values.new_empty(places.index.numel())
    _take(lanes, some)(*places.by_strips(lanes), *_matrix(matrix), *matrix.shape, _flat(out))
    return out


def _many(places: Places, whole: Tensor) -> bool:
    """Whether it pays to go through all of `whole` for them, as many lanes at once as there are."""
    return PACKED and places.index.numel() > MANY * whole.numel()


@cache
def _take(lanes: int, some: bool) -> Loop:
    @compiled
    def loop(words, starts, strips, values, stride, rows, columns, out):  # type: ignore[no-untyped-def]
        for r in range(rows):
            for s in range(strips):
                bits, start = words[r * strips + s], entry(starts, r * strips + s)
                if bits:
                    at, left = r * stride + s * lanes, columns - s * lanes
                    store_picked(out, start, load_some(values, at, left, lanes, some), bits)

    return loop


def adam(entries: list[Tensor], product: Tensor, constants: Sequence[float]) -> None:
    """A step of Adam on both factors of `product` (see `_adam.step`), for float32 or float64.

    `entries`, contiguous, are its gradient, both factors, and their moments. Rows of a matrix may
    lie apart.
    """
    from graphlth.sparse.kernels import _adam as loops  # loads slowly

    rows, d = (1, product.numel()) if product.is_contiguous() else product.shape
    whole, stride = _matrix(product.view(rows, d))
    told = np.array(constants, whole.dtype)
    step = loops.step(d % loops.LANES != 0)
    _split(
        rows, 1, 8 * product.numel(), partial(step, *map(_flat, entries), whole, told, d, stride)
    )


def sums_at(rows: Rows, x: Tensor, weight: Tensor | None, places: Places) -> Tensor:
    """The entries [entries] of `sums` at `places`, without the others."""
    d, out = x.size(1), x.new_empty(places.index.numel())
    lanes, some = lanes_of(d, x, HELD)
    words, starts, strips = places.by_strips(lanes)
    loop = partial(_sum_at(lanes, some), *rows.arrays, _values(rows, x, weight))
    loop = partial(loop, *_matrix(x), 0, d, 0, strips, words, starts, strips, out.numpy())
    _share(rows, d, loop)
    return out


def narrow_product(x: Tensor, w: Tensor, kept: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """`x @ w` for float32 or float64 `x` [N, d] on the CPU and `w` [d, C] of few columns.

    With `kept`, which is `scale · x` in some places where that is above 0 and elsewhere 0, it is
    `kept @ w`, and gradients flow to `x` all the same.
    """
    return _NarrowProduct.apply(x, w, kept, scale)


class _NarrowProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, kept: Tensor | None, scale: float) -> Tensor:
        ctx.gate = None if kept is None else scale
        x = x if kept is None else kept
        ctx.save_for_backward(x, w)
        (n, d), out = x.shape, _padded(len(x), w)
        lanes, some = _narrow_lanes(d, x)
        ctx.columns = _narrow.columns(w.detach(), lanes)
        loop = partial(_narrow.product(lanes, some), _flat(x), d, _flat(ctx.columns), out.size(1))
        _split(n, 1, x.numel(), partial(loop, _flat(out)))
        return out[:, : w.size(1)].contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, w = ctx.saved_tensors
        if not ctx.needs_input_grad[0]:
            return None, (grad.t() @ x).t().contiguous(), None, None
        (n, d), c = x.shape, w.size(1)
        (lanes, some), columns = _narrow_lanes(d, x), ctx.columns
        to_x, to_w = fresh(x, n, d), x.new_zeros(c, d)
        values, gated = _flat(x), ctx.gate is not None
        scale = values.dtype.type(ctx.gate if gated else 1)
        loop = partial(_narrow.gradients(lanes, some, gated), values, d, _flat(columns))
        loop = partial(loop, columns.size(1), _flat(grad), n, c, scale, to_x.view(-1).numpy())
        _split(d, lanes, x.numel(), partial(loop, to_w.view(-1).numpy()))
        return to_x, to_w.t().contiguous(), None, None


def _narrow_lanes(d: int, x: Tensor) -> tuple[int, bool]:
    lanes = max(16, lanes_of(d, x)[0])
    return lanes, d % lanes != 0


def _padded(n: int, w: Tensor) -> Tensor:
    """Zeros [n, C up to 8s] for the product with `w` [d, C]."""
    return w.new_zeros(n, w.size(1) + -w.size(1) % _narrow.GROUP)


def _move(out: Array, x: Array) -> None:
    """Fill `out` with `x`, without torch's threads: they would go on waiting in a loop."""
    _split(len(x), 1, MOVE * x.size, lambda first, last: np.copyto(out[first:last], x[first:last]))


def _cut(rows: Rows, x: Tensor, readings: float) -> tuple[int, bool, int]:
    """Lanes of a strip of `x`, whether any has fewer, and in how many parts its edges are read.

    Where rows have many edges, those of a part read no more than the second cache holds.
    """

    def parts(size: int) -> int:  # of which each edge reads so many bytes
        count = max(1, -(-x.size(0) * size // NEAR))
        return count if rows.count >= PART * count * (rows.offsets.numel() - 1) else 1

    d, item = x.size(1), x.element_size()
    lanes, some = lanes_of(d, x, HELD)
    if d * item <= WIDE:  # one strip, where two cost more
        count = parts(d * item)
        if count > 1 or (some and readings < REUSED):
            return *lanes_of(d, x, WIDE), count
    return lanes, some, parts(lanes * item)


def _readings(rows: Rows, x: Tensor) -> float:
    """How often a row of `x` is read, in the mean."""
    return rows.count / max(1, x.size(0))


class Strip(NamedTuple):
    """Some channels of a matrix, as many at a time as a vector has lanes."""

    lanes: int
    some: bool  # whether there are fewer than `lanes`
    far: int  # to how many caches they are fetched ahead
    edges: tuple[Array, int, Array]  # offsets; in how many parts they are read; columns
    place: tuple[Array, int, int, int, int, int]  # array, stride, start; channels, the first, end


def _strips(rows: Rows, *matrices: Tensor) -> Iterator[tuple[Any, ...]]:
    """Strips, and the matrices of each: first that of the sums, then that of what is summed.

    All whole strips of a row go in turn, but those of large dense graphs one by one, each laid out
    on its own: rows that lie far apart share cache sets and pages. Where edges are read in parts,
    that holds for all `matrices`, padded with zeros.
    """
    out, x = matrices[:2]
    n, d = x.shape
    readings = _readings(rows, x)
    lanes, some, parts = _cut(rows, x, readings)
    offsets, columns = rows.arrays
    edges = (offsets if parts == 1 else rows.cut(parts, n).numpy()), parts, columns
    if parts > 1 and (some or d > lanes):
        strips = tuple(fresh(m, m.size(0), lanes) for m in matrices)
        into, *near = map(_array, strips)
        strip = Strip(lanes, False, 0, edges, (near[0].ravel(), lanes, 0, lanes, 0, lanes))
        for first in range(0, d, lanes):
            width = min(lanes, d - first)
            for one, m in zip(near, matrices[1:], strict=True):
                one[:, width:] = 0
                _move(one[:, :width], _array(m)[:, first : first + width])
            yield strip, *strips
            _move(_array(out)[:, first : first + width], into[:, :width])
        return
    dense = n * d >= FAR and readings >= REUSED and d > lanes
    (flat, stride), whole = _matrix(x), 0 if dense else d - d % lanes
    size = n * (lanes if dense else whole or d) * x.element_size()
    far = ahead(size, readings) if parts == 1 else 0
    if dense:
        one = _array(fresh(x, n, lanes))
        for first in range(0, d, lanes):
            width = min(lanes, d - first)
            _move(one[:, :width], _array(x)[:, first : first + width])
            place = one.ravel(), lanes, 0, d, first, first + width
            yield Strip(*lanes_of(width, x), far, edges, place), *matrices
        return
    if whole:
        yield Strip(lanes, False, far, edges, (flat, stride, 0, d, 0, whole)), *matrices
    if whole < d:
        place = flat, stride, whole, d, whole, d
        yield Strip(*lanes_of(d - whole, x), far, edges, place), *matrices


def _flat(x: Tensor) -> Array:
    return _array(x).ravel()  # shares the memory of what is contiguous


def _matrix(x: Tensor) -> tuple[Array, int]:
    """The memory of `x` [N, d], whose rows may lie apart, and from one to the next."""
    (n, d), (stride, step) = x.shape, x.stride()
    if x.is_contiguous() or stride < d or step != 1:
        return _flat(x), d
    return _flat(x.detach().as_strided(((n - 1) * stride + d,), (1,))), stride


def _array(x: Tensor) -> Array:
    array: Array = x.numpy(force=True)
    return array


def attention(
    graph: Graph,
    x: Tensor,
    sent: Tensor,
    received: Tensor,
    weight: Tensor | None,
    keep: Tensor | None,
    slope: float,
) -> Tensor:
    """`message.attention` for float32 or float64 on the CPU."""
    return _Attention.apply(graph, x, sent, received, weight, keep, slope)


class _Attention(torch.autograd.Function):
    """Keeps four numbers for every target and head for the way back, and none for the edges."""

    @staticmethod
    def forward(
        ctx: Any, graph: Graph, x: Tensor, sent: Tensor, received: Tensor,
        weight: Tensor | None, keep: Tensor | None, slope: float,
    ) -> Tensor:  # fmt: skip
        rows, n, (_, heads, d) = graph.by_target, graph.num_nodes, x.shape
        out, about = fresh(x, n, heads, d), x.new_empty(n, _attention.ABOUT, heads)
        loop = _attention.forward(*_attention.layout(x), heads, keep is not None)
        part = partial(
            loop, *rows.arrays, _values(rows, x, weight), _kept(rows, x, keep), _flat(sent),
            _flat(received), slope, _flat(x), d, _flat(about),
        )  # fmt: skip
        _share(rows, heads * d, partial(part, _flat(out)))
        ctx.graph, ctx.slope = graph, slope
        ctx.save_for_backward(x, sent, weight, keep, about, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        graph, (x, sent, weight, keep, about, out) = ctx.graph, ctx.saved_tensors
        rows, n, (_, heads, d), flat = graph.by_source, graph.num_nodes, x.shape, _flat(grad)
        layout = _attention.layout(x)
        part = partial(_attention.means(*layout[:3], heads), flat, _flat(out), d)
        _split(n, 1, out.numel(), partial(part, _flat(about)))
        to_x, to_sent = fresh(x, *x.shape), x.new_empty(sent.shape)
        to_received = x.new_empty(n, heads)
        to_weight, to_logits = x.new_empty(rows.count), fresh(x, rows.count, heads)
        target, places = graph.by_target, _places(graph)
        part = partial(
            _attention.backward(*layout, heads, keep is not None), *rows.arrays,
            _values(rows, x, weight), _kept(rows, x, keep), _flat(sent), _flat(about), ctx.slope,
            _flat(x), flat, d, _flat(to_x), _flat(to_sent), _flat(to_logits),
        )  # fmt: skip
        _share(rows, heads * d, partial(part, _flat(to_weight)))
        part = partial(_attention.totals(heads), target.arrays[0], places, _flat(to_logits))
        _share(target, heads, partial(part, _flat(to_received)))
        back = None if weight is None else restored(rows, to_weight)
        return None, to_x, to_sent, to_received, back, None, None


def _kept(rows: Rows, x: Tensor, keep: Tensor | None) -> Array:
    return _flat(x.new_empty(0) if keep is None else arranged(rows, keep.to(x.dtype)))


def _places(graph: Graph) -> Array:
    """Where each edge, by target, lies by source."""
    source, target = graph.by_source, graph.by_target

    def made() -> Tensor:
        return target.arrange(source.restore(torch.arange(graph.num_edges).to(source.columns)))

    places: Array = graph.constant("places", made).numpy()
    return places


def _values(rows: Rows, x: Tensor, weight: Tensor | None) -> Array:
    if weight is None:
        return _flat(x.new_ones(rows.count))
    return _flat(arranged(rows, weight.to(x.dtype)))


def arranged(rows: Rows, values: Tensor) -> Tensor:
    """`rows.arrange(values)` of numbers without gradients."""
    return values if rows.order is None else _permuted(values, rows.order)


def restored(rows: Rows, values: Tensor) -> Tensor:
    """`rows.restore(values)` of numbers without gradients."""
    return values if rows.position is None else _permuted(values, rows.position)


def _permuted(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]` for `values` [n, ...] and all its places in another order."""
    if values.numel() * values.element_size() < CACHE:
        return values.index_select(0, index)
    out, width = fresh(values, *values.shape), values[0].numel()
    loop = partial(_permutation(width), _flat(values), index.numpy(), out.view(-1).numpy())
    _split(index.numel(), 1, MOVE * values.numel(), loop)
    return out


@cache
def _permutation(width: int) -> Callable[..., None]:
    @compiled
    def loop(values, index, out, first, last):  # type: ignore[no-untyped-def]
        for i in range(first, last):
            prefetch(values, entry(index, min(i + NUMBERS_AHEAD, index.size - 1)) * width, width, 1)
            start = entry(index, i) * width
            for j in range(width):
                out[i * width + j] = entry(values, start + j)

    return loop


@cache
def _sum(lanes: int, some: bool, far: int) -> Loop:
    @compiled
    def loop(  # type: ignore[no-untyped-def]
        offsets, parts, columns, w, x, stride, start, d, begin, end, out, across, first, last
    ):
        for part in range(parts):
            for r in range(first, last):
                a, b = entry(offsets, r * parts + part), entry(offsets, r * parts + part + 1)
                if part and a == b:
                    continue
                for channel in range(begin, end, lanes):
                    at, left = start + channel - begin, d - channel
                    even = odd = zeros(x, lanes)  # two, so that one need not wait for the other
                    if far:
                        prefetch(out, (r + NEXT) * across + channel, lanes, 1)
                    if part:
                        even = load_some(out, r * across + channel, left, lanes, some)
                    for e in range(a, b - 1, 2):
                        if far:
                            fetch(x, columns, e, stride, at, lanes, far)
                            fetch(x, columns, e + 1, stride, at, lanes, far)
                        row = load_some(x, entry(columns, e) * stride + at, left, lanes, some)
                        even = axpy(entry(w, e), row, even)
                        row = load_some(x, entry(columns, e + 1) * stride + at, left, lanes, some)
                        odd = axpy(entry(w, e + 1), row, odd)
                    if (b - a) % 2:
                        row = load_some(x, entry(columns, b - 1) * stride + at, left, lanes, some)
                        even = axpy(entry(w, b - 1), row, even)
                    store_some(out, r * across + channel, left, add(even, odd), some)

    return loop


@cache
def _sum_at(lanes: int, some: bool) -> Loop:
    @compiled
    def loop(  # type: ignore[no-untyped-def]
        offsets, columns, w, x, stride, start, d, strip, until, words, starts, strips, out,
        first, last,
    ):  # fmt: skip
        """Rows of `x` hold channels from `start` on; those of some strips are asked for."""
        near = np.empty(lanes, x.dtype)
        for r in range(first, last):
            a, b = entry(offsets, r), entry(offsets, r + 1)
            for s in range(strip, until):
                bits = words[r * strips + s]
                if bits == 0:
                    continue
                channel, even = s * lanes, zeros(x, lanes)
                odd, left = even, d - channel
                for e in range(a, b - 1, 2):
                    at = entry(columns, e) * stride + channel - start
                    even = axpy(entry(w, e), load_some(x, at, left, lanes, some), even)
                    at = entry(columns, e + 1) * stride + channel - start
                    odd = axpy(entry(w, e + 1), load_some(x, at, left, lanes, some), odd)
                if (b - a) % 2:
                    at = entry(columns, b - 1) * stride + channel - start
                    even = axpy(entry(w, b - 1), load_some(x, at, left, lanes, some), even)
                _vector.pick(add(even, odd), bits, out, entry(starts, r * strips + s), near)

    return loop


@cache
def _sum_and_dots(lanes: int, some: bool, far: int) -> Loop:
    @compiled
    def loop(  # type: ignore[no-untyped-def]
        offsets, parts, columns, w, x, stride, start, d, begin, end, out, across, y, own_across,
        dots, before, first, last,
    ):  # fmt: skip
        for part in range(parts):
            for r in range(first, last):
                a, b = entry(offsets, r * parts + part), entry(offsets, r * parts + part + 1)
                if part and a == b:
                    continue
                for channel in range(begin, end, lanes):
                    at, left, sum_ = start + channel - begin, d - channel, zeros(x, lanes)
                    if part:
                        sum_ = load_some(out, r * across + channel, left, lanes, some)
                    own = load_some(y, r * own_across + channel, left, lanes, some)
                    if far:
                        prefetch(out, (r + NEXT) * across + channel, lanes, 1)
                        prefetch(y, (r + NEXT) * own_across + channel, lanes, 1)
                    for e in range(a, b):
                        if far:
                            fetch(x, columns, e, stride, at, lanes, far)
                        other = load_some(x, entry(columns, e) * stride + at, left, lanes, some)
                        sum_ = axpy(entry(w, e), other, sum_)
                        product = dot(other, own)
                        dots[e] = product + entry(dots, e) if before or channel else product
                    store_some(out, r * across + channel, left, sum_, some)

    return loop


def _share(rows: Rows, work: int, part: Callable[[int, int], None]) -> None:
    """Do `part(first, last)` for all rows, on as many threads as torch has; `work` an edge."""
    threads, count = torch.get_num_threads(), rows.offsets.numel() - 1
    if threads == 1 or rows.count * work < SHARED:
        return part(0, count)
    ends = torch.arange(1, threads, device="cpu") * rows.count // threads
    cuts = [0, *torch.searchsorted(rows.offsets, ends.to(rows.offsets.dtype)).tolist(), count]
    together(partial(part, *ends) for ends in pairwise(cuts))


def _split(count: int, step: int, work: int, part: Callable[[int, int], None]) -> None:
    """Do `part(first, last)` for all of `count`, cut at multiples of `step`, likewise."""
    threads = torch.get_num_threads()
    if threads == 1 or work < SHARED:
        return part(0, count)
    cuts = [-(-count // step) * i // threads * step for i in range(threads)] + [count]
    together(partial(part, *ends) for ends in pairwise(cuts))
