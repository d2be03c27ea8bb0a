"""Files of arrays and tensors, `.npz` and `.pt`: archives whose checksums are verified.

Only the members that are asked for are read, and none is unpacked, or believed to hold numbers,
beyond what its archive can be trusted with: a small file takes no large memory.
"""

import io
import math
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphlth.storage import printable

Array = NDArray[Any]

UNPACKED, RATIO = 2**28, 100  # bytes of a member, beyond which it has at most RATIO packed times
CHUNK = 2**20
LINE = 500  # characters of another program's error, or of a file's names, that are shown
HEAD = struct.Struct("<26xHH")  # before a member: the lengths of its name and of what follows
TORCH = ("data.pkl", "byteorder", "version", ".format_version", ".storage_alignment")


def one_line(error: BaseException) -> str:
    """The first line of an error's text, or its type; what a file gave it is made printable."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0][:LINE])


def arrays(path: Path, keys: Sequence[str]) -> dict[str, Array]:
    """Those of the arrays `keys` that the `.npz` file `path` has, in this machine's byte order.

    Raises:
        ValueError: the file is damaged, or one of these holds Python objects or fields.
    """
    with path.open("rb") as file:  # what cannot be opened is no damage
        try:
            with zipfile.ZipFile(file) as archive:
                known = dict(_members(archive))
                asked = [key for key in keys if f"{key}.npy" in known]
                return {key: _array(archive, known[f"{key}.npy"], key) for key in asked}
        except Exception as error:  # a damaged archive can raise anything
            why = one_line(error)
            raise ValueError(f"{path}: not a readable file of arrays ({why})") from error


def array_names(path: Path) -> list[str]:
    """The names of the arrays in the `.npz` file `path`, which `arrays` has read."""
    with zipfile.ZipFile(path) as archive:
        return sorted(name.removesuffix(".npy") for name in archive.namelist())


def verify_torch(path: Path) -> bool:
    """Whether the `.pt` file `path` is an archive with checksums, which have then been compared.

    The format of torch before 1.6 has none.

    Raises:
        ValueError: the file is damaged.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            return False
        try:
            with zipfile.ZipFile(file) as archive:
                for name, member in _members(archive):
                    inner = name.partition("/")[2]
                    if inner in TORCH or inner.startswith("data/"):
                        _compare(archive, member)
        except Exception as error:
            why = one_line(error)
            raise ValueError(f"{path}: not a readable file of tensors ({why})") from error
    return True


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Every member under its name, which must stand before it as it does in the list of all.

    A name that is damaged in one of these places would be a member that nobody misses.
    """
    names = set()
    file = archive.fp
    assert file is not None  # it is open
    for member in archive.infolist():
        file.seek(member.header_offset)
        length, _ = HEAD.unpack(file.read(HEAD.size))
        if file.read(length) != member.orig_filename.encode("utf-8"):
            raise ValueError(f"the name of {member.orig_filename!r} is damaged")
        if member.filename in names:
            raise ValueError(f"{member.filename!r} is there twice")
        names.add(member.filename)
        yield member.filename, member


def _check_size(member: zipfile.ZipInfo) -> None:
    if member.file_size > max(UNPACKED, RATIO * member.compress_size):
        raise ValueError(
            f"{member.filename!r} must be at most {RATIO} times as large as it is packed or "
            f"{UNPACKED:,} bytes, got {member.file_size:,} from {member.compress_size:,}: "
            "save it unpacked (np.savez), or sparse"
        )


def _compare(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Compare the checksum of `member`; its content is not kept."""
    _check_size(member)
    with archive.open(member) as file:
        while file.read(CHUNK):  # raises at the end
            pass


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, key: str) -> Array:
    """The array that `member` holds."""
    _check_size(member)
    content = archive.read(member)  # its checksum is compared
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0,
               (2, 0): np.lib.format.read_array_header_2_0}  # fmt: skip
    if version not in readers:
        raise ValueError(f"`{key}` has fields")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError(
            f"`{key}` holds Python objects, which could run code: save text as "
            f"np.array({key}, dtype=str), numbers as an array of one type"
        )
    count, size = math.prod(shape), len(content) - file.tell()
    if min(shape, default=0) < 0 or count * dtype.itemsize != size:
        raise ValueError(f"`{key}` must hold the {count:,} numbers that it claims, got {size:,} "
                         "bytes")  # fmt: skip
    values = np.frombuffer(content, dtype, count, file.tell()) if size else np.empty(count, dtype)
    return values.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="))
