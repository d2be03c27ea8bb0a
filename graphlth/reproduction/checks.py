"""What is wrong in a suite, told before anything of it is run."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Interval

from graphlth.records import check_metric, metric_title
from graphlth.registry import find
from graphlth.reproduction.claims import (
    DENSE,
    FORMS,
    Claim,
    claimed_rounds,
    form_of,
    named_runs,
)
from graphlth.reproduction.extreme import REMOVED
from graphlth.reproduction.parts import (
    SWEEP,
    Suite,
    first_run,
    published_values,
    quick_suite,
    shown_names,
    suite_runs,
)
from graphlth.reproduction.scale import PERCENT, scale_of_metric
from graphlth.settings.annotations import check_number, check_value
from graphlth.settings.checks import check_setting
from graphlth.settings.types import Epochs, Fraction, NonNegative, Positive, Rounds
from graphlth.settings.validation import check_settings, settings_of
from graphlth.sweeps.file import REPORT, SweepRun

CLAIM_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(FORMS, str), "better": Sequence[str], "equal": Sequence[str],
    "no_worse": Sequence[str], "cheaper": Sequence[str], "value": float,
    "text": str, "source": str, "run": str, "field": str, "rounds": Sequence[Rounds],
    "to_dense": bool, "margin": NonNegative, "times": Positive, "epoch": Epochs,
}  # fmt: skip
OVER_SEEDS = ("extreme", "expected", "instability", "mask_epochs")  # what a suite tests
COLUMNS = ("round", "edges removed, %", "weights removed, %", "MACs, M", "run", "seeds")
PAIRS = ("no_worse", "better", "equal", "cheaper")
QuickSeeds = Annotated[int, Interval(ge=1, le=10_000)]


def check_suite(suite: Suite) -> None:
    """Refuse a suite in which something is unknown, of the wrong type, or names what is not there.

    Raises:
        ValueError: names the key of the suite, the rule and the value.
    """
    for name in suite:
        if name not in ("name", "called"):
            check_setting(name, (*SWEEP, *REPORT), "of a suite")
    for name in ("title", "source", "notes"):
        check_value(name, suite[name], str)
    for name in ("title", "source"):
        check_text(name, suite[name], empty=name == "source")
    runs = suite_runs(suite)
    for name in runs:
        check_column("runs", name)
    check_names("compare", suite.get("compare", [*runs]), runs)
    if DENSE in runs:
        raise ValueError("`runs` must not be called dense, which is round 0 of any, got one")
    shown = shown_names(suite)
    check_tables(suite, shown)
    check_claims(suite.get("claims", []), shown)
    check_published(suite, shown)
    for name in ("expected", "instability"):
        check_bands(name, suite.get(name, {}), shown)
    check_splits(suite)
    check_extreme(suite.get("extreme", {}), shown)
    check_each_once("mask_epochs", suite.get("mask_epochs", []), Sequence[str])
    check_measure(suite)
    check_figures(suite.get("figures", {}), shown)
    check_quick(suite, runs)


def check_text(key: str, text: str, *, empty: bool = False) -> None:
    """Refuse a text, of a line or several, in which a character is not printable, or none is."""
    words = "".join(text.split())
    if not words.isprintable() or not (words or empty):
        raise ValueError(f"`{key}` must be printable text, got {text!r}")


def check_column(key: str, name: str) -> None:
    """Refuse the name of a run or a source that cannot be, or already is, that of a column."""
    if not name.isprintable() or not name.strip():
        raise ValueError(f"`{key}` must have names of a line of printable text, got {name!r}")
    if name in COLUMNS:
        raise ValueError(f"`{key}` must not have the name of another column, got {name!r}")


def check_names(key: str, names: Any, runs: Collection[str]) -> None:
    """Refuse what is no list of names of runs."""
    check_value(key, names, Sequence[str])
    for name in names:
        if name not in runs:
            known = ", ".join(runs)
            raise ValueError(f"`{key}` must name runs of the suite, {known}, got {name!r}")
    if not names:
        raise ValueError(f"`{key}` must name a run of the suite at least, got none")


def check_each_once(key: str, values: Any, annotation: Any) -> None:
    """Refuse what is no such list, or names something twice, as of two columns of one name."""
    check_value(key, values, annotation)
    if twice := next((v for i, v in enumerate(values) if v in values[:i]), None):
        raise ValueError(f"`{key}` must name each once, got {twice!r} twice")


def check_table(key: str, table: Any) -> Mapping[str, Any]:
    """The same table; refused if it is none."""
    if not isinstance(table, Mapping):
        raise ValueError(f"`{key}` must be a table, got {table!r}")
    return table


def check_tables(suite: Suite, runs: Collection[str]) -> None:
    """Refuse rounds, pairs and a choice of tables that are none."""
    check_value("tickets", suite.get("tickets", False), bool)
    check_each_once("columns", suite.get("columns", []), Sequence[Rounds])
    if "columns" in suite and not suite["columns"]:
        raise ValueError("`columns` must be rounds, such as [4, 9], got none")
    if "columns" in suite and suite.get("tickets"):
        raise ValueError("`columns` must not be given beside `tickets`: a table has lines of runs, "
                         "or of tickets")  # fmt: skip
    check_each_once("pairs", suite.get("pairs", []), list)
    for pair in suite.get("pairs", []):
        check_pair("pairs", pair)
        check_names("pairs", pair, runs)


def check_pair(key: str, pair: Any) -> None:
    """Refuse what is not two names."""
    check_value(key, pair, Sequence[str])
    if len({*pair}) != 2 or len(pair) != 2:
        raise ValueError(f"`{key}` must be of two runs, got {pair!r}")


# --- claims and numbers --------------------------------------------------------------------------


def check_claims(claims: Any, runs: Collection[str]) -> None:
    """Refuse claims that have no form, or that name another run than one of `runs`.

    Raises:
        ValueError: names the claim and what is wrong in it.
    """
    if not isinstance(claims, Sequence) or not all(isinstance(c, Mapping) for c in claims):
        raise ValueError(f"`claims` must be tables, written [[claims]], got {claims!r}")
    for claim in claims:
        forms = [form for form in FORMS if form in claim]
        if not isinstance(claim.get("text"), str) or len(forms) != 1:
            raise ValueError(f"`claims` must each have a `text` and one of {', '.join(FORMS)}, "
                             f"got {dict(claim)!r}")  # fmt: skip
        try:
            check_claim(claim, runs)
        except ValueError as error:
            raise ValueError(f"{error}; in the claim {claim['text']!r}") from None


def check_claim(claim: Claim, runs: Collection[str]) -> None:
    """Refuse a claim of one form whose settings are not those of the form."""
    form = form_of(claim)
    needed, others = FORMS[form]
    for name, value in claim.items():
        check_setting(name, ("text", "source", form, *needed, *others), f"of a claim of {form!r}")
        check_value(name, value, CLAIM_TYPES[name])
        if name in ("text", "source", "reason", "field"):
            check_text(name, value)
    if lacking := [name for name in needed if name not in claim]:
        raise ValueError(f"`{lacking[0]}` must be given beside `{form}`, got none")
    if form in PAIRS:
        check_pair(form, claim[form])
    of_dense = form in PAIRS and form != "cheaper" and not claim.get("to_dense")
    extra = [DENSE] if of_dense else []
    if "reason" not in claim:
        check_names("run" if form == "value" else form, named_runs(claim), [*runs, *extra])
    if "rounds" in claim:
        of_dense = form in ("winning", "sooner") or DENSE in named_runs(claim)
        check_claimed_rounds(form, claim["rounds"], of_dense or claim.get("to_dense", False))
    if form not in ("better", "no_worse") and claim.get("margin") == 0:
        raise ValueError(f"`margin` must be above 0 beside `{form}`, got 0")


def check_claimed_rounds(form: str, rounds: Sequence[int], of_dense: bool) -> None:
    """Refuse rounds that a claim of this form cannot have; `of_dense`: it compares with round 0."""
    if not rounds or (form != "cheaper" and len({*rounds}) < len(rounds)):
        raise ValueError(f"`rounds` must be rounds, each once, got {[*rounds]}")
    if of_dense and 0 in rounds:
        raise ValueError(f"`rounds` must be from 1 on beside `{form}`, which compares with dense, "
                         "round 0, got 0")  # fmt: skip
    if form == "cheaper" and len(rounds) != 2:
        raise ValueError(f"`rounds` must be two, one for each run of `cheaper`, got {[*rounds]}")


def check_published(suite: Suite, runs: Collection[str]) -> None:
    """Refuse numbers that are of no source, run or round."""
    published = suite.get("published", {})
    for source, values in (
        {} if isinstance(published, str) else check_table("published", published).items()
    ):
        check_column("published", source)
        key = f"published.{source}"
        check_table(key, values)
        if source in runs:
            raise ValueError(f"`published` must have names that no run has, got {source!r}")
        if "columns" in suite or suite.get("tickets"):
            check_names(key, [*values], runs)
        for known in [values] if "columns" not in suite else values.values():
            check_points(key, known, rounds=not suite.get("tickets"))


def check_points(key: str, values: Any, *, rounds: bool) -> None:
    """Refuse what is not a number for each round, or for each name."""
    for name, value in check_table(key, values).items():
        if rounds:
            check_round(key, name)
        check_number(key, value, float)


def check_splits(suite: Suite) -> None:
    """Refuse beside `splits` what would be tested over them, and seeds of one run alone."""
    for name, own in suite.get("runs", {}).items():
        if "splits" in suite and "seeds" in own:
            raise ValueError("`seeds` must be given for all runs beside `splits`, of which means "
                             f"over seeds are compared, got them for {name!r}")  # fmt: skip
    if "splits" in suite and (what := next((n for n in OVER_SEEDS if n in suite), None)):
        raise ValueError(f"`{what}` must not be given beside `splits`: nothing is tested over "
                         "splits, which share nodes")  # fmt: skip


def check_extreme(table: Any, runs: Collection[str]) -> None:
    """Refuse what is no table of runs and of published sparsities, of edges or of weights."""
    for what, own in check_table("extreme", table).items():
        check_setting(what, REMOVED, "of `extreme`")
        for name in check_table(f"extreme.{what}", own):
            check_setting(name, ("runs", "published"), f"of `extreme.{what}`")
        check_names(f"extreme.{what}.runs", own.get("runs", []), runs)
        key = f"extreme.{what}.published"
        for value in check_table(key, own.get("published", {})).values():
            check_number(key, value, Fraction)


def check_fractions(suite: Suite, metric: str) -> None:
    """Refuse values and margins that are no fractions, of a metric that is one."""
    found = no_fractions(suite)
    if found and scale_of_metric(metric) == PERCENT:
        key, value = found[0]
        raise ValueError(f"`{key}` must be a fraction of {metric_title(metric)}, got {value:g}: a "
                         "point is 0.01")  # fmt: skip


def no_fractions(suite: Suite) -> list[tuple[str, float]]:
    """The values and margins of a suite that are no fractions; a margin of 1 allows everything."""
    return [(key, value) for key, value in stated_numbers(suite)
            if not 0 <= value <= 1 or (key, value) == ("margin", 1)]  # fmt: skip


def stated_numbers(suite: Suite) -> Iterator[tuple[str, float]]:
    """The values and margins that a suite states in the unit of the metric, each with its key."""
    for claim in suite.get("claims", []):
        yield from ((name, claim[name]) for name in ("margin", "value") if name in claim)
    for name in ("expected", "instability"):
        bands = [band for own in suite.get(name, {}).values() for band in own.values()]
        yield from ((name, end) for band in bands for end in band)
    tables = [] if isinstance(published := suite.get("published", {}), str) else [published]
    while tables:
        values = [*tables.pop().values()]
        tables += [value for value in values if isinstance(value, Mapping)]
        yield from (("published", v) for v in values if not isinstance(v, Mapping))


def check_round(key: str, r: str) -> None:
    """Refuse a key that is no round, or one in other digits, which may stand there twice."""
    if not r.isdecimal() or len(r) > 9 or r != str(int(r)):
        raise ValueError(f"`{key}` must have rounds as keys, such as 4 = 0.81, got {r!r}")


def check_bands(key: str, table: Any, runs: Collection[str]) -> None:
    """Refuse what is not [lowest, highest] by run and round."""
    for name, bands in check_table(key, table).items():
        check_names(key, [name], runs)
        for r, band in check_table(f"{key}.{name}", bands).items():
            check_round(f"{key}.{name}", r)
            check_value(f"{key}.{name}", band, Sequence[float])
            if len(band) != 2 or band[0] > band[1]:
                raise ValueError(f"`{key}.{name}` must be [lowest, highest], got {band!r}")


def check_rounds(suite: Suite, planned: Mapping[str, Collection[int]]) -> None:
    """Refuse rounds of tables and claims that are none of those `planned`, by run."""
    first = first_run(suite)
    stated = {("columns", first): suite.get("columns", [])}
    stated |= {(f"{key}.{name}", name): map(int, bands) for key in ("expected", "instability")
               for name, bands in suite.get(key, {}).items()}  # fmt: skip
    stated |= {(f"published.{source}", name): values
               for source, runs in published_values(suite).items()
               for name, values in runs.items()}  # fmt: skip
    for (key, name), rounds in stated.items():
        for r in rounds:
            check_planned(key, name, r, planned[name])
    for claim in suite.get("claims", []):
        for name, r in claimed_rounds(claim):
            check_planned("rounds", name, r, planned[name], f"; in the claim {claim['text']!r}")


def check_planned(key: str, name: str, r: int, rounds: Collection[int], where: str = "") -> None:
    """Refuse a round of a run that it will not have."""
    if r not in rounds:
        raise ValueError(f"`{key}` must be of rounds that {name!r} has, up to {max(rounds)}, got "
                         f"{r}{where}")  # fmt: skip


# --- measures, figures and small -----------------------------------------------------------------


def check_measure(suite: Suite) -> None:
    """Refuse a measure that is not there, or that has no such setting."""
    from graphlth.experiment.measure import complete_settings

    asked = suite.get("analyze", {})
    if suite.get("instability") and check_table("analyze", asked).get("measure") != "instability":
        raise ValueError('`instability` must be given beside [analyze] with measure = '
                         f'"instability", got {[*suite["instability"]]} without it')  # fmt: skip
    if "analyze" not in suite:
        return
    settings = dict(check_table("analyze", suite["analyze"]))
    if "measure" not in settings:
        raise ValueError('`analyze` must have a measure, such as measure = "instability", got none')
    measure, fields = settings.pop("measure"), settings.pop("fields", [])
    check_value("analyze.measure", measure, str)
    find("analysis", measure)
    check_value("rounds", settings.pop("rounds", "all"), str | Sequence[Rounds])
    check_each_once("fields", fields, Sequence[str])
    if measure != "instability" and not fields:
        raise ValueError(f"`fields` must be given beside `measure` {measure!r}: those of its "
                         "records that a table shows, got none")  # fmt: skip
    complete_settings(measure, settings)


def check_figures(figures: Any, runs: Collection[str]) -> None:
    """Refuse a figure that is not there, or that has no such setting."""
    for name, table in check_table("figures", figures).items():
        known = {n: p for n, p in settings_of(find("figures", name)).items() if n != "out"}
        settings = dict(check_table(f"figures.{name}", table))
        check_names(f"figures.{name}", settings.pop("runs", [*runs]), runs)
        for setting in settings:
            check_setting(setting, (*known, "runs"), f"of the figure {name}")
        try:
            check_settings({n: p.default for n, p in known.items()} | settings, known)
            check_metric(settings.get("metric", "test"))
        except ValueError as error:
            raise ValueError(f"{error}; in `figures.{name}`") from None


def check_quick(suite: Suite, runs: Mapping[str, Sequence[SweepRun]]) -> None:
    """Refuse a table `quick` that leaves no suite."""
    quick = check_table("quick", suite.get("quick", {}))
    check_number("seeds", quick.get("seeds", 1), QuickSeeds)
    tables = suite.get("runs", {})
    if "runs" in quick:
        check_names("quick.runs", quick["runs"], tables)
    small = suite_runs(quick_suite(suite))
    if not {*shown_names(suite)} & {*small}:
        raise ValueError(f"`quick` must leave a run that is shown, got {[*small]}: `compare` and "
                         "`quick.runs` share none, or a grid makes other runs of it"
                         )  # fmt: skip
    for name, own in small.items():
        source = runs[name][0].source if name in runs else ""
        if source and not own[0].source:
            raise ValueError(f"`quick.runs` must have {source!r}, whose tickets {name!r} reads, "
                             f"got {[*small]}")  # fmt: skip
