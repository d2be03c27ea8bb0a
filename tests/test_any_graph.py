"""A compacted network on graphs that it was not made on: as a module, a program, and compiled."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors import safe_open
from test_compact import MODELS, ticket_of, trained
from torch.func import functional_call
from toys import N, build, data, toy

import graphlth as glt
from graphlth import masks as M
from graphlth.compaction import codec, layers
from graphlth.compaction.adjacency import Adjacency
from graphlth.compaction.network import Compact, load_compact
from graphlth.rewinding import snapshot
from graphlth.sparse.features import sparse_features
from graphlth.storage import check_archive
from graphlth.ticket import Ticket
from graphlth.training.forward import forward

models = pytest.mark.parametrize(("name", "settings"), MODELS)
KINDS = [("gcn", {}), ("gcn", {"degree": "out"}), ("sage", {}), ("gin", {"layers": 3}), ("gat", {})]
kinds = pytest.mark.parametrize(("name", "settings"), KINDS, ids=str)
GRAPHS = [  # nodes, edges
    (7, [(0, 1), (1, 2), (2, 2), (0, 1), (5, 1), (1, 0)]),  # a loop, one edge twice, isolated nodes
    (23, [(i, (7 * i + 3) % 20) for i in range(20)]),  # more nodes than its own
    (3, []),
    (1, [(0, 0)]),
]


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def other_graphs(features=6):
    """Features, edges, and weights of edges, one of which is 0, of other graphs."""
    draw = torch.Generator().manual_seed(5)
    for nodes, edges in GRAPHS:
        weight = torch.rand(len(edges), generator=draw) + 0.1
        weight[1:2] = 0
        ends = torch.tensor(edges, dtype=torch.long).view(-1, 2).T
        yield torch.randn(nodes, features, generator=draw), ends, weight


@torch.no_grad()
def masked(model, ticket, x, edge_index, weight=None):
    """What the model, its weights masked, computes on another graph."""
    weights = M.masked_values(dict(model.named_parameters()), M.only(ticket.masks, "weights"))
    graph = glt.Graph(edge_index, len(x))
    return functional_call(model, weights, (x, graph, *([] if weight is None else [weight])))


def small_of(name, settings, kept=0.5, task=None):
    task = toy() if task is None else task
    model = trained(name, task, **settings)
    ticket = ticket_of(model, task, kept)
    return ticket.compact(model, task, layout="dense"), model, ticket, task


@models
@pytest.mark.parametrize("kept", [1.0, 0.4, 0.0])
def test_it_computes_what_the_masked_model_does_on_any_graph(name, settings, kept):
    small, model, ticket, _ = small_of(name, settings, kept)
    for x, edge_index, weight in other_graphs():
        want = masked(model, ticket, x, edge_index)
        close(small.network(x, edge_index), want)
        close(small.on(glt.Graph(edge_index, len(x)))(x), want)
        want = masked(model, ticket, x, edge_index, weight)
        close(small.network(x, edge_index, weight), want)
        laid = small.on(glt.Graph(edge_index, len(x)), weight)
        close(laid(x), want)
        close(laid(sparse_features(x)), want)
        there = weight != 0  # an edge of weight 0 is absent
        close(small.network(x, edge_index[:, there], weight[there]), want)


@models
def test_each_layer_may_have_weights_of_its_own(name, settings):
    small, model, ticket, _ = small_of(name, settings)
    for x, edge_index, weight in other_graphs():
        each = tuple(weight * (i + 1) for i in range(model.num_layers))
        want = masked(model, ticket, x, edge_index, each)
        each += each[-1:] * (len(small.layers) - len(each))  # a map that reads out is a layer, too
        close(small.network(x, edge_index, each), want)
        close(small.on(glt.Graph(edge_index, len(x)), each)(x), want)
        with pytest.raises(ValueError, match=r"^`weight` must be .* one for each of \d+, got \d+$"):
            small.network(x, edge_index, each + each)


def test_its_own_graph_is_one_of_them():
    small, _, _, task = small_of("gcn", {})
    close(small.network(task.x, small.edge_index), small(task.x))
    close(small.on(small.parts.graph)(task.x), small(task.x))
    assert small.edge_index.size(1) == small.graph.num_edges - N  # without the model's loops


def test_what_is_no_graph_for_it_is_refused():
    small, *_ = small_of("gcn", {})
    with pytest.raises(ValueError, match=r"^`x` must be \[N, 6\], got \[7, 5\]"):
        small.network(torch.ones(7, 5), torch.zeros(2, 0, dtype=torch.long))
    with pytest.raises(ValueError, match=r"^`weight` must be \[3\], one or 2, got \[\[2\]\]"):
        small.on(glt.Graph(torch.zeros(2, 3, dtype=torch.long), 4), torch.ones(2))


PARTS = [  # what a model may tell wrongly                                   what is said
    ({"adjacency": Adjacency("max")}, "`norm` must be one of sum, mean, in, out, got 'max'"),
    ({"adjacency": Adjacency("sum", torch.ones(3))}, r"`loops` must be \[1\] or \[2\], got \[3\]"),
]


@pytest.mark.parametrize(("wrong", "line"), PARTS)
def test_parts_that_do_not_fit_are_refused(wrong, line):
    parts = vars(small_of("gcn", {})[0].parts)
    with pytest.raises(ValueError, match=f"^{line}"):
        Compact(layers.Parts(**parts | wrong))
    filled = [layers.Layer(a.weight, torch.ones(1)) for a in parts["layers"]]
    with pytest.raises(ValueError, match=r"^`edges` must be None in layers whose A follows"):
        Compact(layers.Parts(**parts | {"layers": filled}))


# --- programs ------------------------------------------------------------------------------------

RUN = """
import pickle, sys
import torch
sys.modules["graphlth"] = sys.modules["torch_geometric"] = None  # neither can be imported
graphs, paths = pickle.load(open("given", "rb"))
networks = [torch.export.load(path).module() for path in paths]
with torch.no_grad():
    out = [[network(*graph) for graph in graphs] for network in networks]
pickle.dump(out, open("made", "wb"))
"""


def test_torch_alone_runs_the_programs_on_any_graph(tmp_path):
    import pickle

    graphs = [graph[:2] for graph in other_graphs()]
    made = [small_of(*kind) for kind in KINDS]
    paths = [str(tmp_path / f"{i}.pt2") for i in range(len(made))]
    for (small, *_), path in zip(made, paths, strict=True):
        small.save(path)
    (tmp_path / "given").write_bytes(pickle.dumps((graphs, paths)))
    env = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, check=True, env=env)
    outputs = pickle.loads((tmp_path / "made").read_bytes())
    for (small, model, ticket, task), path, out in zip(made, paths, outputs, strict=True):
        for (x, edge_index), got in zip(graphs, out, strict=True):
            close(got, masked(model, ticket, x, edge_index))
        network = load_compact(path)
        assert network.names == ["x", "edge_index"] and network.about == {"round": 3}
        close(network(task.x), small(task.x))  # on the edges that it has
        close(network(*graphs[0]), out[0])


@kinds
def test_onnxruntime_runs_the_programs_on_any_graph(name, settings, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    small, model, ticket, _ = small_of(name, settings)
    small.save(tmp_path / "small.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx")
    for x, edge_index, _ in other_graphs():
        (got,) = session.run(None, {"x": x.numpy(), "edge_index": edge_index.numpy()})
        close(torch.from_numpy(got), masked(model, ticket, x, edge_index))


@pytest.mark.parametrize("name", ["gcn", "gat"])
def test_a_program_of_weighted_edges_reads_weights(name, tmp_path):
    graph = data()
    graph.edge_weight = torch.linspace(0.2, 1.5, graph.edge_index.size(1))
    small, model, ticket, task = small_of(
        name, {}, task=glt.NodeTask(graph, edges="directed", name="toy")
    )
    small.save(tmp_path / "small.pt2")
    network = load_compact(tmp_path / "small.pt2")
    assert network.names == ["x", "edge_index", "edge_weight"]
    close(network(task.x), small(task.x))
    for x, edge_index, weight in other_graphs():
        close(network(x, edge_index, weight), masked(model, ticket, x, edge_index, weight))


def test_edges_of_single_layers_are_in_no_program(tmp_path):
    task = toy()
    model = trained("gcn", task)
    masks = M.ones(model, task.num_edges, 2)
    masks["edges.0"][::2] = 0
    small = Ticket(snapshot(model), masks, 1).compact(model, task, layout="dense")
    small.save(tmp_path / "small.pt2")
    network = load_compact(tmp_path / "small.pt2")
    with pytest.raises(ValueError, match=r"^`edge_index` must be given: the network is one of"):
        network(task.x)
    x, edge_index, _ = next(other_graphs())
    close(network(x, edge_index), small.network(x, edge_index))
    small.save(tmp_path / "small")
    close(load_compact(tmp_path / "small")(task.x), small(task.x))


def test_no_features_and_no_labels_are_in_a_program(tmp_path):
    small, _, _, task = small_of("gcn", {})
    small.save(tmp_path / "small.pt2")
    small.save(tmp_path / "small.onnx")
    with zipfile.ZipFile(tmp_path / "small.pt2") as archive:
        content = [archive.read(name) for name in archive.namelist()]
    rows = task.x[task.x.any(1)]
    for member in [*content, (tmp_path / "small.onnx").read_bytes()]:
        assert not any(row[:2].numpy().tobytes() in member for row in rows)
        assert task.y.numpy().tobytes() not in member
        assert small.edge_index.contiguous().numpy().tobytes() not in member  # the kept edges are
        # coded, in the one place that says what the file is
    assert check_archive(tmp_path / "small.pt2", needed=True)


def test_a_program_and_the_network_take_the_features_of_a_task_in_either_form(tmp_path):
    small, *_, task = small_of("gcn", {})
    x = sparse_features(task.x)
    close(small.network(x, small.edge_index), small(task.x))
    small.save(tmp_path / "small.pt2")
    close(load_compact(tmp_path / "small.pt2")(x), small(task.x))


def test_onnx_is_refused_with_what_reads_it(tmp_path):
    (tmp_path / "small.onnx").write_bytes(b"onnx")
    with pytest.raises(ValueError, match=r"^`path` must be a .pt2 or .* onnxruntime.InferenceSess"):
        load_compact(tmp_path / "small.onnx")


# --- files of earlier versions -------------------------------------------------------------------


@pytest.mark.parametrize("version", ["graphlth-compact-1", "graphlth-compact-2"])
def test_a_file_of_an_earlier_version_is_a_network_of_its_own_graph(version, tmp_path, monkeypatch):
    small, *_, task = small_of("gcn", {})
    as_before = layers.Parts(small.graph, small.layers, small.features, small.num_features, "relu")
    monkeypatch.setattr(codec, "FORMAT", version)
    content = Compact(as_before).to_bytes()
    assert json.loads(content[8 : content.index(b"}}", 8) + 2] or "{}") is not None
    (tmp_path / "small").write_bytes(content)
    monkeypatch.undo()
    again = load_compact(tmp_path / "small")
    close(again(task.x), small(task.x))
    with pytest.raises(ValueError, match=r"export its ticket again"):
        again.save(tmp_path / "small.pt2")
    assert not (tmp_path / "small.pt2").exists()


def test_a_file_without_a_slope_has_that_of_gat(tmp_path):
    small, *_, task = small_of("gat", {})
    small.save(path := tmp_path / "small")
    with safe_open(path, "np") as file:
        arrays = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        content = json.loads(file.metadata()["graphlth"])
    assert (content.pop("slope"), content.pop("digest") != "") == (0.2, True)
    content["format"] = "graphlth-compact-3"
    content["digest"] = codec.arrays_digest(codec._described(arrays), content)
    path.write_bytes(codec.serialise(arrays, {"graphlth": json.dumps(content)}))
    close(load_compact(path)(task.x), small(task.x))


def test_a_slope_is_kept_in_the_file(tmp_path):
    small, *_, task = small_of("gat", {"negative_slope": 0.5, "add_self_loops": False})
    small.save(tmp_path / "small")
    again = load_compact(tmp_path / "small")
    close(again(task.x), small(task.x))
    close(again.network(task.x, again.edge_index), small(task.x))
    assert again.network.slope == 0.5


# --- torch.compile -------------------------------------------------------------------------------


@kinds
def test_the_network_compiles_whole_and_the_compacted_one_as_it_is(name, settings):
    small, model, ticket, task = small_of(name, settings)
    torch.compiler.reset()  # the number of times that one function is compiled is limited
    compiled = torch.compile(small.network, backend="eager", fullgraph=True, dynamic=True)
    for x, edge_index, weight in [*other_graphs()][:3]:
        close(compiled(x, edge_index), masked(model, ticket, x, edge_index))
        close(compiled(x, edge_index, weight), masked(model, ticket, x, edge_index, weight))
    again = torch.compile(small, backend="eager")
    assert torch.equal(again(task.x), small(task.x))
    assert torch.equal(again(sparse_features(task.x)), small(sparse_features(task.x)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch, about its own calls
@pytest.mark.parametrize("name", ["gcn", "gat"])
def test_inductor_computes_what_the_network_does(name):
    small, model, ticket, _ = small_of(name, {})
    x, edge_index, _ = next(other_graphs())
    close(torch.compile(small.network)(x, edge_index), masked(model, ticket, x, edge_index))


@pytest.mark.filterwarnings("ignore")  # of the compiler, about gradients that it asks for
@pytest.mark.parametrize("name", ["gcn", "sage", "gin", "gat", "resgcn", "resgen"])
def test_mask_0_removes_an_edge_of_a_compiled_model(name):
    task = toy()
    model = build(name, task, layers=2)
    compiled = torch.compile(model, backend="eager")
    (batch,) = task.batches("test")
    m = (torch.arange(task.num_edges) % 3 > 0).float().requires_grad_()
    out = forward(compiled, batch, {M.EDGES: m})
    x, graph = batch.inputs
    close(out, model(x, graph.subgraph(m.detach()[task.entries] != 0)))
    (grad,) = torch.autograd.grad(out.square().sum(), m)
    eager = forward(model, batch, {M.EDGES: m})
    assert torch.equal(out, eager)
    (want,) = torch.autograd.grad(eager.square().sum(), m)
    assert torch.equal(grad, want) and grad.any()
