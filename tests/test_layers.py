"""Imports point down the list of layers; plug-ins of one kind stand alone; there is no cycle."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import graphlth

ROOT = Path(__file__).parents[1] / "graphlth"
LAYERS = [  # packages, and files of them that stand elsewhere; below first
    ["_exit", "evaluators", "import_paths", "storage", "streams", "cost.meters"],
    ["metrics"],
    ["edge_masks", "registry", "rewinding"],
    ["masks"],
    ["drawing", "settings", "task"],
    ["records", "sparse", "training.recipe"],
    [
        "compaction.adjacency",
        "compaction.layers",
        "compaction.liveness",
        "message_passing",
        "prune",
    ],
    ["model", "model_checks"],
    ["arguments", "plugins"],
    ["ticket"],
    ["provenance", "ticket_checks"],
    ["compaction", "data"],
    ["cost", "models", "tasks", "training.optimizers"],
    ["training"],
    ["scores"],
    ["algorithms", "analysis", "lightning"],
    ["experiment", "figures", "transforms"],
    ["report", "sweeps"],
    ["reproduction"],
    ["cli"],
    ["__init__", "__main__"],
]
UPWARD = {("ticket", "__init__")}  # the methods of `Ticket` that call the public function
RANK = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
PLUGINS = ["algorithms", "analysis", "figures", "models", "scores", "sparse.kernels", "tasks"]


def module(file):
    """models/graph/gcn.py -> ("models", "graph", "gcn"); models/__init__.py -> ("models",)."""
    parts = file.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


MODULES = {module(file) for file in FILES}


def place(parts):
    """The module that a name stands in: ("models", "graph", "gcn", "GCN") -> without "GCN"."""
    while parts and parts not in MODULES:
        parts = parts[:-1]
    return parts or ("__init__",)


def imports(source, file):
    """The modules that the source of `file` imports, also inside functions and for types only."""
    package = (ROOT.name, *file.parts[:-1])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = (*above, *(node.module or "").split(".")) if node.module else above
            targets = [(*base, alias.name) for alias in node.names]
        else:
            continue
        yield from (place(target[1:]) for target in targets if target[0] == ROOT.name)


def rank(parts):
    """The layer of a module: its own, else that of its package."""
    return RANK.get(".".join(parts), RANK.get(parts[0]))


def kind(parts):
    """The kind of plug-ins that a module is one of; None for others."""
    return next((k for k in PLUGINS if ".".join(parts).startswith(f"{k}.")), None)


def faults(source, file):
    here = module(file)
    for there in imports(source, file):
        shared = there[-1].startswith("_")  # models/graph/_norm.py: shared by its folder
        name = ".".join(there)
        if (".".join(here), name) in UPWARD:
            continue
        if kind(here) and kind(here) == kind(there):
            if not shared:
                yield f"{file} imports its sibling {name}"
        elif here[0] == there[0]:
            if rank(there) > rank(here):
                yield f"{file} imports {name}, which is not below it"
        elif rank(there) >= rank(here):
            yield f"{file} imports {name}, which is not below it"
        elif here[0] == "figures" and there[0] not in ("records", "settings", "storage"):
            yield f"{file} imports {name}, but figures import records, settings and storage only"


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("training/loop.py", "from graphlth.masks import ones", ""),
        ("training/loop.py", "from graphlth import masks, prune", ""),
        ("training/loop.py", "from graphlth.experiment.run import run", "not below it"),
        ("training/loop.py", "import graphlth.experiment", "not below it"),
        ("training/loop.py", "from .. import cli", "not below it"),
        ("training/loop.py", "from graphlth import __version__", "not below it"),
        ("training/loop.py", "def f():\n    from ..cli.main import main", "not below it"),
        ("masks.py", "from graphlth.prune import drop_lowest", "not below it"),
        ("prune.py", "from graphlth.ticket import Ticket", "not below it"),
        ("ticket.py", "from graphlth.prune import drop_lowest", ""),
        ("models/graph/gcn.py", "from graphlth.sparse.message import weighted_sum", ""),
        ("models/graph/gcn.py", "from graphlth.models.graph._norm import gcn_norm", ""),
        ("models/graph/gcn.py", "from graphlth.models.graph.gat import GAT", "sibling"),
        ("models/graph/gcn.py", "from .gat import GAT", "sibling"),
        ("models/graph/gcn.py", "from . import gat", "sibling"),
        ("models/graph/gcn.py", "from ...tasks.cora import cora", "not below it"),
        ("models/__init__.py", "from graphlth.tasks.cora import cora", "not below it"),
        ("sparse/graph.py", "from graphlth.sparse.message import product", ""),
        ("sparse/kernels/numba.py", "from graphlth.sparse.kernels.scatter import sum", "sibling"),
        ("figures/sparsity.py", "from graphlth.records.files import read", ""),
        ("figures/sparsity.py", "from graphlth.masks import density", "settings and storage only"),
        ("__init__.py", "from graphlth.cli.main import main", ""),
    ],
)
def test_a_wrong_import_is_seen(file, source, fault):
    found = " ".join(faults(source, Path(file)))
    assert fault in found if fault else not found


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_point_down(file):
    assert rank(module(file)) is not None, f"{file} has no layer: give it one in LAYERS"
    assert not list(faults((ROOT / file).read_text(), file))


def test_there_is_no_cycle_of_imports():
    graph = {}
    for file in FILES:
        here = module(file)
        found = {*imports((ROOT / file).read_text(), file)}
        graph[here] = {there for there in found if there != here and there != ("__init__",)}
    assert [*TopologicalSorter(graph).static_order()]  # CycleError names the modules of a cycle


@pytest.mark.parametrize("folder", PLUGINS)
def test_every_plugin_folder_holds_plugins(folder):
    assert [f for f in FILES if kind(module(f)) == folder and not f.name.startswith("_")]


LIGHT = ["graphlth", "graphlth.records", "graphlth.registry", "graphlth.sweeps.pickled_call"]
TORCH_FREE = LIGHT + [
    ".".join(("graphlth", *module(file)))
    for file in FILES
    if file.parts[0] == "figures" and file.name != "__init__.py"
]


@pytest.mark.parametrize("name", TORCH_FREE)
def test_a_figure_redraws_without_torch(name):
    code = f"import sys, {name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_public_name_is_that_of_a_module():
    """Importing the module would put it in the place of what the name stands for."""
    assert not {*graphlth.__all__} & {path.stem for path in ROOT.iterdir()}
