"""What ``perturb`` is built with and called on, held against its rules; ``owner`` begins the sentence."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad.surrogate.row_numbers import Numbers, PerInput, for_each


def check_noise(owner: str, directions: str, noise: str | None, antithetic: bool, samples: int | None) -> None:
    """Refuse directions, noise and pairs that do not go together."""
    _check.one_of(owner, "directions", directions, ("random", "coordinates"))
    if noise is not None:
        _check.one_of(owner, "noise", noise, ("normal",), "None steps by scale exactly")
        if directions != "random":
            raise ValueError(f"{owner}: noise needs directions='random', got {directions!r}; leave out one")
    elif not antithetic:
        raise ValueError(f"{owner}: antithetic=False needs noise='normal', got None; without noise steps are in pairs")
    if not antithetic and (samples or 1) < 2:
        raise ValueError(
            f"{owner}: antithetic=False needs samples of at least 2, got {samples}; each is held against the others"
        )


def check_inputs(owner: str, inputs: tuple[Tensor, ...], scale: PerInput) -> list[Numbers]:
    """Return the scale of each input, of which those that have one must be able to move."""
    for i, x in enumerate(inputs):
        if _check.tensor(owner, f"input {i}", x).ndim == 0 or len(x) != len(inputs[0]):
            raise ValueError(
                f"{owner}: input {i} must begin with the batch, as input 0 does, got shapes "
                f"{[tuple(x.shape) for x in inputs]}; expand it to the batch"
            )
    scales = for_each(owner, "scale", scale, len(inputs))
    for i, each in enumerate(scales):
        if each is not None:
            _check.floating(owner, f"input {i}", inputs[i])
    return scales


def check_gradients(owner: str, f: Any, inputs: tuple[Tensor, ...], moved: list[int]) -> None:
    """Refuse what wants a gradient and would get none."""
    for i, x in enumerate(inputs):
        if x.requires_grad and i not in moved:
            raise ValueError(
                f"{owner}: input {i} requires gradients and has scale None, so it would get none; give a scale for it, "
                "or its .detach()"
            )
    if isinstance(f, nn.Module) and any(p.requires_grad for p in f.parameters()):
        raise ValueError(
            f"{owner}: f has parameters that require gradients and get none here; freeze them with "
            ".requires_grad_(False), or train f without perturb"
        )


def check_window(owner: str, at: Tensor, low: Tensor | None, high: Tensor | None, gap: Tensor, eps: float) -> None:
    """Refuse inputs outside of the bounds, but for a bound's own rounding, and steps that are none."""
    outside = torch.zeros_like(gap, dtype=torch.bool) if low is None else at < low - eps * low.abs()
    outside = outside if high is None else outside | (at > high + eps * high.abs())
    for wrong, rule in (
        (outside, "must be within low and high, where f is defined; squash or clamp it before"),
        ((gap == 0) | (gap == inf), "must be moved by scale, within low and high and in its dtype; widen them"),
    ):
        if wrong.any():
            row, number = wrong.nonzero()[0].tolist()
            raise ValueError(f"{owner}: number {number} of row {row} {rule}, got {at[row, number].item()}")


def check_answer(owner: Callable[[], str], answer: Tensor, rows: int, before: list[Tensor]) -> None:
    """Refuse what is no row for each row, or of another shape than what f gave before."""
    if answer.shape[:1] != (rows,):
        raise ValueError(
            f"{owner()}: f must return a row for each of the {rows} rows of its input, got shape "
            f"{tuple(answer.shape)}; leave the mean over the batch to the loss"
        )
    if before and answer.shape[1:] != before[0].shape[1:]:
        raise ValueError(
            f"{owner()}: f must return the same shape beside x as at x, got {tuple(answer.shape[1:])} and "
            f"{tuple(before[0].shape[1:])} a row; pad to one length"
        )
