"""What is wrong with a data set: something is missing, or something is damaged."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used; the message names the file, the fault and the cure."""


class MissingDataError(DataError):
    """A file that is not where it was looked for."""


class DamagedDataError(DataError):
    """A file that is not what it should be."""
