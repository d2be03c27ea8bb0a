"""Functions compiled by numba and kept on disk, which many processes may do at once.

Numba numbers the files of a function and keeps an index. Processes that compile at the same time
take the same number, and from then on one finds the code of the other (numba's issue 10128). Here
each file is named by all that its code depends on.
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled when first called with arguments of new types, without Python's lock."""
    dispatcher = njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = _Cache(function)
    return dispatcher


class _Cache(FunctionCache):
    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        impl = self._impl
        stamp = impl.locator.get_source_stamp()
        self._cache_file = Files(self.cache_path, impl.filename_base, stamp)


class Files(IndexDataCacheFile):
    """The files of a function, one for each key, without an index."""

    def save(self, key: Any, data: Any) -> None:
        """Keep what is compiled."""
        self._save_data(self._named(key), data)

    def load(self, key: Any) -> Any:
        """What was compiled, or None."""
        try:
            return self._load_data(self._named(key))
        except FileNotFoundError:
            return None

    def _named(self, key: Any) -> str:
        told = repr((self._version, self._source_stamp, _sources(), key))
        return self._data_name(int(sha256(told.encode()).hexdigest()[:16], 16))


@cache
def _sources() -> list[tuple[str, int, int]]:
    """Of what compiled functions are made: they hold those of other files, too."""
    files = ((path.name, path.stat()) for path in sorted(Path(__file__).parent.glob("*.py")))
    return [(name, stat.st_mtime_ns, stat.st_size) for name, stat in files]
