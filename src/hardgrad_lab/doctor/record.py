"""What one examination leaves behind: a JSON file with the whole diagnosis and where it was made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import hardgrad as hg
from hardgrad_lab.runs.atomic import write_text
from hardgrad_lab.runs.record import RecordError, are_names

FORMAT = "hardgrad-doctor-1"
Diagnosis: TypeAlias = hg.Diagnosis  # what reports read of a record
Row: TypeAlias = hg.doctor.Row
Progress: TypeAlias = hg.doctor.Progress  # and what a command hears of one
FunctionError: TypeAlias = hg.doctor.FunctionError
BY_HAND = hg.doctor.Stopped.reason


@dataclass(frozen=True, kw_only=True)
class Examination:
    """A diagnosis and what a reader needs to judge it.

    Args:
        name: of files.
        title: in tables.
        about: what was examined, in words.
        source: where the inputs come from.
        options: what was asked for, plain JSON values.
        diagnosis: what was found.
        seconds: that it took.
        started: when it began, ISO 8601 in UTC.
        environment: versions, device, threads, commit.
    """

    name: str
    title: str
    about: str
    source: str
    options: dict[str, Any]
    diagnosis: Diagnosis
    seconds: float
    started: str
    environment: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the record to ``path``, whole or not at all."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found["diagnosis"] = json.loads(self.diagnosis.to_json())
        write_text(path, json.dumps({"format": FORMAT, **found}, indent=None) + "\n")

    @classmethod
    def load(cls, path: Path) -> Examination:
        """Read a record that ``save`` wrote.

        Raises:
            RecordError: if the file is not JSON, not such a record, or lacks a field.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RecordError(f"{path} is not readable JSON ({error})") from None
        if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
            raise RecordError(f"{path} is not a record of the doctor (it lacks format {FORMAT!r})")
        if not are_names(found.get("name")):
            raise RecordError(f"{path}: name must hold no path, got {found['name']!r}: files are named after it")
        try:
            return cls(**{**found, "diagnosis": Diagnosis.from_json(json.dumps(found["diagnosis"]))})
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"{path} is a record of another shape ({error}); examine again") from None


def load_all(folder: Path, order: Sequence[str] = ()) -> dict[str, Examination]:
    """Return every examination in a folder, by its name.

    Args:
        folder: of the records.
        order: names to put first, in this order; the others follow by the alphabet.

    Raises:
        RecordError: if one cannot be read.
    """
    paths = [path for path in sorted(folder.glob("*.json")) if FORMAT in path.read_text(encoding="utf-8")[:64]]
    found = {each.name: each for each in map(Examination.load, paths)}
    return {name: found[name] for name in dict.fromkeys([*order, *found]) if name in found}
