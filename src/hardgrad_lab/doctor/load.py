"""The user's own function, found by ``module:name`` and tried once, and what is wrong with it in words."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FUNCTION = "the hard function"


def load(place: str, what: str) -> Callable[..., Any]:
    """Return what ``module:name`` names; modules in the working folder are found too.

    Args:
        place: such as ``mypackage.mymodule:my_function``; the name may have dots, for a method say.
        what: what it is to be, for errors.

    Raises:
        ValueError: if there is no such module or name, the module fails, or it is nothing that can be called.
    """
    module_name, colon, name = place.partition(":")
    if not (colon and module_name and name):
        raise ValueError(f"{what} must be given as module:name, such as mypackage.mymodule:my_function, got {place!r}")
    found: Any = _module(module_name, place, what)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{what} {place}: {_called(found)} has no {part!r}; {_names_of(found)}")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"{what} {place} must be callable, got {type(found).__name__}; name a function of a tensor")
    return found  # type: ignore[no-any-return]  # getattr tells nothing of its type


def try_once(function: Callable[..., Any], x: Tensor, place: str, what: str = FUNCTION) -> Tensor:
    """Return what a function gives for a batch, after making sure that it is a batch of numbers.

    Args:
        function: the user's.
        x: shape (B, *).
        place: where it was found, for errors.
        what: what it is, for errors.

    Raises:
        ValueError: if it raises, returns no tensor, or loses the batch dimension. An error of its own is named with
            the line that it came from.
    """
    shape = f"x of shape {tuple(x.shape)}"
    try:
        with torch.no_grad():
            y = function(x.clone())
    except Exception as error:  # whatever the user's code may raise
        raise ValueError(f"{what} {place} raises for {shape}: {said(error)}") from error
    if not isinstance(y, Tensor):
        cure = "end it with torch.as_tensor(...)" if isinstance(y, np.ndarray | float | int) else "return one"
        raise ValueError(f"{what} {place} must return a tensor, got {type(y).__name__} for {shape}; {cure}")
    if y.ndim == 0 or y.shape[0] != x.shape[0]:
        raise ValueError(
            f"{what} {place} must keep the batch (first) dimension, got {shape} and an output of shape "
            f"{tuple(y.shape)}; let it work on each row by itself"
        )
    return y


def said(error: BaseException) -> str:
    """Return an error of the user's code: its type, its words, and the line it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    # The last line in a file that is the user's own, not torch's: what is deeper rarely says what to change.
    own = [frame for frame in frames[1:] if "site-packages" not in frame.filename and "<" not in frame.filename]
    where = f" (line {own[-1].lineno} of {Path(own[-1].filename).name}, in {own[-1].name})" if own else ""
    return f"{type(error).__name__}: {error}{where}"


def read_inputs(path: Path) -> Tensor:
    """Return the batch that a ``.npy`` or a ``.pt`` file holds, floating point.

    Raises:
        ValueError: if there is no such file, it cannot be read safely, or it holds no batch of numbers.
    """
    if not path.is_file():
        raise ValueError(f"--inputs: there is no file {path}")
    found: Any
    try:
        found = (
            torch.from_numpy(np.load(path, allow_pickle=False))
            if path.suffix == ".npy"
            else torch.load(path, weights_only=True, map_location="cpu")
        )
    except Exception as error:  # a foreign file fails in many ways
        raise ValueError(f"--inputs: {path} cannot be read: {error}; save it with numpy.save or torch.save") from None
    if not isinstance(found, Tensor) or found.ndim < 2 or found.numel() == 0:
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"--inputs: {path} must hold one tensor of shape (B, ...) with B at least 1, got {got}")
    if found.is_complex():
        raise ValueError(f"--inputs: {path} must hold real numbers, got {found.dtype}")
    return found if found.is_floating_point() else found.float()


def _module(name: str, place: str, what: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # behind all others: a file there must not take the place of one that Python needs
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise ValueError(
                f"{what} {place}: there is no module {missing!r}, neither in the working folder nor installed"
            ) from None
        raise ValueError(f"{what} {place}: {name} needs the module {missing!r}, which is not installed") from None
    except Exception as error:  # the user's module runs on import
        raise ValueError(f"{what} {place}: importing {name} raises {said(error)}") from error


def _called(found: object) -> str:
    return str(getattr(found, "__name__", type(found).__name__))


def _names_of(found: object) -> str:
    names = sorted(name for name in vars(found) if not name.startswith("_")) if hasattr(found, "__dict__") else []
    own = [name for name in names if callable(getattr(found, name, None))]
    return f"it has {', '.join(own[:8])}" + (", ..." if len(own) > 8 else "") if own else "it defines no function"
