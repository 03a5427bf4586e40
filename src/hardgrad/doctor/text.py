"""A diagnosis as a table: its columns, and what the cells say."""

from __future__ import annotations

from hardgrad._shown.pictures import bar
from hardgrad._shown.table import Table
from hardgrad.doctor.row import Row

LEGEND = (
    "bias: relative to the truth, and how significant; smallest: the bias that would have been found nine times in "
    "ten, at four standard errors. cosine: of the expected gradient, and of one. progress: what a "
    "step along one gradient gains, of what the true one would. signs, zeros: shares of coordinates. s/n: squared norm "
    "of the truth over the variance. us, kB: time and memory of one gradient of the batch. f: evaluations a row."
)


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


def table(rows: tuple[Row, ...]) -> Table:
    """Return the table; an error runs on over the columns after the name."""
    progress = [bar(row.progress) for row in rows]
    return Table(COLUMNS, [_cells(row) for row in rows], {COLUMNS.index("progress"): progress})


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
