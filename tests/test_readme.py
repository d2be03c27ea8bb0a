"""The README's code and commands run as they stand, and its table is that of the data files."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

import graphlth as glt
from graphlth.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line for line in README.splitlines() if re.match(r"graphlth (run|plot|compare|report) ", line)
]


def a_users_data() -> Data:
    task = glt.find("tasks", "karate")()
    masks = {
        f"{split}_mask": torch.zeros(task.num_nodes, dtype=torch.bool).index_fill(0, rows, True)
        for split, rows in task.rows.items()
    }
    x = task.x if isinstance(task.x, torch.Tensor) else task.x.to_dense()
    return Data(x=x, edge_index=task.graph.edge_index, y=task.y, **masks)


def test_the_readme_is_short():
    assert len(README.encode()) <= 6000


def test_a_data_without_masks_gets_a_first_ticket(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = a_users_data()
    torch.save(Data(x=data.x, edge_index=data.edge_index, y=data.y), "my.pt")
    assert len(COMMANDS) == 5
    for command in COMMANDS:
        words = [word for each in shlex.split(command, comments=True)[1:]
                 for word in sorted(map(str, Path().glob(each))) or [each]]  # fmt: skip
        assert main([*words, *(["--epochs", "20"] if words[0] == "run" else [])]) == 0
    table = capsys.readouterr().out
    assert "ugs against random_tickets on my with gcn" in table
    assert Path("my.html").read_text(encoding="utf-8").count("random_tickets") > 1
    assert "3 seeds" in table and [*Path("runs").glob("ugs-my-gcn-*/seed2-round5.safetensors")]
    assert Path("my.png").stat().st_size > 0


def test_the_library_example_finds_and_saves_a_ticket(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    (block,) = BLOCKS
    exec(block, names)  # as it is pasted
    data = names["data"]
    dense, test, removed = map(float, capsys.readouterr().out.split())
    best, ticket = names["best"], glt.load("ticket.safetensors")
    assert (dense, test) == (names["fits"][0].test, best.test)
    assert removed == glt.sparsity(ticket.masks) and 0 < removed < 1
    assert test > 1 / names["task"].num_classes  # chance
    hits = (
        glt.predict(names["model"], names["task"], best).argmax(-1)
        == names["task"].y[names["task"].rows["test"]]
    )
    assert hits.float().mean().item() == pytest.approx(best.test)
    assert ticket.prune(data).num_edges < data.num_edges


def test_every_link_leads_to_a_file():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
