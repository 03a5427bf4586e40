"""Gapped straight-through: Gumbel-Softmax without its noise, the scores moved by what the sample asks for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo.discrete import Discrete, discrete
from hardgrad.montecarlo.objective import Objective
from hardgrad.montecarlo.relaxed import softened
from hardgrad.montecarlo.surrogate_gradient import through
from hardgrad.montecarlo.temperature import Temperature, temperature_of


def gapped(
    q: Distribution,
    f: Objective,
    *,
    gap: float = 1.0,
    temperature: Temperature = 1.0,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the gapped straight-through gradient.

    .. math::
        \hat g = f'(b)^\top \frac{\partial \operatorname{softmax}_\tau(\theta + m_b)}{\partial\theta}, \qquad
        (\theta + m_b)_b = \max_k \theta_k, \qquad
        (\theta + m_b)_j = \min(\theta_j,\ \max_k \theta_k - \text{gap})

    The straight-through gradient of Gumbel-Softmax, where the noise that agrees with the sample b is replaced by the
    least move m, held constant, that puts b first by a gap. Given b nothing is left to chance, so it is calmer than
    ``gumbel`` and as cheap; biased, as that is, and on strongly nonlinear f it can point uphill
    (``docs/evidence/which-estimator.md``). For Bernoulli the softmax is a sigmoid. One evaluation of f and its
    gradient.

    Args:
        q: Bernoulli or OneHotCategorical, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``, differentiable; without the leading dimension when
            ``samples`` is 1.
        gap: how far, in logits, the drawn outcome stands above all others, at least 0.
        temperature: tau, above 0; or a ``hardgrad.montecarlo.Annealed``.
        samples: how many draws of b f is evaluated at for a row, at least 1.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f at hard samples.

    Raises:
        ValueError: if ``gap`` is below 0, ``temperature`` not above 0, ``samples`` is too few, q is another
            distribution, or f is a black box.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import OneHotCategorical
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> loss = hg.gapped(OneHotCategorical(logits=logits), lambda b: (b * torch.tensor([1.0, 2, 3])).sum(-1))
        >>> loss.mean().backward(); logits.grad.shape
        torch.Size([4, 3])

    Source: Fan et al. 2022 (arXiv 2206.07235), whose two moves m is the sum of.
    """
    samples = _check.whole("gapped", "samples", samples, least=1)
    _check.number("gapped", "gap", gap, least=0, cure="1.0 is usual")
    d = discrete(q, "gapped", ("Bernoulli", "OneHotCategorical"))
    tau = temperature_of(temperature, d)
    b = d.draw(samples, generator)
    return through(f, b, _path(d, b, gap, tau), d)


def _path(d: Discrete, b: Tensor, gap: float, temperature: float | Tensor) -> Tensor:
    """A tensor whose Jacobian with respect to the logits is that of the estimator."""
    logits = d.logits.detach()
    if d.binary:
        sign = 2 * b - 1
        ahead = (sign * logits).clamp(min=gap)
        return softened(d, ahead, temperature) * softened(d, -ahead, temperature) / temperature * d.logits
    top = logits.amax(-1, keepdim=True)
    moved = torch.where(b > 0, top, torch.minimum(logits, top - gap))
    # Zero, with the gradient of the logits. Those of -inf, whose outcome cannot happen, have none and stay so.
    return softened(d, moved + torch.where(d.logits.isfinite(), d.logits - logits, 0), temperature)
