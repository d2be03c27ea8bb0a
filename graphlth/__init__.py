"""Graph lottery tickets: sub-graphs and sub-networks that train to the dense accuracy.

A public name is loaded when it is first asked for, so `import graphlth` needs no torch. An editor
and a type checker read the imports below, which are those of `_HOME`.
"""

from importlib import import_module
from inspect import isfunction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphlth.algorithms.at_init import at_init as at_init
    from graphlth.algorithms.channels import channels as channels
    from graphlth.algorithms.control import control as control
    from graphlth.algorithms.early_bird import early_bird as early_bird
    from graphlth.algorithms.edge_popup import edge_popup as edge_popup
    from graphlth.algorithms.geb import geb as geb
    from graphlth.algorithms.imp import imp as imp
    from graphlth.algorithms.joint_early_bird import joint_early_bird as joint_early_bird
    from graphlth.algorithms.one_shot import one_shot as one_shot
    from graphlth.algorithms.random_edges import random_edges as random_edges
    from graphlth.algorithms.random_graph import random_graph as random_graph
    from graphlth.algorithms.random_tickets import random_tickets as random_tickets
    from graphlth.algorithms.sgcn import sgcn as sgcn
    from graphlth.algorithms.supermask import supermask as supermask
    from graphlth.algorithms.transfer import transfer as transfer
    from graphlth.algorithms.ugs import ugs as ugs
    from graphlth.compaction.compact import compact as compact
    from graphlth.compaction.network import load_compact as load_compact
    from graphlth.cost.macs import macs as macs
    from graphlth.cost.macs import macs_reason as macs_reason
    from graphlth.data.graphs import GraphTask as GraphTask
    from graphlth.data.images import ImageTask as ImageTask
    from graphlth.data.links import LinkTask as LinkTask
    from graphlth.data.losses import with_loss as with_loss
    from graphlth.data.node import NodeTask as NodeTask
    from graphlth.data.pruned import prune_data as prune_data
    from graphlth.data.structure import GraphStructure as GraphStructure
    from graphlth.data.structure import graph_structure as graph_structure
    from graphlth.experiment.measure import analyze as analyze
    from graphlth.experiment.run import run as run
    from graphlth.masks import sparsity as sparsity
    from graphlth.metrics import Metric as Metric
    from graphlth.plugins import find as find
    from graphlth.records.comparison import compare as compare
    from graphlth.records.extreme import extreme_sparsity as extreme_sparsity
    from graphlth.records.power import seeds_needed as seeds_needed
    from graphlth.registry import names as names
    from graphlth.reproduction.run import reproduce as reproduce
    from graphlth.sparse.graph import Graph as Graph
    from graphlth.sweeps.run import sweep as sweep
    from graphlth.sweeps.search import search_settings as search_settings
    from graphlth.task import Task as Task
    from graphlth.ticket import Ticket as Ticket
    from graphlth.ticket import dense as dense
    from graphlth.ticket import load as load
    from graphlth.training.epoch import Fit as Fit
    from graphlth.training.evaluation import evaluate as evaluate
    from graphlth.training.evaluation import predict as predict
    from graphlth.training.pretraining import pretrain_dgi as pretrain_dgi
    from graphlth.training.recipe import Recipe as Recipe
    from graphlth.training.retraining import fit as fit
    from graphlth.training.retraining import retrain as retrain
    from graphlth.transforms import PruneEdges as PruneEdges

_HOME = {  # public name: the module that it is loaded from
    "Fit": "training.epoch",
    "Graph": "sparse.graph",
    "GraphStructure": "data.structure",
    "GraphTask": "data.graphs",
    "ImageTask": "data.images",
    "LinkTask": "data.links",
    "Metric": "metrics",
    "NodeTask": "data.node",
    "PruneEdges": "transforms",
    "Recipe": "training.recipe",
    "Task": "task",
    "Ticket": "ticket",
    "analyze": "experiment.measure",
    "at_init": "algorithms.at_init",
    "channels": "algorithms.channels",
    "compact": "compaction.compact",
    "compare": "records.comparison",
    "control": "algorithms.control",
    "dense": "ticket",
    "early_bird": "algorithms.early_bird",
    "edge_popup": "algorithms.edge_popup",
    "evaluate": "training.evaluation",
    "find": "plugins",
    "extreme_sparsity": "records.extreme",
    "fit": "training.retraining",
    "geb": "algorithms.geb",
    "graph_structure": "data.structure",
    "imp": "algorithms.imp",
    "joint_early_bird": "algorithms.joint_early_bird",
    "load": "ticket",
    "load_compact": "compaction.network",
    "macs": "cost.macs",
    "macs_reason": "cost.macs",
    "names": "registry",
    "one_shot": "algorithms.one_shot",
    "predict": "training.evaluation",
    "pretrain_dgi": "training.pretraining",
    "prune_data": "data.pruned",
    "random_edges": "algorithms.random_edges",
    "random_graph": "algorithms.random_graph",
    "random_tickets": "algorithms.random_tickets",
    "reproduce": "reproduction.run",
    "retrain": "training.retraining",
    "run": "experiment.run",
    "search_settings": "sweeps.search",
    "seeds_needed": "records.power",
    "sgcn": "algorithms.sgcn",
    "sparsity": "masks",
    "supermask": "algorithms.supermask",
    "sweep": "sweeps.run",
    "transfer": "algorithms.transfer",
    "ugs": "algorithms.ugs",
    "with_loss": "data.losses",
}
__all__ = sorted(_HOME)


def _remedy(name: str) -> str:
    """How a plug-in is found that is called `name`; "" where none is."""
    from graphlth.registry import KINDS, names

    kinds = [] if name.startswith("_") else [kind for kind in KINDS if name in names(kind)]
    calls = " or ".join(f'graphlth.find("{kind}", "{name}")' for kind in kinds)
    return f": it is a plug-in, use {calls}" if calls else ""


if not TYPE_CHECKING:  # or every name that does not exist would be one of type Any

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'graphlth' has no attribute {name!r}{_remedy(name)}")
        from_registry = _HOME[name].startswith("algorithms.")
        home = "registry" if from_registry else _HOME[name]
        module = import_module(f"graphlth.{home}")
        value = module.find("algorithms", name) if from_registry else getattr(module, name)
        if not isfunction(value) or home == "plugins" or name == "names":
            return value
        from graphlth.plugins import validate

        return validate(value)


def __dir__() -> list[str]:
    return __all__
