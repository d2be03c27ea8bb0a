"""One file per algorithm; the file name is its name on the command line.

An algorithm is a generator of tickets. Its signature holds its own settings. If it trains, it takes
a `Recipe`, or its fields as keywords: `**training: Unpack[RecipeFields]`. `RECIPE` in its file says
which fields it has, with their defaults, and so which ones retraining has in its runs; without it
these are all fields of `Recipe`. An algorithm that can find the tickets of many seeds at once has a
second function in its file, `batched_<name>`.
"""

from collections.abc import Callable, Iterator
from functools import cache, wraps
from inspect import Parameter, signature
from typing import Any

from graphlth.settings.validation import REFUSES, keywords_of


@cache
def with_provenance(algorithm: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """`algorithm`, whose tickets say where they come from: what `graphlth.registry.find` returns.

    Raises:
        ValueError: it has no `seed` or no `last`; or, when called, a setting is one of retraining
            alone; then, if it yields what it must not (see `Yielded`).
    """
    known = signature(algorithm).parameters
    if missing := [name for name in ("seed", "last") if name not in known]:
        raise ValueError(f"`algorithm` {algorithm.__name__!r} must take `{missing[0]}`, as "
                         "`seed: Seed = 0, last: Ticket | None = None`")  # fmt: skip
    others = any(p.kind is Parameter.VAR_KEYWORD for p in known.values())
    typed = keywords_of(algorithm).keys() - known.keys()  # of `**settings: Unpack[...]`

    @wraps(algorithm)
    def tickets(model: Any, task: Any, **settings: Any) -> Iterator[Any]:
        # These load torch, which a list of names does not.
        from graphlth.algorithms._yielded import Yielded
        from graphlth.provenance import add_provenance

        for name, value in settings.items():
            if name not in (*known, *typed) and (typed or not others):
                refuse_setting(name, value, algorithm.__name__, (*known, *typed))
        seed = settings.get("seed", known["seed"].default)
        about = {"algorithm": algorithm.__name__, "seed": seed}
        about |= {"ignore": ignore} if (ignore := settings.get("ignore")) else {}
        found = Yielded(algorithm, algorithm(model, task, **settings), model, task, settings)
        return add_provenance(found, model, task, about)

    if typed or not others:
        setattr(tickets, REFUSES, True)
    return tickets


def refuse_setting(name: str, value: Any, algorithm: str, known: Any) -> None:
    """Refuse a setting that an algorithm does not have.

    Raises:
        ValueError: names what takes it, if that is retraining, or else the known settings.
    """
    from graphlth.settings.checks import check_setting
    from graphlth.training.recipe import RecipeFields

    if name in RecipeFields.__annotations__:
        raise ValueError(f"`{name}` is no setting of {algorithm}, which does not train with it: "
                         f"retraining takes it, glt.fit(model, task, ticket, {name}={value!r})"
                         )  # fmt: skip
    check_setting(name, [n for n in known if n not in ("model", "task")], f"of {algorithm}")
