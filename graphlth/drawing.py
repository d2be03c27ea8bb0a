"""Early-bird drawing: masks are drawn after every epoch until they hardly change.

Sources: You et al., Drawing Early-Bird Tickets, ICLR 2020 (openreview BJxsrgStvr), Algorithm 1;
You et al., Early-Bird GCNs, AAAI 2022, arXiv:2103.00794, Algorithms 1 and 2.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor

from graphlth.masks import Masks, distance, only

CRITERIA = {"edges": ("edges",), "weights": ("weights",), "both": ("edges", "weights")}


class Draw(Mapping[str, Tensor]):
    """The masks of the last draw, and their distances from those of the draw before.

    They are made when first read, and kept until the next draw.

    Args:
        make: makes the masks.
    """

    __slots__ = ("_make", "made", "moved")

    def __init__(self, make: Callable[[], Masks]):
        self._make = make
        self.moved: dict[str, float] = {}  # the distance of each part, in [0, 1]
        self.made: Masks | None = None  # None after every draw

    @property
    def masks(self) -> Masks:
        """The masks, made now if they are not yet there."""
        if self.made is None:
            self.made = self._make()
        return self.made

    def __getitem__(self, name: str) -> Tensor:
        return self.masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.masks)

    def __len__(self) -> int:
        return len(self.masks)


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
        self.window, self.epsilon, self.parts, self.last = window, epsilon, parts, dense
        self.units: dict[str, float] | None = {} if dense else None  # by part: what counts as 1
        self.path: list[float] = []  # every distance so far

    def push(self, drawn: Masks) -> bool:
        """Add the next draw, and return whether the last `window` distances all lie below η."""
        if self.last is not None:
            moved = drawn.moved if isinstance(drawn, Draw) else distances(self.last, drawn)
            self.path.append(self._sum(moved))
        self.last = drawn
        if not self.path or self.path[-1] >= self.epsilon:  # as in most epochs
            return False
        recent = self.path[-self.window :]
        return len(recent) == self.window and max(recent) < self.epsilon

    def _sum(self, moved: Mapping[str, float]) -> float:
        whole = 0.0
        for part in self.parts:
            if d := moved.get(part):
                whole += d if self.units is None else d / self.units.setdefault(part, d)
        return whole


class LaggedQueue:
    """The largest distance between a draw and each of the last few before it, of every draw.

    It is what the released code of You et al. (AAAI 2022) compares. The distance of a part is,
    added up over its tensors, the most entries that differ from one of these draws, told relative
    to its first one that is not 0; until then it counts as 1. Of several parts it is the mean.

    Args:
        window: l, to how many draws before it a draw is compared; the first l have no distance.
        epsilon: η, below which the distance of a draw must lie.
        parts: whose distances are taken, of "edges" and "weights"; those without masks are not.
    """

    def __init__(
        self, window: int, epsilon: float, parts: Sequence[str] = ("edges", "weights")
    ):  # fmt: skip
        self.window, self.epsilon, self.parts = window, epsilon, parts
        self.earlier: list[Masks] = []  # the last draws, the latest last
        self.units: dict[str, float] = {}  # by part: what counts as 1
        self.path: list[float] = []  # every distance so far

    def push(self, drawn: Masks) -> bool:
        """Add the next draw, and return whether its distance lies below η."""
        masks = dict(drawn)  # a `Draw` holds them only until the next one
        settled = False
        if len(self.earlier) == self.window:
            moved = [self._relative(part, own) for part in self.parts if (own := only(masks, part))]
            self.path.append(sum(moved) / len(moved))
            settled = self.path[-1] < self.epsilon
        self.earlier = [*self.earlier, masks][-self.window :]
        return settled

    def _relative(self, part: str, own: Masks) -> float:
        most = [max(distance({n: m}, other) for other in self.earlier) * m.numel()
                for n, m in own.items()]  # fmt: skip
        d = sum(most)
        return d / self.units.setdefault(part, d) if d or part in self.units else 1.0


def distances(a: Masks, b: Masks) -> dict[str, float]:
    """The distance of each part that has masks."""
    return {part: distance(own, b) for part in CRITERIA["both"] if (own := only(a, part))}
