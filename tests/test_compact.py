"""A compacted network computes what the masked model computes, with less."""

import copy
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch_geometric.nn import GCN as PyGGCN
from toys import N, build, toy, with_features

from graphlth import masks as M
from graphlth.compaction import compact
from graphlth.compaction.layers import ACTIVATIONS, LAYOUTS, Layer, Parts
from graphlth.compaction.liveness import group_columns, live_units
from graphlth.compaction.network import Compact, load_compact
from graphlth.models.graph.gcn import GCN
from graphlth.rewinding import snapshot
from graphlth.sparse.features import sparse_features
from graphlth.sparse.kernels._memory import STRIP
from graphlth.ticket import Ticket, dense, load
from graphlth.training.forward import forward

MODELS = [
    ("gcn", {}), ("gcn", {"degree": "out"}), ("gcn", {"layers": 1}), ("gcn", {"layers": 3}),
    ("gin", {}), ("gin", {"layers": 3}), ("sage", {}), ("sage", {"layers": 3}),
    ("gat", {}), ("gat", {"layers": 3}), ("gat", {"layers": 1, "bias": False}),
    ("gcn", {"hidden": 70}), ("sage", {"hidden": 70}),
    ("gin", {"aggregation": "mean"}), ("gin", {"readout": "layers", "layers": 1}),
    ("gin", {"aggregation": "mean", "readout": "layers"}), ("gin", {"readout": "layers"}),
    ("gin", {"aggregation": "mean", "readout": "layers", "layers": 4}),
    ("gat", {"negative_slope": 0.01, "add_self_loops": False, "bias": False}),
]  # fmt: skip
models = pytest.mark.parametrize(("name", "settings"), MODELS)
layouts = pytest.mark.parametrize("layout", LAYOUTS[1:])
universes = pytest.mark.parametrize("edges", ["undirected", "directed"])


pytestmark = pytest.mark.usefixtures("double_precision")


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-9)


def ticket_of(model, task, kept, seed=0):
    """Masks that keep every entry with probability `kept`."""
    draw = torch.Generator().manual_seed(seed)
    masks = {
        n: (torch.rand(m.shape, generator=draw) < kept).to(m)
        for n, m in M.ones(model, task.num_edges).items()
    }
    return Ticket(snapshot(model), masks, 3)


def in_dense_form(task):
    return with_features(task, task.x.to_dense())


def trained(name, task, **settings):
    """A model whose every parameter is away from where it started."""
    model = build(name, task, **settings)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=draw))
    return model


@torch.no_grad()
def expected(model, task, ticket):
    """The output of the masked model."""
    return forward(model, next(task.batches("test")), ticket.masks)


@models
@layouts
@universes
def test_it_computes_what_the_masked_model_computes(name, settings, layout, edges):
    task = toy(edges)
    model = trained(name, task, **settings)
    sparse = sparse_features(task.x)
    for kept in (1.0, 0.6, 0.25, 0.08, 0.0):
        ticket = ticket_of(model, task, kept)
        small = ticket.compact(model, task, layout=layout)
        want = expected(model, task, ticket)
        close(small(task.x), want)
        close(small(sparse), want)
        close(small(sparse), want)  # from what the call before has laid out


@models
def test_single_precision_and_threads_give_the_same(name, settings):
    torch.set_default_dtype(torch.float32)
    task = in_dense_form(toy(num_features=40, density=0.2))
    model = trained(name, task, **settings)
    ticket = ticket_of(model, task, 0.5)
    for layout in LAYOUTS:
        small = ticket.compact(model, task, x=sparse_features(task.x), layout=layout)
        for x in (task.x, sparse_features(task.x)):
            torch.testing.assert_close(small(x), expected(model, task, ticket))


def test_many_threads_give_what_one_gives(monkeypatch):
    from graphlth.sparse.kernels import _strips

    task = in_dense_form(toy(num_features=40, density=0.2))
    for name in ("gcn", "sage"):
        model = trained(name, task, hidden=200)
        small = ticket_of(model, task, 0.5).compact(model, task, layout="blocks")
        want = small(sparse_features(task.x))
        monkeypatch.setattr(_strips, "SHARED", 0)
        torch.set_num_threads(3)
        try:
            close(small(sparse_features(task.x)), want)
        finally:
            torch.set_num_threads(1)
        monkeypatch.undo()


def test_it_is_a_constant():
    task = toy()
    model = build("gcn", task, dropout=0.9)
    small = ticket_of(model, task, 0.5).compact(model, task).train()
    assert not small.training and not list(small.parameters())
    before = small(task.x)
    assert not before.requires_grad
    with torch.no_grad():
        model.weights[0].zero_()
    assert torch.equal(small(task.x), before)


def test_layers_that_no_model_here_has_are_computed_too():
    task = toy()
    draw = torch.Generator().manual_seed(0)

    def layer(i, o, own):
        w, v = torch.randn(2, i, o, generator=draw)
        edges = torch.randn(task.graph.num_edges, generator=draw)
        return Layer(w, edges, v if own else None, bias=torch.randn(o, generator=draw))

    for activation in ("relu", "elu"):
        layers = [layer(6, 5, True), layer(5, 2, False)]
        parts = Parts(task.graph, layers, torch.arange(6), 6, activation)
        small = Compact(parts, "blocks")
        h = task.x
        for i, each in enumerate(layers):
            a = torch.zeros(N, N).index_put_((*task.graph.edge_index.flip(0),), each.edges,
                                             accumulate=True)  # fmt: skip
            own = 0 if each.own is None else h @ each.own
            h = a @ h @ each.weight + own + each.bias
            h = h if i else ACTIVATIONS[activation](h)
        close(small(sparse_features(task.x)), h)
    with pytest.raises(ValueError, match=r"^`adjacency` must be told by `parts` of a network"):
        small.network(task.x, task.graph.edge_index)
    for call in (small.program, partial(small.on, task.graph)):
        with pytest.raises(ValueError, match=r"^`adjacency` must be told by `parts` of a network"):
            call()


def test_what_other_networks_left_in_memory_is_not_read():
    from graphlth.sparse.kernels import _strips

    task = toy()
    model = trained("sage", task, layers=3)
    small = dense(model, task.num_edges).compact(model, task, layout="dense")
    want = small(sparse_features(task.x))
    for held in vars(_strips._LOCAL)["held"].values():
        held.fill(np.nan)
    close(small(sparse_features(task.x)), want)


def test_features_that_change_in_place_are_read_again():
    task = toy()
    model = build("gcn", task)
    ticket = dense(model, task.num_edges)
    for layout in LAYOUTS[1:]:
        small = ticket.compact(model, task, layout=layout)
        for x in (task.x.clone(), sparse_features(task.x)):
            once = small(x)
            values = x if isinstance(x, torch.Tensor) else x.values
            values.mul_(2)
            close(small(x), 2 * once)  # the network is positively homogeneous


# --- what is gone --------------------------------------------------------------------------------


LIVE = [  # matrices between the levels                    which units stay
    ([[[1, 0], [0, 0]], [[1], [1]]], [[1, 0], [1, 0], [1]]),  # no weight comes in
    ([[[1, 1], [1, 1]], [[1], [0]]], [[1, 1], [1, 0], [1]]),  # none goes out
    (
        [[[1, 1]], [[0, 1], [1, 0]], [[0], [1]]],
        [[1], [1, 0], [0, 1], [1]],
    ),  # 0 -> 1, a dead end at 0
    ([[[1, 1]], [[0, 0], [0, 0]], [[1], [1]]], [[0], [0, 0], [0, 0], [1]]),  # cut in two
    ([[[0, 0]], [[1], [1]]], [[0], [0, 0], [1]]),  # nothing comes in at all
]


@pytest.mark.parametrize(("maps", "stay"), LIVE)
def test_units_that_are_on_no_path_are_dead(maps, stay):
    found = live_units([torch.tensor(m) for m in maps])
    assert [k.int().tolist() for k in found] == stay


def test_a_bias_or_attention_keeps_a_unit_alive():
    maps = [torch.tensor([[1, 0, 1, 0]]), torch.tensor([[1], [1], [0], [0]])]
    assert live_units(maps)[1].tolist() == [True, False, False, False]
    biases = [torch.tensor([0.0, 2.0, 0.0, 0.0]), torch.zeros(1)]
    assert live_units(maps, biases)[1].tolist() == [True, True, False, False]
    heeded = torch.tensor([[True, True], [True, True]])  # two heads; nobody reads the second
    assert live_units(maps, [], [heeded, None])[1].tolist() == [True, False, False, False]
    maps[0] = torch.tensor([[1, 1, 1, 1]])
    maps[1] = torch.tensor([[1], [0], [0], [0]])
    assert live_units(maps, [], [heeded, None])[1].tolist() == [True, True, False, False]


def without_units(model, task, dead, unread):
    """A dense ticket but for the incoming weights of `dead` and the outgoing ones of `unread`."""
    ticket = dense(model, task.num_edges)
    for n, m in ticket.masks.items():
        if n.endswith(".0"):
            m[:, dead] = 0
        elif n.endswith(".1"):
            m[unread] = 0
    return ticket


@pytest.mark.parametrize("name", ["gcn", "gin", "sage"])
def test_dead_units_features_and_edges_are_gone(name):
    task = toy()
    model = trained(name, task, hidden=8)
    ticket = without_units(model, task, [1, 4], [4, 6])
    for n, m in ticket.masks.items():
        if n.endswith(".0"):
            m[[0, 5]] = 0
    ticket.masks[M.EDGES][::2] = 0
    small = ticket.compact(model, task, layout="dense")
    assert [list(layer.weight.shape) for layer in small.layers] == [[4, 5], [5, 2]]
    assert small.features.tolist() == [1, 2, 3, 4]
    kept = int(ticket.masks[M.EDGES][task.entries].sum())
    assert small.graph.num_edges == kept + (0 if name == "sage" else N)
    close(small(task.x), expected(model, task, ticket))


def test_units_that_read_the_same_features_lie_side_by_side():
    reads = torch.tensor([[1, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 1], [0, 1, 0, 1, 1, 0],
                          [0, 1, 0, 1, 0, 0], [1, 0, 1, 0, 0, 0]]).bool()  # fmt: skip
    assert group_columns(reads, 3).tolist() == [0, 2, 5, 1, 3, 4]
    assert group_columns(reads, 1).tolist() == [0, 1, 2, 3, 5, 4]  # the fullest first
    assert group_columns(reads[:, :0], 3).tolist() == []


def test_blocks_of_units_that_read_alike_have_few_features():
    task, draw = toy(), torch.Generator().manual_seed(0)
    model = build("gcn", task, hidden=4 * STRIP)
    half = torch.rand(4 * STRIP, generator=draw) < 0.5
    masks = M.ones(model, task.num_edges)
    masks["weights.0"][::2, half], masks["weights.0"][1::2, ~half] = 0, 0
    ticket = Ticket(snapshot(model), masks, 1)
    weight = ticket.compact(model, task, layout="blocks").layers[0].weight
    reads = [(strip != 0).any(1).sum().item() for strip in weight.split(STRIP, dim=1)]
    assert sum(reads) <= 2.5 * len(weight), "at most one strip reads all features"


def test_gat_loses_heads_that_nobody_reads_and_units_that_attention_does_not_read_either():
    task = toy()
    model = trained("gat", task, hidden=4, heads=3, bias=False)
    ticket = dense(model, task.num_edges)
    ticket.masks["weights.1"][4:8] = 0  # all of head 1
    ticket.masks["weights.1"][0] = 0  # read by the attention alone
    ticket.masks["weights.1"][[1, 8]] = 0
    for side in ("source", "target"):
        ticket.masks[f"{side}_attention.0"][0, 1] = 0
        ticket.masks[f"{side}_attention.0"][2, 0] = 0
    small = ticket.compact(model, task, layout="dense")
    assert list(small.layers[0].sent.shape) == [2, 3]  # heads 0 and 2, units 0, 2, 3 and 1, 2, 3
    assert list(small.layers[1].weight.shape) == [6, 2]
    close(small(task.x), expected(model, task, ticket))


def test_heads_that_lose_different_numbers_of_units_are_padded():
    task = toy()
    model = trained("gat", task, hidden=4, heads=2, bias=False)
    ticket = dense(model, task.num_edges)
    ticket.masks["weights.0"][:, 5:] = 0
    small = ticket.compact(model, task, layout="dense")
    assert list(small.layers[0].sent.shape) == [2, 4]
    assert int(small.layers[0].weight.count_nonzero(0).count_nonzero()) == 5
    close(small(task.x), expected(model, task, ticket))


# --- the graph argument --------------------------------------------------------------------------


def test_graph_and_edge_index_stand_for_a_task_with_an_entry_for_each_edge():
    task = toy("directed")
    model = build("gcn", task)
    ticket = ticket_of(model, task, 0.5)
    want = expected(model, task, ticket)
    close(ticket.compact(model, task.graph, x=task.x)(task.x), want)
    close(ticket.compact(model, task.graph.edge_index, x=task.x)(task.x), want)
    close(ticket.compact(model, task.graph)(task.x), want)
    with pytest.raises(ValueError, match="`x` must be given with an edge_index"):
        ticket.compact(model, task.graph.edge_index)
    pairs = toy("undirected")
    with pytest.raises(ValueError, match="its mask 'edges' has shape"):
        ticket_of(model, pairs, 0.5).compact(model, pairs.graph)


def test_a_ticket_without_an_edge_mask_keeps_every_edge():
    task = toy()
    model = build("gcn", task)
    ticket = dense(model, task.num_edges, edges=False)
    assert ticket.compact(model, task).graph.num_edges == task.graph.num_edges + N


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_of_somebody_else_loses_its_edges_and_its_dead_units():
    task = toy(loops=False)
    model = PyGGCN(task.num_features, 5, 2, task.num_classes).to(torch.float64).eval()
    ticket = ticket_of(model, task, 0.5)
    bound = ticket.compact(model, task)
    close(bound(task.x), expected(model, task, ticket))
    close(bound(sparse_features(task.x)), expected(model, task, ticket))
    assert bound.edge_index.size(1) == int(ticket.masks[M.EDGES][task.entries].sum())
    read = ticket.masks["convs.1.lin.weight"].any(0)  # [5] the units that the next layer reads
    assert 0 < read.sum() < 5 and bound.model.convs[0].lin.weight.size(0) == read.sum()
    assert bound.removed == {"convs.0.lin.weight": int((~read).sum())}
    assert not any(p.requires_grad for p in bound.parameters())


REFUSED = [  # what is handed to `compact`                       what is wrong with it
    (lambda t, m, k: t.compact(m, k, layout="csr"), "`layout` must be one of auto, dense, .*'csr'"),
    (lambda t, m, k: t.compact(GCN(6, 5, 2), k), "`ticket` does not fit `model`"),
    (lambda t, m, k: t.compact(m, toy(density=0.5), layout="dense")(torch.ones(3, 6)),
     r"`x` must be torch.float64 \[16, 6\], got torch.float64 \[3, 6\]"),
    (lambda t, m, k: t.compact(m, k)(k.x.float()), r"`x` must be torch\.float64 .* torch\.float32"),
    (lambda t, m, k: Compact(t.compact(m, k).parts, "auto"), "`layout` must be one of"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "line"), REFUSED)
def test_what_does_not_fit_is_refused(call, line):
    task = toy()
    model = build("gcn", task)
    with pytest.raises(ValueError, match=line):
        call(dense(model, task.num_edges), model, task)


def test_auto_takes_the_layout_that_was_fastest(monkeypatch):
    task = toy()
    model = build("gcn", task)
    for best in LAYOUTS[1:]:
        times = {name: 1.0 + (name != best) for name in LAYOUTS[1:]}
        monkeypatch.setattr(compact, "time_layouts", lambda networks, x, times=times: times)
        assert dense(model, task.num_edges).compact(model, task).layout == best
    unmeasured = dense(model, edges=False).compact(model, task.graph)
    assert unmeasured.layout == "dense"


# --- files ---------------------------------------------------------------------------------------


@models
def test_a_file_holds_the_same_network(name, settings, tmp_path):
    task = toy()
    model = trained(name, task, **settings)
    for kept in (1.0, 0.3, 0.0):
        small = ticket_of(model, task, kept).compact(model, task, layout="blocks")
        small.save(tmp_path / "small.safetensors")
        again = load_compact(tmp_path / "small.safetensors")
        assert torch.equal(again(task.x), small(task.x))
        assert (again.layout, again.about) == ("blocks", {"round": 3})
        assert again.to_bytes() == (tmp_path / "small.safetensors").read_bytes() == small.to_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


def test_a_sparse_network_has_a_small_file():
    torch.set_default_dtype(torch.float32)
    task = toy(num_features=800)
    model = build("gcn", task, hidden=256)
    whole = 4 * sum(p.numel() for p in model.parameters())
    for kept, most in ((0.13, 0.2), (0.02, 0.05)):
        ticket = ticket_of(model, task, kept)
        assert len(ticket.compact(model, task, layout="dense").to_bytes()) < most * whole


def test_a_file_is_read_without_models_and_training(tmp_path):
    task = toy()
    model = build("gcn", task)
    small = ticket_of(model, task, 0.5).compact(model, task)
    small.save(tmp_path / "small.safetensors")
    code = f"""if True:
        import sys, torch
        from graphlth.compaction.network import load_compact
        torch.set_default_dtype(torch.float64)
        small = load_compact({str(tmp_path / "small.safetensors")!r})
        print(small(torch.ones({N}, {task.num_features})).sum().item())
        others = ("ticket", "masks", "task", "dataset", "train", "models", "tasks", "experiment")
        sys.exit(any(f"graphlth.{{other}}" in sys.modules for other in others))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == small(torch.ones_like(task.x)).sum().item()


def test_a_damaged_file_is_refused_and_a_failed_write_leaves_none(tmp_path):
    task = toy()
    model = build("gcn", task)
    small = ticket_of(model, task, 0.5).compact(model, task)
    path = tmp_path / "small.safetensors"
    small.save(path)
    with pytest.raises(ValueError, match=r"a compacted network, which `graphlth.load_compact` rea"):
        load(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"small\.safetensors is not a whole compacted network"):
        load_compact(path)
    dense(model, task.num_edges).save(path)
    with pytest.raises(ValueError, match="its format is 'graphlth-ticket-2'"):
        load_compact(path)
    for what in ("'sources'", "'counts'", "'0.weight.values'"):
        path.write_bytes(
            whole.replace(f'"{what[1:-1]}"'.encode(), b'"' + b"x" * (len(what) - 2) + b'"')
        )
        with pytest.raises(ValueError, match="is not a whole compacted network"):
            load_compact(path)
    with pytest.raises(FileNotFoundError, match="no compacted network at"):
        load_compact(tmp_path / "gone")
    with pytest.raises(OSError, match=r"cannot write .*No such file or directory"):
        small.save(tmp_path / "gone" / "small.safetensors")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"cannot write `.*pipe`: not a file"):
        small.save(tmp_path / "pipe")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pipe", "small.safetensors"]


# --- other ways to run it ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gcn", "gin", "sage", "gat"])
def test_other_types_take_the_kernel_of_the_message_passing(name):
    task = toy()
    model = trained(name, task)
    small = ticket_of(model, task, 0.5).compact(model, task, layout="blocks")
    want = small(task.x).float()
    rough = copy.deepcopy(small).to(torch.bfloat16)
    x = task.x.to(torch.bfloat16)
    torch.testing.assert_close(rough(x).float(), want, atol=0.3, rtol=0.1)
    torch.testing.assert_close(rough(sparse_features(x)).float(), want, atol=0.3, rtol=0.1)
    single = copy.deepcopy(small).float()
    torch.testing.assert_close(single(task.x.float()), want, atol=1e-4, rtol=1e-4)
    assert torch.equal(small(task.x).float(), want)


def test_it_can_be_copied_and_pickled(tmp_path):
    task = toy()
    model = build("sage", task)
    small = ticket_of(model, task, 0.5).compact(model, task)
    want = small(task.x)
    assert torch.equal(copy.deepcopy(small)(task.x), want)
    torch.save(small, tmp_path / "whole.pt")
    assert torch.equal(torch.load(tmp_path / "whole.pt", weights_only=False)(task.x), want)
    zeros = {n: torch.zeros_like(t) if t.is_floating_point() else t
             for n, t in small.state_dict().items()}  # fmt: skip
    small.load_state_dict(zeros)
    assert not small(task.x).any()
