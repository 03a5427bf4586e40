"""The user's own function, found by ``module:name`` and tried once, and what is wrong with it in words."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import hardgrad as hg

FUNCTION = "the hard function"
_OURS = Path(hg.__file__).parent
_NOT_THEIRS = ("site-packages", "<", str(_OURS) + os.sep, str(_OURS.parent / "hardgrad_lab") + os.sep)


def load(place: str, what: str) -> Callable[..., Any]:
    """Return what ``module:name`` or ``path/to/file.py:name`` names; modules in the working folder are found too.

    Args:
        place: such as ``mypackage.mymodule:my_function``; the name may have dots, for a method say.
        what: what it is to be, for errors.

    Raises:
        ValueError: if there is no such module or name, the module fails, or it is nothing that can be called.
    """
    module_name, colon, name = place.rpartition(":")  # a path may have a colon of its own: C:\\folder\\file.py
    if not (colon and module_name and name):
        raise ValueError(
            f"{what} must be given as module:name, such as mypackage.mymodule:my_function, or as path/to/file.py:name, "
            f"got {place!r}"
        )
    found: Any = (_file if module_name.endswith(".py") else _module)(module_name, place, what)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{what} {place}: {_called(found)} has no {part!r}; {_names_of(found)}{_home(found)}")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"{what} {place} must be callable, got {type(found).__name__}; name a function of a tensor")
    return found  # type: ignore[no-any-return]  # getattr tells nothing of its type


def instance(found: Any, what: str) -> Any:
    """Return a module's instance where its class was named, which users do first; anything else as it is.

    Raises:
        ValueError: if the class needs arguments.
    """
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        return found
    try:
        return found()
    except Exception as error:  # of the user's class, hence of any kind
        raise ValueError(
            f"{what} is the class {found.__name__}, which cannot be made without arguments ({said(error)}); name an "
            "instance"
        ) from None


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
    except (Exception, SystemExit) as error:  # whatever the user's code may raise
        raise ValueError(f"{what} {place} raises for {shape}: {said(error)}") from error
    if not isinstance(y, Tensor):
        arrays = (np.ndarray, np.generic, float, int, list)
        cure = "end it with torch.as_tensor(...)" if isinstance(y, arrays) else "return one"
        raise ValueError(f"{what} {place} must return a tensor, got {type(y).__name__} for {shape}; {cure}")
    if y.ndim == 0 or y.shape[0] != x.shape[0]:
        raise ValueError(
            f"{what} {place} must keep the batch (first) dimension, got {shape} and an output of shape "
            f"{tuple(y.shape)}; let it work on each row by itself"
        )
    return y


def said(error: BaseException) -> str:
    """Return an error of the user's code: its type, its words, and the line it came from."""
    if isinstance(error, hg.doctor.FunctionError) and error.__cause__ is not None:
        cause = error.__cause__
        return str(error).removesuffix(f"{type(cause).__name__}: {cause}") + said(cause)
    frames = traceback.extract_tb(error.__traceback__)
    # The last line in a file that is the user's own, not torch's: what is deeper rarely says what to change.
    own = [frame for frame in frames[1:] if not any(part in frame.filename for part in _NOT_THEIRS)]
    where = f" (line {own[-1].lineno} of {Path(own[-1].filename).name}, in {own[-1].name})" if own else ""
    return f"{type(error).__name__}: {error}{where}"


def read_inputs(path: Path) -> Tensor:
    """Return the batch that a ``.npy`` or a ``.pt`` file holds, floating point.

    Raises:
        ValueError: if there is no such file, it cannot be read safely, or it holds no batch of numbers.
    """
    found = read_file(path)
    if not isinstance(found, Tensor) or found.ndim < 2 or found.numel() == 0:
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"--inputs: {path} must hold one tensor of shape (B, ...) with B at least 1, got {got}")
    if found.is_complex():
        raise ValueError(f"--inputs: {path} must hold real numbers, got {found.dtype}")
    return found if found.is_floating_point() else found.float()


def read_file(path: Path) -> Any:
    """Return what a ``.npy`` or a ``.pt`` file holds: tensors, and what is made of them.

    Raises:
        ValueError: if there is no such file, or it cannot be read safely.
    """
    if not path.is_file():
        raise ValueError(f"--inputs: there is no file {path}")
    try:
        if path.suffix == ".npy":
            return torch.from_numpy(np.load(path, allow_pickle=False))
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a foreign file fails in many ways
        raise ValueError(f"--inputs: {path} cannot be read: {error}; save it with numpy.save or torch.save") from None


def _find_beside(folder: Path) -> None:
    """Let modules of a folder be found, after those that are installed: a file random.py must not hide Python's own."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _file(path: str, place: str, what: str) -> Any:
    """The module that a file holds."""
    file = Path(path).resolve()
    if not file.is_file():
        raise ValueError(f"{what} {place}: there is no file {path}")
    if known := [one for one in list(sys.modules.values()) if getattr(one, "__file__", None) == str(file)]:
        return known[0]  # its function and its objective share what the file keeps
    _find_beside(file.parent)
    name = file.stem if file.stem not in sys.modules else f"{file.stem}_of_{file.parent.name}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None  # of a name that ends with .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where its dataclasses look for it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's file runs on import
        del sys.modules[name]
        raise ValueError(f"{what} {place}: running {path} raises {said(error)}") from error
    return module


def _module(name: str, place: str, what: str) -> Any:
    _find_beside(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise ValueError(
                f"{what} {place}: there is no module {missing!r}, neither in the working folder nor installed"
            ) from None
        raise ValueError(f"{what} {place}: {name} needs the module {missing!r}, which is not installed") from None
    except (Exception, SystemExit) as error:  # the user's module runs on import
        raise ValueError(f"{what} {place}: importing {name} raises {said(error)}") from error


def _home(found: object) -> str:
    """Where a module was found, if it is not beside the user: an installed one of the same name comes first."""
    home = Path(getattr(found, "__file__", None) or Path.cwd() / "x")
    if Path.cwd() in home.parents:
        return ""
    return f"; it is {home}; for a file of yours with that name, give {home.name}:..."


def _called(found: object) -> str:
    return str(getattr(found, "__name__", type(found).__name__))


def _names_of(found: object) -> str:
    names = sorted(name for name in vars(found) if not name.startswith("_")) if hasattr(found, "__dict__") else []
    own = [name for name in names if callable(getattr(found, name, None))]
    return f"it has {', '.join(own[:8])}" + (", ..." if len(own) > 8 else "") if own else "it defines no function"
