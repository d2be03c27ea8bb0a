"""The fields of a graph's `data` as people have them: checked, and in one form each.

Every check of what a tensor claims comes before any operation that believes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphlth.data.archives import Array
from graphlth.settings.annotations import check_number
from graphlth.settings.types import Seed
from graphlth.streams import stream
from graphlth.task import SPLITS

NODES, FEATURES, CLASSES = 100_000_000, 1_000_000, 100_000  # the most that are taken
FIFTHS = ("train", "val", "test", "train", "train")  # of a class's nodes, in a random order
NUMBERS = "; of what is no class name the `loss`: binary_cross_entropy of several labels, or mse"
COMPRESSED = {
    torch.sparse_csr: ("crow_indices", "col_indices", 0),
    torch.sparse_bsr: ("crow_indices", "col_indices", 0),
    torch.sparse_csc: ("ccol_indices", "row_indices", 1),
    torch.sparse_bsc: ("ccol_indices", "row_indices", 1),
}


def graphs_of(slices: Any) -> int:
    """The number of graphs that PyG's `slices` cut a collated dataset into; 1 without any."""
    if isinstance(slices, Mapping):
        return max(map(graphs_of, slices.values()), default=1)
    return max(len(slices) - 1, 1) if isinstance(slices, Tensor | list) else 1


def one_graph(data: Any) -> None:
    """Refuse several graphs, and what is none."""
    count = len(data) if isinstance(data, list | tuple) else graphs_of(getattr(data, "slices", 0))
    ptr, batch = getattr(data, "ptr", None), getattr(data, "batch", None)
    if isinstance(ptr, Tensor) and ptr.dim() == 1:
        count = max(count, ptr.numel() - 1)
    elif isinstance(batch, Tensor) and batch.numel() and not batch.is_floating_point():
        count = max(count, int((batch != batch.flatten()[0]).any()) + 1)
    if count > 1:
        raise ValueError(f"`data` must be one graph, got {count} or more: give one of them, "
                         "`dataset[0]`, or a graph that you have made of them")  # fmt: skip
    if not hasattr(data, "edge_index"):
        hint = ": give `dataset[0]`" if isinstance(data, list | tuple) else ""
        raise ValueError(f"`data` must be a PyG `Data`, got {type(data).__name__}{hint}")


def field(data: Any, key: str) -> Tensor:
    """The dense tensor `data.key` on the CPU."""
    value = getattr(data, key, None)
    if not isinstance(value, Tensor):
        state = "is missing" if value is None else f"must be a tensor, got {type(value).__name__}"
        raise ValueError(f"`data.{key}` {state}")
    dense = value.layout == torch.strided and not value.is_quantized and not value.is_nested
    if not dense or value.is_meta:
        kind = "a tensor without values" if value.is_meta else f"{value.layout} {value.dtype}"
        raise ValueError(f"`data.{key}` must be a dense tensor of numbers, got {kind}")
    return value.detach().cpu()


def tensor(array: Array) -> Tensor | Array:
    """The same numbers as a tensor, or text as it is.

    Raises:
        ValueError: they are of a type that no tensor has, and not exact in the nearest that has.
    """
    if array.dtype.kind in "US":
        return array
    if array.dtype == np.longdouble and array.dtype.itemsize > 8:
        nearest = array.astype(np.float64)
        if not ((nearest == array) | np.isnan(array)).all():
            raise ValueError("must hold numbers that are exact in 64 bits, got "
                             f"{array.dtype}: save it as float64")  # fmt: skip
        return torch.from_numpy(nearest)
    try:
        return torch.from_numpy(array)
    except TypeError:
        raise ValueError(f"must hold numbers or text, got {array.dtype}") from None


def features(data: Any) -> Tensor:
    """`data.x` [N, F], real numbers: dense or, where the invariants of its layout hold, COO."""
    x = getattr(data, "x", None)
    layouts = (*COMPRESSED, torch.sparse_coo)
    sparse = isinstance(x, Tensor) and x.layout in layouts and not x.is_meta
    value: Tensor = x if sparse else field(data, "x")  # type: ignore[assignment]
    if value.dim() != 2 or 0 in value.shape or value.is_complex():
        raise ValueError(
            f"`data.x` must be real numbers [N, F], got {value.dtype} {list(value.shape)}"
        )
    for size, most, what in (
        (value.size(0), NODES, "nodes"),
        (value.size(1), FEATURES, "features"),
    ):
        if size > most:
            raise ValueError(f"`data.x` must have at most {most:,} {what}, got {size:,}")
    return _coo(value.detach()) if sparse else value


def _coo(x: Tensor) -> Tensor:
    """The sparse matrix `x` as a coalesced COO tensor on the CPU.

    Raises:
        ValueError: it points out of itself. (Torch makes such a tensor without a check, and then
            walks it.)
    """
    if x.layout == torch.sparse_coo:
        index, values = x._indices().cpu(), x._values().cpu()
        if index.shape != (2, values.numel()) or values.dim() != 1:
            raise ValueError(f"`data.x` must have two indices for each of its {values.numel()} "
                             f"values, got {list(index.shape)}")  # fmt: skip
    else:
        index, values = _expand_compressed(x)
    size = torch.tensor(x.shape).unsqueeze(1)
    if index.numel() and bool(((index < 0) | (index >= size)).any()):
        where = index[:, ((index < 0) | (index >= size)).any(0)][:, 0].tolist()
        raise ValueError(f"`data.x` must have indices in {list(x.shape)}, got {where}: "
                         "make it with `check_invariants=True`")  # fmt: skip
    values = values.to(torch.get_default_dtype())  # in which every type can be summed
    return torch.sparse_coo_tensor(index, values, x.shape, check_invariants=False).coalesce()


def _expand_compressed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Indices [2, n] and values [n] of a compressed matrix, of one number or a block each."""
    starts_of, others_of, axis = COMPRESSED[x.layout]
    starts = getattr(x, starts_of)().cpu().long()
    others, values = getattr(x, others_of)().cpu().long(), x.values().cpu()
    blocks = x.layout in (torch.sparse_bsr, torch.sparse_bsc)
    if values.dim() != 1 + 2 * blocks or others.shape != values.shape[:1] or 0 in values.shape[1:]:
        raise ValueError(f"`data.x` must have an index for each of its values {list(values.shape)}"
                         f", got {list(others.shape)}")  # fmt: skip
    rows = x.size(axis) // (values.size(1 + axis) if blocks else 1)
    steps = starts.diff()
    if (
        starts.shape != (rows + 1,) or int(starts[0]) != 0
        or bool((steps < 0).any()) or int(starts[-1]) != others.numel()
    ):  # fmt: skip
        raise ValueError(
            f"`data.x` must have {rows + 1} pointers that rise from 0 to its {others.numel()} "
            f"values, got {starts[:9].tolist()}: make it with `check_invariants=True`"
        )
    own = torch.arange(rows).repeat_interleave(steps)  # [n] the row (or column) of each value
    if bool((own[1:] == own[:-1]).logical_and(others.diff() <= 0).any()):
        raise ValueError("`data.x` must have sorted indices in each row, each once: make it with "
                         "`check_invariants=True`")  # fmt: skip
    index = torch.stack([own, others] if axis == 0 else [others, own])
    if not blocks:
        return index, values
    high, wide = values.shape[1:]
    within = torch.cartesian_prod(torch.arange(high), torch.arange(wide)).T  # [2, block]
    scale = torch.tensor([[high], [wide]])
    return (index * scale).repeat_interleave(high * wide, 1) + within.repeat(
        1, values.size(0)
    ), values.flatten()


def whole(value: Tensor, name: str, what: str, remedy: str = "") -> Tensor:
    """The integers `value` as int64; other numbers are refused with a further `remedy`."""
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise ValueError(f"`{name}` must hold int64 {what}, got {value.dtype}: "
                         f"if they are whole numbers, give `.long()` of it{remedy}")  # fmt: skip
    out = value.long()
    if value.dtype == torch.uint64 and bool((out < 0).any()):
        raise ValueError(f"`{name}` must hold {what} below 2⁶³")
    return out


def edge_index(data: Any) -> Tensor:
    """`data.edge_index` [2, E] of int64."""
    value = field(data, "edge_index")
    if value.dim() != 2 or value.size(0) != 2:
        flip = value.dim() == 2 and value.size(1) == 2
        raise ValueError(f"`data.edge_index` must be [2, E], got {list(value.shape)}"
                         + (": give `edge_index.T`" if flip else ""))  # fmt: skip
    return whole(value, "data.edge_index", "node numbers")


def labels(data: Any, num_nodes: int) -> tuple[Tensor, tuple[str, ...]]:
    """Class numbers [N], below 0 for a node without one; and what `data` call each class.

    The classes are called after text labels (an empty one is none), sorted, or after labels that
    go from 1 on; there are no names where labels are class numbers as they are.
    """
    given = getattr(data, "y", None)
    if _is_text(given):
        return _number_text_labels(np.asarray(given), num_nodes)
    y = field(data, "y")
    y = y[:, 0] if y.shape == (num_nodes, 1) else y
    if y.shape != (num_nodes,):
        hint = (f": of labels that are 1 in one column each, give `y.argmax(1)`{NUMBERS}"
                if y.dim() == 2 and y.size(0) == num_nodes else "")  # fmt: skip
        raise ValueError(f"`data.y` must be [{num_nodes}], one class a node, "
                         f"got {list(y.shape)}{hint}")  # fmt: skip
    y = whole(y, "data.y", "class numbers", NUMBERS).clone()
    highest = int(y.max())
    if highest > min(CLASSES, num_nodes):
        raise ValueError(f"`data.y` must hold class numbers of at most {min(CLASSES, num_nodes):,}"
                         f" (of {num_nodes:,} nodes), got {highest}")  # fmt: skip
    known = y[y >= 0].unique()
    if known.numel() and int(known[0]) == 1 and known.numel() == highest:
        return torch.where(y > 0, y - 1, y), tuple(map(str, known.tolist()))
    return y, ()


def targets(data: Any, num_nodes: int) -> Tensor:
    """The numbers [N, T] that `data.y` gives for every node, of one target or several."""
    y = field(data, "y")
    y = y[:, None] if y.dim() == 1 else y
    if y.dim() != 2 or y.size(0) != num_nodes or not y.size(1) or y.is_complex():
        raise ValueError(f"`data.y` must be real numbers [{num_nodes}] or [{num_nodes}, targets], "
                         f"got {y.dtype} {list(y.shape)}")  # fmt: skip
    y = y.to(torch.get_default_dtype())
    if not y.isfinite().all():
        raise ValueError("`data.y` must be finite, got NaN or infinity")
    return y


def are_numbers(data: Any) -> bool:
    """Whether `data.y` are numbers to be predicted rather than classes: real, or several a node."""
    y = getattr(data, "y", None)
    return isinstance(y, Tensor) and (y.is_floating_point() or (y.dim() == 2 and y.size(1) > 1))


def notes(label_names: tuple[str, ...]) -> tuple[str, ...]:
    """A line about labels that are no class numbers from 0 on."""
    if not label_names:
        return ()
    few = ", ".join(map(repr, label_names[:3])) + (", …" if len(label_names) > 3 else "")
    return (f"the labels {few} of the data are the classes 0 to {len(label_names) - 1}",)


def _is_text(y: Any) -> bool:
    if isinstance(y, np.ndarray):
        return y.dtype.kind in "US"
    return isinstance(y, list | tuple) and bool(y) and all(isinstance(each, str) for each in y)


def _number_text_labels(text: Array, num_nodes: int) -> tuple[Tensor, tuple[str, ...]]:
    if text.shape not in ((num_nodes,), (num_nodes, 1)):
        raise ValueError(
            f"`data.y` must be [{num_nodes}], one class a node, got {list(text.shape)}"
        )
    try:
        words = np.char.decode(text, "utf-8") if text.dtype.kind == "S" else text
    except UnicodeDecodeError:
        raise ValueError("`data.y` must hold text in UTF-8") from None
    names, numbers = np.unique(words.reshape(-1), return_inverse=True)
    if len(names) > CLASSES:
        raise ValueError(f"`data.y` must hold at most {CLASSES:,} classes, got {len(names):,}")
    unlabelled = int(len(names) > 0 and names[0] == "")  # the empty text is sorted first
    y = torch.from_numpy(numbers.reshape(-1).astype(np.int64)) - unlabelled
    return y, tuple(map(str, names[unlabelled:]))


def rows(data: Any, y: Tensor, split: int | str, split_seed: int) -> dict[str, Tensor]:
    """The nodes of each split: those that `data` give in the column `split`, or random ones."""
    if split == "random":
        return draw_split(y, split_seed)
    if isinstance(split, bool) or not isinstance(split, Integral):
        raise ValueError(f'`split` must be the number of a column or "random", got {split!r}')
    keys = {part: _mask_key(data, part) for part in SPLITS}
    if not all(keys.values()):
        gaps = [f"{part}_mask" for part, key in keys.items() if not key]
        raise ValueError(
            f"`data.{gaps[0]}` is missing"
            + (f", and so are {' and '.join(gaps[1:])}" if gaps[1:] else "")
            + ': `split` "random" (--split random) draws 60 / 20 / 20 % of every class'
        )
    masks = {part: _mask(data, key, y.numel()) for part, key in keys.items()}
    count = min((mask.size(1) for mask in masks.values() if mask.dim() == 2), default=1)
    if not 0 <= split < count:
        raise ValueError(f"`split` must be in [0, {count}), got {split}")
    chosen = {p: mask[:, split] if mask.dim() == 2 else mask for p, mask in masks.items()}
    for part, mask in chosen.items():
        if not mask.any():
            raise ValueError(f"`data.{keys[part]}` must select at least one node, got none")
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = int((chosen[a] & chosen[b]).sum())
        if shared:
            raise ValueError(
                f"`data.{keys[a]}` and `data.{keys[b]}` must not overlap, "
                f"got {shared} nodes in both"
            )
    return {part: mask.nonzero().view(-1) for part, mask in chosen.items()}


def _mask_key(data: Any, part: str) -> str:
    """Under which name `data` say who is in `part`; "" if they do not."""
    keys = (f"{part}_mask", f"{part}_idx")
    return next((key for key in keys if getattr(data, key, None) is not None), "")


def _mask(data: Any, key: str, num_nodes: int) -> Tensor:
    """A boolean mask [N] or [N, splits].

    Integers [N] or [N, splits] that are all 0 or 1 are a mask; other integers [n] are the numbers
    of the nodes, each once, and under a key that ends in `_idx` they always are.
    """
    value = field(data, key)
    fits = value.dim() in (1, 2) and value.size(0) == num_nodes
    if value.dtype == torch.bool and fits and key.endswith("mask"):
        return value
    integers = not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    if integers:
        value = whole(value, f"data.{key}", "node numbers")
        if fits and key.endswith("mask") and bool(((value == 0) | (value == 1)).all()):
            return value.bool()
        if value.dim() == 1:
            return _nodes_mask(value, key, num_nodes)
    raise ValueError(
        f"`data.{key}` must be boolean [{num_nodes}] or [{num_nodes}, splits], or the numbers of "
        f"the nodes, got {value.dtype} {list(value.shape)}"
    )


def _nodes_mask(nodes: Tensor, key: str, num_nodes: int) -> Tensor:
    wrong = nodes[(nodes < 0) | (nodes >= num_nodes)]
    if wrong.numel():
        raise ValueError(
            f"`data.{key}` must hold node numbers in [0, {num_nodes}), got {int(wrong[0])}"
        )
    mask = torch.zeros(num_nodes, dtype=torch.bool)
    mask[nodes] = True
    if int(mask.sum()) != nodes.numel():
        raise ValueError(f"`data.{key}` must hold each node number once, or {num_nodes} zeros and "
                         "ones, got one twice")  # fmt: skip
    return mask


def draw_split(
    y: Tensor, split_seed: int, pattern: Sequence[str] = FIFTHS, noun: str = "node",
    of: str = "labelled nodes",
) -> dict[str, Tensor]:  # fmt: skip
    """The rows of each split: those of every class, shuffled by `split_seed`, in turn by `pattern`.

    Args:
        y: the class [rows] of each; one below 0 is in no split.
        split_seed: draws the order.
        pattern: the split of each of so many rows of a class that follow one another; the next
            ones begin it again.
        noun: what an error calls a row.
        of: likewise, those of a class.

    Raises:
        ValueError: `split_seed` is none, or a split is empty.
    """
    check_number("split_seed", split_seed, Seed)
    order = torch.randperm(y.numel(), generator=stream(split_seed, "split"))
    order = order[y[order] >= 0]
    order = order[y[order].argsort(stable=True)]  # by class, shuffled within each
    sizes = y[order].bincount()
    place = torch.arange(order.numel()) - (sizes.cumsum(0) - sizes)[y[order]]  # within its class
    part = torch.tensor([SPLITS.index(name) for name in pattern])[place % len(pattern)]
    drawn = {name: order[part == SPLITS.index(name)].sort().values for name in SPLITS}
    for name, rows in drawn.items():
        if not rows.numel():
            raise ValueError(f'`split` "random" must leave a {noun} to {name}: a class of three '
                             f"{of} at least")  # fmt: skip
    return drawn


def classes(y: Tensor, rows: Mapping[str, Tensor], known: int | None = None) -> int:
    """The number of classes; nodes outside the splits may be unlabelled (below 0).

    Where it is `known`, some classes may have no training node.
    """
    for part, index in rows.items():
        if int(y[index].min()) < 0:
            raise ValueError(
                f"`data.y` must be at least 0 on the {part} nodes, got {int(y[index].min())}"
            )
    num_classes = int(y.max()) + 1
    if known is not None:
        if num_classes > known:
            raise ValueError(f"`data.y` must be below the `num_classes` {known}, "
                             f"got {num_classes - 1}")  # fmt: skip
        return known
    taught = torch.zeros(num_classes, dtype=torch.bool)
    taught[y[rows["train"]]] = True
    if not taught.all():
        gap = [c for c in (~taught).nonzero().view(-1).tolist() if not bool((y == c).any())]
        if gap:
            raise ValueError(
                f"`data.y` must count classes without a gap, got none of class {gap[0]} below "
                f"class {num_classes - 1}: number them anew, y.unique(return_inverse=True)[1], or "
                "give text"
            )
        raise ValueError(
            "`data.train_mask` must hold a node of every class, got none of class "
            f"{int((~taught).nonzero()[0])}"
        )
    return num_classes
