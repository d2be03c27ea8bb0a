"""A model is trained in place, so by one thread at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock, get_ident
from weakref import WeakKeyDictionary

from torch import nn

_LOCK = RLock()  # a training that is collected as garbage ends in the middle of anything
_THREADS: WeakKeyDictionary[nn.Module, list[int]] = WeakKeyDictionary()  # of unfinished trainings


@contextmanager
def one_thread(model: nn.Module) -> Iterator[None]:
    """Within it no other thread trains `model`; trainings in this one may take turns.

    Raises:
        ValueError: another thread trains it.
    """
    here = get_ident()
    with _LOCK:
        threads = _THREADS.setdefault(model, [])
        if any(thread != here for thread in threads):
            raise ValueError("`model` must be trained by one thread at a time, got a "
                             f"{type(model).__name__} that another thread trains: give each "
                             "copy.deepcopy(model)")  # fmt: skip
        threads.append(here)
    try:
        yield
    finally:
        with _LOCK:
            threads.remove(here)
