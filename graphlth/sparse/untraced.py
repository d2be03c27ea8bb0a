"""Functions that torch's compiler calls as they are.

It traces NumPy arrays as tensors of its own, so that what a compiled loop writes into one is lost.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=type)


def untraced(function: F) -> F:
    """`function`, which is not traced where `torch.compile` meets it.

    The compiler loads slowly (4 s): it is not asked for before it is there.
    """
    disabled: list[Callable[..., Any]] = []  # no `functools.cache`, which the compiler warns of

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not disabled:
            disabled.append(torch.compiler.disable(function))
        return disabled[0](*args, **kwargs)

    return call  # type: ignore[return-value]


def untraced_methods(kind: T) -> T:
    """The class `kind`, none of whose public methods is traced."""
    for name, value in [*vars(kind).items()]:
        if callable(value) and not name.startswith("_"):
            setattr(kind, name, untraced(value))
    return kind
