"""An operator of PyG whose calls know which masked edges they are about."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache, partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch_geometric.nn.conv import MessagePassing

from graphlth.message_passing.call import Call
from graphlth.message_passing.kernels import EDGE_KERNELS, KERNELS, Kernel, find_kernel
from graphlth.message_passing.movement import holds_ends
from graphlth.message_passing.replacement import replace_attribute
from graphlth.message_passing.tracking import (
    EdgeTracker,
    describe_edges,
    edge_weight,
    is_edge_index,
    only_tracker,
)
from graphlth.sparse.graph import Graph

ATTENTION = "return_attention_weights"


class MaskedOperator:
    """One operator in one context.

    Args:
        conv: the operator.
        tracker: what knows the edges of the context.
    """

    def __init__(self, conv: MessagePassing, tracker: EdgeTracker) -> None:
        self._conv, self._tracker = conv, tracker
        self._returns_attention = False  # whether it was asked for, in the last call

    def enter(self, stack: ExitStack) -> None:
        """Stand in for the message passing of the operator until `stack` is closed."""
        conv = self._conv
        kernels = [find_kernel(table, conv) for table in (KERNELS, EDGE_KERNELS)]
        for name, kernel in zip(("propagate", "edge_updater"), kernels, strict=True):
            replace_attribute(
                stack, conv, name, partial(self._pass_messages, getattr(conv, name), kernel)
            )
        if any(isinstance(module, _BatchNorm) for module in conv.modules()):
            for name in ("message", "edge_update"):
                replace_attribute(
                    stack, conv, name, partial(self._compute_messages, getattr(conv, name))
                )
        stack.callback(conv.register_forward_pre_hook(self._read, with_kwargs=True).remove)

    def _read(self, conv: nn.Module, args: Any, kwargs: Any) -> None:
        """Look at what `forward` is called with, before it is."""
        place = _places(type(conv).forward).get(ATTENTION, len(args))
        asked = args[place] if len(args) > place else kwargs.get(ATTENTION)
        self._returns_attention = bool(asked)
        for value in (*args, *kwargs.values()):
            if (
                is_edge_index(value)
                and holds_ends(value)
                and value.dim() == 2
                and value.size(0) == 2
            ):
                self._tracker.resolve(value)

    def _pass_messages(
        self, plain: Callable[..., Any], kernel: Kernel | None,
        edge_index: Any, size: Any = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """`propagate` or `edge_updater`, by its kernel if there is one for this case."""
        if not is_edge_index(edge_index):
            raise ValueError(
                f"`{type(self._conv).__name__}` must be given an edge_index [2, E] to mask edges, "
                f"got {describe_edges(edge_index)}, whose sums are fused: give edge_index instead "
                "of adj_t"
            )
        self._tracker.resolve(edge_index)
        if kernel is not None and only_tracker() is not None:
            weight, graph = self._tracker.column_weight(edge_index), self._graph
            call = Call(
                edge_index, kwargs, size, weight, partial(graph, edge_index, size, kwargs),
                self._returns_attention,
            )  # fmt: skip
            with torch._C.DisableTorchFunction():
                out = kernel(self._conv, call)
            if out is not None:
                return out
        self._tracker.called_with = edge_index
        return plain(edge_index, size=size, **kwargs)

    def _compute_messages(self, plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`message` or `edge_update`, whose batch norms weigh edges."""
        self._tracker.norm_weight = edge_weight(self._tracker.called_with)
        try:
            return plain(*args, **kwargs)
        finally:
            self._tracker.norm_weight = None

    def _graph(self, edge_index: Tensor, size: Any, kwargs: dict[str, Any]) -> Graph:
        """The graph from sources to targets of a call, by the operator's flow."""
        first, second = self._size(size, kwargs)
        if self._conv.flow == "target_to_source":
            return self._tracker.graphs.graph(edge_index.flip(0), (second, first))
        return self._tracker.graphs.graph(edge_index, (first, second))

    def _size(self, size: Any, kwargs: dict[str, Any]) -> tuple[int, int]:
        """How many nodes a call has at the first and at the second end of its edges."""
        found: list[Any] = list(size) if size is not None else [None, None]
        names = *self._conv._user_args, *self._conv._edge_user_args
        lifted = {name[:-2] for name in names if name[-2:] in ("_i", "_j")}
        for value in (kwargs[name] for name in kwargs if name in lifted):
            pair = value if isinstance(value, (tuple, list)) else (value, value)
            for end, part in enumerate(pair):
                if found[end] is None and isinstance(part, Tensor):
                    found[end] = part.size(self._conv.node_dim)
        first, second = found
        return (second if first is None else first), (first if second is None else second)


@lru_cache(maxsize=256)
def _places(forward: Callable[..., Any]) -> dict[str, int]:
    """The place of each argument of an operator's `forward`, by name."""
    return {name: place - 1 for place, name in enumerate(signature(forward).parameters)}
