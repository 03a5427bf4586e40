"""The expectation itself, by going through every outcome."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo.discrete import Discrete, discrete
from hardgrad.montecarlo.objective import Objective, evaluate
from hardgrad.montecarlo.subsets import Subsets
from hardgrad.subset.k_subset import masks_of


def exact(q: Distribution, f: Objective, *, max_states: int = 65536) -> Tensor:
    r"""Return the expectation of f under q, and its gradient, by enumeration.

    .. math:: \mathbb{E}_{b \sim q}[f(b)] = \sum_b q(b)\, f(b)

    No noise and no bias, for any f, a black box included; derivatives of any order. The cost is that of f at every
    joint outcome of an event: 2 to the number of Bernoulli units, n to the number of n-way units, and for a KSubset the
    number of subsets.

    Args:
        q: Bernoulli, Categorical, OneHotCategorical or KSubset, ``Independent`` allowed; batch shape ``(*batch,)``.
        f: ``(states, *batch, *event) -> (states, *batch)``.
        max_states: the most outcomes of one event to go through.

    Returns:
        Shape ``(*batch,)``.

    Raises:
        ValueError: if there are more outcomes than ``max_states``, q is another distribution, or f's shape is wrong.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli
        >>> p = torch.tensor(0.25, requires_grad=True)
        >>> value = hg.exact(Bernoulli(probs=p), lambda b: (b - 0.5) ** 2 + b)
        >>> value.backward(); value.item(), p.grad.item()
        (0.5, 1.0)
    """
    max_states = _check.whole("exact", "max_states", max_states, least=1)
    d = discrete(q, "exact")
    states = outcomes(d, max_states)
    states = states.expand(states.shape[0], *d.logits.shape)
    weight = d.prob(states)
    values = evaluate(f, d.shown(states).contiguous(), d)
    # What f is at an impossible outcome, such as minus infinity at a masked one, counts for nothing, not for NaN.
    values = values.masked_fill((weight == 0) & ~values.detach().isfinite(), 0)
    return (weight * values).sum(0).to(values.dtype)


def count_outcomes(d: Discrete) -> int:
    """Return how many joint outcomes one event has."""
    return int(_ways(d) ** _places(d).numel())


def _ways(d: Discrete) -> int:
    if isinstance(d, Subsets):
        return math.comb(d.logits.shape[-1], d.k)
    return 2 if d.binary else d.logits.shape[-1]


def _places(d: Discrete) -> torch.Size:
    units = d.logits.shape[len(d.batch_shape) :]
    return units if d.binary else units[:-1]


def outcomes(d: Discrete, max_states: int) -> Tensor:
    """Return every joint outcome, 0/1 or one-hot, shape ``(states, 1 per batch dimension, *units)``.

    Raises:
        ValueError: if there are more than ``max_states``.
    """
    count = count_outcomes(d)
    if count > max_states:
        raise ValueError(
            f"exact: an event may have at most max_states={max_states} outcomes, got {count}; raise max_states, or "
            "sample: score_function, disarm, rebar"
        )
    device, ways, places = d.logits.device, _ways(d), _places(d)
    # The digits of 0, 1, 2, ... to the base of ways; made where they are used, since a copy there would wait.
    powers = ways ** torch.arange(places.numel() - 1, -1, -1, device=device)
    states = torch.arange(count, device=device).unsqueeze(-1) // powers % ways
    if isinstance(d, Subsets):
        states = masks_of(d.logits.shape[-1], d.k, d.logits)[states]
    elif not d.binary:
        states = states.unsqueeze(-1) == torch.arange(ways, device=device)
    return states.to(d.logits.dtype).reshape(count, *(1 for _ in d.batch_shape), *d.logits.shape[len(d.batch_shape) :])
