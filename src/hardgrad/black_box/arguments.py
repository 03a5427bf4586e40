"""What a box is built with and called on, held against its rules."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import has_numbers

_BOX = "BlackBox"


def check_program(fn: object, factory: object, out: object) -> None:
    """Refuse all but one program and what may turn its results into arrays."""
    if (fn is None) == (factory is None):
        got = "neither" if fn is None else "both"
        raise ValueError(f"{_BOX}: give fn, the program, or factory, a function that makes it, got {got}")
    for name, value in (("fn", fn), ("factory", factory), ("out", out)):
        if value is not None:
            _check.function(_BOX, name, value, "of arrays" if name == "fn" else "")


def checked_workers(workers: Any, batched: bool) -> int:
    """Return a number of processes that suits what each call of the program gets."""
    count = _check.whole(_BOX, "workers", workers, least=0)
    if batched and count > 1:
        raise ValueError(
            f"{_BOX}: workers must be 0 or 1 with batched=True, where a batch is one call, got {count}; "
            "batched=False hands out rows"
        )
    if count and os.name != "posix":
        raise ValueError(f"{_BOX}: workers must be 0 on this system, got {count}; processes need Linux or macOS")
    return count


def checked_timeout(timeout: Any, workers: int) -> float | None:
    """Return a time limit that can be kept, or None."""
    if timeout is None:
        return None
    seconds = _check.number(_BOX, "timeout", timeout, above=0)
    if not workers:
        raise ValueError(
            f"{_BOX}: timeout must be None without workers, got {timeout:g}; workers=1 runs the program in "
            "a process that can be ended"
        )
    return seconds


def checked_bounds(low: Any, high: Any) -> tuple[Any, Any]:
    """Return the bounds of the inputs as float64, each a tensor, None, or a tuple of those for several inputs."""
    bounds = _bound("low", low), _bound("high", high)
    lows, highs = (bound if isinstance(bound, tuple) else (bound,) for bound in bounds)
    if None not in bounds and len(lows) != len(highs):
        raise ValueError(f"{_BOX}: low and high must be of as many inputs, got {len(lows)} and {len(highs)}")
    for least, most in zip(lows, highs, strict=False):
        if least is not None and most is not None and not _below(least, most):
            raise ValueError(
                f"{_BOX}: low must be below high everywhere, in shapes that broadcast, got {least.tolist()} and "
                f"{most.tolist()}"
            )
    return bounds


def _bound(name: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(_bound(name, each) for each in value)
    bound = _float64(value)
    if bound is None or bool(bound.isnan().any()):
        raise TypeError(
            f"{_BOX}: {name} must be a number, a list or a tensor that fits an input's row, without nan, or a tuple of "
            f"those and None, one for each input, got {_check.kind_of(value)}"
        )
    return bound


def _float64(value: Any) -> Tensor | None:
    try:
        real = torch.as_tensor(value).dtype not in (torch.bool, torch.complex64, torch.complex128)
        return torch.as_tensor(value, dtype=torch.float64).detach().cpu().clone() if real else None
    except (TypeError, ValueError, RuntimeError):
        return None


def _below(least: Tensor, most: Tensor) -> bool:
    try:
        return bool((least < most).all())
    except RuntimeError:
        return False


def check_inputs(label: str, inputs: tuple[Tensor, ...]) -> None:
    """Refuse what has no rows of numbers, or not as many as the first input: nothing is broadcast."""
    for i, x in enumerate(inputs):
        name = "x" if i == 0 else f"input {i + 1}"
        _check.tensor(label, name, x)
        if x.ndim == 0:
            raise ValueError(
                f"{label}: {name} must have the batch for its first dimension, got shape (); give {name}.unsqueeze(0)"
            )
        if x.shape[0] != inputs[0].shape[0]:
            raise ValueError(
                f"{label}: {name} must have as many rows as x, {inputs[0].shape[0]}, got shape "
                f"{tuple(x.shape)}; one row for all is expand({inputs[0].shape[0]}, ...)"
            )
        if x.layout is not torch.strided or not has_numbers(x):
            raise ValueError(
                f"{label}: {name} must hold numbers that a program can read, got {x.layout} on "
                f"{x.device}; give x.to_dense() of a sparse one, while a meta or fake tensor is a shape alone"
            )
