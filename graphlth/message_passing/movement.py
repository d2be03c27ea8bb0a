"""How ids follow their tensors through the functions of torch that move numbers."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from graphlth.message_passing.tracking import EdgeTracker, Rule

COPIES = (
    "clone", "contiguous", "detach", "to", "long", "int", "type", "cpu", "cuda", "type_as",
)  # fmt: skip
VIEWS = (
    "__getitem__", "select", "narrow", "view", "reshape", "flatten", "unsqueeze", "squeeze", "t",
    "transpose", "permute", "movedim", "swapaxes", "expand", "expand_as", "view_as", "repeat",
    "tile", "repeat_interleave", "flip", "fliplr", "flipud", "roll", "index_select", "gather",
    "take", "take_along_dim", "masked_select", "unbind", "split", "chunk", "tensor_split",
    "broadcast_to", "ravel", "unflatten", "reshape_as",
)  # fmt: skip
JOINS = ("cat", "concat", "concatenate", "stack", "hstack", "vstack")
ARITHMETIC = (
    "add", "add_", "sub", "sub_", "mul", "mul_", "__add__", "__radd__", "__iadd__", "__sub__",
    "__isub__", "__rsub__", "__mul__", "__rmul__", "__imul__", "floor_divide", "remainder",
    "__floordiv__", "__mod__", "maximum", "minimum", "clamp", "clamp_",
)  # fmt: skip


def functions(names: Iterable[str]) -> list[Callable[..., Any]]:
    """The functions and methods of torch with these names."""
    owners = torch, Tensor
    found = [getattr(owner, name, None) for name in names for owner in owners]
    return [function for function in found if function is not None]


def _copy(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    out = func(*args, **kwargs)
    _carry_sum(tracker, args, out)
    ids = tracker.ids(args[0]) if args else None
    if ids is not None and out is not args[0] and holds_ends(out):
        tracker.follow(out, ids.to(out.device))
    return out


def _move(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    out = func(*args, **kwargs)
    if not args:
        return out
    _carry_sum(tracker, args, out)
    ids = tracker.ids(args[0])
    if ids is not None:
        _follow(tracker, out, func(ids, *args[1:], **kwargs))
    elif holds_ends(out):  # numbers looked up by ends of edges, such as new names of nodes
        for index in (*args[1:], *kwargs.values()):
            ids = tracker.ids(index)
            if ids is not None and ids.shape == out.shape:
                tracker.follow(out, ids)
    return out


def _join(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    out = func(*args, **kwargs)
    parts = args[0] if args else kwargs.get("tensors", ())
    found = [tracker.ids(part) for part in parts]
    if holds_ends(out) and any(ids is not None for ids in found):
        filled = [torch.zeros_like(part, dtype=torch.long) if ids is None else ids
                  for part, ids in zip(parts, found, strict=True)]  # fmt: skip
        rest = {name: value for name, value in kwargs.items() if name != "tensors"}
        tracker.follow(out, func(filled, *args[1:], **rest))
    return out


def _compute(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    found = [ids for ids in map(tracker.ids, args) if ids is not None]
    out = func(*args, **kwargs)
    if found and holds_ends(out) and all(_agree(found[0], other) for other in found[1:]):
        tracker.follow(out, found[0].expand(out.shape))
    return out


def _agree(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _sort(tracker: EdgeTracker, func: Any, args: Any, kwargs: Any) -> Any:
    out = func(*args, **kwargs)
    ids = tracker.ids(args[0])
    if ids is not None:
        dim = kwargs.get("dim", args[1] if len(args) > 1 and type(args[1]) is int else -1)
        tracker.follow(out[0], ids.gather(dim, out[1]))
    return out


def _follow(tracker: EdgeTracker, out: Any, ids: Any) -> None:
    if isinstance(out, Tensor):
        if holds_ends(out):
            tracker.follow(out, ids)
    else:
        for part, its in zip(out, ids, strict=True):
            _follow(tracker, part, its)


def _carry_sum(tracker: EdgeTracker, args: Any, out: Any) -> None:
    """A part of the sums over edges is sums over edges."""
    found = tracker.sums.get(args[0]) if args else None
    if found is not None and isinstance(out, Tensor) and out is not args[0]:
        tracker.sums.set(out, found)


def holds_ends(out: Any) -> bool:
    """Whether it is a tensor that can hold ends of edges: of whole numbers."""
    return isinstance(out, Tensor) and out.dtype in (torch.int64, torch.int32)


MOVEMENT: dict[Any, Rule] = {
    **dict.fromkeys(functions(COPIES), _copy),
    **dict.fromkeys(functions(VIEWS), _move),
    **dict.fromkeys(functions(JOINS), _join),
    **dict.fromkeys(functions(ARITHMETIC), _compute),
    **dict.fromkeys(functions(["sort"]), _sort),
    **dict.fromkeys((Tensor.T.__get__, Tensor.mT.__get__), _move),  # type: ignore[attr-defined]
}
