"""Compiled loops: vectors, memory, threads, and what is kept on disk."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from numba import njit
from numba.core.caching import IndexDataCacheFile

from graphlth.sparse.graph import Graph
from graphlth.sparse.kernels import _vector
from graphlth.sparse.kernels._arithmetic import exp
from graphlth.sparse.kernels._compiled import Files
from graphlth.sparse.kernels._memory import LINE, PACKED, cache_size, new_empty
from graphlth.sparse.kernels._sums import sum_entries
from graphlth.sparse.kernels._threads import run_together
from graphlth.sparse.kernels._vector import load, store
from graphlth.sparse.message import weighted_sum
from graphlth.sparse.pattern import SparsityPattern

packs = pytest.mark.skipif(not PACKED, reason="the processor cannot move lanes together")


@pytest.mark.parametrize(("dtype", "low"), [(np.float32, -87), (np.float64, -708)])
def test_an_exponential_is_exact_to_the_last_digit(dtype, low):
    @njit
    def exponentials(x, out):
        for i in range(0, x.size, 8):
            store(out, i, 8, exp(load(x, i, 8, 8)))

    x = np.concatenate([np.linspace(low, 80, 40_000), [0, 1, low - 1, -np.inf, np.nan, 0, 0, 0]])
    x = x.astype(dtype)
    out, expected = np.empty_like(x), np.exp(x.astype(np.longdouble))
    exponentials(x, out)
    assert (abs(out - expected)[:-6] < np.spacing(expected[:-6].astype(dtype))).all()
    assert out[-8:].tolist() == [1, dtype(np.e), 0, 0, pytest.approx(np.nan, nan_ok=True), 1, 1, 1]


@pytest.mark.parametrize("some", [False, True])
def test_rows_may_lie_anywhere_in_memory(some):
    draw = torch.Generator().manual_seed(0)
    graph, weight = Graph(torch.randint(9, (2, 60), generator=draw), 9), torch.ones(60)
    whole = torch.randn(40, 40, generator=draw)
    for x in (whole[:9, 3:20], whole.t()[:9, :17], whole[:1, :17].expand(9, 17), whole[:18:2, :17]):
        assert not x.is_contiguous()
        expected = weighted_sum(graph, x, weight, backend="reference")
        found = weighted_sum(graph, x, weight, backend="numba")
        if some:
            whole_matrix = SparsityPattern(torch.arange(9 * 17), torch.Size([9, 17]))
            found = sum_entries(graph.by_target, x, weight, whole_matrix).view(9, 17)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("text, size", [("2048K\n", 1 << 21), ("many\n", 0), (None, 0)])
def test_the_size_of_a_cache_is_what_linux_tells_or_unknown(text, size, tmp_path):
    if text is not None:
        (tmp_path / "size").write_text(text)
    assert cache_size(str(tmp_path / "size")) == size


def test_parts_run_at_once_the_first_of_them_on_the_thread_that_asks():
    met, ran = threading.Barrier(3), []

    def part():
        met.wait(timeout=60)
        ran.append(threading.get_ident())

    run_together([part] * 3)
    assert len(set(ran)) == 3 and threading.get_ident() in ran


def test_a_part_that_fails_says_so_once_the_others_are_done():
    done = []

    def fails():
        raise ZeroDivisionError

    for parts in ([fails, lambda: done.append(1)], [lambda: done.append(1), fails]):
        with pytest.raises(ZeroDivisionError):
            run_together(parts)
    assert done == [1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_forked_process_has_threads_of_its_own():
    script = """
import os, signal
from graphlth.sparse.kernels._threads import run_together
run_together([int] * 3)
child = os.fork()
if not child:
    signal.alarm(30)
    run_together([int] * 3)
    os._exit(0)
raise SystemExit(os.waitpid(child, 0)[1])
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize("shape", [(3, 5), (1 << 10, 1 << 10), (0, 7), (1 << 21,)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16])
def test_fresh_memory_starts_at_a_cache_line_and_is_a_matrix_like_any_other(kind, shape):
    made = new_empty(torch.empty(0, dtype=kind), *shape)
    assert (made.shape, made.dtype, made.is_contiguous()) == (shape, kind, True)
    assert made.data_ptr() % LINE == 0 or not made.numel()
    assert made.fill_(2).sum() == 2 * made.numel() or kind is torch.float16


COMPILED = """
import torch
from graphlth.sparse.graph import Graph
from graphlth.models.graph._gcn_layers import relu_product
from graphlth.sparse.message import attention, weighted_sum
from graphlth.sparse.products import product
graph = Graph(torch.tensor([[0, 1, 2], [1, 2, 0]]), 3)
x, scores, weight = torch.ones(3, 2, 9), torch.ones(3, 2), torch.ones(3)
x = x.requires_grad_()
attention(graph, x, scores, scores, weight).sum().backward()
x = torch.ones(3, 9, requires_grad=True)
weighted_sum(graph, x, weight.requires_grad_()).sum().backward()
product(x, torch.ones(9, 3, requires_grad=True)).sum().backward()
with torch.no_grad():
    relu_product(graph, x, weight, torch.ones(9, 3))
"""


@pytest.mark.slow
def test_another_process_finds_what_was_compiled(tmp_path):
    """Numba tells compiled functions apart by what they hold; a function in them differs."""
    kept = []
    for _ in range(2):
        env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", COMPILED], env=env, check=True)
        kept.append(set(tmp_path.rglob("*.nbc")))
    assert len(kept[0]) > 10
    assert kept[0] == kept[1]


def test_processes_that_compile_at_once_find_each_its_own(tmp_path, monkeypatch):
    met, write = threading.Barrier(2), IndexDataCacheFile._open_for_write

    def at_once(self, path):
        met.wait(timeout=60)
        return write(self, path)

    monkeypatch.setattr(IndexDataCacheFile, "_open_for_write", at_once)
    first, second = (Files(str(tmp_path), "sum", "stamp") for _ in range(2))
    run_together([lambda: first.save("int", 1), lambda: second.save("float", 2)])
    assert (first.load("int"), second.load("float")) == (1, 2)
    assert Files(str(tmp_path), "sum", "later").load("int") is None


def test_what_is_compiled_lasts_until_a_file_of_which_it_holds_parts_changes(tmp_path, monkeypatch):
    files = Files(str(tmp_path), "sum", "stamp")
    files.save("int", 1)
    files.save("float", 2)
    assert files.load("int") == 1
    monkeypatch.setattr("graphlth.sparse.kernels._compiled.STATE", "another")
    assert files.load("int") is None
    files.save("int", 3)
    assert files.load("int") == 3 and len([*tmp_path.iterdir()]) == 1, "the others are gone"


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("lanes", [8, 16, 32, 64])
@pytest.mark.parametrize("way", ["each", pytest.param("packed", marks=packs)])
def test_lanes_are_picked_by_bits_on_any_processor(way, lanes, dtype):
    pick = getattr(_vector, f"pick_{way}")

    @njit
    def picked(x, bits, out, at, near):
        pick(load(x, 3, lanes, lanes), bits, out, at, near)

    draw = np.random.default_rng(lanes)
    x, near = draw.random(lanes + 3).astype(dtype), np.empty(lanes, dtype)
    for share in (0.0, 0.2, 0.7, 1.0):
        chosen = draw.random(lanes) < share
        bits = np.uint64(sum(1 << int(i) for i in np.flatnonzero(chosen)))
        out = np.full(lanes + 4, -1, dtype)
        picked(x, bits, out, 2, near)
        end = 2 + chosen.sum()
        assert np.array_equal(out[2:end], x[3:][chosen])
        assert (out[:2] == -1).all() and (out[end:] == -1).all()
