"""The package `ogb`: neither network nor terminal, and files in its layout."""

import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from ogb_files import write_graphs, write_link_split, write_split, write_table

from graphlth.data import ogb
from graphlth.data.ogb import read_graphs, read_link_split
from graphlth.evaluators import import_ogb, ogb_evaluator
from graphlth.metrics import ACCURACY

needs_ogb = pytest.mark.skipif(find_spec("ogb") is None, reason="the extra `ogb` is not installed")

ALONE = """
import builtins, os, socket, sys, threading

def refuse(*_, **__):
    print("forbidden", flush=True)
    os._exit(9)  # also from a thread, and whatever is caught

socket.socket.connect = socket.create_connection = socket.getaddrinfo = builtins.input = refuse
sys.stdin.close()
before = threading.active_count()
{code}
assert threading.active_count() == before, threading.enumerate()
assert "outdated" not in sys.modules and "dgl" not in sys.modules
"""
EVALUATE = """
import torch
from graphlth.metrics import find_metric
from graphlth.evaluators import import_ogb, ogb_evaluator
out, target = torch.tensor([[.9], [.1], [.5], [.2]]), torch.tensor([[1.], [0], [1], [0]])
assert find_metric("hits@1").function(out, target) == 1
for kind, name, known in (("node", "ogbn-proteins", 112), ("graph", "ogbg-molhiv", 1)):
    assert ogb_evaluator(kind, name, "test").num_tasks == known
assert len(import_ogb("ogb.utils.features", "test").get_atom_feature_dims()) == 9
"""


def run_alone(code, home):
    """What a fresh process says that has neither network nor terminal nor a folder to write in."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(code=code)], stdin=subprocess.PIPE, text=True,
        capture_output=True, env={**os.environ, "HOME": str(home)}, cwd=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in home.iterdir() if path.name != ".cache"] == []
    return done.stdout


@needs_ogb
def test_the_sentinels_see_what_ogb_does_when_it_is_imported_unguarded(tmp_path):
    if find_spec("outdated") is None:
        pytest.skip("ogb has nothing to look for newer versions with")
    with pytest.raises(AssertionError, match="forbidden"):
        run_alone("import ogb, time; time.sleep(20)", tmp_path)


@needs_ogb
def test_evaluators_work_without_network_and_terminal(tmp_path):
    assert run_alone(EVALUATE, tmp_path) == ""


GRAPHS = [(3, [(0, 1), (1, 2)]), (1, []), (2, [(1, 0)])]
NODES, EDGES = [[i, i / 2] for i in range(6)], [[7], [8], [9]]


def test_graphs_are_those_that_ogb_reads(tmp_path):
    write_graphs(tmp_path, GRAPHS, node_feat=NODES, edge_feat=EDGES, node_year=range(6))
    first, empty, last = read_graphs(tmp_path, both_directions=True, extra=["node_year"])
    assert first.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert first.edge_attr.tolist() == [[7], [7], [8], [8]]
    assert (empty.num_nodes, empty.edge_index.shape, empty.x.tolist()) == (1, (2, 0), [[3, 1.5]])
    assert last.edge_index.tolist() == [[1, 0], [0, 1]]
    assert (last.x.dtype, last.edge_attr.dtype) == (torch.float32, torch.int64)
    assert last.node_year.tolist() == [[4], [5]]
    (one,) = read_graphs(tmp_path, both_directions=False)[2:]
    assert one.edge_index.tolist() == [[1], [0]]


@needs_ogb
@pytest.mark.parametrize("both", [True, False])
def test_the_package_ogb_reads_the_same_from_the_same_files(tmp_path, capsys, both):
    write_graphs(tmp_path, GRAPHS, node_feat=NODES, edge_feat=EDGES)
    read = import_ogb("ogb.io.read_graph_raw", "test").read_csv_graph_raw
    theirs = read(str(tmp_path / "raw"), add_inverse_edge=both)
    capsys.readouterr()
    for ours, other in zip(read_graphs(tmp_path, both_directions=both), theirs, strict=True):
        for key, name in (("x", "node_feat"), ("edge_attr", "edge_feat"),
                          ("edge_index", "edge_index")):  # fmt: skip
            assert torch.equal(ours[key], torch.from_numpy(other[name]))
        assert ours.num_nodes == other["num_nodes"]


def test_a_table_becomes_real_where_a_later_part_is(tmp_path, monkeypatch):
    monkeypatch.setattr(ogb, "ROWS", 2)
    write_table(tmp_path / "t.csv.gz", [1, 2, 3, 4.5, "nan"])
    values = ogb.read_table(tmp_path / "t.csv.gz", 5)
    assert values.dtype == np.float32
    assert values[:4].tolist() == [[1], [2], [3], [4.5]]
    assert np.isnan(values[4, 0])


SPLIT = {
    "train": {"edge": [[0, 1], [1, 2]], "weight": [1, 2], "year": [2017, 2018]},
    "valid": {"edge": [[0, 2]], "weight": [1], "year": [2018], "edge_neg": [[2, 3], [0, 3]]},
    "test": {"edge": [[1, 3]], "weight": [1], "year": [2019], "edge_neg": [[0, 3]]},
}


@pytest.mark.parametrize("old", [False, True])
def test_the_split_of_links_is_read_without_running_its_pickle(tmp_path, old):
    write_link_split(tmp_path, "time", old, **SPLIT)
    if old:  # as numpy before 2 called its modules
        for path in (tmp_path / "split" / "time").iterdir():
            path.write_bytes(path.read_bytes().replace(b"numpy._core", b"numpy.core"))
    found = read_link_split(tmp_path, "time", 4)
    assert found["train"]["edge"].tolist() == [[0, 1], [1, 2]]
    assert found["val"]["edge_neg"].tolist() == [[2, 3], [0, 3]]
    assert found["test"]["year"].tolist() == [2019]


def test_the_split_of_links_is_one_of_tensors_too(tmp_path):
    write_link_split(tmp_path, "time", **SPLIT)
    path = tmp_path / "split" / "time" / "train.pt"
    torch.save({"edge": torch.tensor([[0, 1]])}, path)
    assert read_link_split(tmp_path, "time", 4)["train"]["edge"].tolist() == [[0, 1]]


def clip(path):
    path.write_bytes(path.read_bytes()[:-12])


def flip(path):
    """Another byte in the middle of the packed numbers."""
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 255
    path.write_bytes(held)


def rewrite(*rows):
    return lambda path: write_table(path, rows)


@pytest.mark.parametrize(
    ("file", "damage", "error"),
    [
        ("raw/edge.csv.gz", Path.unlink, r"edge\.csv\.gz is missing"),
        ("raw/num-node-list.csv.gz", Path.unlink, r"num-node-list\.csv\.gz is missing"),
        ("raw/node_year.csv.gz", Path.unlink, r"node_year\.csv\.gz is missing"),
        ("raw/edge.csv.gz", clip, r"edge\.csv\.gz: not a readable table \(Compressed file ended"),
        ("raw/node-feat.csv.gz", flip, r"node-feat\.csv\.gz: not a readable table"),
        ("raw/edge.csv.gz", lambda p: p.write_bytes(b"0,1\n"), r"not a readable table \(Not a gz"),
        ("raw/edge.csv.gz", rewrite((0, 1)), "must have 3 rows, got 1"),
        ("raw/edge.csv.gz", rewrite(*[(0, 1)] * 4), "must have 3 rows, got more"),
        ("raw/edge.csv.gz", rewrite(0, 1, 0), "must have 2 columns, got 1"),
        ("raw/edge.csv.gz", rewrite((0, 3), (0, 1), (0, 1)), r"in \[0, 3\), got 3"),
        ("raw/edge.csv.gz", rewrite((0, 1.5), (0, 1), (0, 1)), "must be whole numbers"),
        ("raw/node-feat.csv.gz", rewrite(*["a"] * 6), "must hold numbers, got text"),
        ("raw/num-node-list.csv.gz", rewrite(3, -1, 4), "must be whole and at least 0"),
        ("raw/num-node-list.csv.gz", rewrite(), "not a readable table"),
    ],
)  # fmt: skip
def test_a_wrong_file_of_graphs_is_named_in_one_line(tmp_path, file, damage, error):
    write_graphs(tmp_path, GRAPHS, node_feat=NODES, edge_feat=EDGES, node_year=range(6))
    damage(tmp_path / file)
    with pytest.raises((ValueError, FileNotFoundError), match=error) as found:
        read_graphs(tmp_path, both_directions=True, extra=["node_year"])
    assert "\n" not in str(found.value)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile",)


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (Path.unlink, r"train\.pt is missing"),
        (clip, "not a readable file"),
        (lambda p: p.write_bytes(p.read_bytes().replace(b"edge", b"egde")), "Bad CRC-32"),
        (lambda p: torch.save(Hostile(), p), "not a readable file of arrays"),
        (lambda p: torch.save([1], p), "must hold a dict of arrays, got list"),
        (lambda p: torch.save({"edge_neg": torch.zeros(1, 2).long()}, p), "`edge` is missing"),
        (lambda p: torch.save({"edge": torch.zeros(3).long()}, p), r"must be int64 \[n, 2\]"),
        (lambda p: torch.save({"edge": torch.zeros(1, 2)}, p), r"got torch.float32 \[1, 2\]"),
        (lambda p: torch.save({"edge": torch.tensor([[0, 4]])}, p), r"in \[0, 4\), got 4"),
    ],
)  # fmt: skip
def test_a_wrong_file_of_links_is_named_in_one_line(tmp_path, monkeypatch, write, error):
    monkeypatch.chdir(tmp_path)
    write_link_split(tmp_path, "time", **SPLIT)
    write(tmp_path / "split" / "time" / "train.pt")
    with pytest.raises((ValueError, FileNotFoundError), match=error) as found:
        read_link_split(tmp_path, "time", 4)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "hostile").exists()


@pytest.mark.parametrize(
    ("train", "error"), [([0, 9], r"in \[0, 4\), got 9"), ([0, 3], "each number once, got one twi")]
)
def test_a_wrong_split_is_named_in_one_line(tmp_path, train, error):
    write_split(tmp_path, "time", train, [2], [3])
    with pytest.raises(ValueError, match=error):
        ogb.read_split(tmp_path, "time", 4)


@needs_ogb
def test_accuracy_is_what_ogb_counts():
    out, target = torch.randn(50, 40), torch.randint(40, (50,))
    assert ogb.ogb_metric("node", "ogbn-arxiv") is ACCURACY
    given = {"y_true": target[:, None], "y_pred": out.argmax(1)[:, None]}
    theirs = ogb_evaluator("node", "ogbn-arxiv", "test").eval(given)["acc"]
    assert ACCURACY.function(out, target).float().mean().item() == pytest.approx(theirs)


@needs_ogb
def test_a_metric_of_several_targets_is_the_mean_over_those_that_have_both_kinds():
    target = torch.tensor([[0.0, 1], [1, 1], [float("nan"), 1]])
    metric = ogb.ogb_metric("graph", "ogbg-molclintox")
    assert pickle.loads(pickle.dumps(metric)) == metric
    assert (metric.name, metric.direction) == ("roc_auc", "max")
    assert metric.function(torch.tensor([[0.1, 0], [0.9, 0], [0.0, 0]]), target) == 1
