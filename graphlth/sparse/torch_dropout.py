"""torch's own dropout on a CPU, number for number, in less time.

torch draws from its Mersenne twister one number after another, which can take longer than all else
in a pass. Here compiled loops draw the same numbers and leave the generator in the same state. With
MKL on Intel's processors torch draws others: whether they are the same is seen in a first draw.
"""

from functools import cache
from math import ceil
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from graphlth.sparse import vmap
from graphlth.sparse.kernels._memory import new_empty

BITS = 53  # of a chance
LEFT, NEXT, STATE = slice(8, 12), slice(16, 24), slice(24, 24 + 624 * 8)  # bytes of torch's state
FEW = 1 << 12  # numbers, up to which torch's own loop is as fast
TRIAL = 1300  # numbers of the first draw: more than the words of four times
_LOCK = Lock()  # a state is read, used and written back


class _State(NamedTuple):
    """The state of one of torch's generators on a CPU."""

    content: Tensor  # the bytes of `torch.get_rng_state`
    words: Any  # [624]
    place: int  # of the first word that is not used up


def dropout(x: Tensor, p: float, training: bool = True, inplace: bool = False) -> Tensor:
    """What `torch.nn.functional.dropout` returns, with the numbers that it draws."""
    plain = type(p) is float and training is True and inplace is False  # torch refuses some others
    if not (plain and 0 < p < 1 and _is_known(x) and _draws_the_same()):
        return F.dropout(x, p, training, inplace)
    scale = x.new_ones(()).div_(1 - p).item()
    noise = new_empty(x, *x.shape)
    with _LOCK:
        torch.set_rng_state(_fill(noise, 1 - p, scale, torch.get_rng_state()))
    return x * noise


class DropoutMode(TorchFunctionMode):
    """A context in which `torch.nn.functional.dropout` is the function above."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.dropout and not torch.compiler.is_compiling():
            return dropout(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _is_known(x: Tensor) -> bool:
    plain = type(x) in (Tensor, torch.nn.Parameter) and x.layout == torch.strided
    if not plain or vmap.inside() or torch._C._get_tracing_state():
        return False
    if x.device.type != "cpu" or x.numel() < FEW:
        return False
    return x.dtype in (torch.float32, torch.float64) and x.is_contiguous()


@cache
def _draws_the_same() -> bool:
    """Whether torch, as it is built and on this processor, draws these numbers."""
    torchs = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        own, before = torch.empty(TRIAL, dtype=dtype), torchs.get_state()
        after = _fill(own, 0.3, 1.0, before)
        drawn = torch.empty_like(own).bernoulli_(0.3, generator=torchs)
        if not torch.equal(drawn, own) or not torch.equal(after, torchs.get_state()):
            return False
    return True


def _fill(out: Tensor, chance: float, value: float, state: Tensor) -> Tensor:
    """Fill `out` with `value` by chance, else 0, and give the state that follows."""
    from graphlth.sparse.kernels._bernoulli import draw  # loads slowly

    content, words, place = _read_state(state)
    below = ceil(chance * 2**BITS)
    high, low = np.uint32(below >> 32), np.uint32(below & 0xFFFFFFFF)
    flat = out.view(-1).numpy()
    place = draw(words, place, high, low, flat.dtype.type(value), flat)
    return _write_state(_State(content, words, place))


def _read_state(state: Tensor) -> _State:
    content = state.clone()
    held = content.numpy()
    words = held[STATE].view(np.uint64).astype(np.uint32)
    is_used_up = held[LEFT].view(np.int32)[0] == 1
    return _State(content, words, len(words) if is_used_up else int(held[NEXT].view(np.uint64)[0]))


def _write_state(state: _State) -> Tensor:
    held = state.content.numpy()
    held[LEFT].view(np.int32)[0] = len(state.words) + 1 - state.place
    held[NEXT].view(np.uint64)[0] = state.place
    held[STATE].view(np.uint64)[:] = state.words
    return state.content
