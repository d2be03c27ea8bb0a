"""Archives of arrays and tensors: a flipped bit is noticed, a small file takes no large memory."""

import io
import re
import resource
import zipfile

import numpy as np
import pytest
import torch

from graphlth.data.archives import RATIO, UNPACKED, arrays, verify_torch
from graphlth.registry import find

file = find("tasks", "file")
NODES = np.arange(30)
HELD = {
    "x": np.random.default_rng(0).random((30, 4)).astype(np.float32),
    "y": NODES % 2,
    "edge_index": np.stack([NODES, (NODES + 1) % 30]),
    "directed": np.bool_(True),
    **{f"{part}_mask": NODES // 2 % 3 == i for i, part in enumerate(("train", "val", "test"))},
}


def write(path, held=HELD, packed=False):
    """A graph in an `.npz` or `.pt` file."""
    if path.suffix == ".pt":
        torch.save({k: torch.as_tensor(v) for k, v in held.items()}, path)
    else:
        (np.savez_compressed if packed else np.savez)(path, **held)
    return path


def content(task):
    """Everything that a run depends on."""
    return (task.fingerprint(), task.y.tolist(), {k: v.tolist() for k, v in task.rows.items()})


@pytest.mark.parametrize("kind", ["own.npz", "packed.npz", "own.pt"])
def test_a_flipped_bit_is_told_or_changes_nothing(tmp_path, kind):
    """Many bits of an archive mean nothing (dates, padding); none that means something is lost."""
    path = write(tmp_path / kind, packed=kind.startswith("packed"))
    whole, right = path.read_bytes(), content(file(path=str(path)))
    draw, told = np.random.default_rng(7), 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[draw.integers(len(whole))] ^= 1 << draw.integers(8)
        path.write_bytes(damaged)
        try:
            assert content(file(path=str(path))) == right
        except ValueError as error:
            told += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert told > 100


def test_a_damaged_name_is_no_missing_array(tmp_path):
    """`directed` under another name would be a graph with other edges."""
    path = write(tmp_path / "own.npz")
    whole = path.read_bytes()
    for place in re.finditer(b"directed", whole):
        damaged = bytearray(whole)
        damaged[place.start()] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"the name of '[de]irected.npy' is damaged"):
            file(path=str(path))


def test_what_nobody_asked_for_is_not_read(tmp_path):
    path = tmp_path / "own.npz"
    write(path, HELD | {"notes": np.full(1000, 7.0)})
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(np.float64(7).tobytes() * 3) + 4] ^= 1
    path.write_bytes(damaged)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() == "notes.npy"
    assert file(path=str(path)).num_nodes == 30
    assert arrays(path, ["y"]).keys() == {"y"} and arrays(path, ["nothing"]) == {}
    with pytest.raises(ValueError, match=r"not a readable file of arrays .*CRC"):
        arrays(path, ["notes"])


def claiming(shape, descr="<f8", body=b""):
    """The bytes of an array file that claims a shape."""
    out = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue() + body


CLAIMS = [  # an array of the archive, what the one line says
    (claiming((10**15,)), "`x` must hold the 1,000,000,000,000,000 numbers that it claims"),
    (claiming((10**7, 10**8)), "must hold the 1,000,000,000,000,000 numbers that it claims"),
    (claiming((3,), body=bytes(23)), "`x` must hold the 3 numbers that it claims, got 23 bytes"),
    (claiming((-1,), body=bytes(8)), "`x` must hold the -1 numbers|not a readable"),
    (claiming((2**62, 4)), "numbers that it claims"),
    (claiming((1,), "|O", b"N."), "`x` holds Python objects, which could run code"),
    (claiming((2,), "|V4", bytes(8)), "`x` must hold numbers or text, got .V4"),
    (b"\x93NUMPY\x03\x00" + bytes(80), "`x` has fields"),
    (b"no array", "not a readable file of arrays"),
    (b"", "not a readable file of arrays"),
]


@pytest.mark.parametrize(("member", "says"), CLAIMS)
def test_a_claim_of_an_array_is_compared_before_memory_is_taken(tmp_path, member, says):
    path = write(tmp_path / "own.npz", {k: v for k, v in HELD.items() if k != "x"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", member)
    with pytest.raises(ValueError, match=says) as error:
        file(path=str(path))
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["own.npz", "own.pt"])
def test_a_small_archive_that_would_become_large_is_refused(tmp_path, kind):
    path = write(tmp_path / kind)
    name = "x.npy" if kind == "own.npz" else f"{path.stem}/data/0"
    with zipfile.ZipFile(path) as archive:
        kept = {n: archive.read(n) for n in archive.namelist() if n != name}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for each, held in kept.items():
            archive.writestr(each, held)
        with archive.open(name, "w", force_zip64=True) as out:
            for _ in range(UNPACKED // 2**24 + 1):
                out.write(bytes(2**24))
    assert path.stat().st_size * RATIO < UNPACKED
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=f"must be at most {RATIO} times as large as it is packed"):
        file(path=str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["own.npz", "own.pt"])
def test_a_member_that_is_there_twice_is_refused(tmp_path, kind):
    path = write(tmp_path / kind)
    with zipfile.ZipFile(path, "a") as archive:
        name = archive.namelist()[0]
        archive.writestr(name, archive.read(name))
    with pytest.raises(ValueError, match="is there twice"):
        file(path=str(path))


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f2", ">i2", "u1", "i1", ">u2", "<u4", "?",
                                   ">u8", np.longdouble])  # fmt: skip
def test_every_number_type_is_read_in_either_byte_order(tmp_path, dtype):
    x = np.arange(120).reshape(30, 4) % 100
    want = file(path=str(write(tmp_path / "a.npz", HELD | {"x": x.astype(dtype).astype("f8")})))
    task = file(path=str(write(tmp_path / "b.npz", HELD | {"x": x.astype(dtype)})))
    assert torch.equal(task.x, want.x) and task.x.dtype == torch.float32
    order = HELD | {"x": np.asfortranarray(x.astype(dtype).astype("f8"))}
    assert torch.equal(file(path=str(write(tmp_path / "c.npz", order))).x, want.x)


@pytest.mark.parametrize("dtype", [">i4", ">i8", "<u8", "i1", ">u2"])
def test_labels_edges_and_masks_may_be_of_every_integer_type(tmp_path, dtype):
    want = content(file(path=str(write(tmp_path / "a.npz"))))
    odd = {k: HELD[k].astype(dtype) for k in HELD if k not in ("x", "directed")}
    assert content(file(path=str(write(tmp_path / "b.npz", HELD | odd)))) == want


def test_the_old_format_of_torch_is_said_to_have_no_checksums(tmp_path):
    held = {k: torch.as_tensor(v) for k, v in HELD.items()}
    torch.save(held, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(held, tmp_path / "new.pt")
    assert verify_torch(tmp_path / "new.pt") and not verify_torch(tmp_path / "old.pt")
    (note,) = file(path=str(tmp_path / "old.pt")).notes
    assert "has no checksums" in note and file(path=str(tmp_path / "new.pt")).notes == ()


def test_a_tensor_that_repeats_itself_beyond_its_file_is_refused(tmp_path):
    held = {k: torch.as_tensor(v) for k, v in HELD.items()}
    torch.save(held | {"x": torch.ones(1, 1).expand(10**6, 10**6)}, tmp_path / "large.pt")
    with pytest.raises(ValueError, match=r"`x` must not repeat .* from 4: save it `.contiguous"):
        file(path=str(tmp_path / "large.pt"))
    torch.save(held | {"x": torch.ones(1, 1).expand(30, 3)}, tmp_path / "small.pt")
    assert file(path=str(tmp_path / "small.pt")).num_features == 3
