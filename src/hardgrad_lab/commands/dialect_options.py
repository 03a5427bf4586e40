"""How files of text are written: options that ``fit`` and ``predict`` share. What is not said is found, and said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from hardgrad_lab.fit.reading.dialect import Dialect

Sign = Parameter(allow_leading_hyphen=True)


@dataclass(frozen=True, kw_only=True)
class DialectOptions:
    """How files of text are written; what is not said is found."""

    columns: str | None = None
    """Names for the columns of files without a header, with commas."""
    delimiter: Annotated[str | None, Sign] = None
    """What is between columns: a sign, tab or space."""
    decimal: Annotated[str | None, Sign] = None
    """The decimal point: . or ,"""
    thousands: Annotated[str | None, Sign] = None
    """What parts groups of three digits: one of . , ' or a blank."""
    encoding: str | None = None
    """Of the text, such as utf-8, utf-16 or cp1252."""
    missing: Annotated[str | None, Sign] = None
    """Words that stand for a missing value, with commas, besides empty fields and NA."""

    def dialect(self, also_missing: tuple[str, ...] = ()) -> Dialect:
        """Return the same for the reader; ``also_missing`` are words that a fitted model knows."""
        from hardgrad_lab.fit.reading.dialect import Dialect

        words = names_in(self.missing) or []
        return Dialect(
            delimiter=self.delimiter,
            decimal=self.decimal,
            thousands=self.thousands,
            encoding=self.encoding,
            missing=tuple(dict.fromkeys([*words, *also_missing])),
        )


def names_in(listed: str | None) -> list[str] | None:
    """Return the names that an option lists, or None where it is not given."""
    return None if listed is None else [name.strip() for name in listed.split(",")]
