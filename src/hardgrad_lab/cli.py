"""The ``hardgrad`` command. This module imports the standard library alone, so that it can say what is missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

NEEDS = ("cyclopts", "rich", "matplotlib", "jinja2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after ``hardgrad``; by default those the program was started with.

    Returns:
        The exit status: 0 when all went well.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        print(
            f"hardgrad: the command line needs {', '.join(missing)}; install with: pip install 'hardgrad[lab]'",
            file=sys.stderr,
        )
        return 1
    from hardgrad_lab.app import run

    return run(list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
