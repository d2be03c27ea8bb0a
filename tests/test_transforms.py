"""Edge scores as a transform of PyG: exact budgets, aligned pairs, the same edges every time."""

import copy
import warnings

import pytest
import torch
from torch_geometric import transforms as T
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.datasets import FakeDataset, KarateClub
from torch_geometric.utils import contains_isolated_nodes, is_undirected

import graphlth as glt
from graphlth.data.published import DataWarning
from graphlth.registry import names_for

SCORES = names_for("scores", "edges")
quiet = pytest.mark.filterwarnings("ignore::graphlth.data.published.DataWarning")


def messy(seed=0, n=30, count=90):
    """Loops, repetitions, one-way edges, isolated nodes; attributes that tell which column is."""
    draw = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(n - 4, (2, count), generator=draw)
    edge_index = torch.cat([edge_index, edge_index[:, :10], edge_index[:, 10:40].flip(0)], 1)
    number = torch.arange(edge_index.size(1))
    x = torch.rand(n, 5, generator=draw)
    return Data(x=x, edge_index=edge_index, edge_attr=number.view(-1, 1))


def pairs(data):
    low, high = data.edge_index.min(0).values, data.edge_index.max(0).values
    return {*zip(low.tolist(), high.tolist(), strict=True)}


def directions(data):
    return {*zip(*data.edge_index.tolist(), strict=True)}


@quiet
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.77])
def test_exactly_the_share_of_the_pairs_goes_with_all_their_columns(score, ratio):
    data = messy()
    before = copy.copy(data)
    left = glt.PruneEdges(score, ratio=ratio)(data)
    whole, kept = pairs(data), pairs(left)
    assert len(whole - kept) == round(ratio * len(whole)) and kept <= whole
    columns = left.edge_attr.view(-1)  # the columns of a kept pair are all there, in their order
    assert torch.equal(data.edge_index[:, columns], left.edge_index)
    ends = data.edge_index.sort(0).values.T.tolist()
    assert columns.tolist() == [i for i, pair in enumerate(ends) if tuple(pair) in kept]
    assert torch.equal(data.edge_index, before.edge_index) and left.x is data.x


@quiet
@pytest.mark.parametrize("keep", [1, 17, 10_000])
def test_exactly_so_many_edges_stay_or_all_where_there_are_fewer(keep):
    data = messy()
    for edges, listed in (("undirected", pairs), ("directed", directions)):
        left = glt.PruneEdges("jaccard", keep=keep, edges=edges)(data)
        found, whole = listed(left), listed(data)
        assert len(found) == min(keep, len(whole)) and found <= whole


@quiet
@pytest.mark.parametrize("score", SCORES)
def test_the_same_edges_go_in_whatever_order_they_lie(score):
    data = messy()
    order = torch.randperm(data.num_edges, generator=torch.Generator().manual_seed(3))
    other = Data(x=data.x, edge_index=data.edge_index[:, order], edge_attr=data.edge_attr[order])
    prune = glt.PruneEdges(score, ratio=0.5)
    assert pairs(prune(data)) == pairs(prune(other)) == pairs(prune(data))


@quiet
def test_the_seed_draws_another_graph_and_settings_of_a_score_are_bound():
    data = KarateClub()[0]
    drawn = [pairs(glt.PruneEdges("random", ratio=0.5, seed=seed)(data)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert pairs(glt.PruneEdges("spectral", ratio=0.5, components=1)(data)) != pairs(
        glt.PruneEdges("spectral", ratio=0.5)(data)
    )
    assert "components=1" in repr(glt.PruneEdges("spectral", ratio=0.5, components=1))


@quiet
def test_the_edges_are_those_that_the_score_ranks_lowest_in_a_ticket():
    data = KarateClub()[0]
    task = glt.NodeTask(data, split="random")
    model = glt.find("models", "gcn")(task)
    settings = {"rounds": 1, "drop_edges": 0.4, "drop_weights": 0.0}
    *_, ticket = glt.at_init(model, task, edge_score="degree", **settings)
    assert pairs(glt.PruneEdges("degree", ratio=0.4)(data)) == pairs(ticket.prune(data))


@quiet
def test_it_composes_and_maps_over_many_graphs():
    data = KarateClub()[0]
    chain = T.Compose([T.AddSelfLoops(), glt.PruneEdges("degree", ratio=0.5), T.ToUndirected()])
    assert is_undirected(chain(data).edge_index)
    some = FakeDataset(3, avg_num_nodes=20, transform=glt.PruneEdges("jaccard", keep=10))
    assert [len(pairs(graph)) for graph in some] == [10, 10, 10]
    many = Batch.from_data_list([messy(0), messy(1)])
    left = glt.PruneEdges("degree", ratio=0.5)(many)
    assert len(pairs(left)) == len(pairs(many)) - round(0.5 * len(pairs(many)))
    assert torch.equal(left.batch, many.batch)


def test_a_graph_without_features_keeps_its_nodes():
    data = Data(edge_index=torch.tensor([[0, 1, 4], [1, 2, 1]]), num_nodes=7)
    with pytest.warns(DataWarning):
        assert glt.PruneEdges("degree", keep=1)(data).num_nodes == 7


def test_a_warning_says_how_many_nodes_have_lost_their_last_edge():
    data = KarateClub()[0]
    with pytest.warns(DataWarning, match=r"^\d+ of 34 nodes have lost their last edge: \d+ have"):
        left = glt.PruneEdges("degree", ratio=0.8)(data)
    assert contains_isolated_nodes(left.edge_index, 34)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        glt.PruneEdges("degree", ratio=0.0)(data)


LINES = [
    (dict(ratio=0.5, keep=3), "`ratio` must be given, or `keep` in its place, got both"),
    ({}, "`ratio` must be given, or `keep` in its place, got neither"),
    (dict(ratio=1.0), r"`ratio` must be in \[0, 1\), got 1.0"),
    (dict(keep=0), r"`keep` must be in \[1, inf\), got 0"),
    (dict(ratio=0.5, edges="both"), "`edges` must be one of undirected, directed, got 'both'"),
    (dict(score="magnitude", ratio=0.5), "`score` must be one of degree, effective_resistance, "),
    (dict(score="spectral", ratio=0.5, component=3), "`component` is no setting of the score "
     "spectral; did you mean `components`"),
    (dict(score="spectral", ratio=0.5, components=0), r"`components` must be in \[1, 10000\], got"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "line"), LINES)
def test_what_is_wrong_is_told_in_one_line(settings, line):
    with pytest.raises(ValueError, match=f"^{line}"):
        glt.PruneEdges(**settings)


def test_similarity_needs_features():
    data = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    with pytest.raises(ValueError, match=r"`task` must have features"):
        glt.PruneEdges("similarity", ratio=0.5)(data)
    with pytest.raises(ValueError, match="`data` must be a PyG `Data`, got list"):
        glt.PruneEdges("degree", ratio=0.5)([data])


# --- several kinds of nodes and edges ------------------------------------------------------------

WRITES, CITES = ("author", "writes", "paper"), ("paper", "cites", "paper")
REVERSE = ("paper", "rev_writes", "author")


def library(width=4, reverse=True):
    """Papers that cite papers and authors of papers; attributes tell which edge a column is."""
    data, draw = HeteroData(), torch.Generator().manual_seed(0)
    data["author"].x = torch.rand(9, width, generator=draw)
    data["paper"].x = torch.rand(14, 4, generator=draw)
    data["paper"].y = torch.arange(14) % 2
    writes = torch.randint(9 * 14, (45,), generator=draw)
    data[WRITES].edge_index = torch.stack([writes // 14, writes % 14])
    data[CITES].edge_index = torch.randint(14, (2, 40), generator=draw)
    for kind in (WRITES, CITES):
        data[kind].edge_attr = torch.arange(data[kind].num_edges)
    return T.ToUndirected(merge=False)(data) if reverse else data


def ends(store):
    return {*map(tuple, store.edge_index.T.tolist())}


def entries(data, kind):
    """What an undirected mask has an entry for."""
    return {tuple(sorted(e)) if kind[0] == kind[2] else e for e in ends(data[kind])}


OF_ALL = [score for score in SCORES if score != "jaccard"]


@quiet
@pytest.mark.parametrize("score", OF_ALL)
@pytest.mark.parametrize("budget", [{"ratio": 0.0}, {"ratio": 0.37}, {"keep": 11}], ids=str)
def test_each_relation_has_an_exact_budget_and_everything_else_comes_along(score, budget):
    data = library()
    before = data.clone()
    left = glt.PruneEdges(score, **budget)(data)
    for kind in data.edge_types:
        whole, kept = entries(data, kind), entries(left, kind)
        gone = round(budget["ratio"] * len(whole)) if "ratio" in budget else len(whole) - 11
        assert kept <= whole and len(whole - kept) == gone
        columns = left[kind].edge_attr
        assert torch.equal(before[kind].edge_index[:, columns], left[kind].edge_index)
        assert torch.equal(data[kind].edge_index, before[kind].edge_index)
    assert left["paper"].x is data["paper"].x and left["paper"].y is data["paper"].y


@quiet
@pytest.mark.parametrize("edges", ["undirected", "directed"])
@pytest.mark.parametrize("score", ["degree", "random"])
def test_relations_that_are_reverses_of_others_lose_the_reverses_of_their_edges(score, edges):
    data = library()
    left = glt.PruneEdges(score, ratio=0.5, edges=edges)(data)
    for kind in (WRITES, CITES):
        reverse = (kind[2], f"rev_{kind[1]}", kind[0])
        assert ends(left[reverse]) == {e[::-1] for e in ends(left[kind])} < ends(data[reverse])


@quiet
def test_another_relation_between_the_same_types_has_edges_of_its_own():
    data = library(reverse=False)
    data["paper", "rev_writes", "author"].edge_index = data[WRITES].edge_index.flip(0)[:, :30]
    left = glt.PruneEdges("random", ratio=0.5)(data)
    counts = {kind: len(entries(data, kind)) for kind in data.edge_types}
    assert {kind: len(entries(left, kind)) for kind in data.edge_types} == {
        kind: n - round(0.5 * n) for kind, n in counts.items()
    }
    assert ends(left[REVERSE]) != {e[::-1] for e in ends(left[WRITES])}


@quiet
@pytest.mark.parametrize("named", [["writes"], [WRITES], [["author", "writes", "paper"]]], ids=str)
def test_relations_that_are_named_lose_edges_and_so_do_their_reverses(named):
    data = library()
    left = glt.PruneEdges("degree", keep=5, relations=named)(data)
    assert {kind for kind in data.edge_types if ends(left[kind]) != ends(data[kind])} == {
        WRITES, REVERSE
    }  # fmt: skip
    within = glt.PruneEdges("jaccard", keep=5, relations=["cites"])(data)
    assert len(entries(within, CITES)) == 5 and ends(within[WRITES]) == ends(data[WRITES])


@quiet
def test_a_relation_is_ranked_as_the_graph_that_it_is():
    data, count = library(), 9 + 14
    one = Data(
        edge_index=data[WRITES].edge_index + torch.tensor([[0], [9]]), num_nodes=count,
        x=torch.cat([data["author"].x, data["paper"].x]),
    )  # fmt: skip
    two = Data(edge_index=data[CITES].edge_index, x=data["paper"].x)
    for score in ("degree", "spectral", "effective_resistance", "similarity"):
        prune = glt.PruneEdges(score, ratio=0.4)
        left, moved, cited = prune(data), prune(one), prune(two)
        assert {(i, j + 9) for i, j in ends(left[WRITES])} == ends(moved)
        assert entries(left, CITES) == pairs(cited)


@quiet
def test_the_same_edges_of_relations_go_in_whatever_order_they_lie():
    data = library()
    other = data.clone()
    for kind in data.edge_types:
        order = torch.randperm(data[kind].num_edges, generator=torch.Generator().manual_seed(1))
        other[kind].edge_index = data[kind].edge_index[:, order]
        other[kind].edge_attr = data[kind].edge_attr[order]
    for score in OF_ALL:
        one, two = (glt.PruneEdges(score, ratio=0.5)(each) for each in (data, other))
        assert all(ends(one[kind]) == ends(two[kind]) for kind in data.edge_types)


def test_a_warning_counts_the_nodes_of_all_types_that_no_relation_reaches():
    data = HeteroData()
    data["a"].x, data["b"].num_nodes = torch.eye(3), 2
    data["a", "to", "b"].edge_index = torch.tensor([[0, 1], [0, 0]])
    data["a", "with", "a"].edge_index = torch.tensor([[0, 2], [0, 2]])  # loops alone
    with pytest.warns(DataWarning, match="^1 of 5 nodes have lost their last edge: 3 have none"):
        left = glt.PruneEdges("degree", keep=1, relations=["to"])(data)
    assert left["b"].num_nodes == 2 and left["a", "to", "b"].num_edges == 1


WRONG_RELATIONS = [
    (lambda: library(), dict(score="jaccard"), "`task` must have edges within one type of nodes "
     "for jaccard, .* got 'edges.author__writes__paper': use degree, or leave this relation out"),
    (lambda: library(width=3), dict(score="similarity"), "`task` must have as many features of "
     "both types to compare nodes by, got 'edges.author__writes__paper'"),
    (lambda: library(), dict(relations=["reads"]), r"`relations` must be of \('author', 'writes', "
     r"'paper'\), .*, got 'reads'"),
    (lambda: messy(), dict(relations=["writes"]),
     "`relations` must go with a HeteroData, got Data"),
    (lambda: HeteroData({("a", "to", "b"): {"edge_index": torch.zeros(2, 1).long()}}), {},
     "`data` must say how many nodes 'a' has: give it x or num_nodes"),
    (lambda: T.ToSparseTensor(remove_edge_index=False)(library()), {},
     r"`data\[\('author', 'writes', 'paper'\)\]` must have its edges in `edge_index` alone, got"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "settings", "line"), WRONG_RELATIONS)
def test_what_no_relation_can_be_is_told_in_one_line(make, settings, line):
    with pytest.raises(ValueError, match=f"^{line}") as error:
        glt.PruneEdges(ratio=0.5, **settings)(make())
    assert "\n" not in str(error.value)


def test_a_relation_alone_is_given_in_a_list():
    with pytest.raises(ValueError, match=r"`relations` must be a list of relations, got 'writes'"):
        glt.PruneEdges("degree", keep=1, relations="writes")
