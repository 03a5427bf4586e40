"""Straight-through on a sample: the gradient as if the sample were the probabilities it was drawn with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo.discrete import Discrete, discrete
from hardgrad.montecarlo.objective import Objective
from hardgrad.montecarlo.surrogate_gradient import through


def straight_through_estimator(
    q: Distribution, f: Objective, *, samples: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the straight-through gradient.

    .. math:: \hat g = f'(b)^\top \frac{\partial p}{\partial\theta}, \qquad b \sim q, \quad p = \mathbb{E}[b]

    With :math:`p` the sigmoid or softmax of the logits, or a KSubset's exact marginals. Unbiased for f linear in each
    unit by itself; on strongly nonlinear f it can point uphill (``docs/evidence/which-estimator.md``). One evaluation
    of f and its gradient.

    Args:
        q: Bernoulli, OneHotCategorical or KSubset, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``, differentiable; without the leading dimension when
            ``samples`` is 1.
        samples: how many draws of b f is evaluated at for a row, at least 1.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f at hard samples.

    Raises:
        ValueError: if ``samples`` is too few, q is another distribution, or f is a black box.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli
        >>> p = torch.tensor(0.3, requires_grad=True)
        >>> hg.montecarlo.straight_through_estimator(Bernoulli(probs=p), lambda b: 5 * b).backward(); p.grad.item()
        5.0

    Source: Bengio, Leonard and Courville 2013 (arXiv 1308.3432), after a lecture of Hinton's: their form that keeps the
    derivative of the sigmoid. One-hot: Jang, Gu and Poole 2017 (arXiv 1611.01144), section 3. Subsets: Ahmed et
    al. 2023 (arXiv 2210.01941).
    """
    samples = _check.whole("straight_through_estimator", "samples", samples, least=1)
    d = discrete(q, "straight_through_estimator", ("Bernoulli", "OneHotCategorical", "KSubset"))
    return through(f, d.draw(samples, generator), mean_path(d), d)


def mean_path(d: Discrete) -> Tensor:
    """A tensor whose Jacobian is that of the probabilities; torch's sigmoid rounds its own to 0 where p is near 1."""
    return d.slope * d.logits if d.binary and not d.by_probs else d.probs
