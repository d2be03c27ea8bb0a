"""What makes the result of a retraining doubtful, in lines that a record keeps beside it.

The same doubt is the same line in every seed and round, so that a table can say it once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphlth.masks import Masks, masked_values, only
from graphlth.metrics import ACCURACY
from graphlth.model import find_surrogates
from graphlth.task import Task, apply_edge_masks
from graphlth.training.epoch import Epoch, best_epoch
from graphlth.training.evaluation import Evaluator

SPLITS = ("val", "test")
Counts = dict[str, tuple[Tensor, Tensor]]  # of a split: rows predicted as, and of, each class [C]


def result_warnings(
    model: nn.Module, task: Task, masks: Masks, epochs: Sequence[Epoch], duration: str
) -> list[str]:
    """The warnings of a retraining, none where nothing is doubtful.

    - The best epoch is the last one: training was not finished.
    - One class is predicted for every row of a split.
    - The test accuracy is what predicting the largest class of the split gives.
    - A class is never predicted in the test split, though at least half of the rows that an equal
      share would be (1 / 2C of them) are of it. What a game is won by has no classes.
    - A masked parameter has no entry left.
    - An operator has a meaning for an edge or none, not for a weight, as a maximum: soft masks saw
      a surrogate.

    Args:
        model: the network with the weights of the best epoch.
        task: the data.
        masks: those of the ticket.
        epochs: all of the retraining.
        duration: the setting that decides how many they are.
    """
    best = best_epoch(epochs, task.metric)
    found = []
    if best is epochs[-1]:
        found.append(f"the best epoch is the last one: train longer (`{duration}`)")
    if task.metric is ACCURACY:
        found += class_warnings(class_counts(model, task, masks), best.test)
    emptied = [n for n, m in only(masks, "weights").items() if not m.any()]
    if only(masks, "edges") and (surrogate := find_surrogates(model)):
        found.append(surrogate)
    if emptied:
        found.append(f"nothing is left of {', '.join(f'`{n}`' for n in emptied)}")
    return found


def class_warnings(counts: Counts, accuracy: float) -> list[str]:
    """The warnings about classes: of the `counts` of each split, and of the test `accuracy`."""
    one = [split for split, (predicted, _) in counts.items() if (predicted > 0).sum() == 1]
    found = [f"one class is predicted for all of {split}" for split in one]
    predicted, target = counts["test"]
    rows = int(target.sum())
    if round(accuracy * rows) == int(target.max()):
        found.append("the test accuracy is the share of the majority class")
    never = ((predicted == 0) & (2 * target.numel() * target >= rows)).nonzero().view(-1).tolist()
    if never and "test" not in one:
        names = ", ".join(map(str, never))
        found.append(f"never predicted in test: class{'es' * (len(never) > 1)} {names}")
    return found


@torch.no_grad()
def class_counts(model: nn.Module, task: Task, masks: Masks) -> Counts:
    """How many rows of each split are predicted as each class [C], and how many are of it [C]."""
    task = apply_edge_masks(task, masks)
    weights = masked_values(dict(model.named_parameters()), only(masks, "weights"))
    judge, counts = Evaluator(model.eval(), task, weights, None), Counts()
    for split in SPLITS:
        pairs = [(judge.output(batch), batch.target) for batch in task.batches(split)]
        output, target = (torch.cat(side).cpu() for side in zip(*pairs, strict=True))
        size = output.size(-1)
        counts[split] = output.argmax(-1).bincount(minlength=size), target.bincount(minlength=size)
    return counts
