"""Files of smaller models: they need no code, take any graph, and have no data in them."""

import subprocess
import sys
import zipfile

import pytest
import torch
from test_units import kill
from torch import nn
from torch_geometric.data import Batch as Graphs
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GCNConv, GINConv, GINEConv, SAGEConv, global_mean_pool
from torch_geometric.nn.aggr import MeanAggregation

from graphlth.cli.main import main
from graphlth.compaction.network import load_compact
from graphlth.compaction.own_models import compact_on_data
from graphlth.sparse.features import sparse_features
from graphlth.storage import check_archive
from graphlth.task import Batch

FEATURES, HIDDEN, CLASSES = 6, 8, 3


def gin_conv(a, b):
    return GINConv(nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, b)))


class OfNodes(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.a, self.b = conv(FEATURES, HIDDEN), conv(HIDDEN, CLASSES)

    def forward(self, x, edge_index):
        return self.b(self.a(x, edge_index).relu(), edge_index)


class OfData(OfNodes):
    def forward(self, data):
        return super().forward(data.x, data.edge_index)


class OfGraphs(OfNodes):
    def forward(self, x, edge_index, batch):
        return global_mean_pool(super().forward(x, edge_index), batch)


class OfEdgeFeatures(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = GINEConv(nn.Linear(FEATURES, HIDDEN), edge_dim=2)
        self.b, self.read_out = nn.Linear(HIDDEN, CLASSES), MeanAggregation()

    def forward(self, x, edge_index, edge_attr, batch):
        return self.b(self.read_out(self.a(x, edge_index, edge_attr).relu(), batch))


def graph(nodes, edges, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return Data(
        x=torch.randn(nodes, FEATURES, generator=draw),
        edge_index=torch.randint(nodes, (2, edges), generator=draw),
        edge_attr=torch.rand(edges, 2, generator=draw),
        y=torch.full((nodes,), 2),
    )


def graphs(*sizes):
    return Graphs.from_data_list([graph(n, 2 * n, n) for n in sizes])


def small_of(model, data):
    torch.manual_seed(0)
    batch = Batch(inputs=(), target=data.y, data=data)
    return compact_on_data(kill(model, share=0.3), batch, {"seed": 4})


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def arguments(model, data, names):
    want = model(data) if isinstance(model, OfData) else model(*(data[n] for n in names))
    return [data[n] for n in names], want


CASES = {
    "gcn": (lambda: OfNodes(GCNConv), False),
    "sage": (lambda: OfNodes(SAGEConv), False),
    "gin": (lambda: OfNodes(gin_conv), False),
    "forward(data)": (lambda: OfData(SAGEConv), False),
    "graphs": (lambda: OfGraphs(gin_conv), True),
    "edge features": (OfEdgeFeatures, True),
    "gat": (lambda: OfNodes(GATConv), False),
}


@pytest.mark.parametrize(("build", "many"), CASES.values(), ids=CASES)
def test_a_program_takes_other_graphs_and_torch_alone_runs_it(build, many, tmp_path):
    model = build()
    own = graphs(4, 5) if many else graph(9, 20)
    small = small_of(model, own)
    small.save(tmp_path / "small.pt2")
    network = load_compact(tmp_path / "small.pt2")
    alone = torch.export.load(tmp_path / "small.pt2").module()
    others = [graphs(3, 2, 6), graphs(5)] if many else [graph(7, 12), graph(3, 0), graph(1, 1)]
    for data in others:
        given, want = arguments(model, data, network.names)
        close(network(*given), want)
        close(alone(*given), want)
    assert network.about == {"seed": 4}
    if not many and not isinstance(model, OfData):
        names = network.names[1:]
        close(small.network(sparse_features(own.x), *(own[n] for n in names)), small(own.x))
    if not many:
        close(network(sparse_features(own.x)), small(own.x))
        close(network(own.x), small(own.x))  # on the edges that it has
        close(network(own.x), arguments(model, own, network.names)[1])


@pytest.mark.parametrize("name", ["gcn", "sage", "gin", "graphs"])
def test_onnxruntime_runs_it_on_other_graphs(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    build, many = CASES[name]
    model = build()
    small_of(model, graphs(4, 5) if many else graph(9, 20)).save(tmp_path / "small.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx")
    names = [each.name for each in session.get_inputs()]
    for data in [graphs(3, 2, 6), graphs(5)] if many else [graph(7, 12), graph(2, 3)]:
        given, want = arguments(model, data, names)
        (got,) = session.run(None, {n: t.numpy() for n, t in zip(names, given, strict=True)})
        close(torch.from_numpy(got), want)
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]


def test_no_features_and_no_labels_are_in_the_file(tmp_path):
    data = graph(50, 100)
    data.x = torch.arange(50 * FEATURES).float().view(50, FEATURES) * 1.2345
    small_of(OfNodes(GCNConv), data).save(tmp_path / "small.pt2")
    with zipfile.ZipFile(tmp_path / "small.pt2") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    for row in data.x[1:]:
        assert row[:2].numpy().tobytes() not in content
    assert data.y.numpy().tobytes() not in content
    assert check_archive(tmp_path / "small.pt2", needed=True)


def test_it_is_read_without_models_and_training(tmp_path):
    small_of(OfNodes(SAGEConv), graph(9, 20)).save(tmp_path / "small.pt2")
    code = f"""if True:
        import sys, torch
        from graphlth.compaction.network import load_compact
        print(load_compact({str(tmp_path / "small.pt2")!r})(torch.ones(9, {FEATURES})).shape)
        others = ("graphlth.ticket", "graphlth.training", "graphlth.models", "torch_geometric")
        sys.exit(any(other in sys.modules for other in others))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"torch.Size([9, {CLASSES}])"


class Listed(OfNodes):
    """Turns numbers into Python's, which no program can hold."""

    def forward(self, x, edge_index):
        return super().forward(x, edge_index) * (1 + len(edge_index[0].tolist()))


def test_what_cannot_be_written_or_read_says_why(tmp_path):
    small = small_of(Listed(GCNConv), graph(9, 20))
    with pytest.raises(ValueError, match=r"^`model` must be one that torch.export takes, .* got"):
        small.save(tmp_path / "small.pt2")
    with pytest.raises(ValueError, match=r"^`path` must end in .pt2 or .onnx, got '.*small.bin'"):
        small.save(tmp_path / "small.bin")
    assert not [*tmp_path.iterdir()]
    path = tmp_path / "small.pt2"
    small_of(OfEdgeFeatures(), graphs(4, 5)).save(path)
    with pytest.raises(ValueError, match=r"^`edge_index` must be given: the network is one of"):
        load_compact(path)(torch.ones(3, FEATURES))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="is not a whole compacted network"):
        load_compact(path)


MODULE = """
from torch import nn
from torch_geometric.nn import SAGEConv

class Net(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, hidden: int = 8):
        super().__init__()
        self.a, self.b = SAGEConv(in_channels, hidden), SAGEConv(hidden, out_channels)

    def forward(self, x, edge_index):
        return self.b(self.a(x, edge_index).relu(), edge_index)
"""


def test_the_command_writes_a_program_of_a_model_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_networks.py").write_text(MODULE)
    run = ["run", "ugs", "--task", "karate", "--model", "my_networks:Net", "--out", "out"]
    assert main([*run, "--rounds", "1", "--epochs", "2"]) in (0, None)
    (ticket,) = (str(path) for path in tmp_path.rglob("seed0-round1.safetensors"))
    assert main(["export", ticket, "--out", "small.pt2", "--epochs", "2"]) in (0, None)
    network = load_compact("small.pt2")
    assert network.names == ["x", "edge_index"] and network.about["round"] == 1
    assert network(torch.rand(5, 34), torch.randint(5, (2, 9))).shape == (5, 2)
    assert main(["export", ticket, "--out", "small.bin"]) == 2
    said = "`out` must end in .pt2 or .onnx for a ticket of a model of your own"
    assert said in capsys.readouterr().err
