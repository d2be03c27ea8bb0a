"""Multiply–accumulates of models of one's own: worked out by hand, or a reason, never too few."""

from types import SimpleNamespace

import pytest
import torch
from test_algorithms import user
from torch import nn
from torch.nn.functional import linear, normalize
from torch.nn.utils import parametrizations, prune
from toys import Pictures, build, toy

import graphlth as glt
from graphlth import masks as M
from graphlth.cost.macs import count_macs, input_macs
from graphlth.experiment.describe import describe_ticket
from graphlth.experiment.plan import plan
from graphlth.rewinding import snapshot
from graphlth.ticket import dense

TASK = SimpleNamespace(shape=(3, 8, 8))  # 192 numbers; as rows [24, 8]


class Own(nn.Module):
    """A function of its parts and the input [B, 3, 8, 8]."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def rows(x):
    return x.flatten(1, 2)  # [B, 24, 8]


def weight(*shape):
    return nn.Parameter(torch.ones(shape))


def pruned(layer):
    prune.l1_unstructured(layer, "weight", amount=0.5)
    return layer


ATTENTION = {"embed_dim": 8, "num_heads": 2, "batch_first": True}
COUNTED = {  # a model, and its multiply–accumulates
    "a linear map": (lambda: Own(lambda m, x: m.a(x.flatten(1)), a=nn.Linear(192, 4)), 192 * 4),
    "a linear map of rows": (lambda: Own(lambda m, x: m.a(rows(x)), a=nn.Linear(8, 4)), 24 * 8 * 4),
    "without a bias, of columns": (
        lambda: Own(lambda m, x: m.a(rows(x).mT), a=nn.Linear(24, 4, bias=False)),
        8 * 24 * 4,
    ),
    "a convolution of one dimension": (
        lambda: Own(lambda m, x: m.a(rows(x)), a=nn.Conv1d(24, 6, 3)),
        6 * 24 * 6 * 3,
    ),
    "of two, in groups": (
        lambda: Own(lambda m, x: m.a(x), a=nn.Conv2d(3, 6, 3, groups=3)),
        36 * 6 * 9,
    ),
    "of three": (lambda: Own(lambda m, x: m.a(x[:, None]), a=nn.Conv3d(1, 2, 3)), 36 * 2 * 27),
    "strided and padded": (
        lambda: Own(lambda m, x: m.a(x), a=nn.Conv2d(3, 6, 3, stride=2, padding=1)),
        16 * 6 * 3 * 9,
    ),
    "transposed": (
        lambda: Own(lambda m, x: m.a(x), a=nn.ConvTranspose2d(3, 6, 3, stride=2)),
        64 * 3 * 6 * 9,
    ),
    "attention": (
        lambda: Own(lambda m, x: m.a(*[rows(x)] * 3)[0], a=nn.MultiheadAttention(**ATTENTION)),
        24 * 4 * 8 * 8,
    ),
    "attention of other keys": (
        lambda: Own(
            lambda m, x: m.a(*[rows(x)] * 3)[0],
            a=nn.MultiheadAttention(**ATTENTION, kdim=8, vdim=8, bias=False),
        ),
        24 * 4 * 8 * 8,
    ),
    "a layer of a transformer": (
        lambda: Own(
            lambda m, x: m.a(rows(x)), a=nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        ),
        24 * (4 * 8 * 8 + 2 * 8 * 16),
    ),
    "a bare parameter": (lambda: Own(lambda m, x: x.flatten(1) @ m.a, a=weight(192, 4)), 768),
    "on the left": (lambda: Own(lambda m, x: m.a @ x.flatten(1).mT, a=weight(4, 192)), 768),
    "a vector": (lambda: Own(lambda m, x: m.a @ x.flatten(), a=weight(4, 192)), 768),
    "einsum": (
        lambda: Own(lambda m, x: torch.einsum("brc,rco->brco", rows(x), m.a), a=weight(24, 8, 4)),
        768,
    ),
    "part of one": (lambda: Own(lambda m, x: rows(x) @ m.a[:, :3], a=weight(8, 9)), 24 * 8 * 3),
    "two side by side": (
        lambda: Own(
            lambda m, x: x.flatten(1) @ torch.cat([m.a, m.b], 1), a=weight(192, 4), b=weight(192, 2)
        ),
        192 * 6,
    ),
    "scaled": (lambda: Own(lambda m, x: linear(rows(x), m.a * 0.5), a=weight(4, 8)), 24 * 32),
    "normalised": (lambda: Own(lambda m, x: rows(x) @ normalize(m.a), a=weight(8, 4)), 24 * 32),
    "a scale for each channel": (lambda: Own(lambda m, x: x * m.a, a=weight(3, 1, 1)), 192),
    "a token and positions, which are added": (
        lambda: Own(
            lambda m, x: m.a(torch.cat([m.b.expand(len(x), -1, -1), rows(x) + m.c], 1)),
            a=nn.Linear(8, 4), b=weight(1, 1, 8), c=weight(24, 8),
        ),
        25 * 8 * 4,
    ),
    "one layer twice": (lambda: Own(lambda m, x: m.a(m.a(rows(x))), a=nn.Linear(8, 8)), 48 * 64),
    "a layer that is not used": (
        lambda: Own(lambda m, x: m.a(rows(x)), a=nn.Linear(8, 4), b=nn.Linear(7, 7)),
        24 * 8 * 4,
    ),
    "an embedding that is the output, too": (
        lambda: Own(lambda m, x: m.a(rows(x).long()) @ m.a.weight.T, a=nn.Embedding(5, 6)),
        192 * 6 * 5,
    ),
    "a matrix chosen by the input": (
        lambda: Own(lambda m, x: rows(x) @ m.a[x[:, 0, 0, 0].long()], a=weight(3, 8, 4)),
        24 * 8 * 4,
    ),
    "columns in another order": (
        lambda: Own(lambda m, x: rows(x) @ m.a[torch.arange(7, -1, -1)], a=weight(8, 4)),
        24 * 8 * 4,
    ),
    "spectral norm": (
        lambda: Own(lambda m, x: m.a(rows(x)), a=parametrizations.spectral_norm(nn.Linear(8, 4))),
        24 * 8 * 4,
    ),
    "channels last": (
        lambda: Own(
            lambda m, x: m.a(x.contiguous(memory_format=torch.channels_last)),
            a=nn.Conv2d(3, 6, 3).to(memory_format=torch.channels_last),
        ),
        36 * 6 * 3 * 9,
    ),
}  # fmt: skip
REASONS = {  # a model, and why its multiply–accumulates cannot be told
    "bilinear": (
        lambda: Own(lambda m, x: m.a(x[:, 0, 0], x[:, 0, 1]), a=nn.Bilinear(8, 8, 3)),
        "'a.weight' is used by _trilinear, which is not counted",
    ),
    "lstm": (
        lambda: Own(lambda m, x: m.a(rows(x))[0], a=nn.LSTM(8, 5, batch_first=True)),
        "'a.weight_",
    ),
    "gru": (
        lambda: Own(lambda m, x: m.a(rows(x))[0], a=nn.GRU(8, 5, batch_first=True)),
        "'a.weight_",
    ),
    "weights of weights": (
        lambda: Own(lambda m, x: rows(x) @ (m.a @ m.b), a=weight(8, 4), b=weight(4, 2)),
        "'a' is changed by mm before it is used",
    ),
    "a function of a weight": (
        lambda: Own(lambda m, x: rows(x) @ m.a.relu(), a=weight(8, 4)),
        "'a' is changed by relu before it is used",
    ),
    "weight norm": (
        lambda: Own(lambda m, x: m.a(rows(x)), a=parametrizations.weight_norm(nn.Linear(8, 4))),
        "_weight_norm_interface",
    ),
    "distances": (
        lambda: Own(lambda m, x: torch.cdist(rows(x), m.a), a=weight(4, 8)),
        "'a' is used by _cdist_forward, which is not counted",
    ),
    "another library": (
        lambda: Own(lambda m, x: x * torch.from_numpy(m.a.detach().numpy() * 1.0), a=weight(8, 8)),
        "'a' is used by something else than torch's operations",
    ),
}


@pytest.mark.parametrize("case", COUNTED)
def test_macs_are_those_worked_out_by_hand(case):
    make, right = COUNTED[case]
    assert sum(glt.macs(make(), TASK, {}).values()) == right
    assert glt.macs_reason(make(), TASK, {}) == ""


@pytest.mark.parametrize("case", REASONS)
def test_macs_that_cannot_be_told_are_none_with_the_reason(case):
    make, reason = REASONS[case]
    assert glt.macs(make(), TASK, {}) is None
    assert reason in glt.macs_reason(make(), TASK, {})
    assert "\n" not in glt.macs_reason(make(), TASK, {})


@pytest.mark.parametrize("case", [n for n in COUNTED if n != "spectral norm"])
def test_what_is_removed_is_not_counted_and_half_is_half(case):
    """Of a mask like a chessboard, in whatever order the weight lies or is read."""
    make, _ = COUNTED[case]
    model = make()
    whole = glt.macs(model, TASK, {})
    none = {n: torch.zeros_like(p) for n, p in M.prunable(model).items()}
    assert sum(glt.macs(model, TASK, none).values()) == 0
    assert glt.macs(model, TASK, M.ones(model)) == whole
    kept = {n: (torch.rand(p.shape, generator=torch.Generator().manual_seed(3)) < 0.5).float()
            for n, p in M.prunable(model).items()}  # fmt: skip
    rest = {n: 1 - m for n, m in kept.items()}
    some, other = glt.macs(model, TASK, kept), glt.macs(model, TASK, rest)
    for n, count in whole.items():
        assert some.get(n, 0) + other.get(n, 0) == count


def test_only_the_entries_that_are_read_count():
    model = Own(lambda m, x: rows(x) @ m.a[:, :1], a=weight(8, 2))
    mask = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 5)
    assert glt.macs(model, TASK, {"a": mask}) == {"a": 24 * 3}


def test_frozen_weights_count_but_are_not_prunable():
    model = Own(lambda m, x: m.b(m.a(rows(x))), a=nn.Linear(8, 4), b=nn.Linear(4, 2))
    model.a.requires_grad_(False)
    assert list(M.ones(model)) == ["b.weight"]
    assert glt.macs(model, TASK, {}) == {"a.weight": 24 * 32, "b.weight": 24 * 8}
    gcn, task = build("gcn", toy()), toy()
    whole = glt.macs(gcn, task, {})
    gcn.weights[0].requires_grad_(False)
    assert glt.macs(gcn, task, {}) == whole


def test_a_pass_that_is_counted_leaves_the_model_as_it_is():
    model = Own(lambda m, x: m.a(m.b(x)), a=nn.Conv2d(3, 4, 3), b=nn.BatchNorm2d(3)).train()
    state, random = snapshot(model), torch.get_rng_state()
    fast = torch.backends.mha.get_fastpath_enabled()
    glt.macs(model, TASK, {})
    assert model.b.training
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in state.items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_weights_that_torch_has_pruned_are_not_too_few():
    model = Own(lambda m, x: m.a(rows(x)), a=pruned(nn.Linear(8, 4)))
    assert sum(glt.macs(model, TASK, {}).values()) >= 24 * 16


class WithoutOperators(nn.Module):
    """Adds messages up itself."""

    def __init__(self, task):
        super().__init__()
        self.a = nn.Linear(task.num_features, task.num_classes)

    def forward(self, x, edge_index, edge_weight=None):
        h = self.a(x)
        m = torch.ones(edge_index.size(1)) if edge_weight is None else edge_weight
        return h.index_add(0, edge_index[1], m.to(h).unsqueeze(1) * h[edge_index[0]])


def test_a_model_of_a_graph_is_told_what_is_missing():
    task = toy(loops=False)
    model = WithoutOperators(task)
    assert glt.macs(model, task, {}) is None
    said = "WithoutOperators has no method macs(num_nodes, num_edges, nnz) that tells what it compu"
    assert glt.macs_reason(model, task, {}).startswith(said)


def test_the_record_says_why_there_are_no_macs():
    chosen = plan("ugs", "karate", "gcn")
    task = toy(loops=False)
    for model in (user(task), build("gcn", task)):
        fields = describe_ticket(chosen, task, model, dense(model, task.num_edges), 0)
        reason = glt.macs_reason(model, task, {})
        assert fields.get("macs_reason", "") == reason
        assert (fields["macs"] is None) == bool(reason)


def test_a_model_that_fails_on_such_an_input_is_named():
    model = Own(lambda m, x: m.a(x), a=nn.Linear(9, 2))
    with pytest.raises(ValueError, match=r"`model` must take .* \[1, 3, 8, 8\], but raises Run"):
        glt.macs(model, TASK, {})


def test_counts_are_of_names_and_shapes_whatever_the_layer():
    task = Pictures()
    model = build("conv_2", task)
    assert count_macs(model, task, {}) == input_macs(model, task.shape, {})
    assert set(glt.macs(model, task, {})) == set(M.prunable(model))
