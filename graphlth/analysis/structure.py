"""Structure: what the graph that a ticket leaves looks like."""

from torch import nn

from graphlth.analysis._remaining_graph import remaining_graph
from graphlth.data.structure import GraphStructure, measure_structure
from graphlth.task import Task
from graphlth.ticket import Ticket


def structure(model: nn.Module, task: Task, ticket: Ticket) -> GraphStructure:
    """Components, isolated nodes, degrees, homophily and spectral gap of the graph of a ticket.

    Of a mask for each layer it is the graph of the edges that any layer keeps; of many graphs, all
    those that are trained on, as one; of a heterogeneous one, that of all nodes and relations.

    Args:
        model: is not read.
        task: the data.
        ticket: the masks.

    Raises:
        ValueError: the task has no graph.
    """
    return measure_structure(*remaining_graph(task, ticket))
