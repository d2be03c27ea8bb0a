"""What work costs: each number beside one worked out by hand."""

import mmap
import sys
from types import SimpleNamespace

import pytest
import torch
from test_operations import WithoutOperators
from torch import nn
from toys import build, call, toy

from graphlth.cost import meters as cost
from graphlth.cost.macs import pass_macs
from graphlth.cost.meters import Cost, measure_cost, without_counting
from graphlth.masks import ones
from graphlth.task import Batch, Task
from graphlth.training.loop import train


def seven(model, task, masks):
    """The multiply–accumulates of a pass, of whatever."""
    return 7


def training(epochs, task=None):
    task = task or toy()
    return train(build("gcn", task), task, {}, epochs=epochs)


def exhaust(iterator):
    for _ in iterator:
        pass


def spent(cost):
    return cost.epochs, cost.macs


# --- epochs and multiply–accumulates -------------------------------------------------------------


def test_an_epoch_is_three_passes_of_the_masks_that_it_saw():
    task = toy()
    model = build("gcn", task)
    half = {n: (torch.arange(m.numel()) % 2).view_as(m).float()
            for n, m in ones(model, task.num_edges).items()}  # fmt: skip
    with measure_cost(pass_macs) as cost:
        exhaust(train(model, task, half, epochs=2))
        exhaust(train(model, task, {}, epochs=1))
    a, b = pass_macs(model, task, half), pass_macs(model, task, {})
    assert 0 < a < b
    assert spent(cost) == (3, 3 * (2 * a + b))


def test_blocks_count_what_begins_in_them_and_nothing_else():
    exhaust(training(5))
    with measure_cost(seven) as outer:
        exhaust(training(1))
        with measure_cost(seven) as inner:
            exhaust(training(2))
        exhaust(training(3))
    exhaust(training(5))
    assert spent(inner) == (2, 3 * 7 * 2)
    assert spent(outer) == (6, 3 * 7 * 6)


def test_two_trainings_by_turns_are_counted_where_each_began():
    with measure_cost(seven) as first:
        a = training(3)
        next(a)
    with measure_cost(lambda *_: 2) as second:
        b = training(2)
        for _ in zip(b, a, strict=True):
            pass
    assert spent(first) == (3, 3 * 7 * 3)
    assert spent(second) == (2, 3 * 2 * 2)


def blocks(epochs, count):
    """Pauses in its block, as a run does after every epoch."""
    with measure_cost(count) as cost:
        for _ in training(epochs):
            yield cost
    yield cost


def test_a_block_that_ends_before_one_that_began_earlier_leaves_no_trace():
    a, b = blocks(2, seven), blocks(2, seven)
    next(a), next(b)  # a is round b
    [*_, first], [*_, second] = a, b
    assert (spent(first), spent(second)) == ((4, 84), (2, 42))
    exhaust(training(3))
    assert (spent(first), spent(second)) == ((4, 84), (2, 42))
    assert cost._open.get() == ()


def test_work_that_is_repeated_is_not_counted():
    with measure_cost(seven) as cost:
        with without_counting():
            exhaust(training(2))
        exhaust(training(1))
    assert spent(cost) == (1, 21)


@pytest.mark.parametrize("name", ["geb", "joint_early_bird"])
def test_a_search_that_is_done_again_to_continue_costs_no_epochs(name):
    task = toy()
    how = {"draws": 2, "epochs": 4, "pretrain": 3}
    whole = [*call(name, build("gcn", task), task, **how)]
    costs = []
    for last in whole:
        with measure_cost(seven) as cost:
            [*call(name, build("gcn", task), task, last=last, **how)]
        costs.append(cost.epochs)
    assert costs == [7 if name == "geb" else 8, 0, 0]


def test_macs_that_a_model_does_not_count_are_no_field():
    task = toy(loops=False)
    with measure_cost(pass_macs) as cost:
        exhaust(train(WithoutOperators(task), task, {}, epochs=2))
    assert spent(cost) == (2, None)
    assert "macs_search" not in cost.record_fields("search")
    with measure_cost(lambda model, *_: None if isinstance(model, nn.Linear) else 7) as mixed:
        exhaust(training(1))
        exhaust(train(nn.Linear(2, 2), Rows([3]), {}, epochs=1))
    assert mixed.macs is None  # a part is no guess at the whole


class Rows(Task):
    """A task without a graph: batches of so many rows."""

    num_edges, evaluate_every = 0, 1

    def __init__(self, sizes):
        self.sizes = sizes

    def batches(self, split, seed=0, index=0):
        for size in self.sizes:
            yield Batch((torch.ones(size, 2),), torch.zeros(size, dtype=torch.long))


def test_without_a_graph_every_row_is_a_pass():
    with measure_cost(seven) as cost:
        exhaust(train(nn.Linear(2, 2), Rows([5, 3]), {}, epochs=2))
    assert spent(cost) == (2, 3 * 7 * 2 * (5 + 3))


def test_a_batch_is_shared_evenly_but_for_its_memory():
    whole = Cost(seconds=4.0, epochs=6, macs=13, memory=100, joules=8.0)
    assert whole.divide(2) == Cost(seconds=2.0, epochs=3, macs=6, memory=100, joules=4.0)
    unknown = Cost(4.0, 6, None, None, None).divide(2)
    assert unknown == Cost(2.0, 3, None, None, None)
    assert unknown.record_fields("search") == {"seconds_search": 2.0, "epochs_search": 3}


# --- memory --------------------------------------------------------------------------------------

MIB = 1 << 20


@pytest.fixture
def resettable():
    try:
        (cost.PROCESS / "clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system does not forget a process's peak")


def held(mib):
    """Pages that are new to the process, which memory of an allocator need not be."""
    return torch.frombuffer(mmap.mmap(-1, mib * MIB), dtype=torch.uint8).fill_(1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_the_peak_of_the_block(resettable):
    with measure_cost(seven) as small:
        pass
    with measure_cost(seven) as large:
        held(256)
    with measure_cost(seven) as again:
        pass
    assert large.memory - small.memory > 200 * MIB
    assert abs(again.memory - small.memory) < 50 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_block_does_not_forget_its_peak_for_one_within(resettable):
    with measure_cost(seven) as outer:
        held(256)
        with measure_cost(seven) as inner:
            pass
    assert outer.memory - inner.memory > 200 * MIB
    with measure_cost(seven) as outer, measure_cost(seven) as inner:
        held(256)
    assert outer.memory >= inner.memory


def test_memory_that_cannot_be_read_is_no_field(monkeypatch, tmp_path):
    monkeypatch.setattr(cost, "PROCESS", tmp_path)
    with measure_cost(seven) as found:
        pass
    assert found.memory is None and "memory_search" not in found.record_fields("search")


# --- energy --------------------------------------------------------------------------------------


@pytest.fixture
def counters(monkeypatch, tmp_path):
    """Writes microjoules to the counters of a machine."""
    monkeypatch.setattr(cost, "POWERCAP", tmp_path)

    def write(**microjoules):
        for name, now in microjoules.items():
            folder = tmp_path / name.replace("_", ":").replace("rapl", "intel-rapl")
            folder.mkdir(exist_ok=True)
            (folder / "max_energy_range_uj").write_text("1000000\n")
            (folder / "energy_uj").write_text(f"{now}\n")

    return SimpleNamespace(write=write, folder=tmp_path)


def test_energy_is_what_the_processors_have_counted(counters):
    counters.write(rapl_0=100_000, rapl_1=900_000, rapl_0_0=0)
    with measure_cost(seven) as found:
        counters.write(rapl_0=350_000, rapl_1=150_000, rapl_0_0=999)  # the second has begun anew
    assert found.joules == pytest.approx(0.25 + 0.25)  # a part of a processor is not added
    assert found.record_fields("retrain")["joules_retrain"] == found.joules


def test_a_counter_that_cannot_be_read_is_left_out(counters):
    counters.write(rapl_0=100_000, rapl_1=0)
    (counters.folder / "intel-rapl:1" / "energy_uj").unlink()  # as without the right to read it
    with measure_cost(seven) as found:
        counters.write(rapl_0=200_000)
    assert found.joules == pytest.approx(0.1)


def test_without_counters_there_is_no_energy(counters):
    with measure_cost(seven) as found:
        pass
    assert found.joules is None and "joules_search" not in found.record_fields("search")
