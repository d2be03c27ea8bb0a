"""`ticket.prune(data)`: the `Data` that a ticket leaves, whatever its edges look like."""

import numpy as np
import pytest
import torch
from test_dataset import small
from torch_geometric.data import Data, HeteroData
from torch_geometric.datasets import KarateClub
from toys import build, call, data

from graphlth.data.graphs import GraphTask
from graphlth.data.links import LinkTask
from graphlth.data.node import NodeTask
from graphlth.masks import EDGES
from graphlth.rewinding import snapshot
from graphlth.ticket import Ticket

universes = pytest.mark.parametrize("edges", ["undirected", "directed"])
pytestmark = pytest.mark.filterwarnings("ignore:`data.*not read")


def messy(seed=0, nodes=30, columns=140, duplicates=25):
    """Edges in no order, some of them twice or more, some self-loops, most in one direction."""
    draw = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(nodes, (2, columns), generator=draw)
    edge_index = torch.cat([edge_index, edge_index[:, :duplicates], edge_index[:, :5].flip(0)], 1)
    edge_index = edge_index[:, torch.randperm(edge_index.size(1), generator=draw)]
    part = torch.arange(nodes) % 4
    return Data(
        x=torch.randn(nodes, 5, generator=draw), edge_index=edge_index, y=torch.arange(nodes) % 2,
        train_mask=part < 2, val_mask=part == 2, test_mask=part == 3,
    )  # fmt: skip


GRAPHS = {
    "unsorted, repeated, one-way, with loops": messy(),
    "both ways, sorted": data(loops=False).coalesce(),
    "pairs in one direction": Data(**messy().to_dict() | {
        "edge_index": torch.triu_indices(30, 30, 1)[:, ::7].flip(1)}),
    "loops alone": Data(**messy().to_dict() | {"edge_index": torch.arange(30).expand(2, -1)}),
    "no edge": Data(**messy().to_dict() | {"edge_index": torch.zeros(2, 0, dtype=torch.long)}),
}  # fmt: skip


def numbered(graph):
    """`graph` whose columns carry their number, so that what goes along can be told."""
    count = graph.edge_index.size(1)
    return Data(**graph.to_dict() | {"edge_attr": torch.arange(count).view(-1, 1).expand(-1, 2)})


def ticket_of(graph, edges, kept=0.6, **about):
    task = NodeTask(graph, edges=edges)
    draw = torch.Generator().manual_seed(3)
    mask = (torch.rand(task.num_edges, generator=draw) < kept).float()
    return task, Ticket({}, {EDGES: mask}, 1, **about)


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@universes
def test_what_is_left_is_the_graph_that_the_ticket_trains_on(graph, edges):
    graph = numbered(graph)
    task, ticket = ticket_of(graph, edges)
    left = ticket.prune(graph, edges=edges)
    right = task.without(ticket.masks[EDGES]).graph.edge_index
    assert {*map(tuple, left.edge_index.T.tolist())} == {*map(tuple, right.T.tolist())}
    columns = left.edge_attr[:, 0]  # every one with its own attribute, in the order of the data
    assert torch.equal(graph.edge_index[:, columns], left.edge_index)
    assert torch.equal(columns, columns.sort().values)
    again = NodeTask(left, edges=edges)
    assert torch.equal(again.graph.edge_index, right)


@universes
def test_every_repetition_of_a_removed_edge_goes_and_of_a_kept_one_stays(edges):
    graph = messy()
    _, ticket = ticket_of(graph, edges)
    left = ticket.prune(graph, edges=edges)
    kept = {*map(tuple, left.edge_index.T.tolist())}
    wanted = [tuple(e) in kept for e in graph.edge_index.T.tolist()]
    assert torch.equal(left.edge_index, graph.edge_index[:, torch.tensor(wanted)])
    assert 0 < left.num_edges < graph.num_edges


def test_every_attribute_goes_with_what_it_is_of():
    graph = messy()
    count = graph.num_edges
    graph.edge_attr = torch.arange(count).float().view(-1, 1)
    graph.edge_weight = torch.arange(1, count + 1).float()
    graph.time = np.arange(count)
    graph.relation = [f"r{i}" for i in range(count)]
    graph.pair = tuple(range(count))
    graph.train_idx = torch.arange(count) % 30  # by chance as many
    graph.edge_label_index, graph.edge_label = graph.edge_index.flip(1), torch.arange(count)
    graph.num, graph.title = 3, "a title"
    _, ticket = ticket_of(graph, "directed")
    before = graph.clone()
    left = ticket.prune(graph, edges="directed")
    columns = left.edge_attr.view(-1).long()
    assert torch.equal(left.edge_weight, graph.edge_weight[columns])
    assert left.time.tolist() == [*left.pair] == columns.tolist()
    assert left.relation == [f"r{i}" for i in columns.tolist()]
    for name in ("x", "y", "train_mask", "train_idx", "edge_label_index", "edge_label"):
        assert torch.equal(left[name], graph[name]), name
    assert (left.num, left.title, left.num_nodes) == (3, "a title", 30)
    assert all(np.array_equal(graph[n], before[n]) for n in ("edge_index", "edge_attr", "time"))


def test_an_attribute_of_nodes_is_not_cut_where_there_are_as_many_edges():
    graph = messy(columns=25, duplicates=0)
    assert graph.num_edges == graph.num_nodes == 30
    graph.knowledge, graph.age = torch.arange(30), torch.arange(30)
    graph.edge_attr = torch.arange(30)
    _, ticket = ticket_of(graph, "directed")
    left = ticket.prune(graph, edges="directed")
    assert left.edge_attr.numel() == left.num_edges < 30
    for name in ("x", "y", "knowledge", "age", "test_mask"):
        assert torch.equal(left[name], graph[name])


def test_edges_of_weight_0_go_with_the_removed_ones():
    graph = small(edge_weight=torch.tensor([1.0, 0, 2, 3, 1, 1, 1]))
    task = NodeTask(graph)
    left = Ticket({}, {EDGES: torch.ones(task.num_edges)}, 1).prune(graph)
    assert left.edge_index.T.tolist() == [[0, 0], [0, 1], [0, 1], [2, 1], [1, 2], [3, 2]]
    assert left.edge_weight.tolist() == [1, 2, 3, 1, 1, 1]


@universes
def test_a_found_ticket_says_itself_what_its_entries_are(edges):
    graph = GRAPHS["pairs in one direction"]  # as many pairs as edges
    task, ticket = ticket_of(graph, edges)
    with pytest.raises(ValueError, match="`edges` must be given, 'undirected' or 'directed'"):
        ticket.prune(graph)
    wanted = ticket.prune(graph, edges=edges).edge_index
    for about in ({"settings": {"edges": edges}}, {"edges": edges}, {"graph": task.fingerprint()}):
        told = Ticket({}, ticket.masks, 1, about)
        assert torch.equal(told.prune(graph).edge_index, wanted)


def test_the_number_of_entries_tells_where_it_can():
    for edges in ("undirected", "directed"):
        model = build("gcn", NodeTask(messy(), edges=edges))
        task = NodeTask(messy(), edges=edges)
        *_, ticket = call("ugs", model, task, rounds=1, epochs=2, drop_edges=0.4)
        left = NodeTask(ticket.prune(messy()), edges=edges).graph.edge_index
        assert torch.equal(left, task.without(ticket.masks[EDGES]).graph.edge_index)


def test_a_ticket_without_a_mask_of_edges_leaves_all():
    task = NodeTask(messy())
    model = build("gcn", task)
    left = Ticket(snapshot(model), {}, 1).prune(messy())
    assert torch.equal(left.edge_index, messy().edge_index)


def other(**changes):
    return Data(**messy().to_dict() | changes)


@pytest.mark.parametrize(
    "graph, how, message",
    [
        (NodeTask(messy()), {}, "`data` must be a PyG `Data`, got NodeTask"),
        (other(edge_index=messy().edge_index[:, :50]), {}, r"its mask of edges has \d+ entries, the"
         r" data have \d+ undirected or \d+ directed edges"),
        (messy(), {"edges": "directed"}, r"the data have \d+ directed edges"),
        (messy(), {"edges": "both"}, '`edges` must be "undirected" or "directed", got \'both\''),
        (other(x=torch.ones(30, 5)), {}, "`ticket` is of another graph: fingerprint"),
        (other(adj_t=torch.eye(30).to_sparse()), {}, "take it out, `del data.adj_t`"),
        (other(x=None), {}, "`data.x` is missing"),
    ],
)  # fmt: skip
def test_other_data_are_refused(graph, how, message):
    task = NodeTask(messy())
    about = {"graph": task.fingerprint()}
    ticket = Ticket({}, {EDGES: torch.ones(task.num_edges)}, 1, about)
    with pytest.raises(ValueError, match=message):
        ticket.prune(graph, **how)


@universes
def test_what_is_left_is_a_graph_of_networkx_too(edges):
    graph = messy()
    graph.edge_weight = torch.rand(graph.edge_index.size(1)) + 0.5
    _, ticket = ticket_of(graph, edges)
    left, found = ticket.prune(graph, edges=edges), ticket.to_networkx(graph, edges=edges)
    assert [*found] == [*range(30)] and found.is_directed()
    assert {*found.edges} == {*zip(*left.edge_index.tolist(), strict=True)}
    weight = {tuple(e): w for e, w in zip(left.edge_index.T.tolist(), left.edge_weight.tolist(),
                                          strict=True)}  # fmt: skip
    assert {(i, j): w for i, j, w in found.edges.data("edge_weight")} == weight
    assert [found.nodes[i]["y"] for i in found] == graph.y.tolist()


def test_pairs_are_the_edges_of_an_undirected_graph_of_networkx():
    graph = KarateClub()[0]
    ticket = Ticket({}, {EDGES: (torch.arange(78) % 3 > 0).float()}, 1)
    found = ticket.to_networkx(graph)
    assert not found.is_directed()
    assert found.number_of_edges() == int(ticket.masks[EDGES].sum())


def hetero():
    """Authors who write papers, papers that cite papers, with attributes that number the edges."""
    data, draw = HeteroData(), torch.Generator().manual_seed(0)
    data["paper"].x, data["author"].x = torch.rand(12, 4), torch.rand(7, 3)
    data["paper"].y = torch.arange(12) % 2
    for i, part in enumerate(("train", "val", "test")):
        data["paper"][f"{part}_mask"] = torch.arange(12) % 3 == i
    for source, name, target, count in (("author", "writes", "paper", 20),
                                        ("paper", "cites", "paper", 40)):  # fmt: skip
        sizes = torch.tensor([[data[source].num_nodes], [data[target].num_nodes]])
        edge_index = (torch.rand(2, count, generator=draw) * sizes).long()
        store = data[source, name, target]
        store.edge_index = torch.cat([edge_index, edge_index[:, :5]], 1)
        store.edge_attr = torch.arange(count + 5)
    data["paper", "cites", "paper"].edge_index[:, 10:20] = data[
        "paper", "cites", "paper"].edge_index[:, :10].flip(0)  # fmt: skip
    return data


@universes
def test_each_relation_of_a_heterogeneous_graph_loses_its_edges(edges):
    data = hetero()
    task = NodeTask(data, edges=edges)
    draw = torch.Generator().manual_seed(1)
    masks = {key: (torch.rand(n, generator=draw) < 0.6).float()
             for key, n in task.num_edges.by_key.items()}  # fmt: skip
    left = Ticket({}, masks, 1).prune(data, edges=edges)
    trained = next(iter(task.without(masks).batches("train"))).data
    for kind in data.edge_types:
        store, own = left[kind], trained[kind]
        assert {*store.edge_attr.tolist()} == {*own.edge_attr.tolist()}
        assert store.edge_attr.tolist() == sorted(store.edge_attr.tolist())  # their order stays
        assert torch.equal(data[kind].edge_index[:, store.edge_attr], store.edge_index)
        assert 0 < store.num_edges < data[kind].num_edges
    assert left["author"].x is data["author"].x


def test_a_heterogeneous_graph_is_one_of_networkx_with_types():
    data = hetero()
    masks = {key: torch.ones(n) for key, n in NodeTask(data).num_edges.by_key.items()}
    found = Ticket({}, masks, 1).to_networkx(data, edges="undirected")
    assert [kind for _, kind in found.nodes.data("type")].count("author") == 7
    assert {kind for *_, kind in found.edges.data("type")} == {*data.edge_types}


def test_one_relation_may_have_a_mask_alone():
    data = hetero()
    key = "edges.author__writes__paper"
    count = NodeTask(data, edges="directed").num_edges.by_key[key]
    left = Ticket({}, {key: torch.zeros(count)}, 1).prune(data)
    assert left["author", "paper"].num_edges == 0 and left["cites"].num_edges == 45
    with pytest.raises(ValueError, match=r"`ticket` does not fit `data`: its masks have \[3\] e"):
        Ticket({}, {key: torch.zeros(3)}, 1).prune(data)
    with pytest.raises(ValueError, match=r"`data` must be a `HeteroData` with the relations edges"):
        Ticket({}, {key: torch.zeros(3)}, 1).prune(messy())


@universes
def test_repetitions_of_another_type_are_other_edges(edges):
    graph = messy()
    graph.edge_type = torch.arange(graph.edge_index.size(1)) % 3
    task, ticket = ticket_of(graph, edges)
    assert task.num_edges > NodeTask(messy(), edges=edges).num_edges
    left, own = ticket.prune(graph, edges=edges), task.without(ticket.masks[EDGES])
    trained = next(iter(own.batches("train"))).data
    listed = [sorted(zip(*g.edge_index.tolist(), g.edge_type.tolist(), strict=True))
              for g in (left, trained)]  # fmt: skip
    assert listed[0] == listed[1]


@universes
def test_the_training_graphs_of_a_task_of_many_lose_their_edges(edges):
    graphs = [numbered(messy(seed, 8, 14 + seed, 3)) for seed in range(6)]
    for i, graph in enumerate(graphs):
        graph.y = torch.tensor([i % 2])
    split = {"train": [4, 0, 3], "val": [1], "test": [2, 5]}
    task = GraphTask(graphs, edges=edges, split={k: torch.tensor(v) for k, v in split.items()})
    mask = (torch.arange(task.num_edges) % 3 > 0).float()
    trained = task.without(mask).graphs
    left = Ticket({}, {EDGES: mask}, 1).prune([graphs[i] for i in (0, 3, 4)], edges=edges)
    for i, graph in zip((0, 3, 4), left, strict=True):
        edge_index = trained.edge_index[:, trained.graph_of_edges == i] - trained.first_node[i]
        assert {*map(tuple, graph.edge_index.T.tolist())} == {*map(tuple, edge_index.T.tolist())}
        assert torch.equal(graphs[i].edge_index[:, graph.edge_attr[:, 0]], graph.edge_index)
    with pytest.raises(ValueError, match="`data` must be the training graphs of the ticket's task"):
        Ticket({}, {EDGES: mask}, 1).prune(graphs, edges=edges)


def test_the_graph_that_predicts_links_loses_its_edges():
    graph = Data(**data(loops=False).to_dict())
    task = LinkTask(graph)
    mask = (torch.arange(task.num_edges) % 4 > 0).float()
    given = next(iter(task.batches("train"))).data
    left = Ticket({}, {EDGES: mask}, 1).prune(given, edges="undirected")
    kept = task.without(mask).graph.edge_index
    assert {*map(tuple, left.edge_index.T.tolist())} == {*map(tuple, kept.T.tolist())}
