"""The environment of a run: versions, machine and commit."""

import os
import platform
import subprocess
import warnings
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from graphlth.records.schema import Record

ATTEMPTS = 3  # to ask git
PACKAGES = (
    "graphlth", "torch", "torch-geometric", "torch-scatter", "numba", "triton", "numpy", "scipy",
    "gymnasium",
)  # fmt: skip


def _git(*arguments: str) -> str | None:
    """What git prints; None where there is no git, no work tree, or no such file in it.

    Another failure may pass, and is told of only where it stays.
    """
    folder = str(Path(__file__).parent)
    command = ["git", "--no-optional-locks", "-C", folder, *arguments]
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60,
                                  env=os.environ | {"LC_ALL": "C"})  # fmt: skip
        except FileNotFoundError:
            return None
        except (OSError, subprocess.SubprocessError) as error:
            reason = str(error)
            continue
        if not done.returncode:
            return done.stdout.strip()
        reason = done.stderr.strip()
        if done.returncode == 1 or "not a git repository" in reason:
            return None
    warnings.warn(f"records do not name the commit: {reason}", stacklevel=2)
    return None


@cache
def _commit() -> str | None:
    """The commit of this code, asked for once: all runs of a process are of the same code."""
    if not _git("ls-files", "--error-unmatch", Path(__file__).name):  # a work tree around us
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


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
    if commit := _commit():
        found["commit"] = commit
    return found
