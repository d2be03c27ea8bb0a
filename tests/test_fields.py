"""The fields of a graph as people have them: one meaning for each, and a line for what has none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data, InMemoryDataset

import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.data import fields
from graphlth.data.graph_files import read_graph
from graphlth.data.node import NodeTask
from graphlth.registry import find

file = find("tasks", "file")
NODES = torch.arange(12)
PART = NODES // 2 % 3


def data(**changes):
    """A ring of 12 nodes of 2 classes; a change to None leaves the field out."""
    held = {
        "x": torch.eye(12)[:, :3] + 1, "y": NODES % 2,
        "edge_index": torch.stack([NODES, (NODES + 1) % 12]),
        "train_mask": PART == 0, "val_mask": PART == 1, "test_mask": PART == 2,
    } | changes  # fmt: skip
    return Data(**{key: value for key, value in held.items() if value is not None})


UNSPLIT = dict.fromkeys(("train_mask", "val_mask", "test_mask"))
SPLIT = {part: (i == PART).nonzero().view(-1).tolist()
         for i, part in enumerate(("train", "val", "test"))}  # fmt: skip


def rows(task):
    return {part: index.tolist() for part, index in task.rows.items()}


def saved(tmp_path, **changes):
    """The same graph in a `.npz` file."""
    held = {k: np.asarray(v) for k, v in data(**changes) if v is not None}
    np.savez(tmp_path / "own.npz", **held)
    return str(tmp_path / "own.npz")


# --- sparse tensors --------------------------------------------------------------------------


X = torch.zeros(12, 4)
X[::3, 1], X[1::4, 2], X[5] = 2.0, -1.0, torch.tensor([1.0, 2, 3, 4])
LAYOUTS = {
    "coo": lambda x: x.to_sparse_coo(),
    "csr": lambda x: x.to_sparse_csr(),
    "csc": lambda x: x.to_sparse_csc(),
    "bsr": lambda x: x.to_sparse_bsr((3, 2)),
    "bsc": lambda x: x.to_sparse_bsc((2, 4)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64])
def test_every_sparse_layout_holds_the_same_features(layout, dtype):
    given = LAYOUTS[layout](X.to(dtype))
    task = NodeTask(data(x=given))
    assert torch.equal(task.x.to_dense(), X)
    assert task.fingerprint() == NodeTask(data(x=X)).fingerprint()


def pointers(layout, starts, others, count, size=(12, 3), block=()):
    """A compressed tensor that nobody has checked."""
    return torch.sparse_compressed_tensor(
        torch.tensor(starts), torch.tensor(others), torch.ones(count, *block),
        size=size, layout=layout, check_invariants=False,
    )  # fmt: skip


def points(index, size=(12, 3), count=None, **also):
    index = torch.tensor(index)
    values = torch.ones(index.size(1) if count is None else count)
    return torch.sparse_coo_tensor(index, values, size, check_invariants=False, **also)


CSR, CSC, BSR, BSC = torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc
RISE, SORTED = "pointers that rise from 0 to its", "sorted indices in each row"
UNCHECKED = [
    *[(lambda c=c: pointers(CSR, [0] + [c] * 12, [0], 1), RISE) for c in (99, 10**7, -5, 2)],
    (lambda: pointers(CSR, [0, 3] + [1] * 11, [0], 1), RISE),
    (lambda: pointers(CSR, [1] * 13, [0], 1), RISE),
    (lambda: pointers(CSR, [0, 10**15] + [1] * 11, [0], 1), RISE),
    (lambda: pointers(CSR, [0] + [1] * 12, [3], 1), "`data.x` must have indices in [12, 3], got"),
    (lambda: pointers(CSR, [0] + [1] * 12, [-1], 1), "`data.x` must have indices in [12, 3], got"),
    (lambda: pointers(CSR, [0] + [1] * 12, [10**12], 1), "indices in [12, 3], got [0, 1000000000"),
    (lambda: pointers(CSR, [0] + [2] * 12, [1, 1], 2), SORTED),
    (lambda: pointers(CSR, [0] + [2] * 12, [2, 0], 2), SORTED),
    (lambda: pointers(CSC, [0, 99, 1, 1], [0], 1), RISE),
    (lambda: pointers(CSC, [0, 1, 1, 1], [12], 1), "indices in [12, 3], got [12, 0]"),
    (lambda: pointers(BSR, [0, 9, 1, 1, 1], [0], 1, block=(3, 3)), RISE),
    (lambda: pointers(BSR, [0, 1, 1, 1, 1], [1], 1, block=(3, 3)), "indices in [12, 3], got [0, 3"),
    (lambda: pointers(BSC, [0, 5], [0], 1, block=(3, 3)), RISE),
    (lambda: pointers(BSC, [0, 1], [4], 1, block=(3, 3)), "indices in [12, 3], got [12, 0]"),
    (lambda: points([[12], [0]]), "indices in [12, 3], got [12, 0]"),
    (lambda: points([[0], [-1]]), "indices in [12, 3], got [0, -1]"),
    (lambda: points([[0], [10**12]], is_coalesced=True), "indices in [12, 3]"),
]


@pytest.mark.parametrize(("make", "says"), UNCHECKED)
@pytest.mark.parametrize("where", ["as a tensor", "from a file"])
def test_a_sparse_tensor_that_points_out_of_itself_is_refused(tmp_path, make, says, where):
    try:
        x = make()
    except RuntimeError:
        pytest.skip("torch does not make it")
    held = data(x=x)
    with pytest.raises(ValueError) as error:
        if where == "as a tensor":
            NodeTask(held)
        else:
            torch.save(held, tmp_path / "own.pt")
            file(path=str(tmp_path / "own.pt"))
    line = str(error.value)
    assert says in line and "\n" not in line
    assert "x" in line and ("check_invariants=True" in line or "file of tensors" in line)


def test_what_calls_itself_coalesced_is_summed_all_the_same():
    x = points([[0, 0], [1, 1]], is_coalesced=True)
    assert NodeTask(data(x=x)).x.to_dense()[0].tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": points([[0], [0]], (10**9, 3))}, "must have at most 100,000,000 nodes, got 1,000,0"),
        ({"x": points([[0], [0]], (12, 10**9))}, "must have at most 1,000,000 features, got 1,000"),
        (
            {"y": NODES.float().to_sparse()},
            "`data.y` must be a dense tensor of numbers, got torch.",
        ),
        ({"edge_index": torch.ones(2, 3).long().to_sparse()}, "`data.edge_index` must be a dense"),
        ({"train_mask": torch.ones(12, device="meta").bool()}, "must be a dense tensor of numbers"),
        ({"x": torch.ones(12, 3, device="meta")}, "got a tensor without values"),
    ],
)
def test_sizes_and_kinds_that_are_not_taken_are_told(change, says):
    with pytest.raises(ValueError) as error:
        NodeTask(data(**change))
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16,
                                   torch.uint32, torch.int32, torch.uint64])  # fmt: skip
def test_every_integer_type_numbers_nodes_and_classes(dtype):
    want = NodeTask(data())
    odd = {key: data()[key].to(dtype) for key in ("y", "edge_index", *UNSPLIT)}
    task = NodeTask(data(**odd))
    assert task.fingerprint() == want.fingerprint() and rows(task) == rows(want)
    assert torch.equal(task.y, want.y) and task.y.dtype == torch.int64


def test_a_number_above_all_others_does_not_wrap(tmp_path):
    high = np.full(12, 2**64 - 1, np.uint64)
    with pytest.raises(ValueError, match=r"`data\.y` must hold class numbers below 2⁶³"):
        file(path=saved(tmp_path, y=high))


# --- several graphs --------------------------------------------------------------------------


def collated(count):
    return InMemoryDataset.collate([data() for _ in range(count)])


def in_file(tmp_path, held):
    torch.save(held, tmp_path / "several.pt")
    return str(tmp_path / "several.pt")


class Several(InMemoryDataset):
    def __init__(self, count):
        super().__init__()
        self.data, self.slices = collated(count)


FILES = {
    "a collated dataset": lambda: (collated(2)[0].to_dict(), collated(2)[1], Data),
    "a collated dataset as before": lambda: collated(3),
    "a list": lambda: [data(), data()],
    "a batch": lambda: Batch.from_data_list([data(), data()]),
    "a batch as a dict": lambda: Batch.from_data_list([data(), data()]).to_dict(),
}


@pytest.mark.parametrize("kind", FILES)
def test_several_graphs_in_a_file_are_refused(tmp_path, kind):
    with pytest.raises(ValueError, match=r"must (hold|be) one graph, got .*dataset.0.") as error:
        file(path=in_file(tmp_path, FILES[kind]()))
    assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path))


@pytest.mark.parametrize("make", [
    lambda: Batch.from_data_list([data(), data()]),
    lambda: [data(), data()],
    lambda: (data(), data(), data()),
    lambda: Several(2),
    lambda: data(batch=NODES // 6),
])  # fmt: skip
def test_several_graphs_are_no_task(make):
    with pytest.raises(ValueError, match=r"`data` must be one graph, got \d or more: .*dataset.0."):
        NodeTask(make())


def test_one_graph_of_a_dataset_is_a_task(tmp_path):
    want = NodeTask(data())
    one = collated(1)
    for given in (Batch.from_data_list([data()]), data(batch=torch.zeros(12).long())):
        assert NodeTask(given).fingerprint() == want.fingerprint()
    for held in ((one[0].to_dict(), one[1], Data), (data().to_dict(), None, Data)):
        assert file(path=in_file(tmp_path, held)).fingerprint() == want.fingerprint()
    with pytest.raises(ValueError, match=r"must be a PyG `Data`, got list: give `dataset\[0\]`"):
        NodeTask([data()])


# --- labels ----------------------------------------------------------------------------------


WORDS = ["pear", "apple"] * 6
LABELS = [  # y, class numbers, what the classes are called
    (NODES % 2, [0, 1] * 6, ()),
    ((NODES % 2)[:, None], [0, 1] * 6, ()),
    (NODES % 2 + 1, [0, 1] * 6, ("1", "2")),
    ((NODES % 2 + 1)[:, None], [0, 1] * 6, ("1", "2")),
    (torch.cat([NODES[:11] % 2 + 1, torch.tensor([-1])]), [0, 1] * 5 + [0, -1], ("1", "2")),
    (WORDS, [1, 0] * 6, ("apple", "pear")),
    (np.array(WORDS), [1, 0] * 6, ("apple", "pear")),
    (np.array(WORDS)[:, None], [1, 0] * 6, ("apple", "pear")),
    (np.array(WORDS, "S"), [1, 0] * 6, ("apple", "pear")),
    (np.array([*WORDS[:11], ""]), [1, 0] * 5 + [1, -1], ("apple", "pear")),
    (np.array(["10", "9"] * 6), [0, 1] * 6, ("10", "9")),
]


@pytest.mark.parametrize(("y", "numbers", "names"), LABELS)
def test_labels_are_numbered_and_their_names_kept(y, numbers, names):
    test = (PART == 2) & (NODES != 11)  # the last node has no label in some
    task = NodeTask(data(y=y, test_mask=test))
    assert task.y.tolist() == numbers and task.label_names == names and task.num_classes == 2
    assert len(task.notes) == bool(names)
    if names:
        assert task.notes[0].startswith(f"the labels {names[0]!r}, {names[1]!r} of the data are")


@pytest.mark.parametrize("y", [(NODES % 2 + 1)[:, None], WORDS, torch.tensor([0, 1] * 6)])
@pytest.mark.parametrize("kind", ["npz", "pt"])
def test_labels_in_files_are_those_in_memory(tmp_path, y, kind):
    want = NodeTask(data(y=y))
    path = saved(tmp_path, y=y) if kind == "npz" else in_file(tmp_path, data(y=y).to_dict())
    task = file(path=path, edges="undirected")
    assert task.y.tolist() == want.y.tolist() and task.label_names == want.label_names


def test_the_key_of_the_labels_can_be_named(tmp_path):
    path = saved(tmp_path, y=None, field=np.array(WORDS))
    assert file(path=path, labels="field").label_names == ("apple", "pear")
    with pytest.raises(ValueError, match=r"own\.npz: `data\.y` is missing"):
        file(path=path)
    with pytest.raises(
        ValueError, match=r"`labels` must be one of the keys edge_index, field, .*'fe"
    ):
        file(path=path, labels="feld")
    held = data(y=None, field=NODES % 2)
    assert file(path=in_file(tmp_path, held), labels="field").num_classes == 2


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.array(WORDS[:11]), "`data.y` must be [12], one class a node, got [11]"),
        (np.array([b"\xff", b"a"] * 6), "`data.y` must hold text in UTF-8"),
        (torch.eye(2).long()[NODES % 2], "got [12, 2]: of labels that are 1 in one column each"),
        ((NODES % 2).bool(), "must hold int64 class numbers, got torch.bool: if they are whole"),
        (NODES % 2 * 2, "`data.y` must count classes without a gap, got none of class 1"),
        (NODES % 2 * 13, "`data.y` must hold class numbers of at most 12 (of 12 nodes), got 13"),
        (["a", 1] * 6, "`data.y` must be a tensor, got list"),
    ],
)
def test_what_are_no_labels_is_told(y, says):
    with pytest.raises(ValueError) as error:
        NodeTask(data(y=y))
    assert says in str(error.value) and "\n" not in str(error.value)


# --- splits ----------------------------------------------------------------------------------


def as_masks(dtype):
    return {f"{part}_mask": (i == PART).to(dtype)
            for i, part in enumerate(("train", "val", "test"))}  # fmt: skip


def as_numbers(kind, dtype=torch.int64):
    return {f"{part}_{kind}": torch.tensor(nodes, dtype=dtype) for part, nodes in SPLIT.items()}


MASKS = {
    "boolean": as_masks(torch.bool),
    "bytes": as_masks(torch.uint8),
    "integers": as_masks(torch.int64),
    "integers in columns": {k: v[:, None] for k, v in as_masks(torch.int64).items()},
    "node numbers": as_numbers("mask"),
    "short node numbers": as_numbers("mask", torch.uint8),
    "node numbers under their own key": UNSPLIT | as_numbers("idx"),
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("where", ["memory", "npz", "pt"])
def test_every_kind_of_mask_selects_the_same_nodes(tmp_path, kind, where):
    held = MASKS[kind]
    if where == "npz" and "columns" in kind:
        pytest.skip("of plain arrays the splits are rows")
    task = {
        "memory": lambda: NodeTask(data(**held)),
        "npz": lambda: file(path=saved(tmp_path, **held)),
        "pt": lambda: file(path=in_file(tmp_path, data(**held))),
    }[where]()
    assert rows(task) == SPLIT


def test_zeros_and_ones_are_a_mask_only_where_there_is_one_for_each_node():
    some = {"train_mask": torch.tensor([0, 1]), "val_mask": PART == 1, "test_mask": PART == 2}
    assert rows(NodeTask(data(**some)))["train"] == [0, 1]  # the numbers of two of twelve nodes
    number = {f"{part}_idx": torch.tensor([0, 1]) for part in ("train",)}
    assert rows(NodeTask(data(train_mask=None, **number)))["train"] == [0, 1]


def test_a_random_split_takes_three_fifths_of_every_class():
    y = torch.tensor([0] * 50 + [1] * 25 + [2] * 3 + [-1] * 22)
    held = Data(x=torch.ones(100, 2), y=y, edge_index=torch.zeros(2, 0).long())
    task = NodeTask(held, split="random")
    counts = {part: y[index].bincount(minlength=3).tolist() for part, index in task.rows.items()}
    assert counts == {"train": [30, 15, 1], "val": [10, 5, 1], "test": [10, 5, 1]}
    taken = torch.cat(list(task.rows.values()))
    assert sorted(taken.tolist()) == list(range(78))  # each labelled node once
    again, other = (NodeTask(held, split="random", split_seed=s) for s in (0, 1))
    assert rows(again) == rows(task) and rows(other) != rows(task)
    assert again.fingerprint() == other.fingerprint()


def test_a_random_split_is_the_same_in_memory_and_from_every_file(tmp_path):
    want = rows(NodeTask(data(), split="random", split_seed=3))
    for path in (saved(tmp_path), saved(tmp_path, **UNSPLIT), in_file(tmp_path, data(**UNSPLIT))):
        assert rows(file(path=path, split="random", split_seed=3)) == want
    assert want != SPLIT


def test_the_global_state_has_no_part_in_a_random_split():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    NodeTask(data(), split="random")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("change", "split", "says"),
    [
        (UNSPLIT, 0, "`data.train_mask` is missing, and so are val_mask and test_mask: `split` "
                     '"random" (--split random) draws 60 / 20 / 20 % of every class'),
        ({"val_mask": None}, 0, '`data.val_mask` is missing: `split` "random"'),
        ({}, "3", "`split` must be the number of a column or \"random\", got '3'"),
        ({"y": NODES * 0 - 1}, "random", '`split` "random" must leave a node to train'),
        ({"y": torch.where(NODES < 4, NODES // 2, -1)}, "random", "must leave a node to test: a"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_told(change, split, says):
    with pytest.raises(ValueError) as error:
        NodeTask(data(**change), split=split)
    assert says in str(error.value) and "\n" not in str(error.value)


# --- edges of files --------------------------------------------------------------------------


def test_a_reverse_has_the_weight_of_its_edge(tmp_path):
    weight = torch.arange(12.0)
    loop = torch.cat([data().edge_index, torch.tensor([[3], [3]])], dim=1)
    path = saved(tmp_path, edge_index=loop, edge_weight=torch.cat([weight, torch.tensor([50.0])]))
    held = read_graph(Path(path))
    assert held.edge_index.size(1) == 25  # the loop once
    assert held.edge_weight.tolist() == [*range(12), 50, *range(12)]
    assert torch.equal(held.edge_index[:, 13:], loop[:, :12].flip(0))


def test_graphs_are_counted_by_the_slices_of_any_field():
    assert fields.graphs_of(None) == fields.graphs_of({}) == 1
    assert fields.graphs_of({"x": torch.tensor([0, 3])}) == 1
    assert fields.graphs_of({"x": torch.tensor([0, 3, 6]), "y": [0, 1]}) == 2
    assert fields.graphs_of({"nested": {"x": torch.tensor([0, 3, 6, 7])}}) == 3


# --- the command -----------------------------------------------------------------------------


def command(path, out, *more):
    given = f"run ugs --task {path} --model gcn --rounds 1 --epochs 2 --hidden 4 --out {out}"
    return cli.main([*given.split(), *more])


def test_labels_that_are_text_are_said_in_one_line_and_recorded(tmp_path, capsys):
    path = saved(tmp_path, y=np.array(WORDS))
    assert command(path, tmp_path / "out") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "labels" in line]
    assert said == ["graphlth: the labels 'apple', 'pear' of the data are the classes 0 to 1"]
    records = record.read(tmp_path / "out")
    assert [each["label_names"] for each in records] == [["apple", "pear"]] * 2


def test_the_command_draws_a_split_and_records_how(tmp_path, capsys):
    path = saved(tmp_path, **UNSPLIT)
    assert command(path, tmp_path / "out") == 2
    assert '`split` "random" (--split random) draws' in capsys.readouterr().err
    for seed in ("0", "1"):
        assert command(path, tmp_path / "out", "--split", "random", "--split-seed", seed) == 0
    told = {(r["settings"]["split"], r["settings"]["split_seed"])
            for r in record.read(tmp_path / "out")}  # fmt: skip
    assert told == {("random", 0), ("random", 1)}
    assert "label_names" not in record.read(tmp_path / "out")[0]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--split", "1"], "`split` must be in [0, 1), got 1"),
        (["--split", "-1"], "`split` must be in [0, 1), got -1"),
        (["--split", "randomly"], '`split` must be the number of a column or "random", got \'rand'),
        (["--split_seed", "one"], "`split_seed` must be of type int, got 'one'"),
        (["--labels", "class"], "`labels` must be one of the keys edge_index, "),
    ],
)
def test_the_command_tells_what_is_no_split_or_label(tmp_path, capsys, more, says):
    assert command(saved(tmp_path), tmp_path / "out", *more) == 2
    err = capsys.readouterr().err
    assert says in err and len(err.splitlines()) == 1 and not (tmp_path / "out").exists()


# --- what is no value ------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["yes", torch.ones(2), 2, None, np.array(["False"])])
def test_directed_is_true_or_false(tmp_path, given):
    held = data().to_dict() | {"directed": given}
    path = in_file(tmp_path, held)
    if isinstance(given, np.ndarray):
        path = saved(tmp_path, directed=given)
    with pytest.raises(ValueError, match="`directed` must be True or False, got") as error:
        file(path=path)
    assert "\n" not in str(error.value)


def test_what_torch_reads_may_still_be_strange(tmp_path):
    endless = {}
    endless["x"] = endless
    with pytest.raises(ValueError, match=r"several\.pt: not a readable file of tensors \(maximum"):
        file(path=in_file(tmp_path, (data().to_dict(), endless)))
    strange = data().to_dict() | {1: 2, "\x1b[31mred\n": 3}
    assert file(path=in_file(tmp_path, strange)).num_nodes == 12
    with pytest.raises(ValueError, match="`labels` must be one of the keys") as error:
        file(path=in_file(tmp_path, strange), labels="z")
    assert str(error.value).isprintable() and "\\x1b[31mred\\n" in str(error.value)
    for value in ({"y": None}, ["a"], 3, data(), "text", torch.nn.Parameter(torch.ones(12, 3))):
        held = data().to_dict() | {"y": value}
        with pytest.raises(ValueError, match=r"several\.pt: ") as error:
            file(path=in_file(tmp_path, held))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("val", "message"),
    [
        ([], r"`data\.val_idx` must select at least one node, got none"),
        ([0, 2], r"`data\.train_mask` and `data\.val_idx` must not overlap, got 1 nodes in both"),
    ],
)
def test_a_split_is_called_as_the_data_call_it(val, message):
    numbers = torch.tensor(val, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        NodeTask(data(val_mask=None, val_idx=numbers))
