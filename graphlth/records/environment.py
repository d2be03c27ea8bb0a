"""The environment of a run: versions, machine and commit."""

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from graphlth.records.schema import Record

PACKAGES = (
    "graphlth", "torch", "torch-geometric", "torch-scatter", "numba", "triton", "numpy", "scipy",
    "gymnasium",
)  # fmt: skip


def _git(*arguments: str) -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    return None


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment() -> Record:
    """Versions, machine and, inside a git work tree, the commit (`-dirty` when files changed).

    A package that is not installed, and a commit that is not known, are absent.
    """
    found: Record = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    found["platform"] = platform.platform()
    found["cpu"] = _cpu()
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only: what this process may use
    found["cores"] = len(affinity(0)) if affinity else os.cpu_count() or 1
    ours = _git("ls-files", "--error-unmatch", Path(__file__).name)  # or a work tree around us
    if ours and (commit := _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")):
        found["commit"] = commit
    return found
