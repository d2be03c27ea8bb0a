"""The link tasks of the citation graphs, which differ in their graph alone."""

from typing import Any

from graphlth.data.links import LinkTask
from graphlth.data.planetoid import CITATION, load


def citation_links(
    graph: str, name: str, *, data_root: str | None, normalize: bool, **how: Any
) -> LinkTask:
    """The links of `graph`: 5 % validate, 10 % test, pairs are compared by their cosine.

    That is how UGS (Chen et al., ICML 2021, arXiv:2102.06790) splits and compares them; the other
    arguments are those of `LinkTask`.
    """
    data: Any = load(graph, CITATION[graph], data_root=data_root, normalize=normalize)
    return LinkTask(data, name=name, val=0.05, test=0.1, decode="cosine", **how)
