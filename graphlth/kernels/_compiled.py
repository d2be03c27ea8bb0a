"""Functions compiled by numba and kept on disk, which many processes may do at once.

Numba numbers the files of a function and keeps an index. Processes that compile at the same time
take the same number, and from then on one finds the code of the other (numba's issue 10128). Here
each file is named by all that its code depends on.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile


def compiled(function: Callable[..., Any], *, inline: bool = False) -> Callable[..., Any]:
    """`function`, compiled when first called with arguments of new types, without Python's lock.

    With `inline` it becomes a part of the compiled functions that call it.
    """
    dispatcher = njit(nogil=True, error_model="numpy", forceinline=inline)(function)
    dispatcher._cache = _Cache(function)
    return dispatcher


inlined = partial(compiled, inline=True)


def _named(*parts: Any) -> str:
    """A name for what depends on `parts`."""
    return sha256(repr(parts).encode()).hexdigest()[:16]


def _state(folder: Path) -> str:
    """A name for numba and the files of `folder`: a compiled function holds parts of others."""
    stats = [(path.name, path.stat()) for path in sorted(folder.glob("*.py"))]
    return _named(numba.__version__, [(name, s.st_mtime_ns, s.st_size) for name, s in stats])


STATE = _state(Path(__file__).parent)


class _Cache(FunctionCache):
    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        impl = self._impl
        stamp = impl.locator.get_source_stamp()
        self._cache_file = Files(self.cache_path, impl.filename_base, stamp)


class Files(IndexDataCacheFile):
    """The files of a function, one for each key, without an index."""

    def save(self, key: Any, data: Any) -> None:
        """Keep what is compiled, and remove what other states of the code have left."""
        self._save_data(self._name(key), data)
        for path in Path(self._cache_path).glob("*.nbc"):
            if STATE not in path.name:
                path.unlink(missing_ok=True)

    def load(self, key: Any) -> Any:
        """What was compiled, or None."""
        try:
            return self._load_data(self._name(key))
        except FileNotFoundError:
            return None

    def _name(self, key: Any) -> str:
        function = self._index_name.removesuffix(".nbi")
        return f"{function}.{STATE}.{_named(self._source_stamp, key)}.nbc"
