"""The environment of a run: versions, machine and commit."""

import os
import platform
import subprocess
from collections.abc import Iterable
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
        folder = str(Path(__file__).parent)
        command = ["git", "--no-optional-locks", "-C", folder, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()
    return None


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def environment() -> Record:
    """Versions, machine and, inside a git work tree, the commit (`-dirty` when files changed).

    A package that is not installed, and a commit that is not known, are absent.
    """
    found: Record = {"python": platform.python_version(), **package_versions(PACKAGES)}
    found["platform"] = platform.platform()
    found["cpu"] = _cpu()
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only: what this process may use
    found["cores"] = len(affinity(0)) if affinity else os.cpu_count() or 1
    ours = _git("ls-files", "--error-unmatch", Path(__file__).name)  # or a work tree around us
    if ours and (commit := _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")):
        found["commit"] = commit
    return found
