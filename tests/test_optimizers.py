"""Adam and SGD are torch's, step by step; the learning rate is the schedule's."""

import subprocess
import sys
from functools import partial

import pytest
import torch

from graphlth.training.optimizers import SGD, Adam, Product
from graphlth.training.recipe import Recipe

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
        ({"warmup": -1}, r"`warmup` must be in \[0, 1000000000\], got -1"),
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


@pytest.mark.parametrize("shape", [(48, 32), (7, 5), (33, 70), (131,), (4, 3, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [Adam, partial(SGD, momentum=0.9)])
def test_a_product_moves_its_factors_as_autograd_would(kind, dtype, shape):
    """In one pass or not; masks that would fall below 0 stay there."""
    draw = torch.Generator().manual_seed(0)
    starts = [torch.randn(shape, generator=draw, dtype=dtype) for _ in range(2)]
    starts[1].abs_()
    bias = torch.randn(3, generator=draw, dtype=dtype)
    targets = torch.randn(6, *shape, generator=draw, dtype=dtype)
    sides = [[s.clone().requires_grad_() for s in (*starts, bias)] for _ in range(2)]
    (w, m, _), (v, u, _) = sides
    product = Product(w, m, rate=0.05)
    ours = kind(sides[0], lr=0.1, weight_decay=0.01, products=[product])
    plain = kind(sides[1], lr=0.1, weight_decay=0.01)
    near = 1e-13 if dtype == torch.float64 else 1e-6
    for step, target in enumerate(targets):
        for optimizer, b, seen, mask in (
            (ours, sides[0][2], product.value, None), (plain, sides[1][2], v * u, u)
        ):  # fmt: skip
            optimizer.zero_grad()
            loss = (seen - target).square().sum() + b.sum() * step
            if step == 4:  # another penalty on the mask alone
                loss = loss + (m if mask is None else u).square().sum()
            (loss if mask is None else loss + 0.05 * u.sum()).backward()
            optimizer.step()
        with torch.no_grad():
            u.clamp_(min=0)
        for ours_now, plain_now in zip(*sides, strict=True):
            torch.testing.assert_close(ours_now, plain_now, rtol=near, atol=near)
        assert torch.equal(product.value, w * m)
    assert (m == 0).any() and not (m == 0).all()


def test_a_product_without_a_gradient_moves_its_mask_alone():
    w, m = torch.ones(20).requires_grad_(), torch.ones(20).requires_grad_()
    product = Product(w, m, rate=0.5)
    optimizer = Adam([w, m], lr=0.1, weight_decay=0.0, products=[product])
    optimizer.step()  # nothing has seen the product
    assert torch.equal(w, torch.ones(20)) and torch.equal(product.value, m)
    torch.testing.assert_close(m, torch.full((20,), 0.9))
    optimizer.zero_grad()
    product.value.sum().backward()
    optimizer.step()  # the first step of one factor, the second of the other
    torch.testing.assert_close(w, torch.full((20,), 0.9))
    assert torch.equal(product.value, w * m) and (m < 0.9).all()


def test_what_is_not_compiled_moves_too():
    w = torch.ones(4, 6).t().requires_grad_()  # not contiguous
    m = torch.ones(6, 4, requires_grad=True)
    product = Product(w, m)
    optimizer = Adam([w, m], lr=0.1, weight_decay=0.0, products=[product])
    product.value.sum().backward()
    optimizer.step()
    torch.testing.assert_close(w, torch.full((6, 4), 0.9))
    assert torch.equal(product.value, w * m) and torch.equal(w, m)
