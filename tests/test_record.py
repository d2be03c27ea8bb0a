import json
import os
import subprocess
import sys

import pytest
from scipy import stats

import graphlth.records as R
from graphlth.records.environment import environment
from graphlth.records.tables import mark_lines, run_table
from graphlth.storage import replace_file


def entry(seed=0, number=0, test=0.8, **fields):
    return {
        "algorithm": "ugs",
        "task": "cora",
        "model": "gcn",
        "seed": seed,
        "round": number,
        "edges": "directed",
        "edge_sparsity": 1 - 0.95**number,
        "weight_sparsity": 1 - 0.8**number,
        "num_edges": 10556,
        "num_weights": 737280,
        "val": 0.79,
        "test": test,
        "best_epoch": 12,
        "macs": 2.007e9 * 0.8**number,
        "seconds_search": 1.5,
        "seconds_retrain": 0.5,
        "settings": {"rounds": 3, "hidden": 512},
        "environment": {"python": "3.11"},
        **fields,
    }


def table(rounds, **fields):
    """Records from {round: [test accuracy of seed 0, 1, …]}."""
    return [
        entry(seed, number, test, **fields)
        for number, tests in rounds.items()
        for seed, test in enumerate(tests)
    ]


def by_rule(records):
    """The rounds that the paper's rule calls winning."""
    return [row.round for row in R.rows_by_paper_rule(R.summary(records))]


def written(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    for one in records:
        R.append(path, one)
    return path


# --- files -------------------------------------------------------------------------------------


def test_what_is_appended_is_read_back_digit_for_digit(tmp_path):
    first, second = entry(0, 0, 0.1 + 0.2), entry(0, 1, 1 / 3, note="μ θ₀")
    path = written(tmp_path / "seed0.jsonl", first, second)
    assert R.read_file(path) == [first, second]
    assert path.read_bytes().count(b"\n") == 2


def test_numpy_numbers_are_written_as_plain_ones(tmp_path):
    np = pytest.importorskip("numpy")
    given = entry(np.int64(3), 0, np.float32(0.5), settings={"lr": np.float64(0.01), "k": (1, 2)})
    (back,) = R.read_file(written(tmp_path / "seed3.jsonl", given))
    assert (back["seed"], back["test"], back["settings"]) == (3, 0.5, {"lr": 0.01, "k": [1, 2]})


REFUSED = [  # field             value           words of the error
    ("test", float("nan"), "`test` must be finite, got nan"),
    ("macs", float("inf"), "`macs` must be finite, got inf"),
    ("settings", {"lr": [1.0, float("nan")]}, r"`settings\.lr\[1\]` must be finite"),
    ("settings", {"device": object()}, r"`settings\.device` must be plain JSON, got object"),
    ("settings", None, "`settings` must be an object, got None"),
    ("test", 81.3, r"`test` must be a fraction in \[0, 1\], got 81.3"),
    ("edge_sparsity", -0.1, r"`edge_sparsity` must be a fraction in \[0, 1\], got -0.1"),
    ("round", -1, r"`round` must be a whole number in \[0, 10000\], got -1"),
    ("seed", True, "`seed` must be a whole number of at least 0, below 2..63, got True"),
    ("round", 10_001, r"`round` must be a whole number in \[0, 10000\], got 10001"),
    ("seed", 2**63, "`seed` must be a whole number of at least 0, below 2..63, got 92"),
    ("macs", 10**400, "`macs` must be below 1e.300, got 1000"),
    ("macs", 1e300, "`macs` must be below 1e.300, got 1e.300"),
    ("macs_per_layer", {"a": 10**400}, r"`macs_per_layer\.a` must be below 1e.300"),
    ("num_edges", 10556.0, "`num_edges` must be a whole number"),
    ("seconds_search", -1.0, "`seconds_search` must be a number of at least 0"),
    ("task", "", "`task` must be text"),
    ("epochs_search", -1, "`epochs_search` must be a whole number of at least 0"),
    ("joules_retrain", -0.5, "`joules_retrain` must be a number of at least 0"),
    ("memory_search", 1.5, "`memory_search` must be a whole number of at least 0"),
    ("drawn_epoch", None, "`drawn_epoch` must be a whole number of at least 0"),
]


@pytest.mark.parametrize("field, value, words", REFUSED)
def test_append_refuses_and_leaves_the_file_alone(tmp_path, field, value, words):
    path = written(tmp_path / "seed0.jsonl", entry())
    before = path.read_bytes()
    with pytest.raises(ValueError, match=words):
        R.append(path, entry(0, 1) | {field: value})
    assert path.read_bytes() == before


@pytest.mark.parametrize("field", R.FIELDS)
def test_every_required_field_is_missed_by_name(tmp_path, field):
    record = entry()
    del record[field]
    with pytest.raises(ValueError, match=f"`record` lacks `{field}`"):
        R.append(tmp_path / "seed0.jsonl", record)


def test_what_earlier_versions_did_not_record_may_be_absent(tmp_path):
    fit = {"text": "a", "an object": {"a": 1}, "a fraction in [0, 1]": 0.5,
           "fractions in [0, 1]": [0.0, 0.5], "numbers": [2.0, 3.5],
           "a list of lines": ["a"], "a list of texts": ["a"], "max or min": "max", "false": False,
           "16 hex digits": "0123456789abcdef", "64 hex digits": "0123" * 16}  # fmt: skip
    costs = {n: fit.get(rule, 3) for n, rule in R.OPTIONAL.items()}
    path = written(tmp_path / "seed0.jsonl", entry(), entry(0, 1, **costs))
    old, new = R.read_file(path)
    assert not old.keys() & costs.keys() and new.items() >= costs.items()


RMSE = {"metric": "rmse", "direction": "min"}


def test_values_of_another_metric_than_accuracy_may_be_any_numbers(tmp_path):
    line = entry(0, 0, 17.5, val=-2.0, test_last=3.0, barrier_error=[1.5, 2.5], **RMSE)
    assert R.read_file(written(tmp_path / "seed0.jsonl", line)) == [line]
    for name, wrong, message in (
        ("test", "low", "`test` must be a number, got 'low'"),
        ("barrier_error", [True], r"`barrier_error` must be numbers, got \[True\]"),
        ("direction", "up", "`direction` must be max or min, got 'up'"),
        ("metric", "accuracy", r"`val` must be a fraction in \[0, 1\], got -2.0"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            R.append(tmp_path / "seed1.jsonl", line | {name: wrong})


def test_the_winning_tickets_of_an_error_are_those_with_less_of_it():
    rounds = {0: [2.0, 2.2], 1: [2.1, 2.1], 2: [2.5, 2.4], 3: [1.0, 1.2]}
    assert by_rule(table(rounds, **RMSE)) == [1, 3]
    assert by_rule(table(rounds, metric="score")) == [1, 2]


@pytest.mark.parametrize(
    ("values", "metric", "text"),
    [
        ([0.815], "accuracy", "81.5"),
        ([12.3456], "rmse", "12.35"),
        ([1.0, 2.0], "rmse", "1.5 (1–2)"),
        ([1.0, 2.0, 3.0], "rmse", "2 ± 2.484"),
    ],
)
def test_accuracy_is_told_in_per_cent_and_another_metric_as_it_is(values, metric, text):
    assert R.format_metric(values, metric) == text


@pytest.mark.parametrize("wrong", [0.5, "a", [1], [""], ["a\nb"], ["\x1b[2J"], [None]])
def test_warnings_are_a_list_of_lines(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"^`warnings` must be a list of lines, got"):
        R.append(tmp_path / "seed0.jsonl", entry(warnings=wrong))


@pytest.mark.parametrize("wrong", [0.5, "a", [0.5, 1.1], [-0.1], [True], [None]])
def test_a_curve_of_errors_is_a_list_of_fractions(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"^`barrier_error` must be fractions in \[0, 1\], got"):
        R.append(tmp_path / "seed0.jsonl", entry(barrier_error=wrong))


def test_no_graph_and_uncounted_macs_are_null(tmp_path):
    path = written(tmp_path / "seed0.jsonl", entry(edges=None, num_edges=0, macs=None))
    assert R.summary(R.read_file(path))[0].macs is None


def test_a_torn_last_line_is_left_out_then_mended_away(tmp_path):
    whole = written(tmp_path / "whole.jsonl", entry(0, 0), entry(0, 1)).read_bytes()
    path = tmp_path / "seed0.jsonl"
    for cut in range(whole.index(b"\n") + 2, len(whole) - 1, 7):  # killed in the second line
        path.write_bytes(whole[:cut])
        assert R.read_file(path) == [entry(0, 0)]
        with pytest.raises(ValueError, match="torn line: call `repair`"):
            R.append(path, entry(0, 1))
        assert R.repair(path) == [entry(0, 0)]
        R.append(path, entry(0, 1))
        assert path.read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["seed0.jsonl", "whole.jsonl"]


def test_a_last_line_that_lacks_only_its_newline_is_kept(tmp_path):
    path = written(tmp_path / "seed0.jsonl", entry(0, 0), entry(0, 1))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert R.repair(path) == [entry(0, 0), entry(0, 1)]
    assert path.read_bytes() == whole


def test_mending_what_is_whole_or_absent_changes_nothing(tmp_path):
    path = written(tmp_path / "seed0.jsonl", entry())
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert R.repair(path) == [entry()]
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert R.repair(tmp_path / "seed1.jsonl") == []


DAMAGE = [  # line 2 of 3              words of the error
    (b'{"algorithm": "ug', "line 2: not a line of JSON"),
    (b"", "line 2: not a line of JSON"),
    (b"\xff\xfe\x00", "line 2: not a line of JSON"),
    (b"[" * 100_000, "line 2: not a line of JSON"),
    (b"[1, 2]", "line 2: `record` must be an object, got list"),
    (b"{}", "line 2: `record` lacks `algorithm`"),
    (json.dumps(entry(test=float("nan"))).encode(), "line 2: `test` must be finite"),
]


@pytest.mark.parametrize("line, words", DAMAGE)
def test_damage_elsewhere_names_file_and_line(tmp_path, line, words):
    path = written(tmp_path / "seed0.jsonl", entry(0, 0), entry(0, 2))
    first, last = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, last, b""]))
    for reader in (R.read_file, R.repair):
        with pytest.raises(ValueError, match=words) as error:
            reader(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert path.read_bytes().splitlines() == [first, line, last]  # mending lost nothing


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line():
    with pytest.raises(OSError, match=r"^cannot write `/dev/full`: No space left on device$"):
        R.append("/dev/full", entry())


def test_a_write_that_fails_half_way_is_taken_back(tmp_path, monkeypatch):
    path = written(tmp_path / "seed0.jsonl", entry())
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        R.append(path, entry(0, 1))
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for call in (R.read_file, lambda path: R.append(path, entry())):
        with pytest.raises(OSError, match=r"^cannot (read|write) `.*file/seed0\.jsonl`: Not a dir"):
            call(tmp_path / "file" / "seed0.jsonl")
    with pytest.raises(FileNotFoundError, match="no record file"):
        R.read_file(tmp_path / "seed0.jsonl")
    with pytest.raises(OSError, match=r"cannot write `.*none/seed0\.jsonl`: No such file"):
        R.append(tmp_path / "none" / "seed0.jsonl", entry())


def test_replacing_keeps_the_old_file_when_the_new_one_fails(tmp_path):
    path = tmp_path / "a.svg"
    path.write_text("old")
    with (
        pytest.raises(OSError, match=r"cannot write `.*a\.svg`: disk full"),
        replace_file(path) as draft,
    ):
        draft.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


# --- folders -----------------------------------------------------------------------------------


def test_read_finds_runs_in_linked_folders_and_none_twice(tmp_path):
    run = tmp_path / "elsewhere" / "run"
    run.mkdir(parents=True)
    R.append(run / "seed0.jsonl", entry())
    top = tmp_path / "runs"
    top.mkdir()
    (top / "link").symlink_to(run)
    (run / "above").symlink_to(tmp_path)  # a loop
    assert len(R.read(top)) == len(R.read(tmp_path)) == 1


def test_read_finds_every_run_under_a_folder_once_and_sorts(tmp_path):
    ugs, random = tmp_path / "ugs-cora-gcn-1", tmp_path / "random_tickets-cora-gcn-2"
    written(ugs / "seed10.jsonl", entry(10, 0))
    written(ugs / "seed2.jsonl", entry(2, 0), entry(2, 1))
    written(random / "seed0.jsonl", entry(0, 0, algorithm="random_tickets"))
    (ugs / "settings.json").write_text("{}")
    (ugs / "seed2-round1.jsonl").write_text("not a record file")
    (tmp_path / "started").mkdir()
    found = [(r["algorithm"], r["seed"], r["round"]) for r in R.read(tmp_path, ugs, str(random))]
    assert found == [("random_tickets", 0, 0), ("ugs", 2, 0), ("ugs", 2, 1), ("ugs", 10, 0)]


def test_a_folder_without_records_is_named(tmp_path):
    written(tmp_path / "run" / "seed0.jsonl", entry())
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        with pytest.raises(FileNotFoundError, match=f"{name}`$"):
            R.read(tmp_path / "run", tmp_path / name)


def test_the_order_of_settings_does_not_change_their_hash():
    assert R.settings_hash({"a": 1, "b": 0.5}) == R.settings_hash({"b": 0.5, "a": 1})
    assert R.settings_hash({"a": 1, "b": 0.5}) != R.settings_hash({"a": 1, "b": 0.25})
    assert R.settings_hash({}) == "44136fa3"  # sha256 of "{}"


# --- statistics ----------------------------------------------------------------------------------

FIVE = [0.812, 0.805, 0.821, 0.809, 0.814]


def test_the_interval_is_scipys():
    low, high = stats.ttest_1samp(FIVE, 0.0).confidence_interval(0.95)
    assert R.interval(FIVE) == pytest.approx((high - low) / 2, rel=1e-12)
    assert R.interval(FIVE) == pytest.approx(0.0074189, abs=1e-7)
    assert R.interval([124 / 34] * 3) == 0  # of equal values exactly, whatever their sum rounds to
    assert R.interval([0.8]) is None  # one seed tells nothing, which is not 0
    assert R.interval([0.5, 0.8]) is None  # ± 190.6 points are no answer
    assert R.interval([0.8, 0.8, 0.8]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.813], "81.3"),
        ([0.5, 0.84], "67.0 (50.0–84.0)"),
        ([0.84, 0.84], "84.0 (84.0–84.0)"),
        ([-0.012, 0.004], "-0.4 (-1.2 to 0.4)"),
        ([-0.0004, 0.0], "0.0 (0.0 to 0.0)"),
        ([0.8, 0.81, 0.82], "81.0 ± 2.5"),
        (FIVE, "81.2 ± 0.7"),
    ],
)
def test_under_three_seeds_the_range_is_shown_and_no_interval(values, text):
    assert R.format_percent(values) == text


def test_summary_is_the_mean_over_seeds():
    dense, ticket = R.summary(table({0: FIVE, 4: [0.80, 0.79, 0.81]}))
    assert (dense.n, ticket.n) == (5, 3)
    assert dense.test == pytest.approx(0.8122)
    assert dense.test_interval == R.interval(FIVE)
    assert ticket.test == pytest.approx(0.80)
    assert (ticket.val, ticket.val_interval) == (pytest.approx(0.79), pytest.approx(0))
    assert ticket.edge_sparsity == pytest.approx(0.1854938)
    assert ticket.weight_sparsity == pytest.approx(0.5904)
    assert ticket.macs == pytest.approx(2.007e9 * 0.4096)
    assert (ticket.edges, ticket.num_edges, ticket.num_weights) == ("directed", 10556, 737280)


def test_runs_are_told_apart_by_the_settings_in_which_they_differ():
    runs = [
        *table({0: [0.8]}, settings={"rounds": 3, "hidden": 512, "init": "glorot"}),
        *table({0: [0.8]}, settings={"rounds": 3, "hidden": 16, "init": "kaiming"}),
        *table({0: [0.8]}, settings={"rounds": 3}),
        *table({0: [0.8]}, settings={"rounds": 3, "hidden": 16}, algorithm="imp"),
        *table({0: [0.8]}, settings={"rounds": 3, "hidden": 16}, edges="undirected"),
    ]
    labels = sorted((row.algorithm, row.edges, row.label) for row in R.summary(runs))
    assert labels == [
        ("imp", "directed", ""),
        ("ugs", "directed", ""),
        ("ugs", "directed", "hidden=16, init=kaiming"),
        ("ugs", "directed", "hidden=512, init=glorot"),
        ("ugs", "undirected", ""),
    ]


def test_runs_of_different_metrics_are_different_runs_whose_labels_name_them():
    roc = {"metric": "roc_auc", "direction": "max"}
    same = table({0: [0.5], 1: [0.6]}, **roc) + table({0: [0.9], 1: [0.8]})
    rows = R.summary(same)
    assert {(row.metric, row.label) for row in rows} == {
        ("accuracy", "metric=accuracy"), ("roc_auc", "metric=roc_auc"),
    }  # fmt: skip
    assert [(row.metric, row.round) for row in R.rows_by_paper_rule(rows)] == [("roc_auc", 1)]
    null = table({0: [0.9]}, settings={"metric": None}) + table(
        {0: [0.5]}, settings={"metric": "f"}
    )
    assert {row.label for row in R.summary(null)} == {"metric=accuracy", "metric=f"}
    with pytest.raises(
        ValueError, match=r"must be of the metric of `records_a`, got acc.* and roc"
    ):
        R.paired_differences(table({0: [0.9]}), table({0: [0.5]}, **roc), 0)


def test_a_seed_counted_twice_is_refused():
    with pytest.raises(ValueError, match="seed 1 of ugs-cora-gcn occurs twice at round 2"):
        R.summary([*table({2: [0.8, 0.8]}), entry(1, 2, 0.7)])


def test_paired_differences_are_those_of_common_seeds():
    a = table({9: FIVE, 10: [0.1] * 5})
    b = table({9: [0.801, 0.799, 0.815, 0.808]}, algorithm="random_tickets")
    assert R.paired_differences(a, b, 9) == pytest.approx([0.011, 0.006, 0.006, 0.001])
    assert R.paired_differences(b, a, 9) == pytest.approx([-0.011, -0.006, -0.006, -0.001])
    with pytest.raises(ValueError, match=r"`round` must be one .* got 3"):
        R.paired_differences(a, b, 3)
    with pytest.raises(ValueError, match="`metric` must be one of test, val, got 'loss'"):
        R.paired_differences(a, b, 9, metric="loss")
    with pytest.raises(ValueError, match="occurs twice"):
        R.paired_differences([*a, *table({9: [0.8]}, task="citeseer")], b, 9)


BY_RULE = [  # rounds → accuracies of the seeds                          those by the paper's rule
    ({0: [0.80, 0.82], 1: [0.82, 0.81], 2: [0.81, 0.81], 3: [0.90, 0.71]}, [1, 2]),
    ({0: [0.80, 0.82], 1: [0.79, 0.82], 2: [0.10, 0.99]}, []),
    ({0: [0.7] * 3, 1: [0.6] * 3, 2: [0.1 + 0.6] * 3}, [2]),  # 0.1 + 0.6 falls just below 0.7
    ({1: [0.9], 2: [0.9]}, []),  # no dense round yet
    ({0: [0.9]}, []),  # the dense network is no ticket
]


@pytest.mark.parametrize("rounds, found", BY_RULE)
def test_the_rounds_of_the_papers_rule(rounds, found):
    assert by_rule(table(rounds)) == found


def test_each_run_is_measured_against_its_own_dense_round():
    runs = table({0: [0.8], 1: [0.79]}) + table({0: [0.7], 1: [0.75]}, algorithm="random_tickets")
    rows = R.summary(runs)
    assert [(row.algorithm, row.round) for row in R.rows_by_paper_rule(rows)] == [
        ("random_tickets", 1)
    ]
    assert [row.algorithm for row in R.rows_by_paper_rule(rows, metric="val")] == [
        "random_tickets",
        "ugs",
    ]


WARNED = [  # fields of round 0, of round 1                                    rounds with a mark
    ({}, {}, [1]),
    ({"warnings": []}, {"warnings": []}, [1]),
    ({"warnings": ["a"]}, {}, []),
    ({}, {"warnings": ["a"]}, []),
    ({}, {"test": 0.95, "val": 0.5}, []),  # the seeds are far apart
]


@pytest.mark.parametrize(("dense", "ticket", "stars"), WARNED)
def test_of_three_seeds_no_mark_stands_beside_a_warning_of_the_round_or_of_round_0(
    dense, ticket, stars
):
    records = table({0: [0.7, 0.7, 0.7], 1: [0.75, 0.75, 0.75]})
    records[0] |= dense
    records[3] |= ticket
    rows = R.summary(records)
    rule = R.rows_by_paper_rule(rows)
    assert [row.round for row in rule] == [1]  # the rule knows no warning
    assert [row.round for row in R.rows_without_warnings(rule, rows)] == stars
    won = R.winning_rows(rows)
    assert [row.round for row in won] == stars  # two seeds are too few for a test


def test_marks_beside_a_warning_are_those_of_the_test_without_its_seeds():
    records = table({0: [0.70, 0.71, 0.72, 0.73], 1: [0.71, 0.72, 0.73, 0.73],
                     2: [0.72, 0.73, 0.73, 0.74], 3: [0.70, 0.71, 0.72, 0.79]})  # fmt: skip
    for r, seed in ((2, 3), (3, 2), (3, 3)):
        records[4 * r + seed]["warnings"] = ["a"]
    rows = R.summary(records)
    assert [R.warned_seeds(row) for row in rows] == [set(), set(), {3}, {2, 3}]
    assert R.warned_seeds(*rows[1:3]) == {3} and R.warned_seeds() == set()
    marks = R.mark_rows(rows)
    assert [row.round for row in marks.winning] == [1, 2]
    assert marks.by_rule_alone == []  # round 3 by its mean, and beside a warning
    assert [row.round for row in marks.beside_warning] == [2, 3]
    signs = [line[4].split()[-1] for line in run_table(rows, marks)]
    assert [sign for sign in signs if sign in "*°"] == ["*", "*"]
    assert mark_lines(rows, marks, None)[-1].startswith("beside a warning, its own or one of")
    assert len(mark_lines(rows[:2], R.mark_rows(rows[:2]), None)) == 1


def test_doubts_tell_whose_they_are_and_when_seeds_are_far_apart():
    records = table({0: [0.8, 0.61, 0.7]})
    records[1]["warnings"], records[2]["warnings"] = ["a"], ["b", "a"]
    (row,) = R.summary(records)
    assert R.row_warnings(row) == {"a": [1, 2], "b": [2]}
    (row,) = R.summary(table({0: [0.8, 0.59, 0.7]}))
    assert R.row_warnings(row) == {"test differs by more than 20 points between seeds: "
                             "an interval means nothing": [0, 1, 2]}  # fmt: skip
    (row,) = R.summary(table({0: [0.8]}))
    assert R.row_warnings(row) == {}


# --- cost --------------------------------------------------------------------------------------

COSTS = [  # unit, round, search of rounds 0, 1, 2 …, retraining of rounds 0, 1, 2 …   sum
    ("macs", 0, (7, 10, 20), (100, 50, 25), 100),  # the dense network is only trained
    ("macs", 1, (7, 10, 20), (100, 50, 25), 7 + 10 + 50),
    ("epochs", 2, (0, 10, 20), (100, 50, 25), 10 + 20 + 25),
    ("seconds", 2, (0.0, 0.5, 0.25), (1.0, 2.0, 4.0), 4.75),
    ("joules", 1, (0.0, 1.5), (9.0, 3.0), 4.5),
]


def spent(unit, searches, retrainings):
    return [
        entry(0, number, **{f"{unit}_search": search, f"{unit}_retrain": retraining})
        for number, (search, retraining) in enumerate(zip(searches, retrainings, strict=True))
    ]


@pytest.mark.parametrize("unit, number, searches, retrainings, expected", COSTS)
def test_a_ticket_costs_every_search_up_to_it_and_its_own_retraining(
    unit, number, searches, retrainings, expected
):
    assert R.total_cost(spent(unit, searches, retrainings)[::-1], number, unit) == expected


def test_a_cost_that_cannot_be_told_is_refused():
    whole = spent("macs", (0, 1, 2), (9, 9, 9))
    with pytest.raises(
        ValueError, match=r"^`unit` must be one of macs, seconds, epochs, joules, got"
    ):
        R.total_cost(whole, 1, "hours")
    lacks = (
        r"^`records` must hold rounds 0 to 2 of ugs-cora-gcn, seed 0, lack round 1: leave out the "
        r"folder of that run, or run it without `only`$"
    )
    with pytest.raises(ValueError, match=lacks):
        R.total_cost([whole[0], whole[2]], 2)
    with pytest.raises(ValueError, match=r"rounds 0 to 3 of ugs-cora-gcn, .* lack round 3:"):
        R.total_cost(whole, 3)
    del whole[1]["macs_search"]
    lacks = (
        r"^`records` must hold `macs_search`, which that of ugs-cora-gcn, seed 0, round 1 lacks$"
    )
    with pytest.raises(ValueError, match=lacks):
        R.total_cost(whole, 2)
    assert R.total_cost(whole, 0) == 9


def test_a_row_holds_the_records_it_sums_up():
    records = table({0: [0.8, 0.7], 1: [0.6, 0.5]})
    rows = R.summary(records[::-1])
    assert [[r["test"] for r in row.records] for row in rows] == [[0.8, 0.7], [0.6, 0.5]]
    assert len(set(rows)) == 2


# --- environment -------------------------------------------------------------------------------


def test_the_environment_names_versions_machine_and_commit():
    found = environment()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["cores"] >= 1 and found["cpu"] and found["platform"]
    from importlib.metadata import version

    assert found["numpy"] == version("numpy") and found["torch"] == version("torch")
    assert "commit" not in found or len(found["commit"].removesuffix("-dirty")) == 40
    json.dumps(found, allow_nan=False)


def test_records_and_figures_need_no_torch():
    code = (
        "import sys, graphlth.figures.sparsity\n"
        "from graphlth.records.environment import environment; environment()\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
