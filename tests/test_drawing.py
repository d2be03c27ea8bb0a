"""When a search has settled: windows, thresholds and distances, draw by draw."""

import pytest
import torch

from graphlth.drawing import CRITERIA, Draw, LaggedQueue, Queue, distances

SIZE = 20  # entries of either part


def drawn(edges, weights):
    """The dense masks, then draws that differ from the one before in so many entries."""
    masks = {"edges": torch.ones(SIZE), "w": torch.ones(4, SIZE // 4)}
    yield masks
    for flips in zip(edges, weights, strict=True):
        masks = {n: m.clone() for n, m in masks.items()}
        for m, count in zip(masks.values(), flips, strict=True):
            m.view(-1)[:count] = 1 - m.view(-1)[:count]
        yield masks


NONE = [0] * 5
RELATIVE = [  # window, epsilon, criterion, edges that change, weights, distances, settled at
    (3, 0.10, "edges", [10, 1, 0, 0, 0], NONE, [1, 0.1, 0, 0, 0], 5),
    (3, 0.10, "edges", [10, 0, 0, 0, 0], NONE, [1, 0, 0, 0, 0], 4),
    (3, 0.10, "edges", [10, 1, 1, 1, 1], NONE, [1, 0.1, 0.1, 0.1, 0.1], None),  # not below
    (3, 0.11, "edges", [10, 1, 1, 1, 1], NONE, [1, 0.1, 0.1, 0.1, 0.1], 4),
    (1, 0.20, "edges", [10, 1, 4, 0, 0], NONE, [1, 0.1, 0.4, 0, 0], 2),
    (5, 0.10, "edges", [10, 0, 0, 0, 0], NONE, [1, 0, 0, 0, 0], None),  # five are not yet there
    (1, 1.00, "edges", [10, 0, 0, 0, 0], NONE, [1, 0, 0, 0, 0], 2),
    (3, 0.10, "weights", NONE, [4, 1, 0, 0, 0], [1, 0.25, 0, 0, 0], 5),
    (3, 0.10, "both", [10, 0, 0, 0, 0], [4, 1, 0, 0, 0], [2, 0.25, 0, 0, 0], 5),
    (3, 0.10, "edges", [10, 0, 0, 0, 0], [4, 1, 4, 4, 4], [1, 0, 0, 0, 0], 4),
    (2, 0.10, "edges", [0, 0, 10, 0, 0], NONE, [0, 0, 1, 0, 0], 2),  # 1 is the first that is not 0
]


def settled_at(queue, masks):
    return next((i for i, each in enumerate(masks, 1) if queue.push(each)), None)


@pytest.mark.parametrize(
    ("window", "epsilon", "criterion", "edges", "weights", "path", "at"), RELATIVE
)
def test_a_search_settles_when_the_last_distances_are_small(
    window, epsilon, criterion, edges, weights, path, at
):
    dense, *masks = drawn(edges, weights)
    assert settled_at(Queue(window, epsilon, CRITERIA[criterion], dense), masks) == at
    whole = Queue(window, epsilon, CRITERIA[criterion], dense)
    for each in masks:
        whole.push(each)
    assert whole.path == pytest.approx(path)


ABSOLUTE = [  # window, epsilon, edges that change, distances, settled at
    (3, 0.10, [10, 1, 1, 1, 1], [0.05, 0.05, 0.05, 0.05], 4),  # the first draw has none before
    (4, 0.10, [10, 1, 1, 1, 1], [0.05, 0.05, 0.05, 0.05], 5),
    (5, 0.10, [10, 1, 1, 1, 1], [0.05, 0.05, 0.05, 0.05], None),
    (3, 0.05, [10, 1, 1, 1, 1], [0.05, 0.05, 0.05, 0.05], None),
    (1, 0.10, [10, 2, 1, 0, 0], [0.10, 0.05, 0, 0], 3),
]


@pytest.mark.parametrize(("window", "epsilon", "edges", "path", "at"), ABSOLUTE)
def test_without_the_dense_masks_a_distance_is_the_fraction_that_changes(
    window, epsilon, edges, path, at
):
    _, *masks = drawn(edges, NONE)
    assert settled_at(Queue(window, epsilon, ("edges",)), masks) == at
    whole = Queue(window, epsilon, ("edges",))
    for each in masks:
        whole.push(each)
    assert whole.path == pytest.approx(path)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("relative", [True, False])
def test_draws_that_tell_their_distance_settle_as_masks_do(criterion, relative):
    dense, *masks = drawn([10, 1, 3, 0, 0], [0, 4, 1, 2, 0])
    told = [Draw(dict) for _ in masks]
    for draw, a, b in zip(told, [dense, *masks], masks, strict=False):
        draw.moved |= distances(a, b)
    queues = [Queue(2, 0.3, CRITERIA[criterion], dense if relative else None) for _ in range(2)]
    answers = [
        [q.push(each) for each in found] for q, found in zip(queues, (masks, told), strict=True)
    ]
    assert answers[0] == answers[1] and queues[0].path == queues[1].path
    assert any(queues[0].path)


LAGGED = [  # window, epsilon, criterion, edges that change, weights, distances, settled at
    (1, 0.3, "edges", [9, 4, 2, 1, 0], NONE, [1, 0.5, 0.25, 0], 4),  # 9 is before the first draw
    (3, 0.3, "edges", [9, 4, 4, 2, 0], NONE, [1, 1], None),  # 4 lies two and three draws back
    (2, 0.6, "edges", [9, 4, 0, 2, 0], NONE, [1, 0.5, 0.5], 4),
    (2, 0.6, "both", [9, 4, 0, 2, 0], [9, 8, 0, 2, 0], [1, 0.375, 0.375], 4),  # a mean
    (1, 0.6, "both", NONE, [9, 4, 1, 1, 1], [1, 0.625, 0.625, 0.625], None),  # still edges are 1
    (1, 0.3, "edges", [9, 0, 4, 1, 0], NONE, [1, 1, 0.25, 0], 4),  # 1 until it has moved
]


@pytest.mark.parametrize(
    ("window", "epsilon", "criterion", "edges", "weights", "path", "at"), LAGGED
)
def test_a_draw_is_compared_with_each_of_the_last_few(
    window, epsilon, criterion, edges, weights, path, at
):
    _, *masks = drawn(edges, weights)
    assert settled_at(LaggedQueue(window, epsilon, CRITERIA[criterion]), masks) == at
    whole = LaggedQueue(window, epsilon, CRITERIA[criterion])
    for each in masks:
        whole.push(each)
    assert whole.path == pytest.approx(path)


def test_a_lagged_distance_is_the_largest_of_each_tensor():
    """One tensor lies farthest from the draw before, the other from the one before that."""
    ones = torch.ones(4)
    draws = [{"a": ones, "b": ones}, {"a": 1 - ones, "b": ones}, {"a": ones, "b": 1 - ones}]
    queue = LaggedQueue(2, 0.1, ("weights",))
    for each in draws:
        queue.push(each)
    assert queue.units == {"weights": 8} and queue.path == [1]


def test_a_part_without_masks_has_no_lagged_distance():
    queue = LaggedQueue(1, 0.3)
    edges = [torch.ones(8), torch.zeros(8), torch.zeros(8)]
    assert [queue.push({"edges": each}) for each in edges] == [False, False, True]
