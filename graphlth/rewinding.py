"""The weights of a model as they are now, set back to what they were, or drawn anew."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from graphlth.streams import stream_seed


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's parameters and buffers."""
    return {n: t.detach().clone() for n, t in model.state_dict().items()}


def rewind(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """`model` with its parameters and buffers set back to `state`, bit for bit."""
    model.load_state_dict(state)
    return model


def reinitialise(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """The state of `model` with weights drawn anew from `seed`; the model itself does not change.

    Weights that are frozen (`requires_grad` is False) stay, too.

    Raises:
        ValueError: neither the model nor any part of it has a `reset_parameters`.
    """
    fresh = deepcopy(model)
    parts: list[Any] = [fresh] if hasattr(fresh, "reset_parameters") else [*fresh.modules()]
    redraws = [part.reset_parameters for part in parts if hasattr(part, "reset_parameters")]
    if not redraws:
        raise ValueError("`model` must have a method `reset_parameters` to be drawn anew")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "reinitialise"))
        for redraw in redraws:
            redraw()
    frozen = {id(p) for p in model.parameters() if not p.requires_grad}
    named = model.named_parameters(remove_duplicate=False)
    return snapshot(fresh) | {n: p.detach().clone() for n, p in named if id(p) in frozen}
