"""Mask training of unchanged models of PyG's operators, against PyG's own epochs.

On Cora, an epoch of an unchanged GAT, SAGE and GIN that trains weights and masks, with its
evaluation, against an epoch of the same model by hand in PyG without any masks, by turns in one
run. Then, on a generated graph of the size of ogbn-arxiv, an unchanged GCN with masks against the
same by hand in PyG, each in a process of its own. Agreement first, without dropout. What is
measured is kept, so that an interrupted run goes on.

    python benchmarks/speed_own_models.py --data_root DIR [--out FOLDER]
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from bench import (
    Seconds,
    arguments,
    finish,
    peak_memory,
    power_law,
    random_task,
    ratios,
    result_folder,
    resume,
    run_in_child,
    run_main,
)
from machine import measurement
from speed_epoch import HOW, PyGGCN, epochs_by_hand
from torch import Tensor, nn
from torch_geometric.nn import conv as pyg

import graphlth as glt
from graphlth.masks import EDGES
from graphlth.models.graph.gcn import GCN
from graphlth.reproduction.result import Claim, Result, Table, Value, median_and_range, write
from graphlth.ticket import dense
from graphlth.training.loop import train
from graphlth.training.masked import SoftMasks

ABOUT = (
    "Unchanged modules of PyG's operators. A mask epoch trains weights, weight masks and edge mask "
    "with `glt.train` and evaluates the validation nodes; PyG's own is the usual loop without "
    "masks, with the same evaluation and fused Adam. Medians of turns, range in brackets."
)
LARGE = (
    "A generated power-law graph, 128 features, 40 classes, 3 layers, hidden 256, 2 threads. By "
    "hand: `GCNConv` with the edge mask as `edge_weight` and masked weights. Each way has a "
    "process of its own; seconds of the epochs after a first."
)
ARXIV = 169_343, 1_166_243  # nodes and undirected edges of ogbn-arxiv (Hu et al., NeurIPS 2020)
SMALL = 2000, 10_000
WIDTHS = 128, 256, 40  # features, hidden, classes
LAYERS = 3
L1 = 1e-2  # of `epochs_by_hand`
EPOCHS = 5  # of a turn on Cora


class Net(nn.Module):
    """Two layers of a PyG operator, as its examples have them."""

    def __init__(self, layers: list[nn.Module], act: Callable[[Tensor], Tensor], dropout: float):
        super().__init__()
        self.layers, self.act, self.dropout = nn.ModuleList(layers), act, dropout

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            if number:
                x = self.act(x)
            x = layer(F.dropout(x, self.dropout, self.training), edge_index)
        return x


def gat(features: int, classes: int, dropout: float) -> nn.Module:
    """GAT with 8 heads of 8 channels."""
    how = {"dropout": dropout}
    return Net(
        [pyg.GATConv(features, 8, 8, **how), pyg.GATConv(64, classes, **how)], F.elu, dropout
    )


def sage(features: int, classes: int, dropout: float) -> nn.Module:
    """GraphSAGE with means, 64 hidden channels."""
    return Net([pyg.SAGEConv(features, 64), pyg.SAGEConv(64, classes)], F.relu, dropout)


def gin(features: int, classes: int, dropout: float) -> nn.Module:
    """GIN with 64 hidden channels."""
    sizes = [(features, 64, 64), (64, 64, classes)]
    maps = [nn.Sequential(nn.Linear(i, h), nn.ReLU(), nn.Linear(h, o)) for i, h, o in sizes]
    return Net([pyg.GINConv(each) for each in maps], F.relu, dropout)


MODELS = {"GAT 8 × 8": (gat, 0.6), "SAGE-64": (sage, 0.5), "GIN-64": (gin, 0.5)}


class UnchangedGCN(nn.Module):
    """The user's own GCN: three `GCNConv`, no word of masks or weights of edges."""

    def __init__(self, dropout: float):
        super().__init__()
        f, h, c = WIDTHS
        sizes = [(f, h), *[(h, h)] * (LAYERS - 2), (h, c)]
        self.convs = nn.ModuleList(pyg.GCNConv(*size, bias=False) for size in sizes)
        self.dropout = dropout

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for number, conv in enumerate(self.convs):
            if number:
                x = F.dropout(x.relu(), self.dropout, self.training)
            x = conv(x, edge_index)
        return x


def mask_epochs(model: nn.Module, task, epochs: int, l1: float = L1) -> Iterator[float]:
    """Train θ, m_g and m_θ together; yield the loss after every epoch."""
    masks = dense(model, task.num_edges).masks
    soft = {n: m.clone().requires_grad_() for n, m in masks.items()}
    how = {"epochs": epochs, "scoring": ("val",), **HOW}  # test data are not looked at
    for epoch in train(model, task, masks, soft=SoftMasks(soft, dict.fromkeys(soft, l1)), **how):
        assert EDGES in soft
        yield epoch.loss


def plain_epochs(model: nn.Module, task, epochs: int) -> Iterator[float]:
    """PyG's usual loop on the same data, without masks; yield the loss after every epoch."""
    data = next(task.batches("train")).data
    x, pairs, rows = data.x, data.edge_index, task.rows
    optimizer = torch.optim.Adam(model.parameters(), fused=True, **HOW)
    for _ in range(epochs):
        model.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x, pairs)[rows["train"]], task.y[rows["train"]])
        loss.backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            (model(x, pairs)[rows["val"]].argmax(-1) == task.y[rows["val"]]).float().mean().item()
        yield loss.item()


def make_model(name: str, task, dropout: float | None = None) -> nn.Module:
    """The same fresh model every time."""
    make, usual = MODELS[name]
    torch.manual_seed(0)
    return make(task.num_features, task.num_classes, usual if dropout is None else dropout)


def time_model(name: str, task, turns: int) -> dict[str, object]:
    """Seconds per epoch of both ways by turns, and how far their first losses are apart."""
    ways = {"masks": mask_epochs, "PyG": plain_epochs}
    first = [next(way(make_model(name, task, 0.0), task, 1)) for way in ways.values()]
    apart = abs(first[0] - first[1])
    assert apart < 1e-4, f"{name}: the losses differ by {apart}"
    seconds: Seconds = {way: [] for way in ways}
    for _ in range(turns):
        for way, epochs in ways.items():
            steps = epochs(make_model(name, task), task, EPOCHS + 1)
            next(steps)  # warms up
            start = time.perf_counter()
            for _ in steps:
                pass
            seconds[way].append((time.perf_counter() - start) / EPOCHS)
    return {"seconds": seconds, "agreement": apart}


# --- the size of ogbn-arxiv ----------------------------------------------------------------------


def large_epochs(way: str, task, epochs: int, dropout: float = 0.5) -> Iterator[float]:
    """Epochs of one of `LARGE_WAYS`, from the same weights."""
    torch.manual_seed(0)
    f, h, c = WIDTHS
    own = GCN(f, h, c, LAYERS, dropout=dropout)
    if way == "by hand":
        return (loss for loss, _ in epochs_by_hand(PyGGCN, own, task, epochs))
    model = UnchangedGCN(dropout)
    for conv, w in zip(model.convs, own.weights, strict=True):
        conv.lin.weight.data = w.detach().t().contiguous()
    return mask_epochs(model, task, epochs)


LARGE_WAYS = "unchanged", "by hand"


def large_task(nodes: int, edges: int):
    """The task, with random features and labels."""
    return random_task(power_law(nodes, edges), nodes, features=WIDTHS[0], classes=WIDTHS[2])


def check_large() -> float:
    """The largest difference of the losses of the first epoch on a small graph."""
    task = large_task(*SMALL)
    found = [next(iter(large_epochs(way, task, 1, 0.0))) for way in LARGE_WAYS]
    worst = abs(found[0] - found[1])
    assert worst < 1e-4, f"the ways differ by {worst}"
    return worst


def time_large(way: str, nodes: int, edges: int, epochs: int) -> dict[str, object]:
    """Seconds of every epoch after the first, and the peak memory of this process in MiB."""
    torch.set_num_threads(2)
    task = large_task(nodes, edges)
    before, seconds, steps = peak_memory(), [], large_epochs(way, task, epochs + 1)
    next(iter(steps))
    last = time.perf_counter()
    for _ in steps:
        seconds.append((now := time.perf_counter()) - last)
        last = now
    return {"seconds": seconds, "before": before, "after": peak_memory()}


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--only", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        return print(json.dumps(time_large(*args.only)))
    if args.data_root is None and not args.quick:
        raise ValueError("`--data_root` must be the folder of Cora, got none")
    torch.set_num_threads(1)
    args.repeats = 2 if args.quick else args.repeats
    folder, size = result_folder(args, "speed_own_models"), SMALL if args.quick else ARXIV
    if args.quick:
        task = random_task(power_law(200, 1000), 200, features=16, classes=4)
    else:
        task = glt.find("tasks", "cora")(data_root=str(args.data_root))
    models = {
        name: resume(folder, name, lambda n=name: time_model(n, task, args.repeats))
        for name in MODELS
    }
    apart = max(check_large(), *(found["agreement"] for found in models.values()))
    large = {
        way: resume(folder, way, lambda w=way: run_in_child(
            "--only", json.dumps([w, *size, args.repeats])
        )) for way in LARGE_WAYS
    }  # fmt: skip
    gains = {name: ratios(found["seconds"], "masks", "PyG") for name, found in models.items()}
    faster = [b / a for a, b in zip(*(large[way]["seconds"] for way in LARGE_WAYS), strict=True)]
    memory = Value(large["unchanged"]["after"] * 2**20 / 1e9, n=1)
    write(Result(
        "speed_own_models", "Mask training of unchanged models of PyG's operators", ABOUT,
        measurement("one thread, two on the large graph", repeats=args.repeats,
                    agreement=f"first losses within {apart:.0e}"),
        [epoch_table(models, gains), large_table(large, faster)],
        [*(Claim(f"{name}, a mask epoch / PyG's own without masks", median_and_range(g), at_most=2)
           for name, g in gains.items()),
         Claim("size of ogbn-arxiv, by hand / unchanged", median_and_range(faster), at_least=8),
         Claim("size of ogbn-arxiv, peak memory, GB", memory, at_most=4)],
    ), folder, together=True)  # fmt: skip
    finish(folder)


def epoch_table(models: dict, gains: dict[str, list[float]]) -> Table:
    """Milliseconds of an epoch of every model, with masks and without."""
    rows = [
        [name, *(median_and_range(found["seconds"][way], 1e3) for way in ("masks", "PyG")),
         median_and_range(gains[name])]
        for name, found in models.items()
    ]  # fmt: skip
    columns = {"with masks, ms": ".1f", "PyG without, ms": ".1f", "with / without": ".2f"}
    return Table("epochs", {"model": ""}, columns, rows, "An epoch on Cora")


def large_table(large: dict, faster: list[float]) -> Table:
    """Seconds and memory at the size of ogbn-arxiv."""
    rows = [
        [way, median_and_range(found["seconds"]), found["after"], found["before"],
         None if way == "by hand" else median_and_range(faster)]
        for way, found in large.items()
    ]  # fmt: skip
    columns = {"s per epoch": ".2f", "peak memory, MiB": ".0f",
               "of it before the first epoch": ".0f", "by hand / unchanged": ".1f"}  # fmt: skip
    return Table("large", {"GCN": ""}, columns, rows, "The size of ogbn-arxiv", LARGE)


if __name__ == "__main__":
    run_main(main)
