"""A class or a function of a user's own, named by an import path, is a model or a task of a run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch

import graphlth as glt
from graphlth.cli import main as cli
from graphlth.experiment.export import rebuild
from graphlth.experiment.folder import read_plan
from graphlth.experiment.plan import build_plugin, build_task, plan
from graphlth.import_paths import FROM_TASK, short_name, source_digest
from graphlth.registry import find
from graphlth.settings.validation import settings_of

ROOT = Path(__file__).parents[1]
FILES = {
    "layers.py": "def activation(x):\n    return x.relu()\n",
    "net.py": '''
        from collections.abc import Callable
        from typing import Annotated, Literal, Optional, Union

        from annotated_types import Interval
        from layers import activation
        from torch import nn
        from torch_geometric.nn import GraphConv


        class Net(nn.Module):
            """Two layers.

            Args:
                hidden: units, 100 % of them.
            """

            def __init__(
                self,
                in_channels: Union[int, tuple[int, int]],
                out_channels: Optional[int] = None,
                hidden: Annotated[int, Interval(ge=1, le=64)] = 4,
                *,
                p=0.5,
                kind: Literal["one", "two"] = "one",
                sizes: list[int] = [3],
                name: str = None,
                act: Union[str, Callable, None] = "relu",
                function: Callable = activation,
                options: Optional[dict] = None,
                **others,
            ):
                super().__init__()
                self.first = GraphConv(in_channels, hidden)
                self.second = GraphConv(hidden, out_channels)

            def forward(self, x, edge_index, edge_weight=None):
                hidden = activation(self.first(x, edge_index, edge_weight))
                return self.second(hidden, edge_index, edge_weight)


        def make(task, *, hidden: int = 4):
            return Net(task.num_features, task.num_classes, hidden)


        class Bare(nn.Module):
            def __init__(self, in_channels, width):
                super().__init__()


        class Narrow(Net):
            def __init__(self, in_channels, out_channels, lr: float = 3.0, epochs: int = 5):
                super().__init__(in_channels, out_channels)


        class Needy(nn.Module):
            def __init__(self, num_relations: int):
                super().__init__()


        class Placed(Net):
            def __init__(self, in_channels, out_channels, /, sizes: list[int] = [3]):
                super().__init__(in_channels, out_channels, sizes[-1])


        class Leaving(nn.Module):
            def __init__(self, in_channels, out_channels):
                raise SystemExit(3)


        class Read(nn.Module):
            """Reads a number of its own weights, which the device "meta" has none of."""

            def __init__(self, in_channels, out_channels):
                super().__init__()
                self.lin = nn.Linear(in_channels, out_channels)
                self.start = self.lin.weight.sum().item()


        def number(task):
            return 3


        NUMBER = Bare(1, 2)
        ''',
    "data.py": """
        from torch_geometric.datasets import KarateClub

        import graphlth as glt


        def club(*, draw: int = 0, edges: str = "undirected"):
            return glt.NodeTask(KarateClub()[0], edges=edges, split="random", split_seed=draw)


        def nothing():
            return None


        class Batches:
            def batches(self, split):
                return iter(())
        """,
    "broken.py": "import nothing_that_is_installed\n",
}
QUICK = {"rounds": 1, "epochs": 2, "hidden": 3}


def write(folder, **changed):
    folder.mkdir(exist_ok=True)
    for name, text in (FILES | changed).items():
        (folder / name).write_text(dedent(text))
    return folder


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of a user's own; what is imported from it is forgotten afterwards."""
    paths = [*sys.path]
    monkeypatch.chdir(write(tmp_path / "own"))
    yield tmp_path / "own"
    forget(tmp_path, paths)


def forget(folder, paths):
    """As in a new session: no module of `folder` is imported, and it is searched for none."""
    sys.path[:] = paths
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


def test_the_settings_of_a_class_are_what_a_flag_can_say_of_its_signature(own):
    known = settings_of(find("models", "net.py:Net"))
    assert {n: p.default for n, p in known.items()} == {
        "hidden": 4, "p": 0.5, "kind": "one", "sizes": (3,), "name": None, "act": "relu",
    }  # fmt: skip
    assert known["act"].annotation == str | None and known["name"].annotation == str | None


@pytest.mark.parametrize("form", ["net:Net", "net.py:Net", "./net.py:Net", "../own/net.py:Net"])
def test_a_class_runs_by_module_and_by_file_as_one_run(own, form, capsys):
    flags = [f"--{n}={v}" for n, v in QUICK.items()]
    assert cli.main(["run", "ugs", "--task=data:club", f"--model={form}", *flags]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[0])
    assert folder.name.startswith("ugs-data.club-net.Net-")
    line = json.loads((folder / "seed0.jsonl").read_text().splitlines()[1])
    assert line["model"] == "net:Net" and line["settings"]["p"] == 0.5
    assert line["code"] == read_plan(folder).code
    assert read_plan(folder).name == folder.name
    assert cli.main(["verify", str(folder)]) == 0 and cli.main(["show", str(folder)]) == 0
    ticket = glt.load(folder / "seed0-round1.safetensors")
    task, model = build_task(read_plan(folder)), find("models", form)
    assert type(model(task, hidden=3)).__name__ == ticket.provenance["model"].rpartition(":")[2]


def test_a_run_of_a_class_resumes_with_the_same_digits(own):
    folder = glt.run("ugs", "data:club", "net:Net", QUICK, out="whole")
    first = (folder / "seed0.jsonl").read_text().splitlines()
    part = glt.run("ugs", "data:club", "net:Net", QUICK, out="part")
    (part / "seed0.jsonl").write_text(first[0] + "\n")
    (part / "seed0-round1.safetensors").unlink()
    glt.run("ugs", "data:club", "net.py:Net", QUICK, out="part")
    lines = [json.loads((f / "seed0.jsonl").read_text().splitlines()[1]) for f in (folder, part)]
    assert lines[0]["val"] == lines[1]["val"]
    masks = [glt.load(f / "seed0-round1.safetensors").masks for f in (folder, part)]
    assert all(torch.equal(masks[0][n], masks[1][n]) for n in masks[0])


@pytest.mark.slow
def test_the_workers_import_the_module_too(own):
    command = ["run", "random_tickets", "--task=data:club", "--model=net:Net", "--seeds=2",
               "--jobs=2", *(f"--{n}={v}" for n, v in QUICK.items())]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "graphlth", *command], capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = (own / "runs").iterdir()
    assert {f"seed{k}.jsonl" for k in (0, 1)} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("net.py", "Two layers", "2 layers"),
        ("layers.py", "relu", "tanh"),
        ("data.py", "= 0", "= 1"),
    ],
)
def test_changed_code_is_another_run_and_moved_code_the_same(own, file, before, after):
    paths = [path for path in sys.path if path != str(own)]
    known = plan("ugs", "data.py:club", "net.py:Net", QUICK)
    forget(own, paths)
    moved = write(own.parent / "moved")
    assert plan("ugs", f"{moved}/data.py:club", f"{moved}/net.py:Net", QUICK).name == known.name
    forget(moved, paths)
    changed = write(own.parent / "changed", **{file: FILES[file].replace(before, after)})
    other = plan("ugs", f"{changed}/data.py:club", f"{changed}/net.py:Net", QUICK)
    assert other.name != known.name and other.code != known.code


def test_packages_installed_in_a_folder_of_the_file_are_no_code_of_a_run(own):
    installed = own / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "installed.py").write_text("ONE = 1\n")
    sys.path.append(str(installed))
    (own / "net.py").write_text("import installed\n" + (own / "net.py").read_text())
    find("models", "net.py:Net")
    (installed / "installed.py").write_text("ONE = 2\n")
    assert find("models", "net.py:Net") is not None  # as it was when it was imported


def test_files_whose_names_look_alike_in_a_folder_are_two_runs(own):
    names = []
    for file in ("my net.py", "my-net.py", "my_net.py"):
        (own / file).write_text((own / "net.py").read_text())
        names.append(plan("ugs", "data.py:club", f"{file}:Net", QUICK).name)
    assert len({*names}) == 3 and all("-my_net.Net-" in name for name in names)


@pytest.mark.filterwarnings("ignore")  # of torch.export
def test_a_ticket_of_a_class_is_exported_as_a_program_for_any_graph(own, capsys):
    folder = glt.run("ugs", "data:club", "net:Net", QUICK)
    ticket = str(folder / "seed0-round1.safetensors")
    assert cli.main(["export", ticket, "--out=net.pt2", "--epochs=2"]) == 0
    assert "a program for any graph" in capsys.readouterr().out
    assert glt.load_compact("net.pt2") is not None and cli.main(["verify", "net.pt2"]) == 0
    for flags, line in (
        (["--out=net.safetensors"], "`out` must end in .pt2 or .onnx for a ticket of a model of"),
        (["--out=net.pt2", "--layout=blocks"], "`layout` must be auto or dense for a program"),
    ):
        assert cli.main(["export", ticket, *flags]) == 2
        assert capsys.readouterr().err.startswith(f"graphlth: error: {line}")


def test_a_ticket_and_a_run_of_other_code_are_refused(own):
    folder = glt.run("ugs", "data.py:club", "net.py:Net", QUICK)
    known = read_plan(folder)
    object.__setattr__(known, "code", "0" * 16)
    with pytest.raises(ValueError, match=r"the run is of other code: .*'net.py:Net'.*run anew"):
        build_task(known)
    ticket = glt.load(folder / "seed0-round1.safetensors")
    ticket.provenance["code"] = "0" * 16
    with pytest.raises(ValueError, match=r"`ticket` is of other code"):
        rebuild(ticket)


def test_a_file_that_changes_in_the_same_session_is_refused(own):
    find("models", "net.py:Net")
    (own / "net.py").write_text("pass\n")
    with pytest.raises(ValueError, match=r"`model` 'net.py:Net' must be as it was .* Python anew"):
        find("models", "net.py:Net")


def test_a_function_that_takes_the_task_makes_the_model(own):
    task = build_plugin("tasks", "data.py:club", {"draw": 1})
    model = build_plugin("models", "net.py:make", {"hidden": 7}, task)
    assert model.second.lin_rel.in_channels == 7
    assert {*FROM_TASK.values()} == {"num_features", "num_classes"}


def test_a_model_that_needs_its_numbers_to_be_made_is_made(own):
    task = build_plugin("tasks", "data.py:club", {})
    assert build_plugin("models", "net.py:Read", {}, task).start


@pytest.mark.parametrize("name", ["GCN", "GraphSAGE", "GAT", "GIN"])
def test_ready_models_of_pyg_are_made_of_their_own_settings(name):
    task = glt.NodeTask(__import__("torch_geometric").datasets.KarateClub()[0], split="random")
    settings = {"hidden_channels": 6, "num_layers": 2, "norm": "batch_norm"}
    model = build_plugin("models", f"torch_geometric.nn:{name}", settings, task)
    assert type(model).__name__ == name
    assert (model.in_channels, model.out_channels) == (task.num_features, task.num_classes)
    assert short_name(f"torch_geometric.nn:{name}") == f"torch_geometric.nn:{name}"
    assert len(source_digest("models", f"torch_geometric.nn:{name}")) == 16


@pytest.mark.parametrize("sizes", [["5"], ["4", "5"], ["4,5"], ["[4, 5]"]])
def test_numbers_of_a_list_are_typed_one_after_the_other(own, sizes, capsys):
    flags = ["--rounds=1", "--epochs=2", "--sizes", *sizes]
    assert cli.main(["run", "imp", "--task=data:club", "--model=net:Placed", *flags]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[0])
    ticket = glt.load(folder / "seed0-round1.safetensors")
    assert len(ticket.masks["first.lin_rel.weight"]) == 5


def test_what_is_no_list_is_told_in_one_line(own, capsys):
    command = ["run", "imp", "--task=data:club", "--model=net:Placed", "--sizes", "x"]
    assert cli.main(command) == 2
    assert capsys.readouterr().err == (
        "graphlth: error: `sizes` must be whole numbers, such as 7 15, got 'x'\n"
    )


LINES = [
    ("data:club", "nets:Net", "`model` must name a module that can be imported, got 'nets'"),
    ("data:club", "nets.py:Net", "`model` must name a file that exists, got 'nets.py'"),
    ("data:club", "net:Nett", "`model` must name what 'net' defines, got 'Nett': there are Bare, "),
    ("data:club", "net:NUMBER", "`model` must name a class or a function, got 'net:NUMBER' of "),
    ("data:club", "net.py:", "`model` must be a name or my_module:Name or path/to/file.py:Name"),
    ("data:club", "broken.py:Net", "`model` 'broken.py:Net' cannot be imported (ModuleNotFound"),
    ("data:club", "net:Bare", "`model` 'net:Bare' must have parameters that are numbers, texts or "
     "true and false, got `width`"),
    ("data:club", "net:number", "`model` 'net:number' must make an nn.Module, got int"),
    ("data:club", "net:Narrow", "`lr` must be a setting of one plug-in of a run"),
    ("data:club", "net:Leaving", "`model` 'net:Leaving' cannot be made with no settings (SystemEx"),
    ("data:Batches", "gcn", "`task` 'data:Batches' must make a task, such as glt.NodeTask(data), "),
    ("data:nothing", "gcn", "`task` 'data:nothing' must make a task, such as glt.NodeTask(data)"),
    ("data:club", "torch_geometric.nn:GCN", "`hidden_channels` must be given"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "model", "line"), LINES)
def test_what_is_wrong_with_an_import_path_is_told_in_one_line(own, capsys, task, model, line):
    assert cli.main(["run", "ugs", f"--task={task}", f"--model={model}", "--epochs=2"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"graphlth: error: {line}")
    assert not (own / "runs").exists()


def test_models_and_tasks_alone_are_import_paths():
    with pytest.raises(ValueError, match="models and tasks alone may be import paths"):
        find("algorithms", "net:Net")
