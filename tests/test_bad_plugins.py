"""What is wrong with a plug-in, its name or what it returns is told in one line that names it."""

import inspect
import sys
from functools import partial
from importlib import import_module
from textwrap import dedent

import pytest
import torch
from toys import build, toy

import graphlth as glt
from graphlth import registry
from graphlth.cli import main as cli
from graphlth.experiment.measure import analyze as analyze_function
from graphlth.experiment.run import run as run_function
from graphlth.experiment.settings import FLAGS, RUN_FLAGS
from graphlth.masks import EDGES, ones
from graphlth.settings.types import Positive
from graphlth.settings.validation import settings_of


@pytest.fixture
def add(tmp_path, monkeypatch):
    """A function that makes a file a plug-in, as if it were in `graphlth/<kind>`."""
    made = []

    def write(kind, name, source):
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(dedent(source))
        package = import_module(f"graphlth.{kind}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        made.append(f"graphlth.{kind}.{name}")
        registry.modules.cache_clear()

    yield write
    for module in made:
        sys.modules.pop(module, None)
    monkeypatch.undo()
    registry.modules.cache_clear()


def refused(capsys, *argv):
    """The line that a command writes as it ends with 2."""
    capsys.readouterr()
    assert cli.main([*argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("graphlth: error: ")


# --- names ---------------------------------------------------------------------------------------


def test_objects_in_place_of_names_are_sent_to_the_functions_of_the_library(tmp_path):
    task = toy()
    model = build("gcn", task)
    for given, line in [
        (("ugs", task, "gcn"), "`task` must be the name of one, got NodeTask: a run takes names"),
        (("ugs", "karate", model), "`model` must be the name of one, got GCN: a run takes names"),
        ((glt.ugs, "karate", "gcn"), "`algorithm` must be the name of one, got function: a run"),
    ]:
        with pytest.raises(ValueError, match=line) as caught:
            glt.run(*given, {}, out=tmp_path)
        assert "glt.ugs(model, task)" in str(caught.value) and "glt.fit" in str(caught.value)
    with pytest.raises(ValueError, match="`figure` must be the name of one, got int"):
        glt.find("figures", 3)
    with pytest.raises(ValueError, match="`measure` must be the name of one, got NoneType"):
        glt.analyze(None, "run", out=str(tmp_path))


@pytest.mark.parametrize(
    ("argv", "setting", "near"),
    [
        ("run ugz --task karate --model gcn", "algorithm", "ugs"),
        ("run ugs --task karat --model gcn", "task", "karate"),
        ("run at_init --task karate --model gcn --edge-score jacard", "edge_score", "jaccard"),
        ("run at_init --task karate --model gcn --score magnitud", "score", "magnitude"),
        ("plot sparsiti run --out a.png", "figure", "sparsity"),
        ("analyze latencies run --out a", "measure", "latency"),
    ],
)
def test_a_misspelt_name_is_told_with_the_one_most_like_it(capsys, argv, setting, near):
    line = refused(capsys, *argv.split())
    assert line.startswith(f"`{setting}` must be one of ")
    assert line.endswith(f": did you mean `{near}`?")


@pytest.mark.parametrize(
    ("algorithm", "setting", "some", "none"),
    [
        ("at_init", "edge_score", {"degree", "jaccard", "random"}, {"snip", "thinet"}),
        ("at_init", "score", {"snip", "random"}, {"degree", "thinet"}),
        ("channels", "channel_score", {"thinet", "random"}, {"snip", "degree"}),
    ],
)
def test_the_scores_that_are_listed_are_those_of_the_part(algorithm, setting, some, none):
    task = toy()
    with pytest.raises(ValueError, match=f"`{setting}` must be one of ") as caught:
        list(getattr(glt, algorithm)(build("gcn", task), task, **{setting: "luck"}))
    listed = {*str(caught.value).partition(" one of ")[2].partition(", got")[0].split(", ")}
    assert some <= listed and not none & listed


# --- files ---------------------------------------------------------------------------------------

BROKEN = {
    "import nothing_that_is_installed": "cannot be loaded from {} (ModuleNotFoundError: No module "
    "named 'nothing_that_is_installed'): mend or remove that file",
    "def (": "cannot be loaded from {} (SyntaxError: ",
    "1 / 0": "cannot be loaded from {} (ZeroDivisionError: division by zero): mend or remove",
    "def other(): pass": "must be a function 'bad' in {}, got no such name: call the function like",
    "bad = 3": "must be a function 'bad' in {}, got bad of type int: call the function like",
}
COMMANDS = {
    "algorithms": "run bad --task karate --model gcn",
    "analysis": "analyze bad run --out a",
    "figures": "plot bad run --out a.png",
    "models": "run ugs --task karate --model bad",
    "scores": "run at_init --task karate --model gcn --score bad",
    "tasks": "run ugs --task bad --model gcn",
}


@pytest.mark.parametrize("source", BROKEN)
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_file_that_gives_no_plugin_is_told_in_one_line(add, capsys, kind, source):
    add(kind, "bad", source)
    line = refused(capsys, *COMMANDS[kind].split())
    noun = registry.kind_noun(kind)
    assert line.startswith(f"`{noun}` 'bad' " + BROKEN[source].format(f"graphlth/{kind}/bad.py"))
    assert cli.main(["list", kind]) == 0 and " bad" in capsys.readouterr().out


# --- what scores return --------------------------------------------------------------------------


def whole(masks, value=1.0):
    return {n: torch.full_like(m, value) for n, m in masks.items()}


RULE = "a dict from the names of masks to tensors of their shapes, without NaN"
SCORES = {
    "a tensor": (lambda masks: torch.ones(3), "got Tensor of torch.float32"),
    "nothing": (lambda masks: None, "got NoneType"),
    "a list": (lambda masks: {n: [1.0] for n in masks}, "got list for "),
    "a number": (lambda masks: dict.fromkeys(masks, 1.0), "got float for "),
    "complex": (lambda masks: {n: m + 1j for n, m in masks.items()}, "got Tensor of torch.complex"),
    "a shape": (lambda masks: {n: m[:1] for n, m in masks.items()}, r"got \[1.* in place of "),
    "nan": (lambda masks: whole(masks, torch.nan), r"got NaN for \d+ of its entries for "),
    "an error": (lambda masks: masks["nope"], "but raises KeyError: 'nope'"),
    "its error": (lambda masks: [].index(1), "but raises ValueError: 1 is not in list"),
}


def own_score(make):
    def mine(model, task, masks):
        return make(masks)

    return mine


@pytest.mark.parametrize("setting", ["score", "edge_score"])
@pytest.mark.parametrize("what", SCORES)
def test_a_score_that_returns_something_else_is_told_in_one_line(what, setting):
    task, (make, got) = toy(), SCORES[what]
    with pytest.raises(ValueError, match=f"^`score` 'mine' must return {RULE}, {got}") as caught:
        list(glt.at_init(build("gcn", task), task, rounds=1, **{setting: own_score(make)}))
    assert "\n" not in str(caught.value)


def test_a_score_of_channels_is_checked_too():
    from toys import Pictures

    task = Pictures()
    model = build("conv_2", task)
    wrong = own_score(lambda masks: {n: m[:1] for n, m in masks.items()})
    with pytest.raises(ValueError, match=f"^`score` 'mine' must return {RULE}, got .* in place of"):
        list(glt.channels(model, task, epochs=1, rounds=1, channel_score=wrong))


def test_a_score_of_a_file_that_fails_ends_a_command_with_one_line(add, capsys, tmp_path):
    add("scores", "bad", "def bad(model, task, masks): return masks['nope']")
    argv = f"run at_init --task karate --model gcn --score bad --out {tmp_path}"
    line = refused(capsys, *argv.split())
    assert line == f"`score` 'bad' must return {RULE}, but raises KeyError: 'nope'"


def test_whole_numbers_and_nan_of_removed_entries_are_scores():
    task = toy()
    model = build("gcn", task)

    def ranks(model, task, masks):
        return {EDGES: torch.arange(masks[EDGES].numel())}

    def holes(model, task, masks):
        return {
            EDGES: torch.arange(masks[EDGES].numel()) + torch.where(masks[EDGES] > 0, 0, torch.nan)
        }

    kept = [
        [t.masks[EDGES] for t in glt.at_init(model, task, rounds=2, edge_score=f, drop_edges=0.3)]
        for f in (ranks, holes)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*kept, strict=True))
    assert not torch.equal(kept[0][2], ones(model, task.num_edges)[EDGES])


def test_a_bound_setting_that_a_score_has_not_is_named():
    task = toy()
    model = build("gcn", task)

    def far(model, task, masks, *, power: Positive = 2.0):
        return whole(masks, power)

    for bound, line in [
        ({"powr": 1}, "`powr` is no setting of the score 'far'; did you mean `power`. there are"),
        ({"power": -1}, r"`power` must be in \(0, inf\), got -1"),
    ]:
        with pytest.raises(ValueError, match=line):
            list(glt.at_init(model, task, rounds=1, edge_score=partial(far, **bound)))
    assert len(list(glt.at_init(model, task, rounds=1, edge_score=partial(far, power=1)))) == 2


# --- settings ------------------------------------------------------------------------------------

OWN = {  # a plug-in of each kind that has the setting {}
    "algorithms": """
        def own(model, task, *, {}, seed=0, last=None):
            from graphlth.ticket import dense

            yield dense(model, task.num_edges)
        """,
    "models": """
        def own(task, *, {}):
            from graphlth.models.graph.gcn import gcn

            return gcn(task)
        """,
    "scores": """
        def own(model, task, masks, *, {}):
            return {{n: m for n, m in masks.items()}}
        """,
    "tasks": """
        def own(*, {}):
            from graphlth.tasks.karate import karate

            return karate()
        """,
}
RUN = {kind: COMMANDS[kind].replace("bad", "own") for kind in OWN}


@pytest.mark.parametrize("name", ["out", "jobs", "seeds", "graphs", "protocol", "config", "device"])
@pytest.mark.parametrize("kind", OWN)
def test_a_setting_that_is_called_like_a_flag_is_refused(add, capsys, kind, name):
    add(kind, "own", dedent(OWN[kind]).format(f"{name}: int = 3"))
    noun = registry.kind_noun(kind)
    line = (f"`{noun}` 'own' must have settings of its own, got `{name}`, which is a flag of "
            "`graphlth run`: rename that setting")  # fmt: skip
    assert refused(capsys, *RUN[kind].split()) == line


def test_the_flags_that_are_refused_are_those_of_the_commands():
    run, analyze = (settings_of(f).keys() | inspect.signature(f).parameters.keys()
                    for f in (run_function, analyze_function))  # fmt: skip
    assert run - {"settings"} <= {*RUN_FLAGS} and analyze <= {*FLAGS["analysis"]}


@pytest.mark.parametrize("kind", OWN)
def test_a_setting_without_an_annotation_has_the_type_of_its_default(add, capsys, kind):
    add(kind, "own", dedent(OWN[kind]).format("power=2"))
    argv = RUN[kind].split()
    assert refused(capsys, *argv, "--power", "abc") == "`power` must be of type int, got 'abc'"
    assert refused(capsys, *argv, "--power", "2.5") == "`power` must be of type int, got '2.5'"


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("setting", ["power", "power=None", "power=(1, 2)"])
def test_a_setting_without_any_type_is_refused(add, capsys, kind, setting):
    add(kind, "own", dedent(OWN[kind]).format(setting))
    noun = registry.kind_noun(kind)
    assert refused(capsys, *RUN[kind].split()) == (
        f"`{noun}` 'own' must say the type of each setting, got `power` without: annotate it, as "
        "in `power: float = 1.0`"
    )


@pytest.mark.parametrize("kind", OWN)
def test_help_shows_the_range_of_a_setting_and_nan_is_out_of_it(add, capsys, kind):
    own = dedent(OWN[kind]).format("power: Annotated[float, Interval(gt=0, le=8)] = 2.0")
    head = "from typing import Annotated\nfrom annotated_types import Interval\n"
    add(kind, "own", head + own)
    argv = RUN[kind].split()
    with pytest.raises(SystemExit):
        cli.main([*argv, "--help"])
    assert "in (0, 8]" in " ".join(capsys.readouterr().out.split("--power POWER")[1].split())
    for text in ("nan", "NaN", "inf", "-inf", ".nan", "9"):
        line = refused(capsys, *argv, f"--power={text}")
        assert line.startswith("`power` must be in (0, 8], got ")
