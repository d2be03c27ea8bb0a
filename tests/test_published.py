"""Published data are known by digest: what is damaged is refused, another edition is said."""

import gzip
import os
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from graphlth.data import geom_gcn, planetoid, published
from graphlth.data import idx as _idx
from graphlth.registry import find
from graphlth.tasks import cifar10

KNOWN = published.published_files()
WEB = ("cornell", "texas", "wisconsin")
ARRAYS = ("amazon_photo", "amazon_computers", "coauthor_cs", "coauthor_physics",
          "chameleon_filtered", "squirrel_filtered")  # fmt: skip
TASKS = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}


def flip(path, at=-1, bit=0):
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def real(data_root, pattern):
    """The files of real data that are there."""
    found = sorted(data_root.glob(pattern))
    if not found:
        pytest.skip(f"there is no {data_root / pattern}")
    return found


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAPHLTH_DATA_ROOT", raising=False)


def test_every_file_of_every_layout_is_listed_or_known_to_have_no_digest():
    unknown = {"cifar10": [*cifar10.LAYOUTS[0], *cifar10.LAYOUTS[3]],
               "fashion_mnist": list(_idx.FILES)}  # fmt: skip
    layouts = {
        **{n: [f"ind.{n}.{part}" for part in planetoid.PARTS] for n in TASKS},
        "geom_gcn_splits": [f"{n}_split_0.6_0.2_{i}.npz" for n in TASKS for i in range(10)],
        **{
            n: [
                geom_gcn.NODES,
                geom_gcn.LINKS,
                *(f"{called}_split_0.6_0.2_{i}.npz" for i in range(10)),
            ]
            for n, called in (("actor", "film"), *((n, n) for n in WEB))
        },
        **{n: [f"{n}.npz"] for n in ARRAYS},
        "mnist": [*_idx.FILES, *(f"{file}.gz" for file in _idx.FILES)],
        "fashion_mnist": [*_idx.FILES, *(f"{file}.gz" for file in _idx.FILES)],
        "cifar10": [*(file for layout in cifar10.LAYOUTS for file in layout), cifar10.ARCHIVE],
    }
    for task, names in layouts.items():
        assert {*names} == {*KNOWN[task]} | {*unknown.get(task, [])}, task


def test_the_wheel_has_the_digests():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert "data/published.toml" in project["tool"]["setuptools"]["package-data"]["graphlth"]


@pytest.mark.parametrize("pattern", [
    "planetoid/*/raw/ind.*", "planetoid/geom_gcn_splits/*.npz", "mnist/*.gz", "cifar10/*.parquet",
])  # fmt: skip
def test_the_real_files_verify(data_root, pattern):
    for path in real(data_root, pattern):
        assert published.check(path) is None
        assert any(path.name in listed for listed in KNOWN.values())


@pytest.mark.parametrize("part", planetoid.PARTS)
def test_a_flipped_bit_in_any_file_of_cora_is_told(data_root, tmp_path, part):
    (source,) = real(data_root, "planetoid/Cora/raw")
    raw = shutil.copytree(source, tmp_path / "Cora/raw", copy_function=os.link, dirs_exist_ok=False)
    path = Path(raw) / f"ind.cora.{part}"
    path.unlink()
    shutil.copyfile(source / path.name, path)
    middle = path.stat().st_size // 2
    for at, bit in ((0, 7), (middle, 0), (middle + 1, 6), (-1, 3)):
        flip(path, at, bit)
        with pytest.raises(ValueError) as error:
            find("tasks", "cora")(data_root=str(tmp_path))
        expected = KNOWN["cora"][path.name].partition(":")[2]
        line = str(error.value)
        assert line.startswith(f"{path}: must be the published file of sha256 {expected}, got ")
        assert line.endswith("it is damaged or another file; fetch it anew") and "\n" not in line
        assert published.check(path) == line
        flip(path, at, bit)
    assert find("tasks", "cora")(data_root=str(tmp_path)).num_nodes == 2708


def test_a_flipped_bit_in_a_split_is_told(data_root, tmp_path):
    (source,) = real(data_root, "planetoid/Cora/raw")
    (tmp_path / "Cora").mkdir()
    (tmp_path / "Cora/raw").symlink_to(source)
    (tmp_path / "geom_gcn_splits").mkdir()
    path = tmp_path / "geom_gcn_splits/cora_split_0.6_0.2_0.npz"
    shutil.copyfile(data_root / "planetoid" / path.relative_to(tmp_path), path)
    assert find("tasks", "cora")(data_root=str(tmp_path), split="geom-gcn-0").num_nodes == 2708
    flip(path, 700)
    with pytest.raises(ValueError, match=r"cora_split_0\.6_0\.2_0\.npz: must be the published"):
        find("tasks", "cora")(data_root=str(tmp_path), split="geom-gcn-0")


def test_what_is_packed_anew_or_unpacked_is_the_same(data_root, tmp_path):
    source = real(data_root, "mnist/t10k-labels*.gz")[0]
    content = gzip.decompress(source.read_bytes())
    bare, packed = tmp_path / source.stem, tmp_path / source.name
    bare.write_bytes(content)
    packed.write_bytes(gzip.compress(content, 1, mtime=7))
    assert published.check(bare) is published.check(packed) is None
    assert published.examine(bare, "mnist") == published.examine(packed, "mnist") == ""
    flip(bare)
    assert "must be the published file of sha256 ff7bcfd4" in str(published.check(bare))
    packed.write_bytes(gzip.compress(bare.read_bytes()))
    with pytest.raises(ValueError, match="must be the published file of sha256 ff7bcfd4"):
        published.examine(packed, "mnist")
    packed.write_bytes(packed.read_bytes()[:-9])
    assert "got what cannot be unpacked" in str(published.check(packed))
    packed.write_bytes(gzip.compress(bytes(2**27)))
    with pytest.raises(ValueError, match="must be the published file"):
        published.examine(packed, "mnist")


@pytest.fixture
def edition(tmp_path, monkeypatch):
    """A file of which other editions are legitimate, of 1,000 bytes."""
    (tmp_path / "cifar10").mkdir()
    path = tmp_path / "cifar10/train.parquet"
    path.write_bytes(np.random.default_rng(0).bytes(1000))
    entry = {"digest": f"sha256:{published._hashed(path, 'sha256', unpack=False)}", "bytes": 1000}
    monkeypatch.setattr(published, "published_files", lambda: {"cifar10": {path.name: entry}})
    return path


def test_another_edition_is_said_and_a_damaged_one_refused(edition):
    assert published.examine(edition, "cifar10") == ""
    flip(edition, 500, 4)
    with pytest.raises(ValueError, match=r"train\.parquet: must be the published file of sha256"):
        published.examine(edition, "cifar10")
    assert published.check(edition) is not None
    edition.write_bytes(b"another")
    said = published.examine(edition, "cifar10")
    assert said == (f"{edition}: another edition of cifar10 than that whose digest is known "
                    "(1,000 bytes): what it holds is taken as it is")  # fmt: skip
    assert published.notes([edition], "cifar10") == (said,)
    assert published.check(edition) is None  # which is no fault


def test_a_file_without_a_known_digest_is_said(tmp_path):
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(b"")
    assert "no digest of this file is known" in published.examine(path, "cifar10")
    assert published.check(path) is None and published.check(tmp_path / "mine.npz") is None


def test_a_missing_file_is_a_fault(tmp_path):
    assert "ind.cora.x" in str(published.check(tmp_path / "ind.cora.x"))
