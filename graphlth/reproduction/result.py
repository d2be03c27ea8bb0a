"""A result: one folder that holds data (JSON), a page (Markdown) and pictures.

Reproductions and benchmarks write through `write`; a page says nothing that is not in its data
file. `data.json`:

    name, title, about, notes       text; `about` says how to read the tables
    measurements                    machine, case, command, date, commits, hardware, load,
                                    versions, seeds, settings, remark: one for each machine and case
    tables                          name, title, text, and the format of every key and column
    rows                            table, machine, case, the table's keys, column, value, low,
                                    high, interval, n: a flat row for every cell
    claims                          machine, case, claim, value, low, high, interval, n, at_least,
                                    at_most, format: what was asked for before the measurement
    verdicts                        machine, case, claim, source, tested, found, verdict: of a
                                    suite
    warnings, pictures              lines of text; machine, case, file, caption

What is not known is null. `interval` says what `low` and `high` are: `RANGE`, `STUDENT`,
`BOOTSTRAP`, `DEVIATION`, `EXACT`, or null where there are none.
"""

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from graphlth.records import interval
from graphlth.storage import replace_file

RANGE = "smallest and largest measurement"
STUDENT = "95 % Student-t interval of the mean"
BOOTSTRAP = "95 % percentile bootstrap interval"
DEVIATION = "mean ± standard deviation"
EXACT = "exact"
FEWEST = 6  # measurements whose range holds the median with a probability of at least 95 %
Data = dict[str, Any]


@dataclass(frozen=True)
class Value:
    """A figure, with its interval where it has one."""

    value: float | str | None
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    n: int | None = None  # measurements, or seeds


@dataclass(frozen=True)
class Table:
    """Rows of cells: those of the keys first, then a `Value`, number or text for every column.

    `keys` and `columns` give the format of each by its heading, as `format` takes it.
    """

    name: str
    keys: Mapping[str, str]
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    text: str = ""


@dataclass(frozen=True)
class Claim:
    """What was asked for before the measurement, in the unit of `value`, and what was found."""

    claim: str
    value: Value
    at_least: float | None = None
    at_most: float | None = None
    format: str = ".3g"


@dataclass(frozen=True)
class Verdict:
    """What a suite claims, most often what a paper does, and whether it was found again."""

    claim: str
    source: str
    tested: str  # what its verdict is of, with the margin
    found: str
    verdict: str


@dataclass(frozen=True)
class Result:
    """What a reproduction or a benchmark found."""

    name: str
    title: str
    about: str
    measurement: Data
    tables: Sequence[Table]
    claims: Sequence[Claim] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)  # the caption of every file
    warnings: Sequence[str] = ()
    notes: str = ""
    verdicts: Sequence[Verdict] = ()


# --- figures -------------------------------------------------------------------------------------


def median_and_range(values: Sequence[float], unit: float = 1.0) -> Value:
    """The median with the smallest and the largest value, each times `unit`."""
    middle, low, high = (unit * f(values) for f in (statistics.median, min, max))
    return Value(middle, low, high, RANGE, len(values))


def mean_and_interval(values: Sequence[float], unit: float = 100.0) -> Value:
    """The mean with its 95 % interval, times `unit`; with the range where there is no interval."""
    mean, half = statistics.fmean(values), interval(values)
    if half is not None:
        return Value(unit * mean, unit * (mean - half), unit * (mean + half), STUDENT, len(values))
    if len(values) == 1:
        return Value(unit * mean, n=1)
    return Value(unit * mean, unit * min(values), unit * max(values), RANGE, len(values))


def exact_value(value: float) -> Value:
    """A count or a size, which no repetition changes."""
    return Value(value, value, value, EXACT)


def format_value(cell: Mapping[str, Any], spec: str) -> str:
    """`8.0 (6.7 – 8.3)` with a range or of a bootstrap, `82.5 ± 0.1` of t or a deviation, or `8.0`.

    Without a value it is the range alone.
    """
    value, low, high = (format_number(cell[name], spec) for name in ("value", "low", "high"))
    if cell["interval"] in (None, EXACT):
        return value
    if cell["interval"] in (RANGE, BOOTSTRAP):
        return f"{low} – {high}" if cell["value"] is None else f"{value} ({low} – {high})"
    return f"{value} ± {format_number((cell['high'] - cell['low']) / 2, spec)}"


def format_number(value: Any, spec: str) -> str:
    """A number by its format, text as it is, and `–` for what is not known.

    What rounds to zero has no sign.
    """
    if value is None:
        return "–"
    return value if isinstance(value, str) else format(value, "z" * isinstance(value, float) + spec)


def verdict(claim: Mapping[str, Any]) -> str:
    """`met` or `**missed**` where the whole interval lies on one side of the target, else `open`.

    `–`: no interval, or the range of too few measurements.
    """
    least, most = (
        default if claim[name] is None else claim[name]
        for name, default in (("at_least", -float("inf")), ("at_most", float("inf")))
    )  # fmt: skip
    if claim["interval"] is None or (claim["interval"] == RANGE and (claim["n"] or 0) < FEWEST):
        return "–"
    if least <= claim["low"] and claim["high"] <= most:
        return "met"
    return "**missed**" if claim["high"] < least or most < claim["low"] else "open"


# --- data and page -------------------------------------------------------------------------------


def to_data(result: Result) -> Data:
    """The content of the data file."""
    about = result.measurement
    whose = {name: about[name] for name in ("machine", "case")}
    return {
        "name": result.name, "title": result.title, "about": result.about,
        "measurements": [about],
        "tables": [{"name": t.name, "title": t.title, "text": t.text, "keys": dict(t.keys),
                    "columns": dict(t.columns)} for t in result.tables],
        "rows": [row for t in result.tables for row in to_rows(t, whose)],
        "claims": [{**whose, "claim": c.claim, **asdict(c.value), "at_least": c.at_least,
                    "at_most": c.at_most, "format": c.format} for c in result.claims],
        "verdicts": [{**whose, **asdict(v)} for v in result.verdicts],
        "warnings": list(result.warnings),
        "pictures": [{**whose, "file": file, "caption": caption}
                     for file, caption in result.pictures.items()],
        "notes": result.notes.strip(),
    }  # fmt: skip


def to_rows(table: Table, whose: Mapping[str, Any]) -> list[Data]:
    """A flat row for every cell of a table; a cell that is None is left out."""
    rows = []
    for cells in table.rows:
        keys = dict(zip(table.keys, cells, strict=False))
        values = cells[len(table.keys) :]
        for column, cell in zip(table.columns, values, strict=True):
            if cell is not None:
                value = cell if isinstance(cell, Value) else Value(cell)
                rows.append({"table": table.name, **whose, **keys, "column": column,
                             **asdict(value)})  # fmt: skip
    return rows


def merge(old: Data, new: Data) -> Data:
    """`new`, with what `old` holds of other machines and cases."""
    kept = [m for m in old["measurements"] if identify(m) not in map(identify, new["measurements"])]
    others = {identify(m) for m in kept}
    joined = dict(new)
    for part in ("measurements", "rows", "claims", "verdicts", "pictures"):
        joined[part] = [item for item in old[part] if identify(item) in others] + new[part]
    before = {table["name"]: table for table in old["tables"]}
    joined["tables"] = [
        {**t, "columns": before.get(t["name"], t)["columns"] | t["columns"]} for t in new["tables"]
    ]
    return joined


def identify(item: Mapping[str, Any]) -> tuple[str, str | None]:
    """The machine and the case that a part of the data is of."""
    return item["machine"], item["case"]


def render(data: Mapping[str, Any]) -> str:
    """The page of a data file."""
    places = Environment(
        loader=PackageLoader("graphlth.reproduction", ""), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    tables = [{**table, "lines": lay_out(data, table)} for table in data["tables"]]
    tables = [table for table in tables if len(table["lines"]) > 1]
    shown = {**data, "tables": tables, "claim_lines": list(lay_out_claims(data)),
             "verdict_lines": list(lay_out_verdicts(data)),
             "measured": [describe_measurement(m) for m in data["measurements"]]}  # fmt: skip
    places.filters["cell"] = cell_text
    return places.get_template("page.md.jinja").render(shown)


def cell_text(cell: Any) -> str:
    """A cell of a table, or a title, in Markdown: in one line, a bar not as the end of the cell."""
    return " ".join(str(cell).split()).replace("|", r"\|")


def lay_out(data: Mapping[str, Any], table: Mapping[str, Any]) -> list[list[str]]:
    """The heading and the lines of a table: by its keys, then by machine and case."""
    order = [identify(m) for m in data["measurements"]]
    lines: dict[tuple[Any, ...], dict[Any, dict[str, Any]]] = {}
    for row in data["rows"]:
        if row["table"] == table["name"]:
            keys = tuple(row[key] for key in table["keys"])
            lines.setdefault(keys, {}).setdefault(identify(row), {})[row["column"]] = row
    found = [
        [*map(format_number, keys, table["keys"].values()),
         *name_measurement(data, whose),
         *(format_value(cells[name], spec) if name in cells else "–"
           for name, spec in table["columns"].items())]
        for keys, sides in lines.items()
        for whose, cells in sorted(sides.items(), key=lambda side: order.index(side[0]))
    ]  # fmt: skip
    return [[*table["keys"], *name_measurement(data, None), *table["columns"]], *found]


def name_measurement(data: Mapping[str, Any], whose: tuple[str, str | None] | None) -> list[str]:
    """The cells that tell the measurements of a page apart; their headings for None."""
    names = zip(*map(identify, data["measurements"]), strict=True)
    several = [len(set(found)) > 1 for found in names]
    cells = ("machine", "case") if whose is None else (whose[0], whose[1] or "–")
    return [cell for cell, shown in zip(cells, several, strict=True) if shown]


def lay_out_verdicts(data: Mapping[str, Any]) -> Iterable[list[str]]:
    """The heading and the lines of the table of verdicts."""
    if data["verdicts"]:
        yield ["claim", *name_measurement(data, None), "source", "tested", "found", "verdict"]
    for each in data["verdicts"]:
        told = each["source"], each["tested"], each["found"], each["verdict"]
        yield [each["claim"], *name_measurement(data, identify(each)), *told]


def lay_out_claims(data: Mapping[str, Any]) -> Iterable[list[str]]:
    """The heading and the lines of the table of claims."""
    if data["claims"]:
        yield ["claim", *name_measurement(data, None), "found", "target", "verdict"]
    for claim in data["claims"]:
        found = format_bounds(claim), format_target(claim), verdict(claim)
        yield [claim["claim"], *name_measurement(data, identify(claim)), *found]


def describe_measurement(about: Mapping[str, Any]) -> str:
    """Where, when and with what a measurement was made, in a line."""
    hardware, settings = about["hardware"], about["settings"]
    machine = [
        about["date"], hardware["cpu"], hardware["core"],
        hardware["vector_bits"] and f"{hardware['vector_bits']}-bit vectors",
        hardware["second_cache_kib"] and f"{hardware['second_cache_kib']} KiB of second cache",
        "1 core" if hardware["cores"] == 1 else f"{hardware['cores']} cores", hardware["threads"],
        about["load"] is not None and f"load {about['load']} at the end",
    ]  # fmt: skip
    single = {n: v for n, v in settings.items() if v is not None and not isinstance(v, dict | list)}
    parts = [
        join_words(machine), join_words(f"{n} {v}" for n, v in about["versions"].items() if v),
        f"commit {', '.join(about['commits'])}",
        about["seeds"] and f"{about['seeds']} seed{'s' * (about['seeds'] > 1)}",
        join_words(f"{name} {value}" for name, value in single.items()),
    ]  # fmt: skip
    whose = join_words([about["machine"], about["case"]])
    text = f"**{whose}**: `{about['command']}`, {'; '.join(part for part in parts if part)}."
    return f"{text} {about['remark'] or ''}".strip()


def join_words(words: Iterable[Any]) -> str:
    """The words that there are, with commas."""
    return ", ".join(str(word) for word in words if word)


def format_bounds(claim: Mapping[str, Any]) -> str:
    """`82.46 (82.36 – 82.56)`: a figure with the ends of its interval, which decide."""
    value, low, high = (format_number(claim[n], claim["format"]) for n in ("value", "low", "high"))
    return value if claim["interval"] in (None, EXACT) else f"{value} ({low} – {high})"


def format_target(claim: Mapping[str, Any]) -> str:
    """`at least 3`, `at most 0.6` or `80 – 83`."""
    least, most = claim["at_least"], claim["at_most"]
    if least is None:
        return f"at most {most:g}"
    return f"at least {least:g}" if most is None else f"{least:g} – {most:g}"


# --- machines ----------------------------------------------------------------------------------


def name_machine(hardware: Mapping[str, Any]) -> str:
    """`AMD EPYC znver5`: the processor, and its kind of core or else the width of its vectors."""
    cpu = " ".join(re.sub(r"\(R\)|\(TM\)|Processor", "", hardware["cpu"]).split())
    bits = hardware["vector_bits"]
    kind = hardware["core"] or (f"{bits}-bit" if bits else "")
    return f"{cpu} {kind}".strip()


def shorten_commit(commit: str) -> str:
    """The first 12 digits of a commit, and whether files had changed."""
    return commit[:12] + "-dirty" * commit.endswith("-dirty")


# --- files ---------------------------------------------------------------------------------------


def write(result: Result, folder: Path | None, *, together: bool = False) -> None:
    """Print the page of a result, and put its data and its page into `folder`.

    `together`: other machines and cases that the folder has results of keep them, in one table.
    """
    data = to_data(result)
    print(render(data))
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "data.json"
        save(
            folder,
            merge(json.loads(file.read_text()), data) if together and file.exists() else data,
        )


def save(folder: Path, data: Mapping[str, Any]) -> None:
    """Write the data file and the page; a file that one of them is a link to stays as it is."""
    for name, text in (("data.json", dump(data)), ("README.md", render(data))):
        with replace_file(folder / name) as draft:
            draft.write_text(text, encoding="utf-8")


def dump(data: Mapping[str, Any]) -> str:
    """JSON with a line for every entry of a list."""
    parts = []
    for name, value in data.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value:
            lines = ",\n".join(f"    {json.dumps(item, ensure_ascii=False)}" for item in value)
            text = f"[\n{lines}\n  ]"
        parts.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
