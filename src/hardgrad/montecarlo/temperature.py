"""The temperature of a relaxation: a number, or one that cools while a model trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad.montecarlo.discrete import Discrete
from hardgrad.montecarlo.unrounded import keep_dtype


class Annealed(nn.Module):
    r"""A temperature that falls (or rises) exponentially over training, kept in the ``state_dict``.

    .. math::
        \tau_t = \max(\tau_\text{end},\ \tau_\text{start}\, e^{-rt}), \qquad
        r = \frac{1}{\text{steps}} \log \frac{\tau_\text{start}}{\tau_\text{end}}

    Give it as ``temperature``, register it in the model so that a checkpoint keeps it, and call ``step()`` once per
    optimizer step. Compiled code reads it as a tensor: a step does not recompile.

    Args:
        start: temperature before the first step, above 0.
        end: temperature after ``steps`` steps and from then on, above 0.
        steps: how many steps that takes, at least 1.

    Raises:
        TypeError: if an argument is no number, or ``steps`` no whole one.
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
            check_temperature("Annealed", argument, value, "1.0 to 0.5 is usual")
        _check.whole("Annealed", "steps", steps, least=1)
        self.start, self.end, self.steps = start, end, steps
        self.register_buffer("temperature", torch.tensor(start, dtype=torch.float32))
        # Counted, not multiplied up: rounding would pile up.
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def step(self) -> None:
        """Go one step down the schedule."""
        self.taken += 1
        share = (self.taken / self.steps).clamp(max=1)
        self.temperature.copy_(self.start * (self.end / self.start) ** share)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Annealed:
        return cast(Annealed, super()._apply(keep_dtype(fn), recurse))

    def extra_repr(self) -> str:
        return f"start={self.start}, end={self.end}, steps={self.steps}"


Temperature: TypeAlias = float | Annealed


def check_temperature(owner: str, name: str, value: object, cure: str, least: float = 0.0) -> None:
    """Raise unless a value is a number above 0, at least ``least``, that single precision can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        _check.number(owner, name, value, cure=cure)
    rule = "above 0" if least == 0 else f"at least {least:g}"
    number, single = cast(float, value), torch.finfo(torch.float32)
    if not (0 < number < math.inf and number >= least):
        raise ValueError(f"{owner}: {name} must be {rule} and finite, got {number}; {cure}")
    if not single.tiny <= number <= single.max:
        raise ValueError(
            f"{owner}: {name} must be {rule} and finite in single precision, {single.tiny:.2g} to {single.max:.2g}, "
            f"got {number}; {cure}"
        )


def temperature_of(
    temperature: Temperature, q: Discrete, least: float = 0.0, name: str = "temperature"
) -> float | Tensor:
    """Return the temperature now, a number or a tensor of shape ().

    Args:
        temperature: what the user gave.
        q: the distribution, whose logits' dtype and device it must have.
        least: the lowest allowed; 0 itself never is.
        name: of the argument.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is not above 0 and at least ``least``.
    """
    estimator, rule = q.estimator, f"above {least:g}" if least == 0 else f"at least {least:g}"
    if isinstance(temperature, Annealed):
        lowest = min(temperature.start, temperature.end)
        if lowest < least:
            raise ValueError(f"{estimator}: {name} must stay {rule}, got an Annealed that reaches {lowest:g}")
        # A copy: a step taken between forward and backward must not write into what backward will read.
        return temperature.temperature.to(q.logits, copy=True)
    if isinstance(temperature, Tensor):
        raise ValueError(
            f"{estimator}: {name} must be a number {rule} or a hardgrad.montecarlo.Annealed, got a tensor; "
            "call .item() on it"
        )
    cure = "1.0 is a start, and hardgrad.montecarlo.Annealed lowers it while training"
    check_temperature(estimator, name, temperature, cure, least)
    return temperature
