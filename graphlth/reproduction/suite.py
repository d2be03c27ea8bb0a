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
0 = 0.807                          # `columns`, run = such a table; with `tickets`, run = value
[expected.ugs]                     # asked for beforehand: round = [lowest, highest] mean
0 = [0.80, 0.83]
[[claims]]                         # what the paper says; see `graphlth.reproduction.claims`
text = "The ticket of round 4 is as good as the dense network"
winning = "ugs"
rounds = [4]
[analyze]                          # a measure that is taken of every run, with its settings; of
measure = "removed_edges"          # others than instability, the fields that a table shows
fields = ["removed_from_training"]
[figures.sparsity]                 # figures that are drawn, with their settings
floor = 0.66
[quick]                            # what `--quick` runs: seeds, names of runs, settings of all
seeds = 3
runs = ["ugs", "random_tickets"]
rounds = 4
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from graphlth.experiment.seeds import parse_seeds
from graphlth.registry import nearest_name
from graphlth.reproduction.claims import check_claims
from graphlth.settings.checks import check_setting
from graphlth.sweeps.file import OWN, REPORT, read_sweep, read_table

Suite = Mapping[str, Any]
TEXTS = ("title", "source", "notes")
QUICK_SEEDS = 3


@cache
def suite_names() -> tuple[str, ...]:
    """The suites that come with graphlth, by the names of their files."""
    folder = files("graphlth.reproduction") / "suites"
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir()
                        if file.name.endswith(".toml")))  # fmt: skip


def read_suite(name: str | Path) -> dict[str, Any]:
    """The content of a suite that comes with graphlth, or of a file.

    Args:
        name: such as "ugs-cora-gcn", or the path of a .toml file.

    Raises:
        ValueError: there is no such suite, or something in the file is wrong.
        FileNotFoundError: there is no such file.
    """
    if Path(name).suffix == ".toml":
        path = Path(name)
        return check_suite(read_table(path), path.stem, path.name)
    known, wanted = suite_names(), str(name).replace("-", "_")
    if wanted not in known:
        near = nearest_name(wanted, known)
        hint = f"did you mean {near.replace('_', '-')!r}? " if near else ""
        raise ValueError(f"`name` must be a suite or a .toml file, got {str(name)!r}: {hint}"
                         "`graphlth reproduce --list` names the suites")  # fmt: skip
    text = (files("graphlth.reproduction") / "suites" / f"{wanted}.toml").read_text("utf-8")
    return check_suite(tomllib.loads(text), wanted, wanted.replace("_", "-"))


def check_suite(suite: dict[str, Any], name: str, called: str) -> dict[str, Any]:
    """The suite with all its texts, its name, and how it is `called` on the command line.

    Raises:
        ValueError: names the suite and what is wrong in it.
    """
    found: dict[str, Any] = {**dict.fromkeys(TEXTS, ""), **suite, "name": name,
                             "called": called}  # fmt: skip
    found["title"] = found["title"] or name
    try:
        for each in suite:
            check_setting(each, (*OWN, *REPORT), "of a suite")
        for text in TEXTS:
            if not isinstance(found[text], str):
                raise ValueError(f"`{text}` must be text, got {found[text]!r}")
        runs = {run.name for run in read_sweep(sweep_part(found)).runs}
        check_claims(found.get("claims", []), runs if "splits" not in found else None)
    except ValueError as error:
        raise ValueError(f"{error}; in the suite {name!r}") from None
    return found


def sweep_part(suite: Suite) -> dict[str, Any]:
    """What `graphlth.sweeps.sweep` reads of a suite."""
    own = ("seeds", "splits", "settings", "grid", "runs")
    return {name: suite[name] for name in own if name in suite}


def quick_suite(suite: Suite) -> dict[str, Any]:
    """The suite in small: as its table `quick` says, and with the first three seeds at most."""
    told = dict(suite.get("quick", {}))
    place = "splits" if "splits" in suite else "seeds"
    count = told.pop("seeds", QUICK_SEEDS)
    shown = told.pop("runs", [*suite.get("runs", {})])
    runs = {name: {**own, **({"seeds": _first(own["seeds"], count)} if "seeds" in own else {}),
                   **{n: v for n, v in told.items() if n in own}}
            for name, own in suite.get("runs", {}).items() if name in shown}  # fmt: skip
    small = {**suite, "runs": runs, "settings": {**suite.get("settings", {}), **told},
             place: _first(suite.get(place, 1), count)}  # fmt: skip
    if "compare" in suite:
        small["compare"] = [name for name in suite["compare"] if name in runs]
    return small


def _first(seeds: Any, count: int) -> list[int]:
    return [*parse_seeds(seeds)][:count]
