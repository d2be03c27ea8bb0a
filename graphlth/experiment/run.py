"""An experiment: tickets found, retrained and recorded, seed by seed, in a folder of its own.

File names are made here, and those of tickets in `ticket_file`. A run folder is

    OUT/<algorithm>-<task>-<model>-<hash of the settings and of the content of the data>/
        settings.json                what was run
        seed<k>.jsonl                a record per round
        seed<k>-round<r>.safetensors the ticket of each record
"""

import inspect
import json
import math
import operator
import os
import re
import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from graphlth._exit import deaf_children, hasten, ignore_interrupts, uninterrupted
from graphlth.cost.macs import counted, pass_macs
from graphlth.cost.meters import measured
from graphlth.data.published import DataWarning
from graphlth.experiment.warnings import result_warnings
from graphlth.masks import count, ones, only, sparsity
from graphlth.records import schema as record
from graphlth.registry import find, spelt
from graphlth.settings.checks import check_device, check_number, check_setting, check_written
from graphlth.settings.presets import preset
from graphlth.settings.validation import RECIPE, check, sized
from graphlth.storage import called, file_digest, opened, replacing, sealed, sweep
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import (
    Ticket,
    check_data,
    fingerprint,
    fit_together,
    of_run,
    picked,
    rewind,
    ticket_file,
)
from graphlth.training import batched
from graphlth.training.epoch import Epoch
from graphlth.training.forward import takes_graph
from graphlth.training.retraining import retrain, spans

EPOCHS_TOLD = 5
MOST_SEEDS = 10_000
EDGES_SEEN = ("one_way_edges", "duplicate_edges", "zero_edges")  # of a graph
SEEDS = "a count from 1, such as 5, or numbers, such as 3,7 or 10-14"
RETRAIN = ("epochs", "iterations", *RECIPE)  # those of them that an algorithm has
TOLD: Mapping[str, tuple[type | tuple[type, ...], str]] = {  # what settings.json holds
    **dict.fromkeys(("algorithm", "task", "model", "device", "data", "source"), (str, "text")),
    "protocol": ((str, type(None)), "text or null"), "batched": (bool, "true or false"),
    "settings": (dict, "an object"), "preset": (dict, "an object"),
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Everything that decides the digits of a run but the seed."""

    algorithm: str
    task: str
    model: str
    settings: Mapping[str, Any]  # every setting of the three, defaults filled in
    device: str = "cpu"
    threads: int = 1
    batched: bool = (
        False  # by `graphlth.training.batched`: its dropout and sums go in another order
    )
    protocol: str | None = None  # of the preset; decides no digit that the settings do not
    preset: Mapping[str, Sequence[str]] = field(default_factory=dict)  # source: settings as it says
    data: str = ""  # the digest of the task's content; "" where it is not known yet
    source: str = ""  # the name of the run whose tickets are read; "" where none are

    @property
    def decisive(self) -> dict[str, Any]:
        """The settings that can change a digit: where data and tickets lie is none of them."""
        aside = (*record.ASIDE, "tickets") if self.source else record.ASIDE
        return {n: v for n, v in self.settings.items() if n not in aside}

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        told = self.decisive | {"device": self.device, "threads": self.threads}
        told |= {n: v for n, v in (("data", self.data), ("source", self.source)) if v}
        digest = record.settings_hash(told | ({"batched": True} if self.batched else {}))
        return f"{self.algorithm}-{self._named}-{self.model}-{digest}"

    @property
    def _named(self) -> str:
        """The name of the task, or of the file or folder of one's own."""
        told = self.settings.get("path")
        path = Path(called(told) if told else self.task)
        name = path.stem if path.suffix in (".npz", ".pt", ".txt") else path.name
        return re.sub(r"[^\w.]+", "_", name).strip("._")[:64] or self.task


@dataclass(frozen=True)
class Step:
    """Where a seed of a run stands: after an epoch of retraining, or after a round."""

    seed: int
    round: int
    epoch: Epoch | None  # None: the round is done, and recorded
    record: Mapping[str, Any]  # of the round, or what is known of it


def accepted(kind: str, name: str) -> dict[str, inspect.Parameter]:
    """The settings of a plug-in: its keyword-only arguments but the run's own."""
    parameters = inspect.signature(find(kind, name)).parameters.values()
    own = ("seed", "last") if kind in ("algorithms", "analysis") else ()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in own}


def settings_of(algorithm: str, task: str, model: str) -> dict[str, inspect.Parameter]:
    """The settings of a run of the three."""
    both = accepted("algorithms", algorithm) | accepted("tasks", task)
    return both | accepted("models", model)


def plan(
    algorithm: str,
    task: str,
    model: str,
    settings: Mapping[str, Any] | None = None,
    *,
    device: str = "cpu",
    threads: int = 1,
    batched: bool = False,
    protocol: str = "paper",
) -> Plan:
    """The plan of a run: `settings` over the preset of `protocol` over the defaults.

    How many seeds are trained at once is no part of it, but whether any are is: see `Plan`.

    Raises:
        ValueError: a name or a setting is unknown, a setting is missing or out of its range.
    """
    algorithm, task, model = spelt(algorithm), spelt(task), spelt(model)
    known = settings_of(algorithm, task, model)
    settings = settings or {}
    for name in settings:
        check_setting(name, known, f"of {algorithm}, {task} and {model}")
    values = {n: p.default for n, p in known.items() if p.default is not p.empty}
    told = preset(algorithm, task, model, protocol=protocol, given=settings)
    values |= {n: v for n, v in told.settings.items() if n in known}
    values |= {n: os.fspath(v) if isinstance(v, os.PathLike) else v for n, v in settings.items()}
    for name in known:
        if name not in values:
            raise ValueError(f"`{name}` must be given for {algorithm} on {task}")
    check(values, known)
    check_number("threads", threads)
    check_device(device)
    if batched and algorithm != "ugs":
        raise ValueError(f"`batch` above 1 and `graphs` are for ugs alone, got {algorithm!r}")
    values = dict(sorted(values.items()))
    return Plan(algorithm, task, model, values, device, threads, batched,
                told.protocol, told.kept(values))  # fmt: skip


def planned(settings: Mapping[str, Any]) -> list[int]:
    """The rounds of a run: 0, the dense ticket's, and those of the tickets that it finds."""
    told: int = settings.get("rounds", settings.get("draws", 1))
    return [0, *picked(settings.get("only", "all"), told)]


def duration(settings: Mapping[str, Any]) -> str:
    """The name of the setting that says how long a run trains."""
    return "iterations" if settings.get("iterations") else "epochs"


def build(kind: str, name: str, settings: Mapping[str, Any], *before: Any, **also: Any) -> Any:
    """What the plug-in makes of those of `settings` that it takes."""
    mine = {n: settings[n] for n in accepted(kind, name) if n in settings}
    plugin = sized(find(kind, name)) if kind == "models" else find(kind, name)
    return plugin(*before, **mine, **also)


def run(
    algorithm: str,
    task: str,
    model: str,
    settings: Mapping[str, Any] | None = None,
    *,
    seeds: int | str | Sequence[int] = 1,
    out: str | Path = "runs",
    device: str = "cpu",
    threads: int = 1,
    jobs: int = 1,
    batch: int = 1,
    graphs: bool = False,
    protocol: str = "paper",
    watch: Callable[[Step], None] = lambda step: None,
) -> Path:
    """Run some seeds of a plan and return its folder; what exists already is not run again.

    Args:
        algorithm: name of the plug-in that finds tickets.
        task: name of the plug-in that gives the data.
        model: name of the plug-in that is trained.
        settings: settings that differ from preset and default.
        seeds: how many, from 0; or which, as in 3,7 or 10-14 or 0-4,9.
        out: the folder of the run's folder.
        device: where to compute.
        threads: threads per process.
        jobs: processes, one seed or batch each at a time.
        batch: seeds trained at once as one batched model; for a GPU.
        graphs: replay epochs as CUDA graphs; for small data on a GPU.
        protocol: whose settings are the defaults where they differ: those of the paper, or of the
            code that its authors have released.
        watch: is called after every round and every epoch of retraining; with several jobs, after
            at most `EPOCHS_TOLD` epochs a second of each.

    Raises:
        ValueError: a name, setting or file is wrong.
        OSError: the folder cannot be read or written, or one of the processes was killed.
    """
    numbers = parse_seeds(seeds)
    check_number("jobs", jobs)
    check_number("batch", batch)
    at_once = batch > 1 or graphs
    chosen = plan(algorithm, task, model, settings, device=device, threads=threads,
                  batched=at_once, protocol=protocol)  # fmt: skip
    data = build("tasks", task, chosen.settings)  # what is wrong is told before anything is written
    for note in getattr(data, "notes", ()):
        warnings.warn(note, DataWarning, stacklevel=2)
    chosen = replace(chosen, data=data.content())
    network = build("models", model, chosen.settings, data)
    _fit(chosen, data, network)
    if "tickets" in chosen.settings:
        source = planned_in(Path(chosen.settings["tickets"]), "tickets")
        chosen = replace(chosen, source=source.name)
    if at_once:
        batched.check(network.to(device), data, graphs)
    reads = [chosen.settings[n] for n in ("tickets", "path") if chosen.settings.get(n)]
    check_written("out", Path(out) / chosen.name, reads, folder=True)
    folder = prepare(chosen, Path(out))
    environment = record.environment()
    work = partial(_drain, chosen, folder, environment, graphs)
    groups = [numbers[first : first + batch] for first in range(0, len(numbers), batch)]
    if jobs > 1 and len(groups) > 1:
        in_processes(work, groups, jobs, watch)
    else:
        for group in groups:
            work(group, watch)
    return folder


def parse_seeds(seeds: int | str | Sequence[int]) -> list[int]:
    """The numbers of the seeds that `seeds` means: so many from 0, or those that are named.

    A number is a count: 5, or "5", is 0 to 4. In a text with a comma or a dash, and in a sequence,
    numbers are seeds: "3,7", "10-14" (with both ends), "0-2,7", [3, 7]; one alone is "7-7" or [7].

    Raises:
        ValueError: it means none, more than `MOST_SEEDS`, one twice, or one not below 2³¹.
    """
    if isinstance(seeds, str):
        parts = [part.strip() for part in seeds.split(",")]
        ranges = [_range(part, seeds, alone=len(parts) == 1) for part in parts]
    elif isinstance(seeds, Iterable):
        ranges = [range(n, n + 1) for n in map(_whole, islice(seeds, MOST_SEEDS + 1))]
    else:
        ranges = [range(_whole(seeds))]
    least = min((each.start for each in ranges), default=-1)
    if least < 0 or not any(ranges):
        raise ValueError(f"`seeds` must be {SEEDS}, got {seeds!r}")
    if (most := max(each.stop for each in ranges)) > 2**31:
        raise ValueError(f"`seeds` must be numbers below 2**31, got {most - 1}")
    if sum(map(len, ranges)) > MOST_SEEDS:
        raise ValueError(f"`seeds` must be at most {MOST_SEEDS:,}, got more: {seeds!r}")
    numbers = [n for each in ranges for n in each]
    if twice := [n for n, times in Counter(numbers).items() if times > 1]:
        raise ValueError(f"`seeds` must name each seed once, got {twice[0]} twice")
    return numbers


def _whole(number: Any) -> int:
    """A whole number; -1 where it is none."""
    try:
        return -1 if isinstance(number, bool) else operator.index(number)
    except TypeError:
        return -1


def _range(part: str, seeds: str, *, alone: bool) -> range:
    """The seeds that a part between two commas means: 7, or 10-14; a number `alone` is a count."""
    found = re.fullmatch(r"([0-9]{1,12})(?:-([0-9]{1,12}))?", part)
    if found is None:
        raise ValueError(f"`seeds` must be {SEEDS}, got {seeds!r}")
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high:
        raise ValueError(f"`seeds` must go upwards in a range, as in {high}-{low}, got {part!r}")
    return range(low) if alone and found[2] is None else range(low, high + 1)


def _fit(chosen: Plan, task: Task, model: nn.Module) -> None:
    """Refuse a model of graphs on what is none, iterations of half an epoch, and more.

    What an algorithm cannot take it says before its dense ticket, for which it trains nothing here.
    """
    if task.edges is None and takes_graph(model):
        raise ValueError(f"`model` must be one that takes no graph, as {chosen.task!r} has none, "
                         f"got {chosen.model!r}")  # fmt: skip
    if chosen.settings.get("iterations"):
        for name in ("iterations", "rewind_to"):
            spans(task, chosen.settings.get(name, 0), name)
    epochs = spans(task, chosen.settings.get("iterations", 0)) or chosen.settings["epochs"]
    if (draws := chosen.settings.get("draws", 1)) > epochs:
        raise ValueError(f"`draws` must be at most `epochs` = {epochs}, got {draws}")
    next(build("algorithms", chosen.algorithm, {**chosen.settings, "rewind_to": 0}, model, task))


@dataclass
class Seldom:
    """Tells of every round, and of few epochs: telling another process costs much of an epoch."""

    put: Callable[[Step], None]
    last: float = 0.0  # when an epoch was told of

    def __call__(self, step: Step) -> None:
        """Pass `step` on, or not."""
        now = time.monotonic()
        if step.epoch is None or now - self.last >= 1 / EPOCHS_TOLD:
            self.put(step)
            self.last = now


def in_processes(
    work: Callable[[Sequence[int], Callable[[Step], None]], None],
    groups: Sequence[Sequence[int]],
    jobs: int,
    watch: Callable[[Step], None],
) -> None:
    """Do the `work` of every group of seeds in `jobs` processes, of which this is one."""
    context = get_context("spawn")
    steps: SimpleQueue[Step | None] = context.SimpleQueue()
    begun = context.Value("i", 0)  # how many groups are, in whatever process
    others, extra = set(active_children()), min(jobs, len(groups)) - 1
    start = list(warnings.filters), steps, begun
    told: deque[Step] = deque()
    # While this process searches it looks at no step, and a full queue would stop the others.
    ear = Thread(target=lambda: told.extend(iter(steps.get, None)), daemon=True)
    running: set[Future[None]] = set()
    with ProcessPoolExecutor(extra, context, _obey, start) as pool:

        def listen(step: Step | None = None) -> None:
            if step is not None:
                watch(step)
            while told:
                watch(told.popleft())
            for future in [f for f in running if f.done()]:
                running.remove(future)
                future.result()

        try:
            with uninterrupted(), deaf_children(), _script_aside():
                running |= {pool.submit(_tell, work, groups) for _ in range(extra)}
            ear.start()
            for group in _next(groups, begun):
                work(group, listen)
            while running:
                listen()
                time.sleep(0.1)
            steps.put(None)  # after all of theirs
            ear.join()
            listen()
        except BaseException as error:  # what is recorded stays; a seed lost half-way continues
            for worker in set(active_children()) - others:
                worker.terminate()
            if isinstance(error, BrokenProcessPool):
                raise OSError("a process was killed, perhaps for want of memory: try fewer `jobs`; "
                              "the same run continues") from None  # fmt: skip
            raise


@contextmanager
def _script_aside() -> Iterator[None]:
    """Inside, processes that start do not run the script of this one, of which they need nothing.

    They would start others in turn, if it asks for them whatever its `__name__` is.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _next(groups: Sequence[Sequence[int]], begun: Any) -> Iterator[Sequence[int]]:
    """One group after another that no process has begun."""
    while True:
        with begun.get_lock():
            number = begun.value
            begun.value += 1
        if number >= len(groups):
            return
        yield groups[number]


def _obey(filters: list[Any], steps: "SimpleQueue[Step | None]", begun: Any) -> None:
    """Make this process warn as its parent does, leave interrupts to it, and end when it ends."""
    hasten()
    _tell.shared = steps, begun  # type: ignore[attr-defined]  # can be inherited, not sent
    warnings.filters[:] = filters  # type: ignore[index]
    ignore_interrupts()
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()


def _tell(work: Callable[..., None], groups: Sequence[Sequence[int]]) -> None:
    """Do the `work` of groups in this process, and tell its parent of the steps."""
    steps, begun = _tell.shared  # type: ignore[attr-defined]
    for group in _next(groups, begun):
        work(group, Seldom(steps.put))


def prepare(chosen: Plan, out: Path) -> Path:
    """The run's folder, made if need be, with its settings in it and no half-written files."""
    folder = out / chosen.name
    about = {"algorithm": chosen.algorithm, "task": chosen.task, "model": chosen.model,
             "settings": dict(chosen.settings), "device": chosen.device,
             "threads": chosen.threads, "data": chosen.data}  # fmt: skip
    about |= {"batched": True} if chosen.batched else {}
    about |= {"source": chosen.source} if chosen.source else {}
    if chosen.protocol is not None:
        about |= {"protocol": chosen.protocol, "preset": dict(chosen.preset)}
    text = json.dumps(sealed(about), indent=1) + "\n"
    file = folder / "settings.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        if not file.exists() or file.read_bytes() != text.encode():  # moved data, or damage
            with replacing(file) as draft:
                draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OSError(f"cannot write `out` {str(out)!r}: {error.strerror or error}") from None
    return folder


def planned_in(folder: Path, argument: str = "run") -> Plan:
    """The plan of the run in `folder`, which is the value of an argument, verified.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: its `settings.json` is damaged.
    """
    file = folder / "settings.json"
    if not file.is_file():
        raise FileNotFoundError(f"`{argument}` must be a run folder, got {str(folder)!r} without "
                                "a settings.json")  # fmt: skip
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(held, dict):
            raise ValueError(f"it must be an object, got {type(held).__name__}")
        plan = Plan(**opened(held, needed="data" in held))
        for field, (kind, rule) in TOLD.items():
            if not isinstance(value := getattr(plan, field), kind):
                raise ValueError(f"`{field}` must be {rule}, got {value!r}")
        check_number("threads", plan.threads)
        check_whole(plan.settings, settings_of(plan.algorithm, plan.task, plan.model))
        return replace(plan, settings=dict(plan.settings))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"`{file}` is not that of a run: {error}; the command of the run, given "
                         "again, makes it anew") from None  # fmt: skip


def check_whole(settings: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> None:
    """Refuse settings of a file that lack one, or of which one is wrong; see `settings.check`.

    Raises:
        ValueError: names the first of them.
    """
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in settings:
            raise ValueError(f"`settings` must hold `{name}`")
    defaults = {n: p.default for n, p in known.items() if p.default is not p.empty}
    check(defaults | dict(settings), known)  # of an earlier version, which had fewer


def task_of(chosen: Plan, what: str = "the run") -> Task:
    """The task of a plan, on its device; refused where its content is no longer that of the plan.

    Raises:
        ValueError: see `graphlth.ticket.check_data`, and what the task says.
    """
    task: Task = build("tasks", chosen.task, chosen.settings)
    check_data({"data": chosen.data}, task, what)
    return task.to(chosen.device)


def _drain(chosen: Plan, folder: Path, environment: Mapping[str, Any], graphs: bool,
           seeds: Sequence[int], watch: Callable[[Step], None]) -> None:  # fmt: skip
    torch.set_num_threads(chosen.threads)
    with ExitStack() as locks:
        for seed in seeds:
            locks.enter_context(held(folder, seed))
            sweep(folder, f"seed{seed}")
        if chosen.batched:
            steps = run_batch(chosen, folder, seeds, environment, graphs)
        else:
            steps = (s for seed in seeds for s in run_seed(chosen, folder, seed, environment))
        for step in steps:
            watch(step)


def held(folder: Path, seed: int) -> AbstractContextManager[Any]:
    """What keeps other processes from a seed of `folder`.

    Raises:
        ValueError: another process has it.
    """
    try:
        return FileLock(folder / f"seed{seed}.lock").acquire(timeout=0)
    except Timeout:
        busy = f"seed {seed} of `{folder}` is being run by another process"
        raise ValueError(busy) from None


def run_seed(
    chosen: Plan, folder: Path, seed: int, environment: Mapping[str, Any]
) -> Iterator[Step]:
    """Run what is not yet recorded of one seed, pausing after every epoch of retraining."""
    settings = dict(chosen.settings)
    task = task_of(chosen)
    done = recorded(chosen, folder, seed)
    yield from (Step(seed, line["round"], None, line) for line in done)
    if len(done) >= len(planned(settings)):
        return
    model, last = standing(chosen, folder, seed, task, done)
    about = provenance(chosen, task, model, seed, environment)
    tickets = build("algorithms", chosen.algorithm, settings, model, task, seed=seed, last=last)
    while True:
        with measured(pass_macs, chosen.device) as search:
            ticket = next(tickets, None)
        if ticket is None:
            return
        known = describe(chosen, task, model, ticket, seed)
        with measured(pass_macs, chosen.device) as training:
            reached = yield from _retrain(model, task, ticket, settings, known)
        spent = search.named("search") | training.named("retrain")
        learnt = outcome(reached, task)
        learnt |= {
            "warnings": result_warnings(model, task, ticket.masks, reached, duration(settings))
        }
        yield keep(folder, replace(ticket, provenance=about), known, learnt, spent)


def run_batch(
    chosen: Plan,
    folder: Path,
    seeds: Sequence[int],
    environment: Mapping[str, Any],
    graphs: bool = False,
) -> Iterator[Step]:
    """Run what is not yet recorded of several seeds: at once those that stand at one round.

    Every seed is recorded with the same share of the cost of its batch.
    """
    settings = dict(chosen.settings)
    task, whole = task_of(chosen), planned(settings)
    done = {seed: recorded(chosen, folder, seed) for seed in seeds}
    groups: dict[int, list[int]] = {}  # by how many rounds are recorded
    for seed, lines in done.items():
        yield from (Step(seed, line["round"], None, line) for line in lines)
        if len(lines) < len(whole):
            groups.setdefault(len(lines), []).append(seed)
    mine = {n: settings[n] for n in accepted("algorithms", chosen.algorithm)}
    how = {n: settings[n] for n in RETRAIN if n in settings} | {"graphs": graphs}
    for group in groups.values():
        stands = [standing(chosen, folder, seed, task, done[seed]) for seed in group]
        models, last = [model for model, _ in stands], [ticket for _, ticket in stands if ticket]
        about = [provenance(chosen, task, models[0], seed, environment) for seed in group]
        found = batched.ugs(models, task, seeds=group, last=last or None, graphs=graphs, **mine)
        while True:
            with measured(pass_macs, chosen.device) as search:
                tickets = next(found, None)
            if tickets is None:
                break
            with measured(pass_macs, chosen.device) as training:
                trained = batched.retrain(models[0], task, tickets, seeds=group, **how)
            spent = search.shared(len(group)).named("search")
            spent |= training.shared(len(group)).named("retrain")
            for ticket, result, origin in zip(tickets, trained, about, strict=True):
                seed, learnt = origin["seed"], outcome(result.epochs, task)
                trained_model = rewind(models[0], result.state)
                learnt |= {
                    "warnings": result_warnings(
                        trained_model, task, ticket.masks, result.epochs, "epochs"
                    )
                }
                known = describe(chosen, task, models[0], ticket, seed)
                for epoch in result.epochs:
                    yield Step(seed, ticket.round, epoch, known)
                ticket = replace(ticket, provenance=origin)
                yield keep(folder, ticket, known, learnt, spent)


def recorded(chosen: Plan, folder: Path, seed: int) -> list[dict[str, Any]]:
    """The records that there are of a seed, mended: one for each of the first rounds planned.

    The last one is taken back, to be found again, where its ticket is not there or not its own.

    Raises:
        ValueError: a record is of another round or of another run.
    """
    lines = folder / f"seed{seed}.jsonl"
    done = record.mend(lines)
    check_own(chosen, lines, done)
    if chosen.source:
        check_source(chosen, seed, done)
    if done and not _has_ticket(folder, done[-1]):
        if done[1:]:
            continued(folder, done[-2])  # or nothing is taken back
        record.take_back(lines)
        return done[:-1]
    return done


def check_own(chosen: Plan, file: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Refuse the `lines` of a record file that are not those of the first rounds of a plan.

    Raises:
        ValueError: one is of another round, seed or run; names the first.
    """
    numbers = planned(chosen.settings)
    right = {"seed": int(file.stem.removeprefix("seed")), "algorithm": chosen.algorithm,
             "model": chosen.model, "data": chosen.data or None,
             "source": chosen.source or None}  # fmt: skip
    settings = json.loads(json.dumps(chosen.decisive))  # as they are read
    for i, line in enumerate(lines, start=1):
        told = {"round": numbers[i - 1] if i <= len(numbers) else "none", **right}
        pairs = [(name, value, line.get(name)) for name, value in told.items()]
        pairs += [(name, value, line["settings"].get(name)) for name, value in settings.items()]
        for name, value, has in pairs:
            if has != value:
                raise ValueError(f"`{file}` must hold {name} {value} in line {i}, got {has}; "
                                 f"{record.REMEDY}; or put the settings.json of its run back"
                                 )  # fmt: skip


def check_source(chosen: Plan, seed: int, done: Sequence[Mapping[str, Any]]) -> None:
    """Refuse tickets of an earlier run that are not its own, or not those that `done` came from.

    Raises:
        ValueError: names the file.
    """
    folder = Path(chosen.settings["tickets"])
    lines = folder / f"seed{seed}.jsonl"
    if lines.exists():
        check_own(planned_in(folder, "tickets"), lines, record.read_file(lines))
    for line in done:
        path = ticket_file(folder, seed, line["round"])
        if path.exists() and line.get("source_ticket") != file_digest(path):
            raise ValueError(f"`{path}` is not the ticket that round {line['round']} of seed "
                             f"{seed} is recorded of; put that back, or give another `out`"
                             )  # fmt: skip


def _has_ticket(folder: Path, line: Mapping[str, Any]) -> bool:
    try:
        of_run(folder, line)
    except (FileNotFoundError, ValueError):
        return False
    return True


def continued(folder: Path, line: Mapping[str, Any]) -> Ticket:
    """The ticket of a record, to go on from.

    Raises:
        ValueError: it is not there, or is not that of the record; says what to do.
    """
    try:
        return of_run(folder, line)
    except (FileNotFoundError, ValueError) as error:
        lines = folder / f"seed{line['seed']}.jsonl"
        raise ValueError(f"{error}; or move `{lines}` aside and give the command again") from None


def standing(
    chosen: Plan, folder: Path, seed: int, task: Task, done: Sequence[Mapping[str, Any]]
) -> tuple[nn.Module, Ticket | None]:
    """The model of a seed and, after the recorded rounds, the last ticket."""
    torch.manual_seed(stream_seed(seed, "initialise"))
    model: nn.Module = build("models", chosen.model, chosen.settings, task).to(chosen.device)
    if not done:
        return model, None
    last = continued(folder, done[-1]).to(chosen.device)
    fit_together(last, model, task.num_edges, task.fingerprint())
    return model, last


def provenance(
    chosen: Plan, task: Task, model: nn.Module, seed: int, environment: Mapping[str, Any]
) -> dict[str, Any]:
    """What a ticket tells of where it comes from."""
    return {"algorithm": chosen.algorithm, "task": chosen.task, "model": chosen.model,
            "seed": seed, "settings": dict(chosen.settings), "environment": environment,
            "graph": task.fingerprint(), "network": fingerprint(model),
            "data": chosen.data}  # fmt: skip


def outcome(epochs: Sequence[Epoch], task: Task) -> dict[str, Any]:
    """What a record says of a retraining: its best epoch, its last, where it would stop.

    That is at the lowest validation loss, the measure of learning speed of Frankle & Carbin (ICLR
    2019, arXiv:1803.03635); absent where no validation loss is known. Iterations are counted from
    the first of the training that the ticket's weights have come from.
    """
    best = max(epochs, key=lambda epoch: epoch.val)
    found = {"val": best.val, "test": best.test, "best_epoch": best.index,
             "best_iteration": (best.index + 1) * task.evaluate_every,
             "val_last": epochs[-1].val, "test_last": epochs[-1].test}  # fmt: skip
    stop = min(epochs, key=lambda epoch: epoch.val_loss)
    if math.isfinite(stop.val_loss):
        found |= {"stop_iteration": (stop.index + 1) * task.evaluate_every,
                  "test_at_stop": stop.test}  # fmt: skip
    return found


def keep(folder: Path, ticket: Ticket, known: Mapping[str, Any], learnt: Mapping[str, Any],
         spent: Mapping[str, float]) -> Step:  # fmt: skip
    """Write a ticket, then the record of its round."""
    seed, about = known["seed"], ticket.provenance
    whole = {
        **known, **learnt, **spent,
        "settings": about["settings"], "environment": about["environment"],
    }  # fmt: skip
    with uninterrupted():
        whole["ticket"] = ticket.save(ticket_file(folder, seed, ticket.round))
        record.append(folder / f"seed{seed}.jsonl", whole)
    return Step(seed, ticket.round, None, whole)


def _retrain(
    model: nn.Module, task: Task, ticket: Ticket, settings: Mapping[str, Any],
    known: Mapping[str, Any],
) -> Generator[Step, None, list[Epoch]]:  # fmt: skip
    how, reached = {n: settings[n] for n in RETRAIN if n in settings}, []
    for epoch in retrain(model, task, ticket, seed=known["seed"], **how):
        reached.append(epoch)
        yield Step(known["seed"], ticket.round, epoch, known)
    return reached


def describe(
    chosen: Plan, task: Task, model: nn.Module, ticket: Ticket, seed: int
) -> dict[str, Any]:
    """What a record says of a ticket before it is retrained."""
    found = counted(model, task, ticket.masks)
    per_layer = None if isinstance(found, str) else found
    weights = ones(model) | only(ticket.masks, "weights")
    called = getattr(task, "label_names", ())  # the classes, where the data have names for them
    return {
        **record.check_search(ticket.search),
        "algorithm": chosen.algorithm, "task": task.name, "model": chosen.model,
        "seed": seed, "round": ticket.round, "edges": task.edges,
        "edge_sparsity": sparsity(only(ticket.masks, "edges")),
        "weight_sparsity": sparsity(weights),
        "num_edges": task.num_edges, "num_weights": count(weights),
        "macs": None if per_layer is None else sum(per_layer.values()),
        "macs_per_layer": per_layer,
        **({"label_names": list(called)} if called else {}),
        **({} if chosen.protocol is None else {"protocol": chosen.protocol}),
        **({"macs_reason": found} if isinstance(found, str) else {}),
        **({"data": chosen.data} if chosen.data else {}),
        **({"source": chosen.source} if chosen.source else {}),
        **{n: getattr(task, n) for n in EDGES_SEEN if hasattr(task, n)},
    }  # fmt: skip
