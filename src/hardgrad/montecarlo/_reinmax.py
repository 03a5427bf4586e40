"""ReinMax: straight-through to second order."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo.discrete import Discrete, discrete, softmax_of
from hardgrad.montecarlo.objective import Objective
from hardgrad.montecarlo.surrogate_gradient import through
from hardgrad.montecarlo.temperature import Temperature, temperature_of


def reinmax(
    q: Distribution,
    f: Objective,
    *,
    temperature: Temperature = 1.0,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the ReinMax gradient.

    .. math::
        \hat g = f'(b)^\top \Big( 2\, J\big(\tfrac{b + \pi_\tau}{2}\big) - \tfrac12 J(\pi) \Big), \qquad
        J(p) = \operatorname{diag}(p) - p p^\top

    For q's logits, with :math:`\pi_\tau` the softmax at temperature :math:`\tau`. Heun's rule for the difference of f
    between outcomes: unbiased at temperature 1 where f is a quadratic function of one unit; on strongly nonlinear f it
    can point uphill (``docs/evidence/which-estimator.md``). One evaluation of f and its gradient.

    Args:
        q: Bernoulli or OneHotCategorical, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``, differentiable.
        temperature: tau, at least 1: here, other than for Gumbel-Softmax, higher is calmer; or a
            ``hardgrad.montecarlo.Annealed``.
        samples: how many draws of b f is evaluated at for a row, at least 1.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f at hard samples.

    Raises:
        ValueError: if ``temperature`` is below 1, ``samples`` is too few, q is another distribution, or f is a black
            box.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import OneHotCategorical
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> loss = hg.reinmax(OneHotCategorical(logits=logits), lambda b: (b * torch.tensor([1.0, 2, 3])).sum(-1))
        >>> loss.mean().backward(); logits.grad.shape
        torch.Size([4, 3])

    Source: Liu et al. 2023 (arXiv 2304.08612), algorithm 2.
    """
    samples = _check.whole("reinmax", "samples", samples, least=1)
    d = discrete(q, "reinmax", ("Bernoulli", "OneHotCategorical"))
    tau = temperature_of(temperature, d, least=1.0)
    b = d.draw(samples, generator)
    return through(f, b, _path(d, b, tau), d)


def _path(d: Discrete, b: Tensor, temperature: float | Tensor) -> Tensor:
    """A tensor whose Jacobian with respect to the logits is that of the estimator."""
    if d.binary:
        cooled = d.logits.detach() / temperature
        # Both by themselves: near 1 the difference from 1 is rounding, in a slope that is as small.
        middle, other = b + cooled.sigmoid(), (1 - b) + (-cooled).sigmoid()
        return (middle * other - d.slope) / 2 * d.logits
    middle = ((b + softmax_of(d.logits / temperature)) / 2).detach()
    # An outcome of probability 0 has a logit of -inf, and 0 * -inf is NaN.
    logits = torch.where(d.logits.isfinite(), d.logits, 0)
    return 2 * _jacobian(middle, logits) - _jacobian(d.probs.detach(), logits) / 2


def _jacobian(p: Tensor, logits: Tensor) -> Tensor:
    """J(p) times the logits: linear in them, so that its Jacobian is J(p)."""
    return p * (logits - (p * logits).sum(-1, keepdim=True))
