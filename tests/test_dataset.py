"""`NodeTask`: a graph as the engine sees it, and every graph that it refuses."""

import copy
import time

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from toys import with_features

import graphlth as glt
from graphlth.data.node import NodeTask, split_per_class
from graphlth.registry import find
from graphlth.sparse.features import Features, sparse_features


def small(**changes):
    """A loop at 0, pairs 0-1 (one direction twice) and 1-2, and 3 → 2 without its reverse."""
    fields = {
        "x": torch.tensor([[1.0, 2], [3, 4], [5, 6], [7, 8], [9, 9]]),
        "edge_index": torch.tensor([[0, 1, 0, 0, 2, 1, 3], [0, 0, 1, 1, 1, 2, 2]]),
        "y": torch.tensor([0, 1, 0, 1, -1]),
        "train_mask": torch.tensor([1, 1, 0, 0, 0]).bool(),
        "val_mask": torch.tensor([0, 0, 1, 0, 0]).bool(),
        "test_mask": torch.tensor([0, 0, 0, 1, 0]).bool(),
    } | changes
    return Data(**{key: value for key, value in fields.items() if value is not None})


def random_task(num_nodes=50, num_edges=300, edges="undirected", seed=0):
    random = torch.Generator().manual_seed(seed)
    y = torch.arange(num_nodes) % 2
    return NodeTask(
        Data(
            x=torch.randn(num_nodes, 4, generator=random),
            y=y,
            edge_index=torch.randint(num_nodes, (2, num_edges), generator=random),
            **split_per_class(y, 5, 5, random),
        ),
        edges=edges,
    )


UNIVERSES = [  # edges       the entry that each edge reads    entries
    ("undirected", [0, 1, 1, 2, 2, 3], 4),
    ("directed", [0, 1, 2, 3, 4, 5], 6),
]


@pytest.mark.parametrize("edges, entries, num_edges", UNIVERSES)
def test_what_one_entry_stands_for(edges, entries, num_edges):
    task = NodeTask(small(), edges=edges)
    assert task.graph.edge_index.T.tolist() == [  # each once, by target and source, none added
        [0, 0],
        [1, 0],
        [0, 1],
        [2, 1],
        [1, 2],
        [3, 2],
    ]
    assert (task.entries.tolist(), task.num_edges) == (entries, num_edges)


def test_undirected_entries_tie_a_pair_and_nothing_else():
    task = random_task()
    pairs = task.graph.edge_index.sort(dim=0).values.T.tolist()
    owner = {}
    for pair, entry in zip(map(tuple, pairs), task.entries.tolist(), strict=True):
        assert owner.setdefault(pair, entry) == entry
    assert sorted(owner.values()) == list(range(task.num_edges))


def test_the_order_of_the_edges_changes_nothing():
    data = small()
    shuffled = small(edge_index=data.edge_index[:, torch.tensor([3, 6, 0, 5, 2, 4, 1])])
    a, b = NodeTask(data), NodeTask(shuffled)
    assert torch.equal(a.graph.edge_index, b.graph.edge_index)
    assert torch.equal(a.entries, b.entries) and a.fingerprint() == b.fingerprint()


def test_a_batch_has_the_labels_and_rows_that_the_task_has_then():
    task = NodeTask(small())
    assert next(task.batches("val")) is next(task.batches("val"))
    before = next(task.batches("val")).target.clone()
    task.y[task.rows["val"]] = 1 - before.clamp(max=1)
    changed = next(task.batches("val")).target
    assert not torch.equal(changed, before)
    task.y = 1 - task.y.clamp(max=1)
    assert not torch.equal(next(task.batches("val")).target, changed)
    task.rows["val"] = task.rows["test"]
    assert torch.equal(next(task.batches("val")).rows, task.rows["test"])


def test_every_split_is_one_batch_of_the_whole_graph():
    task = NodeTask(small())
    batches = {split: list(task.batches(split, seed=3)) for split in ("train", "val", "test")}
    for split, rows in {"train": [0, 1], "val": [2], "test": [3]}.items():
        (batch,) = batches[split]
        assert batch.rows.tolist() == rows and batch.target.tolist() == task.y[rows].tolist()
        assert batch.inputs is batches["train"][0].inputs and batch.entries is task.entries
    assert batch.inputs == (task.x, task.graph)
    with pytest.raises(ValueError, match="`split` must be one of train, val, test, got 'all'"):
        next(task.batches("all"))


@pytest.mark.parametrize("edges", ["undirected", "directed"])
def test_a_zero_entry_removes_its_edges_and_only_them(edges):
    task = random_task(edges=edges)
    mask = (torch.rand(task.num_edges, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    cut = task.without(mask)
    keep = mask[task.entries] == 1
    assert torch.equal(cut.graph.edge_index, task.graph.edge_index[:, keep])
    assert torch.equal(cut.entries, task.entries[keep]) and cut.num_edges == task.num_edges
    (batch,) = cut.batches("test")
    assert batch.inputs[1] is cut.graph and batch.entries is cut.entries
    assert task.graph.num_edges == keep.numel()  # the task itself is whole


def test_every_edge_may_go_and_none_may():
    task = random_task()
    assert task.without(torch.zeros(task.num_edges)).graph.num_edges == 0
    assert task.without(torch.ones(task.num_edges)).fingerprint() == task.fingerprint()
    with pytest.raises(ValueError, match=r"`mask` must be \[\d+\], got \[3\]"):
        task.without(torch.ones(3))


def test_the_data_is_never_changed():
    data = small(extra="kept")
    before = copy.deepcopy(data)
    task = NodeTask(data)
    task.without(torch.zeros(task.num_edges)), task.to("cpu"), task.fingerprint()
    task.y.fill_(0)
    assert data.keys() == before.keys()
    for key, value in before:
        assert torch.equal(data[key], value) if isinstance(value, torch.Tensor) else True, key


SPARSE = [  # non-zeros of 5 × 40, kept sparse
    (63, True),  # 2.5 · 63 + 8 · 5 < 200
    (64, False),
    (200, False),
    (0, True),
]


@pytest.mark.parametrize("nonzeros, sparse", SPARSE)
@pytest.mark.parametrize("layout", ["dense", "coo", "csr"])
def test_features_are_kept_in_the_form_that_costs_less(nonzeros, sparse, layout):
    x = torch.zeros(200)
    x[torch.randperm(200, generator=torch.Generator().manual_seed(0))[:nonzeros]] = 2.0
    x = x.view(5, 40)
    given = {"dense": x, "coo": x.to_sparse_coo(), "csr": x.to_sparse_csr()}[layout]
    task = NodeTask(small(x=given))
    assert isinstance(task.x, Features) == sparse and task.num_features == 40
    assert torch.equal(task.x.to_dense(), x)
    assert task.fingerprint() == NodeTask(small(x=x)).fingerprint()


@pytest.mark.parametrize("density", [0.05, 0.2, 0.9])
def test_a_fingerprint_does_not_tell_the_form_of_the_features(density):
    x = torch.rand(5, 40, generator=torch.Generator().manual_seed(0))
    x = x * (x < density)
    task = NodeTask(small(x=x))
    forms = [with_features(task, form) for form in (x, sparse_features(x))]
    assert {form.fingerprint() for form in forms} == {task.fingerprint()}


def test_features_take_the_default_precision():
    for dtype in (torch.float64, torch.float16, torch.int32, torch.bool):
        assert NodeTask(small(x=torch.ones(5, 2).to(dtype))).x.dtype == torch.float32


def test_split_picks_the_column():
    masks = {
        f"{part}_mask": torch.stack([small()[f"{part}_mask"], small()[f"{other}_mask"]], dim=1)
        for part, other in (("train", "train"), ("val", "test"), ("test", "val"))
    }
    assert NodeTask(small(**masks), split=0).rows["val"].tolist() == [2]
    assert NodeTask(small(**masks), split=1).rows["val"].tolist() == [3]
    with pytest.raises(ValueError, match=r"`split` must be in \[0, 2\), got 2"):
        NodeTask(small(**masks), split=2)


PER_NODE = ("x", "y", "train_mask", "val_mask", "test_mask")
CHANGES = {
    "an edge": {"edge_index": torch.tensor([[0], [4]])},
    "a feature": {"x": torch.ones(5, 2)},
    "a node": {key: torch.cat([small()[key], small()[key][-1:]]) for key in PER_NODE},
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_fingerprint_tells_graphs_apart(what):
    assert NodeTask(small(**CHANGES[what])).fingerprint() != NodeTask(small()).fingerprint()


def test_the_fingerprint_is_that_of_the_graph():
    task = NodeTask(small())
    assert task.fingerprint() == NodeTask(small(y=1 - small().y.clamp(min=0))).fingerprint()
    assert task.fingerprint() != NodeTask(small(), edges="directed").fingerprint()
    assert task.fingerprint() != task.without(torch.tensor([1, 1, 1, 0])).fingerprint()
    assert task.fingerprint() == task.to("cpu").fingerprint() == "b79cf2acdadccc81"


BOOL = torch.tensor([1, 1, 0, 0, 0]).bool()
REFUSED = [  # change                                       what the line says
    ({"x": None}, "`data.x` is missing"),
    ({"y": None}, "`data.y` is missing"),
    ({"edge_index": None}, "`data.edge_index` is missing"),
    ({"train_mask": None}, "`data.train_mask` is missing"),
    ({"test_mask": None}, "`data.test_mask` is missing"),
    ({"x": [[1.0]]}, "`data.x` must be a tensor, got list"),
    ({"x": torch.ones(5)}, "`data.x` must be real numbers [N, F], got torch.float32 [5]"),
    ({"x": torch.ones(5, 0)}, "`data.x` must be real numbers [N, F], got torch.float32 [5, 0]"),
    ({"x": torch.ones(5, 2) * 1j}, "`data.x` must be real numbers [N, F], got torch.complex64"),
    ({"x": torch.full((5, 2), torch.nan)}, "`data.x` must be finite, got NaN or infinity"),
    ({"x": torch.full((5, 2), torch.inf).to_sparse_csr()}, "`data.x` must be finite"),
    ({"x": torch.full((5, 2), 1e300, dtype=torch.float64)}, "`data.x` must be finite"),
    ({"edge_index": torch.tensor([0, 1])}, "`data.edge_index` must be [2, E], got [2]"),
    ({"edge_index": torch.zeros(3, 4).long()}, "`data.edge_index` must be [2, E], got [3, 4]"),
    ({"edge_index": torch.zeros(4, 2).long()}, "must be [2, E], got [4, 2]: give `edge_index.T`"),
    (
        {"edge_index": torch.zeros(2, 4)},
        "`data.edge_index` must hold int64 node numbers, got torch.float32: if they are whole "
        "numbers, give `.long()` of it",
    ),
    ({"edge_index": torch.zeros(2, 4).bool()}, "`data.edge_index` must hold int64 node numbers"),
    ({"edge_index": torch.tensor([[0], [5]])}, "`data.edge_index` must be in [0, 5), got 5"),
    ({"edge_index": torch.tensor([[-1], [0]])}, "`data.edge_index` must be in [0, 5), got -1"),
    ({"y": torch.zeros(4).long()}, "`data.y` must be [5], one class a node, got [4]"),
    (
        {"y": torch.eye(2)[[0, 1, 0, 1, 1]].long()},
        "`data.y` must be [5], one class a node, got [5, 2]: of labels that are 1 in one column",
    ),
    ({"y": torch.tensor([0, 1, 0, 1, 6])}, "`data.y` must hold class numbers of at most 5"),
    ({"y": torch.tensor([0, 1, 0, 1, 2**62])}, "(of 5 nodes), got 4611686018427387904"),
    ({"y": torch.zeros(5)}, "`data.y` must hold int64 class numbers, got torch.float32"),
    ({"y": torch.tensor([0, 1, -1, 1, 0])}, "`data.y` must be at least 0 on the val nodes, got -1"),
    (
        {"y": torch.tensor([0, 1, 2, 1, 0])},
        "`data.train_mask` must hold a node of every class, got none of class 2",
    ),
    ({"y": torch.tensor([0, 2, 0, 2, 0])}, "got none of class 1"),
    ({"val_mask": BOOL.float()}, "`data.val_mask` must be boolean [5] or [5, splits], or the num"),
    ({"val_mask": BOOL[:4]}, "numbers of the nodes, got torch.bool [4]"),
    ({"val_mask": torch.tensor([2, 5])}, "`data.val_mask` must hold node numbers in [0, 5), got 5"),
    ({"val_mask": torch.tensor([-1, 2])}, "must hold node numbers in [0, 5), got -1"),
    ({"val_mask": torch.tensor([2, 2])}, "`data.val_mask` must hold each node number once, or 5 "),
    ({"val_mask": torch.tensor([[2], [4]])}, "numbers of the nodes, got torch.int64 [2, 1]"),
    ({"val_mask": ~BOOL & BOOL}, "`data.val_mask` must select at least one node, got none"),
    ({"val_mask": BOOL}, "`data.train_mask` and `data.val_mask` must not overlap, got 2 nodes in"),
    ({"test_mask": BOOL}, "`data.train_mask` and `data.test_mask` must not overlap, got 2 nodes"),
    ({"test_mask": ~BOOL}, "`data.val_mask` and `data.test_mask` must not overlap, got 1 nodes in"),
]


@pytest.mark.parametrize("change, says", REFUSED)
def test_bad_data_ends_in_one_line(change, says):
    with pytest.raises(ValueError) as error:
        NodeTask(small(**change))
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"edges": "both"}, '`edges` must be "undirected" or "directed", got \'both\''),
        ({"split": 1}, "`split` must be in [0, 1), got 1"),
        ({"split": -1}, "`split` must be in [0, 1), got -1"),
    ],
)
def test_bad_arguments_end_in_one_line(arguments, says):
    with pytest.raises(ValueError) as error:
        NodeTask(small(), **arguments)
    assert str(error.value) == says


def test_something_else_than_data_is_refused():
    with pytest.raises(ValueError, match="`data` must be a PyG `Data`, got dict"):
        NodeTask({"x": torch.ones(5, 2)})


def test_a_graph_without_edges_is_a_task():
    task = NodeTask(small(edge_index=torch.empty(2, 0).long()))
    assert (task.num_edges, task.graph.num_edges, task.entries.tolist()) == (0, 0, [])
    assert task.without(torch.ones(0)).num_edges == 0


def test_split_per_class_takes_the_asked_number_of_every_class():
    y = torch.tensor([0] * 20 + [1] * 30 + [2] * 9)[torch.randperm(59)]
    masks = split_per_class(y, 3, 5, torch.Generator().manual_seed(0))
    assert torch.stack(list(masks.values())).sum(dim=0).eq(1).all()
    assert [y[mask].bincount().tolist() for mask in masks.values()] == [
        [3, 3, 3],
        [5, 5, 5],
        [12, 22, 1],
    ]
    other = split_per_class(y, 3, 5, torch.Generator().manual_seed(1))
    assert not torch.equal(masks["train_mask"], other["train_mask"])
    for train, val in ((0, 1), (1, 0), (4, 5)):
        with pytest.raises(ValueError, match="leave each class a test node, got"):
            split_per_class(y, train, val, torch.Generator())


def test_a_million_edges_load_within_seconds():
    start = time.perf_counter()
    task = random_task(num_nodes=20_000, num_edges=1_000_000)
    task.without(torch.ones(task.num_edges)), task.fingerprint()
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("pairs", "directed", "one_way", "says"),
    [
        ([[0, 1], [1, 2]], None, 0, ""),
        ([[0, 1], [1, 2]], True, 2, ""),
        ([[0, 1, 1], [1, 0, 2]], None, 1, "1 of 3 edges have no reverse"),
        ([[0, 1, 1, 2, 2], [1, 0, 2, 1, 2]], None, 0, ""),
    ],
)
def test_a_file_of_arrays_says_what_its_edges_lack(pairs, directed, one_way, says, tmp_path):
    i = np.arange(6)
    masks = {f"{split}_mask": i // 2 == k for k, split in enumerate(("train", "val", "test"))}
    about = {} if directed is None else {"directed": directed}
    path = tmp_path / "my.npz"
    np.savez(path, x=np.eye(6), y=i % 2, edge_index=np.array(pairs), **masks, **about)
    task = find("tasks", "file")(path=str(path))
    assert task.one_way_edges == one_way
    assert len(task.notes) == bool(says) and all(says in note for note in task.notes)


def test_one_graph_where_there_must_be_many_names_the_task_of_nodes():
    with pytest.raises(ValueError, match=r"list of PyG `Data`.* one Data: use NodeTask"):
        glt.GraphTask(Data(x=torch.eye(3), edge_index=torch.tensor([[0], [1]])))


# --- protected edges -----------------------------------------------------------------------------


def with_protection(edges):
    draw = torch.Generator().manual_seed(0)
    data = Data(x=torch.eye(30), y=torch.arange(30) % 3,
                edge_index=torch.randint(30, (2, 120), generator=draw))  # fmt: skip
    data.train_idx, data.val_idx, data.test_idx = torch.arange(30).split((6, 12, 12))
    return NodeTask(data, edges=edges, protected_edges="training")


@pytest.mark.parametrize("edges", ["undirected", "directed"])
@pytest.mark.parametrize("algorithm", ["ugs", "random_tickets", "random_edges", "sgcn", "at_init"])
def test_edges_at_training_nodes_stay_where_they_are_protected(algorithm, edges):
    task = with_protection(edges)
    at_training = (task.graph.edge_index < 6).any(dim=0)
    stays = torch.zeros(task.num_edges, dtype=torch.bool)
    stays[task.entries[at_training]] = True
    assert 0 < int(stays.sum()) < task.num_edges
    how = {"drop_edges": 0.5} | ({"epochs": 3} if algorithm not in ("random_tickets", "at_init")
                                 else {})  # fmt: skip
    how |= {} if algorithm == "sgcn" else {"rounds": 1}
    *_, ticket = find("algorithms", algorithm)(find("models", "gcn")(task, hidden=4), task, **how)
    mask = ticket.masks["edges"]
    assert bool((mask[stays] == 1).all())
    assert int((mask[~stays] == 0).sum()) == round(0.5 * int((~stays).sum()))


def test_where_every_edge_is_protected_it_is_told():
    data = Data(x=torch.eye(4), y=torch.tensor([0, 1, 0, 1]),
                edge_index=torch.tensor([[0, 1], [2, 3]]))  # fmt: skip
    data.train_idx, data.val_idx, data.test_idx = torch.tensor([0, 1, 2, 3]).split((2, 1, 1))
    with pytest.raises(ValueError, match="`protected_edges` must leave edges that may go"):
        NodeTask(data, protected_edges="training")
    with pytest.raises(ValueError, match="`protected_edges` must be one of none, training"):
        NodeTask(data, protected_edges="test")
