"""A report is one page that says what the records say, the same each time, and fetches nothing."""

import base64
import csv
import gzip
import io
import json
import os
import re
import shlex
import shutil
from html import unescape
from html.parser import HTMLParser

import networkx as nx
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from report_runs import make_large, make_runs

import graphlth.records as record
from graphlth.analysis._remaining_graph import RemainingGraph
from graphlth.cli import main as cli
from graphlth.figures import inference, sparsity
from graphlth.figures._style import RoundPoints, blocks_of
from graphlth.records.frontier import find_frontier
from graphlth.records.tables import format_numbers
from graphlth.report import graphs
from graphlth.report.colours import dark_colour, for_both_schemes
from graphlth.report.drawings import draw_figures
from graphlth.report.runs import describe_run, unfinished_lines
from graphlth.report.summary import dense_verdict

FAR = re.compile(r"https?:|//")


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.inside = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data):
        if self.inside[-1:] not in (["script"], ["style"]):
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def written(runs):
    """The text of the page of the runs, written where they lie."""
    before = os.getcwd()
    os.chdir(runs.parent)
    try:
        assert cli.main(["report", "runs", "--out=page.html"]) == 0
    finally:
        os.chdir(before)
    return (runs.parent / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(written):
    return Page(written)


def test_the_page_holds_every_table_of_show(page, runs, capsys, monkeypatch):
    monkeypatch.chdir(runs.parent)
    assert cli.main(["show", "runs"]) == 0
    own = [line for line in capsys.readouterr().out.splitlines() if re.match(r" +\d+ +\d", line)]
    cells = [re.split(r" {2,}", line.strip()) for line in own]
    assert len(cells) == 4 + 4 + 4 + 2  # of ugs, random tickets, early bird, imp; no measure
    for row in cells:
        assert " ".join(row) in page.text


def test_each_task_has_a_section_and_each_run_its_command(page):
    titles = re.findall(r"(\w+) · gcn", page.text)
    assert {"karate", "digits"} == {*titles}
    for algorithm in ("ugs", "random_tickets", "joint_early_bird", "imp"):
        assert f"graphlth run {algorithm} --task" in page.text
    assert "graphlth analyze structure" in page.text


def test_a_command_of_the_page_continues_its_run(written, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs.parent)
    commands = [unescape(text) for text in re.findall(r"<pre>(graphlth run .*?)</pre>", written)]
    assert len(commands) == 4
    state = {p: p.read_bytes() for p in runs.rglob("*.json*")}
    for command in commands:
        assert cli.main(shlex.split(command)[1:]) == 0
        folder = capsys.readouterr().out.splitlines()[0]
        assert folder.startswith(f"runs/{shlex.split(command)[2]}-")
    assert {p: p.read_bytes() for p in runs.rglob("*.json*")} == state


@pytest.mark.slow
def test_the_same_runs_give_the_same_page(written, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs.parent)
    assert cli.main(["report", "runs", f"--out={tmp_path / 'again.html'}"]) == 0
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == written


def test_nothing_in_the_page_points_elsewhere(page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data"):
            address = attributes.get(name) or ""
            assert address.startswith(("#", "data:")) or not address, (tag, address)
        assert not FAR.search(attributes.get("style") or ""), tag
    policy = [a["content"] for t, a in page.tags if a.get("http-equiv")]
    assert policy and policy[0].startswith("default-src 'none'")


def test_ids_are_unique_and_what_is_referred_to_is_there(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len({*ids})
    values = [v for t, a in page.tags for v in a.values() if v and t not in ("script", "style")]
    used = {i for v in values for i in re.findall(r"^#(.+)|url\(#(.+?)\)", v)}
    assert {a or b for a, b in used} <= {*ids}


def test_names_of_a_user_are_text(runs, tmp_path, monkeypatch):
    evil = tmp_path / "<img src=x onerror=alert(1)>&"
    shutil.copytree(next(runs.glob("ugs-karate-gcn-????????")), evil / "ugs")
    title = "--title=</title><script>alert(2)</script>"
    assert cli.main(["report", str(evil), title, f"--out={tmp_path / 'p.html'}"]) == 0
    page = Page((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert not [a for t, a in page.tags if "onerror" in a or (t == "img")]
    assert "<script>alert(2)</script>" in page.text and "onerror=alert(1)" in page.text


def test_downloads_are_the_records_and_their_summary(page, runs):
    files = {a["download"]: a["href"].partition("base64,")[2]
             for t, a in page.tags if t == "a" and "download" in a}  # fmt: skip
    content = {name: base64.b64decode(code) for name, code in files.items()}
    records = record.read(runs)
    lines = gzip.decompress(content["records.jsonl.gz"]).decode().splitlines()
    assert [json.loads(line) for line in lines] == records
    seeds = list(csv.DictReader(io.StringIO(content["seeds.csv"].decode())))
    assert [float(row["test"]) for row in seeds] == [r["test"] for r in records]
    means = list(csv.DictReader(io.StringIO(content["rounds.csv"].decode())))
    rows = record.summary(r for r in records if "measure" not in r)
    assert [float(row["test"]) for row in means] == [row.test for row in rows]


def test_the_summary_tells_verdicts_and_names_the_rule(runs, tmp_path):
    large = make_large(runs, tmp_path / "large")
    assert cli.main(["report", str(large), f"--out={tmp_path / 'p.html'}"]) == 0
    text = Page((tmp_path / "p.html").read_text(encoding="utf-8")).text
    by_name = {run: record.read(large / f"{run}-cora") for run in ("ugs", "random_tickets")}
    found = record.compare_records(by_name["ugs"], by_name["random_tickets"], by="sparsity")
    assert found.winning and found.better
    winning, better = (format_numbers("round", n) for n in (found.winning, found.better))
    assert f"Winning, shown to be less than 1 point below dense: {winning}, the last" in text
    assert f"Better than random tickets: {better}." in text
    assert "by the paper's rule" in text


@pytest.mark.parametrize(
    ("seeds", "warned", "told"),
    [
        (10, 0, "Winning, shown to be less than 1 point below dense: rounds 1–3, the last"),
        (10, 1, "Winning, shown to be less than 1 point below dense: rounds 1–3, the last"),
        (10, 8, "Doubtful, shown to be less than 1 point below dense, but not without the seeds "
                "that have a warning: rounds 1–3."),
        (2, 0, "No verdict: under 3 seeds nothing is tested."),
    ],
)  # fmt: skip
def test_a_verdict_needs_seeds_without_warnings(runs, tmp_path, seeds, warned, told):
    records = record.read(make_large(runs, tmp_path / "large", seeds=seeds, rounds=3))
    ugs = [{**r, "warnings": ["odd"] * (r["seed"] < warned)}
           for r in records if r["algorithm"] == "ugs"]  # fmt: skip
    rows = record.summary(ugs)
    run = describe_run(rows, "ugs", record.mark_rows(rows), {})
    (sentence,) = dense_verdict(run, None)
    assert sentence.startswith(told)


@pytest.mark.slow
def test_a_page_of_four_methods_ten_seeds_and_twenty_rounds_is_small(runs, tmp_path):
    large = make_large(runs, tmp_path / "large")
    assert len(record.read(large)) == 4 * 10 * 21
    assert cli.main(["report", str(large), f"--out={tmp_path / 'p.html'}"]) == 0
    assert (tmp_path / "p.html").stat().st_size < 8e6


# --- what is wrong is said ------------------------------------------------------------------------


def test_an_unfinished_run_is_told_to_be_one(runs, tmp_path):
    (source,) = runs.glob("ugs-karate-gcn-????????")
    copy = shutil.copytree(source, tmp_path / "runs" / source.name)
    lines = (copy / "seed1.jsonl").read_text().splitlines(keepends=True)
    (copy / "seed1.jsonl").write_text("".join(lines[:2]))
    (copy / "seed7.lock").touch()
    told = unfinished_lines(copy, record.read(copy))
    assert told == ["seed 1 lacks rounds 2, 3", "seed 7 has no round yet"]
    assert cli.main(["report", str(copy), f"--out={tmp_path / 'p.html'}"]) == 0
    text = Page((tmp_path / "p.html").read_text(encoding="utf-8")).text
    assert "Not finished." in text and "; ".join(told) in text


def test_a_finished_run_is_not_told_to_be_unfinished(page):
    assert "Not finished." not in page.text


def test_a_graph_that_cannot_be_read_is_told_with_the_reason(runs, tmp_path):
    (source,) = runs.glob("ugs-karate-gcn-????????")
    copy = shutil.copytree(source, tmp_path / source.name)
    (copy / "seed0-round3.safetensors").unlink()
    assert cli.main(["report", str(copy), f"--out={tmp_path / 'p.html'}"]) == 0
    text = Page((tmp_path / "p.html").read_text(encoding="utf-8")).text
    assert "Not shown:" in text and "seed0-round3.safetensors" in text


def break_record(runs, place):
    file = place / "broken" / "seed0.jsonl"
    file.parent.mkdir()
    source = next(runs.glob("ugs-karate-gcn-????????/seed0.jsonl"))
    file.write_text(source.read_text().replace('"round": 1', '"round": 2'))


FAULTS = [
    ("nowhere --out=p.html", "no folder `nowhere`"),
    ("empty --out=p.html", "no records"),
    ("broken --out=p.html", "seed0.jsonl`, line 2: damaged"),
    ("RUNS --out=empty", "`out` must end in .html, got 'empty'"),
    ("RUNS --out=p.pdf", "`out` must end in .html, got 'p.pdf'"),
    ("RUNS --out=folder.html", "`out` must be a file in a folder that exists, got 'folder.html'"),
    ("RUNS --out=nowhere/p.html", "`out` must be a file in a folder that exists"),
    ("RUNS --out=/proc/p.html", "cannot write `/proc/p.html`"),
    ("RUNS --out=p.html --margin=2", "`margin` must be a fraction of accuracy, in (0, 1), got 2"),
    ("RUNS --out=p.html --margin=0", "`margin` must be in (0, inf), got 0"),
    ("RUNS", "`out` must be given"),
    ("--out=p.html", "`folders` must be given"),
]


@pytest.mark.parametrize(("arguments", "message"), FAULTS)
def test_bad_input_is_one_line(runs, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.html").mkdir()
    break_record(runs, tmp_path)
    (run,) = runs.glob("random_tickets-*")
    command = arguments.replace("RUNS", str(run)).split()
    assert cli.main(["report", *command, "--graph=false"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "p.html").exists()


# --- its parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "places"),
    [
        ([(1, 5), (2, 6), (3, 4)], [0, 1]),
        ([(3, 4), (1, 5), (2, 5)], [1]),
        ([(1, 5), (1, 5), (1, 4)], [0, 1]),
        ([(2, 9)], [0]),
        ([], []),
    ],
)
def test_the_frontier_is_of_what_nothing_equals_and_beats(points, places):
    costs, values = [c for c, _ in points], [v for _, v in points]
    assert find_frontier(costs, values) == places


def test_the_frontier_is_drawn_through_tickets_chosen_by_validation(runs, tmp_path):
    records = record.read(make_large(runs, tmp_path / "large"))
    (axis,) = inference.draw_figure(records, frontier=True).axes
    (line,) = [one for one in axis.lines if one.get_label() == "_frontier"]
    rows = record.summary(records)
    best = [rows[i] for i in find_frontier([r.macs for r in rows], [r.val for r in rows])]
    assert line.get_xdata() == pytest.approx([row.macs for row in best])
    assert line.get_ydata() == pytest.approx([100 * row.test for row in best])
    assert not [one for one in inference.draw_figure(records).axes[0].lines
                if one.get_label() == "_frontier"]  # fmt: skip


def test_points_of_a_panel_know_their_rounds(runs, tmp_path):
    records = record.read(make_large(runs, tmp_path / "large", seeds=3, rounds=4))
    figure = sparsity.draw_figure(records)
    for axis in figure.axes:
        for line in axis.lines:
            if isinstance(line, RoundPoints):
                means = [100 * row.test for row in line.rows]
                assert line.get_ydata() == pytest.approx(means)


def test_points_of_a_page_lie_where_the_curve_does(runs, tmp_path):
    records = record.read(make_large(runs, tmp_path / "large", seeds=3, rounds=4))
    (block,) = blocks_of(record.summary(records))
    curves = next(draw_figures(records, block, "x", None)).drawing
    names = {entry.number: entry.label for entry in curves.legend}
    for panel in curves.panels:
        drawn = {(round(float(x), 1), round(float(y), 1)) for x, y in re.findall(
            r'<use href="[^"]+" x="([\d.]+)" y="([\d.]+)"', panel.svg)}  # fmt: skip
        assert len(panel.points) >= 4 * 4
        for x, y, series, lines in panel.points:
            assert min(abs(x - a) + abs(y - b) for a, b in drawn) < 0.25
            assert names[series] in lines[0]


@pytest.mark.parametrize(
    ("light", "dark"),
    [("#ffffff", "#171717"), ("#000000", "#e8e8e8"), ("#808080", "#7f7f7f")],
)
def test_greys_are_turned_for_a_dark_page(light, dark):
    assert dark_colour(light) == dark
    assert for_both_schemes(f"fill: {light}") == f"fill: light-dark({light}, {dark})"


def test_colours_are_light_enough_on_a_dark_page():
    for colour in ("#0072b2", "#440154", "#8c7a00"):
        parts = [int(dark_colour(colour)[i : i + 2], 16) for i in (1, 3, 5)]
        assert (max(parts) + min(parts)) / 510 > 0.5


def graph_of(nodes):
    edges = torch.tensor(list(nodes.edges)).T
    return RemainingGraph(edges, nodes.number_of_nodes())


def test_small_graphs_are_drawn_node_by_node_and_large_ones_as_matrices():
    karate = graph_of(nx.karate_club_graph())
    assert [*map(len, graphs._chosen_nodes(karate))] == [34]
    large = graph_of(nx.barabasi_albert_graph(600, 3, seed=0))
    assert graphs._chosen_nodes(large) is None
    many = graph_of(nx.disjoint_union_all([nx.cycle_graph(10)] * 50))
    assert [*map(len, graphs._chosen_nodes(many))] == [10] * 20
    cells = graphs._binned(graphs.pairs_of(large), graphs._matrix_order(large))
    assert cells.sum() == 2 * len(graphs.pairs_of(large))


def test_the_picture_after_shows_kept_and_removed_pairs():
    whole = nx.karate_club_graph()
    less = whole.copy()
    less.remove_edges_from([*whole.edges][:9])
    before, after = graph_of(whole), graph_of(less)
    left, right = Figure().subplots(1, 2)
    graphs._draw_nodes((left, right), before, after, graphs._chosen_nodes(before))
    counts = {c.get_label(): len(c.get_segments()) for c in right.collections}
    assert counts == {"_pairs of removed": 9, "_pairs of kept": 69}
    assert [len(c.get_segments()) for c in left.collections] == [78]


def test_nodes_have_places_of_their_own():
    many = graph_of(nx.disjoint_union_all([nx.cycle_graph(5)] * 9))
    places = graphs.place_nodes(graphs.pairs_of(many), graphs._chosen_nodes(many))
    spots = np.array([places[i] for i in range(45)])
    assert np.isfinite(spots).all() and len(np.unique(spots.round(3), axis=0)) == 45
