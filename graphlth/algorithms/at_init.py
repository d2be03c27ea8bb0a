"""Pruning at initialisation: scores of the untrained network and of the bare graph.

With the score `synflow` this is iterative SynFlow (Tanaka et al., arXiv:2006.05467, Algorithm 1),
with `snip` and `grasp` their iterated forms, with `degree` the edges of TEDDY (arXiv:2402.01261),
which ranks them once: that score does not look at what earlier rounds have removed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, TypedDict, Unpack

import torch
from torch import Tensor, nn

from graphlth.algorithms._scores import score_part
from graphlth.masks import Masks
from graphlth.masks import only as only_masks
from graphlth.prune import drop_jointly
from graphlth.rewinding import rewind
from graphlth.settings.groups import split_group
from graphlth.settings.lists import parse_rounds
from graphlth.settings.types import (
    AddedLater,
    EdgeScore,
    Fraction,
    Ignore,
    RoundNumbers,
    Rounds,
    Scope,
    Seed,
    WeightScore,
)
from graphlth.settings.validation import check_fields
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket, dense
from graphlth.training.checks import check_start


@dataclass(frozen=True)
class Ranking:
    """In which order entries go.

    Args:
        score: the score of the weights, or its name.
        edge_score: the score of the edges, or its name.
        scope: rank weights over all layers ("global") or within each ("layer").
        one_shot: cut every round from the scores of the dense network, as SNIP and GraSP do.
    """

    score: WeightScore = "magnitude"
    edge_score: EdgeScore = "degree"
    scope: Scope = "global"
    one_shot: Annotated[bool, AddedLater()] = False

    def __post_init__(self) -> None:
        check_fields(self)


class RankingFields(TypedDict, total=False):
    """The fields of `Ranking` as keywords, or the group in their place."""

    ranking: Ranking
    score: WeightScore
    edge_score: EdgeScore
    scope: Scope
    one_shot: Annotated[bool, AddedLater()]


def at_init(
    model: nn.Module,
    task: Task,
    *,
    rounds: Rounds = 20,
    only: RoundNumbers = "all",
    drop_edges: Fraction = 0.05,
    drop_weights: Fraction = 0.2,
    ignore: Ignore = "",
    seed: Seed = 0,
    last: Ticket | None = None,
    **settings: Unpack[RankingFields],
) -> Iterator[Ticket]:
    """Yield the dense ticket, then one ticket per round asked for; nothing is trained in between.

    A part that is dropped at rate 0 has no mask and gets no scores.

    Args:
        model: the network; its weights are θ₀.
        task: the data.
        rounds: how often to score the surviving entries and prune.
        only: rounds whose tickets are yielded, retrained and recorded: all, or some, as 7 15.
        drop_edges: fraction of the surviving edges that a round removes, in [0, 1).
        drop_weights: fraction of the surviving weights that a round removes, in [0, 1).
        ignore: what stays dense, as in `dense`: patterns of names, such as "encoder.*,head.*".
        seed: seeds a score that draws.
        last: continue after this ticket.
        settings: in which order entries go (see `Ranking`).

    Raises:
        ValueError: there is no such score, or it cannot score its part.
    """
    ranking, _ = split_group(Ranking, settings)
    check_start(model, task, last)
    ticket = last or dense(
        model, task.num_edges, edges=drop_edges > 0, weights=drop_weights > 0, ignore=ignore
    )
    theta_0 = ticket.init
    by_part = {"weights": ranking.score, "edges": ranking.edge_score}
    chosen = {part: each for part, each in by_part.items() if only_masks(ticket.masks, part)}

    def rank(masks: Masks, round: int) -> dict[str, Tensor]:
        rewind(model, theta_0)
        scores, draw = dict[str, Tensor](), stream_seed(seed, "score", round)
        for part, each in chosen.items():
            scores |= score_part(each, part, model, task, masks, seed=draw)
        return scores

    # What cannot be scored is refused before the dense network is retrained.
    wanted = parse_rounds(only, rounds)
    end = max(wanted, default=0)
    whole = {n: torch.ones_like(m) for n, m in ticket.masks.items()}
    first, done = (whole, 0) if ranking.one_shot else (ticket.masks, ticket.round)
    scores = rank(first, done) if ticket.round < end else {}
    if last is None:
        yield ticket
    for r in range(ticket.round + 1, end + 1):
        rates = drop_weights, drop_edges, ranking.scope, task.edge_groups
        masks = drop_jointly(ticket.masks, scores, *rates)
        ticket = Ticket(theta_0, masks, r)
        if not ranking.one_shot:
            scores = rank(masks, r) if r < end else {}
        if r in wanted:
            yield ticket
