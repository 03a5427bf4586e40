"""From what ``diagnose`` is given to a smoothed objective: which noise, how much, and what a sample is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal, OneHotCategorical

from hardgrad.doctor.arguments import check_batch, check_noise, check_sigma
from hardgrad.doctor.domain import check_domain, check_outputs, check_rows_apart
from hardgrad.doctor.recognize import Hard, Kind, recognize, spread
from hardgrad.doctor.smoothed import Smoothed
from hardgrad.hard.order import top_k_mask
from hardgrad.montecarlo.discrete import KINDS, Discrete, discrete, one_hot_of
from hardgrad.montecarlo.objective import Objective
from hardgrad.montecarlo.subsets import Subsets
from hardgrad.subset.k_subset import KSubset

# Half the spread of the inputs: wide enough that most rows feel a neighbouring output, narrow enough that rows stay
# apart. In units of the noise's own standard deviation, so that the three noises blur alike.
_HALF_SPREAD = {"gaussian": 0.5, "logistic": 0.5 / 1.8138, "gumbel": 0.5 / 1.2825}


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
        return check_domain(_as_handed_over(_of_distribution(inputs, function)), generator)
    _check_tensor(inputs, noise, sigma)
    result = _of_function(function, inputs.detach().clone(), objective, noise, sigma, generator)
    return check_domain(result, generator)


def _of_function(
    function: Hard, x: Tensor, objective: Objective | None, noise: str, sigma: float | None, generator: torch.Generator
) -> Smoothed:
    hard = _batched(function, x)
    kind = recognize(hard, x, generator) if noise != "gaussian" else Kind("gaussian")
    if noise not in ("auto", kind.noise):
        wanted = "a threshold at 0" if noise == "logistic" else "the one-hot vector of the largest entry"
        raise ValueError(f"diagnose: noise={noise!r} needs {wanted}, which function is not; use 'gaussian' or 'auto'")
    check_rows_apart(hard, x)
    width = spread(x) * _HALF_SPREAD[kind.noise] if sigma is None else float(sigma)
    given = "given objective" if objective else "half the squared distance to the outputs of the next row"
    objective = objective or _distance_to_next_row(hard, x, generator)
    about = f"E[objective(function(x + {width:.3g} {kind.noise} noise))], objective: {given}"
    distribution, sample, seen = _form(kind, width, hard)
    event = x.shape[1:]

    def f(b: Tensor) -> Tensor:
        return objective(seen(b))

    result = Smoothed(
        x, x.shape[:1], event, kind.noise, width, distribution, sample, f, hard, objective, x.dtype, about
    )
    return replace(result, given=x.dtype, rounding=_rounding(x))


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
    base: Any = q
    while isinstance(base, Independent):
        base = base.base_dist
    event = len(q.event_shape) - len(base.event_shape)
    about = f"E[function(b)], b ~ {type(base).__name__} of event shape {tuple(q.event_shape)}"
    parameter = _parameter_of(base)
    given, rounding = parameter.dtype, _rounding(parameter)
    if _is_normal(base):
        scale = base.scale.detach().clone()
        x = base.loc.detach().clone()
        return Smoothed(
            x, q.batch_shape, q.event_shape, "gaussian", scale,
            lambda m: Independent(Normal(m, _like(scale, x, m), validate_args=False), event),
            lambda z: z, f, None, None, x.dtype, about + ", gradient with respect to its mean",
            given=given, rounding=rounding,
        )  # fmt: skip
    d = _discrete(q, base)
    kind: Any = partial(KSubset, k=d.k) if isinstance(d, Subsets) else KINDS[d.kind]
    noise = "logistic" if d.binary else "gumbel"

    def sample(z: Tensor) -> Tensor:
        if isinstance(d, Subsets):
            return top_k_mask(z, d.k)
        return d.shown((z > 0).to(z.dtype) if d.binary else one_hot_of(z))

    return Smoothed(
        d.logits.detach().clone(), q.batch_shape, q.event_shape, noise, 1.0,
        lambda logits: Independent(kind(logits=logits, validate_args=False), event),
        sample, f, None, None, d.dtype, about + ", gradient with respect to its logits",
        given=given, rounding=rounding, of_noise=not isinstance(d, Subsets),
    )  # fmt: skip


def _like(scale: Tensor, x: Tensor, copies: Tensor) -> Tensor:
    """The scale of x for copies of it, in whatever dimensions they are stacked."""
    # A copy: a candidate may write into the distribution that it is handed.
    return scale.expand(copies.numel() // x.numel(), *x.shape).reshape(copies.shape).clone()


def _discrete(q: Distribution, base: Distribution) -> Discrete:
    try:
        return discrete(q, "diagnose")
    except ValueError as error:
        raise ValueError(
            "diagnose: inputs must be a tensor, or a torch.distributions Bernoulli, Categorical, OneHotCategorical or "
            f"Normal or a hardgrad.KSubset (Independent allowed), got {type(base).__name__}; hand over a tensor and "
            "the hard function"
        ) from error


def _is_normal(base: Any) -> bool:
    """Whether this is a Normal, or a subclass that samples and is distributed as it is."""
    if not isinstance(base, Normal):
        return False
    return all(getattr(type(base), name) is getattr(Normal, name) for name in ("sample", "rsample", "log_prob", "mean"))


def _parameter_of(base: Any) -> Tensor:
    """What a distribution was made with; a OneHotCategorical keeps it in a Categorical inside."""
    held = vars(getattr(base, "_categorical", base)).values()
    return next((value for value in held if isinstance(value, Tensor)), torch.zeros(()))


def _rounding(x: Tensor) -> float:
    """Relative, of one operation: of the inputs' precision, single at the finest, or that of autocast."""
    dtypes = [torch.float32, x.dtype] if x.is_floating_point() else [torch.float32]
    if torch.is_autocast_enabled(x.device.type):
        dtypes.append(torch.get_autocast_dtype(x.device.type))
    return max(torch.finfo(dtype).eps for dtype in dtypes)


def _as_handed_over(smoothed: Smoothed) -> Smoothed:
    """With a single sample of the batch handed to the function as estimators do, if it takes it so."""
    one = smoothed.sample(smoothed.x)
    given = one.to(smoothed.dtype) if one.is_floating_point() else one
    wanted = given.shape[: given.ndim - len(smoothed.event_shape)]
    try:
        with torch.no_grad():
            value = smoothed.f(given.clone())
    except Exception:  # of the user's own: it wants its leading dimension
        return smoothed
    return replace(smoothed, bare=isinstance(value, Tensor) and value.shape == wanted)


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
        check_outputs(y, z)
        return y if y.is_floating_point() else y.to(x.dtype)

    return hard


def _check_tensor(x: Tensor, noise: str, sigma: float | None) -> None:
    check_batch("diagnose", x)
    check_noise("diagnose", noise)
    check_sigma("diagnose", sigma)
