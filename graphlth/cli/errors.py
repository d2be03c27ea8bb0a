"""Errors in one line."""

import re

from graphlth.storage import printable

MAX_LENGTH = 2000  # characters of an error's line


def format_error(error: Exception) -> str:
    """An error in one line, in the words of the house."""
    text = printable(" ".join(str(error).split()))
    text = text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]} …"
    text = re.sub(r"^Parser key \"(.+?)\": Expected an? <class '(\w+)'>\. Got value: (.*)$",
                  r"`\1` must be of type \2, got '\3'", text)  # fmt: skip
    text = re.sub(r"^Parser key \"(.+?)\": Does not validate .*?<class '(\w+)'>.* value: (.*)$",
                  r"`\1` must be of type \2, got '\3'", text)  # fmt: skip
    text = text.replace("must be of type tuple", "must be whole numbers, such as 7 15")
    text = re.sub(r"^the following arguments are required: (\w+).*$", r"`\1` must be given", text)
    return re.sub(r"^argument (?:--)?(\w+): ", r"`\1`: ", text)
