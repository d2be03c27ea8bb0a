"""Small runs for reports, and large ones that are made up of them."""

import json
import os
from pathlib import Path

import numpy as np

import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.storage import add_digest

SMALL = ["--task=karate", "--model=gcn", "--hidden=8", "--epochs=6", "--out=runs"]
COMMANDS = (
    ["run", "ugs", "--rounds=3", "--seeds=3", *SMALL],
    ["run", "random_tickets", "--rounds=3", "--seeds=3", *SMALL],
    ["run", "joint_early_bird", "--draws=3", "--seeds=2", *SMALL],
    ["run", "imp", "--rounds=1", "--seeds=1", "--task=digits", *SMALL[1:]],
)


def make_runs(place: Path) -> Path:
    """The folder of the runs of `COMMANDS`, and of a measure of one of them, in `place`."""
    before = Path.cwd()
    os.chdir(place)
    try:
        for command in COMMANDS:
            assert cli.main(command) == 0
        (ugs,) = Path("runs").glob("ugs-*")
        assert cli.main(["analyze", "structure", str(ugs), "--out=runs"]) == 0
    finally:
        os.chdir(before)
    return place / "runs"


def make_large(folder: Path, out: Path, seeds: int = 10, rounds: int = 20) -> Path:
    """Records of four methods on Cora's size, made up of those of a small run in `folder`."""
    (file,) = folder.glob("ugs-karate-gcn-????????/seed0.jsonl")
    first = record.read_file(file)[1]
    methods = {"ugs": 0.3, "random_tickets": 0.8, "imp": 0.4, "one_shot": 0.6}
    for algorithm, slope in methods.items():
        run = out / f"{algorithm}-cora"
        run.mkdir(parents=True)
        for seed in range(seeds):
            lines = [
                _made_up(first, algorithm, slope, seed, number, rounds)
                for number in range(rounds + 1)
            ]
            text = "".join(json.dumps(add_digest(line)) + "\n" for line in lines)
            (run / f"seed{seed}.jsonl").write_text(text)
    return out


def _made_up(first, algorithm, slope, seed, number, rounds):
    noise = np.random.default_rng([seed, number, len(algorithm) if number else 0])
    edges = 0 if algorithm == "imp" else 1 - 0.95**number
    weights = 1 - 0.8**number
    test = 0.81 - slope * max(0, number - 4) / 100 + noise.normal(0, 0.004)
    return {
        **first, "algorithm": algorithm, "task": "cora", "seed": seed, "round": number,
        "edge_sparsity": edges, "weight_sparsity": weights, "num_edges": 5278,
        "num_weights": 737280, "val": test - 0.01, "test": test, "warnings": [],
        "macs": 2e9 * (1 - weights) + 1e7, "macs_search": 2e11 if number else 0,
        "macs_retrain": 1e11, "settings": {**first["settings"], "rounds": rounds},
    }  # fmt: skip
