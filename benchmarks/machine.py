"""Where, when and with what a benchmark is measured."""

import os
import re
import sys
from collections.abc import Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

from graphlth.records.environment import environment
from graphlth.reproduction.result import name_machine, shorten_commit
from graphlth.sparse.kernels._memory import SECOND

PLACES = {"--data_root": "DIR", "--out": "FOLDER", "--tickets": "FOLDER", "--runs": "FOLDER"}
VECTORS = {"avx512f": 512, "avx2": 256, "neon": 128, "sse2": 128}  # bits
VERSIONS = ("torch", "torch-scatter", "torch-geometric", "numba", "triton")
Data = dict[str, Any]


def measurement(
    threads: str = "one thread", case: str | None = None, seeds: int | None = None, **settings: Any
) -> Data:
    """Where, when and with what this is measured."""
    about = environment()
    hardware = describe_hardware(about["cpu"], about["cores"], threads)
    versions = {"python": about["python"]} | {name: find_version(name) for name in VERSIONS}
    return {
        "machine": name_machine(hardware), "case": case, "command": command(),
        "date": str(date.today()), "commits": [shorten_commit(about.get("commit", "unknown"))],
        "hardware": hardware, "load": round(os.getloadavg()[0], 1), "versions": versions,
        "seeds": seeds, "settings": settings, "remark": None,
    }  # fmt: skip


def describe_hardware(cpu: str, cores: int, threads: str) -> Data:
    """The processor with the kind of its cores: processors of one name differ in them."""
    features = get_host_cpu_features()
    widths = [bits for name, bits in VECTORS.items() if features.get(name)]
    return {
        "cpu": cpu, "core": get_host_cpu_name(), "vector_bits": max(widths, default=None),
        "second_cache_kib": SECOND >> 10 if SECOND else None, "cores": cores, "threads": threads,
    }  # fmt: skip


def name_file(stem: str, about: Mapping[str, Any]) -> str:
    """The file of a picture that every machine and case has one of."""
    words = [
        re.sub(r"\W+", "-", text).lower() for text in (about["machine"], about["case"]) if text
    ]
    return "_".join([stem, *words]) + ".png"


def command() -> str:
    """The command line, with words for the folders and files of this machine."""
    words = [w for a in sys.argv[1:] for w in (a.split("=", 1) if a[:2] == "--" else [a])]
    shown = [PLACES.get(before, word) for before, word in pairwise(["", *words])]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *shown])


def find_version(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
