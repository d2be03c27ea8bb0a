"""Multiply–accumulates of one forward pass: of a whole graph, or of one input elsewhere.

Without a graph they are counted by looking at every operation of one pass: every product of a
weight counts, in whatever layer or expression. A weight that is used in a way that is not known
here makes the answer a reason instead of numbers, so that no answer is too low.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from graphlth.edge_masks import edge_mask, is_edge_key
from graphlth.masks import Masks, matrices
from graphlth.model import CountableGraphModel, CountableModel, check_layers
from graphlth.model_checks import (
    check_arguments,
    check_initialised,
    check_masks,
    passing,
    undisturbed,
)
from graphlth.task import Batch, Task


def macs(model: nn.Module, task: Task, masks: Masks) -> dict[str, int] | None:
    """Multiply–accumulates per layer under `masks`; None where they cannot be told.

    Without a graph those of `input_macs`, of an input of the task's `shape` (and `dtype`, if it has
    one: text has int64). On a graph as UGS counts them (arXiv:2102.06790), for a model
    with a method `macs`: features count as dense, surviving weights and directed edges as what is
    left of them, and self-loops that the model adds always. Weights that are frozen count as well.
    Of many graphs it is the mean over those that are trained on, for a model with `graph_macs`.
    Where there are none `macs_reason` says why.

    Raises:
        ValueError: `model` is no model, `task` no task, or the model fails on such an input.
    """
    found = count_macs(model, task, masks)
    return None if isinstance(found, str) else found


def macs_reason(model: nn.Module, task: Task, masks: Masks) -> str:
    """Why `macs` is None, in a line; "" where it is not."""
    found = count_macs(model, task, masks)
    return found if isinstance(found, str) else ""


def count_macs(model: nn.Module, task: Task, masks: Masks) -> dict[str, int] | str:
    """What `macs` gives or, where that is None, `macs_reason`."""
    if isinstance(task, nn.Module) or not hasattr(task, "shape"):
        check_arguments(model, task)
    check_initialised(model)
    if (shape := getattr(task, "shape", None)) is not None:
        return input_macs(model, tuple(shape), masks, getattr(task, "dtype", None))
    if next(iter(task.batches("test"))).of_graphs:
        return _mean_of_graphs(model, task, masks)
    if not isinstance(model, CountableModel):
        return (f"{type(model).__name__} has no method macs(num_nodes, num_edges, nnz) that tells "
                "what it computes on a graph")  # fmt: skip
    check_layers(model, masks)
    check_masks(model, getattr(task, "num_edges", None), masks)
    batch = next(iter(task.batches("test")))
    nodes = batch.inputs[0].shape[0]
    per_layer: dict[str, int] = model.macs(
        nodes, _count_edges(batch, masks), _count_kept(model, masks)
    )
    return per_layer


def _mean_of_graphs(model: nn.Module, task: Task, masks: Masks) -> dict[str, int] | str:
    """Multiply–accumulates of a training graph, whose edges the masks are of: the mean of all."""
    if not isinstance(model, CountableGraphModel):
        return (f"{type(model).__name__} has no method graph_macs(num_graphs, num_nodes, num_edges,"
                " nnz) that tells what it computes on graphs")  # fmt: skip
    check_masks(model, task.num_edges, masks)
    batches = list(task.whole("train"))
    edges = [_count_edges(batch, masks) for batch in batches]
    if not all(isinstance(count, int) for count in edges):
        return "masks of each layer are not counted on graphs"
    count = sum(len(batch.target) for batch in batches)
    nodes = sum(batch.inputs[0].shape[0] for batch in batches)
    total = model.graph_macs(count, nodes, sum(edges), _count_kept(model, masks))  # type: ignore[arg-type]
    return {layer: macs // count for layer, macs in total.items()}


def _count_edges(batch: Batch, masks: Masks) -> int | list[int]:
    """How many edges are kept, in all layers or in each."""
    mask, entries = edge_mask(masks), batch.entries
    if mask is None or entries is None:
        return 0 if entries is None else entries.numel()
    layers = [
        int(m[entries].count_nonzero()) for m in ([mask] if isinstance(mask, Tensor) else mask)
    ]
    return layers[0] if isinstance(mask, Tensor) else layers


@torch.no_grad()
def input_macs(
    model: nn.Module, shape: tuple[int, ...], masks: Masks, dtype: torch.dtype | None = None
) -> dict[str, int] | str:
    """Multiply–accumulates of one input of `shape`, for each weight; or why they cannot be told.

    A surviving weight counts once for each position of the output that it is used at, those at the
    border too, where it meets padding. Found by one pass of zeros through any model. Looking up an
    embedding or adding it costs none, and the products of two activations, as in attention, are
    left out; what the input looks up is an activation, but for a product with one that is not.
    """
    weights = matrices(model)
    x = next(model.parameters()).new_zeros(1, *shape, dtype=dtype)
    products = ProductCounter(weights, masks, x)
    with undisturbed(model), _without_fused_attention(), passing(model, (x,), None):
        with products:
            model(x)
        unseen = {n: p for n, p in weights.items() if n not in products.seen}
        if unseen and not products.reason:  # not used at all, or by what is no torch operation
            unknown = {n: torch.full_like(p, torch.nan) for n, p in unseen.items()}
            outputs = tree_flatten(functional_call(model, unknown, (x,)))[0]
            if any(bool(t.isnan().any()) for t in outputs if isinstance(t, Tensor)):
                return f"{next(iter(unseen))!r} is used by something else than torch's operations"
    return products.reason or products.counted


def pass_macs(model: nn.Module, task: Task, masks: Masks) -> int | None:
    """The sum of `macs` over the layers; None where they cannot be told."""
    per_layer = macs(model, task, masks)
    return None if per_layer is None else sum(per_layer.values())


def _count_kept(model: nn.Module, masks: Masks) -> dict[str, int]:
    """How many entries of every weight survive."""
    nnz = {n: p.numel() for n, p in matrices(model).items()}
    return nnz | {n: int(m.count_nonzero()) for n, m in masks.items() if not is_edge_key(n)}


# --- one pass, operation by operation ------------------------------------------------------------

# Where the two factors of a product stand among its arguments.
FACTORS = {"mm": (0, 1), "addmm": (1, 2), "bmm": (0, 1), "baddbmm": (1, 2), "mv": (0, 1),
           "addmv": (1, 2), "dot": (0, 1), "convolution": (0, 1)}  # fmt: skip
LOOKUPS = ("embedding", "index", "index_select", "gather")  # of rows of the first argument
# Of weights alone. What moves values about without changing any:
MOVES = (*LOOKUPS, "clone", "_to_copy", "cat", "stack", "repeat", "flip", "roll", "tril", "triu",
         "constant_pad_nd")  # fmt: skip
# what changes values, but leaves every 0 where it is (of a `Product`: of the factor of that shape):
SCALES = ("mul", "div", "neg", "abs", "_fused_moving_avg_obs_fq_helper",
          "fake_quantize_per_tensor_affine_cachemask",
          "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams")  # fmt: skip
# and what reads the shape alone.
SHAPES = ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like",
          "new_zeros", "new_ones", "new_empty", "new_full")  # fmt: skip
# Of weights and activations, what multiplies nothing.
FREE = (*LOOKUPS, *SHAPES, "add", "add_", "sub", "sub_", "rsub", "cat", "stack", "where", "copy_",
        "maximum", "minimum", "_embedding_bag", "_embedding_bag_forward_only")  # fmt: skip

Entries = dict[str, Tensor]  # by parameter: which elements of a storage are entries that survive


class ProductCounter(TorchDispatchMode):
    """Counts what every weight multiplies, while a model is called with `x`.

    A tensor is known by its storage, so that every view of a weight is that weight.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not, as by default: to keep torch's compiler out of the way, torch loads it (4 s)."""
        return False

    def __init__(self, weights: Mapping[str, Tensor], masks: Masks, x: Tensor):
        super().__init__()
        self.counted: dict[str, int] = {}
        self.seen: set[str] = set()  # the weights that some operation reads
        self.reason = ""  # why what is counted is not all
        self.weights: dict[int, tuple[Tensor, Entries]] = {}  # as they are, moved or scaled
        self.read: dict[int, tuple[Tensor, Entries]] = {}  # rows that the input has chosen
        self.changed: dict[int, tuple[Tensor, str]] = {}  # made of weights in any other way: how
        self.activations = {_storage(x): x}  # tensors are held, so that no storage is used anew
        for n, p in weights.items():
            mask = masks.get(n)
            alive = torch.ones_like(p, dtype=torch.bool) if mask is None else mask != 0
            self.track(self.weights, p, {n: alive})

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """The result of `func`; what it multiplies is counted."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given, made = _tensors((args, kwargs)), _tensors(out)
        known = {_storage(t) for t in given}
        if not func._schema.is_mutable and all(_storage(t) in known for t in made):
            return out  # a view
        active = any(s in self.activations for s in known)
        if active:
            self.activations |= {s: t for t in made if (s := _storage(t)) not in self.weights}
        if any(s in table for s in known for table in (self.weights, self.read, self.changed)):
            name = func._schema.name.removeprefix("aten::")
            for t in given:
                self.seen |= {*self.entries_of(t)}
            use = self.count_use if active else self.track_result
            use(name, partial(func, **kwargs), args, given, made)
        return out

    def count_use(
        self, name: str, func: Callable[..., Any], args: Any, given: list[Tensor],
        made: list[Tensor],
    ) -> None:  # fmt: skip
        """An operation on activations and what is made of weights."""
        whole = [t for t in given if _storage(t) in self.weights]
        changed = [s for t in given if (s := _storage(t)) in self.changed]
        if name in LOOKUPS and whole:
            self.track(self.read, made[0], self.entries_after(func, args, whole))
        elif name in FREE:
            return
        elif changed:
            self.give_up(self.changed[changed[0]][1])
        elif name in FACTORS:
            factors = [args[i] for i in FACTORS[name]]
            ours = [t for t in factors if _storage(t) in self.weights]
            ours = ours or [t for t in factors if _storage(t) in self.read]
            if len(ours) == 1:
                self.add_uses(ours[0], _uses(name, args, factors, made[0], ours[0] is factors[0]))
            elif whole:
                self.give_up(f"{_names(self.entries_of(whole[0]))} is multiplied by another weight")
        elif name in ("mul", "mul_") and len(whole) == 1:
            self.add_uses(whole[0].expand(made[0].shape), 1)
        elif whole:
            self.give_up(
                f"{_names(self.entries_of(whole[0]))} is used by {name}, which is not counted"
            )

    def track_result(
        self, name: str, func: Callable[..., Any], args: Any, given: list[Tensor],
        made: list[Tensor],
    ) -> None:  # fmt: skip
        """An operation on weights alone, which makes others of them."""
        whole = [t for t in given if _storage(t) in self.weights]
        same = [t for t in whole if made and t.shape == made[0].shape]
        changed = [s for t in given if (s := _storage(t)) in self.changed]
        if name in SHAPES:
            return
        if name in MOVES and whole and not changed:
            self.track(self.weights, made[0], self.entries_after(func, args, whole))
        elif name in SCALES and same:
            self.track(self.weights, made[0], self.entries_of(same[0]))
        else:
            how = f"{_names(self.entries_of(whole[0]))} is changed by {name}" if whole else ""
            how = self.changed[changed[0]][1] if changed else f"{how} before it is used"
            self.changed |= {_storage(t): (t, how) for t in made}

    def entries_after(self, func: Callable[..., Any], args: Any, weights: list[Tensor]) -> Entries:
        """What survives of what `func` makes of `weights` without changing a value."""
        names = {n for t in weights for n in self.entries_of(t)}
        return {n: func(*tree_map(partial(self.indicator, n), args)) != 0 for n in names}

    def entries_of(self, t: Tensor) -> Entries:
        """Which entries of the weights that `t` is, or is read from, survive, shaped like `t`."""
        for table in (self.weights, self.read):
            if (s := _storage(t)) in table:
                source, alive = table[s]
                if source.element_size() != t.element_size():
                    self.give_up(f"{_names(alive)} is read as {t.dtype}")
                    return {}
                return {n: a.as_strided(t.size(), t.stride(), t.storage_offset())
                        for n, a in alive.items()}  # fmt: skip
        return {}

    def indicator(self, name: str, value: Any) -> Any:
        """1 where `value` is an entry of the weight `name` that survives, 0 for all others."""
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        alive = self.entries_of(value).get(name)
        return torch.zeros_like(value) if alive is None else alive.to(value.dtype)

    def track(self, table: dict[int, tuple[Tensor, Entries]], t: Tensor, alive: Entries) -> None:
        """Enter `t` and what survives of it, shaped like it."""
        size = t.untyped_storage().nbytes() // t.element_size()
        _, known = table.get(_storage(t), (t, dict[str, Tensor]()))
        for n, a in alive.items():
            flat = torch.zeros(size, dtype=torch.bool, device=t.device)
            flat.as_strided(t.size(), t.stride(), t.storage_offset()).copy_(a)
            known[n] = flat
        if size:
            table[_storage(t)] = t, known

    def add_uses(self, t: Tensor, uses: int) -> None:
        """Every surviving entry of `t` is used so often."""
        for n, alive in self.entries_of(t).items():
            more = uses * int(alive.count_nonzero())
            self.counted[n] = self.counted.get(n, 0) + more

    def give_up(self, reason: str) -> None:
        """What is counted is not all."""
        self.reason = self.reason or reason


def _uses(name: str, args: Any, factors: list[Tensor], out: Tensor, first: bool) -> int:
    """How often the product uses each entry of its first factor, or of its second."""
    a, b = factors
    if name == "convolution":
        transposed = args[6]
        image = a if transposed else out  # [B, C, positions ...]
        return image.numel() // max(1, image.size(1))
    if first:
        return b.size(-1) if b.dim() > 1 else 1
    return a.size(-2) if a.dim() > 1 else 1


def _storage(t: Tensor) -> int:
    """Where the numbers of `t` lie; views of it lie there, too."""
    return t.untyped_storage().data_ptr() if t.layout == torch.strided else id(t)


def _tensors(tree: Any) -> list[Tensor]:
    return [t for t in tree_flatten(tree)[0] if isinstance(t, Tensor)]


def _names(alive: Mapping[str, Tensor]) -> str:
    return " and ".join(map(repr, alive)) or "a weight"


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    """A context in which attention computes by single products, not in one fused kernel."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
