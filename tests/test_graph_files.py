"""Graphs from TU's and OGB's files: what they hold, and every file that is refused."""

import shutil
import tomllib
from pathlib import Path

import pytest
import torch
from ogb_files import write_graphs, write_split
from test_published import flip

import graphlth as glt
from graphlth import records
from graphlth.data import published
from graphlth.data.ogb_molecules import ARCHIVES, molecule_task
from graphlth.data.tu import Counts, read_tu, tu_task
from graphlth.registry import find

A = [(1, 2), (2, 1), (2, 3), (3, 2), (4, 5), (5, 4)]  # a path of 3 nodes, an edge, a node alone
FILES = {
    "A": A,
    "graph_indicator": [1, 1, 1, 2, 2, 3],
    "graph_labels": [-1, 1, -1],
    "node_labels": [3, 3, 5, 4, 3, 3],
    "node_attributes": [(0.5, 1), (2, 3), (4, 5), (6, 7), (8, 9), (-1, 0)],
    "edge_labels": [0, 0, 1, 1, 0, 0],
}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAPHLTH_DATA_ROOT", raising=False)


def write(folder, name="TOY", **changes):
    """TU's files of a small set; text in the place of rows is written as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for table, rows in {**FILES, **changes}.items():
        if rows is None:
            continue
        lines = [", ".join(map(str, r)) if isinstance(r, tuple) else str(r) for r in rows]
        paths[table] = folder / f"{name}_{table}.txt"
        paths[table].write_text(rows if isinstance(rows, str) else "\n".join(lines) + "\n")
    return paths


def test_the_files_of_a_set_are_its_graphs(tmp_path):
    path, pair, alone = read_tu(write(tmp_path), attributes=True)
    assert path.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert path.x.tolist() == [[0.5, 1, 1, 0, 0], [2, 3, 1, 0, 0], [4, 5, 0, 0, 1]]
    assert path.edge_attr.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert pair.edge_index.tolist() == [[0, 1], [1, 0]] and alone.num_edges == 0
    assert [g.y.tolist() for g in (path, pair, alone)] == [[0], [1], [0]]
    without = read_tu(write(tmp_path, edge_labels=None, node_attributes=None))
    assert without[0].num_features == 3 and "edge_attr" not in without[0]
    order = [4, 0, 2, 1, 3, 5]  # edges may come in any order
    shuffled = read_tu(write(tmp_path, A=[A[i] for i in order],
                             edge_labels=[FILES["edge_labels"][i] for i in order]))  # fmt: skip
    assert sorted(zip(*shuffled[0].edge_index.tolist(), shuffled[0].edge_attr[:, 1].tolist(),
                      strict=True)) == [(0, 1, 0), (1, 0, 0), (1, 2, 1), (2, 1, 1)]  # fmt: skip


WRONG = [  # the table, what stands in it, what is said of its file
    ("A", "1, 2\n2, x\n", "not a readable table of numbers"),
    ("A", "1, 2\n2\n", "not a readable table of numbers"),
    ("A", [(1, 7), (7, 1)], "must hold nodes from 1 to 6, got 7"),
    ("A", [(0, 1), (1, 0)], "must hold nodes from 1 to 6, got 0"),
    ("A", [(3, 4)], "must hold edges within graphs, got one between two"),
    ("graph_indicator", [1, 1, 2, 1, 2, 3], "must number the 3 graphs from 1 on, node after node"),
    ("graph_indicator", [1, 1, 1, 2, 2, 4], "must number the 3 graphs from 1 on, node after node"),
    ("graph_labels", "", "not a readable table of numbers"),
    ("node_labels", [1, 2], r"must hold 6 labels, got \[2\]"),
    ("edge_labels", [1, 2], r"must hold 6 labels, got \[2\]"),
    ("node_attributes", [(1, 2)], "must hold 6 rows"),
]


@pytest.mark.parametrize(("table", "content", "said"), WRONG)
def test_a_damaged_file_is_named(tmp_path, table, content, said):
    paths = write(tmp_path, **{table: content})
    with pytest.raises(ValueError, match=rf"TOY_{table}\.txt: {said}") as caught:
        read_tu(paths, attributes=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mutag", "proteins", "enzymes"])
def test_a_set_that_is_missing_or_another_is_refused(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=f"{name.upper()}: .*--data_root") as caught:
        find("tasks", name)(data_root=str(tmp_path))
    assert "\n" not in str(caught.value)
    write(tmp_path / name.upper() / "raw", name.upper())
    with pytest.raises(ValueError, match="must be the published file of sha256"):
        find("tasks", name)(data_root=str(tmp_path))


def test_counts_that_are_not_the_published_ones_are_refused(tmp_path, monkeypatch):
    write(tmp_path / "TOY" / "raw")
    monkeypatch.setattr(published, "published_files", lambda: {})
    with pytest.raises(ValueError, match=r"TOY: must hold .*graphs=4.*, got .*graphs=3"):
        tu_task("TOY", Counts(graphs=4, nodes=6, edges=6, classes=2), str(tmp_path))


MANIFEST = tomllib.loads((Path(__file__).parents[1] / "datasets/manifest.toml").read_text())
REAL = [name for name, listed in MANIFEST.items() if "graphs" in listed.get("counts", {})]


@pytest.mark.parametrize("name", REAL)
def test_the_real_sets_are_what_the_manifest_says(data_root, name):
    task, listed = find("tasks", name)(data_root=str(data_root)), MANIFEST[name]["counts"]
    found = {
        "graphs": task.graphs.count, "nodes": task.graphs.num_nodes,
        "edges": task.graphs.edge_index.size(1) // 2, "features": task.num_features,
        "classes": task.num_classes, **{part: len(rows) for part, rows in task.rows.items()},
    }  # fmt: skip
    assert {key: found[key] for key in listed} == listed
    whole = find("tasks", name)(data_root=str(data_root), edges="directed")
    assert whole.num_edges == 2 * task.num_edges  # every edge has its reverse
    if name.startswith("ogbg"):
        assert MANIFEST[name]["source"].endswith(f"/{ARCHIVES[name.partition('_')[2]]}.zip")


@pytest.mark.parametrize(("name", "file"), [
    ("mutag", "tu/MUTAG/raw/MUTAG_A.txt"),
    ("ogbg_molfreesolv", "ogb/ogbg_molfreesolv/raw/node-feat.csv.gz"),
    ("ogbg_molfreesolv", "ogb/ogbg_molfreesolv/split/scaffold/test.csv.gz"),
])  # fmt: skip
def test_a_bit_that_is_turned_over_is_noticed(data_root, tmp_path, name, file):
    folder = file.split("/")[1]
    shutil.copytree(data_root / file.split("/")[0] / folder, tmp_path / folder)
    path = tmp_path.joinpath(*file.split("/")[1:])
    path.chmod(0o644)
    flip(path, at=len(path.read_bytes()) // 2)
    with pytest.raises(ValueError, match=r"damaged|not a readable table") as caught:
        find("tasks", name)(data_root=str(tmp_path))
    assert "\n" not in str(caught.value)


def molecules(folder, labels, **about):
    """OGB's files of ten paths of two to four atoms."""
    graphs = [(2 + i % 3, [(k, k + 1) for k in range(1 + i % 3)]) for i in range(10)]
    atoms = [[i % 3, i % 2] for i in range(sum(n for n, _ in graphs))]
    bonds = [[i % 4] for i in range(sum(len(edges) for _, edges in graphs))]
    tables = {"node_feat": atoms, "edge_feat": bonds, "graph_label": labels}
    write_graphs(folder, graphs, **tables)
    write_split(folder, "scaffold", range(6), [6, 7], [8, 9])


def test_another_set_in_ogbs_layout_is_read_with_its_missing_labels(tmp_path):
    labels = [[i % 2, ["", 0, 1][i % 3]] for i in range(10)]
    molecules(tmp_path / "ogbg_molpcba", labels)
    task = find("tasks", "ogbg_molpcba")(data_root=str(tmp_path), metric="roc_auc", batch_size=4)
    assert task.num_classes == 2 and int(task.y.isnan().sum()) == 4
    assert task.x.dtype == torch.int64 and task.evaluate_every == 2
    batch = next(task.whole("test"))
    assert batch.data.edge_index.size(1) == len(batch.data.edge_attr) == 8
    assert task.notes == ("4 of 20 labels are missing: loss and metric leave them out",)


@pytest.mark.parametrize(("name", "metric", "loss"), [
    ("ogbg-molhiv", "roc_auc", "binary_cross_entropy"), ("ogbg-molesol", "rmse", "mse"),
    ("ogbg-molpcba", "average_precision", "binary_cross_entropy"),
])  # fmt: skip
def test_the_metric_is_that_of_ogb(tmp_path, monkeypatch, name, metric, loss):
    monkeypatch.setattr(published, "published_files", lambda: {})
    width = 128 if name == "ogbg-molpcba" else 1
    molecules(tmp_path / name.replace("-", "_"), [[i % 2] * width for i in range(10)])
    task = molecule_task(name, loss, str(tmp_path), metric=None)
    assert task.metric.name == metric
    value, _ = task.evaluate("test", lambda batch: batch.target * 2 - 1)
    assert value == (1 if metric != "rmse" else pytest.approx(0.5**0.5))


def test_missing_molecules_are_told_with_what_to_fetch(tmp_path):
    said = r"ogbg_molhiv: no folder .*graphproppred/csv_mol_download/hiv.zip.*--data_root"
    with pytest.raises(FileNotFoundError, match=said):
        find("tasks", "ogbg_molhiv")(data_root=str(tmp_path))
    molecules(tmp_path / "ogbg_molhiv", [[1]] * 10)
    for name in ("graph-label", "edge-feat"):
        (tmp_path / "ogbg_molhiv" / "raw" / f"{name}.csv.gz").unlink()
        with pytest.raises(FileNotFoundError, match=rf"{name}\.csv\.gz is missing"):
            find("tasks", "ogbg_molhiv")(data_root=str(tmp_path))


def test_a_run_on_real_graphs_is_recorded_and_continued(data_root, tmp_path):
    settings = {"rounds": 2, "epochs": 1, "hidden": 4, "data_root": str(data_root)}
    folder = glt.run("ugs", "mutag", "graph_gin", settings, out=str(tmp_path))
    rows = records.read(folder)
    assert [row["num_edges"] for row in rows] == [2935] * 3
    assert [round(row["edge_sparsity"], 4) for row in rows] == [0, 0.0501, 0.0974]
    assert all(row["macs"] > 0 for row in rows)
    path = folder / "seed0.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))  # interrupted
    assert glt.run("ugs", "mutag", "graph_gin", settings, out=str(tmp_path)) == folder
    again = records.read(folder)
    assert [(row["val"], row["test"]) for row in again] == [
        (row["val"], row["test"]) for row in rows
    ]
