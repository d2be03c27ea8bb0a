import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from graphlth.figures import (
    barrier,
    cost,
    criteria,
    distances,
    drawing,
    inference,
    instability,
    learning_rate,
    learning_speed,
    mask_epoch,
)
from graphlth.figures._style import COLOURS, MARKERS, looks_of
from graphlth.figures.sparsity import draw_figure, sparsity
from graphlth.records.statistics import interval, summary
from graphlth.records.winning import rows_by_paper_rule, winning_rows
from graphlth.registry import find, names


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


def early_bird(*, draws=1, criterion="both", algorithm="joint_early_bird", when=(4, 6, 8), **how):
    """A search of 40 epochs: three seeds that draw at `when`, or each of them `draws` times."""
    settings = {"draws": draws, "criterion": criterion, "epsilon": 0.1, **how}
    records = run(algorithm, rounds=draws, seeds=len(when), drop_edges=0.2, **settings)
    for record in records:
        seed, number = record["seed"], record["round"]
        record["settings"] = settings
        if not number:
            continue
        epoch = when[seed] if draws == 1 else 40 * number // draws
        record["drawn_epoch"], record["settled"] = epoch, epoch < 40
        record["mask_distances"] = [2 * 0.5**t + 0.001 * seed for t in range(epoch)]
        record["distances_to_earlier"] = [
            0.01 * (number - other) + 0.002 * seed for other in range(1, number)
        ]
    return records


def costed(records):
    """The same with what each round has cost: a search of 9 and of seed + 1, some retraining."""
    for record in records:
        search = 9 + record["seed"] if record["round"] else 0
        for unit in ("macs", "epochs"):
            record |= {f"{unit}_search": search, f"{unit}_retrain": 5 - 0.1 * record["round"]}
    return records


def images(algorithm, *, stop=1000, **how):
    """Records of images, which tell where training would stop early: seeds at `stop` and beside."""
    how = {"task": "mnist", "model": "lenet_300_100", "edges": None, "num_edges": 0} | how
    records = run(algorithm, drop_edges=0, **{"seeds": 3, "rounds": 8, **how})
    for record in records:
        place = stop + 100 * record["seed"] - 50 * record["round"]
        record |= {"stop_iteration": place, "test_at_stop": record["test"] - 0.02}
    return records


def reinit(**how):
    return images("control", control="reinit", **how)


def by_rate():
    return [
        record
        for lr in (0.1, 0.01)
        for record in images("imp", lr=lr, dense=0.8 + lr)
        + reinit(lr=lr, tickets=f"runs/imp-{lr}", dense=0.8 + lr, slope=0.01)
    ]


def connected(records):
    """The same with an instability that grows with sparsity and falls with k, and its curve."""
    for record in records:
        k, seed = record["settings"].get("rewind_to", 0), record["seed"]
        rise = (0.05 + 0.1 * record["weight_sparsity"]) / (1 + k / 50) * (1 + 0.1 * seed)
        end = 1 - record["test"]
        record |= {"instability": rise, "end_error": end} | ({"first_iteration": k} if k else {})
        record["barrier_error"] = [end + rise * x for x in (0, 0.8, 1, 0.8, 0)]
    return records


def later(*ks, **how):
    return [r for k in ks for r in connected(run("imp", drop_edges=0, seeds=3, rewind_to=k, **how))]


UGS, RANDOM = run("ugs"), run("random_tickets", slope=0.006)
IMP, EDGES = run("imp", drop_edges=0, slope=0.002), run("ugs_edges", drop_weights=0)
CITESEER = {"task": "citeseer", "dense": 0.71, "macs": 6.299e9, "num_edges": 9228}


def line(axis, label):
    (found,) = [one for one in axis.lines if one.get_label() == label]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


def stars(axis, label):
    """The places of the stars of a series [count, 2]; none where there are none."""
    found = [one for one in axis.lines if one.get_label() == label]
    return np.array(line(axis, label)).T if found else np.empty((0,))


@pytest.fixture(scope="module")
def figure():
    return draw_figure(UGS + RANDOM + IMP + EDGES)


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
    assert len(stars(edges, "_stars of imp")) == 0 < len(stars(weights, "_stars of imp"))


@pytest.mark.parametrize(("margin", "text"), [(None, "1 point"), (0.03, "3 points")])
def test_full_stars_are_of_winning_tickets_and_hollow_ones_of_the_rule_alone(margin, text):
    figure = draw_figure(UGS + IMP, margin=margin)
    hollow = []
    for records, label in [(UGS, "ugs"), (IMP, "imp")]:
        rows = summary(records)
        won = winning_rows(rows, margin=margin)
        alone = [row for row in rows_by_paper_rule(rows) if row not in won]
        assert won  # else this says nothing
        hollow += alone
        for kind, starred in [("stars", won), ("hollow stars", alone)]:
            expected = [(100 * row.weight_sparsity, 100 * row.test) for row in starred]
            assert stars(figure.axes[1], f"_{kind} of {label}") == pytest.approx(np.array(expected))
    assert bool(hollow) == (margin is None)
    told = [each.get_text() for each in figure.legends[0].get_texts()]
    assert f"winning: shown to be less than {text} below dense" in told
    assert ("only the paper's rule: mean at least dense" in told) == bool(hollow)


def test_a_metric_without_a_margin_has_no_full_stars_and_a_margin_is_of_one_metric():
    rmse = [r | {"metric": "rmse", "direction": "min", "test": 1 - r["test"]} for r in UGS]
    plain, tested = draw_figure(rmse).axes[1], draw_figure(rmse, margin=0.03).axes[1]
    assert len(stars(plain, "_stars of ugs")) == 0 < len(stars(plain, "_hollow stars of ugs"))
    assert len(stars(tested, "_stars of ugs")) > 0
    with pytest.raises(
        ValueError, match=r"`margin` must be of one metric, got .*accuracy and rmse"
    ):
        draw_figure(rmse + RANDOM, margin=0.03)
    with pytest.raises(ValueError, match=r"`margin` must be in \(0, inf\), got -1"):
        draw_figure(UGS, margin=-1)


def test_coinciding_stars_differ_in_size(figure):
    full = [one for one in figure.axes[1].lines if one.get_label().startswith("_stars")]
    assert len({one.get_markersize() for one in full}) == len(full) == 3


def test_runs_that_share_their_dense_round_share_one_black_line_with_its_band(figure):
    dense = [r["test"] for r in UGS if r["round"] == 0]
    for axis in figure.axes[:2]:
        (level,) = [one for one in axis.lines if one.get_label() == "_dense"]
        assert level.get_ydata() == pytest.approx([100 * np.mean(dense)] * 2)
        assert level.get_color() == "black"
        (band,) = axis.patches
        assert band.get_height() == pytest.approx(200 * interval(dense))


def test_runs_of_different_dense_rounds_have_a_line_each():
    panel = draw_figure(UGS + run("imp", dense=0.78)).axes[0]
    levels = [one for one in panel.lines if one.get_label() == "_dense"]
    assert [one.get_color() for one in levels] == list(COLOURS[1::-1])[::-1]


def test_bands_are_intervals_and_one_seed_has_none(figure):
    rows = summary(UGS)
    (band,) = draw_figure(UGS).axes[0].collections
    edge = band.get_paths()[0].vertices[:, 1]
    assert edge.max() == pytest.approx(max(100 * (r.test + r.test_interval) for r in rows))
    assert edge.min() == pytest.approx(min(100 * (r.test - r.test_interval) for r in rows))
    one = draw_figure(run("ugs", seeds=1))
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
    drawn = draw_figure(
        UGS + two + run("ugs", num_weights=1899008, **CITESEER) + small, title="Planetoid"
    )
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


def test_series_are_sorted_by_the_value_of_their_numbers():
    labels = ["k=150", "k=50", "k=0, lr=0.5", "k=0, lr=0.05", "", "10", "k"]
    found = [label for _, label in looks_of(("imp", label) for label in labels)]
    assert found == ["", "10", "k", "k=0, lr=0.05", "k=0, lr=0.5", "k=50", "k=150"]


def test_no_two_of_many_series_look_alike():
    marks = looks_of(("ugs", f"{i:02}") for i in range(len(COLOURS) * len(MARKERS)))
    assert len({(look["color"], look["marker"]) for look in marks.values()}) == len(marks) == 49


def test_series_of_one_algorithm_are_told_apart_by_their_settings():
    drawn = draw_figure(run("ugs", hidden=512, rounds=2) + run("ugs", hidden=16, rounds=2))
    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert {"ugs (hidden=16)", "ugs (hidden=512)"} <= set(names)


def test_another_metric_than_accuracy_is_drawn_as_it_is_under_its_name():
    records = [r | {"metric": "roc_auc", "direction": "max"} for r in run("ugs")]
    axis, plain = draw_figure(records).axes[0], draw_figure(run("ugs")).axes[0]
    assert axis.get_ylabel() == "test ROC-AUC" and plain.get_ylabel() == "test accuracy (%)"
    ours, theirs = (max(max(line.get_ydata()) for line in a.lines) for a in (axis, plain))
    assert 100 * ours == pytest.approx(theirs)


def of_metrics():
    """Runs of two algorithms that differ in their metric, which is named, a default, or absent."""
    told = {"f1_macro": {"metric": "f1_macro"}, "roc_auc": {"metric": "roc_auc"}, "accuracy": {}}
    return [
        record | {"metric": name, "direction": "max"}
        for name, settings in told.items()
        for algorithm in ("ugs", "random_tickets")
        for record in run(algorithm, seeds=2, rounds=3, **settings)
    ] + run("imp", seeds=2, rounds=3, metric=None)  # a record of old, which names no metric


def test_each_metric_has_a_panel_of_its_own_with_its_label_and_scale():
    drawn = draw_figure(of_metrics())
    labels = [axis.get_ylabel() for axis in drawn.axes if axis.get_ylabel()]
    assert labels == ["test accuracy (%)", "test f1 macro", "test ROC-AUC"]
    firsts = [axis for axis in drawn.axes if axis.get_ylabel()]
    assert [axis.get_ylim()[1] > 1.5 for axis in firsts] == [True, False, False]
    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert names[:3] == ["imp", "random tickets", "ugs"]  # one colour each in all panels


@pytest.mark.parametrize("name", ["inference", "learning_rate", "cost"])
def test_other_figures_too_keep_metrics_apart(name):
    records = costed([r | {"settings": r["settings"] | {"lr": 0.1}} for r in of_metrics()])
    module = sys.modules[find("figures", name).__module__]
    labels = [axis.get_ylabel() for axis in module.draw_figure(records).axes]
    assert labels == ["test accuracy (%)", "test f1 macro", "test ROC-AUC"]


def test_a_dot_stands_at_the_epoch_of_the_masks_and_the_gap_to_the_own_dense_network():
    records = [
        r | ({"mask_epoch": 7 + r["seed"]} if r["round"] else {}) for r in run("ugs", rounds=2)
    ]
    lone = [{**r, "seed": 77} for r in records if r["seed"] == 0 and r["round"]]  # without a dense
    axis, bar = mask_epoch.draw_figure([*records, *lone]).axes
    (dots,) = axis.collections
    test = {(r["seed"], r["round"]): r["test"] for r in records}
    expected = [(7 + seed, 100 * (test[seed, number] - test[seed, 0]))
                for number in (1, 2) for seed in sorted({r["seed"] for r in records})]  # fmt: skip
    np.testing.assert_allclose(dots.get_offsets(), expected, atol=1e-4)
    assert [*dots.get_array()] == [1] * (len(expected) // 2) + [2] * (len(expected) // 2)
    assert (axis.get_ylabel(), bar.get_ylabel()) == ("test accuracy − dense (points)", "round")
    of_errors = [r | {"metric": "rmse", "direction": "min"} for r in records]
    axis, bar = mask_epoch.draw_figure(of_errors).axes
    assert axis.get_ylabel() == "dense − test RMSE"
    with pytest.raises(ValueError, match="`records` must hold tickets of `ugs` with `mask_epoch`"):
        mask_epoch.draw_figure([r for r in records if r["round"] == 0])


def test_the_validation_accuracy_can_be_drawn_instead():
    axis = draw_figure(UGS, "val").axes[0]
    assert axis.get_ylabel() == "val accuracy (%)"
    assert line(axis, "ugs")[1] == pytest.approx([100 * row.val for row in summary(UGS)])


def measured(record):
    """What `graphlth analyze structure` adds to a record."""
    left, seed = 1 - record["edge_sparsity"], record["seed"]
    return {"nodes": 2708, "pairs": 5278, "components": 78 + seed + 9 * record["round"],
            "largest_component": left, "isolated_nodes": 10 * record["round"], "degree_max": 168,
            "degree_mean": 3.9 * left, "degree_quantiles": [2.0, 3.0, 5.0, 9.0],
            "homophily": 0.8 + 0.01 * seed, "spectral_gap": 0.005 * left,
            "training_share": 0.1 / left}  # fmt: skip


# --- every figure ------------------------------------------------------------------------------

AT_NODES = {
    f"{whose}_{what}": 0.2 for whose in ("removed", "all")
    for what in ("from_training", "into_training", "source_degree", "target_degree")
}  # fmt: skip
CHOSEN = {"optimism": 0.01, "early_peak": 0.02, "epoch_by_val": 8, "epoch_by_test": 30}
RECORDS = {  # that each figure can draw
    "barrier": lambda: later(0, 50, rounds=3) + connected(run("ugs", seeds=3, rounds=3)),
    "instability": lambda: later(0, 50, rounds=6) + connected(run("ugs", seeds=3, rounds=6)),
    "cost": lambda: costed(run("ugs", rounds=3) + run("sgcn", rounds=1)),
    "criteria": lambda: early_bird() + early_bird(criterion="edges", when=(3, 3, 40)),
    "distances": lambda: early_bird(draws=8) + early_bird(),
    "epoch_selection": lambda: [r | CHOSEN for r in run("ugs", rounds=2)],
    "drawing": lambda: early_bird(draws=8) + early_bird(),
    "inference": lambda: run("ugs", rounds=3) + run("sgcn", rounds=1),
    "learning_rate": by_rate,
    "learning_speed": lambda: images("imp") + reinit(stop=1400),
    "mask_epoch": lambda: [
        r | {"mask_epoch": 9 * r["round"] + r["seed"]} for r in run("ugs", rounds=3)
    ],
    "removed_edges": lambda: [r | AT_NODES for r in run("ugs", rounds=2)],
    "sparsity": lambda: run("ugs", rounds=2),
    "structure": lambda: [
        r | measured(r) for r in run("ugs", rounds=2) + run("random_tickets", rounds=2)
    ],
}
FIGURES = names("figures")
FIRST_BYTES = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.mark.parametrize("suffix", FIRST_BYTES)
@pytest.mark.parametrize("name", FIGURES)
def test_the_suffix_is_the_format_and_the_same_records_give_the_same_file(tmp_path, name, suffix):
    for stem in ("a", "b"):
        find("figures", name)(RECORDS[name](), out=str(tmp_path / f"{stem}{suffix}"))
    first, second = (tmp_path / f"{stem}{suffix}" for stem in ("a", "b"))
    assert first.read_bytes().startswith(FIRST_BYTES[suffix])
    assert first.read_bytes() == second.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2  # no draft stays behind


@pytest.mark.parametrize("name", FIGURES)
def test_bad_calls_are_one_line_and_keep_the_old_picture(tmp_path, name):
    figure, records, old = find("figures", name), RECORDS[name](), tmp_path / "a.png"
    old.write_text("old")
    with pytest.raises(ValueError, match=r"`out` must end in one of \.png, \.pdf, \.svg, got 'a.j"):
        figure(records, out="a.jpg")
    with pytest.raises(ValueError, match=r"^`records` must hold [^\n]+, got none$"):
        figure([], out=str(old))
    if "metric" in figure.__kwdefaults__:
        with pytest.raises(ValueError, match="`metric` must be one of test, val, got 'loss'"):
            figure(records, out=str(old), metric="loss")
    with pytest.raises(OSError, match=r"^cannot write `.*a\.png/b\.png`: Not a directory$"):
        figure(records, out=str(old / "b.png"))
    assert old.read_text() == "old"


@pytest.mark.parametrize("name", FIGURES)
def test_settings_of_a_figure_change_it(tmp_path, name):
    figure, records = find("figures", name), RECORDS[name]()
    told = {"metric": "val", "title": "A title", "floor": 0.5, "unit": "epochs",
            "against": "edges"}  # fmt: skip
    pictures = [{}, *({n: v} for n, v in told.items() if n in figure.__kwdefaults__ and n != "out")]
    for i, settings in enumerate(pictures):
        figure(records, out=str(tmp_path / f"{i}.svg"), **settings)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == len(pictures) > 1


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "sparsity"])
def test_no_text_of_a_figure_lies_on_another(name):
    records = RECORDS[name]()
    two = records + [r | {"task": "citeseer", "num_edges": 9228} for r in records]
    module = sys.modules[find("figures", name).__module__]
    for shown in (records, two, [r for r in two if r["seed"] == 0]):
        assert overlaps(module.draw_figure(shown, title="A title")) == ([], set())


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
    texts += [text for axis in figure.axes for text in axis.texts]
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
    "no graph and one": lambda: UGS + images("imp"),
    "no macs": lambda: [r | {"macs": None} for r in UGS],
    "wild intervals": lambda: [r | {"test": float(r["seed"])} for r in run("ugs", seeds=2)],
}


@pytest.mark.parametrize("scene", SCENES)
def test_no_text_lies_on_another_or_leaves_the_page(scene):
    drawn = draw_figure(SCENES[scene]())
    assert overlaps(drawn) == ([], set())
    low, high = drawn.axes[0].get_ylim()
    assert -1 <= low < high <= 101


def test_the_svg_is_well_formed_xml(tmp_path):
    sparsity(run("ugs", rounds=2), out=str(tmp_path / "a.svg"))
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_without_torch(tmp_path, name):
    code = f"""
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("no torch here")
sys.meta_path.insert(0, NoTorch())
sys.path.insert(0, {str(__file__.rpartition("/")[0])!r})
from test_figures import RECORDS, find
find("figures", {name!r})(RECORDS[{name!r}](), out={str(tmp_path / "a.svg")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_the_floor_is_the_lowest_accuracy_shown():
    figure = draw_figure(run("ugs"), floor=0.7)
    assert {axis.get_ylim()[0] for axis in figure.axes if axis.get_ylabel() or axis.lines} == {70.0}
    with pytest.raises(ValueError, match=r"^`floor` must be in \[0, 1\), got 1.5$"):
        draw_figure(run("ugs"), floor=1.5)


def test_a_panel_in_which_nothing_would_be_removed_or_counted_is_left_out():
    drawn = draw_figure(images("imp"))
    assert [axis.get_xlabel().partition(",")[0] for axis in drawn.axes] == [
        "weights removed (%)", "MACs of one inference (log scale)"
    ]  # fmt: skip
    assert drawn.axes[0].get_title(loc="left").endswith("\nno graph · 737,280 weights")
    assert len(draw_figure([r | {"macs": None} for r in UGS]).axes) == 2
    assert len(draw_figure([r | {"macs": 2e9 - 1e6 * r["round"]} for r in UGS[:10]]).axes) == 2
    assert [a.get_xlabel() for a in draw_figure(run("ugs", rounds=0)).axes] == [
        "weights removed (%)"
    ]
    assert len(draw_figure(UGS + images("imp")).axes) == 3 + 2


def test_the_heading_spans_the_sizes_of_all_runs_in_the_panel():
    drawn = draw_figure(run("ugs", rounds=2) + run("imp", rounds=2, num_weights=9216))
    told = drawn.axes[0].get_title(loc="left")
    assert told == "cora · gcn · 10,556 directed edges · 9,216–737,280 weights · 5 seeds"


# --- tickets of images and their controls ---------------------------------------------------------


def test_early_stops_are_means_over_seeds_against_the_weights_that_remain():
    records = images("imp") + reinit(stop=1400)
    reached, stop = learning_speed.draw_figure(records).axes
    left = [100 * 0.8**number for number in range(9)]
    for label, mine, first in (("imp", "imp", 1100), ("reinit", "control", 1500)):
        x, y = line(stop, label)
        assert x == pytest.approx(left)
        assert y == pytest.approx([first - 50 * number for number in range(9)])
        rows = summary(r for r in records if r["algorithm"] == mine)
        assert line(reached, label)[1] == pytest.approx([100 * row.test - 2 for row in rows])
    assert stop.get_xscale() == "log" and stop.get_xlim()[0] > stop.get_xlim()[1]
    edge = stop.collections[1].get_paths()[0].vertices[:, 1]
    assert (edge.min(), edge.max()) == pytest.approx((1000 - 400, 1200))  # seeds


def test_early_stops_are_bars_where_no_weights_are_removed():
    _, stop = learning_speed.draw_figure(images("imp", drop_weights=0)).axes
    ((bars,),) = (one.lines[2] for one in stop.containers)
    ends = [(low[1], high[1]) for low, high in bars.get_segments()]
    assert ends == [(1000 - 50 * r, 1200 - 50 * r) for r in range(9)]


def test_each_learning_rate_has_a_panel_in_which_runs_keep_their_colours():
    drawn = learning_rate.draw_figure(by_rate())
    assert [axis.get_title(loc="left").splitlines()[1] for axis in drawn.axes] == [
        "learning rate 0.01", "learning rate 0.1"
    ]  # fmt: skip
    ((low, high),) = {axis.get_ylim() for axis in drawn.axes}
    assert all(low < y < high for axis in drawn.axes for one in axis.lines for y in one.get_ydata())
    for axis, lr in zip(drawn.axes, (0.01, 0.1), strict=True):
        for label, name, colour in (("imp", "imp", 0), ("reinit", "control", 1)):
            mine = [r for r in by_rate() if (r["algorithm"], r["settings"]["lr"]) == (name, lr)]
            assert line(axis, label)[1] == pytest.approx([100 * r.test for r in summary(mine)])
            (found,) = [one for one in axis.lines if one.get_label() == label]
            assert found.get_color() == COLOURS[colour]
    names = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert names[:2] == ["imp", "reinit"]


# --- early-bird tickets, and what tickets cost ----------------------------------------------------


def centre(axis, label):
    """The places of the marks with error bars that have a label: [marks, 2]."""
    found = [bars.lines[0] for bars in axis.containers if bars.get_label() == label]
    return np.array([one.get_xydata()[0] for one in found])


def test_a_run_of_many_draws_is_a_curve_over_its_drawing_epochs():
    records = early_bird(draws=8)
    (axis,) = drawing.draw_figure(records).axes
    x, y = line(axis, "joint early bird")
    assert x.tolist() == [5, 10, 15, 20, 25, 30, 35, 40]
    assert y == pytest.approx([100 * row.test for row in summary(records) if row.round])
    (level,) = [one for one in axis.lines if one.get_label() == "_dense"]
    assert level.get_ydata()[0] == pytest.approx(100 * summary(records)[0].test)


def test_a_run_of_one_draw_is_a_mark_at_the_mean_epoch_with_bars_from_first_to_last():
    records = early_bird(when=(4, 6, 11))
    (axis,) = drawing.draw_figure(records).axes
    (ticket,) = [row for row in summary(records) if row.round]
    assert centre(axis, "joint early bird") == pytest.approx(np.array([[7, 100 * ticket.test]]))
    (bars,) = axis.containers
    across, along = (part.get_segments()[0] for part in bars.lines[2])
    assert across[:, 0].tolist() == [4, 11]
    half = 100 * ticket.test_interval
    assert np.ptp(along[:, 1]) == pytest.approx(2 * half)
    assert bars.lines[0].get_markerfacecolor() == COLOURS[0]


def test_a_mark_is_hollow_where_a_seed_never_settled():
    figure = drawing.draw_figure(early_bird(when=(4, 40, 8)))
    (bars,) = figure.axes[0].containers
    assert bars.lines[0].get_markerfacecolor() == "white"
    assert "not settled in every seed" in [t.get_text() for t in figure.legends[0].get_texts()]


def test_a_curve_and_the_mark_of_the_same_settings_share_their_colour():
    records = early_bird(draws=8) + early_bird() + early_bird(criterion="edges")
    figure = drawing.draw_figure(records)
    (axis,) = figure.axes
    colours = {bars.get_label(): bars.lines[0].get_color() for bars in axis.containers}
    both, edges = (f"joint early bird (criterion={name})" for name in ("both", "edges"))
    (drawn,) = [one for one in axis.lines if one.get_label() == both]
    assert drawn.get_color() == colours[both] != colours[edges]


def test_distances_between_draws_are_a_symmetric_matrix_of_means_in_per_cent():
    figure = distances.draw_figure(early_bird(draws=4))
    (image,) = figure.axes[0].images
    shown = np.asarray(image.get_array())
    steps = np.abs(np.subtract.outer(range(4), range(4)))
    expected = np.where(steps, 100 * (0.01 * steps + 0.002), 0)  # of three seeds: 0, 0.002, 0.004
    assert shown == pytest.approx(expected)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == [
        "10",
        "20",
        "30",
        "40",
    ]


def test_a_draw_that_is_missing_is_named():
    records = [r for r in early_bird(draws=4) if r["round"] != 2]
    with pytest.raises(
        ValueError, match="`records` of joint_early_bird must hold every draw, lack 2"
    ):
        distances.draw_figure(records)


def test_a_trajectory_is_the_mean_of_the_seeds_that_still_search():
    (axis,) = distances.draw_figure(early_bird(when=(2, 4, 3))).axes
    x, y = line(axis, "joint early bird")
    assert x.tolist() == [1, 2, 3, 4]
    assert y == pytest.approx([2 + 0.001, 1 + 0.001, 0.5 + 0.0015, 0.25 + 0.001])
    ends, last = line(axis, "_draws of joint early bird")
    assert ends.tolist() == [2, 4, 3]
    assert last == pytest.approx([1, 0.251, 0.502])
    assert line(axis, "_threshold")[1] == pytest.approx([0.1, 0.1])


def of_channels(*when):
    """An early-bird search of channels: its first distance is that from epoch 1 to epoch 2."""
    records = early_bird(algorithm="early_bird", when=when)
    for record in records:
        if record["round"]:
            del record["mask_distances"][-1]
    return records


def test_a_trajectory_of_channels_begins_at_the_second_epoch():
    (axis,) = distances.draw_figure(of_channels(2, 4, 3)).axes
    assert line(axis, "early bird")[0].tolist() == [2, 3, 4]
    ends, last = line(axis, "_draws of early bird")
    assert ends.tolist() == [2, 4, 3]
    assert last == pytest.approx([2, 0.501, 1.002])


def test_a_search_of_one_epoch_has_no_distance(tmp_path):
    (axis,) = distances.draw_figure(of_channels(1, 1, 1)).axes
    assert [one.get_label() for one in axis.lines] == ["_threshold"]
    distances.distances(of_channels(1, 1, 1), out=str(tmp_path / "a.png"))


def test_a_distance_of_zero_stays_on_the_axis():
    records = early_bird()
    records[-1]["mask_distances"][-1] = 0.0
    (axis,) = distances.draw_figure(records).axes
    assert axis.get_yscale() == "symlog" and axis.get_ylim()[0] == 0
    assert distances.draw_figure(early_bird()).axes[0].get_yscale() == "log"


def test_cost_adds_up_all_searches_and_one_retraining():
    ugs, sgcn = costed(run("ugs", rounds=3, seeds=3)), costed(run("sgcn", rounds=1, seeds=3))
    (axis,) = cost.draw_figure(ugs + sgcn).axes
    x, y = line(axis, "ugs")
    assert x == pytest.approx([10 + 4.9, 20 + 4.8, 30 + 4.7])  # seeds search 9, 10 and 11 a round
    assert y == pytest.approx([100 * row.test for row in summary(ugs) if row.round])
    ((place, _),) = centre(axis, "sgcn")
    assert place == pytest.approx(10 + 4.9)
    (bars,) = axis.containers
    assert bars.lines[2][0].get_segments()[0][:, 0] == pytest.approx([9 + 4.9, 11 + 4.9])
    star = next(one for one in axis.lines if one.get_marker() == "*")
    assert star.get_xdata() == pytest.approx([5])  # the dense network is not searched for


def test_cost_names_the_field_that_a_record_lacks():
    with pytest.raises(ValueError, match=r"`macs_retrain`, which that of ugs-cora-gcn, seed 0, ro"):
        cost.draw_figure(run("ugs", rounds=1))
    with pytest.raises(ValueError, match=r"`joules_retrain`"):
        cost.draw_figure(costed(run("ugs", rounds=1)), "joules")
    with pytest.raises(
        ValueError, match="`unit` must be one of macs, seconds, epochs, joules, got"
    ):
        cost.draw_figure(costed(run("ugs", rounds=1)), "watts")
    assert cost.draw_figure(run("ugs", rounds=1), "seconds").axes[0].get_xlabel().startswith("time")


def test_a_search_of_many_draws_is_no_cost_of_one_of_them():
    with pytest.raises(ValueError, match=r"not in several draws, got joint_early_bird$"):
        cost.draw_figure(costed(early_bird(draws=8)))
    (axis,) = cost.draw_figure(costed(early_bird(draws=8) + early_bird())).axes
    assert len(centre(axis, "joint early bird")) == 1


def test_inference_marks_stand_on_their_macs_in_the_colour_of_their_algorithm():
    grid = [(edges, weights) for edges in (0.2, 0.6) for weights in (0.5, 0.9)]
    runs = {
        name: [run(name, rounds=1, drop_edges=e, drop_weights=w, p=[e, w]) for e, w in grid]
        for name in ("geb", "sgcn")
    }
    (axis,) = inference.draw_figure([r for some in runs.values() for one in some for r in one]).axes
    for name, colour in zip(runs, COLOURS, strict=False):
        tickets = [row for one in runs[name] for row in summary(one) if row.round]
        expected = sorted((row.macs, 100 * row.test) for row in tickets)
        assert np.array(sorted(centre(axis, name).tolist())) == pytest.approx(np.array(expected))
        marks = [bars.lines[0] for bars in axis.containers if bars.get_label() == name]
        assert {mark.get_color() for mark in marks} == {colour}
        assert len({mark.get_markersize() for mark in marks}) == 2  # of 20 % and 60 % removed


def test_all_marks_of_inference_lie_within_its_axes():
    far = run("geb", rounds=1, slope=-0.1, dense=0.5) + run("sgcn", rounds=1, slope=0.3, dense=0.9)
    figure = inference.draw_figure(far)
    low, high = figure.axes[0].get_ylim()
    heights = [bars.lines[0].get_ydata()[0] for bars in figure.axes[0].containers]
    assert low < min(heights) < max(heights) < high


def test_marks_of_the_same_macs_stand_side_by_side():
    figure = inference.draw_figure(run("geb", rounds=1) + run("sgcn", rounds=1))
    FigureCanvasAgg(figure).draw()
    marks = [bars.lines[0] for bars in figure.axes[0].containers]
    left, right = (one.get_transform().transform(one.get_xydata())[0][0] for one in marks)
    assert right - left == pytest.approx(inference.APART / 72 * figure.dpi)


@pytest.mark.parametrize("least, most", [(100, 113), (1, 2), (5, 4000)])
def test_every_range_of_costs_has_ticks(least, most):
    records = run("ugs", rounds=1)
    for record in records:
        cost_of = most if record["round"] else least
        record |= {"epochs_search": 0, "epochs_retrain": cost_of}
    (axis,) = cost.draw_figure(records, "epochs").axes
    low, high = axis.get_xlim()
    assert sum(low <= tick <= high for tick in axis.xaxis.get_majorticklocs()) >= 3


def test_intervals_are_bars_where_costs_do_not_rise_or_fall_throughout():
    records = run("random_tickets", rounds=3)
    for seconds, shape in [((1, 2, 3, 4), "bands"), ((1, 3, 2, 4), "bars"), ((1, 2, 2, 2), "bars")]:
        for record in records:
            record |= {"seconds_search": 0, "seconds_retrain": seconds[record["round"]]}
        (axis,) = cost.draw_figure(records, "seconds").axes
        assert ("bars" if axis.containers else "bands") == shape


def test_what_is_pruned_away_altogether_can_be_drawn():
    gone = run("ugs", rounds=2, drop_weights=1, drop_edges=1)
    drawn = inference.draw_figure(gone + run("geb", rounds=1, drop_weights=1, drop_edges=1))
    assert overlaps(drawn) == ([], set())


def test_inference_needs_counted_macs():
    with pytest.raises(ValueError, match=r"`macs`, which is not counted in ugs-cora-gcn$"):
        inference.draw_figure([r | {"macs": None} for r in run("ugs", rounds=1)])


def test_each_criterion_has_its_epochs_and_accuracies_by_seed():
    runs = {"weights": (2, 3, 2), "edges": (5, 5, 5), "both": (7, 9, 40)}
    records = {name: early_bird(criterion=name, when=when) for name, when in runs.items()}
    many = early_bird(draws=8)  # heed no criterion
    figure = criteria.draw_figure([*many, *(r for some in records.values() for r in some)])
    left, right = figure.axes
    order = ["edges", "weights", "both"]
    assert [text.get_text().split("\n")[0] for text in left.get_xticklabels()] == order
    epochs = dict(centre(left, "joint early bird"))
    assert epochs == pytest.approx({0: 5, 1: 7 / 3, 2: 56 / 3})
    tests = {name: [100 * r["test"] for r in some if r["round"]] for name, some in records.items()}
    means = dict(centre(right, "joint early bird"))
    assert means == pytest.approx({i: np.mean(tests[name]) for i, name in enumerate(order)})
    seeds = [one for one in left.lines if one.get_label().startswith("_seeds")]
    unsettled = [y for one in seeds if one.get_marker() == "x" for y in one.get_ydata()]
    assert unsettled == [40] and sum(len(one.get_ydata()) for one in seeds) == 9
    assert any(one.get_label() == "_dense" for one in right.lines)


NEEDS = {  # figure: what it says when no run fits
    barrier: "what `graphlth analyze instability` has recorded, got imp, ugs",
    instability: "what `graphlth analyze instability` has recorded, got imp, ugs",
    drawing: (
        "early-bird runs that drew a ticket (early_bird, geb or joint_early_bird), got imp, ugs"
    ),
    distances: (
        "early-bird runs that drew a ticket (early_bird, geb or joint_early_bird), got imp, ugs"
    ),
    learning_rate: "runs that have a learning rate (`lr`), got imp, ugs",
    learning_speed: "early stops, as runs of images do (`stop_iteration`), got imp, ugs",
    criteria: "tickets of joint_early_bird, run with `--draws 1`, got imp, ugs",
}


@pytest.mark.parametrize("module", NEEDS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_figure_says_which_runs_it_needs(module):
    with pytest.raises(ValueError) as error:
        module.draw_figure(UGS + IMP)
    assert str(error.value) == f"`records` must hold {NEEDS[module]}"


@pytest.mark.parametrize("module", [cost, inference])
def test_a_dense_network_alone_is_no_trade_off(module):
    with pytest.raises(
        ValueError, match=r"^`records` must hold runs that found a ticket.* got ugs$"
    ):
        module.draw_figure(costed(run("ugs", rounds=0)))


def test_a_barrier_is_the_mean_rise_above_the_copies_in_points():
    figure = barrier.draw_figure(later(50, 0, rounds=1))
    first, second = figure.axes  # by k
    for axis, rise in ((first, 0.055), (second, 0.0275)):  # of seeds 1, 1.1 and 1.2 times 0.05
        x, y = line(axis, "round 0, dense")
        assert x == pytest.approx([0, 0.25, 0.5, 0.75, 1])
        assert y == pytest.approx([100 * rise * part for part in (0, 0.8, 1, 0.8, 0)])
        assert line(axis, "_stable")[1] == pytest.approx([2, 2])
    assert first.get_ylim() == second.get_ylim()


def test_instability_is_drawn_against_k_sparsity_and_accuracy():
    records = later(100, 0, rounds=2)
    over_k, left, accuracy, both = instability.draw_figure(records).axes
    assert line(over_k, "round 0, dense")[0] == pytest.approx([0, 100])
    assert line(over_k, "round 0, dense")[1] == pytest.approx([5.5, 5.5 / 3])
    assert line(over_k, "round 2")[1] == pytest.approx([9.46, 9.46 / 3])
    x, y = line(left, "imp (rewind_to=0)")
    assert x == pytest.approx([100, 80, 64]) and y == pytest.approx([5.5, 7.7, 9.46])
    means = {row.settings: [] for row in summary(records)}
    for row in summary(records):
        means[row.settings].append(100 * row.test)
    assert line(accuracy, "imp (rewind_to=0)")[1].tolist() in list(means.values())
    marks = {bars.get_label() for bars in both.containers}
    assert marks == {"imp (rewind_to=0)", "imp (rewind_to=100)"} and len(both.containers) == 6


def test_dense_networks_alone_are_drawn_against_k_and_accuracy():
    assert len(instability.draw_figure(later(0, 50, 100, rounds=0)).axes) == 2
    assert len(instability.draw_figure(later(0, rounds=0)).axes) == 1


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="`against` must be one of weights, edges, got 'heads'"):
        instability.draw_figure(later(0, rounds=1), against="heads")


@pytest.mark.parametrize("module", [barrier, instability])
def test_a_ticket_of_which_nothing_is_left_can_be_drawn(module, tmp_path):
    records = connected(run("ugs", rounds=2, seeds=2, drop_weights=1, drop_edges=1))
    module.draw_figure(records).savefig(tmp_path / "a.png")
