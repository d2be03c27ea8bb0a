"""What the benchmarks share: graphs, alternating clocks, memory, tables and reports."""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name
from torch import Tensor

from graphlth.data.node import NodeTask
from graphlth.records.environment import environment
from graphlth.settings.checks import check_written
from graphlth.sparse.graph import Graph
from graphlth.sparse.kernels._memory import SECOND
from graphlth.storage import replacing

Seconds = dict[str, list[float]]  # of every way, its measurements
PLACES = {"--data_root": "DIR", "--out": "FILE.md", "--figure": "FILE.png", "--tickets": "FOLDER",
          "--runs": "FOLDER"}  # fmt: skip
WARM = 1.0  # seconds that a call takes at most to be warmed up before every measurement
VECTORS = {"avx512f": 512, "avx2": 256, "neon": 128, "sse2": 128}  # bits
VERSIONS = ("torch", "torch-scatter", "torch-geometric", "numba", "triton")


def arguments(doc: str, *, repeats: int) -> argparse.ArgumentParser:
    """The options that every script has; the first line of `doc` says what it measures."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data_root", type=Path, help="the folder of the real graphs")
    parser.add_argument("--repeats", type=int, default=repeats, help="measurements of each way")
    parser.add_argument("--quick", action="store_true", help="a small case, to see that it runs")
    parser.add_argument("--out", type=written, help="where the report goes, too")
    return parser


def written(path: str) -> Path:
    """The file to write that an option names; never one of a run."""
    try:
        check_written("path", path)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(path)


def plainly(main: Callable[[], None]) -> None:
    """Run a script; what is wrong is told in a line."""
    try:
        main()
    except (ValueError, OSError) as error:
        from graphlth.cli.errors import told  # loads slowly

        sys.exit(f"{Path(sys.argv[0]).name}: error: {told(error)}")
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        sys.exit(130)


# --- graphs --------------------------------------------------------------------------------------


def topology(name: str, data_root: Path) -> tuple[Tensor, int]:
    """The undirected edges [2, E] of a real graph, one direction each, and its number of nodes."""
    with np.load(data_root / "graphs" / name / f"{name}.npz", allow_pickle=False) as file:
        return torch.from_numpy(file["edge_index"]).long(), int(file["num_nodes"])


def power_law(num_nodes: int, num_edges: int, *, exponent: float = 2.5, seed: int = 0) -> Tensor:
    """Exactly `num_edges` undirected edges [2, E] whose degrees follow a power law.

    Both ends are drawn in proportion to `i^(-1 / (exponent - 1))` (Chung and Lu, PNAS 2002); loops
    and repetitions are drawn again, and nodes are numbered in random order.
    """
    draw = torch.Generator().manual_seed(seed)
    chance = torch.arange(1, num_nodes + 1, dtype=torch.float64) ** (-1 / (exponent - 1))
    ladder = chance.cumsum(0)
    names = torch.randperm(num_nodes, generator=draw)
    found = torch.empty(0, dtype=torch.long)
    while found.numel() < num_edges:
        count = int(1.1 * (num_edges - found.numel())) + 16
        ends = torch.rand(2, count, generator=draw, dtype=torch.float64) * ladder[-1]
        ends = names[torch.searchsorted(ladder, ends).clamp_(max=num_nodes - 1)]
        low, high = ends.min(0).values, ends.max(0).values
        found = torch.cat([found, (low * num_nodes + high)[low != high]]).unique()
    found = found[torch.randperm(found.numel(), generator=draw)[:num_edges]]
    return torch.stack([found // num_nodes, found % num_nodes])


def both_ways(pairs: Tensor, num_nodes: int) -> Graph:
    """The graph of both directions of every edge, in order of target and source."""
    both = torch.cat([pairs, pairs.flip(0)], dim=1)
    return Graph(both[:, (both[1] * num_nodes + both[0]).argsort()], num_nodes)


def random_task(pairs: Tensor, num_nodes: int, *, features: int, classes: int) -> NodeTask:
    """The topology with random features and labels; half of the nodes train, a quarter test."""
    draw = torch.Generator().manual_seed(0)
    part = torch.rand(num_nodes, generator=draw)
    data = SimpleNamespace(
        x=torch.randn(num_nodes, features, generator=draw),
        edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
        y=torch.randint(classes, (num_nodes,), generator=draw),
        train_mask=part < 0.5,
        val_mask=(part >= 0.5) & (part < 0.75),
        test_mask=part >= 0.75,
    )
    return NodeTask(data, name="random")


# --- measurements --------------------------------------------------------------------------------


def difference(
    name: str, expected: Sequence[Tensor], found: Sequence[Tensor], most: float
) -> float:
    """The largest difference, as a fraction of the largest entry of its tensor; at most `most`."""
    worst = 0.0
    for a, b in zip(expected, found, strict=True):
        worst = max(worst, ((a - b).abs().max() / a.abs().max().clamp(min=1e-30)).item())
    assert worst <= most, f"{name} does not agree: it differs by {worst:.1e} of the largest entry"
    return worst


def clock(
    ways: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    least: float = 0.1,
    wait: Callable[[], Any] = lambda: None,
) -> Seconds:
    """Seconds per call of each way, the ways by turns.

    Each of the `repeats` measurements takes as many calls as fit in `least` seconds, after one that
    warms up: caches, and memory that the last way has given back. A call that takes longer than
    `WARM` seconds is warmed up once. `wait` returns when what is begun is done.
    """
    calls: dict[str, int] = {}
    warmed: set[str] = set()
    for name, way in ways.items():
        for _ in range(2):  # the first may compile
            once = _measure(way, 1, wait)
            if once > least:
                break
        calls[name] = max(1, min(10_000, round(least / once)))
        if once < WARM:
            warmed.add(name)
    seconds: Seconds = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            gc.collect()
            if name in warmed:
                way()
            seconds[name].append(_measure(way, calls[name], wait) / calls[name])
    return seconds


def _measure(way: Callable[[], Any], calls: int, wait: Callable[[], Any]) -> float:
    wait()
    start = time.perf_counter()
    for _ in range(calls):
        way()
    wait()
    return time.perf_counter() - start


def high_water() -> float:
    """MiB of memory that this process has held at most (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def available() -> float:
    """Bytes of memory that a process could still take (Linux)."""
    return 1024 * int(Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()[0])


def child(*options: object) -> Any:
    """What this script, with `options` and in a process of its own, prints last, as JSON."""
    command = [sys.executable, sys.argv[0], *map(str, options)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.splitlines()[-1])


# --- reports -------------------------------------------------------------------------------------


def spread(values: Sequence[float], unit: float = 1.0, digits: int = 2) -> str:
    """`median (smallest – largest)`, each times `unit`."""
    middle, low, high = (unit * f(values) for f in (statistics.median, min, max))
    return f"{middle:.{digits}f} ({low:.{digits}f} – {high:.{digits}f})"


def ratios(seconds: Seconds, slow: str, fast: str) -> list[float]:
    """`slow / fast` of every turn."""
    return [a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)]


def lined(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["-"] * len(head), *rows)]


def verdict(
    what: str, value: float, *, least: float | None = None, most: float | None = None
) -> str:
    """A line that says whether `value` meets its target."""
    target = f"at most {most:g}" if least is None else f"at least {least:g}"
    good = value <= most if least is None else value >= least
    return f"- {what}: {value:.3g} (target {target}): {'met' if good else '**missed**'}"


def command() -> str:
    """The command line, with words for the folders and files of this machine."""
    words = [w for a in sys.argv[1:] for w in (a.split("=", 1) if a[:2] == "--" else [a])]
    told = [PLACES.get(before, word) for before, word in pairwise(["", *words])]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *told])


def hardware(threads: str = "one thread") -> str:
    """Where, when and with what this is measured."""
    about = environment()
    named = [f"{package} {found}" for package in VERSIONS if (found := _version(package))]
    return (
        f"`{command()}`, {date.today()}, {about['cpu']}{_inside()}, {about['cores']} cores, "
        f"{threads}, load {os.getloadavg()[0]:.1f} at the end; Python {about['python']}, "
        f"{', '.join(named)}; commit {_short(about.get('commit', 'unknown'))}."
    )


def _inside() -> str:
    """The kind of a core, its vectors and second cache: processors of one name differ in them."""
    features = get_host_cpu_features()
    told = [get_host_cpu_name()]
    told += [f"{bits}-bit vectors" for name, bits in VECTORS.items() if features.get(name)][:1]
    told += [f"{SECOND >> 10} KiB of second cache"] if SECOND else []
    return f" ({', '.join(told)})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _short(commit: str) -> str:
    return commit[:12] + "-dirty" * commit.endswith("-dirty")


def report(out: Path | None, title: str, *parts: Sequence[str]) -> None:
    """Print the parts, a blank line between them, and write them to `out`."""
    text = "\n\n".join([f"# {title}", *("\n".join(part) for part in parts if part)]) + "\n"
    print(text)
    if out:
        save(out, text)


def save(out: Path, text: str) -> None:
    """Write a report; a file that `out` is a link to stays as it is."""
    with replacing(out) as draft:
        draft.write_text(text)
