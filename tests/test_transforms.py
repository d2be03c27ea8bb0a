"""Edge scores as a transform of PyG: exact budgets, aligned pairs, the same edges every time."""

import copy
import warnings

import pytest
import torch
from torch_geometric import transforms as T
from torch_geometric.data import Batch, Data
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
