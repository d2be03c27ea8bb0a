"""Values computed from an object, kept while the object lives and stays as it is."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

T = TypeVar("T")


class Memo(Generic[T]):
    """One value for each object, found by the object's identity.

    Objects are held weakly: a value is dropped with its object, so it must not refer to it. A
    value made of a tensor is made again once the tensor has been changed in place.
    """

    def __init__(self) -> None:
        self._entries: WeakIdKeyDictionary = WeakIdKeyDictionary()  # object -> (version, value)

    def __call__(self, key: Any, make: Callable[[], T]) -> T:
        """The value kept for `key`, else `make()`, which is kept from now on."""
        if isinstance(key, Tensor) and key.is_inference():  # its changes are not counted
            return make()
        version = key._version if isinstance(key, Tensor) else 0
        entry: tuple[int, T] | None = self._entries.get(key)
        if entry is None or entry[0] != version:
            entry = self._entries[key] = version, make()
        return entry[1]

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[Any, ...]:
        return Memo, ()  # a copy, in another process or not, starts empty
