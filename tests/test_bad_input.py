"""Bad input ends in one line that names what is wrong; nothing that was there is lost."""

import gzip
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_matrix

import graphlth.records as record
from graphlth.cli import main as cli
from graphlth.data.node import NodeTask
from graphlth.models.graph.gcn import GCN
from graphlth.ticket import dense, load
from graphlth.training.retraining import fit

ROOT = Path(__file__).parents[1]
QUICK = "--epochs 2 --rounds 1 --hidden 4"
TEXT, POLE = "run imp --task text --out out", "run imp --task cartpole --out out"
KARATE = f"run ugs --task karate --model gcn --out out {QUICK}"
JOINT = "run joint_early_bird --task karate --model gcn --out out"


class Hostile:
    """Unpickled, it would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def npz(name, **changes):
    """A graph of 12 nodes in a file; a change to None leaves the array out."""
    ring = np.arange(12)
    part = ring // 2 % 3
    held = {
        "x": np.eye(12, dtype=np.float32), "y": ring % 2,
        "edge_index": np.stack([ring, (ring + 1) % 12]),
        "train_mask": part == 0, "val_mask": part == 1, "test_mask": part == 2,
    } | changes  # fmt: skip
    np.savez(name, **{k: v for k, v in held.items() if v is not None})


def raw(root, **changes):
    """Citation files that look like Cora's."""
    folder = Path(root) / "Cora/raw"
    folder.mkdir(parents=True)
    eye, one_hot = csr_matrix(np.eye(4, 3, dtype=np.float32)), np.eye(2, dtype=np.int32)[[0, 1] * 2]
    parts = {"x": eye[:2], "tx": eye[:2], "allx": eye, "y": one_hot[:2], "ty": one_hot[:2],
             "ally": one_hot, "graph": {0: [1], 1: [0]}} | changes  # fmt: skip
    for part, value in parts.items():
        (folder / f"ind.cora.{part}").write_bytes(pickle.dumps(value, protocol=2))
    (folder / "ind.cora.test.index").write_text("4\n5\n")
    return folder


def images(root, count=4):
    """Image files that look like MNIST's, of `count` images, and hostile ones like CIFAR-10's."""
    for folder in ("mnist", "cifar10"):
        (Path(root) / folder).mkdir(parents=True)
    for part in ("train", "t10k"):
        shape = b"".join(n.to_bytes(4) for n in (count, 28, 28))
        content = b"\0\0\x08\x03" + shape + bytes(count * 28 * 28)
        (Path(root) / f"mnist/{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
        (Path(root) / f"mnist/{part}-labels-idx1-ubyte.gz").write_bytes(b"\0\0\x08\x01")
    for file in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        held = pickle.dumps({"data": Hostile(), "labels": [1]}, protocol=2)
        (Path(root) / "cifar10" / file).write_bytes(held)
    return Path(root) / "mnist"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of inputs, good and bad, with a short run in it."""
    place, here = tmp_path_factory.mktemp("made"), Path.cwd()
    os.chdir(place)
    assert cli.main(KARATE.split()) == 0
    (run,) = Path("out").iterdir()
    run.rename("run")
    Path("out").rmdir()
    shutil.copytree("run", "middle/run")
    lines = Path("middle/run/seed0.jsonl")
    lines.write_text("{damaged\n" + lines.read_text())
    whole = Path("run/seed0-round1.safetensors").read_bytes()
    Path("short.safetensors").write_bytes(whole[: len(whole) // 2])
    ticket = load("run/seed0-round1.safetensors")
    replace(ticket, provenance={}).save("homeless.safetensors")
    replace(ticket, provenance=ticket.provenance | {"graph": "01234567"}).save("moved.safetensors")
    replace(ticket, provenance=ticket.provenance | {"task": "cora"}).save("lost.safetensors")
    Path("text.safetensors").write_text("no ticket")
    Path("file").write_text("a file")
    Path("empty").mkdir()
    Path("broken.toml").write_text("rounds = = 3\n")
    Path("broken.yaml").write_text("rounds: [3\n")
    Path("list.yaml").write_text("- rounds\n")
    Path("typo.toml").write_text("rouns = 3\n")
    Path("typed.yaml").write_text("rounds: many\n")
    Path("nested.toml").write_text("[rounds]\nfirst = 1\n")
    Path("range.toml").write_text("drop_edges = 1.5\n")
    Path("config.json").write_text("{}")
    Path("binary.toml").write_bytes(b"\xff\xfe\x00rounds")
    npz("range.npz", edge_index=np.array([[0, 1], [1, 99]]))
    npz("float.npz", edge_index=np.array([[0.0, 1.0], [1.0, 2.0]]))
    npz("nan.npz", x=np.full((12, 3), np.nan))
    npz("flat.npz", x=np.ones(12))
    npz("unlabelled.npz", y=None)
    npz("unmasked.npz", val_mask=None)
    npz("untaught.npz", y=np.arange(12) // 2)
    npz("untested.npz", test_mask=np.zeros(12, dtype=bool))
    npz("leaking.npz", test_mask=np.ones(12, dtype=bool))
    npz("hostile.npz", x=np.array([Hostile()], dtype=object))
    torch.save({"x": Hostile()}, "hostile.pt")
    npz("whole.npz")
    Path("cut.npz").write_bytes(Path("whole.npz").read_bytes()[:300])
    raw("code", x=Hostile())
    folder = raw("cut")
    file = folder / "ind.cora.allx"
    file.write_bytes(file.read_bytes()[:-20])
    (raw("gap") / "ind.cora.graph").unlink()
    images("few")
    file = images("torn") / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-9])
    (images("lacking") / "t10k-labels-idx1-ubyte.gz").unlink()
    Path("shapes/a").mkdir(parents=True)
    for i in range(1, 4):
        Image.new("RGB", (4, 3 + i // 3)).save(f"shapes/a/{i}.png")
    shutil.copytree("shapes", "broken")
    Path("broken/a/2.png").write_text("no image")
    os.chdir(here)
    return place


@pytest.fixture(autouse=True)
def place(made, tmp_path, monkeypatch):
    """A copy of these inputs to work in, out of reach of network and real data."""

    def refuse(*_, **__):
        raise OSError("no network")

    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAPHLTH_DATA_ROOT", raising=False)
    monkeypatch.setattr("socket.create_connection", refuse)
    return tmp_path


def snapshot(place):
    return {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}


CORA = "run ugs --task cora --model gcn --out out"
MNIST = "run imp --task mnist --model gcn --out out"
CIFAR = "run imp --task cifar10 --model gcn --out out"
TEXT, POLE = "run imp --task text --out out", "run imp --task cartpole --out out"
DIGITS = "run imp --task digits-images --model gcn --out out"
IMP = "run imp --task digits_images --model mlp --out out"
CONTROL = f"run control --task karate --model gcn --out out {QUICK}"
FOLDER = "run imp --task image-folder --model gcn --out out"
CHANNELS = "run channels --task digits-images --model conv_2 --out out"
EARLY = "run early_bird --task digits-images --model resnet_20 --out out"
POPUP = f"run edge_popup --task karate --model gcn --out out {QUICK}"
EXPORT = "export run/seed0-round1.safetensors"
BAD = [  # command                                   what its one line says
    ("fly", "`command` must be one of run, reproduce, sweep, analyze, plot, .*, got 'fly'"),
    ("run", "`algorithm` must be given: one of .*, imp, .*, ugs"),
    ("run ugs --model gcn", "`task` must be given: one of actor, .*, cifar10, citeseer"),
    ("run ugs --task karate", "`model` must be given: one of conv_2, .*, vgg_19"),
    ("run magic --task karate --model gcn", "`algorithm` must be one of .*, ugs, got 'magic'"),
    ("run ugs --task corra --model gcn", "`task` must be one of actor, .*, got 'corra'"),
    ("run ugs --task karate --model gnn", "`model` must be one of conv_2, .*, got 'gnn'"),
    ("run ../ugs --task karate --model gcn", r"`algorithm` must be one of .*, got '\.\./ugs'"),
    (f"{KARATE} --rouns 3", "`rouns` is no setting here; did you mean `rounds`\\? there are .*lr"),
    (f"{KARATE} --heads 3", "`heads` is no setting here"),
    (f"{KARATE} --round 3", "`round` is no setting here"),
    (f"{KARATE} surplus", "unrecognized arguments: surplus"),
    (f"{KARATE} --drop-edges 1.5", r"`drop_edges` must be in \[0, 1\), got 1.5"),
    (f"{KARATE} --drop_weights=-0.1", r"`drop_weights` must be in \[0, 1\), got -0.1"),
    (f"{KARATE} --dropout 1", r"`dropout` must be in \[0, 1\), got 1"),
    (f"{KARATE} --edge_dropout 1", r"`edge_dropout` must be in \[0, 1\), got 1"),
    (f"{KARATE} --model resgcn --hidden 1", "`hidden` must be at least 2 to be normalised"),
    (f"{KARATE} --rounds -1", r"`rounds` must be in \[0, 10000\], got -1"),
    (f"{JOINT} --draws 0", r"`draws` must be in \[1, 10000\], got 0"),
    (f"{JOINT} --draws 9 --epochs 8", "`draws` must be at most `epochs` = 8, got 9"),
    (f"{JOINT} --window 0", r"`window` must be in \[1, 10000\], got 0"),
    (f"{JOINT} --epsilon 0", r"`epsilon` must be in \(0, inf\), got 0"),
    (f"{JOINT} --criterion all", "`criterion` must be one of edges, weights, both, got 'all'"),
    (f"{JOINT} --start anew",
     "`start` must be one of inherit, rewind, reinit, reinit-dense, got 'anew'"),
    (f"{KARATE} --epochs 0", r"`epochs` must be in \[1, 1000000\], got 0"),
    (f"{KARATE} --hidden 0", r"`hidden` must be in \[1, 65536\], got 0"),
    (f"{KARATE} --lr 0", r"`lr` must be in \(0, inf\), got 0"),
    (f"{KARATE} --lr inf", r"`lr` must be in \(0, inf\), got inf"),
    (f"{KARATE} --lr nan", r"`lr` must be in \(0, inf\), got nan"),
    (f"{KARATE} --seeds 0", "`seeds` must be a count from 1, such as 5, or numbers, .* got 0"),
    (f"{KARATE} --seeds 9-3", "`seeds` must go upwards in a range, as in 3-9, got '9-3'"),
    (f"{KARATE} --seeds 3,3", "`seeds` must name each seed once, got 3 twice"),
    (f"{KARATE} --seeds 20000", "`seeds` must be at most 10,000, got more: 20000"),
    (f"{KARATE} --seeds 2.5", "`seeds` must be a count from 1, such as 5, .* got '2.5'"),
    (f"{KARATE} --seeds many", "`seeds` must be a count from 1, such as 5, .* got 'many'"),
    (f"{KARATE} --protocol code", "`protocol` must be one of paper, released, got 'code'"),
    (f"{KARATE} --protocol released", "`protocol` must be paper for ugs on karate with gcn, of"),
    (f"{KARATE} --jobs 0", r"`jobs` must be in \[1, 1024\], got 0"),
    (f"{KARATE} --threads 0", r"`threads` must be in \[1, 1024\], got 0"),
    (f"{KARATE} --rounds many", "`rounds` must be of type int, got 'many'"),
    (f"{KARATE} --rounds 2.5", "`rounds` must be of type int, got '2.5'"),
    (f"{KARATE} --lr fast", "`lr` must be of type float, got 'fast'"),
    (f"{KARATE} --rounds", "`rounds`: expected one argument"),
    (f"{KARATE} --task", "`task`: expected one argument"),
    (f"{KARATE} --scope galaxy", "`scope` must be one of global, layer, got 'galaxy'"),
    (f"{KARATE} --backend quantum", "`backend` must be one of auto, .*, got 'quantum'"),
    (f"{KARATE} --edges both", "`edges` must be one of undirected, directed, got 'both'"),
    (f"{KARATE} --device abacus", "`device` 'abacus' cannot be used"),
    (f"{KARATE} --device meta", "`device` 'meta' cannot be used"),
    (f"{KARATE} --out file", "cannot write `out` 'file': .*; name another folder$"),
    (f"{KARATE} --out file/below", "cannot write `out` 'file/below'"),
    (f"{KARATE} --out /dev/full", "cannot write `out` '/dev/full'"),
    (f"{CORA} --data-root nowhere", "`data_root` must be a folder, got 'nowhere'"),
    (f"{CORA} --data-root file", "`data_root` must be a folder, got 'file'"),
    (f"{CORA} --data-root empty", "no folder Cora/raw in empty"),
    (f"{CORA} --data-root gap", r"gap/Cora/raw lacks ind\.cora\.graph"),
    (f"{CORA} --data-root cut", r"cut/Cora/raw/ind\.cora\.x: must be the published file of sha"),
    (f"{CORA} --data-root code", r"code/Cora/raw/ind\.cora\.x: .*damaged or another file"),
    (f"{CORA} --split 11 --data-root cut", "`split` must be \"public\", or 0 to 9 .*, got 11"),
    (f"{KARATE} --task gone.npz", r"`path` must be a file, got 'gone\.npz'"),
    (f"{KARATE} --task file", "`path` must be given"),
    (f"{KARATE} --task file --path file", r"`path` must end in .pt or .npz, got 'file'"),
    (f"{KARATE} --task range.npz", r"`data\.edge_index` must be in \[0, 12\), got 99"),
    (f"{KARATE} --task float.npz", r"float\.npz: `data\.edge_index` must hold int64"),
    (f"{KARATE} --task nan.npz", r"nan\.npz: `data\.x` must be finite, got NaN"),
    (f"{KARATE} --task flat.npz", r"flat\.npz: `data\.x` must be real numbers \[N, F\]"),
    (f"{KARATE} --task unlabelled.npz", r"`data\.y` is missing"),
    (f"{KARATE} --task unmasked.npz", r"`data\.val_mask` is missing: `split` \"random\" \(--split"),
    (f"{KARATE} --task untaught.npz", "`data.train_mask` must hold a node of every class"),
    (f"{KARATE} --task untested.npz", "`data.test_mask` must select at least one node"),
    (f"{KARATE} --task leaking.npz", "must not overlap, got 4 nodes in both"),
    (f"{KARATE} --task whole.npz --split 1", r"`split` must be in \[0, 1\), got 1"),
    (f"{KARATE} --task cut.npz", r"cut\.npz: not a readable file of arrays"),
    (f"{KARATE} --task hostile.npz", r"hostile\.npz: not a readable file of arrays"),
    (f"{KARATE} --task hostile.pt", r"hostile\.pt: .*it asks for .*mkdir"),
    (f"{MNIST} --data-root nowhere", "`data_root` must be a folder, got 'nowhere'"),
    (f"{MNIST} --data-root empty",
     r"no train-images-idx3-ubyte\.gz in empty, datasets; downloading failed \(no network\)"),
    (f"{MNIST} --data-root lacking", r"lacking/mnist lacks t10k-labels-idx1-ubyte\.gz; downl"),
    (f"{MNIST} --data-root few", r"idx3-ubyte\.gz: .* must hold \[60000, 28, 28\], got \[4, 28"),
    (f"{MNIST} --data-root torn", r"train-images-idx3-ubyte\.gz: not a readable IDX file"),
    (f"{CIFAR} --data-root few", r"few/cifar10/data_batch_1: must be the published file of md5"),
    (f"{DIGITS} --batch-size 0", r"`batch_size` must be in \[1, 1000000\], got 0"),
    (f"{DIGITS} --evaluate-every 0", r"`evaluate_every` must be in \[1, 1000000\], got 0"),
    (f"{DIGITS} --val-size 0", r"`val_size` must be in \[1, 1497\), got 0"),
    (f"{DIGITS} --test-size 1797", r"`test_size` must be in \[1, 1797\), got 1797"),
    (f"{DIGITS} --train-size 1198", r"`train_size` must be in \[0, 1197\], got 1198"),
    (f"{DIGITS} --augment spin", "`augment` must be one of none, crop-flip, got 'spin'"),
    (f"{CHANNELS} --drop-channels 1", r"`drop_channels` must be in \[0, 1\), got 1"),
    (f"{CHANNELS} --l1-norms=-1", r"`l1_norms` must be in \[0, inf\), got -1"),
    (f"{CHANNELS} --channel-score luck", "`channel_score` must be one of .*norm_scale, .*'luck'"),
    (f"{CHANNELS} --start over", "`start` must be one of inherit, rewind, reinit, got 'over'"),
    (CHANNELS, "`model` must have hidden channels that 'norm_scale' can score"),
    ("run channels --task karate --model gcn --out out", "must have hidden channels .* got GCN"),
    ("run early-bird --task karate --model gcn --out out", "must have hidden channels .* got GCN"),
    ("run geb --task digits-images --model resnet_20 --out out", "`task` must have edges to"),
    ("run sgcn --task digits-images --model mlp --out out --drop-weights 0.5",
     "`task` must have edges to remove, got 'digits_images' without any"),
    ("run random_graph --task digits_images --model mlp --out out", "`task` must have edges to"),
    (f"{EARLY} --bits 9", "`bits` must be one of 2, 3, 4, 5, 6, 7, 8, 32, got 9"),
    (f"{EARLY} --iterations 40 --draws 3", "`draws` must be at most `epochs` = 2, got 3"),
    (f"{EARLY} --iterations 50", "`iterations` must be a multiple of `evaluate_every` = 20, got 5"),
    (f"{EARLY} --optimizer lion", "`optimizer` must be one of adam, sgd, got 'lion'"),
    (f"{POPUP} --lr-scores 0", r"`lr_scores` must be in \(0, inf\), got 0"),
    (f"{POPUP} --constant perhaps", "`constant` must be of type bool, got 'perhaps'"),
    (f"{DIGITS} --model gcn", "`model` must be one that takes no graph, as 'digits_images' has n"),
    ("run imp --task karate --model lenet_5 --out out", "`task` must have images"),
    (f"{TEXT} --model gcn", "`model` must be one that takes no graph, as 'text' has none, got 'gc"),
    (f"{TEXT} --model lenet_5", r"`task` must have images: .* got \(64,\)"),
    (f"{TEXT} --model mlp", "`task` must have images or vectors of numbers, got 'text'"),
    (f"{TEXT} --model transformer --hidden 6", "`hidden` must be a multiple of `heads` = 4, got 6"),
    (f"{TEXT} --model transformer --path gone", "`path` must be a file, got 'gone'"),
    (f"{TEXT} --model transformer --path whole.npz", "`path` must be UTF-8, or .*'whole.npz'"),
    (f"{TEXT} --model transformer --path config.json", "`text` must have 195 characters or more"),
    (f"{POLE} --model transformer", "`task` must have text: tokens of int64, got 'cartpole'"),
    (f"{POLE} --model gcn", "`model` must be one that takes no graph, as 'cartpole' has none, "),
    (f"{POLE} --model conv_2", r"`task` must have images: .* got \(4,\)"),
    (f"{POLE} --model mlp --discount 2", r"`discount` must be in \(0, 1\], got 2"),
    (f"{DIGITS} --model transformer", "`task` must have text: tokens of int64, got 'dig"),
    (f"{IMP} --iterations 7", "`iterations` must be a multiple of `evaluate_every` = 20, got 7"),
    (f"{IMP} --iterations 40 --rewind-to 5", "`rewind_to` must be a multiple of .* = 20, got 5"),
    (f"{IMP} --iterations 40 --rewind-to 40", "`rewind_to` must be below `iterations` = 40, got"),
    (f"{IMP} --iterations -1", r"`iterations` must be in \[0, 1000000000\], got -1"),
    (f"{IMP} --rewind back", "`rewind` must be one of weights, lr, finetune, got 'back'"),
    (f"{IMP} --rewind finetune --rewind-to 1", "`rewind_to` must be 0 with `rewind` 'finetune'"),
    (f"{IMP} --optimizer lion", "`optimizer` must be one of adam, sgd, got 'lion'"),
    (f"{IMP} --momentum 1", r"`momentum` must be in \[0, 1\), got 1"),
    (f"{IMP} --milestones 80,120", r"`milestones` must be fractions in \(0, 1\), .*'80,120'"),
    (f"{IMP} --warmup -1", r"`warmup` must be in \[0, 1000000000\], got -1"),
    (f"{IMP} --drop-output 1", r"`drop_output` must be in \[0, 1\), got 1"),
    (CONTROL, "`tickets` must be given"),
    (f"{CONTROL} --tickets nowhere", "`tickets` must be a run folder, got 'nowhere' without a"),
    (f"{CONTROL} --tickets run --control magic", "`control` must be one of reinit, .*, got .magic"),
    (f"{CONTROL} --tickets run --hidden 9", "`ticket` does not fit `model`"),
    (FOLDER, "`path` must be given"),
    (f"{FOLDER} --path gone", "`path` must be a folder, got 'gone'"),
    (f"{FOLDER} --path empty", r"empty: must hold CLASS/\*\.png or CLASS/\*\.jpg, got none"),
    (f"{FOLDER} --path shapes", r"shapes/a/\d\.png: must have the height, width and channels"),
    (f"{FOLDER} --path broken --size 4", r"broken/a/2\.png: not a readable image \(neither PNG"),
    (f"{KARATE} --config gone.toml", r"`config` must be a file, got 'gone\.toml'"),
    (f"{KARATE} --config config.json", r"`config` must end in .toml, .*, got 'config\.json'"),
    (f"{KARATE} --config broken.toml", r"`config` 'broken\.toml' is not TOML"),
    (f"{KARATE} --config broken.yaml", r"`config` 'broken\.yaml' is not YAML"),
    (f"{KARATE} --config list.yaml", r"`config` must hold names and values, got 'list\.yaml'"),
    (f"{KARATE} --config typo.toml", "`rouns` is no setting here; did you mean `rounds`"),
    (f"{KARATE} --config binary.toml", r"`config` 'binary\.toml' is not text in UTF-8"),
    ("run ugs --task karate --model gcn --out out --config typed.yaml",
     "`rounds` must be of type int, got 'many'"),
    ("run ugs --task karate --model gcn --out out --config nested.toml",
     r"`rounds` in `config` 'nested\.toml' must be a single value, .*, got a table"),
    ("run ugs --task karate --model gcn --out out --config range.toml",
     r"`drop_edges` must be in \[0, 1\), got 1.5"),
    ("plot", "`figure` must be given: one of barrier, cost, "),
    ("plot pie run --out a.png", "`figure` must be one of barrier, .*, got 'pie'"),
    ("plot sparsity --out a.png", "`folders` must be given"),
    ("plot sparsity run", "`out` must be given"),
    ("plot sparsity gone --out a.png", "no folder `gone`"),
    ("plot sparsity empty --out a.png", "no records .* under `empty`"),
    ("plot sparsity run --out a.gif", r"`out` must end in one of .png, .*, got 'a\.gif'"),
    ("plot sparsity run --out file/a.png",
     r"`out` must be a file in a folder that exists, got 'file/a\.png'"),
    ("plot sparsity run --out a.png --metric luck", "`metric` must be one of .*, got 'luck'"),
    ("plot sparsity run --out a.png --colour red", "`colour` is no setting here"),
    ("plot sparsity middle --out a.png", r"middle/run/seed0\.jsonl`, line 1: not a line of JSON"),
    ("show", "`paths` must be given"),
    ("show gone", "no folder `gone`"),
    ("show empty", "no records .* under `empty`"),
    ("show middle", r"seed0\.jsonl`, line 1: not a line of JSON"),
    ("show file", "file is not a whole graphlth ticket"),
    ("show text.safetensors", r"text\.safetensors is not a whole graphlth ticket"),
    ("show short.safetensors", r"short\.safetensors is not a whole graphlth ticket"),
    ("export", "`ticket` must be given"),
    ("export run/seed0-round1.safetensors", "`out` must be given"),
    ("export gone --out a", "no ticket at gone"),
    ("export short.safetensors --out a", r"short\.safetensors is not a whole graphlth ticket"),
    (f"{EXPORT} --out gone/a", "`out` must be a file in a folder that exists, got 'gone/a'"),
    (f"{EXPORT} --out empty", "`out` must be a file in a folder that exists, got 'empty'"),
    (f"{EXPORT} --out gone/a.pt2", "`out` must be a file in a folder that exists"),
    (f"{EXPORT} --out a --layout csr", "`layout` must be one of auto, dense, blocks, sparse, got"),
    (f"{EXPORT} --out a --epochs 0", r"`epochs` must be in \[1, 1000000\], got 0"),
    (f"{EXPORT} --out a --epochs few", "`epochs` must be of type int, got 'few'"),
    (f"{EXPORT} --out a --epoch 3", "`epoch` is no setting here; did you mean `epochs`"),
    ("export homeless.safetensors --out a", "`ticket` must come from a run, got one that has no"),
    ("export moved.safetensors --out a", "`ticket` is of another graph: fingerprint 0123"),
    ("export lost.safetensors --out a --data-root nowhere", "`data_root` must be a folder"),
    ("bench", "`tickets` must be given"),
    ("bench gone", "no ticket at gone"),
    ("bench run", "no ticket at run"),
    ("bench run/seed0-round1.safetensors --repeats 0",
     r"`repeats` must be in \[1, 1000000\], got 0"),
    ("bench run/seed0-round1.safetensors --batch 0", r"`batch` must be in \[1, 10000\], got 0"),
    ("bench run/seed0-round1.safetensors --layout csr", "`layout` must be one of auto, dense, "),
    ("list planets", "`kind` must be one of algorithms, .*, got 'planets'"),
    ("list tasks models", "unrecognized arguments: models"),
]  # fmt: skip


def refused(output, error):
    """The one line that says why."""
    assert output == ""
    assert "Traceback" not in error
    (line,) = error.splitlines()
    assert line.startswith("graphlth: error: ")
    return line


@pytest.mark.parametrize(("command", "line"), BAD, ids=[command for command, _ in BAD])
def test_bad_input_ends_in_one_line_and_loses_nothing(place, capsys, command, line):
    before = snapshot(place)
    assert cli.main(command.split()) == 2
    assert re.search(line, refused(*capsys.readouterr()))
    assert snapshot(place) == before  # nothing is changed, nothing is begun


@pytest.mark.parametrize("command", [
    f"{KARATE} --rounds many", f"{CORA} --data-root code", f"{KARATE} --task hostile.pt",
    "show short.safetensors",
])  # fmt: skip
def test_a_process_ends_with_code_2(place, command):
    before = snapshot(place)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-m", "graphlth.cli.main", *command.split()]
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    refused(done.stdout, done.stderr)
    assert snapshot(place) == before


def test_the_hostile_files_would_have_run_code():
    pickle.loads(Path("code/Cora/raw/ind.cora.x").read_bytes())
    assert Path("ran").is_dir()


# --- a run that has begun ------------------------------------------------------------------------


@pytest.fixture
def begun(place):
    """A run of two rounds, of which the second is missing."""
    assert cli.main(KARATE.split()) == 0
    (folder,) = Path("out").iterdir()
    lines = (folder / "seed0.jsonl").read_bytes()
    (folder / "seed0.jsonl").write_bytes(lines[: lines.index(b"\n") + 1])
    return folder


@pytest.fixture
def whole(place):
    """A run of two rounds."""
    assert cli.main(KARATE.split()) == 0
    (folder,) = Path("out").iterdir()
    return folder


def alter(number, change):
    """Let `change` make another line of the record in line `number`."""

    def harm(folder):
        path = folder / "seed0.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        lines[number] = change(lines[number])
        path.write_bytes(b"".join(lines))

    return harm


def cut_ticket(number):
    def harm(folder):
        path = folder / f"seed0-round{number}.safetensors"
        path.write_bytes(path.read_bytes()[:-9])

    return harm


def other_graph(folder):
    ticket = load(folder / "seed0-round1.safetensors")
    ticket.provenance["graph"] = "0123456789abcdef"
    ticket.save(folder / "seed0-round1.safetensors")


LAST = [  # harm to the last round of a run
    alter(1, lambda line: line.replace(b'"round": 1', b'"round": 7')),
    alter(1, lambda line: line.replace(b'"test": 0.', b'"test": 0.1')),
    alter(1, lambda line: line[:-30]),
    alter(1, lambda line: line[:-1] + b"}\n"),
    lambda folder: (folder / "seed0-round1.safetensors").unlink(),
    cut_ticket(1),
    lambda folder: dense(GCN(3, 2, 2), 78).save(folder / "seed0-round1.safetensors"),
    other_graph,
    lambda folder: shutil.copy(folder / "seed0-round0.safetensors",
                               folder / "seed0-round1.safetensors"),
    lambda folder: (folder / "settings.json").write_text("{"),
]  # fmt: skip


@pytest.mark.parametrize("harm", LAST)
def test_a_last_round_that_does_not_verify_is_found_again(place, whole, harm):
    before = record.read(whole)
    tickets = {p.name: p.read_bytes() for p in whole.glob("*.safetensors")}
    harm(whole)
    assert cli.main(KARATE.split()) == 0
    assert {p.name: p.read_bytes() for p in whole.glob("*.safetensors")} == tickets
    same = [{n: v for n, v in r.items() if not n.startswith(record.COST_PREFIXES)} for r in before]
    assert [r.items() >= s.items() for r, s in zip(record.read(whole), same, strict=True)] == [
        True, True]  # fmt: skip
    assert cli.main(["verify", str(whole)]) == 0


MIDDLE = [  # harm to an earlier round, the one line
    (alter(0, lambda line: b"{damaged\n" + line), r"seed0\.jsonl`, line 1: not a line of JSON"),
    (alter(0, lambda line: line.replace(b'"seed": 0', b'"seed": 1')),
     r"seed0\.jsonl`, line 1: damaged: its digest is not that of what it says; move the file"),
    (alter(0, lambda line: b""),
     r"seed0\.jsonl` must hold round 0 in line 1, got 1; move the"),
    (alter(1, lambda line: line + line), r"seed0\.jsonl` must hold round none in line 3, got 1"),
    (lambda folder: [cut_ticket(0)(folder), cut_ticket(1)(folder)],
     r"seed0-round0\.safetensors is not a whole graphlth ticket.*or move .* aside"),
    (lambda folder: [p.unlink() for p in folder.glob("*.safetensors")],
     r"no ticket at .*seed0-round0\.safetensors; or move .*seed0\.jsonl` aside"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "line"), MIDDLE)
def test_damage_to_an_earlier_round_is_told_with_the_remedy(place, whole, capsys, harm, line):
    tickets = {p.name: p.read_bytes() for p in whole.glob("*.safetensors")}
    harm(whole)
    capsys.readouterr()
    assert cli.main(KARATE.split()) == 2
    output, error = capsys.readouterr()
    last = error.splitlines()[-1]  # rounds that are there are told before
    assert re.search(line, last) and "Traceback" not in error and output == ""
    (whole / "seed0.jsonl").rename("aside")  # the remedy
    assert cli.main(KARATE.split()) == 0
    assert {p.name: p.read_bytes() for p in whole.glob("*.safetensors")} == tickets


def test_a_full_disk_loses_no_record(place, begun, capsys, monkeypatch):
    before = snapshot(place)
    write = record.append

    def full(path, record):
        monkeypatch.setattr("os.fsync", no_space)
        write(path, record)

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record, "append", full)
    capsys.readouterr()
    assert cli.main(KARATE.split()) == 2
    assert "cannot write `" in (last := capsys.readouterr().err.splitlines()[-1])
    assert last.endswith("No space left on device")
    monkeypatch.undo()
    after = snapshot(place)
    assert before.items() <= after.items()  # the ticket that had no record yet may be new
    monkeypatch.chdir(place)
    assert cli.main(KARATE.split()) == 0
    assert len((begun / "seed0.jsonl").read_bytes().splitlines()) == 2


# --- the library ---------------------------------------------------------------------------------


@pytest.fixture
def task():
    from torch_geometric.data import Data

    ring = torch.arange(12)
    there, part = (ring + 1) % 12, ring // 2 % 3
    edge_index = torch.stack([torch.cat([ring, there]), torch.cat([there, ring])])
    masks = {f"{name}_mask": part == i for i, name in enumerate(("train", "val", "test"))}
    return NodeTask(Data(x=torch.eye(12), y=ring % 2, edge_index=edge_index, **masks))


def test_a_ticket_of_another_model_or_graph_is_refused(task):
    ticket = dense(GCN(12, 4, 2), task.num_edges)
    with pytest.raises(ValueError, match=r"`ticket` does not fit `model`: 'weights\.0'"):
        fit(GCN(12, 5, 2), task, ticket, epochs=1)
    with pytest.raises(ValueError, match="`ticket` does not fit: its mask 'edges'"):
        fit(GCN(12, 4, 2), task, dense(GCN(12, 4, 2), 99), epochs=1)
    ticket.provenance["graph"] = "elsewhere"
    with pytest.raises(ValueError, match="`ticket` is of another graph"):
        fit(GCN(12, 4, 2), task, ticket, epochs=1)


def test_a_cut_archive_is_no_ticket(place):
    with zipfile.ZipFile("zip.safetensors", "w") as archive:
        archive.writestr("a", json.dumps({}))
    with pytest.raises(ValueError, match=r"zip\.safetensors is not a whole graphlth ticket"):
        load("zip.safetensors")
