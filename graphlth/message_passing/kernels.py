"""Operators with a kernel of our own behind them."""

from collections.abc import Callable

from torch import Tensor, nn

from graphlth.message_passing.call import Call

KERNELS: dict[type, Callable[[nn.Module, Call], Tensor | None]] = {}  # in place of `propagate`
EDGE_KERNELS: dict[type, Callable[[nn.Module, Call], Tensor | None]] = {}  # of `edge_updater`
