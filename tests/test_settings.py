"""Settings: read from annotations, lists as lists or text, those of scores, and their hashes."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypedDict, Unpack, get_args

import numpy as np
import pytest
import torch
import toys
from annotated_types import Interval

import graphlth as glt
import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.cli.arguments import join_lists, without_brackets
from graphlth.data.losses import LOSSES
from graphlth.experiment.plan import build_plugin, plan
from graphlth.experiment.settings import settings_of_run
from graphlth.registry import find
from graphlth.settings.annotations import check_value
from graphlth.settings.checks import check_setting
from graphlth.settings.lists import list_text, parse_milestones, parse_rounds
from graphlth.settings.types import Fraction, LossName, Milestones, RoundNumbers, Scope, Score
from graphlth.settings.validation import check_fields, settings_of, validate_settings


@dataclass(frozen=True)
class Options:
    """Settings that stand together."""

    rate: Fraction = 0.5
    steps: Annotated[int, Interval(ge=1, le=9)] = 3


class OptionKeys(TypedDict, total=False):
    options: Options
    rate: Fraction
    steps: Annotated[int, Interval(ge=1, le=9)]


def plain(model, *, rate: Fraction = 0.1, scope: Scope = "global", last: "Options" = Options()):
    """Settings of its own, and a dataclass of others."""


def unpacked(model, *, seed: int = 0, **options: Unpack[OptionKeys]):
    """Settings that a `TypedDict` lists."""
    return options


def defaults(function):
    return {name: p.default for name, p in settings_of(function).items()}


def test_settings_are_keywords_fields_of_a_dataclass_and_keys_of_a_typed_dict():
    assert defaults(unpacked) == {"seed": 0, "rate": 0.5, "steps": 3}
    assert defaults(plain) == {"rate": 0.1, "scope": "global"}  # its own, not those of `Options`
    assert "recipe" not in settings_of(glt.fit) and "milestones" in settings_of(glt.fit)


@pytest.mark.parametrize(
    ("annotation", "good", "bad", "message"),
    [
        (Fraction, [0, 0.5], 1.5, "`x` must be in [0, 1), got 1.5"),
        (Fraction | None, [None, 0.5], -1, "`x` must be in [0, 1), got -1"),
        (int, [3, -3], 2.0, "`x` must be a whole number, got 2.0"),
        (bool, [True], 1, "`x` must be true or false, got 1"),
        (str, ["text"], 3, "`x` must be text, got 3"),
        (Literal["a", "b"], ["a"], "c", "`x` must be one of a, b, got 'c'"),
        (Literal["a", "b"], ["b"], 3, "`x` must be text, got 3"),
        (Literal[2, 4], [4], 3, "`x` must be one of 2, 4, got 3"),
        (int | str, [3, "text"], 2.5, "`x` must be a whole number or text, got 2.5"),
        (Sequence[int], [[], [1, 2]], ["a"], "`x` must be a whole number, got 'a'"),
        (Sequence[int], [(1,)], "ab", "`x` must be a list, got 'ab'"),
        (Score, ["random", "effective-resistance", len], 3, "`x` must be text or a function"),
        (Score, ["grasp"], "luck", "`x` must be one of "),
        (Milestones, ["none", "0.5", [0.5], (0.25, 0.5)], [1.5], "`milestones` must be fractions"),
        (RoundNumbers, ["all", "7,15", [7, 15]], [15, 7], "`only` must be all, or rising rounds"),
    ],
)
def test_a_value_is_checked_by_its_annotation(annotation, good, bad, message):
    for value in good:
        check_value("x", value, annotation)
    with pytest.raises(ValueError) as error:
        check_value("x", bad, annotation)
    assert str(error.value).startswith(message)


def test_fields_of_a_dataclass_are_checked_by_their_annotations():
    check_fields(Options())
    check_fields(Options(steps=99), but=["steps"])
    with pytest.raises(ValueError, match=r"^`steps` must be in \[1, 9\], got 99$"):
        check_fields(Options(steps=99))


def test_a_function_checks_settings_and_names_when_it_is_called():
    checked = validate_settings(unpacked)
    assert checked(None, rate=0.25) == {"rate": 0.25}
    with pytest.raises(ValueError, match=r"^`rate` must be in \[0, 1\), got 2$"):
        checked(None, rate=2)
    with pytest.raises(ValueError, match=r"`rat` is no setting of unpacked; did you mean `rate`"):
        checked(None, rat=0.25)


# --- lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "numbers"),
    [("none", ()), ("0.5", (0.5,)), ("0.5,0.75", (0.5, 0.75)), ([0.5, 0.75], (0.5, 0.75))],
)
def test_milestones_are_a_list_or_text(value, numbers):
    assert parse_milestones(value) == numbers
    assert glt.Recipe(milestones=value).decay_points == numbers


@pytest.mark.parametrize(
    ("value", "rounds"),
    [("all", [1, 2, 3, 4]), ("2", [2]), ("2,4", [2, 4]), ([2, 4], [2, 4]), ((1,), [1])],
)
def test_rounds_are_a_list_or_text(value, rounds):
    assert parse_rounds(value, 4) == rounds


@pytest.mark.parametrize(
    "value", ["", "0", "5", "4,2", "2,2", "x", [], [0], [4, 2], [2.0], 3, True]
)
def test_other_rounds_are_refused(value):
    with pytest.raises(ValueError, match=r"^`only` must be all, or rising rounds from 1 to 4"):
        parse_rounds(value, 4)


def test_the_text_of_a_list_is_what_was_recorded_before_there_were_lists():
    assert list_text([0.5, 0.75], "none") == "0.5,0.75" and list_text((7, 15), "all") == "7,15"
    assert list_text([], "none") == "none" and list_text("0.50", "none") == "0.50"


@pytest.mark.parametrize(
    ("argv", "joined"),
    [
        (["--only", "7", "15", "--lr", "1"], ["--only=7,15", "--lr", "1"]),
        (["--only", "7,15"], ["--only=7,15"]),
        (["--only", "all"], ["--only", "all"]),
        (["--only=[7, 15]"], ["--only=[7, 15]"]),
        (["--only", "7", "folder"], ["--only=7", "folder"]),
        (["--lr", "1", "2"], ["--lr", "1", "2"]),
        (["--only"], ["--only"]),
    ],
)
def test_lists_on_the_command_line_become_one_text(argv, joined):
    assert join_lists(argv, {"only"}) == joined


@pytest.mark.parametrize(
    ("arg", "text"),
    [
        ("--only=[7, 15]", "--only=7,15"),
        ("--only=7,15", "--only=7,15"),
        ("--seeds=[7]", "--seeds=[7]"),  # one seed, where 7 would be seven
        ("only=[7]", "only=[7]"),
    ],
)
def test_lists_of_a_file_become_text(arg, text):
    assert without_brackets(arg, {"only"} if arg.startswith("--") else ()) == text


DIGITS = ("imp", "digits_images", "mlp")


@pytest.mark.parametrize("milestones", ["0.5,0.75", (0.5, 0.75), [0.5, 0.75]])
@pytest.mark.parametrize("only", ["7,15", [7, 15]])
def test_runs_of_lists_have_the_names_that_runs_of_text_had(milestones, only):
    chosen = plan(*DIGITS, {"milestones": milestones, "only": only, "rounds": 15})
    assert chosen.name == "imp-digits_images-mlp-24cfb47b"
    assert chosen.settings["milestones"] == "0.5,0.75" and chosen.settings["only"] == "7,15"


def test_a_file_and_flags_give_the_same_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(
        'algorithm = "at_init"\ntask = "karate"\nmodel = "gcn"\nrounds = 2\nepochs = 2\n'
        'milestones = [0.5, 0.75]\nonly = [2]\nscore = "grasp"\ntemperature = 50\n'
    )
    flags = ("--rounds=2", "--epochs=2", "--milestones", "0.5", "0.75", "--only", "2")
    score = ("--score", "grasp", "--temperature", "50")
    named = ("at_init", "--task=karate", "--model=gcn")
    assert cli.main(["run", "--config=run.toml", "--out=runs"]) == 0
    assert cli.main(["run", *named, *flags, *score, "--out=runs"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    lines = record.read(folder)
    assert [line["round"] for line in lines] == [0, 2]
    assert lines[0]["settings"]["temperature"] == 50


# --- scores --------------------------------------------------------------------------------------

AT_INIT = ("at_init", "karate", "gat")
SCORES = {"score": "grasp", "edge_score": "effective_resistance"}


def test_settings_of_scores_are_settings_of_the_run_by_the_scores_that_are_chosen():
    assert "temperature" not in settings_of_run(*AT_INIT)
    known = settings_of_run(*AT_INIT, SCORES)
    assert {"temperature", "approximate_above", "tolerance"} <= known.keys()
    assert "seed" not in known and "init" not in settings_of_run(*AT_INIT, {"score": "random"})


def test_settings_of_scores_are_in_the_name_of_a_run_where_they_are_not_the_defaults():
    name = plan(*AT_INIT, SCORES).name
    assert name == "at_init-karate-gat-b94bbb29"  # as it was before scores had settings
    assert plan(*AT_INIT, {**SCORES, "temperature": 200, "tolerance": 0.3}).name == name
    other = plan(*AT_INIT, {**SCORES, "temperature": 100})
    assert other.name != name and other.settings["temperature"] == 100


def test_settings_of_a_score_reach_it():
    task = toys.toy()
    model = toys.build("gcn", task)
    how = {"rounds": 1, "drop_edges": 0.0, "score": "grasp", "drop_weights": 0.5}
    by_run, by_call, usual = (
        [t.masks for t in tickets][1]
        for tickets in (
            build_plugin("algorithms", "at_init", {**how, "temperature": 0.01}, model, task),
            find("algorithms", "at_init")(
                model, task, **{**how, "score": partial(find("scores", "grasp"), temperature=0.01)}
            ),
            find("algorithms", "at_init")(model, task, **how),
        )
    )
    assert all(by_run[n].equal(by_call[n]) for n in by_run)
    assert not all(by_run[n].equal(usual[n]) for n in by_run)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 3}, "`temperature` is no setting of at_init, karate and gat"),
        ({"score": "grasp", "temperature": 0}, "`temperature` must be in (0, inf), got 0"),
        ({"score": "luck"}, "`score` must be one of"),
        ({"score": len}, "`score` must be the name of a score in a run, got <built-in"),
    ],
)
def test_wrong_settings_of_scores_are_refused(settings, message):
    with pytest.raises(ValueError) as error:
        plan(*AT_INIT, settings)
    assert str(error.value).startswith(message)


def test_a_score_with_a_setting_of_another_is_refused(monkeypatch):
    def clashing(model, task, masks, *, hidden: int = 3):
        """A score whose setting is one of the model."""

    from graphlth.experiment import settings

    monkeypatch.setattr(
        settings, "find",
        lambda kind, name: clashing if kind == "scores" else find(kind, name),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"^`score` must have settings of its own, .* `hidden`"):
        settings_of_run("imp", "karate", "gcn")


@pytest.mark.parametrize("kind", ["algorithms", "analysis", "models", "scores", "tasks"])
def test_every_setting_has_a_type(kind):
    for name in glt.names(kind):
        for setting, parameter in settings_of(find(kind, name)).items():
            assert parameter.annotation is not inspect.Parameter.empty, f"{name}: {setting}"


def test_one_score_may_rank_both_parts(tmp_path):
    argv = ["run", "at_init", "--task", "karate", "--model", "gcn", "--score", "random",
            "--edge_score", "random", "--rounds", "1", "--epochs", "1", "--out"]  # fmt: skip
    assert cli.main([*argv, str(tmp_path)]) == 0
    assert [line["round"] for line in record.read(*tmp_path.iterdir())] == [0, 1]


@pytest.mark.parametrize(
    ("typed", "known", "meant"),
    [
        ("root", ("data_root", "dropout"), "data_root"),
        ("seed", ("data_seed", "seeds", "speed"), "data_seed"),
        ("epoch", ("batch_epochs", "epochs"), "epochs"),
        ("split_sed", ("split", "split_seed"), "split_seed"),
        ("dropuot", ("data_root", "dropout"), "dropout"),
    ],
)
def test_the_setting_that_holds_what_was_typed_is_suggested(typed, known, meant):
    with pytest.raises(ValueError, match=f"did you mean `{meant}`"):
        check_setting(typed, known, "here")


# --- loss and metric of a graph of one's own ------------------------------------------------------


@pytest.fixture
def club(tmp_path, monkeypatch):
    """The file of a graph whose nodes have a class and a number."""
    monkeypatch.chdir(tmp_path)
    task = find("tasks", "karate")()
    held = {"x": torch.eye(34), "edge_index": task.graph.edge_index, "y": task.y}
    torch.save(held | {"degree": task.graph.edge_index[1].bincount().float()}, "club.pt")
    return "club.pt"


def test_loss_and_metric_change_the_name_of_a_run_only_where_they_are_given(club):
    def of(**settings):
        return plan("ugs", "file", "gcn", {"path": club, "split": "random", **settings})

    name = of().name
    assert name == "ugs-club-gcn-1c8f8a7c"  # as it was before there were these settings
    assert not {"loss", "metric"} & of(loss="cross_entropy", metric=None).settings.keys()
    assert of(loss="cross_entropy", metric=None).name == name
    assert of(metric="f1_macro").name != name
    assert of(metric="f1_macro").settings["metric"] == "f1_macro"
    assert len({of(loss=loss).name for loss in LOSSES}) == len(LOSSES)
    assert set(get_args(get_args(LossName)[0])) == set(LOSSES)


@pytest.mark.parametrize(
    ("flags", "metric"),
    [
        (["--metric=f1_macro"], "f1_macro"),
        (["--loss=mse", "--labels=degree"], "rmse"),
        (["--loss=mae", "--labels=degree", "--metric=rmse"], "rmse"),
        ([], "accuracy"),
    ],
)
def test_a_graph_of_ones_own_is_run_and_exported_with_its_metric(club, capsys, flags, metric):
    argv = ["run", "at_init", f"--task={club}", "--split=random", "--model=gcn", "--rounds=1",
            "--epochs=2", *flags]  # fmt: skip
    assert cli.main(argv) == 0
    (ticket,) = Path("runs").glob("*/seed0-round1.safetensors")
    (line,) = [r for r in record.read("runs") if r["round"] == 1]
    assert line["metric"] == metric
    capsys.readouterr()
    assert cli.main(["export", str(ticket), "--out=club.compact"]) == 0
    told = record.format_value(line["test"], metric)
    assert f"test {told}," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--metric=auc", "`metric` must be one of accuracy, average_precision"),
        ("--loss=bce", "`loss` must be one of cross_entropy, binary_cross_entropy, mse, mae"),
    ],
)
def test_a_loss_or_metric_that_there_is_not_is_one_line(club, capsys, flag, message):
    argv = ["run", "at_init", f"--task={club}", "--split=random", "--model=gcn", flag]
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("parse", "rule"),
    [(parse_milestones, "`milestones` must be fractions"), (parse_rounds, "`only` must be all")],
)
@pytest.mark.parametrize(
    "value",
    [
        (n for n in (1, 2)), {1, 2}, {1: 2}, None, 3, [None], [[1]], [float("nan")], [-1],
        [10**5000], "9" * 5000, "x" * 5000, [2] * 10**6, np.array(["x"]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_list_of_numbers_is_refused_in_a_short_line(parse, rule, value):
    with pytest.raises(ValueError, match=rule) as caught:
        parse(value)
    assert len(str(caught.value)) < 300


def test_lists_of_other_libraries_are_lists():
    assert parse_rounds(np.array([1, 3])) == [1, 3]
    assert parse_milestones(np.array([0.5])) == (0.5,)


def test_a_list_in_brackets_may_stand_apart_from_its_option():
    argv = ["--only", "[7, 15]", "runs", "--seed", "3"]
    joined = [without_brackets(arg, {"only"}) for arg in join_lists(argv, {"only"})]
    assert joined == ["--only=7,15", "runs", "--seed", "3"]


def test_many_numbers_are_joined_at_once():
    numbers = ["1"] * 300_000
    assert join_lists(["--only", *numbers], {"only"}) == ["--only=" + ",".join(numbers)]


@pytest.mark.parametrize("named", [{"algorithm": 3}, {"settings": [1]}, {"settings": {3: 4}}])
def test_a_run_of_no_names_is_refused_in_one_line(named, tmp_path):
    about = {"algorithm": "ugs", "settings": {}} | named
    message = "`algorithm` must be the name.* int|`settings` must be a mapping.* list|`3` is no set"
    with pytest.raises(ValueError, match=message):
        glt.run(task="karate", model="gcn", out=tmp_path, **about)


def test_a_function_that_is_of_no_module_has_settings_too():
    """As one that a notebook, or a page of the documentation, defines."""
    names = {"__name__": None}
    exec("def score(model, task, masks, *, power: float = 2.0): ...", names)
    assert settings_of(names["score"])["power"].annotation is float
