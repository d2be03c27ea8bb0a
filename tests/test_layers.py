"""Imports point down the list; files of one folder never import each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import graphlth

ROOT = Path(__file__).parents[1] / "graphlth"
LAYERS = [
    ["streams"],
    ["_exit", "checks", "config", "cost", "masks", "task", "registry", "storage", "vmap"],
    ["drawing", "edge_list", "graph", "presets", "record", "tables"],
    ["kernels"],
    ["dropout"],
    ["contract", "message"],
    ["compact", "operations", "optimizers"],
    ["prune"],
    ["channels"],
    ["archives", "published"],
    ["fields", "planetoid"],
    ["dataset", "images"],
    ["pruned"],
    ["ticket"],
    ["controls"],
    ["models", "tasks"],
    ["train"],
    ["scores"],
    ["algorithms", "analysis", "result_warnings", "seeds"],
    ["settings"],
    ["experiment", "figures"],
    ["export", "measure", "verify"],
    ["cli"],
    ["__init__", "__main__"],
]
RANK = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
PLUGINS = ["kernels", "scores", "models", "tasks", "algorithms", "analysis", "figures"]


def place(parts):
    """("models", "gcn", "GCN") -> its file ("models", "gcn"); ("__version__",) -> ("__init__",)."""
    if not parts or parts[0] not in RANK:
        return ("__init__",)
    return parts[:2] if parts[0] in PLUGINS else parts[:1]


def imports(source, file):
    """The places that the source of `file` imports, also inside functions and for types only."""
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


def faults(source, file):
    here = file.with_suffix("").parts
    for there in imports(source, file):
        shared = there[-1].startswith("_")  # models/_norm.py: shared by its folder, no plug-in
        if here[0] == there[0] and here[0] in PLUGINS:
            if not shared:
                yield f"{file} imports its sibling {'/'.join(there)}"
        elif RANK[there[0]] >= RANK[here[0]]:
            yield f"{file} imports {there[0]}, which is not below it"
        elif here[0] == "figures" and there[0] != "record":
            yield f"{file} imports {there[0]}, but figures import record only"


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("train.py", "from graphlth.masks import ones", ""),
        ("train.py", "from graphlth import masks, prune", ""),
        ("train.py", "from graphlth.experiment import run", "not below it"),
        ("train.py", "import graphlth.experiment", "not below it"),
        ("train.py", "from . import cli", "not below it"),
        ("train.py", "from graphlth import __version__", "not below it"),
        ("train.py", "def f():\n    from .cli import main", "not below it"),
        ("masks.py", "from graphlth.task import Batch", "not below it"),
        ("prune.py", "from graphlth.ticket import Ticket", "not below it"),
        ("ticket.py", "from graphlth.prune import drop_lowest", ""),
        ("models/gcn.py", "from graphlth.message import weighted_sum", ""),
        ("models/gcn.py", "from graphlth.models._norm import norm", ""),
        ("models/gcn.py", "from graphlth.models.gat import GAT", "sibling"),
        ("models/gcn.py", "from .gat import GAT", "sibling"),
        ("models/gcn.py", "from . import gat", "sibling"),
        ("models/gcn.py", "from ..tasks.cora import cora", "not below it"),
        ("models/__init__.py", "from .gat import GAT", "sibling"),
        ("figures/sparsity.py", "from graphlth.record import read", ""),
        ("figures/sparsity.py", "from graphlth.masks import density", "record only"),
        ("__init__.py", "from graphlth.cli import main", ""),
    ],
)
def test_a_wrong_import_is_seen(file, source, fault):
    found = " ".join(faults(source, Path(file)))
    assert fault in found if fault else not found


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_point_down(file):
    assert file.with_suffix("").parts[0] in RANK, f"{file} has no layer: give it one in LAYERS"
    assert not list(faults((ROOT / file).read_text(), file))


@pytest.mark.parametrize("folder", PLUGINS)
def test_every_plugin_folder_holds_plugins(folder):
    assert [f for f in FILES if f.parts[0] == folder and not f.name.startswith("_")]


TORCH_FREE = ["graphlth", "graphlth.record", "graphlth.registry"] + [
    ".".join(("graphlth", *file.with_suffix("").parts))
    for file in FILES
    if file.parts[0] == "figures" and file.name != "__init__.py"
]


@pytest.mark.parametrize("module", TORCH_FREE)
def test_a_figure_redraws_without_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_public_name_is_that_of_a_module():
    """Importing the module would put it in the place of what the name stands for."""
    assert not {*graphlth.__all__} & {path.stem for path in ROOT.iterdir()}
