"""A page of recorded runs: HTML in one file, which fetches nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import graphlth.records as record
from graphlth.figures._style import blocks_of, panel_title
from graphlth.records.files import record_files
from graphlth.records.schema import Record
from graphlth.records.statistics import Row, run_of
from graphlth.records.tables import mark_lines
from graphlth.report.commands import measure_command
from graphlth.report.downloads import Download, make_downloads
from graphlth.report.drawings import Shown, draw_figures
from graphlth.report.graphs import ShownGraph, show_graph
from graphlth.report.runs import Run, describe_run, find_folders, names_of
from graphlth.report.summary import Summary, summarise
from graphlth.settings.annotations import check_value
from graphlth.settings.checks import check_written
from graphlth.settings.types import Positive
from graphlth.storage import replace_file

HERE = Path(__file__).parent
SUFFIX = ".html"


@dataclass(frozen=True)
class Section:
    """The runs of one task, model, edge universe and metric."""

    name: str  # of the anchor
    title: str
    about: str
    summary: Summary
    figures: Sequence[Shown]
    graphs: Sequence[ShownGraph]
    runs: Sequence[Run]
    measures: Sequence[str]  # the commands of measures of their tickets
    mark_lines: Sequence[str]  # what the marks of the tables mean
    settings: Sequence[tuple[str, Sequence[str], bool]]  # name, values, whether they differ


def write_report(
    folders: Sequence[str | Path],
    *,
    out: str,
    title: str | None = None,
    margin: Positive | None = None,
    graph: bool = True,
    data_root: str | None = None,
) -> None:
    """Write a page of recorded runs: summary, curves, costs, graphs, tables, settings and data.

    Args:
        folders: run folders, or folders of run folders.
        out: the file, ending in .html.
        title: of the page, instead of the tasks' names.
        margin: what is no worse than dense, in the unit of the metric, chosen before the runs: by
            default 0.01 of accuracy, one point.
        graph: show the graphs before and after, for which data and tickets are read.
        data_root: the folder of the data, where it is not that of the runs.

    Raises:
        ValueError: `out` has another suffix or is what is read, a record is damaged, or the margin
            is out of range.
        FileNotFoundError: a folder is missing or holds no record.
        OSError: `out` cannot be written; what was there is left as it was.
    """
    path = Path(out)
    if path.suffix != SUFFIX:
        raise ValueError(f"`out` must end in {SUFFIX}, got {out!r}")
    read = (file for folder in folders for file in record_files(folder))
    check_written("out", out, read)
    check_value("margin", margin, Positive | None)
    records = record.read(*folders)
    show = partial(show_graph, data_root=data_root) if graph else None
    text = make_page(records, find_folders(folders), title, margin, show)
    with replace_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def make_page(
    records: Sequence[Record],
    folders: Mapping[Path, Sequence[Record]],
    title: str | None = None,
    margin: float | None = None,
    show: Any = None,
) -> str:
    """The text of the page.

    Args:
        records: all, in the order of `graphlth.records.read`.
        folders: the records of each folder.
        title: of the page.
        margin: of the verdicts.
        show: gives the graphs of a run: `show_graph`; None for none.
    """
    rows = record.summary(record.run_records(records))
    sections = [*_sections(records, rows, folders, margin, show)]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    names = dict.fromkeys(row.task for row in rows)
    downloads: list[Download] = make_downloads(records, rows)
    return environment.get_template("page.html.jinja").render(
        title=title or f"Tickets on {', '.join(names)}", sections=sections, downloads=downloads,
        style=Markup((HERE / "page.css").read_text()),
        script=Markup((HERE / "page.js").read_text()),
        runs=[run for section in sections for run in section.runs], records=len(records),
    )  # fmt: skip


def _sections(
    records: Sequence[Record], rows: Sequence[Row], folders: Mapping[Path, Sequence[Record]],
    margin: float | None, show: Any,
) -> Iterator[Section]:  # fmt: skip
    marks = record.mark_rows(rows, margin=margin)
    for number, block in enumerate(blocks_of(rows)):
        name, names = f"s{number}", names_of([row for series in block for row in series])
        runs = [describe_run(series, names[run_of(series[0])], marks, folders) for series in block]
        first = block[0][0]
        own = [r for r in records if _universe(r) == _universe(first.records[0])]
        yield Section(
            name, f"{first.task} · {first.model}", " · ".join(panel_title(block).split(" · ")[2:]),
            summarise(runs, margin), [*draw_figures(own, block, name, margin)],
            [*_graphs(runs, name, show)], runs, [*_measure_commands(first.records[0], folders)],
            mark_lines([row for series in block for row in series], marks, margin),
            [*_settings_table(runs)],
        )  # fmt: skip


def _universe(line: Record) -> tuple[Any, ...]:
    return line["task"], line["model"], line["edges"], record.metric_of(line)


def _measure_commands(line: Record, folders: Mapping[Path, Sequence[Record]]) -> Iterator[str]:
    """The commands of the measures of what `line` is a record of."""
    for folder, own in folders.items():
        if "measure" in own[0] and _universe(own[0]) == _universe(line):
            yield measure_command(folder, own[0])


def _graphs(runs: Sequence[Run], name: str, show: Any) -> Iterator[ShownGraph]:
    """Those of runs that remove edges, one for each folder."""
    if show is None:
        return
    removing = [run for run in runs if any(row.edge_sparsity for row in run.series)]
    for i, run in enumerate(removing):
        for j, folder in enumerate(run.folders):
            yield show(folder, run.name, f"{name}g{i}x{j}")


def _settings_table(runs: Sequence[Run]) -> Iterator[tuple[str, Sequence[str], bool]]:
    """Every setting of some runs: its name, its value in each, and whether they differ."""
    for name in dict.fromkeys(n for run in runs for n in run.settings):
        values = [run.settings.get(name, "") for run in runs]
        yield name, values, len({*values}) > 1
