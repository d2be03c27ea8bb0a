"""Every task type × every fault of a loss, metric, target or split: one line, exit code 2."""

import re

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn
from torch_geometric.data import Data, HeteroData

import graphlth as glt
from graphlth.cli import main as cli
from graphlth.metrics import Metric

N, FEATURES, EDGES = 30, 5, 80
QUIET = "ignore::graphlth.data.published.DataWarning"
pytestmark = pytest.mark.filterwarnings(QUIET)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def one_graph(**about):
    part = torch.arange(N) // 2 % 3
    data = Data(
        x=torch.randn(N, FEATURES, generator=drawn()), y=torch.arange(N) % 2,
        edge_index=torch.randint(N, (2, EDGES), generator=drawn()),
        train_mask=part == 0, val_mask=part == 1, test_mask=part == 2,
    )  # fmt: skip
    for name, value in about.items():
        data[name] = value
    return data


def nodes(about=None, **settings):
    return glt.NodeTask(one_graph(**about or {}), **settings)


def hetero_nodes(about=None, **settings):
    one, data = one_graph(**about or {}), HeteroData()
    for name in ("x", "y", "train_mask", "val_mask", "test_mask"):
        data["paper"][name] = one[name]
    data["author"].x = torch.randn(7, FEATURES, generator=drawn())
    data["paper", "cites", "paper"].edge_index = one.edge_index
    data["author", "writes", "paper"].edge_index = torch.arange(7).expand(2, -1)
    data["paper", "by", "author"].edge_index = torch.arange(7).expand(2, -1)
    return glt.NodeTask(data, node_type="paper", **settings)


def links(about=None, **settings):
    data = one_graph(**about or {})
    return glt.LinkTask(data, **{"val": 0.1, "test": 0.2, "out_channels": 4} | settings)


def graphs(y=lambda i: torch.tensor([i % 2]), **settings):
    listed = []
    for i in range(20):
        edge_index = torch.randint(6, (2, 14), generator=drawn(i))
        x = torch.randn(6, FEATURES, generator=drawn(i))
        listed.append(Data(x=x, edge_index=edge_index, y=y(i)))
    return glt.GraphTask(listed, **settings)


class OfGraph(nn.Module):
    def __init__(self, classes: int = 2):
        super().__init__()
        self.first, self.last = pyg.GraphConv(FEATURES, 8), pyg.GraphConv(8, classes)

    def forward(self, x, edge_index, edge_weight=None):
        h = self.first(x, edge_index, edge_weight).relu()
        return self.last(h, edge_index, edge_weight)


class OfLinks(OfGraph):
    def __init__(self, classes: int = 4):
        super().__init__(classes)


class OfRelations(nn.Module):
    def __init__(self, classes: int = 2):
        super().__init__()
        of = {("paper", "cites", "paper"): pyg.SAGEConv(FEATURES, 8),
              ("author", "writes", "paper"): pyg.SAGEConv((FEATURES, FEATURES), 8),
              ("paper", "by", "author"): pyg.SAGEConv((FEATURES, FEATURES), 8)}  # fmt: skip
        self.conv, self.last = pyg.HeteroConv(of), nn.Linear(8, classes)

    def forward(self, x_dict, edge_index_dict):
        return self.last(self.conv(x_dict, edge_index_dict)["paper"].relu())


class OfGraphs(nn.Module):
    def __init__(self, classes: int = 2):
        super().__init__()
        self.conv, self.last = pyg.GraphConv(FEATURES, 8), nn.Linear(8, classes)

    def forward(self, x, edge_index, batch):
        return self.last(pyg.global_add_pool(self.conv(x, edge_index).relu(), batch))


KINDS = {"nodes": (nodes, OfGraph), "hetero_nodes": (hetero_nodes, OfRelations),
         "links": (links, OfLinks), "graphs": (graphs, OfGraphs)}  # fmt: skip
LOSS = r"`loss` must be a function loss\(output, batch\) -> scalar .*, got "
FINITE = "`loss` must be finite, got {} before any step of training: mend it"
METRIC = "`metric` must be one that the data have, but own cannot be computed: "


def of(function, **about):
    return Metric("own", "max", function, **about)


def fail(error):
    raise error


OF_ALL = {  # of every type: settings, and what is said
    "loss of rows": ({"loss": lambda out, batch: out.sum(1)}, LOSS + r"a tensor \[\d+\]: return i"),
    "loss is NaN": ({"loss": lambda out, batch: out.sum() * torch.nan}, FINITE.format("nan")),
    "loss is infinite": ({"loss": lambda out, batch: out.sum() / 0}, FINITE.format("-?inf")),
    "loss detached": ({"loss": lambda out, batch: out.detach().sum()}, LOSS + "one that is detach"),
    "loss a float": ({"loss": lambda out, batch: 1.0}, LOSS + "float: return the tensor"),
    "loss complex": ({"loss": lambda out, batch: out.sum() * 1j}, LOSS + "a tensor of torch.compl"),
    "loss raises": ({"loss": lambda out, batch: fail(KeyError("two\nlines"))},
                    LOSS + "one that raises KeyError: "),
    "loss of three": ({"loss": lambda a, b, c: a.sum()}, LOSS + r"<lambda>\(a, b, c\): take these"),
    "loss unknown": ({"loss": "hinge"}, "`loss` must be one of .* got 'hinge'"),
    "loss a number": ({"loss": 3}, "`loss` must be one of .* got int"),
    "loss of torch": ({"loss": nn.MSELoss()}, LOSS + "MSELoss, which takes a target: give lambda"),
    "metric raises": ({"metric": of(lambda out, y: fail(IndexError("two\nlines")))},
                      METRIC + "IndexError: two$"),
    "metric is NaN": ({"metric": of(lambda out, y: torch.nan)}, "`metric` must be finite, got nan"),
    "metric of rows": ({"metric": of(lambda out, y: out[:, 0])}, METRIC),
    "metric is None": ({"metric": of(lambda out, y: None)}, METRIC + "TypeError: "),
    "metric not per row": ({"metric": of(lambda out, y: out.mean(), per_row=True)},
                           r"`metric` must give one number for each of \d+ rows with `per_row`"),
    "metric without": ({"metric": Metric("own", "max")}, "`metric` must have a function of"),
    "metric unknown": ({"metric": "auc"}, r"`metric` must be one of .*, hits@<k>, or .* got 'auc'"),
    "metric a number": ({"metric": 7}, "`metric` must be one of .* got int"),
    "more hits than negatives": ({"metric": "hits@1000"}, "`metric` must be hits@k of at most as "
                                 r"many as there are negatives in each split, got hits@1000 with"),
}  # fmt: skip
OF_CLASSES = {  # of nodes, of either kind of graph
    "metric of numbers": ({"metric": "rmse"}, "`metric` must be one of classes .* got 'rmse'"),
    "a class a node": ({"about": {"y": torch.zeros(3).long()}}, r"`data.y` must be \[30\], .*\[3"),
    "no whole numbers": ({"about": {"y": torch.rand(N)}}, "`data.y` must hold int64 class numbers, "
                         ".*; of what is no class name the `loss`: binary_cross_entropy of"),
    "class too high": ({"about": {"y": torch.full((N,), 10**9)}}, "`data.y` must hold class numbe"),
    "no class": ({"about": {"y": torch.full((N,), -1)}}, "`data.y` must be at least 0 on the trai"),
    "a gap": ({"about": {"y": torch.arange(N) % 2 * 2}}, "`data.y` must count classes without a g"),
    "NaN": ({"about": {"y": torch.full((N,), torch.nan)}, "loss": "mse"}, "`data.y` must be finit"),
    "no probability": ({"about": {"y": torch.arange(N) % 3}, "loss": "binary_cross_entropy"},
                       r"`y` must be in \[0, 1\] for the loss binary_cross_entropy, got 2"),
    "accuracy of numbers": ({"about": {"y": torch.rand(N)}, "loss": "mse", "metric": "accuracy"},
                            "`metric` must be one of numbers .* got 'accuracy'"),
    "empty split": ({"about": {"val_mask": torch.zeros(N).bool()}}, "`data.val_mask` must select "),
    "overlap": ({"about": {"val_mask": torch.ones(N).bool()}}, "`data.train_mask` and .* not over"),
    "no such node": ({"about": {"val_mask": torch.tensor([N])}}, r"`data.val_mask` .*\[0, 30\), g"),
    "mask of floats": ({"about": {"val_mask": torch.rand(N)}}, "`data.val_mask` must be boolean"),
    "no such column": ({"split": 1}, r"`split` must be in \[0, 1\), got 1"),
    "split unknown": ({"split": "half"}, "`split` must be the number of a column .* got 'half'"),
    "split None": ({"split": None}, "`split` must be the number of a column .* got None"),
    "split a list": ({"split": [0]}, r"`split` must be the number of a column .* got \[0\]"),
    "seed of split": ({"split": "random", "split_seed": -1}, r"`split_seed` must be in \[0, 42949"),
    "seed a text": ({"split": "random", "split_seed": "a"}, "`split_seed` must be a whole number"),
    "few classes": ({"num_classes": 1}, "`data.y` must be below the `num_classes` 1, got 1"),
    "classes a text": ({"num_classes": "2"}, "`num_classes` must be a whole number, got '2'"),
    "too many classes": ({"num_classes": 10**9}, r"`num_classes` must be in \[1, 100000\], got"),
}  # fmt: skip
DECODE = r"`decode` must give \[\d+, 1\], numbers for each pair, got "
PAIRS = torch.tensor([[0, 1], [2, 3]])


def splits(labels=(1.0, 0.0), pairs=PAIRS, **others):
    given = [
        Data(edge_label_index=PAIRS + i, edge_label=torch.tensor([1.0, 0.0])) for i in range(3)
    ]
    parts = dict(zip(("train", "val", "test"), given, strict=True))
    wrong = Data(edge_label_index=pairs, edge_label=torch.as_tensor(labels))
    return {"splits": parts | {"val": wrong} | others}


def labels(values, loss="mse"):
    return {"about": {"edge_label": values}, "loss": loss}


OF_LINKS = {
    "seed a text": ({"split_seed": "a"}, "`split_seed` must be a whole number, got 'a'"),
    "decode raises": ({"decode": lambda a, b: fail(ValueError("two\nlines"))},
                      DECODE + "one that raises ValueError: two$"),
    "decode of one": ({"decode": lambda a: a}, DECODE + "one that raises TypeError: "),
    "decode of rows": ({"decode": lambda a, b: (a * b).sum(1)}, DECODE + r"\[\d+\]$"),
    "decode of whole numbers": ({"decode": lambda a, b: (a * b).sum(1, keepdim=True).long()},
                                DECODE + r"\[\d+, 1\] of torch.int64"),
    "decode is None": ({"decode": lambda a, b: None}, DECODE + "NoneType"),
    "decode is NaN": ({"decode": lambda a, b: (a * b).sum(1, keepdim=True) * torch.nan},
                      FINITE.format("nan")),
    "decode detached": ({"decode": lambda a, b: (a * b).sum(1, keepdim=True).detach()},
                        "`model` must return an output that depends on its weights"),
    "decode unknown": ({"decode": "mlp"}, "`decode` must be dot, cosine, or a function .* got 'ml"),
    "empty split": ({"val": 0}, "`val` must be at least one link, got none"),
    "nothing to train on": ({"val": 1000}, "`val` and `test` must leave a link to train on"),
    "val a text": ({"val": "a"}, "`val` must be a fraction .* got 'a'"),
    "hits of no negatives": ({"negatives": 0, "metric": "hits@3"}, "`metric` .* hits@3 with 0 of "),
    "ranking of no negatives": ({"negatives": 0}, "`metric` .* got 'roc_auc', which needs pairs w"),
    "too many negatives": ({"negatives": 1000}, "`negatives` must leave enough pairs .* lower it"),
    "NaN": (labels(torch.full((EDGES,), torch.nan)), "`data.edge_label` must be finite, got NaN"),
    "complex": (labels(torch.zeros(EDGES) * 1j), "`data.edge_label` must be real numbers, got tor"),
    "one a link": (labels(torch.zeros(3)), r"`data.edge_label` must be one for each of 80 .*\[3\]"),
    "class too high": (labels(torch.full((EDGES,), 10**9), "cross_entropy"),
                       "`data.edge_label` must be class numbers from 0, .* from 1000000000 on"),
    "no whole numbers": (labels(torch.rand(EDGES), "cross_entropy"), "`data.edge_label` .* int64"),
    "no labels": ({"loss": "mse"}, "`data.edge_label` is missing"),
    "two labels a pair": (splits(torch.zeros(2, 2)), "`edge_label` of `splits` must be of one sha"),
    "a column of labels": (splits([[1.0], [0.0]]), "`edge_label` of `splits` must be of one shape"),
    "no link nor none": (splits([2.0, 0.0]), "`edge_label` of `splits` must be 1 for a link and 0"),
    "complex labels": (splits([1, 0j]), r"`splits\['val'\].edge_label` must be real numbers, got"),
    "no such node": (splits(pairs=PAIRS + N), r"`splits\['val'\]` must be in \[0, 30\), got 3"),
    "no pair": (splits([], PAIRS[:, :0]), r"`splits\['val'\]` must hold at least one pair, got no"),
    "no split": ({"splits": {"train": 1}}, "`splits` must be a dict of train, val and test, got"),
}  # fmt: skip
PARTS = {"train": range(10), "val": range(10, 15), "test": range(15, 20)}


def parts(val):
    return {"split": {name: list(rows) for name, rows in PARTS.items()} | {"val": val}}


OF_GRAPHS = {
    "seed a text": ({"split_seed": "a"}, "`split_seed` must be a whole number, got 'a'"),
    "metric of numbers": ({"metric": "rmse"}, "`metric` must be one of classes .* got 'rmse'"),
    "several numbers": ({"y": lambda i: torch.zeros(2)}, r"`graphs\[0\].y` must be the number of "),
    "other shapes": ({"y": lambda i: torch.zeros(i + 1)}, r"`graphs\[1\].y` must be .* of one sha"),
    "class too high": ({"y": lambda i: torch.tensor([10**9])}, "`y` must hold class numbers of at"),
    "no probability": ({"y": lambda i: torch.tensor([2.0]), "loss": "binary_cross_entropy"},
                       r"`y` must be in \[0, 1\], or NaN where a label is missing, for the loss"),
    "NaN": ({"y": lambda i: torch.tensor([torch.nan]), "loss": "mse"}, "`y` must be known of a gr"),
    "no tensor": ({"y": lambda i: i % 2}, r"`graphs\[0\].y` must be a tensor, got int"),
    "empty split": (parts([]), "`split` must give 'val' at least one graph, got none"),
    "overlap": (parts([1, 11]), "`split` must not overlap or repeat, got graph 1 2 times"),
    "no such graph": (parts([99]), r"`split` must be in \[0, 20\), got 99 in 'val'"),
    "floats": (parts([1.5]), "`split` must be numbers of graphs, or a mask of 20, in 'val', got t"),
    "split unknown": ({"split": "half"}, '`split` must be "random", or graphs by .* got \'half\''),
}  # fmt: skip
FAULTS = [
    (kind, name)
    for kind in KINDS
    for name in OF_ALL | {"links": OF_LINKS, "graphs": OF_GRAPHS}.get(kind, OF_CLASSES)
]


SHARE = 6  # one of so many is also met on the command line, where all take one way


def fault(kind, name):
    return (OF_ALL | {"links": OF_LINKS, "graphs": OF_GRAPHS}.get(kind, OF_CLASSES))[name]


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_fault_a_model_is_trained(kind):
    make, network = KINDS[kind]
    task = make()
    model = network(task.num_classes)
    assert 0 <= glt.fit(model, task, glt.dense(model, task.num_edges), epochs=1).test <= 1


@pytest.mark.parametrize(("kind", "name"), FAULTS)
def test_a_fault_is_told_in_one_line_that_names_the_argument(kind, name):
    make, network = KINDS[kind]
    settings, said = fault(kind, name)
    with pytest.raises(ValueError, match=f"^{said}") as error:
        task = make(**settings)
        model = network(task.num_classes)
        glt.fit(model, task, glt.dense(model, task.num_edges), epochs=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_on_the_command_line_a_fault_is_one_line_and_code_2(kind, tmp_path, monkeypatch, capsys):
    """The task of a module is made by a function whose setting says which fault it has."""
    monkeypatch.chdir(tmp_path)
    network = KINDS[kind][1].__name__
    (tmp_path / "own_task.py").write_text(f'''
import test_task_faults as faults

{network} = faults.{network}


def task(*, fault: str = ""):
    """A task with a fault."""
    make, _ = faults.KINDS["{kind}"]
    return make(**(faults.fault("{kind}", fault)[0] if fault else {{}}))
''')
    run = ["run", "imp", "--task", "own_task.py:task", "--model", f"own_task.py:{network}",
           "--rounds", "0", "--epochs", "1", "--seeds", "1", "--out", "runs"]  # fmt: skip
    for name in [each for of_kind, each in FAULTS if of_kind == kind][::SHARE]:
        code = cli.main([*run, "--fault", name])
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        told = [line for line in lines if re.search(fault(kind, name)[1], line)]
        assert (name, code, len(told)) == (name, 2, 1), lines
        assert not any("Traceback" in line for line in lines)
