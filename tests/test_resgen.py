"""ResGEN is PyG's GENConv in residual blocks, under masks and without."""

import pytest
import torch
from torch_geometric.nn import GENConv
from toys import N, build, toy

from graphlth import masks as M
from graphlth.models.graph.resgen import ResGEN
from graphlth.settings.presets import preset
from graphlth.training.forward import forward
from graphlth.training.loop import train

pytestmark = pytest.mark.usefixtures("double_precision")


def by_hand(model, x, edge_index, **how):
    """The blocks of `model` in PyG's layers, in evaluation."""
    h = model.first(x)
    for layer, lin in enumerate(model.convs):
        t = model.t[layer].item() if isinstance(model.t, torch.Tensor) else model.t
        conv = GENConv(h.size(1), h.size(1), aggr="softmax", t=t, num_layers=1, bias=True, **how)
        conv.mlp[0].weight, conv.mlp[0].bias = lin.weight, lin.bias
        inside = h if layer == 0 else model.norms[layer - 1](h).relu()
        h = conv(inside, edge_index) + (0 if layer == 0 else h)
    return model.last(model.norms[-1](h).relu())


@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize("settings", [{}, {"t": 2.0}, {"semi_grad": True}, {"learn_t": True}])
def test_outputs_and_gradients_are_those_of_pyg_on_the_masked_graph(layers, settings):
    task = toy()
    model = build("resgen", task, layers=layers, **settings)
    batch = next(task.batches("train"))
    mask = (torch.arange(task.num_edges) % 3 > 0).double()
    x = task.x.to_dense() if not isinstance(task.x, torch.Tensor) else task.x
    kept = batch.inputs[1].edge_index[:, mask[batch.entries] > 0]
    how = {"aggr_kwargs": {"t": model.t, "semi_grad": True}} if "semi_grad" in settings else {}
    theirs = by_hand(model, x, kept, **how)
    ours = forward(model, batch, {M.EDGES: mask})
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-8)
    weights = [p for n, p in model.named_parameters() if n != "t"]
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), weights) for out in (ours, theirs)),
                    strict=True):  # fmt: skip
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-7)


def test_the_gradient_of_a_temperature_is_that_of_differences():
    task = toy()
    model = build("resgen", task, layers=3, learn_t=True)
    batch = next(task.batches("train"))

    def loss():
        return forward(model, batch, {}).square().sum()

    (grad,) = torch.autograd.grad(loss(), [model.t])
    for layer in range(3):
        with torch.no_grad():
            model.t[layer] += 1e-5
            high = loss()
            model.t[layer] -= 2e-5
            low = loss()
            model.t[layer] += 1e-5
        assert float((high - low) / 2e-5) == pytest.approx(float(grad[layer]), rel=1e-4, abs=1e-8)


def test_ugs_prunes_as_many_weights_of_the_blocks_as_published():
    model = ResGEN(128, 128, 40)
    blocks = [p for n, p in model.named_parameters() if n.startswith("convs") and p.dim() == 2]
    assert sum(p.numel() for p in blocks) == 458_752


def test_macs_count_both_sums_of_the_softmax():
    nnz = {"first.weight": 20, "convs.0.weight": 16, "convs.1.weight": 5, "last.weight": 12}
    assert ResGEN(6, 4, 3, num_layers=2).macs(N, 50, nnz) == {
        "first": 16 * 20, "convs.0": 16 * 16 + 50 * 8, "convs.1": 16 * 5 + 50 * 8,
        "last": 16 * 12,
    }  # fmt: skip


def test_28_layers_train():
    torch.set_default_dtype(torch.float32)
    task = toy()
    model = build("resgen", task, layers=28, hidden=16, learn_t=True)
    *_, last = train(model, task, {}, epochs=3)
    assert last.val >= 0 and all(p.isfinite().all() for p in model.parameters())
    model.reset_parameters()
    assert bool((model.t == 0.1).all())


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"hidden": 1}, "`hidden` must be at least 2"),
     ({"learn_t": True, "semi_grad": True}, "`semi_grad` must be False where `t` is learned")],
)  # fmt: skip
def test_what_cannot_be_is_refused(settings, error):
    with pytest.raises(ValueError, match=error):
        build("resgen", toy(), **settings)


def test_the_presets_of_ogb_say_what_ugs_published():
    found = preset("ugs", "ogbn_arxiv", "resgen")
    assert {n: found.settings[n] for n in ("hidden", "layers", "l1_edges", "l1_weights")} == {
        "hidden": 128, "layers": 28, "l1_edges": 1e-6, "l1_weights": 1e-4}  # fmt: skip
    assert found.settings["self_loops"] and found.protocol == "paper"
    released = preset("ugs", "ogbn_arxiv", "resgen", protocol="released")
    assert released.settings["edges"] == "directed"
    assert preset("ugs", "ogbn_arxiv", "gcn").settings["hidden"] == 256
