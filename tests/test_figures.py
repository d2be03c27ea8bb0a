import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from graphlth.figures.sparsity import COLOURS, draw, sparsity
from graphlth.record import interval, summary, winning


def run(
    algorithm,
    *,
    task="cora",
    model="gcn",
    edges="directed",
    seeds=5,
    rounds=20,
    dense=0.81,
    slope=0.003,
    drop_edges=0.05,
    drop_weights=0.2,
    macs=2.007e9,
    num_edges=10556,
    num_weights=737280,
    **settings,
):
    """Records as a run leaves them: some gain at first, then `slope` of accuracy lost a round."""
    records = []
    for seed in range(seeds):
        noise = np.random.default_rng([seed, *task.encode()])
        for number in range(rounds + 1):
            edge, weight = 1 - (1 - drop_edges) ** number, 1 - (1 - drop_weights) ** number
            if number == 1:  # the dense baseline alone is the same whatever the algorithm
                noise = np.random.default_rng([seed, *algorithm.encode()])
            test = dense + noise.normal(0, 0.006) - slope * (number - 2) * (number > 0)
            records.append(
                {
                    "algorithm": algorithm,
                    "task": task,
                    "model": model,
                    "seed": seed,
                    "round": number,
                    "edges": edges,
                    "edge_sparsity": edge,
                    "weight_sparsity": weight,
                    "num_edges": num_edges,
                    "num_weights": num_weights,
                    "val": float(np.clip(test - 0.01, 0, 1)),
                    "test": float(np.clip(test, 0, 1)),
                    "best_epoch": 40,
                    "macs": macs * (0.985 * (1 - weight) + 0.015 * (1 - edge)),
                    "seconds_search": 2.0,
                    "seconds_retrain": 1.0,
                    "settings": {"rounds": rounds, **settings},
                    "environment": {},
                }
            )
    return records


UGS, RANDOM = run("ugs"), run("random_tickets", slope=0.006)
IMP, EDGES = run("imp", drop_edges=0, slope=0.002), run("ugs_edges", drop_weights=0)
CITESEER = {"task": "citeseer", "dense": 0.71, "macs": 6.299e9, "num_edges": 9228}


def line(axis, label):
    (found,) = [one for one in axis.lines if one.get_label() == label]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


@pytest.fixture(scope="module")
def figure():
    return draw(UGS + RANDOM + IMP + EDGES)


def test_every_series_holds_the_means_in_per_cent(figure):
    for records, label in [(UGS, "ugs"), (RANDOM, "random tickets")]:
        rows = summary(records)
        means = [100 * row.test for row in rows]
        columns = (
            [100 * row.edge_sparsity for row in rows],
            [100 * row.weight_sparsity for row in rows],
            [row.macs for row in rows],
        )
        for axis, column in zip(figure.axes, columns, strict=True):
            x, y = line(axis, label)
            assert x == pytest.approx(column) and y == pytest.approx(means)


def test_a_series_that_prunes_no_edges_is_one_dense_point_among_edges(figure):
    edges, weights, macs = figure.axes
    assert [len(line(axis, "imp")[0]) for axis in (edges, weights, macs)] == [1, 21, 21]
    assert [len(line(axis, "ugs edges")[0]) for axis in (edges, weights, macs)] == [21, 1, 21]
    assert line(edges, "imp")[0] == [0] and line(weights, "ugs edges")[0] == [0]
    assert len(line(edges, "_stars of imp")[0]) == 0


def test_stars_stand_on_the_winning_tickets(figure):
    for records, label in [(UGS, "ugs"), (RANDOM, "random tickets")]:
        won = winning(records)
        assert won  # else this says nothing
        x, y = line(figure.axes[1], f"_stars of {label}")
        assert x == pytest.approx([100 * row.weight_sparsity for row in won])
        assert y == pytest.approx([100 * row.test for row in won])


def test_coinciding_stars_differ_in_size(figure):
    stars = [one for one in figure.axes[0].lines if one.get_label().startswith("_stars")]
    assert len({one.get_markersize() for one in stars}) == len(stars) == 4


def test_runs_that_share_their_dense_round_share_one_black_line_with_its_band(figure):
    dense = [r["test"] for r in UGS if r["round"] == 0]
    for axis in figure.axes[:2]:
        (level,) = [one for one in axis.lines if one.get_label() == "_dense"]
        assert level.get_ydata() == pytest.approx([100 * np.mean(dense)] * 2)
        assert level.get_color() == "black"
        (band,) = axis.patches
        assert band.get_height() == pytest.approx(200 * interval(dense))


def test_runs_of_different_dense_rounds_have_a_line_each():
    panel = draw(UGS + run("imp", dense=0.78)).axes[0]
    levels = [one for one in panel.lines if one.get_label() == "_dense"]
    assert [one.get_color() for one in levels] == list(COLOURS[1::-1])[::-1]


def test_bands_are_intervals_and_one_seed_has_none(figure):
    rows = summary(UGS)
    (band,) = draw(UGS).axes[0].collections
    edge = band.get_paths()[0].vertices[:, 1]
    assert edge.max() == pytest.approx(max(100 * (r.test + r.test_interval) for r in rows))
    assert edge.min() == pytest.approx(min(100 * (r.test - r.test_interval) for r in rows))
    one = draw(run("ugs", seeds=1))
    assert not any(axis.collections or axis.patches for axis in one.axes)
    assert "95 % interval over seeds" not in [t.get_text() for t in one.legends[0].get_texts()]


def test_macs_fall_to_the_right_and_the_top_counts_how_many_times(figure):
    FigureCanvasAgg(figure).draw()
    axis = figure.axes[2]
    (above,) = axis.child_axes
    left, right = axis.get_xlim()
    assert axis.get_xscale() == "log" and left > right
    for times in (1, 2, 10, 50):
        top = above.transData.transform((times, 0))
        bottom = axis.transData.transform((2.007e9 / times, 0))
        assert top[0] == pytest.approx(bottom[0])
    (dense,) = [
        x
        for one in axis.lines
        if len(set(x := one.get_xdata())) == 1 and one.get_label() == "_dense"
    ]
    assert dense[0] == pytest.approx(2.007e9)


def test_the_weight_axis_spreads_the_rounds_that_crowd_near_100(figure):
    axis = figure.axes[1]
    x, _ = line(axis, "ugs")
    steps = np.diff(axis.transData.transform(np.column_stack([x, 0 * x]))[:, 0])
    assert steps == pytest.approx([steps[0]] * 20)  # 20 % of what is left is always the same step
    assert figure.axes[0].get_xscale() == "linear"


def test_the_heading_says_universe_and_seeds_and_each_task_has_its_row():
    two = run("random_tickets", seeds=3, num_weights=1899008, **CITESEER)
    small = run("ugs", edges="undirected", num_edges=5278, rounds=2, seeds=1)
    drawn = draw(UGS + two + run("ugs", num_weights=1899008, **CITESEER) + small, title="Planetoid")
    assert overlaps(drawn) == ([], set())
    assert [axis.get_title(loc="left") for axis in drawn.axes[::3]] == [
        "citeseer · gcn · 9,228 directed edges · 1,899,008 weights · 3–5 seeds",
        "cora · gcn · 10,556 directed edges · 737,280 weights · 5 seeds",
        "cora · gcn · 5,278 undirected edges · 737,280 weights · 1 seed",
    ]
    assert len(drawn.axes) == 9 and drawn.get_suptitle() == "Planetoid"
    colours = {
        one.get_color() for axis in drawn.axes for one in axis.lines if one.get_label() == "ugs"
    }
    assert len(colours) == 1  # a series looks the same in every row


def test_series_of_one_algorithm_are_told_apart_by_their_settings():
    drawn = draw(run("ugs", hidden=512, rounds=2) + run("ugs", hidden=16, rounds=2))
    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert {"ugs (hidden=16)", "ugs (hidden=512)"} <= set(names)


def test_the_validation_accuracy_can_be_drawn_instead():
    axis = draw(UGS, "val").axes[0]
    assert axis.get_ylabel() == "val accuracy (%)"
    assert line(axis, "ugs")[1] == pytest.approx([100 * row.val for row in summary(UGS)])


def seen(axis, which):
    """The texts of an x or y axis that are drawn: its label, and the ticks within its limits."""
    side = getattr(axis, f"{which}axis")
    low, high = sorted(side.get_view_interval())
    ticks = zip(side.get_majorticklocs(), side.get_ticklabels(), strict=True)
    return [side.label, *(text for place, text in ticks if low <= place <= high)]


def overlaps(figure):
    """Pairs of texts that lie on one another, and texts that leave the page."""
    FigureCanvasAgg(figure).draw()
    whole = [*figure.axes, *(child for axis in figure.axes for child in axis.child_axes)]
    texts = [text for axis in whole for text in seen(axis, "x")]
    for axis in figure.axes:
        texts += [axis._left_title, *(seen(axis, "y") if axis in figure.axes[::3] else [])]
    texts += [*figure.legends[0].get_texts(), *([figure._suptitle] if figure._suptitle else [])]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    pairs = [
        (a, b) for i, (a, one) in enumerate(boxes) for b, two in boxes[i + 1 :] if one.overlaps(two)
    ]
    page = figure.bbox.padded(1)
    return pairs, {a for a, one in boxes if not all(page.contains(*p) for p in one.corners())}


SCENES = {
    "four series": lambda: UGS + RANDOM + IMP + EDGES,
    "two tasks": lambda: UGS + run("random_tickets", num_weights=1899008, **CITESEER),
    "few rounds": lambda: run("ugs", rounds=2, seeds=2, macs=3e5),
    "nine series": lambda: [r for i in range(9) for r in run(f"algorithm_{i}", rounds=3)],
    "no graph": lambda: run("imp", edges=None, num_edges=0, drop_edges=0),
    "edges alone": lambda: run("ugs_edges", drop_weights=0, rounds=3),
    "dense alone": lambda: run("ugs", rounds=0),
    "nothing left": lambda: run("ugs", rounds=2, drop_weights=1, drop_edges=1),
    "no round 0": lambda: [r for r in UGS if r["round"]],
    "no macs": lambda: [r | {"macs": None} for r in UGS],
    "wild intervals": lambda: [r | {"test": float(r["seed"])} for r in run("ugs", seeds=2)],
}


@pytest.mark.parametrize("scene", SCENES)
def test_no_text_lies_on_another_or_leaves_the_page(scene):
    drawn = draw(SCENES[scene]())
    assert overlaps(drawn) == ([], set())
    low, high = drawn.axes[0].get_ylim()
    assert -1 <= low < high <= 101


FIRST_BYTES = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.mark.parametrize("suffix", FIRST_BYTES)
def test_the_suffix_is_the_format_and_the_same_records_give_the_same_file(tmp_path, suffix):
    records = run("ugs", rounds=2)
    for name in ("a", "b"):
        sparsity(records, out=str(tmp_path / f"{name}{suffix}"))
    first, second = (tmp_path / f"{name}{suffix}" for name in ("a", "b"))
    assert first.read_bytes().startswith(FIRST_BYTES[suffix])
    assert first.read_bytes() == second.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2  # no draft stays behind


def test_the_svg_is_well_formed_xml(tmp_path):
    sparsity(run("ugs", rounds=2), out=str(tmp_path / "a.svg"))
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_bad_calls_are_one_line_and_keep_the_old_picture(tmp_path):
    old = tmp_path / "a.png"
    old.write_text("old")
    with pytest.raises(ValueError, match=r"`out` must end in one of \.png, \.pdf, \.svg, got 'a.j"):
        sparsity(UGS, out="a.jpg")
    with pytest.raises(ValueError, match="`records` must hold at least one record"):
        sparsity([], out=str(old))
    with pytest.raises(ValueError, match="`metric` must be one of test, val, got 'loss'"):
        sparsity(UGS, out=str(old), metric="loss")
    with pytest.raises(OSError, match=r"^cannot write `.*a\.png/b\.png`: Not a directory$"):
        sparsity(run("ugs", rounds=1), out=str(old / "b.png"))
    assert old.read_text() == "old"


def test_a_figure_is_drawn_without_torch(tmp_path):
    code = f"""
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("no torch here")
sys.meta_path.insert(0, NoTorch())
sys.path.insert(0, {str(__file__.rpartition("/")[0])!r})
from graphlth.figures.sparsity import sparsity
from test_figures import run
sparsity(run("ugs", rounds=1), out={str(tmp_path / "a.svg")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_the_floor_is_the_lowest_accuracy_shown():
    figure = draw(run("ugs"), floor=0.7)
    assert {axis.get_ylim()[0] for axis in figure.axes if axis.get_ylabel() or axis.lines} == {70.0}
    with pytest.raises(ValueError, match=r"^`floor` must be in \[0, 1\), got 1.5$"):
        draw(run("ugs"), floor=1.5)
