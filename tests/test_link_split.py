"""No link is known in two splits, and no pair that stands for no link is one, for any graph."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlth.data.link_split import Links, encoder_edges, split_links
from graphlth.task import SPLITS


@st.composite
def graphs(draw):
    """How many nodes there are of one kind or of two, and edges [2, E] of any form between them."""
    sources = draw(st.integers(2, 12))
    targets = draw(st.sampled_from([None, 1, 5]))
    node, other = st.integers(0, sources - 1), st.integers(0, (targets or sources) - 1)
    edges = draw(st.lists(st.tuples(node, other), max_size=30))
    if targets is None and draw(st.booleans()):
        edges += [(j, i) for i, j in edges]
    return (sources, targets) if targets else sources, torch.tensor(edges, dtype=int).view(-1, 2).T


shares = st.one_of(st.sampled_from([0, 0.0, 0.1, 0.3, 1, 2]))


def as_sets(links, numbers):
    """Each pair as a set of two nodes, or in order between two kinds of nodes."""
    pairs = links.pairs(numbers).T.tolist()
    return [tuple(p) if isinstance(links.num_nodes, tuple) else frozenset(p) for p in pairs]


@settings(max_examples=150, deadline=None)
@given(graphs(), shares, shares, st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 5))
def test_a_split_leaks_nothing(graph, val, test, negatives, seed):
    links, edge_index = Links(graph[0]), graph[1]
    between = edge_index[:, links.are_links(edge_index)]
    numbers = links.numbers(between).unique()
    edges = [tuple(e) if isinstance(graph[0], tuple) else frozenset(e) for e in between.T.tolist()]
    try:
        split = split_links(links, numbers, val=val, test=test, negatives=negatives, seed=seed)
    except ValueError as error:
        assert "train on" in str(error) or "without a link" in str(error)
        return
    found = {part: as_sets(links, split.links[part]) for part in SPLITS}
    every = [pair for part in found.values() for pair in part]
    assert len(every) == len({*every}) and {*every} == {*edges}  # each in one split
    none = [pair for part in split.others.values() for pair in as_sets(links, part)]
    assert len(none) == len({*none}) and not {*none} & {*edges}  # neither twice nor a link
    assert all(len(pair) == 2 for pair in none)  # of two nodes
    for part in ("val", "test"):
        assert len(split.others[part]) == round(negatives * len(found[part]))
    kept = edge_index[:, encoder_edges(links, edge_index, split.links)]
    seen = {tuple(e) if isinstance(graph[0], tuple) else frozenset(e) for e in kept.T.tolist()}
    assert not seen & {*found["val"], *found["test"]}  # nor its reverse, which is the same set
    assert {*found["train"]} <= seen
    drawn = links.draw_others(
        split.known, round(negatives * len(found["train"])), torch.Generator().manual_seed(seed)
    )
    more = as_sets(links, drawn)
    assert len(more) == len({*more}) and not {*more} & {*edges, *none}


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.integers(1, 90), st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_every_pair_has_a_number_of_its_own(num_nodes):
    links = Links(num_nodes)
    pairs = links.pairs(torch.arange(links.count))
    assert torch.equal(links.numbers(pairs), torch.arange(links.count))
    assert len({*map(tuple, pairs.T.tolist())}) == links.count
    assert links.are_links(pairs).all()
    if isinstance(num_nodes, int):
        assert torch.equal(links.numbers(pairs.flip(0)), torch.arange(links.count))


@pytest.mark.parametrize("node", [2, 99_999_999, 94_906_267])  # near where a root is rounded
def test_numbers_of_large_graphs_are_exact(node):
    links = Links(100_000_000)
    pairs = torch.tensor([[0, 1, node - 2, node - 1], [node] * 4])
    assert torch.equal(links.pairs(links.numbers(pairs)), pairs)


@pytest.mark.parametrize("known", [[], [0, 1, 2], [7, 8, 9], [0, 4, 9]])
def test_others_are_drawn_from_all_that_are_not_known(known):
    links = Links(5)  # 10 pairs
    numbers = torch.tensor(known, dtype=int)
    drawn = links.draw_others(numbers, 10 - len(known), torch.Generator())
    assert sorted(drawn.tolist() + known) == [*range(10)]
    few = [links.draw_others(numbers, 1, torch.Generator().manual_seed(s)) for s in range(200)]
    assert {int(each) for each in few} == {*range(10)} - {*known}


BAD = [
    ({"val": -0.1}, r"`val` must be a fraction in \[0, 1\), or a number of links, got -0.1"),
    ({"test": 1.5}, r"`test` must be a fraction in \[0, 1\), or a whole number of links, got 1.5"),
    ({"test": True}, r"`test` must be a fraction .* got True"),
    ({"test": float("nan")}, r"`test` must be a fraction .* got nan"),
    ({"val": 3, "test": 3}, r"`val` and `test` must leave a link to train on, got 3 and 3 of 6"),
    ({"negatives": 2.0}, r"`negatives` must leave enough .* got 2 for each of 6 links: 12 of 4"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_a_wrong_split_is_one_line(given, message):
    with pytest.raises(ValueError, match=message) as error:
        split_links(Links(5), torch.arange(6), **given)
    assert "\n" not in str(error.value)
