"""What a run left beside its record because a record cannot hold it: curves as arrays, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from hardgrad_lab.runs.record import Record, Run
from hardgrad_lab.runs.records import Group

Arrays = dict[str, np.ndarray[Any, Any]]


def run_name(record: Record) -> str:
    """Return the name that the files of a described experiment's run carry."""
    label = "{task}-{contestant}-{budget}".format(**record.config)
    return Run(experiment=record.experiment, label=label, config=record.config, seed=record.seed).name


def kept_files(results: Path, group: Group, folder: Literal["curves", "pictures"]) -> dict[int, Path]:
    """Return the files that the runs of a group left, by seed; a run that left none has none.

    Args:
        results: folder of the records, searched with its subfolders.
        group: of records.
        folder: the subfolder that the runs wrote into.
    """
    names = {run_name(record): record.seed for record in group.records}
    found = {path.stem: path for path in sorted(results.rglob(f"{folder}/*"))}
    return {seed: found[name] for name, seed in names.items() if name in found}


def read_arrays(path: Path) -> Arrays:
    """Return the arrays of a file of curves.

    Raises:
        ValueError: if it is no such file, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # numpy raises what its unzipping and parsing happen to raise
        raise ValueError(f"{path} is not a readable file of arrays ({error})") from None
