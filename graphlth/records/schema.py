"""The record: one line of JSON per (run, seed, round), the only thing a figure or a report reads.

A run folder is `<algorithm>-<task>-<model>-<hash>/` and holds one `seed<k>.jsonl` a seed, a line a
round. Fractions lie in [0, 1], times are seconds; torch is never imported here.
"""

import hashlib
import json
import math
import os
import platform
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import Any

from graphlth.settings.checks import RANGES
from graphlth.storage import opened, printable, sealed, sync
from graphlth.storage import replacing as replacing

Record = dict[str, Any]
Run = tuple[str, str, str, str, str]  # algorithm, task, model, edges ("" for none), settings' hash

CONFIDENCE = 0.95
FEWEST = 3  # values that an interval is given for; of fewer the range says more
FAR = 0.2  # between two seeds, from which on an interval of accuracies means nothing
METRICS = ("test", "val")
UNITS = ("macs", "seconds", "epochs", "joules")  # what work is counted in
TOO_MUCH = 1e300  # for a number of a record: sums and means of such would overflow
ASIDE = ("data_root", "path")  # where the data lie: what they are tells a run by their digest
PACKAGES = (
    "graphlth", "torch", "torch-geometric", "torch-scatter", "numba", "triton", "numpy", "scipy",
    "gymnasium",
)  # fmt: skip


# --- one record --------------------------------------------------------------------------------


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_round(value: Any) -> bool:
    return _is_count(value) and value in RANGES["rounds"]


def _is_amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _is_fraction(value: Any) -> bool:
    return _is_amount(value) and value <= 1


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _is_hex(digits: int) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, str) and re.fullmatch(rf"[0-9a-f]{{{digits}}}", v) is not None


COUNT = "a whole number of at least 0, below 2**63"
ROUND = f"a whole number in {RANGES['rounds']}"
RULES: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda v: isinstance(v, str) and v != "",
    "text, or null without a graph": lambda v: v is None or (isinstance(v, str) and v != ""),
    COUNT: _is_count,
    ROUND: _is_round,
    "a fraction in [0, 1]": _is_fraction,
    "a number of at least 0": _is_amount,
    "a number of at least 0, or null when not counted": lambda v: v is None or _is_amount(v),
    "a list of texts": lambda v: isinstance(v, list) and all(isinstance(e, str) for e in v),
    "an object": lambda v: isinstance(v, dict),
    "fractions in [0, 1]": lambda v: isinstance(v, list) and all(map(_is_fraction, v)),
    "a list of lines": lambda v: isinstance(v, list) and all(map(_is_line, v)),
    "16 hex digits": _is_hex(16),
    "64 hex digits": _is_hex(64),
}
FIELDS = {
    "algorithm": "text",
    "task": "text",
    "model": "text",
    "seed": COUNT,
    "round": ROUND,
    "edges": "text, or null without a graph",
    "edge_sparsity": "a fraction in [0, 1]",
    "weight_sparsity": "a fraction in [0, 1]",
    "num_edges": COUNT,
    "num_weights": COUNT,
    "val": "a fraction in [0, 1]",
    "test": "a fraction in [0, 1]",
    "best_epoch": COUNT,
    "macs": "a number of at least 0, or null when not counted",
    "seconds_search": "a number of at least 0",
    "seconds_retrain": "a number of at least 0",
    "settings": "an object",
    "environment": "an object",
}
# What a record may hold besides: absent where it is unknown, and in records of earlier versions.
OPTIONAL = {
    "macs_reason": "text",  # why `macs` is null
    "data": "16 hex digits",  # the content of the task
    "ticket": "64 hex digits",  # the SHA-256 of the ticket's file
    "source": "text",  # the name of the run whose tickets were read
    "source_ticket": "64 hex digits",  # the SHA-256 of the one that this one came from
    "epochs_search": COUNT,
    "epochs_retrain": COUNT,
    "macs_search": "a number of at least 0",
    "macs_retrain": "a number of at least 0",
    "memory_search": COUNT,  # bytes, the peak
    "memory_retrain": COUNT,
    "joules_search": "a number of at least 0",
    "joules_retrain": "a number of at least 0",
    "one_way_edges": COUNT,  # of the data: their reverse is no edge
    "duplicate_edges": COUNT,  # of the data: one edge with another
    "zero_edges": COUNT,  # of the data: absent, as they weigh 0
    "drawn_epoch": COUNT,
    "untrained_val": "a fraction in [0, 1]",
    "untrained_test": "a fraction in [0, 1]",
    "first_iteration": COUNT,  # what θ_k has been trained for
    "best_iteration": COUNT,
    "val_last": "a fraction in [0, 1]",  # of the last epoch, as is
    "test_last": "a fraction in [0, 1]",
    "warnings": "a list of lines",  # what makes the result doubtful
    "stop_iteration": COUNT,  # of the lowest validation loss
    "test_at_stop": "a fraction in [0, 1]",
    "label_names": "a list of texts",  # what the data call each class, where not by its number
    "measure": "text",  # these and below: what `graphlth.experiment.measure` adds
    "measure_settings": "an object",
    "measure_environment": "an object",
    "seconds_measure": "a number of at least 0",
    "epochs_measure": COUNT,
    "macs_measure": "a number of at least 0",
    "memory_measure": COUNT,
    "joules_measure": "a number of at least 0",
    "instability": "a fraction in [0, 1]",
    "instability_pairs": "fractions in [0, 1]",
    "end_error": "a fraction in [0, 1]",
    "barrier_error": "fractions in [0, 1]",
}
# What a search may tell of its ticket; every other field is the run's own.
SEARCHED = (
    "drawn_epoch", "untrained_val", "untrained_test", "first_iteration", "source_ticket",
)  # fmt: skip
MEASURED = ("seconds_", "memory_", "joules_")  # differ from one run to the next of the same digits


def _plain(value: Any, field: str) -> Any:
    """The same value in JSON's own types; NaN, inf and foreign objects are refused."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{field}.{k}" if field else str(k)) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{field}[{i}]") for i, v in enumerate(value)]
    if not isinstance(value, (str, int, float)) and getattr(value, "ndim", None) == 0:
        value = value.item()  # a numpy scalar or a tensor of one number
    if value is not None and not isinstance(value, (str, int, float)):
        raise ValueError(f"`{field}` must be plain JSON, got {type(value).__name__}")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"`{field}` must be finite, got {value}")
        value = float(value)
    if not isinstance(value, str | None) and abs(value) >= TOO_MUCH:
        raise ValueError(f"`{field}` must be below {TOO_MUCH}, got {value}")
    return value


def _checked(record: Any) -> Record:
    if not isinstance(record, Mapping):
        raise ValueError(f"`record` must be an object, got {type(record).__name__}")
    if missing := [field for field in FIELDS if field not in record]:
        raise ValueError(f"`record` lacks {', '.join(f'`{field}`' for field in missing)}")
    plain: Record = _plain(record, "")
    for name, rule in (FIELDS | OPTIONAL).items():
        if name in plain and not RULES[rule](plain[name]):
            raise ValueError(f"`{name}` must be {rule}, got {plain[name]!r}")
    return plain


def check_search(search: Any) -> Record:
    """What a search tells of its ticket, if none of it stands in for a field of the run's own.

    Errors: ValueError names the field.
    """
    if not isinstance(search, Mapping):
        raise ValueError(f"`search` must be an object, got {type(search).__name__}")
    for name, value in search.items():
        spent = re.fullmatch(r"\w+_(search|retrain|measure)", name)
        if (name in FIELDS or name in OPTIONAL or spent) and name not in SEARCHED:
            raise ValueError(f"`search` must not hold `{name}`, a field of the record's own")
        if name in OPTIONAL and not RULES[OPTIONAL[name]](value):
            raise ValueError(f"`search.{name}` must be {OPTIONAL[name]}, got {value!r}")
    return dict(search)


REMEDY = "move the file aside and give the command again: it makes the records anew"


# --- files -------------------------------------------------------------------------------------


def append(path: str | Path, record: Mapping[str, Any]) -> None:
    """Nothing; `record` is on disk as the last line of `path` when this returns.

    A write that fails half-way is taken back, so the lines before it stay readable.
    Errors: ValueError names the field that is missing, not finite or outside its range, or says
    that the file ends in a torn line (`mend` it first); OSError says why `path` cannot be written.
    """
    whole = sealed(_checked(record))
    line = json.dumps(whole, allow_nan=False).encode() + b"\n"
    try:
        with open(path, "ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end and (file.seek(end - 1), file.read(1))[1] != b"\n":
                raise ValueError(f"`{path}` ends in a torn line; mend it before appending")
            try:
                if file.write(line) != len(line):
                    raise OSError(None, "the disk took only a part of the line")
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise
        sync(Path(path).parent)
    except OSError as error:
        raise OSError(f"cannot write `{path}`: {error.strerror or error}") from error


def _lines(path: str | Path) -> tuple[list[bytes], bytes]:
    """The lines of a file, and what stands behind the last newline."""
    try:
        *lines, tail = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        raise FileNotFoundError(f"no record file `{path}`") from None
    except OSError as error:
        raise OSError(f"cannot read `{path}`: {error.strerror or error}") from error
    return lines, tail


def _is_torn(tail: bytes) -> bool:
    """Whether a line was cut while it was written: it has no end."""
    try:
        json.JSONDecoder().raw_decode(tail.decode())
    except (ValueError, RecursionError):
        return True
    return False


def _parse(line: bytes) -> Record:
    """The record in a line, verified.

    Errors: ValueError says what is wrong with it.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not a line of JSON") from None
    if not isinstance(value, dict):
        raise ValueError(f"`record` must be an object, got {type(value).__name__}")
    try:
        return _checked(opened(value, needed="data" in value or "ticket" in value))
    except RecursionError:
        raise ValueError("objects in objects without end") from None


def _parse_all(path: str | Path, lines: Sequence[bytes]) -> list[Record]:
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_parse(line))
        except ValueError as error:
            raise ValueError(f"`{path}`, line {number}: {printable(error)}; {REMEDY}") from None
    return records


def read_file(path: str | Path) -> list[Record]:
    """The records of one file, in the order written; a torn last line is left out.

    Errors: FileNotFoundError; ValueError names file and line of any other damage.
    """
    lines, tail = _lines(path)
    return _parse_all(path, lines if _is_torn(tail) else [*lines, tail])


def unverified(path: str | Path) -> int:
    """How many records of a file have no digest: those of version 0.1.0."""
    return sum("digest" not in json.loads(line) for line in _lines(path)[0])


def mend(path: str | Path) -> list[Record]:
    """The records of one file, which from now on ends in a whole line; [] when there is no file.

    A last line that is torn or does not verify is taken back. Call this before appending to a file
    that an interrupted run left. Errors: as `read_file`, of any line but the last.
    """
    if not Path(path).exists():
        return []
    lines, tail = _lines(path)
    whole = [*lines, tail] if tail else lines
    if not whole:
        return []
    records = _parse_all(path, whole[:-1])
    with suppress(ValueError):
        records.append(_parse(whole[-1]))
    if tail or len(records) < len(whole):
        _keep(path, whole[: len(records)])
    return records


def take_back(path: str | Path) -> None:
    """Remove the last line of a file."""
    _keep(path, _lines(path)[0][:-1])


def _keep(path: str | Path, lines: Sequence[bytes]) -> None:
    with replacing(path) as draft:
        draft.write_bytes(b"".join(line + b"\n" for line in lines))


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Eight hex digits that are the same for the same settings, in whatever order they stand."""
    text = json.dumps(_plain(settings, "settings"), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def seed_of(path: Path) -> int | None:
    """The seed whose records the file `path` is called after; None for any other file.

    Raises:
        ValueError: it is called after a seed in other digits, as a copy is: seed00.jsonl.
    """
    found = re.fullmatch(r"seed(\d+)\.jsonl", path.name)
    if found is None:
        return None
    seed = int(found[1])
    if path.name != (right := f"seed{seed}.jsonl"):
        raise ValueError(
            f"records of seed {seed} must be in `{right}`, got `{path}`: move it aside"
        )
    return seed


def read(*folders: str | Path) -> list[Record]:
    """All records under run folders, or under folders of run folders, each file once.

    Sorted by algorithm, task, model, settings, seed and round.
    Errors: FileNotFoundError names a folder that is missing or holds no record; ValueError names
    file and line of a damaged record, or a file that is called as none is (see `seed_of`).
    """
    files: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder `{folder}`")
        found = [p for p in folder.rglob("seed*.jsonl") if seed_of(p) is not None]
        if not any(path.stat().st_size for path in found):
            raise FileNotFoundError(f"no records (seed<k>.jsonl) under `{folder}`")
        files |= {path.resolve(): path for path in found}
    records = [record for path in files.values() for record in read_file(path)]
    if not records:
        raise FileNotFoundError(f"no whole record under {', '.join(f'`{f}`' for f in folders)}")
    return sorted(records, key=lambda r: (*_run(r)[:3], _run(r)[4], r["seed"], r["round"]))


# --- environment -------------------------------------------------------------------------------


def _git(*arguments: str) -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    return None


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment() -> Record:
    """Versions, machine and, inside a git work tree, the commit (`-dirty` when files changed).

    A package that is not installed, and a commit that cannot be told, are absent.
    """
    found: Record = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    found["platform"] = platform.platform()
    found["cpu"] = _cpu()
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only: what this process may use
    found["cores"] = len(affinity(0)) if affinity else os.cpu_count() or 1
    ours = _git("ls-files", "--error-unmatch", Path(__file__).name)  # or a work tree around us
    if ours and (commit := _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")):
        found["commit"] = commit
    return found


# --- statistics over seeds -----------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One round of one run, over its seeds; an interval is the half-width, None under 3 seeds."""

    algorithm: str
    task: str
    model: str
    edges: str | None
    settings: str  # their hash
    label: str  # the settings in which runs of this algorithm, task, model and edges differ
    round: int
    n: int  # seeds
    test: float  # mean accuracy, in [0, 1]
    test_interval: float | None
    val: float
    val_interval: float | None
    edge_sparsity: float
    weight_sparsity: float
    num_edges: int  # 100 % of the prunable edges
    num_weights: int
    macs: float | None
    records: Sequence[Record] = field(repr=False, compare=False)  # by seed


@dataclass(frozen=True)
class Gap:
    """A mean difference over `n` common seeds; the interval is the half-width, None under 3."""

    mean: float
    interval: float | None
    n: int


def interval(values: Sequence[float]) -> float | None:
    """Half-width of the 95 % Student-t confidence interval of the mean; None under 3 values."""
    if len(values) < FEWEST:
        return None
    from scipy import stats  # 50 MB that a run has no use for

    t = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return float(t * stats.sem(values))


def percent(values: Sequence[float]) -> str:
    """The mean in per cent: `81.3 ± 0.4` with its interval, `81.3 (81.0–81.6)` with a range."""
    mean, half = f"{100 * fmean(values):.1f}", interval(values)
    if half is not None:
        return f"{mean} ± {100 * half:.1f}"
    low, high = min(values), max(values)
    joint = "–" if low >= 0 else " to "
    return mean if len(values) == 1 else f"{mean} ({100 * low:.1f}{joint}{100 * high:.1f})"


def _run(record: Record) -> Run:
    """What one run is: the records with the same answer differ in seed and round alone."""
    names = (record["algorithm"], record["task"], record["model"], record["edges"] or "")
    return (*names, settings_hash(_settings(record)))


def _settings(record: Record) -> Record:
    """The settings of the run, its data and, where there was a measure, what was measured how.

    Where data and tickets lay is no part of them, if it is known what they are.
    """
    names = ("data", "source", "measure", "measure_settings")
    told = {n: record[n] for n in names if n in record}
    aside = (*(ASIDE if "data" in record else ()), *(("tickets",) if "source" in record else ()))
    return {n: v for n, v in record["settings"].items() if n not in aside} | told


def _labels(settings: Mapping[str, Record]) -> dict[str, str]:
    """For each of some runs, by hash: the settings that not all of them share, in words."""
    texts = {h: {k: json.dumps(v).strip('"') for k, v in s.items()} for h, s in settings.items()}
    keys = sorted({key for text in texts.values() for key in text})
    differ = [key for key in keys if len({text.get(key) for text in texts.values()}) > 1]
    return {
        h: printable(", ".join(f"{key}={text[key]}" for key in differ if key in text))
        for h, text in texts.items()
    }


def _by_seed(records: Iterable[Record]) -> dict[int, Record]:
    found: dict[int, Record] = {}
    for record in records:
        seed = record["seed"]
        if seed in found:
            name = "-".join(_run(record)[:3])
            raise ValueError(f"seed {seed} of {name} occurs twice at round {record['round']}")
        found[seed] = record
    return dict(sorted(found.items()))


def summary(records: Iterable[Record]) -> list[Row]:
    """One row per run and round: means over seeds, with 95 % Student-t intervals.

    Runs are told apart by algorithm, task, model, edges and settings, and come in that order.
    Errors: ValueError when one seed occurs twice in a round (a copied folder).
    """
    rounds: dict[Run, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    settings: dict[tuple[str, ...], dict[str, Record]] = defaultdict(dict)
    for record in records:
        rounds[run := _run(record)][record["round"]].append(record)
        settings[run[:4]][run[4]] = _settings(record)
    labels = {names: _labels(group) for names, group in settings.items()}
    rows = []
    for run, numbers in sorted(rounds.items()):
        for number, members in sorted(numbers.items()):
            group = list(_by_seed(members).values())
            column = {f: [r[f] for r in group] for f in FIELDS}
            counted = [macs for macs in column["macs"] if macs is not None]
            rows.append(
                Row(
                    algorithm=run[0],
                    task=run[1],
                    model=run[2],
                    edges=group[0]["edges"],
                    settings=run[4],
                    label=labels[run[:4]][run[4]],
                    round=number,
                    n=len(group),
                    test=fmean(column["test"]),
                    test_interval=interval(column["test"]),
                    val=fmean(column["val"]),
                    val_interval=interval(column["val"]),
                    edge_sparsity=fmean(column["edge_sparsity"]),
                    weight_sparsity=fmean(column["weight_sparsity"]),
                    num_edges=group[0]["num_edges"],
                    num_weights=group[0]["num_weights"],
                    macs=fmean(counted) if counted else None,
                    records=group,
                )
            )
    return rows


def check_metric(metric: str) -> str:
    """The same name; ValueError when it is not an accuracy that every record holds."""
    if metric not in METRICS:
        raise ValueError(f"`metric` must be one of {', '.join(METRICS)}, got {metric!r}")
    return metric


def paired_gap(
    records_a: Iterable[Record], records_b: Iterable[Record], round: int, *, metric: str = "test"
) -> Gap:
    """Accuracy of run a minus that of run b at `round`, paired by seed, with its 95 % interval.

    Errors: ValueError without a common seed, or when one side holds more than one run.
    """
    found = paired_differences(records_a, records_b, round, metric=metric)
    return Gap(fmean(found), interval(found), len(found))


def paired_differences(
    records_a: Iterable[Record], records_b: Iterable[Record], round: int, *, metric: str = "test"
) -> list[float]:
    """Accuracy of run a minus that of run b at `round`, of every common seed.

    Errors: as `paired_gap`.
    """
    check_metric(metric)
    a, b = (_by_seed(r for r in side if r["round"] == round) for side in (records_a, records_b))
    differences = [a[seed][metric] - b[seed][metric] for seed in a if seed in b]
    if not differences:
        raise ValueError(f"`round` must be one that both runs share a seed in, got {round}")
    return differences


def check_unit(unit: str) -> str:
    """The same name; ValueError when no work is counted in it."""
    if unit not in UNITS:
        raise ValueError(f"`unit` must be one of {', '.join(UNITS)}, got {unit!r}")
    return unit


def total(records: Iterable[Record], round: int, unit: str = "macs") -> float:
    """What it cost to obtain the ticket of `round`, trained: every search up to it, its retraining.

    The dense network, round 0, is only trained: it needs no search.

    Args:
        records: those of one seed of one run.
        round: whose ticket.
        unit: "macs" (multiply–accumulates of training), "seconds", "epochs" or "joules".

    Raises:
        ValueError: an unknown unit, a round that is missing, or a record without the unit's field.
    """
    check_unit(unit)
    known = {record["round"]: record for record in records}
    searched = range(round + 1) if round else ()
    if missing := [number for number in (*searched, round) if number not in known]:
        where = f" of {_named(next(iter(known.values())))}" if known else ""
        raise ValueError(f"`records` must hold rounds 0 to {round}{where}, lack round {missing[0]}:"
                         " leave out the folder of that run, or run it without `only`"
                         )  # fmt: skip
    spent = [(known[number], f"{unit}_search") for number in searched]
    return sum(_cost(record, name) for record, name in [*spent, (known[round], f"{unit}_retrain")])


def _cost(record: Record, name: str) -> float:
    if name not in record:
        raise ValueError(f"`records` must hold `{name}`, which that of {_named(record)}, round "
                         f"{record['round']} lacks")  # fmt: skip
    cost: float = record[name]
    return cost


def _named(record: Record) -> str:
    return f"{'-'.join(_run(record)[:3])}, seed {record['seed']}"


def winning(records: Iterable[Record], *, metric: str = "test") -> list[Row]:
    """The rounds whose mean accuracy over seeds is at least that of round 0 of the same run.

    Round 0 itself is no ticket; a run without a round 0 has no winning ticket yet.
    """
    return winners(summary(records), metric=metric)


def winners(rows: Iterable[Row], *, metric: str = "test") -> list[Row]:
    """`winning` for rows that a summary has made already."""
    check_metric(metric)
    rows = list(rows)
    dense = {run_of(row): getattr(row, metric) for row in rows if row.round == 0}
    least = {run: mean - 1e-9 for run, mean in dense.items()}  # equal means, but for rounding
    return [
        row
        for row in rows
        if row.round > 0 and getattr(row, metric) >= least.get(run_of(row), math.inf)
    ]


def starred(rows: Iterable[Row], *, metric: str = "test") -> list[Row]:
    """The `winners` beside which no warning stands, neither of their round nor of round 0."""
    rows = list(rows)
    doubtful = {run_of(row) for row in rows if row.round == 0 and doubts(row)}
    return [
        row
        for row in winners(rows, metric=metric)
        if run_of(row) not in doubtful and not doubts(row)
    ]


def doubts(row: Row) -> dict[str, list[int]]:
    """The warnings of a round, each with the seeds that it is about.

    To those of the records comes one where seeds lie more than `FAR` apart in an accuracy.
    """
    found: dict[str, list[int]] = defaultdict(list)
    for record in row.records:
        for text in record.get("warnings", ()):
            found[text].append(record["seed"])
    for metric in METRICS:
        values = [record[metric] for record in row.records]
        if max(values) - min(values) > FAR:
            told = f"{metric} differs by more than {100 * FAR:.0f} points between seeds"
            found[f"{told}: an interval means nothing"] = [r["seed"] for r in row.records]
    return dict(found)


def run_of(row: Row) -> Run:
    """What one run is: rows with the same answer differ in their round alone."""
    return row.algorithm, row.task, row.model, row.edges or "", row.settings
