"""The metric of a model on the splits of a task, and its predictions."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graphlth.edge_masks import AnyEdgeMask, edge_mask
from graphlth.masks import Masks, masked_values, only
from graphlth.model import takes, takes_graph
from graphlth.model_checks import check_arguments, check_weights
from graphlth.sparse.cache import StepCache
from graphlth.task import Batch, Task, apply_edge_masks
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_last_fit, check_ticket_fits
from graphlth.training.checks import check_contract
from graphlth.training.epoch import Fit
from graphlth.training.forward import call_model, policy_logits


def evaluate(model: nn.Module, task: Task, masks: Masks, splits: tuple[str, ...]) -> list[float]:
    """The task's metric on each of `splits`: accuracy, in [0, 1], unless it has another.

    Raises:
        ValueError: as `check_contract`; or `masks` are no mapping.
    """
    if not isinstance(masks, Mapping):
        raise ValueError("`masks` must be a mapping of names to masks, such as `ticket.masks`, got "
                         f"{type(masks).__name__}")  # fmt: skip
    check_contract(model, task, masks)
    weights = masked_values(dict(model.named_parameters()), masks)
    edges = edge_mask(masks)
    if edges is not None and not takes_graph(model):  # of any operator, removal is exact
        task, edges = task.without(edges), None
    evaluator = Evaluator(model, task, weights, edges)
    return [evaluator(split)[0] for split in splits]


class Evaluator:
    """How good `model` is with `weights`, θ ⊙ m_θ, and `edges`, m_g: on one split after another.

    A model that takes `rows` computes no others; of another, splits of one graph share its output.
    """

    def __init__(
        self, model: nn.Module, task: Task, weights: Masks, edges: AnyEdgeMask | None,
        cache: StepCache | None = None,
    ):  # fmt: skip
        self.model, self.weights, self.edges, self.cache = model, weights, edges, cache
        self.task = task.with_policy(lambda x: policy_logits(model, x, weights))
        self.inputs: tuple[Any, ...] | None = None

    @torch.no_grad()
    def __call__(self, split: str) -> tuple[float, float]:
        """The task's metric on `split` and the mean loss, NaN where `Task.score` computes none."""
        self.model.eval()
        return self.task.evaluate(split, self.output)

    def output(self, batch: Batch) -> Tensor:
        """The output for the rows that the batch scores."""
        if batch.among is not None and takes(self.model, "rows"):
            nodes, places = batch.among
            output = call_model(self.model, batch, self.weights, self.edges, self.cache, rows=nodes)
            return output.index_select(0, places)
        if batch.inputs is not self.inputs:
            self.inputs = batch.inputs
            self.whole = call_model(self.model, batch, self.weights, self.edges, self.cache)
        return batch.select(self.whole)


@torch.no_grad()
def predict(model: nn.Module, task: Task, ticket: Fit | Ticket, split: str = "test") -> Tensor:
    """The logits of the rows of `split` [rows, C] under the masks of `ticket`.

    Args:
        model: the network; its weights do not change.
        task: the data.
        ticket: a `Fit`, whose weights are used, or a ticket: the weights are those that `model`
            has now.
        split: "train", "val" or "test".

    Raises:
        ValueError: as `check_contract`; `ticket` is none of this model and graph, or it is a ticket
            alone and `model` has the weights that a fit of another one left.
    """
    check_arguments(model, task)
    check_weights(model)
    weights: dict[str, Tensor] = dict(model.named_parameters())
    if isinstance(ticket, Fit):
        check_ticket_fits(ticket.ticket, model, task.num_edges, task.fingerprint())
        names = [*weights, *(n for n, _ in model.named_buffers())]
        weights = {n: ticket.state[n] for n in names if n in ticket.state}
        ticket = ticket.ticket
    else:
        check_last_fit(model, ticket, "predict(model, task, fit)")
    check_contract(model, task, ticket.masks)
    model.eval()
    task = apply_edge_masks(task, ticket.masks)
    weights = masked_values(weights, only(ticket.masks, "weights"))
    task = task.with_policy(lambda x: policy_logits(model, x, weights))
    return torch.cat([b.select(call_model(model, b, weights, None)) for b in task.batches(split)])
