"""What masks do to the parameters that are trained."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from graphlth.masks import EDGES, Masks
from graphlth.sparse.graph import Places
from graphlth.sparse.message import blank, put, spread
from graphlth.training.optimizers import Product


class MaskedParameter:
    """The entries of one tensor that a mask leaves: what is trained. The others stay as they are.

    Few survivors are trained as a vector of their own, so that a sparse ticket costs less than a
    dense one; many as the whole tensor, whose removed entries are multiplied by 0. What is not to
    be learned has no gradient and is never written.
    """

    FEW = 0.75  # of all entries

    def __init__(self, whole: Tensor, mask: Tensor | None, learn: bool = True):
        learn = learn and whole.requires_grad  # what is frozen stays so
        self.whole, self.mask, self.learn = whole, mask, learn
        self.leaf = whole if learn else whole.detach()
        self.places: Places | None = None
        if mask is None or mask.all():
            self.mask = None  # ones change nothing
        elif mask.count_nonzero() < self.FEW * mask.numel() and whole.is_contiguous():
            self.places = Places(mask.view(-1).nonzero().squeeze(1), mask.shape)
            self.leaf = whole.detach().view(-1)[self.places.index].requires_grad_(learn)
            self.zeros = blank(whole)

    def spread(self, values: Tensor) -> Tensor:
        """`values`, shaped like the leaf, where they belong in the whole; 0 elsewhere."""
        if self.places is not None:
            return spread(values, self.places, self.zeros)
        return values if self.mask is None else values * self.mask

    @torch.no_grad()
    def fetch(self) -> None:
        """Take the survivors from the whole, which others have changed."""
        if self.places is not None:
            self.leaf.copy_(self.whole.view(-1)[self.places.index])

    @torch.no_grad()
    def settle(self) -> None:
        """Write the survivors back into the whole."""
        if self.places is not None and self.learn:
            put(self.leaf, self.places, self.whole)


def apply_masks(
    theta: Mapping[str, MaskedParameter],
    m: Mapping[str, MaskedParameter],
    products: Mapping[str, Product] = MappingProxyType({}),
    through: Callable[[Masks], Masks] | None = None,
) -> tuple[dict[str, Tensor], Tensor | None]:
    """θ ⊙ m_θ and m_g, the soft masks, or what `through` makes of them, times the hard."""
    soft: Masks = {n: part.leaf for n, part in m.items()}
    soft = through(soft) if through else soft
    weights = {}
    for n, part in theta.items():
        if n in products:
            weights[n] = part.spread(products[n].value)
        else:
            weights[n] = part.spread(part.leaf * soft[n] if n in soft else part.leaf)
    return weights, soft.get(EDGES)


def versions(*groups: Mapping[str, MaskedParameter]) -> list[int]:
    """A number for each tensor that moves on with every change of it."""
    return [part.whole._version for group in groups for part in group.values()]
