"""Adam and SGD are torch's, step by step; the learning rate is the schedule's."""

import subprocess
import sys

import pytest
import torch

from graphlth.optimizers import SGD, Adam, Recipe

TORCHS = [
    (Adam, torch.optim.Adam, {"weight_decay": 0.0}),
    (Adam, torch.optim.Adam, {"weight_decay": 0.1}),
    (SGD, torch.optim.SGD, {"weight_decay": 0.0, "momentum": 0.0}),
    (SGD, torch.optim.SGD, {"weight_decay": 0.1, "momentum": 0.9}),
]


@pytest.mark.parametrize(("ours", "theirs", "how"), TORCHS)
def test_it_moves_like_torchs_own(ours, theirs, how):
    torch.manual_seed(0)
    starts = [torch.randn(5, 3), torch.randn(4)]
    sides = [[s.clone().requires_grad_() for s in starts] for _ in range(2)]
    fused = theirs is torch.optim.Adam  # torch's fused SGD wants gradients of all in its first step
    optimizers = [ours(sides[0], lr=0.03, **how), theirs(sides[1], lr=0.03, fused=fused, **how)]
    for step in range(5):
        for leaves, optimizer in zip(sides, optimizers, strict=True):
            optimizer.zero_grad()
            loss = (leaves[0] ** 2).sum() * step
            if step % 2:  # the second leaf has no gradient in every other step, and stays
                loss = loss + leaves[1].exp().sum()
            loss.backward()
            optimizer.step()
        for a, b, start in zip(*sides, starts, strict=True):
            torch.testing.assert_close(a, b, rtol=0 if fused else 1e-6, atol=0 if fused else 1e-6)
            assert step == 0 or not torch.equal(a, start)


@pytest.mark.parametrize(
    ("recipe", "rates"),
    [
        ({}, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ({"milestones": "0.5"}, [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
        ({"milestones": "0.5,0.75"}, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01]),
        ({"warmup": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
        ({"milestones": "0.25", "warmup": 4}, [0.25, 0.5, 0.075, 0.1] + [0.1] * 6),
    ],
)
def test_the_rate_falls_at_milestones_and_rises_in_the_warm_up(recipe, rates):
    """Of a training of 8 iterations; what comes after its end has the last rate."""
    found = [Recipe(lr=2.0, **recipe).rate(i, 8) for i in range(10)]
    assert found == pytest.approx([2 * r for r in rates])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimizer": "lion"}, "`optimizer` must be one of adam, sgd, got 'lion'"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\), got 1.0"),
        ({"warmup": -1}, "`warmup` must be at least 0, got -1"),
        ({"milestones": "0.5;0.7"}, r"`milestones` must be fractions .* got '0.5;0.7'"),
        ({"milestones": "80,120"}, r"`milestones` must be fractions .* got '80,120'"),
        ({"milestones": "nan"}, r"`milestones` must be fractions .* got 'nan'"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**wrong)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_does_not_load_torchs_compiler(optimizer):
    code = (
        "import sys, graphlth as glt; task = glt.find('tasks', 'karate')();"
        "model = glt.find('models', 'gcn')(task); ticket = glt.dense(model);"
        f"next(glt.retrain(model, task, ticket, optimizer={optimizer!r}));"
        "sys.exit('torch._dynamo' in sys.modules or 'torch_geometric' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
