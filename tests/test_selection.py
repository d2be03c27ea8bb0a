"""Choices are made by validation data alone: no label of the test data can move one."""

import copy

import pytest
import torch
from test_contract import EARLIER, OF_CHANNELS, SHORT, Chain
from test_record import entry, written
from toys import Pictures, build, call, data, toy

import graphlth as glt
import graphlth.records as R
from graphlth.data.node import NodeTask
from graphlth.experiment.describe import describe_retraining
from graphlth.registry import names
from graphlth.ticket import ticket_file
from graphlth.training.epoch import Epoch
from graphlth.training.retraining import fit


class Relabelled(Pictures):
    """The same pictures; those of the test data have each other's labels."""

    def batches(self, split, seed=0, index=0):
        for batch in super().batches(split, seed, index):
            if split == "test":
                batch = copy.copy(batch)
                object.__setattr__(batch, "target", batch.target.flip(0))
            yield batch


def relabelled_data():
    """The toy graph, the labels of its test nodes permuted among them."""
    graph = data(loops=False)
    rows = graph.test_mask.nonzero().view(-1)
    graph.y[rows] = graph.y[rows.flip(0)]
    return graph


def tasks(name):
    """A task that the algorithm takes, and the same with its test labels permuted."""
    if name in OF_CHANNELS:
        return Pictures(), Relabelled()
    return toy(loops=False), NodeTask(relabelled_data(), edges="undirected", name="toy")


def search(name, task, folder):
    """The tickets of an algorithm, and the fit of each."""
    make = Chain if name in OF_CHANNELS else lambda: build("gcn", task, layers=3)
    if name in EARLIER:
        for ticket in call("imp", make(), task, **SHORT):
            named = glt.Ticket(ticket.init, ticket.masks, ticket.round,
                               {"graph": task.fingerprint()})  # fmt: skip
            named.save(ticket_file(folder, 0, ticket.round))
    tickets = list(call(name, make(), task, **SHORT | {"tickets": str(folder)}))
    return tickets, [fit(make(), task, ticket, epochs=12, lr=0.05) for ticket in tickets]


@pytest.mark.parametrize("name", names("algorithms"))
def test_permuted_test_labels_move_no_ticket_and_no_best_epoch(name, tmp_path):
    found = []
    for place, task in zip(("own", "permuted"), tasks(name), strict=True):
        (tmp_path / place).mkdir()
        found.append(search(name, task, tmp_path / place))
    (tickets, fits), (others, refits) = found
    for ticket, other in zip(tickets, others, strict=True):
        for ours, theirs in ((ticket.masks, other.masks), (ticket.init, other.init)):
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        assert ticket.search == other.search
    for best, again in zip(fits, refits, strict=True):
        assert (best.index, best.val, best.last.val) == (again.index, again.val, again.last.val)
        assert all(torch.equal(best.state[key], again.state[key]) for key in best.state)
    scores = [[value for one in side for value in (one.test, one.last.test)]
              for side in (fits, refits)]  # fmt: skip
    assert scores[0] != scores[1]  # the labels are others: or this could not fail


TESTS = ("test", "test_last", "test_at_stop", "untrained_test", "warnings")  # of the test data
COSTS = ("seconds", "memory", "joules")


@pytest.mark.filterwarnings("ignore::graphlth.data.published.DataWarning")  # of an edge one way
def test_permuted_test_labels_move_nothing_in_a_record_but_the_test_values(tmp_path):
    records = []
    for name, graph in (("own", data(loops=False)), ("permuted", relabelled_data())):
        path = tmp_path / name / "graph.pt"  # the name of the file is that of the task
        path.parent.mkdir()
        torch.save(graph, path)
        settings = {"path": str(path), "rounds": 2, "epochs": 12, "hidden": 8}
        records.append(R.read(glt.run("ugs", "file", "gcn", settings, seeds=2, out=tmp_path)))
    of_data = {"data", "ticket", "digest", "settings", "environment"}
    for own, permuted in zip(*records, strict=True):
        moved = {n for n in own if own[n] != permuted.get(n) and not n.startswith(COSTS)}
        assert moved <= {*TESTS, *of_data}
    assert any(a["test"] != b["test"] for a, b in zip(*records, strict=True))


def test_a_record_has_the_test_value_of_the_best_validation_epoch_and_of_the_last():
    val, test = (0.5, 0.7, 0.7, 0.6), (0.9, 0.3, 0.8, 0.4)
    epochs = [
        Epoch(i, 0.1, v, t, float("nan")) for i, (v, t) in enumerate(zip(val, test, strict=True))
    ]
    found = describe_retraining(epochs, toy())
    assert (found["best_epoch"], found["val"], found["test"]) == (1, 0.7, 0.3)  # not 0.9, not 0.8
    assert (found["val_last"], found["test_last"]) == (0.6, 0.4)


def test_records_of_earlier_versions_without_a_last_epoch_are_read_and_compared(tmp_path):
    for name in ("a", "b"):
        for seed in range(3):
            lines = [entry(seed, number) for number in (0, 1)]
            assert not {"test_last", "val_last", "data", "metric", "direction"} & {*lines[0]}
            written(tmp_path / name / f"seed{seed}.jsonl", *lines)
    assert glt.compare(tmp_path / "a", tmp_path / "b").winning == (1,)
