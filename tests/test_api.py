"""The public names: all algorithms among them, each with the signature that an editor shows."""

import ast
import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import graphlth as glt

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "graphlth" / "__init__.py"
# The plug-ins of a kind have no signature in common.
UNTYPED = {("find", "return")}
SCRIPT = """
import torch
from torch import Tensor, nn
from torch_geometric.data import Data  # type: ignore[import-untyped]
from torch_geometric.nn import GraphConv  # type: ignore[import-untyped]

import graphlth as glt


class Net(nn.Module):
    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = GraphConv(features, 16), GraphConv(16, classes)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        hidden = self.first(x, edge_index, edge_weight).relu()
        return torch.as_tensor(self.second(hidden, edge_index, edge_weight))


edge_index = torch.stack([torch.arange(20), torch.arange(20).roll(1)])  # a ring
data = Data(x=torch.eye(20), edge_index=edge_index, y=torch.arange(20) % 2)
task = glt.NodeTask(data, split="random")
model = Net(task.num_features, task.num_classes)
tickets = list(glt.ugs(model, task, rounds=1, epochs=2, lr=0.02))
best: glt.Fit = glt.fit(model, task, tickets[-1], epochs=2)
best.ticket.save("ticket.safetensors")
ticket: glt.Ticket = glt.load("ticket.safetensors")
accuracy: float = best.test
classes: Tensor = glt.predict(model, task, best).argmax(-1)
removed: float = glt.sparsity(ticket.masks)
small: nn.Module = glt.compact(best.ticket, model, task)
"""


def imports_for_types():
    """The public names that a type checker sees, each with its module."""
    block = next(n for n in ast.parse(SOURCE.read_text()).body if isinstance(n, ast.If))
    return {a.asname: node.module for node in block.body for a in node.names}


def test_a_type_checker_sees_what_is_loaded():
    assert imports_for_types() == {n: f"graphlth.{home}" for n, home in glt._HOME.items()}


def test_every_algorithm_is_public():
    assert {*glt.names("algorithms")} <= {*glt.__all__}


@pytest.mark.parametrize("name", glt.__all__)
def test_a_public_name_is_what_its_module_defines(name):
    own = getattr(import_module(f"graphlth.{glt._HOME[name]}"), name)
    assert inspect.unwrap(getattr(glt, name)) is inspect.unwrap(own)


@pytest.mark.parametrize("name", [name for name in glt.__all__ if name != "Task"])  # a protocol
def test_a_public_name_says_its_types(name):
    own = inspect.unwrap(getattr(import_module(f"graphlth.{glt._HOME[name]}"), name))
    hints = {**inspect.get_annotations(own.__init__ if inspect.isclass(own) else own)}
    parameters = inspect.signature(own).parameters
    assert {*parameters} <= {*hints}, "a parameter has no annotation"
    untyped = {n for n in hints if hints[n] in (Any, "Any") and (name, n) not in UNTYPED}
    assert not untyped


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        glt.nothing  # noqa: B018


def call(command, folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_a_script_of_a_user_runs(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = call(["script.py"], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow  # mypy reads all of torch first
def test_a_script_of_a_user_passes_strict_type_checks(tmp_path):
    wrong = "\nglt.ugs(model, task, rounds='3')\nglt.nothing\n"
    for name, text in {"script": SCRIPT, "wrong": SCRIPT + wrong}.items():
        (tmp_path / f"{name}.py").write_text(text)
    how = ["-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir=cache"]
    done = call([*how, "script.py"], tmp_path)
    assert done.returncode == 0, done.stdout
    found = call([*how, "wrong.py"], tmp_path).stdout
    assert 'Argument "rounds" to "ugs"' in found and '"nothing"' in found


def test_a_plug_in_that_is_no_public_name_is_found_by_find():
    said = r"no attribute 'gcn': it is a plug-in, use graphlth\.find\(\"models\", \"gcn\"\)$"
    with pytest.raises(AttributeError, match=said):
        glt.gcn  # noqa: B018
