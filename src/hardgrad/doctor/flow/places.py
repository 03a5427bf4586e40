"""Where a call stands: the innermost line that is neither torch's nor hardgrad's, and the module that ran it."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import sys
from types import CodeType, FrameType
from typing import NamedTuple

import torch
from torch import nn

import hardgrad

_TORCH, _OURS = (os.path.dirname(module.__file__ or "") + os.sep for module in (torch, hardgrad))
_HARD = os.path.join(_OURS, "hard", "")
# Wrappers through which torch calls the operation that the user wrote.
_THIN = tuple(os.path.join(_TORCH, name) for name in ("overrides.py", "_tensor.py", "functional.py", "autograd", "utils/_contextlib.py"))
_THIN += tuple(module.__file__ for module in (copy, contextlib, functools))
_RUNS: tuple[CodeType, ...] = (nn.Module._call_impl.__code__,)
_whose: dict[str, str] = {}


class Place(NamedTuple):
    """Where a call was made.

    Attributes:
        file: of the user's line; empty where there is none.
        line: its number.
        frame: the ``id`` of the user's call that it belongs to.
        module: the innermost module that ran, or None.
        inside: "torch" or "hardgrad" for a call that their own code decided on, "hard" for a hard function of ours.
    """

    file: str
    line: int
    frame: int
    module: nn.Module | None
    inside: str


def _owner(file: str) -> str:
    owner = _whose.get(file)
    if owner is None:
        owner = "" if file.startswith(_TORCH) else "user"
        owner = "thin" if file.startswith(_THIN) else owner or "torch"
        owner = ("hard" if file.startswith(_HARD) else "hardgrad") if file.startswith(_OURS) else owner
        owner = _whose[file] = "thin" if file == "<frozen importlib._bootstrap>" else owner
    return owner


def place_of(depth: int = 2) -> Place:
    """Return where the code stands that called, ``depth`` frames up."""
    frame: FrameType | None = sys._getframe(depth)
    module, inside = None, ""
    while frame is not None:
        code = frame.f_code
        owner = _owner(code.co_filename)
        if owner == "user":
            break
        if owner in ("hard", "hardgrad") or (owner == "torch" and not inside):
            inside = "hardgrad" if inside == "hardgrad" else owner
        if module is None and code in _RUNS:
            module = frame.f_locals["self"]
        frame = frame.f_back
    if frame is None:
        return Place("", 0, 0, module, inside)
    return Place(frame.f_code.co_filename, frame.f_lineno, id(frame), module or _module_above(frame), inside)


def _module_above(frame: FrameType | None) -> nn.Module | None:
    while frame is not None:
        if frame.f_code in _RUNS:
            module: nn.Module = frame.f_locals["self"]
            return module
        frame = frame.f_back
    return None


def line_in(frame_id: int, otherwise: Place, depth: int = 2) -> Place:
    """Return the line where a call of the user's stands now, by the ``id`` of its frame; else another place."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        if id(frame) == frame_id:
            return otherwise._replace(file=frame.f_code.co_filename, line=frame.f_lineno)
        frame = frame.f_back
    return otherwise


def frames_above(depth: int = 2) -> set[int]:
    """Return the ``id`` of every call under way."""
    frame: FrameType | None = sys._getframe(depth)
    found = set()
    while frame is not None:
        found.add(id(frame))
        frame = frame.f_back
    return found
