"""A callback of PyTorch Lightning that finds tickets in somebody's `LightningModule`.

It needs the extra `lightning`: `pip install "graphlth[lightning]"`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, Literal

import torch
from torch import Tensor, nn

try:
    from pytorch_lightning import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError(
        'graphlth.lightning needs PyTorch Lightning: pip install "graphlth[lightning]"'
    ) from error

from graphlth.masks import EDGES, Masks, ones, only, sparsity
from graphlth.model_checks import check_weights
from graphlth.prune import drop_lowest
from graphlth.rewinding import rewind, snapshot
from graphlth.settings.annotations import check_number, check_value
from graphlth.settings.types import Fraction, NonNegative, Number, RewindTo, Rounds, Scope
from graphlth.ticket import Ticket

EdgeEntries = Literal["undirected", "directed"]
STEPS = ("training_step", "validation_step", "test_step", "predict_step")


class LotteryTickets(Callback):
    """Prunes and rewinds a `LightningModule` while it trains, round by round.

    Weights go by magnitude (Frankle et al., ICML 2020, arXiv:1912.05671), edges by a mask that is
    trained with the weights (UGS, arXiv:2102.06790). A round begins at θ_k under the masks, with a
    new optimiser state and the schedule of epoch k. It takes `epochs` of a fit, or a whole fit:
    then each further `trainer.fit` is the next round. After the last round the ticket is
    retrained, in what is left of the fit and in all further ones, each of which begins at θ_k.

    Attributes:
        tickets: the dense ticket and that of each round; their names of weights are the module's.
        ticket: the last of them; None before the first fit.
    """

    def __init__(
        self,
        *,
        rounds: Rounds = 5,
        epochs: Number | None = None,
        drop_weights: Fraction = 0.2,
        drop_edges: Fraction = 0.0,
        rewind_to: RewindTo = 0,
        scope: Scope = "global",
        edges: EdgeEntries = "undirected",
        edge_lr: NonNegative = 0.01,
        l1_edges: NonNegative = 1e-4,
    ):
        """Settings of the search.

        Args:
            rounds: how often to prune.
            epochs: of a round; None: a round is a fit.
            drop_weights: fraction of the surviving weights that a round removes, in [0, 1).
            drop_edges: fraction of the surviving edges that a round removes; above 0, the loader
                must give one graph, a PyG `Data`.
            rewind_to: k, the epoch of the first round whose weights the tickets start from.
            scope: rank weights over all layers ("global") or within each ("layer").
            edges: what an entry of the edge mask stands for, a pair or a directed edge.
            edge_lr: learning rate of the edge mask.
            l1_edges: what each entry of the edge mask adds to the loss.

        Raises:
            ValueError: a number is out of its range.
        """
        for name, value, kind in (
            ("rounds", rounds, Rounds), ("drop_weights", drop_weights, Fraction),
            ("drop_edges", drop_edges, Fraction), ("rewind_to", rewind_to, RewindTo),
            ("edge_lr", edge_lr, NonNegative), ("l1_edges", l1_edges, NonNegative),
        ):  # fmt: skip
            check_number(name, value, kind)
        check_value("scope", scope, Scope)
        check_value("edges", edges, EdgeEntries)
        if epochs is not None:
            check_number("epochs", epochs, Number)
            if rewind_to >= epochs:
                raise ValueError(f"`rewind_to` must be below `epochs` = {epochs}, got {rewind_to}")
        self.rounds, self.epochs, self.rewind_to = rounds, epochs, rewind_to
        self.drop_weights, self.drop_edges, self.scope = drop_weights, drop_edges, scope
        self.edges, self.edge_lr, self.l1_edges = edges, edge_lr, l1_edges
        self.tickets: list[Ticket] = []
        self.epoch = 0  # of the round
        self._start: list[Any] = []  # states of the optimisers and schedulers before training
        self._graph: tuple[Tensor, Tensor] | None = None  # edge_index, and its entries
        self._soft: tuple[nn.Parameter, torch.optim.Optimizer] | None = None  # m_g
        self._state: dict[str, Any] = {}  # of a checkpoint

    @property
    def ticket(self) -> Ticket | None:
        """The last ticket."""
        return self.tickets[-1] if self.tickets else None

    @property
    def masks(self) -> Masks:
        """Those of the last ticket."""
        return {} if self.ticket is None else self.ticket.masks

    @property
    def searches(self) -> bool:
        """Whether the round that trains now will prune."""
        return self.ticket is None or self.ticket.round < self.rounds

    # --- a fit -----------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the module's steps the graph that is left, under the mask that is trained."""
        for name in STEPS:
            step = getattr(pl_module, name)
            if self.drop_edges and not hasattr(step, "unmasked"):
                vars(pl_module)[name] = self._masked_step(pl_module, step, name == STEPS[0])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the module its own steps back."""
        for name in STEPS:
            vars(pl_module).pop(name, None)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the module its own steps back."""
        self.teardown(trainer, pl_module, "fit")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the module to the weights of the last ticket, under its masks.

        Raises:
            ValueError: it is another module, or the trainer has too few epochs or other processes.
        """
        if self.drop_edges and trainer.world_size > 1:
            raise ValueError(f"`drop_edges` must be 0 in {trainer.world_size} processes, each of "
                             "which would train another edge mask: use one device")  # fmt: skip
        most, needed = trainer.max_epochs, self._epochs_left()
        if most is not None and 0 <= most < needed:
            raise ValueError(f"`max_epochs` of the trainer must be at least {needed}, for the "
                             f"rounds that are left, got {most}")  # fmt: skip
        if self.ticket is None:
            check_weights(pl_module)
            masks = ones(pl_module) if self.drop_weights else {}
            self.tickets = [Ticket(snapshot(pl_module), masks, 0)]
        elif not trainer.ckpt_path:
            self._rewind(pl_module)
        self._multiply(pl_module)

    def _epochs_left(self) -> int:
        """How many epochs the rounds that are left take, with the retraining of the last ticket."""
        if self.epochs is None:
            return 0
        again = self.epochs - self.rewind_to  # of a round that begins at θ_k
        if self.ticket is None or self.ticket.round == 0:
            return self.epochs + self.rounds * again
        return (1 + self.rounds - self.ticket.round) * again

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the states that a round begins with."""
        if self._start and self.rewind_to and self.epochs and not trainer.ckpt_path:
            self._restore(trainer)  # the schedule goes on from epoch k
        elif not self._start or not trainer.ckpt_path:
            self._start = [copy.deepcopy(part.state_dict()) for part in _stateful(trainer)]

    def _restore(self, trainer: Trainer) -> None:
        for part, state in zip(_stateful(trainer), self._start, strict=True):
            part.load_state_dict(copy.deepcopy(state))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Keep removed weights out of the optimiser's state."""
        for mask, p in self._pairs(pl_module):
            if p.grad is not None:
                p.grad.mul_(mask)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
        batch_idx: int,
    ) -> None:  # fmt: skip
        """Keep removed weights at 0, and train the edge mask."""
        self._multiply(pl_module)
        if self._soft is not None and self._soft[0].grad is not None:
            mask, optimiser = self._soft
            mask.grad.add_(self.l1_edges * mask.detach().sign())  # type: ignore[union-attr]
            optimiser.step()
            optimiser.zero_grad()
            mask.data.clamp_(min=0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep θ_k, and prune after the last epoch of a round."""
        self.epoch += 1
        first = self.tickets[0]
        if len(self.tickets) == 1 and self.epoch == self.rewind_to:
            self.tickets[0] = Ticket(snapshot(pl_module), first.masks, 0)
            self._start = [copy.deepcopy(part.state_dict()) for part in _stateful(trainer)]
            for state in self._start[: len(trainer.optimizers)]:
                state["state"] = {}  # moments are not those of epoch k, but new
        if self.epochs == self.epoch and self.searches:
            self._prune(pl_module)
            self._rewind(pl_module)
            self._restore(trainer)
        for part in ("weights", "edges"):
            if masks := only(self.masks, part):
                pl_module.log(f"{part[:-1]}_sparsity", sparsity(masks))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune after a round that is a fit."""
        if self.epochs is None and self.searches:
            self._prune(pl_module)

    # --- a round ---------------------------------------------------------------------------------

    def _prune(self, module: nn.Module) -> None:
        """The next ticket: without the weights and edges that score lowest."""
        assert self.ticket is not None
        values = {n: p.detach().abs() for n, p in module.named_parameters()}
        masks = drop_lowest(only(self.masks, "weights"), values, self.drop_weights, self.scope)
        if self._soft is not None:
            edges, soft = only(self.masks, "edges"), self._soft[0].detach()
            masks |= drop_lowest(edges, {EDGES: soft}, self.drop_edges)
        init = self.tickets[0].init
        self.tickets.append(Ticket(init, masks, self.ticket.round + 1))
        self.epoch = 0

    def _rewind(self, module: nn.Module) -> None:
        assert self.ticket is not None
        try:
            rewind(module, self.ticket.init)
        except RuntimeError as error:
            text = " ".join(str(error).split())
            raise ValueError("the callback must be given the module of its tickets, got one of "
                             f"other values: use a new callback ({text})") from error  # fmt: skip
        self._multiply(module)
        self.epoch, self._soft = self.rewind_to, None

    @torch.no_grad()
    def _multiply(self, module: nn.Module) -> None:
        for mask, p in self._pairs(module):
            p.mul_(mask)

    def _pairs(self, module: nn.Module) -> Iterator[tuple[Tensor, nn.Parameter]]:
        """The mask and the value of each weight that has one.

        Raises:
            ValueError: they are of another module.
        """
        values = dict(module.named_parameters())
        for n, mask in only(self.masks, "weights").items():
            if n not in values or values[n].shape != mask.shape:
                raise ValueError(f"the callback must be given the module of its tickets, got one "
                                 f"without {n!r} of {list(mask.shape)}: use a new callback"
                                 )  # fmt: skip
            yield mask.to(values[n].device), values[n]

    # --- edges -----------------------------------------------------------------------------------

    def _masked_step(
        self, module: LightningModule, step: Callable[..., Any], training: bool
    ) -> Callable[..., Any]:
        @wraps(step)
        def masked(batch: Any, *args: Any, **kwargs: Any) -> Any:
            data, context = self._masked_data(module, batch, training)
            with context:
                return step(data, *args, **kwargs)

        masked.unmasked = step  # type: ignore[attr-defined]
        return masked

    def _masked_data(
        self, module: LightningModule, data: Any, training: bool
    ) -> tuple[Any, AbstractContextManager[Any]]:
        """The data without removed edges, and the context in which the others are masked.

        Raises:
            ValueError: a training batch is not the one graph of the search.
        """
        edge_index = getattr(data, "edge_index", None)
        if training and edge_index is None:
            raise ValueError("`drop_edges` needs batches of PyG's `Data`, got "
                             f"{type(data).__name__}")  # fmt: skip
        if training and self._graph is None:
            self._remember_graph(data)
        if edge_index is None or self._graph is None or not _same(edge_index, self._graph[0]):
            if training:
                raise ValueError("`drop_edges` needs a loader that gives one graph, got another "
                                 "`edge_index` than before")  # fmt: skip
            return data, nullcontext()
        entries = self._graph[1].to(edge_index.device)
        keep = self.masks[EDGES].to(edge_index.device)[entries] != 0
        data = data.edge_subgraph(keep)
        if not self.searches:
            return data, nullcontext()
        from graphlth.message_passing import masked_edges

        soft = self._soft_mask(edge_index.device)
        return data, masked_edges(module, [(data.edge_index, soft[entries[keep]])])

    def _remember_graph(self, data: Any) -> None:
        """Number the entries of the edge mask."""
        a, b = data.edge_index.cpu()
        if self.edges == "undirected":
            a, b = torch.minimum(a, b), torch.maximum(a, b)
        entries = torch.unique(a * data.num_nodes + b, return_inverse=True)[1]
        self._graph = data.edge_index.cpu(), entries
        masks = {EDGES: torch.ones(int(entries.max()) + 1 if entries.numel() else 0)}
        if EDGES not in self.masks:
            last = self.tickets.pop()
            self.tickets.append(Ticket(last.init, {**last.masks, **masks}, last.round))

    def _soft_mask(self, device: torch.device) -> nn.Parameter:
        if self._soft is None:
            mask = nn.Parameter(self.masks[EDGES].to(device).clone())
            self._soft = mask, torch.optim.Adam([mask], lr=self.edge_lr)
        return self._soft[0]

    # --- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint of Lightning's keeps of the search."""
        first = self.tickets[0].init if self.tickets else {}
        return {
            "init": first, "masks": [dict(t.masks) for t in self.tickets], "epoch": self.epoch,
            "start": self._start, "graph": self._graph,
            "soft": None if self._soft is None else self._soft[0].detach(),
            "soft_optimizer": None if self._soft is None else self._soft[1].state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the search that a checkpoint keeps."""
        masks = state_dict["masks"]
        self.tickets = [Ticket(state_dict["init"], m, r) for r, m in enumerate(masks)]
        self.epoch, self._start = state_dict["epoch"], state_dict["start"]
        self._graph = state_dict["graph"]
        if (soft := state_dict["soft"]) is not None:
            mask = nn.Parameter(soft)
            self._soft = mask, torch.optim.Adam([mask], lr=self.edge_lr)
            if (state := state_dict.get("soft_optimizer")) is not None:
                self._soft[1].load_state_dict(state)


def _stateful(trainer: Trainer) -> list[Any]:
    """The optimisers and the schedulers."""
    return [*trainer.optimizers, *(each.scheduler for each in trainer.lr_scheduler_configs)]


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.cpu(), b)
