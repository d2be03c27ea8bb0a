"""A graph of your own from a `.pt` or `.npz` file; neither format runs code here."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data import data as data_module
from torch_geometric.data import storage as storage_module

from graphlth.dataset import GraphTask
from graphlth.planetoid import arrays, one_line
from graphlth.task import SPLITS

PYG = [
    getattr(module, name)
    for module, names in (  # what a pickled `Data` consists of
        (data_module, ("Data", "DataEdgeAttr", "DataTensorAttr")),
        (storage_module, ("BaseStorage", "NodeStorage", "EdgeStorage", "GlobalStorage")),
    )
    for name in names
    if hasattr(module, name)
]


def file(*, path: str, edges: str = "undirected", split: int = 0) -> GraphTask:
    """The graph in `path`; what it must hold stands at `graphlth.dataset.GraphTask`.

    `.pt`: a PyG `Data`, or a dict of tensors with the keys x, edge_index, y, train_mask, val_mask,
    test_mask. `.npz`: arrays under the same keys; x may also be compressed sparse rows (x_data,
    x_indices, x_indptr, x_shape). Masks are [N], or [splits, N] as train_masks, val_masks,
    test_masks. Where plain arrays list no edge in both directions, they are read as undirected
    pairs and the reverses are added, unless they hold `directed` = True.

    Args:
        path: the file.
        edges: "undirected" (one mask entry per pair) or "directed" (one per direction).
        split: which of several splits.
    """
    source = Path(path)
    readers = {".pt": _pt, ".npz": _npz}
    if source.suffix not in readers:
        raise ValueError(f"`path` must end in .pt or .npz, got {path!r}")
    if not source.is_file():
        raise FileNotFoundError(f"`path` must be a file, got {path!r}")
    data = readers[source.suffix](source)
    try:
        return GraphTask(data, edges=edges, split=split, name=source.stem)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _pt(path: Path) -> Data:
    try:
        known = torch.serialization.get_safe_globals()  # PyG's own, which must outlive this call
        with torch.serialization.safe_globals([each for each in PYG if each not in known]):
            held: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged or hostile file can raise anything
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it asks for {asked[1]}, which could run code" if asked else one_line(error)
        raise ValueError(f"{path}: not a readable file of tensors ({why})") from error
    if isinstance(held, tuple) and held and isinstance(held[0], dict):
        return Data.from_dict(held[0])  # `processed/data.pt` of a PyG dataset
    if isinstance(held, Data):
        return held
    if not isinstance(held, dict):
        raise ValueError(
            f"{path}: must hold a PyG `Data` or a dict of tensors, got {type(held).__name__}"
        )
    return _plain(path, held)


def _npz(path: Path) -> Data:
    held: dict[str, Any] = dict(arrays(path))
    if "x_data" in held:
        try:
            held["x"] = csr_matrix(
                (held["x_data"], held["x_indices"], held["x_indptr"]), shape=tuple(held["x_shape"])
            )
            held["x"].check_format(full_check=True)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: `x_data`, `x_indices`, `x_indptr` and `x_shape` must form "
                f"a sparse matrix ({one_line(error)})"
            ) from error
    return _plain(path, {key: _tensor(value) for key, value in held.items()})


def _tensor(value: Any) -> Any:
    """An array or sparse matrix as a tensor; what has no tensor (text, say) as it is."""
    if isinstance(value, csr_matrix):
        sparse = value.tocoo()
        index = torch.from_numpy(np.stack([sparse.row, sparse.col]).astype(np.int64))
        return torch.sparse_coo_tensor(
            index, torch.from_numpy(sparse.data), sparse.shape, check_invariants=True
        )
    if value.dtype.kind in "iu":
        return torch.from_numpy(value.astype(np.int64))
    return torch.from_numpy(value) if value.dtype.kind in "bf" else value


def _plain(path: Path, held: dict[str, Any]) -> Data:
    """`Data` from plain tensors: splits as columns, pairs in both directions."""
    data = Data(**{key: held[key] for key in ("x", "edge_index", "y") if key in held})
    for part in SPLITS:
        one, many = held.get(f"{part}_mask"), held.get(f"{part}_masks")
        if one is None and many is None:
            raise ValueError(f"{path}: `{part}_mask` [N] or `{part}_masks` [splits, N] is missing")
        data[f"{part}_mask"] = many.T if isinstance(many, Tensor) and many.dim() == 2 else one
    if isinstance(data.edge_index, Tensor) and not bool(held.get("directed", False)):
        data.edge_index = _both_directions(data.edge_index)
    return data


def _both_directions(edge_index: Tensor) -> Tensor:
    """`edge_index`, with every edge's reverse if none is there; a self-loop has no reverse."""
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or not edge_index.numel():
        return edge_index
    source, target = edge_index[:, edge_index[0] != edge_index[1]].long()
    size = int(edge_index.max()) + 1
    if torch.isin(source * size + target, target * size + source).any():
        return edge_index
    return torch.cat([edge_index, edge_index.flip(0)], dim=1)
