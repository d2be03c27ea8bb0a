"""A call as bytes: what stands between a client and its workers need not load torch to pass it."""

import pickle
from collections.abc import Callable
from typing import Any


def pickle_call(function: Callable[..., Any], *given: Any) -> bytes:
    """The call of a function as bytes."""
    return pickle.dumps((function, given))


def run_pickled(call: bytes) -> Any:
    """What the function returns."""
    function, given = pickle.loads(call)
    return function(*given)
