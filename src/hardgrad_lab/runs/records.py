"""Finding the records of an experiment, and putting replications together."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardgrad_lab.runs.record import Record, RecordError, config_hash

SOURCE = "SOURCE"  # a file of one line in a folder of records that are not the user's own


class NoRecordsError(ValueError):
    """There is nothing to report on; the message says which command makes records."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """All records under a folder, of whatever experiment.

    Args:
        records: with the files they were read from, in the order of the file names.
        warnings: one for each file that could not be read.
    """

    records: Sequence[tuple[Path, Record]]
    warnings: Sequence[str]

    def of(self, experiment: str, fault: Callable[[Record], str | None]) -> tuple[list[Record], list[str]]:
        """Return the records of one experiment, and one warning for each that cannot be reported on.

        Args:
            experiment: such as ``sorting``.
            fault: says what a record of the experiment lacks to be reported on; None if nothing.
        """
        records, warnings = [], []
        for path, record in self.records:
            if record.experiment != experiment:
                continue
            if (lacking := _fault(record, fault)) is None:
                records.append(record)
            else:
                warnings.append(f"skipped: {path} {lacking}")
        return records, warnings


def _fault(record: Record, fault: Callable[[Record], str | None]) -> str | None:
    try:
        return fault(record)
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        return f"holds what no run writes ({type(error).__name__}: {error})"


@contextmanager
def reporting(results: Path) -> Iterator[None]:
    """Say of what goes wrong in drawing a report that a record is at fault: a damaged one can be of any shape.

    Args:
        results: folder of the records.

    Raises:
        ValueError: in place of what was raised.
    """
    try:
        yield
    except (TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(
            f"a record in {results} holds what no run writes ({type(error).__name__}: {error}), and no report can be "
            "made of it; take out those that are not of this program"
        ) from error


def read_records(results: Path) -> Found:
    """Read every record under a folder, once.

    Args:
        results: searched with all its subfolders for ``*.json``.
    """
    records, warnings = [], []
    for path in sorted(results.rglob("*.json")):
        try:
            records.append((path, Record.load(path)))
        except RecordError as error:
            warnings += [] if _is_no_run(path) else [f"skipped: {error}"]
    return Found(records=records, warnings=warnings)


def whose(results: Path) -> str:
    """Return whose rows a folder holds, as a line: what its file ``SOURCE`` says, or that they are the user's own."""
    for folder in (results, *results.parents):
        if (folder / SOURCE).is_file():
            return f"Rows: {(folder / SOURCE).read_text(encoding='utf-8').strip()} ({results})."
    return f"Rows: your own runs ({results})."


def _is_no_run(path: Path) -> bool:
    """Return whether a file is a whole one of another of this program's formats, such as the doctor's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    found = str(content.get("format", "")) if isinstance(content, dict) else ""
    return found.startswith("hardgrad-") and not found.startswith("hardgrad-record-")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ in their seed only.

    Args:
        config: what they share, under the names that the reader of the records gives to its values.
        records: at least one, one a seed.
    """

    config: dict[str, Any]
    records: Sequence[Record]

    @property
    def n(self) -> int:
        """Return how many runs there are."""
        return len(self.records)

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the runs."""
        return statistics.fmean(record.metrics[metric] for record in self.records)

    def spread(self, metric: str) -> float | None:
        """Return the sample standard deviation (n - 1) of a metric over the runs; None for a single run."""
        return statistics.stdev(record.metrics[metric] for record in self.records) if self.n > 1 else None


def group_by_config(
    records: Sequence[Record], read: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
) -> list[Group]:
    """Put the replications of each configuration together; a seed found twice counts once, the later start.

    Args:
        records: of one experiment.
        read: gives the values of a configuration the names that they have in a group.
    """
    found: dict[str, dict[int, Record]] = {}
    for record in sorted(records, key=lambda record: record.started):
        found.setdefault(config_hash(record.config), {})[record.seed] = record
    return [
        Group(config=read(next(iter(seeds.values())).config), records=[seeds[seed] for seed in sorted(seeds)])
        for seeds in found.values()
    ]
