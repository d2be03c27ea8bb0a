"""One file per score; the file name is its name on the command line.

A score is `score(model, task, masks, *, <settings>) -> dict[str, Tensor]`: a number for every entry
of those masks that it can score, the lowest to be pruned first. A score of weights gives no
"edges", a score of edges nothing else. What it says of a removed entry means nothing. It changes
neither the model nor the global random state.
"""
