"""The weights of a model folder: their file's header is held against what the model needs before they are read."""

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

from hardgrad_lab.fit.models.description import CURE, FolderError, ends
from hardgrad_lab.fit.training.network import Architecture, build_switch

MOST_HEADER = 64 << 20  # bytes: a hundred for each tensor
NAMES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.bool: "BOOL"}
SIZES = {"F32": 4, "F64": 8, "I64": 8, "BOOL": 1}
Header = Mapping[str, Mapping[str, Any]]


def check_weights(path: Path, said: Mapping[str, Any]) -> None:
    """Make sure that a file holds the weights of a model of named branches, without making room for any.

    Args:
        path: of the safetensors file.
        said: the checked description.

    Raises:
        FolderError: if it holds other tensors, in name, shape or type.
    """
    header = read_header(path)
    drawn = said["architecture"]
    parts = (len(drawn["points"]) - 1) * max(1, len(drawn["hidden"]))
    if parts > len(header):  # a list of a million ranges would take minutes to build
        raise _unfit(path, f"{parts:,} layers there, {len(header):,} tensors here")
    made = Architecture(**{**drawn, "points": ends(drawn["points"]), "hidden": tuple(drawn["hidden"])})
    with torch.device("meta"):  # shapes without memory
        needed = build_switch(made).state_dict()
    if apart := sorted(needed.keys() ^ header.keys()):
        where = "is missing" if apart[0] in needed else "is not of the model"
        raise _unfit(path, f"{apart[0]} {where}")
    for name, tensor in needed.items():
        kind, shape = header[name].get("dtype"), header[name].get("shape")
        if kind != NAMES.get(tensor.dtype) or shape != list(tensor.shape):
            raise _unfit(path, f"{name} is {kind} {shape}, not {NAMES.get(tensor.dtype)} {list(tensor.shape)}")
    content = sum(SIZES[NAMES[tensor.dtype]] * math.prod(tensor.shape) for tensor in needed.values())
    if path.stat().st_size > content + MOST_HEADER:
        raise _unfit(path, f"{path.stat().st_size:,} bytes for {content:,}")


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


def read_weights(path: Path, said: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name; they are finite, and the file is the one that the description is of.

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
        if name.startswith("branches.") and not bool(torch.isfinite(tensor).all()):
            raise FolderError(f"{path}: {name} holds what is no finite number; {CURE}")
    return weights


def _unfit(path: Path, reason: str) -> FolderError:
    return FolderError(f"{path} does not fit model.json ({reason}); {CURE}")
