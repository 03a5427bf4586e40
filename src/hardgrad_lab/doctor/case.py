"""One entry of the bank: a real hard function, what its output is judged by, and where it is looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the doctor is asked.

    Args:
        name: of the record's file.
        title: in tables.
        about: one sentence: the function, the loss, the data.
        function: the hard function, or the objective of samples where ``inputs`` is a distribution.
        inputs: shape (B, *), or a distribution of batch shape (B,).
        objective: of the hard function's output, ``(*, B, *out) -> (*, B)``; None for a distribution.
        source: where the data comes from.
        warm_up: steps that a learned estimator trains for before it is measured.
        budget: the most evaluations of each row to spend on the truth; None for what the library takes.
        extra: candidates beside the default ones.
    """

    name: str
    title: str
    about: str
    function: Callable[[Tensor], Tensor]
    inputs: Tensor | Distribution
    objective: Callable[[Tensor], Tensor] | None = None
    source: str = "drawn"
    warm_up: int = 500
    budget: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def seeded(seed: int) -> torch.Generator:
    """Return a generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def titled(
    name: str,
    about: str,
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    loss: Callable[[Tensor], Tensor],
    budget: int = 200_000,
) -> Case:
    """Return the case of a hard function of a tensor that is called in tables what its record is."""
    return Case(name=name, title=name, about=about, function=function, inputs=x, objective=loss, budget=budget)
