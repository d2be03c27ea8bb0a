"""The cost of work: seconds, epochs, multiply–accumulates, peak memory and, if known, energy.

A training counts its epochs in every `measure_cost` block that it runs in, so no counter is passed
through an algorithm. What this machine does not report is None, never a guess.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

TRAINING = 3  # passes' worth of an epoch: forward, and in backward a product for either factor
POWERCAP = Path("/sys/class/powercap")  # Linux: the counters of Intel's and AMD's processors
PROCESS = Path("/proc/self")  # Linux

Count = Callable[[Any, Any, Any], int | None]  # MACs of a forward pass of (model, task, masks)


@dataclass
class Cost:
    """What was spent between two moments."""

    seconds: float = 0.0
    epochs: int = 0
    macs: int | None = 0  # of training; evaluation is not counted
    memory: int | None = None  # bytes: the most that the process, or the GPU, has held
    joules: float | None = None  # of the whole machine's processors, and of the GPU

    def divide(self, count: int) -> "Cost":
        """The share of each of `count` that were trained together; memory is not divided."""
        each = {n: v / count for n in ("seconds", "joules") if (v := getattr(self, n)) is not None}
        macs = None if self.macs is None else self.macs // count
        return replace(self, epochs=self.epochs // count, macs=macs, **each)

    def record_fields(self, phase: str) -> dict[str, float]:
        """The fields of a record for `phase`; what is unknown is left out."""
        return {f"{n}_{phase}": v for n, v in vars(self).items() if v is not None}


_open: ContextVar[tuple[tuple[Cost, Count], ...]] = ContextVar("open", default=())


@contextmanager
def measure_cost(count: Count, device: torch.device | str = "cpu") -> Iterator[Cost]:
    """A context whose value is the cost of its block, complete at its end; blocks may be nested.

    Args:
        count: the multiply–accumulates of a forward pass, asked once per training.
        device: whose memory and energy.
    """
    cost, device = Cost(), torch.device(device)
    _record_peak(device)  # of the blocks round this one
    _open.set((*_open.get(), (cost, count)))
    _reset_peak(device)
    energy, start = _energy(device), time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        cost.joules = _energy_between(energy, _energy(device))
        _record_peak(device)
        _open.set(tuple(each for each in _open.get() if each[0] is not cost))


@contextmanager
def without_counting(repeated: bool = True) -> Iterator[None]:
    """A context in whose block trainings are not counted, if they repeat what has been counted."""
    token = _open.set(() if repeated else _open.get())
    try:
        yield
    finally:
        _open.reset(token)


def epoch_counter(model: Any, task: Any, masks: Any) -> Callable[[int], None]:
    """A function to be called after each epoch of a training, with its number of forward passes."""
    costs = [(cost, count(model, task, masks)) for cost, count in _open.get()]

    def count_epoch(passes: int) -> None:
        for cost, macs in costs:
            cost.epochs += 1
            known = cost.macs is not None and macs is not None
            cost.macs = cost.macs + TRAINING * passes * macs if known else None  # type: ignore[operator]

    return count_epoch


# --- memory --------------------------------------------------------------------------------------


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            (PROCESS / "clear_refs").write_text("5")  # resets VmHWM


def _record_peak(device: torch.device) -> None:
    """Record in every open block the peak since the last reset."""
    if (peak := _peak(device)) is not None:
        for cost, _ in _open.get():
            cost.memory = max(cost.memory or 0, peak)


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, ValueError, IndexError):
        lines = (PROCESS / "status").read_text().splitlines()
        return 1024 * int(next(n for n in lines if n.startswith("VmHWM:")).split()[1])
    return None


# --- energy --------------------------------------------------------------------------------------

Counter = tuple[float, float]  # joules so far, and at how many it starts anew


def _energy(device: torch.device) -> dict[str, Counter]:
    """The energy counters that can be read here: one per processor, one for the GPU."""
    counters: dict[str, Counter] = {}
    for package in sorted(POWERCAP.glob("intel-rapl:*")):
        if package.name.count(":") == 1:  # its parts (cores, memory) are in it
            with suppress(OSError, ValueError):
                now, most = (
                    float((package / n).read_text()) / 1e6
                    for n in ("energy_uj", "max_energy_range_uj")
                )
                counters[package.name] = now, most
    if device.type == "cuda":
        with suppress(ImportError):  # NVIDIA's own binding, which is optional
            import pynvml

            with suppress(pynvml.NVMLError):
                pynvml.nvmlInit()
                uuid = torch.cuda.get_device_properties(device).uuid
                handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
                used = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
                counters["gpu"] = used, float("inf")
    return counters


def _energy_between(before: dict[str, Counter], after: dict[str, Counter]) -> float | None:
    both = before.keys() & after.keys()
    return sum((after[n][0] - before[n][0]) % after[n][1] for n in both) if both else None
