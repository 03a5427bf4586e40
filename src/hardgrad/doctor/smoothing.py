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
from torch.distributions import Bernoulli, Distribution, Independent, Normal, OneHotCategorical

from hardgrad.doctor.recognise import Hard, Kind, recognise, spread
from hardgrad.montecarlo.discrete import KINDS, discrete, gumbel_of, one_hot_of, uniform
from hardgrad.montecarlo.objective import Objective

NOISES = ("gaussian", "logistic", "gumbel")
# Half the spread of the inputs: wide enough that most rows feel a neighbouring output, narrow enough that rows stay
# apart. In units of the noise's own standard deviation, so that the three noises blur alike.
_HALF_SPREAD = {"gaussian": 0.5, "logistic": 0.5 / 1.8138, "gumbel": 0.5 / 1.2825}


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
    about: str
    count: Count = field(default_factory=Count)

    @property
    def rows(self) -> int:
        return max(self.batch_shape.numel(), 1)

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
        self.count.rows += given.shape[0] * self.rows
        return _checked(self.f(given), given, len(self.event_shape), "function").reshape(shape)

    def outputs(self, y: Tensor) -> Tensor:
        """Return the objective at a layer's outputs ``(n B, *out)``, shape ``(n, B)``."""
        assert self.objective is not None
        given = y.unflatten(0, (-1, self.x.shape[0]))
        return _checked(self.objective(given), given, y.ndim - 1, "objective")


def smooth(
    function: Hard | Objective,
    inputs: Tensor | Distribution,
    objective: Objective | None,
    noise: str,
    sigma: float | None,
    generator: torch.Generator,
) -> Smoothed:
    """Return the smoothed objective of what ``diagnose`` was given.

    Raises:
        ValueError: if an argument is out of range or does not go with the others.
    """
    if isinstance(inputs, Distribution):
        if objective is not None or noise != "auto" or sigma is not None:
            raise ValueError(
                "diagnose: objective, noise and sigma are for a hard function of a tensor; with a distribution as "
                "inputs, function is the objective itself and the distribution is the noise"
            )
        return _of_distribution(inputs, function)
    _check_tensor(inputs, noise, sigma)
    return _of_function(function, inputs.detach(), objective, noise, sigma, generator)


def _of_function(
    function: Hard, x: Tensor, objective: Objective | None, noise: str, sigma: float | None, generator: torch.Generator
) -> Smoothed:
    hard = _batched(function, x)
    kind = recognise(hard, x, generator) if noise != "gaussian" else Kind("gaussian")
    if noise not in ("auto", kind.noise):
        wanted = "a threshold at 0" if noise == "logistic" else "the one-hot vector of the largest entry"
        raise ValueError(f"diagnose: noise={noise!r} needs {wanted}, which function is not; use 'gaussian' or 'auto'")
    _check_rows_apart(hard, x)
    width = spread(x) * _HALF_SPREAD[kind.noise] if sigma is None else sigma
    given = "given objective" if objective else "half the squared distance to the outputs of the next row"
    objective = objective or _distance_to_next_row(hard, x, generator)
    about = f"E[objective(function(x + {width:.3g} {kind.noise} noise))], objective: {given}"
    distribution, sample, seen = _form(kind, width, hard)
    event = x.shape[1:]

    def f(b: Tensor) -> Tensor:
        return objective(seen(b))

    return Smoothed(x, x.shape[:1], event, kind.noise, width, distribution, sample, f, hard, objective, about)


def _form(
    kind: Kind, sigma: float, hard: Hard
) -> tuple[Callable[[Tensor], Distribution], Callable[[Tensor], Tensor], Hard]:
    """The distribution of samples, how noise becomes one, and how a sample becomes an output of the function."""
    if kind.noise == "gumbel":
        return (
            lambda x: Independent(OneHotCategorical(logits=x / sigma, validate_args=False), x.ndim - 2),
            one_hot_of,
            lambda b: b,
        )
    if kind.noise == "logistic":
        return (
            lambda x: Independent(Bernoulli(logits=x / sigma, validate_args=False), x.ndim - 1),
            lambda z: (z > 0).to(z.dtype),
            lambda b: kind.low + (kind.high - kind.low) * b,
        )
    return (
        lambda x: Independent(Normal(x, sigma, validate_args=False), x.ndim - 1),
        lambda z: z,
        lambda z: hard(z.flatten(0, 1)).unflatten(0, z.shape[:2]),
    )


def _of_distribution(q: Distribution, f: Objective) -> Smoothed:
    base: Distribution = q
    while isinstance(base, Independent):
        base = base.base_dist
    event = len(q.event_shape) - len(base.event_shape)
    about = f"E[function(b)], b ~ {type(base).__name__} of event shape {tuple(q.event_shape)}"
    if isinstance(base, Normal):
        scale = base.scale.detach()
        x = base.loc.detach()
        return Smoothed(
            x, q.batch_shape, q.event_shape, "gaussian", scale,
            lambda m: Independent(Normal(m, _like(scale, x, m), validate_args=False), event),
            lambda z: z, f, None, None, about + ", gradient with respect to its mean",
        )  # fmt: skip
    kind, d = _kind_of(base), discrete(q, "diagnose")
    noise = "logistic" if d.binary else "gumbel"

    def sample(z: Tensor) -> Tensor:
        return d.shown((z > 0).to(z.dtype) if d.binary else one_hot_of(z))

    return Smoothed(
        d.logits.detach(), q.batch_shape, q.event_shape, noise, 1.0,
        lambda logits: Independent(kind(logits=logits.to(d.dtype), validate_args=False), event),
        sample, f, None, None, about + ", gradient with respect to its logits",
    )  # fmt: skip


def _like(scale: Tensor, x: Tensor, copies: Tensor) -> Tensor:
    """The scale of x for copies of it, in whatever dimensions they are stacked."""
    return scale.expand(copies.numel() // x.numel(), *x.shape).reshape(copies.shape)


def _kind_of(base: Distribution) -> Callable[..., Distribution]:
    kind = next((kind for kind in KINDS.values() if type(base) is kind), None)
    if kind is None:
        raise ValueError(
            "diagnose: inputs must be a tensor, or a torch.distributions Bernoulli, Categorical, OneHotCategorical or "
            f"Normal (Independent allowed), got {type(base).__name__}; hand over a tensor and the hard function"
        )
    return kind


def _variates(noise: str, shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    wide = like.to(torch.promote_types(like.dtype, torch.float32))  # half precision knows few uniforms
    if noise == "gaussian":
        return torch.randn(shape, generator=generator, dtype=wide.dtype, device=wide.device).to(like.dtype)
    u = uniform(shape, wide, generator).clamp(min=torch.finfo(wide.dtype).eps / 4)
    return (gumbel_of(u) if noise == "gumbel" else u.log() - (-u).log1p()).to(like.dtype)


def _distance_to_next_row(hard: Hard, x: Tensor, generator: torch.Generator) -> Objective:
    """What a network after the function would ask of it, at its simplest: outputs that are possible, but others."""
    other = x.roll(1, 0)
    if x.shape[0] == 1:  # no other row: one from farther away
        other = x + 2 * spread(x) * torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
    with torch.no_grad():
        target = hard(other.clone())

    def half_squared_distance(y: Tensor) -> Tensor:
        return (y - target).square().flatten(2).sum(-1) / 2 if y.ndim > 2 else (y - target).square() / 2

    return half_squared_distance


def _batched(function: Hard, x: Tensor) -> Hard:
    """The function, with its outputs checked and made floating point."""

    def hard(z: Tensor) -> Tensor:
        y = function(z)
        if not isinstance(y, Tensor):
            raise ValueError(
                f"diagnose: function must return a tensor, got {type(y).__name__}; end it with torch.as_tensor"
            )
        if y.ndim == 0 or y.shape[0] != z.shape[0]:
            raise ValueError(
                f"diagnose: function must keep the batch (first) dimension, got input {tuple(z.shape)} and output "
                f"{tuple(y.shape)}; apply it per row"
            )
        return y if y.is_floating_point() else y.to(x.dtype)

    return hard


def _check_tensor(x: Tensor, noise: str, sigma: float | None) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(f"diagnose: inputs must be a tensor or a torch distribution, got {type(x).__name__}")
    if x.ndim < 1 or x.numel() == 0 or not x.is_floating_point():
        raise ValueError(
            f"diagnose: inputs must be a floating batch of shape (B, ...) with at least one row, got shape "
            f"{tuple(x.shape)} and {x.dtype}; add a batch dimension, or cast it"
        )
    if not bool(x.isfinite().all()):
        raise ValueError("diagnose: inputs must be finite, got NaN or infinity; mask them before")
    if noise not in ("auto", *NOISES):
        raise ValueError(f"diagnose: noise must be 'auto', 'gaussian', 'logistic' or 'gumbel', got {noise!r}")
    if sigma is not None and not 0 < sigma < float("inf"):
        raise ValueError(f"diagnose: sigma must be above 0 and finite, got {sigma}; None takes half the inputs' spread")


def _check_rows_apart(hard: Hard, x: Tensor) -> None:
    """Copies of a batch are stacked, and every row's gradient is taken from its own number: rows must not mix."""
    with torch.no_grad():
        together, again = hard(x.clone()), hard(x.clone())
        if not torch.equal(together.nan_to_num(), again.nan_to_num()):
            return  # a sampler: its rows cannot be told apart this way
        alone = hard(x[:1].clone())
    if not torch.allclose(together[:1].nan_to_num(), alone.nan_to_num(), rtol=1e-4, atol=1e-5):
        raise ValueError(
            "diagnose: function must treat each row of the batch by itself, got another output for the first row "
            "alone than within the batch; put it in eval(), or hand over the batch as one row with an outer dimension"
        )


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
