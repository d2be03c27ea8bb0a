"""Suites are run, and their results say what was found, what is published, and what is wrong."""

import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from sweeping import Inline
from test_record import table
from test_results import check_data

import graphlth as glt
from graphlth.cli.main import main
from graphlth.experiment.folder import lock_seed
from graphlth.experiment.plan import plan
from graphlth.figures import inference
from graphlth.figures._style import PUBLISHED_MARKS
from graphlth.figures.sparsity import draw_figure
from graphlth.records import summary
from graphlth.records.winning import winning_rows
from graphlth.reproduction import page, tables
from graphlth.reproduction.claims import DENSE, describe_test, named_runs
from graphlth.reproduction.extreme import extreme_table
from graphlth.reproduction.mask_epochs import mask_epoch_table
from graphlth.reproduction.parts import (
    published_values,
    quick_suite,
    shown_names,
    suite_runs,
    sweep_part,
    with_seeds,
)
from graphlth.reproduction.run import reproduce
from graphlth.reproduction.scale import PERCENT, PLAIN
from graphlth.reproduction.splits import records_of_split
from graphlth.reproduction.suite import read_suite, suite_names
from graphlth.settings.lists import list_text, planned_rounds
from graphlth.sweeps.file import read_sweep
from graphlth.sweeps.run import count_rounds
from graphlth.sweeps.workers import ExecutorWorkers

ROOT = Path(__file__).parents[1]
RMSE = {"metric": "rmse", "direction": "min"}
UGS = table({r: [0.8] * 3 for r in range(3)}, algorithm="ugs")


@pytest.fixture(autouse=True)
def in_this_process(tmp_path, monkeypatch):
    """In a folder of its own, and without another process, which takes long to start."""
    monkeypatch.chdir(tmp_path)
    workers = ExecutorWorkers(Inline(), at_once=1)
    monkeypatch.setattr("graphlth.sweeps.run.choose_workers", lambda count, cluster: workers)


def suite_of(**more):
    run = {"algorithm": "ugs", "task": "karate", "model": "gcn"}
    return {"runs": {"a": run, "b": run}, "title": "T", "source": "", **more}


def run_suite(text, *words):
    """The page and the data of a suite that is run by the command, and what this prints."""
    Path("small.toml").write_text(text)
    assert main(["reproduce", "small.toml", "--result=result", *words]) == 0
    data = json.loads(Path("result/data.json").read_text())
    check_data(data)
    return Path("result/README.md").read_text(), data


# --- suites that come with graphlth --------------------------------------------------------------


@pytest.mark.parametrize("name", suite_names())
def test_a_suite_names_settings_that_there_are_also_in_small(name):
    suite = read_suite(name)
    small = quick_suite(suite)
    whole, quick = (count_rounds(read_sweep(sweep_part(each))) for each in (suite, small))
    assert 0 < quick <= whole
    assert suite["source"] and suite["published"], "say `not available` where nothing is published"
    if re.fullmatch("ugs_.*_gcn", name):  # the universe of the published numbers
        for run in suite_runs(suite)["ugs"]:
            found = plan(*run.names, run.settings, **run.resources).settings
            assert (found["edges"], found["hidden"]) == ("directed", 512)


def claimed_rounds(suite):
    """The runs and rounds that claims, bands, columns and published values of a suite are of."""
    for claim in suite.get("claims", []):
        named = [name for name in named_runs(claim) if name != DENSE]
        if "cheaper" in claim:
            yield from zip(named, claim["rounds"], strict=True)
        else:
            yield from product(named, claim.get("rounds", []))
    for name, bands in [*suite.get("expected", {}).items(), *suite.get("instability", {}).items()]:
        yield from ((name, int(r)) for r in bands)
    yield from product(shown_names(suite), suite.get("columns", []))
    for runs in published_values(suite).values():
        yield from ((name, r) for name, values in runs.items() for r in values)


@pytest.mark.parametrize("name", suite_names())
def test_what_a_suite_claims_is_of_rounds_that_its_runs_have(name):
    suite, rounds = read_suite(name), {}
    for run, [own, *_] in suite_runs(suite).items():
        source = {"tickets": "."} if own.source else {}
        chosen = plan(*own.names, {**own.settings, **source}, **own.resources)
        rounds[run] = planned_rounds(chosen.settings)
    assert [each for each in claimed_rounds(suite) if each[1] not in rounds[each[0]]] == []
    measured = list_text(suite.get("analyze", {}).get("rounds", "all"), "all").split(",")
    of_measure = [c for c in suite.get("claims", []) if {"stable", "unstable"} & {*c}]
    assert measured == ["all"] or all({*map(str, c["rounds"])} <= {*measured} for c in of_measure)


def test_the_list_names_every_suite(capsys):
    assert main(["reproduce", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0].replace("-", "_") for line in lines if " " in line.strip()} - {
        "name"
    } == {*suite_names()}


def test_pages_name_suites_that_there_are():
    docs = ROOT / "docs"  # but for the copies that its build makes
    written = [page for page in docs.rglob("*.md") if docs / "results" not in page.parents]
    pages = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *written]
    named = [(path.name, name) for path in pages
             for name in re.findall(r"graphlth reproduce ([\w.-]+)", path.read_text())
             if re.fullmatch(r"[a-z][\w-]+", name)]  # fmt: skip
    assert (
        named and [each for each in named if each[1].replace("-", "_") not in suite_names()] == []
    )
    assert "reproduce.py" not in "".join(path.read_text() for path in pages)


# --- small suites --------------------------------------------------------------------------------

FILE = """
title = "In small"
seeds = 2
{kind}
notes = "- Nothing."
[settings]
task = "digits_images"
model = "mlp"
hidden = 8
iterations = 4
evaluate_every = 2
rounds = 3
[runs.imp]
algorithm = "imp"
drop_output = "null"
[runs.reinit]
algorithm = "control"
control = "reinit"
tickets = "imp"
only = "2,3"
[figures.learning_speed]
[figures.learning_rate]
runs = ["imp"]
[published."elsewhere"]
{published}
"""


@pytest.mark.parametrize(("kind", "published", "head"), [
    ("columns = [2, 3]", "reinit = { 3 = 0.5 }",
     "| run | 64.0 % left | 64.0 % left, − imp | 51.2 % left | 51.2 % left, − imp | "
     "elsewhere: 64.0 % left | elsewhere: 51.2 % left |"),
    ('pairs = [["imp", "reinit"]]', "3 = 0.5", "| round | imp − dense | imp − reinit |"),
])  # fmt: skip
def test_a_suite_is_run_and_its_result_written(kind, published, head):
    text, data = run_suite(FILE.format(kind=kind, published=published))
    assert data["name"] == "small" and data["measurements"][0]["seeds"] == 2
    assert head in text and "- Nothing." in text and "`graphlth reproduce small.toml " in text
    rows = [line for line in text.splitlines() if line.startswith(("| dense", "| imp", "| reinit"))]
    if "columns" in kind:
        assert [row.split()[1] for row in rows] == ["dense", "imp", "reinit"]
        cells = [[cell.strip() for cell in row.split("|")] for row in rows]
        assert [row.count("–") for row in cells] == [2, 4, 1]  # no gap to itself, no number known
        assert rows[2].endswith("| – | 50.0 |")
    else:
        assert re.search(r"\| 1 \| [^|]*\d[^|]* \| – \|", text)  # of round 1 there is no control
        assert re.search(r"\| 3 \| .* \| 50.0 \|\n", text)
    for name in ("learning_speed", "learning_rate"):
        assert f"]({name}.png)" in text and Path(f"result/{name}.png").exists()


KARATE = """
title = "UGS on Karate"
source = "a paper, figure 3"
seeds = 4
[settings]
task = "karate"
model = "gcn"
hidden = 4
epochs = 3
rounds = 2
[runs.ugs]
algorithm = "ugs"
[runs.imp]
algorithm = "imp"
[published."paper, read off"]
0 = 0.5
1 = 0.4
[[claims]]
text = "Tickets match dense"
winning = "ugs"
rounds = [1, 2]
margin = 0.9
[[claims]]
text = "Pruning edges too costs less"
source = "table 2"
cheaper = ["ugs", "imp"]
rounds = [1, 1]
times = 1000
[[claims]]
text = "It costs less than twice as much"
cheaper = ["ugs", "imp"]
rounds = [1, 1]
times = 0.5
[extreme.weights]
runs = ["imp"]
published = { "a paper" = 0.5 }
[extreme.edges]
runs = ["ugs"]
[figures.sparsity]
[figures.criteria]
[quick]
seeds = 2
rounds = 1
"""


def test_the_largest_sparsity_of_a_winning_ticket_stands_beside_what_is_published():
    text, data = run_suite(KARATE)
    rows = [row for row in data["rows"] if row["table"] == "extreme"]
    assert {(row["removed"], row["method"]) for row in rows} == {
        ("weights", "imp"), ("weights", "a paper"), ("edges", "ugs")
    }  # fmt: skip
    [folder] = Path("runs").glob("imp-*")
    found = glt.extreme_sparsity(folder)
    cells = {row["column"]: row for row in rows if row["method"] == "imp"}
    rule, test = cells["by the papers' rule"], cells["by the test"]
    assert rule["value"] == pytest.approx(100 * found.by_paper_rule.weight_sparsity)
    assert [rule["low"], rule["high"]] == pytest.approx(
        [100 * end.weight_sparsity for end in found.interval]
    )
    assert test["value"] == pytest.approx(100 * found.shown.weight_sparsity)
    assert "| weights | a paper | 50.0 | – |" in text and "## Extreme sparsity" in text


def test_extreme_sparsity_is_not_told_of_what_has_no_margin_or_no_rounds():
    suite = suite_of(extreme={"edges": {"runs": ["a"], "published": {"a paper": 0.5}}})
    assert extreme_table({"a": table({0: [0.8], 1: [0.7]}, **RMSE)}, suite) is None
    assert extreme_table({"a": table({0: [0.8]})}, suite) is None
    assert extreme_table({"b": table({0: [0.8], 1: [0.7]})}, suite) is None
    rows = extreme_table({"a": table({0: [0.8], 1: [0.7]})}, suite).rows
    assert [row[1] for row in rows] == ["a", "a paper"] and rows[0][3].value is None  # one seed


def test_verdicts_stand_on_the_page_and_are_printed(capsys):
    text, data = run_suite(KARATE)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    verdicts = {each["claim"]: each for each in data["verdicts"]}
    assert [each["verdict"] for each in verdicts.values()] == [
        "not decided, beside warnings", "not reproduced", "reproduced"
    ]  # fmt: skip
    assert [each["source"] for each in verdicts.values()] == [
        "a paper, figure 3", "table 2", "a paper, figure 3"
    ]  # fmt: skip
    shown = capsys.readouterr().out
    for claim, each in verdicts.items():
        assert any(line.startswith(f"| {claim} |") and each["verdict"] in line for line in lines)
        assert f"{each['verdict']}: {claim} ({each['found']})" in shown
    assert shown.splitlines()[-1] == str(Path("result/README.md"))
    assert "in small" not in text and "4 seeds" in text
    [warning] = [w for w in data["warnings"] if w.startswith("the figure")]
    assert warning.startswith("the figure criteria is not drawn: `records` must hold")
    assert not Path("result/criteria.png").exists() and Path("result/sparsity.png").exists()


def test_progress_counts_all_rounds_and_measures_and_says_which_are_recorded_already(capsys):
    table = '[analyze]\nmeasure = "structure"\nfields = ["pairs"]\nrounds = {}\n[figures.sparsity]'
    for rounds, words, count, known in (
        ('"all"', [], 24, 0),
        ("[0, 2]", [], 20, 20),
        ("[0, 2]", ["--quick"], 12, 0),
    ):  # of 2 runs and seeds all 3 rounds, in small 2, of which 1 is measured
        text = KARATE.replace("[figures.sparsity]", table.format(rounds))
        run_suite(text, "--seeds=2", *words)
        lines = capsys.readouterr().err.splitlines()
        assert [line.split()[0] for line in lines] == [f"{i + 1}/{count}" for i in range(count)]
        assert sum(line.endswith("  recorded already") for line in lines) == known


def test_a_figure_calls_runs_as_the_tables_of_the_suite_do():
    runs = {"ugs": table({0: [0.8], 1: [0.8]}),
            "without edges": table({0: [0.8], 1: [0.7]}, settings={"drop_edges": 0.0})}  # fmt: skip
    records = [r for own in page.runs_with_names(runs).values() for r in own]
    (legend,) = draw_figure(records).legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["ugs", "without edges"]


def test_a_figure_of_the_measure_is_drawn_of_what_is_measured_with_its_settings():
    measure = {"measure": "removed_edges", "fields": ["removed_count"]}
    own = {"title": "of removed edges", "runs": ["a"]}
    figures = {"sparsity": {"floor": 0.2}, "removed_edges": own}
    assert page.figures_of(suite_of(analyze=measure, figures=figures)) == (
        {"sparsity": {"floor": 0.2}}, {"removed_edges": own}
    )  # fmt: skip
    assert page.figures_of(suite_of(analyze=measure)) == ({}, {"removed_edges": {}})
    assert page.figures_of(suite_of(figures=figures)) == (figures, {})
    assert page.figures_of(suite_of(analyze={"measure": "latency"})) == ({}, {})  # has no figure
    both = page.figures_of(suite_of(analyze={"measure": "instability"}))
    assert both == ({}, {"instability": {}, "barrier": {}})


@pytest.mark.parametrize("field", ["nope", "task", "warnings"])
def test_a_field_of_a_measure_that_is_no_number_is_refused(field):
    runs = {"a": table({0: [0.8], 1: [0.8]}, pairs=3, homophily=None, warnings=[])}
    measure = {"measure": "structure", "fields": ["pairs", "homophily"]}
    assert len(tables.measure_table(runs, measure).rows) == 2
    with pytest.raises(ValueError, match=rf"`fields` must be numbers .* pairs, .* got '{field}'"):
        tables.measure_table(runs, measure | {"fields": ["pairs", field]})


def test_texts_of_several_lines_and_with_bars_stay_in_their_cells():
    text = KARATE.replace('"Tickets match dense"', '"""Tickets\nmatch | dense"""')
    text, data = run_suite(
        text.replace('"a paper, figure 3"', '"a paper,\\nfigure 3"'), "--seeds=1"
    )
    assert "| Tickets match \\| dense | a paper, figure 3 | ugs is less than 90 points " in text
    assert data["verdicts"][0]["claim"] == "Tickets\nmatch | dense"  # as it is in the file


def test_a_measure_without_a_figure_is_told_in_its_table_and_a_missing_table_in_a_line():
    measure = '[analyze]\nmeasure = "latency"\nfields = ["compact_bytes"]\nrounds = "1, 2"\n'
    text = KARATE.replace("[figures.sparsity]", measure + "[figures.sparsity]")
    text = text.replace("seeds = 4", 'seeds = 4\ncompare = ["imp"]\nmask_epochs = ["test"]')
    text = re.sub(r"(?s)\[\[claims\]\].*(?=\[extreme.weights\])", "", text)
    text = text.replace('[extreme.edges]\nruns = ["ugs"]', "")
    text, data = run_suite(text, "--seeds=1", "--quick")
    rows = [row for row in data["rows"] if row["table"] == "measures"]
    assert {row["round"] for row in rows} == {1} and not Path("result/latency.png").exists()
    assert "no table of mask phases: no run records the epoch of its masks" in data["warnings"]


def test_a_result_is_written_though_another_command_has_removed_its_empty_folder():
    Path("small.toml").write_text(KARATE)

    def remove_folder(step):
        if Path("result").exists():
            Path("result").rmdir()

    reproduce("small.toml", result="result", seeds=1, watch=remove_folder)
    assert Path("result/README.md").exists() and Path("result/sparsity.png").exists()


def test_a_picture_that_the_suite_has_no_more_does_not_stay():
    run_suite(KARATE)
    run_suite(KARATE.replace("[figures.sparsity]", "[figures.cost]"))
    assert Path("result/cost.png").exists() and not Path("result/sparsity.png").exists()


def test_in_small_the_page_and_the_figure_say_so(monkeypatch):
    titles = []
    kept = page.figure_title
    monkeypatch.setattr(page, "figure_title", lambda *a: titles.append(kept(*a)) or titles[-1])
    text, data = run_suite(KARATE, "--quick")
    assert "In small (--quick): no reproduction. 2 seeds" in text
    assert titles[0] == "UGS on Karate (in small: 2 seeds)"
    assert data["measurements"][0]["command"].startswith("graphlth reproduce small.toml --quick ")
    assert data["verdicts"][0]["found"] == "in small ugs has no round 2"
    text, data = run_suite(KARATE, "--quick", "--seeds=5-7")
    assert "3 seeds, from 5 up" in text
    assert "--quick --seeds 5-7" in data["measurements"][0]["command"]


@pytest.mark.parametrize(("published", "points", "title"), [
    ({"paper": {"1": 0.8}}, True, "T"),
    ({"paper": {"1": 0.8}}, False, "T\npublished points: in the table of the page"),
    ("not available: plots alone", False, "T\npublished points: not available: plots alone"),
    ({}, False, "T"),
])  # fmt: skip
def test_a_figure_says_where_published_points_are(published, points, title):
    assert page.figure_title({"title": "T", "published": published}, "T", points) == title
    told = page.describe_result({"title": "T", "source": "", "published": published},
                                {"ugs": table({0: [0.8]}, settings={"epochs": 3})})  # fmt: skip
    assert ("Published values: not available: plots alone." in told) == isinstance(published, str)


@pytest.mark.parametrize(("name", "runs", "told"), [
    ("sparsity", {"ugs": []}, "`records` must hold at least one record, got none"),
    ("criteria", {"ugs": UGS}, "`records` must hold tickets of joint_early_bird, run with `--draw"),
    ("inference", {"ugs": [r | {"macs": None} for r in UGS]}, "`records` must hold `macs`, which "),
    ("cost", {"ugs": UGS}, "`records` must hold `macs_retrain`, which that of ugs-cora-gcn, seed"),
    ("cost", {"ugs": UGS[6:]}, "`records` must hold rounds 0 to 2 of ugs-cora-gcn, seed 0, lack"),
])  # fmt: skip
def test_a_figure_of_what_the_records_lack_is_a_warning(name, runs, told):
    captions, [warning] = page.draw_figures(suite_of(), runs, {name: {}}, Path())
    assert captions == {} and warning.startswith(f"the figure {name} is not drawn: {told}")


def test_another_fault_of_a_figure_is_an_error():
    with pytest.raises(ValueError, match="`margin` must be a fraction of accuracy"):
        page.draw_figures(suite_of(), {"ugs": UGS}, {"sparsity": {"margin": 2.0}}, Path())


def test_published_points_stand_over_the_rounds_of_the_first_run_with_their_source():
    ours = table({0: [0.8] * 3, 1: [0.79] * 3, 2: [0.78] * 3}, algorithm="ugs")
    others = table({0: [0.8] * 3, 1: [0.7] * 3}, algorithm="imp", edge_sparsity=0.0)
    points = {"paper, read off": {0: 0.81, 2: 0.77}, "released code": {1: 0.75, 9: 0.5}}
    for records in ([*ours, *others], [*ours]):
        figure = draw_figure(records, published=points)
        axis = figure.axes[0]
        drawn = {line.get_label(): line for line in axis.lines}
        read_off, code = drawn["_paper, read off"], drawn["_released code"]
        assert read_off.get_xdata() == pytest.approx([0, 100 * (1 - 0.95**2)])
        assert read_off.get_ydata() == pytest.approx([81, 77])
        assert code.get_xdata() == pytest.approx([5]) and code.get_ydata() == pytest.approx([75])
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert {"published: paper, read off", "published: released code"} <= {*texts}
        assert (read_off.get_marker(), code.get_marker()) == PUBLISHED_MARKS[:2]


def test_published_tickets_stand_at_the_cost_of_the_run_that_they_are_of():
    runs = {name: table({0: [0.8] * 3, 1: [0.79] * 3}, algorithm=name) for name in ("a", "b")}
    suite = suite_of(tickets=True, published={"table 2": {"a": 0.81}, "elsewhere": {"c": 0.5}})
    points = page.published_tickets(suite, runs)
    assert [*points] == ["table 2"] and page.published_tickets(suite_of(), runs) == {}
    figure = inference.draw_figure([*runs["a"], *runs["b"]], published=points)
    drawn = {line.get_label(): line for line in figure.axes[0].lines}
    assert drawn["_table 2"].get_xdata() == pytest.approx([runs["a"][-1]["macs"]])
    assert drawn["_table 2"].get_ydata() == pytest.approx([81])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "published: table 2" in texts


def test_published_points_are_not_drawn_without_the_run_that_they_are_of():
    suite, records = suite_of(published={"paper": {"1": 0.8}}), table({0: [0.8], 1: [0.7]})
    assert page.published_points(suite, {"a": records}) == {"paper": {1: 0.8}}
    assert page.published_points(suite, {"b": records}) == {}
    small = quick_suite(suite | {"quick": {"runs": ["b"]}})  # "b" is its first, and not of "paper"
    assert page.published_points(small, {"b": records}) == {}
    assert "paper" not in tables.round_table({"b": records}, small).columns


SPLITS = """
splits = 2
[figures.sparsity]
[settings]
task = "file"
path = "graph.npz"
model = "gcn"
hidden = 4
epochs = 2
rounds = 1
[runs.ugs]
algorithm = "ugs"
[runs.random_tickets]
algorithm = "random_tickets"
[[claims]]
text = "Tickets match dense"
winning = "ugs"
rounds = [1]
"""


def save_splits():
    """A small graph with two splits."""
    part = np.stack([np.arange(12) % 3, np.arange(12)[::-1] % 3])  # [splits, N]
    masks = {f"{name}_masks": part == i for i, name in enumerate(("train", "val", "test"))}
    edges = np.stack([np.arange(11), np.arange(1, 12)])
    np.savez("graph.npz", x=np.eye(12), y=np.arange(12) // 6, edge_index=edges, **masks)


def test_the_splits_of_a_suite_stand_in_the_place_of_seeds():
    save_splits()
    text, data = run_suite(SPLITS)
    assert "2 splits with one seed each" in text and data["measurements"][0]["seeds"] == 2
    told = [json.loads(line) for path in Path("runs").glob("*/seed*.jsonl")
            for line in path.read_text().splitlines()[:1]]  # fmt: skip
    assert sorted((r["algorithm"], r["seed"], r["settings"]["split"]) for r in told) == [
        (algorithm, seed, seed) for algorithm in ("random_tickets", "ugs") for seed in (0, 1)
    ]  # fmt: skip
    [verdict] = data["verdicts"]
    assert (verdict["verdict"], verdict["found"]) == ("not comparable", page.SPLITS)


def test_of_several_seeds_on_each_split_a_split_is_their_mean():
    save_splits()
    text, data = run_suite("seeds = '3-5'" + SPLITS)
    assert "2 splits with 3 seeds each, " in text
    assert Path("result/sparsity.png").exists()
    told = [json.loads(line) for path in Path("runs").glob("ugs-*/seed*.jsonl")
            for line in path.read_text().splitlines()]  # fmt: skip
    tests = {split: [r["test"] for r in told if (r["settings"]["split"], r["round"]) == (split, 1)]
             for split in (0, 1)}  # fmt: skip
    assert [len(values) for values in tests.values()] == [3, 3]
    cells = {(row["table"], row["column"]): row["value"] for row in data["rows"]
             if row["round"] == 1}  # fmt: skip
    means = [np.mean(values) for values in tests.values()]
    assert cells["accuracy", "ugs"] == pytest.approx(100 * np.mean(means))
    assert cells["spread", "ugs, between splits"] == pytest.approx(100 * np.std(means, ddof=1))
    within = np.mean([np.var(values, ddof=1) for values in tests.values()])
    assert cells["spread", "ugs, between seeds"] == pytest.approx(100 * within**0.5)
    assert {verdict["found"] for verdict in data["verdicts"]} == {page.SPLITS}
    text, _ = run_suite("seeds = '3-5'" + SPLITS, "--seeds=7-7")
    assert "2 splits with 1 seed each" in text and "between seeds" not in text


@pytest.mark.parametrize(("old", "new", "told"), [
    ("[figures.sparsity]", "[extreme.edges]\nruns = ['ugs']", "`extreme` must not be given beside"),
    ("[figures.sparsity]", "[expected.ugs]\n0 = [0.5, 1.0]", "`expected` must not be given beside"),
    ("[runs.ugs]\n", "[runs.ugs]\nseeds = 3\n", "`seeds` must be given for all runs beside"),
])  # fmt: skip
def test_beside_splits_nothing_is_tested_and_seeds_are_of_all_runs(old, new, told, capsys):
    save_splits()
    Path("small.toml").write_text(SPLITS.replace(old, new))
    assert main(["reproduce", "small.toml"]) == 2
    assert told in capsys.readouterr().err and not Path("runs").exists()


def test_a_figure_over_splits_says_so_and_marks_no_winning_ticket():
    records = table({0: [0.8] * 3, 1: [0.8] * 3}, algorithm="ugs")
    over = [mean for k in range(3) for mean in records_of_split(
        [r for r in records if r["seed"] == k], k)]  # fmt: skip
    for own, what, stars in ((records, "seed", 1), (over, "split", 0)):
        figure = draw_figure(own)
        assert f"3 {what}s" in figure.axes[0].get_title(loc="left")
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert f"95 % interval over {what}s" in texts
        assert sum("winning" in text for text in texts) == stars
        assert len(winning_rows(summary(own))) == stars


CHANNELS = """
seeds = 2
tickets = true
[settings]
task = "digits_images"
model = "preresnet_20"
train_size = 40
test_size = 40
evaluate_every = 1
epochs = 3
drop_channels = 0.5
[runs.early]
algorithm = "early_bird"
window = 1
epsilon = 2.0
[runs."one shot"]
algorithm = "channels"
[runs.random]
seeds = 1
algorithm = "channels"
channel_score = "random"
[published."table 1"]
"one shot" = 0.25
[[claims]]
text = "Tickets emerge early"
drawn = "early"
epoch = 2
[figures.distances]
runs = ["early"]
"""


def test_early_bird_tickets_of_channels_are_reported_beside_one_shot():
    text, data = run_suite(CHANNELS)
    assert re.search(r"\| early \| 2 \| .* \| 2 \(2 – 2\) \| .* \| – \|\n", text)
    assert re.search(r"\| one shot \| 2 \| .* \| 25.0 \|\n", text) and "| random | 1 |" in text
    [verdict] = data["verdicts"]
    assert verdict["found"] == "2 of 2 seeds, at epochs 2 to 2"
    assert verdict["verdict"] == "not decided by 2 seeds"
    assert Path("result/distances.png").exists()


GRAPHS = """
seeds = 2
tickets = true
[settings]
task = "karate"
model = "gcn"
hidden = 4
epochs = 4
[runs.joint]
algorithm = "joint_early_bird"
window = 1
draws = 1
[runs.ugs]
algorithm = "ugs"
rounds = 2
[[claims]]
text = "It costs less than UGS"
cheaper = ["joint", "ugs"]
rounds = [1, 2]
times = 2
"""


def test_early_bird_tickets_of_graphs_are_reported_with_what_they_cost():
    _, data = run_suite(GRAPHS)
    records = [json.loads(line) for path in Path("runs").glob("*/seed*.jsonl")
               for line in path.read_text().splitlines()]  # fmt: skip

    def macs(algorithm, last, seed):  # all rounds of search, and the last retraining
        own = [r for r in records if (r["algorithm"], r["seed"]) == (algorithm, seed)]
        [end] = [r["macs_retrain"] for r in own if r["round"] == last]
        return sum(r["macs_search"] for r in own if r["round"] <= last) + end

    times = [macs("ugs", 2, seed) / macs("joint_early_bird", 1, seed) for seed in range(2)]
    assert data["verdicts"][0]["found"] == f"{sum(times) / 2:.2f} times fewer MACs"
    cells = {row["column"]: row["value"] for row in data["rows"] if row["run"] == "joint"}
    spent = [macs("joint_early_bird", 1, seed) / 1e9 for seed in range(2)]
    assert cells["training MACs, G"] == pytest.approx(sum(spent) / 2)


@pytest.mark.parametrize(("metric", "name"), [
    ({}, "accuracy"), ({"metric": "roc_auc"}, "ROC-AUC"),
    ({"metric": "average_precision"}, "average precision"), ({"metric": "hits@50"}, "hits@50"),
])  # fmt: skip
def test_results_are_called_what_their_records_call_them(metric, name):
    assert tables.metric_name({"ugs": [metric], "random": [{}]}) == name


# --- errors, of which less is better -------------------------------------------------------------


@pytest.mark.parametrize(("fields", "value", "unit"), [
    (RMSE, "0.812", ""), ({"metric": "hours", "direction": "max"}, "0.812", ""),
    ({}, "81.2", " in %"), ({"metric": "roc_auc"}, "81.2", " in %"),
])  # fmt: skip
def test_only_fractions_are_told_in_per_cent(fields, value, unit):
    runs = {n: table({r: [0.8121] * 3 for r in (0, 1)}, algorithm=n, **fields) for n in ("a", "b")}
    told = tables.describe_values(runs)
    assert told.startswith(f"Test {tables.metric_name(runs)}{unit} at")
    assert ("differences in points" in told) == bool(unit)
    published = {"paper": {"1": 0.8121}}
    found = {
        "round": tables.round_table(runs, suite_of(published=published)),
        "run": tables.run_table(runs, suite_of(columns=[1], published={"p": {"b": {"1": 0.8121}}})),
        "ticket": tables.ticket_table(runs, suite_of(tickets=True, published={"p": {"b": 0.8121}})),
    }
    for each in found.values():
        forms = {**each.keys, **each.columns}
        shown = {format(getattr(cell, "value", cell), form) for row in each.rows
                 for cell, form in zip(row, forms.values(), strict=True)
                 if cell is not None and not isinstance(cell, str)}  # fmt: skip
        assert value in shown
        assert any("test, %" in head for head in forms) == (bool(unit) and each is found["ticket"])
    [claim] = tables.band_claims(runs, suite_of(expected={"a": {"1": [0.8, 1.0]}}))
    assert claim.claim == f"a, round 1: test {tables.metric_name(runs)}{', %' if unit else ''}"
    assert (claim.at_least, claim.at_most) == ((80, None) if unit else (0.8, 1.0))


def test_two_rounds_with_as_many_weights_are_told_apart():
    runs = {n: table({0: [0.8], 1: [0.8], 2: [0.8]}, algorithm=n, weight_sparsity=0.0)
            for n in ("a", "b")}  # fmt: skip
    found = tables.run_table(runs, suite_of(columns=[1, 2]))
    assert [*found.columns] == ["round 1", "round 1, − a", "round 2", "round 2, − a"]
    assert all(len(row) == 5 for row in found.rows)


def test_seeds_that_are_pruned_by_late_masks_stand_beside_the_others():
    records = table({0: [0.8] * 5, 1: [0.79, 0.81, 0.8, 0.78, 0.7], 2: [0.7] * 5})
    epochs = {1: [5, 6, 7, 6, 12], 2: [4, 5, 7, 5, 9]}  # late is from twice the median of a round
    records = [r | ({"mask_epoch": epochs[r["round"]][r["seed"]], "share": 0.1 * r["seed"]}
                    if r["round"] else {"share": None}) for r in records]  # fmt: skip
    found = mask_epoch_table({"ugs": records, "imp": table({0: [0.8], 1: [0.7]})}, ["share"])
    assert [*found.columns] == ["epoch", "late seeds", "to dense, late", "to dense, others", "p",
                                "share, late", "share, others"]  # fmt: skip
    first, second = found.rows
    assert first[:2] == ["ugs", 1] and (first[2].value, first[2].high, first[3]) == (6, 12, 1)
    assert (first[4].value, first[5].value, first[5].low) == pytest.approx((-10, -0.5, -2))
    assert first[6] == pytest.approx(1 / 5)  # of five orders, one has the late seed last
    assert (first[7].value, first[8].value) == pytest.approx((0.4, 0.15))
    assert second[3:5] == [0, None] and second[6:8] == [None, None]
    first_epochs = [r | {"mask_epoch": int(r["seed"] == 4)} for r in records if r["round"] < 2]
    [row] = mask_epoch_table({"ugs": first_epochs}).rows[1:]
    assert row[3] == 1  # the median, epoch 0, is no late one, though it is twice itself
    assert mask_epoch_table({"imp": table({0: [0.8], 1: [0.7]})}) is None
    with pytest.raises(ValueError, match=r"`mask_epochs` must be numbers .* got 'shar'"):
        mask_epoch_table({"ugs": records}, ["shar"])


@pytest.mark.parametrize("more", [{}, {"pairs": [["a", "b"]]}, {"columns": [1]}])
def test_runs_of_different_data_have_no_gaps_and_a_line_says_so(more):
    runs = {n: table({0: [0.8] * 3, 1: [0.8] * 3}, algorithm=n, data=n[0]) for n in ("a", "b")}
    suite = suite_of(**more)
    found = (tables.run_table if "columns" in more else tables.gap_table)(runs, suite)
    cell = -1 if "columns" in more else list(found.columns).index("a − b") + 1
    assert found.rows[-1][cell] is None
    [line] = tables.pair_warnings(runs, suite)
    assert line.endswith(": no gaps, as the two runs are of different data")
    alike = {n: table({0: [0.8] * 3, 1: [0.8] * 3}, algorithm=n) for n in ("a", "b")}
    found = (tables.run_table if "columns" in more else tables.gap_table)(alike, suite)
    assert found.rows[-1][cell].value == 0 and not tables.pair_warnings(alike, suite)
    assert not tables.pair_warnings(runs, suite_of(tickets=True))


# --- suites that are made of one -----------------------------------------------------------------


def test_in_small_a_suite_has_fewer_seeds_runs_and_rounds():
    suite = read_suite("gebt_cora") | {"quick": {"seeds": 2, "runs": ["joint 20/50"], "epochs": 9}}
    [(name, [run])] = suite_runs(quick_suite(suite)).items()
    assert (name, run.seeds, run.settings["epochs"]) == ("joint 20/50", (100, 101), 9)
    own = suite_of(quick={"lr": 0.2, "runs": ["a"]})
    own["runs"]["a"] |= {"seeds": "4-8", "lr": 0.1}
    [[run]] = suite_runs(quick_suite(own)).values()
    assert (run.seeds, run.settings["lr"]) == ((4, 5, 6), 0.2)  # three by default
    [[run]] = suite_runs(with_seeds(quick_suite(own), "1,7")).values()
    assert run.seeds == (1, 7)


# --- what is wrong is told before anything is run ------------------------------------------------


def with_line(old, new):
    assert old in KARATE
    return KARATE.replace(old, new)


CLAIM = '[[claims]]\ntext = "Tickets match dense"\nwinning = "ugs"\nrounds = [1, 2]\nmargin = 0.9'
WRONG = [
    ("no TOML", "`name` 'small.toml' is not TOML: "),
    ("# " + "x" * (1 << 20), "`name` must be a .toml of at most 1,048,576 bytes, got 'small.toml'"),
    (with_line("source =", "sorce ="), "`sorce` is no setting of a suite; did you mean `source`?"),
    (with_line('source = "a paper, figure 3"', "source = 3"), "`source` must be text, got 3"),
    (with_line("[[claims]]", "[claims]", ), "not TOML"),
    (with_line("seeds = 4", "seeds = 4\nmask_epochs = true"),
     "`mask_epochs` must be a list, got True"),
    (with_line(CLAIM, '[[claims]]\ntext = "So"'), "`claims` must each have a `text` and one of "),
    (with_line(CLAIM, CLAIM + '\nreason = "no"'), "`claims` must each have a `text` and one of "),
    (with_line(CLAIM, CLAIM.replace('"ugs"', '"usg"')),
     "`winning` must name runs of the suite, ugs, imp, got 'usg'; in the claim 'Tickets match "),
    (with_line("rounds = [1, 2]", 'rounds = "1,2"'), "`rounds` must be a list, got '1,2'"),
    (with_line("rounds = [1, 2]", "rounds = [1, 2.5]"), "`rounds` must be a whole number, got 2.5"),
    (with_line("rounds = [1, 2]", "rounds = []"), "`rounds` must be rounds, each once, got []"),
    (with_line("rounds = [1, 2]", "rounds = [0, 1]"), "`rounds` must be from 1 on beside `winn"),
    (with_line(CLAIM, CLAIM.replace('winning = "ugs"', 'no_worse = ["ugs", "dense"]')
               .replace("[1, 2]", "[0, 1]")), "`rounds` must be from 1 on beside `no_worse`, "),
    (with_line(CLAIM, CLAIM.replace('winning = "ugs"', 'better = ["ugs", "imp"]\nto_dense = true')
               .replace("[1, 2]", "[0, 1]")), "`rounds` must be from 1 on beside `better`, which"),
    (with_line("seeds = 4", "seeds = 4\ncolumns = [1, 1]"), "`columns` must name each once, got"),
    (with_line("seeds = 4", 'seeds = 4\npairs = [["ugs", "imp"], ["ugs", "imp"]]'),
     "`pairs` must name each once, got ['ugs', 'imp'] twice"),
    (with_line("seeds = 4", "seeds = 4\npairs = 4"), "`pairs` must be a list, got 4"),
    (with_line("seeds = 4", 'seeds = 4\nmask_epochs = ["test", "test"]'),
     "`mask_epochs` must name each once, got 'test' twice"),
    (with_line("[figures.sparsity]", '[analyze]\nmeasure = "structure"\nfields = ["a", "a"]\n'
               "[figures.sparsity]"), "`fields` must name each once, got 'a' twice"),
    (with_line("[figures.sparsity]", "[instability.ugs]\n1 = [0, 0.1]\n[figures.sparsity]"),
     "`instability` must be given beside [analyze] with measure = "),
    (with_line("1 = 0.4", "3 = 0.4"),
     "`published.paper, read off` must be of rounds that 'ugs' has, up to 2, got 3"),
    (with_line("1 = 0.4", "01 = 0.4"), "`published.paper, read off` must have rounds as keys"),
    (with_line("seeds = 4", "seeds = 4\n[expected.imp]\n7 = [0.5, 0.9]\n"),
     "`expected.imp` must be of rounds that 'imp' has, up to 2, got 7"),
    (with_line('[published."paper, read off"]\n0 = 0.5\n1 = 0.4', "")
     .replace("seeds = 4", "seeds = 4\ncolumns = [1, 9]"), "`columns` must be of rounds that 'ugs"),
    (with_line("margin = 0.9", 'margin = "1 %"'), "`margin` must be a number, got '1 %'"),
    (with_line("margin = 0.9", "margin = -1"), "`margin` must be in [0, inf), got -1"),
    (with_line("margin = 0.9", "margin = 0"), "`margin` must be above 0 beside `winning`, got 0"),
    (with_line("margin = 0.9", "times = 2"), "`times` is no setting of a claim of 'winning'"),
    (with_line("times = 1000", "times = 0"), "`times` must be in (0, inf), got 0"),
    (with_line("times = 1000", ""), "`times` must be given beside `cheaper`, got none"),
    (with_line("rounds = [1, 1]", "rounds = [1]"), "`rounds` must be two, one for each run"),
    (with_line('["ugs", "imp"]', '["ugs", "ugs"]'), "`cheaper` must be of two runs, got "),
    (with_line('cheaper = ["ugs", "imp"]\nrounds = [1, 1]\ntimes = 1000',
               'better = ["ugs", "dense"]\nrounds = [1]\nto_dense = true'),
     "`better` must name runs of the suite, ugs, imp, got 'dense'"),
    (with_line('cheaper = ["ugs", "imp"]\nrounds = [1, 1]\ntimes = 1000',
               'drawn = "ugs"\nepoch = "2"'), "`epoch` must be a whole number, got '2'"),
    (with_line("[figures.criteria]", "[figures.criterion]"),
     "`figure` must be one of barrier, cost, criteria"),
    (with_line("[figures.sparsity]", "[figures.sparsity]\nflor = 0.5"),
     "`flor` is no setting of the figure sparsity; did you mean `floor`?"),
    (with_line("[figures.sparsity]", "[figures.sparsity]\nfloor = 50"), "`floor` must be in ["),
    (with_line("[figures.sparsity]", '[figures.sparsity]\nruns = ["gcn"]'),
     "`figures.sparsity` must name runs of the suite, ugs, imp, got 'gcn'"),
    (with_line("[extreme.weights]", "[extreme.heads]"), "`heads` is no setting of `extreme`"),
    (with_line('"a paper" = 0.5', '"a paper" = 50'), "`extreme.weights.published` must be"),
    (with_line('runs = ["imp"]', 'runs = ["gcn"]'), "`extreme.weights.runs` must name runs of the"),
    (with_line("seeds = 4", "seeds = 4\nsplits = 2"),
     "`splits` must be of a task with the setting `split`, got 'karate'"),
    (with_line('[runs.imp]', '[runs."MACs, M"]\nalgorithm = "imp"\n[runs.imp]'),
     "`runs` must not have the name of another column, got 'MACs, M'"),
    (with_line('[runs.imp]', '[runs."a\\nb"]\nalgorithm = "imp"\n[runs.imp]'),
     "`runs` must have names of a line of printable text, got 'a\\nb'"),
    (with_line('[runs.imp]', '[runs.also]\nalgorithm = "ugs"\n[runs.imp]'),
     "`runs` must differ in a setting, got 'ugs' and 'also', which are one run"),
    (with_line("margin = 0.9", "margin = 1"),
     "`margin` must be a fraction of accuracy, got 1: a point is 0.01"),
    (with_line("rounds = [1, 2]\nmargin", "rounds = [1, 3]\nmargin"),
     "`rounds` must be of rounds that 'ugs' has, up to 2, got 3; in the claim 'Tickets match "),
    (with_line("[figures.sparsity]", '[figures.sparsity]\nmetric = "vla"'),
     "`metric` must be one of test, val, got 'vla'; in `figures.sparsity`"),
    (with_line("[figures.sparsity]", '[analyze]\nmeasure = "instabilty"\n[figures.sparsity]'),
     "`measure` must be one of epoch_selection, instability"),
    (with_line("[figures.sparsity]", '[analyze]\nmeasure = "structur"\nfields = ["pairs"]\n'
               "[figures.sparsity]"), "did you mean `structure`?"),
    (with_line("[figures.sparsity]", '[analyze]\nmeasure = "instability"\npoint = 3\n'
               "[figures.sparsity]"), "`point` is no setting of instability; did you"),
    *((with_line("[figures.sparsity]", f'[analyze]\nmeasure = "structure"\nfields = ["pairs"]\n'
                 f"rounds = {rounds}\n[figures.sparsity]"), words) for rounds, words in (
        ("2", "`rounds` must be text or a list, got 2"),
        ('"x"', "`rounds` must be all, or numbers as in 0,2, got 'x'"),
        ("[0, 7]", "`rounds` must be of the run's, 0, 1, 2, got 7: not in `the plan of ugs`"))),
    (with_line("seeds = 4", "seeds = 4\ncolumns = 4"), "`columns` must be a list, got 4"),
    (with_line("seeds = 4", 'seeds = 4\npairs = [["ugs"]]'), "`pairs` must be of two runs, got ["),
    (with_line("seeds = 4", 'seeds = 4\npairs = [["ugs", "gat"]]'), "`pairs` must name runs"),
    (with_line("seeds = 4", 'seeds = 4\ncompare = ["gat"]'), "`compare` must name runs"),
    (with_line("seeds = 4", "seeds = 4\n[expected.ugs]\n1 = [0.9, 0.5]\n"),
     "`expected.ugs` must be [lowest, highest], got [0.9, 0.5]"),
    (with_line("1 = 0.4", "one = 0.4"), "`published.paper, read off` must have rounds as keys"),
    (with_line("1 = 0.4", 'paper = "0.4"'), "`published.paper, read off` must have rounds as keys"),
    (with_line("1 = 0.4", '1 = "0.4"'), "`published.paper, read off` must be a number, got '0.4'"),
    (with_line('"paper, read off"', "imp"), "`published` must have names that no run"),
    (with_line("[quick]\nseeds = 2", '[quick]\nseeds = "2"'), "`seeds` must be a whole number"),
    (with_line("[quick]\nseeds = 2", '[quick]\nruns = ["gat"]'), "`quick.runs` must name runs of"),
    (with_line("epochs = 3", 'epochs = "3"'), "`epochs` must be a whole number, got '3'; in"),
    (with_line("epochs = 3", "epoch = 3"), "`epoch` is no setting of"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_in_a_suite_is_told_in_a_line_before_it_is_run(text, words, capsys):
    Path("small.toml").write_text(text)
    assert main(["reproduce", "small.toml"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and words in told.err
    assert told.err.startswith("graphlth: error: `")
    assert [path.name for path in Path().iterdir()] == ["small.toml"]


@pytest.mark.parametrize(("words", "told"), [
    (["ugs-cora-gcnn"], "got 'ugs-cora-gcnn': did you mean 'ugs-cora-gcn'? `graphlth reproduce --"),
    (["xyzzy"], "`name` must be a suite or a .toml file, got 'xyzzy': `graphlth reproduce --list`"),
    (["none.toml"], "`name` must be a file, got 'none.toml'"),
    ([], "`name` must be a suite, or give --list, got none"),
    (["--list", "ugs-cora-gcn"], "`name` must be left out with --list, got 'ugs-cora-gcn'"),
    (["small.toml", "--seeds=0"], "`seeds` must be a count from 1, such as 5, or numbers"),
    (["small.toml", "--seeds=a"], "`seeds` must be a count from 1, such as 5, or numbers"),
    (["small.toml", "--worker=2"], "`worker` is no setting here; did you mean `workers`?"),
    (["small.toml", "--workers=0"], "`workers` must be in [1, 1024], got 0"),
    (["small.toml", "--result=small.toml"], "cannot write `result` 'small.toml': File exists"),
    (["small.toml", "--result=/proc/here"], "cannot write `result` '/proc/here': "),
    (["small.toml", "--result=run"], "`result` must not be the folder of a run, got 'run'"),
    (["small.toml", "--result=mine"], "`result` must be a new folder or one of a result of small"),
    (["small.toml", "--result=other"], "`result` must be a new folder or one of a result of small"),
    (["small.toml", "--result=torn"], "`result` must hold no damaged data.json, got 'torn/data.js"),
    (["small.toml", "--result=deep"], "`result` must be a new folder or one of a result of small"),
    (["small.toml", f"--result={'x' * 300}"], f"cannot write `result` '{'x' * 300}': File name"),
    (["small.toml", "--result=papers"], "in which `pictures` names no files of the folder: name"),
    (["small.toml", "--result=apart"], "in which `pictures` names no files of the folder: name"),
    (["ugs-cora-gcn", "--data_root=nowhere", "--result=new"], "nowhere"),
])  # fmt: skip
def test_what_is_wrong_in_the_command_is_told_in_a_line(words, told, capsys):
    Path("small.toml").write_text(KARATE)
    for name, file, text in (("run", "settings.json", "{}"), ("mine", "README.md", "mine"),
                             ("other", "data.json", '{"name": "another"}'),
                             ("torn", "data.json", '{"name": "small", "pictures": [{}]}'),
                             ("deep", "data.json", "[" * 100_000),
                             ("papers", "data.json", '{"name": "small", "pictures": [{"file": '
                              '"thesis.tex"}]}'),
                             ("apart", "data.json", '{"name": "small", "pictures": [{"file": '
                              '"../small.toml"}]}')):  # fmt: skip
        Path(name).mkdir()
        Path(name, file).write_text(text)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(["reproduce", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and told in shown.err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert not Path("new").exists()


def test_a_seed_that_another_process_runs_is_told_with_the_remedy(capsys):
    run_suite(KARATE, "--seeds=1")
    folder = next(Path("runs").glob("ugs-*"))
    with lock_seed(folder, 0):
        capsys.readouterr()
        assert main(["reproduce", "small.toml", "--seeds=1", "--result=result"]) == 2
    assert capsys.readouterr().err == (
        f"graphlth: error: seed 0 of `{folder}` is being run by another process: wait until it has "
        "ended, or name another `out`\n"
    )


def test_a_picture_that_is_of_no_result_stays(capsys):
    Path("small.toml").write_text(KARATE)
    Path("result").mkdir()
    Path("result/sparsity.png").write_text("mine")
    assert main(["reproduce", "small.toml", "--result=result", "--seeds=1"]) == 2
    assert "got 'result', which holds other files: name another" in capsys.readouterr().err
    assert Path("result/sparsity.png").read_text() == "mine" and not Path("runs").exists()


def test_a_dollar_in_a_name_is_no_formula():
    name = "a $x_^$"
    run_suite(KARATE.replace("[runs.imp]", f"[runs.'{name}']\nalgorithm = 'imp'\nlr = 0.02\n"
                             "[runs.imp]"), "--seeds=1")  # fmt: skip
    assert Path("result/sparsity.png").stat().st_size


def test_a_page_tells_what_is_tested_of_each_claim_with_its_margin():
    gap = {"better": ["a", "b"], "rounds": [4]}
    for claim, told in (
        ({"winning": "a", "rounds": [4]}, "a is less than 1 point worse than dense"),
        ({"no_worse": ["a", "b"], "rounds": [4], "margin": 0.2},
         "a is less than 20 points worse than b"),
        (gap, "a is better than b"),
        (gap | {"margin": 0.02, "to_dense": True},
         "a is better than b by more than 2 points, each as its gap to its own dense network"),
        ({"equal": ["a", "dense"], "rounds": [4], "field": "untrained_test"},
         "a is less than 1 point from dense, of untrained test"),
        ({"value": 0.81, "run": "a", "rounds": [0]}, "a is less than 1 point from 81.0 %"),
        ({"cheaper": ["a", "b"], "rounds": [1, 4], "times": 2},
         "a takes more than 2 times fewer MACs than b"),
        ({"stable": "a", "rounds": [4]}, "the instability of a is below 2 points"),
        ({"reason": "another network"}, "–"),
    ):  # fmt: skip
        assert describe_test({"text": "So", **claim}, PERCENT) == told
    assert describe_test({"text": "So", "winning": "a", "rounds": [1], "margin": 0.5}, PLAIN) == (
        "a is less than 0.5 worse than dense"
    )


def test_a_dry_run_prints_commands_and_runs_nothing(capsys):
    Path("small.toml").write_text(KARATE)
    assert main(["reproduce", "small.toml", "--dry-run", "--seeds=100-103,7"]) == 0
    told = capsys.readouterr().out
    commands = [line for line in told.splitlines() if line.startswith("graphlth run ")]
    assert [line.split()[2] for line in commands] == ["ugs", "imp"]
    assert all(" --seeds 7,100-103 " in line for line in commands)
    assert [path.name for path in Path().iterdir()] == ["small.toml"]


def test_what_is_recorded_stays_after_an_interrupt_and_the_same_command_continues():
    Path("small.toml").write_text(KARATE.replace("[figures.sparsity]\n[figures.criteria]", ""))
    steps = []

    def interrupt(step):
        steps.append(step)
        if len(steps) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce("small.toml", out="cut", watch=interrupt)
    kept = {path: path.read_bytes() for path in Path("cut").rglob("seed*.jsonl")}
    assert kept and not Path("reproduced/small/README.md").exists()
    found = reproduce("small.toml", out="cut")
    assert all(path.read_bytes() == lines for path, lines in kept.items())
    whole = reproduce("small.toml", out="whole", result="whole_result")
    first, second = (json.loads((each.folder / "data.json").read_text()) for each in (found, whole))
    assert first["rows"] == second["rows"] and first["verdicts"] == second["verdicts"]
