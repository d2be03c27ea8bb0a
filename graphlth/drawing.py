"""Early-bird drawing: masks are drawn after every epoch until they have settled.

Sources: You et al., Drawing Early-Bird Tickets, ICLR 2020 (openreview BJxsrgStvr), Algorithm 1;
You et al., Early-Bird GCNs, AAAI 2022, arXiv:2103.00794, Algorithms 1 and 2.
"""

from collections import deque
from collections.abc import Sequence

from graphlth.masks import Masks, distance, only

CRITERIA = {"edges": ("edges",), "weights": ("weights",), "both": ("edges", "weights")}


class Queue:
    """The last distances between one draw and the next; nothing in it knows graphs or channels.

    Args:
        window: l, how many distances it holds.
        epsilon: η, below which all of them must lie.
        parts: whose distances are added up, of "edges" and "weights".
        dense: the masks before the first draw. With them, the distance of a part is told relative
            to its first one that is not 0; without, as the fraction of entries that differ.
    """

    def __init__(
        self,
        window: int,
        epsilon: float,
        parts: Sequence[str] = ("edges", "weights"),
        dense: Masks | None = None,
    ):
        self.epsilon, self.parts, self.last = epsilon, parts, dense
        self.units: dict[str, float] | None = {} if dense else None  # by part: what counts as 1
        self.recent: deque[float] = deque(maxlen=window)
        self.path: list[float] = []  # every distance so far

    def settled(self, drawn: Masks) -> bool:
        """Take in the next draw; whether the last `window` distances all lie below η."""
        if self.last is not None:
            self.path.append(sum(self._distance(part, self.last, drawn) for part in self.parts))
            self.recent.append(self.path[-1])
        self.last = drawn
        return len(self.recent) == self.recent.maxlen and max(self.recent) < self.epsilon

    def _distance(self, part: str, a: Masks, b: Masks) -> float:
        if not (a := only(a, part)):
            return 0.0
        d = distance(a, b)
        return d / self.units.setdefault(part, d) if self.units is not None and d else d
