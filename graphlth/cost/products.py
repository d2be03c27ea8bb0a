"""What every weight multiplies in one pass of a model, operation by operation."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from graphlth.masks import Masks

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
def without_fused_attention() -> Iterator[None]:
    """A context in which attention computes by single products, not in one fused kernel."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
