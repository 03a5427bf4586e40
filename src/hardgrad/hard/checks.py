"""What the hard functions refuse: every mistake named with the function, the argument, the rule and the cure."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def floating(function: str, x: Tensor, name: str = "x") -> None:
    """Refuse what is not a tensor of one of the four floating dtypes."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{function}: {name} must be a tensor, got {type(x).__name__}; give torch.as_tensor({name})")
    if x.dtype not in _DTYPES:
        raise TypeError(
            f"{function}: {name} must be of dtype float64, float32, bfloat16 or float16, got {x.dtype}; "
            f"give {name}.float()"
        )


def dimensions(function: str, x: Tensor, least: int, shape: str, name: str = "x") -> None:
    """Refuse a tensor of fewer dimensions than ``least``; ``shape`` says what they are."""
    if x.ndim < least:
        raise ValueError(
            f"{function}: {name} must have shape {shape}, got {tuple(x.shape)}; {name}.unsqueeze(...) adds a dimension"
        )


def size(function: str, x: Tensor, dim: int) -> int:
    """Return how many entries x has along ``dim``; a tensor without dimensions counts as a vector of one entry."""
    whole(function, "dim", dim)
    ndim = max(x.ndim, 1)
    if not -ndim <= dim < ndim:
        raise ValueError(
            f"{function}: dim must be from {-ndim} to {ndim - 1} for x of shape {tuple(x.shape)}, got {dim}"
        )
    return x.shape[dim] if x.ndim else 1


def whole(function: str, name: str, value: int) -> int:
    """Return an integer; a bool or a number with a point is a mistake, also where its value is whole."""
    if not isinstance(value, bool):
        if isinstance(value, int | torch.SymInt):
            return value
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{function}: {name} must be an int, got {value!r} of type {type(value).__name__}")


def real(function: str, name: str, value: float) -> float:
    """Return a number that is not NaN, as a float; infinities pass."""
    if not isinstance(value, float | torch.SymFloat):
        value = _to_float(function, name, value)
    if value != value:
        raise ValueError(f"{function}: {name} must be a number, got nan; nothing compares with that")
    return value


def _to_float(function: str, name: str, value: Any) -> float:
    """Of integers, fractions, NumPy's numbers and tensors of one entry."""
    try:
        if not isinstance(value, bool | str):
            return float(value)
    except OverflowError:
        raise ValueError(f"{function}: {name} must be a number that a float can hold, got {value}") from None
    except (TypeError, ValueError, RuntimeError):
        pass
    raise TypeError(f"{function}: {name} must be a number, got {value!r} of type {type(value).__name__}")


def beside(function: str, x: Tensor, other: Tensor, name: str) -> None:
    """Refuse a second tensor that is not on x's device."""
    if other.device != x.device:
        raise ValueError(
            f"{function}: {name} must be on x's device {x.device}, got {other.device}; give {name}.to(x.device)"
        )


def broadcast(function: str, x: Tensor, other: Tensor, name: str) -> None:
    """Refuse a tensor whose shape does not broadcast with x's."""
    pairs = zip(reversed(x.shape), reversed(other.shape), strict=False)
    if not all(a == b or a == 1 or b == 1 for a, b in pairs):
        raise ValueError(
            f"{function}: {name} must broadcast with x of shape {tuple(x.shape)}, got shape {tuple(other.shape)}"
        )


def generator(function: str, value: torch.Generator | None, like: Tensor) -> None:
    """Refuse a source of randomness that is none, such as a seed, or that draws on another device."""
    if value is None:
        return
    if not isinstance(value, torch.Generator):
        raise TypeError(
            f"{function}: generator must be a torch.Generator or None, got {value!r}; "
            "give torch.Generator().manual_seed(seed)"
        )
    if value.device.type != like.device.type and like.device.type != "meta":
        raise ValueError(
            f"{function}: generator must be on {like.device}, where p is, got one on {value.device}; "
            f"give torch.Generator({like.device.type!r})"
        )
