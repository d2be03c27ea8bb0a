"""Named graphs with ten splits, and those of Amazon and Coauthor: read, counted, refused."""

import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch_geometric.data import Data
from torch_geometric.datasets import Actor, Amazon, WebKB
from torch_geometric.utils import to_undirected

from graphlth.cli.main import main
from graphlth.data import array_graphs, geom_gcn, published
from graphlth.data.node import NodeTask
from graphlth.data.planetoid import Counts
from graphlth.registry import find
from graphlth.sparse.features import Features

MANIFEST = tomllib.loads((Path(__file__).parents[1] / "datasets/manifest.toml").read_text())
WEB = ("cornell", "texas", "wisconsin")
ARRAYS = ("amazon_photo", "amazon_computers", "coauthor_cs", "coauthor_physics",
          "chameleon_filtered", "squirrel_filtered")  # fmt: skip
NODES = ["0\t1,0,1\t0", "2\t0,1,1\t1", "1\t0,0,0\t0", "3\t1,1,1\t1"]
LINKS = ["0\t1", "1\t0", "2\t2", "3\t0"]
COUNTS = Counts(nodes=4, edges=2, features=3, classes=2)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No network, no other folder than the test's own, and no published files."""

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAPHLTH_DATA_ROOT", raising=False)


def write(raw, nodes=NODES, links=LINKS, name="texas", **masks):
    """The files of a graph in Geom-GCN's layout, with split 3 alone."""
    raw.mkdir(parents=True)
    (raw / geom_gcn.NODES).write_text("\n".join(["node_id\tfeature\tlabel", *nodes, ""]))
    (raw / geom_gcn.LINKS).write_text("\n".join(["node_id\tnode_id", *links, ""]))
    rows = {"train_mask": [1, 0, 1, 0], "val_mask": [0, 1, 0, 0], "test_mask": [0, 0, 0, 1]} | masks
    np.savez(raw / f"{name}_split_0.6_0.2_3.npz", **{k: np.uint8(v) for k, v in rows.items()})


def load(name="texas", **settings):
    how = {"data_root": None, "split": 3, "split_seed": 0, "normalize": False,
           "edges": "undirected"} | settings  # fmt: skip
    return geom_gcn.load_task(name, COUNTS, **how)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(published, "published_files", lambda: {})


@pytest.mark.parametrize("raw", ["datasets/texas/raw", "datasets/WebKB/texas/raw",
                                 "datasets/pyg/webkb/texas/raw"])  # fmt: skip
def test_a_graph_of_geom_gcn_is_read(small, raw):
    write(Path(raw))
    task = load()
    assert task.graph.edge_index.T.tolist() == [[1, 0], [3, 0], [0, 1], [2, 2], [0, 3]]
    assert task.num_edges == 3  # the self-loop is one
    x = task.x.to_dense() if isinstance(task.x, Features) else task.x
    assert x.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 1, 1]]
    assert task.y.tolist() == [0, 0, 1, 1]
    assert {part: rows.tolist() for part, rows in task.rows.items()} == {
        "train": [0, 2], "val": [1], "test": [3]}  # fmt: skip
    assert task.notes == ("links point one way in the files: 1 reverses are added",)


def test_features_may_be_lists_of_those_that_are_there(small):
    write(Path("datasets/actor"), ["0\t0,2\t0", "1\t2\t0", "2\t1,2\t1", "3\t0,1,2\t1"], name="film")
    task = load("actor", called="film", normalize=True)
    assert task.x.to_dense().sum(1).tolist() == pytest.approx([1, 1, 1, 1])
    assert task.x.to_dense()[1].tolist() == [0, 0, 1]


def test_a_class_may_have_no_training_node_and_a_note_says_so(small):
    write(Path("datasets/texas"), train_mask=[1, 0, 0, 0], val_mask=[0, 1, 1, 0])
    task = load()
    assert task.num_classes == 2
    assert task.notes[1:] == ("class 1 has no training node in this split",)


@pytest.mark.parametrize(
    ("written", "settings", "error"),
    [
        ({}, {"split": 10}, r'`split` must be in \[0, 10\) or "random", got 10'),
        ({}, {"split": -1}, "got -1"),
        ({}, {"split": "public"}, "got 'public'"),
        ({}, {"split": 4}, r"texas_split_0\.6_0\.2_4\.npz; downloading failed"),
        ({"nodes": NODES[:3]}, {}, r"must hold links of nodes in \[0, 3\)"),
        ({"nodes": ["0\t1\t0", "0\t1\t0"]}, {}, r"must list every node in \[0, 2\) once"),
        ({"nodes": ["0\t1"]}, {}, "not a readable table"),
        ({"nodes": []}, {}, "not a readable table"),
        ({"nodes": ["0\tone\t0"]}, {}, "not a readable table"),
        ({"nodes": ["0\t-1,2\t0", *NODES[1:3], "3\t5\t1"]}, {}, "must be at least 0, got -1"),
        ({"links": ["0\t4"]}, {}, r"must hold links of nodes in \[0, 4\)"),
        ({"links": ["0"]}, {}, "must have 2 columns"),
        ({"links": LINKS[:3]}, {}, "`edges` must be 2, got 1"),
        ({"train_mask": [1, 0]}, {}, r"`train_mask` must be a mask \[4\]"),
    ],
)
def test_a_wrong_file_or_split_is_refused_in_one_line(small, written, settings, error):
    write(Path("datasets/texas"), **written)
    with pytest.raises((ValueError, FileNotFoundError), match=error) as found:
        load(**settings)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("known", "loss", "error"),
    [(2, "cross_entropy", "`data.y` must be below the `num_classes` 2, got 2"),
     (3, "mse", "`num_classes` must not be given where `data.y` are numbers, got 3")],
)  # fmt: skip
def test_a_number_of_classes_that_cannot_be_is_refused(known, loss, error):
    y, train = torch.tensor([0, 1, 2]), torch.eye(3).bool()
    data = Data(x=torch.eye(3), y=y, edge_index=torch.tensor([[0], [1]]), train_mask=train[0],
                val_mask=train[1], test_mask=train[2])  # fmt: skip
    with pytest.raises(ValueError, match=error):
        NodeTask(data, loss=loss, num_classes=known)


def test_a_missing_graph_says_where_it_was_looked_for():
    with pytest.raises(FileNotFoundError, match=r"texas: no out1_node.* in datasets; downloading"):
        find("tasks", "texas")()
    with pytest.raises(FileNotFoundError, match=r"amazon_photo: no amazon_photo\.npz in datasets"):
        find("tasks", "amazon_photo")()


# --- arrays --------------------------------------------------------------------------------------


def write_archive(path, **changes):
    """A file in the layout of Shchur et al.: 200 nodes of two classes in a ring with one loop."""
    n = 200
    links = csr_matrix((np.ones(n + 1), ([*range(n), 5], [*np.roll(range(n), -1), 5])), (n, n))
    x = csr_matrix(np.tile([[2.0, 0, 1], [0, 3, 0]], (n // 2, 1)))
    held = {f"{of}_{part}": getattr(matrix, part)
            for of, matrix in (("adj", links), ("attr", x))
            for part in ("data", "indices", "indptr", "shape")}  # fmt: skip
    held |= {"labels": np.arange(n) % 2, "names": np.array([{}], dtype=object)} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in held.items() if value is not None})


def load_archive(split=0, **settings):
    counts = Counts(nodes=200, edges=200, features=3, classes=2)
    return array_graphs.load_task(
        "photo", counts, others=["Photo"], archive="a.npz", data_root=None, split=split,
        normalize=False, edges="undirected", **settings,
    )  # fmt: skip


def test_a_file_of_shchur_is_read_as_pyg_reads_it(tmp_path):
    raw = tmp_path / "datasets/Photo/raw"
    write_archive(raw / "a.npz")
    task = load_archive()
    assert len(task.notes) == 1 and "no digest of this file is known" in task.notes[0]
    shutil.copytree(raw, tmp_path / "pyg/Photo/raw")
    (tmp_path / "pyg/Photo/raw/a.npz").rename(
        tmp_path / "pyg/Photo/raw/amazon_electronics_photo.npz"
    )
    data = Amazon(str(tmp_path / "pyg"), "Photo")[0]
    assert torch.equal(task.x.to_dense(), data.x) and torch.equal(task.y, data.y)
    theirs = {tuple(edge) for edge in data.edge_index.T.tolist()}
    assert {tuple(edge) for edge in task.graph.edge_index.T.tolist()} == theirs


def test_a_number_draws_a_split_of_20_and_30_nodes_a_class():
    write_archive(Path("datasets/photo/a.npz"))
    drawn = [load_archive(split).rows for split in (0, 0, 1)]
    assert {part: len(rows) for part, rows in drawn[0].items()} == {
        "train": 40, "val": 60, "test": 100}  # fmt: skip
    assert drawn[0]["train"].tolist() == drawn[1]["train"].tolist() != drawn[2]["train"].tolist()
    assert len(load_archive("random").rows["train"]) == 120


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"labels": None}, "`labels` is missing"),
        ({"labels": np.zeros(3)}, "shapes of its arrays must fit"),
        ({"adj_indices": np.full(201, 999)}, "not a valid sparse matrix"),
        ({"attr_shape": np.array([200])}, "not a valid sparse matrix"),
        ({"labels": np.zeros(200)}, "`classes` must be 2, got 1"),
        ({"attr_data": np.array([{}] * 300)}, "holds Python objects"),
    ],
)
def test_a_wrong_archive_is_refused_in_one_line(changes, error):
    write_archive(Path("datasets/photo/a.npz"), **changes)
    with pytest.raises(ValueError, match=error) as found:
        load_archive()
    assert "\n" not in str(found.value)


def test_a_cut_archive_and_a_split_below_0_are_refused():
    path = Path("datasets/photo/a.npz")
    write_archive(path)
    with pytest.raises(ValueError, match=r"`split` must be at least 0 .* got -1"):
        load_archive(-1)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="not a readable file of arrays"):
        load_archive()


# --- real files ----------------------------------------------------------------------------------


def real(data_root, folder):
    if not (data_root / folder).is_dir():
        pytest.skip(f"there is no {data_root / folder}")
    return data_root / folder


@pytest.mark.parametrize("name", ["actor", *WEB])
def test_the_real_graphs_are_those_of_pyg(data_root, tmp_path, name):
    folder = real(data_root, "pyg/Actor" if name == "actor" else f"pyg/WebKB/{name}")
    copy = tmp_path / ("Actor" if name == "actor" else f"WebKB/{name}")
    shutil.copytree(folder, copy)
    data = (Actor(str(copy)) if name == "actor" else WebKB(str(copy.parent), name))[0]
    task = find("tasks", name)(data_root=str(data_root), split=7, normalize=False)
    assert torch.equal(task.x.to_dense(), data.x) and torch.equal(task.y, data.y)
    theirs = {tuple(edge) for edge in to_undirected(data.edge_index).T.tolist()}
    assert {tuple(edge) for edge in task.graph.edge_index.T.tolist()} == theirs
    assert task.rows["val"].tolist() == data.val_mask[:, 7].nonzero().view(-1).tolist()
    assert [p.name for p in folder.iterdir()] == ["raw"]


@pytest.mark.parametrize("name", ARRAYS)
def test_the_real_arrays_hold_the_published_counts(data_root, name):
    real(data_root, f"graphs/{name}")
    task = find("tasks", name)(data_root=str(data_root))
    counts = MANIFEST[name]["counts"]
    assert (task.num_nodes, task.num_edges) == (counts["nodes"], counts["edges"])
    if name.startswith("coauthor"):  # PyG's class makes all features 1
        assert bool((task.x.values == 1).all())


@pytest.mark.parametrize("name", ["actor", *WEB, *ARRAYS])
def test_the_manifest_and_the_loader_agree(name):
    counts = __import__(f"graphlth.tasks.{name}", fromlist=["COUNTS"]).COUNTS
    listed = MANIFEST[name]["counts"]
    assert listed == {
        key: getattr(counts, key) for key in ("nodes", "edges", "features", "classes")
    }


@pytest.mark.parametrize("pattern", ["pyg/*/raw/*", "pyg/WebKB/*/raw/*", "graphs/*_*/*.npz"])
def test_the_real_files_verify(data_root, pattern):
    for path in sorted(data_root.glob(pattern)):
        assert published.check(path) is None


def test_the_command_runs_a_split(data_root, tmp_path, capsys):
    real(data_root, "pyg/WebKB/texas")
    line = "run ugs --task texas --model gcn --split 4 --rounds 1 --epochs 2 --seeds 1"
    assert main([*line.split(), "--data_root", str(data_root), "--out", str(tmp_path)]) in (0, None)
    assert main([*line.replace("4", "10").split(), "--data_root", str(data_root)]) == 2
    assert "`split` must be in [0, 10)" in capsys.readouterr().err
