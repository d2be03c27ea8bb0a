"""torch's own dropout, drawn faster: the same numbers, and the generator in the same state."""

import pytest
import torch
import torch.nn.functional as F

import graphlth as glt
from graphlth.sparse import torch_dropout
from graphlth.sparse.torch_dropout import FEW, DropoutMode


@pytest.fixture(autouse=True)
def drawn_here():
    """Skip where torch draws other numbers, as with MKL on Intel's processors."""
    if not torch_dropout._draws_the_same():
        pytest.skip("torch draws other numbers on this processor")


def draw(dropout, x, p, start):
    torch.manual_seed(start)
    torch.rand(start)  # the generator is anywhere in its 624 words
    torch.randn(1)  # torch keeps the second of two normal numbers
    out = dropout(x, p)
    return out, torch.get_rng_state(), torch.randn(3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [1e-9, 0.1, 0.5, 0.6, 1 - 1e-9])
@pytest.mark.parametrize("size", [FEW, FEW + 1, 100_003])
def test_the_numbers_are_those_of_torch(dtype, p, size):
    x = torch.randn(size, dtype=dtype)
    for start in (0, 1, 311, 312, 623, 624, 625):
        expected, found = (draw(f, x, p, start) for f in (F.dropout, torch_dropout.dropout))
        assert all(map(torch.equal, expected, found))


def test_compiled_loops_draw_them(monkeypatch):
    monkeypatch.setattr(F, "dropout", None)  # torch's own is not called
    torch_dropout.dropout(torch.ones(FEW), 0.5)


@pytest.mark.parametrize(
    "x",
    [torch.ones(3, 4), torch.ones(FEW, 2).T, torch.ones(FEW, dtype=torch.bfloat16),
     torch.ones(FEW).to_sparse()],
    ids=["few", "transposed", "bfloat16", "sparse"],
)  # fmt: skip
def test_other_tensors_are_left_to_torch(x, monkeypatch):
    calls = []
    monkeypatch.setattr(F, "dropout", lambda *args: calls.append(args))
    torch_dropout.dropout(x, 0.5)
    assert [args[1:] for args in calls] == [(0.5, True, False)]


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_a_chance_out_of_range_is_refused_as_by_torch(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        torch_dropout.dropout(torch.ones(FEW), p)


@pytest.mark.parametrize(
    "how",
    [(torch.nn.Parameter(torch.tensor(0.5)),), (torch.tensor([0.5]),), (0.5, 1)],
    ids=["learned", "several", "training"],
)
def test_what_torch_refuses_is_refused_in_its_words(how):
    messages = []
    for dropout in (F.dropout, torch_dropout.dropout):
        with pytest.raises(TypeError) as refused:
            dropout(torch.ones(FEW), *how)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
def test_a_traced_dropout_draws_anew():
    with DropoutMode():
        traced = torch.jit.trace(torch.nn.Dropout(0.5), torch.ones(FEW), check_trace=False)
    assert not torch.equal(traced(torch.ones(FEW)), traced(torch.ones(FEW)))


def test_where_torch_draws_others_they_are_torchs(monkeypatch):
    monkeypatch.setattr(torch_dropout, "_draws_the_same", lambda: False)
    x = torch.randn(FEW)
    expected, found = (draw(f, x, 0.5, 0) for f in (F.dropout, torch_dropout.dropout))
    assert all(map(torch.equal, expected, found))


def test_gradients_are_those_of_torch():
    grads = []
    for dropout in (F.dropout, torch_dropout.dropout):
        x = torch.linspace(-1, 1, FEW).requires_grad_()
        torch.manual_seed(0)
        dropout(x * x, 0.3).sum().backward()
        grads.append(x.grad)
    assert torch.equal(*grads)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.6)

    def forward(self, x):
        return F.dropout(self.dropout(x), 0.2, self.training)


@pytest.mark.parametrize("training", [True, False])
def test_a_module_gives_the_same_in_the_mode(training):
    net, x = Net().train(training), torch.randn(FEW)
    torch.manual_seed(0)
    expected = net(x)
    torch.manual_seed(0)
    with DropoutMode():
        assert torch.equal(net(x), expected)


def test_checkpointed_steps_draw_the_same_again():
    from torch.utils.checkpoint import checkpoint

    net, x = Net().train(), torch.ones(FEW, requires_grad=True)
    with DropoutMode():
        out = checkpoint(net, x, use_reentrant=False)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_a_training_has_the_digits_of_torch(monkeypatch):
    from torch_geometric.nn import GAT

    task = glt.find("tasks", "sbm")(size=300)
    found = []
    for same in (True, False):
        monkeypatch.setattr(torch_dropout, "_draws_the_same", lambda same=same: same)
        torch.manual_seed(0)
        model = GAT(task.num_features, 32, num_layers=2, out_channels=4, dropout=0.5)
        *_, ticket = glt.ugs(model, task, rounds=1, epochs=3)
        found.append([m for _, m in sorted(ticket.masks.items())])
        found[-1] += [torch.tensor(glt.fit(model, task, ticket, epochs=3).test)]
    assert all(map(torch.equal, *found))
