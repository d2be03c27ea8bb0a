"""The raw files of the citation graphs: read as PyG reads them, and never run."""

import os
import pickle
import shutil
import tomllib
from collections import defaultdict
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch_geometric.datasets import Planetoid

from graphlth.data import planetoid, published
from graphlth.data.archives import one_line
from graphlth.data.planetoid import Counts, load, read
from graphlth.registry import find

ROOT = os.environ.get("GRAPHLTH_DATA_ROOT")
real = pytest.mark.skipif(ROOT is None, reason="GRAPHLTH_DATA_ROOT names no folder of real data")
MANIFEST = tomllib.loads((Path(__file__).parents[1] / "datasets/manifest.toml").read_text())
KNOWN = published.published_files()
TINY = Counts(nodes=7, edges=5, features=3, classes=2, train=2, val=2, test=2)


def write(raw, name="cora", protocol=2, **changes):
    """A citation graph of 7 nodes; node 5 is described by no file, as some of CiteSeer's are."""
    parts = {
        "x": csr_matrix(np.float32([[1, 0, 0], [0, 1, 1]])),
        "allx": csr_matrix(np.float32([[1, 0, 0], [0, 1, 1], [0, 0, 3], [0, 0, 0]])),
        "tx": csr_matrix(np.float32([[2, 2, 0], [1, 0, 1]])),
        "y": np.int32([[1, 0], [0, 1]]),
        "ally": np.int32([[1, 0], [0, 1], [1, 0], [0, 1]]),
        "ty": np.int32([[0, 1], [1, 0]]),
        "graph": defaultdict(
            list, {0: [1, 2, 2], 1: [0, 3, 1], 2: [0], 3: [1, 6], 6: [3, 4], 4: [6]}
        ),
    } | changes
    index = parts.pop("index", "6\n4\n")
    raw.mkdir(parents=True, exist_ok=True)
    for part, value in parts.items():
        (raw / f"ind.{name}.{part}").write_bytes(pickle.dumps(value, protocol=protocol))
    (raw / f"ind.{name}.test.index").write_text(index)
    return raw


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No test reaches for the network or for another folder than its own, and none is published."""

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr(published, "published_files", lambda: {})
    monkeypatch.delenv("GRAPHLTH_DATA_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_the_parts_fall_into_place(tmp_path, protocol):
    data = read(write(tmp_path / "raw", protocol=protocol), "Cora")
    assert data.x.tolist() == [
        [1, 0, 0],
        [0, 1, 1],
        [0, 0, 3],
        [0, 0, 0],
        [1, 0, 1],
        [0, 0, 0],
        [2, 2, 0],
    ]
    assert data.y.tolist() == [0, 1, 0, 1, 0, 0, 1]
    assert data.edge_index.T.tolist() == [  # no loop, no duplicate, sorted by (target, source)
        [1, 0],
        [2, 0],
        [0, 1],
        [3, 1],
        [0, 2],
        [1, 3],
        [6, 3],
        [6, 4],
        [3, 6],
        [4, 6],
    ]
    assert data.train_mask.nonzero().flatten().tolist() == [0, 1]
    assert data.val_mask.nonzero().flatten().tolist() == [2, 3, 4, 5, 6]  # the next 500, at most
    assert data.test_mask.nonzero().flatten().tolist() == [4, 6]


def test_rows_sum_to_one_and_empty_rows_stay_empty(tmp_path):
    write(tmp_path / "Cora/raw")
    counts = Counts(nodes=7, edges=5, features=3, classes=2, train=2, val=5, test=2)
    x = load("Cora", counts, data_root=str(tmp_path)).x
    assert x.tolist() == [
        [1, 0, 0],
        [0, 0.5, 0.5],
        [0, 0, 1],
        [0, 0, 0],
        [0.5, 0, 0.5],
        [0, 0, 0],
        [0.5, 0.5, 0],
    ]
    assert load("Cora", counts, data_root=str(tmp_path), normalize=False).x.max() == 3


def test_a_self_loop_at_every_node_is_an_edge_of_the_data(tmp_path):
    write(tmp_path / "Cora/raw")
    counts = Counts(nodes=7, edges=5, features=3, classes=2, train=2, val=5, test=2)
    plain, looped = (
        load("Cora", counts, data_root=str(tmp_path), self_loops=loops).edge_index
        for loops in (False, True)
    )
    assert torch.equal(looped[:, : plain.size(1)], plain)
    assert looped[:, plain.size(1) :].tolist() == [[*range(7)], [*range(7)]]


@real
@pytest.mark.parametrize("edges", ["undirected", "directed"])
def test_loops_of_cora_have_mask_entries(edges):
    plain, looped = (
        find("tasks", "cora")(data_root=ROOT, edges=edges, self_loops=loops)
        for loops in (False, True)
    )
    assert looped.num_edges == plain.num_edges + 2708
    source, target = looped.graph.edge_index
    assert looped.entries[source == target].unique().numel() == 2708


@pytest.mark.parametrize("where", ["Cora/raw", "CORA/raw", "planetoid/Cora/raw", "a/b/../cora/raw"])
@pytest.mark.parametrize("how", ["argument", "variable", "cache"])
def test_the_folder_is_found(tmp_path, monkeypatch, where, how):
    root = tmp_path / ("datasets" if how == "cache" else "elsewhere")
    (root / "a/b").mkdir(parents=True)
    write(root / where)
    if how == "variable":
        monkeypatch.setenv("GRAPHLTH_DATA_ROOT", str(root))
    given = str(root) if how == "argument" else None
    found = planetoid.find_raw(planetoid.roots(given), "Cora")
    assert found.samefile(root / where)


def test_the_argument_wins_over_the_variable(tmp_path, monkeypatch):
    write(tmp_path / "a/Cora/raw"), write(tmp_path / "b/Cora/raw")
    monkeypatch.setenv("GRAPHLTH_DATA_ROOT", str(tmp_path / "b"))
    assert planetoid.find_raw(planetoid.roots(str(tmp_path / "a")), "Cora").parts[-3] == "a"


def test_a_complete_folder_is_preferred_to_an_incomplete_one(tmp_path):
    write(tmp_path / "a/Cora/raw"), write(tmp_path / "b/Cora/raw")
    (tmp_path / "a/Cora/raw/ind.cora.allx").unlink()
    assert planetoid.find_raw([tmp_path], "Cora").parts[-3] == "b"


def test_downloads_land_in_the_cache_and_not_where_files_are_read(tmp_path, monkeypatch):
    write(tmp_path / "given/Cora/raw")
    (tmp_path / "given/Cora/raw/ind.cora.allx").unlink()
    before = sorted((tmp_path / "given").rglob("*"))
    source = write(tmp_path / "source")
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: BytesIO())
    monkeypatch.setattr(
        Planetoid,
        "download",
        lambda self: shutil.copytree(source, self.raw_dir, dirs_exist_ok=True),
    )
    raw = planetoid.find_raw(planetoid.roots(str(tmp_path / "given")), "Cora")
    assert raw == Path("datasets/Cora/raw") and len(read(raw, "Cora").x) == 7
    assert sorted((tmp_path / "given").rglob("*")) == before
    monkeypatch.setattr(Planetoid, "download", lambda self: pytest.fail("it is in the cache"))
    assert planetoid.find_raw(planetoid.roots(str(tmp_path / "given")), "Cora") == raw


def test_a_download_that_breaks_off_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: BytesIO())
    monkeypatch.setattr(
        Planetoid, "download", lambda raw: (Path(raw.raw_dir) / "ind.cora.x").touch()
    )
    with pytest.raises(FileNotFoundError, match=r"ind\.cora\.tx, .* did not arrive"):
        planetoid.find_raw(planetoid.roots(None), "Cora")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", planetoid.PARTS)
def test_a_missing_file_is_named(tmp_path, part):
    raw = write(tmp_path / "Cora/raw")
    (raw / f"ind.cora.{part}").unlink()
    with pytest.raises(FileNotFoundError) as error:
        load("Cora", TINY, data_root=str(tmp_path))
    line = str(error.value)
    assert "\n" not in line and f"{raw} lacks ind.cora.{part};" in line and "--data_root" in line
    assert "no network" in line


def test_without_files_the_line_says_where_it_looked(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"^PubMed: no folder PubMed/raw in \S+, datasets; "
        r"downloading failed \(no network\).*--data_root",
    ):
        load("PubMed", TINY, data_root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="`data_root` must be a folder, got 'nowhere'"):
        load("PubMed", TINY, data_root="nowhere")


@dataclass
class Runs:
    """Creates a file when it is unpickled by the ordinary unpickler."""

    path: str

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("part", planetoid.PARTS[:7])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, part):
    trap = tmp_path / "trap"
    raw = write(tmp_path / "raw", **{part: Runs(str(trap))})
    with pytest.raises(ValueError, match=rf"ind\.cora\.{part}: .*it asks for \w+\.mkdir"):
        read(raw, "Cora")
    assert not trap.exists()
    pickle.loads((raw / f"ind.cora.{part}").read_bytes())
    assert trap.exists()


@pytest.mark.parametrize(
    "name",
    [
        b"cbuiltins\neval\n.",
        b"c__builtin__\ngetattr\n.",
        b"cos\nsystem\n.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"ccopy_reg\n_reconstructor\n.",
        b"ctorch\nload\n.",
        b"cscipy.sparse\ncsr_matrix\n.",
        b"\x8c\x05numpy\x8c\x0bndarray.tofile\x93.",
    ],
)
def test_names_beyond_arrays_and_containers_are_refused(tmp_path, name):
    path = tmp_path / "ind.cora.graph"
    path.write_bytes(name)
    with pytest.raises(ValueError, match=r"no array and no container|not a readable array"):
        planetoid.load_pickle(path)


def test_unpickling_changes_no_stand_in_for_the_next(tmp_path):
    """`BUILD` can set attributes of what `find_class` returns; a type of ours would keep them."""
    path = tmp_path / "ind.cora.graph"
    path.write_bytes(
        b"\x80\x02cscipy.sparse.csr\ncsr_matrix\nN}U\x08__init__cnumpy\nndarray\ns\x86b."
    )
    with pytest.raises(ValueError, match=r"cannot set '__init__' attribute of immutable type"):
        planetoid.load_pickle(path)


DAMAGE = [  # part      content                             what the line says
    ("allx", b"", "not a readable array file"),
    ("allx", b"\x80\x02", "not a readable array file"),
    ("allx", b"<html>404</html>", "not a readable array file"),
    ("allx", np.zeros((4, 2), np.float32), "must fit together"),
    ("allx", np.full((4, 3), np.nan, np.float32), "must hold a matrix of finite numbers"),
    ("allx", np.array([["a", "b", "c"]] * 4), "must hold a matrix of finite numbers"),
    ("allx", np.array([[None] * 3] * 4), "must hold a matrix of finite numbers"),
    ("allx", np.zeros(4, np.float32), "must hold a matrix of finite numbers"),
    ("allx", [1, 2], "must hold a matrix of finite numbers"),
    ("y", np.ones((3, 2), np.int32), "must fit together"),
    ("graph", {0: [7]}, r"node numbers must be in \[0, 7\)"),
    ("graph", {-1: [0]}, r"node numbers must be in \[0, 7\)"),
    ("graph", {0: ["one"]}, "must hold lists of node numbers"),
    ("graph", [[1]], "must hold lists of node numbers"),
    ("graph", {0: [1.5]}, "must hold lists of node numbers"),
    ("graph", {0: "12"}, "must hold lists of node numbers"),
    ("graph", {}, "must hold lists of node numbers"),
    ("test.index", b"6\nfour\n", "one node number a line"),
    ("test.index", b"", "distinct node numbers"),
    ("test.index", b"6\n6\n", "distinct node numbers"),
    ("test.index", b"-1\n6\n", "distinct node numbers"),
    ("test.index", b"6\n", "must fit together"),
]


@pytest.mark.parametrize("part, content, says", DAMAGE)
def test_a_damaged_file_ends_in_one_line(tmp_path, part, content, says):
    raw = write(tmp_path / "raw")
    raw_bytes = content if isinstance(content, bytes) else pickle.dumps(content)
    (raw / f"ind.cora.{part}").write_bytes(raw_bytes)
    with pytest.raises(ValueError, match=says) as error:
        read(raw, "Cora")
    assert "\n" not in str(error.value)
    assert "fit together" in says or f"ind.cora.{part}" in str(error.value)


def test_every_truncation_of_a_file_ends_in_one_line(tmp_path):
    raw = write(tmp_path / "raw")
    for part in planetoid.PARTS[:7]:
        path = raw / f"ind.cora.{part}"
        whole = path.read_bytes()
        for size in range(0, len(whole), 11):
            path.write_bytes(whole[:size])
            with pytest.raises(ValueError, match=rf"ind\.cora\.{part}"):
                read(raw, "Cora")
        path.write_bytes(whole)


def test_a_sparse_matrix_that_contradicts_itself_is_refused(tmp_path):
    wrong = csr_matrix(np.eye(4, 3, dtype=np.float32))
    wrong.indices[0] = 1000
    with pytest.raises(ValueError, match=r"ind\.cora\.allx: not a valid sparse matrix"):
        read(write(tmp_path / "raw", allx=wrong), "Cora")


@pytest.mark.parametrize("key", [key for key in asdict(TINY) if key != "val"])
def test_another_count_than_the_published_one_is_refused(tmp_path, key):
    write(tmp_path / "Cora/raw")
    counts = asdict(TINY) | {"val": 5}
    value = counts[key]
    with pytest.raises(ValueError, match=rf"^Cora: `{key}` must be {value + 1}, got {value}$"):
        load("Cora", Counts(**counts | {key: value + 1}), data_root=str(tmp_path))


def tiny_split(tmp_path, **changes):
    write(tmp_path / "Cora/raw")
    masks = {
        "train_mask": np.uint8([1, 1, 0, 0, 0, 0, 0]),
        "val_mask": np.uint8([0] * 4 + [1] * 3),
        "test_mask": np.bool_([0, 0, 1, 1, 0, 0, 0]),
    } | changes
    (tmp_path / "geom_gcn_splits").mkdir()
    path = tmp_path / "geom_gcn_splits/cora_split_0.6_0.2_3.npz"
    np.savez(path, **masks)
    return path


def load_split(tmp_path, split="geom-gcn-3"):
    counts = Counts(nodes=7, edges=5, features=3, classes=2, train=2, val=5, test=2)
    return load("Cora", counts, data_root=str(tmp_path), split=split)


@pytest.mark.parametrize("split", ["geom-gcn-3", 3])
def test_a_geom_gcn_split_replaces_the_public_one(tmp_path, split):
    tiny_split(tmp_path)
    found = load_split(tmp_path, split)
    assert found.test_mask.tolist() == [False, False, True, True] + [False] * 3


def test_a_split_that_cannot_be_read_is_told_in_one_line(tmp_path):
    path = tiny_split(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"cora_split_0\.6_0\.2_4\.npz is in none of"):
        load_split(tmp_path, "geom-gcn-4")
    for content in (b"", b"PK\3\4", path.read_bytes()[:400]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"_3\.npz: not a readable file of arrays") as error:
            load_split(tmp_path)
        assert "\n" not in str(error.value)
    np.savez(path, train_mask=np.ones(7, bool), val_mask=np.array([Runs("trap")]))
    with pytest.raises(ValueError, match=r"_3\.npz: not a readable file of arrays"):
        load_split(tmp_path)
    np.savez(path, train_mask=np.ones(7, bool))
    with pytest.raises(ValueError, match=r"_3\.npz: `val_mask` is missing"):
        load_split(tmp_path)


@pytest.mark.parametrize(
    "mask", [np.ones(6, bool), np.ones((7, 1), bool), np.ones(7), np.full(7, 2, np.uint8)]
)
def test_a_split_of_another_shape_is_refused(tmp_path, mask):
    tiny_split(tmp_path, val_mask=mask)
    with pytest.raises(ValueError, match=r"`val_mask` must be a mask \[7\], got"):
        load_split(tmp_path)


@pytest.mark.parametrize(
    "split", ["", "geom-gcn", "geom-gcn-10", "geom-gcn--1", "random", 10, -1, True]
)
def test_an_unknown_split_is_refused(split):
    with pytest.raises(ValueError, match='`split` must be "public", or 0 to 9 or "geom-gcn-0" …'):
        find("tasks", "cora")(split=split)


def test_one_line_is_one_line():
    assert one_line(OSError("a\nb")) == "a"
    assert one_line(ValueError()) == "ValueError"


# --- complete PubMed, made up ------------------------------------------------------------------


def test_a_complete_pubmed_folder_is_a_task(tmp_path):
    """The right layout and counts; features, labels and links are invented."""
    random = np.random.default_rng(0)
    x = csr_matrix(
        (
            random.random(98_585, np.float32),
            random.integers(0, 500, 98_585),
            np.arange(0, 98_586, 5),
        ),
        shape=(19_717, 500),
    )
    x.sum_duplicates()
    y = np.eye(3, dtype=np.int32)[np.arange(19_717) % 3]
    ring = {i: [(i + j) % 19_717 for j in (1, 2)] for i in range(19_717)}
    for i in range(44_324 - 2 * 19_717):
        ring[i].append(i + 3)
    test = random.permutation(np.arange(18_717, 19_717))
    write(
        tmp_path / "PubMed/raw",
        "pubmed",
        x=x[:60],
        allx=x[:18_717],
        tx=x[test],
        y=y[:60],
        ally=y[:18_717],
        ty=y[test],
        graph=ring,
        index="\n".join(map(str, test)),
    )
    task = find("tasks", "pubmed")(data_root=str(tmp_path))
    assert (task.num_nodes, task.num_edges, task.num_features) == (19_717, 44_324, 500)
    assert torch.equal(task.y, torch.arange(19_717) % 3)
    assert {k: len(v) for k, v in task.rows.items()} == {"train": 60, "val": 500, "test": 1000}


# --- the real files ----------------------------------------------------------------------------


@real
@pytest.mark.parametrize("name", ["Cora", "CiteSeer"])
@pytest.mark.filterwarnings("ignore:.*numpy.core:DeprecationWarning", "ignore:.*align")
def test_the_real_graphs_equal_pyg_s(tmp_path, name):
    from torch_geometric.datasets import Planetoid

    raw = planetoid.find_raw(planetoid.roots(ROOT), name)
    shutil.copytree(raw, tmp_path / name / "raw")
    theirs = Planetoid(str(tmp_path), name)[0]
    ours = read(raw, name)
    for key in ("x", "y", "edge_index", "train_mask", "val_mask", "test_mask"):
        assert torch.equal(getattr(ours, key), theirs[key]), key


@real
@pytest.mark.parametrize("name, isolated, empty", [("cora", 0, 0), ("citeseer", 48, 15)])
def test_the_real_tasks_hold_the_published_counts(name, isolated, empty):
    task = find("tasks", name)(data_root=ROOT, edges="directed")
    public = MANIFEST[name]["counts"]
    got = {
        "nodes": task.num_nodes,
        "edges": task.num_edges // 2,
        "features": task.num_features,
        "classes": task.num_classes,
    } | {part: len(rows) for part, rows in task.rows.items()}
    assert got == public
    degree = torch.bincount(task.graph.edge_index.flatten(), minlength=task.num_nodes)
    assert int((degree == 0).sum()) == isolated
    sums = task.x.to_dense().sum(dim=1)
    assert int((sums == 0).sum()) == empty
    assert torch.allclose(sums[sums > 0], torch.ones(()))
    assert find("tasks", name)(data_root=ROOT).num_edges == public["edges"]


@real
@pytest.mark.parametrize("name, nodes", [("cora", 2485), ("citeseer", 3327)])
def test_the_ten_real_splits_cover_their_nodes(name, nodes):
    first, last = (find("tasks", name)(data_root=ROOT, split=f"geom-gcn-{i}") for i in (0, 9))
    assert sum(map(len, first.rows.values())) == sum(map(len, last.rows.values())) == nodes
    assert not torch.equal(first.rows["test"], last.rows["test"])
    assert (
        first.fingerprint()
        == last.fingerprint()
        == find("tasks", name)(data_root=ROOT).fingerprint()
    )


@real
def test_the_file_that_pubmed_lacks_is_named():
    if not planetoid.missing(planetoid.candidates([Path(ROOT)], "PubMed")[0] / "raw", "PubMed"):
        pytest.skip("PubMed is complete here")
    with pytest.raises(FileNotFoundError, match=r"^PubMed: \S+ lacks ind\.pubmed\.allx; [^\n]+$"):
        find("tasks", "pubmed")(data_root=ROOT)


@pytest.mark.parametrize("name", ["cora", "citeseer", "pubmed"])
def test_the_manifest_and_the_loader_agree(name):
    from importlib import import_module

    counts = import_module(f"graphlth.tasks.{name}").COUNTS
    assert MANIFEST[name]["counts"] == asdict(counts)
    assert list(KNOWN[name]) == [f"ind.{name}.{part}" for part in planetoid.PARTS]
