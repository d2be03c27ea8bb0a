"""What masks do to the parameters that a training sees and changes."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor, nn

from graphlth.edge_masks import AnyEdgeMask, edge_mask
from graphlth.masks import Masks
from graphlth.sparse.cache import StepCache
from graphlth.sparse.pattern import ScatteredWeight, SparsityPattern
from graphlth.sparse.products import padded_zeros, scatter, scatter_into
from graphlth.training.optimizers import Optimizer, Product

PARTS = ("weights", "soft")


@dataclass(frozen=True)
class SoftMasks:
    """Real-valued masks that a training sees, and changes, beside the weights of its model.

    Args:
        values: leaves, for `EDGES` and for weights by their names; every pass multiplies them by
            the hard masks, and training keeps them at or above 0.
        rates: γ, what an entry of 1 adds to the loss.
        through: what a pass sees in place of the values, which may then have either sign: a
            function of all of them. Of few survivors it is given a vector (see `MaskedParameter`).
        learn: which of "weights" and "soft" are trained. The others stay as they are, but may be
            changed by somebody else between epochs: two trainings can take turns.
    """

    values: Masks = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    through: Callable[[Masks], Masks] | None = None
    learn: Collection[str] = PARTS


class MaskedParameter:
    """The entries of one tensor that a mask keeps, which are trained; the others stay as they are.

    Few of them are trained as a vector of their own, so that a sparse ticket costs less than a
    dense one; many as the whole tensor, whose removed entries are multiplied by 0. A parameter that
    is not learned has no gradient and is never written.
    """

    FEW = 0.75  # of all entries

    def __init__(self, whole: Tensor, mask: Tensor | None, learn: bool = True):
        learn = learn and whole.requires_grad  # a frozen parameter stays frozen
        self.whole, self.mask, self.learn = whole, mask, learn
        self.leaf = whole if learn else whole.detach()
        self.pattern: SparsityPattern | None = None
        if mask is None or mask.all():
            self.mask = None  # ones change nothing
        elif mask.count_nonzero() < self.FEW * mask.numel() and whole.is_contiguous():
            self.pattern = SparsityPattern.of(mask)
            self.leaf = whole.detach().view(-1)[self.pattern.index].requires_grad_(learn)
            self.zeros = padded_zeros(whole)

    def scatter(self, values: Tensor) -> Tensor:
        """A tensor like the whole: `values`, shaped like the leaf, in their places, 0 elsewhere."""
        if self.pattern is not None:
            return scatter_into(self.zeros, values, self.pattern)
        return values if self.mask is None else values * self.mask

    @torch.no_grad()
    def read(self) -> None:
        """Copy the kept entries from the whole, which another training has changed."""
        if self.pattern is not None:
            self.leaf.copy_(self.whole.view(-1)[self.pattern.index])

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the kept entries into the whole."""
        if self.pattern is not None and self.learn:
            scatter(self.leaf, self.pattern, self.whole)


def apply_masks(
    theta: Mapping[str, MaskedParameter],
    m: Mapping[str, MaskedParameter],
    products: Mapping[str, Product] = MappingProxyType({}),
    through: Callable[[Masks], Masks] | None = None,
    cache: StepCache | None = None,
) -> tuple[dict[str, Tensor], AnyEdgeMask | None]:
    """θ ⊙ m_θ and m_g: the soft masks, or what `through` makes of them, times the hard masks.

    `cache` forgets what depends on the weights before, and is told which weights are sparse.
    """
    soft: Masks = {n: part.leaf for n, part in m.items()}
    soft = through(soft) if through else soft
    weights, scattered = {}, {}
    for n, part in theta.items():
        if n in products:
            values = products[n].value
        else:
            values = part.leaf * soft[n] if n in soft else part.leaf
        weights[n] = part.scatter(values)
        if part.pattern is not None:
            scattered[n] = ScatteredWeight(values, part.pattern)
    if cache is not None:
        cache.update(scattered)
    return weights, edge_mask(soft)


class MaskedParameters:
    """All weights of a model and its soft masks, as one training sees and changes them.

    Args:
        model: the network; its parameters are trained in place.
        masks: {0, 1}, of weights by their names.
        soft: the soft masks.
        masked_inside: whether operators are masked though the model takes `edge_weight`.
    """

    weights: dict[str, Tensor]  # θ ⊙ m_θ, of the leaves as they are now
    edges: AnyEdgeMask | None  # m_g

    def __init__(
        self, model: nn.Module, masks: Masks, soft: SoftMasks, masked_inside: bool = False
    ):
        self.theta, self.m = (
            {n: MaskedParameter(t, masks.get(n), part in soft.learn) for n, t in values.items()}
            for part, values in (("weights", dict(model.named_parameters())), ("soft", soft.values))
        )
        self.all = [*self.theta.values(), *self.m.values()]
        self.through, self.clamps = soft.through, "soft" in soft.learn and soft.through is None
        together = soft.through is None and {*PARTS} <= {*soft.learn}
        self.products = {
            n: Product(self.theta[n].leaf, part.leaf, soft.rates.get(n, 0.0))
            for n, part in self.m.items()
            if together and n in self.theta and self.theta[n].learn
        }
        self.soft = {n: part.leaf for n, part in self.m.items()}  # the leaves by name
        self.apart = {n: leaf for n, leaf in self.soft.items() if n not in self.products}
        self.rates = {n: soft.rates[n] for n in self.apart if n in soft.rates}
        self.cache = StepCache(
            masked_inside
        )  # what the passes of this training leave for one another
        self._apply()
        self._versions = self._read_versions()

    @property
    def leaves(self) -> list[Tensor]:
        """What is trained."""
        return [part.leaf for part in self.all if part.leaf.requires_grad]

    def penalty(self) -> Tensor | float:
        """Σ γ‖m‖₁ over the soft masks whose penalty the optimiser does not add itself."""
        return sum(rate * self.apart[n].sum() for n, rate in self.rates.items())

    def step(self, optimizer: Optimizer) -> None:
        """One step of `optimizer` on the leaves; the weights are then those of the next pass."""
        optimizer.step()
        with torch.no_grad():
            for leaf in self.apart.values() if self.clamps else ():
                leaf.clamp_(min=0)
        self._apply()

    def pause(self, write: bool) -> None:
        """Before others see, or change, the tensors: with `write`, they hold what was trained."""
        for part in self.all if write else ():
            part.write_back()
        self._versions = self._read_versions()

    def resume(self) -> None:
        """Take in what another training has changed since `pause`."""
        if self._versions == self._read_versions():
            return
        for part in self.all:
            part.read()
        for product in self.products.values():
            product.multiply()
        self._apply()

    def _apply(self) -> None:
        self.weights, self.edges = apply_masks(
            self.theta, self.m, self.products, self.through, self.cache
        )

    def _read_versions(self) -> list[int]:
        """A number for each tensor, which rises with every change of it."""
        return [part.whole._version for part in self.all]
