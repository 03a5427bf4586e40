"""Double control variates: leave-one-out, on values from which f's slopes have taken the noise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad.montecarlo._straight_through_estimator import mean_path
from hardgrad.montecarlo.discrete import Discrete, discrete
from hardgrad.montecarlo.objective import Objective, evaluate, evaluate_differentiable
from hardgrad.montecarlo.surrogate_gradient import estimate, first_order, wants_gradient


def double_cv(
    q: Distribution,
    f: Objective,
    *,
    scale: float = 1.0,
    samples: int = 2,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the double control variate gradient.

    .. math::
        e_k = f(b_k) - a\, \bar s_k^\top (b_k - p), \qquad
        \hat g = \frac{1}{n - 1} \sum_{k=1}^{n} (e_k - \bar e)\,(b_k - p) + \frac{a}{n} J(p) \sum_{k=1}^{n} f'(b_k)

    The leave-one-out gradient, where each value gives up a first-order Taylor term whose slope :math:`\bar s_k` is the
    mean of f' at the *other* samples, and whose mean gradient, of :math:`J(p) = \operatorname{Cov}(b)`, is added back.
    Unbiased whatever the scale a is. n evaluations of f and their gradients, from the backward of training itself. The
    variance was mostly 0.02 to 0.8 of leave-one-out's on smooth networks. With few units and a sharp f it was 1 to 3
    times it; where f's slopes say nothing of its differences (a steep threshold, a square whose target is near 1/2)
    tens of times and more: there a smaller scale is safer, and ``hardgrad.diagnose`` tells.

    Args:
        q: Bernoulli, OneHotCategorical or KSubset, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``, differentiable.
        scale: a, of both control variates; 0 is leave-one-out alone.
        samples: n, how often f is evaluated for a row, at least 2; it sees all of them in one call.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f.

    Raises:
        ValueError: if ``samples`` is below 2, q is another distribution, or f is a black box.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli, Independent
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> loss = hg.double_cv(Independent(Bernoulli(logits=logits), 1), lambda b: (b.sum(-1) - 2).square(), samples=4)
        >>> loss.mean().backward(); logits.grad.shape
        torch.Size([4, 3])

    Source: Titsias and Shi 2022 (arXiv 2111.05300), for Bernoulli; the same holds for whatever has a score b - p. The
    paper learns a scale for either control variate; here it is one number.
    """
    samples = _check.whole("double_cv", "samples", samples, least=2)
    _check.number("double_cv", "scale", scale)
    d = discrete(q, "double_cv", ("Bernoulli", "OneHotCategorical", "KSubset"))
    b = d.draw(samples, generator)
    if not wants_gradient(d):
        return evaluate(f, d.shown(b), d).mean(0)
    path, score = _path(d, b, scale)
    values = evaluate_differentiable(f, d.shown(graft(b, first_order(path, d))), d)
    seen = values.detach().to(score.dtype)
    gradient = (d.over_event((seen - seen.mean(0)) / (samples - 1)) * score).sum(0)
    return estimate(values, d, gradient)


def _path(d: Discrete, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    r"""Return a tensor whose Jacobian weighs f's slopes as the control variates do, and the samples' scores.

    Both are linear in the slopes, so that f's own backward computes them: that of sample j has the weight

    .. math:: \frac{a}{n} J(p) - \frac{a}{(n - 1)^2} \sum_{k \ne j} (b_k - \bar b)(b_k - p)^\top
    """
    n, p = len(b), d.probs.detach()
    score = torch.lerp(-p, d.others.detach(), b) if d.binary else b - p
    # An outcome of probability 0 has a logit of -inf, and 0 * -inf is NaN.
    logits = torch.where(d.logits.isfinite(), d.logits, 0)
    along = score * d.over_event(d.sum_event((b - b.mean(0)) * logits))
    return scale * (mean_path(d) - (along.sum(0) - along) * (n / (n - 1) ** 2)), score
