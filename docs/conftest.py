"""Runs the examples of every page: Python blocks, and the commands of `console` blocks."""

import glob
import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

from graphlth.cli.main import main


def run_commands(example: Example) -> None:
    """Run each line that starts with `$ graphlth`; the lines between are what it prints."""
    for line in str(example.parsed).replace("\\\n", " ").splitlines():
        if not line.startswith("$ "):
            continue
        program, *words = shlex.split(line[2:], comments=True)
        if program != "graphlth":
            raise AssertionError(f"not a command of graphlth: {line}")
        found = [sorted(glob.glob(word)) if "*" in word else [word] for word in words]
        if not all(found):
            raise AssertionError(f"a pattern without a file: {line}")
        status = main([word for each in found for word in each])
        if status:
            raise AssertionError(f"exit code {status}: {line}")


def enter_folder(namespace: dict[str, Any]) -> None:
    """Give the page an empty folder to work in."""
    namespace["_before"], namespace["_folder"] = os.getcwd(), tempfile.mkdtemp()
    os.chdir(namespace["_folder"])


def leave_folder(namespace: dict[str, Any]) -> None:
    """Go back, and remove the folder."""
    os.chdir(namespace["_before"])
    shutil.rmtree(namespace["_folder"])


pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser(language="console", evaluator=run_commands),
        SkipParser(),
    ],
    patterns=["*.md"],
    path=str(Path(__file__).parent),
    setup=enter_folder,
    teardown=leave_folder,
).pytest()
