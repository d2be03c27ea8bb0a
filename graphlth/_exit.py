"""How graphlth's own processes end."""

import atexit
import gc
import sys


def hasten() -> None:
    """End this process without a last search for garbage: in all of torch it takes half a second.

    Triton counts what is not found as leaked, and says so.
    """

    @atexit.register
    def keep() -> None:
        if "triton" not in sys.modules:
            gc.freeze()
