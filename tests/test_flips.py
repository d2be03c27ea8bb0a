"""Bits that flip and processes that are killed: what is used is what was written, or is refused."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch

import graphlth as glt
import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.compaction.network import load_compact
from graphlth.experiment.folder import read_plan
from graphlth.experiment.run import run
from graphlth.experiment.verify import verify
from graphlth.ticket import load

pytestmark = pytest.mark.slow
FLIPS, KILLS = 40, 50
ROOT = Path(__file__).parents[1]
RUN = ["run", "ugs", "--task=karate", "--model=gcn", "--hidden=4", "--epochs=3", "--rounds=2"]


# --- what a file says ----------------------------------------------------------------------------


def plain(folder):
    """The records of a run, but for what differs from one time to the next."""
    return [
        {n: v for n, v in line.items() if not n.startswith(record.COST_PREFIXES)}
        for line in record.read(folder)
    ]


def ticket(path):
    found = load(path)
    tensors = {**found.init, **{f"mask.{n}": m for n, m in found.masks.items()}}
    held = [(n, t.numpy().tobytes()) for n, t in tensors.items()]
    return found.round, found.provenance, found.search, held


def network(path):
    found = load_compact(path)
    return found(torch.eye(34)).numpy().tobytes(), found.about


def own_file(path):
    return glt.find("tasks", "file")(path=str(path)).content()


def cora(path):
    return glt.find("tasks", "cora")(data_root=str(path.parents[2])).content()


READERS = {
    ".json": lambda path: read_plan(path.parent),
    ".jsonl": lambda path: plain(path.parent),
    ".safetensors": ticket,
    ".small": network,
    ".npz": own_file,
    ".pt": own_file,
}


def continued(path):
    """What the same command, and those that only look, make of a run of which a file has changed.

    Everything that it has recorded is as it was, or the command has refused to go on.
    """
    folder, told = path.parent, StringIO()
    with redirect_stdout(StringIO()), redirect_stderr(told):
        code = cli.main([*RUN, "--out", str(folder.parent)])
        shown = cli.main(["show", str(folder)])
        if path.exists():
            verify([folder])
    assert {code, shown} <= {0, 2} and "Traceback" not in told.getvalue()
    return plain(folder) if code == 0 else None


# --- flips ---------------------------------------------------------------------------------------


def flip_often(path, reader, seed):
    """How many of `FLIPS` flips are refused; none of the others changes what `reader` gives."""
    whole, content, refused = reader(path), path.read_bytes(), 0
    kept = {p: p.read_bytes() for p in path.parent.iterdir() if p.is_file()}
    draw = random.Random(f"{path.name} {seed}")
    for _ in range(FLIPS):
        bit = draw.randrange(8 * len(content))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found = reader(path)
        except (ValueError, OSError) as error:
            assert "\n" not in str(error), error
            found = None
        assert found is None or found == whole, f"bit {bit} of {path.name} was used"
        refused += found is None
        for file, before in kept.items():
            file.write_bytes(before)
    return refused


def in_a_child(*call):
    """What a call gives in a process of its own; a crash of it is a failure here."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(*call).result()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run, a compacted network of it, and files of one's own."""
    place = tmp_path_factory.mktemp("flips")
    settings = {"hidden": 4, "epochs": 3, "rounds": 2}
    folder = run("ugs", "karate", "gcn", settings, out=place / "runs")
    task, found = glt.find("tasks", "karate")(), load(folder / "seed0-round2.safetensors")
    model = glt.find("models", "gcn")(task, hidden=4)
    model.load_state_dict(found.init)
    found.compact(model, task, layout="dense").save(place / "net.small")
    r = np.arange(12)
    held = {"x": np.eye(12, dtype="f4"), "y": r % 2, "edge_index": np.stack([r, (r + 1) % 12])}
    held |= {f"{name}_mask": r // 2 % 3 == i for i, name in enumerate(("train", "val", "test"))}
    np.savez(place / "own.npz", **held)
    np.savez_compressed(place / "packed.npz", **held)
    torch.save({n: torch.from_numpy(array) for n, array in held.items()}, place / "own.pt")
    return place


RUN_FILES = ["settings.json", "seed0.jsonl", *(f"seed0-round{r}.safetensors" for r in range(3))]


@pytest.mark.parametrize("name", [*RUN_FILES, "net.small", "own.npz", "packed.npz", "own.pt"])
def test_a_flipped_bit_is_refused_or_changes_nothing(place, tmp_path, name):
    if name in RUN_FILES:
        (folder,) = (place / "runs").iterdir()
        path = shutil.copytree(folder, tmp_path / folder.name) / name
    else:
        path = Path(shutil.copy(place / name, tmp_path))
    assert in_a_child(flip_often, path, read_by_suffix, 0) > FLIPS // 2


def read_by_suffix(path):
    return READERS[path.suffix](path)


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_run_of_which_a_bit_has_flipped_ends_with_the_same_records(place, tmp_path, name):
    (folder,) = (place / "runs").iterdir()
    path = shutil.copytree(folder, tmp_path / folder.name) / name
    in_a_child(flip_often, path, continued, 1)


PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


@pytest.mark.parametrize("part", PARTS)
def test_a_flipped_bit_of_cora_is_refused(data_root, tmp_path, part):
    (source,) = {path.parent for path in data_root.rglob("ind.cora.x")}
    raw = tmp_path / "Cora" / "raw"
    raw.mkdir(parents=True)
    for each in PARTS:
        shutil.copy(source / f"ind.cora.{each}", raw)
        (raw / f"ind.cora.{each}").chmod(0o644)
    assert in_a_child(flip_often, raw / f"ind.cora.{part}", cora, 0) == FLIPS


# --- kills ---------------------------------------------------------------------------------------


def files(folder):
    """What a run folder holds but for what was measured; the lock files say nothing."""
    names = sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")
    return names, plain(folder), {p.name: p.read_bytes() for p in folder.glob("*.safetensors")}


def lines(folder):
    return {path.name: path.read_bytes().count(b"\n") for path in folder.glob("seed*.jsonl")}


def ended(group):
    with suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            time.sleep(0.02)


def test_a_run_in_two_processes_that_is_killed_loses_nothing_and_leaves_nothing(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("GIT_DIR", os.devnull)  # a commit made during a test is no difference
    flags = ["--task=karate", "--model=gcn", "--hidden=8", "--epochs=30", "--rounds=8",
             "--seeds=4", "--jobs=2"]  # fmt: skip
    command = [sys.executable, "-m", "graphlth", "run", "ugs", *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    how = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True, **how)
    (whole,) = (tmp_path / "whole").iterdir()
    draw, kills, finished = random.Random(0), 0, 0
    while kills < KILLS:
        out = tmp_path / f"killed{finished}"
        folder = out / whole.name
        before = lines(folder) if folder.exists() else {}
        process = subprocess.Popen([*command, "--out", str(out)], start_new_session=True, **how)
        limit, start = draw.uniform(0.0, 1.5), time.monotonic()
        while process.poll() is None and not (folder.exists() and lines(folder) != before):
            if time.monotonic() - start > 20 + limit:
                break
            time.sleep(0.005)
        time.sleep(limit)
        if process.poll() is None:
            kills += 1
            if draw.random() < 0.5:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()  # the others find out
        process.wait()
        ended(process.pid)
        for name, count in lines(folder).items() if folder.exists() else ():
            assert count >= before.get(name, 0)
        if process.returncode == 0:
            assert files(folder) == files(whole)
            finished += 1
    subprocess.run([*command, "--out", str(out)], check=True, **how)
    assert files(folder) == files(whole)
    assert not verify([folder]).faults
