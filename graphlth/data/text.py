"""Text, character by character, and the reader of a text file."""

from __future__ import annotations

import codecs
import copy
import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from graphlth.edge_masks import EdgeMask
from graphlth.settings.checks import check_device
from graphlth.settings.types import BatchSize, Context, Count, Steps
from graphlth.settings.validation import check_settings, settings_of
from graphlth.task import SPLITS, Batch, Task, content_digest, shuffle_rows

EVALUATED = 64  # windows in a batch of an evaluation
LONGEST = 100_000_000  # bytes of a file
MARKS = {  # byte-order marks, those that begin like another first
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip


class TextTask(Task):
    """Prediction of the next character; there is no graph.

    The text is cut into windows of `context` + 1 characters, one after the other: in each the first
    `context` are the inputs and the last `context` their targets. The windows of a split are one
    stretch of the text: of training, then of validation, then of testing; what is in no split lies
    between training and validation. The classes are the characters of the training windows, sorted,
    and a last one for any other.

    Training sees one permutation of its windows after another, each drawn from the seed and its
    number, `batch_size` windows in an iteration; a short batch ends each.

    Args:
        text: all of it.
        context: characters of a window before its last.
        batch_size: windows in a training batch.
        evaluate_every: iterations in a span.
        train_size: windows to train on; 0 for all that neither validate nor test.
        val_size: windows that validate; 0 for a tenth of all.
        test_size: windows that test; 0 for a tenth of all.
        name: what records call the data.

    Raises:
        ValueError: a setting is out of its range, or the text is too short.
    """

    edges, num_edges, dtype = None, 0, torch.int64

    def __init__(
        self,
        text: str,
        *,
        context: Context = 64,
        batch_size: BatchSize = 16,
        evaluate_every: Steps = 50,
        train_size: Count = 0,
        val_size: Count = 0,
        test_size: Count = 0,
        name: str = "text",
    ):
        given = {"context": context, "batch_size": batch_size, "evaluate_every": evaluate_every}
        check_settings(given, settings_of(TextTask))
        count = len(text) // (context + 1)
        if count < 3:
            raise ValueError(f"`text` must have {3 * (context + 1)} characters or more with "
                             f"`context` = {context}, got {len(text)}")  # fmt: skip
        self.name, self.shape, self.context = name, (context,), context
        self.batch_size, self.evaluate_every = batch_size, evaluate_every
        self.rows = split_windows(count, train_size, val_size, test_size)
        codes = torch.tensor([ord(c) for c in text[: count * (context + 1)]])
        codes = codes.view(count, context + 1)
        known = codes[self.rows["train"]].unique()  # sorted
        self.alphabet = "".join(map(chr, known.tolist()))
        self.num_features = self.num_classes = len(known) + 1
        place = torch.searchsorted(known, codes).clamp(max=len(known) - 1)
        self.windows = torch.where(known[place] == codes, place, len(known))

    def batches(self, split: str, seed: int = 0, index: int = 0) -> Iterator[Batch]:
        """The `index`-th span of the training windows in the order of `seed`, or a whole split."""
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}")
        if split != "train":
            yield from self.whole(split)
            return
        span = range(index * self.evaluate_every, (index + 1) * self.evaluate_every)
        for _, rows in shuffle_rows(self.rows["train"], self.batch_size, seed, span):
            yield self._batch(rows)

    def whole(self, split: str) -> Iterator[Batch]:
        """The windows of `split`, of "train" too, as they lie."""
        yield from map(self._batch, self.rows[split].split(EVALUATED))

    def _batch(self, rows: Tensor) -> Batch:
        windows = self.windows[rows]  # [B, T + 1]
        return Batch((windows[:, :-1],), windows[:, 1:].flatten())

    def without(self, mask: EdgeMask) -> TextTask:
        """The task itself: there is no graph."""
        return self

    def to(self, device: torch.device | str) -> TextTask:
        """The same task on `device`."""
        check_device(device)
        task = copy.copy(self)
        task.windows = self.windows.to(device)
        task.rows = {split: rows.to(device) for split, rows in self.rows.items()}
        return task

    def fingerprint(self) -> str:
        """Which text this is: 16 hex digits over its windows and its alphabet."""
        digest = hashlib.sha256(f"{list(self.windows.shape)} {self.alphabet}".encode())
        digest.update(self.windows.cpu().numpy().data)
        return digest.hexdigest()[:16]

    def content(self) -> str:
        """Everything that is learnt from: the windows and their splits."""
        return content_digest(self.fingerprint(), rows=self.rows)

    def __repr__(self) -> str:
        return (
            f"TextTask({self.name!r}, windows={len(self.windows)}, context={self.context}, "
            f"classes={self.num_classes})"
        )


def split_windows(count: int, train: int, val: int, test: int) -> dict[str, Tensor]:
    """The windows of each split: those to train on are the first, those that test the last."""
    val, test = val or -(-count // 10), test or -(-count // 10)
    for name, size, most in (("test", test, count - 2), ("val", val, count - 1 - test)):
        if not 1 <= size <= most:
            raise ValueError(f"`{name}_size` must be in [0, {most}], got {size}")
    rest = count - val - test
    if not 0 <= train <= rest:
        raise ValueError(f"`train_size` must be in [0, {rest}], got {train}")
    rows = torch.arange(count)
    return {"train": rows[: train or rest], "val": rows[rest : rest + val], "test": rows[-test:]}


def read_text(path: Path) -> str:
    """What the file `path` says: UTF-8, or what its byte-order mark names; the mark is no part.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of these, or too long.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a file, got {str(path)!r}")
    if path.stat().st_size > LONGEST:
        raise ValueError(f"`path` must be at most {LONGEST:,} bytes, got {path.stat().st_size:,} "
                         f"of {str(path)!r}: cut it")  # fmt: skip
    with path.open("rb") as file:
        start = file.read(4)
    encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), "utf-8")
    try:
        content = path.read_text(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"`path` must be UTF-8, or begin with a byte-order mark, got "
                         f"{str(path)!r}: {error}") from None  # fmt: skip
    if "\0" in content:
        raise ValueError(f"`path` must be text, got {str(path)!r} with NUL characters: of UTF-16, "
                         "save it with a byte-order mark or as UTF-8")  # fmt: skip
    return content
