"""DisARM: pairs of draws that disagree as often as they can."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.noise import rarely
from hardgrad.montecarlo.objective import Objective, evaluate
from hardgrad.montecarlo.surrogate_gradient import estimate


def disarm(q: Distribution, f: Objective, *, samples: int = 2, generator: torch.Generator | None = None) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the DisARM gradient.

    .. math::
        \hat g_d = \tfrac12\, (f(b) - f(\tilde b))\, (b_d - \tilde b_d)\, \sigma(\lvert l_d \rvert), \qquad
        b_d = [u_d < \sigma(l_d)], \quad \tilde b_d = [1 - u_d < \sigma(l_d)]

    For logits l and uniforms u: one draw and its antithetic twin, of which one at most is the rarer outcome. Unbiased,
    for any f, a black box included: values are all it asks for. Where the twins agree in a unit, that unit gets no
    gradient from them, and no noise.

    Args:
        q: Bernoulli, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``. Its own parameters get their ordinary gradient.
        samples: how often f is evaluated for a row, an even number of at least 2, since draws come in pairs; it sees
            all of them in one call.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f over all draws.

    Raises:
        ValueError: if ``samples`` is below 2 or odd, q is another distribution, or f's shape is wrong.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli, Independent
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> loss = hg.disarm(Independent(Bernoulli(logits=logits), 1), lambda b: (b.sum(-1) - 2).square())
        >>> loss.mean().backward(); logits.grad.shape
        torch.Size([4, 3])

    Source: Dong, Mnih and Tucker 2020 (arXiv 2006.10680).
    """
    pairs = _pairs(samples)
    d = discrete(q, "disarm", ("Bernoulli",))
    u, rarer, side = d.noise(pairs, generator), d.rarer, d.side
    # The twin's share of u is the one after its own, not the other end, where u is too coarse for rare events.
    here = rarely(u - rarer)
    there = rarely(u - 2 * rarer) - here + 0.5
    b = torch.cat([0.5 + side * here, 0.5 + side * there])
    apart = (here - there) * (side * (1 - rarer))  # before f, which may write into its sample
    values = evaluate(f, d.shown(b), d)
    value, twin = (values.detach() / 2).chunk(2)
    gradient = d.over_event(value - twin) * apart
    gradient = gradient.squeeze(0) if pairs == 1 else gradient.mean(0)
    return estimate(values, d, gradient)


def _pairs(samples: int) -> int:
    samples = _check.whole("disarm", "samples", samples, least=2)
    if samples % 2:
        raise ValueError(f"disarm: samples must be even, since draws come in pairs, got {samples}; give {samples + 1}")
    return samples // 2
