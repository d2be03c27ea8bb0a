"""The package `ogb`: neither network nor terminal, and files in its layout."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

needs_ogb = pytest.mark.skipif(find_spec("ogb") is None, reason="the extra `ogb` is not installed")

ALONE = """
import builtins, os, socket, sys, threading

def refuse(*_, **__):
    print("forbidden", flush=True)
    os._exit(9)  # also from a thread, and whatever is caught

socket.socket.connect = socket.create_connection = socket.getaddrinfo = builtins.input = refuse
sys.stdin.close()
before = threading.active_count()
{code}
assert threading.active_count() == before, threading.enumerate()
assert "outdated" not in sys.modules and "dgl" not in sys.modules
"""
EVALUATE = """
import torch
from graphlth.metrics import find_metric
from graphlth.evaluators import import_ogb, ogb_evaluator
out, target = torch.tensor([[.9], [.1], [.5], [.2]]), torch.tensor([[1.], [0], [1], [0]])
assert find_metric("hits@1").function(out, target) == 1
for kind, name, known in (("node", "ogbn-proteins", 112), ("graph", "ogbg-molhiv", 1)):
    assert ogb_evaluator(kind, name, "test").num_tasks == known
assert len(import_ogb("ogb.utils.features", "test").get_atom_feature_dims()) == 9
"""


def run_alone(code, home):
    """What a fresh process says that has neither network nor terminal nor a folder to write in."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(code=code)], stdin=subprocess.PIPE, text=True,
        capture_output=True, env={**os.environ, "HOME": str(home)}, cwd=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in home.iterdir() if path.name != ".cache"] == []
    return done.stdout


@needs_ogb
def test_the_sentinels_see_what_ogb_does_when_it_is_imported_unguarded(tmp_path):
    if find_spec("outdated") is None:
        pytest.skip("ogb has nothing to look for newer versions with")
    with pytest.raises(AssertionError, match="forbidden"):
        run_alone("import ogb, time; time.sleep(20)", tmp_path)


@needs_ogb
def test_evaluators_work_without_network_and_terminal(tmp_path):
    assert run_alone(EVALUATE, tmp_path) == ""
