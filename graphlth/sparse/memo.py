"""Values computed from an object, kept while the object lives and stays as it is."""

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import ref

from torch import Tensor

T = TypeVar("T")


class Memo(Generic[T]):
    """One value for each object, found by the object's identity.

    Objects are held weakly: a value is dropped with its object, so it must not refer to it. A
    value made of a tensor is made again once the tensor has been changed in place.

    `torch.utils.weak.WeakIdKeyDictionary` knows no versions and takes several times as long, which
    a training step of a sparse ticket, with 16 such values in 4 ms, would notice.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[ref[Any], int, T]] = {}  # by the object's id

    def __call__(self, key: Any, make: Callable[[], T]) -> T:
        """The value kept for `key`, else `make()`, which is kept from now on."""
        is_tensor = isinstance(key, Tensor)
        if is_tensor and key.is_inference():  # its changes are not counted
            return make()
        number, version = id(key), key._version if is_tensor else 0
        entry = self._entries.get(number)
        if entry is not None and entry[1] == version and entry[0]() is key:
            return entry[2]
        value = make()
        self._entries[number] = ref(key, partial(_forget, ref(self), number)), version, value
        return value

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[Any, ...]:
        return Memo, ()  # a copy, in another process or not, starts empty


def _forget(memo: "ref[Memo[Any]]", number: int, _: object) -> None:
    """Drop the value of an object that is gone."""
    alive = memo()
    if alive is not None:
        alive._entries.pop(number, None)
