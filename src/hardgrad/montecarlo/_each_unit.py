"""Local expectation: each unit goes through all of its outcomes while the others stay as drawn."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo.discrete import Discrete, discrete
from hardgrad.montecarlo.families import UNITS
from hardgrad.montecarlo.neighbors import neighbors, numbers_of, samples_of, table_of
from hardgrad.montecarlo.noise import uniform
from hardgrad.montecarlo.objective import Objective, evaluate
from hardgrad.montecarlo.surrogate_gradient import estimate, wants_gradient


def each_unit(
    q: Distribution,
    f: Objective,
    *,
    units: int | None = None,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the local expectation gradient.

    .. math::
        \hat g_d = \sum_k \frac{\partial p_{dk}}{\partial\theta}\, f(b_1, \dots, b_d = k, \dots, b_D), \qquad b \sim q

    Each unit is summed over, the others are drawn. Unbiased, for any f, a black box included: values are all it asks
    for. A unit that f does not look at gets exactly no gradient, and f of one unit, or a sum over units, no noise at
    all. f sees the draw and all that differ from it in one unit, in one call: ``1 + units * (outcomes - 1)`` for each
    of ``samples``, never an outcome of probability 0. Of 40 bits, the variance was 0 to 0.7 of that of leave-one-out
    with as many evaluations on smooth f, and 2 to 3 times it where units act only together.

    Args:
        q: Bernoulli, Categorical or OneHotCategorical, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(evaluations, *batch, *event) -> (evaluations, *batch)``. Its own parameters get the ordinary gradient of
            its mean at the draws.
        units: how many units, drawn anew for each row and sample, are summed over, at least 1; all by default. What
            they get is scaled so that the mean stays the same. With 1 and Bernoulli f is asked twice, and the noise is
            that of leave-one-out with two draws or a little more.
        samples: how many draws of b, at least 1.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f at the draws.

    Raises:
        ValueError: if ``samples`` or ``units`` is too few, ``units`` more than there are, q is another distribution, or
            f's shape is wrong.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli, Independent
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> hg.each_unit(Independent(Bernoulli(logits=logits), 1), lambda b: b.sum(-1)).sum().backward()
        >>> logits.grad[0]
        tensor([0.2500, 0.2500, 0.2500])

    Source: Titsias and Lazaro-Gredilla 2015, local expectation gradients; for categorical units De Smet, Sansone and
    Zuidberg Dos Martires 2023 (arXiv 2311.12569), IndeCateR.
    """
    samples = _check.whole("each_unit", "samples", samples, least=1)
    if units is not None:
        units = _check.whole("each_unit", "units", units, least=1)
    d = discrete(q, "each_unit", UNITS)
    b = d.draw(samples, generator)
    if not wants_gradient(d):
        return evaluate(f, d.shown(b), d).mean(0)
    drawn, probs = numbers_of(d, b), table_of(d, d.probs.detach(), d.others.detach())
    places = _places(drawn, units, generator, d)
    there = places.unsqueeze(-1).expand(*places.shape, probs.shape[-1])
    others, moved = neighbors(drawn, places, probs.expand(*drawn.shape, -1).gather(-2, there))
    values = evaluate(f, d.shown(samples_of(d, torch.cat([drawn, moved.flatten(0, 2)]))), d)
    seen = values.detach().to(b.dtype)
    change = (seen[samples:].reshape(moved.shape[:-1]) - seen[:samples]).movedim((0, 1), (-1, -2))
    # What f is at each outcome of those units, less what it is at the draw; then of all units.
    change = torch.zeros_like(there, dtype=b.dtype).scatter(-1, others, change)
    change = torch.zeros_like(probs.expand(*drawn.shape, -1)).scatter(-2, there, change).mean(0)
    return estimate(values[:samples], d, _gradient(d, probs, change * (drawn.shape[-1] / places.shape[-1])))


def _places(drawn: Tensor, units: int | None, generator: torch.Generator | None, d: Discrete) -> Tensor:
    """Which units are summed over, shape ``(samples, *batch, places)``."""
    count = drawn.shape[-1]
    if units is None:
        return torch.arange(count, device=drawn.device).expand(drawn.shape)
    if units > count:
        raise ValueError(
            f"each_unit: units must be at most {count}, which is all of an event, got {units}; leave it out"
        )
    return uniform(tuple(drawn.shape), d.logits.detach(), generator).topk(units).indices


def _gradient(d: Discrete, probs: Tensor, values: Tensor) -> Tensor:
    """The derivative of each unit's expected value with respect to its logits, their shape."""
    if d.binary:
        return (values[..., 1] - values[..., 0]).reshape(d.logits.shape) * d.slope
    return (probs * (values - (probs * values).sum(-1, keepdim=True))).reshape(d.logits.shape)
