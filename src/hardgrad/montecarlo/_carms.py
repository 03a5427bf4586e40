"""CARMS: draws of many-way units that push one another away."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo._arms import draw_apart, share, undo_correlation
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.objective import Objective, evaluate
from hardgrad.montecarlo.surrogate_gradient import estimate


def carms(q: Distribution, f: Objective, *, samples: int = 4, generator: torch.Generator | None = None) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the CARMS gradient.

    .. math::
        \hat g_d = \frac{1}{n (n - 1)} \sum_{j < k} w_d(b_j, b_k)\, (f(b_j) - f(b_k))\, (b_{jd} - b_{kd}),
        \qquad w_d = \frac{q(b_{jd})\, q(b_{kd})}{q(b_{jd}, b_{kd})}

    The leave-one-out gradient over n draws that avoid one another's outcomes; the weights w make up for that. Unbiased,
    for any f, a black box included: values are all it asks for. ``hardgrad.arms`` for many ways: a unit goes through
    its outcomes, rarest first, and each of the n draws takes the one it is at or goes on, as a draw of ``arms`` is 1 or
    0. Rarest first keeps every weight between 1/2 and 3/2. The variance beside leave-one-out's with as many
    evaluations: about half of it for one unit of 4 outcomes, 0.7 to 0.9 for two, 0.85 to 1 for twenty.

    Args:
        q: OneHotCategorical or Categorical, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``. Its own parameters get their ordinary gradient.
        samples: n, how often f is evaluated for a row, at least 2; it sees all of them in one call.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f.

    Raises:
        ValueError: if ``samples`` is below 2, q is another distribution, or f's shape is wrong.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Categorical
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> loss = hg.carms(Categorical(logits=logits), lambda b: (b - 1.0).square(), samples=3)
        >>> loss.mean().backward(); logits.grad.shape
        torch.Size([4, 3])

    Source: Dimitriev and Zhou 2021 (arXiv 2110.14002), the Dirichlet copula. One outcome after the other, rarest
    first, is how it is done here.
    """
    samples = _check.whole("carms", "samples", samples, least=2)
    d = discrete(q, "carms", ("OneHotCategorical", "Categorical"))
    probs, order = d.probs.detach().sort(-1)
    stops = probs / probs.flip(-1).cumsum(-1).flip(-1)
    first = _first_stop(draw_apart(d.noise(samples, generator), -torch.ones_like(stops), stops))
    taken = order.expand(samples, *order.shape).gather(-1, first)
    b = torch.zeros_like(stops).expand(samples, *stops.shape).scatter(-1, taken, 1)
    # Two draws part at the outcome where the first of them stops.
    part = torch.minimum(first.unsqueeze(0), first.unsqueeze(1))
    weights = pair_weights(stops, samples).expand(*part.shape[:-1], -1).gather(-1, part)
    values = evaluate(f, d.shown(b, copy=True), d)
    seen = values.detach().to(b.dtype)
    apart = d.over_event(seen.unsqueeze(1) - seen)
    gradient = ((weights * apart).sum(1) * b).sum(0) / (samples * (samples - 1))
    return estimate(values, d, gradient - d.probs.detach() * gradient.sum(-1, keepdim=True))


def _first_stop(stopped: Tensor) -> Tensor:
    """At which of its outcomes each draw stops, counted from the rarest; the last one takes what is left."""
    stopped = torch.cat([stopped[..., :-1], torch.ones_like(stopped[..., :1])], -1)
    return (stopped * torch.arange(stopped.shape[-1], 0, -1, device=stopped.device)).argmax(-1, keepdim=True)


def pair_weights(stops: Tensor, samples: int) -> Tensor:
    r"""Return how much rarer than by chance two draws part at each outcome, inverted; 0 at the last, where none do.

    .. math:: w_m = \frac{h_m (1 - h_m)}{h_m - s_m} \prod_{i < m} \frac{(1 - h_i)^2}{1 - 2 h_i + s_i}, \qquad
        s_i = \max(0, 2 h_i^{1/(n-1)} - 1)^{n-1}

    Args:
        stops: h, the probability of stopping at an outcome that was reached, along the last dimension; 1 at the last.
        samples: n.
    """
    tiny = torch.finfo(stops.dtype).tiny
    go_on = (1 - stops).square() / (1 - 2 * stops + share(stops, samples)).clamp(min=tiny)
    passed = torch.cat([torch.ones_like(go_on[..., :1]), go_on[..., :-1].cumprod(-1)], -1)
    weights = undo_correlation(stops, samples) * passed
    return torch.cat([weights[..., :-1], torch.zeros_like(weights[..., :1])], -1)
