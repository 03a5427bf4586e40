"""Where what was printed can be written over: there a bar moves, elsewhere lines follow each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import ProgressColumn, Task
from rich.text import Text

# A kernel starts the commands of a cell (``!hardgrad fit``) in a terminal of its own, whose output a notebook keeps:
# moving the cursor up there only repeats lines. Jupyter's servers set the first two, every kernel sets the last.
_NOTEBOOK = ("JPY_PARENT_PID", "JPY_SESSION_NAME")
_BACKEND = "module://matplotlib_inline"


class CutColumn(ProgressColumn):
    """Words beside a bar, the first to give way where a terminal is narrow: cut at the end, never on a second line.

    Args:
        field: the name of the field of a task that has the words.
    """

    def __init__(self, field: str) -> None:
        self.field = field
        super().__init__()

    def render(self, task: Task) -> Text:
        """Return the words."""
        return Text(str(task.fields[self.field]), no_wrap=True, overflow="ellipsis", end="")


def is_live(console: Console) -> bool:
    """Return whether a bar can move: on a terminal, not in a file, a pipe, a log or a notebook.

    That colors are wanted (``FORCE_COLOR``) makes no terminal of a log, and ``TERM=dumb`` is one that only prints.

    Args:
        console: where it would move.
    """
    if not console.is_terminal or console.is_dumb_terminal or console.is_jupyter or _in_notebook():
        return False
    isatty = getattr(console.file, "isatty", None)
    try:
        return isatty is not None and isatty()
    except ValueError:  # closed
        return False


@contextmanager
def waiting(console: Console, text: str) -> Iterator[Callable[[str], None]]:
    """Show what is waited for, where it can move; elsewhere nothing.

    Args:
        console: where to show it.
        text: what to begin with.

    Yields:
        What to call with another text.
    """
    if not is_live(console):
        yield lambda said: None
        return
    with console.status(text) as status:
        yield status.update


def _in_notebook() -> bool:
    return any(name in os.environ for name in _NOTEBOOK) or os.environ.get("MPLBACKEND", "").startswith(_BACKEND)
