"""Whole channels: their norms, masks that remove them, and the smaller network without them.

A hidden channel is an output of one convolution or linear map that only the next one reads: the two
lie in one `nn.Sequential`, of any model, with nothing but norms, activations, pooling, dropout and
`Flatten` between them. All other channels stay: those of a residual stream, which several blocks
read, and the network's outputs.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphlth.masks import Masks, ones
from graphlth.prune import drop_lowest

Map = nn.Conv2d | nn.Linear
Norm = nn.BatchNorm1d | nn.BatchNorm2d
POINTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Identity)
ANYWHERE = (*POINTWISE, nn.Dropout, nn.Flatten)
OF_IMAGES = (nn.BatchNorm2d, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
AFTER = {nn.Conv2d: (*ANYWHERE, *OF_IMAGES), nn.Linear: (*ANYWHERE, nn.BatchNorm1d)}


@dataclass(frozen=True)
class Level:
    """The hidden channels between two layers, by the names of the modules."""

    maker: str  # each of its outputs is a channel
    between: tuple[str, ...]
    reader: str  # the only layer that reads them
    norms: tuple[str, ...]  # those of `between`
    size: int  # channels

    @property
    def scales(self) -> list[str]:
        """The parameters that its norms multiply channels by."""
        return [f"{norm}.weight" for norm in self.norms]


def hidden_levels(model: nn.Module) -> list[Level]:
    """The hidden channels of `model`, layer by layer.

    A `Linear` is taken to be applied to vectors [B, F], and an `nn.Sequential` to be called as a
    whole. A layer that is used twice, or frozen, or of a class of your own, keeps its channels.
    """
    every = [m for _, m in model.named_modules(remove_duplicate=False)]
    used = Counter(id(p) for m in every for p in m.parameters(recurse=False))
    nested = {id(child) for m in every if _is_sequential(m) for child in m.children()}
    found = []
    for name, m in model.named_modules():
        if _is_sequential(m) and id(m) not in nested:
            found += [level for level in _levels_of_chain(dict(_flatten(name, m)), used)]
    return found


def _is_sequential(m: nn.Module) -> bool:
    return isinstance(m, nn.Sequential) and type(m).forward is nn.Sequential.forward


def _flatten(name: str, m: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that `m` applies in turn, nested ones too."""
    if not _is_sequential(m):
        yield name, m
        return
    for key, child in m._modules.items():  # `named_children` tells a repeated one once
        assert child is not None
        yield from _flatten(f"{name}.{key}" if name else key, child)


def _levels_of_chain(chain: Mapping[str, nn.Module], used: Mapping[int, int]) -> Iterator[Level]:
    maker: str = ""
    between: list[str] = []
    for name, m in chain.items():
        if type(m) in (nn.Conv2d, nn.Linear):
            if maker and _is_hidden([chain[n] for n in (maker, *between, name)], used):
                norms = tuple(n for n in between if isinstance(chain[n], Norm))
                size = chain[maker].weight.size(0)  # type: ignore[operator]
                yield Level(maker, tuple(between), name, norms, size)
            maker, between = name, []
        elif type(m) in (*ANYWHERE, *OF_IMAGES, nn.BatchNorm1d):
            between.append(name)
        else:
            maker, between = "", []


def _is_hidden(chain: list[nn.Module], used: Mapping[int, int]) -> bool:
    """Whether every output of the first is a channel that the last reads, and no other layer."""
    maker, *between, reader = chain
    assert isinstance(maker, Map) and isinstance(reader, Map)
    size, columns = maker.weight.size(0), reader.weight.size(1)
    flat = sum(isinstance(m, nn.Flatten) for m in between)
    if isinstance(maker, nn.Conv2d) and isinstance(reader, nn.Linear):
        fits = flat == 1 and columns % size == 0
    else:
        fits = type(maker) is type(reader) and columns == size and not flat
    return (
        fits
        and all(used[id(p)] == 1 and p.requires_grad for m in chain for p in m.parameters())
        and getattr(maker, "groups", 1) == 1  # a reader with groups has fewer columns
        and all(type(m) in AFTER[type(maker)] and _treats_channels_apart(m, size) for m in between)
    )


def _treats_channels_apart(m: nn.Module, size: int) -> bool:
    """Whether `m` treats each of `size` channels by itself and leaves a constant one constant."""
    if isinstance(m, Norm):
        return m.num_features == size and m.affine and m.running_mean is not None
    if isinstance(m, nn.AvgPool2d):
        return m.padding in (0, (0, 0)) and m.divisor_override is None
    return not isinstance(m, nn.Flatten) or (m.start_dim, m.end_dim) == (1, -1)


# --- masks ---------------------------------------------------------------------------------------


def norm_scales(model: nn.Module) -> dict[str, Tensor]:
    """|γ| of each hidden channel [C] that has a norm, by layer (Liu et al., ICCV 2017)."""
    scales = {v.maker: v.norms[0] for v in hidden_levels(model) if v.norms}
    values = dict(model.named_parameters())
    return {maker: values[f"{norm}.weight"].detach().abs() for maker, norm in scales.items()}


def filter_norms(model: nn.Module) -> dict[str, Tensor]:
    """The L1 norm of the filter of each hidden channel [C], by layer (Li et al., ICLR 2017)."""
    values = dict(model.named_parameters())
    filters = {v.maker: values[f"{v.maker}.weight"].detach() for v in hidden_levels(model)}
    return {maker: w.abs().flatten(1).sum(1) for maker, w in filters.items()}


def channel_masks(
    model: nn.Module,
    scores: Masks,
    fraction: float,
    scope: str = "global",
    masks: Masks | None = None,
) -> dict[str, Tensor]:
    """The masks that remove the `fraction` of all scored channels that score lowest.

    Those of `kept_channels`, expanded to the parameters; the arguments are its own.
    """
    return expand_channels(model, kept_channels(model, scores, fraction, scope, masks))


def kept_channels(
    model: nn.Module,
    scores: Masks,
    fraction: float,
    scope: str = "global",
    masks: Masks | None = None,
) -> dict[str, Tensor]:
    """The mask [C] of each scored layer without the `fraction` of channels that score lowest.

    Exactly `round(fraction · channels)` go, ranked over all layers together (You et al., ICLR 2020,
    on |γ|) or within each (Li et al., on L1 norms). Of each layer the best channel goes last.

    Args:
        model: the network.
        scores: of the channels of some layers, as `norm_scales` and `filter_norms` give them.
        fraction: what part of the channels goes, in [0, 1).
        scope: "global" or "layer".
        masks: whole channels that are gone already, as `channel_masks` gives them; they neither
            count nor return.

    Raises:
        ValueError: `scores` is empty or not of hidden channels, `fraction` is outside [0, 1) or
            leaves no channel in a layer, or `scope` is unknown.
    """
    alive = surviving_channels(model, masks) if masks else {}
    return keep_highest(scores, alive, fraction, scope)


def keep_highest(
    scores: Masks, alive: Masks, fraction: float, scope: str = "global"
) -> dict[str, Tensor]:
    """What `kept_channels` gives, of the channels that are `alive` [C], by layer.

    Raises:
        ValueError: as `kept_channels`.
    """
    if not scores:
        raise ValueError("`scores` must hold a layer, got none: are there such hidden channels?")
    left = {n: alive[n].to(s) if alive else torch.ones_like(s) for n, s in scores.items()}
    best = {n: s.masked_fill(left[n] == 0, -torch.inf).argmax() for n, s in scores.items()}
    safe = {n: s.index_fill(0, best[n], torch.inf) for n, s in scores.items()}
    kept = drop_lowest(left, safe, fraction, scope)
    if empty := [n for n, k in kept.items() if not k.any()]:
        raise ValueError(f"`fraction` must leave every layer a channel, got {fraction}, "
                         f"which leaves {empty[0]!r} none")  # fmt: skip
    return kept


def surviving_channels(model: nn.Module, masks: Masks) -> dict[str, Tensor]:
    """Which hidden channels [C] have a weight left, by layer."""
    return {v.maker: masks[f"{v.maker}.weight"].flatten(1).any(1) for v in hidden_levels(model)}


def expand_channels(model: nn.Module, kept: Masks) -> dict[str, Tensor]:
    """The masks of the parameters of `model` under the channel masks `kept` [C], by layer.

    A channel takes with it the weights that make it and those that read it, its bias and the scale
    and shift of its norm, so these are named too: of every layer of `kept`, removed or not.

    Raises:
        ValueError: a layer of `kept` has no hidden channels, or another number of them.
    """
    sizes = {v.maker: v.size for v in hidden_levels(model)}
    for n, k in kept.items():
        if sizes.get(n) != k.numel():
            raise ValueError(f"`kept` must hold layers with hidden channels of `model`, got {n!r} "
                             f"of {k.numel()} where there are {sizes.get(n, 'none')}")  # fmt: skip
    values, masks = dict(model.named_parameters()), ones(model)
    for v in hidden_levels(model):
        if v.maker not in kept:
            continue
        k = kept[v.maker]
        for n in (f"{m}.{p}" for m in (v.maker, *v.norms) for p in ("weight", "bias")):
            if n in values:
                m = masks.get(n, torch.ones_like(values[n], requires_grad=False))
                masks[n] = m * k.view(-1, *[1] * (m.dim() - 1)).to(m)
        m = masks[f"{v.reader}.weight"]
        masks[f"{v.reader}.weight"] = (
            _weights_by_channel(m, v.size) * k.view(-1, 1).to(m)
        ).view_as(m)
    return masks


def _weights_by_channel(weight: Tensor, size: int) -> Tensor:
    """The weights [out, C, positions] of the layer that reads `size` = C channels."""
    return weight.reshape(weight.size(0), size, -1)


# --- the smaller network -------------------------------------------------------------------------


@torch.no_grad()
def shrink(model: nn.Module, masks: Masks) -> nn.Module:
    """`model` under `masks` without its dead channels: ordinary, smaller layers, in eval mode.

    In eval mode it computes what the masked model computes. A hidden channel is dead if nothing
    reads it, or if it is the same number everywhere: its filter is gone, or the scale of its norm
    is 0. That number moves into the biases of the layer that reads it; where it is not 0 and that
    layer pads the image, the border would differ, so such a channel stays. At least one channel of
    a layer stays. Scattered zeros among the weights of living channels stay as zeros.

    Raises:
        ValueError: a mask is of no parameter of `model`, or of another shape.
    """
    small = copy.deepcopy(model).eval().requires_grad_(True)  # frozen channels go where dead, too
    values = dict(small.named_parameters())
    for n, m in masks.items():
        if n not in values or values[n].shape != m.shape:
            raise ValueError(f"`masks` must be of parameters of `model`, got {n!r} {list(m.shape)}")
        values[n].mul_(m)
    while sum(
        _remove_dead(small, level) for level in hidden_levels(small)
    ):  # a channel's end may be another's
        pass
    return small


def _remove_dead(model: nn.Module, level: Level) -> bool:
    """Take the dead channels of `level` out of `model`; whether there were any."""
    maker, reader = (model.get_submodule(n) for n in (level.maker, level.reader))
    assert isinstance(maker, Map) and isinstance(reader, Map)
    between = [model.get_submodule(n) for n in level.between]
    fixed, value = _constant_channels(maker, between)
    links = _weights_by_channel(reader.weight, level.size)
    read = links.any(2).any(0)
    movable = (value == 0) | (isinstance(reader, nn.Linear) or reader.padding in ((0, 0), "valid"))
    dead = ~read | (fixed & movable)
    if dead.all():
        dead[0] = False
    if not dead.any():
        return False
    moved = links.sum(2)[:, dead & read] @ value[dead & read]  # [out]
    if moved.any():
        reader.bias = nn.Parameter(moved if reader.bias is None else reader.bias + moved)
    kept = (~dead).nonzero().squeeze(1)
    shape = reader.weight.shape
    reader.weight = nn.Parameter(links[:, kept].reshape(shape[0], -1, *shape[2:]))
    for m in (maker, *between):
        for n, t in [*m.named_parameters(), *m.named_buffers()]:
            if t.dim():
                setattr(m, n, nn.Parameter(t[kept]) if isinstance(t, nn.Parameter) else t[kept])
    _update_sizes(maker, reader, [m for m in between if isinstance(m, Norm)])
    return True


def _constant_channels(maker: Map, between: list[nn.Module]) -> tuple[Tensor, Tensor]:
    """Which channels [C] are the same number everywhere, and the number [C] that they then are."""
    fixed = ~maker.weight.flatten(1).any(1)
    value = maker.weight.new_zeros(len(fixed)) if maker.bias is None else maker.bias
    for m in between:
        if isinstance(m, Norm):
            moments, scale = (m.running_mean, m.running_var), (m.weight, m.bias)
            value = F.batch_norm(value[None], *moments, *scale, eps=m.eps)[0]
            fixed = fixed | (m.weight == 0)
        elif isinstance(m, POINTWISE):
            value = m(value.clone())
    return fixed, value


def _update_sizes(maker: Map, reader: Map, norms: list[Norm]) -> None:
    """Write the new sizes where the layers name theirs."""
    for m in (maker, reader):
        if isinstance(m, nn.Conv2d):
            m.out_channels, m.in_channels = m.weight.size(0), m.weight.size(1)
        else:
            m.out_features, m.in_features = m.weight.shape
    for norm in norms:
        norm.num_features = maker.weight.size(0)
