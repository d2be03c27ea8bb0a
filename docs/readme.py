"""Writes the table of results in README.md from the data files of the benchmarks.

    python docs/readme.py

A test compares the two.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from result_data import find_cell, find_table, format_cell, read_result, to_markdown

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- results: written by docs/readme.py from benchmarks/results -->\n"
END = "<!-- /results -->"
GRAPHS = {"Cora": "ugs_cora_gcn", "Citeseer": "ugs_citeseer_gcn", "PubMed": "ugs_pubmed_gcn"}
RUNS = {"ugs": "UGS", "random_tickets": "random tickets"}
ROUNDS = {"0": "dense", "4": "round 4", "9": "round 9"}


def results_table() -> str:
    """Accuracy of every graph and run in some rounds, in Markdown."""
    first = read_result(GRAPHS["Cora"])
    heads = [heading(first, number, name) for number, name in ROUNDS.items()]
    rows = []
    for graph, name in GRAPHS.items():
        data = read_result(name)
        formats = find_table(data, "accuracy")["columns"]
        for column, run in RUNS.items():
            cells = (find_cell(data, "accuracy", round=r, column=column) for r in ROUNDS)
            rows.append([f"{graph}, {run}", *(format_cell(c, formats[column]) for c in cells)])
    return to_markdown([["", *heads], *rows])


def heading(data: dict, number: str, name: str) -> str:
    """`round 4: 18.5 % of the edges, 59.0 % of the weights removed`."""
    if number == "0":
        return name
    row = find_cell(data, "accuracy", round=number, column="ugs")
    edges, weights = (row[f"{part} removed, %"] for part in ("edges", "weights"))
    return f"{name}: {edges:.1f} % of the edges, {weights:.1f} % of the weights removed"


def with_table(text: str) -> str:
    """The README with the table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{results_table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
