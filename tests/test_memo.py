"""Values are kept by the identity of an object, as long as it lives and stays as it is."""

import copy
import gc
import pickle
from itertools import count

import pytest
import torch

from graphlth.sparse.graph import Graph
from graphlth.sparse.memo import Memo


def test_a_value_is_made_once_for_each_object():
    make, memo = count(1).__next__, Memo()
    a, b = torch.ones(2), torch.ones(2)  # equal, but not the same
    assert [memo(t, make) for t in (a, b, a, b)] == [1, 2, 1, 2]
    graph = Graph(torch.tensor([[0], [0]]), 1)
    assert [memo(graph, make) for _ in range(2)] == [3, 3]


def test_none_is_a_value():
    made, memo = [], Memo()
    key = torch.ones(1)
    assert [memo(key, lambda: made.append(0)) for _ in range(2)] == [None, None]
    assert len(made) == 1


def test_a_tensor_that_has_changed_in_place_has_no_value():
    make, memo, key = count(1).__next__, Memo(), torch.ones(2)
    assert memo(key, make) == memo(key, make) == 1
    key.add_(1)
    assert memo(key, make) == 2
    assert len(memo) == 1


def test_a_value_goes_with_its_object():
    memo = Memo()
    for _ in range(3):
        memo(torch.ones(2), object)
    gc.collect()
    assert len(memo) == 0


def test_a_tensor_whose_changes_are_not_counted_is_not_kept():
    make, memo = count(1).__next__, Memo()
    with torch.inference_mode():
        key = torch.ones(1)
        assert [memo(key, make) for _ in range(2)] == [1, 2]
    assert len(memo) == 0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_starts_empty(copied):
    memo, key = Memo(), torch.ones(1)
    memo(key, int)
    assert len(copied(memo)) == 0 and len(memo) == 1
