"""What the benchmarks share: their options, graphs, alternating clocks and memory."""

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphlth.data.node import NodeTask
from graphlth.records.environment import environment
from graphlth.settings.checks import check_written
from graphlth.sparse.graph import Graph
from graphlth.storage import replace_file

RESULTS = Path(__file__).parent / "results"
Seconds = dict[str, list[float]]  # of every way, its measurements
UNFINISHED = "unfinished.json"  # what is measured so far
WARM = 1.0  # seconds that a call takes at most to be warmed up before every measurement


def arguments(doc: str, *, repeats: int) -> argparse.ArgumentParser:
    """The options that every script has; the first line of `doc` says what it measures."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data_root", type=Path, help="the folder of the real graphs")
    parser.add_argument("--repeats", type=int, default=repeats, help="measurements of each way")
    parser.add_argument("--quick", action="store_true", help="a small case, to see that it runs")
    parser.add_argument("--out", type=parse_output_path, help="the folder of the result")
    return parser


def result_folder(args: argparse.Namespace, name: str) -> Path | None:
    """The folder that --out names, else that of the benchmark; none of a small case."""
    return args.out or (None if args.quick else RESULTS / name)


def parse_output_path(path: str) -> Path:
    """The folder to write to that an option names; never a file of a run."""
    try:
        check_written("out", path, folder=Path(path).is_dir())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(path)


def run_main(main: Callable[[], None]) -> None:
    """Run a script; an error of its input ends it with one line."""
    try:
        main()
    except (ValueError, OSError) as error:
        from graphlth.cli.errors import format_error  # loads slowly

        print(f"{Path(sys.argv[0]).name}: error: {format_error(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        sys.exit(130)


# --- graphs --------------------------------------------------------------------------------------


def load_edges(name: str, data_root: Path) -> tuple[Tensor, int]:
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


def undirected_graph(pairs: Tensor, num_nodes: int) -> Graph:
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


def peak_memory() -> float:
    """The largest memory of this process so far, in MiB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def available_memory() -> float:
    """Bytes of memory that a process could still allocate (Linux)."""
    return 1024 * int(Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()[0])


def run_in_child(*options: object) -> Any:
    """What this script, with `options` and in a process of its own, prints last, as JSON."""
    command = [sys.executable, sys.argv[0], *map(str, options)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.splitlines()[-1])


def resume(folder: Path | None, case: str, measure: Callable[[], Any]) -> Any:
    """What `measure` gives, as JSON, or gave before this script was interrupted at this commit.

    It is kept in `folder`, if there is one, until `finish`.
    """
    if folder is None:
        return measure()
    file = folder / UNFINISHED
    about = [environment().get("commit"), sys.argv[1:]]
    known = json.loads(file.read_text()) if file.exists() else {}
    found = known.get("cases", {}) if known.get("about") == about else {}
    if case not in found:
        found[case] = measure()
        folder.mkdir(parents=True, exist_ok=True)
        with replace_file(file) as draft:
            draft.write_text(json.dumps({"about": about, "cases": found}))
    return found[case]


def finish(folder: Path | None) -> None:
    """Forget what `resume` has kept."""
    if folder is not None:
        (folder / UNFINISHED).unlink(missing_ok=True)


def ratios(seconds: Seconds, slow: str, fast: str) -> list[float]:
    """`slow / fast` of every turn."""
    return [a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)]
