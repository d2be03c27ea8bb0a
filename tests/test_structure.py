"""What graphs look like, against networkx and PyG, with loops, repetitions and islands."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch_geometric.data import Data, HeteroData
from torch_geometric.datasets import KarateClub
from torch_geometric.utils import contains_isolated_nodes, homophily, to_networkx

import graphlth as glt
import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.data.structure import DENSE, graph_structure, measure_structure
from graphlth.figures.structure import PANELS, draw_figure
from graphlth.registry import find

KNOWN_PATH = torch.tensor([[0, 1, 2], [1, 2, 3]])
QUICK = {"rounds": 2, "epochs": 2, "drop_edges": 0.4}


def messy(seed=0, n=40, count=60):
    """A graph with loops, repetitions, one-way edges and isolated nodes."""
    draw = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(n - 5, (2, count), generator=draw)
    edge_index = torch.cat([edge_index, edge_index[:, :10], edge_index[:, 10:20].flip(0)], 1)
    return Data(x=torch.eye(n), edge_index=edge_index, y=torch.arange(n) % 3)


@pytest.mark.parametrize("data", [messy(), messy(1, 12, 40), KarateClub()[0]], ids=str)
def test_measures_are_those_of_networkx_and_pyg(data):
    found = graph_structure(data)
    graph = nx.Graph(to_networkx(data, to_undirected=True))
    graph.remove_edges_from(nx.selfloop_edges(graph))
    degrees = [d for _, d in graph.degree]
    largest = graph.subgraph(max(nx.connected_components(graph), key=len))
    assert (found.nodes, found.pairs) == (graph.number_of_nodes(), graph.number_of_edges())
    assert found.components == nx.number_connected_components(graph)
    assert found.largest_component == len(largest) / len(graph)
    assert found.isolated_nodes == nx.number_of_isolates(graph)
    assert bool(found.isolated_nodes) == contains_isolated_nodes(data.edge_index, data.num_nodes)
    assert (found.degree_mean, found.degree_max) == (np.mean(degrees), max(degrees))
    assert found.degree_quantiles == np.quantile(degrees, (0.25, 0.5, 0.75, 0.95)).tolist()
    values = nx.normalized_laplacian_spectrum(largest)
    assert found.spectral_gap == pytest.approx(sorted(values)[1], abs=1e-9)
    pairs = torch.tensor([*graph.edges]).T
    assert found.homophily == pytest.approx(homophily(pairs, data.y))


KNOWN = [  # nodes, pairs, components, isolated nodes, spectral gap
    (nx.complete_graph(10), 10, 45, 1, 0, 10 / 9),
    (nx.path_graph(DENSE + 200), DENSE + 200, DENSE + 199, 1, 0, 1 - np.cos(np.pi / (DENSE + 199))),
    (nx.complete_bipartite_graph(3, 4), 7, 12, 1, 0, 1.0),
    (nx.disjoint_union(nx.cycle_graph(700), nx.empty_graph(9)), 709, 700, 10, 9,
     1 - np.cos(2 * np.pi / 700)),
    (nx.empty_graph(4), 4, 0, 4, 4, None), (nx.empty_graph(0), 0, 0, 0, 0, None),
]  # fmt: skip


@pytest.mark.parametrize(("graph", "nodes", "pairs", "components", "isolated", "gap"), KNOWN)
def test_known_graphs_have_the_measures_that_formulas_give(
    graph, nodes, pairs, components, isolated, gap
):
    edge_index = torch.tensor([*graph.edges], dtype=torch.int64).view(-1, 2).T
    found = measure_structure(edge_index, nodes)
    known = (found.nodes, found.pairs, found.components, found.isolated_nodes)
    assert known == (nodes, pairs, components, isolated)
    assert found.spectral_gap == (gap if gap is None else pytest.approx(gap, abs=1e-7))
    assert found.homophily is None and found.training_share is None


def test_the_share_at_training_nodes_counts_pairs_with_one_end_or_two():
    path = torch.tensor([*pairwise(range(5))]).T  # 0–1–2–3–4
    for train, share in (([0], 0.25), ([2], 0.5), ([1, 2], 0.75), ([1, 3], 1.0)):
        assert measure_structure(path, 5, train=torch.tensor(train)).training_share == share


def test_nodes_without_a_label_are_left_out_of_homophily():
    path = torch.tensor([*pairwise(range(5))]).T
    labels = torch.tensor([0, 0, 1, -1, 1])
    assert measure_structure(path, 5, labels).homophily == 0.5


def test_the_structure_of_a_ticket_is_that_of_the_pruned_graph():
    data = KarateClub()[0]
    task = glt.NodeTask(data, split="random")
    *_, ticket = glt.random_tickets(find("models", "gcn")(task), task, rounds=2, drop_edges=0.4)
    left = ticket.prune(data)
    left.train_mask = torch.zeros(34, dtype=torch.bool)
    left.train_mask[task.rows["train"]] = True
    measured = find("analysis", "structure")(None, task, ticket)
    assert measured == graph_structure(left) and measured.pairs < 78


def relations_task():
    """Nodes 0 to 2 of type a and 3 to 6 of type b, of which 3 and 4 train."""
    data = HeteroData()
    data["a"].x, data["b"].x, data["b"].y = torch.eye(3), torch.eye(4), torch.tensor([0, 1, 0, 0])
    data["a", "to", "b"].edge_index = torch.tensor([[0, 0, 1], [0, 1, 1]])
    data["a", "likes", "b"].edge_index = torch.tensor([[0], [0]])
    data["b", "with", "b"].edge_index = torch.tensor([[0, 1, 0], [1, 0, 2]])
    for i, part in enumerate(("train", "val", "test")):
        data["b"][f"{part}_mask"] = torch.tensor([[0, 1], [2], [3]][i])
    return glt.NodeTask(data)


def relation_masks(task):
    return {key: torch.ones(n) for key, n in task.num_edges.by_key.items()}


def test_relations_and_training_graphs_are_one_graph():
    task = relations_task()
    found = find("analysis", "structure")(None, task, glt.Ticket({}, relation_masks(task), 0))
    assert (found.nodes, found.pairs, found.components, found.isolated_nodes) == (7, 5, 3, 2)
    assert found.homophily == 0.5 and found.training_share == 1.0
    graphs = [
        Data(x=torch.eye(4), edge_index=KNOWN_PATH, y=torch.tensor([i % 2])) for i in range(6)
    ]
    split = {"train": [5, 0, 1], "val": [2], "test": [3, 4]}
    task = glt.GraphTask(graphs, split={n: torch.tensor(v) for n, v in split.items()})
    found = find("analysis", "structure")(None, task, glt.Ticket({}, {"edges": torch.ones(9)}, 0))
    assert (found.nodes, found.pairs, found.components) == (12, 9, 3)


def test_of_links_no_pair_is_taken_for_a_node():
    nodes, data = torch.arange(8), HeteroData()
    data["a"].x, data["b"].x = torch.eye(8), torch.eye(8)
    data["a", "to", "b"].edge_index = torch.stack([nodes, (nodes + 1) % 8])
    one = Data(x=torch.eye(8), edge_index=torch.stack([nodes, (nodes + 1) % 8]))
    for task, count in ((glt.LinkTask(one, val=1, test=1), 8),
                        (glt.LinkTask(data, val=1, test=1), 16)):  # fmt: skip
        keys = getattr(task.num_edges, "by_key", {"edges": int(task.num_edges)})
        masks = {key: torch.ones(n) for key, n in keys.items()}
        found = find("analysis", "structure")(None, task, glt.Ticket({}, masks, 0))
        assert (found.nodes, found.pairs) == (count, 6)
        assert found.homophily is None and found.training_share is None


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("structure")
    run = glt.run("random_tickets", "karate", "gcn", QUICK, seeds=3, out=place / "runs")
    return run, glt.analyze("structure", str(run), out=str(place / "measures"))


def test_a_table_shows_each_round_of_a_run(folders, capsys):
    assert cli.main(["show", "--graph", str(folders[0])]) == 0
    title, head, _, *rows = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert "3 seeds" in title and "spectral gap" in head
    assert [row.split()[:2] for row in rows[:3]] == [["0", "78"], ["1", "47"], ["2", "28"]]
    assert rows[0].split()[3] == "0" and "0.1323 ± 0" in rows[0]


def test_a_figure_shows_what_was_measured(folders):
    figure = draw_figure(record.read(folders[1]))
    drawn = {axis.get_ylabel(): axis.lines[0].get_ydata() for axis in figure.axes}
    assert [*drawn] == [name for name, _ in PANELS]
    assert drawn["mean degree"] == pytest.approx([156 / 34, 94 / 34, 56 / 34])
    FigureCanvasAgg(figure).draw()
    assert all(axis.get_ylim()[0] >= -0.03 * axis.get_ylim()[1] - 1e-9 for axis in figure.axes)


def test_records_without_a_structure_and_data_without_edges_are_told_in_one_line(folders):
    with pytest.raises(ValueError, match="`records` must hold structures, as `graphlth analyze"):
        draw_figure(record.read(folders[0]))
    with pytest.raises(ValueError, match=r"`data` must be a PyG `Data` with edge_index \[2, E\]"):
        graph_structure(torch.eye(3))


# --- removed edges -------------------------------------------------------------------------------


def directed_task(train):
    """0 → 1 → 2 → 3, 0 → 2 and 3 → 0; sorted by (target, source): 3→0, 0→1, 0→2, 1→2, 2→3."""
    data = Data(x=torch.eye(4), y=torch.tensor([0, 1, 0, 1]),
                edge_index=torch.tensor([[0, 1, 2, 0, 3], [1, 2, 3, 2, 0]]))  # fmt: skip
    rest = [n for n in range(4) if n not in train]
    data.train_idx, data.val_idx, data.test_idx = map(torch.tensor, (train, rest[:1], rest[1:]))
    return glt.NodeTask(data, edges="directed", num_classes=2)


def test_removed_edges_are_told_by_the_nodes_that_they_leave_and_enter():
    task = directed_task([0, 1])
    model = find("models", "gcn")(task, hidden=2)
    ticket = glt.dense(model, task.num_edges)
    ticket.masks["edges"][[1, 2]] = 0  # 0 → 1 and 0 → 2
    found = find("analysis", "removed_edges")(model, task, ticket)
    assert (found.removed_count, found.removed_from_training) == (2, 1.0)
    assert (found.removed_into_training, found.all_into_training) == (0.5, 0.4)
    assert (found.removed_source_degree, found.removed_target_degree) == (2.0, 1.5)
    assert (found.all_from_training, found.all_source_degree) == (0.6, 1.4)
    assert found.all_target_degree == pytest.approx(1.4)


def test_a_dense_ticket_removes_no_edges():
    task = directed_task([0, 1])
    model = find("models", "gcn")(task, hidden=2)
    found = find("analysis", "removed_edges")(model, task, glt.dense(model, task.num_edges))
    assert (found.removed_count, found.removed_from_training) == (0, None)
    assert found.all_from_training == 0.6


def test_removed_edges_are_those_of_a_graph_with_training_nodes():
    images = find("tasks", "digits_images")()
    model = find("models", "mlp")(images, hidden=2)
    with pytest.raises(ValueError, match="`task` must have "):
        find("analysis", "removed_edges")(model, images, glt.dense(model, edges=False))


def test_of_edges_of_several_relations_each_is_removed_for_itself():
    task = relations_task()
    masks = relation_masks(task)
    masks["edges.a__to__b"][[0, 2]] = 0  # 0 → 3, which is also in another relation, and 1 → 4
    found = find("analysis", "removed_edges")(None, task, glt.Ticket({}, masks, 0))
    assert (found.removed_count, found.removed_from_training) == (2, 0.0)
    assert (found.removed_into_training, found.all_from_training) == (1.0, 3 / 7)
    assert (found.removed_source_degree, found.removed_target_degree) == (2.0, 3.0)
    assert found.all_source_degree == 15 / 7


@pytest.mark.parametrize("make", [relations_task, lambda: directed_task([0, 1])])
def test_removed_edges_are_measured_on_the_device_of_the_edges(make):
    task = make()
    masks = relation_masks(task) if hasattr(task, "node_type") else {"edges": torch.ones(5)}
    with torch.device("meta"):  # where what is made without a device would be
        found = find("analysis", "removed_edges")(None, task, glt.Ticket({}, masks, 0))
    assert found.removed_count == 0 and found.all_from_training > 0
