"""``python -m hardgrad_lab`` is ``hardgrad``, where the command is not on the path."""

import sys

from hardgrad_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
