"""What `pip install .` installs: every file of the package, and both ways to call it."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = ("pyproject.toml", "README.md", "LICENSE")  # what the build reads besides the package
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without network from a copy of what is under version control."""
    copy = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "graphlth", copy / "graphlth",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    for name in PROJECT:
        shutil.copy(ROOT / name, copy)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, "."], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (file,) = copy.glob("*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_holds_every_file_of_the_package(wheel):
    files = {p.relative_to(ROOT).as_posix() for p in (ROOT / "graphlth").rglob("*")
             if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".md"}  # fmt: skip
    held = {name for name in wheel.namelist() if name.startswith("graphlth/")}
    assert held == files
    assert {"graphlth/py.typed", "graphlth/settings/presets.toml", "graphlth/data/published.toml",
            "graphlth/models/graph/gcn.py", "graphlth/scores/edges/jaccard.py"} <= held  # fmt: skip


def test_the_wheel_has_the_command_and_the_types(wheel):
    (entry,) = (n for n in wheel.namelist() if n.endswith("/entry_points.txt"))
    assert "graphlth = graphlth.__main__:main" in wheel.read(entry).decode().splitlines()


def test_the_module_is_the_command(capsys):
    done = subprocess.run(
        [sys.executable, "-m", "graphlth", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: graphlth COMMAND ...")
