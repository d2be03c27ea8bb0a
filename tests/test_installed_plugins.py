"""Plug-ins of other packages are found by entry points; a broken one stops nothing else."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent

import pytest

from graphlth import registry
from graphlth.algorithms import with_provenance
from graphlth.cli import main as cli

ROOT = Path(__file__).parents[1]
SOURCE = {
    "scores.py": '''
        """Scores of a package of its own."""

        from graphlth.settings.types import Positive


        def toy_score(model, task, masks, *, power: Positive = 1.0):
            """The number of an entry to a power.

            Args:
                power: to which the numbers are raised.
            """
            return {n: (m.flatten().cumsum(0) ** power).view_as(m) for n, m in masks.items()}
        ''',
    "algorithms.py": '''
        from graphlth.masks import only
        from graphlth.prune import drop_lowest
        from graphlth.registry import find
        from graphlth.settings.types import Epochs, Fraction, Positive, Score, Seed
        from graphlth.ticket import Ticket, dense


        def toy_algorithm(
            model,
            task,
            *,
            epochs: Epochs = 3,
            lr: Positive = 0.01,
            drop: Fraction = 0.5,
            score: Score = "toy-score",
            seed: Seed = 0,
            last: Ticket | None = None,
        ):
            """Half of the weights, once.

            Args:
                drop: fraction of the weights that goes.
                score: what ranks them.
            """
            ticket = last or dense(model, task.num_edges)
            if last is None:
                yield ticket
            elif last.round:
                return
            function = find("scores", score) if isinstance(score, str) else score
            masks = only(ticket.masks, "weights")
            scores = function(model, task, masks)
            yield Ticket(ticket.init, ticket.masks | drop_lowest(masks, scores, drop), 1)
        ''',
    "models.py": '''
        import torch

        from graphlth.settings.types import Width


        class Linear(torch.nn.Module):
            def __init__(self, inputs, hidden, outputs):
                super().__init__()
                self.first = torch.nn.Parameter(torch.randn(inputs, hidden) / 10)
                self.second = torch.nn.Parameter(torch.randn(hidden, outputs) / 10)

            def forward(self, x, graph, weight=None, rows=None):
                x = x.dense if hasattr(x, "dense") else x
                return (x if rows is None else x[rows]) @ self.first @ self.second


        def toy_model(task, *, width: Width = 4):
            """Two matrices.

            Args:
                width: columns of the first.
            """
            return Linear(task.num_features, width, task.num_classes)
        ''',
    "tasks.py": '''
        from types import SimpleNamespace

        import torch

        from graphlth.data.node import NodeTask
        from graphlth.settings.types import Number


        def toy_task(*, ring: Number = 12):
            """A ring.

            Args:
                ring: how many nodes it has.
            """
            node = torch.arange(ring)
            edges = torch.stack([node, (node + 1) % ring])
            part = {name: node % 3 == i for i, name in enumerate(("train", "val", "test"))}
            return NodeTask(
                SimpleNamespace(
                    x=torch.eye(ring),
                    edge_index=torch.cat([edges, edges.flip(0)], 1),
                    y=node // 3 % 2,
                    **{f"{name}_mask": mask for name, mask in part.items()},
                ),
                name="ring",
            )
        ''',
    "broken.py": "import nothing_that_is_installed\n",
}
PROJECT = """
    [build-system]
    requires = ["setuptools"]
    build-backend = "setuptools.build_meta"

    [project]
    name = "toy-plugins"
    version = "1.0"

    [project.entry-points."graphlth.scores"]
    toy-score = "toy_plugins.scores:toy_score"

    [project.entry-points."graphlth.algorithms"]
    toy_algorithm = "toy_plugins.algorithms:toy_algorithm"

    [project.entry-points."graphlth.models"]
    toy_model = "toy_plugins.models:toy_model"
    gin = "toy_plugins.models:toy_model"

    [project.entry-points."graphlth.tasks"]
    toy_task = "toy_plugins.tasks:toy_task"
    broken = "toy_plugins.broken:broken"

    [tool.setuptools]
    packages = ["toy_plugins"]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder in which a package of plug-ins is installed, built by pip without a network."""
    place = tmp_path_factory.mktemp("package")
    package = place / "source" / "toy_plugins"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name, text in SOURCE.items():
        (package / name).write_text(dedent(text))
    (package.parent / "pyproject.toml").write_text(dedent(PROJECT))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation",
               "--no-deps", "--no-index", "--target", "site", "./source"]  # fmt: skip
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    return place / "site"


def graphlth(installed, *argv, cwd):
    paths = os.pathsep.join([str(installed), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "graphlth", *map(str, argv)],
        cwd=cwd, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


@pytest.mark.slow
def test_an_installed_score_model_task_and_algorithm_run_from_the_command_line(installed, tmp_path):
    named = ("run", "toy_algorithm", "--task", "toy-task", "--model", "toy_model")
    own = ("--ring", "15", "--width", "3", "--score", "toy_score", "--power", "2")
    done = graphlth(installed, *named, *own, "--out", "runs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    lines = [json.loads(line) for line in (folder / "seed0.jsonl").read_text().splitlines()]
    assert [line["weight_sparsity"] for line in lines] == [0, pytest.approx(0.5, abs=0.02)]
    assert lines[0]["num_weights"] == 15 * 3 + 3 * 2 and lines[0]["settings"]["power"] == 2
    assert graphlth(installed, "verify", folder, cwd=tmp_path).returncode == 0
    again = graphlth(installed, *named, *own, "--out", "runs", cwd=tmp_path)
    assert again.returncode == 0 and [folder] == [*(tmp_path / "runs").iterdir()]
    text = graphlth(installed, *named, "--help", cwd=tmp_path).stdout
    for flag in ("--ring RING", "--width WIDTH", "--drop DROP", "--power POWER"):
        assert flag in text
    bad = graphlth(installed, *named, "--power", "0", cwd=tmp_path)
    assert bad.stderr == "graphlth: error: `power` must be in (0, inf), got 0.0\n"


def test_installed_algorithms_and_scores_work_with_those_of_graphlth(installed, tmp_path):
    named = ("run", "at_init", "--task", "karate", "--model", "gcn", "--epochs", "2")
    own = ("--rounds", "1", "--drop_edges", "0", "--score", "toy-score", "--out", "runs")
    done = graphlth(installed, *named, *own, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    named = ("run", "toy_algorithm", "--task", "karate", "--model", "gcn", "--epochs", "2")
    done = graphlth(installed, *named, "--score", "magnitude", "--out", "runs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_list_tells_of_installed_plugins_without_running_them(installed, tmp_path):
    done = graphlth(installed, "list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert lines["toy_score"].endswith(
        "Scores of a package of its own. (of the package 'toy-plugins')"
    )
    assert "A ring. (of the package 'toy-plugins')" in lines["toy_task"]
    assert "toy-plugins" in lines["broken"]
    assert "of the packages graphlth and toy-plugins: rename it, or uninstall one" in lines["gin"]


def test_a_plugin_is_told_of_by_its_module_if_alone_in_it_and_else_by_its_function(
    monkeypatch, tmp_path
):
    (tmp_path / "two_scores.py").write_text(
        '"""Both."""\n\n\ndef one():\n    """The one."""\n\n\ndef other():\n    pass\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        EntryPoint(name, f"two_scores:{name}", "graphlth.scores") for name in ("one", "other")
    ]
    for named, texts in ((points, ["The one.", "Both."]), (points[:1], ["Both."])):
        some = importlib.metadata.EntryPoints(named)
        monkeypatch.setattr(registry, "_entry_points", lambda some=some: some)
        registry.installed_plugins.cache_clear()
        try:
            found = [registry.describe("scores", point.name) for point in named]
        finally:
            registry.installed_plugins.cache_clear()
        assert found == [f"{text} (of the package 'two_scores')" for text in texts]


def test_a_plugin_of_a_package_outside_of_sys_path_is_told_of_as_well(tmp_path, monkeypatch):
    package = tmp_path / "edited"  # an editable installation finds its package so
    package.mkdir()
    package.joinpath("__init__.py").write_text("raise AssertionError('it was imported')\n")
    package.joinpath("scores.py").write_text('"""Scores in editing."""\n')

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "edited":
                return importlib.util.spec_from_file_location(name, package / "__init__.py")
            return None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    points = importlib.metadata.EntryPoints(
        [EntryPoint("mine", "edited.scores:mine", "graphlth.scores")]
    )
    monkeypatch.setattr(registry, "_entry_points", lambda: points)
    registry.installed_plugins.cache_clear()
    try:
        assert registry.describe("scores", "mine").startswith("Scores in editing.")
    finally:
        registry.installed_plugins.cache_clear()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ("--task", "broken", "--model", "gcn"),
            "`task` 'broken' of the package 'toy-plugins' cannot be loaded from "
            "'toy_plugins.broken:broken' (ModuleNotFoundError: No module named "
            "'nothing_that_is_installed'): mend or uninstall it",
        ),
        (
            ("--task", "karate", "--model", "gin"),
            "`model` must be of one package, got 'gin' of the packages graphlth and toy-plugins: "
            "rename it, or uninstall one",
        ),
    ],
)
def test_a_broken_or_clashing_plugin_is_told_in_one_line(installed, tmp_path, flags, line):
    done = graphlth(installed, "run", "ugs", *flags, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"graphlth: error: {line}\n")


def test_what_an_entry_point_names_must_be_a_function(monkeypatch):
    point = EntryPoint("number", "math:pi", "graphlth.tasks")
    monkeypatch.setattr(registry, "_entry_points", lambda: importlib.metadata.EntryPoints([point]))
    registry.installed_plugins.cache_clear()
    try:
        line = r"^`task` 'number' of the package 'math' must be a function, got float at 'math:pi'"
        with pytest.raises(ValueError, match=line):
            registry.find("tasks", "number")
        assert cli.main(["list", "tasks"]) == 0
    finally:
        registry.installed_plugins.cache_clear()


def test_a_list_of_plugins_needs_no_torch(installed, tmp_path):
    code = (
        "import sys; from graphlth.cli.main import main; main(['list']); "
        "sys.exit('torch' in sys.modules or 'toy_plugins' in sys.modules)"
    )
    paths = os.pathsep.join([str(installed), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": paths}
    assert subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path).returncode == 0


HARM = {
    "untyped": ("def untyped(model, task, masks, *, power=None):\n    return masks",
                "`score` 'untyped' must say the type of each setting, got `power`"),
    "mutable": ("def mutable(model, task, masks, *, powers: list = [1]):\n    return masks",
                r"`score` 'mutable' must have defaults that cannot change, .*`powers` = \[1\]"),
    "instance": ("instance = type('I', (), {'__call__': lambda self: 1})()",
                 "`score` 'instance' .* must be a function, got I at"),
    "narrow": ("def narrow(model):\n    return {}",
               "`score` 'narrow' must return .*, but raises TypeError: narrow"),
    "nothing": ("def nothing(model, task, masks):\n    pass",
                "`score` 'nothing' must return .* got NoneType"),
    "leaves": ("raise SystemExit(3)", "cannot be loaded .*SystemExit: 3.*: mend or uninstall it"),
    "misspelt": ("", "`score` 'misspelt' .* cannot be loaded from ':::'"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARM)
def test_a_harmful_plugin_is_told_in_one_line_and_listed(name, monkeypatch, tmp_path, capsys):
    source, line = HARM[name]
    module = f"harm_{name}"
    (tmp_path / f"{module}.py").write_text(source + "\n")
    value = ":::" if name == "misspelt" else f"{module}:{name}"
    points = importlib.metadata.EntryPoints([EntryPoint(name, value, "graphlth.scores")])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_entry_points", lambda: points)
    registry.installed_plugins.cache_clear()
    try:
        run = "run imp --task karate --model gcn --hidden 2 --epochs 1 --rounds 1 --score"
        assert cli.main([*run.split(), name]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("graphlth: error: ") and re.search(line, error)
        assert cli.main(["list", "scores"]) == 0
        assert name in capsys.readouterr().out
        assert cli.main(run.split()[:-1]) == 0
    finally:
        registry.installed_plugins.cache_clear()


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("def fails(model, task, *, seed=0, last=None):\n    return 3",
         "`algorithm` 'fails' must yield tickets, got int"),
        ("def fails(model, task, *, last=None):\n    yield", "'fails' must take `seed`, as "),
    ],
)  # fmt: skip
def test_an_algorithm_that_is_none_is_told_in_one_line(source, line):
    found = {}
    exec(source, {"__name__": "__main__"}, found)
    with pytest.raises(ValueError, match=line):
        next(with_provenance(found["fails"])(None, None))
