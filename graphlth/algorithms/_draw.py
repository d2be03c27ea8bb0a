"""What early-bird searches share: when tickets are drawn, and what they start from."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from graphlth.algorithms._admm import TrainingFields
from graphlth.cost.meters import without_counting
from graphlth.drawing import LaggedQueue, Queue
from graphlth.masks import Masks, distance
from graphlth.rewinding import reinitialise, snapshot
from graphlth.settings.annotations import check_value
from graphlth.settings.types import DrawDistance, FirstEpoch, Start
from graphlth.settings.validation import check_fields
from graphlth.ticket import Ticket

AnyQueue = Queue | LaggedQueue


@dataclass(frozen=True)
class DrawComparison:
    """How a draw is compared with those before it.

    Args:
        distance: "consecutive" is from one draw to the next, and the last `window` ones must be
            small; "lagged" the largest from a draw to each of the last `window` before it, which
            must be small itself (see `graphlth.drawing.LaggedQueue`), as in the released code.
        first_epoch: the first epoch that a settled ticket may be drawn at.
    """

    distance: DrawDistance = "consecutive"
    first_epoch: FirstEpoch = 1

    def __post_init__(self) -> None:
        check_fields(self)

    def queue(self, window: int, epsilon: float, parts: Sequence[str], dense: Masks) -> AnyQueue:
        """What tells when the draws of `parts` have settled; `dense` are the masks before them."""
        if self.distance == "lagged":
            return LaggedQueue(window, epsilon, parts)
        return Queue(window, epsilon, parts, dense)


class DrawFields(TrainingFields, total=False):
    """The fields of a search of edges as keywords, or a group in place of its own."""

    draw_comparison: DrawComparison
    distance: DrawDistance
    first_epoch: FirstEpoch


def draw_tickets(
    search: Iterable[object],
    draw: Callable[[], Masks],
    weights: Callable[[], dict[str, Tensor]],
    queue: AnyQueue,
    *,
    epochs: int,
    count: int,
    last: Ticket | None = None,
    expand: Callable[[Masks], Masks] = dict,
    first_epoch: int = 1,
) -> list[Ticket]:
    """The first draw that has settled, else the last; with `count` above 1 as many, evenly spaced.

    All of the search is done before a ticket is returned: the caller may train the model. A search
    that is repeated to continue after its ticket `last` is not counted again as cost.

    Args:
        search: a training that pauses after each epoch.
        draw: the masks of a draw, as the model is in a pause.
        weights: the weights that a ticket drawn in a pause starts from.
        queue: tells when draws have settled.
        epochs: how many epochs the search has.
        count: how many tickets are drawn.
        last: continue after this ticket.
        expand: makes the masks of a ticket of those of its draw; draws are compared as they are.
        first_epoch: before which draws have not settled.
    """
    with without_counting(last is not None and last.round > 0):
        tickets = [*_draw(search, draw, weights, queue, epochs, count, expand, first_epoch)]
    return tickets[last.round if last else 0 :]


def _draw(
    search: Iterable[object],
    draw: Callable[[], Masks],
    weights: Callable[[], dict[str, Tensor]],
    queue: AnyQueue,
    epochs: int,
    count: int,
    expand: Callable[[Masks], Masks],
    first_epoch: int,
) -> Iterator[Ticket]:
    earlier: list[Masks] = []
    for epoch, _ in enumerate(search, 1):
        masks = draw()
        settled = queue.push(masks) and epoch >= first_epoch
        due = epoch * count // epochs > (epoch - 1) * count // epochs  # the last one always is
        if due or (settled and count == 1):
            masks = dict(masks)  # a `Draw` holds them only until the next one
            about = {
                "drawn_epoch": epoch,
                "settled": settled,
                "mask_distances": list(queue.path),
                "distances_to_earlier": [distance(masks, other) for other in earlier],
            }
            earlier.append(masks)
            yield Ticket(weights(), expand(masks), len(earlier), search=about)
            if count == 1:
                return


def starting_weights(model: nn.Module, how: Start, seed: int) -> Callable[[], dict[str, Tensor]]:
    """A function that returns the weights that a ticket starts from.

    They are those that `model` has when the function is called ("inherit"), those that it has now
    ("rewind"), or drawn anew ("reinit").

    Raises:
        ValueError: `how` is something else.
    """
    check_value("start", how, Start)
    if how == "inherit":
        return lambda: snapshot(model)
    state = snapshot(model) if how == "rewind" else reinitialise(model, seed)
    return lambda: state
