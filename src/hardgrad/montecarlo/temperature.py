"""The temperature of a relaxation: a number, or one that cools while a model trains."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor, nn


class Annealed(nn.Module):
    r"""A temperature that falls (or rises) exponentially over training, kept in the ``state_dict``.

    .. math::
        \tau_t = \max(\tau_\text{end},\ \tau_\text{start}\, e^{-rt}), \qquad
        r = \frac{1}{\text{steps}} \log \frac{\tau_\text{start}}{\tau_\text{end}}

    Give it as ``temperature``, register it in the model so that a checkpoint keeps it, and call ``step()`` once per
    optimiser step. Compiled code reads it as a tensor: a step does not recompile.

    Args:
        start: temperature before the first step, above 0.
        end: temperature after ``steps`` steps and from then on, above 0.
        steps: how many steps that takes, at least 1.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli
        >>> tau = hg.montecarlo.Annealed(start=1.0, end=0.25, steps=2)
        >>> for _ in range(3):
        ...     loss = hg.gumbel(Bernoulli(logits=torch.zeros(5)), lambda b: b * 2, temperature=tau)
        ...     tau.step()
        ...     print(tau.temperature.item())
        0.5
        0.25
        0.25

    Source: Jang, Gu and Poole 2017 (arXiv 1611.01144), section 4: max(0.5, exp(-rt)) with r of 1e-5 or 1e-4, which is
    ``Annealed(1.0, 0.5, 69315)`` or ``Annealed(1.0, 0.5, 6931)``.
    """

    temperature: Tensor
    taken: Tensor

    def __init__(self, start: float, end: float, steps: int) -> None:
        super().__init__()
        for argument, value in (("start", start), ("end", end)):
            if not 0 < value < math.inf:
                raise ValueError(f"Annealed: {argument} must be above 0 and finite, got {value}; 1.0 to 0.5 is usual")
        if steps < 1:
            raise ValueError(f"Annealed: steps must be at least 1, got {steps}; for a fixed temperature give a number")
        self.start, self.end, self.steps = start, end, steps
        self.register_buffer("temperature", torch.tensor(start, dtype=torch.float32))
        # Counted, not multiplied up: rounding would pile up, and in a model cast to half precision a small step would
        # round to none. A cast leaves integers alone.
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def step(self) -> None:
        """Go one step down the schedule."""
        self.taken += 1
        share = (self.taken / self.steps).clamp(max=1)
        self.temperature.copy_(self.start * (self.end / self.start) ** share)

    def extra_repr(self) -> str:
        return f"start={self.start}, end={self.end}, steps={self.steps}"


Temperature: TypeAlias = float | Annealed


def temperature_of(temperature: Temperature, like: Tensor, estimator: str, least: float = 0.0) -> float | Tensor:
    """Return the temperature now, a number or a tensor of shape ().

    Args:
        temperature: what the user gave.
        like: whose dtype and device it must have.
        estimator: whose errors these are.
        least: the lowest allowed; 0 itself never is.

    Raises:
        ValueError: if it is not a number above 0 and at least ``least``.
    """
    rule = f"above {least:g}" if least == 0 else f"at least {least:g}"
    if isinstance(temperature, Annealed):
        lowest = min(temperature.start, temperature.end)
        if lowest < least:
            raise ValueError(f"{estimator}: temperature must stay {rule}, got an Annealed that reaches {lowest:g}")
        # A copy: a step taken between forward and backward must not write into what backward will read.
        return temperature.temperature.to(like, copy=True)
    if isinstance(temperature, Tensor):
        raise ValueError(
            f"{estimator}: temperature must be a number {rule} or a hardgrad.montecarlo.Annealed, got a tensor; "
            "call .item() on it"
        )
    if not (0 < temperature < math.inf and temperature >= least):
        raise ValueError(
            f"{estimator}: temperature must be {rule} and finite, got {temperature}; 1.0 is a start, and "
            "hardgrad.montecarlo.Annealed lowers it while training"
        )
    return temperature
