"""Pipes, full disks and interrupts end in at most one line, and the same command continues."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from test_record import entry

import graphlth.records as record
from graphlth import _exit

ROOT = Path(__file__).parents[1]
RUN = ["run", "ugs", "--task=karate", "--model=gcn", "--hidden=8", "--epochs=40", "--out=out"]
INTERRUPTED = "graphlth: interrupted; the same command continues a run"
TERMINATED = "graphlth: terminated; the same command continues a run"
LAUNCHES = {
    "module": ["-m", "graphlth"],
    "script": ["-c", "import sys; from graphlth.cli.main import main; sys.exit(main())"],
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hearing():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(*argv, launch="module", **how):
    """A process that leads a group of its own, as a terminal's foreground has."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    return subprocess.Popen(
        [sys.executable, *LAUNCHES[launch], *argv], text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, preexec_fn=hearing, **streams,
    )  # fmt: skip


def wait_until_ready(process):
    """Return when the process handles signals in its own way: Python leaves SIGTERM alone."""
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        if int(status.partition("SigCgt:")[2].split()[0], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)


def group(number):
    """The processes of a group that are not dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, fields = path.read_text().rpartition(")")
        except OSError:  # it has just ended
            continue
        state, _, leader = fields.split()[:3]
        if int(leader) == number and state not in "ZX":
            found.append(name)
    return found


def signal_group(process, number):
    """What Ctrl-C does: every process of the terminal's foreground is told."""
    with suppress(ProcessLookupError):  # it has ended
        os.killpg(process.pid, number)


def lines_of(process):
    """The lines on standard error that are no progress."""
    _, error = process.communicate(timeout=120)
    return [line for line in error.splitlines() if not line.startswith("seed ")]


def left_behind(process):
    """The processes that still live a while after their leader has ended."""
    until = time.monotonic() + 20
    while (found := group(process.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    return found


# --- interrupts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["list"], "graphlth: interrupted"),
        (["analyze", "latency", "run"], INTERRUPTED),
        (["reproduce", "ugs-cora-gcn"], INTERRUPTED),
        ([*RUN, "--jobs=2", "--seeds=2"], INTERRUPTED),
    ],
    ids=["list", "analyze", "reproduce", "run"],
)
def test_an_interrupt_during_the_imports_is_one_line(argv, line):
    with start(*argv) as process:
        wait_until_ready(process)
        signal_group(process, signal.SIGINT)
        assert lines_of(process) == [line]
    assert process.returncode == 130 and left_behind(process) == []


@pytest.mark.parametrize(
    ("number", "line"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)]
)
def test_two_signals_that_follow_at_once_are_one_line(number, line):
    with start(*RUN, "--rounds=200") as process:
        assert process.stderr.readline().startswith("seed 0 round 0/200")
        for _ in range(3):
            signal_group(process, number)
            time.sleep(0.02)
        assert lines_of(process) == [line]
    assert process.returncode == 128 + number


def test_a_signal_that_was_to_be_ignored_stays_ignored():
    """As in `nohup graphlth run … &`, where the shell goes on."""
    code = "import signal; signal.signal(2, signal.SIG_IGN); from graphlth._exit import prepare; " \
           "prepare(); print(signal.getsignal(2) is signal.SIG_IGN)"  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def interrupted_often(times, draw):
    """Interrupt a run of two processes at random moments, each time that it is continued."""
    argv = [*RUN, "--rounds=3", "--seeds=4", "--jobs=2"]
    codes = []
    for _ in range(times):
        with start(*argv) as process:
            wait_until_ready(process)
            time.sleep(draw.uniform(0, 12))
            for _ in range(draw.choice((1, 2))):
                signal_group(process, signal.SIGINT)
                time.sleep(0.05)
            lines = lines_of(process)
        codes.append(process.returncode)
        assert (process.returncode, lines) in [(0, []), (130, [INTERRUPTED])]
        assert left_behind(process) == []
        assert [p.name for p in Path().rglob(".*")] == []  # no draft of a file
    with start(*argv) as process:
        assert lines_of(process) == [] and process.wait() == 0
    records = record.read("out")
    assert [(r["seed"], r["round"]) for r in records] == [
        (s, r) for s in range(4) for r in range(4)
    ]
    return codes


@pytest.mark.slow
def test_a_run_that_is_interrupted_at_any_moment_leaves_nothing_and_continues():
    assert 130 in interrupted_often(10, random.Random(1))


def test_what_must_be_whole_is_not_interrupted():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("ended"))
    try:
        with _exit.delay_signals():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert heard == []
        assert heard == ["ended"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_a_destructor_swallows_comes_again():
    code = """
import signal, sys, time
from graphlth._exit import prepare, raise_on_signal
prepare()
class Loud:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)
try:
    with raise_on_signal():
        Loud()
        time.sleep(5)
        print("it was lost")
except KeyboardInterrupt as error:
    print("interrupted by", error.args[0])
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, preexec_fn=hearing
    )
    assert (done.stdout, done.stderr) == ("interrupted by 2\n", "")


# --- streams -------------------------------------------------------------------------------------

FULL = "graphlth: error: cannot write standard output: No space left on device"
CLOSED = "graphlth: error: cannot write standard output: it is closed"
OUTPUTS = [  # command, redirection                                    exit code, standard error
    ("list", "> /dev/full", 2, [FULL]),
    ("list --help", "> /dev/full", 2, [FULL]),
    ("--help", "> /dev/full", 2, [FULL]),
    ("list", ">&-", 2, [CLOSED]),
    ("run", ">&-", 2, [CLOSED]),  # before anything is trained
    ("list", "> /dev/null 2>&-", 0, []),
    ("list", "> /dev/null <&-", 0, []),
    ("nothing", "2>&-", 2, []),
    ("nothing", "2> /dev/full", 2, []),
    ("list", ">&- 2>&-", 2, []),
    ("list", "<&- >&- 2>&-", 2, []),
]  # fmt: skip


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(("command", "redirection", "code", "lines"), OUTPUTS)
def test_a_stream_that_cannot_be_written_is_at_most_one_line(command, redirection, code, lines):
    shell = f'"$0" -m graphlth {command} {redirection}'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable], env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()) == (code, lines)


@pytest.mark.parametrize("launch", LAUNCHES)
def test_what_the_encoding_of_the_output_lacks_is_told_in_ascii(launch, tmp_path):
    (tmp_path / "run").mkdir()
    for seed in range(3):
        record.append(tmp_path / f"run/seed{seed}.jsonl", entry(seed, test=0.7 + seed / 10))
    done = subprocess.run(
        [sys.executable, *LAUNCHES[launch], "show", "run"], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "cora" in done.stdout and "\\xb1" in done.stdout  # ±


@pytest.mark.parametrize("launch", LAUNCHES)
@pytest.mark.parametrize("argv", [["list"], ["list", "--help"], ["--version"]], ids=" ".join)
def test_a_reader_that_has_left_ends_the_command_without_a_word(argv, launch):
    with start(*argv, launch=launch) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
