"""Where a call stands: the innermost line that is neither torch's nor hardgrad's, and the module that ran it."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NamedTuple

import torch
from torch import nn

from hardgrad import _check

_TORCH, _OURS = (os.path.dirname(module.__file__ or "") + os.sep for module in (torch, _check))
# Wrappers through which torch and Python call what the user wrote.
_THIN = tuple(_TORCH + name for name in ("overrides.py", "_tensor.py", "functional.py", "autograd", "utils/_context"))
_THIN += tuple(module.__file__ or "" for module in (contextlib, copy, functools))
_THIN += "<frozen", os.path.dirname(__file__), os.path.join(_OURS, "doctor", "_breaks.py")
_owners: dict[str, str] = {}  # of files
_FAR = 20  # functions above the user's line in which a module is looked for
_RUN = nn.Module._call_impl.__code__


class Place(NamedTuple):
    """Where a call was made: the user's line, and what runs there."""

    file: str  # empty where there is none
    line: int
    frame: int  # the ``id`` of the user's running function
    module: nn.Module | None  # the innermost that runs
    inside: str  # "torch" or "hardgrad" for what their own code decided, "hard" for a hard function of ours


def place_of(depth: int = 2) -> Place:
    """Return where the code stands that called, ``depth`` frames up."""
    module, inside, user, height = None, "", None, 0
    for frame in frames_above(depth + 1):
        if module is None and frame.f_code is _RUN:
            module = frame.f_locals["self"]
        owner = "" if user else _owner(frame.f_code.co_filename)
        if owner == "user":
            user = frame
        elif owner in ("hard", "hardgrad") or (owner == "torch" and not inside):
            inside = "hardgrad" if inside == "hardgrad" else owner
        height += bool(user)
        if user and (module is not None or height > _FAR):
            break
    if user is None:
        return Place("", 0, 0, module, inside)
    return Place(user.f_code.co_filename, user.f_lineno, id(user), module, inside)


def _owner(file: str) -> str:
    if file not in _owners:
        ours = ("hard" if file.startswith(_OURS + "hard" + os.sep) else "hardgrad") if file.startswith(_OURS) else ""
        _owners[file] = "thin" if file.startswith(_THIN) else ours or ("torch" if file.startswith(_TORCH) else "user")
    return _owners[file]


def frames_above(depth: int = 2) -> Iterator[FrameType]:
    """Yield the functions that are running, the innermost first."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        yield frame
        frame = frame.f_back


def now_at(begun: Place) -> Place:
    """Return the line that the function of a place stands at now."""
    for frame in frames_above():
        if id(frame) == begun.frame:
            return begun._replace(line=frame.f_lineno)
    return begun
