import ast
import itertools
from pathlib import Path

import pytest
import torch
from toys import toy

import graphlth as glt
from graphlth.models.graph.gcn import GCN
from graphlth.streams import stream, stream_seed

PACKAGE = Path(glt.__file__).parent
FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p.parent.name != "kernels"]  # they hash keys
NAMES = [(seed, purpose, k) for seed in range(9) for purpose in ("a", "b") for k in range(9)]


def test_every_seed_purpose_and_number_has_a_stream_of_its_own():
    assert len({stream_seed(*name) for name in NAMES}) == len(NAMES)
    first = {tuple(torch.rand(4, generator=stream(*name)).tolist()) for name in NAMES}
    assert len(first) == len(NAMES)


def test_a_name_is_told_by_its_parts_and_not_by_their_text():
    assert stream_seed(0, "a b") != stream_seed(0, "a", "b")
    assert stream_seed(1, "1", 1) != stream_seed(11, "1")
    assert stream_seed(0, "a", 1) != stream_seed(0, "a", "1")


def test_a_stream_is_the_same_in_every_process():
    assert stream_seed(0, "masks", 1) == 5299849529235634964
    assert 0 <= min(stream_seed(*name) for name in NAMES) < 1 << 63


def sums_of_seeds(source):
    """Where a seed is an operand of arithmetic, as in `seed + 1`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp | ast.UnaryOp):
            operands = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.Name)]
            if {n.id for n in operands} & {"seed", "data_seed"}:
                yield ast.unparse(node)


@pytest.mark.parametrize(
    ("source", "found"),
    [("train(seed=seed + 1)", True), ("f(1000 * seed + r)", True), ("g(~seed)", True),
     ("f(seed=seed, r=r + 1)", False)],
)  # fmt: skip
def test_the_search_for_sums_of_seeds_finds_them(source, found):
    assert bool(list(sums_of_seeds(source))) is found


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.name)
def test_no_seed_is_combined_by_arithmetic(file):
    assert not list(sums_of_seeds(file.read_text(encoding="utf-8")))


def masks_of(seed):
    torch.manual_seed(0)
    task = toy()
    model = GCN(task.num_features, 6, task.num_classes)
    found = glt.at_init(
        model, task, rounds=2, edge_score="random", drop_edges=0.3, drop_weights=0, seed=seed
    )
    return [ticket.masks["edges"] for ticket in found]


def test_edges_that_one_seed_draws_first_are_none_that_another_draws_next():
    for a, b in itertools.permutations(range(4), 2):
        gone, later = masks_of(a)[1] == 0, masks_of(b)[2] == 0
        assert not (gone <= later).all()
