"""The files of a model folder, read with care: JSON as plain values, and weights whose header is looked at first."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"
CURE = "fit the model again"
MOST_BYTES = 256 << 20  # of a model.json: its curve grows with epochs times ranges
MOST_HEADER = 64 << 20  # bytes: a hundred for each tensor
NAMES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.bool: "BOOL"}
SIZES = {"F32": 4, "F64": 8, "I64": 8, "BOOL": 1}
Header = Mapping[str, Mapping[str, Any]]


class FolderError(ValueError):
    """A model folder that cannot be written or read; the message names the folder, the fault and the cure."""


def read_json(path: Path) -> Any:
    """Return what a file of JSON says; NaN and infinities, which JSON does not know, are refused.

    Raises:
        FolderError: if it is none, or too large or nested too deeply to be one of ours.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path} is cut short or damaged ({' '.join(str(error).split())}); {CURE}") from None


def plain(value: Any) -> Any:
    """Return a value as plain JSON can say it: infinities as words, NaN as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def read_header(path: Path) -> Header:
    """Return what a safetensors file says of its tensors.

    Raises:
        FolderError: if it is cut short or damaged.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > min(MOST_HEADER, path.stat().st_size):
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(size))
        if not isinstance(header, dict) or not all(isinstance(each, dict) for each in header.values()):
            raise ValueError("its header is no list of tensors")
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path} is cut short or damaged ({error}); {CURE}") from None
    return {name: each for name, each in header.items() if name != "__metadata__"}


def read_weights(path: Path, said: Mapping[str, Any], finite: str = "") -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name; those whose name begins so are finite, and the file is the
    one that the description is of.

    Raises:
        FolderError: if it is cut short, damaged, another file, or holds what is no number.
    """
    content = path.read_bytes()
    try:
        weights: dict[str, torch.Tensor] = load(content)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise FolderError(f"{path} is cut short or damaged ({error}); {CURE}") from None
    if hashlib.sha256(content).hexdigest() != said.get("weights_sha256"):
        raise FolderError(f"{path} is not the file that model.json was written with; {CURE}")
    for name, tensor in weights.items():
        if tensor.is_floating_point() and name.startswith(finite) and not bool(torch.isfinite(tensor).all()):
            raise FolderError(f"{path}: {name} holds what is no finite number; {CURE}")
    return weights


def check_tensors(path: Path, header: Header, needed: Mapping[str, torch.Tensor]) -> None:
    """Make sure that a file of weights holds tensors of these names, shapes and types, and nothing else.

    Raises:
        FolderError: if it holds others.
    """
    if apart := sorted(needed.keys() ^ header.keys()):
        where = "is missing" if apart[0] in needed else "is not of the model"
        raise unfit(path, f"{apart[0]} {where}")
    for name, tensor in needed.items():
        kind, shape = header[name].get("dtype"), header[name].get("shape")
        if kind != NAMES.get(tensor.dtype) or shape != list(tensor.shape):
            raise unfit(path, f"{name} is {kind} {shape}, not {NAMES.get(tensor.dtype)} {list(tensor.shape)}")
    content = sum(SIZES[NAMES[tensor.dtype]] * math.prod(tensor.shape) for tensor in needed.values())
    if path.stat().st_size > content + MOST_HEADER:
        raise unfit(path, f"{path.stat().st_size:,} bytes for {content:,}")


def unfit(path: Path, reason: str) -> FolderError:
    """Return the error of a file whose tensors are not those of its model."""
    return FolderError(f"{path} does not fit model.json ({reason}); {CURE}")


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")
