"""Gumbel-Rao: straight-through Gumbel-Softmax with its noise averaged out, at no further evaluation of f."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.objective import Objective
from hardgrad.montecarlo.relaxed import agreeing, average
from hardgrad.montecarlo.surrogate_gradient import through, wants_gradient
from hardgrad.montecarlo.temperature import Temperature, temperature_of


def gumbel_rao(
    q: Distribution,
    f: Objective,
    *,
    temperature: Temperature = 1.0,
    inner: int = 10,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the Gumbel-Rao gradient.

    .. math::
        \hat g = f'(b)^\top\, \frac1K \sum_{k=1}^{K}
        \frac{\partial \operatorname{softmax}_\tau(\theta + G^k)}{\partial\theta}, \qquad
        G^k \sim p\big(G \mid \operatorname{onehot}\arg\max(\theta + G) = b\big)

    The mean of ``gumbel(hard=True)`` at the same temperature, so the same bias; its variance never higher, and much
    lower at low temperatures, since the Jacobian's dependence on noise that f never saw is averaged out. For Bernoulli
    the softmax is a sigmoid and the noise logistic; for a KSubset both are as ``gumbel`` says. One evaluation of f and
    its gradient, whatever K is.

    The conditional noise is held constant when differentiated. Differentiating its dependence on the logits too, as
    some implementations do, is another estimator with another mean.

    Args:
        q: Bernoulli, OneHotCategorical or KSubset, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``, differentiable; without the leading dimension when
            ``samples`` is 1.
        temperature: tau, above 0; or a ``hardgrad.montecarlo.Annealed``.
        inner: K, draws of the noise per sample, at least 1; memory grows with it. At 1 it is ``gumbel(hard=True)``.
        samples: how many draws of b f is evaluated at for a row, at least 1.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f at hard samples.

    Raises:
        ValueError: if ``temperature`` is not above 0, ``inner`` or ``samples`` is too few, q is another distribution,
            or f is a black box.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import OneHotCategorical
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> cost = lambda b: (b * torch.tensor([1.0, 2, 3])).sum(-1)
        >>> loss = hg.gumbel_rao(OneHotCategorical(logits=logits), cost, temperature=0.1, inner=100)
        >>> loss.mean().backward(); logits.grad.shape
        torch.Size([4, 3])

    Source: Paulus, Maddison and Krause 2020 (arXiv 2010.04838), the estimator GR-MCK.
    """
    samples, inner = (
        _check.whole("gumbel_rao", argument, count, least=1)
        for argument, count in (("samples", samples), ("inner", inner))
    )
    d = discrete(q, "gumbel_rao", ("Bernoulli", "OneHotCategorical", "KSubset"))
    tau = temperature_of(temperature, d)
    b = d.draw(samples, generator)
    if not wants_gradient(d):
        return through(f, b, b, d)
    u = d.noise(inner * samples, generator).unflatten(0, (inner, samples))
    return through(f, b, average(d, agreeing(d, b, u), tau), d)
