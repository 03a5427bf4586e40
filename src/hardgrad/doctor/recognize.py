"""Which noise makes a hard function's output a distribution that is known exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hardgrad.doctor.function import FunctionError
from hardgrad.montecarlo.discrete import one_hot_of

Hard = Callable[[Tensor], Tensor]


class Kind(NamedTuple):
    """What a hard function was recognized as.

    Args:
        noise: "gumbel" for the one-hot vector of the largest entry, "logistic" for a threshold at 0, else "gaussian".
        low: a threshold's output below 0.
        high: its output above 0.
    """

    noise: str
    low: float = 0.0
    high: float = 1.0


def recognize(hard: Hard, x: Tensor, generator: torch.Generator) -> Kind:
    """Return what a function is, from its outputs at some noisy copies of the inputs.

    Args:
        hard: ``(B, *) -> (B, *out)``.
        x: shape ``(B, *)``.
        generator: on the CPU; source of the noise.
    """
    seen = probed(hard, x, generator)
    probes, outputs = [probe for probe, _ in seen], [output for _, output in seen]
    if not seen or any(output.shape != x.shape for output in outputs):
        return Kind("gaussian")
    if x.ndim > 1 and x.shape[-1] > 1 and _all_equal(outputs, [one_hot_of(probe) for probe in probes]):
        return Kind("gumbel")
    asked, shown = torch.stack(probes), torch.stack(outputs)
    above, below = shown[asked > 0], shown[asked < 0]
    if above.numel() and below.numel():
        high, low = above[0].item(), below[0].item()
        if high != low and _all_equal(outputs, [torch.where(probe > 0, high, low) for probe in probes]):
            return Kind("logistic", low, high)
    return Kind("gaussian")


def probed(hard: Hard, x: Tensor, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Return noisy copies of the inputs and what a function makes of them; nothing if it does not take them all."""
    probes = _probes(x, generator)
    with torch.no_grad():
        try:
            return [(probe, hard(probe.clone())) for probe in probes]
        except FunctionError:  # far from the inputs: those that are known take any number
            return []


def spread(x: Tensor) -> float:
    """Return the standard deviation of all inputs, 1 where they are all equal."""
    deviation = x.to(torch.float64).std(correction=0).item()
    return deviation if deviation > 0 else 1.0


def _probes(x: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Noise alone, wide and close to zero, and around the inputs: a dead zone or another threshold would show."""
    scale = spread(x)
    noise = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x) for _ in range(6)]
    wide = [noise[0] * scale, noise[1] * scale * 3, x + noise[2] * scale, noise[3] * scale + scale]
    return [*wide, noise[4] * scale * 1e-3, noise[5] * scale * 1e-2]


def _all_equal(outputs: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(y, e.to(y)) for y, e in zip(outputs, expected, strict=True))
