"""Sparse feature matrices, and which form of features is faster."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlth.sparse.features import Features, sparse_features, sparse_is_faster

few = settings(max_examples=60, deadline=None, derandomize=True)


@few
@given(st.integers(1, 5), st.integers(1, 5), st.floats(0, 1), st.integers(0, 99))
def test_sparse_features_come_back_bit_for_bit(n, f, density, seed):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, f, generator=draw, dtype=torch.float64)
    x[torch.rand(n, f, generator=draw) >= density] = 0
    features = sparse_features(x)
    assert isinstance(features, Features)
    assert features.shape == (n, f)
    assert features.values.numel() == int(x.count_nonzero())
    assert torch.equal(features.to_dense(), x)


def test_moving_keeps_features():
    x = torch.tensor([[0.0, 2.0], [0.0, 0.0], [-1.0, 0.0]])
    assert torch.equal(sparse_features(x).to("cpu").to_dense(), x)


FORMS = [  # nodes, features, non-zeros of a row, sparse form is faster: as measured
    (2708, 1433, 18, True),  # Cora
    (19_717, 500, 50, True),  # PubMed: 12 times, when a tenth was the limit
    (7650, 745, 259, True),  # Amazon Photo
    (169_343, 128, 128, False),  # as of word vectors
    (1797, 64, 32, False),  # half of few features
    (20_000, 500, 250, False),
    (3000, 50, 5, True),
    (34, 34, 1, True),  # one-hot
    (34, 8, 1, False),
    (3, 1, 0, False),
    (3, 0, 0, False),
]


@pytest.mark.parametrize(("nodes", "features", "of_a_row", "sparse"), FORMS)
def test_the_faster_form_of_features_follows_from_their_shape_and_non_zeros(
    nodes, features, of_a_row, sparse
):
    assert sparse_is_faster(nodes, features, nodes * of_a_row) == sparse
