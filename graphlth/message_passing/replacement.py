"""Attributes of modules and names in files that are something else for a while."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import lru_cache
from threading import Lock
from types import ModuleType
from typing import Any

from torch import nn

Function = Callable[..., Any]

SHARED = "torch_geometric.utils", "torch.utils.checkpoint"  # files that any model may call
_LOCK = Lock()
_USERS: Counter[tuple[str, str]] = Counter()  # contexts in which a name of a file is replaced


def replace_attribute(stack: ExitStack, module: nn.Module, name: str, value: Any) -> None:
    """Let `module.name` be `value` until `stack` is closed."""
    own = vars(module)
    if name in own:
        stack.callback(own.__setitem__, name, own[name])
    else:
        stack.callback(own.pop, name)
    own[name] = value


def replace_functions(
    stack: ExitStack, model: nn.Module, others: Mapping[Function, Function]
) -> None:
    """Let functions of PyG be `others` until `stack` is closed, where the classes of `model` are.

    Contexts in other threads may do the same: the last to leave restores a name.
    """
    kinds = {type(module) for module in model.modules()}
    names = tuple(sorted({cls.__module__ for kind in kinds for cls in kind.__mro__}))
    for file, name, plain in _imports((*names, *SHARED), *others.items()):
        with _LOCK:
            _USERS[file.__name__, name] += 1
            setattr(file, name, others[plain])
        stack.callback(_restore, file, name, plain)


@lru_cache(maxsize=64)
def _imports(
    names: tuple[str, ...], *others: tuple[Function, Function]
) -> list[tuple[ModuleType, str, Function]]:
    """Under which names these files hold functions that have others."""
    files = [sys.modules[name] for name in names if name in sys.modules]
    return [
        (file, name, plain)
        for file in files for name, value in vars(file).items()
        for plain, other in others if value is plain or value is other
    ]  # fmt: skip


def _restore(file: ModuleType, name: str, plain: Function) -> None:
    with _LOCK:
        _USERS[file.__name__, name] -= 1
        if not _USERS[file.__name__, name]:
            del _USERS[file.__name__, name]
            setattr(file, name, plain)
