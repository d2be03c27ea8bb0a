"""A suite: the file that tells how a figure or a table is reproduced, and what is published of it.

It is a file of `graphlth sweep` (see `graphlth.sweeps.file`), with besides:

title = "UGS on Cora, GCN-512"
source = "UGS (Chen et al., ICML 2021, arXiv:2102.06790), figure 3"
notes = "what differs from the paper, and what was seen"
compare = ["ugs"]                  # runs that are shown, where not all are
columns = [4, 9]                   # a line for each run, with these rounds, not one for each round
tickets = true                     # a line for each ticket: when it is drawn, and what it costs
pairs = [["ugs", "imp"]]           # gaps that are shown; else those of the first run to the others
[published."paper, read off"]      # what is published, of the first run: round = value; with
0 = 0.807                          # `columns`, run = such a table; with `tickets`, run = value;
                                   # where nothing is: published = "not available: why"
[expected.ugs]                     # asked for beforehand: round = [lowest, highest] mean
0 = [0.80, 0.83]
[[claims]]                         # what the paper says; see `graphlth.reproduction.claims`
text = "The ticket of round 4 is as good as the dense network"
winning = "ugs"
rounds = [4]
[extreme.weights]                  # the largest sparsity of a winning ticket, of edges or weights
runs = ["ugs"]
published = { "GEBT" = 0.594 }     # by its source
mask_epochs = ["removed_count"]    # a table of the epochs whose masks UGS prunes by; seeds that are
                                   # late in it are told apart in these fields, too
[analyze]                          # a measure that is taken of every run, with its settings; of
measure = "removed_edges"          # others than instability, the fields that a table shows
fields = ["removed_from_training"]
[instability.ugs]                  # as `expected`, of the measure of this name
4 = [0.0, 0.02]
[figures.sparsity]                 # figures that are drawn, with their settings
floor = 0.66
[quick]                            # what `--quick` runs: of the seeds so many, names of runs, and
seeds = 3                          # settings of all
runs = ["ugs", "random_tickets"]
rounds = 4
"""

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from graphlth.registry import nearest_name
from graphlth.reproduction.checks import check_suite
from graphlth.sweeps.file import read_table


@cache
def suite_names() -> tuple[str, ...]:
    """The suites that come with graphlth, by the names of their files."""
    folder = files("graphlth.reproduction") / "suites"
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir()
                        if file.name.endswith(".toml")))  # fmt: skip


def read_suite(name: str | Path) -> dict[str, Any]:
    """The content of a suite that comes with graphlth, or of a file, with all of its texts.

    Besides it has its `name`, and how it is `called` on the command line.

    Args:
        name: such as "ugs-cora-gcn", or the path of a .toml file.

    Raises:
        ValueError: there is no such suite, or something in the file is wrong.
        FileNotFoundError: there is no such file.
    """
    suite = _with_names(name)
    try:
        check_suite(suite)
    except ValueError as error:
        raise ValueError(f"{error}; in the suite {suite['called']!r}") from None
    return suite


def _with_names(name: str | Path) -> dict[str, Any]:
    if Path(name).suffix == ".toml":
        table, stem, called = read_table(name, "name"), Path(name).stem, Path(name).name
    else:
        stem = _known_name(str(name))
        text = (files("graphlth.reproduction") / "suites" / f"{stem}.toml").read_text("utf-8")
        table, called = tomllib.loads(text), stem.replace("_", "-")
    return {"title": stem, "source": "", "notes": "", **table, "name": stem, "called": called}


def _known_name(name: str) -> str:
    known, wanted = suite_names(), name.replace("-", "_")
    if wanted not in known:
        near = nearest_name(wanted, known)
        hint = f"did you mean {near.replace('_', '-')!r}? " if near else ""
        raise ValueError(f"`name` must be a suite or a .toml file, got {name!r}: {hint}"
                         "`graphlth reproduce --list` names the suites")  # fmt: skip
    return wanted
