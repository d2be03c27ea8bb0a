"""The README's code runs as it stands."""

import re
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

import graphlth as glt
from graphlth.cli.main import main

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def a_users_data() -> Data:
    task = glt.find("tasks", "karate")()
    masks = {
        f"{split}_mask": torch.zeros(task.num_nodes, dtype=torch.bool).index_fill(0, rows, True)
        for split, rows in task.rows.items()
    }
    x = task.x if isinstance(task.x, torch.Tensor) else task.x.to_dense()
    return Data(x=x, edge_index=task.graph.edge_index, y=task.y, **masks)


def test_a_data_without_masks_gets_a_first_ticket(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = a_users_data()
    exec(BLOCKS[0], {"x": data.x, "edge_index": data.edge_index, "y": data.y})
    command = next(line for line in README.splitlines() if "--task my.pt" in line)
    assert main([*command.split()[1:], "--epochs", "20"]) == 0
    table = capsys.readouterr().out
    assert "3 seeds" in table and [*Path("runs").glob("ugs-my-gcn-*/seed2-round5.safetensors")]


def test_the_library_example_finds_saves_and_uses_a_ticket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"data": a_users_data()}
    exec(BLOCKS[1], names)
    assert str(names["best"]).startswith("Fit(index=")
    assert 0 < glt.sparsity(names["ticket"].masks) < 1
    assert names["small_data"].num_edges < names["data"].num_edges
    hits = names["classes"] == names["task"].y[names["task"].rows["test"]]
    assert hits.float().mean().item() == pytest.approx(names["best"].test)
    chance = 1 / names["task"].num_classes
    assert hits.float().mean() > chance
    exec(BLOCKS[2], names)  # goes on from there
    best = names["logits"].argmax(-1) == names["task"].y
    assert best[names["task"].rows["test"]].float().mean().item() == names["best"].test


def test_the_kernel_example_agrees_with_a_dense_product():
    names = {
        "edge_index": torch.tensor([[0, 1, 2], [1, 2, 1]]),
        "num_nodes": 3,
        "x": torch.tensor([[1.0], [2.0], [4.0]]),
        "weight": torch.tensor([1.0, 0.5, 0.25]),
    }
    exec(BLOCKS[3], names)
    assert names["out"].tolist() == [[0.0], [2.0], [1.0]]
