"""The tickets of an earlier run, for algorithms that change or transfer them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from graphlth.records.files import read_file
from graphlth.settings.lists import parse_rounds
from graphlth.settings.types import RoundNumbers
from graphlth.storage import file_digest
from graphlth.ticket import Ticket, load_of_run, ticket_file


def read_tickets(
    folder: str, seed: int, rounds: int, only: RoundNumbers, last: Ticket | None
) -> Iterator[Ticket]:
    """The dense ticket of `seed` in a run's `folder`, then those of the rounds asked for.

    Of "all" up to `rounds` as many as there are, without those up to `last`. The `search` of each
    holds the SHA-256 of its file.

    Raises:
        FileNotFoundError: there is no ticket of this seed, or none of a round that is named.
        ValueError: a ticket is damaged, or is not that of its record.
    """
    lines = Path(folder) / f"seed{seed}.jsonl"
    known = {line["round"]: line for line in read_file(lines)} if lines.exists() else {}
    done = last.round if last else -1
    for r in (r for r in (0, *parse_rounds(only, rounds)) if r > done):
        path = ticket_file(Path(folder), seed, r)
        if r and only == "all" and not path.exists():
            return
        line = known.get(r, {"seed": seed, "round": r})
        ticket = load_of_run(Path(folder), line)
        origin = {"source_ticket": line.get("ticket") or file_digest(path)}
        yield replace(ticket, search=ticket.search | origin)
