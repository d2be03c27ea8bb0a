"""A graph in a `.pt` or `.npz` file; neither format runs code here."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data import data as data_module
from torch_geometric.data import storage as storage_module

from graphlth.data.archives import LINE, array_names, arrays, one_line, verify_torch
from graphlth.data.fields import graphs_of, tensor
from graphlth.storage import printable
from graphlth.task import SPLITS

SPARSE = ("x_data", "x_indices", "x_indptr", "x_shape")  # of x [N, F] as compressed sparse rows
MASKS = tuple(f"{part}_{kind}" for part in SPLITS for kind in ("mask", "masks", "idx"))
KEYS = ("x", "edge_index", "edge_weight", "edge_attr", "batch", "ptr", *MASKS)
LARGE = 2**28  # bytes; no larger tensor of a file may repeat what the file holds
ONE = "save one of them alone: torch.save(dataset[0], PATH)"

PYG = [
    getattr(module, name)
    for module, names in (  # what a pickled `Data` consists of
        (data_module, ("Data", "DataEdgeAttr", "DataTensorAttr")),
        (storage_module, ("BaseStorage", "NodeStorage", "EdgeStorage", "GlobalStorage")),
    )
    for name in names
    if hasattr(module, name)
]


def read_graph(path: Path, labels: str = "y") -> SimpleNamespace:
    """What `NodeTask` reads of a graph, from a file of the keys that `graphlth.tasks.file` names.

    Args:
        path: ends in `.pt` or `.npz`.
        labels: the key of the labels.

    Raises:
        ValueError: it ends in neither, is damaged, asks for code, or holds something else.
        FileNotFoundError: there is no such file.
    """
    readers = {".pt": _pt, ".npz": _npz}
    if path.suffix not in readers:
        raise ValueError(f"`path` must end in .pt or .npz, got {str(path)!r}")
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a file, got {str(path)!r}")
    has_checksums = path.suffix == ".npz" or verify_torch(path)
    data = readers[path.suffix](path, labels)
    data.has_checksums = has_checksums  # the format of torch before 1.6 has none
    return data


def _pt(path: Path, labels: str) -> SimpleNamespace:
    try:
        known = torch.serialization.get_safe_globals()  # PyG's own, which must outlive this call
        with torch.serialization.safe_globals([each for each in PYG if each not in known]):
            held: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can raise anything
        raise ValueError(f"{path}: {_unreadable(error)}") from error
    try:
        return _fields(path, held, labels)
    except ValueError:
        raise
    except Exception as error:  # what a hostile file made can do anything when it is looked at
        raise ValueError(f"{path}: not a readable file of tensors ({one_line(error)})") from error


def _fields(path: Path, held: Any, labels: str) -> SimpleNamespace:
    """Of what torch has read, the fields that are asked for."""
    plain = isinstance(held, dict)
    if isinstance(held, tuple) and held and isinstance(held[0], dict | Data):
        count = graphs_of(held[1]) if len(held) > 1 else 1
        if count > 1:
            raise ValueError(f"{path}: must hold one graph, got {count}: {ONE}")
        held = held[0]  # `processed/data.pt` of a PyG dataset
    if isinstance(held, list) and held and isinstance(held[0], Data):
        raise ValueError(f"{path}: must hold one graph, got {len(held)} in a list: {ONE}")
    if not isinstance(held, Data | dict):
        raise ValueError(
            f"{path}: must hold a PyG `Data` or a dict of tensors, got {type(held).__name__}"
        )
    names = [str(key) for key in (held if isinstance(held, dict) else held.keys())]
    values = {key: held[key] for key in (*KEYS, labels, "directed") if key in held}
    for key, value in values.items():
        _held(path, key, value)
    return _named(path, values, labels, sorted(names), plain)


def _unreadable(error: Exception) -> str:
    """Why torch has not read a file."""
    asked = re.search(r"GLOBAL ([\w.]+)", str(error))
    if asked and asked[1].startswith("torch_geometric.data.batch."):
        return f"must hold one graph, got a `Batch` of several: {ONE}"
    why = one_line(error)
    if asked:
        why = f"it asks for {asked[1]}, which could run code: save a dict of tensors"
    return f"not a readable file of tensors ({why})"


def _held(path: Path, key: str, value: Any) -> None:
    """Refuse a large tensor that claims more numbers than the file holds for it."""
    if not isinstance(value, Tensor):
        return
    parts = [value]
    if value.layout == torch.sparse_coo:
        parts = [value._indices(), value._values()]
    elif value.layout in (torch.sparse_csr, torch.sparse_bsr):
        parts = [value.crow_indices(), value.col_indices(), value.values()]
    elif value.layout in (torch.sparse_csc, torch.sparse_bsc):
        parts = [value.ccol_indices(), value.row_indices(), value.values()]
    for part in parts:
        if part.layout != torch.strided or part.is_meta or part.is_nested:
            continue  # refused where it is used
        size = part.numel() * part.element_size()
        if size > max(LARGE, part.untyped_storage().nbytes()):
            raise ValueError(
                f"{path}: `{key}` must not repeat what it holds, got {size:,} bytes from "
                f"{part.untyped_storage().nbytes():,}: save it `.contiguous()`"
            )


def _npz(path: Path, labels: str) -> SimpleNamespace:
    held: dict[str, Any] = {}
    for key, value in arrays(path, (*KEYS, *SPARSE, labels, "directed")).items():
        try:
            held[key] = value if key in SPARSE else tensor(value)
        except ValueError as error:
            raise ValueError(f"{path}: `{key}` {error}") from None
    if "x_data" in held:
        held["x"] = _rows(path, held)
    return _named(path, held, labels, array_names(path), plain=True)


def _rows(path: Path, held: Mapping[str, Any]) -> Tensor:
    """The matrix [N, F] of compressed sparse rows."""
    try:
        data, indices, indptr, shape = (held[key] for key in SPARSE)
        if data.dtype == np.float16:  # which scipy has not
            data = data.astype(np.float32)
        x = csr_matrix((data, indices, indptr), shape=tuple(shape.tolist()))
        x.check_format(full_check=True)
        starts, columns = torch.from_numpy(x.indptr).long(), torch.from_numpy(x.indices).long()
        values = tensor(x.data)
        assert isinstance(values, Tensor)  # a matrix of text is refused above
    except (KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"{path}: `x_data`, `x_indices`, `x_indptr` and `x_shape` must form "
            f"a sparse matrix ({one_line(error)})"
        ) from error
    row = torch.arange(x.shape[0]).repeat_interleave(starts.diff())
    return torch.sparse_coo_tensor(torch.stack([row, columns]), values, x.shape)


def _named(
    path: Path, held: Mapping[str, Any], labels: str, names: list[str], plain: bool
) -> SimpleNamespace:
    """The fields of `data`; of `plain` arrays, splits as columns and pairs in both directions."""
    if labels != "y" and labels not in held:
        known = printable(", ".join(names)[:LINE])
        raise ValueError(f"{path}: `labels` must be one of the keys {known}, got {labels!r}")
    data = SimpleNamespace(**dict.fromkeys(("x", "edge_index"), None))
    vars(data).update({key: held[key] for key in KEYS if key in held}, y=held.get(labels))
    if not plain:
        return data
    for part in SPLITS:
        many = held.get(f"{part}_masks")
        if isinstance(many, Tensor) and many.dim() == 2:
            setattr(data, f"{part}_mask", many.T)
    directed = held.get("directed", False)
    if isinstance(directed, Tensor) and directed.numel() == 1:
        directed = directed.item()
    if not (isinstance(directed, int) and directed in (True, False)):
        raise ValueError(
            f"{path}: `directed` must be True or False, got {printable(repr(directed)[:LINE])}"
        )
    data.directed = bool(directed)
    if isinstance(data.edge_index, Tensor) and not directed:
        _both_directions(data)
    return data


def _both_directions(data: SimpleNamespace) -> None:
    """Add the reverse of every edge if none is there; a self-loop has no reverse.

    A reverse has the weight and the attributes of its edge.
    """
    pairs = data.edge_index
    if pairs.dim() != 2 or pairs.size(0) != 2 or not pairs.numel() or pairs.is_floating_point():
        return
    pairs = pairs.long()
    others = pairs[0] != pairs[1]
    source, target = pairs[:, others]
    size = int(pairs.max()) + 1
    if torch.isin(source * size + target, target * size + source).any():
        return
    for key in ("edge_weight", "edge_attr"):
        value = getattr(data, key, None)
        if isinstance(value, Tensor) and value.dim() and value.size(0) == pairs.size(1):
            setattr(data, key, torch.cat([value, value[others]]))
    data.edge_index = torch.cat([pairs, pairs[:, others].flip(0)], dim=1)
