"""The file of a compacted network: every tensor in the shortest of four forms, without rounding.

`dense`; `bits` (which entries are not 0, and those); `index` (the columns of those in each row, and
those); `palette` (each value once, and which one every entry has).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise
from torch import Tensor

from graphlth.compaction.adjacency import Adjacency
from graphlth.compaction.layers import NAMES, SLOPE, Layer, Parts, check_parts
from graphlth.sparse.graph import Graph
from graphlth.storage import arrays_digest, printable

FORMAT = "graphlth-compact-4"
FORMATS = (
    "graphlth-compact-1",  # no digest
    "graphlth-compact-2",  # the entries of A of each layer, loops among them
    "graphlth-compact-3",  # no slope of LeakyReLU, which is that of GAT
    FORMAT,
)

Array = np.ndarray[Any, Any]


def encode(parts: Parts, layout: str, about: Mapping[str, Any]) -> bytes:
    """The file of a network whose edges lie sorted by target; `about` is plain JSON."""
    arrays, forms = _encode_tensors(_name_tensors(parts))
    source, target = parts.graph.edge_index.cpu().numpy()
    read = np.zeros(parts.num_features, bool)
    read[parts.features.cpu().numpy()] = True
    nodes = parts.graph.num_nodes
    arrays["features"] = np.packbits(read)
    arrays["sources"] = _shrink_type(source)
    arrays["counts"] = _shrink_type(np.bincount(target, minlength=nodes))
    content = {
        "format": FORMAT, "layout": layout, "activation": parts.activation,
        "depth": len(parts.layers), "nodes": nodes, "features": parts.num_features,
        "norm": None if parts.adjacency is None else parts.adjacency.norm,
        "slope": parts.slope, "forms": forms, "about": about,
    }  # fmt: skip
    content = json.loads(json.dumps(content))  # as it will be read
    content["digest"] = arrays_digest(_described(arrays), content)
    return serialise(arrays, {"graphlth": json.dumps(content, sort_keys=True)})


def _name_tensors(parts: Parts) -> Iterator[tuple[str, Tensor]]:
    """Every tensor but for the graph, by the number of its layer and a name."""
    for i, layer in enumerate(parts.layers):
        held = [(name, getattr(layer, name)) for name in NAMES]
        yield from ((f"{i}.{name}", value) for name, value in held if value is not None)
    if parts.weight is not None:
        weights = parts.weight if isinstance(parts.weight, tuple) else (parts.weight,)
        yield from ((f"{i}.edge_weight", weight) for i, weight in enumerate(weights))
    if parts.adjacency is not None and parts.adjacency.loops is not None:
        yield "0.loops", parts.adjacency.loops


def _encode_tensors(
    tensors: Iterator[tuple[str, Tensor]],
) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays of all tensors, and the form, shape and type of each."""
    arrays: dict[str, Array] = {}
    forms: dict[str, Any] = {}
    last: dict[str, Tensor] = {}
    for key, value in tensors:
        name = key.partition(".")[2]
        if name in last and torch.equal(last[name], value):
            forms[key] = None  # that of the layer before
            continue
        last[name] = value
        form, own = _shortest(value.cpu().numpy())
        forms[key] = [form, list(value.shape), str(value.dtype).partition(".")[2]]
        arrays |= {f"{key}.{part}": array for part, array in own.items()}
    return arrays, forms


def decode(path: str | Path) -> tuple[Parts, str, dict[str, Any]]:
    """The network in the file `path`, its layout, and what the file says about it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or is not a compacted network.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no compacted network at {path}")
    try:
        with safe_open(path, "np") as file:
            content = json.loads((file.metadata() or {})["graphlth"])
            if content["format"] not in FORMATS:
                raise ValueError(f"its format is {content['format']!r}, not {FORMAT!r}")
            arrays = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        said = {n: v for n, v in content.items() if n != "digest"}
        if content["format"] != FORMATS[0] and content["digest"] != arrays_digest(
            _described(arrays), said
        ):
            raise ValueError("its digest is not that of what it holds")
        parts = _decode_parts(content, arrays)
        check_parts(parts, content["layout"])
        return parts, content["layout"], content["about"]
    except (
        SafetensorError, KeyError, ValueError, TypeError, IndexError, RecursionError
    ) as error:  # fmt: skip
        reason = printable((str(error).splitlines() or ["?"])[0])
        raise ValueError(f"{path} is not a whole compacted network: {reason}; export its ticket "
                         "again") from None  # fmt: skip


def _described(arrays: Mapping[str, Array]) -> Iterator[tuple[str, str, tuple[int, ...], Any]]:
    """The name, type, shape and bytes of each array, over which the digest is taken."""
    for name, array in arrays.items():
        yield name, str(array.dtype), array.shape, np.ascontiguousarray(array).tobytes()


def _decode_parts(content: dict[str, Any], arrays: dict[str, Array]) -> Parts:
    nodes, norm = content["nodes"], content.get("norm")
    target = np.repeat(np.arange(nodes), arrays["counts"].astype(np.int64))
    edge_index = torch.from_numpy(np.stack([arrays["sources"].astype(np.int64), target]))
    read = np.unpackbits(arrays["features"], count=content["features"])
    tensors = _decode_tensors(content["forms"], arrays)
    layers = [
        Layer(**{name: tensors[f"{i}.{name}"] for name in NAMES if f"{i}.{name}" in tensors})
        for i in range(content["depth"])
    ]
    weights = tuple(value for key, value in tensors.items() if key.endswith(".edge_weight"))
    return Parts(
        Graph(edge_index, nodes), layers, torch.from_numpy(read.nonzero()[0]),
        content["features"], content["activation"],
        None if norm is None else Adjacency(norm, tensors.get("0.loops")),
        weights if len(weights) > 1 else next(iter(weights), None), content.get("slope", SLOPE),
    )  # fmt: skip


def _decode_tensors(forms: dict[str, Any], arrays: dict[str, Array]) -> dict[str, Tensor]:
    """Every tensor by the number of its layer and its name, in the order of the layers."""
    tensors: dict[str, Tensor] = {}
    last: dict[str, Tensor] = {}
    for key in sorted(forms, key=lambda key: int(key.partition(".")[0])):
        name = key.partition(".")[2]
        if forms[key] is not None:
            form, shape, kind = forms[key]
            own = {n.rpartition(".")[2]: a for n, a in arrays.items()
                   if n.rpartition(".")[0] == key}  # fmt: skip
            value = torch.from_numpy(_restore(form, shape, own))
            last[name] = value.to(getattr(torch, kind))
        tensors[key] = last[name]
    return tensors


def _shortest(value: Array) -> tuple[str, dict[str, Array]]:
    there = value != 0
    forms = {
        "dense": {"values": np.ascontiguousarray(value)},
        "bits": {"bits": np.packbits(there), "values": value[there]},
    }
    if value.ndim == 2:
        columns = there.nonzero()[1]
        forms["index"] = {
            "counts": _shrink_type(there.sum(1)), "columns": _shrink_type(columns),
            "values": value[there],
        }  # fmt: skip
    few, which = np.unique(value, return_inverse=True)
    forms["palette"] = {"values": few, "which": _shrink_type(which.reshape(-1))}
    sizes = {form: sum(a.nbytes for a in arrays.values()) for form, arrays in forms.items()}
    best = min(forms, key=lambda form: sizes[form])
    return best, forms[best]


def _restore(form: str, shape: list[int], parts: dict[str, Array]) -> Array:
    values = parts["values"]
    if form == "dense":
        return values.reshape(shape)
    if form == "palette":
        return values[parts["which"].astype(np.int64)].reshape(shape)
    out = np.zeros(shape, values.dtype)
    if form == "bits":
        out[np.unpackbits(parts["bits"], count=out.size).reshape(shape).astype(bool)] = values
    elif form == "index":
        rows = np.repeat(np.arange(shape[0]), parts["counts"].astype(np.int64))
        out[rows, parts["columns"].astype(np.int64)] = values
    else:
        raise ValueError(f"a tensor has the unknown form {form!r}")
    return out


def _shrink_type(numbers: Array) -> Array:
    """Whole numbers of at least 0 in as few bytes as they need."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))
