"""Files in the layout of the Open Graph Benchmark (Hu et al., NeurIPS 2020, arXiv 2005.00687).

A folder `ogbn_arxiv` holds `raw/*.csv.gz` and `split/<kind>/*`. They are read here, as OGB's own
classes of data sets ask questions on the terminal, write beside the files and unpickle what they
wrote. Nothing is written here, and no pickle is run.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from graphlth.data.archives import Array, one_line, verify_torch
from graphlth.data.files import library
from graphlth.data.planetoid import VARIABLE, candidates, roots
from graphlth.evaluators import ogb_evaluator
from graphlth.metrics import ACCURACY, Metric
from graphlth.task import SPLITS

if TYPE_CHECKING:  # it loads slowly
    from torch_geometric.data import Data

ROWS = 2**17  # of a table, that are read at a time
FILES = {"train": "train", "val": "valid", "test": "test"}  # what OGB calls the splits
URL = "http://snap.stanford.edu/ogb/data"
METRICS = {"rocauc": "roc_auc", "ap": "average_precision", "rmse": "rmse"}  # OGB's names and ours


def find_folder(name: str, data_root: str | None, archive: str) -> Path:
    """The folder `name` ("ogbn_arxiv") with OGB's raw files; nothing is downloaded.

    It is looked for in `data_root`, else in what GRAPHLTH_DATA_ROOT says, else in `./datasets`, and
    one level below. `archive` is the file of OGB that holds it ("nodeproppred/arxiv.zip").

    Raises:
        FileNotFoundError: it is nowhere; it says where it can be had.
    """
    given = roots(data_root)
    found = [folder for folder in candidates(given, name) if (folder / "raw").is_dir()]
    if not found:
        raise FileNotFoundError(
            f"{name}: no folder {name}/raw in {', '.join(map(str, given))}: unpack "
            f"{URL}/{archive} there as {name}, or give the folder that holds it with --data_root "
            f"or {VARIABLE}"
        )
    return found[0]


def read_graphs(folder: Path, *, both_directions: bool, extra: Sequence[str] = ()) -> list[Data]:
    """The graphs in `folder`: each with edge_index [2, E], num_nodes, and x, edge_attr if any.

    Args:
        folder: holds `raw/edge.csv.gz`, `num-node-list.csv.gz`, `num-edge-list.csv.gz` and, if
            there are any, `node-feat.csv.gz` and `edge-feat.csv.gz`.
        both_directions: add the reverse of every edge, with its attributes, right behind it (where
            OGB says `add_inverse_edge`).
        extra: names of further tables, one row a node ("node_year") or an edge ("edge_weight").

    Integers are int64, other numbers float32. The tensors of all graphs share their memory.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: a table is damaged, or has other rows than the lists of numbers say.
    """
    from torch_geometric.data import Data

    raw = folder / "raw"
    nodes = read_table(raw / "num-node-list.csv.gz", columns=1)[:, 0]
    edges = read_table(raw / "num-edge-list.csv.gz", len(nodes), 1)[:, 0]
    _check_counts(raw, nodes, edges)
    columns = torch.from_numpy(read_table(raw / "edge.csv.gz", int(edges.sum()), 2)).T  # [2, E]
    columns = _with_reverses(columns) if both_directions else columns.contiguous()
    tables = {"x": raw / "node-feat.csv.gz", "edge_attr": raw / "edge-feat.csv.gz"}
    tables = {key: path for key, path in tables.items() if path.is_file()}
    tables |= {key: raw / f"{key}.csv.gz" for key in extra}
    values = {
        key: torch.from_numpy(read_table(path, int((edges if _of_edges(key) else nodes).sum())))
        for key, path in tables.items()
    }
    if both_directions:
        edges = 2 * edges
        values |= {key: v.repeat_interleave(2, 0) for key, v in values.items() if _of_edges(key)}
    graphs = []
    for n, e in zip(_spans(nodes), _spans(edges), strict=True):
        parts = {key: value[e if _of_edges(key) else n] for key, value in values.items()}
        graphs.append(Data(edge_index=columns[:, e], num_nodes=n.stop - n.start, **parts))
        _check_edges(raw, graphs[-1].edge_index, n.stop - n.start)
    return graphs


def read_labels(folder: Path, kind: Literal["node", "graph"], rows: int) -> Tensor:
    """The labels [rows, T] of nodes or graphs: int64 classes, or float32 with NaN for none."""
    return torch.from_numpy(read_table(folder / "raw" / f"{kind}-label.csv.gz", rows))


def read_split(folder: Path, kind: str, rows: int) -> dict[str, Tensor]:
    """The numbers of the nodes or graphs in "train", "val" and "test" of the split `kind`.

    Raises:
        FileNotFoundError: a file of it is missing.
        ValueError: a file is damaged, or holds a number that is not below `rows`, or one twice.
    """
    split = {}
    for part, file in FILES.items():
        path = folder / "split" / kind / f"{file}.csv.gz"
        index = read_table(path, columns=1)[:, 0]
        if len(index) and (index.min() < 0 or index.max() >= rows):
            wrong = index[(index < 0) | (index >= rows)][0]
            raise ValueError(f"{path}: must hold numbers in [0, {rows}), got {wrong}")
        split[part] = torch.from_numpy(np.ascontiguousarray(index))
    together = torch.cat([split[part] for part in SPLITS])
    if together.unique().numel() != together.numel():
        raise ValueError(f"{folder / 'split' / kind}: must hold each number once, got one twice")
    return split


def read_link_split(folder: Path, kind: str, num_nodes: int) -> dict[str, dict[str, Tensor]]:
    """Of "train", "val" and "test" the links `edge` [n, 2], and what stands beside them.

    That is `edge_neg` [m, 2] of "val" and "test", and `weight` and `year` [n] where there are any.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, asks for more than arrays, or names a node that is none.
    """
    split = {}
    for part, file in FILES.items():
        path = folder / "split" / kind / f"{file}.pt"
        held = {key: torch.as_tensor(value) for key, value in _arrays(path).items()}
        if "edge" not in held:
            raise ValueError(f"{path}: `edge` is missing")
        for key in ("edge", "edge_neg"):
            if key not in held:
                continue
            links = held[key]
            if links.dim() != 2 or links.size(1) != 2 or links.dtype != torch.int64:
                raise ValueError(f"{path}: `{key}` must be int64 [n, 2], got {links.dtype} "
                                 f"{list(links.shape)}")  # fmt: skip
            _check_edges(path, links, num_nodes)
        split[part] = held
    return split


def ogb_metric(kind: Literal["node", "graph"], name: str) -> Metric:
    """What OGB measures the data set `name` ("ogbn-proteins") by, with its evaluator.

    Of several targets it is the mean; rows whose target is NaN are left out of theirs. Accuracy is
    `graphlth.metrics.ACCURACY`, which counts what OGB's evaluator counts.

    Raises:
        ValueError: `ogb` is not installed.
    """
    measure = _evaluator(kind, name).eval_metric
    if measure == "acc":
        return ACCURACY
    direction: Literal["max", "min"] = "min" if measure == "rmse" else "max"
    return Metric(METRICS[measure], direction, _OGBScore(kind, name, measure))


@lru_cache
def _evaluator(kind: Literal["node", "graph"], name: str) -> Any:
    return ogb_evaluator(kind, name, f"measure {name}")


@dataclass(frozen=True)
class _OGBScore:
    """What the evaluator of a data set gives; pickled by its names, as OGB's import is guarded."""

    kind: Literal["node", "graph"]
    name: str
    measure: str

    def __call__(self, output: Tensor, target: Tensor) -> float:
        given = {"y_true": target.detach().cpu().numpy(), "y_pred": output.detach().cpu().numpy()}
        return float(_evaluator(self.kind, self.name).eval(given)[self.measure])


# --- tables ----------------------------------------------------------------------------------


def read_table(path: Path, rows: int | None = None, columns: int | None = None) -> Array:
    """The numbers [rows, columns] of a `.csv.gz` file: int64, or float32 if any is not whole.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or has another number of rows or columns.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    pandas = library("pandas", "ogb", "read OGB's files")
    try:
        with gzip.open(path) as file:
            parts = pandas.read_csv(file, header=None, chunksize=ROWS)
            return _concatenate(path, (part.to_numpy() for part in parts), rows, columns)
    except _WrongTableError as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # pandas, gzip and zlib have no common base
        raise ValueError(f"{path}: not a readable table ({one_line(error)})") from error


class _WrongTableError(Exception):
    pass


def _concatenate(path: Path, parts: Iterator[Array], rows: int | None, columns: int | None
                 ) -> Array:  # fmt: skip
    """The parts [any, columns] of a table as one array, of which there is never a second."""
    if rows is None:  # a list of numbers, which is short
        whole = list(parts)
        rows, parts = sum(map(len, whole)), iter(whole)
    values, end = np.empty((rows, columns or 0), np.int64), 0
    for part in parts:
        if part.dtype.kind not in "iuf":
            raise _WrongTableError(f"{path}: must hold numbers, got text")
        if not end and not columns:
            values = np.empty((rows, part.shape[1]), np.int64)
        if part.dtype.kind == "f" and values.dtype.kind == "i":
            values = values.astype(np.float32) if end else np.empty(values.shape, np.float32)
        if part.shape[1] != values.shape[1]:
            raise _WrongTableError(f"{path}: must have {values.shape[1]} columns, "
                                   f"got {part.shape[1]}")  # fmt: skip
        if end + len(part) > rows:
            raise _WrongTableError(f"{path}: must have {rows:,} rows, got more")
        values[end : end + len(part)] = part
        end += len(part)
    if end != rows:
        raise _WrongTableError(f"{path}: must have {rows:,} rows, got {end:,}")
    return values


def _of_edges(name: str) -> bool:
    return name.startswith("edge")


def _with_reverses(columns: Tensor) -> Tensor:
    """Every column of [2, E] with its reverse behind it [2, 2 E]."""
    both = columns.new_empty(2, 2 * columns.size(1))
    both[:, 0::2], both[:, 1::2] = columns, columns.flip(0)
    return both


def _spans(counts: Array) -> list[slice]:
    """Where the rows of each graph stand."""
    ends = np.cumsum(counts)
    return [slice(int(end - n), int(end)) for end, n in zip(ends, counts, strict=True)]


def _check_counts(raw: Path, *counts: Array) -> None:
    for each in counts:
        if each.dtype.kind != "i" or (len(each) and each.min() < 0):
            raise ValueError(f"{raw}: the numbers of nodes and edges must be whole and at least 0")


def _check_edges(where: Path, edge_index: Tensor, num_nodes: int) -> None:
    if edge_index.dtype != torch.int64:
        raise ValueError(f"{where}: nodes of edges must be whole numbers")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_nodes:
        wrong = edge_index[(edge_index < 0) | (edge_index >= num_nodes)][0]
        raise ValueError(f"{where}: nodes of edges must be in [0, {num_nodes}), got {int(wrong)}")


def _arrays(path: Path) -> dict[str, Any]:
    """The arrays of a dict that torch has saved; ValueError where it holds anything else."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    verify_torch(path)
    dtypes = [type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8")]
    makers = [_maker(f"numpy.{core}.multiarray") for core in ("core", "_core")]
    safe: list[Any] = [np.ndarray, np.dtype, *dtypes, *makers]
    try:
        with torch.serialization.safe_globals(safe):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can raise anything
        raise ValueError(f"{path}: not a readable file of arrays ({one_line(error)})") from error
    if not isinstance(held, dict):
        raise ValueError(f"{path}: must hold a dict of arrays, got {type(held).__name__}")
    return held


def _maker(module: str) -> Callable[..., Any]:
    """What makes a pickled array, under the name that it has in `module`."""
    make: Any = np.empty(0).__reduce__()[0]

    def _reconstruct(*arguments: Any) -> Any:
        return make(*arguments)

    _reconstruct.__module__, _reconstruct.__qualname__ = module, "_reconstruct"
    return _reconstruct
