"""The data behind a report as files inside it."""

import base64
import csv
import gzip
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphlth.records.schema import Record
from graphlth.records.statistics import Row

ROUND_COLUMNS = (
    "algorithm", "task", "model", "edges", "settings", "label", "metric", "round", "n",
    "edge_sparsity", "weight_sparsity", "num_edges", "num_weights", "val", "val_interval", "test",
    "test_interval", "macs",
)  # fmt: skip
SEED_COLUMNS = (
    "algorithm", "task", "model", "edges", "seed", "round", "metric", "edge_sparsity",
    "weight_sparsity", "val", "test", "val_last", "test_last", "best_epoch", "macs",
    "seconds_search", "seconds_retrain", "epochs_search", "epochs_retrain", "macs_search",
    "macs_retrain",
)  # fmt: skip


@dataclass(frozen=True)
class Download:
    """A file in a page."""

    name: str
    text: str  # what it holds
    url: str  # data:
    size: int  # bytes


def make_downloads(records: Sequence[Record], rows: Sequence[Row]) -> list[Download]:
    """Means by round, values by seed, and the records as they are, each as a file."""
    means = [{name: getattr(row, name) for name in ROUND_COLUMNS} for row in rows]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    return [
        _download("rounds.csv", "means and half-widths of the 95 % intervals, a line per round",
                  "text/csv", write_csv(ROUND_COLUMNS, means)),
        _download("seeds.csv", "values, a line per seed and round", "text/csv",
                  write_csv(SEED_COLUMNS, records)),
        _download("records.jsonl.gz", "the records as they are, with settings and environment",
                  "application/gzip", gzip.compress(lines.encode(), mtime=0)),
    ]  # fmt: skip


def write_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A table as CSV (RFC 4180); what a row lacks is empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _download(name: str, text: str, kind: str, content: bytes) -> Download:
    code = base64.b64encode(content).decode()
    return Download(name, text, f"data:{kind};base64,{code}", len(content))
