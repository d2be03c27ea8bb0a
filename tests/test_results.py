"""The results of benchmarks: data of one form, and pages that say what their data say."""

import json
import re
from pathlib import Path

import pytest

from graphlth.reproduction import result as report
from graphlth.reproduction.result import verdict
from graphlth.reproduction.suite import read_suite, suite_names

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").glob("*/data.json"))
NUMBER, TEXT, OPTIONAL = (int, float), str, (str, type(None))
MAYBE = (int, float, type(None))
WHOSE = {"machine": TEXT, "case": OPTIONAL}
FIGURE = {"low": MAYBE, "high": MAYBE, "interval": OPTIONAL, "n": (int, type(None))}
FIELDS = {  # of every entry, with its types; rows have the keys of their table besides
    "measurements": WHOSE | {
        "command": TEXT, "date": TEXT, "commits": list, "hardware": dict, "load": MAYBE,
        "versions": dict, "seeds": (int, type(None)), "settings": dict, "remark": OPTIONAL,
    },
    "tables": {"name": TEXT, "title": TEXT, "text": TEXT, "keys": dict, "columns": dict},
    "rows": WHOSE | FIGURE | {"table": TEXT, "column": TEXT, "value": (*MAYBE, str)},
    "claims": WHOSE | FIGURE | {
        "claim": TEXT, "value": NUMBER, "at_least": MAYBE, "at_most": MAYBE, "format": TEXT,
    },
    "verdicts": WHOSE | dict.fromkeys(("claim", "source", "tested", "found", "verdict"), TEXT),
    "pictures": WHOSE | {"file": TEXT, "caption": TEXT},
}  # fmt: skip
HARDWARE = {"cpu", "core", "vector_bits", "second_cache_kib", "cores", "threads"}


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def check_data(data):
    """Assert that the content of a data file has every field, of its type, and nothing else."""
    texts = ("name", "title", "about", "notes")
    assert set(data) == {*texts, *FIELDS, "warnings"}
    assert all(isinstance(data[name], str) for name in texts) and data["measurements"]
    tables = {table["name"]: table for table in data["tables"]}
    whose = [(m["machine"], m["case"]) for m in data["measurements"]]
    assert len({*whose}) == len(whose)
    for part, fields in FIELDS.items():
        for entry in data[part]:
            keys = tables[entry["table"]]["keys"] if part == "rows" else {}
            assert set(entry) == set(fields) | set(keys), entry
            assert all(isinstance(entry[name], kind) for name, kind in fields.items()), entry
            assert part == "tables" or (entry["machine"], entry["case"]) in whose
            if "interval" in fields:
                check_interval(entry)
            if part == "rows":
                assert entry["column"] in tables[entry["table"]]["columns"]
    for about in data["measurements"]:
        assert set(about["hardware"]) == HARDWARE and "torch" in about["versions"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", about["date"]) and about["commits"]


def check_interval(figure):
    """Assert that a figure has both ends of an interval that has a name, or neither."""
    low, high, value = (figure[name] for name in ("low", "high", "value"))
    known = (report.RANGE, report.STUDENT, report.BOOTSTRAP, report.DEVIATION, report.EXACT)
    assert (low is None) == (high is None) == (figure["interval"] is None), figure
    assert figure["interval"] in (None, *known)
    if low is not None:
        assert low <= high and (value is None or low - 1e-9 <= value <= high + 1e-9), figure


def names(path):
    return path.parent.name


def test_every_result_is_of_a_suite_or_of_a_script():
    """A suite without a result is not run yet."""
    scripts = {path.stem for path in BENCHMARKS.glob("speed_*.py")} | {"own_graphs"}
    folders = {path.name for path in (BENCHMARKS / "results").iterdir() if path.name != "demo"}
    assert {*map(names, RESULTS)} - {"demo"} == folders
    assert folders <= {*suite_names()} | scripts


@pytest.mark.parametrize("path", RESULTS, ids=names)
def test_a_data_file_has_every_field(path):
    data = json.loads(path.read_text())
    assert data["name"] == path.parent.name
    check_data(data)


@pytest.mark.parametrize("path", RESULTS, ids=names)
def test_a_page_says_what_its_data_say(path):
    data = json.loads(path.read_text())
    assert report.dump(data) == path.read_text()
    assert report.render(data) == path.with_name("README.md").read_text()


@pytest.mark.parametrize("path", RESULTS, ids=names)
def test_every_picture_is_named_once_and_is_there(path):
    named = [picture["file"] for picture in json.loads(path.read_text())["pictures"]]
    assert sorted(named) == sorted(p.name for p in path.parent.iterdir() if p.suffix == ".png")


def test_the_notes_of_a_result_are_those_of_its_suite():
    for path in RESULTS:
        if path.parent.name in suite_names():
            notes = read_suite(path.parent.name)["notes"].strip()
            assert json.loads(path.read_text())["notes"] == notes, path.parent.name


def test_no_file_of_the_benchmarks_has_a_date_in_its_name():
    dated = [p for p in BENCHMARKS.rglob("*") if re.search(r"\d{4}-\d\d(-\d\d)?", p.name)]
    assert dated == []


def student(low, high, n=5):
    return {"low": low, "high": high, "n": n, "interval": report.STUDENT}


@pytest.mark.parametrize(("low", "high", "least", "most", "expected"), [
    (3.1, 3.5, 3, None, "met"), (3.0, 3.5, 3, None, "met"), (2.9, 3.5, 3, None, "open"),
    (2.5, 2.9, 3, None, "**missed**"), (2.5, 3.0, 3, None, "open"),
    (0.3, 0.4, None, 0.4, "met"), (0.3, 0.5, None, 0.4, "open"),
    (0.5, 0.6, None, 0.4, "**missed**"), (80, 83, 80, 83, "met"), (79, 83, 80, 83, "open"),
    (70, 79, 80, 83, "**missed**"), (84, 85, 80, 83, "**missed**"),
])  # fmt: skip
def test_a_verdict_is_of_both_ends_of_an_interval(low, high, least, most, expected):
    assert verdict(student(low, high) | {"at_least": least, "at_most": most}) == expected


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (None, "–"),
        (1, "–"),
        (5, "–"),
        (6, "met"),
        (7, "met"),
    ],
)
def test_a_range_decides_from_six_measurements_on(n, expected):
    claim = {"low": 4.0, "high": 5.0, "n": n, "interval": report.RANGE}
    assert report.verdict(claim | {"at_least": 3, "at_most": None}) == expected


def test_a_figure_without_an_interval_decides_nothing():
    claim = {"low": None, "high": None, "n": 1, "interval": None}
    assert verdict(claim | {"at_least": 3, "at_most": None}) == "–"


def measured(name, value, case=None):
    """The data of a result with one figure, of one machine."""
    import machine

    about = machine.measurement(case=case) | {"machine": name}
    table = report.Table("t", {"graph": ""}, {"ms": ".1f"}, [["Cora", report.Value(value)]])
    claim = report.Claim("ms", report.exact_value(value), at_most=3)
    return report.to_data(report.Result(
        "n", "T", "about", about, [table], [claim], pictures={f"{name}.png": "picture"}
    ))  # fmt: skip


def test_another_machine_adds_a_row_and_the_same_machine_replaces_its_own():
    from functools import reduce

    runs = [("a", 1.0), ("b", 2.0), ("a", 4.0, "another case"), ("a", 3.5)]
    data = reduce(report.merge, [measured(*run) for run in runs])
    assert [(r["machine"], r["case"], r["value"]) for r in data["rows"]] == [
        ("b", None, 2.0), ("a", "another case", 4.0), ("a", None, 3.5)
    ]  # fmt: skip
    assert {(c["machine"], c["case"]): c["value"] for c in data["claims"]} == {
        ("b", None): 2.0, ("a", "another case"): 4.0, ("a", None): 3.5
    }  # fmt: skip
    assert len(data["measurements"]) == 3 and len(data["pictures"]) == 3
    check_data(data)
    text = report.render(data)
    assert "| graph | machine | case | ms |" in text
    assert "| Cora | a | another case | 4.0 |" in text and "1.0 |" not in text


def test_a_result_of_one_machine_does_not_repeat_it_in_its_tables():
    assert "| graph | ms |" in report.render(measured("a", 1.0))


@pytest.mark.parametrize(("cell", "spec", "expected"), [
    ((12.345, None, None, None), ".1f", "12.3"),
    ((-0.04, None, None, None), ".1f", "0.0"),
    ((0.5, -0.04, 0.9, "RANGE"), ".1f", "0.5 (0.0 – 0.9)"),
    ((-0.04, -0.3, 0.22, "STUDENT"), ",.1f", "0.0 ± 0.3"),
    ((None, None, None, None), ".1f", "–"),
    (("blocks", None, None, None), "", "blocks"),
    ((8.0, 6.7, 8.3, "RANGE"), ".1f", "8.0 (6.7 – 8.3)"),
    ((None, 37, 292, "RANGE"), "d", "37 – 292"),
    ((82.5, 82.4, 82.6, "STUDENT"), ".1f", "82.5 ± 0.1"),
    ((91.2, 90.0, 92.4, "DEVIATION"), ".1f", "91.2 ± 1.2"),
    ((3118256, 3118256, 3118256, "EXACT"), ",d", "3,118,256"),
])  # fmt: skip
def test_a_figure_is_shown_with_its_interval(cell, spec, expected):
    shown = dict(zip(("value", "low", "high", "interval"), cell, strict=True))
    shown["interval"] = shown["interval"] and getattr(report, shown["interval"])
    assert report.format_value(shown, spec) == expected


@pytest.mark.parametrize(("hardware", "name"), [
    (("AMD EPYC", "znver5", 512), "AMD EPYC znver5"),
    (("Intel(R) Xeon(R) Processor", None, 512), "Intel Xeon 512-bit"),
    (("AMD EPYC", None, None), "AMD EPYC"),
])  # fmt: skip
def test_a_machine_is_named_by_its_processor_and_the_kind_of_its_cores(hardware, name):
    from machine import name_machine

    keys = ("cpu", "core", "vector_bits")
    assert name_machine(dict(zip(keys, hardware, strict=True))) == name
