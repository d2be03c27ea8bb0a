"""From a ticket file to a network to use: rebuilt, retrained, compacted; and what that gains."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphlth.analysis.latency import Latency, latency
from graphlth.compaction.compact import compact
from graphlth.compaction.layers import LAYOUTS
from graphlth.compaction.network import Compact
from graphlth.compaction.own_models import SmallerModel
from graphlth.experiment.plan import build_plugin, check_same_code, check_stored_settings
from graphlth.experiment.settings import RETRAINING, settings_of_run
from graphlth.model import CompactableModel, takes_graph
from graphlth.provenance import check_same_data
from graphlth.rewinding import rewind
from graphlth.settings.annotations import check_number
from graphlth.settings.checks import check_written
from graphlth.settings.types import Epochs, Layout, Number, Repeats, Seed, Threads
from graphlth.settings.validation import check_settings, settings_of
from graphlth.storage import add_archive_digest, replace_file
from graphlth.streams import stream_seed
from graphlth.task import Task
from graphlth.ticket import Ticket, load
from graphlth.ticket_checks import check_ticket_fits
from graphlth.training.epoch import Epoch, Fit
from graphlth.training.retraining import retrain


def rebuild(ticket: Ticket, data_root: str | None = None) -> tuple[Task, nn.Module]:
    """The task and the model of a ticket that a run has found; the model with the ticket's weights.

    Raises:
        ValueError: the ticket does not say what it is of, or it is of a graph and a model that has
            no `parts`.
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
    if task.edges is not None and takes_graph(model) and not isinstance(model, CompactableModel):
        raise ValueError(f"`ticket` must be of a model that can be compacted to a file, "
                         f"got one of {about['model']!r}, of which only edges can go")  # fmt: skip
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
    program: str | None = None,
    watch: Callable[[Epoch, int], None] = lambda epoch, epochs: None,
) -> tuple[nn.Module, Fit]:
    """Retrain a ticket, write the compacted network to `out`, and return it with its best epoch.

    A `Compact` is written for a ticket of a graph. For one of images it is a program of
    `torch.export` for batches of any size, which torch alone reads: `torch.export.load(out)` has an
    ordinary `nn.Module` in it. For a model of a user's own it is such a program for any graph, or
    the same for ONNX.

    Args:
        ticket: the ticket's file.
        out: the file to write, all of it or nothing; .pt2 for a ticket of images; .pt2 or .onnx for
            one of a model of a user's own.
        layout: of the weights: auto (the fastest, measured now), dense, blocks or sparse.
        epochs: epochs of retraining; those of the ticket's run where not given.
        threads: threads of the retraining and of the measurement.
        data_root: the folder of the data, where it is not that of the run.
        program: another file to write: the network of dense features by `torch.export` (.pt2);
            not for images, nor for a model of a user's own.
        watch: is called after every epoch, with the number of epochs.

    Raises:
        ValueError: a setting or the ticket is wrong.
        OSError: a file cannot be read or written.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if program is not None and Path(program).suffix != ".pt2":
        raise ValueError(f"`program` must end in .pt2, got {program!r}")
    check_settings({"threads": threads, "epochs": epochs}, settings_of(export))
    found = load(ticket)
    reads = [*_paths_to_read(ticket, found, data_root)]
    check_written("out", out, reads)  # or the retraining would be lost
    if program is not None:
        check_written("program", program, [*reads, out])
        if Path(program).resolve() == Path(out).resolve():
            raise ValueError(f"`program` must be another file than `out`, got {program!r}")
    torch.set_num_threads(threads)
    task, model = rebuild(found, data_root)
    own = task.edges is not None and not isinstance(model, CompactableModel)
    if own:
        _check_own_arguments(out, program, layout)
        small = compact(found, model, task)
        if isinstance(small, SmallerModel):
            small.program(out)  # what torch cannot export is refused before the retraining
    elif task.edges is not None and Path(out).suffix in (".pt2", ".onnx"):
        raise ValueError("`out` must be a file of safetensors for a ticket of a graph, got "
                         f"{out!r}: `program` writes a .pt2 beside it")  # fmt: skip
    if task.edges is None:
        _check_image_arguments(out, program, layout)
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
    if isinstance(network, SmallerModel):
        network.about |= {"val": best.val, "test": best.test}
        network.save(out)
        return network, best
    x = next(iter(task.batches("test"))).inputs[0]
    if not isinstance(network, Compact):
        some = torch.export.Dim("images")
        _save_program(network.requires_grad_(False), x[[0, 0]], Path(out), ({0: some},))
        return network, best
    network.about |= {"val": best.val, "test": best.test}
    if program is not None:
        x = x if isinstance(x, torch.Tensor) else x.dense
        _save_program(network.plain(), x, Path(program))
    network.save(out)
    return network, best


def _paths_to_read(ticket: str, found: Ticket, data_root: str | None) -> Iterator[str | Path]:
    """What an export reads: the ticket, and the file or the folders of the data."""
    settings = found.provenance.get("settings", {})
    places = [settings.get("path"), settings.get("data_root"), data_root, settings.get("tickets"),
              os.environ.get("GRAPHLTH_DATA_ROOT")]  # fmt: skip
    yield ticket
    yield from (place for place in places if isinstance(place, str) and place)


def _check_image_arguments(out: str, program: str | None, layout: str) -> None:
    _check_program_arguments(out, program, layout, (".pt2",), "images")


def _check_own_arguments(out: str, program: str | None, layout: str) -> None:
    _check_program_arguments(out, program, layout, (".pt2", ".onnx"), "a model of your own")


def _check_program_arguments(
    out: str, program: str | None, layout: str, suffixes: Sequence[str], kind: str
) -> None:
    """Refuse arguments of what is written as a program alone."""
    for name, value, rule, wrong in (
        ("out", out, f"end in {' or '.join(suffixes)}", Path(out).suffix not in suffixes),
        ("program", program, "not be given", program is not None),
        ("layout", layout, "be auto or dense", layout not in ("auto", "dense")),
    ):
        if wrong:
            raise ValueError(f"`{name}` must {rule} for a ticket of {kind}, got {value!r}")


def _save_program(network: nn.Module, x: torch.Tensor, path: Path, sizes: Any = None) -> None:
    """Write what `torch.export` makes of `network(x)`, all of it or nothing."""
    program = torch.export.export(network, (x,), dynamic_shapes=sizes)
    program.example_inputs = None  # they would be saved too, and are data
    with replace_file(path) as draft:
        torch.export.save(program, draft)
        add_archive_digest(draft)


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
