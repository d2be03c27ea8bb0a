"""The named tasks of OGB, on small files in its layout."""

import resource
import tomllib
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from ogb_files import write_graphs, write_link_split, write_split, write_table
from torch_geometric.utils import scatter

import graphlth as glt
from graphlth.data.ogb_graphs import mean_of_edges
from graphlth.registry import find
from graphlth.sparse.features import Features

pytestmark = pytest.mark.skipif(find_spec("ogb") is None, reason="`ogb` is not installed")

MANIFEST = tomllib.loads((Path(__file__).parents[1] / "datasets/manifest.toml").read_text())
N = 12
RING = [(i, (i + 1) % N) for i in range(N)] + [(1, 0)]  # one of them in both directions
X = [[i / 3, i % 2, 1] for i in range(N)]
PARTS = {"train": [0, 1, 2, 3, 8, 9], "valid": [4, 5], "test": [6, 7, 10, 11]}
SMALL = {"nodes": N, "edges": len(RING), "parts": (6, 2, 4)}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAPHLTH_DATA_ROOT", raising=False)


def known(monkeypatch, name, **counts):
    """Make the counts of a task those of the small files."""
    module = import_module(f"graphlth.tasks.{name}")
    monkeypatch.setattr(module, "KNOWN", replace(module.KNOWN, **SMALL | counts))


def write_arxiv(folder=Path("datasets/ogbn_arxiv")):
    labels = [i % 3 for i in range(N)]
    write_graphs(folder, [(N, RING)], node_feat=X, node_year=range(N), node_label=labels)
    write_split(folder, "time", **PARTS)


def write_proteins(folder=Path("datasets/ogbn_proteins")):
    attributes = [[i, i / 2] for i in range(len(RING))]
    labels = [[(i >> j % 3) % 2 for j in range(112)] for i in range(N)]
    write_graphs(folder, [(N, RING)], edge_feat=attributes, node_label=labels)
    write_split(folder, "species", **PARTS)
    return torch.tensor(attributes)


LINKS = {
    "train": {"edge": RING, "weight": [2] * 13, "year": [2010] * 13},
    "valid": {"edge": [(0, 5), (2, 7)], "weight": [1, 1], "year": [2018] * 2,
              "edge_neg": [(i, i + 3) for i in range(8)] * 7},
    "test": {"edge": [(1, 6)], "weight": [1], "year": [2019],
             "edge_neg": [(i, i + 4) for i in range(8)] * 7},
}  # fmt: skip


def write_collab(folder=Path("datasets/ogbl_collab")):
    write_graphs(folder, [(N, RING)], node_feat=X, edge_weight=range(1, 14), edge_year=[2010] * 13)
    write_link_split(folder, "time", **LINKS)


@pytest.fixture
def arxiv(monkeypatch):
    known(monkeypatch, "ogbn_arxiv", features=3)
    write_arxiv()


@pytest.fixture
def proteins(monkeypatch):
    known(monkeypatch, "ogbn_proteins", features=2)
    return write_proteins()


@pytest.fixture
def collab(monkeypatch):
    known(monkeypatch, "ogbl_collab", features=3, parts=(13, 2, 1))
    write_collab()


def dense(x):
    return x.to_dense() if isinstance(x, Features) else x


def test_arxiv_is_undirected_with_its_official_split(arxiv):
    task = find("tasks", "ogbn_arxiv")()
    assert (task.num_edges, task.graph.num_edges, task.num_classes) == (12, 24, 40)
    assert {part: rows.tolist() for part, rows in task.rows.items()} == {
        "train": PARTS["train"], "val": PARTS["valid"], "test": PARTS["test"]}  # fmt: skip
    assert torch.allclose(dense(task.x), torch.tensor(X))
    assert task.metric.name == "accuracy"
    assert "citations are edges in both directions" in task.notes


def test_loops_of_arxiv_are_edges_where_they_are_asked_for(arxiv):
    task = find("tasks", "ogbn_arxiv")(self_loops=True, edges="directed")
    assert task.num_edges == 24 + N


def test_products_has_every_edge_in_both_directions(monkeypatch):
    known(monkeypatch, "ogbn_products", features=3)
    folder = Path("datasets/dataset/ogbn_products")
    write_graphs(folder, [(N, RING)], node_feat=X, node_label=[i % 3 for i in range(N)])
    write_split(folder, "sales_ranking", **PARTS)
    task = find("tasks", "ogbn_products")()
    assert (task.num_edges, task.num_classes, task.duplicate_edges) == (12, 47, 2)


def test_features_of_proteins_are_the_mean_of_those_of_their_edges(proteins):
    task = find("tasks", "ogbn_proteins")()
    both = torch.tensor(RING).T
    both = torch.cat([both, both.flip(0)], 1)
    mean = scatter(torch.cat([proteins, proteins]), both[1], 0, N, "mean")
    assert torch.allclose(dense(task.x), mean)
    assert (task.y.shape, task.y.dtype, task.num_classes) == ((N, 112), torch.float32, 112)
    assert (task.metric.name, task.metric.direction) == ("roc_auc", "max")


def test_a_protein_without_associations_has_zeros():
    mean = mean_of_edges(torch.tensor([[0], [1]]), torch.tensor([[4.0]]), 3)
    assert mean.tolist() == [[4], [4], [0]]


def test_collab_has_the_links_of_later_years_in_no_graph(collab):
    task = find("tasks", "ogbl_collab")()
    assert task.metric.name == "hits@50"
    for part, rows in {"val": LINKS["valid"], "test": LINKS["test"]}.items():
        pairs, labels = task.pairs[:, task.rows[part]], task.y[task.rows[part]].view(-1)
        assert pairs[:, labels == 1].T.tolist() == [list(pair) for pair in rows["edge"]]
        assert pairs[:, labels == 0].T.tolist() == [list(pair) for pair in rows["edge_neg"]]
    assert task.num_edges == 12
    assert find("tasks", "ogbl_collab")(weighted=False).edge_weight is None
    assert sorted(set(task.edge_weight.tolist())) == [*range(2, 13), 1 + 13]  # of two years


@pytest.mark.parametrize("name", ["arxiv", "proteins", "collab"])
def test_every_task_trains(request, name):
    request.getfixturevalue(name)
    task = find("tasks", f"ogb{'l' if name == 'collab' else 'n'}_{name}")()
    model = find("models", "gcn")(task, hidden=4)
    tickets = list(glt.ugs(model, task, rounds=1, epochs=2))
    assert [int(ticket.masks["edges"].sum()) for ticket in tickets] == [12, 11]


@pytest.mark.parametrize(
    ("file", "rows", "error"),
    [
        ("raw/node-label.csv.gz", [0] * 11, "must have 12 rows, got 11"),
        ("raw/node-label.csv.gz", [(0, 1)] * N, "`targets` must be 1, got 2"),
        ("raw/node-feat.csv.gz", [(0, 1)] * N, "`features` must be 3, got 2"),
        ("raw/num-edge-list.csv.gz", [6, 7], "must have 1 rows, got more"),
        ("split/time/valid.csv.gz", [4], r"`split` must be \(6, 2, 4\), got \(6, 1, 4\)"),
        ("split/time/valid.csv.gz", [4, 12], r"must hold numbers in \[0, 12\), got 12"),
        ("split/time/valid.csv.gz", [4, 6], "must hold each number once"),
        ("split/time/valid.csv.gz", ["a", "b"], "must hold numbers, got text"),
    ],
)
def test_another_graph_than_the_published_one_is_refused(arxiv, file, rows, error):
    write_table(Path("datasets/ogbn_arxiv") / file, rows)
    with pytest.raises(ValueError, match=error) as found:
        find("tasks", "ogbn_arxiv")()
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["ogbn_arxiv", "ogbn_products", "ogbn_proteins", "ogbl_collab"])
def test_a_missing_graph_says_where_it_can_be_had(name):
    part = name.partition("_")[2]
    with pytest.raises(FileNotFoundError, match=rf"{name}: no folder .* unpack .*/{part}\.zip"):
        find("tasks", name)()


def test_nothing_is_written_beside_the_files(arxiv):
    before = sorted(Path().rglob("*"))
    find("tasks", "ogbn_arxiv")()
    assert sorted(Path().rglob("*")) == before


def test_features_are_never_there_twice(monkeypatch):
    """A table of 64 MB of float32 is read within 1.5 times that."""
    from graphlth.data import ogb

    rows, columns = 2**18, 64
    part = np.ones((2**14, columns))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table = ogb._concatenate(Path("t"), (part for _ in range(rows // len(part))), rows, columns)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    assert table.shape == (rows, columns) and table.dtype == np.float32
    assert grown < 1.5 * 64


@pytest.mark.parametrize("name", ["ogbn_arxiv", "ogbn_products", "ogbn_proteins", "ogbl_collab"])
def test_the_manifest_and_the_loader_agree(name):
    about, counts = import_module(f"graphlth.tasks.{name}").KNOWN, MANIFEST[name]["counts"]
    assert (about.nodes, about.edges, about.features) == tuple(
        counts[key] for key in ("nodes", "edges", "features")
    )
    assert about.parts == tuple(counts[key] for key in ("train", "val", "test"))
    assert MANIFEST[name]["source"].endswith(about.archive)
