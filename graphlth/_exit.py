"""How graphlth's own processes end when they are interrupted: with one line, nothing half done."""

import atexit
import gc
import io
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 2.0  # seconds after an interrupt in which another one is overlooked
SOON = 0.05  # seconds
RESUMABLE = ("run", "reproduce", "sweep", "analyze")  # that keep what is done when interrupted
STDOUT_CLOSED = "cannot write standard output: it is closed"


def prepare() -> None:
    """Let this process end with one line when it is interrupted; call it before slow imports.

    Exits with code 2 where standard output is closed. A signal that the process ignores
    stays ignored.
    """
    if signal.getsignal(signal.SIGTERM) is exit_on_signal:
        return  # `graphlth.__main__` has called before
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, exit_on_signal)
    closed = sys.stdout is None
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # a file that is opened must not be taken for a standard stream
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # as long as the process
    if closed:
        print_error_line(f"graphlth: error: {STDOUT_CLOSED}")
        sys.exit(2)
    watch_stdout()
    skip_last_collection()


def skip_last_collection() -> None:
    """End this process without a last garbage collection: with torch loaded it takes half a second.

    Triton counts what is not found as leaked, and says so.
    """

    @atexit.register
    def keep() -> None:
        if "triton" not in sys.modules:
            gc.freeze()


# --- signals -------------------------------------------------------------------------------------


def signal_message(number: int, argv: Sequence[str]) -> str:
    """The last line of a process that a signal ends, in the command `argv`."""
    what = "interrupted" if number == signal.SIGINT else "terminated"
    goes_on = argv and argv[0] in RESUMABLE
    return f"graphlth: {what}; the same command continues a run" if goes_on else f"graphlth: {what}"


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """End the process at once: nothing has begun yet."""
    ignore_signals()
    with suppress(OSError):
        os.write(2, f"{signal_message(number, sys.argv[1:])}\n".encode())
    os._exit(128 + number)


def ignore_signals() -> None:
    """Let no signal interrupt the end of this process."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Interrupt:
    """Raises `KeyboardInterrupt` for a signal; others that soon follow are overlooked."""

    def __init__(self) -> None:
        self.last = -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler of a signal."""
        now = time.monotonic()
        if now - self.last >= PATIENCE:
            self.last = now
            raise KeyboardInterrupt(number)

    def unraisable(self, about: Any) -> None:
        """Interrupt again, where Python could not pass an interrupt on, as from a destructor."""
        if issubclass(about.exc_type, KeyboardInterrupt):
            self.last, number = -math.inf, about.exc_value.args[0]
            # Not at once, which would be inside the same destructor.
            threading.Timer(SOON, os.kill, (os.getpid(), number)).start()
        else:
            sys.__unraisablehook__(about)


@contextmanager
def raise_on_signal() -> Iterator[None]:
    """Inside, a signal is a `KeyboardInterrupt`, for which whatever is open can be closed.

    Nothing changes in a process in which `prepare` was not called.
    """
    ours = [number for number in SIGNALS if signal.getsignal(number) is exit_on_signal]
    interrupt, hook = Interrupt(), sys.unraisablehook
    sys.unraisablehook = interrupt.unraisable if ours else hook
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        ours = []  # a second one, of a hurried hand, stays overlooked
        raise
    finally:
        sys.unraisablehook = hook
        for number in ours:
            signal.signal(number, exit_on_signal)


@contextmanager
def delay_signals() -> Iterator[None]:
    """Inside, signals are delayed: for a short operation that must be completed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # the handlers of signals are run by the main thread alone
        return
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    known = {number: handler for number, handler in before.items() if handler is not None}
    for number in known:
        signal.signal(number, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)
        for received in dict.fromkeys(waiting):
            signal.raise_signal(received)


@contextmanager
def block_interrupts() -> Iterator[None]:
    """Inside, processes that start do not receive Ctrl-C, which a terminal sends to all processes.

    They stay so until `ignore_interrupts`.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that has started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def finish(text: str | None) -> None:
    """Write the last line of a process, if there is one; a signal comes too late from now on."""
    ignore_signals()
    output_failure()  # what an interrupted command has not written
    if text is not None:
        print_error_line(text)


# --- streams -------------------------------------------------------------------------------------


def print_error_line(text: str) -> None:
    """Write a line to standard error, where there is one that takes it."""
    with suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)


class Output(io.FileIO):
    """Standard output that remembers why it could not be written, whoever overlooks the error."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """How many bytes were written."""
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def watch_stdout() -> None:
    """Make standard output an `Output`."""
    old: Any = sys.stdout
    buffer = io.BufferedWriter(Output(old.fileno(), "w", closefd=False))
    sys.stdout = io.TextIOWrapper(
        # A table is shown even where its signs cannot be, as in ASCII.
        buffer, old.encoding, "backslashreplace" if old.errors == "strict" else old.errors,
        line_buffering=old.line_buffering, write_through=old.write_through,
    )  # fmt: skip


def output_failure() -> OSError | None:
    """Why standard output could not be written, None if it could; what it holds is then dropped.

    Python would try again at its end, and say that it cannot.
    """
    failure: OSError | None = None
    try:
        sys.stdout.flush()
    except OSError as error:
        failure = error
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, Output) else failure
    if failure is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return failure
