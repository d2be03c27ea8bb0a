"""One training loop for every algorithm: a generator that pauses after each epoch."""

import math
from collections.abc import Callable, Collection, Iterator
from typing import Unpack

import torch
from torch import Tensor, nn

from graphlth.cost.meters import epoch_counter
from graphlth.edge_masks import is_edge_key
from graphlth.masks import Masks, add_noise, only
from graphlth.model_checks import check_attached, check_cached
from graphlth.streams import stream_seed
from graphlth.task import Task, apply_edge_masks, compute_loss
from graphlth.training.checks import check_edges
from graphlth.training.epoch import Epoch, epochs_of
from graphlth.training.evaluation import Evaluator
from graphlth.training.forward import forward_rows, policy_logits
from graphlth.training.masked import MaskedParameters, SoftMasks
from graphlth.training.optimizers import make_optimizer
from graphlth.training.recipe import Recipe, RecipeFields
from graphlth.training.threads import one_thread

Penalty = Callable[[Masks, Masks], Tensor | float]  # of the weights of a pass and the soft masks


def train(
    model: nn.Module,
    task: Task,
    masks: Masks,
    *,
    first: int = 0,
    until: int | None = None,
    seed: int = 0,
    soft: SoftMasks | None = None,
    penalty: Penalty | None = None,
    scoring: Collection[str] = ("val", "test"),
    best_only: bool = False,
    **recipe: Unpack[RecipeFields],
) -> Iterator[Epoch]:
    """Train `model`, and the soft masks, in place, pausing after every epoch.

    The forward pass sees `soft ⊙ masks`. Edges that `masks` removed are taken out of the graph, and
    removed weights are not trained. The loss is the task's. The optimiser is fresh.

    An epoch is a span of `task.evaluate_every` iterations.

    Args:
        model: the network.
        task: the data, with their loss and metric.
        masks: {0, 1}, of weights by their names and of `EDGES`; what has none is whole.
        first: the first epoch that is run, with the batches and the learning rate that it has in
            the training of all epochs of the recipe.
        until: the epoch before which training ends; that of the recipe where not given.
        seed: drives dropout and batch order.
        soft: soft masks that the passes see; by default they are trained, too.
        penalty: what else the weights of a pass and the soft masks add to the loss.
        scoring: the splits that are evaluated; the metric of another is NaN. Test data are looked
            at in the last epoch and in those whose validation metric, or loss, is the best so far.
        best_only: whether `model` and the soft masks get what was trained only after such epochs.
        recipe: `recipe`, or its fields as keywords.

    Raises:
        ValueError: the loss is no longer finite, the model fails `check_edges`, or another thread
            trains it.
    """
    how, soft = Recipe.of(recipe), soft or SoftMasks()
    check_cached(model, {**masks, **soft.values})
    with one_thread(model):
        edges = only(soft.values, "edges")
        inside = bool(edges) and check_edges(model, task, edges, soft=True)
        count_epoch = epoch_counter(model, task, masks)
        task = apply_edge_masks(task, masks)  # zero is an absent edge
        masks = only(masks, "weights")
        torch.manual_seed(stream_seed(seed, "dropout"))
        masked = MaskedParameters(model, masks, soft, inside)
        optimizer = make_optimizer(how, masked.leaves, [*masked.products.values()])
        span, epochs = task.evaluate_every, epochs_of(how, task)
        best, lowest = task.metric.worst, math.inf
        end = epochs if until is None else until
        # A game is played with the weights of the step that asks for its batch.
        data = task.with_policy(lambda x: policy_logits(model.eval(), x, masked.weights))
        for index in range(first, end):
            masked.resume()
            passes = 0
            for iteration, batch in enumerate(data.batches("train", seed, index), index * span):
                model.train()
                output = forward_rows(model, batch, masked.weights, masked.edges, masked.cache)
                loss = compute_loss(task.loss, output, batch)
                check_attached(loss)
                optimizer.zero_grad()
                whole = loss + masked.penalty()
                if penalty is not None:
                    whole = whole + penalty(masked.weights, masked.soft)
                whole.backward()
                optimizer.lr = how.rate(iteration, epochs * span)
                masked.step(optimizer)
                if batch.entries is not None and not batch.of_graphs:
                    passes += batch.copies
                else:
                    passes += len(batch.target if batch.of_graphs else batch.inputs[0])
            if not math.isfinite(loss.item()):
                untrained = index == first and iteration == index * span  # its first step
                raise _loss_error(loss.item(), index, how.lr, untrained)
            count_epoch(passes)
            evaluate = Evaluator(model, task, masked.weights, masked.edges, masked.cache)
            val, val_loss = evaluate("val") if "val" in scoring else (math.nan, math.nan)
            better = task.metric.better(val, best)
            best, improved = val if better else best, better or val_loss < lowest
            lowest = min(lowest, val_loss)
            test = math.nan
            if "test" in scoring and (improved or index == end - 1):
                test, _ = evaluate("test")
            masked.pause(write=improved or not best_only)
            yield Epoch(index, loss.item(), val, test, val_loss)


def _loss_error(value: float, epoch: int, lr: float, untrained: bool) -> ValueError:
    if untrained:
        return ValueError(f"`loss` must be finite, got {value} before any step of training: mend "
                          "it, or what the model returns")  # fmt: skip
    return ValueError(f"the loss is {value} in epoch {epoch}: lower `lr`, got {lr}")


def train_masks(
    model: nn.Module,
    task: Task,
    masks: Masks,
    *,
    l1_edges: float,
    l1_weights: float,
    noise: float,
    seed: int,
    **recipe: Unpack[RecipeFields],
) -> tuple[dict[str, Tensor], int]:
    """The soft masks at the epoch of the best validation metric, and that epoch, from 0.

    Trains the weights of `model` and one soft mask for each of `masks` together on
    `L + γ₁‖m_g‖₁ + γ₂‖m_θ‖₁`. Soft masks start uniformly in 1 ± `noise`, drawn from `seed`:
    an entry without a gradient of the data is ranked by its noise, not by its position (UGS,
    arXiv:2102.06790, Algorithm 1).
    """
    soft = {n: m.requires_grad_() for n, m in add_noise(masks, noise, seed).items()}
    rates = {n: l1_edges if is_edge_key(n) else l1_weights for n in soft}
    best, found, when = task.metric.worst, soft, 0
    for epoch in train(
        model, task, masks, seed=seed, soft=SoftMasks(soft, rates), scoring=("val",),
        best_only=True, **recipe,
    ):  # fmt: skip
        if task.metric.better(epoch.val, best):
            best, when = epoch.val, epoch.index
            found = {n: m.detach().clone() for n, m in soft.items()}
    return found, when
