"""Graph lottery tickets: sub-graphs and sub-networks that train to the dense accuracy."""

from importlib import import_module
from inspect import isfunction
from typing import Any

_HOME = {  # public name: the module that it is loaded from when first asked for
    "Fit": "training.epoch",
    "Graph": "sparse.graph",
    "ImageTask": "data.images",
    "NodeTask": "data.node",
    "Ticket": "ticket",
    "analyze": "experiment.measure",
    "at_init": "algorithms.at_init",
    "compact": "compaction.compact",
    "dense": "ticket",
    "early_bird": "algorithms.early_bird",
    "evaluate": "training.evaluation",
    "find": "settings.validation",
    "fit": "training.retraining",
    "geb": "algorithms.geb",
    "imp": "algorithms.imp",
    "joint_early_bird": "algorithms.joint_early_bird",
    "load": "ticket",
    "load_compact": "compaction.network",
    "macs": "cost.macs",
    "macs_reason": "cost.macs",
    "names": "registry",
    "one_shot": "algorithms.one_shot",
    "predict": "training.evaluation",
    "prune_data": "data.pruned",
    "random_graph": "algorithms.random_graph",
    "random_tickets": "algorithms.random_tickets",
    "retrain": "training.retraining",
    "run": "experiment.run",
    "sgcn": "algorithms.sgcn",
    "sparsity": "masks",
    "transfer": "algorithms.transfer",
    "ugs": "algorithms.ugs",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "GraphTask":
        raise AttributeError("`graphlth.GraphTask` is now `graphlth.NodeTask`: write that instead")
    if name not in _HOME:
        raise AttributeError(f"module 'graphlth' has no attribute {name!r}")
    from_registry = _HOME[name].startswith("algorithms.")
    home = "registry" if from_registry else _HOME[name]
    module = import_module(f"graphlth.{home}")
    value = module.find("algorithms", name) if from_registry else getattr(module, name)
    if not isfunction(value) or home == "settings.validation" or name == "names":
        return value
    from graphlth.settings.validation import checked

    return checked(value)


def __dir__() -> list[str]:
    return __all__
