"""The score function: an unbiased gradient from values alone, and what makes it less noisy."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from hardgrad._torch_state import hides_requires_grad
from hardgrad.graft import graft
from hardgrad.montecarlo.baselines import MovingAverage, compare
from hardgrad.montecarlo.discrete import KINDS, discrete
from hardgrad.montecarlo.objective import Objective, check_count, evaluate
from hardgrad.penalty import settle


def score_function(
    q: Distribution,
    f: Objective,
    samples: int = 1,
    baseline: Literal["leave_one_out"] | nn.Module | None = None,
    *,
    context: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return a Monte Carlo estimate of the expectation of f under q with the score-function gradient (REINFORCE).

    .. math::
        \hat g = \frac1K \sum_{k=1}^{K} (f(b_k) - c_k)\, \nabla_\theta \log q_\theta(b_k) + \nabla f(b_k)

    Unbiased, for any f, a black box included; without a baseline its variance grows with the size of f. Derivatives of
    any order are unbiased too. The baseline :math:`c_k` never depends on :math:`b_k`, so it takes no bias in.

    Args:
        q: any distribution that has ``log_prob``, discrete or not; batch shape ``(*batch,)``.
        f: ``(samples, *batch, *event) -> (samples, *batch)``; without the leading dimension when ``samples`` is 1. Its
            own parameters get their ordinary gradient.
        samples: K, at least 1.
        baseline: None; ``"leave_one_out"``, the mean of f at the other samples; a
            ``hardgrad.montecarlo.MovingAverage()``; or a network that predicts f from ``context``,
            ``(*batch, *) -> (*batch,)``. A network trains itself by its squared error, as a bridge does: through
            ``loss.backward()``, or through ``hardgrad.penalties()``. In ``eval()`` either kind stands still.
        context: what a baseline network sees; the logits of q by default.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f.

    Raises:
        ValueError: if ``samples`` is too few, ``baseline`` is unknown, or f's shape is wrong.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Bernoulli, Independent
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> q = Independent(Bernoulli(logits=logits), 1)
        >>> loss = hg.score_function(q, lambda b: (b.sum(-1) - 2).square(), samples=8, baseline="leave_one_out")
        >>> loss.mean().backward(); logits.grad.shape
        torch.Size([4, 3])

    Source: Williams 1992; Ramapuram and Webb 2020 (arXiv 1905.03658), equation 1; leave-one-out: Kool et al. 2019;
    the form that keeps higher derivatives right: Foerster et al. 2018 (arXiv 1802.05098).
    """
    _check(samples, baseline)
    draws, log_prob = _draw(q, samples, generator)
    values = evaluate(f, draws, len(q.event_shape), "score_function")
    if not torch.is_grad_enabled():
        return values.mean(0)
    reference: Tensor | None = None
    if isinstance(baseline, nn.Module):
        seen = _context(q) if context is None else context
        reference = compare(baseline, seen, q.batch_shape)
        values = _teach(baseline, reference, values)
        reference = reference.detach()
    elif baseline == "leave_one_out":
        seen = values.detach().to(log_prob.dtype)  # in half precision the difference would keep a share of b_k
        reference = (seen.sum(0) - seen) / (samples - 1)
    # Equal to one, with the derivatives of log_prob, of any order.
    box = (log_prob - log_prob.detach()).exp()
    gain = values if reference is None else values - reference
    return graft(values.detach().mean(0), (box * gain).mean(0))


def _check(samples: int, baseline: object) -> None:
    check_count(samples, "samples", "score_function")
    if not (baseline is None or baseline == "leave_one_out" or isinstance(baseline, nn.Module)):
        raise ValueError(
            f"score_function: baseline must be None, 'leave_one_out' or a module, got {baseline!r}; "
            "hardgrad.montecarlo.MovingAverage() is one"
        )
    if baseline == "leave_one_out" and samples < 2:
        raise ValueError("score_function: leave_one_out needs samples of at least 2, got 1; there is no other to ask")


def _draw(q: Distribution, samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return samples as f sees them and their log-probabilities, shape ``(samples, *batch)``."""
    base: Distribution = q
    while isinstance(base, Independent):
        base = base.base_dist
    if type(base) in KINDS.values():
        d = discrete(q, "score_function")
        b = d.draw(samples, generator)
        return d.shown(b), d.log_prob(b)
    if generator is None:
        draws = q.sample((samples,))
    elif isinstance(base, Normal):
        shape = (samples, *base.loc.shape)
        noise = torch.randn(shape, generator=generator, dtype=base.loc.dtype, device=base.loc.device)
        draws = (base.loc + noise * base.scale).detach()
    else:
        raise ValueError(
            f"score_function: generator is for discrete q and Normal, got {type(base).__name__}, which torch samples "
            "from its global seed alone; call torch.manual_seed instead"
        )
    return draws, q.log_prob(draws)


def _context(q: Distribution) -> Tensor:
    """What a baseline network is shown where the user names nothing."""
    base: Distribution = q
    while isinstance(base, Independent):
        base = base.base_dist
    if type(base) not in KINDS.values():
        return q.mean
    # An outcome that cannot happen has a logit of -inf, which a network would turn into NaN. Beyond 20 all are certain.
    return discrete(q, "score_function").logits.clamp(-20, 20)


def _teach(baseline: nn.Module, reference: Tensor, values: Tensor) -> Tensor:
    """Let a baseline learn from what f was; returns ``values``, which may carry its penalty."""
    seen = values.detach()
    if isinstance(baseline, MovingAverage):
        baseline.observe(seen)
    elif baseline.training and (reference.requires_grad or hides_requires_grad()):
        error = (reference - seen).square().mean() if seen.numel() else reference.sum() * 0
        return settle(baseline, values, error)
    return values
