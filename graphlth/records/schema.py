"""The record: one line of JSON per (run, seed, round), the only thing a figure or a report reads.

A run folder is `<algorithm>-<task>-<model>-<hash>/` and holds one `seed<k>.jsonl` a seed, a line a
round. Fractions lie in [0, 1], times are seconds; torch is never imported here.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphlth.settings.annotations import range_of
from graphlth.settings.types import Rounds

Record = dict[str, Any]
Run = tuple[str, str, str, str, str]  # algorithm, task, model, edges ("" for none), settings' hash
LIMIT = 1e300  # for a number of a record: sums and means of such would overflow
ACCURACY = "accuracy"  # the metric of records that name none; the others may be any numbers
LOCATIONS = ("data_root", "path")  # where the data lie: what they are tells a run by their digest


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_round(value: Any) -> bool:
    return _is_count(value) and value in ROUND_NUMBERS


def _is_amount(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_fraction(value: Any) -> bool:
    return _is_amount(value) and value <= 1


def _is_number(value: Any) -> bool:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return real and -LIMIT < value < LIMIT  # and so it is finite


def _is_printable_line(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _is_hex(digits: int) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, str) and re.fullmatch(rf"[0-9a-f]{{{digits}}}", v) is not None


ROUND_NUMBERS = range_of(Rounds)
COUNT = "a whole number of at least 0, below 2**63"
ROUND = f"a whole number in {ROUND_NUMBERS}"
RULES: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda v: isinstance(v, str) and v != "",
    "text, or null without a graph": lambda v: v is None or (isinstance(v, str) and v != ""),
    COUNT: _is_count,
    ROUND: _is_round,
    "a fraction in [0, 1]": _is_fraction,
    "a number of at least 0": _is_amount,
    "a number of at least 0, or null when not counted": lambda v: v is None or _is_amount(v),
    "a number": _is_number,
    "false": lambda v: v is False,
    "max or min": lambda v: v in ("max", "min"),
    "a list of texts": lambda v: isinstance(v, list) and all(isinstance(e, str) for e in v),
    "an object": lambda v: isinstance(v, dict),
    "fractions in [0, 1]": lambda v: isinstance(v, list) and all(map(_is_fraction, v)),
    "numbers": lambda v: isinstance(v, list) and all(map(_is_number, v)),
    "a list of lines": lambda v: isinstance(v, list) and all(map(_is_printable_line, v)),
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
    "metric": "text",  # what `val` and `test` are; accuracy where it is absent
    "direction": "max or min",  # of the metric: which values are better; max where it is absent
    "macs_reason": "text",  # why `macs` is null
    "data": "16 hex digits",  # the content of the task
    "code": "text",  # the digest of the files of a user's own model or task
    "ticket": "64 hex digits",  # the SHA-256 of the ticket's file
    "ticket_kept": "false",  # the file is removed when the run is done; true where it is absent
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
    "mask_epoch": COUNT,  # from 0: at which the trained masks were taken, of the best validation
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
    "nodes": COUNT,  # these and below: of the graph that a ticket leaves
    "pairs": COUNT,
    "components": COUNT,
    "largest_component": "a fraction in [0, 1]",
    "isolated_nodes": COUNT,
    "degree_mean": "a number of at least 0",
    "degree_max": COUNT,
    "degree_quantiles": "numbers",
    "homophily": "a number of at least 0, or null when not counted",
    "spectral_gap": "a number of at least 0, or null when not counted",
    "training_share": "a number of at least 0, or null when not counted",
}
# Values of the metric, and errors that come from it: fractions if it is accuracy, else numbers.
SCORES = (
    "val", "test", "untrained_val", "untrained_test", "val_last", "test_last", "test_at_stop",
    "instability", "instability_pairs", "end_error", "barrier_error",
)  # fmt: skip
# What a search may tell of its ticket; every other field is the run's own.
SEARCH_FIELDS = (
    "metric", "drawn_epoch", "mask_epoch", "untrained_val", "untrained_test", "first_iteration",
    "source_ticket",
)  # fmt: skip
MEASURE_NAMES = ("measure", "measure_settings")  # of a record: what was measured, and how
COST_PREFIXES = (
    "seconds_",
    "memory_",
    "joules_",
)  # differ from one run to the next of the same digits


def plain_json(value: Any, field: str) -> Any:
    """The same value in JSON's own types; NaN, inf and foreign objects are refused."""
    if isinstance(value, Mapping):
        return {
            str(k): plain_json(v, f"{field}.{k}" if field else str(k)) for k, v in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [plain_json(v, f"{field}[{i}]") for i, v in enumerate(value)]
    if not isinstance(value, (str, int, float)) and getattr(value, "ndim", None) == 0:
        value = value.item()  # a numpy scalar or a tensor of one number
    if value is not None and not isinstance(value, (str, int, float)):
        raise ValueError(f"`{field}` must be plain JSON, got {type(value).__name__}")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"`{field}` must be finite, got {value}")
        value = float(value)
    if not isinstance(value, str | None) and abs(value) >= LIMIT:
        raise ValueError(f"`{field}` must be below {LIMIT}, got {value}")
    return value


def validate_record(record: Any) -> Record:
    """The record in JSON's own types, with all of `FIELDS`, each as its rule says.

    Raises:
        ValueError: names the field that is missing, not finite or outside its range.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"`record` must be an object, got {type(record).__name__}")
    if missing := [field for field in FIELDS if field not in record]:
        raise ValueError(f"`record` lacks {', '.join(f'`{field}`' for field in missing)}")
    plain: Record = plain_json(record, "")
    metric = metric_of(plain)
    for name in (*FIELDS, *OPTIONAL):
        rule = _rule_of(name, metric)
        if name in plain and not RULES[rule](plain[name]):
            raise ValueError(f"`{name}` must be {rule}, got {plain[name]!r}")
    return plain


def _rule_of(name: str, metric: str) -> str:
    """What a field must be in a record of `metric`; "" if there is no such field."""
    rule = FIELDS.get(name) or OPTIONAL.get(name, "")
    if name in SCORES and metric != ACCURACY:
        return "numbers" if rule.startswith("fractions") else "a number"
    return rule


def metric_of(record: Mapping[str, Any]) -> str:
    """The name of the metric that `val` and `test` of a record are."""
    name: str = record.get("metric", ACCURACY)
    return name


def metric_title(name: str) -> str:
    """A metric as papers write it: "ROC-AUC", "RMSE", "average precision"."""
    known = {"roc_auc": "ROC-AUC", "rmse": "RMSE", "mae": "MAE"}
    return known.get(name, name.replace("_", " "))


def check_search(search: Any) -> Record:
    """What a search tells of its ticket, if none of it stands in for a field of the run's own.

    Errors: ValueError names the field.
    """
    if not isinstance(search, Mapping):
        raise ValueError(f"`search` must be an object, got {type(search).__name__}")
    for name, value in search.items():
        spent = re.fullmatch(r"\w+_(search|retrain|measure)", name)
        if (name in FIELDS or name in OPTIONAL or spent) and name not in SEARCH_FIELDS:
            raise ValueError(f"`search` must not hold `{name}`, a field of the record's own")
        rule = _rule_of(name, metric_of(search))
        if name in OPTIONAL and not RULES[rule](value):
            raise ValueError(f"`search.{name}` must be {rule}, got {value!r}")
    return dict(search)


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Eight hex digits that are the same for the same settings, in whatever order they stand."""
    text = json.dumps(plain_json(settings, "settings"), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_key(record: Record) -> Run:
    """What one run is: the records with the same answer differ in seed and round alone."""
    names = (record["algorithm"], record["task"], record["model"], record["edges"] or "")
    return (*names, settings_hash(comparable_settings(record)))


def run_records(records: Sequence[Record]) -> list[Record]:
    """Those of runs; of what a measure has recorded only what is of no run among them."""
    known = {run_key(record) for record in records if "measure" not in record}
    return [r for r in records if "measure" not in r or run_key(without_measure(r)) not in known]


def without_measure(record: Record) -> Record:
    """The record without the names of what was measured: of the run that it is of."""
    return {n: v for n, v in record.items() if n not in MEASURE_NAMES}


def comparable_settings(record: Record) -> Record:
    """The settings of the run, its data and, where there was a measure, what was measured how.

    Where data and tickets lay is no part of them, if it is known what they are. Another metric than
    accuracy is: what is measured by different metrics is not one run.
    """
    names = ("data", "source", "code", *MEASURE_NAMES)
    known = {n: record[n] for n in names if n in record}
    aside = (
        *(LOCATIONS if "data" in record else ()),
        *(("tickets",) if "source" in record else ()),
    )
    settings = {n: v for n, v in record["settings"].items() if n not in aside}
    if settings.get("metric") is None and metric_of(record) != ACCURACY:
        settings["metric"] = metric_of(record)
    return settings | known


def labelled_settings(record: Record) -> Record:
    """`comparable_settings` with the metric by its name, also where it is accuracy by default."""
    settings = comparable_settings(record)
    if settings.get("metric") is None:
        settings["metric"] = metric_of(record)
    return settings
