"""The file of a smaller model: a program of `torch.export`, which needs no code of the model.

It takes any graph: other numbers of nodes, edges and graphs. No features and no labels are in it;
the kept edges of the ticket are, so that it can be called with the features alone.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from graphlth.sparse.features import Features, dense_features
from graphlth.storage import add_archive_digest, check_archive, printable, replace_file

FORMAT = "graphlth-program-1"
PROGRAMS = (".pt2", ".onnx")  # suffixes of files that take any graph
ABOUT = "graphlth.json"  # the place in the archive of what the file says of itself
EXPORTERS = ("torch.onnx._internal.exporter._registration", "onnx_ir._convenience")  # loggers
NODES, EDGES, GRAPHS = (7, 12, 2)  # of the graph that a program is traced with


class Program(nn.Module):
    """A network as a function of tensors alone, in the order of `names`."""

    def __init__(self, network: nn.Module, names: Sequence[str], call: Callable[[Any, Any], Any]):
        super().__init__()
        self.network, self.names, self.call = network, [*names], call

    def forward(self, *tensors: Tensor) -> Any:
        """What the network returns of a graph of these tensors."""
        from torch_geometric.data import Data  # loads slowly

        given = dict(zip(self.names, tensors, strict=True))
        with _counted_graphs(given.get("batch")):
            return self.call(self.network, Data(**given))


@contextmanager
def _counted_graphs(batch: Tensor | None) -> Iterator[None]:
    """A context in which PyG's read-outs take the number of graphs of `batch` as a symbol.

    They turn it into a Python number, which a program cannot hold.
    """
    if batch is None:
        yield
        return
    from torch_geometric.nn.aggr import Aggregation
    from torch_geometric.utils import scatter

    count = batch.max().item() + 1
    torch._check(count > 0)

    def scatter_graphs(
        src: Tensor, index: Tensor, dim: int = 0, dim_size: Any = None, reduce: str = "sum"
    ) -> Tensor:
        size = count if dim_size is None and index is batch else dim_size
        return scatter(src, index, dim, size, reduce)

    aggregate = Aggregation.__call__

    def call_aggregation(
        self: Aggregation, x: Tensor, index: Any = None, ptr: Any = None, dim_size: Any = None,
        dim: int = -2, **kwargs: Any,
    ) -> Tensor:  # fmt: skip
        size = count if dim_size is None and index is batch else dim_size
        return aggregate(self, x, index, ptr, size, dim, **kwargs)

    with ExitStack() as stack:
        for module in [*sys.modules.values()]:
            if getattr(module, "__dict__", {}).get("scatter") is scatter:
                stack.enter_context(patch.object(module, "scatter", scatter_graphs))
        stack.enter_context(patch.object(Aggregation, "__call__", call_aggregation))
        yield


def call_by_place(model: nn.Module, data: Any) -> Any:
    """What a model returns that is called with (x, edge_index) and the weights, if there are."""
    weight = data.edge_weight
    return model(data.x, data.edge_index, *([] if weight is None else [weight]))


def export_network(
    network: nn.Module, shapes: Mapping[str, Tensor], call: Callable[[Any, Any], Any]
) -> tuple[torch.export.ExportedProgram, list[str]]:
    """The program of `call(network, data)` for any number of nodes, edges and graphs.

    Beside it the names of its inputs, in their order: those of `shapes` that it reads.

    Args:
        network: in evaluation mode.
        shapes: by the names of PyG's `Data`, tensors like those that it will be given: their types
            and all sizes but the numbers of nodes and edges.
        call: how it is called.

    Raises:
        ValueError: torch cannot export it; the reason.
    """
    tensors = example_graph(shapes)
    program = _export(network, tensors, call)
    if ignored := _ignored_inputs(program, [*tensors]):  # of `data`, not all are read
        tensors = {n: t for n, t in tensors.items() if n not in ignored}
        program = _export(network, tensors, call)
    return program, [*tensors]


def _export(
    network: nn.Module, tensors: Mapping[str, Tensor], call: Callable[[Any, Any], Any]
) -> torch.export.ExportedProgram:
    sizes = {n: torch.export.Dim(n, min=0) for n in ("edges", "nodes")}
    dynamic = [{1 if n == "edge_index" else 0: sizes[_counts(n)]} for n in tensors]
    program = Program(network, [*tensors], call)
    try:
        return torch.export.export(
            program, tuple(tensors.values()), dynamic_shapes=(tuple(dynamic),)
        )
    except Exception as error:  # torch has no common base for what it cannot do
        first = printable((str(error).splitlines() or [""])[0])
        kind = type(error).__name__
        raise ValueError(f"`model` must be one that torch.export takes, to be saved without its "
                         f"code, got {kind}: {first}; use torch.save(small, path) and keep the "
                         "code") from None  # fmt: skip


def _ignored_inputs(program: torch.export.ExportedProgram, names: Sequence[str]) -> set[str]:
    """The inputs, but for features and edges, that no operation reads."""
    used = {
        node.name
        for node in program.graph.nodes
        if any("sym_size" not in str(reader.target) for reader in node.users)
    }
    inputs = dict(zip(names, program.graph_signature.user_inputs, strict=True))
    return {n for n, place in inputs.items() if place not in used} - {"x", "edge_index"}


def example_graph(shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A small graph, drawn by chance, of tensors like `shapes`."""
    draw = torch.Generator().manual_seed(0)
    made: dict[str, Tensor] = {}
    for name, like in shapes.items():
        rows = EDGES if _counts(name) == "edges" else NODES
        if name == "edge_index":
            made[name] = torch.randint(NODES, (2, EDGES), generator=draw)
        elif name == "batch":
            made[name] = torch.arange(NODES) * GRAPHS // NODES
        elif like.is_floating_point():
            made[name] = torch.rand(rows, *like.shape[1:], generator=draw).to(like.dtype)
        else:
            made[name] = torch.zeros(rows, *like.shape[1:], dtype=like.dtype)
    return {n: t.to(shapes[n].device) for n, t in made.items()}


def _counts(name: str) -> str:
    """Whether the rows of what PyG calls `name` are edges or nodes."""
    return "edges" if name.startswith("edge") else "nodes"


# --- files ---------------------------------------------------------------------------------------


def write_program(
    path: str | Path,
    program: torch.export.ExportedProgram,
    names: Sequence[str],
    graph: Mapping[str, Tensor],
    about: Mapping[str, Any],
) -> None:
    """Write what `export_network` gives, all of it or nothing: .pt2 (torch.export), or .onnx.

    Args:
        path: the file.
        program: for any graph.
        names: of its inputs, in their order.
        graph: the kept edges by these names, which a .pt2 has in it; none of many graphs.
        about: where the network comes from; plain JSON.

    Raises:
        ValueError: ONNX has no such operation, or the package for it is not installed.
    """
    if Path(path).suffix == ".onnx":
        save_onnx(program, path, names)
    else:
        save_program(program, path, names, graph, about)


def save_program(
    program: torch.export.ExportedProgram,
    path: str | Path,
    names: Sequence[str],
    graph: Mapping[str, Tensor],
    about: Mapping[str, Any],
) -> None:
    """Write a program with the kept edges, all of it or nothing."""
    program.example_inputs = None  # they would be saved too
    edges = base64.b64encode(save({n: t.contiguous() for n, t in graph.items()})).decode()
    content = {"format": FORMAT, "names": [*names], "graph": edges, "about": dict(about)}
    with replace_file(path) as draft:
        torch.export.save(program, draft, extra_files={ABOUT: json.dumps(content)})
        add_archive_digest(draft)


def save_onnx(
    program: torch.export.ExportedProgram, path: str | Path, names: Sequence[str]
) -> None:
    """Write a program as ONNX, all of it or nothing.

    Raises:
        ValueError: the package for it is not installed, or an operation has no translation.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise ValueError("ONNX needs the package `onnxscript`: pip install graphlth[export]"
                         ) from None  # fmt: skip
    try:
        with _quiet_exporter():
            made = torch.onnx.export(program, input_names=[*names], verbose=False)
    except Exception as error:
        last = printable(([*filter(None, str(error).splitlines())] or [""])[-1])
        raise ValueError(f"`model` must be one that torch.onnx takes, got {type(error).__name__}: "
                         f"{last}; save it as .pt2") from None  # fmt: skip
    assert made is not None
    with replace_file(path) as draft:
        made.save(str(draft))


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """A context in which torch does not tell of its own calls that are deprecated or unclear."""
    loggers = [logging.getLogger(name) for name in EXPORTERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class LoadedProgram(nn.Module):
    """A network of a file, as a function of a graph; `about` says where it comes from."""

    def __init__(self, module: nn.Module, names: Sequence[str], graph: Mapping[str, Tensor],
                 about: Mapping[str, Any]):  # fmt: skip
        super().__init__()
        self.program, self.names, self.about = module, [*names], dict(about)
        for name, t in graph.items():
            self.register_buffer(name, t)

    def forward(self, x: Tensor | Features, *others: Tensor, **named: Tensor) -> Any:
        """The network's output for `x` and what else `names` has; where left out, its own edges.

        Raises:
            ValueError: something is not given that the file does not have.
        """
        given = dict(zip(self.names[1:], others, strict=False)) | named
        if not given:
            given = dict(self.named_buffers(recurse=False))
        if missing := [n for n in self.names[1:] if n not in given]:
            raise ValueError(f"`{missing[0]}` must be given: the network is one of "
                             f"({', '.join(self.names)})")  # fmt: skip
        with torch.no_grad():
            return self.program(dense_features(x), *(given[n] for n in self.names[1:]))


def load_program(path: str | Path) -> LoadedProgram:
    """The network in the file `path`.

    Raises:
        ValueError: the file is damaged or is not such a network.
    """
    try:
        check_archive(path, needed=True)
        held = {ABOUT: ""}
        program = torch.export.load(path, extra_files=held)
        content = json.loads(held[ABOUT] or "{}")
        if content.get("format") != FORMAT:
            raise ValueError(f"its format is {content.get('format')!r}, not {FORMAT!r}; "
                             "torch.export.load reads it")  # fmt: skip
        graph = load(base64.b64decode(content["graph"]))
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = printable((str(error).splitlines() or ["?"])[0])
        raise ValueError(f"{path} is not a whole compacted network: {reason}") from None
    return LoadedProgram(program.module(), content["names"], graph, content["about"])
