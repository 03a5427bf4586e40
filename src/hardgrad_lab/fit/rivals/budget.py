"""Which rivals a switch is compared with, and on how many rows: by sizes alone, never by the clock.

So the same table gives the same rivals on every machine, idle or crowded, in one sitting or in ten.
"""

from __future__ import annotations

from hardgrad_lab.fit.training.branches import SEQUENCES

TIMES = (
    16  # a rival of the default eight ranges has eight branches' parameters at work in every row, a branch of theirs
)
FREE = 10**12  # multiply-adds that no rival is denied: minutes on one core
BACK = 3  # a step's multiply-adds over those of its forward pass
LEAST = 5_000  # rows that a solved rival gets however wide they are
WIDEST = 2_000  # columns of a row that a line, or a tree of lines, is solved for
# Numbers (rows times columns) that a solved rival may look at; a line's cost grows with the columns once more.
NUMBERS = {"ridge-tree": 2_000_000, "boosting": 8_000_000, "logistic": 8_000_000, "table": 200_000}
ROWS = {
    "ridge-tree": 200_000,
    "boosting": 100_000,
    "logistic": 100_000,
    "table": 200_000,
}  # at most, however narrow they are
CHOOSING = 10_000  # held-out rows that choose a number of trees: each tree asks all of them
LINE = 2 * 10**11  # multiply-adds of a line: rows times squared columns


def multiply_adds(branch: str, parameters: int, window: int) -> int:
    """Return the multiply-adds of one row's forward pass, about: each weight once, or once for each row of a window."""
    return parameters * (window if branch in SEQUENCES else 1)


def too_dear(rival: int, switch: int, rows_seen: int) -> str | None:
    """Return why a rival is not trained, None if it is.

    Args:
        rival: multiply-adds of one row's forward pass.
        switch: likewise, of the branch that a row takes.
        rows_seen: updates times rows of a batch, equal for both.
    """
    whole = BACK * rival * rows_seen
    if rival <= TIMES * switch or whole <= FREE:
        return None
    return (
        f"its training would take {whole:.1e} multiply-adds, {rival / switch:.0f} times the switch's; a rival gets "
        f"{TIMES} times, or {FREE:.0e}"
    )


def rows_for(name: str, rows: int, columns: int) -> int:
    """Return on how many of the training rows a rival is solved that is not trained step by step."""
    if name == "ridge":
        return min(rows, max(LEAST, LINE // columns**2))
    if name not in NUMBERS:
        return rows
    return min(rows, ROWS[name], max(LEAST, NUMBERS[name] // columns))


def too_wide(name: str, columns: int) -> str | None:
    """Return why a rival is not solved for rows of so many columns, None if it is."""
    if name not in ("ridge", "ridge-tree", "boosting") or columns <= WIDEST:
        return None
    return f"its rows would have {columns:,} columns; at most {WIDEST:,} are solved for"
