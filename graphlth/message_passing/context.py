"""Running a model with masked edges."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial, update_wrapper
from inspect import signature
from threading import local
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import add_self_loops, remove_self_loops, softmax

from graphlth.message_passing.attention import masked_softmax
from graphlth.message_passing.call import Call, GraphCache
from graphlth.message_passing.kernels import EDGE_KERNELS, KERNELS, find_kernel
from graphlth.message_passing.loops import MaskedLoops
from graphlth.message_passing.movement import holds_ends
from graphlth.message_passing.norm import masked_gcn_norm
from graphlth.message_passing.reductions import RULES, weigh
from graphlth.message_passing.support import check_operators, reduces_by_scatter
from graphlth.message_passing.tracking import EdgeTracker, EdgeWeights
from graphlth.sparse.graph import Graph


class _Active(local):
    trackers: tuple[EdgeTracker, ...] = ()  # of the contexts that this thread is in


_ACTIVE = _Active()
REPLACED = softmax, gcn_norm, remove_self_loops, add_self_loops
ATTENTION = "return_attention_weights"


def _weight(index: object) -> Tensor | None:
    """The product of the weights that the contexts give the edges of `index`."""
    found = None
    for tracker in _ACTIVE.trackers:
        weight = tracker.weight(index)
        if weight is not None:
            found = weight if found is None else found * weight
    return found


class _EdgeMode(TorchFunctionMode):
    """Applies the rules of edges to the functions of torch."""

    def __init__(self, tracker: EdgeTracker) -> None:
        super().__init__()
        self._tracker = tracker

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = RULES.get(func)
        if rule is None:
            return func(*args, **(kwargs or {}))
        return rule(self._tracker, func, args, kwargs or {})


@contextmanager
def masked_edges(
    model: nn.Module, weights: EdgeWeights, cache: GraphCache | None = None
) -> Iterator[None]:
    """Within it, operators of `model` multiply what an edge sends by its weight.

    An edge of weight 0 is absent: of sums, means, degrees, attention and maxima. Edges are
    followed by identity, through whatever the model does with an edge_index; loops that a layer
    adds weigh 1. Afterwards the model is as it was.

    Args:
        model: any module; what it does with edges besides PyG's operators is masked, too.
        weights: pairs of an edge_index [2, E] that the model will be given, and the weight [E] of
            each of its columns, at least 0.
        cache: what the passes of one training share; None: nothing.

    Raises:
        ValueError: an edge_index or a weight has another shape or type; or an operator cannot be
            masked.
    """
    _check(weights)
    check_operators(model)
    tracker, cache = EdgeTracker(weights), GraphCache() if cache is None else cache
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, MessagePassing):
                _replace_calls(stack, module, tracker, cache)
            elif isinstance(module, Aggregation) and not reduces_by_scatter(module):
                _replace(stack, module, "forward", partial(_drop_edges, module.forward))
        outer = _ACTIVE.trackers
        masked = _stand_ins(tracker, cache)
        for holder, name, plain in _imports(_module_names(model)):
            stack.callback(setattr, holder, name, vars(holder)[name] if outer else plain)
            setattr(holder, name, masked[plain])
        stack.callback(setattr, _ACTIVE, "trackers", outer)
        _ACTIVE.trackers = (*outer, tracker)
        stack.enter_context(_eager())
        stack.enter_context(_EdgeMode(tracker))
        yield


def _check(weights: EdgeWeights) -> None:
    for edge_index, weight in weights:
        if type(edge_index) is not Tensor or edge_index.dim() != 2 or edge_index.size(0) != 2:
            raise ValueError(
                "`weights` must pair a plain tensor edge_index [2, E] with the weight [E] of each "
                f"column, got {type(edge_index).__name__}: give edge_index, not adj_t or EdgeIndex"
            )
        if weight.shape != edge_index.shape[1:] or not weight.is_floating_point():
            raise ValueError(
                f"`weights` must hold a floating-point number for each of the "
                f"{edge_index.size(1)} columns, got {list(weight.shape)} of {weight.dtype}"
            )


def _replace(stack: ExitStack, module: nn.Module, name: str, function: Any) -> None:
    """Let `module.name` be `function` until `stack` is closed."""
    held = vars(module)
    if name in held:
        stack.callback(held.__setitem__, name, held[name])
    else:
        stack.callback(held.pop, name)
    held[name] = function


def _replace_calls(
    stack: ExitStack, conv: MessagePassing, tracker: EdgeTracker, cache: GraphCache
) -> None:
    asked: set[str] = set()  # what the last call of `conv` asked for
    found = [find_kernel(kernels, conv) for kernels in (KERNELS, EDGE_KERNELS)]
    for name, kernel in zip(("propagate", "edge_updater"), found, strict=True):
        call = partial(_dispatch, conv, getattr(conv, name), kernel, tracker, cache, asked)
        _replace(stack, conv, name, call)
    resolve = partial(_resolve_arguments, tracker, asked)
    hook = conv.register_forward_pre_hook(resolve, with_kwargs=True)
    stack.callback(hook.remove)


def _resolve_arguments(
    tracker: EdgeTracker, asked: set[str], conv: nn.Module, args: Any, kwargs: Any
) -> None:
    asked.clear()
    place = _places(type(conv).forward).get(ATTENTION, len(args))
    if kwargs.get(ATTENTION) or (len(args) > place and args[place]):
        asked.add(ATTENTION)
    for value in (*args, *kwargs.values()):
        if (
            isinstance(value, Tensor)
            and value.dim() == 2
            and value.size(0) == 2
            and holds_ends(value)
        ):
            tracker.resolve(value)


@lru_cache(maxsize=256)
def _places(forward: Callable[..., Any]) -> dict[str, int]:
    """The place of each argument of an operator's `forward`, by name."""
    return {name: place - 1 for place, name in enumerate(signature(forward).parameters)}


def _dispatch(
    conv: MessagePassing, plain: Callable[..., Any], kernel: Callable[..., Any] | None,
    tracker: EdgeTracker, cache: GraphCache, asked: set[str], edge_index: Any, size: Any = None,
    **kwargs: Any,
) -> Any:  # fmt: skip
    """`conv.propagate` or `conv.edge_updater`, by its kernel if there is one for this case."""
    if type(edge_index) is not Tensor:
        raise ValueError(
            f"`{type(conv).__name__}` must be given an edge_index [2, E] to mask edges, got "
            f"{type(edge_index).__name__}, whose sums are fused: give edge_index instead of adj_t"
        )
    tracker.resolve(edge_index)
    if kernel is not None and len(_ACTIVE.trackers) == 1:
        call = Call(
            edge_index, kwargs, size, tracker.column_weight(edge_index),
            partial(_graph, conv, edge_index, size, kwargs, cache), ATTENTION in asked,
        )  # fmt: skip
        with torch._C.DisableTorchFunction():
            out = kernel(conv, call)
        if out is not None:
            return out
    return plain(edge_index, size=size, **kwargs)


def _graph(
    conv: MessagePassing, edge_index: Tensor, size: Any, kwargs: dict[str, Any], cache: GraphCache
) -> Graph:
    """The graph from sources to targets of a call, by the flow of `conv`."""
    first, second = _size(conv, size, kwargs)
    if conv.flow == "target_to_source":
        return cache.graph(edge_index.flip(0), (second, first))
    return cache.graph(edge_index, (first, second))


def _size(conv: MessagePassing, size: Any, kwargs: dict[str, Any]) -> tuple[int, int]:
    """How many nodes a call has at the first and at the second end of its edges."""
    found: list[Any] = list(size) if size is not None else [None, None]
    names = *conv._user_args, *conv._edge_user_args
    lifted = {name[:-2] for name in names if name[-2:] in ("_i", "_j")}
    for value in (kwargs[name] for name in kwargs if name in lifted):
        pair = value if isinstance(value, (tuple, list)) else (value, value)
        for end, part in enumerate(pair):
            if found[end] is None and isinstance(part, Tensor):
                found[end] = part.size(conv.node_dim)
    first, second = found
    return (second if first is None else first), (first if second is None else second)


def _drop_edges(
    forward: Callable[..., Any], x: Tensor, index: Tensor | None = None, *args: Any, **kwargs: Any
) -> Any:
    """What an aggregation gives for m·x of the edges whose weight m is not 0."""
    m = None if index is None else _weight(index)
    if m is None or index is None:
        return forward(x, index, *args, **kwargs)
    dim = kwargs.get("dim", args[2] if len(args) > 2 else -2)
    shape = [1] * x.dim()
    shape[dim] = -1
    kept = (m != 0).nonzero().view(-1)
    return forward(
        weigh(x, m.view(shape)).index_select(dim, kept), index[kept].detach(), *args, **kwargs
    )


def _stand_ins(
    tracker: EdgeTracker, cache: GraphCache
) -> dict[Callable[..., Any], Callable[..., Any]]:
    """What is called in place of PyG's functions; each knows the function as `__wrapped__`."""

    def alone() -> bool:
        return len(_ACTIVE.trackers) == 1

    loops = MaskedLoops(tracker, cache.loops, alone)
    masked: dict[Callable[..., Any], Callable[..., Any]] = {
        softmax: masked_softmax(_weight),
        gcn_norm: masked_gcn_norm(tracker, loops, alone),
        remove_self_loops: partial(loops.remove),
        add_self_loops: partial(loops.add),
    }
    return {plain: update_wrapper(function, plain) for plain, function in masked.items()}


def _module_names(model: nn.Module) -> tuple[str, ...]:
    """The files that the classes of `model`, and PyG's operators, stand in."""
    kinds = {type(module) for module in model.modules()}
    return tuple(sorted({cls.__module__ for kind in kinds for cls in kind.__mro__}))


@lru_cache(maxsize=64)
def _imports(names: tuple[str, ...]) -> list[tuple[ModuleType, str, Callable[..., Any]]]:
    """Under which names these files hold the functions of PyG that have stand-ins."""
    files = [sys.modules[name] for name in names if name in sys.modules]
    return [
        (file, name, plain)
        for file in files for name, value in vars(file).items()
        if isinstance(value, FunctionType | partial)
        for plain in REPLACED if plain in (value, vars(value).get("__wrapped__"))
    ]  # fmt: skip


@contextmanager
def _eager() -> Iterator[None]:
    """Within it, what was compiled runs as it was written: compiled code knows no masks."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
