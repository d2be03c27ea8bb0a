"""Which units a model's tensors are made of, followed through one forward pass of any model.

A unit is a column of activations: one number of each node, edge or graph. Every tensor that the
pass makes of the features is told by the units of its columns, and by what is known of their
values whatever the features are. Operations that treat columns apart keep the units, additions tie
two units to one, linear maps read units and make new ones; what an operation does that is not known
here holds the units that it reads: they stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

MAKERS = ("linear", "matmul", "mm", "embedding")  # make units also of what has none
SHAPES = ("new_zeros", "new_ones", "new_full", "new_empty", "ones_like", "empty_like", "full_like",
          "rand_like", "randn_like")  # fmt: skip

LIKE = ("expand_as", "view_as", "reshape_as", "type_as")  # read the shape or type of the second

SAME = {"radd": "add", "iadd": "add", "rmul": "mul", "imul": "mul", "isub": "sub", "idiv": "div",
        "truediv": "div", "itruediv": "div", "rmatmul": "matmul"}  # fmt: skip


@dataclass(frozen=True)
class Units:
    """What the columns of a tensor [rows, ...] are, the shape of all fields being `[...]`."""

    ids: Tensor  # the unit of each column
    value: Tensor  # the number that it is in every row; NaN where that is not known


@dataclass(frozen=True)
class Map:
    """A linear map `h W + b` at one place of the pass."""

    weight: str
    bias: str  # "" without one
    inputs: Units
    outputs: Tensor  # the units that it makes
    outputs_first: bool = True  # whether the weight is [out, in]


@dataclass
class Axes:
    """A parameter or buffer, and the units of each of its dimensions that has any."""

    name: str
    tensor: Tensor
    ids: dict[int, Tensor] = field(default_factory=dict)
    whole: str = ""  # why it keeps its shape, if it does


@dataclass(frozen=True)
class Operation:
    """One operation of the pass, for the rule that tells what it does with units."""

    trace: UnitTrace
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Tensor  # its first result

    def named(self, *names: str) -> dict[str, Any]:
        """The arguments, of which the first have these `names`."""
        return dict(zip(names, self.args, strict=False)) | self.kwargs


Rule = Callable[[Operation], Units | None]


class UnitTrace(TorchFunctionMode):
    """Follows the units of one forward pass; `inputs` are tensors whose columns are units.

    `rules` tells what an operation does with units, by its name.
    """

    def __init__(self, model: nn.Module, rules: dict[str, Rule]):
        super().__init__()
        self.rules = rules
        self.known: dict[int, tuple[Tensor, Units]] = {}  # held, so that no id is used anew
        self.axes = {
            id(t): Axes(n, t) for n, t in [*model.named_parameters(), *model.named_buffers()]
        }
        self.maps: list[Map] = []
        self.scales: set[str] = set()  # the parameters that norms multiply units by
        self.attached: set[int] = set()  # the parameters that the rule of an operation has used
        self.onto_zeros = True  # whether an operation in place begins with zeros
        self.heads: dict[Any, Tensor] = {}  # the units [H, C] of a layer with H heads
        self.calls: list[nn.Module] = []  # the modules that are being called, the innermost last
        self.parents: list[int] = []
        self.reasons: dict[int, str] = {}  # by unit, why it stays

    # --- units -----------------------------------------------------------------------------------

    def new(self, shape: Iterable[int]) -> Tensor:
        """New units."""
        start, shape = len(self.parents), torch.Size(shape)
        self.parents += range(start, start + shape.numel())
        return torch.arange(start, start + shape.numel()).view(shape)

    def find(self, unit: int) -> int:
        """The one that stands for all that are tied to `unit`."""
        while self.parents[unit] != unit:
            self.parents[unit] = self.parents[self.parents[unit]]
            unit = self.parents[unit]
        return unit

    def tie(self, a: Tensor, b: Tensor) -> None:
        """Each unit of `a` stays if that of `b` does, and the other way round."""
        for one, other in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True):
            one, other = self.find(one), self.find(other)
            if one != other:
                self.parents[other] = one
                if other in self.reasons:
                    self.reasons.setdefault(one, self.reasons[other])

    def hold(self, ids: Tensor, reason: str) -> None:
        """These units stay."""
        for unit in ids.flatten().tolist():
            self.reasons.setdefault(self.find(unit), reason)

    def roots(self, ids: Tensor) -> set[int]:
        """Those that stand for the groups of these units."""
        return {self.find(unit) for unit in ids.flatten().tolist()}

    def is_held(self, unit: int) -> bool:
        """Whether a unit stays whatever its weights are."""
        return self.find(unit) in self.reasons

    def are_tied(self, ids: Tensor) -> bool:
        """Whether all units of a row [..., n] are tied to one."""
        rows = ids.reshape(-1, ids.size(-1)).tolist()
        return all(len({self.find(unit) for unit in row}) == 1 for row in rows)

    # --- tensors ---------------------------------------------------------------------------------

    def units_of(self, t: Any) -> Units | None:
        """The units of a tensor; None where it has none."""
        found = self.known.get(id(t))
        return found[1] if found is not None and found[0] is t else None

    def set_units(self, t: Tensor, units: Units | None) -> None:
        """The columns of `t` are these units."""
        if units is None or units.ids.shape != t.shape[1:]:
            if units is not None:
                self.hold(units.ids, "its columns are put into another shape")
            self.known.pop(id(t), None)
        else:
            self.known[id(t)] = t, units

    def start(self, t: Tensor) -> Tensor:
        """The new units [F] of the columns of an input of the pass."""
        ids = self.new(t.shape[1:])
        self.set_units(t, Units(ids, torch.full(ids.shape, torch.nan, dtype=torch.float64)))
        return ids

    def attach(self, parameter: Any, dim: int, ids: Tensor) -> bool:
        """The entries of a dimension of a parameter or buffer belong to these units.

        Whether it is one of the model's.
        """
        axes = self.axes.get(id(parameter))
        if axes is None or parameter.dim() <= dim or parameter.size(dim) != ids.numel():
            return False
        self.attached.add(id(parameter))
        self.tie(axes.ids.setdefault(dim, ids), ids)
        if axes.whole:
            self.hold(ids, axes.whole)
        return True

    def hold_parameters(self, read: Iterable[Tensor], name: str) -> None:
        """Parameters of the model that an operation reads without a rule keep their shapes."""
        for t in read:
            axes = self.axes.get(id(t))
            if axes is not None and t.numel() > 1 and id(t) not in self.attached:
                axes.whole = axes.whole or f"{name} reads {axes.name} whole"
                for ids in axes.ids.values():
                    self.hold(ids, axes.whole)

    # --- the pass --------------------------------------------------------------------------------

    @contextmanager
    def watch_calls(self, model: nn.Module) -> Iterator[None]:
        """A context in which `calls` tells which modules are being called."""

        def begin(module: nn.Module, _: Any) -> None:
            self.calls.append(module)

        def end(*_: Any) -> None:
            self.calls.pop()

        hooks = [m.register_forward_pre_hook(begin) for m in model.modules()]
        hooks += [m.register_forward_hook(end) for m in model.modules()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The result of `func`, whose units become known."""
        kwargs, name = kwargs or {}, operation_name(func)
        if name.startswith("scatter") or name.startswith("index_add"):
            wrapped = torch._C._functorch.is_functorch_wrapped_tensor(args[0])  # within vmap
            self.onto_zeros = not wrapped and not bool(args[0].any())
        out = func(*args, **kwargs)
        made = [t for t in tensors_in(out) if t.is_floating_point()]
        if name not in SHAPES and (made or name == "__setitem__"):
            self.follow(name, func, args, kwargs, made)
        return out

    def follow(self, name: str, func: Any, args: Any, kwargs: Any, made: list[Tensor]) -> None:
        """Tell the units of what an operation has `made`."""
        given = tensors_in(args[:1] if name in LIKE else (args, kwargs))
        read = [u for t in given if (u := self.units_of(t)) is not None]
        rule = self.rules.get(name)
        self.attached = set()
        units = None
        if rule is not None and (read or name in MAKERS):
            units = rule(Operation(self, func, args, kwargs, made[0]))
        if units is None:
            for each in read:
                self.hold(each.ids, f"{name} reads its columns together")
        self.hold_parameters(given, name)
        for t in made:
            self.set_units(t, units)


def operation_name(func: Any) -> str:
    """The name of an operation, without what says that it is one of a tensor or in place."""
    name: str = getattr(func, "__name__", "")
    if name in ("__getitem__", "__setitem__", "__get__"):
        return name
    name = name.strip("_")
    return SAME.get(name, name)


def tensors_in(tree: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (tuple, list)):
        return []
    return [t for each in tree for t in tensors_in(each)]
