"""ARMS: any number of draws, all of which push one another away."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.noise import rarely
from hardgrad.montecarlo.objective import Objective, evaluate
from hardgrad.montecarlo.surrogate_gradient import estimate


def arms(q: Distribution, f: Objective, *, samples: int = 4, generator: torch.Generator | None = None) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the ARMS gradient.

    .. math::
        \hat g_d = \frac{1}{n - 1} \sum_{k=1}^{n} \frac{(f(b_k) - \bar f)\, b_{kd}}{1 - \rho_d}

    The leave-one-out gradient over n draws that are negatively correlated, each pair of them by :math:`\rho_d` in unit
    d, which the division makes up for. Unbiased, for any f, a black box included: values are all it asks for. With two
    samples it is DisARM.

    Args:
        q: Bernoulli, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``. Its own parameters get their ordinary gradient.
        samples: n, how often f is evaluated for a row, at least 2; it sees all of them in one call.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f.

    Raises:
        ValueError: if ``samples`` is below 2, q is another distribution, or f's shape is wrong.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli, Independent
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> loss = hg.arms(Independent(Bernoulli(logits=logits), 1), lambda b: (b.sum(-1) - 2).square(), samples=8)
        >>> loss.mean().backward(); logits.grad.shape
        torch.Size([4, 3])

    Source: Dimitriev and Zhou 2021 (arXiv 2105.14141), the Dirichlet copula.
    """
    samples = _check.whole("arms", "samples", samples, least=2)
    d = discrete(q, "arms", ("Bernoulli",))
    probs, rarer = d.probs.detach(), d.rarer
    b = draw_apart(d.noise(samples, generator), d.side, rarer)
    # The differences from the mean add up to nothing but rounding, which centring b keeps away from certain units.
    centerd = b - probs  # before f, which may write into its sample
    values = evaluate(f, d.shown(b), d)
    seen = values.detach().to(b.dtype)
    apart = d.over_event((seen - seen.mean(0)) / (samples - 1))
    gradient = (apart * centerd).sum(0) * undo_correlation(rarer, samples)
    return estimate(values, d, gradient)


def draw_apart(u: Tensor, side: Tensor, rarer: Tensor) -> Tensor:
    r"""Return negatively correlated draws of the right marginal law.

    A point :math:`x` of the simplex, uniform, gives n uniforms :math:`(1 - x_k)^{n-1}` that cannot all be small. The
    rarer outcome of a unit is what falls below its probability; that way round the correlation is the stronger one.

    Args:
        u: independent uniforms in (0, 1), shape ``(n, *rarer.shape)``.
        side: 1 where the likelier outcome is 1, -1 where it is 0.
        rarer: the probability of the other outcome.
    """
    # n independent exponentials, divided by their sum, are that point. These are their negatives.
    logs = torch.log1p(-u)
    total = logs.sum(0)
    # One minus a share, as the others' share: of two and three it is exact, however rare the outcome is.
    others = logs.roll(1, 0) + logs.roll(2, 0) if len(u) == 3 else logs.flip(0) if len(u) == 2 else total - logs
    return 0.5 + side * rarely(total * rarer.pow(1 / (len(u) - 1)) - others)


def undo_correlation(rarer: Tensor, samples: int) -> Tensor:
    r"""Return :math:`1 / (1 - \rho)` of each unit: between 1/2 and 1, 1 where n is large."""
    tiny = torch.finfo(rarer.dtype).tiny
    return (1 - rarer) / (1 - share(rarer, samples) / rarer.clamp(min=tiny)).clamp(min=tiny)


def share(rarer: Tensor, samples: int) -> Tensor:
    r"""Return how often two draws share an outcome of probability m, :math:`\max(0, 2 m^{1/(n-1)} - 1)^{n-1}`."""
    safe = rarer.clamp(min=torch.finfo(rarer.dtype).tiny)
    # In logarithms: 2 m^(1/(n-1)) - 1 is near 1 for large n, and its rounding would be raised to the power n - 1.
    root = 2 * (safe.log() / (samples - 1)).expm1()
    return ((samples - 1) * root.clamp(min=-1).log1p()).exp()  # -1 at the least: no pair can share it
