"""The smoothed objective: the one thing whose gradient every candidate of a diagnosis estimates.

A hard function has no useful derivative, but its average over noise has one. All candidates are compared on

    F(x) = E_v[ f(sample(x + sigma v)) ]

with v standard Gaussian, logistic or Gumbel noise, row by row of a batch. A layer is called at ``x + sigma v``. A Monte
Carlo estimator is handed the distribution of ``sample(x + sigma v)``, which torch has for each of the three: Normal;
Bernoulli of log-odds ``x / sigma``, as a threshold on logistic noise fires; OneHotCategorical of logits ``x / sigma``,
as the argmax of Gumbel noise falls. A given distribution is the same thing with its logits as x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad.doctor.recognise import Hard
from hardgrad.montecarlo.noise import gumbel_of, uniform
from hardgrad.montecarlo.objective import Objective

LARGEST = 2**22  # numbers handled at once: 16 MiB in single precision, times what a function makes of them
NOISES = ("gaussian", "logistic", "gumbel")


@dataclass
class Count:
    """How many rows estimators asked the objective for."""

    rows: int = 0


@dataclass(frozen=True)
class Smoothed:
    """A smoothed objective at one batch.

    Args:
        x: where its gradient is wanted, shape ``(*batch, *event)`` or ``(*batch, *units, n)``.
        batch_shape: what it has one number for.
        event_shape: of one sample, as ``f`` sees it.
        noise_kind: one of ``NOISES``.
        sigma: what the noise is multiplied by; a number, or for a given Normal its scale.
        distribution: from ``x``, any leading dimensions, to the distribution of its samples.
        sample: from ``x + sigma v`` to what ``f`` sees.
        f: ``(n, *batch, *event) -> (n, *batch)``.
        hard: the hard function, ``(n, *in) -> (n, *out)``; None for a given distribution.
        objective: ``(n, B, *out) -> (n, B)``; None for a given distribution.
        dtype: of samples as ``f`` sees them; that of x may be wider.
        about: what was smoothed, and how, in words.
        count: of rows that ``values`` was asked for.
    """

    x: Tensor
    batch_shape: torch.Size
    event_shape: torch.Size
    noise_kind: str
    sigma: float | Tensor
    distribution: Callable[[Tensor], Distribution]
    sample: Callable[[Tensor], Tensor]
    f: Objective
    hard: Hard | None
    objective: Objective | None
    dtype: torch.dtype
    about: str
    count: Count = field(default_factory=Count)

    @property
    def rows(self) -> int:
        return max(self.batch_shape.numel(), 1)

    @property
    def coordinates(self) -> int:
        """How many numbers of x make one row's gradient."""
        return self.x.shape[len(self.batch_shape) :].numel()

    def copies(self, n: int) -> Tensor:
        """Return x n times over as one larger batch: ``(n B, *)``, or ``(n, *)`` where x has no batch dimension."""
        copies = self.x.expand(n, *self.x.shape).clone()
        return copies.flatten(0, 1) if self.batch_shape else copies

    def noise(self, copies: int, generator: torch.Generator) -> Tensor:
        """Return sigma times the noise, shape ``(copies, *x.shape)``."""
        return self.sigma * _variates(self.noise_kind, (copies, *self.x.shape), self.x, generator)

    def values(self, b: Tensor) -> Tensor:
        """Return f at samples ``(*lead, copies of the first batch dimension, *batch, *event)``, one number a row.

        Whatever an estimator asks at once, the user's function sees one leading dimension before the batch.

        Raises:
            ValueError: if f's shape is wrong.
        """
        shape = b.shape[: b.ndim - len(self.event_shape)]
        given = b.reshape(-1, *self.batch_shape, *self.event_shape)
        given = given.to(self.dtype) if given.is_floating_point() else given
        self.count.rows += given.shape[0] * self.rows
        return _checked(self.f(given), given, len(self.event_shape), "function").reshape(shape)

    def outputs(self, y: Tensor) -> Tensor:
        """Return the objective at a layer's outputs ``(n B, *out)``, shape ``(n, B)``."""
        assert self.objective is not None
        given = y.unflatten(0, (-1, self.x.shape[0]))
        return _checked(self.objective(given), given, y.ndim - 1, "objective")


def _variates(noise: str, shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    wide = like.to(torch.promote_types(like.dtype, torch.float32))  # half precision knows few uniforms
    if noise == "gaussian":
        return torch.randn(shape, generator=generator, dtype=wide.dtype, device=wide.device).to(like.dtype)
    u = uniform(shape, wide, generator).clamp(min=torch.finfo(wide.dtype).eps / 4)
    return (gumbel_of(u) if noise == "gumbel" else u.log() - (-u).log1p()).to(like.dtype)


def _checked(value: object, given: Tensor, event_ndim: int, name: str) -> Tensor:
    wanted = given.shape[: given.ndim - event_ndim]
    if not isinstance(value, Tensor):
        raise ValueError(f"diagnose: {name} must return a tensor, got {type(value).__name__}; use torch.as_tensor")
    if value.shape != wanted:
        raise ValueError(
            f"diagnose: {name} must return one number per row, shape {tuple(wanted)} for {tuple(given.shape)}, got "
            f"{tuple(value.shape)}; let it broadcast over a leading dimension, or wrap it in hardgrad.montecarlo.each"
        )
    return value if value.is_floating_point() else value.to(torch.float32)
