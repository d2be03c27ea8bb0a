"""CartPole, a pole to balance on a cart: played, not classified."""

from graphlth.data.games import CartPole, make_games
from graphlth.settings.types import BatchSize, Count, Discount, Seed, Steps


def cartpole(
    *,
    batch_size: BatchSize = 16,
    evaluate_every: Steps = 5,
    val_size: Count = 20,
    test_size: Count = 50,
    discount: Discount = 0.99,
    data_seed: Seed = 0,
) -> CartPole:
    """A pole to balance on a cart; the metric is the mean return over 500, the most there is.

    Trained by REINFORCE. "val" and "test" are episodes from starts of their own, in which the
    network chooses its highest logit. An epoch is a span of `evaluate_every` iterations.

    Args:
        batch_size: episodes in a training batch.
        evaluate_every: iterations of training between two evaluations.
        val_size: episodes that validate.
        test_size: episodes that test.
        discount: what a later step counts against the one before it, in (0, 1].
        data_seed: draws the starts of the episodes that validate and test.
    """
    make_games(1)  # where gymnasium is not installed, this raises at once
    return CartPole(
        batch_size=batch_size, evaluate_every=evaluate_every, val_size=val_size,
        test_size=test_size, discount=discount, data_seed=data_seed,
    )  # fmt: skip
