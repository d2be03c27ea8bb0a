"""One thread, no window, no deadlines; and the folder of the real data, where there is one."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch loads, so before it
os.environ["MPLBACKEND"] = "Agg"  # subprocesses inherit it
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and tables fit it

import pytest
import torch

if not torch.cuda.is_available():  # Triton's kernels run in its interpreter; read when it loads
    os.environ.setdefault("TRITON_INTERPRET", "1")

from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile(
    "graphlth",
    deadline=None,
    derandomize="CI" in os.environ,  # a change is judged on the same examples every time
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("graphlth")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that `GRAPHLTH_DATA_ROOT` names; without it the test is skipped."""
    root = os.environ.get("GRAPHLTH_DATA_ROOT")
    if not root:
        pytest.skip("GRAPHLTH_DATA_ROOT is not set: it names the folder of the real data")
    return Path(root)


@pytest.fixture
def double_precision():
    """float64: what should be equal is equal to ten digits, also after steps of Adam on any CPU.

    In float32 a gradient near 0 is all rounding, and Adam makes a whole step of it.
    """
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
