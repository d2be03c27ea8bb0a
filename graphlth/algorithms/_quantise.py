"""Networks that compute in few bits, simulated in floating point."""

from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.ao.nn import qat
from torch.ao.quantization import (
    FusedMovingAvgObsFakeQuantize,
    MovingAverageMinMaxObserver,
    QConfig,
)

from graphlth.settings.annotations import check_value

FULL = 32
Bits = Literal[2, 3, 4, 5, 6, 7, 8, 32]
TWINS: dict[type[nn.Module], Any] = {nn.Conv2d: qat.Conv2d, nn.Linear: qat.Linear}


def quantise(model: nn.Module, bits: Bits) -> nn.Module:
    """`model` with layers that see 2^bits values; its parameters and buffers are the model's own.

    Every convolution and linear map rounds its input and its weights to 2^bits evenly spaced values
    from the least to the greatest of the tensor, 0 among them; gradients pass straight through.
    Biases, norms and sums stay as they are, and so does a layer of a class of your own. With 32
    bits it is `model` itself.

    Raises:
        ValueError: `bits` is none of 2 to 8 and 32.
    """
    check_value("bits", bits, Bits)
    if bits == FULL:
        return model
    own: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    net, rounding = deepcopy(model, own), _rounding(bits)
    for name, layer in [*net.named_modules()]:
        if type(layer) in TWINS:
            layer.qconfig = rounding
            twin = TWINS[type(layer)].from_float(layer)
            twin.rounding = rounding.activation()
            twin.register_forward_pre_hook(_round_input)
            net.set_submodule(name, twin)
    return net.to(next(model.parameters()).device)


def _round_input(layer: Any, inputs: tuple[Tensor, ...]) -> Tensor:
    x: Tensor = layer.rounding(inputs[0])
    return x


def _rounding(bits: int) -> Any:
    """What rounds inputs and weights; it remembers nothing from one tensor to the next."""
    rounding = FusedMovingAvgObsFakeQuantize.with_args(
        observer=MovingAverageMinMaxObserver, averaging_constant=1.0,
        quant_min=0, quant_max=2**bits - 1, dtype=torch.quint8, qscheme=torch.per_tensor_affine,
    )  # fmt: skip
    return QConfig(activation=rounding, weight=rounding)
