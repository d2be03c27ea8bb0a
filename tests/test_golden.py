"""The digits of every algorithm on a small graph: a change that should alter none shows none.

`python tests/test_golden.py` writes them anew.
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest
from toys import ALGORITHMS, of

from graphlth.experiment.run import run
from graphlth.records.files import read

GOLDEN = Path(__file__).parent / "golden"
FIELDS = ("round", "edge_sparsity", "weight_sparsity", "macs", "best_epoch", "val", "test")
SETTINGS = {"rounds": 3, "draws": 3, "epochs": 40, "pretrain": 40, "hidden": 8}


def digits(algorithm: str, out: Path) -> list[dict]:
    folder = run(algorithm, "karate", "gcn", of(algorithm, SETTINGS), out=out)
    return [{field: record[field] for field in FIELDS} for record in read(folder)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_digits_are_the_golden_ones(algorithm, tmp_path):
    lines = (GOLDEN / f"{algorithm}.jsonl").read_text().splitlines()
    assert digits(algorithm, tmp_path) == [json.loads(line) for line in lines]


if __name__ == "__main__":
    for name in sys.argv[1:] or ALGORITHMS:
        with tempfile.TemporaryDirectory() as folder:
            lines = [json.dumps(line) for line in digits(name, Path(folder))]
        (GOLDEN / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
