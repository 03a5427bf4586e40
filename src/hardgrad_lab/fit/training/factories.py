"""The user's own code, by name: where ``module:factory`` would come from, and getting it. Importing is running."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from pathlib import Path
from typing import Any, cast

from torch import nn

Factory = Callable[[int, int], nn.Module]
_PLACE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def names_code(branch: object) -> bool:
    """Return whether a branch is one of ``module:factory``, whose making runs somebody's code."""
    return isinstance(branch, str) and ":" in branch


def origin(place: str) -> str:
    """Return where the module of ``module:factory`` would come from, in words. Nothing is imported to find out.

    Args:
        place: ``module:factory``; of a module in a package the package is looked for, whose code would run first.
    """
    top = place.partition(":")[0].partition(".")[0]
    if BuiltinImporter.find_spec(top) is not None or FrozenImporter.find_spec(top) is not None:
        return "Python itself"
    spec = PathFinder.find_spec(top, _searched())
    if spec is None:
        return "nowhere: there is no such module here"
    folders = [str(folder) for folder in spec.submodule_search_locations or []]
    return str(spec.origin or (folders or ["an unknown place"])[0])


def load_factory(place: str) -> Factory:
    """Return the function that ``module:factory`` names. Modules in the working folder are found, behind all others.

    Behind them, since a file there with the name of a module that Python or a package needs would take its place.

    Raises:
        ValueError: if there is no such module or function, or its module fails; the function raises one as well,
            whatever the code in it raises.
    """
    if not _PLACE.fullmatch(place):
        raise ValueError(f"branch must name a module and a function in it, as my_module:my_branch does, got {place!r}")
    module_name, _, name = place.partition(":")
    sys.path[:] = _searched()
    try:
        factory: Any = getattr(importlib.import_module(module_name), name)
    except ImportError as error:
        raise ValueError(f"branch must name a module that can be imported, got {place!r}: {error}") from None
    except AttributeError:
        raise ValueError(f"branch must name a function, got {place!r}: {module_name} has no {name!r}") from None
    except (Exception, SystemExit) as error:  # the module runs on import, and may do anything
        raise ValueError(f"branch {place!r} cannot be imported: {_said(error)}") from error
    if not callable(factory):
        raise ValueError(f"branch must name a function of (in_features, out_features), got {place!r}, which is none")

    def make(in_features: int, out_features: int) -> nn.Module:
        try:
            return cast(nn.Module, factory(in_features, out_features))
        except (Exception, SystemExit) as error:
            raise ValueError(f"branch {place!r} fails for ({in_features}, {out_features}): {_said(error)}") from error

    return make


def _searched() -> list[str]:
    """Return where modules are looked for: where Python looks, and then in the working folder."""
    here = str(Path.cwd())
    return sys.path if here in sys.path else [*sys.path, here]


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
