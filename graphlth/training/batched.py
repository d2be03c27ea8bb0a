"""Many seeds at once: S copies of a model over one graph, trained as one.

What differs from seed to seed is stacked, [S, ...]: weights, masks, Adam's moments and the keys of
dropout. The losses are added up, so that no gradient crosses from one seed to another. An epoch
never waits for its device and leaves all that it changes in place: it can be a CUDA graph.

The graph is common, so a removed edge stays in it with weight 0; in `training.loop` it is gone.
Sums go in another order, and once edges are removed dropout counts its places differently.

Why this is an engine beside `training.loop`: that one reads its loss and metric on the host after
every epoch, stores only what masks keep, and runs any task, optimiser and schedule; one epoch that
is the same for S seeds, of one batch and without a word to the host, is what a CUDA graph needs.
Recipe, loss, metric and optimiser are those of the loop.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Unpack

import torch
from torch import Tensor, nn

from graphlth.cost.meters import epoch_counter
from graphlth.edge_masks import edge_mask, is_edge_key
from graphlth.masks import Masks, add_noise, only
from graphlth.metrics import Metric
from graphlth.model import takes_graph
from graphlth.sparse.dropout import draw_keys, dropout_keys
from graphlth.streams import stream_seed
from graphlth.task import Batch, Task, compute_loss
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training.epoch import Epoch, best_epoch
from graphlth.training.forward import call_model, forward_rows
from graphlth.training.optimizers import make_optimizer
from graphlth.training.recipe import ADAM, AdamFields, Recipe

SPLITS = ("val", "test")
WARM = 3  # epochs before the capture, in which kernels are compiled and structures are built


@dataclass(frozen=True)
class Trained:
    """What training made of one seed."""

    epochs: list[Epoch]
    best: Epoch  # the first of the best validation metric
    state: dict[str, Tensor]  # the soft masks, else the weights, after that epoch


def train(
    model: nn.Module,
    task: Task,
    theta: Sequence[Masks],
    masks: Sequence[Masks],
    *,
    seeds: Sequence[int],
    soft: Sequence[Masks] | None = None,
    rates: Mapping[str, float] | None = None,
    graphs: bool = False,
    **recipe: Unpack[AdamFields],
) -> list[Trained]:
    """Train S copies of `model` at once; every argument is left as it is.

    Args:
        model: the network that all seeds share; its own weights are not read.
        task: data whose training split is one batch.
        theta: for each seed, the weights to start from.
        masks: for each seed, what is left.
        seeds: for each seed, what drives its dropout.
        soft: for each seed, soft masks to be trained too; they are kept at or above 0.
        rates: γ, what each soft mask adds to the loss for an entry of 1.
        graphs: capture an epoch as a CUDA graph and replay it.
        recipe: `recipe`, or its fields as keywords.

    Raises:
        ValueError: the model or task cannot be batched, the seeds do not fit together, there is
            nothing to capture on this device, or a loss is no longer finite.
    """
    check(model, task, graphs)
    how = Recipe.of(recipe, ADAM)
    _fit(seeds, theta=theta, masks=masks)
    device = next(model.parameters()).device
    hard, m = stack(masks), {n: t.requires_grad_() for n, t in stack(soft or []).items()}
    learnt = {n: p.requires_grad for n, p in model.named_parameters()}  # a tied one by one name
    weights = {n: t.requires_grad_(learnt[n]) for n, t in stack(theta).items() if n in learnt}
    leaves, rates = [t for t in (*weights.values(), *m.values()) if t.requires_grad], rates or {}
    optimizer = make_optimizer(how, leaves)
    [batch] = task.batches("train")
    scoring = {split: list(task.batches(split)) for split in SPLITS}
    keys = _keys(model, batch, theta[0], seeds, how.epochs).to(device)  # [epochs, calls, S]
    kept = {n: t.detach().clone() for n, t in (m or weights).items()}
    best = torch.full((len(seeds),), task.metric.worst, device=device)
    curves = torch.zeros(how.epochs, 3, len(seeds), device=device)  # loss, val, test
    now = torch.zeros(1, dtype=torch.int64, device=device)  # which epoch it is

    def apply_masks() -> dict[str, Tensor]:  # θ ⊙ m_θ, and m_g
        edges = {n: torch.ones_like(t) for n, t in only(hard, "edges").items()}
        whole = {n: t * m[n] if n in m else t for n, t in (weights | edges).items()}
        return {n: t * hard[n] if n in hard else t for n, t in whole.items()}

    def epoch() -> None:
        model.train()
        optimizer.zero_grad()
        drawn = keys.index_select(0, now)[0]
        output = each(forward_rows, model, batch, apply_masks(), drawn)  # [S, rows, C]
        loss = torch.vmap(lambda out: compute_loss(task.loss, out, batch))(output)  # [S]
        (loss.sum() + sum(rates[n] * t.sum() for n, t in m.items())).backward()
        optimizer.step()
        with torch.no_grad():
            for t in m.values():
                t.clamp_(min=0)
            model.eval()
            reached = score(model, task.metric, scoring, apply_masks())  # [2, S]
            better = reached[0] > best if task.metric.direction == "max" else reached[0] < best
            best.copy_(torch.where(better, reached[0], best))
            for n, t in (m or weights).items():
                kept[n].copy_(torch.where(better.view(-1, *[1] * (t.dim() - 1)), t, kept[n]))
            curves.index_copy_(0, now, torch.cat([loss[None], reached])[None])
            now.add_(1)

    _repeat(epoch, how.epochs, graphs)
    for each_masks in masks:
        count_epoch = epoch_counter(model, task, each_masks)
        for _ in range(how.epochs):
            count_epoch(1)
    return _read(curves, kept, seeds, how.lr, task.metric)


def each(
    function: Callable[..., Tensor], model: nn.Module, batch: Batch, values: Masks, keys: Tensor
) -> Tensor:
    """What `function` returns [S, ...] for the masked `values` [S, ...] of every seed.

    It is `call_model` or `forward_rows`; `keys` [calls, S] are those of dropout.
    """

    def one(values: dict[str, Tensor], keys: Tensor) -> Tensor:
        with dropout_keys(keys.unbind()):
            return function(model, batch, only(values, "weights"), edge_mask(values))

    return torch.vmap(one, in_dims=(0, 1))(dict(values), keys)


def score(
    model: nn.Module, metric: Metric, batches: Mapping[str, list[Batch]], values: Masks
) -> Tensor:
    """The metric [splits, S], of a function per row; splits of one graph share a forward pass."""
    assert metric.function is not None  # `check` refuses others
    inputs, output, reached = None, torch.empty(0), []
    size = len(next(iter(values.values())))
    for split in batches.values():
        rows = []
        for batch in split:
            if batch.inputs is not inputs:
                none = batch.target.new_empty(0, size)
                inputs, output = batch.inputs, each(call_model, model, batch, values, none)
            rows.append(metric.function(torch.vmap(batch.select)(output), batch.target))
        reached.append(torch.cat(rows, 1).float().mean(1))
    return torch.stack(reached)


def train_masks(
    model: nn.Module,
    task: Task,
    theta: Sequence[Masks],
    masks: Sequence[Masks],
    *,
    seeds: Sequence[int],
    l1_edges: float,
    l1_weights: float,
    noise: float,
    graphs: bool = False,
    **recipe: Unpack[AdamFields],
) -> list[tuple[dict[str, Tensor], int]]:
    """For each seed, the soft masks at its epoch of the best validation metric, and that epoch.

    As `graphlth.training.loop.train_masks`, of UGS (arXiv:2102.06790, Algorithm 1).
    """
    trained = train(
        model, task, theta, masks, seeds=seeds, graphs=graphs, **recipe,
        soft=[add_noise(whole, noise, seed) for whole, seed in zip(masks, seeds, strict=False)],
        rates={n: l1_edges if is_edge_key(n) else l1_weights for whole in masks for n in whole},
    )  # fmt: skip
    return [(seed.state, seed.best.index) for seed in trained]


def retrain(
    model: nn.Module,
    task: Task,
    tickets: Sequence[Ticket],
    *,
    seeds: Sequence[int],
    graphs: bool = False,
    **recipe: Unpack[AdamFields],
) -> list[Trained]:
    """Train `model` from each ticket's weights under its masks; each result has its best weights.

    Raises:
        ValueError: a ticket is not one of this model and graph; else as `train`.
    """
    for ticket in tickets:
        check_ticket_fits(ticket, model, task.num_edges, task.fingerprint())
    return train(
        model, task, [t.init for t in tickets], [t.masks for t in tickets],
        seeds=seeds, graphs=graphs, **recipe,
    )  # fmt: skip


def stack(states: Sequence[Masks]) -> dict[str, Tensor]:
    """One tensor [S, ...] for every name, a copy."""
    return {n: torch.stack([s[n].detach() for s in states]) for n in (states[0] if states else ())}


def _keys(
    model: nn.Module, batch: Batch, theta: Masks, seeds: Sequence[int], epochs: int
) -> Tensor:
    """The keys [epochs, calls, S] of every dropout, as each seed would draw them on its own."""
    counter = count()
    model.train()
    with torch.no_grad(), dropout_keys(counter):
        forward_rows(model, batch, theta, None)
    calls = next(counter)
    drawn = [
        draw_keys(epochs * calls, stream_seed(seed, "dropout")).view(epochs, calls)
        for seed in seeds
    ]
    return torch.stack(drawn, 2)


def _repeat(epoch: Callable[[], None], times: int, graphs: bool) -> None:
    """Do `epoch` `times` times; with `graphs`, all but the first few as one CUDA graph."""
    if not graphs:
        for _ in range(times):
            epoch()
        return
    warm, stream = min(WARM, times), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm):
            epoch()
    torch.cuda.current_stream().wait_stream(stream)
    if warm < times:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):  # records an epoch and does none
            epoch()
        for _ in range(times - warm):
            graph.replay()


def _read(
    curves: Tensor, kept: Masks, seeds: Sequence[int], lr: float, metric: Metric
) -> list[Trained]:
    """What lies on the device at the end, seed by seed."""
    trained = []
    for s, (seed, curve) in enumerate(zip(seeds, curves.cpu().unbind(2), strict=True)):
        wrong = (~curve[:, 0].isfinite()).nonzero()
        if len(wrong):
            at = int(wrong[0])
            raise ValueError(f"the loss of seed {seed} is {float(curve[at, 0])} in epoch {at}: "
                             f"lower `lr`, got {lr}")  # fmt: skip
        best, last = metric.worst, len(curve) - 1
        epochs: list[Epoch] = []
        for index, (loss, val, test) in enumerate(curve.tolist()):
            better = metric.better(val, best)
            best = val if better else best
            epochs.append(Epoch(index, loss, val, test if better or index == last else math.nan))
        state = {n: t[s].clone() for n, t in kept.items()}
        trained.append(Trained(epochs, best_epoch(epochs, metric), state))
    return trained


def check(model: nn.Module, task: Task, graphs: bool) -> None:
    """Refuse what cannot be trained many seeds at once, or not as a CUDA graph.

    Raises:
        ValueError: the model takes no graph or has buffers, the task has more than one training
            batch or a metric that is no mean over rows, or `graphs` is asked for off a CUDA device.
    """
    if not takes_graph(model) or next(model.buffers(), None) is not None:
        raise ValueError(f"`model` must take a `graph` and have no buffers to train many seeds "
                         f"at once, got {type(model).__name__}")  # fmt: skip
    if (batches := sum(1 for _ in task.batches("train"))) != 1:
        raise ValueError(f"`task` must have one training batch to train many seeds at once, "
                         f"got {batches}")  # fmt: skip
    if not task.metric.per_row:
        raise ValueError("`task` must have a metric that is a mean over rows to train many seeds "
                         f"at once, such as accuracy, got {task.metric.name}")  # fmt: skip
    device = next(model.parameters()).device
    if graphs and device.type != "cuda":
        raise ValueError(f"`graphs` must go with a CUDA device, got {str(device)!r}")


def _fit(seeds: Sequence[int], **states: Sequence[Masks]) -> None:
    if not seeds:
        raise ValueError("`seeds` must hold at least 1, got none")
    for name, given in states.items():
        if len(given) != len(seeds):
            raise ValueError(f"`{name}` must be one for each of {len(seeds)} seeds, "
                             f"got {len(given)}")  # fmt: skip
        if any(each.keys() != given[0].keys() for each in given):
            raise ValueError(f"`{name}` must hold the same names for every seed")
