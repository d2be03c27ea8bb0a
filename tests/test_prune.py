"""Removal: exact counts, whatever the ties; the lowest go; what is gone stays gone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlth.drawing import Draw, distances
from graphlth.prune import drop_jointly, drop_lowest, make_redraw

many = settings(max_examples=150, deadline=None, derandomize=True)

ROWS = [  # alive         scores          fraction  left
    ([1, 1, 1, 1], [4, 3, 2, 1], 0.50, [1, 1, 0, 0]),
    ([1, 1, 1, 1], [4, 3, 2, 1], 0.00, [1, 1, 1, 1]),
    ([1, 0, 1, 1], [4, 9, 2, 1], 1 / 3, [1, 0, 1, 0]),  # a dead entry never returns
    ([1, 0, 1, 1], [4, 0, 2, 1], 1 / 3, [1, 0, 1, 0]),  # nor is it counted
    ([1, 1, 1, 1], [1, 1, 1, 1], 0.25, [0, 1, 1, 1]),  # ties: exactly one goes, the first
    ([1, 1, 1, 1], [0, 0, 0, 0], 0.75, [0, 0, 0, 1]),
    ([1, 1, 1, 1], [4, -3, 2, 1], 0.25, [1, 0, 1, 1]),  # scores may be negative
    ([1, 1, 1, 1], [1, 2, 3, 4], 0.10, [1, 1, 1, 1]),  # round(0.4) = 0
    ([1, 1, 1, 1], [1, 2, 3, 4], 0.99, [0, 0, 0, 0]),  # round(3.96) = 4
    ([0, 0, 0, 0], [1, 2, 3, 4], 0.50, [0, 0, 0, 0]),
    ([0, 0, 1, 1], [0, 0, float("inf"), float("inf")], 0.5, [0, 0, 0, 1]),  # infinite is a number
]


@pytest.mark.parametrize(("alive", "scores", "fraction", "left"), ROWS)
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_drop_lowest(alive, scores, fraction, left, scope):
    masks, values = {"w": torch.tensor(alive).float()}, {"w": torch.tensor(scores).float()}
    assert drop_lowest(masks, values, fraction, scope)["w"].tolist() == left


def test_the_scope_says_against_whom_an_entry_is_ranked():
    masks = {"a": torch.ones(4), "b": torch.ones(4)}
    scores = {"a": torch.tensor([1.0, 2, 3, 4]), "b": torch.tensor([5.0, 6, 7, 8])}
    everywhere = drop_lowest(masks, scores, 0.5, "global")
    assert (everywhere["a"].tolist(), everywhere["b"].tolist()) == ([0, 0, 0, 0], [1, 1, 1, 1])
    within = drop_lowest(masks, scores, 0.5, "layer")
    assert (within["a"].tolist(), within["b"].tolist()) == ([0, 0, 1, 1], [0, 0, 1, 1])


def test_edges_and_weights_are_ranked_apart():
    masks = {"w": torch.ones(2, 2), "edges": torch.ones(5)}
    scores = {"w": torch.full((2, 2), 9.0), "edges": torch.arange(5.0)}
    left = drop_jointly(masks, scores, weights=0.5, edges=0.2)
    assert left["w"].tolist() == [[0, 0], [1, 1]]
    assert left["edges"].tolist() == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("part", ["w", "edges"])
def test_a_part_without_masks_stays_without(part):
    left = drop_jointly({part: torch.ones(4, 1)}, {part: torch.ones(4, 1)}, 0.5, 0.5)
    assert list(left) == [part]
    assert left[part].sum() == 2


@st.composite
def layers(draw):
    """Masks with survivors and dead entries, empty tensors too; scores with many ties."""
    masks, scores = {}, {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        shape = draw(st.sampled_from([(0,), (1,), (7,), (2, 3), (4, 1)]))
        size = torch.Size(shape).numel()
        alive = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        value = st.sampled_from([0.0, 1.0, 1.0, -2.0, 0.5, float("inf"), float("-inf")])
        masks[name] = torch.tensor(alive).float().view(shape)
        scores[name] = torch.tensor(
            draw(st.lists(value, min_size=size, max_size=size)), dtype=torch.float
        ).view(shape)
    return masks, scores


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors.values()])


@many
@given(layers(), st.floats(0, 1, exclude_max=True), st.sampled_from(["global", "layer"]))
def test_exactly_the_lowest_go_and_none_returns(case, fraction, scope):
    masks, scores = case
    before = {n: (m.clone(), scores[n].clone()) for n, m in masks.items()}
    left = drop_lowest(masks, scores, fraction, scope)
    groups = [list(masks)] if scope == "global" else [[n] for n in masks]
    for names in groups:
        old = flat({n: masks[n] for n in names})
        new = flat({n: left[n] for n in names})
        value = flat({n: scores[n] for n in names})
        gone, kept = (old == 1) & (new == 0), new == 1
        assert int(gone.sum()) == round(fraction * int(old.sum()))
        assert bool((new <= old).all())
        if gone.any() and kept.any():
            worst, best = value[gone].max(), value[kept].min()
            assert worst <= best
            if worst == best:  # of equal scores the earlier goes
                last_gone = (gone & (value == worst)).nonzero().max()
                assert last_gone < (kept & (value == worst)).nonzero().min()
    for n, (m, s) in before.items():  # masks are data: nothing is changed in place
        assert torch.equal(masks[n], m)
        assert torch.equal(scores[n], s)
        assert left[n].shape == m.shape
        assert left[n].dtype == m.dtype


def by_sorting(masks, scores, fraction, scope):
    """What `drop_lowest` is: the first of the survivors in a stable order of their scores."""
    if scope == "layer":
        return {n: by_sorting({n: m}, scores, fraction, "global")[n] for n, m in masks.items()}
    alive = flat(masks) != 0
    order = flat({n: scores[n] for n in masks})[alive].argsort(stable=True)
    gone = alive.nonzero().squeeze(1)[order[: round(fraction * order.numel())]]
    left = flat(masks).index_fill(0, gone, 0).split([m.numel() for m in masks.values()])
    return {n: part.view_as(m) for (n, m), part in zip(masks.items(), left, strict=True)}


TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("scope", ["global", "layer"])
@many
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(0,), (3, 5), (40, 30), (700,)]),
    st.sampled_from([0.0, 0.05, 0.5, 0.9, 0.999]),
    st.sampled_from([1.0, 0.5, 0.01, 0.0]),
    st.sampled_from([1, 3, 1000]),
)
def test_what_goes_is_what_a_stable_sort_puts_first(
    scope, dtype, seed, shape, fraction, share, values
):
    """Draw after draw, as scores drift and as they leap: what a draw remembers is no matter."""
    draw = torch.Generator().manual_seed(seed)
    masks = {n: (torch.rand(shape, generator=draw) < share).float() for n in "ab"}
    masks["c"] = torch.ones(7)
    scores = {n: torch.randn(m.shape, generator=draw) for n, m in masks.items()}
    for step in (0.0, 0.01, 0.01, 5.0):
        for n, s in scores.items():
            scores[n] = s + step * (1 + torch.randn(s.shape, generator=draw))
        rank = {n: (values * s).round().to(dtype) for n, s in scores.items()}  # with few, many tie
        if dtype.is_floating_point:
            rank["c"][:4] = torch.tensor([0.0, -0.0, float("inf"), float("-inf")], dtype=dtype)
        left = drop_lowest(masks, rank, fraction, scope)
        expected = by_sorting(masks, rank, fraction, scope)
        for n in masks:
            assert torch.equal(left[n], expected[n])
            assert left[n].dtype == masks[n].dtype


def test_scores_of_two_types_are_ranked_together():
    scores = {"a": torch.tensor([1.0, 4]), "b": torch.tensor([2.0, 3], dtype=torch.float64)}
    masks = {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.bool)}
    left = drop_lowest(masks, scores, 0.5)
    assert left["a"].tolist() == [0, 1] and left["b"].tolist() == [False, True]
    assert left["b"].dtype == torch.bool


@pytest.mark.parametrize("dtype", TYPES[:3], ids=str)
def test_a_removed_entry_may_score_nan_and_a_transposed_one_is_no_other(dtype):
    masks = {"w": torch.tensor([[1.0, 0, 1], [1, 1, 0]])}
    rank = torch.tensor([[3.0, torch.nan, 1], [2, 4, torch.nan]], dtype=dtype)
    expected = [[1, 0, 0], [0, 1, 0]]
    assert drop_lowest(masks, {"w": rank}, 0.5)["w"].tolist() == expected
    turned = {"w": rank.t().contiguous().t()}
    assert drop_lowest(masks, turned, 0.5)["w"].tolist() == expected
    with pytest.raises(ValueError, match="`scores` must be numbers, got 2 NaN"):
        drop_lowest({"w": torch.ones(2, 3)}, {"w": rank}, 0.0)


@pytest.mark.parametrize("dtype", TYPES[:3], ids=str)  # float16 is not compiled
@pytest.mark.parametrize("scope", ["global", "layer"])
@many
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(3, 5), (8, 8), (40, 30), (64, 11)]),  # words of 64 bits, whole and not
    st.sampled_from([0.0, 0.05, 0.5, 0.999]),
    st.sampled_from([1.0, 0.5, 0.01, 0.0]),
    st.sampled_from([1, 3, 1000]),
)
def test_draw_after_draw_the_lowest_magnitudes_go(
    scope, dtype, seed, shape, fraction, share, scale
):
    """As values stand still, drift and leap past what a draw expects; each tells how far it is."""
    draw = torch.Generator().manual_seed(seed)
    masks = {n: (torch.rand(shape, generator=draw) < share).float() for n in "ab"}
    masks = {"edges": torch.ones(70, dtype=torch.float64), **masks, "c": torch.ones(7)}
    drift = {n: torch.randn(m.shape, generator=draw) for n, m in masks.items()}
    values = {n: torch.zeros(m.shape, dtype=dtype) for n, m in masks.items()}
    again, last = make_redraw(masks, values, fraction, 0.3, scope), masks
    for step in (0.0, 0.0, 0.01, 0.01, 5.0, -2.0, 0.01):
        for n, v in values.items():
            drift[n] += step * (1 + 0.1 * torch.randn(v.shape, generator=draw))
            v.copy_((scale * drift[n]).round())  # with few values, many tie
        values["c"][:4] = torch.tensor([0.0, -0.0, torch.inf, -torch.inf])
        rank = {n: v.abs() for n, v in values.items()}
        expected = {part: {n: m for n, m in masks.items() if (n == "edges") == (part == "edges")}
                    for part in ("weights", "edges")}  # fmt: skip
        found, left = again(), (by_sorting(expected["weights"], rank, fraction, scope)
                                | by_sorting(expected["edges"], rank, 0.3, scope))  # fmt: skip
        assert list(found) == list(left)
        for n, m in masks.items():
            assert torch.equal(found[n], left[n]) and found[n].dtype == m.dtype
        if dtype != torch.float16:
            assert isinstance(found, Draw) and found.moved == distances(last, left)
        last = left


def test_a_draw_is_there_until_the_next():
    value = torch.tensor([1.0, 2, 3, 4])
    draw = make_redraw({"w": torch.ones(4)}, {"w": value}, 0.5)
    draw()
    found = draw()
    assert found["w"].tolist() == [0, 0, 1, 1]
    kept = dict(found)
    value.neg_().add_(5)  # 4, 3, 2, 1
    assert found["w"].tolist() == [0, 0, 1, 1]  # as drawn, not as values are
    assert draw() is found and found["w"].tolist() == [1, 1, 0, 0]
    assert kept["w"].tolist() == [0, 0, 1, 1]


def test_a_draw_with_nan_is_refused_as_any_other():
    masks = {"a": torch.tensor([1.0, 1, 0]), "b": torch.ones(2), "edges": torch.ones(3)}
    values = {n: torch.ones_like(m) for n, m in masks.items()}
    draw = make_redraw(masks, values, 0.0, 0.5, "layer")
    values["a"][2] = torch.nan  # gone before
    assert draw()["edges"].tolist() == [0, 0, 1]
    values["b"][:] = values["edges"][0] = torch.nan
    for _ in range(2):
        with pytest.raises(ValueError, match="`scores` must be numbers, got 2 NaN"):
            draw()


def test_what_is_not_contiguous_or_has_no_masks_is_drawn_too():
    value = torch.tensor([[3.0, 1], [2, 4]]).t()
    draw = make_redraw({"w": torch.ones(2, 2)}, {"w": value}, 0.5)
    assert draw()["w"].tolist() == [[1, 0], [0, 1]]
    value[0, 0] = 0
    assert draw()["w"].tolist() == [[0, 1], [0, 1]]
    assert make_redraw({}, {}, 0.5, 0.5)() == {}
    nothing = {"w": torch.ones(3), "v": torch.ones(0, 4)}
    drawn = make_redraw(nothing, nothing, 0.4, scope="layer")()
    assert drawn["w"].tolist() == [0, 1, 1] and drawn["v"].shape == (0, 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("values", [2, 1000])
def test_a_gpu_removes_what_the_cpu_does(values):
    masks = {"w": (torch.rand(50, 60) < 0.7).float(), "edges": torch.ones(999)}
    scores = {n: (values * torch.randn(m.shape)).round() for n, m in masks.items()}
    on_gpu = [{n: t.cuda() for n, t in each.items()} for each in (masks, scores)]
    ours, theirs = drop_lowest(masks, scores, 0.3), drop_lowest(*on_gpu, 0.3)
    assert all(torch.equal(theirs[n].cpu(), m) for n, m in ours.items())


@many
@given(st.integers(0, 60), st.floats(0, 1, exclude_max=True), st.integers(1, 8))
def test_every_round_removes_its_share_of_the_survivors(size, fraction, rounds):
    masks, expected = {"w": torch.ones(size)}, size
    for _ in range(rounds):
        masks = drop_lowest(masks, {"w": torch.zeros(size)}, fraction)
        expected -= round(fraction * expected)
        assert int(masks["w"].sum()) == expected


def test_no_masks_lose_nothing():
    assert drop_lowest({}, {}, 0.5) == {}
    assert drop_jointly({}, {}, 0.5, 0.5) == {}


def test_scores_that_have_a_gradient_leave_masks_without():
    scores = {"w": torch.randn(4, requires_grad=True)}
    assert not drop_lowest({"w": torch.ones(4)}, scores, 0.5)["w"].requires_grad


ONE = {"w": torch.ones(2)}
BAD = [  # masks, scores, fraction, scope, message
    (ONE, ONE, -0.1, "global", r"`fraction` must be in \[0, 1\), got -0.1"),
    (ONE, ONE, 1.0, "global", r"`fraction` must be in \[0, 1\), got 1.0"),
    (ONE, ONE, float("nan"), "layer", r"`fraction` must be in \[0, 1\), got nan"),
    (ONE, ONE, 0.5, "network", r"`scope` must be one of global, layer, got 'network'"),
    (ONE, {}, 0.5, "global", r"`scores` must hold 'w' of shape \[2\]"),
    (ONE, {}, 0.5, "layer", r"`scores` must hold 'w' of shape \[2\]"),
    (ONE, {"w": torch.ones(3)}, 0.5, "global", r"`scores` must hold 'w' of shape \[2\]"),
    (ONE, {"w": torch.tensor([1, torch.nan])}, 0.5, "global", r"`scores` must be .*got 1 NaN"),
]


@pytest.mark.parametrize(("masks", "scores", "fraction", "scope", "message"), BAD)
def test_a_wrong_argument_is_named_in_one_line(masks, scores, fraction, scope, message):
    with pytest.raises(ValueError, match=message) as caught:
        drop_lowest(masks, scores, fraction, scope)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("masks", "scores", "fraction", "scope", "message"), BAD[:-1])
def test_what_draws_names_a_wrong_argument_before_it_draws(masks, scores, fraction, scope, message):
    with pytest.raises(ValueError, match=message):
        make_redraw(masks, scores, fraction, scope=scope)


GROUPS = [  # group            scores                fraction  left
    ([0, 0, 0, 0, 1, 1, 1, 1], [4, 3, 2, 1, 8, 7, 6, 5], 0.25, [1, 1, 1, 0, 1, 1, 1, 0]),
    ([0, 0, 1, 1, 2, 2], [5, 6, 3, 4, 1, 2], 1 / 6, [1, 1, 1, 1, 0, 1]),  # the lowest next entry
    ([0, 1, 1, 1], [1, 2, 3, 4], 0.25, [1, 0, 1, 1]),  # the largest remainder, not the lowest
    ([1, 0, 1, 0], [1, 1, 1, 1], 0.5, [0, 0, 1, 1]),  # groups lie in any order; ties: the first
    ([0, 0, 0, 0], [4, 3, 2, 1], 0.5, [1, 1, 0, 0]),
]


@pytest.mark.parametrize(("groups", "scores", "fraction", "left"), GROUPS)
def test_each_group_loses_its_own_share(groups, scores, fraction, left):
    masks, values = {"edges": torch.ones(len(groups))}, {"edges": torch.tensor(scores).float()}
    found = drop_jointly(masks, values, 0.5, fraction, groups=torch.tensor(groups))
    assert found["edges"].tolist() == left


def test_the_layers_of_a_group_are_ranked_together():
    masks = {f"edges.{i}": torch.ones(4) for i in range(2)}
    scores = {"edges.0": torch.arange(4.0), "edges.1": 4 + torch.arange(4.0)}
    found = drop_lowest(masks, scores, 0.5, groups=torch.tensor([0, 0, 1, 1]))
    assert [m.tolist() for m in found.values()] == [[0, 0, 0, 0], [1, 1, 1, 1]]


def test_groups_of_another_length_are_refused():
    said = r"`groups` must be \[4\], one for each entry of 'edges', got \[3\]"
    with pytest.raises(ValueError, match=said):
        drop_lowest({"edges": torch.ones(4)}, {"edges": torch.ones(4)}, 0.5, groups=torch.ones(3))


@many
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([0.0, 0.05, 0.31, 0.5, 0.97]))
def test_budgets_of_groups_add_up_round_after_round(seed, count, fraction):
    """As many go as without groups; each group loses its share, rounded down or up; the lowest."""
    draw = torch.Generator().manual_seed(seed)
    groups = torch.randint(count, (60,), generator=draw)
    mask = (torch.rand(60, generator=draw) < 0.8).float()
    for _ in range(4):
        scores = torch.randint(9, (60,), generator=draw).float()
        left = drop_lowest({"edges": mask}, {"edges": scores}, fraction, groups=groups)["edges"]
        gone = (mask != 0) & (left == 0)
        assert bool((left <= mask).all())
        assert int(gone.sum()) == round(fraction * int(mask.sum()))
        for group in range(count):
            own = groups == group
            share = fraction * int(mask[own].sum())
            assert abs(int(gone[own].sum()) - share) < 1
            if gone[own].any() and left[own].any():
                assert scores[own & gone].max() <= scores[own & (left != 0)].min()
        mask = left


def test_a_draw_again_and_again_keeps_the_budgets_of_groups():
    masks, values = {"edges": torch.ones(8)}, {"edges": torch.arange(8.0)}
    draw = make_redraw(masks, values, edges=0.5, groups=torch.arange(8) % 2)
    assert draw()["edges"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    values["edges"].neg_()
    values["edges"].sub_(1)
    assert draw()["edges"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
