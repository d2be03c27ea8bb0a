"""A sweep on a real Dask cluster: a scheduler and two workers, of which some are killed."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sweeping import content

import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.sweeps.run import sweep

pytest.importorskip("distributed")

ROOT = Path(__file__).parents[1]
PATIENCE = 400  # seconds
FILE = """
seeds = 3
[settings]
task = "karate"
model = "slow.py:Slow"
rounds = 2
epochs = 5
[runs.ugs]
algorithm = "ugs"
[runs.shuffled]
algorithm = "control"
control = "shuffle"
tickets = "ugs"
"""
MODEL = """
import os, time
import torch
from torch_geometric.nn import GCNConv

class Slow(torch.nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.first, self.last = GCNConv(in_channels, 8), GCNConv(8, out_channels)

    def forward(self, x, edge_index, edge_weight=None):
        time.sleep(float(os.environ.get("SECONDS_OF_PASS", "0")))  # to be killed in the middle
        if "DEADLY" in os.environ:
            os._exit(1)
        return self.last(self.first(x, edge_index, edge_weight).relu(), edge_index, edge_weight)
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", os.devnull)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "10s")
    monkeypatch.chdir(tmp_path)
    Path("slow.py").write_text(MODEL)
    Path("file.toml").write_text(FILE)


@contextmanager
def process(*argv, log, **variables):
    env = os.environ | variables
    with open(log, "w") as file, subprocess.Popen([sys.executable, *argv], stdout=file, env=env,
                                                  stderr=subprocess.STDOUT) as started:  # fmt: skip
        try:
            yield started
        finally:
            started.kill()


def start_scheduler(stack):
    Path("scheduler.json").unlink(missing_ok=True)
    scheduler = stack.enter_context(process(
        "-m", "distributed.cli.dask_scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard",
        "--scheduler-file=scheduler.json", log="scheduler.log"))  # fmt: skip
    wait_for(lambda: Path("scheduler.json").exists(), scheduler)
    return scheduler


def start_worker(stack, number, **variables):
    return stack.enter_context(process(
        "-m", "distributed.cli.dask_worker", "--scheduler-file=scheduler.json", "--no-nanny",
        "--nthreads=1", "--no-dashboard", f"--local-directory=worker{number}",
        log=f"worker{number}.log", **variables))  # fmt: skip


def start_sweep(stack, file, *flags):
    return stack.enter_context(process(
        "-m", "graphlth", "sweep", file, "--cluster=scheduler.json", "--out=cluster", *flags,
        log="sweep.log"))  # fmt: skip


def wait_for(condition, process):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until and process.poll() is None, Path("sweep.log").read_text()
        time.sleep(0.02)


def progress():
    """The lines of the sweep, one for each round."""
    return [line for line in Path("sweep.log").read_text().splitlines() if "round" in line]


def busy_processes():
    """The processes of the workers that compute something."""
    from distributed import Client

    with Client(scheduler_file="scheduler.json", set_as_default=False) as client:
        busy = {address for address, tasks in client.processing().items() if tasks}
        pids = client.run(os.getpid)
    return [pids[address] for address in busy]


def check_equal(file):
    """Every result of the cluster is that of a local sweep, and there once."""
    for name, folder in sweep(file, out="local").items():
        there = Path("cluster") / folder.name
        own = {n: c.replace(b"cluster/ugs", b"local/ugs") for n, c in content(there).items()}
        if name == "shuffled":  # whose settings, and so whose tickets, say where tickets were read
            own, here = ({n: strip_digests(c) for n, c in each.items() if n.endswith("l")}
                         for each in (own, content(folder)))  # fmt: skip
        else:
            here = content(folder)
        assert own == here
        rounds = [(r["seed"], r["round"]) for r in record.read(there)]
        assert rounds == [(seed, r) for seed in range(3) for r in range(3)]
    assert cli.main(["verify", "cluster"]) == 0


def strip_digests(lines):
    return re.sub(rb'"ticket": "[0-9a-f]{64}"', b"", lines)


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_costs_no_result():
    with ExitStack() as stack:
        start_scheduler(stack)
        workers = [start_worker(stack, n, SECONDS_OF_PASS="0.05") for n in range(2)]
        client = start_sweep(stack, "file.toml")
        wait_for(lambda: len(progress()) >= 3, client)  # a seed is done, others are computed
        victim = busy_processes()[0]
        os.kill(victim, signal.SIGKILL)
        assert client.wait(PATIENCE) == 0, Path("sweep.log").read_text()
        assert sorted(w.poll() is None for w in workers) == [False, True]
        assert len(progress()) == 18
    check_equal("file.toml")


@pytest.mark.slow
def test_after_the_scheduler_has_died_the_same_command_continues():
    with ExitStack() as stack:
        scheduler = start_scheduler(stack)
        for number in range(2):
            start_worker(stack, number, SECONDS_OF_PASS="0.05")
        client = start_sweep(stack, "file.toml")
        wait_for(lambda: len(progress()) >= 3, client)
        scheduler.kill()
        assert client.wait(PATIENCE) == 2
        told = Path("sweep.log").read_text()
        last = told.splitlines()[-1]
        assert "Traceback" not in told
        assert last == ("graphlth: error: the scheduler at `cluster` 'scheduler.json' is gone; "
                        "what is recorded stays, and the same command continues")  # fmt: skip
    before = {p: p.stat().st_mtime_ns for p in Path("cluster").rglob("*.safetensors")}
    with ExitStack() as stack:
        start_scheduler(stack)
        start_worker(stack, 0)
        assert start_sweep(stack, "file.toml").wait(PATIENCE) == 0
    assert len(before) in (3, 6, 9, 12, 15) and len(progress()) == 18
    assert {p: p.stat().st_mtime_ns for p in before} == before
    check_equal("file.toml")


@pytest.mark.slow
def test_a_seed_that_kills_its_workers_is_told_in_a_line(monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    with ExitStack() as stack:
        start_scheduler(stack)
        for number in range(2):
            start_worker(stack, number, DEADLY="1")
        assert start_sweep(stack, "file.toml", "--retries=0").wait(PATIENCE) == 2
    (line,) = Path("sweep.log").read_text().splitlines()
    assert "not computed: ugs, seed 0: its worker died once, perhaps for want of memory" in line


@pytest.mark.slow
def test_no_scheduler_is_told_in_a_line():
    with process("-m", "graphlth", "sweep", "file.toml", "--cluster=tcp://127.0.0.1:1",
                 log="sweep.log") as client:  # fmt: skip
        assert client.wait(PATIENCE) == 2
    (line,) = Path("sweep.log").read_text().splitlines()
    assert line.startswith("graphlth: error: no scheduler at `cluster` 'tcp://127.0.0.1:1': ")
