"""Functions compiled by numba and kept on disk, which many processes may do at once.

Numba numbers the files of a function and keeps an index. Processes that compile at the same time
take the same number, and from then on one finds the code of the other (numba's issue 10128). Here
each file is named by all that its code depends on, and `_signed` tells whether it is whole and this
user's: any other is not there. Where nothing can be kept, every process compiles anew.
"""

import pickle
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

from graphlth.sparse.kernels._signed import key, private, sign, verify

STALE = 3600.0  # seconds after which the draft of a file is one whose writer was killed


def compiled(function: Callable[..., Any], *, inline: bool = False) -> Callable[..., Any]:
    """`function`, compiled when first called with arguments of new types, without Python's lock.

    With `inline` it becomes a part of the compiled functions that call it.
    """
    dispatcher = njit(nogil=True, error_model="numpy", forceinline=inline)(function)
    try:
        key()
        dispatcher._cache = _Cache(function)
    except OSError as error:
        _warn(str(error))
    except RuntimeError:  # numba's
        _warn(f"no folder can be written for {Path(function.__code__.co_filename).parent}")
    return dispatcher


inlined = partial(compiled, inline=True)


def _name_of(*parts: Any) -> str:
    """A name for what depends on `parts`."""
    return sha256(repr(parts).encode()).hexdigest()[:16]


def _state(folder: Path) -> str:
    """A name for numba and the files of `folder`: a compiled function holds parts of others."""
    files = [
        (path.name, sha256(path.read_bytes()).digest()) for path in sorted(folder.glob("*.py"))
    ]
    return _name_of(numba.__version__, llvmlite.__version__, files)


STATE = _state(Path(__file__).parent)


@cache  # once, not for every function
def _warn(reason: str) -> None:
    warnings.warn_explicit(  # one line: what is at fault is no line of code
        f"compiled code is not kept, and every start compiles it anew: {reason}; free some space, "
        "or set NUMBA_CACHE_DIR and XDG_CACHE_HOME to folders of your own",
        RuntimeWarning,
        "graphlth",
        0,
    )


class _Cache(FunctionCache):
    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        impl = self._impl
        stamp = impl.locator.get_source_stamp()
        self._cache_file = Files(self.cache_path, impl.filename_base, stamp)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what is compiled, if it can be kept."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn(f"cannot write to {self.cache_path}: {error.strerror or error}")


class Files(IndexDataCacheFile):
    """The files of a function, one for each key, without an index."""

    def save(self, key: Any, data: Any) -> None:
        """Keep what is compiled, and remove what other states of the code have left."""
        name, content = self._name(key), self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(sign(name, content))
        for path in Path(self._cache_path).glob("*.nbc*"):
            with suppress(OSError):  # another user's
                stale = path.suffix != ".nbc" and time.time() - path.stat().st_mtime > STALE
                if STATE not in path.name or stale:
                    path.unlink(missing_ok=True)

    def load(self, key: Any) -> Any:
        """What was compiled, or None."""
        name = self._name(key)
        content = verify(name, Path(self._data_path(name)))
        return None if content is None else pickle.loads(content)

    def _name(self, key: Any) -> str:
        function = self._index_name.removesuffix(".nbi")
        return f"{function}.{STATE}.{private(repr((self._source_stamp, key)))}.nbc"
