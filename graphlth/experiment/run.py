"""An experiment: tickets found, retrained and recorded, seed by seed, in a folder of its own."""

import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from graphlth.cost.macs import pass_macs
from graphlth.cost.meters import measure_cost
from graphlth.data.published import DataWarning
from graphlth.experiment.describe import describe_retraining, describe_ticket, ticket_provenance
from graphlth.experiment.folder import (
    load_last_ticket,
    lock_seed,
    prepare_folder,
    read_plan,
    recover_records,
    save_round,
)
from graphlth.experiment.plan import (
    Plan,
    Step,
    build_plugin,
    build_task,
    duration_setting,
    plan,
)
from graphlth.experiment.resources import ResourceFields, Resources
from graphlth.experiment.seeds import parse_seeds
from graphlth.experiment.settings import PRETRAINING, RETRAINING, batched_form, plugin_settings
from graphlth.experiment.warnings import result_warnings
from graphlth.experiment.workers import run_in_processes
from graphlth.model import takes_graph
from graphlth.records.environment import environment as describe_environment
from graphlth.rewinding import rewind
from graphlth.settings.annotations import check_value
from graphlth.settings.checks import check_written
from graphlth.settings.lists import planned_rounds
from graphlth.settings.types import KeptTickets
from graphlth.storage import remove_drafts
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training import batched
from graphlth.training.epoch import Epoch, spans
from graphlth.training.pretraining import pretrain_start, pretraining_graph
from graphlth.training.retraining import retrain


def run(
    algorithm: str,
    task: str,
    model: str,
    settings: Mapping[str, Any] | None = None,
    *,
    seeds: int | str | Sequence[int] = 1,
    out: str | Path = "runs",
    protocol: str = "paper",
    keep_tickets: KeptTickets = "all",
    watch: Callable[[Step], None] = lambda step: None,
    **resources: Unpack[ResourceFields],
) -> Path:
    """Run some seeds of a plan and return its folder; what exists already is not run again.

    Args:
        algorithm: name of the plug-in that finds tickets.
        task: name of the plug-in that gives the data.
        model: name of the plug-in that is trained.
        settings: settings that differ from preset and default.
        seeds: how many, from 0; or which, as in 3,7 or 10-14 or 0-4,9.
        out: the folder of the run's folder.
        protocol: whose settings are the defaults where they differ: those of the paper, or of the
            code that its authors have released.
        keep_tickets: which files of tickets stay when a seed is done: all, that of the last
            round, or none. Records stay; what needs a ticket that was not kept says so.
        watch: is called after every round and every epoch of retraining; with several jobs, after
            at most `EPOCHS_PER_SECOND` epochs of each.
        **resources: where to compute: the fields of `Resources`, or `resources`.

    Raises:
        ValueError: a name, setting or file is wrong.
        OSError: the folder cannot be read or written, or one of the processes was killed.
    """
    numbers, where = parse_seeds(seeds), Resources.of(resources)
    check_value("keep_tickets", keep_tickets, KeptTickets)
    chosen = plan(algorithm, task, model, settings, device=where.device, threads=where.threads,
                  batched=where.batched, protocol=protocol)  # fmt: skip
    chosen = check_plan(chosen, where, numbers[0])  # before anything is written
    chosen = replace(chosen, keep_tickets=keep_tickets)
    check_out(chosen, out)
    folder = prepare_folder(chosen, Path(out))
    work = partial(run_seeds, chosen, folder, describe_environment(), where.graphs)
    size = where.batch
    groups = [numbers[first : first + size] for first in range(0, len(numbers), size)]
    if where.jobs > 1 and len(groups) > 1:
        run_in_processes(work, groups, where.jobs, watch)
    else:
        for group in groups:
            work(group, watch)
    return folder


def check_out(chosen: Plan, out: str | Path) -> None:
    """Refuse to write a run over what it reads; see `check_written`."""
    reads = [chosen.settings[n] for n in ("tickets", "path") if chosen.settings.get(n)]
    check_written("out", Path(out) / chosen.name, reads, folder=True)


def check_plan(chosen: Plan, resources: Resources, seed: int) -> Plan:
    """The plan with the digest of its data and the name of the run whose tickets it reads.

    Raises:
        ValueError: data, model and algorithm do not go together, or the data cannot be read.
    """
    task: Task = build_plugin("tasks", chosen.task, chosen.settings)
    for note in getattr(task, "notes", ()):
        warnings.warn(note, DataWarning, stacklevel=3)
    model: nn.Module = build_plugin("models", chosen.model, chosen.settings, task)
    source = ""
    if "tickets" in chosen.settings:
        source = read_plan(Path(chosen.settings["tickets"]), "tickets").name
    _check_plugins_fit(chosen, task, model, seed)
    if chosen.batched:
        batched.check(model.to(chosen.device), task, resources.graphs)
    return replace(chosen, data=task.content(), source=source)


def _check_plugins_fit(chosen: Plan, task: Task, model: nn.Module, seed: int) -> None:
    """Refuse a model of graphs on what is none, iterations of half an epoch, and more.

    The algorithm is asked for the dense ticket of `seed`, as earlier tickets may be of some seeds.
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
    if "self_supervised" in chosen.settings:
        pretraining_graph(task)
    settings = {**chosen.settings, "rewind_to": 0}
    next(build_plugin("algorithms", chosen.algorithm, settings, model, task, seed=seed))


def run_seeds(chosen: Plan, folder: Path, environment: Mapping[str, Any], graphs: bool,
           seeds: Sequence[int], watch: Callable[[Step], None]) -> None:  # fmt: skip
    """Run what is not yet recorded of some seeds, from which other processes are kept."""
    torch.set_num_threads(chosen.threads)
    with ExitStack() as locks:
        for seed in seeds:
            locks.enter_context(lock_seed(folder, seed))
            remove_drafts(folder, f"seed{seed}")
        if chosen.batched:
            steps = run_batch(chosen, folder, seeds, environment, graphs)
        else:
            steps = (s for seed in seeds for s in run_seed(chosen, folder, seed, environment))
        for step in steps:
            watch(step)


def run_seed(
    chosen: Plan, folder: Path, seed: int, environment: Mapping[str, Any]
) -> Iterator[Step]:
    """Run what is not yet recorded of one seed, pausing after every epoch of retraining."""
    settings = dict(chosen.settings)
    task = build_task(chosen)
    done = recover_records(chosen, folder, seed)
    yield from (Step(seed, line["round"], None, line, is_new=False) for line in done)
    if len(done) >= len(planned_rounds(settings)):
        return
    model, last = restore_seed(chosen, folder, seed, task, done)
    about = ticket_provenance(chosen, task, model, seed, environment)
    tickets = _search(chosen, model, task, seed, last)
    while True:
        with measure_cost(pass_macs, chosen.device) as search:
            ticket = next(tickets, None)
        if ticket is None:
            return
        known = describe_ticket(chosen, task, model, ticket, seed)
        with measure_cost(pass_macs, chosen.device) as training:
            reached = yield from _retrain(model, task, ticket, settings, known)
        spent = search.record_fields("search") | training.record_fields("retrain")
        learnt = describe_retraining(reached, task)
        learnt |= {
            "warnings": result_warnings(
                model, task, ticket.masks, reached, duration_setting(settings)
            )
        }
        ticket = replace(ticket, provenance=about)
        yield save_round(chosen, folder, ticket, known, learnt, spent)


def _search(
    chosen: Plan, model: nn.Module, task: Task, seed: int, last: Ticket | None
) -> Iterator[Ticket]:
    """The tickets of the algorithm; the first is asked for with the run's θ₀."""
    if last is None:
        _prepare_start(chosen, model, task, seed)
    yield from build_plugin(
        "algorithms", chosen.algorithm, chosen.here, model, task, seed=seed, last=last
    )


def _prepare_start(chosen: Plan, model: nn.Module, task: Task, seed: int) -> None:
    how = {n: chosen.settings[n] for n in PRETRAINING if n in chosen.settings}
    pretrain_start(model, task, seed=seed, **how)


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
    task, whole = build_task(chosen), planned_rounds(settings)
    done = {seed: recover_records(chosen, folder, seed) for seed in seeds}
    groups: dict[int, list[int]] = {}  # by how many rounds are recorded
    for seed, lines in done.items():
        yield from (Step(seed, line["round"], None, line, is_new=False) for line in lines)
        if len(lines) < len(whole):
            groups.setdefault(len(lines), []).append(seed)
    known, here = plugin_settings("algorithms", chosen.algorithm), chosen.here
    mine = {n: here[n] for n in known if n in settings}  # defaults `AddedLater` are not there
    how = {n: settings[n] for n in RETRAINING if n in settings} | {"graphs": graphs}
    find_tickets = batched_form(chosen.algorithm)
    assert find_tickets is not None  # or there is no such plan
    for group in groups.values():
        stands = [restore_seed(chosen, folder, seed, task, done[seed]) for seed in group]
        models, last = [model for model, _ in stands], [ticket for _, ticket in stands if ticket]
        for model, seed in zip(models, group, strict=True) if not last else ():
            _prepare_start(chosen, model, task, seed)
        about = [ticket_provenance(chosen, task, models[0], seed, environment) for seed in group]
        found = find_tickets(models, task, seeds=group, last=last or None, graphs=graphs, **mine)
        while True:
            with measure_cost(pass_macs, chosen.device) as search:
                tickets = next(found, None)
            if tickets is None:
                break
            with measure_cost(pass_macs, chosen.device) as training:
                trained = batched.retrain(models[0], task, tickets, seeds=group, **how)
            spent = search.divide(len(group)).record_fields("search")
            spent |= training.divide(len(group)).record_fields("retrain")
            for ticket, result, origin in zip(tickets, trained, about, strict=True):
                seed, learnt = origin["seed"], describe_retraining(result.epochs, task)
                trained_model = rewind(models[0], result.state)
                learnt |= {
                    "warnings": result_warnings(
                        trained_model, task, ticket.masks, result.epochs, "epochs"
                    )
                }
                known = describe_ticket(chosen, task, models[0], ticket, seed)
                for epoch in result.epochs:
                    yield Step(seed, ticket.round, epoch, known)
                ticket = replace(ticket, provenance=origin)
                yield save_round(chosen, folder, ticket, known, learnt, spent)


def restore_seed(
    chosen: Plan, folder: Path, seed: int, task: Task, done: Sequence[Mapping[str, Any]]
) -> tuple[nn.Module, Ticket | None]:
    """The model of a seed and, after the recorded rounds, the last ticket."""
    torch.manual_seed(stream_seed(seed, "initialise"))
    model: nn.Module = build_plugin("models", chosen.model, chosen.settings, task).to(chosen.device)
    if not done:
        return model, None
    last = load_last_ticket(folder, done[-1]).to(chosen.device)
    check_ticket_fits(last, model, task.num_edges, task.fingerprint())
    return model, last


def _retrain(
    model: nn.Module, task: Task, ticket: Ticket, settings: Mapping[str, Any],
    known: Mapping[str, Any],
) -> Generator[Step, None, list[Epoch]]:  # fmt: skip
    how, reached = {n: settings[n] for n in RETRAINING if n in settings}, []
    for epoch in retrain(model, task, ticket, seed=known["seed"], **how):
        reached.append(epoch)
        yield Step(known["seed"], ticket.round, epoch, known)
    return reached
