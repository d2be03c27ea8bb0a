"""Commands of graphlth, as a shell takes them."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any


def join_command(words: Sequence[str], flags: Mapping[str, Any]) -> str:
    """The command of some words and flags."""
    texts = {name: flag_text(value) for name, value in flags.items()}
    parts = [part for n, v in texts.items()
             for part in ([f"--{n}={v}"] if v.startswith("-") else [f"--{n}", v])]  # fmt: skip
    return shlex.join([*words, *parts])


def flag_text(value: Any) -> str:
    """A value as a flag takes it: text as it is, `true`, `null`, `7,15` and `[7]` of a list."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and len(value) > 1:
        return ",".join(map(flag_text, value))
    return json.dumps(value)
