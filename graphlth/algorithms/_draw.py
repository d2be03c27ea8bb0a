"""What early-bird searches share: when tickets are drawn, and what they start from."""

from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from torch import Tensor, nn

from graphlth.cost.meters import uncounted
from graphlth.drawing import Queue
from graphlth.masks import Masks, distance
from graphlth.rewinding import reinitialise, snapshot
from graphlth.settings.types import Start
from graphlth.ticket import Ticket

STARTS: tuple[str, ...] = get_args(Start)


def drawn(
    training: Iterable[object],
    draw: Callable[[], Masks],
    start: Callable[[], dict[str, Tensor]],
    queue: Queue,
    *,
    epochs: int,
    count: int,
    last: Ticket | None = None,
    spread: Callable[[Masks], Masks] = dict,
) -> list[Ticket]:
    """The first draw that has settled, else the last; with `count` above 1 as many, evenly spaced.

    `training` pauses after each of `epochs` epochs; `draw` and `start` are asked then. All of it is
    done at once: who is given a ticket may train the model. A search that is done again to continue
    after its ticket `last` is not counted again. Draws are compared as they are; a ticket's masks
    are what `spread` makes of its draw.
    """
    with uncounted(last is not None and last.round > 0):
        tickets = [*_drawn(training, draw, start, queue, epochs, count, spread)]
    return tickets[last.round if last else 0 :]


def _drawn(
    training: Iterable[object],
    draw: Callable[[], Masks],
    start: Callable[[], dict[str, Tensor]],
    queue: Queue,
    epochs: int,
    count: int,
    spread: Callable[[Masks], Masks],
) -> Iterator[Ticket]:
    earlier: list[Masks] = []
    for epoch, _ in enumerate(training, 1):
        masks = draw()
        settled = queue.push(masks)
        due = epoch * count // epochs > (epoch - 1) * count // epochs  # the last one always is
        if due or (settled and count == 1):
            masks = dict(masks)  # a `Draw` is there until the next
            told = {
                "drawn_epoch": epoch,
                "settled": settled,
                "mask_distances": list(queue.path),
                "distances_to_earlier": [distance(masks, other) for other in earlier],
            }
            earlier.append(masks)
            yield Ticket(start(), spread(masks), len(earlier), search=told)
            if count == 1:
                return


def starting(model: nn.Module, how: str, seed: int) -> Callable[[], dict[str, Tensor]]:
    """What gives a ticket's weights: those that `model` has when drawn, had now, or drawn anew.

    Raises:
        ValueError: `how` is none of "inherit", "rewind" and "reinit".
    """
    if how not in STARTS:
        raise ValueError(f"`start` must be one of {', '.join(STARTS)}, got {how!r}")
    if how == "inherit":
        return lambda: snapshot(model)
    state = snapshot(model) if how == "rewind" else reinitialise(model, seed)
    return lambda: state
