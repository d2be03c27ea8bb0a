"""One training loop for every algorithm: a generator that pauses after each epoch."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graphlth.cost.meters import spending
from graphlth.masks import EDGES, Masks, noisy, only
from graphlth.model import check_attached, check_cached
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.training.checks import check_edges
from graphlth.training.epoch import Epoch
from graphlth.training.evaluation import Evaluator
from graphlth.training.forward import fitted, forward_rows, played, policy_logits
from graphlth.training.masked import MaskedParameter, apply_masks, versions
from graphlth.training.optimizers import Product, make_optimizer
from graphlth.training.recipe import Recipe

PARTS = ("weights", "soft")


def train(
    model: nn.Module,
    task: Task,
    masks: Masks,
    *,
    epochs: int,
    first: int = 0,
    until: int | None = None,
    seed: int = 0,
    soft: Masks | None = None,
    through: Callable[[Masks], Masks] | None = None,
    rates: Mapping[str, float] | None = None,
    penalty: Callable[[Masks, Masks], Tensor | float] | None = None,
    learn: Collection[str] = PARTS,
    scoring: Collection[str] = ("val", "test"),
    sparing: bool = False,
    **recipe: Any,
) -> Iterator[Epoch]:
    """Train `model`, and the leaves of `soft`, in place, pausing after every epoch.

    The forward pass sees `soft ⊙ masks`. Edges that `masks` removed are taken out of the graph, and
    removed weights are not trained; soft masks are kept at or above 0. With `through` they are
    scores of either sign, and each pass sees `through(soft) ⊙ masks`; of few survivors it is given
    a vector (see `MaskedParameter`). The optimiser is fresh; `seed` drives dropout and batch order.
    What `learn` does not name, of "weights" and "soft", stays as it is, but others may change it
    between epochs: two trainings can take turns. `rates` are γ, what soft masks add to the loss for
    an entry of 1; `penalty` says what else the weights that the pass saw and the soft masks add to
    it. Accuracies of splits that `scoring` does not name are NaN; test data are looked at in the
    last epoch and in those whose validation accuracy, or loss, is the best so far. A `sparing`
    training leaves its weights in `model`, and soft masks in `soft`, after the best ones only.

    An epoch is a span of `task.evaluate_every` iterations. Of a training of `epochs`, which decide
    the schedule, those from `first` to before `until` (`epochs` where not given) are run, with the
    batches and the learning rates that they have in the whole. `recipe` are fields of `Recipe`.

    Raises:
        ValueError: the loss is no longer finite, or the model fails `check_edges`.
    """
    how, soft, rates = Recipe(**recipe), soft or {}, rates or {}
    check_cached(model, {**masks, **soft})
    if EDGES in soft:
        check_edges(model, task)
    spend = spending(model, task, masks)
    if EDGES in masks:
        task = task.without(masks[EDGES])  # a zero entry is an absent edge
        masks = only(masks, "weights")
    torch.manual_seed(stream_seed(seed, "dropout"))
    theta, m = (
        {n: MaskedParameter(t, masks.get(n), part in learn) for n, t in whole.items()}
        for part, whole in zip(PARTS, (dict(model.named_parameters()), soft), strict=True)
    )
    every = [*theta.values(), *m.values()]
    leaves = [part.leaf for part in every if part.leaf.requires_grad]
    together = through is None and {*PARTS} <= {*learn}
    products = {
        n: Product(theta[n].leaf, part.leaf, rates.get(n, 0.0))
        for n, part in m.items()
        if together and n in theta and theta[n].learn
    }
    apart = {n: part.leaf for n, part in m.items() if n not in products}
    optimizer = make_optimizer(how, leaves, [*products.values()])
    weights, edges = apply_masks(theta, m, products, through)
    stand = versions(theta, m)
    span, best, lowest = task.evaluate_every, -1.0, math.inf
    end = epochs if until is None else until
    data = played(
        task, lambda x: policy_logits(model.eval(), x, weights)
    )  # of the step that it is asked in
    for index in range(first, end):
        if stand != versions(theta, m):  # another training has had its turn
            for part in every:
                part.fetch()
            for product in products.values():
                product.multiply()
            weights, edges = apply_masks(theta, m, products, through)
        passes = 0
        for iteration, batch in enumerate(data.batches("train", seed, index), index * span):
            model.train()
            loss = fitted(forward_rows(model, batch, weights, edges), batch)
            check_attached(loss)
            optimizer.zero_grad()
            whole = loss + sum(rates[n] * leaf.sum() for n, leaf in apart.items() if n in rates)
            if penalty is not None:
                whole = whole + penalty(weights, {n: part.leaf for n, part in m.items()})
            whole.backward()
            optimizer.lr = how.rate(iteration, epochs * span)
            optimizer.step()
            with torch.no_grad():
                for leaf in apart.values() if "soft" in learn and through is None else ():
                    leaf.clamp_(min=0)
            weights, edges = apply_masks(theta, m, products, through)  # the next step's, too
            passes += 1 if batch.entries is not None else len(batch.inputs[0])
        if not math.isfinite(loss.item()):
            what = f"the loss is {loss.item()} in epoch {index}"
            raise ValueError(f"{what}: lower `lr`, got {how.lr}")
        spend(passes)
        judge, val, val_loss, test = Evaluator(model, task, weights, edges), *[math.nan] * 3
        if "val" in scoring:
            val, val_loss = judge("val")
        better = val > best or val_loss < lowest
        if "test" in scoring and (better or index == end - 1):
            test, _ = judge("test")
        best, lowest = max(best, val), min(lowest, val_loss)
        for part in every if better or not sparing else ():
            part.settle()
        stand = versions(theta, m)
        yield Epoch(index, loss.item(), val, test, val_loss)


def train_masks(
    model: nn.Module,
    task: Task,
    masks: Masks,
    *,
    epochs: int,
    l1_edges: float,
    l1_weights: float,
    lr: float,
    weight_decay: float,
    noise: float,
    seed: int,
) -> dict[str, Tensor]:
    """The soft masks at the epoch of best validation accuracy (UGS, arXiv:2102.06790, Algorithm 1).

    Trains the weights of `model` and one soft mask for each of `masks` together on
    `L + γ₁‖m_g‖₁ + γ₂‖m_θ‖₁`. Soft masks start uniformly in 1 ± `noise`, drawn from `seed`:
    an entry without a gradient of the data is ranked by its noise, not by its position.
    """
    soft = {n: m.requires_grad_() for n, m in noisy(masks, noise, seed).items()}
    rates = {n: l1_edges if n == EDGES else l1_weights for n in soft}
    best, found = -1.0, soft
    for epoch in train(
        model, task, masks, epochs=epochs, lr=lr, weight_decay=weight_decay, seed=seed,
        soft=soft, rates=rates, scoring=("val",), sparing=True,
    ):  # fmt: skip
        if epoch.val > best:
            best, found = epoch.val, {n: m.detach().clone() for n, m in soft.items()}
    return found
