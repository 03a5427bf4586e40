"""A thing by its name, ``module:attribute``, so that a table can name what is imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(name: str) -> Any:
    """Return what a name stands for.

    Args:
        name: of a module and of what it defines, such as ``package.module:function``.

    Example:
        >>> load("math:floor")(1.5)
        1
    """
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
