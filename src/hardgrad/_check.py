"""Arguments held against their rule: each error names the function, the argument, the rule, the value and the cure.

A wrong type is a ``TypeError``, a value out of range a ``ValueError``. All are called alike: ``owner``, the public name
that was called, then the argument's name and value, then the rule; ``cure`` ends the sentence. What converts or narrows
returns the value. Here is what is general; a room's own rules are in its own file.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor, nn


def tensor(owner: str, name: str, value: object) -> Tensor:
    """Return a tensor, or raise."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{owner}: {name} must be a tensor, got {kind_of(value)}; wrap it in torch.as_tensor")
    return value


def floating(owner: str, name: str, value: object) -> Tensor:
    """Return a tensor of floating point numbers, or raise."""
    x = tensor(owner, name, value)
    if not x.is_floating_point():
        raise ValueError(f"{owner}: {name} must be floating point, got {x.dtype}; cast it, with .float() say")
    return x


def whole(owner: str, name: str, value: Any, least: int | None = None, most: int | None = None, cure: str = "") -> int:
    """Return a whole number within bounds as an int, or raise; NumPy's and torch's are taken, True and 2.0 are not."""
    # Before operator.index: a size of a compiled or exported graph is a SymInt.
    if isinstance(value, bool) or not isinstance(value, int | torch.SymInt):
        rule = "a whole number" if least is None and most is None else f"a whole number, {_bounds(least, most)}"
        value = _index_of(owner, name, value, rule, cure or "give an int")
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError(f"{owner}: {name} must be {_bounds(least, most)}, got {value}{'; ' + cure if cure else ''}")
    return cast(int, value)


def _index_of(owner: str, name: str, value: Any, rule: str, cure: str) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except (TypeError, RuntimeError):
        pass
    raise TypeError(f"{owner}: {name} must be {rule}, got {kind_of(value)}; {cure}") from None


def real(owner: str, name: str, value: Any, cure: str = "give a float") -> float:
    """Return a number that is not NaN as a float, or raise; infinities and what float() takes pass, but no text."""
    symbol = isinstance(value, float | torch.SymFloat)
    number = cast(float, value) if symbol else _float_of(owner, name, value, cure)
    if number != number:
        raise ValueError(f"{owner}: {name} must be a number, got nan; nothing compares with that")
    return number


def _float_of(owner: str, name: str, value: Any, cure: str) -> float:
    """Of integers, fractions, NumPy's numbers and tensors of one entry."""
    try:
        if not isinstance(value, bool | str | bytes):
            return float(value)
    except OverflowError:
        raise ValueError(f"{owner}: {name} must be a number that a float can hold, got {value}") from None
    except (TypeError, ValueError, RuntimeError):
        pass
    raise TypeError(f"{owner}: {name} must be a number, got {kind_of(value)}; {cure}") from None


def number(
    owner: str,
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    cure: str = "",
) -> float:
    """Return a finite number within bounds, or raise."""
    if isinstance(value, bool) or not isinstance(value, int | float | Real):
        raise TypeError(f"{owner}: {name} must be a number, got {kind_of(value)}; {cure or 'give a float'}")
    given = cast(float, value)
    inside = (
        math.isfinite(given)
        and (least is None or given >= least)
        and (above is None or given > above)
        and (most is None or given <= most)
        and (below is None or given < below)
    )
    if not inside:
        rule = _bounds(least, most, above, below)
        rule += "" if rule == "finite" or math.isfinite(given) else " and finite"
        raise ValueError(f"{owner}: {name} must be {rule}, got {value}{'; ' + cure if cure else ''}")
    return given


def one_of(owner: str, name: str, value: object, allowed: Sequence[str], cure: str = "") -> None:
    """Raise unless ``value`` is one of the words allowed."""
    if not (isinstance(value, str) and value in allowed):
        words = ", ".join(map(repr, allowed))
        raise ValueError(f"{owner}: {name} must be one of {words}, got {value!r}{'; ' + cure if cure else ''}")


def flag(owner: str, name: str, value: object) -> bool:
    """Return True or False, or raise."""
    if not isinstance(value, bool):
        raise TypeError(f"{owner}: {name} must be True or False, got {kind_of(value)}")
    return value


def function(owner: str, name: str, value: object, signature: str = "Tensor -> Tensor", cure: str = "") -> None:
    """Raise unless ``value`` can be called."""
    if not callable(value):
        end = "; " + cure if cure else ""
        raise TypeError(f"{owner}: {name} must be a function {signature}, got {kind_of(value)}{end}")


def module(owner: str, name: str, value: object, cure: str = "") -> None:
    """Raise unless ``value`` is a module."""
    if not isinstance(value, nn.Module):
        raise TypeError(f"{owner}: {name} must be an nn.Module, got {kind_of(value)}{'; ' + cure if cure else ''}")


def generator(owner: str, value: object, device: torch.device | None = None) -> torch.Generator | None:
    """Return a source of random numbers or None, or raise; ``device`` is where the draws are."""
    if value is None:
        return None
    if not isinstance(value, torch.Generator):
        raise TypeError(
            f"{owner}: generator must be a torch.Generator or None, got {kind_of(value)}; a seed makes one with "
            "torch.Generator().manual_seed(seed)"
        )
    if device is not None and device.type not in (value.device.type, "meta"):
        raise ValueError(
            f"{owner}: generator must be on {device}, where the draws are, got one on {value.device}; build it with "
            f"torch.Generator({device.type!r})"
        )
    return value


def instance(owner: str, name: str, value: Any, kinds: type | tuple[type, ...], cure: str = "") -> None:
    """Raise unless ``value`` is of one of some classes."""
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise TypeError(f"{owner}: {name} must be a {names}, got {kind_of(value)}{'; ' + cure if cure else ''}")


def returned(owner: str, name: str, value: object) -> None:
    """Raise unless what a user's function returned is one tensor."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{owner}: {name} must return a tensor, got {kind_of(value)}; return one tensor alone")


def _bounds(least: float | None, most: float | None, above: float | None = None, below: float | None = None) -> str:
    parts = [f"at least {least:g}"] if least is not None else []
    parts += [f"above {above:g}"] if above is not None else []
    parts += [f"at most {most:g}"] if most is not None else []
    parts += [f"below {below:g}"] if below is not None else []
    return " and ".join(parts) or "finite"


def kind_of(value: object) -> str:
    """Return what a value is, for the end of a sentence."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and {value.dtype}"
    if isinstance(value, bool | int | float | str):
        return f"{type(value).__name__} {value!r}"
    return type(value).__name__
