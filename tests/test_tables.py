"""Tables fit the terminal, and every number in them is whole."""

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections import Counter
from fcntl import ioctl
from pathlib import Path

import pytest

from graphlth.cli import main as cli
from graphlth.cli import show, tables
from graphlth.records.tables import format_numbers
from graphlth.registry import KINDS

ROOT = Path(__file__).parents[1]
RUN = ["run", "ugs", "--task=karate", "--model=gat", "--hidden=4", "--heads=2", "--rounds=2",
       "--epochs=3", "--out=out"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two settings, one of three seeds; and its folder."""
    place, before = tmp_path_factory.mktemp("place"), Path.cwd()
    os.chdir(place)
    try:
        assert cli.main([*RUN, "--seeds=3"]) == cli.main([*RUN, "--lr=0.1", "--seeds=2"]) == 0
    finally:
        os.chdir(before)
    return place / "out"


def numbers(text):
    return Counter(re.findall(r"\S*\d\S*", text))


def output(capsys, monkeypatch, argv, columns):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(columns))
    assert cli.main(argv) == 0
    return capsys.readouterr().out


COMMANDS = ["show OUT", "compare RUN OTHER --margin=0.03", "show TICKET",
            "bench TICKET TICKET --repeats=1 --layout=dense", "list",
            *(f"list {kind}" for kind in KINDS)]  # fmt: skip


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_table_fits_and_its_numbers_are_those_of_the_wide_one(
    folder, capsys, monkeypatch, command, columns
):
    ticket = str(next(folder.glob("*/seed0-round1.safetensors")))
    run = str(next(folder.glob("*/seed2.jsonl")).parent)  # of three seeds
    other = next(str(each) for each in folder.iterdir() if str(each) != run)
    places = {"OUT": str(folder), "TICKET": ticket, "RUN": run, "OTHER": other}
    argv = [places.get(word, word) for word in command.split()]
    measured = argv[0] == "bench"  # milliseconds are others every time
    if measured:
        monkeypatch.setattr(show, "format_milliseconds", lambda seconds: "12.345 (12.001 – 13.579)")
        monkeypatch.setattr("graphlth.analysis.latency.Latency.faster", 1.25, raising=False)
    wide = output(capsys, monkeypatch, argv, None)
    narrow = output(capsys, monkeypatch, argv, columns)
    assert numbers(wide) <= numbers(narrow)  # the first column may stand there more than once
    assert numbers(narrow).keys() == numbers(wide).keys()
    for line in narrow.splitlines():
        assert len(line.rstrip()) <= columns or len(line.split()) == 1, line  # a path is not broken
    if measured:
        assert narrow.count("12.345 (12.001 – 13.579)") == 4


def test_runs_that_are_named_one_by_one_are_told_by_what_differs_too(folder, capsys):
    assert cli.main(["show", str(folder)]) == 0
    together = capsys.readouterr().out
    assert "(lr=0.1)" in together
    assert cli.main(["show", *map(str, sorted(folder.iterdir())), str(min(folder.iterdir()))]) == 0
    assert capsys.readouterr().out == together


def test_headings_are_broken_before_columns_go_below_one_another(capsys, monkeypatch):
    head, rows = ("round", "edges removed", "test"), [["1", "5.0%", "80.0 ± 0.5"]]
    monkeypatch.setenv("COLUMNS", "40")
    tables.print_table(head, rows)
    one_line, *_ = (line for line in capsys.readouterr().out.splitlines() if line.strip())
    assert one_line.split() == ["round", "edges", "removed", "test"]
    monkeypatch.setenv("COLUMNS", "30")
    tables.print_table(head, rows)
    first, second, _, cells = (x for x in capsys.readouterr().out.splitlines() if x.strip())
    assert (first.split(), second.split()) == (["edges"], ["round", "removed", "test"])
    assert cells.split() == ["1", "5.0%", "80.0", "±", "0.5"]
    monkeypatch.setenv("COLUMNS", "20")
    tables.print_table(head, rows)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[1] == ["round", "removed"] and lines[4] == ["round", "test"]
    assert lines[3] == ["1", "5.0%"] and lines[6] == ["1", "80.0", "±", "0.5"]


PARTS = [  # widths of the columns, width of the line                            parts
    ([5, 7, 7], 25, [[0, 1, 2]]),
    ([5, 7, 7], 24, [[0, 1], [0, 2]]),
    ([5, 30, 7], 20, [[0, 1], [0, 2]]),  # too wide for any line: it is whole all the same
    ([5], 3, [[0]]),
]


@pytest.mark.parametrize(("widths", "room", "parts"), PARTS)
def test_the_first_column_stands_in_every_part(widths, room, parts):
    assert tables.split_columns(widths, room) == parts


PIECES = [(2, "seed 0 round 3/20"), (0, "edges −5.0% weights −20.0%"), (1, "val 75.0%")]
FITTING = [
    (56, "seed 0 round 3/20  edges −5.0% weights −20.0%  val 75.0%"),
    (55, "seed 0 round 3/20  val 75.0%"),
    (28, "seed 0 round 3/20  val 75.0%"),
    (27, "seed 0 round 3/20"),
    (5, "seed 0 round 3/20"),
]


@pytest.mark.parametrize(("room", "text"), FITTING)
def test_progress_leaves_out_what_does_not_fit(room, text):
    assert tables.join_fitting(PIECES, room) == text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([3], "round 3"),
        ([1, 0], "rounds 0, 1"),
        ([0, 2, 3, 4, 5, 8], "rounds 0, 2–5, 8"),
        (range(21), "rounds 0–20"),
    ],
)
def test_numbers_that_follow_one_another_are_a_range(given, text):
    assert format_numbers("round", given) == text


# --- terminals -----------------------------------------------------------------------------------


def terminal(argv, columns, **environment):
    """What a command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {n: v for n, v in os.environ.items() if n not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    env = kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | environment
    command = [sys.executable, "-m", "graphlth", *argv]
    process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    read = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # Linux says so at the end
            break
        if not block:
            break
        read += block
    os.close(ours)
    assert process.wait() == 0, read
    return read.decode()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_table_fits_its_terminal(folder, columns):
    text = terminal(["show", str(folder)], columns)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "\x1b[" in text  # headings are bold
    assert max(len(line.rstrip()) for line in plain.splitlines()) <= columns


def test_no_colour_is_written_where_none_is_wanted(folder):
    text = terminal(["show", str(folder)], 80, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)


@pytest.mark.parametrize("columns", [40, 80])
def test_progress_fits_its_terminal(tmp_path, columns):
    text = terminal([*RUN[:-1], f"--out={tmp_path}", "--seeds=1"], columns)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", text)
    shown = [
        line.strip() for line in re.split(r"[\r\n]+", plain) if "round" in line and "/2" in line
    ]
    assert shown and max(map(len, shown)) <= columns
    for line in shown:
        assert "…" not in line and re.search(r"seed 0 round [012]/2", line)


def test_nothing_is_coloured_without_a_terminal(folder):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    for argv in (["show", str(folder)], ["list"]):
        command = [sys.executable, "-m", "graphlth", *argv]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "") and "\x1b" not in done.stdout
