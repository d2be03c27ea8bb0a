"""The command `graphlth`, and `python -m graphlth`: which an interrupt ends in one line."""

import sys

from graphlth._exit import prepare


def main() -> int:
    """The exit code: as `graphlth.cli.main.main`."""
    prepare()
    from graphlth.cli import main as cli  # loads slowly

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
