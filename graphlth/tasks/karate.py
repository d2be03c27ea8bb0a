"""Karate: Zachary's club of 34 (Journal of Anthropological Research 1977), from networkx."""

from types import SimpleNamespace

import networkx as nx
import torch

from graphlth.data.node import NodeTask, split_per_class
from graphlth.settings.types import Edges, Seed
from graphlth.streams import stream


def karate(*, data_seed: Seed = 0, edges: Edges = "undirected") -> NodeTask:
    """The club's 78 friendships; the classes are the two clubs it broke into, 17 members each.

    Features are one-hot: only the edges tell.

    Args:
        data_seed: draws the split: 2 members of each club to train, 5 to validate, 10 to test.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
    """
    club = nx.karate_club_graph()
    pairs = torch.tensor(list(club.edges)).T  # [2, 78]
    y = torch.tensor([int(club.nodes[i]["club"] == "Officer") for i in range(len(club))])
    data = SimpleNamespace(
        x=torch.eye(len(club)),
        edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
        y=y,
        **split_per_class(y, 2, 5, stream(data_seed, "split")),
    )
    return NodeTask(data, edges=edges, name="karate")
