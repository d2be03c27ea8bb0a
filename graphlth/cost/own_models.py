"""Multiply–accumulates of a model of a user's own on a graph, operator by operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from graphlth.arguments import reads_data
from graphlth.compaction.own_models import call_on_data, call_on_graph
from graphlth.cost.products import ProductCounter, without_fused_attention
from graphlth.edge_masks import edge_mask
from graphlth.masks import Masks, matrices
from graphlth.model_checks import undisturbed
from graphlth.task import Task

KNOWN = ("GCNConv", "GINConv", "GraphConv", "SAGEConv")  # whose messages are sums of rows
MESSAGES = "messages"  # the name under which what edges send is counted


class _MessageCounter(TorchDispatchMode):
    """Counts the numbers that are added up over edges."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not, as by default: torch would load its compiler (4 s)."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """The result of `func`."""
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        if name in ("scatter_add", "scatter_reduce", "index_add") and args[3].dim() > 1:
            self.count += args[3].numel()
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def own_macs(model: nn.Module, task: Task, masks: Masks) -> dict[str, int] | str:
    """Multiply–accumulates by weight, and those of all messages; or why they cannot be told.

    Of a weight [out, in] `N · nnz(W)`, of an operator that sums `E · d`, with the edges that are
    kept and the loops that it adds. Only where all operators are known (`KNOWN`).
    """
    from torch_geometric.nn import MessagePassing  # loads slowly

    operators = [m for m in model.modules() if isinstance(m, MessagePassing)]
    kind = type(model).__name__
    if not operators:
        return (f"{kind} has no method macs(num_nodes, num_edges, nnz) that tells what it computes "
                "on a graph")  # fmt: skip
    if unknown := [type(m).__name__ for m in operators if type(m).__name__ not in KNOWN]:
        return f"{kind} has a {unknown[0]}; operations of {', '.join(KNOWN)} alone are counted"
    mask = edge_mask(masks)
    batch = next(iter((task if mask is None else task.without(mask)).batches("test")))
    if reads_data(model, batch):
        call, inputs = call_on_data(batch)
    else:
        x, graph = batch.inputs
        call, inputs = call_on_graph(x, graph, batch.edge_weight)
    if list(inputs) != [""]:
        return f"{kind} reads features of several types, which are not counted"
    products, messages = ProductCounter(matrices(model), masks, inputs[""]), _MessageCounter()
    with undisturbed(model), without_fused_attention(), messages, products:
        call(model, inputs)
    if products.reason or (unseen := matrices(model).keys() - products.seen):
        return products.reason or f"{min(unseen)!r} is used by something else than torch's products"
    return products.counted | {MESSAGES: messages.count}
