"""What the tests of sweeps share: small files of runs, and what is compared of their folders."""

import re

SPENT = re.compile(rb'"(seconds|memory|joules)_\w+": [^,}]+|, "digest": "[0-9a-f]{16}"(?=}\n)')
SMALL = {"task": "karate", "model": "gcn", "rounds": 2, "epochs": 5, "hidden": 8}


def content(folder):
    """The bytes of every record and ticket of a run, but for what was spent."""
    return {p.name: SPENT.sub(b"", p.read_bytes()) for p in sorted(folder.glob("seed*"))
            if p.suffix != ".lock"}  # fmt: skip
