"""Small files in OGB's layout, which tests write."""

import gzip

import numpy as np
import torch


def write_table(path, rows):
    """A `.csv.gz` table of numbers; each row is a number or a list of numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        for row in rows:
            file.write(",".join(map(str, row if isinstance(row, (list, tuple)) else [row])) + "\n")


def write_graphs(folder, graphs, **tables):
    """Graphs as (nodes, edges); `tables` such as node_feat=rows, node_year=rows, of all graphs."""
    raw = folder / "raw"
    write_table(raw / "num-node-list.csv.gz", [n for n, _ in graphs])
    write_table(raw / "num-edge-list.csv.gz", [len(edges) for _, edges in graphs])
    write_table(raw / "edge.csv.gz", [edge for _, edges in graphs for edge in edges])
    for name, rows in tables.items():
        dashed = name.replace("_", "-")
        known = dashed in ("node-feat", "edge-feat", "node-label", "graph-label")
        write_table(raw / f"{dashed if known else name}.csv.gz", rows)


def write_split(folder, kind, train, valid, test):
    for name, rows in (("train", train), ("valid", valid), ("test", test)):
        write_table(folder / "split" / kind / f"{name}.csv.gz", rows)


def write_link_split(folder, kind, old=False, **parts):
    """Dicts of numpy arrays, as OGB has them; `old` in the format of torch before 1.6."""
    place = folder / "split" / kind
    place.mkdir(parents=True, exist_ok=True)
    for name, arrays in parts.items():
        held = {key: np.array(value) for key, value in arrays.items()}
        torch.save(held, place / f"{name}.pt", _use_new_zipfile_serialization=not old)
