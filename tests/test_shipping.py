"""Every kind of ticket of a graph is written to files that others read, and measured."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch_geometric.data import Data, HeteroData
from torch_geometric.nn import GCNConv, SAGEConv, to_hetero
from toys import build, toy

import graphlth as glt
from graphlth import masks as M
from graphlth.analysis.latency import latency
from graphlth.cli.main import main
from graphlth.rewinding import snapshot
from graphlth.ticket import Ticket

TASK = """
import torch
from torch_geometric.data import Data
import graphlth as glt

def molecules():
    draw = torch.Generator().manual_seed(0)
    def graph(i):
        ends = torch.randint(6, (2, 9), generator=draw)
        return Data(x=torch.rand(6, 4, generator=draw), edge_index=ends, y=torch.tensor([i % 2]))
    return glt.GraphTask([graph(i) for i in range(40)], name="molecules")
"""


class Net(nn.Module):
    def __init__(self, conv, features, classes):
        super().__init__()
        self.a, self.b = conv(features, 16), conv(16, classes)

    def forward(self, x, edge_index):
        return self.b(self.a(x, edge_index).relu(), edge_index)


class Weighted(Net):
    def forward(self, x, edge_index, edge_weight=None):
        return self.b(self.a(x, edge_index, edge_weight).relu(), edge_index, edge_weight)


@pytest.fixture
def molecules(tmp_path, monkeypatch):
    """A task of whole graphs, in a file of the user's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graphs.py").write_text(TASK)
    scope = {}
    exec(TASK, scope)
    return scope["molecules"]()


def nodes(weights=False):
    draw = torch.Generator().manual_seed(1)
    ends = torch.randint(30, (2, 100), generator=draw).unique(dim=1)
    ends = ends[:, ends[0] != ends[1]][:, :80]
    graph = Data(x=torch.rand(30, 6, generator=draw), y=torch.arange(30) % 2, edge_index=ends)
    if weights:
        graph.edge_weight = torch.rand(80, generator=draw) + 0.1
    return glt.NodeTask(graph, split="random")


def links():
    draw = torch.Generator().manual_seed(1)
    return glt.LinkTask(Data(x=torch.rand(30, 6, generator=draw),
                             edge_index=torch.randint(30, (2, 200), generator=draw)))  # fmt: skip


def films():
    draw = torch.Generator().manual_seed(2)
    graph = HeteroData()
    graph["user"].x, graph["film"].x = torch.rand(20, 6), torch.rand(15, 6)
    graph["user"].y = torch.arange(20) % 2
    ends = torch.stack([torch.randint(n, (60,), generator=draw) for n in (20, 15)])
    graph["user", "rates", "film"].edge_index = ends
    graph["film", "rated", "user"].edge_index = ends.flip(0)
    return glt.NodeTask(graph, node_type="user", split="random"), graph


def of_films():
    task, graph = films()
    return task, to_hetero(Net(SAGEConv, 6, 2), graph.metadata())


def own(task, kind=Net, conv=SAGEConv):
    return task, kind(conv, task.num_features, task.num_classes)


CASES = {
    "unweighted": lambda: own(nodes()),
    "weights that the model does not read": lambda: own(nodes(weights=True)),
    "weights that it reads": lambda: own(nodes(weights=True), Weighted, GCNConv),
    "links": lambda: own(links()),
    "types": of_films,
    "resgcn": lambda: (toy(), build("resgcn", toy(), layers=2)),
    "resgen": lambda: (toy(), build("resgen", toy(), layers=2)),
}


def half(model, task):
    """A ticket without half of the edges, and without half of the units of each matrix."""
    masks = M.ones(model, task.num_edges)
    draw = torch.Generator().manual_seed(0)
    for name, mask in masks.items():
        if name.startswith("edges"):
            masks[name] = (torch.rand(mask.shape, generator=draw) < 0.5).float()
        elif name.startswith("a."):
            mask[: len(mask) // 2] = 0
    return Ticket(snapshot(model), masks, 1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_a_model_of_ones_own_is_measured_beside_what_is_left_of_it(name):
    torch.manual_seed(0)
    task, model = CASES[name]()
    found = latency(model, task, half(model, task), repeats=2)
    assert found.difference < 1e-5 and len(found.seconds_dense) == len(found.seconds_compact) == 2
    assert found.compact_bytes < found.dense_bytes
    assert (found.images, found.graphs, found.layout) == (None, None, "dense")


def test_whole_graphs_are_measured_in_a_batch(molecules):
    model = build("graph_gin", molecules, layers=2)
    found = latency(model, molecules, half(model, molecules), repeats=2)
    assert found.difference < 1e-5 and found.graphs == len(molecules.rows["test"])


def test_a_measure_that_differs_is_seen(monkeypatch):
    """The two outputs are compared, not one with itself."""
    from graphlth.compaction.own_models import ModelOnData

    task, model = own(nodes())
    call = ModelOnData.forward
    monkeypatch.setattr(ModelOnData, "forward", lambda self, x: call(self, x) + 1)
    assert latency(model, task, half(model, task), repeats=1).difference == pytest.approx(1, 1e-3)


@pytest.mark.filterwarnings("ignore")  # of torch.export
def test_the_commands_ship_a_ticket_of_whole_graphs(molecules, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = ["run", "ugs", "--task=graphs.py:molecules", "--model=graph_gin", "--hidden=8"]
    assert main([*run, "--layers=2", "--rounds=1", "--epochs=2", "--out=out"]) in (0, None)
    (ticket,) = (str(path) for path in Path().rglob("seed0-round1.safetensors"))
    assert main(["bench", ticket, "--repeats=1"]) in (0, None)
    assert "of the first batch of test graphs at once" in capsys.readouterr().out
    for out in ("net.pt2", "net.onnx"):
        assert main(["export", ticket, f"--out={out}", "--epochs=2"]) in (0, None)
        assert "a program for any graph" in capsys.readouterr().out
    network, session = glt.load_compact("net.pt2"), onnxruntime.InferenceSession("net.onnx")
    for split in ("val", "train"):
        batch = next(molecules.whole(split)).data
        want = network(*(batch[n] for n in network.names))
        assert len(want) == batch.num_graphs
        (got,) = session.run(None, {n: batch[n].numpy() for n in network.names})
        torch.testing.assert_close(torch.from_numpy(got), want, atol=1e-4, rtol=1e-4)
    assert main(["export", ticket, "--out=net.safetensors"]) == 2
    assert "`out` must end in .pt2 or .onnx for a ticket of a mod" in capsys.readouterr().err
