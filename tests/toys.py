"""A small task with every oddity: isolated nodes, raw loops, one-way edges, empty feature rows."""

import inspect
import re
from dataclasses import replace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch_geometric.data import Data

from graphlth.data.node import NodeTask
from graphlth.experiment.settings import plugin_settings
from graphlth.registry import find, names
from graphlth.settings.validation import settings_of
from graphlth.task import Batch, Task

N, LOOPS, ALONE = 16, (3, 8), (13, 14, 15)  # nodes; raw self-loops; nodes without an edge


def data(num_features=6, density=1.0, loops=True):
    draw = torch.Generator().manual_seed(7)
    pairs = [(i, (i * 5 + 3) % 13) for i in range(13)] + [(i, i + 1) for i in range(12)]
    pairs = [(i, j) for i, j in pairs if i != j]
    both = pairs + [(j, i) for i, j in pairs] + [(0, 12)]  # 0 -> 12 has no way back
    edge_index = torch.tensor(both + [(i, i) for i in LOOPS if loops]).T
    x = torch.randn(N, num_features, generator=draw)
    x = x * (torch.rand(N, num_features, generator=draw) < density)
    x[5] = x[13] = 0
    part = torch.arange(N) // 2 % 4  # 0 and 1 train, 2 validate, 3 test
    return Data(
        x=x,
        edge_index=edge_index,
        y=torch.arange(N) % 2,
        train_mask=part < 2,
        val_mask=part == 2,
        test_mask=part == 3,
    )


def toy(edges="undirected", **about):
    return NodeTask(data(**about), edges=edges, name="toy")


def with_features(task, x):
    """The same task with other features, as they are."""
    return task._with(graph_data=replace(task.graph_data, x=x))


class Pictures(Task):
    """Noise of two classes in two batches a split; there is no graph."""

    name, edges, num_edges, num_classes, evaluate_every = "pictures", "none", 0, 2, 2

    def __init__(self, shape=(3, 16, 16), batch=6):
        draw = torch.Generator().manual_seed(3)
        self.shape, self.num_features = shape, shape[0] * shape[1] * shape[2]
        self.x = torch.randn(2 * batch, *shape, generator=draw)
        self.y = torch.arange(2 * batch) % 2

    def batches(self, split, seed=0, index=0):
        order = torch.randperm(len(self.y), generator=torch.Generator().manual_seed(seed))
        for rows in order.chunk(2):
            yield Batch((self.x[rows],), self.y[rows])

    def without(self, mask):
        raise AssertionError("there is no graph")

    def fingerprint(self):
        return "noise"


def _of(name):
    """What the model `name` is of; each refuses every other task in one line."""
    try:
        find("models", name)(toy())
    except ValueError as error:
        kind = re.match("`task` must have (images|text|many graphs)", str(error))
        assert kind, error
        return kind[1]
    return "graphs"


MODELS = {name: _of(name) for name in names("models")}
GRAPH_MODELS = [name for name, kind in MODELS.items() if kind == "graphs"]
IMAGE_MODELS = [name for name, kind in MODELS.items() if kind == "images"]
TEXT_MODELS = [name for name, kind in MODELS.items() if kind == "text"]


def build(name, task, seed=0, **settings):
    """The model `name`, small, in evaluation mode; settings that it does not have are left out."""
    plugin = find("models", name)
    settings = {"hidden": 4, "heads": 2, **settings}
    known = {k: v for k, v in settings.items() if k in inspect.signature(plugin).parameters}
    torch.manual_seed(seed)
    return plugin(task, **known).eval()


def call(name, model, task, **settings):
    """The tickets of the algorithm `name`; settings that it does not have are left out."""
    algorithm = find("algorithms", name)
    known = {k: v for k, v in settings.items() if k in settings_of(algorithm)}
    return algorithm(model, task, **known)


def of(algorithm, settings):
    """Those of `settings` that a run of the algorithm, or any task or model, has."""
    of_runs = [plugin_settings("algorithms", n) for n in names("algorithms")]
    others = set().union(*of_runs) - set(plugin_settings("algorithms", algorithm))
    return {k: v for k, v in settings.items() if k not in others}


def _takes_graphs(name):
    try:
        next(call(name, build("gcn", toy()), toy()))
    except ValueError as error:
        assert str(error).startswith("`model` must have hidden channels"), error
        return False
    return True


ALGORITHMS = [  # that search, on graphs; `control` changes what these have found
    name
    for name in names("algorithms")
    if "tickets" not in inspect.signature(find("algorithms", name)).parameters
    and _takes_graphs(name)
]


class Largest(TorchDispatchMode):
    """Remembers the most elements of any tensor that an operator puts out."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in tree_flatten(out)[0]:
            if isinstance(t, torch.Tensor):
                stored = t.values() if t.layout == torch.sparse_csr else t
                # An expanded view stores one element for many.
                size = min(stored.numel(), stored.untyped_storage().nbytes() // t.element_size())
                self.numel = max(self.numel, size)
        return out
