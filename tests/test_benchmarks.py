"""Every benchmark runs in small, without data, and writes its result."""

import json
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pytest
import torch
from test_results import check_data

import graphlth.records as record
from graphlth.experiment.run import run

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = {  # what the page of each must say
    "own_graphs": ("20 + 30 nodes a class", "2 seeds", "| generated |"),
    "speed_channels": ("times fewer MACs", "than masked"),
    "speed_kernel": ("geometric mean of the ratios", "achieved / least, 2 threads", "![roofline]"),
    "speed_attention": ("PyG / graphlth", "smallest ratio, attention alone"),
    "speed_own_models": ("with / without", "by hand / unchanged", "| GIN-64 |"),
    "speed_operators": ("PyG / graphlth", "geometric mean of the ratios", "GATv2, 8 × 8"),
    "speed_epoch": ("dense / sparse", "PyG / sparse", "A whole run of UGS"),
    "speed_features": ("training epoch", "Ratios dense / sparse"),
    "speed_detector": ("share of drawing", "agree with a stable sort"),
    "speed_retrain": ("of dense, %", "repeated to the same digits"),
    "speed_seeds": ("agree in everything but their times", "wall time"),
    "speed_ticket": ("times faster", "layout", "![time and size]"),
    "speed_scale": ("exponent of time against edges", "Arxiv size", "![time against edges]"),
}
FIGURES = ("speed_kernel", "speed_scale", "speed_ticket")


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS.parent))  # for processes that scripts start
    yield
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", RESULTS)
def test_a_benchmark_writes_its_result(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where runs go by default
    out = tmp_path / "result"
    monkeypatch.setattr(sys, "argv", [str(BENCHMARKS / f"{name}.py"), "--quick", f"--out={out}"])
    run_path(sys.argv[0], run_name="__main__")  # here: importing takes longer than measuring
    text, data = ((out / file).read_text() for file in ("README.md", "data.json"))
    assert text in capsys.readouterr().out
    assert f"`python benchmarks/{name}.py --quick --out FOLDER" in text
    assert str(tmp_path) not in text + data
    assert [words for words in RESULTS[name] if words not in text] == []
    check_data(json.loads(data))
    pictures = [*out.glob("*.png")]
    assert len(pictures) == (name in FIGURES)
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_every_speed_benchmark_is_run_here():
    scripts = {path.stem for path in BENCHMARKS.glob("speed_*.py")} | {"own_graphs"}
    assert scripts - {"speed_gpu"} == set(RESULTS)


def on_gpu(*options):
    """The benchmark of a CUDA device, in small and in a process of its own, to its end."""
    command = [sys.executable, str(BENCHMARKS / "speed_gpu.py"), "--quick", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_what_is_wrong_is_told_in_a_line():
    command = [sys.executable, str(BENCHMARKS / "speed_ticket.py"), "--tickets", "nowhere"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith("speed_ticket.py: error: ")
    assert "`--tickets` must have tickets of seed 0" in ended.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_its_benchmark_ends_with_code_2():
    ended = on_gpu()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "speed_gpu.py needs a CUDA device, and torch finds none\n"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_the_benchmark_of_a_cuda_device_writes_its_result(tmp_path):
    ended = on_gpu("--out", str(tmp_path / "gpu"))
    assert ended.returncode == 0, ended.stderr
    assert "seconds of the whole run" in (tmp_path / "gpu" / "README.md").read_text()


def test_the_roofline_follows_from_its_formula():
    from roofline import Roof, compulsory_bytes, gathered_bytes, operations

    from graphlth.sparse.graph import Graph

    # 3 nodes, 4 edges, 2 channels: x, ∂out, out, ∂x; m, ∂m; columns; offsets
    assert compulsory_bytes(3, 4, 2) == 4 * (4 * 3 * 2) + 4 * (2 * 4) + 4 * (2 * 4) + 4 * (2 * 4)
    # x and ∂out for each edge; out, x, ∂x; m twice, ∂m; columns; offsets
    assert gathered_bytes(3, 4, 2) == 4 * (2 * 4 * 2 + 3 * 3 * 2 + 3 * 4) + 4 * 2 * (4 + 4)
    assert operations(4, 2) == 3 * (2 * 4 * 2)
    graph = Graph(torch.tensor([[0, 1, 2, 0], [1, 2, 0, 2]]), 3)
    slow_memory = Roof(threads=1, bandwidth=10.0, cached=20.0, rates={"a": 1e9})
    slow_products = Roof(threads=1, bandwidth=1e9, cached=1e9, rates={"a": 6.0, "b": 3.0})
    assert slow_memory.seconds(graph, 2) == 192 / 10
    assert slow_products.seconds(graph, 2) == 48 / 6


def test_a_generated_graph_has_the_edges_asked_for_and_a_heavy_tail():
    from bench import power_law, undirected_graph

    pairs = power_law(20_000, 100_000)
    assert pairs.shape == (2, 100_000)
    assert (pairs[0] < pairs[1]).all()
    assert torch.unique(pairs, dim=1).size(1) == 100_000
    degree = pairs.flatten().bincount(minlength=20_000).double()
    # Under i^(-2/3) the largest of n expects a share of about 1 / (3 n^(1/3)) of the ends.
    assert degree.max() > 100 * degree.mean()
    # Each doubling of a degree is 2^-1.5 times as likely to be exceeded.
    tail = (degree > 80).sum() / (degree > 20).sum()
    assert 0.5 * 4**-1.5 < tail < 2 * 4**-1.5
    assert undirected_graph(pairs, 20_000).by_target.order is None


def test_labels_of_the_picture_do_not_overlap(tmp_path, monkeypatch):
    import roofline

    placed = []
    write = roofline.write_label
    monkeypatch.setattr(roofline, "write_label", lambda *a: placed.append(write(*a)) or placed[-1])
    points = [
        roofline.Point(name, d, intensity, [rate, 2 * rate])
        for name, d, intensity, rate in (
            ("a", 16, 1.1, 7e9), ("b", 16, 1.2, 7e9), ("a", 128, 1.4, 7.1e9), ("b", 128, 30, 4e10),
        )
    ]  # fmt: skip
    roofs = [roofline.Roof(t, t * 1e10, t * 1e11, {"a": t * 1e11}) for t in (1, 2)]
    roofline.draw(points, roofs, tmp_path / "roofline.png")
    texts = [text for text in placed if text.figure is not None]
    assert sorted(t.get_text() for t in texts if "d =" in t.get_text()) == sorted(
        2 * [f"{p.graph}, d = {p.d}" for p in points]
    )
    for i, a in enumerate(texts):
        for b in texts[:i]:
            assert not a.get_window_extent().overlaps(b.get_window_extent())


def test_a_way_that_does_not_agree_is_refused():
    from bench import difference

    a = torch.tensor([1.0, -4.0])
    assert difference("b", [a], [a + 0.004], 2e-3) == pytest.approx(1e-3, rel=1e-3)
    with pytest.raises(AssertionError, match="b does not agree"):
        difference("b", [a], [a + 0.04], 2e-3)


@pytest.mark.parametrize("script", sorted(RESULTS))
@pytest.mark.parametrize("name", ["seed0.jsonl", "settings.json", "seed0-round1.safetensors"])
def test_no_result_is_written_over_a_file_of_a_run(tmp_path, script, name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, f"--out={tmp_path / name}"])
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(SystemExit) as end:
        run_path(str(BENCHMARKS / f"{script}.py"), run_name="__main__")
    assert end.value.code == 2 and "must not be a file of a run" in capsys.readouterr().err
    assert (tmp_path / "settings.json").read_text() == "{}" and len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize("link", ["hardlink_to", "symlink_to"])
def test_a_result_and_a_picture_take_the_place_of_a_link_and_not_of_its_file(tmp_path, link):
    import roofline
    from machine import measurement

    from graphlth.reproduction.result import Result, write

    theirs, out = tmp_path / "theirs", tmp_path / "result"
    theirs.write_text("theirs")
    out.mkdir()
    paths = page, data, figure = [out / name for name in ("README.md", "data.json", "figure.png")]
    for path in paths:
        getattr(path, link)(theirs)
    write(Result("name", "Title", "text", measurement(), []), out)
    points = [roofline.Point("a", 16, 1.1, [7e9, 14e9])]
    roofs = [roofline.Roof(t, t * 1e10, t * 1e11, {"a": t * 1e11}) for t in (1, 2)]
    roofline.draw(points, roofs, figure)
    assert page.read_text().startswith("# Title\n\ntext\n") and theirs.read_text() == "theirs"
    assert json.loads(data.read_text())["title"] == "Title"
    assert figure.read_bytes().startswith(b"\x89PNG") and len([*out.iterdir()]) == 3


def test_packed_records_are_those_of_finished_seeds_and_continue(tmp_path, monkeypatch):
    import tarfile

    import pack_records

    settings = {"hidden": 4, "epochs": 2, "rounds": 1}
    folder = run("imp", "karate", "gcn", settings, seeds=2, out=tmp_path / "runs")
    lines = (folder / "seed1.jsonl").read_text().splitlines(keepends=True)
    (folder / "seed1.jsonl").write_text(lines[0])  # not finished
    archive = tmp_path / "packed.tar.xz"
    monkeypatch.setattr(sys, "argv", ["a.py", "x", str(folder), f"--out={archive}"])
    pack_records.main()
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "there", filter="data")
    there = tmp_path / "there" / folder.name
    assert {file.name for file in there.iterdir()} == {"settings.json", "seed0.jsonl"}
    before = (there / "seed0.jsonl").read_bytes()
    again = run("imp", "karate", "gcn", settings, seeds=2, out=tmp_path / "there",
                keep_tickets="none")  # fmt: skip
    assert again == there and (there / "seed0.jsonl").read_bytes() == before
    tests = [[r["test"] for r in record.read(each)] for each in (folder, there)]
    assert tests[1][:2] == tests[0][:2] and len(tests[1]) == 4
