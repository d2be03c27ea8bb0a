"""Running a model with masked edges."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import add_self_loops, remove_self_loops, softmax

from graphlth.message_passing.attention import masked_softmax
from graphlth.message_passing.cache import GraphCache
from graphlth.message_passing.checkpointing import CHECKPOINTS
from graphlth.message_passing.loops import add_loops_to_masked, remove_masked_loops
from graphlth.message_passing.norm import masked_gcn_norm
from graphlth.message_passing.operator import MaskedOperator
from graphlth.message_passing.reductions import RULES, weigh
from graphlth.message_passing.replacement import replace_attribute, replace_functions
from graphlth.message_passing.support import check_operators, reduces_by_scatter
from graphlth.message_passing.tracking import (
    EdgeTracker,
    EdgeWeights,
    activate,
    describe_edges,
    edge_weight,
    is_edge_index,
)


class masked_edges:
    """Within it, operators of `model` multiply what an edge sends by its weight.

    An edge of weight 0 is absent: of sums, means, degrees, attention and maxima. Edges are
    followed by identity, through whatever the model does with an edge_index; loops that a layer
    adds weigh 1. An edge_index that comes by unknown ways, such as through lists, is known by its
    ends: give those of other edges along with weights of 1, if some of both have the same ends.
    Afterwards the model is as it was. Compiled models run as they were written.
    Attention that an operator returns beside its output is that before the weights.

    Args:
        model: any module; what it does with edges besides PyG's operators is masked, too.
        weights: pairs of an edge_index [2, E] that the model will be given, and the weight [E] of
            each of its columns, at least 0.
        cache: what the passes of one training share; None: nothing.

    Raises:
        ValueError: an edge_index or a weight has another shape or type; or an operator cannot be
            masked.
    """

    def __init__(
        self, model: nn.Module, weights: EdgeWeights, cache: GraphCache | None = None
    ) -> None:
        self._how = model, weights, cache
        self._stack = ExitStack()

    @torch.compiler.disable
    def __enter__(self) -> None:
        model, weights, cache = self._how
        _check(weights)
        check_operators(model)
        with self._stack as stack:
            _mask(stack, model, EdgeTracker(weights, cache))
            self._stack = stack.pop_all()

    @torch.compiler.disable
    def __exit__(self, *error: object) -> None:
        self._stack.close()


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


def _mask(stack: ExitStack, model: nn.Module, tracker: EdgeTracker) -> None:
    for module in model.modules():
        if isinstance(module, MessagePassing):
            MaskedOperator(module, tracker).enter(stack)
        elif isinstance(module, Aggregation) and not reduces_by_scatter(module):
            replace_attribute(stack, module, "forward", partial(_drop_edges, module.forward))
    replace_functions(stack, model, _MASKED)
    stack.enter_context(activate(tracker))
    stack.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code knows no masks
    stack.enter_context(_EdgeMode(tracker))


def _check(weights: EdgeWeights) -> None:
    for edge_index, weight in weights:
        if not is_edge_index(edge_index) or edge_index.dim() != 2 or edge_index.size(0) != 2:
            raise ValueError(
                "`weights` must pair a plain tensor edge_index [2, E] with the weight [E] of each "
                f"column, got {describe_edges(edge_index)}: give edge_index, not adj_t or EdgeIndex"
            )
        if weight.shape != edge_index.shape[1:] or not weight.is_floating_point():
            raise ValueError(
                f"`weights` must hold a floating-point number for each of the "
                f"{edge_index.size(1)} columns, got {list(weight.shape)} of {weight.dtype}"
            )


def _drop_edges(
    forward: Callable[..., Any], x: Tensor, index: Tensor | None = None, *args: Any, **kwargs: Any
) -> Any:
    """What an aggregation gives for m·x of the edges whose weight m is not 0."""
    m = edge_weight(index)
    if m is None or index is None:
        return forward(x, index, *args, **kwargs)
    dim = kwargs.get("dim", args[2] if len(args) > 2 else -2)
    shape = [1] * x.dim()
    shape[dim] = -1
    with torch._C.DisableTorchFunction():  # so that the index is of no masked edges
        kept = (m != 0).nonzero().view(-1)
        x = weigh(x, m.view(shape)).index_select(dim, kept)
        index = index.index_select(0, kept)
    return forward(x, index, *args, **kwargs)


_MASKED: dict[Callable[..., Any], Callable[..., Any]] = {
    softmax: masked_softmax(edge_weight),
    gcn_norm: masked_gcn_norm,
    remove_self_loops: remove_masked_loops,
    add_self_loops: add_loops_to_masked,
    **CHECKPOINTS,
}
