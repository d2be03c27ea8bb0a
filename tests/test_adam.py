"""Adam is torch's, step by step."""

import subprocess
import sys

import pytest
import torch

from graphlth.adam import Adam


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_it_moves_like_torchs_own(weight_decay):
    torch.manual_seed(0)
    starts = [torch.randn(5, 3), torch.randn(4)]
    ours, theirs = ([s.clone().requires_grad_() for s in starts] for _ in range(2))
    how = {"lr": 0.03, "weight_decay": weight_decay}
    optimizers = [Adam(ours, **how), torch.optim.Adam(theirs, fused=True, **how)]
    for step in range(5):
        for leaves, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            loss = (leaves[0] ** 2).sum() * step
            if step % 2:  # the second leaf has no gradient in every other step, and stays
                loss = loss + leaves[1].exp().sum()
            loss.backward()
            optimizer.step()
        for a, b, start in zip(ours, theirs, starts, strict=True):
            assert torch.equal(a, b)
            assert step == 0 or not torch.equal(a, start)


def test_training_does_not_load_torchs_compiler():
    code = (
        "import sys, graphlth as glt; task = glt.find('tasks', 'karate')();"
        "model = glt.find('models', 'gcn')(task); next(glt.retrain(model, task, glt.dense(model)));"
        "sys.exit('torch._dynamo' in sys.modules or 'torch_geometric' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
