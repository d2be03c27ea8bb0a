"""Games that a network plays: CartPole-v1, as Gymnasium has it.

Source: Barto, Sutton & Anderson, IEEE Trans. SMC 1983.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graphlth.data.files import library
from graphlth.edge_masks import EdgeMask
from graphlth.metrics import Metric
from graphlth.settings.checks import check_device
from graphlth.settings.types import BatchSize, Count, Discount, Seed, Steps
from graphlth.settings.validation import check_settings, settings_of
from graphlth.streams import stream
from graphlth.task import SPLITS, Batch, Policy, Task

MEAN_RETURN = Metric("mean_return", "max")  # over the most there is
GAME, LONGEST = "CartPole-v1", 500  # steps of an episode, each worth 1

Choice = Callable[[Tensor], Tensor]  # actions [B] of observations [B, 4]
Episodes = tuple[Tensor, Tensor, Tensor]  # observations [T, B, 4], actions and who stands [T, B]


class CartPole(Task):
    """Balancing a pole on a cart, to be played (see `Task.with_policy`); there is no graph.

    An iteration of training plays `batch_size` episodes to their ends, choosing by the
    probabilities of the policy as it is. Every step of them is a row, whose weight is its advantage
    over the number of rows: its discounted return from there on, less the mean of all rows and over
    their standard deviation. So the loss is that of REINFORCE.

    An evaluation plays `val_size` or `test_size` episodes, choosing the highest logits, from starts
    that `data_seed` draws: always the same ones, which neither the other split nor training has.

    Args:
        batch_size: episodes in a training batch.
        evaluate_every: iterations in a span.
        val_size: episodes that validate.
        test_size: episodes that test.
        discount: γ, what a later step counts against the one before it, in (0, 1].
        data_seed: draws the starts of the episodes that validate and test.

    Raises:
        ValueError: a setting is out of its range.
    """

    name, edges, num_edges = "cartpole", None, 0
    shape, num_features, num_classes = (4,), 4, 2
    metric = MEAN_RETURN

    def __init__(
        self,
        *,
        batch_size: BatchSize = 16,
        evaluate_every: Steps = 5,
        val_size: Count = 20,
        test_size: Count = 50,
        discount: Discount = 0.99,
        data_seed: Seed = 0,
    ):
        given = {"batch_size": batch_size, "evaluate_every": evaluate_every, "val_size": val_size,
                 "test_size": test_size, "discount": discount}  # fmt: skip
        check_settings(given, settings_of(CartPole))
        for name in ("val_size", "test_size"):  # in other tasks 0 stands for all of the data
            if given[name] < 1:
                raise ValueError(f"`{name}` must be at least 1, got {given[name]}")
        self.batch_size, self.evaluate_every = batch_size, evaluate_every
        self.discount, self.data_seed = discount, data_seed
        self.sizes = {"val": val_size, "test": test_size}
        self.device = torch.device("cpu")
        self.policy: Policy = lambda x: x.new_zeros(len(x), self.num_classes)

    def batches(self, split: str, seed: int = 0, index: int = 0) -> Iterator[Batch]:
        """The `index`-th span of training as `seed` draws it, or what is done in a whole split."""
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}")
        if split != "train":
            yield from self.whole(split)
            return
        for iteration in range(index * self.evaluate_every, (index + 1) * self.evaluate_every):
            draw = stream(seed, "play", iteration)
            x, action, stands = play(self._drawing(draw), self.batch_size, draw, self.device)
            gain = advantages(stands, self.discount)
            yield Batch((x[stands],), action[stands], weights=gain / len(gain))

    def whole(self, split: str) -> Iterator[Batch]:
        """What is done in the episodes of `split`; there are no others to train on than drawn."""
        if split == "train":
            raise ValueError("`split` must be val or test of a game, got 'train'")
        x, action, stands = self._evaluation(split)
        yield Batch((x[stands],), action[stands])

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Σ advantage × -log π(action): REINFORCE (Williams, Machine Learning 1992)."""
        assert batch.weights is not None  # every batch of training has them
        return batch.weights @ F.cross_entropy(output, batch.target, reduction="none")

    def _drawing(self, draw: torch.Generator) -> Choice:
        def choice(x: Tensor) -> Tensor:
            noise = torch.empty(len(x), self.num_classes).exponential_(generator=draw)
            return (self.policy(x) - noise.to(x).log()).argmax(-1)  # Gumbel: as softmax has it

        return choice

    def _evaluation(self, split: str) -> Episodes:
        start = stream(self.data_seed, "starts", split)
        return play(lambda x: self.policy(x).argmax(-1), self.sizes[split], start, self.device)

    def with_policy(self, policy: Policy) -> CartPole:
        """The same game, whose batches `policy` plays, as it then is, when they are asked for."""
        game = copy.copy(self)
        game.policy = policy
        return game

    def evaluate(self, split: str, output: Callable[[Batch], Tensor]) -> tuple[float, float]:
        """`mean_return` on `split`; there is no loss, and `output` is not asked."""
        return self.mean_return(split), math.nan

    def mean_return(self, split: str) -> float:
        """The mean number of steps before the pole falls over `LONGEST`, at which an episode ends.

        In [0, 1]: "val" of `val_size` episodes, "test" of the `test_size` others.
        """
        stands = self._evaluation(split)[2]
        return stands.sum().item() / (LONGEST * stands.size(1))

    def without(self, mask: EdgeMask) -> CartPole:
        """The task itself: there is no graph."""
        return self

    def to(self, device: torch.device | str) -> CartPole:
        """The same task with its observations on `device`; the cart itself stays on the CPU."""
        check_device(device)
        game = copy.copy(self)
        game.device = torch.device(device)
        return game

    def fingerprint(self) -> str:
        """Which game this is: 16 hex digits over its name and the length of an episode."""
        return hashlib.sha256(f"{GAME} {LONGEST}".encode()).hexdigest()[:16]

    def content(self) -> str:
        """The game, and the episodes that validate and test: 16 hex digits over its constants."""
        held = f"{self.fingerprint()} {self.sizes['val']} {self.sizes['test']} {self.data_seed}"
        return hashlib.sha256(held.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"CartPole(batch_size={self.batch_size}, discount={self.discount})"


def play(
    choose: Choice, count: int, draw: torch.Generator, device: torch.device | str = "cpu"
) -> Episodes:
    """`count` episodes from starts drawn with `draw`, until the last one ends.

    Who stands at a step has not fallen before it; what is said of the others means nothing.
    """
    game = make_games(count)
    x, _ = game.reset(seed=int(torch.randint(2**31, (), generator=draw)))
    stands, steps = torch.ones(count, dtype=torch.bool), []
    while stands.any():
        seen = torch.from_numpy(x).to(device, torch.get_default_dtype())
        action = choose(seen)
        steps.append((seen, action, stands.to(device)))
        x, _, fallen, over, _ = game.step(action.cpu().numpy())
        stands = stands & ~torch.from_numpy(fallen | over)
    observed, actions, standing = zip(*steps, strict=True)
    return torch.stack(observed), torch.stack(actions), torch.stack(standing)


def advantages(stands: Tensor, discount: float) -> Tensor:
    """The normalised returns of the steps [T, B] at which somebody `stands`, row by row.

    Every step is worth 1, so n steps return Σ γⁱ, i < n.
    """
    left = stands.flip(0).cumsum(0).flip(0)[stands]  # n, the step itself with it
    worth = torch.cat([left.new_zeros(1), discount ** torch.arange(LONGEST).to(left.device)])
    returns = worth.to(torch.get_default_dtype()).cumsum(0)[left]
    std = returns.std(correction=0)
    return (returns - returns.mean()) / torch.where(std > 0, std, 1)


def make_games(count: int) -> Any:
    """`count` games at once; one that has ended starts anew."""
    make = library("gymnasium", "control", "play CartPole").make_vec
    return make(GAME, count, "vector_entry_point", max_episode_steps=LONGEST)
