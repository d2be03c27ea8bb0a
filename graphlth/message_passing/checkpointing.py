"""Steps that a model would run again in the backward pass, where edges are not masked.

While edges are masked, what `torch.utils.checkpoint` leaves out of memory is kept: the gradients
are the same.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils import checkpoint

from graphlth.message_passing.tracking import is_masking

_PLAIN_FUNCTION: Any = checkpoint.CheckpointFunction
_NAME = "_checkpoint_without_reentrant_generator"
_PLAIN = getattr(checkpoint, _NAME, None)  # None: of another torch, which raises CheckpointError


class _RunsOnce:
    """`CheckpointFunction` of torch, whose function runs in the forward pass alone."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        if is_masking():
            return function(*args)
        return _PLAIN_FUNCTION.apply(function, preserve_rng_state, *args)


def _keep_all(
    function: Callable[..., Any], preserve: bool, context: Callable[[], Any], *args: Any,
    **kwargs: Any,
) -> Iterator[None]:  # fmt: skip
    """What stands around the call of `function` by `checkpoint`, which is not to run it again."""
    if is_masking():
        with context()[0]:
            yield
    else:
        assert _PLAIN is not None
        yield from _PLAIN(function, preserve, context, *args, **kwargs)


CHECKPOINTS: dict[Callable[..., Any], Callable[..., Any]] = {
    _PLAIN_FUNCTION: _RunsOnce,
    **({} if _PLAIN is None else {_PLAIN: _keep_all}),
}
