"""An epoch of retraining by round: what the removed edges and weights of a ticket save.

Takes the tickets of a run folder, with the settings in their provenance. Agreement first: a ticket
on the graph without its removed edges computes what it does with them at weight 0, and retraining
it again reaches the same digits. Then whole retrainings, evaluation included, the rounds by turns.

    python benchmarks/speed_retrain.py --tickets FOLDER --data_root DIR [--out FOLDER]
"""

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path

import torch
from bench import (
    arguments,
    clock,
    difference,
    ratios,
    result_folder,
    run_main,
)
from machine import measurement

import graphlth as glt
from graphlth.experiment.plan import build_plugin
from graphlth.experiment.settings import RETRAINING
from graphlth.masks import only, sparsity
from graphlth.records import settings_hash
from graphlth.reproduction.result import Claim, Result, Table, median_and_range, write
from graphlth.rewinding import rewind
from graphlth.task import Task
from graphlth.ticket import Ticket, ticket_file
from graphlth.training.epoch import Epoch
from graphlth.training.evaluation import predict
from graphlth.training.forward import forward
from graphlth.training.retraining import fit

ABOUT = (
    "Whole retrainings of the tickets of one run, evaluation included: medians of alternating "
    "ones, range in brackets. A ticket on the graph without its removed edges computes what it "
    "does with them at weight 0, and every retraining is repeated to the same digits."
)
TARGETS = {10: 0.6, 20: 0.4}  # of the time of round 0, at most


class Case:
    """A ticket with the model and the task that it belongs to."""

    def __init__(self, ticket: Ticket, args: argparse.Namespace):
        about = ticket.provenance
        shorter = {"epochs": args.epochs, "iterations": 0} if args.epochs else {}
        settings = about["settings"] | shorter
        if args.data_root:
            settings["data_root"] = str(args.data_root)
        self.ticket, self.seed = ticket, about["seed"]
        self.task: Task = build_plugin("tasks", about["task"], settings)
        self.model = build_plugin("models", about["model"], settings, self.task)
        self.how = {name: settings[name] for name in RETRAINING if name in settings}
        self.name = "{algorithm} on {task} with {model}".format(**about)
        self.setting = settings_hash(about["settings"])
        self.edges = settings["edges"]

    def retrain(self) -> Epoch:
        """The best epoch."""
        return fit(self.model, self.task, self.ticket, seed=self.seed, **self.how)

    def check_absence(self) -> float:
        """By how much absent and weightless edges differ."""
        rewind(self.model, self.ticket.init)
        batch = next(iter(self.task.batches("test")))
        with torch.no_grad():
            weightless = forward(self.model.eval(), batch, self.ticket.masks)[batch.rows]
            return difference(f"round {self.ticket.round}", [weightless],
                              [predict(self.model, self.task, self.ticket)], 1e-4)  # fmt: skip


def cases(args: argparse.Namespace, folder: Path) -> dict[int, Case]:
    """The case of every round."""
    return {r: Case(glt.load(ticket_file(folder, args.seed, r)), args) for r in args.rounds}


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--tickets", type=Path, help="the folder of a run")
    parser.add_argument("--seed", type=int, default=0, help="whose tickets")
    parser.add_argument("--rounds", type=int, nargs="+", default=[0, 10, 20])
    parser.add_argument("--epochs", type=int, help="of a retraining; the run's own by default")
    args = parser.parse_args()
    if args.tickets is None and not args.quick:
        raise ValueError("`--tickets` must be the folder of a run, got none")
    if args.quick:
        args.repeats, args.epochs = 1, 5
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() if args.tickets is None else nullcontext() as folder:
        if folder:
            args.rounds = [0, 1]
            args.tickets = glt.run("ugs", "sbm", "gcn", {"rounds": 1, "epochs": 2}, out=folder)
        found = cases(args, args.tickets)
    first = found[min(args.rounds)]
    worst = max(case.check_absence() for case in found.values())
    reached = {r: case.retrain() for r, case in found.items()}
    for r, case in found.items():
        assert case.retrain() == reached[r], f"retraining round {r} twice gives other digits"
    epochs = first.how["epochs"]
    seconds = clock({str(r): case.retrain for r, case in found.items()}, args.repeats)
    seconds = {r: [s / epochs for s in found] for r, found in seconds.items()}
    start = first.ticket.round
    shares = {r: median_and_range(ratios(seconds, str(r), str(start)), 100) for r in found}
    rows = [
        [r, 100 * sparsity(only(case.ticket.masks, "edges")),
         100 * sparsity(only(case.ticket.masks, "weights")),
         median_and_range(seconds[str(r)], 1e3), shares[r], 100 * reached[r].test]
        for r, case in found.items()
    ]  # fmt: skip
    keys = {"round": "d", "edges removed, %": ".1f", "weights removed, %": ".1f"}
    columns = {"ms per epoch": ".2f", "of dense, %": ".0f", "test accuracy, %": ".1f"}
    write(Result(
        "speed_retrain", "An epoch of retraining by round", ABOUT,
        measurement(case=f"{first.name}, {first.edges} masks", repeats=args.repeats,
                    seed=first.seed, epochs=epochs, setting=first.setting,
                    agreement=f"{worst:.0e} of the largest logit"),
        [Table("times", keys, columns, rows)],
        [Claim(f"time of round {r}, % of round {start}", shares[r], at_most=100 * most)
         for r, most in TARGETS.items() if r in shares],
    ), result_folder(args, "speed_retrain"), together=True)  # fmt: skip


if __name__ == "__main__":
    run_main(main)
