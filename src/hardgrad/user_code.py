"""Functions that a user hands over, called so that what they write in place changes no numbers but their own.

A NumPy program writes past torch's version counter, so nothing can be noticed afterwards: such a function gets a copy
of its input, and a copy is kept of what it returned. A function known to write nowhere, and to return memory that it
does not keep, costs neither.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor

from hardgrad._torch_state import exporting

TensorFunction = Callable[[Tensor], Tensor]
TensorFunctions = Callable[..., Tensor]  # of one tensor, or of several

_OWN = ("hardgrad.hard", "hardgrad.soft", *("hardgrad.surrogate." + file for file in ("levels", "spiking", "twins")))
_TORCH = {
    *(torch.sign, torch.sgn, torch.round, torch.floor, torch.ceil, torch.trunc, torch.frac),
    *(torch.zeros_like, torch.ones_like, torch.softmax, torch.sigmoid, torch.tanh, torch.relu, torch.clamp),
}


def name_of(function: object) -> str:
    """Return the name a reader knows a callable by."""
    inner = getattr(function, "func", function)  # functools.partial
    return getattr(inner, "__name__", type(inner).__name__)


def writes_nowhere(function: Callable[..., Any]) -> bool:
    """Whether a function is known to leave its input alone and to return memory that it does not keep.

    Args:
        function: any callable, or a ``functools.partial`` of one. What is not known is said to write.
    """
    while isinstance(function, partial):
        if "out" in function.keywords or not isinstance(function.keywords.get("method", ""), str):
            return False  # or a method of the user's own, which may do anything
        function = function.func
    if not isinstance(function, FunctionType):
        return isinstance(function, BuiltinFunctionType) and function in _TORCH
    # A function wrapped by functools.wraps bears the module of what it wraps.
    return (function.__module__ or "").startswith(_OWN) and not hasattr(function, "__wrapped__")


def private(function: Callable[..., Any], x: Tensor) -> Tensor:
    """Return ``x`` for ``function`` to take: a copy, gradient and all, if it might write into it."""
    return x if writes_nowhere(function) else x.clone()


def value_of(function: Callable[..., Any], *inputs: Tensor) -> Any:
    """Return ``function(*inputs)`` without a gradient, in memory of its own.

    Args:
        function: the user's, so what it returns may be anything; only a tensor is copied.
        inputs: any shapes; ``function`` gets tensors that require no gradient, so that ``x.numpy()`` works in it.
    """
    if exporting():  # what is written down is the program alone, with no word of gradients
        return function(*(private(function, x) for x in inputs))
    known, fixed = writes_nowhere(function), [x.detach() for x in inputs]
    if known and not isinstance(function, partial):  # there is no tensor of its own that a gradient could begin at
        return function(*fixed)
    with torch.no_grad():
        value: Any = function(*(fixed if known else [x.clone() for x in fixed]))
        return value.clone() if isinstance(value, Tensor) and not known else value
