"""The frontier of cost and quality: what nothing cheaper equals."""

from collections.abc import Sequence


def find_frontier(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """The places of those that no other equals in both and beats in one, the cheapest first.

    Args:
        costs: less is better.
        values: more is better.
    """
    points = [*zip(costs, values, strict=True)]
    frontier = [
        i
        for i, (cost, value) in enumerate(points)
        if not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
    ]
    return sorted(frontier, key=lambda i: points[i])
