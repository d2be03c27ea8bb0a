"""The command line says and does what the signatures say."""

import inspect
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.cli.arguments import with_underscores
from graphlth.cli.progress import format_clock, run_progress
from graphlth.experiment.plan import Step, build_plugin, plan
from graphlth.registry import KINDS, find, names
from graphlth.training.epoch import Epoch

ROOT = Path(__file__).parents[1]
QUICK = ["--size=15", "--hidden=8", "--rounds=2", "--epochs=3"]
RUN = ["run", "ugs", "--task=sbm", "--model=gcn", "--out=out", *QUICK]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_of(folder):
    return json.loads((Path(folder) / "settings.json").read_text())["settings"]


def child(*argv, **how):
    """A process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *argv], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how,
    )  # fmt: skip


def test_a_run_ends_with_its_folder_and_its_table(capsys):
    assert cli.main([*RUN, "--seeds=2"]) == 0
    output, error = capsys.readouterr()
    folder, _, title, *table = output.splitlines()
    chosen = plan("ugs", "sbm", "gcn", settings_of(folder))
    task = build_plugin("tasks", "sbm", chosen.settings)
    assert folder == f"out/{replace(chosen, data=task.content()).name}"
    rows = record.summary(record.read(folder))
    edges = f"{rows[0].num_edges:,} undirected edges"
    assert title.strip() == f"ugs on sbm with gcn: {edges}, 288 weights, 2 seeds"
    cells = [line.split() for line in table if line.split()[:1] in (["0"], ["1"], ["2"])]
    for row, cell in zip(rows, cells, strict=True):
        assert cell[:3] == [
            str(row.round),
            f"{row.edge_sparsity:.1%}",
            f"{row.weight_sparsity:.1%}",
        ]
        ranges = [[100 * r[metric] for r in row.records] for metric in ("val", "test")]
        assert cell[3:7] == [  # of two seeds no interval
            f"{100 * row.val:.1f}", f"({min(ranges[0]):.1f}–{max(ranges[0]):.1f})",
            f"{100 * row.test:.1f}", f"({min(ranges[1]):.1f}–{max(ranges[1]):.1f})",
        ]  # fmt: skip
        assert f"{rows[0].macs / row.macs:.1f}×" in cell
        by_rule = record.rows_without_warnings(record.rows_by_paper_rule(rows), rows)
        assert "*" not in cell  # two seeds are too few for a test
        assert ("°" in cell) == (row in by_rule)
    log = error.splitlines()  # off a terminal: a line a round
    assert [line.partition("  ")[0] for line in log] == [
        f"seed {seed} round {r}/2" for seed in (0, 1) for r in range(3)
    ]
    assert log[-1].endswith("0:00 left")


def test_dashes_and_underscores_are_the_same(capsys):
    assert cli.main([*RUN, "--drop-edges=0.1", "--data-seed", "3"]) == 0
    folder = capsys.readouterr().out.splitlines()[0]
    assert settings_of(folder)["drop_edges"] == 0.1
    assert settings_of(folder)["data_seed"] == 3
    assert cli.main([*RUN, "--drop_edges=0.1", "--data_seed=3"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == folder
    assert with_underscores(["--a-b=c-d", "--e-f", "-g-h", "i-j"]) == [
        "--a_b=c-d",
        "--e_f",
        "-g-h",
        "i-j",
    ]


CONFIGS = [
    ("c.toml", 'algorithm = "ugs"\ntask = "sbm"\nmodel = "gcn"\nout = "out"\nseeds = 1\n'
               'size = 15\nhidden = 8\nrounds = 1\nepochs = 3\nlr = 8e-3\n"drop-edges" = 0.1\n'),
    ("c.yaml", "algorithm: ugs\ntask: sbm\nmodel: gcn\nout: out\nseeds: 1\n"
               "size: 15\nhidden: 8\nrounds: 1\nepochs: 3\nlr: 8e-3\ndrop-edges: 0.1\n"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text"), CONFIGS)
def test_a_file_says_what_flags_say_and_a_flag_goes_first(capsys, name, text):
    Path(name).write_text(text)
    assert cli.main(["run", "--config", name, "--rounds", "0"]) == 0
    folder = capsys.readouterr().out.splitlines()[0]
    got = settings_of(folder)
    want = {"rounds": 0, "epochs": 3, "hidden": 8, "lr": 8e-3, "drop_edges": 0.1, "size": 15}
    assert {n: got[n] for n in want} == want
    assert cli.main(["run", "random_tickets", f"--config={name}"]) == 0
    assert capsys.readouterr().out.startswith("out/random_tickets-sbm-gcn-")
    flags = ["--lr=8e-3", "--drop-edges=0.1", "--rounds=0"]
    assert cli.main([*RUN, "--epochs=3", *flags]) == 0
    assert capsys.readouterr().out.splitlines()[0] == folder


def test_a_file_is_a_task(capsys):
    import numpy as np

    ring, part = np.arange(12), np.arange(12) // 2 % 3
    np.savez("my_graph.npz", x=np.eye(12), y=ring % 2, edge_index=[ring, (ring + 1) % 12],
             train_mask=part == 0, val_mask=part == 1, test_mask=part == 2)  # fmt: skip
    argv = ["run", "ugs", "--task", "my_graph.npz", "--model=gcn", "--rounds=0", "--epochs=2"]
    assert cli.main(argv) == 0
    output = capsys.readouterr().out
    assert settings_of(output.splitlines()[0])["path"] == "my_graph.npz"
    assert "12 undirected edges" in output


# --- help ----------------------------------------------------------------------------------------


def help_of(capsys, *argv):
    with pytest.raises(SystemExit) as end:
        cli.main([*argv, "--help"])
    assert end.value.code == 0
    output, error = capsys.readouterr()
    assert error == ""
    return " ".join(output.split())


def test_help_shows_what_holds_after_the_preset_in_the_words_of_the_docstrings(capsys):
    text = help_of(capsys, "run", "ugs", "--task=cora", "--model=gcn")
    for line in [
        "--hidden HIDDEN channels of every hidden layer, in [1, 65536]. (type: int, default: 512)",
        "--l1_edges L1_EDGES γ₁, weight of ‖m_g‖₁ in the loss, in [0, inf). (type: float, ",
        "--lr LR learning rate, in (0, inf). (type: float, default: 0.008)",
        "--rounds ROUNDS how often to prune, in [0, 10000]. (type: int, default: 20)",
        "--normalize {true,false} scale every node's features to sum 1.",
        "--seeds SEEDS how many, from 0; or which, as in 3,7 or 10-14 or 0-4,9. (type: int | ",
        "--protocol PROTOCOL whose settings are the defaults where they differ: those of the",
    ]:
        assert line in text
    assert "--heads" not in text
    text = help_of(capsys, "run", "imp", "--task=digits", "--model=gat")
    assert "--heads" in text and "--l1_edges" not in text
    assert (
        "--hidden HIDDEN channels of every head of a hidden layer, in [1, 65536]. (type: int, "
        in text
    )


@pytest.mark.parametrize(
    ("kind", "name"), [(k, n) for k in ("algorithms", "tasks", "models") for n in names(k)]
)
def test_every_setting_is_a_flag(capsys, kind, name):
    named = {"algorithms": "ugs", "tasks": "karate", "models": "gcn"} | {kind: name}
    flags = f"--task={named['tasks']}", f"--model={named['models']}"
    text = help_of(capsys, "run", named["algorithms"], *flags)
    for each, plugin in named.items():
        parameters = inspect.signature(find(each, plugin)).parameters.values()
        settings = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"seed", "last"}
        assert [n for n in settings if f"--{n} " not in text] == []


def test_every_command_has_help(capsys):
    assert "algorithms: at_init, " in help_of(capsys, "run")
    assert "figures: barrier, cost" in help_of(capsys, "plot")
    assert "--metric" in help_of(capsys, "plot", "sparsity")
    assert "ticket files" in help_of(capsys, "show")
    assert "--layout" in help_of(capsys, "export")
    assert "--repeats" in help_of(capsys, "bench")
    assert "analysis: epoch_selection, instability" in help_of(capsys, "analyze")
    assert {"--points", "--jobs"} <= set(help_of(capsys, "analyze", "instability").split())
    assert ", ".join(KINDS) in help_of(capsys, "list")
    for argv in ([], ["-h"], ["--help"]):
        assert cli.main(argv) == 0
        assert "run ALGORITHM --task T --model M" in capsys.readouterr().out
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("graphlth ")


@pytest.mark.parametrize("kind", KINDS)
def test_list_names_every_plug_in_and_what_it_is(capsys, kind):
    assert cli.main(["list", kind]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == f"{kind}:"
    said = [line.split(maxsplit=1) for line in lines]
    assert [name for name, _ in said] == names(kind)
    for name, text in said:
        module = sys.modules[find(kind, name).__module__]
        assert text.strip() == module.__doc__.splitlines()[0]
    assert cli.main(["list"]) == 0
    assert f"{title}\n{lines[0]}".rstrip() in capsys.readouterr().out


# --- show and plot -------------------------------------------------------------------------------


@pytest.fixture
def folder(capsys):
    assert cli.main([*RUN, "--seeds=2"]) == 0
    return Path(capsys.readouterr().out.splitlines()[0])


def test_show_tells_runs_and_tickets_apart(folder, capsys):
    assert cli.main([*RUN, "--lr=0.1"]) == 0
    capsys.readouterr()
    assert cli.main(["show", "out"]) == 0
    output = capsys.readouterr().out
    assert output.count("ugs on sbm with gcn") == 2
    assert "(lr=0.01)" in output and "(lr=0.1)" in output
    ticket = folder / "seed1-round2.safetensors"
    assert cli.main(["show", str(ticket)]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{ticket}: ticket of round 2\n")
    assert "\n  algorithm: ugs\n" in output and "\n  seed: 1\n" in output
    last = record.read_file(folder / "seed1.jsonl")[-1]
    cells = {line.split()[0]: line.split() for line in output.splitlines() if line.strip()}
    kept = round(last["num_edges"] * (1 - last["edge_sparsity"]))
    assert cells["edges"][1:] == [str(last["num_edges"]), str(kept), f"{last['edge_sparsity']:.1%}"]
    assert cells["all"][1:3] == ["weights", "288"]
    assert cells["all"][4] == f"{last['weight_sparsity']:.1%}"


def test_plot_draws_what_the_figure_draws_with_its_settings(folder, capsys):
    assert cli.main(["plot", "sparsity", str(folder), "--out", "a.svg", "--title", "A title"]) == 0
    assert capsys.readouterr().out == "a.svg\n"
    find("figures", "sparsity")(record.read(folder), out="b.svg", title="A title")
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()
    find("figures", "sparsity")(record.read(folder), out="c.svg", metric="val", title="A title")
    assert Path("c.svg").read_bytes() != Path("b.svg").read_bytes()


@pytest.mark.parametrize("argv", [["list"], ["--help"], ["--version"], ["show", "OUT"],
                                  ["plot", "sparsity", "OUT", "--out=a.png"]])  # fmt: skip
def test_what_needs_no_torch_does_not_load_it(folder, argv):
    argv = [str(folder) if arg == "OUT" else arg for arg in argv]
    code = f"import sys; from graphlth.cli import main as cli; assert cli.main({argv!r}) == 0; " \
           "sys.exit('torch' in sys.modules)"  # fmt: skip
    process = child("-c", code)
    assert (*process.communicate()[1:], process.returncode) == ("", 0)


# --- export and bench ----------------------------------------------------------------------------


GRAPHS = [("karate", "gcn", []), ("digits", "gat", ["--hidden=4", "--heads=2"])]


@pytest.fixture(params=GRAPHS, ids=lambda about: about[0])
def found(request, capsys):
    """A ticket of one round."""
    task, model, settings = request.param
    argv = ["run", "ugs", f"--task={task}", f"--model={model}", "--rounds=1", "--epochs=3"]
    assert cli.main([*argv, "--out=out", *settings]) == 0
    return Path(capsys.readouterr().out.splitlines()[0]) / "seed0-round1.safetensors"


def test_export_writes_a_network_with_the_accuracy_that_it_says(found, capsys):
    import torch

    from graphlth.compaction.network import load_compact
    from graphlth.experiment.export import rebuild
    from graphlth.ticket import load

    assert cli.main(["export", str(found), "--out=small.safetensors"]) == 0
    output, error = capsys.readouterr()
    first, parts, reached = output.splitlines()
    size = Path("small.safetensors").stat().st_size
    small = load_compact("small.safetensors")
    assert first == f"small.safetensors: {size:,} bytes, layout {small.layout}"
    assert f" {small.graph.num_edges:,} edges" in parts and error == ""
    task, _ = rebuild(load(found))
    (batch,) = task.batches("test")
    x, _ = batch.inputs
    test = (small(x)[batch.rows].argmax(-1) == batch.target).float().mean().item()
    last = record.read_file(found.parent / "seed0.jsonl")[-1]
    assert test == last["test"] == small.about["test"]  # as the run retrained it
    assert f"test {test:.1%}, retrained to epoch {last['best_epoch'] + 1}" in reached
    assert sorted(p.name for p in Path().iterdir()) == ["out", "small.safetensors"]
    assert cli.main(["export", str(found), "--out=small.pt2"]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first.endswith(" bytes, a program for any graph") and others == [parts, reached]
    program = load_compact("small.pt2")
    torch.testing.assert_close(program(x if isinstance(x, torch.Tensor) else x.dense), small(x))
    assert program.about == small.about


def test_bench_has_a_line_per_ticket(found, capsys):
    tickets = [str(found.with_name(f"seed0-round{r}.safetensors")) for r in (0, 1)]
    assert cli.main(["bench", *tickets, "--layout=dense", "--repeats=2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "×" in line]
    records = record.read_file(found.parent / "seed0.jsonl")
    for cells, line in zip(rows, records, strict=True):
        assert cells[:4] == [
            str(line["round"]), f"{line['edge_sparsity']:.1%}", f"{line['weight_sparsity']:.1%}",
            "dense",
        ]  # fmt: skip
        dense, small = (int(cell.replace(",", "")) for cell in cells[4:6])
        assert cells[6] == f"{dense / small:.1f}×"
        assert float(cells[-1]) < 1e-5
    assert rows[0][4] == rows[1][4]


def test_a_model_whose_units_stay_is_measured_and_refused_before_it_is_retrained(capsys):
    argv = ["run", "ugs", "--task=karate", "--model=resgcn", "--layers=2", "--rounds=0"]
    assert cli.main([*argv, "--epochs=1", "--out=out"]) == 0
    folder = capsys.readouterr().out.splitlines()[0]
    ticket = f"{folder}/seed0-round0.safetensors"
    assert cli.main(["bench", ticket, "--repeats=1"]) == 0
    assert "0.0%" in capsys.readouterr().out
    assert cli.main(["export", ticket, "--out=small.pt2"]) == 2
    assert capsys.readouterr() == ("", "graphlth: error: `ticket` must be of a model that can be "
        "compacted to a file, got one of 'resgcn', of which only edges can go\n")  # fmt: skip
    assert [p.name for p in Path().iterdir()] == ["out"]


def test_an_interrupted_export_leaves_no_file(found, capsys, monkeypatch):
    from graphlth.compaction import network

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(network, "encode", interrupt)
    assert cli.main(["export", str(found), "--out=small.safetensors"]) == 130
    assert capsys.readouterr().err.startswith("graphlth: interrupted")
    assert [p.name for p in Path().iterdir()] == ["out"]


# --- progress ------------------------------------------------------------------------------------


def test_time_left_is_that_of_the_rounds_that_are_left(capsys):
    known = {"edge_sparsity": 0.05, "weight_sparsity": 0.2, "val": 0.75}
    with run_progress(2, range(4), 10, 1) as watch:  # 2 seeds of rounds 0 to 3
        for number in range(3):
            watch(Step(0, number, Epoch(4, 0.1, 0.5, 0.5), known))
            watch(Step(0, number, None, known | {"seconds_search": 40.0, "seconds_retrain": 20.0}))
    assert capsys.readouterr().err.splitlines() == [
        "seed 0 round 0/3  edges −5.0% weights −20.0%  val 75.0%  ? left",
        "seed 0 round 1/3  edges −5.0% weights −20.0%  val 75.0%  6:00 left",
        "seed 0 round 2/3  edges −5.0% weights −20.0%  val 75.0%  5:00 left",
    ]
    with run_progress(1, range(2), 10, 1) as watch:
        watch(Step(0, 0, None, known | {"edge_sparsity": 0.0}, is_new=False))
    assert capsys.readouterr().err == (
        "seed 0 round 0/1  edges 0.0% weights −20.0%  val 75.0%  recorded already  ? left\n"
    )
    assert [format_clock(s) for s in (0, 59.6, 3599, 3600, 90061)] == [
        "0:00", "1:00", "59:59", "1:00:00", "25:01:01"
    ]  # fmt: skip


def test_an_interrupt_ends_in_one_line_and_the_run_can_go_on():
    argv = ["-m", "graphlth.cli.main", *RUN, "--epochs=300", "--rounds=9"]
    how = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with child(*argv, **how) as process:
        assert process.stderr.readline().startswith("seed 0 round 0/9")
        process.send_signal(signal.SIGINT)
        lines = process.stderr.read().splitlines()
    assert process.returncode == 130
    assert lines[-1] == "graphlth: interrupted; the same command continues a run"
    assert [line for line in lines[:-1] if not line.startswith("seed 0 round")] == []
    (path,) = Path("out").glob("*/seed0.jsonl")
    assert [r["round"] for r in record.repair(path)] == list(range(len(lines)))


def test_no_warning_of_a_library_reaches_the_terminal():
    process = child("-m", "graphlth.cli.main", *RUN)
    output, error = process.communicate()
    assert process.returncode == 0
    assert [line.partition("  ")[0] for line in error.splitlines()] == [
        f"seed 0 round {r}/2" for r in range(3)
    ]
    assert "Warning" not in output


@pytest.mark.parametrize("error", [
    MemoryError(), RuntimeError("std::bad_alloc"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
])  # fmt: skip
def test_where_memory_is_short_a_line_says_what_to_lower(error, monkeypatch, capsys):
    def short(argv):
        raise error

    monkeypatch.setitem(cli.COMMANDS, "list", short)
    assert cli.main(["list"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"graphlth: error: {cli.NO_MEMORY}"
