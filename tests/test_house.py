"""Measures of the house: sizes, parameters, names. Imports are measured in `test_layers`."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "graphlth"
MOST_LINES = 400  # of a file
LONG_FILES: set[str] = set()  # exceptions, at most four: kernels, with the reason at their top
MOST_PARAMETERS = 12
MOST_BODY_LINES = 20  # of nine functions in ten
MOST_PARTICIPLES = 0.03  # of all function names
README_BYTES = 6 * 1024
IRREGULAR = {
    "told", "held", "drawn", "built", "known", "found", "kept", "taken", "given", "worn", "put",
    "spread", "stood", "seen", "lain", "laid",
}  # fmt: skip
COMPILERS = ("njit", "jit", "kernel", "vectorize", "compiled")  # in a decorator's name
COMMANDS = "cli/main.py"  # a command has the name of what it does


@cache
def functions():
    """Every function of the package, with its file."""
    return [
        (path.relative_to(PACKAGE).as_posix(), node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def parameters(function):
    """The names of all parameters; of a method, `self` and `cls` are none."""
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def is_compiled(file, function):
    """Whether Numba or Triton compiles the function: its loops take arrays one by one."""
    decorators = " ".join(map(ast.unparse, function.decorator_list))
    return "kernels/" in file or any(name in decorators for name in COMPILERS)


def body_lines(function):
    """How many lines stand below the docstring."""
    first, *rest = function.body
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    body = rest if is_docstring and isinstance(first.value.value, str) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def is_participle(name):
    """Whether a name is a participle and nothing else, which says neither what nor of what."""
    return re.fullmatch(r"[a-z]{2,}ed", name) is not None or name in IRREGULAR


def unused(function):
    """The parameters that the body does not read."""
    names = {n.id for statement in function.body for n in ast.walk(statement)
             if isinstance(n, ast.Name)}  # fmt: skip
    extra = [a.arg for a in (function.args.vararg, function.args.kwarg) if a is not None]
    return [name for name in (*parameters(function), *extra) if name not in names]


def glossary():
    """The words of the glossary, as the entries are headed."""
    text = (ROOT / "docs" / "glossary.md").read_text()
    block = re.search(r"```\{glossary\}\n(.*?)\n```", text, re.DOTALL)[1]
    heads = [line for line in block.split("\n") if line and not line.startswith(" ")]
    return [word.strip() for head in heads for word in head.split(",")]


SAMPLE = """
def f(self, a, /, b, *, c):
    '''Docstring.

    Lines.
    '''
    x = a

    return x, c

@njit(cache=True)
def g(): pass

def h(a, **more): return 1
"""


def test_the_measures_measure():
    f, g, h = (n for n in ast.parse(SAMPLE).body)
    assert parameters(f) == ["a", "b", "c"] and body_lines(f) == 3 and unused(f) == ["b"]
    assert unused(h) == ["a", "more"] and body_lines(g) == 1
    assert [is_compiled("a.py", each) for each in (f, g, h)] == [False, True, False]
    assert is_compiled("sparse/kernels/numba.py", f)
    participles = ["told", "mended", "spread", "shed", "seed", "need_room", "run", "ed"]
    assert [*map(is_participle, participles)] == [True] * 3 + [True] * 2 + [False] * 3


def test_no_file_is_long_but_those_that_are_named():
    lines = {p.relative_to(PACKAGE).as_posix(): len(p.read_text().splitlines())
             for p in PACKAGE.rglob("*.py")}  # fmt: skip
    assert {name for name, n in lines.items() if n > MOST_LINES} == LONG_FILES
    assert len(LONG_FILES) <= 4


def test_no_public_function_has_many_parameters():
    wide = {
        f"{file}: {f.name}": len(parameters(f))
        for file, f in functions()
        if not f.name.startswith("_") and not is_compiled(file, f)
    }
    assert {name: n for name, n in wide.items() if n > MOST_PARAMETERS} == {}


def test_an_algorithm_reads_every_parameter():
    algorithms = [(file, f) for file, f in functions() if file == f"algorithms/{f.name}.py"]
    assert algorithms
    assert {f.name: unused(f) for _, f in algorithms if unused(f)} == {}


def test_bodies_are_short():
    lines = sorted(body_lines(f) for _, f in functions())
    assert lines[int(0.9 * len(lines))] <= MOST_BODY_LINES


def test_few_functions_are_called_by_a_participle_alone():
    names = [f.name for _, f in functions()]
    participles = sorted(filter(is_participle, names))
    assert len(participles) < MOST_PARTICIPLES * len(names), participles


def test_a_word_of_the_glossary_has_one_meaning():
    words = glossary()
    assert [word for word, n in Counter(words).items() if n > 1] == []
    spelt = {word.replace(" ", "_") for word in words}
    homes = Counter(
        node.name
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).as_posix() != COMMANDS
        for node in ast.parse(path.read_text()).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in spelt
        if node.name != path.stem  # a plug-in has the name of its file
    )
    assert [name for name, n in homes.items() if n > 1] == []


def test_the_readme_fits_a_screen_or_two():
    assert (ROOT / "README.md").stat().st_size <= README_BYTES


@pytest.mark.parametrize("folder", ["benchmarks", "docs", "datasets"])
def test_no_report_has_a_date_for_a_name(folder):
    """There is one current result of each benchmark; those before are in the history."""
    names = [path.name for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert [name for name in names if re.search(r"20\d\d-\d\d-\d\d", name)] == []
