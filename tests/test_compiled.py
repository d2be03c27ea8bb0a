"""Compiled code on disk: what is not whole and this user's own is compiled again."""

import errno
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from graphlth.sparse.kernels import _compiled, _signed
from graphlth.sparse.kernels._compiled import Files, compiled
from graphlth.sparse.kernels._signed import BYTES, key, sign, verify


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder of caches for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    _signed._key.cache_clear()
    _compiled._warn.cache_clear()
    yield tmp_path / "home"
    _signed._key.cache_clear()


def flipped(data, byte):
    return data[:byte] + bytes([data[byte] ^ 16]) + data[byte + 1 :]


class Trap:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (3,)


DAMAGED = {
    "empty": lambda data: b"",
    "cut in the digest": lambda data: data[: BYTES // 2],
    "without content": lambda data: data[:BYTES],
    "cut": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "flipped in the digest": lambda data: flipped(data, 3),
    "flipped at its start": lambda data: flipped(data, BYTES),
    "flipped at its end": lambda data: flipped(data, len(data) - 1),
    "zeros": lambda data: bytes(len(data)),
    "no signature": lambda data: data[BYTES:],
    "a foreign pickle": lambda data: pickle.dumps(Trap()),
    "a foreign pickle below its digest": lambda data: data[:BYTES] + pickle.dumps(Trap()),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_file_is_not_there_and_is_made_again(how, tmp_path):
    files = Files(str(tmp_path), "sum", "stamp")
    files.save("int", 1)
    [path] = tmp_path.glob("*.nbc")
    path.write_bytes(DAMAGED[how](path.read_bytes()))
    assert files.load("int") is None
    files.save("int", 1)
    assert files.load("int") == 1


def test_a_file_is_read_under_its_own_name_alone(tmp_path):
    files = Files(str(tmp_path), "sum", "stamp")
    files.save("int", 1)
    [one] = tmp_path.glob("*.nbc")
    files.save("float", 2)
    [other] = {*tmp_path.glob("*.nbc")} - {one}
    other.write_bytes(one.read_bytes())
    assert files.load("float") is None


def test_the_file_of_another_user_is_never_loaded_nor_replaced(tmp_path, monkeypatch):
    files = Files(str(tmp_path), "sum", "stamp")
    files.save("int", Trap())
    [theirs] = tmp_path.glob("*.nbc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert files.load("int") is None
    files.save("int", 2)
    assert files.load("int") == 2 and theirs.exists()
    [ours] = {*tmp_path.glob("*.nbc")} - {theirs}
    ours.write_bytes(theirs.read_bytes())
    assert files.load("int") is None


def test_the_key_is_readable_by_its_owner_alone_and_stays(home):
    first = key()
    [path] = (home / "graphlth").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_bytes() == first and len(first) == BYTES
    _signed._key.cache_clear()
    assert key() == first


UNTRUSTED = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "readable by others": lambda path: path.chmod(0o644),
    "writable by others": lambda path: path.chmod(0o620),
}


@pytest.mark.parametrize("how", UNTRUSTED)
def test_a_key_that_is_damaged_or_open_to_others_is_made_anew(how, home):
    first, path = key(), home / "graphlth" / "key"
    UNTRUSTED[how](path)
    _signed._key.cache_clear()
    assert key() != first and len(key()) == BYTES
    assert path.read_bytes() == key() and path.stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_a_link_is_not_followed(home, tmp_path):
    (home / "graphlth").mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(bytes(BYTES))
    (tmp_path / "elsewhere").chmod(0o600)
    (home / "graphlth" / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        key()


def test_processes_that_start_at_once_have_one_key(home):
    code = "from graphlth.sparse.kernels._signed import key; print(key().hex())"
    run = {"stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([sys.executable, "-c", code], **run) for _ in range(4)]
    found = {process.communicate(timeout=60)[0] for process in running}
    assert found == {key().hex() + "\n"}


def test_what_is_not_a_file_is_not_there(tmp_path):
    assert verify("name", tmp_path / "missing") is None
    assert verify("name", tmp_path) is None
    (tmp_path / "file").write_bytes(sign("name", b"content"))
    assert verify("name", tmp_path / "file") == b"content"
    assert verify("another", tmp_path / "file") is None


def twice(x):
    return x + x


def test_without_a_place_for_the_key_functions_work_and_the_reason_is_said_once(
    tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # nobody can write below a file
    with pytest.warns(
        RuntimeWarning, match="compiled code is not kept.*file.*NUMBA_CACHE_DIR"
    ) as w:
        assert compiled(twice)(2) == 4 and compiled(lambda x: x * x)(3) == 9
    assert len(w) == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux lists open files")
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("gone")])
def test_a_key_that_is_no_file_is_named_once_left_there_and_not_left_open(home, make):
    path = home / "graphlth" / "key"
    path.parent.mkdir(parents=True)
    make(path)
    before = os.listdir("/proc/self/fd")
    with pytest.warns(RuntimeWarning, match=f"compiled code is not kept.*{path}") as w:
        for _ in range(3):
            assert compiled(twice)(2) == 4
    assert len(w) == 1 and os.listdir("/proc/self/fd") == before
    assert path.is_dir() or path.is_fifo() or path.is_symlink()


def test_a_home_that_is_no_whole_path_gets_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    with pytest.raises(OSError, match="must be a whole path, got 'here'"):
        key()
    assert not [*tmp_path.iterdir()]


def test_without_a_folder_for_the_files_functions_work_and_the_reason_is_said_once(monkeypatch):
    refused = RuntimeError("cannot cache function 'twice': no locator available for file 'a.py'")
    monkeypatch.setattr(_compiled, "_Cache", lambda function: (_ for _ in ()).throw(refused))
    with pytest.warns(RuntimeWarning, match="no folder can be written for .*tests") as w:
        assert compiled(twice)(2) == 4 and compiled(twice)(2.5) == 5
    assert len(w) == 1


def test_on_a_full_disk_functions_work_and_nothing_half_written_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path / "cache"))

    def full(name, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.warns(RuntimeWarning, match="No space left") as w:
        patch.setattr(_compiled, "sign", full)
        function = compiled(twice)
        assert (function(2), function(2.5)) == (4, 5)
    assert len(w) == 1 and str(tmp_path / "cache") in str(w[0].message)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    with warnings.catch_warnings(action="error"):
        assert compiled(twice)(2) == 4, "there is space again"
    assert len([*(tmp_path / "cache").rglob("*.nbc")]) == 1


def test_what_a_killed_writer_left_is_removed_in_an_hour_and_not_before(tmp_path):
    files = Files(str(tmp_path), "sum", "stamp")
    files.save("int", 1)
    [path] = tmp_path.glob("*.nbc")
    old, new = (path.with_name(f"{path.name}.tmp.{age}") for age in ("old", "new"))
    for draft in (old, new):
        draft.write_bytes(b"half")
    os.utime(old, (0, 0))
    files.save("float", 2)
    assert new.exists() and not old.exists()
    assert (files.load("int"), files.load("float")) == (1, 2)
