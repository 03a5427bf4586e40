"""A model as a folder, whole or absent: written aside, then it takes its name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from hardgrad_lab.runs.aside import ALOFT, beside, prefix, strays
from hardgrad_lab.runs.atomic import naming, write_atomically, write_text
from hardgrad_lab.runs.model_files import CURE, DESCRIPTION, WEIGHTS, FolderError, plain, read_json

OLD = "tmp-old"  # the ending of a model that steps aside for another


def write_folder(
    path: Path, description: Mapping[str, Any], weights: bytes, pages: Mapping[str, str], *, force: bool
) -> None:
    """Write a model folder aside, then let it take its name.

    Args:
        path: the folder to make.
        description: for ``model.json``; the fingerprint of the weights is added.
        weights: of ``weights_of``.
        pages: further files of text, by name.
        force: replace a model folder that is there.

    Raises:
        FolderError: if something else than a model is there, or a model and not ``force``.
    """
    check_free(path, force=force)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_folder(path)
        aside = Path(tempfile.mkdtemp(prefix=prefix(path), dir=path.parent))
    ALOFT.add(aside)
    try:
        os.chmod(aside, 0o755)
        said = plain({**description, "weights_sha256": hashlib.sha256(weights).hexdigest()})
        with naming(path):
            write_atomically(aside / WEIGHTS, partial(_write, weights))
            write_text(aside / DESCRIPTION, json.dumps(said, indent=1, allow_nan=False) + "\n")
            for name, text in pages.items():
                write_text(aside / name, text)
            _take_name(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    finally:
        ALOFT.discard(aside)


def check_free(path: Path, *, force: bool) -> None:
    """Raise a FolderError if a model folder cannot be written at ``path``."""
    if not path.exists():
        return
    if not (path / DESCRIPTION).is_file():
        if path.is_dir() and not any(path.iterdir()):
            return
        raise FolderError(f"{path} is there and is no model folder; choose another --out")
    if not force:
        raise FolderError(f"{path} holds a model already; choose another --out, or replace it with --force")


def sweep_folder(path: Path, *, alone: bool = False) -> None:
    """Delete what killed writers of ``path`` left beside it; a model that one of them had put aside comes back.

    Args:
        path: the folder that was to be written.
        alone: nobody else writes it, since the caller holds its lock.
    """
    old = beside(path, OLD)
    if old.is_dir() and not path.exists():
        os.replace(old, path)  # the kill came between the two renames
    shutil.rmtree(old, ignore_errors=True)
    for stray in strays(path, alone=alone):
        shutil.rmtree(stray, ignore_errors=True)


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _take_name(aside: Path, path: Path) -> None:
    """Rename a finished folder. No system lets a folder replace a full one, and Windows none at all: so an old model
    steps aside first, under a name from which ``sweep_folder`` brings it back."""
    if not path.exists():
        os.replace(aside, path)
    elif not any(path.iterdir()):
        path.rmdir()
        os.replace(aside, path)
    else:
        old = beside(path, OLD)
        shutil.rmtree(old, ignore_errors=True)
        os.replace(path, old)
        try:
            os.replace(aside, path)
        except BaseException:
            os.replace(old, path)
            raise
        shutil.rmtree(old, ignore_errors=True)


def read_said(path: Path, formats: Sequence[str]) -> dict[str, Any]:
    """Return what the ``model.json`` of a whole folder says, if it is of one of these formats."""
    if not path.is_dir():
        raise FolderError(f"{path} is no model folder: {'it is a file' if path.exists() else 'it is not there'}")
    for name in (DESCRIPTION, WEIGHTS):
        if not (path / name).is_file():
            raise FolderError(f"{path} is no whole model folder: it lacks {name}; {CURE}")
    said = read_json(path / DESCRIPTION)
    if not isinstance(said, dict) or said.get("format") not in formats:
        got = said.get("format") if isinstance(said, dict) else type(said).__name__
        raise FolderError(
            f"{path / DESCRIPTION} must have the format {' or '.join(map(repr, formats))}, got {got!r}; {CURE}"
        )
    return said
