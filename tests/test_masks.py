"""Masks: what they cover, what sparsity means, what an edge is."""

import pytest
import torch
from torch import nn
from torch.nn import BatchNorm1d, Linear, Sequential
from toys import LOOPS, N, toy

from graphlth import masks as M
from graphlth.data.node import NodeTask
from graphlth.registry import find


def test_masks_cover_matrices_and_edges_not_biases_or_norms():
    model = Sequential(Linear(3, 2), BatchNorm1d(2), Linear(2, 2, bias=False))
    dense = M.ones(model, 5)
    assert {n: list(m.shape) for n, m in dense.items()} == {
        "0.weight": [2, 3],
        "2.weight": [2, 2],
        "edges": [5],
    }
    assert all((m == 1).all() and not m.requires_grad for m in dense.values())
    assert "edges" not in M.ones(model)
    assert list(M.prunable(model)) == ["0.weight", "2.weight"]


def test_masks_do_not_alias_the_weights():
    model = Linear(2, 2)
    M.ones(model)["weight"].zero_()
    assert model.weight.all()


def test_masking_multiplies_and_passes_the_rest_through():
    values = {"a": torch.tensor([3.0, -4.0]), "b": torch.tensor([5.0])}
    out = M.masked_values(values, {"a": torch.tensor([0.0, 0.5]), "z": torch.ones(9)})
    assert {n: v.tolist() for n, v in out.items()} == {"a": [0, -2], "b": [5]}
    assert out["b"] is values["b"]


@pytest.mark.parametrize(("part", "names"), [("edges", ["edges"]), ("weights", ["a", "edges.w"])])
def test_only_one_part(part, names):
    masks = {n: torch.ones(1) for n in ("a", "edges", "edges.w")}
    assert list(M.only(masks, part)) == names


SPARSITY = [  # masks, removed fraction
    ({}, 0.0),
    ({"w": []}, 0.0),
    ({"w": [1, 1, 1, 1]}, 0.0),
    ({"w": [0, 1, 1, 1]}, 0.25),
    ({"w": [0, 0]}, 1.0),
    ({"a": [0, 0], "b": [1, 1, 1, 1, 1, 1]}, 0.25),  # of all entries, not a mean over layers
    ({"w": [0.3, 0, 0.4, 0]}, 0.5),  # a soft entry is there
]


@pytest.mark.parametrize(("masks", "removed"), SPARSITY)
def test_sparsity_is_the_removed_fraction(masks, removed):
    assert M.sparsity({n: torch.tensor(m) for n, m in masks.items()}) == removed


DISTANCE = [  # a, b, fraction of entries that differ
    ([1, 1, 0, 0], [1, 1, 0, 0], 0.0),
    ([1, 1, 0, 0], [0, 0, 1, 1], 1.0),
    ([1, 1, 0, 0], [1, 0, 0, 0], 0.25),
]


@pytest.mark.parametrize(("a", "b", "far"), DISTANCE)
def test_distance_is_the_fraction_of_entries_that_differ(a, b, far):
    a, b = ({"w": torch.tensor(v[:1]), "edges": torch.tensor(v[1:])} for v in (a, b))
    assert M.distance(a, b) == far
    assert M.distance(b, a) == far


def test_count_is_all_entries_removed_or_not():
    assert M.count({"a": torch.zeros(2, 3), "edges": torch.ones(4)}) == 10


UNIVERSES = [  # task, edges, entries that 100 % is
    ("karate", "undirected", 78),
    ("karate", "directed", 156),
]


@pytest.mark.parametrize(("name", "edges", "entries"), UNIVERSES)
def test_an_undirected_edge_is_one_entry_and_a_directed_one_is_two(name, edges, entries):
    task: NodeTask = find("tasks", name)(edges=edges)
    assert task.num_edges == entries
    assert task.graph.num_edges == 156
    mask = torch.ones(task.num_edges)
    mask[3] = 0
    assert M.sparsity({"edges": mask}) == 1 - (entries - 1) / entries
    assert task.graph.num_edges - task.without(mask).graph.num_edges == 156 // entries


def test_both_directions_of_a_pair_share_their_entry_and_a_loop_has_its_own():
    task = toy("undirected")
    seen = {}
    for (i, j), entry in zip(task.graph.edge_index.T.tolist(), task.entries.tolist(), strict=True):
        assert seen.setdefault(entry, {i, j}) == {i, j}
    assert len(seen) == task.num_edges == len({frozenset(pair) for pair in seen.values()})
    assert sorted(min(pair) for pair in seen.values() if len(pair) == 1) == list(LOOPS)
    assert {0, 12} in seen.values()  # its way back is not in the data and is not added
    assert (12, 0) not in set(map(tuple, task.graph.edge_index.T.tolist()))


def test_removing_entries_removes_edges_and_leaves_numbers():
    for edges in ("undirected", "directed"):
        task = toy(edges)
        mask = (torch.arange(task.num_edges) % 3 > 0).float()
        cut = task.without(mask)
        keep = mask[task.entries] > 0
        assert torch.equal(cut.graph.edge_index, task.graph.edge_index[:, keep])
        assert torch.equal(cut.entries, task.entries[keep])
        assert (cut.num_edges, cut.graph.num_nodes) == (task.num_edges, N)
        bare = task.without(torch.zeros(task.num_edges))
        assert (bare.graph.num_edges, bare.num_edges) == (0, task.num_edges)


def test_a_mask_follows_the_device_and_type_of_its_weight():
    model = nn.Linear(2, 2).double()
    assert M.ones(model)["weight"].dtype == torch.float64
