"""One file per score; the file name is its name on the command line.

The keys of the masks tell what a score is asked for: the name of a parameter for its weights,
"edges" for the edges of the graph, the name of a layer for its output channels [C].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # names of scores are listed without torch
    from torch import Tensor, nn

    from graphlth.masks import Masks
    from graphlth.task import Task


class Score(Protocol):
    """What ranks the entries of masks, so that those of the lowest score are pruned first.

    It returns a number for every entry of those masks that it can score, and leaves out the others:
    a score of weights gives no "edges", a score of edges nothing else. The number of an entry that
    is removed already means nothing. Neither the model nor the global random state changes.

    Keyword-only arguments are the settings of a score, and have defaults; `functools.partial` binds
    others. The caller gives `seed` to a score that draws, and `init`, the weights that training
    started from, to one that compares with them; the same seed gives the same scores.
    """

    def __call__(self, model: nn.Module, task: Task, masks: Masks, /) -> dict[str, Tensor]:
        """The scores, each of the shape of its mask."""
        ...
