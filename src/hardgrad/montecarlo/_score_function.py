"""The score function: an unbiased gradient from values alone, and what makes it less noisy."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad._torch_state import hides_requires_grad
from hardgrad.montecarlo.baselines import MovingAverage, compare
from hardgrad.montecarlo.discrete import discrete
from hardgrad.montecarlo.families import KINDS, base_of, kind_of, own_method
from hardgrad.montecarlo.objective import Objective, OtherSource, evaluate
from hardgrad.penalty.add import add_penalty


def score_function(
    q: Distribution,
    f: Objective,
    *,
    samples: int = 1,
    baseline: Literal["leave_one_out"] | nn.Module | None = None,
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
        samples: K, how many draws of b f is evaluated at for a row, at least 1.
        baseline: None; ``"leave_one_out"``, the mean of f at the other samples; a
            ``hardgrad.montecarlo.MovingAverage()``; or a network that predicts f from ``context``,
            ``(*batch, *) -> (*batch,)``. A network trains itself by its squared error, as a bridge does: through
            ``loss.backward()``, or through ``hardgrad.penalties()``. In ``eval()`` either kind stands still.
        context: what a baseline network sees; the logits of q by default.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the mean of f.

    Raises:
        TypeError: if an argument is of another type.
        ValueError: if ``samples`` is too few, ``baseline`` is unknown or returns another shape, ``context`` is given
            without a module to see it, or f's shape is wrong.

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
    samples = _check.whole("score_function", "samples", samples, least=1)
    _check_baseline(samples, baseline, context)
    draws, log_prob = _draw(q, samples, generator)
    reference: Tensor | None = None
    # Before f, which may write into the context as it may into its sample.
    if isinstance(baseline, nn.Module) and torch.is_grad_enabled():
        reference = compare(baseline, _seen(baseline, q, context, log_prob), q.batch_shape)
    values = evaluate(f, draws, OtherSource(q.event_shape, "score_function"))
    if not torch.is_grad_enabled():
        return values.mean(0)
    if reference is not None:
        values = _teach(cast(nn.Module, baseline), reference, values)
        reference = reference.detach()
    elif baseline == "leave_one_out":
        # In half precision the difference would keep a share of b_k.
        seen = values.detach().to(torch.promote_types(torch.promote_types(values.dtype, log_prob.dtype), torch.float32))
        reference = (seen.sum(0) - seen) / (samples - 1)
    # Equal to one, with the derivatives of log_prob, of any order.
    box = (log_prob - log_prob.detach()).exp()
    gain = values.clone() if reference is None else values - reference  # f may write into what it returned
    return graft(values.detach().mean(0), (box * gain).mean(0))


def _check_baseline(samples: int, baseline: object, context: object) -> None:
    module = isinstance(baseline, nn.Module)
    alone = isinstance(baseline, str) and baseline == "leave_one_out"
    if not (baseline is None or alone or module):
        raise ValueError(
            f"score_function: baseline must be None, 'leave_one_out' or a module, got {baseline!r}; "
            "hardgrad.montecarlo.MovingAverage() is one"
        )
    if alone and samples < 2:
        raise ValueError("score_function: leave_one_out needs samples of at least 2, got 1; there is no other to ask")
    if context is not None:
        _check.tensor("score_function", "context", context)
        if not module:
            raise ValueError(
                f"score_function: context is what a baseline network sees, got one beside baseline={baseline!r}; give "
                "a network as baseline, or no context"
            )


def _draw(q: Distribution, samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return samples as f sees them and their log-probabilities, shape ``(samples, *batch)``."""
    _check.instance(
        "score_function", "q", q, Distribution, "make one, such as torch.distributions.Bernoulli(probs=...)"
    )
    base = base_of(q)
    if kind_of(base) is not None:
        d = discrete(q, "score_function")
        b = d.draw(samples, generator)
        log_prob = d.log_prob(b)
        return d.shown(b), log_prob
    draws = _drawn_by_torch(q, base, samples, generator).detach()
    log_prob = q.log_prob(draws)
    if log_prob.shape != (samples, *q.batch_shape):
        raise ValueError(
            f"score_function: q must have one log_prob per sample, shape {(samples, *q.batch_shape)}, got "
            f"{tuple(log_prob.shape)} from {type(q).__name__}; mend its log_prob or its batch_shape"
        )
    return draws.clone(), log_prob  # f may write into what the backward of log_prob reads


def _drawn_by_torch(q: Distribution, base: Distribution, samples: int, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return q.sample(torch.Size((samples,)))
    if not (isinstance(base, Normal) and own_method(base, Normal) is None):
        raise ValueError(
            f"score_function: generator is for discrete q and Normal, got {type(base).__name__}, which torch samples "
            "from its global seed alone; call torch.manual_seed instead"
        )
    _check.generator("score_function", generator, base.loc.device)
    shape = (samples, *base.loc.shape)
    noise = torch.randn(shape, generator=generator, dtype=base.loc.dtype, device=base.loc.device)
    return base.loc + noise * base.scale


def _seen(baseline: nn.Module, q: Distribution, context: Tensor | None, log_prob: Tensor) -> Tensor:
    """What a baseline is shown: where the user names nothing, the logits of q, or its mean, in its weights' dtype."""
    if context is not None:
        return context
    if isinstance(baseline, MovingAverage):
        return log_prob
    weights = next((w for w in baseline.parameters() if w.is_floating_point()), log_prob)
    return _what_q_is(q).to(weights.dtype)


def _what_q_is(q: Distribution) -> Tensor:
    base = base_of(q)
    if isinstance(base, tuple(KINDS.values())):
        own: Any = base
        logits: Tensor = own.logits if kind_of(base) is None else discrete(q, "score_function").logits
        # An outcome that cannot happen has a logit of -inf, which a network would turn into NaN. Beyond 20 all are
        # certain.
        return logits.clamp(-20, 20)
    try:
        return torch.nan_to_num(q.mean)  # some have none, and say so by NaN
    except NotImplementedError as error:
        raise ValueError(
            f"score_function: context must be given where q has no mean that a baseline network could see, got None "
            f"beside {type(q).__name__}; give what the network is to predict f from"
        ) from error


def _teach(baseline: nn.Module, reference: Tensor, values: Tensor) -> Tensor:
    """Let a baseline learn from what f was; returns ``values``, which may carry its penalty."""
    seen = values.detach()
    if isinstance(baseline, MovingAverage):
        baseline.observe(seen)
    elif baseline.training and (reference.requires_grad or hides_requires_grad()):
        error = (reference - seen).square().mean() if seen.numel() else reference.sum() * 0
        return add_penalty(baseline, values, error)
    return values
