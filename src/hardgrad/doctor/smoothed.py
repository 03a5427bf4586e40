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

from hardgrad._torch_state import in_transform
from hardgrad.doctor.pace import CallTime
from hardgrad.doctor.recognize import Hard
from hardgrad.montecarlo.noise import gumbel_of
from hardgrad.montecarlo.objective import Objective

LARGEST = 2**22  # numbers handled at once: 16 MiB in single precision, times what a function makes of them
NOISES = ("gaussian", "logistic", "gumbel")


@dataclass
class Count:
    """How many rows estimators asked the objective for, and at how many its value was no finite number."""

    rows: int = 0
    bad: int = 0


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
        bare: whether ``f`` takes a single sample ``(*batch, *event)`` as it is, which is how estimators hand it over.
        of_noise: whether ``sample(x + sigma v)`` has the law of ``distribution``; else it is but in its support.
        given: precision of the distribution as it was given, in which candidates meet it.
        scale: largest magnitude of ``f`` at the inputs and around them.
        rounding: relative, of one operation at the precision that candidates compute in.
        count: of rows that ``values`` was asked for.
        call_time: of ``f``.
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
    bare: bool = False
    of_noise: bool = True
    given: torch.dtype = torch.float32
    scale: float = 1.0
    rounding: float = torch.finfo(torch.float32).eps
    count: Count = field(default_factory=Count)
    call_time: CallTime = field(default_factory=CallTime)

    @property
    def rows(self) -> int:
        return max(self.batch_shape.numel(), 1)

    @property
    def coordinates(self) -> int:
        """How many numbers of x make one row's gradient."""
        return self.x.shape[len(self.batch_shape) :].numel()

    def copies(self, n: int) -> Tensor:
        """Return x n times over as one larger batch: ``(n B, *)``, or ``(n, *)`` where x has no batch dimension.

        One copy has the very shape of x, so that a candidate meets the batch as its user hands it over.
        """
        if n == 1:
            return self.x.clone()
        copies = self.x.expand(n, *self.x.shape).clone()
        return copies.flatten(0, 1) if self.batch_shape else copies

    def noise(self, copies: int, generator: torch.Generator) -> Tensor:
        """Return sigma times the noise, shape ``(copies, *x.shape)``."""
        return self.sigma * _variates(self.noise_kind, (copies, *self.x.shape), self.x, generator)

    def values(self, b: Tensor, *, check: bool = True) -> Tensor:
        """Return f at samples ``(*lead, copies of the first batch dimension, *batch, *event)``, one number a row.

        Whatever an estimator asks at once, the user's function sees one leading dimension before the batch; a single
        sample has none where the function takes it so. It may write into what it is given: that is a copy.

        Raises:
            ValueError: if f's shape is wrong, or a value is NaN or infinite.
        """
        shape = b.shape[: b.ndim - len(self.event_shape)]
        given = b.reshape(-1, *self.batch_shape, *self.event_shape)
        given = given.to(self.dtype, copy=True) if given.is_floating_point() else given.clone()
        self.count.rows += given.shape[0] * self.rows
        given = given[0] if self.bare and len(given) == 1 else given
        value = _checked(self.f(given), given, len(self.event_shape), "function")
        if check:
            _check_finite(value, self.count)
        return value.reshape(shape)

    def outputs(self, y: Tensor) -> Tensor:
        """Return the objective at a layer's outputs ``(n B, *out)``, shape ``(n, B)``."""
        assert self.objective is not None
        given = y.unflatten(0, (-1, self.x.shape[0]))
        return _checked(self.objective(given), given, y.ndim - 1, "objective")


def _variates(noise: str, shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    wide = like.to(torch.promote_types(like.dtype, torch.float32))  # half precision knows few uniforms
    if noise == "gaussian":
        return torch.randn(shape, generator=generator, dtype=wide.dtype, device=wide.device).to(like.dtype)
    u = torch.rand(shape, generator=generator, dtype=wide.dtype, device=wide.device).clamp(
        min=torch.finfo(wide.dtype).eps / 4
    )
    return (gumbel_of(u) if noise == "gumbel" else u.log() - (-u).log1p()).to(like.dtype)


def _checked(value: object, given: Tensor, event_ndim: int, name: str) -> Tensor:
    wanted = given.shape[: given.ndim - event_ndim]
    if not isinstance(value, Tensor):
        raise ValueError(f"diagnose: {name} must return a tensor, got {type(value).__name__}; use torch.as_tensor")
    if value.shape != wanted:
        raise ValueError(
            f"diagnose: {name} must return one number per row, shape {tuple(wanted)} for {tuple(given.shape)}, got "
            f"{tuple(value.shape)}; let it broadcast over a leading dimension, or wrap it in "
            "hardgrad.montecarlo.each_sample"
        )
    return value if value.is_floating_point() else value.to(torch.float32)


def _check_finite(value: Tensor, count: Count) -> None:
    if in_transform() or bool(value.isfinite().all()):
        return
    bad = int((~value.isfinite()).sum())
    count.bad += bad
    raise ValueError(
        f"diagnose: function must return finite numbers, got NaN or infinity for {bad} of {value.numel()} samples "
        f"({count.bad / count.rows:.2g} of all so far): their average is no number, and has no gradient; let it return "
        "a large finite number there, clamp its input to its domain, or take a smaller sigma if only noise leads out"
    )
