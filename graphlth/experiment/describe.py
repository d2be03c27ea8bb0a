"""What a record says of a ticket and of its retraining."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

import graphlth.records as record
from graphlth.cost.macs import count_macs
from graphlth.experiment.plan import Plan
from graphlth.import_paths import short_name
from graphlth.masks import count, ones, only, sparsity
from graphlth.provenance import model_fingerprint
from graphlth.task import Task
from graphlth.ticket import Ticket
from graphlth.training.epoch import Epoch, best_epoch

EDGE_COUNTS = ("one_way_edges", "duplicate_edges", "zero_edges")  # of a graph


def ticket_provenance(
    chosen: Plan, task: Task, model: nn.Module, seed: int, environment: Mapping[str, Any]
) -> dict[str, Any]:
    """What a ticket tells of where it comes from."""
    return {"algorithm": chosen.algorithm, "task": chosen.task, "model": chosen.model,
            "seed": seed, "settings": dict(chosen.settings), "environment": environment,
            "graph": task.fingerprint(), "network": model_fingerprint(model),
            "data": chosen.data,
            **({"code": chosen.code} if chosen.code else {})}  # fmt: skip


def describe_retraining(epochs: Sequence[Epoch], task: Task) -> dict[str, Any]:
    """What a record says of a retraining: its best epoch, its last, where it would stop.

    That is at the lowest validation loss, the measure of learning speed of Frankle & Carbin (ICLR
    2019, arXiv:1803.03635); absent where no validation loss is known. Iterations are counted from
    the first of the training that the ticket's weights have come from.
    """
    best = best_epoch(epochs, task.metric)
    found = {"val": best.val, "test": best.test, "best_epoch": best.index,
             "best_iteration": (best.index + 1) * task.evaluate_every,
             "val_last": epochs[-1].val, "test_last": epochs[-1].test}  # fmt: skip
    stop = min(epochs, key=lambda epoch: epoch.val_loss)
    if math.isfinite(stop.val_loss):
        found |= {"stop_iteration": (stop.index + 1) * task.evaluate_every,
                  "test_at_stop": stop.test}  # fmt: skip
    return found


def describe_ticket(
    chosen: Plan, task: Task, model: nn.Module, ticket: Ticket, seed: int
) -> dict[str, Any]:
    """What a record says of a ticket before it is retrained."""
    found = count_macs(model, task, ticket.masks)
    per_layer = None if isinstance(found, str) else found
    ignore = chosen.settings.get("ignore", "")
    whole = ones(model, task.num_edges, ignore=ignore)  # what 100 % is
    weights = only(whole, "weights") | only(ticket.masks, "weights")
    called = getattr(task, "label_names", ())  # the classes, where the data have names for them
    return {
        **record.check_search(ticket.search),
        "algorithm": chosen.algorithm, "task": task.name, "model": short_name(chosen.model),
        "seed": seed, "round": ticket.round, "edges": task.edges,
        "metric": task.metric.name, "direction": task.metric.direction,
        "edge_sparsity": sparsity(only(ticket.masks, "edges")),
        "weight_sparsity": sparsity(weights),
        "num_edges": count(only(whole, "edges")), "num_weights": count(weights),
        "macs": None if per_layer is None else sum(per_layer.values()),
        "macs_per_layer": per_layer,
        **({"label_names": list(called)} if called else {}),
        **({} if chosen.protocol is None else {"protocol": chosen.protocol}),
        **({"macs_reason": found} if isinstance(found, str) else {}),
        **({"data": chosen.data} if chosen.data else {}),
        **{n: v for n in ("source", "code") if (v := getattr(chosen, n))},
        **{n: getattr(task, n) for n in EDGE_COUNTS if hasattr(task, n)},
    }  # fmt: skip
