"""One training loop for every algorithm: a generator that pauses after each epoch."""

import copy
import inspect
import math
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from graphlth.compaction.network import Bound, Compact
from graphlth.cost.meters import spending
from graphlth.masks import EDGES, Masks, masked, noisy, only
from graphlth.model import (
    check_arguments,
    check_attached,
    check_cached,
    check_inputs,
    check_model,
    check_output,
    check_trainable,
    check_weights,
    example,
    passing,
    undisturbed,
)
from graphlth.settings.checks import check_number
from graphlth.sparse.graph import Features, Places
from graphlth.sparse.message import at, blank, put, spread
from graphlth.streams import stream_seed
from graphlth.task import Batch, Policy, Task
from graphlth.ticket import (
    BEHIND,
    Ticket,
    fit_together,
    refuse_another,
    remember,
    rewind,
    snapshot,
)
from graphlth.training.optimizers import Product, Recipe

PARTS = ("weights", "soft")


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training reached."""

    index: int
    loss: float
    val: float  # accuracy, in [0, 1]
    test: float  # accuracy, in [0, 1]; NaN but in the last epoch and the best so far
    val_loss: float = math.nan  # not on a graph: of GCN-16 on Cora it is 3 % of an epoch


@dataclass(frozen=True, kw_only=True)
class Fit(Epoch):
    """What a training reached in its best epoch, and the weights that it had then."""

    last: Epoch = field(repr=False)  # of the training
    ticket: Ticket = field(repr=False, compare=False)  # what was trained
    state: dict[str, Tensor] = field(repr=False, compare=False)  # parameters and buffers

    def compact(
        self, model: nn.Module, graph: Any, *, x: Tensor | Features | None = None,
        layout: str = "auto",
    ) -> Compact | Bound | nn.Module:  # fmt: skip
        """`Ticket.compact` with these weights, whatever `model` itself holds; it stays so."""
        check_model(model, graph, "graph")
        fit_together(self.ticket, model, len(self.ticket.masks.get(EDGES, ())))
        trained = rewind(copy.deepcopy(model), self.state)
        return self.ticket.compact(trained, graph, x=x, layout=layout)


def forward(model: nn.Module, batch: Batch, masks: Masks) -> Tensor:
    """The output for every row under `masks`; neither the model nor its weights change.

    A model whose `forward` names a parameter `graph` is given the `Graph`; any other is given
    what PyG's models take: dense `x`, `edge_index`, and `edge_weight` where edges are masked or
    the data have weights.
    """
    return call(model, batch, masked(dict(model.named_parameters()), masks), masks.get(EDGES))


def call(
    model: nn.Module, batch: Batch, weights: Masks, edges: Tensor | None, **how: Any
) -> Tensor:
    """`forward` with θ ⊙ m_θ and the edge mask m_g, if there is one, made beforehand."""
    output: Tensor = functional_call(model, dict(weights), arguments(model, batch, edges), how)
    return output


def arguments(model: nn.Module, batch: Batch, edges: Tensor | None) -> tuple[Any, ...]:
    """What `model.forward` is given: the inputs and, unless all are 1, the weights A ⊙ m_g [E]."""
    inputs = inputs_of(model, batch)
    if batch.entries is None or (edges is None and batch.edge_weight is None):
        return inputs
    if edges is None:
        return (*inputs, batch.edge_weight)
    m = at(edges, batch.entries)
    return (*inputs, m if batch.edge_weight is None else batch.edge_weight * m)


def inputs_of(model: nn.Module, batch: Batch) -> tuple[Any, ...]:
    """What `model.forward` is given of `batch`, but for the weights of edges."""
    if batch.entries is None or takes_graph(model):
        return batch.inputs
    x, graph = batch.inputs
    return x if isinstance(x, Tensor) else x.dense, graph.edge_index


def played(task: Task, policy: Policy) -> Task:
    """`task`, played by `policy` if it is a `Game`."""
    game: Callable[[Policy], Task] | None = getattr(task, "played_by", None)
    return task if game is None else game(policy)


@torch.no_grad()
def act(model: nn.Module, x: Tensor, weights: Masks) -> Tensor:
    """The logits of observations `x`: the policy that `model` is with `weights`, θ ⊙ m_θ."""
    logits: Tensor = functional_call(model, dict(weights), (x,))
    return logits


def fitted(output: Tensor, batch: Batch) -> Tensor:
    """The loss: the mean cross-entropy of the rows, or Σ weight × cross-entropy if they have any.

    With advantages for weights that is REINFORCE (Williams, Machine Learning 1992).
    """
    if batch.weights is None:
        return F.cross_entropy(output, batch.target)
    return batch.weights @ F.cross_entropy(output, batch.target, reduction="none")


def scored(model: nn.Module, batch: Batch, weights: Masks, edges: Tensor | None) -> Tensor:
    """`call`, of the rows that the batch scores; a model that takes `rows` computes no others."""
    if "rows" in _parameters(model):
        return call(model, batch, weights, edges, rows=batch.rows)
    return call(model, batch, weights, edges)[batch.rows]


def check_contract(model: nn.Module, task: Task, masks: Masks = MappingProxyType({})) -> None:
    """Refuse a model or a task that cannot be what the other needs, under `masks`.

    The model is given what it will be given, once; neither it nor any random state changes.

    Raises:
        ValueError: one of them is something else, or the model fails on the task's inputs, or its
            output is not one number for each class in every row.
    """
    check_arguments(model, task)
    check_weights(model)
    check_cached(model, masks)
    for module in model.modules():  # what a layer has cached may be of another graph
        if getattr(module, "cached", False):
            vars(module).update({n: None for n in vars(module) if n.startswith("_cached_")})
    with undisturbed(model):
        batch = example(task)
        check_inputs(model, batch.inputs)
        # Of copies: a task remembers what it has made of the weights that are trained.
        copies = {n: p.detach().clone() for n, p in model.named_parameters()}
        weights = masked(copies, only(masks, "weights"))
        with passing(model, arguments(model, batch, None), getattr(task, "num_features", None)):
            output = call(model, batch, weights, None)
        check_output(output, batch, getattr(task, "num_classes", None))
        if batch.edge_weight is not None and batch.edge_weight.numel() and not takes_graph(model):
            check_reads_weights(call(model, _other_weights(batch), weights, None), output)


def check_reads_weights(other: Tensor, output: Tensor) -> None:
    """Refuse a model of your own whose output is the same with `other` edge weights of the data.

    Raises:
        ValueError: it is.
    """
    if torch.equal(other, output):
        raise ValueError(
            "`model` must read the edge weights that the data have, but its output is the same "
            "with others: use layers that take `edge_weight`, as PyG's GraphConv, or give data "
            "without them, `del data.edge_weight`"
        )


def _other_weights(batch: Batch) -> Batch:
    """`batch` with every other edge of twice its weight, and the rest of none."""
    assert batch.edge_weight is not None
    some = torch.arange(batch.edge_weight.numel(), device=batch.edge_weight.device) % 2
    return replace(batch, edge_weight=2 * some * batch.edge_weight)


def check_start(model: nn.Module, task: Task, last: Ticket | None = None) -> None:
    """Refuse, before an algorithm begins or goes on after `last`, what it cannot train.

    Raises:
        ValueError: as `check_contract`; or nothing of the model is to be trained; or `last` is not
            a ticket of this model, or has a mask on a weight that is frozen now.
    """
    check_arguments(model, task)
    check_weights(model)
    if last is not None:
        fit_together(last, model, task.num_edges)
    check_contract(model, task, {} if last is None else last.masks)
    check_trainable(model)
    values = dict(model.named_parameters())
    for n in only(last.masks, "weights") if last is not None else ():
        if not values[n].requires_grad:
            raise ValueError(f"`last` must have masks on weights that are trained, got one on "
                             f"{n!r}, whose requires_grad is False now: set it to True, or start "
                             "without `last`")  # fmt: skip


@torch.no_grad()
def check_edges(model: nn.Module, task: Task) -> None:
    """Refuse a model of your own whose output would not follow the edge masks.

    One half of the edge weights and then the other are set to 0, and the output must be that on the
    graph without those edges.

    Raises:
        ValueError: the model takes no edge weights, or fails that comparison.
    """
    if takes_graph(model):
        return
    half = (torch.arange(task.num_edges) % 2).float().to(next(model.parameters()).device)
    with undisturbed(model):
        worst = max(_moved(model, task, kept) for kept in (half, 1 - half))
        if worst <= 1e-4:
            return
        loops = self_loops(task)
        apart = loops.any() and max(
            _moved(model, task, kept.masked_fill(loops, 1)) for kept in (half, 1 - half)
        )
    if loops.any() and apart <= 1e-4:
        raise ValueError(
            "`model` must treat an edge of weight 0 as absent, but in place of a self-loop of the "
            f"data, of which there are {int(loops.sum())}, it has its own when that is absent: "
            "remove them from the data with torch_geometric.transforms.RemoveSelfLoops(), or use "
            "one of graphlth's models"
        )
    raise ValueError(
        f"`model` must treat an edge of weight 0 as absent, but its output moves by {worst:.2g}: "
        "use layers that read `edge_weight`, as PyG's GraphConv, or one of graphlth.models"
    )


def _moved(model: nn.Module, task: Task, kept: Tensor) -> float:
    """How far the output with weights 0 lies from that without those edges, against its size."""
    try:
        soft = forward(model, next(iter(task.batches("train"))), {EDGES: kept})
    except TypeError as error:
        raise ValueError(
            f"`model.forward` must take (x, edge_index, edge_weight) to mask edges: {error}"
        ) from None
    hard = forward(model, next(iter(task.without(kept).batches("train"))), {})
    moved = (soft - hard).abs().max().item() / max(1.0, hard.abs().max().item())
    return math.inf if math.isnan(moved) else moved


def self_loops(task: Task) -> Tensor:
    """Which mask entries [num_edges] are self-loops of the data."""
    batch = next(iter(task.batches("train")))
    assert batch.entries is not None
    source, target = batch.inputs[1].edge_index
    loops = torch.zeros(task.num_edges, dtype=torch.bool, device=batch.entries.device)
    loops[batch.entries[source == target]] = True
    return loops


def takes_graph(model: nn.Module) -> bool:
    """Whether `model.forward` names a parameter `graph`, as graphlth's own models do."""
    return "graph" in _parameters(model)


def _parameters(model: nn.Module) -> frozenset[str]:
    """What `model.forward` takes; read once for all models of a class, not in every step."""
    return _signature(getattr(model.forward, "__func__", model.forward))


@lru_cache(maxsize=64)
def _signature(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def evaluate(model: nn.Module, task: Task, masks: Masks, splits: tuple[str, ...]) -> list[float]:
    """The accuracy on each of `splits`, in [0, 1].

    Raises:
        ValueError: as `check_contract`; or `masks` are no mapping.
    """
    if not isinstance(masks, Mapping):
        raise ValueError("`masks` must be a mapping of names to masks, such as `ticket.masks`, got "
                         f"{type(masks).__name__}")  # fmt: skip
    check_contract(model, task, masks)
    weights = masked(dict(model.named_parameters()), masks)
    judge = Judge(model, task, weights, masks.get(EDGES))
    return [judge(split)[0] for split in splits]


class Judge:
    """How good `model` is with `weights`, θ ⊙ m_θ, and `edges`, m_g: on one split after another.

    A model that takes `rows` computes no others; of another, splits of one graph share its output.
    """

    def __init__(self, model: nn.Module, task: Task, weights: Masks, edges: Tensor | None):
        self.model, self.weights, self.edges = model, weights, edges
        self.task = played(task, lambda x: act(model, x, weights))
        self.inputs: tuple[Any, ...] | None = None

    @torch.no_grad()
    def __call__(self, split: str) -> tuple[float, float]:
        """The accuracy on `split`, in [0, 1], and the mean loss.

        The loss is NaN but on the rows that validate where there is no graph. The accuracy of a
        game is its mean return, and it has no loss.
        """
        self.model.eval()
        mean_return: Callable[[str], float] | None = getattr(self.task, "mean_return", None)
        if mean_return is not None:
            return mean_return(split), math.nan
        hits, losses = [], []
        for batch in self.task.batches(split):
            output = self.output(batch)
            hits.append(output.argmax(-1) == batch.target)
            if batch.entries is None and split == "val":
                losses.append(F.cross_entropy(output, batch.target, reduction="none"))
        loss = torch.cat(losses).mean().item() if losses else math.nan
        return torch.cat(hits).float().mean().item(), loss

    def output(self, batch: Batch) -> Tensor:
        """The output for the rows that the batch scores."""
        if batch.among is not None and "rows" in _parameters(self.model):
            nodes, places = batch.among
            output = call(self.model, batch, self.weights, self.edges, rows=nodes)
            return output.index_select(0, places)
        if batch.inputs is not self.inputs:
            self.inputs = batch.inputs
            self.whole = call(self.model, batch, self.weights, self.edges)
        return self.whole[batch.rows]


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
    a vector (see `Survivors`). The optimiser is fresh; `seed` drives dropout and batch order. What
    `learn` does not name, of "weights" and "soft", stays as it is, but may be changed by others
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
        {n: Survivors(t, masks.get(n), part in learn) for n, t in whole.items()}
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
    optimizer = how.of(leaves, [*products.values()])
    weights, edges = weigh(theta, m, products, through)
    stand = versions(theta, m)
    span, best, lowest = task.evaluate_every, -1.0, math.inf
    end = epochs if until is None else until
    data = played(task, lambda x: act(model.eval(), x, weights))  # of the step that it is asked in
    for index in range(first, end):
        if stand != versions(theta, m):  # another training has had its turn
            for part in every:
                part.fetch()
            for product in products.values():
                product.multiply()
            weights, edges = weigh(theta, m, products, through)
        passes = 0
        for iteration, batch in enumerate(data.batches("train", seed, index), index * span):
            model.train()
            loss = fitted(scored(model, batch, weights, edges), batch)
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
            weights, edges = weigh(theta, m, products, through)  # the next step's, too
            passes += 1 if batch.entries is not None else len(batch.inputs[0])
        if not math.isfinite(loss.item()):
            what = f"the loss is {loss.item()} in epoch {index}"
            raise ValueError(f"{what}: lower `lr`, got {how.lr}")
        spend(passes)
        judge, val, val_loss, test = Judge(model, task, weights, edges), *[math.nan] * 3
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


class Survivors:
    """The entries of one tensor that a mask leaves: what is trained. The others stay as they are.

    Few survivors are trained as a vector of their own, so that a sparse ticket costs less than a
    dense one; many as the whole tensor, whose removed entries are multiplied by 0. What is not to
    be learned has no gradient and is never written.
    """

    FEW = 0.75  # of all entries

    def __init__(self, whole: Tensor, mask: Tensor | None, learn: bool = True):
        learn = learn and whole.requires_grad  # what is frozen stays so
        self.whole, self.mask, self.learn = whole, mask, learn
        self.leaf = whole if learn else whole.detach()
        self.places: Places | None = None
        if mask is None or mask.all():
            self.mask = None  # ones change nothing
        elif mask.count_nonzero() < self.FEW * mask.numel() and whole.is_contiguous():
            self.places = Places(mask.view(-1).nonzero().squeeze(1), mask.shape)
            self.leaf = whole.detach().view(-1)[self.places.index].requires_grad_(learn)
            self.zeros = blank(whole)

    def spread(self, values: Tensor) -> Tensor:
        """`values`, shaped like the leaf, where they belong in the whole; 0 elsewhere."""
        if self.places is not None:
            return spread(values, self.places, self.zeros)
        return values if self.mask is None else values * self.mask

    @torch.no_grad()
    def fetch(self) -> None:
        """Take the survivors from the whole, which others have changed."""
        if self.places is not None:
            self.leaf.copy_(self.whole.view(-1)[self.places.index])

    @torch.no_grad()
    def settle(self) -> None:
        """Write the survivors back into the whole."""
        if self.places is not None and self.learn:
            put(self.leaf, self.places, self.whole)


def weigh(
    theta: Mapping[str, Survivors],
    m: Mapping[str, Survivors],
    products: Mapping[str, Product] = MappingProxyType({}),
    through: Callable[[Masks], Masks] | None = None,
) -> tuple[dict[str, Tensor], Tensor | None]:
    """θ ⊙ m_θ and m_g, the soft masks, or what `through` makes of them, times the hard."""
    soft: Masks = {n: part.leaf for n, part in m.items()}
    soft = through(soft) if through else soft
    weights = {}
    for n, part in theta.items():
        if n in products:
            weights[n] = part.spread(products[n].value)
        else:
            weights[n] = part.spread(part.leaf * soft[n] if n in soft else part.leaf)
    return weights, soft.get(EDGES)


def versions(*groups: Mapping[str, Survivors]) -> list[int]:
    """A number for each tensor that moves on with every change of it."""
    return [part.whole._version for group in groups for part in group.values()]


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


def retrain(
    model: nn.Module,
    task: Task,
    ticket: Ticket,
    *,
    epochs: int = 200,
    iterations: int = 0,
    first: int | None = None,
    seed: int = 0,
    **recipe: Any,
) -> Generator[Epoch, None, Fit]:
    """Train `model` from the ticket's weights under its masks, pausing after every epoch.

    Returns the first epoch of best validation accuracy with its weights, and leaves them in
    `model`, too.

    Args:
        model: the network; its weights are not read.
        task: the data.
        ticket: where to start, and what is left.
        epochs: epochs of the whole training; a ticket of θ_k is trained from epoch k to its end,
            one whose weights have had all of them for as many again, at the last learning rate.
        iterations: of the whole training, in place of `epochs`; 0: epochs count.
        first: k, where it is not the ticket's own.
        seed: seeds dropout and batch order.
        recipe: fields of `Recipe`.

    Raises:
        ValueError: the ticket is not one of this model and graph, `epochs` is below 1, or
            `iterations` are not whole epochs of the task.
    """
    check_number("epochs", epochs)
    check_number("iterations", iterations)
    check_number("seed", seed)
    check_arguments(model, task)
    check_weights(model)
    fit_together(ticket, model, task.num_edges, task.fingerprint())
    check_contract(model, task, ticket.masks)
    check_trainable(model)
    best = last = Epoch(-1, math.inf, -1.0, 0.0)
    state = ticket.init
    epochs = spans(task, iterations) or epochs
    how = {"epochs": epochs, "first": first, "seed": seed, "sparing": True, **recipe}
    for epoch in resume(model, task, ticket, **how):
        if epoch.val > best.val:
            best, state = epoch, snapshot(model)
        last = epoch
        yield epoch
    remember(rewind(model, state), ticket)
    return Fit(**vars(best), last=last, ticket=ticket, state=state)


def resume(
    model: nn.Module,
    task: Task,
    ticket: Ticket,
    *,
    epochs: int,
    first: int | None = None,
    **how: Any,
) -> Iterator[Epoch]:
    """`train` from the ticket's weights to the end of `epochs`, of which they have had `first`.

    Weights that have had them all are trained for as many again.
    """
    if first is None:
        first = ticket.search.get(BEHIND, 0) // task.evaluate_every
    until = epochs if first < epochs else first + epochs
    model = rewind(model, ticket.init)
    yield from train(model, task, ticket.masks, epochs=epochs, first=first, until=until, **how)


def spans(task: Task, iterations: int, name: str = "iterations") -> int:
    """How many epochs of `task` some iterations are.

    Raises:
        ValueError: they are not whole epochs; `name` is what the error calls them.
    """
    if iterations % task.evaluate_every:
        raise ValueError(f"`{name}` must be a multiple of `evaluate_every` = "
                         f"{task.evaluate_every}, got {iterations}")  # fmt: skip
    return iterations // task.evaluate_every


def fit(model: nn.Module, task: Task, ticket: Ticket, **how: Any) -> Fit:
    """The best epoch of `retrain`, run to its end, with its weights; `how` are its arguments."""
    epochs = retrain(model, task, ticket, **how)
    while True:
        try:
            next(epochs)
        except StopIteration as end:
            return end.value


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
        fit_together(ticket.ticket, model, task.num_edges, task.fingerprint())
        names = [*weights, *(n for n, _ in model.named_buffers())]
        weights = {n: ticket.state[n] for n in names if n in ticket.state}
        ticket = ticket.ticket
    else:
        refuse_another(model, ticket, "predict(model, task, fit)")
    check_contract(model, task, ticket.masks)
    model.eval()
    if EDGES in ticket.masks:
        task = task.without(ticket.masks[EDGES])
    weights = masked(weights, only(ticket.masks, "weights"))
    task = played(task, lambda x: act(model, x, weights))
    return torch.cat([call(model, b, weights, None)[b.rows] for b in task.batches(split)])
