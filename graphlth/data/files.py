"""Where the files of an image task are, or come from, and what an encoded image holds."""

import io
import socket
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from torch import hub

from graphlth.data.archives import Array, one_line
from graphlth.data.planetoid import CACHE, VARIABLE, candidates, roots

PIXELS = 2**26  # of one image, the most that are read


def find(
    names: Sequence[str],
    layouts: Sequence[Sequence[str]],
    data_root: str | None,
    fetch: Callable[[Path], Any] | None = None,
) -> list[Path]:
    """The files of the first of `layouts` that is complete in a folder; else after a download.

    Folders called like one of `names` (in any case) are looked into, and `raw` in them, below
    `data_root`, else the environment variable GRAPHLTH_DATA_ROOT, and then that folder itself; then
    the same of `./datasets`. `fetch` is given the folder to download into; without it nothing is
    downloaded.

    Raises:
        FileNotFoundError: the files are nowhere, and downloading them failed.
    """
    given, own = roots(data_root), CACHE / names[0]
    looked: list[Path] = []
    for root in given:  # all of one that is given goes before the cache
        named = [folder for name in names for folder in candidates([root], name)]
        looked += [folder / sub for folder in named for sub in ("", "raw")] + [root]
    for folder in looked:
        for layout in layouts:
            if not missing(folder, layout):
                return [folder / file for file in layout]
    gaps = [f"{folder} lacks {', '.join(missing(folder, layout))}"
            for folder in looked for layout in layouts
            if len(missing(folder, layout)) < len(layout)]  # fmt: skip
    where = ", ".join(map(str, given))
    lacks = f"{names[0]}: {'; '.join(gaps) or f'no {layouts[0][0]} in {where}'}"
    remedy = f"give the folder that holds {names[0]} with --data_root or {VARIABLE}"
    if fetch is None:
        raise FileNotFoundError(f"{lacks}; {remedy}")
    try:
        fetch(own)
        return [own / file for file in layouts[0]]
    except Exception as error:  # sockets, HTTP, digests and archives have no common base
        raise FileNotFoundError(
            f"{lacks}; downloading failed ({one_line(error)}); {remedy}"
        ) from error


def find_files(name: str, files: Sequence[str], data_root: str | None = None) -> list[Path]:
    """Where the files of a task lie, in their order; nothing is downloaded.

    Args:
        name: of the folder that holds them, in any case.
        files: their names, or paths below that folder.
        data_root: this folder or its parent; else what GRAPHLTH_DATA_ROOT says, or `./datasets`.

    Raises:
        FileNotFoundError: some are missing; it says which, where, and what to do.
    """
    return find([name], [files], data_root)


def missing(folder: Path, files: Sequence[str]) -> list[str]:
    """Those of `files` that are not in `folder`."""
    return [file for file in files if not (folder / file).is_file()]


def download(folder: Path, digests: Mapping[str, str]) -> list[Path]:
    """The files that lie at the keys of `digests`, whole and of that SHA-256, in `folder`."""
    paths = []
    for url, digest in digests.items():
        where = urlsplit(url)
        socket.create_connection((where.hostname, 443), timeout=5).close()  # urllib waits minutes
        folder.mkdir(parents=True, exist_ok=True)
        paths.append(folder / Path(where.path).name)
        hub.download_url_to_file(url, str(paths[-1]), digest, progress=False)
    return paths


def library(name: str, extra: str = "vision", purpose: str = "read these images") -> Any:
    """The module `name` of an extra; ValueError where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise ValueError(
            f"`{name}` is needed to {purpose} and is not installed: pip install 'graphlth[{extra}]'"
        ) from None


def pixels(content: bytes, where: str, size: int = 0) -> Array:
    """An encoded image [H, W, C], grey (C = 1) or RGB (C = 3); resized to `size`² if that is given.

    Raises:
        ValueError: `content` is no whole PNG or JPEG image; `where` says whose it is.
    """
    image = library("PIL.Image")
    try:
        picture = image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
        if picture.width * picture.height > PIXELS:
            raise ValueError(f"it has {picture.width} × {picture.height} pixels, and at most "
                             f"{PIXELS:,} are read")  # fmt: skip
        if picture.mode[0] in "IF":
            raise ValueError("it has more than 8 bits a channel")
        mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
        picture = picture if picture.mode == mode else picture.convert(mode)
        if size:
            picture = picture.resize((size, size), image.Resampling.BILINEAR)
        return np.atleast_3d(np.asarray(picture))
    except Exception as error:  # a damaged image can raise anything
        known = isinstance(error, library("PIL").UnidentifiedImageError)
        why = "neither PNG nor JPEG" if known else one_line(error)
        raise ValueError(f"{where}: not a readable image ({why})") from error
