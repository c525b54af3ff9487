"""The program: `cdi-prune`, or `python -m cdi_prune`."""

import sys

from . import _native


def main() -> None:
    """Runs the command line, and ends with its exit code."""
    sys.exit(_native.program(["cdi-prune", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
