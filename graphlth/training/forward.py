"""The forward pass of a model on a batch, under masks."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from graphlth.masks import EDGES, Masks, masked
from graphlth.sparse.message import at
from graphlth.task import Batch


def forward(model: nn.Module, batch: Batch, masks: Masks) -> Tensor:
    """The output for every row under `masks`; neither the model nor its weights change.

    A model whose `forward` names a parameter `graph` is given the `Graph`; any other is given
    what PyG's models take: dense `x`, `edge_index`, and `edge_weight` where edges are masked or
    the data have weights.
    """
    return call_model(model, batch, masked(dict(model.named_parameters()), masks), masks.get(EDGES))


def call_model(
    model: nn.Module, batch: Batch, weights: Masks, edges: Tensor | None, **how: Any
) -> Tensor:
    """`forward` with θ ⊙ m_θ and the edge mask m_g, if there is one, made beforehand."""
    output: Tensor = functional_call(
        model, dict(weights), model_arguments(model, batch, edges), how
    )
    return output


def forward_rows(model: nn.Module, batch: Batch, weights: Masks, edges: Tensor | None) -> Tensor:
    """The output for the rows that are scored; a model that takes `rows` computes no others."""
    if "rows" in forward_parameters(model):
        return call_model(model, batch, weights, edges, rows=batch.rows)
    return call_model(model, batch, weights, edges)[batch.rows]


def model_arguments(model: nn.Module, batch: Batch, edges: Tensor | None) -> tuple[Any, ...]:
    """What `model.forward` is given: the inputs and, unless all are 1, the weights A ⊙ m_g [E]."""
    inputs = model_inputs(model, batch)
    if batch.entries is None or (edges is None and batch.edge_weight is None):
        return inputs
    if edges is None:
        return (*inputs, batch.edge_weight)
    m = at(edges, batch.entries)
    return (*inputs, m if batch.edge_weight is None else batch.edge_weight * m)


def model_inputs(model: nn.Module, batch: Batch) -> tuple[Any, ...]:
    """What `model.forward` is given of `batch`, but for the weights of edges."""
    if batch.entries is None or takes_graph(model):
        return batch.inputs
    x, graph = batch.inputs
    return x if isinstance(x, Tensor) else x.dense, graph.edge_index


def takes_graph(model: nn.Module) -> bool:
    """Whether `model.forward` names a parameter `graph`, as graphlth's own models do."""
    return "graph" in forward_parameters(model)


@torch.no_grad()
def policy_logits(model: nn.Module, x: Tensor, weights: Masks) -> Tensor:
    """The logits of observations `x`: the policy that `model` is with `weights`, θ ⊙ m_θ."""
    logits: Tensor = functional_call(model, dict(weights), (x,))
    return logits


def forward_parameters(model: nn.Module) -> frozenset[str]:
    """What `model.forward` takes; read once for all models of a class, not in every step."""
    return _signature(getattr(model.forward, "__func__", model.forward))


@lru_cache(maxsize=64)
def _signature(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)
