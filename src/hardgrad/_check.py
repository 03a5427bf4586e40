"""Arguments held against their rule: each error names the function, the argument, the rule, the value and the cure.

A wrong type is a ``TypeError``, a value out of range a ``ValueError``; ``owner`` is the public name that was called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def tensor(owner: str, name: str, value: object) -> None:
    """Raise unless ``value`` is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{owner}: {name} must be a tensor, got {_kind(value)}; wrap it in torch.as_tensor")


def floating(owner: str, name: str, value: object) -> None:
    """Raise unless ``value`` is a tensor of floating point numbers."""
    tensor(owner, name, value)
    if isinstance(value, Tensor) and not value.is_floating_point():
        raise ValueError(f"{owner}: {name} must be floating point, got {value.dtype}; cast it, with .float() say")


def whole(owner: str, name: str, value: object, least: int | None = None, most: int | None = None) -> None:
    """Raise unless ``value`` is a whole number within bounds."""
    # A size of a compiled or exported graph is a SymInt.
    if isinstance(value, bool) or not isinstance(value, int | torch.SymInt):
        raise TypeError(f"{owner}: {name} must be a whole number, got {_kind(value)}; give an int")
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError(f"{owner}: {name} must be {_bounds(least, most)}, got {value}")


def number(
    owner: str,
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    cure: str = "",
) -> None:
    """Raise unless ``value`` is a finite number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{owner}: {name} must be a number, got {_kind(value)}; {cure or 'give a float'}")
    inside = (
        math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if not inside:
        rule = _bounds(least, most, above, below)
        raise ValueError(f"{owner}: {name} must be {rule}, got {value}{'; ' + cure if cure else ''}")


def one_of(owner: str, name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise unless ``value`` is one of the words allowed."""
    if not (isinstance(value, str) and value in allowed):
        raise ValueError(f"{owner}: {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def flag(owner: str, name: str, value: object) -> None:
    """Raise unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{owner}: {name} must be True or False, got {_kind(value)}")


def function(owner: str, name: str, value: object, signature: str = "Tensor -> Tensor") -> None:
    """Raise unless ``value`` can be called."""
    if not callable(value):
        raise TypeError(f"{owner}: {name} must be a function {signature}, got {_kind(value)}")


def module(owner: str, name: str, value: object, cure: str = "") -> None:
    """Raise unless ``value`` is a module."""
    if not isinstance(value, nn.Module):
        raise TypeError(f"{owner}: {name} must be an nn.Module, got {_kind(value)}{'; ' + cure if cure else ''}")


def generator(owner: str, value: object, device: torch.device) -> None:
    """Raise unless ``value`` is None or a source of random numbers on a device."""
    if value is None:
        return
    if not isinstance(value, torch.Generator):
        raise TypeError(f"{owner}: generator must be a torch.Generator or None, got {_kind(value)}")
    if value.device.type != device.type and device.type != "meta":
        raise ValueError(
            f"{owner}: generator must be on {device}, got one on {value.device}; build it with "
            f"torch.Generator({device.type!r})"
        )


def instance(owner: str, name: str, value: Any, kinds: type | tuple[type, ...], cure: str = "") -> None:
    """Raise unless ``value`` is of one of some classes."""
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise TypeError(f"{owner}: {name} must be a {names}, got {_kind(value)}{'; ' + cure if cure else ''}")


def returned(owner: str, name: str, value: object) -> None:
    """Raise unless what a user's function returned is one tensor."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{owner}: {name} must return a tensor, got {_kind(value)}; return one tensor alone")


def _bounds(least: float | None, most: float | None, above: float | None = None, below: float | None = None) -> str:
    parts = [f"at least {least:g}"] if least is not None else []
    parts += [f"above {above:g}"] if above is not None else []
    parts += [f"at most {most:g}"] if most is not None else []
    parts += [f"below {below:g}"] if below is not None else []
    return " and ".join(parts) or "finite"


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
    if isinstance(value, bool | int | float | str):
        return f"{type(value).__name__} {value!r}"
    return type(value).__name__
