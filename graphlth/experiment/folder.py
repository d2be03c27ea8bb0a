"""The folder of a run: its settings, records and tickets, written and read back.

File names are made here, and those of tickets in `ticket_file`. A run folder is

    OUT/<algorithm>-<task>-<model>-<hash of the settings and of the content of the data>/
        settings.json                what was run
        seed<k>.jsonl                a record per round
        seed<k>-round<r>.safetensors the ticket of each record
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import graphlth.records as record
from graphlth._exit import delay_signals
from graphlth.experiment.plan import Plan, Step, check_stored_settings
from graphlth.experiment.settings import settings_of_run
from graphlth.import_paths import short_name
from graphlth.settings.annotations import check_number
from graphlth.settings.lists import planned_rounds
from graphlth.settings.types import Threads
from graphlth.storage import add_digest, check_digest, file_digest, remove_drafts, replace_file
from graphlth.ticket import Ticket, load_of_run, ticket_file

FIELDS: Mapping[str, tuple[type | tuple[type, ...], str]] = {  # what settings.json holds
    **dict.fromkeys(("algorithm", "task", "model", "device", "data", "source", "code"),
                    (str, "text")),
    "protocol": ((str, type(None)), "text or null"), "batched": (bool, "true or false"),
    "settings": (dict, "an object"), "preset": (dict, "an object"),
}  # fmt: skip


def prepare_folder(chosen: Plan, out: Path) -> Path:
    """The run's folder, made if need be, with its settings in it and no half-written files."""
    folder = out / chosen.name
    about = {"algorithm": chosen.algorithm, "task": chosen.task, "model": chosen.model,
             "settings": dict(chosen.settings), "device": chosen.device,
             "threads": chosen.threads, "data": chosen.data}  # fmt: skip
    about |= {"batched": True} if chosen.batched else {}
    about |= {n: v for n in ("source", "code") if (v := getattr(chosen, n))}
    if chosen.protocol is not None:
        about |= {"protocol": chosen.protocol, "preset": dict(chosen.preset)}
    text = json.dumps(add_digest(about), indent=1) + "\n"
    file = folder / "settings.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_drafts(folder)
        if not file.exists() or file.read_bytes() != text.encode():  # moved data, or damage
            with replace_file(file) as draft:
                draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OSError(f"cannot write `out` {str(out)!r}: {error.strerror or error}; name another "
                      "folder") from None  # fmt: skip
    return folder


def read_plan(folder: Path, argument: str = "run") -> Plan:
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
        plan = Plan(**check_digest(held, needed="data" in held))
        for field, (kind, rule) in FIELDS.items():
            if not isinstance(value := getattr(plan, field), kind):
                raise ValueError(f"`{field}` must be {rule}, got {value!r}")
        check_number("threads", plan.threads, Threads)
        known = settings_of_run(plan.algorithm, plan.task, plan.model, plan.settings)
        check_stored_settings(plan.settings, known)
        return replace(plan, settings=dict(plan.settings))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"`{file}` is not that of a run: {error}; the command of the run, given "
                         "again, makes it anew") from None  # fmt: skip


def lock_seed(folder: Path, seed: int) -> AbstractContextManager[Any]:
    """What keeps other processes from a seed of `folder`.

    Raises:
        ValueError: another process has it.
    """
    try:
        return FileLock(folder / f"seed{seed}.lock").acquire(timeout=0)
    except Timeout:
        raise ValueError(f"seed {seed} of `{folder}` is being run by another process: wait until "
                         "it has ended, or name another `out`") from None  # fmt: skip


def recover_records(chosen: Plan, folder: Path, seed: int) -> list[dict[str, Any]]:
    """The records of a seed, one for each of the first planned rounds; the file is repaired.

    The last one is taken back, to be found again, where its ticket is not there or not its own.

    Raises:
        ValueError: a record is of another round or of another run.
    """
    lines = folder / f"seed{seed}.jsonl"
    done = record.repair(lines)
    check_records(chosen, lines, done)
    if chosen.source:
        check_source_tickets(chosen, seed, done)
    whole = len(done) == len(planned_rounds(chosen.settings))
    if done and not (whole and not keeps_ticket(done[-1])) and not _has_ticket(folder, done[-1]):
        if done[1:]:
            load_last_ticket(folder, done[-2])  # or nothing is taken back
        record.remove_last_line(lines)
        return done[:-1]
    return done


def check_records(chosen: Plan, file: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Refuse the `lines` of a record file that are not those of the first rounds of a plan.

    Raises:
        ValueError: one is of another round, seed or run; names the first.
    """
    numbers = planned_rounds(chosen.settings)
    right = {"seed": int(file.stem.removeprefix("seed")), "algorithm": chosen.algorithm,
             "model": short_name(chosen.model), "data": chosen.data or None,
             "source": chosen.source or None, "code": chosen.code or None}  # fmt: skip
    settings = json.loads(json.dumps(chosen.decisive))  # as they are read
    for i, line in enumerate(lines, start=1):
        expected = {"round": numbers[i - 1] if i <= len(numbers) else "none", **right}
        pairs = [(name, value, line.get(name)) for name, value in expected.items()]
        pairs += [(name, value, line["settings"].get(name)) for name, value in settings.items()]
        for name, value, has in pairs:
            if has != value:
                raise ValueError(f"`{file}` must hold {name} {value} in line {i}, got {has}; "
                                 f"{record.REMEDY}; or put the settings.json of its run back"
                                 )  # fmt: skip


def check_source_tickets(chosen: Plan, seed: int, done: Sequence[Mapping[str, Any]]) -> None:
    """Refuse tickets of an earlier run that are not its own, or not those that `done` came from.

    Raises:
        ValueError: names the file.
    """
    folder = Path(chosen.here["tickets"])
    lines = folder / f"seed{seed}.jsonl"
    if lines.exists():
        check_records(read_plan(folder, "tickets"), lines, record.read_file(lines))
    for line in done:
        path = ticket_file(folder, seed, line["round"])
        if path.exists() and line.get("source_ticket") != file_digest(path):
            raise ValueError(f"`{path}` is not the ticket that round {line['round']} of seed "
                             f"{seed} is recorded of; put that back, or give another `out`"
                             )  # fmt: skip


def _has_ticket(folder: Path, line: Mapping[str, Any]) -> bool:
    try:
        load_of_run(folder, line)
    except (FileNotFoundError, ValueError):
        return False
    return True


def load_last_ticket(folder: Path, line: Mapping[str, Any]) -> Ticket:
    """The ticket of a record, to go on from.

    Raises:
        ValueError: it is not there, or is not that of the record; says what to do.
    """
    try:
        return load_of_run(folder, line)
    except (FileNotFoundError, ValueError) as error:
        lines = folder / f"seed{line['seed']}.jsonl"
        raise ValueError(f"{error}; or move `{lines}` aside and give the command again") from None


def save_round(chosen: Plan, folder: Path, ticket: Ticket, known: Mapping[str, Any],
         learnt: Mapping[str, Any], spent: Mapping[str, float]) -> Step:  # fmt: skip
    """Write a ticket, then the record of its round."""
    seed, about = known["seed"], ticket.provenance
    whole = {
        **known, **learnt, **spent,
        "settings": about["settings"], "environment": about["environment"],
        **told_of_ticket(chosen, ticket.round),
    }  # fmt: skip
    with delay_signals():
        whole["ticket"] = ticket.save(ticket_file(folder, seed, ticket.round))
        record.append(folder / f"seed{seed}.jsonl", whole)
        remove_tickets(chosen, folder, seed)
    return Step(seed, ticket.round, None, whole)


def save_rounds(
    chosen: Plan, folder: Path, seed: int, rounds: Sequence[tuple[record.Record, bytes | None]]
) -> list[record.Record]:
    """Write rounds of a seed that were computed elsewhere: all of them or none; return the records.

    Args:
        chosen: the plan of the run.
        folder: its folder.
        seed: whose rounds they are.
        rounds: the record of each, and what its ticket's file holds; None where that is not kept.
            One that is recorded already is left as it is, and not returned.

    Raises:
        ValueError: a ticket is not that of its record.
    """
    lines = folder / f"seed{seed}.jsonl"
    with delay_signals():
        known = {line["round"] for line in record.read_file(lines)} if lines.exists() else set()
        new = {line["round"]: (line, content) for line, content in rounds
               if line["round"] not in known}  # fmt: skip
        for line, content in new.values():
            path = ticket_file(folder, seed, line["round"])
            if content is None:
                continue
            if hashlib.sha256(content).hexdigest() != line["ticket"]:
                raise ValueError(f"`{path}` must be the ticket of its record, got another from the "
                                 "worker: give the command again")  # fmt: skip
            with replace_file(path) as draft:
                draft.write_bytes(content)
        record.extend(lines, [line for line, _ in new.values()])
        remove_tickets(chosen, folder, seed)
    return [line for line, _ in new.values()]


def told_of_ticket(chosen: Plan, round: int) -> dict[str, bool]:
    """What the record of a round says of a ticket that is not kept when the run is done."""
    last = round == planned_rounds(chosen.settings)[-1]
    kept = chosen.keep_tickets == "all" or (chosen.keep_tickets == "last" and last)
    return {} if kept else {"ticket_kept": False}


def keeps_ticket(line: Mapping[str, Any]) -> bool:
    """Whether the ticket of a record stays when the run is done."""
    return line.get("ticket_kept", True) is not False


def remove_tickets(chosen: Plan, folder: Path, seed: int) -> None:
    """Remove the tickets of a seed that are not kept; an unfinished run goes on from the last."""
    if chosen.keep_tickets == "all":
        return
    done = record.read_file(folder / f"seed{seed}.jsonl")
    whole = len(done) == len(planned_rounds(chosen.settings))
    for line in done if whole else done[:-1]:
        if not keeps_ticket(line):
            ticket_file(folder, seed, line["round"]).unlink(missing_ok=True)
