"""The tasks: what they hold, that a setting is felt, and every file that is refused."""

import hashlib
import inspect
import os
import tomllib
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch_geometric.data import Data

from graphlth.registry import find, names
from graphlth.sparse.features import Features

MANIFEST = tomllib.loads((Path(__file__).parents[1] / "datasets/manifest.toml").read_text())
GRAPHS = ("digits", "karate", "sbm")
EMBEDDED = (*GRAPHS, "digits_images")


def counts(task):
    return {
        "images" if task.edges is None else "nodes": len(task.y),
        "edges": task.num_edges,
        "features": task.num_features,
        "classes": task.num_classes,
    } | {part: len(rows) for part, rows in task.rows.items()}


# --- every task --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names("tasks"))
def test_every_setting_is_explained(name):
    task = find("tasks", name)
    settings = inspect.signature(task).parameters
    assert all(p.kind is p.KEYWORD_ONLY for p in settings.values())
    kinds = {"edges", "augment", "context", "discount"}  # graphs, images, text, games
    assert len(kinds & set(settings)) == 1
    for setting in settings:
        assert f"\n        {setting}: " in inspect.cleandoc(task.__doc__).replace(
            "\n    ", "\n        "
        ), setting


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_embedded_tasks_hold_what_the_manifest_says(name):
    task, listed = find("tasks", name)(), MANIFEST[name]["counts"]
    assert {key: counts(task)[key] for key in listed} == listed
    assert task.name == name


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_span_is_the_same_whenever_it_is_asked_for(name):
    task, again = find("tasks", name)(), find("tasks", name)()
    for split in ("train", "val", "test"):
        for a, b in zip(task.batches(split, 1, 2), again.batches(split, 1, 2), strict=True):
            assert torch.equal(a.target, b.target) and a.target.dtype == torch.int64
            assert 0 <= int(a.target.min()) and int(a.target.max()) < task.num_classes
            assert (a.entries is None) == (task.num_edges == 0) == (task.edges is None)


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_split_is_scored_whole_and_in_the_same_order_for_every_seed(name):
    task = find("tasks", name)()
    for split in ("val", "test"):
        for seed in (0, 7):
            target = torch.cat([batch.target for batch in task.batches(split, seed, seed)])
            assert torch.equal(target, task.y[task.rows[split]])


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_splits_do_not_overlap(name):
    rows = torch.cat(list(find("tasks", name)().rows.values()))
    assert len(rows.unique()) == len(rows)


@pytest.mark.parametrize("name", GRAPHS)
def test_an_edge_is_there_in_both_directions_and_no_node_with_itself(name):
    task = find("tasks", name)(edges="directed")
    source, target = task.graph.edge_index
    links = set(zip(source.tolist(), target.tolist(), strict=True))
    assert all((t, s) in links and s != t for s, t in links)
    assert task.num_edges == len(links) == 2 * find("tasks", name)().num_edges


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_seed_decides_and_the_global_state_does_not(name):
    make = find("tasks", name)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = make(data_seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    b, c = make(data_seed=5), make(data_seed=6)
    assert a.fingerprint() == b.fingerprint()
    assert all(torch.equal(a.rows[part], b.rows[part]) for part in a.rows)
    assert not torch.equal(a.rows["train"], c.rows["train"])
    assert (a.fingerprint() != c.fingerprint()) == (name == "sbm")


# --- digits, karate, sbm -------------------------------------------------------------------------


def test_digits_links_the_nearest_images():
    from sklearn.datasets import load_digits
    from sklearn.neighbors import NearestNeighbors

    pixels = load_digits().data
    distance = NearestNeighbors(n_neighbors=9).fit(pixels).kneighbors(pixels)[0][:, 1:]
    task = find("tasks", "digits")()
    source, target = task.graph.edge_index.numpy()
    length = np.linalg.norm(pixels[source] - pixels[target], axis=1)
    farthest = np.maximum(distance[source, -1], distance[target, -1])
    assert (length <= farthest + 1e-9).all()  # near from one side at least
    degree = np.bincount(target, minlength=1797)
    assert degree.min() >= 8
    assert torch.equal(task.x, torch.from_numpy(pixels / 16).float())


def test_digits_settings_are_felt():
    make = find("tasks", "digits")
    assert make(neighbors=3).num_edges < make(neighbors=4).num_edges
    assert len(make(labels=5).rows["train"]) == 50


def test_karate_is_the_club_and_its_break():
    task, club = find("tasks", "karate")(), nx.karate_club_graph()
    links = {tuple(sorted(pair)) for pair in task.graph.edge_index.T.tolist()}
    assert links == {tuple(sorted(pair)) for pair in club.edges}
    assert [club.nodes[i]["club"] == "Officer" for i in range(34)] == task.y.bool().tolist()
    assert isinstance(task.x, Features) and torch.equal(task.x.to_dense(), torch.eye(34))


def test_sbm_has_the_asked_densities():
    task = find("tasks", "sbm")(size=200, classes=3, inside=0.1, across=0.01)
    source, target = task.graph.edge_index
    same = task.y[source] == task.y[target]
    assert 0.5 * int(same.sum()) / (3 * 200 * 199 / 2) == pytest.approx(0.1, rel=0.1)
    assert 0.5 * int((~same).sum()) / (3 * 200 * 200) == pytest.approx(0.01, rel=0.1)


def test_sbm_settings_are_felt():
    task = find("tasks", "sbm")(
        size=10, classes=2, inside=1.0, across=0.0, noise=0.0, num_features=5
    )
    assert counts(task) == {
        "nodes": 20,
        "edges": 90,
        "features": 5,
        "classes": 2,
        "train": 6,
        "val": 6,
        "test": 8,
    }
    assert task.x.unique(dim=0).shape == (2, 5)


@pytest.mark.parametrize(
    "name, settings, says",
    [
        ("digits", {"neighbors": 0}, "`neighbors` must be in [1, 1797), got 0"),
        ("digits", {"neighbors": 1797}, "`neighbors` must be in [1, 1797), got 1797"),
        ("digits", {"labels": 0}, "must be at least 1"),
        ("digits", {"labels": 150}, "leave each class a test node, got 150 and 30 of 174"),
        ("karate", {"edges": "both"}, "`edges` must be"),
        ("sbm", {"size": 2}, "`size` must be at least 3 and finite, got 2"),
        ("sbm", {"classes": 0}, "`classes` must be at least 1 and finite, got 0"),
        ("sbm", {"noise": float("nan")}, "`noise` must be at least 0 and finite, got nan"),
        ("sbm", {"num_features": 0}, "`num_features` must be at least 1 and finite, got 0"),
        ("sbm", {"inside": 1.5}, "`inside` must be in [0, 1], got 1.5"),
        ("sbm", {"across": -0.1}, "`across` must be in [0, 1], got -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(name, settings, says):
    with pytest.raises(ValueError) as error:
        find("tasks", name)(**settings)
    assert says in str(error.value) and "\n" not in str(error.value)


# --- file ----------------------------------------------------------------------------------------


file = find("tasks", "file")
PLAIN = {
    "x": np.float32([[0, 1], [2, 3], [4, 5], [6, 7]]),
    "edge_index": np.int32([[0, 1, 2], [1, 2, 3]]),
    "y": np.int32([0, 1, 0, 1]),
    "train_mask": np.bool_([1, 1, 0, 0]),
    "val_mask": np.bool_([0, 0, 1, 0]),
    "test_mask": np.bool_([0, 0, 0, 1]),
}
TENSORS = {key: torch.from_numpy(value) for key, value in PLAIN.items()}
BOTH = {"edge_index": torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])}


class Runs:
    """Creates a folder when it is unpickled by the ordinary unpickler."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def npz(tmp_path, **changes):
    arrays = {k: v for k, v in (PLAIN | changes).items() if v is not None}
    np.savez(tmp_path / "mine.npz", **arrays)
    return str(tmp_path / "mine.npz")


def pt(tmp_path, held):
    torch.save(held, tmp_path / "mine.pt")
    return str(tmp_path / "mine.pt")


def test_each_format_holds_the_same_task(tmp_path):
    data = Data(**TENSORS | BOTH)
    rows = csr_matrix(PLAIN["x"])
    sparse = {
        "x": None,
        "x_data": rows.data,
        "x_indices": rows.indices,
        "x_indptr": rows.indptr,
        "x_shape": np.int64([4, 2]),
    }
    many = {f"{p}_masks": PLAIN[f"{p}_mask"][None] for p in ("train", "val", "test")} | {
        f"{p}_mask": None for p in ("train", "val", "test")
    }
    tasks = [
        file(path=npz(tmp_path)),
        file(path=npz(tmp_path, **sparse)),
        file(path=npz(tmp_path, **many)),
        file(path=pt(tmp_path, TENSORS)),
        file(path=pt(tmp_path, data)),
        file(path=pt(tmp_path, (data.to_dict(), None, Data))),
    ]
    assert {task.fingerprint() for task in tasks} == {tasks[0].fingerprint()}
    assert {task.name for task in tasks} == {"mine"}
    for task in tasks:
        assert [task.rows[p].tolist() for p in ("train", "val", "test")] == [[0, 1], [2], [3]]
        assert task.graph.edge_index.T.tolist() == [[1, 0], [0, 1], [2, 1], [1, 2], [3, 2], [2, 3]]


DIRECTIONS = [  # edge_index                 directed  edges in the graph
    ([[0, 1], [1, 2]], None, 4),
    ([[0, 1, 1], [1, 2, 1]], None, 5),  # a loop is not its own reverse
    ([[0, 1, 2], [1, 2, 1]], None, 3),  # one reverse is there: all that are wanted are
    ([[0, 1], [1, 2]], True, 2),
    ([[0, 1], [1, 2]], False, 4),
]


@pytest.mark.parametrize("edge_index, directed, edges", DIRECTIONS)
def test_pairs_in_one_direction_get_the_other(tmp_path, edge_index, directed, edges):
    path = npz(
        tmp_path,
        edge_index=np.int64(edge_index),
        directed=None if directed is None else np.bool_(directed),
    )
    assert file(path=path).graph.num_edges == file(path=path, edges="directed").num_edges == edges


def test_a_saved_data_keeps_its_directions(tmp_path):
    assert file(path=pt(tmp_path, Data(**TENSORS))).graph.num_edges == 3


def test_split_picks_the_row_of_the_masks(tmp_path):
    masks = {
        "train_masks": np.bool_([[1, 1, 0, 0], [0, 0, 1, 1]]),
        "train_mask": None,
        "val_masks": np.bool_([[0, 0, 1, 0], [1, 0, 0, 0]]),
        "val_mask": None,
        "test_masks": np.bool_([[0, 0, 0, 1], [0, 1, 0, 0]]),
        "test_mask": None,
    }
    path = npz(tmp_path, **masks)
    assert file(path=path, split=1).rows["train"].tolist() == [2, 3]
    with pytest.raises(ValueError, match=r"mine\.npz: `split` must be in \[0, 2\), got 2"):
        file(path=path, split=2)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"train_mask": None}, '`data.train_mask` is missing: `split` "random" (--split random)'),
        (
            {"train_mask": None, "val_mask": None, "test_mask": None},
            '`data.train_mask` is missing, and so are val_mask and test_mask: `split` "random" '
            "(--split random) draws 60 / 20 / 20 % of every class",
        ),
        ({"y": None}, "`data.y` is missing"),
        ({"x": None}, "`data.x` is missing"),
        ({"x": None, "x_data": np.ones(2)}, "must form a sparse matrix"),
        (
            {
                "x": None,
                "x_data": np.ones(1),
                "x_indices": np.int64([9]),
                "x_shape": np.int64([4, 2]),
                "x_indptr": np.int64([0, 1, 1, 1, 1]),
            },
            "must form a sparse matrix",
        ),
        ({"x": np.array(list("abcd"))}, "`data.x` must be a tensor, got ndarray"),
        ({"x": np.full((4, 2), np.nan)}, "`data.x` must be finite"),
        ({"edge_index": np.int64([[0], [4]])}, "`data.edge_index` must be in [0, 4), got 4"),
        ({"edge_index": np.int64([0, 1])}, "`data.edge_index` must be [2, E], got [2]"),
        (
            {"edge_index": np.array([["a"], ["b"]])},
            "`data.edge_index` must be a tensor, got ndarray",
        ),
        ({"val_mask": np.float32([0, 0, 1, 0])}, "`data.val_mask` must be boolean"),
        ({"x": np.array([Runs("ran")] * 4)}, "`x` holds Python objects, which could run code"),
        ({"y": np.array(list("abab"), object)}, "save text as np.array(y, dtype=str)"),
        (
            {"y": np.array(["2026-01-01"] * 4, "M8[D]")},
            "`y` must hold numbers or text, got datetime",
        ),
        (
            {"x": np.full((4, 2), np.longdouble("0.1"))},
            "`x` must hold numbers that are exact in 64",
        ),
    ],
)
def test_what_a_file_lacks_is_told_in_one_line(tmp_path, change, says):
    for path in (npz(tmp_path, **change),):
        with pytest.raises(ValueError) as error:
            file(path=path)
        assert says in str(error.value) and "\n" not in str(error.value)
        assert str(error.value).startswith(path)


@pytest.mark.parametrize("where", ["alone", "in a dict", "in a Data"])
@pytest.mark.parametrize("new", [True, False])
def test_a_pt_file_that_would_run_code_is_refused(tmp_path, where, new):
    trap = tmp_path / "trap"
    held = {
        "alone": Runs(str(trap)),
        "in a dict": TENSORS | {"x": Runs(str(trap))},
        "in a Data": Data(**TENSORS | {"extra": Runs(str(trap))}),
    }[where]
    path = tmp_path / "mine.pt"
    torch.save(held, path, _use_new_zipfile_serialization=new)
    with pytest.raises(ValueError, match=r"mine\.pt: .*it asks for \w+\.mkdir") as error:
        file(path=str(path))
    assert not trap.exists() and "\n" not in str(error.value)
    torch.load(path, weights_only=False)
    assert trap.exists()


def test_an_npz_file_with_objects_is_refused(tmp_path):
    trap = np.array([Runs(str(tmp_path / "trap"))])
    with pytest.raises(ValueError, match=r"mine\.npz: not a readable file of arrays"):
        file(path=npz(tmp_path, x=trap))
    file(path=npz(tmp_path, extra=trap))  # which nobody asks for
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_every_truncation_ends_in_one_line(tmp_path, suffix):
    whole = Path(npz(tmp_path) if suffix == ".npz" else pt(tmp_path, Data(**TENSORS))).read_bytes()
    path = tmp_path / f"cut{suffix}"
    for size in [0, 1, 4, *range(100, len(whole), 211)]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"not a readable file of") as error:
            file(path=str(path))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("held", [torch.ones(2), [1, 2], "text", (), (1, 2)])
def test_a_pt_file_of_something_else_is_refused(tmp_path, held):
    with pytest.raises(ValueError, match=r"must hold a PyG `Data` or a dict of tensors, got \w+$"):
        file(path=pt(tmp_path, held))


def test_a_path_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in \.pt or \.npz, got 'graph\.csv'"):
        file(path="graph.csv")
    with pytest.raises(FileNotFoundError, match=r"`path` must be a file, got 'nowhere\.npz'"):
        file(path="nowhere.npz")
    with pytest.raises(FileNotFoundError, match=r"`path` must be a file"):
        (tmp_path / "folder.pt").mkdir()
        file(path=str(tmp_path / "folder.pt"))


# --- real graphs in files ------------------------------------------------------------------------


REAL = [  # name, nodes, edges, features, classes
    ("chameleon_filtered", 890, 8_854, 2_325, 5),
    ("squirrel_filtered", 2_223, 46_998, 2_089, 5),
]


@pytest.mark.parametrize("name, nodes, edges, features, classes", REAL)
def test_real_graphs_from_files(data_root, name, nodes, edges, features, classes):
    path = data_root / f"graphs/{name}/{name}.npz"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    before = hashlib.sha256(path.read_bytes()).digest()
    first, last = (file(path=str(path), split=split) for split in (0, 9))
    got = counts(first)
    assert [got[key] for key in ("nodes", "edges", "features", "classes")] == [
        nodes,
        edges,
        features,
        classes,
    ]
    assert first.graph.num_edges == 2 * edges and isinstance(first.x, Features)
    assert not torch.equal(first.rows["train"], last.rows["train"])
    assert hashlib.sha256(path.read_bytes()).digest() == before


def test_a_real_graph_without_splits_says_so(data_root):
    path = data_root / "graphs/cora_ml/cora_ml.npz"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    with pytest.raises(ValueError, match=r"val_mask and test_mask: `split` \"random\" \(--split"):
        file(path=str(path))


def test_reading_a_file_leaves_what_torch_may_load_as_it_was(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    find("tasks", "file")(path=pt(tmp_path, TENSORS))
    assert set(torch.serialization.get_safe_globals()) == before
