"""The forward pass of a model on a batch, under masks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from graphlth.arguments import reads_data
from graphlth.edge_masks import AnyEdgeMask, edge_mask, map_edges, multiply_edges
from graphlth.masks import Masks, masked_values
from graphlth.model import takes, takes_graph
from graphlth.sparse.cache import StepCache
from graphlth.sparse.composition import gather
from graphlth.task import Batch
from graphlth.training.own_models import call_own_model


def forward(model: nn.Module, batch: Batch, masks: Masks, cache: StepCache | None = None) -> Any:
    """The output for every row under `masks`; neither the model nor its weights change.

    A model whose `forward` names a parameter `graph` is given the `Graph`; any other is given
    what PyG's models take: dense `x`, `edge_index`, and `edge_weight` where edges are masked or
    the data have weights; or, if it takes no weights, what it names of `batch.data`.
    """
    weights = masked_values(dict(model.named_parameters()), masks)
    return call_model(model, batch, weights, edge_mask(masks), cache)


def call_model(
    model: nn.Module, batch: Batch, weights: Masks, edges: AnyEdgeMask | None,
    cache: StepCache | None = None, **how: Any,
) -> Any:  # fmt: skip
    """`forward` with θ ⊙ m_θ and the edge mask m_g, if there is one, made beforehand.

    A model that takes a `cache` is given that of its training.
    """
    if reads_data(model, batch, cache is not None and cache.masked_inside):
        return call_own_model(model, batch, weights, edges, cache)
    if cache is not None and takes(model, "cache"):
        how["cache"] = cache
    return functional_call(model, dict(weights), model_arguments(model, batch, edges), how)


def forward_rows(
    model: nn.Module, batch: Batch, weights: Masks, edges: AnyEdgeMask | None,
    cache: StepCache | None = None,
) -> Tensor:  # fmt: skip
    """The output for the rows that are scored; a model that takes `rows` computes no others."""
    if takes(model, "rows") and isinstance(batch.rows, Tensor):
        output: Tensor = call_model(model, batch, weights, edges, cache, rows=batch.rows)
        return output
    return batch.select(call_model(model, batch, weights, edges, cache))


def model_arguments(model: nn.Module, batch: Batch, edges: AnyEdgeMask | None) -> tuple[Any, ...]:
    """What `model.forward` is given: the inputs and, unless all are 1, the weights A ⊙ m_g.

    They are a tensor [E] for all layers, or a tuple of one for each.
    """
    inputs = model_inputs(model, batch)
    if batch.entries is None or (edges is None and batch.edge_weight is None):
        return inputs
    entries = batch.entries
    assert not isinstance(edges, Mapping)
    m = map_edges(lambda mask: gather(mask, entries), edges)
    return (*inputs, multiply_edges(batch.edge_weight, m))


def model_inputs(model: nn.Module, batch: Batch) -> tuple[Any, ...]:
    """What `model.forward` is given of `batch`, but for the weights of edges."""
    if batch.entries is None or takes_graph(model):
        return batch.inputs
    x, graph = batch.inputs
    return x if isinstance(x, Tensor) else x.dense, graph.edge_index


@torch.no_grad()
def policy_logits(model: nn.Module, x: Tensor, weights: Masks) -> Tensor:
    """The logits of observations `x`: the policy that `model` is with `weights`, θ ⊙ m_θ."""
    logits: Tensor = functional_call(model, dict(weights), (x,))
    return logits
