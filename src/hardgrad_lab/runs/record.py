"""The record of one finished run: a plain JSON file that says what was run, where, for how long and what came out.

A run is known by its name, made of the experiment, its main options, the seed and a hash of the whole
configuration. A run whose record exists is done, so any engine may retry it. This module does not import torch:
reports read records on machines that train nothing.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from hardgrad_lab.runs.atomic import write_text

FORMAT = "hardgrad-record-1"
MOST_BYTES = 64 << 20  # of a record; the longest we know has a thousandth of it
MOST = 1 << 1023  # a whole number that a float can hold
DEEP = 8  # levels of a configuration


class RecordError(ValueError):
    """A record file that cannot be read; the message names the file and what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Which run: everything that decides its outcome, apart from the machine.

    Args:
        experiment: such as ``sorting``.
        label: the readable part of the name, such as ``signum-dense-t5-fast``.
        config: the whole configuration, plain JSON values.
        seed: the run's seed.
    """

    experiment: str
    label: str
    config: dict[str, Any]
    seed: int

    @property
    def name(self) -> str:
        """Return the name that the run's files carry; equal runs have equal names."""
        return f"{self.experiment}-{self.label}-s{self.seed}-{config_hash(self.config)}"

    def record_path(self, results: Path) -> Path:
        """Return where the record belongs under ``results``."""
        return results / f"{self.name}.json"

    def checkpoint_path(self, results: Path) -> Path:
        """Return where the checkpoint belongs under ``results``."""
        return results / "checkpoints" / f"{self.name}.pt"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one finished run leaves behind.

    Args:
        experiment: such as ``sorting``.
        config: the whole configuration.
        seed: the run's seed; runs that differ only in it are replications.
        metrics: the final figures, by name.
        curve: points over the run, each with ``samples``, ``seconds``, ``loss``, ``penalty`` and ``accuracy``.
        samples: training samples seen.
        seconds: wall-clock seconds of training and evaluation, over all its parts if it was resumed, without those in
            which the process was stopped.
        started: when it began, ISO 8601 in UTC.
        environment: versions, device, threads, commit.
    """

    experiment: str
    config: dict[str, Any]
    seed: int
    metrics: dict[str, float]
    curve: list[dict[str, float]]
    samples: int
    seconds: float
    started: str
    environment: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the record to ``path``, whole or not at all."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1, allow_nan=True) + "\n"
        write_text(path, text)

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read a record.

        Args:
            path: a file that ``save`` wrote.

        Returns:
            The record.

        Raises:
            RecordError: if the file is not JSON, not a record, or lacks a field.
        """
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RecordError(f"{path} is not readable JSON ({error})") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise RecordError(f"{path} is not a record of this program (it lacks format {FORMAT!r})")
        names = {field.name for field in fields(cls)}
        missing = sorted(names - content.keys())
        if missing:
            raise RecordError(f"{path} lacks {', '.join(missing)}")
        record = cls(**{name: content[name] for name in names})
        record._check(path)
        return record

    def _check(self, path: Path) -> None:
        """Refuse a value whose type would only fail later, far from the file's name."""
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise RecordError(f"{path}: {name} has the wrong type, {type(value).__name__}")
        if not all(isinstance(point, dict) for point in self.curve):
            raise RecordError(f"{path}: curve must hold points, which are names with numbers")
        numbers = [*self.metrics.values(), *(number for point in self.curve for number in point.values())]
        if not all(isinstance(number, float) or (isinstance(number, int) and abs(number) < MOST) for number in numbers):
            raise RecordError(f"{path}: metrics and curve must hold numbers only")
        versions = self.environment.get("versions", {})
        if not isinstance(versions, dict):
            raise RecordError(f"{path}: environment.versions has the wrong type, {type(versions).__name__}")
        # A data set's folder, such as photos/free, is a path by right; no file is named after it.
        naming = {name: value for name, value in self.config.items() if name != "folder"}
        if not are_names([self.experiment, naming]):
            raise RecordError(f"{path}: experiment and config must hold no path: files are named after them")


_KINDS: dict[str, Any] = {
    "experiment": str,
    "config": dict,
    "seed": int,
    "metrics": dict,
    "curve": list,
    "samples": int,
    "seconds": int | float,
    "started": str,
    "environment": dict,
}


def are_names(value: Any, depth: int = 0) -> bool:
    """Return whether all words in a value of JSON can be part of a file's name."""
    if isinstance(value, str):
        return value.isprintable() and not set(value) & set("/\\")
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return depth < DEEP and all(are_names(each, depth + 1) for each in value) if isinstance(value, list) else True


def config_hash(config: Mapping[str, Any]) -> str:
    """Return eight hexadecimal digits that change when any value of ``config`` does."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]


def describe_environment(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reader needs to judge the numbers of a run.

    Args:
        machine: the device, the threads, whether the loss was compiled.

    Returns:
        A dict of plain JSON values. ``commit`` is there only for a git checkout of this program.
    """
    versions = {"python": platform.python_version(), "torch": _version("torch"), "hardgrad": _version("hardgrad")}
    return {"versions": versions, **machine, **_commit()}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> dict[str, Any]:
    """Return this checkout's commit and whether tracked files were changed since; nothing when installed."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # An installed copy may lie inside somebody else's repository: only a tracked file proves that it is ours.
        git("ls-files", "--error-unmatch", here.name)
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {}
