"""From a ticket file to a network to use: rebuilt, retrained, compacted; and what that gains."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from graphlth.analysis.latency import Latency, latency
from graphlth.compaction.compact import about_ticket, compact
from graphlth.compaction.layers import check_layout
from graphlth.compaction.network import Compact
from graphlth.compaction.own_models import SmallerModel
from graphlth.compaction.program import PROGRAMS, write_program
from graphlth.experiment.plan import build_plugin, check_same_code, check_stored_settings
from graphlth.experiment.settings import RETRAINING, settings_of_run
from graphlth.model import CompactableModel, takes_graph
from graphlth.provenance import check_same_data
from graphlth.rewinding import rewind
from graphlth.settings.annotations import check_number
from graphlth.settings.checks import check_written
from graphlth.settings.types import Epochs, Layout, Number, Repeats, Seed, Threads
from graphlth.settings.validation import check_settings, settings_of
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket, load
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training.epoch import Epoch, Fit
from graphlth.training.retraining import retrain


def rebuild(ticket: Ticket, data_root: str | None = None) -> tuple[Task, nn.Module]:
    """The task and the model of a ticket that a run has found; the model with the ticket's weights.

    Raises:
        ValueError: the ticket does not say what it is of, or it does not fit.
    """
    about = ticket.provenance
    for name in ("algorithm", "task", "model", "settings", "seed"):
        if name not in about:
            raise ValueError(f"`ticket` must come from a run, got one that has no {name!r}")
    settings = dict(about["settings"])
    try:
        check_number("seed", about["seed"], Seed)
        names = (about["algorithm"], about["task"], about["model"])
        check_stored_settings(settings, settings_of_run(*names, settings))
    except ValueError as error:
        raise ValueError(f"`ticket` must come from a run, got one in which {error}") from None
    if data_root is not None:
        settings["data_root"] = data_root
    check_same_code(about, about["task"], about["model"], "`ticket`")
    task: Task = build_plugin("tasks", about["task"], settings)
    check_same_data(about, task, "`ticket`")
    torch.manual_seed(stream_seed(about["seed"], "initialise"))
    model: nn.Module = build_plugin("models", about["model"], settings, task)
    check_ticket_fits(ticket, model, task.num_edges, task.fingerprint())
    return task, rewind(model, ticket.init)


def export(
    ticket: str,
    *,
    out: str,
    layout: Layout = "auto",
    epochs: Epochs | None = None,
    threads: Threads = 1,
    data_root: str | None = None,
    watch: Callable[[Epoch, int], None] = lambda epoch, epochs: None,
) -> tuple[nn.Module, Fit]:
    """Retrain a ticket, write the compacted network to `out`, and return it with its best epoch.

    A .pt2 is a program of `torch.export`, which torch alone reads (`torch.export.load`), an .onnx
    the same for ONNX: of a ticket of a graph for any graph, of images for batches of any size. Of
    graphlth's models for the nodes of a graph, any other suffix is a `Compact` in safetensors, with
    its graph inside.

    Args:
        ticket: the ticket's file.
        out: the file to write, all of it or nothing: .pt2 or .onnx; or .safetensors of graphlth's
            models for the nodes of a graph.
        layout: of the weights: auto (the fastest, measured now), dense, blocks or sparse; a program
            has the dense one.
        epochs: epochs of retraining; those of the ticket's run where not given.
        threads: threads of the retraining and of the measurement.
        data_root: the folder of the data, where it is not that of the run.
        watch: is called after every epoch, with the number of epochs.

    Raises:
        ValueError: a setting or the ticket is wrong.
        OSError: a file cannot be read or written.
    """
    check_layout(layout)
    check_settings({"threads": threads, "epochs": epochs}, settings_of(export))
    found = load(ticket)
    reads = [*_paths_to_read(ticket, found, data_root)]
    check_written("out", out, reads)  # or the retraining would be lost
    torch.set_num_threads(threads)
    task, model = rebuild(found, data_root)
    _check_form(task, model, str(found.provenance["model"]), out, layout)
    if Path(out).suffix in PROGRAMS:  # what torch cannot export is refused before the retraining
        _program_of(compact(found, model, task, layout="dense"), task)
    how = {n: v for n, v in found.provenance["settings"].items() if n in RETRAINING}
    how |= {} if epochs is None else {"epochs": epochs, "iterations": 0}
    steps = retrain(model, task, found, seed=found.provenance["seed"], **how)
    while True:
        try:
            watch(next(steps), how.get("iterations", 0) or how.get("epochs", 0))
        except StopIteration as end:
            best: Fit = end.value
            break
    network = compact(found, model, task, layout=layout)
    about = about_ticket(found) | {"val": best.val, "test": best.test}
    if isinstance(network, Compact | SmallerModel):
        network.about |= about
        network.save(out)
    else:
        write_program(out, *_program_of(network.requires_grad_(False), task), {}, about)
    return network, best


def _paths_to_read(ticket: str, found: Ticket, data_root: str | None) -> Iterator[str | Path]:
    """What an export reads: the ticket, and the file or the folders of the data."""
    settings = found.provenance.get("settings", {})
    places = [settings.get("path"), settings.get("data_root"), data_root, settings.get("tickets"),
              os.environ.get("GRAPHLTH_DATA_ROOT")]  # fmt: skip
    yield ticket
    yield from (place for place in places if isinstance(place, str) and place)


def _check_form(task: Task, model: nn.Module, name: str, out: str, layout: str) -> None:
    """Refuse a form of file, or a layout, that the network of a ticket does not have."""
    is_program = Path(out).suffix in PROGRAMS
    compactable = task.edges is not None and isinstance(model, CompactableModel)
    if task.edges is not None and takes_graph(model) and not compactable:
        raise ValueError(f"`ticket` must be of a model that can be compacted to a file, "
                         f"got one of {name!r}, of which only edges can go")  # fmt: skip
    kind = "images" if task.edges is None else "a model of your own"
    if not (is_program or compactable):
        raise ValueError(f"`out` must end in .pt2 or .onnx for a ticket of {kind}, got {out!r}")
    if is_program and layout not in ("auto", "dense"):
        raise ValueError(f"`layout` must be auto or dense for a program, got {layout!r}")


def _program_of(network: nn.Module, task: Task) -> tuple[torch.export.ExportedProgram, list[str]]:
    """What `torch.export` makes of a compacted network, and the names of its inputs."""
    if isinstance(network, Compact | SmallerModel):
        return network.program()
    x = next(iter(task.batches("test"))).inputs[0]
    sizes = ({0: torch.export.Dim("images")},)
    return torch.export.export(network, (x[[0, 0]],), dynamic_shapes=sizes), ["x"]


def bench(
    ticket: str,
    *,
    layout: Layout = "auto",
    batch: Number = 64,
    repeats: Repeats = 15,
    threads: Threads = 1,
    data_root: str | None = None,
) -> Latency:
    """What compaction of a ticket gains, without retraining: time does not depend on values.

    Args:
        ticket: the ticket's file.
        layout: of the weights: auto (the fastest, measured now), dense, blocks or sparse.
        batch: images inferred at once, where the ticket is of images.
        repeats: measurements of each, the dense and the compacted by turns.
        threads: threads of each.
        data_root: the folder of the data, where it is not that of the run.

    Raises:
        ValueError: a setting or the ticket is wrong.
        OSError: a file cannot be read.
    """
    numbers = {"threads": threads, "batch": batch, "repeats": repeats}
    check_settings(numbers, settings_of(bench))
    torch.set_num_threads(threads)
    found = load(ticket)
    task, model = rebuild(found, data_root)
    return latency(
        model, task, found, layout=layout, batch=batch, repeats=repeats
    )  # fmt: skip
