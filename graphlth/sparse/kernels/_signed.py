"""Files that only this user can have written: a keyed digest (HMAC, RFC 2104) before the content.

To load compiled code is to run it, so what is damaged, or another's, must not be loaded. The key
lies where the user's caches do (`XDG_CACHE_HOME`, or `~/.cache`), readable by nobody else.
"""

import hmac
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from secrets import token_bytes
from stat import S_IRWXG, S_IRWXO, S_ISREG
from tempfile import NamedTemporaryFile

BYTES = 32  # of the key, and of a digest
LARGEST = 1 << 28  # bytes of a file that are read; what is compiled is far smaller


def sign(name: str, content: bytes) -> bytes:
    """What a file called `name` holds, from which `verified` gets `content` back.

    Raises:
        OSError: there is no place for the key.
    """
    return _digest(name, content) + content


def verify(name: str, path: Path) -> bytes | None:
    """The content of `path`, if it was `signed` with this name and key; None for all else."""
    try:
        with path.open("rb") as file:
            digest, content = file.read(BYTES), file.read(LARGEST)
        return content if hmac.compare_digest(digest, _digest(name, content)) else None
    except OSError:
        return None


def private(name: str) -> str:
    """16 hex digits for `name`, which differ from user to user.

    Raises:
        OSError: there is no place for the key.
    """
    return _digest("", name.encode()).hex()[:16]


def _digest(name: str, content: bytes) -> bytes:
    return hmac.digest(key(), name.encode() + b"\0" + content, "sha256")


def key() -> bytes:
    """What only this user knows; made where it is missing or damaged, or others could read it.

    Raises:
        OSError: there is no place for it.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(base):
        raise OSError(f"XDG_CACHE_HOME, or ~/.cache, must be a whole path, got {base!r}")
    return _key(Path(base, "graphlth", "key"))


@cache
def _key(path: Path) -> bytes:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = _read(path)
    if found == b"":
        path.unlink()
    if not found:
        with NamedTemporaryFile(dir=path.parent, prefix="key.") as draft:  # readable by its owner
            draft.write(token_bytes(BYTES))
            draft.flush()
            with suppress(FileExistsError):  # another process was first
                os.link(draft.name, path)
        found = _read(path)
    if not found:
        raise OSError(f"{path} is not a file that only its owner can read")
    return found


def _read(path: Path) -> bytes | None:
    """The key in `path`; None if there is no such file, nothing if it cannot be trusted.

    Raises:
        OSError: it is no file, but a folder, a link or a pipe.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would wait
    except FileNotFoundError:
        return None
    try:
        about = os.fstat(number)
        if not S_ISREG(about.st_mode):
            raise OSError(f"{path} is not a file")
        found = os.read(number, BYTES + 1)
    finally:
        os.close(number)
    mine, secret = about.st_uid == os.getuid(), not about.st_mode & (S_IRWXG | S_IRWXO)
    return found if mine and secret and len(found) == BYTES else b""
