"""What an algorithm must yield: checked where its tickets are received, before one is used."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from graphlth.masks import only
from graphlth.records.schema import check_search, plain_json
from graphlth.settings.lists import planned_rounds
from graphlth.settings.validation import defaults_of, settings_of
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.ticket_checks import check_ticket_fits


class Yielded:
    """The tickets of an algorithm, each looked at before it is given on.

    Args:
        algorithm: the plug-in.
        found: what it has returned.
        model: the network.
        task: the data.
        settings: what it was called with.
    """

    def __init__(
        self, algorithm: Any, found: Any, model: nn.Module, task: Task, settings: Mapping[str, Any]
    ):
        self.name, self.found, self.model, self.task = algorithm.__name__, found, model, task
        self.last: Ticket | None = settings.get("last")
        known = {**defaults_of(settings_of(algorithm)), **settings}
        done = -1 if self.last is None else self.last.round
        self.rounds = [r for r in planned_rounds(known) if r > done]
        self.nested = "rounds" in known and "tickets" not in known  # not draws, nor another run's

    def __iter__(self) -> Iterator[Ticket]:
        """The tickets.

        Raises:
            ValueError: names the algorithm, the rule and what it has yielded.
        """
        if not hasattr(self.found, "__iter__"):
            raise _error(self.name, "yield tickets", f"{type(self.found).__name__}: "
                         "write `yield ticket` in it")  # fmt: skip
        before = self.last
        for count, ticket in enumerate(self.found):
            self.check(ticket, count, before)
            before = replace(ticket, search=self.plain_search(ticket))
            yield before
        if before is None:
            raise _error(self.name, "yield the dense ticket first", "nothing: yield "
                         "dense(model, task.num_edges) where `last` is None")  # fmt: skip

    def check(self, ticket: Any, count: int, before: Ticket | None) -> None:
        """Refuse what is no ticket, of another round, model or graph, or has entries back."""
        if not isinstance(ticket, Ticket):
            raise _error(self.name, "yield tickets", f"{type(ticket).__name__}: yield "
                         "Ticket(init, masks, round)")  # fmt: skip
        if count >= len(self.rounds) or ticket.round != self.rounds[count]:
            rounds = ", ".join(map(str, self.rounds[: count + 1])) or "none"
            more = ", …" if len(self.rounds) > count + 1 else ""
            raise _error(self.name, "yield a ticket for each round that its settings announce, in "
                         f"order: {rounds}{more}", f"round {ticket.round!r}: number them from 0, "
                         "the dense one, to `rounds` or `draws`, or 1 without these")  # fmt: skip
        try:
            check_ticket_fits(ticket, self.model, self.task.num_edges)
        except (ValueError, AttributeError, TypeError) as error:
            raise _error(self.name, "yield tickets of its model and task",
                         f"round {ticket.round}, of which {error}") from error  # fmt: skip
        if before is not None:
            self.check_masks(ticket, before)

    def check_masks(self, ticket: Ticket, before: Ticket) -> None:
        """Refuse other masks than those of the ticket before, or more entries in them."""
        if apart := sorted(ticket.masks.keys() ^ before.masks.keys()):
            raise _error(self.name, "yield the same masks in every round, as in `last`",
                         f"{apart[0]!r} in one of the rounds {before.round} and {ticket.round} "
                         "alone: start from a ticket with the same masks")  # fmt: skip
        for part in ("weights", "edges") if self.nested else ():
            kept = [sum(int(m.count_nonzero()) for m in only(each.masks, part).values())
                    for each in (before, ticket)]  # fmt: skip
            if kept[1] > kept[0]:
                raise _error(self.name, "bring no entries back", f"{kept[1]} {part} in round "
                             f"{ticket.round} after {kept[0]} in round {before.round}: remove "
                             "them with graphlth.prune")  # fmt: skip

    def plain_search(self, ticket: Ticket) -> dict[str, Any]:
        """What the ticket tells of its search, as JSON.

        Raises:
            ValueError: it is not finite, no JSON, or has a name of the record's own.
        """
        try:
            plain: dict[str, Any] = plain_json(check_search(ticket.search), "search")
        except ValueError as error:
            raise _error(self.name, "tell of its search in plain values", f"round {ticket.round}, "
                         f"of which {error}") from error  # fmt: skip
        return plain


def _error(name: str, rule: str, got: str) -> ValueError:
    return ValueError(f"`algorithm` {name!r} must {rule}, got {got}")
