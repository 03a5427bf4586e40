"""CARMS: draws of many-way units that push one another away."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo._arms import draw_apart
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.objective import Objective, evaluate
from hardgrad.montecarlo.surrogate_gradient import estimate


def carms(q: Distribution, f: Objective, *, samples: int = 4, generator: torch.Generator | None = None) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the CARMS gradient.

    .. math::
        \hat g_d = \frac{1}{n (n - 1)} \sum_{j < k} w_d(b_j, b_k)\, (f(b_j) - f(b_k))\, (b_{jd} - b_{kd}), \qquad
        w_d = \frac{q(b_{jd})\, q(b_{kd})}{q(b_{jd}, b_{kd})}

    The leave-one-out gradient over n draws of which no two take the same outcome more often than they must; the weights
    w make up for that. Unbiased, for any f, a black box included: values are all it asks for. ``hardgrad.arms`` for
    many ways: a unit goes through its outcomes, rarest first, and each of the n draws takes the one it stands at or
    goes on, by the draws of ``arms``. Rarest first keeps every weight between about 1/2 and 2.

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

    Source: Dimitriev and Zhou 2021 (arXiv 2110.14002), the Dirichlet copula on sticks; the order of outcomes is ours.
    """
    samples = _check.whole("carms", "samples", samples, least=2)
    d = discrete(q, "carms", ("OneHotCategorical", "Categorical"))
    probs, order = d.probs.detach().sort(-1)
    rest = probs.flip(-1).cumsum(-1).flip(-1)
    stops = probs / rest
    first = _first_stop(draw_apart(d.noise(samples, generator), -torch.ones_like(stops), stops))
    b = torch.zeros_like(stops.expand(first.shape[0], *stops.shape)).scatter(
        -1, order.expand(samples, *order.shape).gather(-1, first), 1
    )
    weights = pair_weights(stops, samples).expand(samples, samples, *stops.shape)
    # Two draws part at the stick where the first of them stops.
    weights = weights.gather(-1, torch.minimum(first.unsqueeze(0), first.unsqueeze(1)))
    values = evaluate(f, d.shown(b, copy=True), d)
    seen = values.detach().to(b.dtype)
    apart = d.over_event(seen.unsqueeze(1) - seen)
    gradient = ((weights * apart).sum(1) * b).sum(0) / (samples * (samples - 1))
    return estimate(values, d, gradient - d.probs.detach() * gradient.sum(-1, keepdim=True))


def _first_stop(stopped: Tensor) -> Tensor:
    """At which of its outcomes each draw stops, counted from the rarest; the last one takes what is left."""
    ways = stopped.shape[-1]
    return (stopped * torch.arange(ways, 0, -1, device=stopped.device)).argmax(-1, keepdim=True) + (
        stopped.sum(-1, keepdim=True) == 0
    ) * (ways - 1)


def pair_weights(stops: Tensor, samples: int) -> Tensor:
    r"""Return how much rarer than by chance two draws part at each stick, inverted; 0 at the last, where none do.

    .. math:: w_m = \frac{h_m (1 - h_m)}{h_m - s_m} \prod_{i < m} \frac{(1 - h_i)^2}{1 - 2 h_i + s_i}, \qquad
        s_i = \max(0, 2 h_i^{1/(n-1)} - 1)^{n-1}

    Args:
        stops: h, the probability of stopping at a stick that was reached, along the last dimension; 1 at the last.
        samples: n.
    """
    tiny = torch.finfo(stops.dtype).tiny
    safe = stops.clamp(min=tiny)
    root = 2 * (safe.log() / (samples - 1)).expm1()
    both = ((samples - 1) * root.clamp(min=-1).log1p()).exp()
    part = (1 - stops) / (1 - both / safe).clamp(min=tiny)
    go_on = (1 - stops).square() / (1 - 2 * stops + both).clamp(min=tiny)
    passed = torch.cat([torch.ones_like(go_on[..., :1]), go_on[..., :-1].cumprod(-1)], -1)
    return torch.cat([(part * passed)[..., :-1], torch.zeros_like(part[..., :1])], -1)
