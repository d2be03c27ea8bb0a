"""How the matrices of graph models are drawn."""

from torch import Tensor, nn

from graphlth.settings.annotations import check_value
from graphlth.settings.types import WeightInitializer


def draw_weight(w: Tensor, initializer: str, inputs: int | None = None) -> None:
    """Draw `w` [in, out] anew in place; the names are those of PyG's `Linear`.

    Args:
        w: the weight.
        initializer: "glorot" is uniform in ± √(6 / (in + out)); "kaiming_uniform" in ± 1 / √in, as
            in torch's `Linear`.
        inputs: in, where it is not the first size of `w`.

    Raises:
        ValueError: there is no such initializer.
    """
    check_value("weight_initializer", initializer, WeightInitializer)
    if initializer == "glorot":
        nn.init.xavier_uniform_(w)
    else:
        bound = (inputs or w.size(0)) ** -0.5
        nn.init.uniform_(w, -bound, bound)
