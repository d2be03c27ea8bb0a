"""Full-graph inference by round: compacted tickets against the dense model and PyG.

Takes ticket files or the folder of a run, with the settings in their provenance. Agreement first:
every layout computes what the masked model does, and PyG what the dense one does. Then inference,
the ways by turns on one thread, features laid out before; and the sizes of the files. Weights are
the ticket's own: neither time nor size depends on their values.

    python benchmarks/speed_ticket.py --tickets FOLDER --data_root DIR [--out FOLDER]
"""

import argparse
import statistics
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from bench import (
    Seconds,
    arguments,
    clock,
    difference,
    ratios,
    result_folder,
    run_main,
)
from machine import measurement, name_file
from safetensors.torch import save as serialise
from torch import Tensor
from torch_geometric.nn import GCNConv

import graphlth as glt
from graphlth.compaction.layers import LAYOUTS
from graphlth.experiment.export import rebuild
from graphlth.masks import only, sparsity
from graphlth.reproduction.result import Claim, Result, Table, exact_value, median_and_range, write
from graphlth.storage import replace_file
from graphlth.ticket import ticket_file
from graphlth.training.forward import forward

ABOUT = (
    "Inference on the whole graph. All ways agree. Medians of alternating measurements, range in "
    "brackets. `dense`, `blocks` and `sparse` are layouts of the compacted ticket; features are "
    "laid out once, before. The dense file holds all weights and the edges, as safetensors. Of two "
    "layouts within a hundredth of each other the simpler counts as the fastest."
)
TARGETS = {9: (1.5, 5), 17: (3, 20)}  # round: times faster, times smaller, at least
CLOSE = 1e-4  # of the largest logit
COLOURS = {"dense model": "0.3", "PyG": "0.6", "dense": "C0", "blocks": "C1", "sparse": "C2"}


class PyG(torch.nn.Module):
    """A GCN of ours as PyG has it: dense features, `GCNConv`, the normalisation kept."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        shapes = [w.shape for w in model.weights]
        self.layers = torch.nn.ModuleList(GCNConv(i, o, bias=False, cached=True) for i, o in shapes)
        for layer, w in zip(self.layers, model.weights, strict=True):
            layer.lin.weight = torch.nn.Parameter(w.detach().t().contiguous())

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x, edge_index).relu()
        return self.layers[-1](x, edge_index)


class Case:
    """A ticket: how long each way takes and how large its file is."""

    def __init__(self, path: Path, args: argparse.Namespace):
        ticket = glt.load(path)
        task, model = rebuild(ticket, args.data_root and str(args.data_root))
        model.eval()
        about = ticket.provenance
        self.name = "{algorithm} on {task} with {model}".format(**about)
        self.round, self.is_gcn = ticket.round, about["model"] == "gcn"
        self.masks = about["settings"]["edges"]
        self.edges = sparsity(only(ticket.masks, "edges"))
        self.weights = sparsity(only(ticket.masks, "weights"))
        batch = next(iter(task.batches("test")))
        x, graph = batch.inputs
        masked = forward(model, batch, ticket.masks)
        small = {name: ticket.compact(model, task, layout=name) for name in LAYOUTS[1:]}
        self.worst = max(difference(n, [masked], [s(x)], CLOSE) for n, s in small.items())
        ways = {"dense model": lambda: model(x, graph)}
        if self.is_gcn:
            peer, full = PyG(model).eval(), x if isinstance(x, Tensor) else x.dense
            self.worst = max(
                self.worst,
                difference("PyG", [model(x, graph)], [peer(full, graph.edge_index)], CLOSE),
            )
            ways["PyG"] = lambda: peer(full, graph.edge_index)
        ways |= {name: lambda network=network: network(x) for name, network in small.items()}
        self.seconds: Seconds = clock(ways, args.repeats, least=args.least)
        parts = {n: t.contiguous() for n, t in model.state_dict().items()}
        self.whole = len(serialise(parts | {"edge_index": graph.edge_index.contiguous()}))
        self.small = len(small["dense"].to_bytes())
        self.left = small["dense"].parts

    def median_seconds(self, way: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[way])

    @property
    def best(self) -> str:
        """The layout that is fastest; of two that are within a hundredth, the simpler."""
        least = min(map(self.median_seconds, LAYOUTS[1:]))
        return next(name for name in LAYOUTS[1:] if self.median_seconds(name) <= 1.01 * least)

    @property
    def faster(self) -> list[float]:
        """Times, of every turn."""
        return ratios(self.seconds, "dense model", self.best)

    def row(self, first: "Case") -> list[Any]:
        """Its line of the table; `first` is the case with the fewest weights removed."""
        units = " → ".join(str(layer.weight.size(1)) for layer in self.left.layers)
        return [
            self.round, 100 * self.edges, 100 * self.weights,
            f"{self.left.features.numel()} → {units}",
            *(median_and_range(s, 1e3) for s in self.seconds.values()), self.best,
            median_and_range(self.faster),
            first.median_seconds(first.best) / self.median_seconds(self.best),
            self.whole, self.small, exact_value(self.whole / self.small),
        ]  # fmt: skip

    def claims(self) -> list[Claim]:
        """What was asked for at its round."""
        if self.round not in TARGETS:
            return []
        faster, smaller = TARGETS[self.round]
        return [
            Claim(f"round {self.round}, times {what}", value, at_least=least)
            for what, value, least in (
                ("faster", median_and_range(self.faster), faster),
                ("smaller", exact_value(self.whole / self.small), smaller),
            )
        ]


def draw(cases: list[Case], path: Path) -> None:
    """Time and size against the weights removed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    times, sizes = figure.subplots(1, 2)
    removed = [100 * c.weights for c in cases]
    for way in cases[0].seconds:
        values = [[1e3 * s for s in c.seconds[way]] for c in cases]
        times.plot(removed, [statistics.median(v) for v in values], "o-", ms=3,
                   color=COLOURS[way], label=way)  # fmt: skip
        times.fill_between(removed, [min(v) for v in values], [max(v) for v in values],
                           color=COLOURS[way], alpha=0.2, lw=0)  # fmt: skip
    times.set(yscale="log", ylabel="full-graph inference, ms")
    sizes.plot(removed, [c.whole / 1e3 for c in cases], color=COLOURS["dense model"],
               label="dense model")  # fmt: skip
    sizes.plot(removed, [c.small / 1e3 for c in cases], "o-", ms=3, color="C0", label="compacted")
    sizes.set(yscale="log", ylabel="file, kB")
    for axes in (times, sizes):
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=5,
                    handlelength=1.5, columnspacing=1)  # fmt: skip
        axes.set_xlabel("weights removed, %")
        axes.spines[["top", "right"]].set_visible(False)
    with replace_file(path) as draft:
        figure.savefig(draft, dpi=150)


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--tickets", type=Path, nargs="+", help="ticket files, or a run's folder")
    parser.add_argument("--seed", type=int, default=0, help="whose tickets of a folder")
    parser.add_argument("--rounds", type=int, nargs="+", help="of a folder; all by default")
    args = parser.parse_args()
    if args.tickets is None and not args.quick:
        raise ValueError("`--tickets` must be ticket files or the folder of a run, got none")
    args.repeats, args.least = (1, 1e-3) if args.quick else (args.repeats, 0.1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() if args.tickets is None else nullcontext() as folder:
        if folder:
            args.tickets = [glt.run("ugs", "sbm", "gcn", {"rounds": 1, "epochs": 2}, out=folder)]
        paths = [p for given in args.tickets for p in ticket_files(given, args)]
        with torch.no_grad():
            cases = [Case(path, args) for path in paths]
    cases.sort(key=lambda c: c.round)
    agreement = f"{max(c.worst for c in cases):.0e} of the largest logit"
    case = f"{cases[0].name}, {cases[0].masks} masks"
    about = measurement(case=case, repeats=args.repeats, agreement=agreement)
    folder, picture = result_folder(args, "speed_ticket"), name_file("time_and_size", about)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        draw(cases, folder / picture)
    times = {f"`{way}`, ms" if way in LAYOUTS else f"{way}, ms": ".2f" for way in cases[0].seconds}
    keys = {"round": "d", "edges removed, %": ".1f", "weights removed, %": ".1f"}
    columns = {"features → units left": "", **times, "fastest": "",
               "times faster than the dense model": ".1f",
               f"than round {cases[0].round} compacted": ".1f", "dense file, bytes": ",d",
               "compacted, bytes": ",d", "times smaller": ".1f"}  # fmt: skip
    write(Result(
        "speed_ticket", "A compacted ticket by round", ABOUT, about,
        [Table("times", keys, columns, [c.row(cases[0]) for c in cases])],
        [claim for c in cases for claim in c.claims()],
        {picture: "time and size"} if folder else {},
    ), folder, together=True)  # fmt: skip


def ticket_files(given: Path, args: argparse.Namespace) -> list[Path]:
    """A ticket file itself, or those of a run's folder."""
    if given.is_file():
        return [given]
    known = len([*given.glob(f"seed{args.seed}-round*.safetensors")])
    if not known:
        raise ValueError(f"`--tickets` must have tickets of seed {args.seed}, got {str(given)!r}")
    rounds = args.rounds or range(known)
    return [ticket_file(given, args.seed, r) for r in rounds]


if __name__ == "__main__":
    run_main(main)
