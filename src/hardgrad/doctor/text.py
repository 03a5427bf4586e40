"""A diagnosis as text: a plain table, and one for notebooks."""

from __future__ import annotations

import textwrap
from html import escape

from hardgrad.doctor.row import Row

LEGEND = (
    "bias: relative to the truth, and how significant; smallest: the bias that would have been found nine times in "
    "ten, at four standard errors. cosine: of the expected gradient, and of one. progress: what a "
    "step along one gradient gains, of what the true one would. signs, zeros: shares of coordinates. s/n: squared norm "
    "of the truth over the variance. us, kB: time and memory of one gradient of the batch. f: evaluations a row."
)


def wrapped(text: str) -> str:
    """Return a paragraph in lines of at most 120 characters."""
    return textwrap.fill(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


COLUMNS = (
    "candidate",
    "bias",
    "in s.e.",
    "smallest",
    "variance",
    "cosine",
    "of one",
    "progress",
    "signs",
    "zeros",
    "s/n",
    "us",
    "kB",
    "f",
)


def table(rows: tuple[Row, ...]) -> list[str]:
    """Return the lines of the table."""
    cells = [list(COLUMNS), *(_cells(row) for row in rows)]
    # An error runs on over the columns after the name.
    full = [line for line in cells if len(line) == len(COLUMNS)]
    widths = [max(len(line[i]) for line in full) for i in range(len(COLUMNS))]
    widths[0] = max(len(line[0]) for line in cells)
    return ["  ".join(_padded(line, widths)).rstrip() for line in cells]


def _padded(line: list[str], widths: list[int]) -> list[str]:
    return [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=False))]


def _cells(row: Row) -> list[str]:
    if row.error is not None:
        return [row.name, f"refused: {row.error.splitlines()[0]}"]
    noiseless = row.signal_to_noise is None and row.variance is not None
    cosine = _number(row.cosine, ".3f")
    if row.cosine is not None and (row.cosine_error or 0) > 1e-9:
        cosine += f" +- {row.cosine_error:.1g}"
    return [
        row.name,
        _number(row.bias, ".3f"),
        _number(row.bias_z, ".1f"),
        _number(row.smallest_bias, ".2g"),
        _number(row.variance, ".3g"),
        "no gradient" if row.flat else cosine,
        _number(row.cosine_of_one, ".3f"),
        _number(row.progress, ".2g"),
        _number(row.sign_agreement, ".0%"),
        _number(row.zeros, ".0%"),
        "noiseless" if noiseless and not row.flat else _number(row.signal_to_noise, ".2g"),
        _number(None if row.seconds is None else row.seconds * 1e6, ".0f"),
        _number(None if row.bytes_kept is None else row.bytes_kept / 1024, ".0f"),
        _number(row.evaluations, ".3g"),
    ]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def as_html(title: str, rows: tuple[Row, ...], words: list[str]) -> str:
    """Return the table and some paragraphs, for a notebook."""
    lines = [_cells(row) for row in rows]
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    body = "".join(f"<tr>{_html_cells(line)}</tr>" for line in lines)
    below = "".join(f"<p>{escape(text)}</p>" for text in words)
    return f"<p><b>{escape(title)}</b></p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _html_cells(line: list[str]) -> str:
    cells = [f"<td>{escape(cell)}</td>" for cell in line]
    if len(line) < len(COLUMNS):  # an error runs on over the columns after the name
        cells[-1] = f'<td colspan="{len(COLUMNS) - 1}">{escape(line[-1])}</td>'
    return "".join(cells)
