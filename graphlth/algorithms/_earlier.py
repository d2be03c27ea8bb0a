"""The tickets of an earlier run, for those who change or move them."""

from collections.abc import Iterator
from pathlib import Path

from graphlth.ticket import Ticket, load, ticket_file


def earlier(folder: str, seed: int, rounds: int, last: Ticket | None) -> Iterator[Ticket]:
    """The tickets of `seed` in a run's `folder` after `last`, up to `rounds` or the last there is.

    Raises:
        FileNotFoundError: the seed has no dense ticket there.
    """
    for r in range(last.round + 1 if last else 0, rounds + 1):
        path = ticket_file(Path(folder), seed, r)
        if r and not path.exists():
            return
        yield load(path)
