"""Bad calls of every kind, hostile ones too: one line, code 2, little memory, nothing touched."""

import io
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from graphlth.cli import main as cli

ROOT = Path(__file__).parents[1]
MEMORY, TIME = 1 << 30, 60  # bytes and seconds that a call may take


def words(text):
    return text.split()


KARATE = words("run ugs --task karate --model gcn --out out --epochs 2 --rounds 1 --hidden 4")
IMAGES = words("run imp --task digits_images --model mlp --out out")
SBM = words("run ugs --task sbm --model gcn --out out")
DIGITS = words("run ugs --task digits --model gcn --out out")
DRAWN = words("run joint_early_bird --task karate --model gcn --out out")
TICKET = "run/seed0-round1.safetensors"
LONG, ESCAPE = "a" * 5000, "\x1b[31mred"


def setting(base, name, *values):
    """The calls that give a setting each of some values, which the line names."""
    return [([*base, f"--{name}={value}"], f"`{name.replace('-', '_')}` must") for value in values]


NUMBERS = [
    *setting(KARATE, "rounds", "1:30", "0x10", "1_000", "010", "1e2", "5.0", "", " ", "[1]",
             "{a: 1}", "&a 1", "*a", "!!int 3", "!!python/name:os.system", "true", "null",
             "10001", "9" * 400, "-0x1", "1 2", "NaN", ".inf", "٣٣٣x"),
    *setting(KARATE, "lr", "1:30.5", "0x1p-3", "1_0.0", "", "[0.1]", "true", "-1", "0", "-0.0",
             "nan", ".nan", "inf", "-inf", ".inf", "1e999", "null", "{}", "1e-400"),
    *setting(KARATE, "epochs", "-1", "1000001", "99999999999999999999"),
    *setting(KARATE, "hidden", "65537", "-4", "4.5"),
    *setting(KARATE, "layers", "0", "1025"),
    *setting(KARATE, "drop-edges", "nan", "1", "-0.5", "1e300"),
    *setting(KARATE, "dropout", "nan", "1.0000001", "-1e-9"),
    *setting(KARATE, "weight-decay", "nan", "-1", "inf"),
    *setting(KARATE, "mask-noise", "1", "nan"),
    *setting(KARATE, "l1-edges", "-1e-9", "nan"),
    *setting(KARATE, "threads", "1025", "-1", "two"),
    *setting(KARATE, "jobs", "1025", "-1"),
    *setting(KARATE, "batch", "10001", "-1"),
    *setting(KARATE, "seeds", "10001", "1:30", "0x1", "-3", "1e9", "", "5-1", "0-99999999999"),
    *setting(DRAWN, "draws", "10001", "-1"),
    *setting(DRAWN, "window", "10001", "1.5"),
    *setting(DRAWN, "epsilon", "nan", "-1"),
    *setting(DRAWN, "admm-steps", "0", "1000001"),
    *setting(DRAWN, "lr-edges", "nan", "0"),
    *setting(DRAWN, "rho", "nan", "-1"),
    *setting(IMAGES, "batch-size", "1000001", "1.5"),
    *setting(IMAGES, "evaluate-every", "1000001"),
    *setting(IMAGES, "iterations", "1000000001"),
    *setting(IMAGES, "rewind-to", "1000000001"),
    *setting(IMAGES, "warmup", "1000000001"),
    *setting(IMAGES, "momentum", "nan"),
    *setting(IMAGES, "drop-convs", "nan", "1:30", "[0.5, &a [*a]]"),
    *setting(IMAGES, "data-seed", "-1", "4294967296"),
    *setting(SBM, "size", "10001", "2"),
    *setting(SBM, "classes", "0", "10001"),
    *setting(SBM, "num-features", "0", "1000001"),
    *setting(SBM, "inside", "nan", "1.5"),
    *setting(SBM, "noise", "nan", "inf"),
    ([*SBM, "--size=10000", "--classes=10000"], "`size` times `classes` must be at most"),
    *setting(DIGITS, "neighbors", "0", "10000"),
    *setting(words("run imp --task text --model transformer --out out"), "context", "0", "8193"),
    *setting(words("run imp --task text --model transformer --out out"), "heads", "1025"),
    *setting(words("run edge_popup --task karate --model gcn --out out"), "lr-scores", "nan", "-1"),
    *setting(words("run geb --task karate --model gcn --out out"), "pretrain", "-1", "1000001"),
    ([*KARATE, "--hidden=65536", "--layers=1024"], "`model` must have at most 268,435,456 weights"),
    *setting(words("analyze instability run --out measures"), "points", "10001", "1:30"),
    *setting(words("analyze instability run --out measures"), "pairs", "10001"),
    *setting(words("analyze instability run --out measures"), "jobs", "1025"),
    *setting(["export", TICKET, "--out=a"], "epochs", "1000001", "1:30"),
    *setting(["export", TICKET, "--out=a"], "threads", "1025", "nan"),
    *setting(["bench", TICKET], "repeats", "1000001", "1e3"),
    *setting(["bench", TICKET], "batch", "10001"),
    *setting(["bench", TICKET], "threads", "1025"),
    *setting(words("plot inference run --out a.png"), "floor", "nan", "1"),
]  # fmt: skip
NAMES = [
    *((["run", name, *KARATE[2:]], "`algorithm` must be one of")
      for name in ("_draw", "__init__", "UGS", "ugs.py", "../algorithms/ugs", "/ugs", "os", LONG,
                   "ugs\n", ESCAPE, "\udcff", "ｕｇｓ")),
    *setting(KARATE, "task", "", "_files", "karate ", "KARATE", "tasks.karate", ESCAPE, "\udcff",
             LONG),
    *setting(KARATE, "model", "", "_conv", "gcn/..", ESCAPE, "gcn;ls"),
    *setting(KARATE, "scope", "", "Global", "layer ", ESCAPE),
    *setting(KARATE, "backend", "../numba", ESCAPE),
    *(([*KARATE, f"--device={device}"], "`device` '.*' cannot be used: .*; there are cpu")
      for device in ("", "cuda:-1", "cuda:99999999999999999999", "cpu:x", "nonsense", ESCAPE)),
    (["plot", "_style", "run", "--out=a.png"], "`figure` must be one of"),
    (["plot", ESCAPE, "run", "--out=a.png"], "`figure` must be one of"),
    (["analyze", "../instability", "run", "--out=b"], "`measure` must be one of"),
    (["list", "__pycache__"], "`kind` must be one of"),
    ([ESCAPE], "`command` must be one of"),
    (["run\n"], "`command` must be one of"),
    ([""], "`command` must be one of"),
    ([*KARATE, f"--{ESCAPE}=3"], "is no setting here"),
    ([*KARATE, "--=3"], "is no setting here"),
    ([*KARATE, "--print_config"], "is no setting here"),
    ([*KARATE, "--settings={}"], "is no setting here"),
    ([*KARATE, "--watch=os.system"], "is no setting here"),
]  # fmt: skip
TOO_LONG = "n" * 300
PATHS = [
    *((["export", TICKET, f"--out={out}", "--epochs=1"], "`out` must not be a file of a run")
      for out in ("run/seed0.jsonl", "run/settings.json", "run/seed0-round0.safetensors", TICKET,
                  "run/seed0.lock", "run/seed9.jsonl", "run/seed9-round3.safetensors",
                  "./run/../run/seed0.jsonl", "run//settings.json", "link.bin",
                  "linked/seed0.jsonl", "other/seed0.jsonl")),
    (["export", "copy.safetensors", "--out=copy.safetensors"], "`out` must not be what is read"),
    (["export", "copy.safetensors", "--out=hard"], "`out` must not be what is read"),
    (["export", "copy.safetensors", "--out=soft"], "`out` must not be what is read"),
    (["export", TICKET, "--out=hard-record"], "`out` must not be what is read"),
    (["export", TICKET, "--out=a", "--layout=x"], "`layout` must"),
    (["export", TICKET, "--out=a.pt2", "--layout=blocks"], "`layout` must be auto or dense"),
    (["export", TICKET, f"--out={TOO_LONG}"], "`out` cannot be written: File name too long"),
    (["export", TICKET, "--out=loop"], "`out` cannot be written: "),
    (["export", TICKET, "--out=a\0b"], "`out` cannot be written: embedded null"),
    (["export", TICKET, "--out="], "`out` must be a file in a folder"),
    (["export", TICKET, "--out=/dev/null"], "`out` must be a file in a folder"),
    (["export", TICKET, "--out=nowhere/a"], "`out` must be a file in a folder"),
    (["plot", "sparsity", "run", "--out=record.png"], "`out` must not be a file of a run"),
    (["plot", "sparsity", "run", "--out=hard.png"], "`out` must not be what is read"),
    (["plot", "sparsity", "run", f"--out={TOO_LONG}.png"], "`out` cannot be written: "),
    (["plot", "sparsity", "run", "--out=a\0.png"], "`out` cannot be written: "),
    (["plot", "sparsity", "missing", "--out=a.png"], "no folder `missing`"),
    (["analyze", "instability", "missing", "--out=b"], "`run` must be a folder"),
    (words("analyze instability run missing --out=b"), "`run` must be a folder"),
    (["analyze", "instability", "empty", "--out=b"], "`run` must be a run folder or hold some"),
    (["analyze", "instability", "run", "--out=file"], "cannot write `out`"),
    ([*KARATE, "--out=file"], "cannot write `out`"),
    ([*KARATE, f"--out={TOO_LONG}"], "`out` cannot be written: File name too long"),
    ([*KARATE, "--out=a\0b"], "`out` cannot be written"),
    (["show", TOO_LONG], "File name too long"),
    (["show", "a\0b"], "."),
    (["show", "loop"], "."),
    (["verify", "missing"], "missing"),
    (["bench", "."], r"no ticket at \."),
    (["bench", f"{TOO_LONG}"], "."),
    ([*KARATE, f"--task={ESCAPE}.npz"], "`path` must be a file"),
    ([*KARATE, "--task=loop.npz"], "`path` must be a file"),
    ([*KARATE, "--task=folder.npz"], "`path` must be a file"),
    ([*KARATE, f"--config={TOO_LONG}.toml"], "."),
    ([*KARATE, "--config=loop.toml"], "`config` must be a file"),
    ([*KARATE, "--config=folder.toml"], "`config` must be a file"),
    ([*KARATE, "--config=/dev/zero"], "`config` must end in"),
    ([*KARATE, "--config="], "`config` must end in"),
    ([*KARATE, "--config=fine.toml", "--config=fine.toml"], "`config` must be given once"),
]  # fmt: skip
BARE = words("run ugs --task karate --model gcn --out out")
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
SINGLE = "must be a single value"
TEXTS = {  # files of settings: what is in them, and what is said
    "bomb.yaml": (BOMB, "line 1: anchors and aliases are not taken"),
    "alias.yaml": ("rounds: *a\n", "line 1: anchors and aliases are not taken"),
    "anchor.yaml": ("rounds: &a 1\n", "line 1: anchors and aliases are not taken"),
    "tag.yaml": ("rounds: !!python/object/apply:os.mkdir [ran]\n", "line 1: tags are not taken"),
    "name.yaml": ("rounds: !!python/name:os.system\n", "line 1: tags are not taken"),
    "local.yaml": ("rounds: !secret 3\n", "line 1: tags are not taken"),
    "typed.yaml": ("rounds: !!int 3\n", "line 1: tags are not taken"),
    "merge.yaml": ("<<: {rounds: 1}\n", "'<<' in `config` 'merge.yaml' must be the name of"),
    "twice.yaml": ("rounds: 1\nrounds: 2\n", "line 2: 'rounds' is set twice"),
    "spelt.yaml": ("drop-edges: 0.1\ndrop_edges: 0.2\n", "`drop_edges` must be set once"),
    "deep.yaml": ("rounds: " + "[" * 9000 + "\n", "line 1: it is nested too deeply"),
    "wide.yaml": ("rounds: {a: {b: {c: {d: {e: {f: {g: {h: 1}}}}}}}}\n", "nested too deeply"),
    "documents.yaml": ("rounds: 1\n---\nrounds: 2\n", "is not YAML: line 2"),
    "directive.yaml": ("%YAML 9.9\n---\nrounds: 1\n", "is not YAML: line 1"),
    "empty.yaml": ("", "`config` must hold names and values"),
    "scalar.yaml": ("rounds\n", "`config` must hold names and values"),
    "numbered.yaml": ("1: 2\n", "'1' in `config` 'numbered.yaml' must be the name"),
    "keyed.yaml": ("? [a]\n: 1\n", "line 1: a name must be a text"),
    "spaced.yaml": ("'rounds=3 --hidden': 1\n", "must be the name of a setting"),
    "nan.yaml": ("lr: .nan\n", f"`lr` in `config` 'nan.yaml' {SINGLE}, .*, got nan"),
    "inf.yaml": ("lr: .inf\n", f"`lr` in `config` 'inf.yaml' {SINGLE}, .*, got inf"),
    "sixty.yaml": ("rounds: 1:30\n", "type int, got '1:30'; it is set in `config` 'sixty.yaml'"),
    "hex.yaml": ("rounds: 0x10\n", "type int, got '0x10'; it is set in `config` 'hex.yaml'"),
    "octal.yaml": ("rounds: 010\n", "type int, got '010'; it is set in `config` 'octal.yaml'"),
    "score.yaml": ("rounds: 1_000\n", "type int, got '1_000'; it is set in `config`"),
    "no.yaml": ("normalize: no\ntask: cora\n", "type bool, got 'no'; it is set in `config` 'no.y"),
    "on.yaml": ("graphs: on\n", "`graphs` must be of type bool, got 'on'; it is set in"),
    "date.yaml": ("rounds: 2026-01-01\n", "type int, got '2026-01-01'; it is set in"),
    "list.yaml": ("rounds: [1, 2]\n", r"type int, got '\[1, 2\]'; it is set in `config` 'list.ya"),
    "mixed.yaml": ("seeds: [1, a]\n", f"`seeds` in `config` 'mixed.yaml' {SINGLE}, .* such a list"),
    "none.yaml": ("seeds: []\n", f"`seeds` in `config` 'none.yaml' {SINGLE}, .*, got such a list"),
    "negative.yaml": ("seeds: [-1]\n", "`seeds` must be .*; it is set in `config` 'negative.yaml'"),
    "same.yaml": ("seeds: [1, 1]\n", "`seeds` must name each seed once, .* 'same.yaml'"),
    "table.yaml": ("rounds: {a: 1}\n", f"`rounds` in `config` 'table.yaml' {SINGLE}, .* a table"),
    "null.yaml": ("rounds:\n", "`rounds` must be of type int, got 'null'; it is set in"),
    "range.yaml": ("rounds: 10001\n", r"in \[0, 10000\], got 10001; it is set in `config` 'range"),
    "digits.yaml": (f"rounds: {'9' * 5000}\n", "is not YAML: .*5000 digits"),
    "large.yaml": ("# " + "x" * 70_000, "`config` must have at most 65,536 bytes"),
    "control.yaml": ("scope: '\x1b[31m'\n", "is not YAML: unacceptable character #x001b"),
    "steer.yaml": (
        'scope: "\\x1b[31m"\n',
        r"`scope` must be one of .*, got '\\x1b\[31m'; it is set",
    ),
    "unknown.yaml": ("rouns: 3\n", "`rouns` is no setting here; .*; it is set in `config` 'unkn"),
    "itself.yaml": ("config: itself.yaml\n", "`config` must not be set in a `config` file"),
    "help.yaml": ("help: 1\n", "`help` must not be set in a `config` file"),
    "itself.toml": ("config = 'itself.toml'\n", "`config` must not be set in a `config` file"),
    "twice.toml": ("rounds = 1\nrounds = 2\n", "is not TOML: Cannot overwrite a value"),
    "deep.toml": ("rounds = " + "[" * 9000 + "\n", "is nested too deeply"),
    "dotted.toml": ("a" + ".a" * 9000 + " = 1\n", f"`a` in `config` 'dotted.toml' {SINGLE}|deeply"),
    "table.toml": ("[rounds]\nfirst = 1\n", f"`rounds` in `config` 'table.toml' {SINGLE}"),
    "tables.toml": ("[[rounds]]\nfirst = 1\n", f"`rounds` in `config` 'tables.toml' {SINGLE}"),
    "list.toml": ("seeds = [1, 'a']\n", f"`seeds` in `config` 'list.toml' {SINGLE}"),
    "seeds.toml": (
        "seeds = [1, 2.5]\n",
        r"`seeds` must be .*1, 2\.5.*; it is set in `config` 'seeds",
    ),
    "date.toml": ("rounds = 2026-01-01\n", "the date or time 2026-01-01: put quotes around it"),
    "time.toml": ("rounds = 01:30:00\n", "the date or time 01:30:00: put quotes around it"),
    "nan.toml": ("lr = nan\n", f"`lr` in `config` 'nan.toml' {SINGLE}, .*, got nan"),
    "inf.toml": ("lr = -inf\n", f"`lr` in `config` 'inf.toml' {SINGLE}, .*, got -inf"),
    "digits.toml": (f"rounds = {'9' * 5000}\n", "is not TOML: .*5000 digits"),
    "float.toml": ("rounds = 2.0\n", r"type int, got '2\.0'; it is set in `config` 'float.toml'"),
    "true.toml": ("rounds = true\n", "type int, got 'true'; it is set in `config` 'true.toml'"),
    "text.toml": ("rounds = 'many'\n", "type int, got 'many'; it is set in `config` 'text.toml'"),
    "json.toml": ("rounds = '[1, {}]'\n", "type int, got .*; it is set in `config` 'json.toml'"),
    "large.toml": ("# " + "x" * 70_000, "`config` must have at most 65,536 bytes"),
    "broken.toml": ("rounds = \n", "`config` 'broken.toml' is not TOML"),
    "spelt.toml": ("drop-edges = 0.1\ndrop_edges = 0.2\n", "`drop_edges` must be set once"),
    "unknown.toml": ("heads = 3\n", "`heads` is no setting here; .*; it is set in `config`"),
    "algorithm.toml": ("algorithm = 3\n", "`algorithm` must be one of"),
    "task.toml": ("task = 'nowhere'\n", "`task` must be one of .*; it is set in `config` 'task"),
}
LACKING = {  # what a call leaves to the file
    "algorithm.toml": "run --task karate --model gcn", "task.toml": "run ugs --model gcn",
    "no.yaml": "run ugs --model gcn",
}  # fmt: skip
CONFIGS = [
    ([*(LACKING[name].split() if name in LACKING else BARE), f"--config={name}"], says)
    for name, (_, says) in TEXTS.items()
]
ENCODINGS = [
    ([*BARE, "--config=utf16.toml"], "`config` 'utf16.toml' is not text in UTF-8"),
    ([*BARE, "--config=utf16.yaml"], "`config` 'utf16.yaml' is not text in UTF-8"),
    ([*BARE, "--config=latin.toml"], "`config` 'latin.toml' is not text in UTF-8"),
    ([*BARE, "--config=utf32.yaml"], "`config` 'utf32.yaml' is not text in UTF-8"),
    ([*BARE, "--config=nul.toml"], "`config` 'nul.toml' is not TOML"),
    ([*BARE, "--config=surrogate.yaml"], "`config` 'surrogate.yaml' is not text in UTF-8"),
    (words("run imp --task text --model transformer --path latin.toml --out out"), "must be UTF-8"),
    (["show", "records/utf16"], "not a line of JSON|UTF-8"),
    (["show", "records/latin"], "not a line of JSON|UTF-8"),
    (["analyze", "instability", "records/settings", "--out=b"], "settings.json"),
]  # fmt: skip
FILES = [
    (["show", "records/deep"], "line 1"),
    (["show", "records/digits"], "line 1"),
    (["show", "records/list"], "line 1"),
    (["show", "records/nan"], "line 1"),
    (["show", "records/huge"], "line 1"),
    (["plot", "sparsity", "records/steer", "--out=a.png"], "line 1"),
    (["analyze", "instability", "records/nested", "--out=b"], "settings.json"),
    (["show", "header.safetensors"], "is not a whole graphlth ticket"),
    (["show", "json.safetensors"], "is not a whole graphlth ticket"),
    (["show", "none.safetensors"], "is not a whole graphlth ticket"),
    (["show", "shape.safetensors"], "is not a whole graphlth ticket"),
    (["bench", "header.safetensors"], "is not a whole graphlth ticket"),
    (["export", "json.safetensors", "--out=a"], "is not a whole graphlth ticket"),
    ([*KARATE, "--task=claim.npz"], "claim.npz"),
    ([*KARATE, "--task=bomb.npz"], "bomb.npz"),
    ([*KARATE, "--task=negative.npz"], "negative.npz"),
    ([*KARATE, "--task=object.npz"], "object.npz"),
    ([*KARATE, "--task=classes.npz"], "y"),
    ([*KARATE, "--task=nodes.npz"], "edge_index"),
    ([*KARATE, "--task=text.npz"], "text.npz"),
    ([*KARATE, "--task=zip.pt"], "zip.pt"),
    ([*KARATE, "--task=pickle.pt"], "pickle.pt"),
]
CALLS = {
    "numbers": NUMBERS, "names": NAMES, "paths": PATHS, "encodings": ENCODINGS,
    "configs": CONFIGS, "hostile files": FILES,
}  # fmt: skip
ALL = [(kind, argv, says) for kind, calls in CALLS.items() for argv, says in calls]


# --- the inputs ----------------------------------------------------------------------------------


def graph(**changes):
    ring = np.arange(12)
    part = ring // 2 % 3
    return {
        "x": np.eye(12, dtype=np.float32), "y": ring % 2,
        "edge_index": np.stack([ring, (ring + 1) % 12]),
        "train_mask": part == 0, "val_mask": part == 1, "test_mask": part == 2,
    } | changes  # fmt: skip


def claiming(path, shape, content=b"", kind="<f4"):
    """A file of arrays whose `x` says that it has some shape."""
    about = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    about += b" " * (63 - (len(about) + 10) % 64) + b"\n"
    np.savez(path, **{n: v for n, v in graph().items() if n != "x"})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        header = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(about)) + about
        archive.writestr("x.npy", header + content)


def prepare(place):
    """A folder of inputs, good and bad, with a short run in it; the working folder from now on."""
    os.chdir(place)
    assert cli.main(KARATE) == 0
    (run,) = Path("out").iterdir()
    run.rename("run")
    Path("out").rmdir()
    for name, (text, _) in TEXTS.items():
        Path(name).write_bytes(text.encode())
    Path("fine.toml").write_text("rounds = 1\n")
    plain = "scope = 'global'\n"
    for name, content in {
        "utf16.toml": plain.encode("utf-16"), "utf16.yaml": "scope: global".encode("utf-16"),
        "utf32.yaml": "scope: global".encode("utf-32"), "latin.toml": "# \xe9".encode("latin-1"),
        "nul.toml": b"rounds = 1\0\n", "surrogate.yaml": b"scope: \xed\xa0\x80\n",
        "text.npz": b"no archive", "pickle.pt": b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00lsR.",
        "file": b"a file",
    }.items():  # fmt: skip
        Path(name).write_bytes(content)
    lines = Path("run/seed0.jsonl").read_bytes()
    first = json.loads(lines.splitlines()[0])
    for name, content in {
        "utf16": lines.decode().encode("utf-16"), "latin": b"\xff" + lines,
        "deep": b"[" * 50_000 + b"]" * 50_000 + b"\n",
        "digits": b'{"seed": ' + b"9" * 5000 + b"}\n", "list": b"[1, 2]\n",
        "nan": json.dumps({**first, "val": float("nan")}).encode() + b"\n",
        "huge": json.dumps({**first, "round": 10**400}).encode() + b"\n",
        "steer": json.dumps({**first, "val": ESCAPE}).encode() + b"\n",
        "settings": lines, "nested": lines,
    }.items():  # fmt: skip
        Path("records", name).mkdir(parents=True)
        Path("records", name, "seed0.jsonl").write_bytes(content)
    Path("records/settings/settings.json").write_bytes(b"\xff\xfe{}")
    Path("records/nested/settings.json").write_bytes(b'{"settings": ' + b"[" * 50_000)
    Path("other").mkdir()
    shutil.copy("run/settings.json", "other")
    for name in ("empty", "folder.npz", "folder.toml"):
        Path(name).mkdir()
    shutil.copy(TICKET, "copy.safetensors")
    os.link("copy.safetensors", "hard")
    os.link("run/seed0.jsonl", "hard.png")
    os.link(TICKET, "hard-record")
    for name, target in {
        "soft": "copy.safetensors", "link.bin": "run/seed0.jsonl", "linked": "run",
        "record.png": "run/seed0.jsonl", "loop": "loop", "loop.npz": "loop.npz",
        "loop.toml": "loop.toml",
    }.items():  # fmt: skip
        os.symlink(target, name)
    for name, header in {
        "header": b"", "json": b"[" * 90_000, "none": b"{}",
        "shape": b'{"init.w": {"dtype": "F32", "shape": [4294967296, 4294967296], '
                 b'"data_offsets": [0, 4]}}',
    }.items():  # fmt: skip
        size = 1 << 60 if name == "header" else len(header)
        Path(f"{name}.safetensors").write_bytes(struct.pack("<Q", size) + header + bytes(4))
    claiming("claim.npz", (1 << 40, 1 << 20))
    claiming("bomb.npz", (1 << 14, 1 << 14), bytes(1 << 26))
    claiming("negative.npz", (-1, 12), bytes(48))
    claiming("object.npz", (12, 3), b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00lsR.", "|O")
    np.savez("classes.npz", **graph(y=np.arange(12) % 2 * (1 << 60)))
    np.savez("nodes.npz", **graph(edge_index=np.array([[0, 1], [1, 1 << 62]])))
    with zipfile.ZipFile("zip.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00lsR.")
        archive.writestr("archive/version", "3\n")


# --- the calls -----------------------------------------------------------------------------------


def state():
    """What lies in the working folder."""
    found = {}
    for path in Path().rglob("*"):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif path.is_file():
            found[str(path)] = sha256(path.read_bytes()).hexdigest()
    return found


def work(place):
    """Make all calls, one after the other, in little memory; print what each of them did."""
    import warnings

    prepare(place)
    warnings.simplefilter("ignore")
    for argv in [*DRAWN, "--epochs=1"], [*IMAGES, "--rounds=0", "--epochs=1"]:
        cli.main(argv)  # what is loaded once is in memory
    shutil.rmtree("out")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
    before, results = state(), []
    for _, argv, _ in ALL:
        signal.alarm(TIME)  # ends the process, which the tests then tell
        output, error = io.StringIO(), io.StringIO()
        code = trace = None
        try:
            with redirect_stdout(output), redirect_stderr(error):
                code = cli.main(argv)
        except BaseException as raised:
            trace = f"{type(raised).__name__}: {raised}"[:500]
        signal.alarm(0)
        after = state()
        changed = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        results.append((code, output.getvalue(), error.getvalue(), trace, changed))
        before = after
    print(json.dumps(results))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place = tmp_path_factory.mktemp("calls")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("GRAPHLTH_DATA_ROOT", None)
    done = subprocess.run([sys.executable, __file__, str(place)], env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def named(number):
    kind, argv, _ = ALL[number]
    return f"{kind} {number}: {ascii(' '.join(argv))[:120]}"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells what memory is used")
@pytest.mark.parametrize("number", range(len(ALL)), ids=named)
def test_a_bad_call_is_one_line_and_touches_nothing(results, number):
    code, output, error, trace, changed = results[number]
    assert trace is None and code == 2
    assert output == "" and changed == []
    (line,) = error.splitlines()
    assert line.startswith("graphlth: error: ") and line.isprintable() and len(line) < 2100
    assert re.search(ALL[number][2], line)
    assert "out of memory" not in line


def test_there_are_many_of_every_kind():
    assert len(ALL) >= 150 and len({tuple(argv) for _, argv, _ in ALL}) == len(ALL)
    assert all(len(calls) >= 10 for calls in CALLS.values())


if __name__ == "__main__":
    work(sys.argv[1])
