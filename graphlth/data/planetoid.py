"""Planetoid citation graphs (Yang et al., ICML 2016, arXiv 1603.08861) from their raw files.

The raw files are pickles. They are read here by an unpickler that knows arrays and containers
only, so that a damaged or hostile file ends in one line and never in running code. Assembly
follows `torch_geometric.io.read_planetoid_data`; nothing is written where files are read.
"""

import io
import os
import pickle
import shutil
import socket
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from graphlth.data import published
from graphlth.data.archives import Array, arrays, one_line
from graphlth.task import SPLITS

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
HOST = ("github.com", 443)  # where PyG's downloader looks
CACHE = Path("datasets")  # downloads land here, below the current directory
VARIABLE = "GRAPHLTH_DATA_ROOT"
MASKS = ("train_mask", "val_mask", "test_mask")


@dataclass(frozen=True)
class Counts:
    """What a published graph holds; loading asserts it."""

    nodes: int
    edges: int  # unordered pairs, without self-loops
    features: int
    classes: int
    train: int = 0  # of the public split; 0: not asserted
    val: int = 500
    test: int = 1000


CITATION = {  # by the name of the graph
    "Cora": Counts(nodes=2708, edges=5278, features=1433, classes=7, train=140),
    "CiteSeer": Counts(nodes=3327, edges=4552, features=3703, classes=6, train=120),
    "PubMed": Counts(nodes=19717, edges=44324, features=500, classes=3, train=60),
}


def load(
    name: str,
    counts: Counts,
    *,
    data_root: str | None = None,
    split: int | str = "public",
    normalize: bool = True,
    project: int = 0,
    self_loops: bool = False,
) -> SimpleNamespace:
    """The graph `name` ("Cora", "CiteSeer", "PubMed"), its counts asserted.

    x [N, F] float32, rows summing to 1 if `normalize` (all-zero rows stay zero), or [N, `project`]
    if that is not 0 (see `project_features`); edge_index [2, E] with both directions, and with
    `self_loops` one at every node, else none; y [N]; train_mask, val_mask, test_mask [N].
    `split`: "public" (20 per class / 500 / 1,000), or which of ten of 48 / 32 / 20 %, 0 to 9 or
    "geom-gcn-0" … "geom-gcn-9" (Pei et al., ICLR 2020, arXiv 2002.05287). Files are looked for
    below `data_root`, else below the environment variable GRAPHLTH_DATA_ROOT, else in `./datasets`,
    and downloaded into `./datasets` when they are not there. A file that is not byte for byte the
    published one is refused: of these there is one edition. FileNotFoundError names what is
    missing, ValueError what is wrong.
    """
    index = split_index(split)
    root = roots(data_root)
    raw = find_raw(root, name)
    for part in PARTS:  # before an unpickler sees it
        published.examine(raw / f"ind.{name.lower()}.{part}", name.lower())
    data = read(raw, name)
    check(name, data, counts)
    if index is not None:
        for key, mask in read_split(root, raw, name, index, counts.nodes).items():
            setattr(data, key, mask)
    if normalize:
        total = data.x.sum(dim=1, keepdim=True, dtype=torch.float64).float()
        data.x.div_(torch.where(total > 0, total, 1))  # in place: the largest tensor of all
    if project:
        data.x = project_features(data.x, project)
    if self_loops:
        nodes = torch.arange(counts.nodes)
        data.edge_index = torch.cat([data.edge_index, nodes.expand(2, -1)], dim=1)
    return data


def project_features(x: torch.Tensor, size: int) -> torch.Tensor:
    """The coordinates [N, `size`] of `x` [N, F] in its strongest directions, of variance 1 each.

    These are its right singular vectors, strongest first, each turned so that its largest entry is
    positive: graphs with other words get features of one shape, in one order of importance. Rounded
    to 2⁻¹⁰, so that the last bits of another machine's linear algebra make no other graph.

    Raises:
        ValueError: there are not more than `size` features, or it is negative.
    """
    if not 0 < size < min(x.shape):
        raise ValueError(f"`project` must be in [0, {min(x.shape)}), got {size}")
    start = np.ones(min(x.shape))  # ARPACK's; it would draw one
    u, strength, v = svds(csr_matrix(x.double().numpy()), k=size, v0=start)
    turned = np.sign(np.take_along_axis(v, np.abs(v).argmax(1)[:, None], 1)).T  # [1, size]
    scores = (u * turned)[:, np.argsort(-strength)] * np.sqrt(len(x))  # [N, size]
    return torch.from_numpy(np.round(scores * 2**10) / 2**10).float()


def split_index(split: int | str) -> int | None:
    """The number of a geom-gcn split; None for the public one."""
    if split == "public":
        return None
    known = [f"geom-gcn-{i}" for i in range(10)]
    if split in known:
        return known.index(str(split))
    if split in range(10) and not isinstance(split, bool):
        return int(split)
    raise ValueError('`split` must be "public", or 0 to 9 or "geom-gcn-0" … "geom-gcn-9", got '
                     f"{split!r}")  # fmt: skip


def roots(data_root: str | None) -> list[Path]:
    """The folders to look in: the given one, else the environment's; then the download cache."""
    given = data_root or os.environ.get(VARIABLE) or None
    if given is not None and not Path(given).is_dir():
        raise FileNotFoundError(f"`data_root` must be a folder, got {given!r}")
    return [Path(given), CACHE] if given is not None else [CACHE]


def candidates(roots: list[Path], name: str) -> list[Path]:
    """Folders called `name` (in any case) in `roots` or one level below, nearest first."""
    found = []
    for root in roots:
        near = [root] if root.is_dir() else []
        for parent in [*near, *(d for r in near for d in folders(r))]:
            found += [d for d in folders(parent) if d.name.lower() == name.lower()]
    return found


def folders(parent: Path) -> list[Path]:
    """The readable folders in `parent`, sorted by name."""
    try:
        return sorted(d for d in parent.iterdir() if d.is_dir())
    except PermissionError:
        return []


def missing(raw: Path, name: str) -> list[str]:
    """The names of the raw files that are not in `raw`."""
    wanted = [f"ind.{name.lower()}.{part}" for part in PARTS]
    return [file for file in wanted if not (raw / file).is_file()]


def find_raw(roots: list[Path], name: str) -> Path:
    """The folder with all eight raw files; downloads them into the cache when there is none."""
    raws = [folder / "raw" for folder in candidates(roots, name) if (folder / "raw").is_dir()]
    for raw in raws:
        if not missing(raw, name):
            return raw
    try:
        return download(name)
    except Exception as error:  # aiohttp, fsspec and socket have no common base
        gaps = "; ".join(f"{raw} lacks {', '.join(missing(raw, name))}" for raw in raws)
        looked = ", ".join(str(root) for root in roots)
        raise FileNotFoundError(
            f"{name}: {gaps or f'no folder {name}/raw in {looked}'}; downloading failed "
            f"({one_line(error)}); give the folder that holds {name}/raw with --data_root or "
            f"{VARIABLE}"
        ) from error


def download(name: str) -> Path:
    """The cache's raw folder after a complete download with PyG's downloader; OSError without."""
    from torch_geometric.datasets import Planetoid  # takes seconds and much memory to import

    socket.create_connection(HOST, timeout=5).close()  # the downloader itself waits for minutes
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / name / "raw").mkdir(parents=True)
        pyg = Planetoid.__new__(Planetoid)  # the downloader alone: `process` would run the pickles
        pyg.root, pyg.name, pyg.split = scratch, name, "public"
        pyg.download()
        fetched = Path(scratch) / name / "raw"
        if missing(fetched, name):
            raise OSError(f"{', '.join(missing(fetched, name))} did not arrive")
        for file in sorted(fetched.iterdir()):
            published.examine(file, name.lower())
        raw = CACHE / name / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        for file in sorted(fetched.iterdir()):
            shutil.copyfile(file, raw / file.name)
    return raw


def read(raw: Path, name: str) -> SimpleNamespace:
    """What the eight files of `raw` hold: x [N, F], edge_index [2, E], y [N], public masks [N].

    Nodes that no file describes (15 of CiteSeer's) get zero features and class 0, as in PyG.
    """
    gaps = missing(raw, name)
    if gaps:
        raise FileNotFoundError(f"{raw} lacks {', '.join(gaps)}")
    file = {part: raw / f"ind.{name.lower()}.{part}" for part in PARTS}
    x, tx, allx, y, ty, ally = (matrix(file[part]) for part in PARTS[:6])
    links, test = adjacency(file["graph"]), index_list(file["test.index"])
    if not (
        x.shape[1] == tx.shape[1] == allx.shape[1]
        and y.shape[1] == ty.shape[1] == ally.shape[1]
        and len(x) == len(y) <= len(allx) == len(ally)
        and len(tx) == len(ty) == len(test)
    ):
        raise ValueError(f"{raw}: the shapes of ind.{name.lower()}.* must fit together")
    num_nodes = max(len(allx), int(test.max()) + 1)
    if links.min() < 0 or links.max() >= num_nodes:
        raise ValueError(f"{file['graph']}: node numbers must be in [0, {num_nodes})")

    features = np.zeros((num_nodes, allx.shape[1]), dtype=np.float32)  # [N, F]
    features[: len(allx)], features[test] = allx, tx
    labels = np.zeros(num_nodes, dtype=np.int64)  # [N]
    labels[: len(ally)], labels[test] = ally.argmax(axis=1), ty.argmax(axis=1)
    masks = np.zeros((3, num_nodes), dtype=bool)
    masks[0, : len(y)] = masks[1, len(y) : len(y) + 500] = masks[2, test] = True
    links = links[:, links[0] != links[1]]
    key = np.unique(
        np.concatenate([links[0] + num_nodes * links[1], links[1] + num_nodes * links[0]])
    )  # sorted by (target, source)
    train_mask, val_mask, test_mask = torch.from_numpy(masks)
    return SimpleNamespace(
        x=torch.from_numpy(features),
        y=torch.from_numpy(labels),
        edge_index=torch.from_numpy(np.stack([key % num_nodes, key // num_nodes])),
        train_mask=train_mask,
        val_mask=val_mask,
        test_mask=test_mask,
    )


def check(name: str, data: SimpleNamespace, counts: Counts) -> None:
    """Refuse a graph that does not have the published counts."""
    low, high = data.edge_index.sort(dim=0).values
    got = {
        "nodes": data.x.size(0),
        "edges": (low * data.x.size(0) + high)[low < high].unique().numel(),
        "features": data.x.size(1),
        "classes": int(data.y.max()) + 1,
    }
    if counts.train:
        got |= {part: int(getattr(data, f"{part}_mask").sum()) for part in SPLITS}
    for key, value in got.items():
        if value != getattr(counts, key):
            raise ValueError(f"{name}: `{key}` must be {getattr(counts, key)}, got {value}")


def read_split(
    roots: list[Path], raw: Path, name: str, index: int, num_nodes: int
) -> dict[str, torch.Tensor]:
    """The masks [N] of one geom-gcn split, from `geom_gcn_splits/` beside or above the graph."""
    file = f"{name.lower()}_split_0.6_0.2_{index}.npz"
    beside = raw.parent.parent / "geom_gcn_splits"
    places = [beside, *candidates(roots, "geom_gcn_splits"), raw.parent / "geom-gcn" / "raw"]
    path = next((place / file for place in places if (place / file).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{name}: {file} is in none of {', '.join(map(str, places))}")
    published.examine(path, "geom_gcn_splits")
    return read_masks(path, num_nodes)


def read_masks(path: Path, num_nodes: int) -> dict[str, torch.Tensor]:
    """The train_mask, val_mask and test_mask [num_nodes] of a geom-gcn split."""
    held = arrays(path, MASKS)
    masks = {}
    for key in MASKS:
        if key not in held:
            raise ValueError(f"{path}: `{key}` is missing")
        mask = held[key]
        if mask.shape != (num_nodes,) or mask.dtype.kind not in "bu" or mask.max() > 1:
            raise ValueError(
                f"{path}: `{key}` must be a mask [{num_nodes}], got {mask.dtype} {list(mask.shape)}"
            )
        masks[key] = torch.from_numpy(mask.astype(bool))
    return masks


# --- the raw files ---------------------------------------------------------------------------


class Arrays(pickle.Unpickler):
    """Unpickles numpy arrays, CSR matrices and built-in containers; refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        """The harmless stand-in for a global name; UnpicklingError if there is none."""
        numpy_modules = (
            "numpy",
            "numpy.core.multiarray",
            "numpy._core.multiarray",
            "numpy.core.numeric",
            "numpy._core.numeric",
        )
        if module in numpy_modules and name in ("ndarray", "_reconstruct", "dtype", "_frombuffer"):
            return {
                "ndarray": np.ndarray,
                "_reconstruct": np.empty(0).__reduce__()[0],
                "dtype": lambda code, *_: np.dtype(str(code), copy=True),
                "_frombuffer": lambda buffer, dtype, shape, order: np.frombuffer(
                    buffer, dtype=dtype
                ).reshape(shape, order=order),
            }[name]
        if module in ("scipy.sparse.csr", "scipy.sparse._csr") and name == "csr_matrix":
            return SimpleNamespace  # inert; `matrix` builds the real one from its three arrays
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in protocol 2
            return lambda text, _: text.encode("latin1")
        if (module, name) == ("collections", "defaultdict"):
            return lambda *_: {}
        plain = {"list": list, "dict": dict, "int": int}
        if module in ("builtins", "__builtin__") and name in plain:
            return plain[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, no array and no container")


def load_pickle(path: Path) -> Any:
    """What the pickle holds; ValueError if it is damaged or holds more than arrays."""
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy on the age of the format
            return Arrays(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"{path}: not a readable array file ({one_line(error)})") from error


def matrix(path: Path) -> Array:
    """The finite numbers [rows, columns] in a file, dense."""
    values = load_pickle(path)
    try:
        if isinstance(values, SimpleNamespace):
            state = vars(values)
            shape = state["_shape"] if "_shape" in state else state["shape"]
            sparse = csr_matrix((state["data"], state["indices"], state["indptr"]), shape=shape)
            sparse.check_format(full_check=True)
            values = sparse.toarray()
    except Exception as error:
        raise ValueError(f"{path}: not a valid sparse matrix ({one_line(error)})") from error
    if not (
        isinstance(values, np.ndarray)
        and values.ndim == 2
        and values.size
        and values.dtype.kind in "biuf"
        and np.isfinite(values).all()
    ):
        raise ValueError(f"{path}: must hold a matrix of finite numbers")
    return values


def adjacency(path: Path) -> Array:
    """The links [2, E] (source, target) of a file that lists every node's neighbours."""
    lists = load_pickle(path)
    try:
        sources = np.repeat(list(lists), [len(v) for v in lists.values()])
        links = np.stack([sources, [n for v in lists.values() for n in v]])
    except Exception as error:
        raise ValueError(f"{path}: must hold lists of node numbers ({one_line(error)})") from error
    if links.dtype.kind != "i" or not links.size:
        raise ValueError(f"{path}: must hold lists of node numbers")
    return links.astype(np.int64)


def index_list(path: Path) -> Array:
    """The distinct node numbers in a text file, one a line."""
    try:
        numbers = np.array(path.read_text().split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: must hold one node number a line") from error
    if not numbers.size or numbers.min() < 0 or len(np.unique(numbers)) != numbers.size:
        raise ValueError(f"{path}: must hold distinct node numbers of 0 and above")
    return numbers
